//! Every decision of the master about time, count, order and phase. Pure: no system calls, no clock, no descriptors.
//!
//! One door: an event and the time go in, actions come out. The master performs them and tells what happened. Nothing is
//! chained: an event changes the books (which slot holds which member, and in what state), then [`Lifecycle::settle`]
//! compares what is wanted in this phase with what is there and asks for what is missing.
//!
//! * [`event`], [`action`], [`policy`]: the input, the output, the constants.
//! * [`member`]: one life: its states, and how it is asked to go; [`life`]: what it says and does meanwhile.
//! * [`slot`]: the places that the members take, and who is where.
//! * [`address`]: where a member listens; [`serving`]: what follows when it begins and stops to serve.
//! * [`start`]: from nothing to full strength, or to the first failure.
//! * [`refork`]: a new member for a slot that lost one: back-off and window.
//! * [`health`]: what to do when nobody is there for long.
//! * [`close`]: workers, then the agent, then strays, then the end.
//! * [`operation`]: reload and scale, the operations of a running master, asked for as in [`request`]; [`completion`]: how
//!   they end.
//! * [`handover`]: what a new worker must have opened before it takes a seat.
//! * [`spare`]: workers that wait at the gate for the place of one that is lost.
//! * [`timer`]: everything that happens because time has passed.
//! * [`view`]: what can be asked about all that.
//!
//! What the master promises: `Begin` comes first; a `Spawn`, always the last action of its batch, is answered before any
//! other event; events that are due are handed in before [`Lifecycle::handle_timeout`]; `now` never goes back. What is
//! promised here: an [`Action::Exit`] comes once, and nothing after it.

mod action;
mod address;
mod agents_turn;
mod close;
mod completion;
mod event;
mod handover;
mod health;
mod life;
mod member;
mod operation;
mod policy;
mod refork;
mod request;
mod serving;
mod slot;
mod spare;
mod start;
mod timer;
mod view;

pub use action::{Action, Notice, StartFailure};
pub use address::{Address, Listen, Worth};
pub use event::{CloseCause, Death, Event, Leave};
pub use policy::{Millis, Policy};
pub use request::{
    Asked, CancelledBy, OperationKind, Outcome, Patience, Progress, Refusal, ReloadHow, RequestId, Stage, Standing,
    Wanted,
};

use close::Close;
use health::Down;
use member::{Member, State};
use operation::Operation;
use refork::Window;
use serving::Deserted;
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
    /// Addresses that every living worker has closed.
    deserted: Vec<Deserted>,
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
            deserted: Vec::new(),
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
            Event::Listens { member, listen } => self.listens(member, listen, now, actions),
            Event::Closes { member, address } => self.closes(member, address, now),
            Event::Leaves(id) => self.leaves(id, now, actions),
            Event::AtGate(id) => self.at_gate(id, actions),
            Event::Drained(id) => self.drained(id, now, actions),
            Event::Disconnected(id) => self.disconnected(id, now, actions),
            Event::Exited { member, death } => self.exited(member, death, now, actions),
            Event::Alone => self.alone(actions),
            Event::Close(CloseCause::Signal(signal)) => self.close_asked(signal, now, actions),
            Event::Close(CloseCause::StartGivenUp(signal)) => self.start_given_up(signal, now, actions),
            Event::Close(CloseCause::Fault) => self.close_by_fault(now, actions),
            Event::Reload { request, how } => self.reload_asked(request, how, actions),
            Event::Replace { request, how } => self.replace_asked(request, how, now, actions),
            Event::Cancel { request, kind } => self.cancel_asked(request, kind, now, actions),
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
        [timer, self.refork_at(), self.completes_at(), self.down_at()].into_iter().flatten().min()
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
            Phase::Running => {
                self.stand_in(now, actions);
                self.spawn_next(now, actions);
            }
            Phase::ClosingWorkers | Phase::ClosingAgent => self.go_on_closing(now, actions),
        }
    }
}
