//! What the judge remembers: its own account of who was lost when, apart from the lifecycle's.

use std::collections::VecDeque;

use eggctl::lifecycle::{Action, Death, MemberId, Millis, Phase, Policy, Role};

use super::world::Process;

/// What the judge remembers of one slot: its own account of who was lost when.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Account {
    pub role: Role,
    /// Who is in it, spawned when.
    pub holder: Option<(MemberId, Millis)>,
    pub deaths: u32,
    pub lost_at: Millis,
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
}

pub fn back_off(deaths: u32) -> Millis {
    [0, 0, 100, 200, 400, 800, 1_600, 3_200].get(deaths as usize).copied().unwrap_or(5_000)
}

impl Judge {
    pub fn new(policy: &Policy) -> Self {
        let world = eggctl::lifecycle::Lifecycle::new(policy.clone());
        let accounts =
            world.waiting_for().map(|(role, _)| Account { role, holder: None, deaths: 0, lost_at: 0, told: true });
        Self {
            accounts: accounts.collect(),
            reforks: VecDeque::new(),
            last_id: 0,
            announced: None,
            listeners_closed: false,
            hurried: false,
            given_up: false,
            exit: None,
            phase: Phase::New,
            closes: 0,
            last_exit: None,
            last_spawn_failure: None,
            down_since: None,
            gave_up_down: false,
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
                account.lost_at = now;
                account.told = false;
            }
        }
    }

    pub fn saw_disconnect(&mut self, id: MemberId, now: Millis, processes: &[Process]) {
        // A worker that is not being ended is lost when its channel closes; everybody else when the process is gone.
        let worker = processes.iter().find(|process| process.id == id && process.role != Role::Agent);
        if self.is_running() && worker.is_some_and(|process| process.termed_at.is_none()) {
            self.lost(id, now, true);
        }
    }

    pub fn saw_exit(&mut self, id: MemberId, death: Death, now: Millis, _processes: &[Process]) {
        self.last_exit = Some((id, death));
        self.lost(id, now, true);
    }

    pub fn saw_spawn_fail(&mut self, id: MemberId, now: Millis) {
        self.last_spawn_failure = Some(id);
        self.lost(id, now, false);
    }

    pub fn saw_close(&mut self, _signal: i32) {
        self.closes += 1;
    }

    /// When the spawn was asked for.
    pub fn spawned_at(&self, id: MemberId) -> Option<Millis> {
        self.accounts.iter().filter_map(|account| account.holder).find(|holder| holder.0 == id).map(|holder| holder.1)
    }

    pub fn account(&mut self, role: Role) -> Result<&mut Account, String> {
        self.accounts.iter_mut().find(|account| account.role == role).ok_or_else(|| format!("no slot for {role:?}"))
    }
}
