//! Reload, scale and their cancellation as clients ask for them: what was asked becomes an event of the lifecycle, its outcome
//! an answer. The options that a reload brings come and go as the lifecycle says.

use crate::control::{Answer, Operation, Receipt, Refusal, Reload, Scale};
use crate::lifecycle::{CancelledBy, Event, OperationKind, Outcome, Patience, ReloadHow, RequestId, Standing, Wanted};
use crate::sys::{clock, crossing, descriptors};

use super::control::Kind;
use super::notices::Level;
use super::{Carried, Master, outcomes};

impl Master {
    /// A client that joins a reload brings nothing: its options are dropped here.
    pub(super) fn begin_reload(&mut self, request: RequestId, mut reload: Reload) {
        self.control.brought = reload.options.take().map(|options| (request, options));
        let how = how(&reload);
        self.tell(if reload.replace { Event::Replace { request, how } } else { Event::Reload { request, how } });
        self.control.brought = None;
    }

    pub(super) fn begin_scale(&mut self, request: RequestId, scale: Scale) {
        self.tell(Event::Scale { request, wanted: wanted(scale), patience: Patience::default() });
    }

    pub(super) fn cancel(&mut self, request: RequestId, operation: Operation) {
        let kind = match operation {
            Operation::Reload => OperationKind::Reload,
            Operation::Scale => OperationKind::Scale,
        };
        self.tell(Event::Cancel { request, kind });
    }

    /// A reload begins: its members are spawned with what its client has brought. One that a member asks for brings nothing.
    pub(super) fn adopt_options(&mut self, request: RequestId) {
        let Some((_, brought)) = self.control.brought.take_if(|(by, _)| *by == request) else { return };
        let options = &mut self.carried.options;
        let renewed = options.renewed(&brought);
        self.control.before = Some(Box::new(std::mem::replace(options, renewed)));
        self.show_options();
    }

    pub(super) fn restore_options(&mut self) {
        if let Some(before) = self.control.before.take() {
            self.carried.options = *before;
            self.show_options();
        }
    }

    /// Puts the options where commands read what runs.
    pub(super) fn show_options(&mut self) {
        let Carried { options, shown, .. } = &mut self.carried;
        let written = serde_json::to_vec(options).map_err(std::io::Error::from);
        let memory = written.and_then(|content| crossing::options_memory(&content));
        if let Err(error) = memory.and_then(|memory| descriptors::put_in_place(&memory, shown)) {
            let text = format!("a restart will not see what has changed: {error}");
            self.notices.write(Level::Warn, &text);
        }
    }

    /// The outcome of an operation, for one of the clients that wait for it.
    pub(super) fn answer_request(&mut self, request: RequestId, outcome: Outcome) {
        let kind = self.control.asked(request).map(|(kind, _)| kind);
        let outcome = match outcome {
            // What a scale had added before has gone again.
            Outcome::Failed { failure, replaced: _ } if kind == Some(Kind::Scale) => {
                Outcome::Failed { failure, replaced: 0 }
            }
            outcome => outcome,
        };
        let Carried { members, .. } = &self.carried;
        let done = match outcome {
            Outcome::Cancelled { by: CancelledBy::Request, kind: cancelled, replaced, workers }
                if kind == Some(Kind::Cancel) =>
            {
                Some(outcomes::cancelled(cancelled, replaced, workers))
            }
            outcome => outcomes::receipt(outcome),
        };
        let answer = match (done, outcomes::refusal(outcome, members, &self.seen)) {
            (Some(done), _) => Answer::Done(self.completed(request, done)),
            (None, Some(refusal)) => {
                if request == RequestId::NOBODY && matches!(outcome, Outcome::Refused(_)) {
                    // A signal or a member asked: no client can be answered.
                    let why = refusal.why.join(": ");
                    self.notices.write(Level::Warn, &format!("the reload was not begun: {why}"));
                }
                let Receipt { agent, workers, .. } = self.who_serves();
                Answer::Refused(Refusal { agent, workers: Some(workers), ..refusal })
            }
            (None, None) => return,
        };
        self.control.answer(request.0, &answer);
    }

    /// The receipt with who serves now, who left, and how long it took this client.
    fn completed(&self, request: RequestId, done: Receipt) -> Receipt {
        let since_ms = self.control.asked(request).map_or(0, |(_, since_ms)| since_ms);
        let Receipt { what, how, notes, .. } = done;
        let took_ms = clock::monotonic_ms().saturating_sub(since_ms);
        Receipt { what, how, notes, took_ms, ..self.who_serves() }.with(self.control.departed.clone())
    }

    /// A receipt with nothing but the pids of those who are ready.
    pub(super) fn who_serves(&self) -> Receipt {
        let Carried { lifecycle, members, .. } = &self.carried;
        let ready = members.iter().filter(|(id, _)| lifecycle.standing(*id) == Some(Standing::Ready));
        let (workers, agents): (Vec<_>, Vec<_>) = ready.map(|(_, one)| one).partition(|one| one.is_worker());
        let pid = |one: &&super::members::Member| one.pid;
        Receipt {
            agent: agents.iter().map(pid).next(),
            workers: workers.iter().map(pid).collect(),
            ..Receipt::default()
        }
    }
}

fn how(reload: &Reload) -> ReloadHow {
    let Reload { rolling, batch, agent, boot_timeout_ms, drain_timeout_ms, .. } = *reload;
    let patience = Patience { boot_grace_ms: boot_timeout_ms, drain_grace_ms: drain_timeout_ms };
    ReloadHow { rolling, batch, agent, patience }
}

fn wanted(scale: Scale) -> Wanted {
    match scale {
        Scale::To(count) => Wanted::Exactly(count),
        Scale::More(more) => Wanted::More(more),
        Scale::Fewer(fewer) => Wanted::Fewer(fewer),
    }
}
