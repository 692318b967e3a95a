//! What the lifecycle wants done: sentences an operator could say.

use super::{Address, Death, MemberId, Millis, Outcome, ReloadHow, RequestId, Role};

/// Something to do, in the order given.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Spawn this member. Answer with `Spawned` or `SpawnFailed` before the next poll.
    Spawn {
        /// Its name from now on.
        member: MemberId,
        /// What it is for.
        role: Role,
    },
    /// This worker shows by listening there that it is ready: log it and announce it, and answer with `Ready` in the same turn.
    Welcome {
        /// Which worker.
        member: MemberId,
        /// Where it serves.
        address: Address,
    },
    /// Close the sockets that no worker has and that are not kept ([`super::Lifecycle::keeps`]).
    GiveBack,
    /// Answer what it asked at the gate: it begins to serve. Its role may be another from now on (a spare's).
    OpenGate(MemberId),
    /// Give no connection to this member any more, but for those it has been promised.
    LeaveDispatch(MemberId),
    /// Ask it to leave politely: its servers close, answers in flight finish, the channel stays.
    Drain(MemberId),
    /// Close its channel: it is to end, and nothing it says counts any more. Only where a start has failed, before TERM.
    EndChannel(MemberId),
    /// It leaves politely already, by a reload or a scale: it is to have no more patience than a close has.
    Hasten(MemberId),
    /// Send it TERM. At most once in a member's life.
    Terminate(MemberId),
    /// Send it KILL.
    Kill(MemberId),
    /// Stop accepting: what waits in the backlog is still handed over, then the listening sockets close.
    CloseListeners,
    /// Send TERM to every process of the tree that is no member (left behind by members that have gone), or KILL.
    EndStrays {
        /// KILL instead of TERM.
        kill: bool,
    },
    /// Everything is up, for the first time: tell the parent and the log.
    AnnounceReady,
    /// The start failed: tell the parent and the log why.
    AnnounceFailure(StartFailure),
    /// The start was ended by a signal of this number before it was ready: tell the parent.
    AnnounceStopped(i32),
    /// Members are spawned with what this request has brought, from now on.
    AdoptOptions(RequestId),
    /// Members are spawned with what was in force before the last [`Action::AdoptOptions`] again.
    RestoreOptions,
    /// The operation that this request asked for, or joined, is over, or was not begun. Once for each request.
    Answer {
        /// Whose.
        request: RequestId,
        /// How it came out.
        outcome: Outcome,
    },
    /// Write this into the log.
    Notice(Notice),
    /// End the master with this exit code. Last.
    Exit(u8),
}

/// Why members did not come up: in a start ("everybody" is all), in a reload, in a scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StartFailure {
    /// A member ended before everybody was ready.
    Died {
        /// Which.
        member: MemberId,
        /// How.
        death: Death,
    },
    /// A member closed its channel before everybody was ready, and did not end within a second.
    Disconnected(MemberId),
    /// A worker was ready, closed the address that it serves, and did not listen there again within a second.
    Closed(MemberId),
    /// A member could not be spawned.
    SpawnFailed(MemberId),
    /// A member was not ready within its boot grace.
    NotReady(MemberId),
}

/// A line in the master's log that the lifecycle knows the reason of.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Notice {
    /// The member died (after everything had been ready).
    Died {
        /// Which.
        member: MemberId,
        /// How.
        death: Death,
    },
    /// The member's slot gets a new member after this back-off (0: at once).
    Refork {
        /// Whose place.
        role: Role,
        /// The back-off.
        after_ms: Millis,
    },
    /// The slot stays empty: members are not replaced in this environment.
    NoRefork(Role),
    /// 60 reforks in 60 s: the next one waits this long.
    ReforkWindowFull {
        /// Until the window has room again.
        wait_ms: Millis,
    },
    /// For so long the agent, or every worker, has been missing.
    Down {
        /// How many agents are ready: 0 or 1.
        agents: usize,
        /// How many workers are.
        workers: usize,
        /// Since when.
        for_ms: Millis,
        /// The master gives up: the close begins, and the exit code is 1.
        exits: bool,
    },
    /// A member is not ready within its boot grace; it is ended and tried again.
    BootGraceOver(MemberId),
    /// The agent has been booting for 5 s: print the line of code that says it is ready.
    AgentSlow(MemberId),
    /// The close begins, because of a signal of this number.
    Closing(i32),
    /// A signal while the close goes on: no polite part any more.
    CloseHurried(i32),
    /// The member closed its channel (after everything had been ready) but lives: a worker is replaced now and has 30 s to
    /// end by itself, an agent is ended first.
    Disconnected(MemberId),
    /// The worker closed the address that it serves and did not listen there again: another takes its place, and it has 30 s to
    /// end by itself.
    LeftAddress(MemberId),
    /// No worker has opened this address for a boot timeout since all that live had closed it: its socket is closed.
    Deserted(Address),
    /// The worker has listened elsewhere for 5 s, and not where it is to serve.
    ListensElsewhere {
        /// Which worker.
        member: MemberId,
        /// Where it listens.
        address: Address,
        /// Where the application served so far; the options may say more.
        served: Option<Address>,
    },
    /// The new worker has not opened this address of the old one, nor has another new one: its socket goes with the old.
    NotOpened {
        /// Which new worker.
        member: MemberId,
        /// Where.
        address: Address,
    },
    /// The member did not end within its close grace and gets KILL.
    Killed(MemberId),
    /// The member did not end within 10 s of KILL (it is in an uninterruptible system call): the close goes on without it and
    /// the exit code is 1.
    GivenUp(MemberId),
    /// The member ended as it was asked to (its place had been taken, or was not wanted any more).
    Left(MemberId),
    /// A reload begins.
    Reloading(ReloadHow),
    /// A scale begins.
    Scaling {
        /// From so many workers.
        from: u32,
        /// To so many.
        to: u32,
    },
    /// This member listened without asking: the application passes the gate, and is reloaded worker by worker.
    PassedGate(MemberId),
    /// This spare listened without asking: the application cannot have spares. It is dismissed, and no other follows.
    NoSpares(MemberId),
    /// This spare has booted and waits at the gate.
    SpareWaits(MemberId),
    /// This spare takes the place of a worker that was lost.
    SpareTakesOver {
        /// Which.
        spare: MemberId,
        /// The place.
        role: Role,
    },
    /// The operation under way is over.
    Done(Outcome),
    /// Strays did not end within 10 s of KILL: the master exits without them, with 1.
    StraysGivenUp,
}
