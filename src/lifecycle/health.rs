//! Is the application there at all? Egg's rule (egg-cluster's `ClusterWorkerExceptionError`): without an agent, or without
//! any worker, for 30 s the master gives up, so that whoever looks after it starts the whole anew. Nobody looks after a
//! daemon: it says so, again and again, and goes on.

use super::close::Manner;
use super::member::{Member, State};
use super::slot::Slot;
use super::{Action, Lifecycle, Millis, Notice, Phase, Role};

/// How long the agent, or all workers, may be missing.
const DOWN_MS: Millis = 30_000;

/// How long after a master that goes on has said so it says so again.
const AGAIN_MS: Millis = 60_000;

/// The agent, or every worker, is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Down {
    since: Millis,
    /// When something is to be said or done about it.
    due: Millis,
}

impl Lifecycle {
    /// When a running master has something to say or do about who is missing.
    pub(super) fn down_at(&self) -> Option<Millis> {
        let down = self.down.filter(|_| self.phase == Phase::Running && !self.is_spawning())?;
        (!self.waits_for_a_boot(down)).then_some(down.due)
    }

    /// Notes since when the agent or all workers are missing, and gives up, or says so, when it has been too long.
    pub(super) fn watch_health(&mut self, now: Millis, actions: &mut Vec<Action>) {
        // In development dead workers are not expected back, and egg-cluster has no such check there, for the agent neither.
        if self.phase != Phase::Running || !self.policy.refork {
            return;
        }
        if self.missing().next().is_none() {
            self.down = None;
            return;
        }
        let down = *self.down.get_or_insert(Down { since: now, due: now + DOWN_MS });
        if self.down_at().is_none_or(|due| now < due) {
            return;
        }
        let ready = |is_wanted: fn(Role) -> bool| {
            self.lives().filter(|member| is_wanted(member.role) && member.is_ready()).count()
        };
        let exits = self.policy.exit_when_down;
        actions.push(Action::Notice(Notice::Down {
            agents: ready(|role| role == Role::Agent),
            workers: ready(|role| role != Role::Agent),
            for_ms: now - down.since,
            exits,
        }));
        if exits {
            self.begin_close(1, Manner::Polite, now, actions);
        } else {
            self.down = Some(Down { due: now + AGAIN_MS, ..down });
        }
    }

    /// Of the agent and the workers as a whole: whose slots have nobody who is ready, not even behind the seat: who was let
    /// in serves, and takes the seat when its generation is complete.
    fn missing(&self) -> impl Iterator<Item = Vec<&Slot>> {
        let (agent, workers): (Vec<&Slot>, Vec<&Slot>) = self.slots.iter().partition(|slot| slot.role == Role::Agent);
        [agent, workers].into_iter().filter(|slots| !slots.is_empty() && !slots.iter().any(|slot| slot.serves()))
    }

    /// A master that would give up waits for those that began to boot in time, behind a seat too: an application that
    /// takes a minute to load is not ended while it does.
    fn waits_for_a_boot(&self, down: Down) -> bool {
        let boots = |member: &Member| match member.state {
            State::Spawning | State::Booting { slow_told: _ } | State::Waiting | State::Entering { until: _ } => {
                member.spawned_at < down.due
            }
            State::Ready
            | State::Away { until: _ }
            | State::Lingering { until: _ }
            | State::Disconnected { until: _ }
            | State::Draining { until: _ }
            | State::Terminated { until: _ }
            | State::Killed { until: _ } => false,
        };
        let somebody_boots = |slots: Vec<&Slot>| slots.iter().flat_map(|slot| slot.members()).any(boots);
        self.policy.exit_when_down && self.missing().all(somebody_boots)
    }
}
