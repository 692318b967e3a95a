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
//! * [`timer`]: everything that happens because time has passed.
//!
//! What the master promises: `Begin` comes first; a `Spawn`, always the last action of its batch, is answered before any
//! other event; events that are due are handed in before [`Lifecycle::handle_timeout`]; `now` never goes back. What is
//! promised here: an [`Action::Exit`] comes once, and nothing after it.

mod action;
mod close;
mod event;
mod health;
mod member;
mod policy;
mod refork;
mod slot;
mod start;
mod timer;

pub use action::{Action, Notice, StartFailure};
pub use event::{CloseCause, Death, Event};
pub use policy::{Millis, Policy};

use close::Close;
use health::Down;
use member::{Member, State};
use refork::Window;
use slot::Slot;

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
    /// Workers that closed their channel but live: their slots have gone on without them. The refork window and their own
    /// deadlines bound their number.
    leaving: Vec<Member>,
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
        Self {
            slots: agent.into_iter().chain(workers).map(Slot::new).collect(),
            policy,
            phase: Phase::New,
            leaving: Vec::new(),
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
            Event::Spawned(id) => self.spawned(id),
            Event::SpawnFailed { member, transient: _ } => self.spawn_failed(member, now, actions),
            Event::Ready(id) => self.ready(id),
            Event::Drained(id) => self.drained(id, actions),
            Event::Disconnected(id) => self.disconnected(id, now, actions),
            Event::Exited { member, death } => self.exited(member, death, now, actions),
            Event::Alone => self.alone(actions),
            Event::Close(CloseCause::Signal(signal)) => self.close_asked(signal, now, actions),
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
        self.slots.iter().filter(|slot| !slot.is_ready()).map(|slot| (slot.role, slot.member().map(|member| member.id)))
    }

    /// Compares what this phase wants with what is there. Doing it twice does nothing more.
    fn settle(&mut self, now: Millis, actions: &mut Vec<Action>) {
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

    fn ready(&mut self, id: MemberId) {
        let Some(member) = self.member_mut(id) else { return };
        match member.state {
            State::Booting { slow_told: _ } => member.state = State::Ready,
            // Nothing can be heard from a member whose spawn is not answered; the others said so before, or are on their
            // way out and do not come back.
            State::Spawning
            | State::Ready
            | State::Disconnected { until: _ }
            | State::Draining { until: _ }
            | State::Terminated { until: _ }
            | State::Killed { until: _ } => {}
        }
    }

    /// A member's channel closed while it lives. Without it a member is no use: it is replaced, and ended if need be.
    fn disconnected(&mut self, id: MemberId, now: Millis, actions: &mut Vec<Action>) {
        let (phase, agent_grace_ms, close_deadline) =
            (self.phase, self.policy.agent_close_grace_ms, self.close_deadline());
        let Some(member) = self.member_mut(id) else { return };
        match member.state {
            State::Booting { slow_told: _ } | State::Ready => {}
            State::Draining { until: _ } => return member.terminate(close_deadline, actions),
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
            (Phase::Running, Role::Agent) => {
                actions.push(Action::Notice(Notice::Disconnected(id)));
                // There must never be two agents: this one has to be gone before the next is spawned.
                member.terminate(now.saturating_add(agent_grace_ms), actions);
            }
            (Phase::Running, Role::Worker { kind: _, slot: _ }) => {
                actions.push(Action::Notice(Notice::Disconnected(id)));
                member.disconnect(now + member::LINGER_MS, actions);
                let spawned_at = member.spawned_at;
                self.leave_slot(id);
                self.vacate(role, spawned_at, now, actions);
            }
            // The close gives it its TERM: a worker now, the agent after the workers.
            (Phase::ClosingWorkers | Phase::ClosingAgent, _) => member.disconnect(now, actions),
        }
    }

    fn exited(&mut self, id: MemberId, death: Death, now: Millis, actions: &mut Vec<Action>) {
        let Some((member, held_slot)) = self.remove(id) else { return };
        match self.phase {
            // No member lives in these.
            Phase::New | Phase::ClosingStrays | Phase::Ended => {}
            // Whatever its code: the framework's own "start error" path exits with 0.
            Phase::Starting => self.fail_start(StartFailure::Died { member: id, death }, now, actions),
            Phase::Running => {
                actions.push(Action::Notice(Notice::Died { member: id, death }));
                if held_slot {
                    self.vacate(member.role, member.spawned_at, now, actions);
                }
            }
            Phase::ClosingWorkers | Phase::ClosingAgent => {
                if !member.may_end_with(death) {
                    actions.push(Action::Notice(Notice::Died { member: id, death }));
                }
            }
        }
    }
}
