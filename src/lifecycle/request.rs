//! What can be asked of a running master, and how that comes out: reload and scale, the two long operations.

use super::{MemberId, Millis, StartFailure};

/// Who asks: chosen by the master for each request, and named again by its answer. [`RequestId::NOBODY`] asks too, but gets
/// no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u32);

impl RequestId {
    /// A member of the application, which hears of the outcome by what happens.
    pub const NOBODY: RequestId = RequestId(0);
}

/// How long an operation waits for members, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Patience {
    /// From a new member's spawn until it is at the gate or ready, and once more from the gate until it is ready.
    pub boot_grace_ms: Millis,
    /// From the word to leave until TERM; KILL follows after the worker's share of a close.
    pub drain_grace_ms: Millis,
}

impl Default for Patience {
    /// 60 s and 30 s.
    fn default() -> Self {
        Self { boot_grace_ms: 60_000, drain_grace_ms: 30_000 }
    }
}

/// How the members are to be replaced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ReloadHow {
    /// Worker by worker, each new one ready before the old one leaves. Else by generation: all new ones wait at the gate
    /// and are let in together.
    pub rolling: bool,
    /// How many boot at a time, at least 1; none: one for each core that has no worker, at least one.
    pub batch: Option<u32>,
    /// The agent too, after the workers.
    pub agent: bool,
    /// How long members are waited for.
    pub patience: Patience,
}

/// How many workers there are to be. The sum is at least 1 and at most [`Wanted::MOST`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wanted {
    /// So many.
    Exactly(u32),
    /// So many more than now.
    More(u32),
    /// So many fewer than now.
    Fewer(u32),
}

impl Wanted {
    /// The most workers of one master.
    pub const MOST: u32 = 1024;

    /// The count that is meant, from the present one; none beyond the limits.
    #[must_use]
    pub fn from(self, now: u32) -> Option<u32> {
        let count = match self {
            Wanted::Exactly(count) => Some(count),
            Wanted::More(more) => now.checked_add(more),
            Wanted::Fewer(fewer) => now.checked_sub(fewer),
        };
        count.filter(|count| (1..=Wanted::MOST).contains(count))
    }
}

/// How an operation came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Every worker is a new one, and the old ones are gone.
    Reloaded {
        /// How many workers there are.
        workers: u32,
        /// Worker by worker: because it was asked for so, or because the application passes the gate.
        rolling: bool,
        /// How long there was no agent, if it was replaced: from its leave until the new one was ready.
        without_agent_ms: Option<Millis>,
    },
    /// There are as many ready workers as wanted, and those that had to go are gone.
    Scaled {
        /// Before.
        from: u32,
        /// Now, and from now on.
        to: u32,
    },
    /// New members did not come up. By generation, and while scaling, all is as it was before; rolling, so many workers are
    /// new ones already and stay.
    Failed {
        /// Which one, and how.
        failure: StartFailure,
        /// Workers that were replaced before.
        replaced: u32,
    },
    /// Given up before its end. As when it fails: by generation nothing has changed, unless the new workers had their seats
    /// already; rolling, this number of workers are new ones and stay; a scale to more is undone, one to fewer stands.
    Cancelled {
        /// Why.
        by: CancelledBy,
        /// What.
        kind: OperationKind,
        /// Workers that were replaced, or added, before.
        replaced: u32,
        /// How many workers there are to be from now on.
        workers: u32,
    },
    /// Not begun.
    Refused(Refusal),
    /// The master was asked to close meanwhile.
    Interrupted,
}

/// Why an operation was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CancelledBy {
    /// A client asked for that.
    Request,
    /// Another reload has taken its place.
    Reload,
}

/// The two long operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OperationKind {
    /// New members in the place of the old ones.
    Reload,
    /// Another number of workers.
    Scale,
}

/// Why a request was not begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The start is not over.
    Starting,
    /// The master closes.
    Closing,
    /// Another reload is under way, asked for in another way.
    Reloading,
    /// A scale to another count is under way.
    Scaling,
    /// The count is not between 1 and [`Wanted::MOST`].
    Count,
    /// There is no agent to reload.
    NoAgent,
    /// No such operation is under way, so none can be cancelled.
    NotUnderWay(OperationKind),
}

/// What an operation is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// New workers boot; by generation they wait at the gate for each other.
    Booting,
    /// The gate is open: the new ones begin to listen.
    Entering,
    /// The agent is replaced.
    Agent,
    /// The old ones leave.
    Leaving,
}

/// How far the operation under way is. Compare with the last one to see whether there is news.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Progress {
    /// What it is doing.
    pub stage: Stage,
    /// How many new workers it needs in all.
    pub wanted: u32,
    /// How many of them boot.
    pub booting: u32,
    /// How many wait at the gate.
    pub waiting: u32,
    /// How many are ready.
    pub ready: u32,
    /// How many members have been asked to leave and live.
    pub leaving: u32,
}

/// The operation under way, as it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Asked {
    /// A reload.
    Reload(ReloadHow),
    /// A scale to this count.
    Scale {
        /// The count.
        to: u32,
        /// How long members are waited for.
        patience: Patience,
    },
}

impl Asked {
    /// Which of the two it is.
    #[must_use]
    pub fn kind(self) -> OperationKind {
        match self {
            Asked::Reload(_) => OperationKind::Reload,
            Asked::Scale { to: _, patience: _ } => OperationKind::Scale,
        }
    }
}

/// Where a member is, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Standing {
    /// It boots, or begins to listen.
    Booting,
    /// It has booted and waits at the gate.
    Waiting,
    /// It is ready.
    Ready,
    /// It has been asked to leave, or is being ended, or has closed its channel.
    Leaving,
}

/// A member that failed an operation, for the words that tell of it.
impl StartFailure {
    /// Which member it is about.
    #[must_use]
    pub fn member(&self) -> MemberId {
        match *self {
            StartFailure::Died { member, death: _ }
            | StartFailure::Disconnected(member)
            | StartFailure::Closed(member)
            | StartFailure::SpawnFailed(member)
            | StartFailure::NotReady(member) => member,
        }
    }
}
