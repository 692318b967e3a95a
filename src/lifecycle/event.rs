//! What can happen to the master: the lifecycle's input.

use super::{Address, Listen, MemberId, OperationKind, Patience, ReloadHow, RequestId, Wanted};

/// How a member left that was asked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Leave {
    /// In its time: it had finished, or had begun nothing.
    ByItself,
    /// Its time for what was in flight was over, or it was given none.
    AtLimit,
    /// By KILL.
    Killed,
    /// By another cause, before or while it was to leave.
    Died,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Death {
    /// It exited with this code, 0 to 255.
    Code(i32),
    /// A signal of this number ended it.
    Signal(i32),
}

/// Why the master is asked to close.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CloseCause {
    /// A signal of this number arrived.
    Signal(i32),
    /// The process that started this master gives the start up, and sends a signal of this number beside its word.
    StartGivenUp(i32),
    /// The master cannot go on, by a fault of its own or of the system: the exit code says so.
    Fault,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// The master stands: begin. Once, first.
    Begin,
    /// The spawn that was asked for worked. Comes in the same turn as [`super::Action::Spawn`].
    Spawned(MemberId),
    /// The spawn that was asked for failed. Comes in the same turn.
    SpawnFailed {
        /// Whose spawn.
        member: MemberId,
        /// Can it work later (EAGAIN, ENOMEM, EMFILE), or is it wrong for good (ENOENT, EACCES, ENOEXEC)?
        transient: bool,
    },
    /// The member said, or showed by listening, that it is ready.
    Ready(MemberId),
    /// The member has begun to listen.
    Listens {
        /// Which member.
        member: MemberId,
        /// Where, and what that says.
        listen: Listen,
    },
    /// The member has closed its server at this address.
    Closes {
        /// Which member.
        member: MemberId,
        /// Where.
        address: Address,
    },
    /// The worker has said that it leaves the cluster (Node's `worker.disconnect()` and `worker.kill()`).
    Leaves(MemberId),
    /// The member has booted and asks for the address that it is to serve. One that is held
    /// ([`super::Lifecycle::is_held`]) gets its answer with [`super::Action::OpenGate`], the others have it.
    AtGate(MemberId),
    /// The member's servers have closed and its last answer is sent; said at once for a member that cannot be asked.
    Drained(MemberId),
    /// The member's end of the channel closed. It may be alive still.
    Disconnected(MemberId),
    /// The member's process was reaped.
    Exited {
        /// Which member.
        member: MemberId,
        /// How it ended.
        death: Death,
    },
    /// No process of the tree is left but the master. Said whenever that is observed, and after each
    /// [`super::Action::EndStrays`] when it is so.
    Alone,
    /// The user wants the end. A second one skips the polite part.
    Close(CloseCause),
    /// Every worker is to be replaced. Answered by [`super::Action::Answer`], maybe in the same turn.
    Reload {
        /// Who asks.
        request: RequestId,
        /// How.
        how: ReloadHow,
    },
    /// The same, but a reload that is under way is given up for this one, whatever it was asked for.
    Replace {
        /// Who asks.
        request: RequestId,
        /// How.
        how: ReloadHow,
    },
    /// The operation under way, if it is of this kind, is to be given up. Answered in the same turn.
    Cancel {
        /// Who asks.
        request: RequestId,
        /// What.
        kind: OperationKind,
    },
    /// There are to be so many workers. Answered by [`super::Action::Answer`], maybe in the same turn.
    Scale {
        /// Who asks.
        request: RequestId,
        /// How many.
        wanted: Wanted,
        /// How long members are waited for.
        patience: Patience,
    },
}

impl Event {
    /// The member it is about, if it is about one.
    #[must_use]
    pub fn member(&self) -> Option<MemberId> {
        match *self {
            Event::Begin
            | Event::Alone
            | Event::Close(CloseCause::Signal(_) | CloseCause::StartGivenUp(_) | CloseCause::Fault)
            | Event::Reload { request: _, how: _ }
            | Event::Replace { request: _, how: _ }
            | Event::Cancel { request: _, kind: _ }
            | Event::Scale { request: _, wanted: _, patience: _ } => None,
            Event::Listens { member, listen: _ }
            | Event::Closes { member, address: _ }
            | Event::Leaves(member)
            | Event::Spawned(member)
            | Event::SpawnFailed { member, transient: _ }
            | Event::Ready(member)
            | Event::AtGate(member)
            | Event::Drained(member)
            | Event::Disconnected(member)
            | Event::Exited { member, death: _ } => Some(member),
        }
    }
}
