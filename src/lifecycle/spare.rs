//! Spares: workers that have booted and wait at the gate, so that a lost worker's place is taken in milliseconds. They boot
//! when nothing else is to be done, and never count as capacity.

use super::member::{Member, State};
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
        let Some(slot) = self.slot_mut(role) else { return false };
        let slower = slot.seat.vacate();
        slot.seat = Seat::Taken(spare);
        if let Some(slower) = slower {
            self.retire(slower, Patience::default().drain_grace_ms, now, actions);
        }
        true
    }

    /// While a spare waits, no worker's seat is without one that listens: a spare that has booted before the successor of a
    /// lost worker is the faster one. It takes the seat, and the successor goes. (The successor could wait in the spare's
    /// place, but it was spawned as that very worker, and what it was told of its place cannot be taken back.)
    pub(super) fn stand_in(&mut self, now: Millis, actions: &mut Vec<Action>) {
        loop {
            let workers = self.slots.iter().filter(|slot| slot.role != Role::Agent);
            let Some((lack, role)) = workers.filter_map(|slot| Some((lacks(slot)?, slot.role))).max() else { return };
            let refill_at = match lack {
                Lack::Boots { since: _ } | Lack::Dying => now,
                Lack::Empty { due } => due.max(now),
            };
            if !self.spare_takes_over(role, refill_at, now, actions) {
                return;
            }
        }
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

/// What a seat has instead of a worker that listens: the longest outage is the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Lack {
    /// A successor that boots.
    Boots { since: Millis },
    /// One that hung and is being ended.
    Dying,
    /// No member until then.
    Empty { due: Millis },
}

fn lacks(slot: &Slot) -> Option<Lack> {
    let member = match &slot.seat {
        Seat::Empty { due } => return Some(Lack::Empty { due: *due }),
        // A scale that is under way will fill it.
        Seat::Closed => return None,
        Seat::Taken(member) => member,
    };
    match member.state {
        State::Booting { slow_told: _ } => Some(Lack::Boots { since: member.spawned_at }),
        State::Terminated { until: _ } | State::Killed { until: _ } => Some(Lack::Dying),
        // The answer to a spawn comes before anything else; the others listen, or are about to. One that has closed its address
        // has a moment to listen again, then its seat is empty.
        State::Spawning
        | State::Waiting
        | State::Entering { until: _ }
        | State::Ready
        | State::Away { until: _ }
        | State::Lingering { until: _ }
        | State::Disconnected { until: _ }
        | State::Draining { until: _ } => None,
    }
}
