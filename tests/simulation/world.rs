//! Processes as the kernel would hold them, the master's shell as simple as it can be, and what may happen next.

use std::hash::{Hash, Hasher};
use std::rc::Rc;

use eggctl::lifecycle::{
    Action, Address, CloseCause, Death, Event, Lifecycle, MemberId, Millis, Notice, OperationKind, Patience, Phase,
    Policy, ReloadHow, Role, Wanted,
};

use super::coverage::Coverage;
use super::judge::Judge;

/// A process that was spawned and is not reaped.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Process {
    pub id: MemberId,
    pub role: Role,
    pub spawned_at: Millis,
    /// Its channel is open.
    pub open: bool,
    /// It said that it is ready.
    pub ready: bool,
    /// It was asked to drain, and said that it did.
    pub asked_to_drain: bool,
    pub drained: bool,
    pub hastened: bool,
    /// It had said so before its TERM.
    pub drained_in_time: bool,
    pub left_dispatch: bool,
    /// When it was sent the signal.
    pub termed_at: Option<Millis>,
    pub killed_at: Option<Millis>,
    pub slow_told: bool,
    /// It has booted and asked for the address that it is to serve.
    pub at_gate: bool,
    /// The gate was opened for it, and when.
    pub let_in: bool,
    pub let_in_at: Option<Millis>,
    /// It said that it is ready while it was held.
    pub passed_gate: bool,
    /// The lifecycle said that it no longer waits for it.
    pub given_up: bool,
    /// It listens where the application serves.
    pub listens: bool,
    /// It was ready, and has closed that address since.
    pub away_since: Option<Millis>,
    /// It has said that it leaves, or stayed away: its place is another's.
    pub has_left: bool,
}

/// One thing that can happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    Begin,
    /// The spawn under way works, or fails.
    Answer(bool),
    Ready(MemberId),
    /// It listens, or closes, where the application serves; or says that it leaves.
    Listen(MemberId),
    Unlisten(MemberId),
    Leave(MemberId),
    Drain(MemberId),
    Disconnect(MemberId),
    /// It ends, and leaves so many strays behind.
    Die(MemberId, Death, u32),
    StraysEnd,
    Close,
    GiveUp,
    /// A held member has booted.
    AtGate(MemberId),
    /// An operation is asked for.
    Ask(Ask),
    /// The clock jumps to the next deadline and the master is told of it.
    Deadline,
    /// The clock jumps to the next deadline, but an event comes first.
    JustBefore,
    /// So much time passes, less than to the next deadline.
    Wait(Millis),
}

/// What can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    Reload(ReloadHow),
    /// As Egg's `reload-worker` does: nobody is answered.
    ReloadByMember(ReloadHow),
    Scale(Wanted),
    /// A reload in the place of the one under way.
    Replace(ReloadHow),
    Cancel(OperationKind),
}

/// How long every operation here waits for members.
pub const PATIENCE: Patience = Patience { boot_grace_ms: 9_000, drain_grace_ms: 6_000 };

/// The moves that led somewhere, each with its time, the last one first.
pub struct Trail(pub Option<Rc<Trail>>, pub Millis, pub Move);

/// What went wrong.
pub type Verdict = Result<(), String>;

#[derive(Clone)]
pub struct World {
    pub now: Millis,
    pub lifecycle: Lifecycle,
    pub policy: Policy,
    /// In the order of their spawns.
    pub processes: Vec<Process>,
    pub pending: Option<(MemberId, Role)>,
    pub strays: u32,
    pub strays_killed: bool,
    /// The last member that was reaped: late events are about it.
    pub dead: Option<MemberId>,
    pub closes: u32,
    pub judge: Judge,
    pub trail: Option<Rc<Trail>>,
    /// An answer to a spawn may come late: a breach of contract, to see that even that does no harm.
    pub answers_late: bool,
    /// What may be asked for, and how often.
    pub asks: Rc<[Ask]>,
    pub asks_left: u32,
    pub last_request: u32,
    /// The application listens without asking.
    pub passes_gate: bool,
    /// The process that started the master may give the start up.
    pub gives_up: bool,
    /// Workers show that they are ready by listening, instead of saying so.
    pub has_servers: bool,
    /// Whom the lifecycle has welcomed, and not heard of yet.
    pub welcomed: Option<MemberId>,
    /// Since when no worker listens, because all that live have closed it.
    pub deserted_since: Option<Millis>,
    /// The socket was closed for that.
    pub is_deserted: bool,
}

impl Hash for World {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.now, &self.lifecycle, &self.processes, self.pending, self.strays, self.strays_killed).hash(state);
        (self.dead, self.closes, &self.judge, self.asks_left, self.deserted_since, self.is_deserted).hash(state);
    }
}

impl World {
    pub fn new(policy: Policy) -> Self {
        Self {
            now: 0,
            lifecycle: Lifecycle::new(policy.clone()),
            judge: Judge::new(&policy),
            policy,
            processes: Vec::new(),
            pending: None,
            strays: 0,
            strays_killed: false,
            dead: None,
            closes: 0,
            trail: None,
            answers_late: false,
            asks: Rc::new([]),
            asks_left: 0,
            last_request: 0,
            passes_gate: false,
            gives_up: false,
            has_servers: false,
            welcomed: None,
            deserted_since: None,
            is_deserted: false,
        }
    }

    /// A world at full strength.
    pub fn running(policy: Policy, coverage: &mut Coverage) -> Result<Self, String> {
        Self::new(policy).at_full_strength(coverage)
    }

    /// The same with workers that show that they are ready by listening.
    pub fn serving_at(policy: Policy, coverage: &mut Coverage) -> Result<Self, String> {
        Self { has_servers: true, ..Self::new(policy) }.at_full_strength(coverage)
    }

    fn at_full_strength(self, coverage: &mut Coverage) -> Result<Self, String> {
        let mut world = self;
        world.step(Move::Begin, coverage)?;
        while world.lifecycle.phase() == Phase::Starting {
            let next = match (world.pending, world.processes.iter().find(|process| !process.ready)) {
                (Some(_), _) => Move::Answer(true),
                (None, Some(process)) => world.becomes_ready(process),
                (None, None) => return Err("the start hangs".to_owned()),
            };
            world.step(next, coverage)?;
        }
        Ok(world)
    }

    pub fn process(&self, id: MemberId) -> Option<&Process> {
        self.processes.iter().find(|process| process.id == id)
    }

    pub fn process_mut(&mut self, id: MemberId) -> Option<&mut Process> {
        self.processes.iter_mut().find(|process| process.id == id)
    }

    /// One thing happens, the master's shell does what it is told, and the judge looks on.
    pub fn step(&mut self, next: Move, coverage: &mut Coverage) -> Verdict {
        self.trail = Some(Rc::new(Trail(self.trail.take(), self.now, next)));
        match next {
            Move::Begin => self.tell(Event::Begin, coverage)?,
            Move::Answer(works) => self.answer(works, coverage)?,
            Move::Ready(id) => self.is_ready(id, coverage)?,
            Move::Listen(id) => self.listen(id, coverage)?,
            Move::Unlisten(id) => self.unlisten(id, coverage)?,
            Move::Leave(id) => self.leave(id, coverage)?,
            Move::AtGate(id) => {
                // The shell answers one that is not held immediately.
                let held = self.lifecycle.is_held(id);
                self.mark(
                    id,
                    if held {
                        |process, _| process.at_gate = true
                    } else {
                        |process, _| (process.at_gate, process.let_in) = (true, true)
                    },
                );
                self.tell(Event::AtGate(id), coverage)?;
            }
            Move::Ask(ask) => self.ask(ask, coverage)?,
            Move::Drain(id) => {
                if let Some(process) = self.process_mut(id) {
                    process.drained = true;
                }
                self.tell(Event::Drained(id), coverage)?;
            }
            Move::Disconnect(id) => {
                self.note_fault(id);
                if let Some(process) = self.process_mut(id) {
                    process.open = false;
                    self.judge.saw_disconnect(id, self.now, &self.processes);
                }
                self.tell(Event::Disconnected(id), coverage)?;
            }
            Move::Die(id, death, left) => {
                self.strays += left;
                self.note_fault(id);
                self.judge.saw_exit(id, death, self.now, &self.processes);
                let given_up = self.process(id).is_some_and(|process| process.given_up);
                self.judge_receipt(id, death)?;
                self.processes.retain(|process| process.id != id);
                self.dead = Some(id);
                self.judge_agents_turn();
                if given_up {
                    self.claim(Event::Exited { member: id, death }, coverage)?;
                } else {
                    self.tell(Event::Exited { member: id, death }, coverage)?;
                }
                self.look_whether_alone(coverage)?;
            }
            Move::StraysEnd => {
                self.strays = 0;
                self.look_whether_alone(coverage)?;
            }
            Move::Close => {
                self.closes += 1;
                self.judge.saw_close(15);
                self.tell(Event::Close(CloseCause::Signal(15)), coverage)?;
            }
            Move::GiveUp => {
                self.closes += 1;
                self.judge.saw_close(15);
                if self.lifecycle.phase() < Phase::ClosingStrays {
                    (self.judge.hurried, self.judge.failed_start) = (true, true);
                }
                self.tell(Event::Close(CloseCause::StartGivenUp(15)), coverage)?;
            }
            Move::Deadline | Move::JustBefore => {
                self.now = self.lifecycle.next_timeout().unwrap_or(self.now).max(self.now);
                if next == Move::JustBefore {
                    return Ok(());
                }
            }
            Move::Wait(length) => self.now += length,
        }
        if self.pending.is_none() || self.answers_late {
            self.let_time_tell(coverage)?;
        }
        self.judge_state()
    }

    /// A worker that serves is about to be lost.
    pub fn note_fault(&mut self, id: MemberId) {
        let serves = |process: &Process| process.serves() && process.termed_at.is_none();
        if self.process(id).is_some_and(|process| serves(process) && !process.asked_to_drain) {
            self.fault_takes_one(id);
        }
    }

    /// The shell tells an event and performs the actions.
    pub fn tell(&mut self, event: Event, coverage: &mut Coverage) -> Verdict {
        if let Some(id) = event.member()
            && self.process(id).is_some_and(|process| process.given_up)
        {
            return self.claim(event, coverage);
        }
        if !self.answers_late {
            coverage.real(self.lifecycle.phase(), Some(event));
        }
        let mut actions = Vec::new();
        self.lifecycle.handle(event, self.now, &mut actions);
        self.perform(actions, coverage)
    }

    fn let_time_tell(&mut self, coverage: &mut Coverage) -> Verdict {
        while self.lifecycle.next_timeout().is_some_and(|due| due <= self.now) {
            if self.pending.is_some() && !self.answers_late {
                return Ok(());
            }
            coverage.real(self.lifecycle.phase(), None);
            let mut actions = Vec::new();
            self.lifecycle.handle_timeout(self.now, &mut actions);
            if self.lifecycle.next_timeout().is_some_and(|due| due <= self.now) {
                return Err(format!("a deadline is left over after handle_timeout({}): it would spin", self.now));
            }
            self.perform(actions, coverage)?;
        }
        Ok(())
    }

    fn perform(&mut self, actions: Vec<Action>, coverage: &mut Coverage) -> Verdict {
        let mut looks_for_strays = false;
        let last = actions.len().saturating_sub(1);
        for (position, action) in actions.into_iter().enumerate() {
            self.judge_action(&action, position == last)?;
            match action {
                Action::Spawn { member, role } => self.pending = Some((member, role)),
                Action::LeaveDispatch(id) => self.mark(id, |process, _| process.left_dispatch = true),
                Action::Drain(id) => self.mark(id, |process, _| process.asked_to_drain = true),
                Action::Hasten(id) => self.mark(id, |process, _| process.hastened = true),
                Action::EndChannel(id) => self.mark(id, |process, _| process.open = false),
                Action::Terminate(id) => self.mark(id, |process, now| {
                    (process.termed_at, process.drained_in_time) = (Some(now), process.drained);
                }),
                Action::Kill(id) => {
                    self.mark(id, |process, now| process.killed_at = Some(now));
                    self.judge_agents_turn();
                }
                Action::EndStrays { kill } => {
                    self.strays_killed |= kill;
                    looks_for_strays = true;
                }
                Action::OpenGate(id) => {
                    self.mark(id, |process, now| (process.let_in, process.let_in_at) = (true, Some(now)));
                    let role = self.lifecycle.role(id);
                    if let (Some(process), Some(role)) = (self.process_mut(id), role) {
                        process.role = role;
                    }
                }
                Action::Welcome { member, address: Address(0) } => self.welcomed = Some(member),
                Action::Notice(Notice::AgentSlow(id)) => {
                    self.mark(id, |process, _| process.slow_told = true);
                }
                Action::Notice(Notice::GivenUp(id)) => {
                    self.mark(id, |process, _| process.given_up = true);
                }
                Action::CloseListeners
                | Action::GiveBack
                | Action::Welcome { .. }
                | Action::AnnounceReady
                | Action::AnnounceFailure(_)
                | Action::AnnounceStopped(_)
                | Action::AdoptOptions(_)
                | Action::RestoreOptions
                | Action::Answer { .. }
                | Action::Notice(_)
                | Action::Exit(_) => {}
            }
        }
        if let Some(id) = self.welcomed.take_if(|_| self.pending.is_none()) {
            self.is_ready(id, coverage)?;
        }
        if looks_for_strays { self.look_whether_alone(coverage) } else { Ok(()) }
    }

    fn mark(&mut self, id: MemberId, mark: fn(&mut Process, Millis)) {
        let now = self.now;
        if let Some(process) = self.process_mut(id) {
            mark(process, now);
        }
    }

    fn answer(&mut self, works: bool, coverage: &mut Coverage) -> Verdict {
        let Some((id, role)) = self.pending.take() else { return Ok(()) };
        if !works {
            self.judge.saw_spawn_fail(id, self.now);
            return self.tell(Event::SpawnFailed { member: id, transient: id.0 % 2 == 0 }, coverage);
        }
        self.processes.push(Process {
            id,
            role,
            spawned_at: self.judge.spawned_at(id).unwrap_or(self.now),
            open: true,
            ready: false,
            asked_to_drain: false,
            drained: false,
            hastened: false,
            drained_in_time: false,
            left_dispatch: false,
            termed_at: None,
            killed_at: None,
            slow_told: false,
            at_gate: false,
            let_in: false,
            let_in_at: None,
            passed_gate: false,
            given_up: false,
            listens: false,
            away_since: None,
            has_left: false,
        });
        self.tell(Event::Spawned(id), coverage)
    }

    fn look_whether_alone(&mut self, coverage: &mut Coverage) -> Verdict {
        if self.processes.is_empty() && self.pending.is_none() && self.strays == 0 {
            self.tell(Event::Alone, coverage)
        } else {
            Ok(())
        }
    }

    /// Every slot has a ready member that is not on its way out.
    pub fn full_strength(&self) -> bool {
        let (agents, workers) = self.ready();
        agents == usize::from(self.policy.agent) && workers == self.policy.workers as usize
    }
}

/// The moves from the first on.
pub fn story(trail: &Option<Rc<Trail>>) -> String {
    let mut moves = Vec::new();
    let mut at = trail.as_ref();
    while let Some(link) = at {
        moves.push(format!("{:>8} {:?}", link.1, link.2));
        at = link.0.as_ref();
    }
    moves.reverse();
    moves.join("\n  ")
}
