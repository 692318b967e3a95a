//! Is the application there at all? What the judge holds against a master that gives up too early, too late, or not at all.

use eggctl::lifecycle::Role;

use super::world::{Process, Verdict, World};

impl World {
    /// How many agents and workers serve, in their seats or, let in by an operation, about to take them.
    pub fn serving(&self) -> (usize, usize) {
        let serves = |process: &&Process| process.serves() && process.termed_at.is_none() && !process.asked_to_drain;
        let (agents, workers): (Vec<_>, Vec<_>) =
            self.processes.iter().filter(serves).partition(|process| process.role == Role::Agent);
        (agents.len(), workers.len())
    }

    /// Has everything that is missing (the agent, any worker) somebody who began to boot within the 30 s?
    pub fn boots_in_time(&self) -> bool {
        let due = self.judge.down_since.map_or(0, |since| since + 30_000);
        let boots = |agent: bool| {
            self.processes.iter().any(|process| {
                let stays = process.open && process.termed_at.is_none() && !process.asked_to_drain;
                let is_spare = matches!(process.role, Role::Spare { .. });
                let waited_for = stays && !process.ready && !is_spare && process.spawned_at < due;
                (process.role == Role::Agent) == agent && waited_for
            })
        };
        let (agents, workers) = self.serving();
        (agents > 0 || !self.policy.agent || boots(true)) && (workers > 0 || boots(false))
    }

    /// Somebody has become ready, if only for the moment before a deadline of this very millisecond takes it away again.
    pub fn judge_up(&mut self) {
        let (agents, workers) = self.serving();
        if workers > 0 && (agents > 0 || !self.policy.agent) {
            self.judge.down_since = None;
        }
    }

    pub fn judge_health(&mut self) -> Verdict {
        let (agents, workers) = self.serving();
        let down = self.judge.is_running() && (workers == 0 || self.policy.agent && agents == 0);
        let since = self.judge.down_since.unwrap_or(self.now);
        self.judge.down_since = down.then_some(since);
        let long = down && self.policy.refork && self.policy.exit_when_down && self.now >= since + 30_000;
        must!(!long || self.pending.is_some() || self.boots_in_time(), "down since {since}, and nobody gives up");
        Ok(())
    }
}
