//! Once faults stop, full strength returns; a close ends within its graces.

use eggctl::lifecycle::{Action, Death, Phase};

use super::coverage::Coverage;
use super::world::{Move, PATIENCE, Process, Verdict, World};

impl World {
    /// Faults stop: from here on the world must come to full strength (if it is to run), and a close must end, each in its
    /// time. Stubborn processes ignore TERM and never drain.
    pub fn must_end_well(&self, stubborn: bool, coverage: &mut Coverage) -> Result<World, (Box<World>, String)> {
        let mut world = self.clone();
        match world.end_well(stubborn, coverage) {
            Ok(()) => Ok(world),
            Err(words) => Err((Box::new(world), words)),
        }
    }

    fn end_well(&mut self, stubborn: bool, coverage: &mut Coverage) -> Verdict {
        let (worker_grace, agent_grace) = (self.policy.worker_close_grace_ms, self.policy.agent_close_grace_ms);
        let began = self.now;
        self.calm_down(stubborn, coverage)?;
        let mut took = self.now - began;
        if self.judge.gave_up_down {
            took = took.saturating_sub(65_000); // It may have been up to there.
        }
        if self.lifecycle.phase() == Phase::Running {
            let (agents, _) = self.ready();
            must!(self.full_strength() || !self.policy.refork, "faults have stopped, full strength does not return");
            must!(agents == usize::from(self.policy.agent), "faults have stopped, and there is no agent");
            must!(self.lifecycle.operation().is_none(), "{:?} never ends", self.lifecycle.operation());
            // An operation may have been under way, and another asked for by a member behind it.
            let most = 65_000 + 2 * (PATIENCE.drain_grace_ms + worker_grace + agent_grace);
            must!(took <= most, "full strength took {took} ms");
        }
        if matches!(self.lifecycle.phase(), Phase::New | Phase::Running) {
            let began = self.now;
            self.step(Move::Close, coverage)?;
            self.calm_down(stubborn, coverage)?;
            took = self.now - began;
        }
        must!(self.lifecycle.phase() == Phase::Ended, "the close hangs in {:?}", self.lifecycle.phase());
        // A failed start may have waited a second for a true end, a stray has its second.
        let most = if stubborn { worker_grace + agent_grace + 2_000 } else { 1_000 };
        let began_unkind = self.closes > 1 || self.judge.announced != Some(Action::AnnounceReady);
        let failed = self.judge.failed_start;
        must!(!failed || took <= 3_000, "the end of a failed start took {took} ms");
        must!(took <= most || began_unkind && took <= most + worker_grace + agent_grace, "the close took {took} ms");
        Ok(())
    }

    /// Faults stop: whoever is asked does it at once (or, `stubborn`, only what KILL and strength need), until nothing
    /// more happens by itself.
    pub fn calm_down(&mut self, stubborn: bool, coverage: &mut Coverage) -> Verdict {
        for _ in 0..100_000 {
            let reaction = if self.pending.is_some() {
                Some(Move::Answer(true))
            } else if self.strays > 0 && (self.strays_killed || !stubborn) && !self.full_strength() {
                Some(Move::StraysEnd)
            } else {
                self.processes.iter().find_map(|process| self.reaction(process, stubborn))
            };
            let next = match reaction {
                Some(reaction) => reaction,
                None if self.lifecycle.next_timeout().is_some() && !self.at_rest() => Move::Deadline,
                None => return Ok(()),
            };
            self.step(next, coverage)?;
        }
        Err("it never comes to rest".to_owned())
    }

    /// Running at full strength, or over: what is left to happen is only the end of those who linger.
    fn at_rest(&self) -> bool {
        let calm = self.full_strength() && self.lifecycle.operation().is_none();
        self.lifecycle.phase() == Phase::Ended || self.lifecycle.phase() == Phase::Running && calm
    }

    /// What it does when it is asked.
    fn reaction(&self, process: &Process, stubborn: bool) -> Option<Move> {
        if process.killed_at.is_some() {
            Some(Move::Die(process.id, Death::Signal(9), 0))
        } else if process.termed_at.is_some() {
            (!stubborn).then_some(Move::Die(process.id, Death::Code(0), 0))
        } else if process.open && process.asked_to_drain && !process.drained {
            (!stubborn).then_some(Move::Drain(process.id))
        } else if process.open && self.lifecycle.is_held(process.id) {
            (!process.at_gate).then_some(if self.passes_gate {
                self.becomes_ready(process)
            } else {
                Move::AtGate(process.id)
            })
        } else if process.open && !process.ready {
            Some(self.becomes_ready(process))
        } else if process.has_left {
            (!stubborn).then_some(Move::Die(process.id, Death::Code(0), 0))
        } else {
            None
        }
    }
}
