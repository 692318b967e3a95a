//! Every decision of the master about time, count, order and phase. Pure: no system calls, no clock, no descriptors.
//!
//! One door: an event and the time go in, actions come out. The master performs them and tells what happened. Nothing is
//! chained: an event changes the books (which slot holds which member, and in what state), then [`Lifecycle::settle`]
//! compares what is wanted in this phase with what is there and asks for what is missing.
//!
//! * [`event`], [`action`], [`policy`]: the input, the output, the constants.
//! * [`member`]: one life: its states, and how it is asked to go.
//! * [`slot`]: the places that the members take, and who is where.
//! * [`start`]: from nothing to full strength, or to the first failure.
//! * [`refork`]: a new member for a slot that lost one: back-off and window.
//! * [`health`]: what to do when nobody is there for long.
//! * [`close`]: workers, then the agent, then strays, then the end.
//! * [`operation`]: reload and scale, the operations of a running master, asked for as in [`request`].
//! * [`spare`]: workers that wait at the gate for the place of one that is lost.
//! * [`timer`]: everything that happens because time has passed.
//!
//! What the master promises: `Begin` comes first; a `Spawn`, always the last action of its batch, is answered before any
//! other event; events that are due are handed in before [`Lifecycle::handle_timeout`]; `now` never goes back. What is
//! promised here: an [`Action::Exit`] comes once, and nothing after it.

mod action;
mod agents_turn;
mod close;
mod event;
mod health;
mod member;
mod operation;
mod policy;
mod refork;
mod request;
mod slot;
mod spare;
mod start;
mod timer;

pub use action::{Action, Notice, StartFailure};
pub use event::{CloseCause, Death, Event};
pub use policy::{Millis, Policy};
pub use request::{Asked, Outcome, Patience, Progress, Refusal, ReloadHow, RequestId, Stage, Standing, Wanted};

use agents_turn::AgentTurn;
use close::Close;
use health::Down;
use member::{Member, State};
use operation::Operation;
use refork::Window;
use slot::{Place, Slot};

/// One life of an agent or worker. Given by the lifecycle, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(pub u32);

/// A kind of worker. There is one kind today; a slot belongs to a kind so that there can be more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kind(pub u8);

/// What a member is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// The one agent, started before the workers and stopped after them.
    Agent,
    /// The worker in position `slot` (0..n) of its kind; the slot survives the member in it.
    Worker {
        /// The kind of worker.
        kind: Kind,
        /// The position, counted from 0.
        slot: u32,
    },
    /// A worker that has booted and waits at the gate to take the place of one that is lost.
    Spare {
        /// The kind of worker.
        kind: Kind,
        /// The position among the spares, counted from 0.
        place: u32,
    },
}

/// Where the master is in its own life. It only ever goes down this list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Nothing has begun.
    New,
    /// The agent, then the workers, boot; any loss ends the start.
    Starting,
    /// Everybody has been ready at the same time once; who is lost is replaced.
    Running,
    /// The workers are asked to go; the agent is left alone.
    ClosingWorkers,
    /// The workers are gone; the agent is asked to go.
    ClosingAgent,
    /// The members are gone; what they left behind is ended.
    ClosingStrays,
    /// Exit has been said.
    Ended,
}

/// The state of every decision: plain data, so that it can be carried through an exec of the master.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Lifecycle {
    policy: Policy,
    phase: Phase,
    /// The agent's, if there is one, then the workers' in order.
    slots: Vec<Slot>,
    /// Workers that live and have no slot any more: they closed their channel, or were replaced, or are not wanted. The
    /// refork window, one operation at a time and their own deadlines bound their number.
    leaving: Vec<Member>,
    /// The places of workers that wait at the gate to stand in.
    spares: Vec<Slot>,
    /// The reload or scale under way.
    operation: Option<Operation>,
    last_member: MemberId,
    window: Window,
    down: Option<Down>,
    close: Close,
}

impl Lifecycle {
    /// The state before anything has begun.
    #[must_use]
    pub fn new(policy: Policy) -> Self {
        let agent = policy.agent.then_some(Role::Agent);
        let workers = (0..policy.workers).map(|slot| Role::Worker { kind: Kind(0), slot });
        let spares = (0..policy.spares).map(|place| Role::Spare { kind: Kind(0), place });
        Self {
            slots: agent.into_iter().chain(workers).map(Slot::new).collect(),
            spares: spares.map(Slot::new).collect(),
            policy,
            phase: Phase::New,
            leaving: Vec::new(),
            operation: None,
            last_member: MemberId(0),
            window: Window::default(),
            down: None,
            close: Close::default(),
        }
    }

    /// Something happened at `now`: appends what is to be done about it.
    pub fn handle(&mut self, event: Event, now: Millis, actions: &mut Vec<Action>) {
        if event.member().is_some_and(|id| self.member(id).is_none()) {
            return; // Late: that life is over.
        }
        match event {
            Event::Begin => self.begin(),
            Event::Spawned(id) => self.spawned(id, now, actions),
            Event::SpawnFailed { member, transient: _ } => self.spawn_failed(member, now, actions),
            Event::Ready(id) => self.ready(id, now, actions),
            Event::AtGate(id) => self.at_gate(id, actions),
            Event::Drained(id) => self.drained(id, now, actions),
            Event::Disconnected(id) => self.disconnected(id, now, actions),
            Event::Exited { member, death } => self.exited(member, death, now, actions),
            Event::Alone => self.alone(actions),
            Event::Close(CloseCause::Signal(signal)) => self.close_asked(signal, now, actions),
            Event::Reload { request, how } => self.reload_asked(request, how, actions),
            Event::Scale { request, wanted, patience } => self.scale_asked(request, wanted, patience, now, actions),
        }
        self.settle(now, actions);
    }

    /// It is `now`: appends what is to be done about every deadline that has passed.
    pub fn handle_timeout(&mut self, now: Millis, actions: &mut Vec<Action>) {
        while self.next_timeout().is_some_and(|due| due <= now) {
            while let Some((due, timer)) = self.first_timer()
                && due <= now
            {
                self.fire(timer, now, actions);
            }
            self.settle(now, actions);
        }
    }

    /// When [`Lifecycle::handle_timeout`] is to be called at the latest; none: only an event can change anything.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Millis> {
        let timer = self.first_timer().map(|(due, _)| due);
        [timer, self.refork_at(), self.down_at()].into_iter().flatten().min()
    }

    /// Where the master is in its own life.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Is this member ready, and neither leaving nor cut off?
    #[must_use]
    pub fn is_ready(&self, member: MemberId) -> bool {
        self.member(member).is_some_and(Member::is_ready)
    }

    /// What this member is for; none when it does not live.
    #[must_use]
    pub fn role(&self, member: MemberId) -> Option<Role> {
        self.member(member).map(|member| member.role)
    }

    /// Every member that lives, those that leave included.
    pub fn members(&self) -> impl Iterator<Item = (MemberId, Role)> {
        self.lives().map(|member| (member.id, member.role))
    }

    /// Every slot that has no ready member, with the member that it waits for if there is one already.
    pub fn waiting_for(&self) -> impl Iterator<Item = (Role, Option<MemberId>)> {
        // What a scale adds is not expected before it is there.
        let slots = self.slots.iter().take(usize::from(self.policy.agent) + self.policy.workers as usize);
        slots.filter(|slot| !slot.is_ready()).map(|slot| (slot.role, slot.member().map(|member| member.id)))
    }

    /// Is this member's question for the address it is to serve not to be answered yet? Until it has been told
    /// [`Action::OpenGate`]; never for a member that does not wait.
    #[must_use]
    pub fn is_held(&self, member: MemberId) -> bool {
        self.member(member).is_some_and(|member| member.held && (member.is_booting() || member.is_waiting()))
    }

    /// How far the operation under way is; none when there is none.
    #[must_use]
    pub fn progress(&self) -> Option<Progress> {
        let operation = self.operation.as_ref()?;
        let nexts = || self.slots.iter().filter_map(|slot| slot.next.as_ref());
        let count =
            |is: fn(&Member) -> bool| u32::try_from(nexts().filter(|next| is(next)).count()).unwrap_or(u32::MAX);
        let entering = |member: &Member| matches!(member.state, State::Entering { until: _ } | State::Ready);
        let stage = match operation.agent {
            AgentTurn::Leaving { since: _ } | AgentTurn::Booting { since: _ } => Stage::Agent,
            AgentTurn::Keep | AgentTurn::Wanted | AgentTurn::Back { after_ms: _ } => {
                if self.slots.iter().all(|slot| !slot.stale) {
                    Stage::Leaving
                } else if !operation.rolling && nexts().any(entering) {
                    Stage::Entering
                } else {
                    Stage::Booting
                }
            }
        };
        let leaving = self.leaving.iter().filter(|member| member.is_going()).count();
        Some(Progress {
            stage,
            wanted: operation.wanted,
            booting: count(Member::is_booting),
            waiting: count(Member::is_waiting),
            ready: operation.replaced.saturating_add(count(Member::is_ready)),
            leaving: u32::try_from(leaving).unwrap_or(u32::MAX),
        })
    }

    /// The operation under way.
    #[must_use]
    pub fn operation(&self) -> Option<Asked> {
        self.operation.as_ref().map(|operation| operation.asked)
    }

    /// How many workers there are to be; while there are to be more, as many as before.
    #[must_use]
    pub fn workers(&self) -> u32 {
        self.policy.workers
    }

    /// Where this member is; none when it does not live.
    #[must_use]
    pub fn standing(&self, member: MemberId) -> Option<Standing> {
        let member = self.member(member)?;
        Some(match member.state {
            State::Spawning | State::Booting { slow_told: _ } | State::Entering { until: _ } => Standing::Booting,
            State::Waiting => Standing::Waiting,
            State::Ready => Standing::Ready,
            State::Disconnected { until: _ }
            | State::Draining { until: _ }
            | State::Terminated { until: _ }
            | State::Killed { until: _ } => Standing::Leaving,
        })
    }

    /// Compares what this phase wants with what is there. Doing it twice does nothing more.
    fn settle(&mut self, now: Millis, actions: &mut Vec<Action>) {
        self.operate(now, actions);
        self.watch_health(now, actions);
        match self.phase {
            Phase::New | Phase::ClosingStrays | Phase::Ended => {}
            Phase::Starting => {
                self.announce_when_ready(actions);
                self.spawn_next(now, actions);
            }
            Phase::Running => self.spawn_next(now, actions),
            Phase::ClosingWorkers | Phase::ClosingAgent => self.go_on_closing(now, actions),
        }
    }

    fn ready(&mut self, id: MemberId, now: Millis, actions: &mut Vec<Action>) {
        let Some(member) = self.member_mut(id) else { return };
        match member.state {
            State::Booting { slow_told: _ } | State::Waiting | State::Entering { until: _ } => {
                member.state = State::Ready;
            }
            // Nothing can be heard from a member whose spawn is not answered; the others said so before, or are on their
            // way out and do not come back.
            State::Spawning
            | State::Ready
            | State::Disconnected { until: _ }
            | State::Draining { until: _ }
            | State::Terminated { until: _ }
            | State::Killed { until: _ } => return,
        }
        if std::mem::take(&mut member.held) {
            match member.role {
                Role::Spare { kind: _, place: _ } => self.spare_passed_gate(id, now, actions),
                Role::Agent | Role::Worker { kind: _, slot: _ } => self.passed_gate(id, now, actions),
            }
        }
    }

    fn at_gate(&mut self, id: MemberId, actions: &mut Vec<Action>) {
        let Some(member) = self.member_mut(id).filter(|member| member.held) else { return };
        match member.state {
            State::Booting { slow_told: _ } => {
                member.state = State::Waiting;
                if matches!(member.role, Role::Spare { kind: _, place: _ }) {
                    actions.push(Action::Notice(Notice::SpareWaits(id)));
                }
            }
            // It asks for a second address, or is on its way out.
            State::Spawning
            | State::Waiting
            | State::Entering { until: _ }
            | State::Ready
            | State::Disconnected { until: _ }
            | State::Draining { until: _ }
            | State::Terminated { until: _ }
            | State::Killed { until: _ } => {}
        }
    }

    /// A member's channel closed while it lives. Without it a member is no use: it is replaced, and ended if need be.
    fn disconnected(&mut self, id: MemberId, now: Millis, actions: &mut Vec<Action>) {
        let (phase, is_next) = (self.phase, self.is_next(id));
        let Some(member) = self.member_mut(id) else { return };
        match member.state {
            State::Booting { slow_told: _ } | State::Waiting | State::Entering { until: _ } | State::Ready => {}
            // It is on its way out by itself (Node's own `disconnect`), with requests in flight.
            State::Draining { until } if phase == Phase::Running && member.retired => {
                member.state = State::Disconnected { until };
                return;
            }
            State::Draining { until: _ } => return self.terminate(id, now, actions),
            State::Spawning
            | State::Disconnected { until: _ }
            | State::Terminated { until: _ }
            | State::Killed { until: _ } => return,
        }
        let role = member.role;
        match (phase, role) {
            // No member lives in these.
            (Phase::New | Phase::ClosingStrays | Phase::Ended, _) => {}
            // Its end, if it is ending, tells more: wait for that first.
            (Phase::Starting, _) => member.disconnect(now + start::TRUE_END_MS, actions),
            (Phase::Running, _) if is_next => member.disconnect(now + start::TRUE_END_MS, actions),
            (Phase::Running, Role::Agent) => {
                actions.push(Action::Notice(Notice::Disconnected(id)));
                // There must never be two agents: this one has to be gone before the next is spawned.
                self.terminate(id, now, actions);
            }
            (Phase::Running, Role::Worker { kind: _, slot: _ } | Role::Spare { kind: _, place: _ }) => {
                actions.push(Action::Notice(Notice::Disconnected(id)));
                member.disconnect(now + member::LINGER_MS, actions);
                let spawned_at = member.spawned_at;
                self.leave_slot(id);
                self.lost_a_new_one(role, StartFailure::Disconnected(id), now, actions);
                self.vacate(role, spawned_at, now, actions);
            }
            // The close gives it its TERM: a worker now, the agent after the workers.
            (Phase::ClosingWorkers | Phase::ClosingAgent, _) => member.disconnect(now, actions),
        }
    }

    fn exited(&mut self, id: MemberId, death: Death, now: Millis, actions: &mut Vec<Action>) {
        let Some((member, place)) = self.remove(id) else { return };
        match self.phase {
            // No member lives in these.
            Phase::New | Phase::ClosingStrays | Phase::Ended => {}
            // Whatever its code: the framework's own "start error" path exits with 0.
            Phase::Starting => self.fail_start(StartFailure::Died { member: id, death }, now, actions),
            Phase::Running => {
                let asked = place == Place::Leaving || self.is_agents_leave(&member);
                if asked && member.may_end_with(death) {
                    actions.push(Action::Notice(Notice::Left(id)));
                } else {
                    actions.push(Action::Notice(Notice::Died { member: id, death }));
                }
                self.lost(&member, place, member.spawned_at, StartFailure::Died { member: id, death }, now, actions);
            }
            Phase::ClosingWorkers | Phase::ClosingAgent => {
                if !member.may_end_with(death) {
                    actions.push(Action::Notice(Notice::Died { member: id, death }));
                }
            }
        }
    }
}
