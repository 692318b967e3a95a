//! The long operations of a running master, one at a time: reload and scale. Both put a new member behind the seat of each
//! stale slot; the seat goes on as it is until that one may take it.
//!
//! By generation the new ones wait at the gate until all are there, are let in together, and take their seats when all are
//! ready. Rolling, each takes its seat as soon as it is ready. A member that is replaced leaves politely. How it ends is in
//! [`super::completion`].

use super::agents_turn::AgentTurn;
use super::close::Manner;
use super::member::Member;
use super::request::{Asked, Patience, RequestId};

use super::completion::answer;
use super::slot::{Place, Seat, Slot};
use super::{
    Action, Address, CancelledBy, Kind, Lifecycle, MemberId, Millis, Notice, Outcome, Phase, Refusal, ReloadHow, Role,
    StartFailure, Wanted,
};

/// What an operation has to remember beside the slots.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Operation {
    pub asked: Asked,
    /// Who is to be answered. The master bounds how many can ask at the same time.
    pub requests: Vec<RequestId>,
    /// Each new member takes its seat by itself, and does not wait at the gate.
    pub rolling: bool,
    /// How many workers there were.
    pub from: u32,
    /// How many new workers it needs.
    pub wanted: u32,
    /// How many have their seats.
    pub replaced: u32,
    spares_recycled: bool,
    pub agent: AgentTurn,
    /// A member asked for another reload meanwhile: what it asks for may be newer than what has booted.
    pub again: Option<ReloadHow>,
    /// Addresses of old workers that no new one has opened in its time.
    pub given_up: Vec<Address>,
}

impl Operation {
    fn new(asked: Asked, request: RequestId, from: u32) -> Self {
        let (rolling, wanted, agent) = match asked {
            Asked::Reload(how) => (how.rolling, from, if how.agent { AgentTurn::Wanted } else { AgentTurn::Keep }),
            Asked::Scale { to, patience: _ } => (true, to.saturating_sub(from), AgentTurn::Keep),
        };
        let requests = vec![request];
        Self {
            asked,
            requests,
            rolling,
            from,
            wanted,
            replaced: 0,
            spares_recycled: false,
            agent,
            again: None,
            given_up: Vec::new(),
        }
    }

    pub fn is_reload(&self) -> bool {
        matches!(self.asked, Asked::Reload(_))
    }

    pub fn patience(&self) -> Patience {
        match self.asked {
            Asked::Reload(how) => how.patience,
            Asked::Scale { to: _, patience } => patience,
        }
    }
}

impl Lifecycle {
    /// Every worker is to be replaced.
    pub(super) fn reload_asked(&mut self, request: RequestId, how: ReloadHow, actions: &mut Vec<Action>) {
        if let Some(operation) = self.operation.as_mut().filter(|_| request == RequestId::NOBODY) {
            operation.again = Some(how);
            return;
        }
        if self.refuses(request, Asked::Reload(how), actions) {
            return;
        }
        if how.agent && !self.policy.agent {
            return answer(request, Outcome::Refused(Refusal::NoAgent), actions);
        }
        actions.extend([Action::AdoptOptions(request), Action::Notice(Notice::Reloading(how))]);
        for slot in self.slots.iter_mut().filter(|slot| slot.role != Role::Agent) {
            slot.stale = true;
        }
        self.operation = Some(Operation::new(Asked::Reload(how), request, self.policy.workers));
    }

    /// Every worker is to be replaced, and a reload that is under way is not waited for.
    pub(super) fn replace_asked(&mut self, request: RequestId, how: ReloadHow, now: Millis, actions: &mut Vec<Action>) {
        let is_possible = self.policy.agent || !how.agent;
        if is_possible && self.operation.as_ref().is_some_and(Operation::is_reload) {
            self.give_up_operation(CancelledBy::Reload, now, actions);
        }
        self.reload_asked(request, how, actions);
    }

    /// There are to be so many workers: new slots at the end, or fewer of the last.
    pub(super) fn scale_asked(
        &mut self,
        request: RequestId,
        wanted: Wanted,
        patience: Patience,
        now: Millis,
        actions: &mut Vec<Action>,
    ) {
        let from = self.policy.workers;
        let Some(to) = wanted.from(from) else {
            return answer(request, Outcome::Refused(Refusal::Count), actions);
        };
        let asked = Asked::Scale { to, patience };
        if self.refuses(request, asked, actions) {
            return;
        }
        if to == from {
            return answer(request, Outcome::Scaled { from, to }, actions);
        }
        actions.push(Action::Notice(Notice::Scaling { from, to }));
        self.operation = Some(Operation::new(asked, request, from));
        for slot in from..to {
            let new = Slot::new(Role::Worker { kind: Kind(0), slot });
            self.slots.push(Slot { seat: Seat::Closed, stale: true, ..new });
        }
        if to < from {
            self.policy.workers = to;
            self.keep_workers(patience.drain_grace_ms, now, actions);
        }
    }

    /// Not now, or joined to the operation under way?
    fn refuses(&mut self, request: RequestId, asked: Asked, actions: &mut Vec<Action>) -> bool {
        let refusal = match (self.phase, &mut self.operation) {
            (Phase::New | Phase::Starting, _) => Refusal::Starting,
            (Phase::ClosingWorkers | Phase::ClosingAgent | Phase::ClosingStrays | Phase::Ended, _) => Refusal::Closing,
            (Phase::Running, None) => return false,
            (Phase::Running, Some(operation)) if operation.asked == asked => {
                operation.requests.push(request);
                return true;
            }
            (Phase::Running, Some(Operation { asked: Asked::Reload(_), .. })) => Refusal::Reloading,
            (Phase::Running, Some(Operation { asked: Asked::Scale { .. }, .. })) => Refusal::Scaling,
        };
        answer(request, Outcome::Refused(refusal), actions);
        true
    }

    /// Compares what the operation wants with what is there.
    pub(super) fn operate(&mut self, now: Millis, actions: &mut Vec<Action>) {
        if self.is_spawning() {
            return;
        }
        let Some(mut operation) = self.operation.take() else { return };
        if self.go_on_operating(&mut operation, now, actions) {
            self.finish(operation, now, actions);
        } else {
            self.operation = Some(operation);
        }
    }

    /// True when all is done.
    fn go_on_operating(&mut self, operation: &mut Operation, now: Millis, actions: &mut Vec<Action>) -> bool {
        let drain_grace_ms = operation.patience().drain_grace_ms;
        let all_nexts = |is: fn(&Member) -> bool| {
            self.slots.iter().filter(|slot| slot.stale).all(|slot| slot.next.as_ref().is_some_and(is))
        };
        if operation.rolling || self.generation_is_complete(operation, now) {
            self.seat_the_complete(operation, drain_grace_ms, now, actions);
        } else if all_nexts(Member::is_waiting) {
            for next in self.slots.iter_mut().filter_map(|slot| slot.next.as_mut()) {
                next.let_in(now, actions);
            }
        }
        if self.slots.iter().any(|slot| slot.stale) {
            return false;
        }
        if operation.is_reload() && !operation.spares_recycled {
            operation.spares_recycled = true;
            self.recycle_spares(drain_grace_ms, now, actions);
        }
        let somebody_leaves = self.leaving.iter().any(Member::is_going);
        if operation.agent == AgentTurn::Wanted && somebody_leaves {
            return false; // Who leaves may still need it.
        }
        self.agents_turn(operation, now, actions) && !somebody_leaves
    }

    /// Every new member that is ready, and has opened what is expected of it, takes its seat, and the old one leaves.
    fn seat_the_complete(
        &mut self,
        operation: &mut Operation,
        drain_grace_ms: Millis,
        now: Millis,
        actions: &mut Vec<Action>,
    ) {
        let complete = self.slots.iter().filter(|slot| slot.stale && self.is_complete(slot, operation, now));
        let seated: Vec<MemberId> = complete.filter_map(|slot| slot.next.as_ref()).map(|next| next.id).collect();
        self.give_up_missing(operation, &seated, actions);
        let mut old = Vec::new();
        for slot in self.slots.iter_mut().filter(|slot| slot.stale) {
            if let Some(next) = slot.next.take_if(|next| seated.contains(&next.id)) {
                old.extend(slot.seat.vacate());
                slot.take_seat(next);
                (slot.stale, slot.deaths) = (false, 0);
                operation.replaced += 1;
            }
        }
        self.retire_all(old, drain_grace_ms, now, actions);
    }

    /// Asks these to leave. What only they listened on is closed with that.
    pub(super) fn retire_all(
        &mut self,
        old: Vec<Member>,
        drain_grace_ms: Millis,
        now: Millis,
        actions: &mut Vec<Action>,
    ) {
        let some = !old.is_empty();
        for member in old {
            self.retire(member, drain_grace_ms, now, actions);
        }
        if some {
            self.give_back(actions);
        }
    }

    /// Asks a member to leave whose place is taken or not wanted any more: politely if it is ready.
    pub(super) fn retire(
        &mut self,
        mut member: Member,
        drain_grace_ms: Millis,
        now: Millis,
        actions: &mut Vec<Action>,
    ) {
        let kill_at = now.saturating_add(self.policy.worker_close_grace_ms);
        member.retired = true;
        member.ask_to_leave(Manner::Polite, now.saturating_add(drain_grace_ms), kill_at, actions);
        self.leaving.push(member);
    }

    /// The last slots go, down to as many workers as there are to be.
    pub(super) fn keep_workers(&mut self, drain_grace_ms: Millis, now: Millis, actions: &mut Vec<Action>) {
        let keep = usize::from(self.policy.agent) + self.policy.workers as usize;
        let mut gone = Vec::new();
        while self.slots.len() > keep
            && let Some(mut slot) = self.slots.pop()
        {
            gone.extend(slot.seat.vacate());
        }
        self.retire_all(gone, drain_grace_ms, now, actions);
    }

    /// A place has lost its member while the master runs, which had lived since `spawned_at`.
    pub(super) fn lost(
        &mut self,
        member: &Member,
        place: Place,
        spawned_at: Millis,
        failure: StartFailure,
        now: Millis,
        actions: &mut Vec<Action>,
    ) {
        match place {
            Place::Leaving => {}
            Place::Next => self.fail_operation(failure, now, actions),
            Place::Seat => {
                if member.role == Role::Agent && self.agent_went(member, now) {
                    return;
                }
                if self.is_new_agent_of_operation(member.role) {
                    self.fail_operation(failure, now, actions);
                }
                self.lost_a_new_one(member.role, failure, now, actions);
                self.vacate(member.role, spawned_at, now, actions);
            }
        }
    }

    /// Where a new worker is lost that has its seat already, a rolling reload goes no further: the others are good.
    pub(super) fn lost_a_new_one(&mut self, role: Role, failure: StartFailure, now: Millis, actions: &mut Vec<Action>) {
        let is_rolling = self.operation.as_ref().is_some_and(|operation| operation.rolling && operation.is_reload());
        let is_new = self.slots.iter().any(|slot| slot.role == role && role != Role::Agent && !slot.stale);
        if is_rolling && is_new && self.slots.iter().any(|slot| slot.stale) {
            self.fail_operation(failure, now, actions);
        }
    }

    /// Does this member wait to take a seat?
    pub(super) fn is_next(&self, id: MemberId) -> bool {
        self.slots.iter().filter_map(|slot| slot.next.as_ref()).any(|next| next.id == id)
    }

    /// Boots one more new member, as far as the batch goes.
    pub(super) fn spawn_next_of_operation(&mut self, now: Millis, actions: &mut Vec<Action>) {
        let Some(operation) = &self.operation else { return };
        let spare_cores = self.policy.cores.saturating_sub(self.policy.workers);
        let batch = match operation.asked {
            Asked::Reload(how) => how.batch.unwrap_or(spare_cores),
            Asked::Scale { .. } => spare_cores,
        };
        let (held, boot_grace_ms) = (!operation.rolling, operation.patience().boot_grace_ms);
        let under_way = self.slots.iter().filter_map(|slot| slot.next.as_ref()).filter(|next| !next.is_waiting());
        if under_way.count() >= batch.max(1) as usize {
            return;
        }
        let wanting = |slot: &Slot| slot.stale && slot.next.is_none();
        let Some(role) = self.slots.iter().find(|slot| wanting(slot)).map(|slot| slot.role) else { return };
        let member = self.new_member(role, now, boot_grace_ms, held);
        actions.push(Action::Spawn { member: member.id, role });
        if let Some(slot) = self.slot_mut(role) {
            slot.next = Some(member);
        }
    }

    /// A member that was to wait at the gate listens already.
    pub(super) fn passed_gate(&mut self, id: MemberId, now: Millis, actions: &mut Vec<Action>) {
        let Some(operation) = &mut self.operation else { return };
        operation.rolling = true;
        actions.push(Action::Notice(Notice::PassedGate(id)));
        for next in self.slots.iter_mut().filter_map(|slot| slot.next.as_mut()) {
            next.let_in(now, actions);
        }
    }
}
