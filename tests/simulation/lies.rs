//! Events that are late or untrue: they must change nothing.

use eggctl::lifecycle::{Address, Death, Event, Lifecycle, MemberId, Phase, Role};

use super::coverage::Coverage;
use super::world::{Verdict, World};

impl World {
    /// Something untrue or late is told: it must change nothing.
    pub fn claim(&self, event: Event, coverage: &mut Coverage) -> Verdict {
        self.claim_to(&mut self.lifecycle.clone(), event, coverage)
    }

    fn claim_to(&self, copy: &mut Lifecycle, event: Event, coverage: &mut Coverage) -> Verdict {
        coverage.claimed(self.lifecycle.phase(), event);
        let mut actions = Vec::new();
        copy.handle(event, self.now, &mut actions);
        if *copy == self.lifecycle && actions.is_empty() {
            return Ok(());
        }
        Err(format!("{event:?} is late or untrue, and yet: {actions:?}"))
    }

    /// Every event that is late or untrue now is told, and must change nothing.
    pub fn tell_lies(&self, coverage: &mut Coverage) -> Verdict {
        if self.pending.is_some() || self.lifecycle.next_timeout().is_some_and(|due| due <= self.now) {
            return Ok(()); // Nothing comes before the answer; and a deadline that is due would act.
        }
        let (copy, death) = (&mut self.lifecycle.clone(), Death::Code(1));
        for id in [MemberId(0), MemberId(9_999_999)].into_iter().chain(self.dead) {
            for event in
                [Event::Ready(id), Event::AtGate(id), Event::Drained(id), Event::Disconnected(id), Event::Spawned(id)]
                    .into_iter()
                    .chain(self.lies_of_servers(id))
            {
                self.claim_to(copy, event, coverage)?;
            }
            self.claim_to(copy, Event::SpawnFailed { member: id, transient: true }, coverage)?;
            self.claim_to(copy, Event::Exited { member: id, death }, coverage)?;
        }
        for process in self.processes.iter().filter(|process| !process.given_up) {
            self.claim_to(copy, Event::Spawned(process.id), coverage)?;
            self.claim_to(copy, Event::SpawnFailed { member: process.id, transient: false }, coverage)?;
            if process.ready || !process.open {
                self.claim_to(copy, Event::Ready(process.id), coverage)?;
            }
            if process.at_gate || process.role == Role::Agent || process.ready {
                self.claim_to(copy, Event::AtGate(process.id), coverage)?;
            }
            if !process.asked_to_drain || process.drained {
                self.claim_to(copy, Event::Drained(process.id), coverage)?;
            }
            if !process.listens {
                self.claim_to(copy, Event::Closes { member: process.id, address: Address(0) }, coverage)?;
            }
            if !process.ready {
                self.claim_to(copy, Event::Leaves(process.id), coverage)?;
            }
            if !process.open {
                self.claim_to(copy, Event::Disconnected(process.id), coverage)?;
            }
        }
        if self.lifecycle.phase() != Phase::New {
            self.claim_to(copy, Event::Begin, coverage)?;
        }
        if self.lifecycle.phase() != Phase::ClosingStrays {
            self.claim_to(copy, Event::Alone, coverage)?;
        }
        Ok(())
    }
}
