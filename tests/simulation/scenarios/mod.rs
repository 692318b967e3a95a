//! What an operator should know of the lifecycle, one by one, and the faults of naive drafts by name.

mod cancel;
mod close;
mod death;
mod health;
mod operation;
mod serving;
mod spare;
mod start;

use eggctl::lifecycle::Action::{Notice, Spawn};
use eggctl::lifecycle::Notice as N;
use eggctl::lifecycle::{
    Action, CloseCause, Death, Event, Kind, Lifecycle, MemberId, Millis, Patience, Phase, Policy, Role,
};

const AGENT: Role = Role::Agent;
const NOTHING: [Action; 0] = [];
const TERM: i32 = 15;
const PATIENCE: Patience = Patience { boot_grace_ms: 60_000, drain_grace_ms: 30_000 };
const SIGKILL: Death = Death::Signal(9);

fn worker(slot: u32) -> Role {
    Role::Worker { kind: Kind(0), slot }
}

/// The member that is spawned as the n-th, from 1 on.
fn nth(n: u32) -> MemberId {
    MemberId(n)
}

fn spawn(n: u32, role: Role) -> Action {
    Spawn { member: nth(n), role }
}

fn died(n: u32, death: Death) -> Action {
    Notice(N::Died { member: nth(n), death })
}

fn refork(role: Role, after_ms: Millis) -> Action {
    Notice(N::Refork { role, after_ms })
}

fn policy(agent: bool, workers: u32) -> Policy {
    Policy {
        agent,
        workers,
        refork: true,
        spares: 0,
        cores: 1,
        exit_when_down: false,
        boot_grace_ms: 20_000,
        worker_close_grace_ms: 5_000,
        agent_close_grace_ms: 3_000,
    }
}

/// A lifecycle whose spawns work.
struct Stage {
    lifecycle: Lifecycle,
    now: Millis,
}

impl Stage {
    fn begun(policy: Policy) -> Self {
        let mut stage = Self { lifecycle: Lifecycle::new(policy), now: 0 };
        stage.tell(Event::Begin);
        stage
    }

    /// At full strength: the agent is the first, the workers follow.
    fn running(policy: Policy) -> Self {
        let members = u32::from(policy.agent) + policy.workers;
        let mut stage = Self::begun(policy);
        for n in 1..=members {
            stage.ready(n);
        }
        assert_eq!(stage.lifecycle.phase(), Phase::Running);
        stage
    }

    fn tell(&mut self, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        self.lifecycle.handle(event, self.now, &mut actions);
        self.answer(&mut actions);
        actions
    }

    /// Every spawn works, at once.
    fn answer(&mut self, actions: &mut Vec<Action>) {
        while let Some(&Spawn { member, .. }) = actions.last() {
            let before = actions.len();
            self.lifecycle.handle(Event::Spawned(member), self.now, actions);
            if actions.len() == before {
                return;
            }
        }
    }

    /// So much time passes, deadline by deadline.
    fn pass(&mut self, length: Millis) -> Vec<Action> {
        let (mut actions, end) = (Vec::new(), self.now + length);
        while let Some(due) = self.lifecycle.next_timeout().filter(|&due| due <= end) {
            self.now = self.now.max(due);
            let mut done = Vec::new();
            self.lifecycle.handle_timeout(self.now, &mut done);
            self.answer(&mut done);
            actions.extend(done);
        }
        self.now = end;
        actions
    }

    fn ready(&mut self, n: u32) -> Vec<Action> {
        self.tell(Event::Ready(nth(n)))
    }

    fn dies(&mut self, n: u32, death: Death) -> Vec<Action> {
        self.tell(Event::Exited { member: nth(n), death })
    }

    fn disconnects(&mut self, n: u32) -> Vec<Action> {
        self.tell(Event::Disconnected(nth(n)))
    }

    fn signal(&mut self) -> Vec<Action> {
        self.tell(Event::Close(CloseCause::Signal(TERM)))
    }
}
