//! What a new worker must have opened before it takes the seat of an old one: everything that the old one opened when it was
//! ready or soon after, or no client would find it there. The address that it serves decides whether it is ready at all; for
//! the others it has a while, after which they are given up, with a line in the log.

use super::address::OTHERS_MS;
use super::member::Member;
use super::operation::Operation;
use super::slot::Slot;
use super::{Action, Address, Lifecycle, MemberId, Millis, Notice};

impl Lifecycle {
    /// Are the new workers that wait for their seats all ready and complete?
    pub(super) fn generation_is_complete(&self, operation: &Operation, now: Millis) -> bool {
        let mut stale = self.slots.iter().filter(|slot| slot.stale);
        stale.all(|slot| self.is_complete(slot, operation, now))
    }

    /// Is there a new worker for this slot that is ready, and listens wherever the old one does, or has had its time for that?
    pub(super) fn is_complete(&self, slot: &Slot, operation: &Operation, now: Millis) -> bool {
        slot.next.as_ref().is_some_and(|next| {
            let is_late = complete_at(next) <= now;
            let lacks_none = || self.not_opened(slot, next, operation).next().is_none();
            next.is_ready() && !lacks_service(slot, next) && (is_late || lacks_none())
        })
    }

    /// When a new worker that is ready has had its time: nothing else would tell.
    pub(super) fn completes_at(&self) -> Option<Millis> {
        let operation = self.operation.as_ref().filter(|_| !self.is_spawning())?;
        let waits = |slot: &&Slot| {
            let next = slot.next.as_ref().filter(|next| slot.stale && next.is_ready());
            next.filter(|next| !lacks_service(slot, next))
                .is_some_and(|next| self.not_opened(slot, next, operation).next().is_some())
        };
        let due = self.slots.iter().filter(waits).filter_map(|slot| slot.next.as_ref()).map(complete_at);
        if operation.rolling {
            return due.min();
        }
        let has_service =
            |slot: &Slot| slot.next_is_ready() && !slot.next.as_ref().is_some_and(|next| lacks_service(slot, next));
        let all_ready = self.slots.iter().filter(|slot| slot.stale).all(has_service);
        due.max().filter(|_| all_ready)
    }

    /// When a reload must fail because this new worker said that it was ready, and does not listen where the old one serves.
    pub(super) fn lacks_service_until(&self, member: &Member) -> Option<Millis> {
        if self.operation.is_none() || member.listens.serves.is_some() {
            return None;
        }
        let is_here = |slot: &&Slot| slot.next.as_ref().is_some_and(|next| next.id == member.id);
        let slot = self.slots.iter().find(is_here).filter(|slot| lacks_service(slot, member))?;
        let since = member.listens.ready_at?;
        slot.stale.then_some(since.saturating_add(member.boot_grace_ms))
    }

    /// Notes what the new workers that take their seats now have not opened, and nobody else among the new.
    pub(super) fn give_up_missing(&self, operation: &mut Operation, seated: &[MemberId], actions: &mut Vec<Action>) {
        for slot in &self.slots {
            let Some(next) = slot.next.as_ref().filter(|next| seated.contains(&next.id)) else { continue };
            let lost: Vec<Address> =
                self.not_opened(slot, next, operation).filter(|address| !self.is_open_anew(*address)).collect();
            for address in lost {
                actions.push(Action::Notice(Notice::NotOpened { member: next.id, address }));
                operation.given_up.push(address);
            }
        }
    }

    /// What the old worker of this slot has open, and the new one must: each of them what all old ones have, and one of them
    /// what only some have.
    fn not_opened<'a>(
        &'a self,
        slot: &'a Slot,
        next: &'a Member,
        operation: &'a Operation,
    ) -> impl Iterator<Item = Address> + 'a {
        let old = slot.member().filter(|old| old.is_ready());
        let expected = old.into_iter().flat_map(|old| old.listens.lasting());
        expected.filter(move |address| {
            slot.expects.contains(address)
                && !next.listens.has(*address)
                && !operation.given_up.contains(address)
                && (self.all_old_have(*address) || !self.is_open_anew(*address))
        })
    }

    fn all_old_have(&self, address: Address) -> bool {
        let mut old = self.slots.iter().filter(|slot| slot.stale).filter_map(Slot::member).filter(|old| old.is_ready());
        old.all(|old| old.listens.has(address))
    }

    /// Does a new worker, in its seat or before it, listen there?
    fn is_open_anew(&self, address: Address) -> bool {
        let new = self.slots.iter().flat_map(|slot| slot.next.iter().chain(slot.member().filter(|_| !slot.stale)));
        new.filter(|new| new.is_ready()).any(|new| new.listens.has(address))
    }
}

/// Does the old worker serve at an address that lasts, and the new one not, nor at one that the options name instead?
fn lacks_service(slot: &Slot, next: &Member) -> bool {
    let lasting = slot.serves.filter(|served| served.lasts);
    let is_served = |old: &&Member| old.is_ready() && lasting.is_some_and(|served| old.listens.has(served.address));
    next.listens.serves.is_none() && slot.member().filter(is_served).is_some()
}

fn complete_at(next: &Member) -> Millis {
    next.listens.ready_at.map_or(0, |at| at.saturating_add(OTHERS_MS))
}
