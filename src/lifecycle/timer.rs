//! Everything that happens because time has passed. No timer is ever set or cleared: each follows from the state as it is,
//! so none can be forgotten, and none can go off for something that is over.

use super::member::{Member, State};
use super::slot::Seat;
use super::start::AGENT_SLOW_MS;
use super::{Action, Lifecycle, MemberId, Millis, Notice, Phase, Role, StartFailure};

/// What is to happen at a deadline. Reforks, and who is missing for long, are none of these:
/// [`Lifecycle::settle`] finds them by comparing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timer {
    /// The agent has been booting for a while: tell what it may have forgotten.
    AgentSlow(MemberId),
    /// The member should have been ready by now: the start fails, or it is ended and tried again.
    BootGrace(MemberId),
    /// The disconnected member should have ended by itself: the start fails, or it gets TERM.
    Linger(MemberId),
    /// The polite part of the close is over for this member: TERM.
    DrainGrace(MemberId),
    /// The member had TERM and its grace: KILL.
    KillGrace(MemberId),
    /// The member had KILL and is not gone: the close goes on without it.
    Unkillable(MemberId),
    /// The strays had their grace: KILL, again and again.
    Strays,
}

impl Lifecycle {
    /// The earliest deadline. A scan of all: there are few members, and nothing to keep in step.
    pub(super) fn first_timer(&self) -> Option<(Millis, Timer)> {
        let members = self.lives().filter_map(|member| self.member_timer(member));
        members.chain(self.strays_timer()).min_by_key(|&(due, _)| due)
    }

    fn member_timer(&self, member: &Member) -> Option<(Millis, Timer)> {
        let id = member.id;
        let closing = match self.phase {
            Phase::New | Phase::Starting | Phase::Running => false,
            Phase::ClosingWorkers | Phase::ClosingAgent | Phase::ClosingStrays | Phase::Ended => true,
        };
        match member.state {
            State::Spawning | State::Ready => None,
            // The close decides by its own deadlines: the agent may be in these states while the workers go.
            State::Booting { slow_told: _ } | State::Disconnected { until: _ } if closing => None,
            State::Booting { slow_told } => {
                let boot = member.spawned_at.saturating_add(self.policy.boot_grace_ms);
                let slow = member.spawned_at + AGENT_SLOW_MS;
                if member.role == Role::Agent && !slow_told && slow < boot {
                    Some((slow, Timer::AgentSlow(id)))
                } else {
                    Some((boot, Timer::BootGrace(id)))
                }
            }
            State::Disconnected { until } => Some((until, Timer::Linger(id))),
            State::Draining { until } => Some((until, Timer::DrainGrace(id))),
            State::Terminated { until } => Some((until, Timer::KillGrace(id))),
            State::Killed { until } => closing.then_some((until, Timer::Unkillable(id))),
        }
    }

    /// When a slot wants a member, or may find room in the refork window.
    pub(super) fn refork_at(&self) -> Option<Millis> {
        // In a start everything is due at once, and waits for events only; a spawn that is not answered holds up the rest.
        if self.phase != Phase::Running || self.is_spawning() {
            return None;
        }
        let due = self.slots.iter().filter_map(|slot| match slot.seat {
            Seat::Empty { due } => Some(due),
            Seat::Taken(_) | Seat::Closed => None,
        });
        due.min().map(|due| self.window.worth_a_look(due))
    }

    fn strays_timer(&self) -> Option<(Millis, Timer)> {
        (self.phase == Phase::ClosingStrays).then_some((self.close.strays_kill_at(), Timer::Strays))
    }

    pub(super) fn fire(&mut self, timer: Timer, now: Millis, actions: &mut Vec<Action>) {
        match timer {
            Timer::AgentSlow(id) => self.tell_agent_slow(id, actions),
            Timer::BootGrace(id) => {
                if self.phase == Phase::Starting {
                    return self.fail_start(StartFailure::NotReady(id), now, actions);
                }
                actions.push(Action::Notice(Notice::BootGraceOver(id)));
                self.terminate(id, now, actions);
            }
            Timer::Linger(id) => {
                if self.phase == Phase::Starting {
                    return self.fail_start(StartFailure::Disconnected(id), now, actions);
                }
                self.terminate(id, now, actions);
            }
            Timer::DrainGrace(id) => self.drained(id, actions),
            Timer::KillGrace(id) => {
                if let Some(member) = self.member_mut(id) {
                    member.kill(now, actions);
                }
            }
            Timer::Unkillable(id) => self.give_up(id, actions),
            Timer::Strays => self.kill_strays(now, actions),
        }
    }

    /// TERM while the master runs; KILL after the grace that the member would have in a close.
    fn terminate(&mut self, id: MemberId, now: Millis, actions: &mut Vec<Action>) {
        let (agent, worker) = (self.policy.agent_close_grace_ms, self.policy.worker_close_grace_ms);
        let Some(member) = self.member_mut(id) else { return };
        let grace_ms = match member.role {
            Role::Agent => agent,
            Role::Worker { kind: _, slot: _ } => worker,
        };
        member.terminate(now.saturating_add(grace_ms), actions);
    }
}
