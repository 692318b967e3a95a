//! What must always be true.
//!
//!  1. There are never two agents, nor two in one seat; an identity is never given twice.
//!  2. A spawn never comes while closing; in a start the workers come after the agent is ready; a spawn is the last action of
//!     its batch.
//!  3. Who is lost is replaced once, exactly when its back-off is over (or the refork window has room), at most 60 in 60 s;
//!     without refork only the agent is.
//!  4. The agent goes after the workers: in a close it is left alone while a worker lives, in a reload, if it is well, until
//!     the last old worker has gone or had its KILL.
//!  5. One TERM per life, to a process that lives; no KILL without a TERM, nor sooner than a fifth of the grace after it. After
//!     a start that failed or was given up the channel ends before TERM, the grace is half a second, and nobody drains.
//!  6. Listeners close once, at the beginning of the close, before anybody is asked to leave; no worker is asked to leave
//!     that is still dispatched to; only ready members of an unhurried close are asked to drain, once.
//!  7. One of ready, failure and stopped is announced, once; ready exactly when full strength is reached; a failure only for
//!     what happened.
//!  8. Exit comes once, last, with nobody left but those the log was told of; 0 exactly after a signal that left nobody.
//!  9. Phases only go forward. In a closing phase everybody who is to go has been asked.
//! 10. What the lifecycle says about members is what is so; whoever is in a passing state has a deadline.
//! 11. An event that is late or untrue changes nothing (`World::tell_lies`).
//! 12. Who is missing for 30 s (the agent, or every worker) is told, to the millisecond, and once a minute again; or the
//!     master gives up, then, but for members that began to boot before.
//! 13. An operation never leaves fewer workers serving than before it began, but for those that faults take; who holds a seat
//!     is not asked to go. A failed reload by generation changes nothing, a failed scale neither.
//! 14. Nobody is let in before the whole generation is at the gate; no spare before it takes a lost one's place, and none waits
//!     while a seat has no worker that listens.
//! 15. Every request is answered, once, and truly; after an operation there are as many workers as wanted.
//! 16. What members are spawned with is what a reload has brought from its beginning on, and what was in force before it once
//!     it has failed or been cancelled without having put a member in place.
//! 17. A worker that closes the address which it serves is not ready from then on. It loses its place a second later, unless it
//!     listens there again, and immediately when it says that it leaves (`servers`).
//! 18. The served socket is kept while a worker for it is due, but for a boot timeout after all that live have closed it.
//! 19. A receipt says that a member was killed exactly where it had KILL, that it left at its limit only where its TERM came
//!     before it had drained, and that it left by itself only where it had been asked to.
//! 20. A close ends within its graces; once faults stop, full strength returns (`ending`).

use eggctl::lifecycle::{Action, Death, Leave, MemberId, Millis, Notice, Phase, Role, StartFailure};

use super::judge::{Account, back_off};
use super::operations::AgentTurn;
use super::world::{Process, Verdict, World};

impl World {
    /// Judges an action before it is performed.
    pub fn judge_action(&mut self, action: &Action, last: bool) -> Verdict {
        let late = matches!(action, Action::Answer { .. });
        must!(self.judge.exit.is_none() || late, "{action:?} after Exit");
        match action {
            Action::Spawn { member, role } => self.judge_spawn(*member, *role, last),
            Action::LeaveDispatch(id) => {
                let process = self.living(*id, action)?;
                must!(process.role != Role::Agent && !process.left_dispatch, "{action:?} for {process:?}");
                Ok(())
            }
            Action::Drain(id) => {
                let process = self.asked(*id, action)?;
                must!(!self.judge.is_closing() || !self.judge.hurried, "{action:?} in a hurried close");
                let fit = process.ready && process.open && process.termed_at.is_none() && !process.asked_to_drain;
                must!(fit, "{action:?} for {process:?}");
                let role = process.role;
                if self.judge.is_closing() { Ok(()) } else { self.judge_leave(*id, role) }
            }
            Action::Hasten(id) => {
                let process = self.asked(*id, action)?;
                must!(self.judge.is_closing() && !self.judge.hurried, "{action:?} not in a polite close");
                let leaves = process.asked_to_drain && process.open && process.termed_at.is_none();
                must!(leaves && process.role != Role::Agent && !process.hastened, "{action:?} for {process:?}");
                Ok(())
            }
            Action::EndChannel(id) => {
                let process = self.asked(*id, action)?;
                must!(self.judge.is_closing() && self.judge.failed_start, "{action:?} after a start that did not fail");
                must!(process.open && process.termed_at.is_none(), "{action:?} for {process:?}");
                Ok(())
            }
            Action::Terminate(id) => {
                let process = self.asked(*id, action)?;
                must!(process.termed_at.is_none(), "a second TERM for {process:?}");
                must!(!(self.judge.failed_start && process.open), "TERM with an open channel for {process:?}");
                let (role, ready) = (process.role, process.ready && process.open && !process.asked_to_drain);
                let calm = !self.judge.is_closing() && (ready || role == Role::Agent);
                if calm { self.judge_leave(*id, role) } else { Ok(()) }
            }
            Action::AdoptOptions(_) => self.judge_adopt(),
            Action::RestoreOptions => self.judge_restore(),
            Action::Welcome { member, .. } => {
                let process = self.living(*member, action)?;
                must!(process.listens && !process.ready, "{action:?} for {process:?}");
                Ok(())
            }
            Action::GiveBack => Ok(()),
            Action::OpenGate(id) => self.judge_open_gate(*id),
            Action::Answer { request, outcome } => self.judge_answer(*request, *outcome),
            Action::Kill(id) => self.judge_kill(*id),
            Action::CloseListeners => {
                must!(!self.judge.listeners_closed, "listeners are closed twice");
                self.judge.listeners_closed = true;
                Ok(())
            }
            Action::EndStrays { kill: _ } => {
                must!(self.judge.is_closing(), "strays are ended while nobody closes");
                must!(self.processes.iter().all(|process| process.given_up), "strays are ended while members live");
                Ok(())
            }
            Action::AnnounceReady | Action::AnnounceFailure(_) | Action::AnnounceStopped(_) => {
                self.judge_announce(action)
            }
            Action::Notice(notice) => self.judge_notice(notice),
            Action::Exit(code) => self.judge_exit(*code, last),
        }
    }

    fn living(&self, id: MemberId, action: &Action) -> Result<&Process, String> {
        self.process(id).ok_or_else(|| format!("{action:?} for a process that is gone"))
    }

    /// Somebody is asked to go: the right one, in the right order?
    fn asked(&self, id: MemberId, action: &Action) -> Result<&Process, String> {
        let process = self.living(id, action)?;
        let worker_left = self.processes.iter().any(|other| other.role != Role::Agent && !other.given_up);
        must!(
            !(self.judge.is_closing() && process.role == Role::Agent && worker_left && !process.asked_to_drain),
            "{action:?} while a worker lives"
        );
        must!(process.role == Role::Agent || process.left_dispatch, "{action:?} for a worker that is dispatched to");
        Ok(process)
    }

    fn judge_spawn(&mut self, id: MemberId, role: Role, last: bool) -> Verdict {
        must!(last, "a spawn is not the last action of its batch");
        must!(self.pending.is_none(), "a second spawn before the first is answered");
        must!(!self.judge.is_closing() && self.closes == 0, "a spawn while closing");
        must!(id.0 > self.judge.last_id, "{id:?} is given twice");
        self.judge.last_id = id.0;
        let running = self.judge.is_running();
        let agent_ready = self.processes.iter().any(|process| process.role == Role::Agent && process.ready);
        must!(
            running || role == Role::Agent || !self.policy.agent || agent_ready,
            "a worker before the agent is ready"
        );
        let mut others = self.processes.iter().filter(|process| process.role == role);
        must!(role != Role::Agent || others.next().is_none(), "a second agent");
        let agents_return = role == Role::Agent
            && self.judge.operations.op.as_ref().is_some_and(|op| matches!(op.agent, AgentTurn::IsAwaited { .. }));
        if agents_return {
            let grace_ms = self.judge.operations.op.as_ref().map(|op| op.patience().boot_grace_ms);
            self.judge.operations.new_agent = grace_ms.map(|grace_ms| (id, grace_ms));
        }
        let owed = role == Role::Agent && std::mem::take(&mut self.judge.operations.agent_owed);
        if running && !agents_return {
            while self.judge.reforks.len() > 60 {
                self.judge.reforks.pop_front();
            }
            let room = match self.judge.reforks.len().checked_sub(60) {
                Some(oldest) => self.judge.reforks[oldest] + 60_000,
                None => 0,
            };
            if !self.judge_refork(role, room, owed)? {
                return self.judge_spawn_of_operation(id, role);
            }
            self.judge.reforks.push_back(self.now);
        }
        let now = self.now;
        let account = self.judge.account(role)?;
        must!(account.holder.is_none(), "{role:?} is replaced twice");
        must!(account.told || agents_return, "a refork that the log was not told of");
        account.holder = Some((id, now));
        Ok(())
    }

    /// Is a refork what is due in this slot? If so, is it in time?
    fn judge_refork(&mut self, role: Role, room: Millis, owed: bool) -> Result<bool, String> {
        let (now, calm) = (self.now, self.full_strength() && self.judge.operations.op.is_none());
        let (refork, late) = (self.is_replaced(role) || owed, self.answers_late);
        let Ok(account) = self.judge.account(role) else { return Ok(false) };
        let due = account.due;
        match role {
            Role::Spare { .. } => {
                must!(refork && calm && account.holder.is_none() && now >= due, "a spare at {now}, due at {due}");
            }
            Role::Agent | Role::Worker { .. } => {
                let is_due = now == due || due < now && (now == room || late);
                // A slot that is due while the window is full waits for room: who is spawned for it now is an operation's.
                if account.holder.is_some() || !refork || !is_due || now < room {
                    must!(role != Role::Agent, "an agent at {now}, due at {due}, with room at {room}");
                    return Ok(false);
                }
            }
        }
        must!(room <= now, "more than 60 reforks in 60 s");
        Ok(true)
    }

    fn judge_kill(&self, id: MemberId) -> Verdict {
        let process = self.living(id, &Action::Kill(id))?;
        must!(process.killed_at.is_none(), "a second KILL for {process:?}");
        let grace = match process.role {
            Role::Agent => self.policy.agent_close_grace_ms,
            Role::Worker { .. } | Role::Spare { .. } => self.policy.worker_close_grace_ms,
        };
        let grace = if self.judge.failed_start { grace.min(500) } else { grace };
        let Some(termed_at) = process.termed_at else { return Err(format!("KILL without TERM for {process:?}")) };
        must!(self.now - termed_at >= grace / 5 || self.answers_late, "KILL too soon after TERM for {process:?}");
        Ok(())
    }

    /// Has it been booting for exactly so long? (Longer, if the answer to its spawn came late.)
    pub fn boots_since(&self, id: MemberId, length: Millis) -> bool {
        self.process(id).is_some_and(|process| {
            let due = process.let_in_at.unwrap_or(process.spawned_at) + length;
            !process.ready && (self.now == due || self.answers_late && self.now > due)
        })
    }

    fn judge_announce(&mut self, action: &Action) -> Verdict {
        let judge = &mut self.judge;
        must!(judge.announced.is_none(), "{action:?} after {:?}", judge.announced);
        judge.announced = Some(action.clone());
        let failure = match action {
            Action::AnnounceReady => {
                must!(self.full_strength(), "ready is announced before full strength");
                return Ok(());
            }
            Action::AnnounceFailure(failure) => *failure,
            _ => {
                must!(self.closes > 0, "stopped is announced and nobody asked for it");
                (judge.hurried, judge.failed_start) = (true, true);
                return Ok(());
            }
        };
        (judge.hurried, judge.failed_start) = (true, true);
        match failure {
            StartFailure::Died { member, death } => {
                must!(judge.last_exit == Some((member, death)), "{failure:?}, but it was {:?}", judge.last_exit);
            }
            StartFailure::SpawnFailed(member) => must!(judge.last_spawn_failure == Some(member), "untrue: {failure:?}"),
            StartFailure::Disconnected(member) => {
                must!(self.process(member).is_some_and(|process| !process.open), "untrue: {failure:?}");
            }
            StartFailure::Closed(member) => must!(self.stayed_away(member), "untrue or not in time: {failure:?}"),
            StartFailure::NotReady(member) => {
                must!(self.boots_since(member, self.policy.boot_grace_ms), "untrue or not in time: {failure:?}");
            }
        }
        Ok(())
    }

    fn judge_notice(&mut self, notice: &Notice) -> Verdict {
        if self.judge_operations_notice(notice)? {
            return Ok(());
        }
        let running = self.judge.is_running();
        match notice {
            Notice::Died { member, death } => {
                must!(self.judge.last_exit == Some((*member, *death)), "untrue: {notice:?}");
                must!(
                    self.judge.announced == Some(Action::AnnounceReady) || self.judge.is_closing(),
                    "early: {notice:?}"
                );
            }
            Notice::SpareWaits(id) => {
                let so = self.process(*id).is_some_and(|process| process.at_gate && !process.let_in);
                must!(running && so, "untrue: {notice:?}");
            }
            Notice::LeftAddress(id) => self.judge_left_address(*id)?,
            Notice::Deserted(_) => self.judge_deserted()?,
            Notice::ListensElsewhere { .. } | Notice::NotOpened { .. } => return Err(format!("untrue: {notice:?}")),
            Notice::Left(id) => {
                let so = self.judge.last_exit.is_some_and(|(last, _)| last == *id);
                must!(running && so && !self.judge.is_holder(*id), "untrue: {notice:?}");
            }
            Notice::Reloading(_)
            | Notice::Scaling { .. }
            | Notice::PassedGate(_)
            | Notice::NoSpares(_)
            | Notice::SpareTakesOver { .. }
            | Notice::Done(_) => {}
            Notice::Refork { role, after_ms } => {
                must!(running && self.is_replaced(*role), "{notice:?} outside of running");
                let account = self.judge.account(*role)?;
                must!(!account.told && account.holder.is_none(), "{notice:?}, but nobody was lost");
                must!(*after_ms == back_off(account.deaths), "{notice:?} after {} deaths", account.deaths);
                account.told = true;
            }
            Notice::NoRefork(role) => must!(running && !self.is_replaced(*role), "{notice:?} with refork"),
            Notice::ReforkWindowFull { wait_ms } => {
                let first = self.judge.reforks.len().checked_sub(60).map(|oldest| self.judge.reforks[oldest] + 60_000);
                must!(first == Some(self.now + wait_ms), "untrue: {notice:?}");
            }
            Notice::Down { agents, workers, for_ms, exits } => {
                must!(running && self.policy.refork && *exits == self.policy.exit_when_down, "wrong: {notice:?}");
                let so = self.judge.down_since == Some(self.now - for_ms) && self.serving() == (*agents, *workers);
                must!(so, "untrue: {notice:?}");
                if *exits {
                    must!(*for_ms >= 30_000 && !self.boots_in_time(), "too early: {notice:?}");
                    self.judge.gave_up_down = true;
                } else {
                    let on_time = *for_ms >= 30_000 && (for_ms - 30_000) % 60_000 == 0;
                    must!(on_time || self.answers_late, "not in time: {notice:?}");
                }
            }
            Notice::BootGraceOver(id) => {
                let so = self.boots_since(*id, self.boot_grace_ms(*id));
                must!(running && so, "untrue or not in time: {notice:?}");
            }
            Notice::AgentSlow(id) => {
                let so = self.boots_since(*id, 5_000);
                must!(so && self.process(*id).is_some_and(|process| !process.slow_told), "untrue or again: {notice:?}");
            }
            Notice::Closing(_) => must!(running && self.closes == 1, "{notice:?} without a signal"),
            Notice::CloseHurried(_) => {
                must!(self.closes > u32::from(!self.judge.gave_up_down), "no second reason to close: {notice:?}");
                must!(self.judge.is_closing() && !self.judge.hurried, "wrong: {notice:?}");
                self.judge.hurried = true;
            }
            Notice::Disconnected(id) => {
                must!(running && self.process(*id).is_some_and(|process| !process.open), "untrue: {notice:?}");
            }
            Notice::Killed(id) => must!(self.process(*id).is_some(), "untrue: {notice:?}"),
            Notice::GivenUp(id) => {
                let killed_at = self.process(*id).and_then(|process| process.killed_at);
                must!(killed_at.is_some_and(|at| self.now >= at + 10_000), "{notice:?} too early");
                must!(self.judge.is_closing(), "{notice:?} outside of a close");
                self.judge.given_up = true;
            }
            Notice::StraysGivenUp => {
                must!(self.strays_killed, "{notice:?} without KILL");
                self.judge.given_up = true;
            }
        }
        Ok(())
    }

    fn judge_exit(&mut self, code: u8, last: bool) -> Verdict {
        must!(last, "Exit is not the last action");
        must!(self.processes.iter().all(|process| process.given_up), "Exit while a member lives");
        must!(self.strays == 0 || self.judge.given_up, "Exit while strays live");
        let failed = matches!(self.judge.announced, Some(Action::AnnounceFailure(_)));
        must!(self.judge.announced.is_some(), "Exit, and nothing was announced");
        must!(code == u8::from(failed || self.judge.given_up || self.judge.gave_up_down), "exit code {code}");
        self.judge.exit = Some(code);
        Ok(())
    }

    /// A member is about to end in this way: is what its receipt says of that so?
    pub fn judge_receipt(&self, id: MemberId, death: Death) -> Verdict {
        let (Some(process), Some(leave)) = (self.process(id), self.lifecycle.leave(id, death)) else { return Ok(()) };
        let asked = process.asked_to_drain || process.termed_at.is_some();
        must!((leave == Leave::Killed) == process.killed_at.is_some(), "untrue: {leave:?} of {process:?}");
        let cut_short = process.termed_at.is_some() && process.ready && !process.drained_in_time;
        must!(leave != Leave::AtLimit || cut_short, "untrue: {leave:?} of {process:?}");
        must!(leave != Leave::ByItself || asked, "untrue: {leave:?} of {process:?}, which was not asked");
        Ok(())
    }

    /// Judges what stands after a turn.
    pub fn judge_state(&mut self) -> Verdict {
        let phase = self.lifecycle.phase();
        must!(phase >= self.judge.phase, "{:?} goes back to {phase:?}", self.judge.phase);
        self.judge.phase = phase;
        must!((phase == Phase::Ended) == self.judge.exit.is_some(), "{phase:?}, exit {:?}", self.judge.exit);
        must!((phase >= Phase::ClosingWorkers) == self.judge.is_closing(), "{phase:?}, but the listeners differ");
        must!((phase == Phase::Running) == self.judge.is_running(), "{phase:?}, announced {:?}", self.judge.announced);
        must!(phase != Phase::Starting || !self.full_strength(), "full strength is not announced");
        must!(self.closes == 0 || self.judge.is_closing(), "a signal, and no close");

        self.judge_health()?;
        let mut said: Vec<_> = self.lifecycle.members().collect();
        said.sort_unstable();
        let living = self.processes.iter().filter(|process| !process.given_up);
        let so: Vec<_> = living.map(|process| (process.id, process.role)).chain(self.pending).collect();
        must!(said == so, "the lifecycle has {said:?}, the world {so:?}");
        if self.pending.is_some() {
            return Ok(()); // The turn is not over.
        }
        for process in self.processes.iter().filter(|process| !process.given_up) {
            self.judge_process(process, phase)?;
        }
        self.judge_operations()?;
        self.judge_servers()?;
        self.judge_spares()?;
        let expected = |account: &&Account| matches!(account.role, Role::Agent) || self.is_wanted(account.role);
        let holders = self.judge.seats().filter(expected).filter_map(|account| account.holder);
        let ready = holders.filter(|holder| self.lifecycle.is_ready(holder.0)).count();
        let slots = self.judge.seats().filter(expected).count();
        must!(self.lifecycle.waiting_for().count() + ready == slots, "waiting_for disagrees with is_ready");
        let vacant = self.judge.seats().any(|account| account.holder.is_none() && self.is_replaced(account.role));
        let kept = self.lifecycle.next_timeout().is_some() || self.lifecycle.operation().is_some();
        must!(phase != Phase::Running || !vacant || kept, "a slot is empty and nothing is planned");
        Ok(())
    }

    /// No spare waits while a worker's seat is empty, or its successor boots.
    fn judge_spares(&self) -> Verdict {
        let untouched = |process: &Process| process.open && process.termed_at.is_none() && !process.asked_to_drain;
        let waits =
            |process: &&Process| matches!(process.role, Role::Spare { .. }) && process.at_gate && untouched(process);
        let Some(spare) = self.processes.iter().find(waits).filter(|_| self.judge.is_running()) else { return Ok(()) };
        for seat in self.judge.seats().filter(|seat| seat.role != Role::Agent) {
            let holder = seat.holder.and_then(|(id, _)| self.process(id));
            let serves = holder.is_some_and(|holder| untouched(holder) && (holder.ready || holder.at_gate));
            must!(serves, "{spare:?} waits, and {seat:?} needs it");
        }
        Ok(())
    }

    /// Is the member of this role replaced when it dies?
    fn is_replaced(&self, role: Role) -> bool {
        self.policy.refork || role == Role::Agent
    }

    /// Is it the slot of a worker that is there already, while there are to be more?
    fn is_wanted(&self, role: Role) -> bool {
        matches!(role, Role::Worker { slot, .. } if slot < self.policy.workers)
    }

    /// How many agents and workers are ready in their seats.
    pub fn ready(&self) -> (usize, usize) {
        let ready = self.processes.iter().filter(|process| {
            let serves = process.serves() && process.termed_at.is_none() && !process.asked_to_drain;
            serves && self.judge.seats().any(|seat| seat.holder.is_some_and(|it| it.0 == process.id))
        });
        let (agents, workers): (Vec<_>, Vec<_>) = ready.partition(|process| process.role == Role::Agent);
        (agents.len(), workers.len())
    }

    fn judge_process(&self, process: &Process, phase: Phase) -> Verdict {
        let untouched = process.termed_at.is_none() && !process.asked_to_drain;
        let ready = process.serves() && untouched;
        must!(self.lifecycle.is_ready(process.id) == ready, "is_ready is wrong for {process:?}");
        must!(!ready || !matches!(process.role, Role::Spare { .. }), "a spare serves: {process:?}");
        // While running, a killed member is waited for as long as it takes.
        let waits = process.at_gate && !process.let_in && process.open && untouched;
        let passing = !ready && !waits && (process.killed_at.is_none() || phase > Phase::Running);
        let agent_waits = phase == Phase::ClosingWorkers && process.role == Role::Agent;
        must!(!passing || agent_waits || self.lifecycle.next_timeout().is_some(), "nobody looks after {process:?}");
        let to_go = match phase {
            Phase::New | Phase::Starting | Phase::Running => false,
            Phase::ClosingWorkers => process.role != Role::Agent,
            Phase::ClosingAgent => true,
            Phase::ClosingStrays | Phase::Ended => return Err(format!("{phase:?} while {process:?} lives")),
        };
        must!(!(to_go && untouched), "nobody has asked {process:?} to go");
        let polite = process.asked_to_drain && process.open && !process.drained && !self.judge.hurried;
        must!(!to_go || polite || process.termed_at.is_some(), "no TERM for {process:?}");
        Ok(())
    }
}
