//! From nothing to full strength, or to the first failure: while everything starts, nobody is replaced.

use super::close::Manner;
use super::slot::Slot;
use super::{Action, Lifecycle, MemberId, Millis, Notice, Phase, Role, StartFailure, State};

/// How long a start waits for the end of a member that closed its channel, so as to tell the true code or signal.
pub(super) const TRUE_END_MS: Millis = 1_000;

/// How long an agent may boot before the log says what it may have forgotten.
pub(super) const AGENT_SLOW_MS: Millis = 5_000;

impl Lifecycle {
    pub(super) fn begin(&mut self) {
        match self.phase {
            Phase::New => self.phase = Phase::Starting,
            Phase::Starting
            | Phase::Running
            | Phase::ClosingWorkers
            | Phase::ClosingAgent
            | Phase::ClosingStrays
            | Phase::Ended => {}
        }
    }

    pub(super) fn spawned(&mut self, id: MemberId, now: Millis, actions: &mut Vec<Action>) {
        let Some(member) = self.member_mut(id) else { return };
        match member.state {
            State::Spawning => member.state = State::Booting { slow_told: false },
            // Answered before.
            State::Booting { slow_told: _ }
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
        // What it was spawned for is over already.
        if self.leaving.iter().any(|member| member.id == id && member.is_booting()) {
            self.terminate(id, now, actions);
        }
    }

    /// The master has the errno and tells it. For good or not makes no difference here: a program that is missing now may
    /// be in the middle of an update.
    pub(super) fn spawn_failed(&mut self, id: MemberId, now: Millis, actions: &mut Vec<Action>) {
        match self.member(id).map(|member| member.state) {
            Some(State::Spawning) => {}
            // Answered before.
            Some(
                State::Booting { slow_told: _ }
                | State::Waiting
                | State::Entering { until: _ }
                | State::Ready
                | State::Away { until: _ }
                | State::Lingering { until: _ }
                | State::Disconnected { until: _ }
                | State::Draining { until: _ }
                | State::Terminated { until: _ }
                | State::Killed { until: _ },
            )
            | None => return,
        }
        let Some((member, place)) = self.remove(id) else { return };
        match self.phase {
            Phase::Starting => self.fail_start(StartFailure::SpawnFailed(id), now, actions),
            // A life of no length.
            Phase::Running => self.lost(&member, place, now, StartFailure::SpawnFailed(id), now, actions),
            Phase::New | Phase::ClosingWorkers | Phase::ClosingAgent | Phase::ClosingStrays | Phase::Ended => {}
        }
    }

    /// The start is over at full strength: every slot ready at the same time.
    pub(super) fn announce_when_ready(&mut self, actions: &mut Vec<Action>) {
        if self.slots.iter().all(Slot::is_ready) {
            self.phase = Phase::Running;
            actions.push(Action::AnnounceReady);
        }
    }

    /// The workers of a start are spawned when the agent is ready.
    pub(super) fn may_start(&self, role: Role) -> bool {
        match role {
            Role::Agent => true,
            Role::Spare { kind: _, place: _ } => false,
            Role::Worker { kind: _, slot: _ } => {
                self.slots.iter().filter(|slot| slot.role == Role::Agent).all(Slot::is_ready)
            }
        }
    }

    /// The first failure is told; it begins a close in which later ones are none.
    pub(super) fn fail_start(&mut self, failure: StartFailure, now: Millis, actions: &mut Vec<Action>) {
        actions.push(Action::AnnounceFailure(failure));
        self.begin_close(1, Manner::FailedStart, now, actions);
    }

    pub(super) fn tell_agent_slow(&mut self, id: MemberId, actions: &mut Vec<Action>) {
        if let Some(member) = self.member_mut(id) {
            member.state = State::Booting { slow_told: true };
            actions.push(Action::Notice(Notice::AgentSlow(id)));
        }
    }
}
