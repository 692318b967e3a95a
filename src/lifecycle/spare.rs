//! Spares: workers that have booted and wait at the gate, so that a lost worker's place is taken in milliseconds. They boot
//! when nothing else is to be done, and never count as capacity.

use super::member::Member;
use super::request::Patience;
use super::slot::{Seat, Slot};
use super::{Action, Lifecycle, MemberId, Millis, Notice, Phase, Role};

impl Lifecycle {
    /// The places that are to be filled: at full strength only, and not while an operation is under way.
    pub(super) fn spares_wanted(&self) -> impl Iterator<Item = &Slot> {
        let calm = self.phase == Phase::Running && self.operation.is_none() && self.slots.iter().all(Slot::is_ready);
        self.spares.iter().filter(move |_| calm)
    }

    /// A spare that waits takes the place of the lost worker; its own is refilled then. False when there is none.
    pub(super) fn spare_takes_over(
        &mut self,
        role: Role,
        refill_at: Millis,
        now: Millis,
        actions: &mut Vec<Action>,
    ) -> bool {
        match role {
            Role::Agent | Role::Spare { kind: _, place: _ } => return false,
            Role::Worker { kind: _, slot: _ } => {}
        }
        let waits = |place: &&mut Slot| place.member().is_some_and(Member::is_waiting);
        let Some(place) = self.spares.iter_mut().find(waits) else { return false };
        let Some(mut spare) = place.seat.vacate() else { return false };
        place.seat = Seat::Empty { due: refill_at };
        actions.push(Action::Notice(Notice::SpareTakesOver { spare: spare.id, role }));
        spare.role = role;
        spare.let_in(now, actions);
        if let Some(slot) = self.slot_mut(role) {
            slot.seat = Seat::Taken(spare);
        }
        true
    }

    /// What waits was booted before a reload: new ones boot when it is over.
    pub(super) fn recycle_spares(&mut self, drain_grace_ms: Millis, now: Millis, actions: &mut Vec<Action>) {
        self.dismiss_spares(drain_grace_ms, now, actions);
        for place in &mut self.spares {
            (place.seat, place.deaths) = (Seat::Empty { due: now }, 0);
        }
    }

    /// A spare listens already: it would serve without its turn.
    pub(super) fn spare_passed_gate(&mut self, id: MemberId, now: Millis, actions: &mut Vec<Action>) {
        actions.push(Action::Notice(Notice::NoSpares(id)));
        self.dismiss_spares(Patience::default().drain_grace_ms, now, actions);
    }

    /// All go, and their places are closed.
    fn dismiss_spares(&mut self, drain_grace_ms: Millis, now: Millis, actions: &mut Vec<Action>) {
        let spares: Vec<Member> = self.spares.iter_mut().filter_map(|place| place.seat.vacate()).collect();
        for spare in spares {
            self.retire(spare, drain_grace_ms, now, actions);
        }
    }
}
