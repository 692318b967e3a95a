//! Everything that happens because time has passed. No timer is ever set or cleared: each follows from the state as it is,
//! so none can be forgotten, and none can go off for something that is over.

use super::member::{Member, State};
use super::serving::Deserted;
use super::slot::Seat;
use super::start::AGENT_SLOW_MS;
use super::{Action, Address, Lifecycle, MemberId, Millis, Notice, Phase, Role, StartFailure};

/// What is to happen at a deadline. Reforks, and who is missing for long, are none of these:
/// [`Lifecycle::settle`] finds them by comparing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timer {
    /// The agent has been booting for a while: tell what it may have forgotten.
    AgentSlow(MemberId),
    /// The member should have been ready by now: the start or the operation fails, or it is ended and tried again.
    BootGrace(MemberId),
    /// What the worker listens at is the best that came: it is ready.
    Decision(MemberId),
    /// The worker has closed the address that it serves and not listened there again: another takes its place.
    Away(MemberId),
    /// The worker has been ready for a while: what it has not opened by now is not expected of it.
    Settled(MemberId),
    /// The worker listens elsewhere than where the application serves: tell it.
    Elsewhere(MemberId),
    /// No worker has opened this address since all that live have closed it.
    Deserted(Address),
    /// The disconnected or lingering member should have ended by itself: the start or the operation fails, or it gets TERM.
    Linger(MemberId),
    /// The polite part of its leave is over for this member: TERM.
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
        let servers = self.lives().filter_map(|member| self.server_timer(member));
        let others = servers.chain(self.deserted_timer()).chain(self.strays_timer());
        members.chain(others).min_by_key(|&(due, _)| due)
    }

    fn is_closing(&self) -> bool {
        match self.phase {
            Phase::New | Phase::Starting | Phase::Running => false,
            Phase::ClosingWorkers | Phase::ClosingAgent | Phase::ClosingStrays | Phase::Ended => true,
        }
    }

    /// What is to happen because of where a worker listens.
    fn server_timer(&self, member: &Member) -> Option<(Millis, Timer)> {
        if self.is_closing() {
            return None;
        }
        let id = member.id;
        let elsewhere = || self.elsewhere(member).map(|(due, _)| (due, Timer::Elsewhere(id)));
        match member.state {
            State::Booting { slow_told: _ } | State::Entering { until: _ } => {
                let decision = self.decision(member).map(|(due, _)| (due, Timer::Decision(id)));
                decision.into_iter().chain(elsewhere()).min_by_key(|&(due, _)| due)
            }
            State::Ready => {
                let settles_at = member.listens.settles_at().filter(|_| self.settling_matters(member));
                let settled = settles_at.map(|due| (due, Timer::Settled(id)));
                let lacks_service = self.lacks_service_until(member).map(|due| (due, Timer::BootGrace(id)));
                settled.into_iter().chain(elsewhere()).chain(lacks_service).min_by_key(|&(due, _)| due)
            }
            State::Away { until } => Some((until, Timer::Away(id))),
            State::Spawning
            | State::Waiting
            | State::Lingering { until: _ }
            | State::Disconnected { until: _ }
            | State::Draining { until: _ }
            | State::Terminated { until: _ }
            | State::Killed { until: _ } => None,
        }
    }

    fn deserted_timer(&self) -> Option<(Millis, Timer)> {
        let open = self.deserted.iter().filter(|_| self.phase == Phase::Running);
        let timer = |one: &Deserted| (one.due(self.policy.boot_grace_ms), Timer::Deserted(one.address));
        open.map(timer).min_by_key(|&(due, _)| due)
    }

    fn member_timer(&self, member: &Member) -> Option<(Millis, Timer)> {
        let (id, closing) = (member.id, self.is_closing());
        match member.state {
            State::Spawning | State::Waiting | State::Ready | State::Away { until: _ } => None,
            // The close decides by its own deadlines: the agent may be in these states while the workers go.
            State::Booting { slow_told: _ }
            | State::Entering { until: _ }
            | State::Lingering { until: _ }
            | State::Disconnected { until: _ }
                if closing =>
            {
                None
            }
            State::Entering { until } => Some((until, Timer::BootGrace(id))),
            State::Booting { slow_told } => {
                let boot = member.spawned_at.saturating_add(member.boot_grace_ms);
                let slow = member.spawned_at + AGENT_SLOW_MS;
                if member.role == Role::Agent && !slow_told && slow < boot {
                    Some((slow, Timer::AgentSlow(id)))
                } else {
                    Some((boot, Timer::BootGrace(id)))
                }
            }
            State::Lingering { until } | State::Disconnected { until } => Some((until, Timer::Linger(id))),
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
        let due = self.slots.iter().chain(self.spares_wanted()).filter_map(|slot| match slot.seat {
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
                if self.is_next(id) {
                    return self.fail_operation(StartFailure::NotReady(id), now, actions);
                }
                if self.is_new_agent(id) {
                    self.fail_operation(StartFailure::NotReady(id), now, actions);
                }
                actions.push(Action::Notice(Notice::BootGraceOver(id)));
                self.terminate(id, now, actions);
            }
            Timer::Decision(id) => self.decide(id, now, actions),
            Timer::Away(id) => self.stays_away(id, now, actions),
            Timer::Settled(id) => self.settles(id, actions),
            Timer::Elsewhere(id) => self.note_elsewhere(id, actions),
            Timer::Deserted(address) => self.desert(address, actions),
            Timer::Linger(id) => {
                if self.phase == Phase::Starting {
                    return self.fail_start(StartFailure::Disconnected(id), now, actions);
                }
                if self.is_next(id) {
                    return self.fail_operation(StartFailure::Disconnected(id), now, actions);
                }
                if self.member(id).is_some_and(|member| member.retired) {
                    self.cut_short(id); // It was asked to leave in Node's own way.
                }
                self.terminate(id, now, actions);
            }
            Timer::DrainGrace(id) => {
                self.cut_short(id);
                self.drained(id, now, actions);
            }
            Timer::KillGrace(id) => {
                if let Some(member) = self.member_mut(id) {
                    member.kill(now, actions);
                }
            }
            Timer::Unkillable(id) => self.give_up(id, actions),
            Timer::Strays => self.kill_strays(now, actions),
        }
    }
}
