//! What the judge knows of reload, scale and spares: its own account of who may take whose seat when.

use eggctl::lifecycle::{
    CancelledBy, MemberId, Millis, Notice, OperationKind, Outcome, Patience, ReloadHow, RequestId, Role, StartFailure,
};

use super::judge::Account;
use super::world::{Process, Verdict, World};

/// A new member that waits to take a seat.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Next {
    pub role: Role,
    pub id: MemberId,
    pub spawned_at: Millis,
    /// It is ready, and its channel open.
    pub ready: bool,
}

/// The operation under way, as the judge sees it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Op {
    /// How it reloads; none: it scales.
    reload: Option<ReloadHow>,
    from: u32,
    to: u32,
    /// Since it was asked for so, or since somebody passed the gate.
    rolling: bool,
    /// Whose seats are to be taken.
    wanting: Vec<Role>,
    pub nexts: Vec<Next>,
    replaced: u32,
    /// Who took a seat.
    seated: Vec<MemberId>,
    /// So many workers are ready at least, but for those that faults have taken.
    pub floor: usize,
    pub agent: AgentTurn,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AgentTurn {
    Stays,
    Leaves { since: Millis },
    IsAwaited { since: Millis },
    IsBack { after_ms: Millis },
}

/// What the judge remembers of operations.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Operations {
    pub op: Option<Op>,
    /// A reload has brought its options, and is to begin in this turn.
    pub adopted: bool,
    /// A reload has ended without a trace: the options before it are to be restored in this turn.
    pub restore_due: bool,
    /// What has been asked for just now: to cancel, or to replace.
    pub giving_up: Option<CancelledBy>,
    /// A reload that was cancelled had asked the agent to leave: another one follows it.
    pub agent_leaves: bool,
    /// The agent has gone for that, and another is owed.
    pub agent_owed: bool,
    /// Who asked and is not answered.
    pub requests: Vec<RequestId>,
    /// Those whose gate may be opened: the application passed it, or they take over.
    pub may_enter: Vec<MemberId>,
    /// The agent that a reload has brought, and how long it may boot.
    pub new_agent: Option<(MemberId, Millis)>,
    /// Whose place was taken, or is not wanted any more: they are to go.
    pub retired: Vec<MemberId>,
}

impl Op {
    pub fn patience(&self) -> Patience {
        self.reload.map_or(super::world::PATIENCE, |how| how.patience)
    }

    /// All seats that it wanted are taken.
    fn all_seated(&self) -> bool {
        self.wanting.is_empty()
    }
}

impl World {
    /// A ready worker was lost by a fault: one fewer may serve, unless it had no seat yet.
    pub fn fault_takes_one(&mut self, id: MemberId) {
        if let Some(op) = &mut self.judge.operations.op
            && op.nexts.iter().all(|next| next.id != id)
        {
            op.floor = op.floor.saturating_sub(1);
        }
    }

    pub fn judge_begin(&mut self, reload: Option<ReloadHow>, from: u32, to: u32) -> Verdict {
        must!(self.judge.is_running(), "an operation begins outside of running");
        must!(self.judge.operations.op.is_none(), "an operation begins while another is under way");
        must!(from == self.policy.workers, "{from} workers, but it were {}", self.policy.workers);
        let adopted = std::mem::take(&mut self.judge.operations.adopted);
        must!(adopted == reload.is_some(), "a reload adopts what it has brought, and nothing else does");
        // With fewer slots it is the last ones that go, whoever is in them.
        let floor = if to < from { 0 } else { self.ready().1 };
        let worker = |slot| Role::Worker { kind: eggctl::lifecycle::Kind(0), slot };
        let wanting = if reload.is_some() { (0..from).map(worker).collect() } else { (from..to).map(worker).collect() };
        if to < from {
            self.policy.workers = to;
            self.retire_accounts(|role| (to..from).any(|slot| role == worker(slot)));
        }
        let rolling = reload.is_none_or(|how| how.rolling);
        let agent = AgentTurn::Stays;
        self.judge.operations.op = Some(Op {
            reload,
            from,
            to,
            rolling,
            wanting,
            nexts: Vec::new(),
            replaced: 0,
            seated: Vec::new(),
            floor,
            agent,
        });
        Ok(())
    }

    /// These places are given up, and who is in them is to go.
    fn retire_accounts(&mut self, which: impl Fn(Role) -> bool) {
        for account in self.judge.accounts.extract_if(.., |account| which(account.role)) {
            self.judge.operations.retired.extend(account.holder.map(|holder| holder.0));
        }
    }

    /// A spawn that is no refork: it must be the operation's.
    pub fn judge_spawn_of_operation(&mut self, id: MemberId, role: Role) -> Verdict {
        let (now, refork) = (self.now, self.policy.refork);
        let spare_cores = self.policy.cores.saturating_sub(self.policy.workers).max(1);
        let Some(op) = &mut self.judge.operations.op else {
            return Err(format!(
                "{role:?} is spawned at {now}: no refork is due and no operation is under way ({refork})"
            ));
        };
        must!(op.wanting.contains(&role), "{role:?} is spawned, and the operation does not want it");
        must!(op.nexts.iter().all(|next| next.role != role), "two new members for {role:?}");
        let batch = op.reload.and_then(|how| how.batch).unwrap_or(spare_cores).max(1);
        let at_gate = |id| self.processes.iter().any(|process| process.id == id && process.at_gate);
        let booting = op.nexts.iter().filter(|next| !at_gate(next.id)).count();
        must!(booting < batch as usize, "{booting} boot already, and {batch} may");
        op.nexts.push(Next { role, id, spawned_at: now, ready: false });
        Ok(())
    }

    /// A member has said that it is ready: does it take a seat?
    pub fn judge_seats(&mut self, ready: Option<MemberId>) {
        let now = self.now;
        let Operations { op: Some(op), retired, .. } = &mut self.judge.operations else { return };
        for next in op.nexts.iter_mut().filter(|next| Some(next.id) == ready) {
            next.ready = true;
        }
        let all = op.wanting.iter().all(|role| op.nexts.iter().any(|next| next.role == *role && next.ready));
        if !op.rolling && !all {
            return;
        }
        for next in op.nexts.extract_if(.., |next| next.ready) {
            op.wanting.retain(|role| *role != next.role);
            op.replaced += 1;
            op.seated.push(next.id);
            let holder = Some((next.id, next.spawned_at));
            let seated = Account { role: next.role, holder, deaths: 0, due: now, told: true };
            match self.judge.accounts.iter_mut().find(|account| account.role == next.role) {
                Some(account) => {
                    retired.extend(account.holder.map(|holder| holder.0));
                    *account = seated;
                }
                None => self.judge.accounts.push(seated),
            }
        }
        if op.all_seated() && op.reload.is_some() {
            let spares = self.judge.accounts.iter_mut();
            for account in spares.filter(|account| matches!(account.role, Role::Spare { .. })) {
                retired.extend(account.holder.map(|holder| holder.0));
                *account = Account { holder: None, deaths: 0, due: now, told: true, ..account.clone() };
            }
        }
        if let AgentTurn::IsAwaited { since } = op.agent
            && self.processes.iter().any(|process| Some(process.id) == ready && process.role == Role::Agent)
        {
            op.agent = AgentTurn::IsBack { after_ms: now - since };
        }
        self.judge_agents_turn();
    }

    /// The agent's turn comes at the moment when all workers are new and the last old one has gone, or had its KILL.
    pub fn judge_agents_turn(&mut self) {
        let (now, somebody_leaves) = (self.now, self.who_leaves().is_some());
        let Some(op) = &mut self.judge.operations.op else { return };
        let is_wanted = op.reload.is_some_and(|how| how.agent) && op.agent == AgentTurn::Stays;
        if is_wanted && op.all_seated() && !somebody_leaves {
            let agent = self.judge.accounts.iter().find(|account| account.role == Role::Agent);
            op.agent = match agent.and_then(|agent| agent.holder) {
                Some(_) => AgentTurn::Leaves { since: now },
                None => AgentTurn::IsAwaited { since: now },
            };
        }
    }

    /// Who is asked to go while nobody closes has lost its seat first; an agent that is well, when its turn is.
    pub fn judge_leave(&mut self, id: MemberId, role: Role) -> Verdict {
        if role == Role::Agent {
            let is_well = self.process(id).is_some_and(|agent| agent.ready && agent.open);
            let turn = self.judge.operations.op.as_ref().map(|op| op.agent);
            let is_turn = matches!(turn, Some(AgentTurn::Leaves { .. })) || self.judge.operations.agent_leaves;
            must!(!is_well || is_turn, "the agent is asked to go, and {:?} may need it", self.who_leaves());
            return Ok(());
        }
        let holds = self.judge.accounts.iter().any(|account| account.holder.is_some_and(|holder| holder.0 == id));
        must!(!holds, "{id:?} has its seat, and is asked to go");
        Ok(())
    }

    pub fn judge_open_gate(&self, id: MemberId) -> Verdict {
        let Some(process) = self.process(id) else { return Err(format!("the gate is opened for {id:?}, who is gone")) };
        must!(process.at_gate && !process.let_in, "the gate is opened for {process:?}");
        let operations = &self.judge.operations;
        let at_gate = |id| self.processes.iter().any(|process| process.id == id && process.at_gate);
        let all_there = operations.op.as_ref().is_some_and(|op| {
            let there = |role: &Role| op.nexts.iter().any(|next| next.role == *role && at_gate(next.id));
            op.nexts.iter().any(|next| next.id == id) && op.wanting.iter().all(there)
        });
        let rolling = operations.op.as_ref().is_some_and(|op| op.rolling && op.nexts.iter().any(|next| next.id == id));
        must!(all_there || rolling || operations.may_enter.contains(&id), "{process:?} is let in before its turn");
        Ok(())
    }

    /// A spare takes the place of a worker that was lost, and of its successor if that has not listened yet.
    pub fn judge_take_over(&mut self, spare: MemberId, role: Role) -> Verdict {
        must!(self.process(spare).is_some_and(|process| process.at_gate && !process.let_in), "{spare:?} does not wait");
        must!(self.policy.refork && self.judge.is_running(), "a spare takes over outside of running");
        let now = self.now;
        let lost = self.judge.account(role)?;
        let (successor, refill) = (lost.holder.take(), lost.due);
        if let Some((successor, _)) = successor {
            let slower = self.process(successor).is_some_and(|process| {
                let boots = process.open && !process.at_gate && !process.asked_to_drain;
                !process.ready && boots || process.termed_at.is_some()
            });
            must!(slower, "{role:?} is not lost: {successor:?} has it");
            self.judge.operations.retired.push(successor);
        }
        let held = |account: &&mut Account| account.holder.is_some_and(|holder| holder.0 == spare);
        let Some(place) = self.judge.accounts.iter_mut().find(held) else {
            return Err(format!("{spare:?} is no spare"));
        };
        let holder = place.holder.take();
        (place.due, place.told) = (refill, true);
        let lost = self.judge.account(role)?;
        (lost.holder, lost.told, lost.due) = (holder, true, now);
        self.judge.operations.may_enter.push(spare);
        Ok(())
    }

    pub fn judge_no_spares(&mut self, id: MemberId) -> Verdict {
        must!(self.process(id).is_some_and(|process| process.passed_gate), "{id:?} has passed no gate");
        for account in self.judge.accounts.iter_mut().filter(|account| matches!(account.role, Role::Spare { .. })) {
            self.judge.operations.retired.extend(account.holder.map(|holder| holder.0));
            (account.holder, account.due, account.told) = (None, Millis::MAX, true);
        }
        Ok(())
    }

    pub fn judge_passed_gate(&mut self, id: MemberId) -> Verdict {
        must!(self.process(id).is_some_and(|process| process.passed_gate), "{id:?} has passed no gate");
        let Some(op) = &mut self.judge.operations.op else { return Err("the gate is passed for nothing".to_owned()) };
        op.rolling = true;
        self.judge_seats(None);
        Ok(())
    }

    /// An operation is over.
    pub fn judge_done(&mut self, outcome: Outcome) -> Verdict {
        let Some(op) = self.judge.operations.op.take() else { return Err(format!("{outcome:?} of nothing")) };
        match outcome {
            Outcome::Reloaded { workers, rolling, without_agent_ms } => {
                let how = op.reload.ok_or("a scale has reloaded")?;
                must!(op.all_seated() && op.nexts.is_empty(), "reloaded, but {:?} are not", op.wanting);
                must!(workers == self.policy.workers && rolling == op.rolling, "untrue: {outcome:?} of {op:?}");
                let agent = match op.agent {
                    AgentTurn::IsBack { after_ms } => Some(after_ms),
                    _ => None,
                };
                must!(agent == without_agent_ms && agent.is_some() == how.agent, "untrue: {outcome:?} of {op:?}");
                self.nobody_is_leaving(outcome)?;
            }
            Outcome::Scaled { from, to } => {
                must!(op.reload.is_none() && (from, to) == (op.from, op.to), "untrue: {outcome:?} of {op:?}");
                must!(op.all_seated(), "scaled, but {:?} are not there", op.wanting);
                self.policy.workers = to;
                self.nobody_is_leaving(outcome)?;
            }
            Outcome::Failed { failure, replaced } => {
                must!(replaced == op.replaced, "{replaced} replaced, but it were {}", op.replaced);
                must!(op.rolling || replaced == 0 || op.agent != AgentTurn::Stays, "half a generation: {op:?}");
                self.judge_failure(failure, &op)?;
                self.dismissed(&op);
            }
            Outcome::Cancelled { by, kind, replaced, workers } => {
                must!(self.judge.operations.giving_up.take() == Some(by), "nothing is to be given up {by:?}");
                must!((kind == OperationKind::Reload) == op.reload.is_some(), "untrue: {outcome:?} of {op:?}");
                must!(replaced == op.replaced, "{replaced} replaced, but it were {}", op.replaced);
                must!(op.rolling || replaced == 0 || op.all_seated(), "half a generation: {op:?}");
                must!(workers == self.policy.workers, "{workers} workers, but it are {}", self.policy.workers);
                self.judge.operations.agent_leaves |= matches!(op.agent, AgentTurn::Leaves { .. });
                self.dismissed(&op);
            }
            Outcome::Interrupted => must!(self.closes > 0 || self.judge.gave_up_down, "nobody interrupts"),
            Outcome::Refused(_) => return Err("refused after it was begun".to_owned()),
        }
        Ok(())
    }

    /// What an operation that ends early leaves to go: its new members without a seat, and what a scale has added.
    fn dismissed(&mut self, op: &Op) {
        self.judge.operations.restore_due = op.reload.is_some() && op.replaced == 0;
        self.judge.operations.retired.extend(op.nexts.iter().map(|next| next.id));
        if op.reload.is_none() && op.to > op.from {
            self.retire_accounts(|role| matches!(role, Role::Worker { slot, .. } if slot >= op.from));
        }
    }

    pub fn judge_adopt(&mut self) -> Verdict {
        let operations = &mut self.judge.operations;
        must!(
            operations.op.is_none() && !operations.restore_due,
            "options are adopted before the last ones are settled"
        );
        must!(!std::mem::replace(&mut operations.adopted, true), "options are adopted twice");
        Ok(())
    }

    pub fn judge_restore(&mut self) -> Verdict {
        let due = std::mem::take(&mut self.judge.operations.restore_due);
        must!(due, "options are restored, and no reload has ended without a trace");
        Ok(())
    }

    /// Who is to go and has neither gone nor had its KILL.
    fn who_leaves(&self) -> Option<&Process> {
        let leaves = |process: &&Process| self.judge.operations.retired.contains(&process.id);
        self.processes.iter().filter(leaves).find(|process| process.killed_at.is_none())
    }

    fn nobody_is_leaving(&self, outcome: Outcome) -> Verdict {
        let left = self.who_leaves();
        must!(left.is_none(), "{outcome:?}, but {left:?} is leaving");
        Ok(())
    }

    /// How long this member, which no operation waits for, may boot.
    pub fn boot_grace_ms(&self, id: MemberId) -> Millis {
        let brought = self.judge.operations.new_agent.filter(|(agent, _)| *agent == id);
        brought.map_or(self.policy.boot_grace_ms, |(_, grace_ms)| grace_ms)
    }

    fn judge_failure(&self, failure: StartFailure, op: &Op) -> Verdict {
        let id = failure.member();
        let new = op.nexts.iter().any(|next| next.id == id);
        let agent = matches!(op.agent, AgentTurn::IsAwaited { .. });
        let seated = op.rolling && op.reload.is_some() && op.seated.contains(&id) && !op.all_seated();
        must!(new || agent || seated, "{failure:?} is about nobody of {op:?}");
        match failure {
            StartFailure::Died { member, death } => {
                must!(self.judge.last_exit == Some((member, death)), "untrue: {failure:?}")
            }
            StartFailure::SpawnFailed(member) => {
                must!(self.judge.last_spawn_failure == Some(member), "untrue: {failure:?}")
            }
            StartFailure::Disconnected(member) => {
                must!(self.process(member).is_some_and(|process| !process.open), "untrue: {failure:?}");
            }
            StartFailure::Closed(member) => must!(self.stayed_away(member), "untrue or not in time: {failure:?}"),
            StartFailure::NotReady(member) => {
                let grace_ms = op.patience().boot_grace_ms;
                must!(self.boots_since(member, grace_ms), "untrue or not in time: {failure:?}");
            }
        }
        Ok(())
    }

    pub fn judge_answer(&mut self, request: RequestId, outcome: Outcome) -> Verdict {
        let requests = &mut self.judge.operations.requests;
        let Some(position) = requests.iter().position(|one| *one == request) else {
            return Err(format!("{request:?} is answered without having asked, or twice"));
        };
        requests.remove(position);
        if let Outcome::Refused(refusal) = outcome {
            use eggctl::lifecycle::Refusal;
            let (running, op) = (self.judge.is_running(), self.judge.operations.op.as_ref());
            let so = match refusal {
                Refusal::Starting => self.judge.announced.is_none() && !self.judge.is_closing(),
                Refusal::Closing => self.judge.is_closing(),
                Refusal::Reloading => op.is_some_and(|op| op.reload.is_some()),
                Refusal::Scaling => op.is_some_and(|op| op.reload.is_none()),
                Refusal::Count => true,
                Refusal::NoAgent => running && !self.policy.agent,
                Refusal::NotUnderWay(kind) => {
                    running && op.is_none_or(|op| (kind == OperationKind::Reload) != op.reload.is_some())
                }
            };
            must!(so, "untrue: {refusal:?}");
        }
        Ok(())
    }

    /// What must be so after every turn.
    pub fn judge_operations(&self) -> Verdict {
        let operations = &self.judge.operations;
        must!(
            operations.op.is_some() == self.lifecycle.operation().is_some(),
            "operation: {:?}",
            self.lifecycle.operation()
        );
        must!(operations.op.is_some() || operations.requests.is_empty(), "{:?} hang", operations.requests);
        must!(!operations.adopted && !operations.restore_due, "the options are left between two reloads");
        let Some(op) = &operations.op else { return Ok(()) };
        let serving = |process: &&Process| {
            process.role != Role::Agent && process.serves() && process.termed_at.is_none() && !process.asked_to_drain
        };
        let serving = self.processes.iter().filter(serving).count();
        must!(serving >= op.floor, "{serving} workers serve, and it were {}", op.floor);
        let progress = self.lifecycle.progress().ok_or("no progress")?;
        must!(progress.ready as usize <= op.replaced as usize + op.nexts.len(), "wrong: {progress:?}");
        Ok(())
    }

    /// Judges the notices that are about operations; true when it is one of them.
    pub fn judge_operations_notice(&mut self, notice: &Notice) -> Result<bool, String> {
        match notice {
            Notice::Reloading(how) => {
                let workers = self.policy.workers;
                self.judge_begin(Some(*how), workers, workers)?;
            }
            Notice::Scaling { from, to } => self.judge_begin(None, *from, *to)?,
            Notice::PassedGate(id) => self.judge_passed_gate(*id)?,
            Notice::NoSpares(id) => self.judge_no_spares(*id)?,
            Notice::SpareTakesOver { spare, role } => self.judge_take_over(*spare, *role)?,
            Notice::Done(outcome) => self.judge_done(*outcome)?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}
