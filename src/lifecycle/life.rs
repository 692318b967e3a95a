//! What members say and do in the course of their lives, event by event.

use super::member::{LINGER_MS, State};
use super::slot::Place;
use super::start::TRUE_END_MS;
use super::{Action, Death, Lifecycle, MemberId, Millis, Notice, Phase, Role, StartFailure};

impl Lifecycle {
    pub(super) fn ready(&mut self, id: MemberId, now: Millis, actions: &mut Vec<Action>) {
        let known = self.known_place(id);
        let Some(member) = self.member_mut(id) else { return };
        match member.state {
            State::Booting { slow_told: _ } | State::Waiting | State::Entering { until: _ } => {
                member.state = State::Ready;
            }
            // Nothing can be heard from a member whose spawn is not answered; the others said so before, or are on their
            // way out and do not come back.
            State::Spawning
            | State::Ready
            | State::Away { until: _ }
            | State::Lingering { until: _ }
            | State::Disconnected { until: _ }
            | State::Draining { until: _ }
            | State::Terminated { until: _ }
            | State::Killed { until: _ } => return,
        }
        if let Some(known) = known {
            member.listens.ready_at = Some(now);
            member.listens.learn(known);
        }
        if std::mem::take(&mut member.held) {
            match member.role {
                Role::Spare { kind: _, place: _ } => self.spare_passed_gate(id, now, actions),
                Role::Agent | Role::Worker { kind: _, slot: _ } => self.passed_gate(id, now, actions),
            }
        }
        self.expect_of_seat(id);
    }

    pub(super) fn at_gate(&mut self, id: MemberId, actions: &mut Vec<Action>) {
        let is_refork = self.phase == Phase::Running && !self.is_next(id);
        let Some(member) = self.member_mut(id) else { return };
        match member.state {
            State::Booting { slow_told: _ } if member.held => {
                member.state = State::Waiting;
                if matches!(member.role, Role::Spare { kind: _, place: _ }) {
                    actions.push(Action::Notice(Notice::SpareWaits(id)));
                }
            }
            // Its question is answered, and it may have a connection before it says that it listens: no spare takes its place.
            State::Booting { slow_told: _ } if is_refork && member.role != Role::Agent => {
                member.state = State::Entering { until: member.spawned_at.saturating_add(member.boot_grace_ms) };
            }
            // In a start, or in an operation worker by worker, no spare stands in.
            State::Booting { slow_told: _ } => {}
            // It asks for a second address, or is on its way out.
            State::Spawning
            | State::Waiting
            | State::Entering { until: _ }
            | State::Ready
            | State::Away { until: _ }
            | State::Lingering { until: _ }
            | State::Disconnected { until: _ }
            | State::Draining { until: _ }
            | State::Terminated { until: _ }
            | State::Killed { until: _ } => {}
        }
    }

    /// A member's channel closed while it lives. Without it a member is no use: it is replaced, and ended if need be.
    pub(super) fn disconnected(&mut self, id: MemberId, now: Millis, actions: &mut Vec<Action>) {
        let (phase, is_next) = (self.phase, self.is_next(id));
        let Some(member) = self.member_mut(id) else { return };
        match member.state {
            State::Booting { slow_told: _ }
            | State::Waiting
            | State::Entering { until: _ }
            | State::Ready
            | State::Away { until: _ } => {}
            // Node's own `disconnect`: its servers first, then the channel. Its place is another's already.
            State::Lingering { until } => {
                member.state = State::Disconnected { until };
                return actions.push(Action::Notice(Notice::Disconnected(id)));
            }
            // It is on its way out by itself (Node's own `disconnect`), with requests in flight.
            State::Draining { until } if phase == Phase::Running && member.retired && member.role != Role::Agent => {
                member.state = State::Disconnected { until };
                return;
            }
            State::Draining { until: _ } => return self.terminate(id, now, actions),
            State::Spawning
            | State::Disconnected { until: _ }
            | State::Terminated { until: _ }
            | State::Killed { until: _ } => return,
        }
        let role = member.role;
        match (phase, role) {
            // No member lives in these.
            (Phase::New | Phase::ClosingStrays | Phase::Ended, _) => {}
            // Its end, if it is ending, tells more: wait for that first.
            (Phase::Starting, _) => member.disconnect(now + TRUE_END_MS, actions),
            (Phase::Running, _) if is_next => member.disconnect(now + TRUE_END_MS, actions),
            (Phase::Running, Role::Agent) => {
                actions.push(Action::Notice(Notice::Disconnected(id)));
                // There must never be two agents: this one has to be gone before the next is spawned.
                self.terminate(id, now, actions);
            }
            (Phase::Running, Role::Worker { kind: _, slot: _ } | Role::Spare { kind: _, place: _ }) => {
                actions.push(Action::Notice(Notice::Disconnected(id)));
                member.disconnect(now + LINGER_MS, actions);
                let spawned_at = member.spawned_at;
                self.leave_slot(id);
                self.lost_a_new_one(role, StartFailure::Disconnected(id), now, actions);
                self.vacate(role, spawned_at, now, actions);
            }
            // The close gives it its TERM: a worker now, the agent after the workers.
            (Phase::ClosingWorkers | Phase::ClosingAgent, _) => member.disconnect(now, actions),
        }
    }

    pub(super) fn exited(&mut self, id: MemberId, death: Death, now: Millis, actions: &mut Vec<Action>) {
        let Some((member, place)) = self.remove(id) else { return };
        match self.phase {
            // No member lives in these.
            Phase::New | Phase::ClosingStrays | Phase::Ended => {}
            // Whatever its code: the framework's own "start error" path exits with 0.
            Phase::Starting => self.fail_start(StartFailure::Died { member: id, death }, now, actions),
            Phase::Running => {
                let asked = place == Place::Leaving || member.retired;
                if asked && member.may_end_with(death) {
                    actions.push(Action::Notice(Notice::Left(id)));
                } else {
                    actions.push(Action::Notice(Notice::Died { member: id, death }));
                }
                self.lost(&member, place, member.spawned_at, StartFailure::Died { member: id, death }, now, actions);
            }
            Phase::ClosingWorkers | Phase::ClosingAgent => {
                if !member.may_end_with(death) {
                    actions.push(Action::Notice(Notice::Died { member: id, death }));
                }
            }
        }
    }
}
