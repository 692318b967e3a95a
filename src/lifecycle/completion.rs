//! How an operation ends: done, failed, given up, or interrupted by the close.
//!
//! Where it ends early, what has no seat yet is dismissed and the old members stay; a scale to more is undone. The options that
//! a reload has brought stay if a member that was spawned with them has taken a seat, since another may have to replace it.

use super::agents_turn::AgentTurn;
use super::operation::Operation;
use super::request::{Asked, CancelledBy, OperationKind, RequestId};
use super::{Action, Lifecycle, Millis, Notice, Outcome, Phase, Refusal, StartFailure};

impl Lifecycle {
    /// A new member did not come up.
    pub(super) fn fail_operation(&mut self, failure: StartFailure, now: Millis, actions: &mut Vec<Action>) {
        let outcome = |replaced| Outcome::Failed { failure, replaced };
        if let Some((operation, outcome)) = self.end_early(outcome, now, actions) {
            self.answer_all(operation, outcome, actions);
        }
    }

    /// A client wants the operation under way to be given up.
    pub(super) fn cancel_asked(
        &mut self,
        request: RequestId,
        kind: OperationKind,
        now: Millis,
        actions: &mut Vec<Action>,
    ) {
        let refusal = match self.phase {
            Phase::New | Phase::Starting => Refusal::Starting,
            Phase::ClosingWorkers | Phase::ClosingAgent | Phase::ClosingStrays | Phase::Ended => Refusal::Closing,
            Phase::Running => Refusal::NotUnderWay(kind),
        };
        let is_under_way = self.operation.as_ref().is_some_and(|operation| operation.asked.kind() == kind);
        let given_up = if is_under_way { self.give_up_operation(CancelledBy::Request, now, actions) } else { None };
        answer(request, given_up.unwrap_or(Outcome::Refused(refusal)), actions);
    }

    /// Ends the operation under way as it is. What a member has asked for meanwhile goes with it: it would hang again.
    pub(super) fn give_up_operation(
        &mut self,
        by: CancelledBy,
        now: Millis,
        actions: &mut Vec<Action>,
    ) -> Option<Outcome> {
        let (kind, workers) = (self.operation.as_ref()?.asked.kind(), self.policy.workers);
        let outcome = |replaced| Outcome::Cancelled { by, kind, replaced, workers };
        let (mut operation, outcome) = self.end_early(outcome, now, actions)?;
        operation.again = None;
        self.answer_all(operation, outcome, actions);
        Some(outcome)
    }

    /// The operation is over before its end: members that have no seat are dismissed.
    fn end_early(
        &mut self,
        outcome: impl FnOnce(u32) -> Outcome,
        now: Millis,
        actions: &mut Vec<Action>,
    ) -> Option<(Operation, Outcome)> {
        let operation = self.operation.take()?;
        let drain_grace_ms = operation.patience().drain_grace_ms;
        let outcome = outcome(operation.replaced);
        actions.push(Action::Notice(Notice::Done(outcome)));
        if operation.is_reload() && operation.replaced == 0 {
            actions.push(Action::RestoreOptions);
        }
        let mut dismissed = Vec::new();
        for slot in &mut self.slots {
            slot.stale = false;
            dismissed.extend(slot.next.take());
        }
        self.retire_all(dismissed, drain_grace_ms, now, actions);
        self.keep_workers(drain_grace_ms, now, actions);
        Some((operation, outcome))
    }

    pub(super) fn finish(&mut self, operation: Operation, now: Millis, actions: &mut Vec<Action>) {
        let outcome = match operation.asked {
            Asked::Reload(_) => Outcome::Reloaded {
                workers: self.policy.workers,
                rolling: operation.rolling,
                without_agent_ms: match operation.agent {
                    AgentTurn::Back { after_ms } => Some(after_ms),
                    AgentTurn::Keep
                    | AgentTurn::Wanted
                    | AgentTurn::Leaving { since: _ }
                    | AgentTurn::Booting { since: _ } => None,
                },
            },
            Asked::Scale { to, patience: _ } => {
                self.policy.workers = to;
                Outcome::Scaled { from: operation.from, to }
            }
        };
        actions.push(Action::Notice(Notice::Done(outcome)));
        self.answer_all(operation, outcome, actions);
        // Whatever it asks for next is spawned in this turn.
        self.operate(now, actions);
    }

    fn answer_all(&mut self, operation: Operation, outcome: Outcome, actions: &mut Vec<Action>) {
        for request in operation.requests {
            answer(request, outcome, actions);
        }
        if let Some(how) = operation.again {
            self.reload_asked(RequestId::NOBODY, how, actions);
        }
    }

    /// The master is to close: the operation is given up as it is, the close ends its members with all others.
    pub(super) fn interrupt(&mut self, actions: &mut Vec<Action>) {
        if let Some(operation) = self.operation.take() {
            actions.push(Action::Notice(Notice::Done(Outcome::Interrupted)));
            for request in operation.requests {
                answer(request, Outcome::Interrupted, actions);
            }
        }
    }
}

/// Answers, unless no client has asked.
pub(super) fn answer(request: RequestId, outcome: Outcome, actions: &mut Vec<Action>) {
    if request != RequestId::NOBODY {
        actions.push(Action::Answer { request, outcome });
    }
}
