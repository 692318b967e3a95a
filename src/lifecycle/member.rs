//! One life of an agent or worker: its states, and the ways in which it is asked to go.

use super::address::Listens;
use super::close::Manner;
use super::{Action, Address, Death, Leave, MemberId, Millis, Notice, Role};

/// How long a disconnected worker may take to end by itself: the limit of Node's `graceful`, which closes the channel
/// first and exits when the requests in flight are answered.
pub(super) const LINGER_MS: Millis = 30_000;

/// How long after KILL a member is still waited for in a close. A process can be uninterruptible (a dead NFS server); the
/// init system behind the master must not wait with it.
pub(super) const UNKILLABLE_MS: Millis = 10_000;

/// A member that lives, or whose spawn is under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Member {
    pub id: MemberId,
    pub role: Role,
    pub spawned_at: Millis,
    /// How long it may take from its spawn until it is at the gate or ready, and once more from the gate until it is ready.
    pub boot_grace_ms: Millis,
    /// It is to wait at the gate.
    pub held: bool,
    /// It has no seat any more because somebody else has it, or nobody is wanted there.
    pub retired: bool,
    /// Its TERM came, or comes, before it had said that nothing is in flight.
    pub cut_short: bool,
    pub state: State,
    /// Where it listens.
    pub listens: Listens,
}

/// Where a member is in its life. A state that must not last says until when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum State {
    /// Its spawn is asked for and not answered.
    Spawning,
    /// It runs and is not ready; `slow_told`: the log has been told that it is slow.
    Booting { slow_told: bool },
    /// It has booted and waits at the gate.
    Waiting,
    /// The gate was opened for it: it begins to listen, and must be ready then.
    Entering { until: Millis },
    /// It said, or showed, that it is ready.
    Ready,
    /// It has closed the address that it serves, and may listen there again until then.
    Away { until: Millis },
    /// It has left the address that it serves, and its place is another's: it may end by itself until then.
    Lingering { until: Millis },
    /// Its channel is closed; it may end by itself until then. In a close it gets TERM without this wait.
    Disconnected { until: Millis },
    /// It was asked to leave politely and may take until then.
    Draining { until: Millis },
    /// It was sent TERM and gets KILL then.
    Terminated { until: Millis },
    /// It was sent KILL; in a close it is waited for until then.
    Killed { until: Millis },
}

impl Member {
    pub fn new(id: MemberId, role: Role, now: Millis, boot_grace_ms: Millis, held: bool) -> Self {
        Self {
            id,
            role,
            spawned_at: now,
            boot_grace_ms,
            held,
            retired: false,
            cut_short: false,
            state: State::Spawning,
            listens: Listens::default(),
        }
    }

    pub fn is_ready(&self) -> bool {
        self.state == State::Ready
    }

    /// Is this the address that it serves?
    pub fn serves_at(&self, address: Address) -> bool {
        self.listens.serves.is_some_and(|served| served.address == address)
    }

    pub fn is_draining(&self) -> bool {
        matches!(self.state, State::Draining { until: _ })
    }

    pub fn is_booting(&self) -> bool {
        matches!(self.state, State::Spawning | State::Booting { slow_told: _ })
    }

    pub fn is_waiting(&self) -> bool {
        self.state == State::Waiting
    }

    /// Is it expected to be gone soon, since its place was taken from it? One that survives KILL is not waited for.
    pub fn is_going(&self) -> bool {
        self.retired && !matches!(self.state, State::Killed { until: _ })
    }

    /// It may serve: now if it waits, else as soon as it asks.
    pub fn let_in(&mut self, now: Millis, actions: &mut Vec<Action>) {
        self.held = false;
        if self.is_waiting() {
            actions.push(Action::OpenGate(self.id));
            self.state = State::Entering { until: now.saturating_add(self.boot_grace_ms) };
        }
    }

    /// The channel is closed: nothing can be handed over any more.
    pub fn disconnect(&mut self, until: Millis, actions: &mut Vec<Action>) {
        self.leave_dispatch(actions);
        self.state = State::Disconnected { until };
    }

    /// Its place is given to another: it may end by itself until then.
    pub fn linger(&mut self, until: Millis, actions: &mut Vec<Action>) {
        self.leave_dispatch(actions);
        self.state = State::Lingering { until };
    }

    /// Asks it to leave in the close's way: politely if it is ready, else, or in a hurry, by TERM; after a failed start its
    /// channel ends before. Again does nothing.
    pub fn ask_to_leave(&mut self, manner: Manner, drain_until: Millis, deadline: Millis, actions: &mut Vec<Action>) {
        match self.state {
            // The answer to its spawn brings it here again.
            State::Spawning => {}
            State::Ready | State::Away { until: _ } if manner == Manner::Polite => {
                self.leave_dispatch(actions);
                actions.push(Action::Drain(self.id));
                self.state = State::Draining { until: drain_until };
            }
            // What it closed was the address that it served: it may have requests in flight all the same.
            State::Lingering { until: _ } if manner == Manner::Polite => {
                actions.push(Action::Drain(self.id));
                self.state = State::Draining { until: drain_until };
            }
            // A reload's leave may be longer than a close's.
            State::Draining { until } if manner == Manner::Polite => {
                self.state = State::Draining { until: until.min(drain_until) }
            }
            State::Ready
            | State::Away { until: _ }
            | State::Lingering { until: _ }
            | State::Draining { until: _ }
            | State::Booting { slow_told: _ }
            | State::Waiting
            | State::Entering { until: _ } => {
                self.cut_short = self.is_ready() || self.is_draining();
                if manner == Manner::FailedStart {
                    if !matches!(self.state, State::Draining { until: _ } | State::Lingering { until: _ }) {
                        self.leave_dispatch(actions);
                    }
                    actions.push(Action::EndChannel(self.id));
                    self.state = State::Disconnected { until: deadline };
                }
                self.terminate(deadline, actions);
            }
            State::Disconnected { until: _ } => self.terminate(deadline, actions),
            State::Terminated { until } if manner == Manner::FailedStart => {
                self.state = State::Terminated { until: until.min(deadline) };
            }
            // Asked already; who was being ended before the close has its KILL before the close's.
            State::Terminated { until: _ } | State::Killed { until: _ } => {}
        }
    }

    /// Sends its one TERM, if it has not had it; KILL follows at `until`.
    pub fn terminate(&mut self, until: Millis, actions: &mut Vec<Action>) {
        match self.state {
            State::Booting { slow_told: _ }
            | State::Waiting
            | State::Entering { until: _ }
            | State::Ready
            | State::Away { until: _ } => {
                self.leave_dispatch(actions);
            }
            State::Lingering { until: _ } | State::Disconnected { until: _ } | State::Draining { until: _ } => {}
            State::Spawning | State::Terminated { until: _ } | State::Killed { until: _ } => return,
        }
        actions.push(Action::Terminate(self.id));
        self.state = State::Terminated { until };
    }

    /// Sends KILL: it had its grace.
    pub fn kill(&mut self, now: Millis, actions: &mut Vec<Action>) {
        actions.extend([Action::Notice(Notice::Killed(self.id)), Action::Kill(self.id)]);
        self.state = State::Killed { until: now + UNKILLABLE_MS };
    }

    /// How it leaves, of what it was asked to leave for.
    pub fn leave(&self, death: Death) -> Leave {
        let killed = matches!(self.state, State::Killed { until: _ });
        let terminated = matches!(self.state, State::Terminated { until: _ });
        if killed {
            Leave::Killed
        } else if terminated && self.cut_short {
            Leave::AtLimit
        } else if self.may_end_with(death) {
            Leave::ByItself
        } else {
            Leave::Died
        }
    }

    /// Is this end what it was asked for, so that nobody need read of it?
    pub fn may_end_with(&self, death: Death) -> bool {
        match self.state {
            State::Terminated { until: _ } | State::Killed { until: _ } => true,
            // With its servers closed, Node may have nothing left to do.
            State::Draining { until: _ } => death == Death::Code(0),
            State::Spawning
            | State::Booting { slow_told: _ }
            | State::Waiting
            | State::Entering { until: _ }
            | State::Ready
            // Nobody has asked it to.
            | State::Away { until: _ }
            | State::Lingering { until: _ } => false,
            // Node's own way to leave.
            State::Disconnected { until: _ } => self.retired && death == Death::Code(0),
        }
    }

    /// Only workers are given connections.
    fn leave_dispatch(&self, actions: &mut Vec<Action>) {
        match self.role {
            Role::Agent => {}
            Role::Worker { kind: _, slot: _ } | Role::Spare { kind: _, place: _ } => {
                actions.push(Action::LeaveDispatch(self.id))
            }
        }
    }
}
