//! A worker and the address that it serves. Leaving that address is leaving: a worker that closes it is not ready from then on,
//! and is replaced unless it listens there again within a second. Its socket stays open meanwhile, and for as long as a
//! worker, a successor or a refork for it is due, so that clients wait instead of being refused.

use super::address::{Known, PATIENCE_MS, Served};
use super::member::{Member, State};
use super::request::{Asked, Patience};
use super::slot::{Seat, Slot};
use super::{Action, Address, Lifecycle, Listen, MemberId, Millis, Notice, Phase, Role, StartFailure};

/// An address that the last worker which had it open has closed, with the time since when no worker has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Deserted {
    pub address: Address,
    since: Millis,
}

impl Deserted {
    pub fn due(self, boot_grace_ms: Millis) -> Millis {
        self.since.saturating_add(boot_grace_ms)
    }
}

impl Lifecycle {
    /// Must the socket of this address stay open though no worker has it? True while a slot whose last worker served there, or
    /// had opened it along with that, has no worker that has settled.
    #[must_use]
    pub fn keeps(&self, address: Address) -> bool {
        self.slots.iter().any(|slot| slot.is_due() && slot.expects.contains(&address))
    }

    /// Where this member serves, if that is known.
    #[must_use]
    pub fn serves(&self, member: MemberId) -> Option<Address> {
        self.member(member)?.listens.serves.map(|served| served.address)
    }

    /// A member has begun to listen.
    pub(super) fn listens(&mut self, id: MemberId, listen: Listen, now: Millis, actions: &mut Vec<Action>) {
        let Some(known) = self.known_place(id) else { return };
        self.catch_up(id, now);
        let Some(member) = self.member_mut(id) else { return };
        member.listens.open(listen, now);
        match member.state {
            State::Booting { slow_told: _ } | State::Waiting | State::Entering { until: _ } => {
                self.decide(id, now, actions)
            }
            State::Ready => {
                member.listens.learn(known);
                self.expect_of_seat(id);
            }
            State::Away { until: _ } if member.serves_at(listen.address) => {
                member.state = State::Ready;
                self.expect_of_seat(id);
            }
            // It is on its way out, or nothing can be heard from it yet.
            State::Away { until: _ }
            | State::Lingering { until: _ }
            | State::Spawning
            | State::Disconnected { until: _ }
            | State::Draining { until: _ }
            | State::Terminated { until: _ }
            | State::Killed { until: _ } => {}
        }
        self.deserted.retain(|one| one.address != listen.address);
    }

    /// A member has closed its server at this address.
    pub(super) fn closes(&mut self, id: MemberId, address: Address, now: Millis) {
        if !self.member(id).is_some_and(|member| member.listens.has(address)) {
            return;
        }
        self.catch_up(id, now);
        let Some(member) = self.member_mut(id) else { return };
        member.listens.close(address);
        match member.state {
            State::Ready if member.serves_at(address) => {
                member.state = State::Away { until: now.saturating_add(PATIENCE_MS) };
                if self.lives().all(|other| !other.listens.has(address)) {
                    self.deserted.push(Deserted { address, since: now });
                }
            }
            // It goes on without: whoever follows it is not expected to have it.
            State::Ready => self.expect_no_more(id, address),
            State::Spawning
            | State::Booting { slow_told: _ }
            | State::Waiting
            | State::Entering { until: _ }
            | State::Away { until: _ }
            | State::Lingering { until: _ }
            | State::Disconnected { until: _ }
            | State::Draining { until: _ }
            | State::Terminated { until: _ }
            | State::Killed { until: _ } => {}
        }
    }

    /// A worker has said that it leaves the cluster: it does not come back.
    pub(super) fn leaves(&mut self, id: MemberId, now: Millis, actions: &mut Vec<Action>) {
        // In a start, and before it is ready, its end tells more. The close asks every worker anyway.
        let serves = |member: &Member| matches!(member.state, State::Ready | State::Away { until: _ });
        if self.phase == Phase::Running && self.member(id).is_some_and(serves) {
            self.loses_its_seat(id, now, actions);
        }
    }

    /// It has not listened again in time.
    pub(super) fn stays_away(&mut self, id: MemberId, now: Millis, actions: &mut Vec<Action>) {
        if self.phase == Phase::Starting {
            return self.fail_start(StartFailure::Closed(id), now, actions);
        }
        if !self.is_next(id) {
            actions.push(Action::Notice(Notice::LeftAddress(id)));
        }
        self.loses_its_seat(id, now, actions);
    }

    /// Another takes its place; it has as long as one that was asked to leave to end by itself.
    fn loses_its_seat(&mut self, id: MemberId, now: Millis, actions: &mut Vec<Action>) {
        if self.is_next(id) {
            return self.fail_operation(StartFailure::Closed(id), now, actions);
        }
        let Some(member) = self.member_mut(id).filter(|member| member.role != Role::Agent) else { return };
        member.linger(now.saturating_add(Patience::default().drain_grace_ms), actions);
        let (role, spawned_at) = (member.role, member.spawned_at);
        self.leave_slot(id);
        self.lost_a_new_one(role, StartFailure::Closed(id), now, actions);
        self.vacate(role, spawned_at, now, actions);
        if !self.policy.refork {
            self.give_back(actions);
        }
    }

    /// Does this member's listening show that it is ready? Then the master is asked to welcome it, and answers with `Ready`.
    pub(super) fn decide(&mut self, id: MemberId, now: Millis, actions: &mut Vec<Action>) {
        let Some((due, served)) = self.member(id).and_then(|member| self.decision(member)) else { return };
        if due <= now
            && let Some(member) = self.member_mut(id)
        {
            member.listens.serves = Some(served);
            actions.push(Action::Welcome { member: id, address: served.address });
        }
    }

    /// What decides that this member is ready, and when; none when nothing does, or it has been decided.
    pub(super) fn decision(&self, member: &Member) -> Option<(Millis, Served)> {
        if member.listens.is_empty() || member.listens.serves.is_some() {
            return None;
        }
        member.listens.decision(self.known_place(member.id)?)
    }

    /// When the log must say that this member listens elsewhere, and where that is.
    pub(super) fn elsewhere(&self, member: &Member) -> Option<(Millis, Address)> {
        // Asked in every turn for every worker: nearly all are answered here.
        let listens = &member.listens;
        if listens.is_empty() || listens.elsewhere_noted || listens.serves.is_some() {
            return None;
        }
        listens.elsewhere(self.known_place(member.id)?)
    }

    pub(super) fn note_elsewhere(&mut self, id: MemberId, actions: &mut Vec<Action>) {
        let Some((_, address)) = self.member(id).and_then(|member| self.elsewhere(member)) else { return };
        let served = self.known_place(id).and_then(|known| known.served).map(|served| served.address);
        if let Some(member) = self.member_mut(id) {
            member.listens.elsewhere_noted = true;
            actions.push(Action::Notice(Notice::ListensElsewhere { member: id, address, served }));
        }
    }

    /// What is known about the place that this worker is to serve; none for an agent.
    pub(super) fn known_place(&self, id: MemberId) -> Option<Known> {
        let member = self.member(id).filter(|member| member.role != Role::Agent)?;
        let own = self.slots.iter().find(|slot| slot.role == member.role).and_then(|slot| slot.serves);
        let served = own.or_else(|| self.slots.iter().find_map(|slot| slot.serves));
        let reloads = self.operation.as_ref().is_some_and(|operation| matches!(operation.asked, Asked::Reload(_)));
        let strict = member.held || reloads && self.is_next(id);
        Some(Known { served, strict, is_start: self.phase == Phase::Starting })
    }

    /// What a ready worker in a seat has opened until it settles is expected of those who follow it.
    pub(super) fn expect_of_seat(&mut self, id: MemberId) {
        let holds = |slot: &&mut Slot| slot.member().is_some_and(|member| member.id == id);
        if let Some(slot) = self.slots.iter_mut().find(holds) {
            slot.note_opened();
        }
        self.expect_again(id);
    }

    /// What a ready worker serves is expected again of all who are due where it was served, also if it was closed for good.
    fn expect_again(&mut self, id: MemberId) {
        let Some(address) = self.serves(id) else { return };
        let served_there = |slot: &&mut Slot| slot.serves.is_some_and(|served| served.address == address);
        for slot in self.slots.iter_mut().filter(served_there) {
            if slot.is_due() && !slot.expects.contains(&address) {
                slot.expects.push(address);
            }
        }
    }

    fn expect_no_more(&mut self, id: MemberId, address: Address) {
        for slot in &mut self.slots {
            if slot.member().is_some_and(|member| member.id == id) {
                slot.expects.retain(|expected| *expected != address);
            }
        }
    }

    /// Is something expected of this member that it does not have open? Else no socket depends on its settling, and an idle
    /// master does not wake for it: [`Self::catch_up`] makes up for it.
    pub(super) fn settling_matters(&self, member: &Member) -> bool {
        let seat = self.slots.iter().find(|slot| slot.member().is_some_and(|seated| seated.id == member.id));
        seat.is_some_and(|slot| slot.expects.iter().any(|address| !member.listens.has(*address)))
    }

    /// Before this member opens or closes something: has it settled meanwhile, without a wake-up?
    fn catch_up(&mut self, id: MemberId, now: Millis) {
        let is_settled = |member: &&Member| {
            member.listens.settles_at().is_some_and(|at| at <= now) && !self.settling_matters(member)
        };
        if self.member(id).filter(is_settled).is_some()
            && let Some(member) = self.member_mut(id)
        {
            member.listens.settled = true;
        }
    }

    /// Sockets may have lost their last worker: those that are not kept are closed.
    pub(super) fn give_back(&self, actions: &mut Vec<Action>) {
        let some_are_open = self.lives().any(|member| !member.listens.is_empty());
        if some_are_open || self.slots.iter().any(|slot| !slot.expects.is_empty()) {
            actions.push(Action::GiveBack);
        }
    }

    /// It has been ready for so long that what its slot expects is what it has.
    pub(super) fn settles(&mut self, id: MemberId, actions: &mut Vec<Action>) {
        if let Some(member) = self.member_mut(id) {
            member.listens.settled = true;
        }
        for slot in &mut self.slots {
            if let Seat::Taken(member) = &slot.seat
                && member.id == id
                && member.is_ready()
            {
                slot.expects = member.listens.addresses().collect();
            }
        }
        actions.push(Action::GiveBack);
    }

    /// All workers that live have closed it, and none has opened it for as long as a boot may take.
    pub(super) fn desert(&mut self, address: Address, actions: &mut Vec<Action>) {
        self.deserted.retain(|one| one.address != address);
        if self.keeps(address) {
            for slot in &mut self.slots {
                slot.expects.retain(|expected| *expected != address);
            }
            actions.extend([Action::Notice(Notice::Deserted(address)), Action::GiveBack]);
        }
    }
}
