//! What the judge remembers: its own account of who was lost when, apart from the lifecycle's.

use std::collections::VecDeque;

use eggctl::lifecycle::{Action, Death, Kind, MemberId, Millis, Phase, Policy, Role};

use super::operations::{AgentTurn, Operations};
use super::world::Process;

/// What the judge remembers of one slot: its own account of who was lost when.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Account {
    pub role: Role,
    /// Who is in it, spawned when.
    pub holder: Option<(MemberId, Millis)>,
    pub deaths: u32,
    /// When it may have a new one: the back-off's end.
    pub due: Millis,
    /// The log has been told of the refork.
    pub told: bool,
}

/// The judge's memory.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Judge {
    pub accounts: Vec<Account>,
    pub reforks: VecDeque<Millis>,
    pub last_id: u32,
    pub announced: Option<Action>,
    pub listeners_closed: bool,
    pub hurried: bool,
    /// Nothing that was started is wanted.
    pub failed_start: bool,
    pub given_up: bool,
    pub exit: Option<u8>,
    pub phase: Phase,
    /// Signals that asked for the close.
    pub closes: u32,
    pub last_exit: Option<(MemberId, Death)>,
    pub last_spawn_failure: Option<MemberId>,
    /// Since when there is no agent or no worker.
    pub down_since: Option<Millis>,
    /// The master gave up for that.
    pub gave_up_down: bool,
    pub operations: Operations,
}

pub fn back_off(deaths: u32) -> Millis {
    [0, 0, 100, 200, 400, 800, 1_600, 3_200].get(deaths as usize).copied().unwrap_or(5_000)
}

fn is_held_by(account: &Account, id: MemberId) -> bool {
    account.holder.is_some_and(|holder| holder.0 == id)
}

impl Judge {
    pub fn new(policy: &Policy) -> Self {
        let world = eggctl::lifecycle::Lifecycle::new(policy.clone());
        let spares = (0..policy.spares).map(|place| Role::Spare { kind: Kind(0), place });
        let roles = world.waiting_for().map(|(role, _)| role).chain(spares);
        let accounts = roles.map(|role| Account { role, holder: None, deaths: 0, due: 0, told: true });
        Self {
            accounts: accounts.collect(),
            reforks: VecDeque::new(),
            last_id: 0,
            announced: None,
            listeners_closed: false,
            hurried: false,
            failed_start: false,
            given_up: false,
            exit: None,
            phase: Phase::New,
            closes: 0,
            last_exit: None,
            last_spawn_failure: None,
            down_since: None,
            gave_up_down: false,
            operations: Operations::default(),
        }
    }

    pub fn is_running(&self) -> bool {
        self.announced == Some(Action::AnnounceReady) && !self.listeners_closed
    }

    pub fn is_closing(&self) -> bool {
        self.listeners_closed
    }

    fn lost(&mut self, id: MemberId, now: Millis, lived: bool) {
        for account in &mut self.accounts {
            if let Some((holder, spawned_at)) = account.holder
                && holder == id
            {
                account.holder = None;
                account.deaths = if lived && now - spawned_at >= 60_000 { 1 } else { account.deaths + 1 };
                account.due = now + back_off(account.deaths);
                account.told = false;
            }
        }
    }

    pub fn saw_disconnect(&mut self, id: MemberId, now: Millis, processes: &[Process]) {
        for next in self.operations.op.iter_mut().flat_map(|op| &mut op.nexts).filter(|next| next.id == id) {
            next.ready = false;
        }
        // A worker that is not being ended is lost when its channel closes; everybody else when the process is gone.
        let worker = processes.iter().find(|process| process.id == id && process.role != Role::Agent);
        if self.is_running() && worker.is_some_and(|process| process.termed_at.is_none()) {
            self.lost(id, now, true);
        }
    }

    /// A worker lost its seat because it left the address that it serves.
    pub fn saw_leave(&mut self, id: MemberId, now: Millis) {
        self.lost(id, now, true);
    }

    /// A new member does not serve any more.
    pub fn saw_next_leave(&mut self, id: MemberId) {
        for next in self.operations.op.iter_mut().flat_map(|op| &mut op.nexts).filter(|next| next.id == id) {
            next.ready = false;
        }
    }

    pub fn saw_exit(&mut self, id: MemberId, death: Death, now: Millis, _processes: &[Process]) {
        self.last_exit = Some((id, death));
        let agent = self.accounts.iter_mut().find(|account| account.role == Role::Agent && is_held_by(account, id));
        if let Some(account) = agent {
            let mut leaves = std::mem::take(&mut self.operations.agent_leaves);
            self.operations.agent_owed = leaves;
            if let Some(op) = &mut self.operations.op
                && let AgentTurn::Leaves { since } = op.agent
            {
                op.agent = AgentTurn::IsAwaited { since };
                (leaves, self.operations.agent_owed) = (true, false);
            }
            if leaves {
                (account.holder, account.deaths, account.due) = (None, 0, now);
                return;
            }
        }
        self.lost(id, now, true);
    }

    pub fn saw_spawn_fail(&mut self, id: MemberId, now: Millis) {
        self.last_spawn_failure = Some(id);
        self.lost(id, now, false);
    }

    /// Does it hold a seat?
    pub fn is_holder(&self, id: MemberId) -> bool {
        self.accounts.iter().any(|account| is_held_by(account, id))
    }

    /// The seats that are to be filled at full strength.
    pub fn seats(&self) -> impl Iterator<Item = &Account> {
        self.accounts.iter().filter(|account| !matches!(account.role, Role::Spare { .. }))
    }

    pub fn saw_close(&mut self, _signal: i32) {
        self.closes += 1;
    }

    /// When the spawn was asked for.
    pub fn spawned_at(&self, id: MemberId) -> Option<Millis> {
        let holders = self.accounts.iter().filter_map(|account| account.holder);
        let nexts = self.operations.op.iter().flat_map(|op| &op.nexts).map(|next| (next.id, next.spawned_at));
        holders.chain(nexts).find(|holder| holder.0 == id).map(|holder| holder.1)
    }

    pub fn account(&mut self, role: Role) -> Result<&mut Account, String> {
        self.accounts.iter_mut().find(|account| account.role == role).ok_or_else(|| format!("no slot for {role:?}"))
    }
}
