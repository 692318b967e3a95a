//! A new member for a slot that lost one: at once the first time, after a back-off when it goes on, never too many at a
//! time, and never given up. The window is Egg's (cfork: 60 in 60 s, after which it loses the slot; here it waits).

use std::collections::VecDeque;

use super::member::{Member, State};
use super::slot::{Seat, Slot};
use super::{Action, Lifecycle, MemberId, Millis, Notice, Phase, Role};

const BACK_OFF_FIRST_MS: Millis = 100;
const BACK_OFF_MOST_MS: Millis = 5_000;

/// A member that lived this long has not died of its boot: its slot starts anew.
const LONG_LIFE_MS: Millis = 60_000;

const WINDOW_REFORKS: usize = 60;
const WINDOW_MS: Millis = 60_000;

/// The refork window: at most [`WINDOW_REFORKS`] in any [`WINDOW_MS`], over all slots.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Window {
    /// When the last reforks were, the oldest first.
    reforks: VecDeque<Millis>,
    /// A refork that is due waits for room, and the log has been told.
    waiting: bool,
}

impl Window {
    /// When there is room for one more: may be long ago.
    fn room_at(&self) -> Millis {
        match self.reforks.front() {
            Some(oldest) if self.reforks.len() >= WINDOW_REFORKS => oldest + WINDOW_MS,
            Some(_) | None => 0,
        }
    }

    fn count(&mut self, now: Millis) {
        if self.reforks.len() >= WINDOW_REFORKS {
            self.reforks.pop_front();
        }
        self.reforks.push_back(now);
    }

    /// When a refork that is due then is next worth a look: at `due` while nobody has been told that it waits.
    pub fn worth_a_look(&self, due: Millis) -> Millis {
        if self.waiting { due.max(self.room_at()) } else { due }
    }
}

/// The wait after so many deaths in a row.
fn back_off_ms(deaths: u32) -> Millis {
    match deaths {
        0 | 1 => 0,
        2.. => BACK_OFF_FIRST_MS.saturating_mul(1 << (deaths - 2).min(16)).min(BACK_OFF_MOST_MS),
    }
}

impl Lifecycle {
    /// The slot of this role lost its member, which had lived since `spawned_at`.
    pub(super) fn vacate(&mut self, role: Role, spawned_at: Millis, now: Millis, actions: &mut Vec<Action>) {
        let replaced = self.policy.refork || role == Role::Agent;
        let Some(slot) = self.slot_mut(role) else { return };
        if !replaced {
            slot.seat = Seat::Closed;
            actions.push(Action::Notice(Notice::NoRefork(role)));
            return;
        }
        let before = if now.saturating_sub(spawned_at) >= LONG_LIFE_MS { 0 } else { slot.deaths };
        slot.deaths = before.saturating_add(1);
        let after_ms = back_off_ms(slot.deaths);
        slot.seat = Seat::Empty { due: now + after_ms };
        if !self.spare_takes_over(role, now + after_ms, now, actions) {
            actions.push(Action::Notice(Notice::Refork { role, after_ms }));
        }
    }

    /// Is the answer to a spawn outstanding?
    pub(super) fn is_spawning(&self) -> bool {
        self.lives().any(|member| member.state == State::Spawning)
    }

    /// Spawns the agent that a reload has sent away; else for the slot that has been due longest; then for the operation under
    /// way. One at a time: the answer brings the next one in the same turn, and a failure that begins a close finds no other
    /// spawn under way.
    pub(super) fn spawn_next(&mut self, now: Millis, actions: &mut Vec<Action>) {
        if self.is_spawning() {
            return;
        }
        if let Some(patience) = self.agents_return(now) {
            return self.spawn_in_seat(Role::Agent, patience.boot_grace_ms, now, actions);
        }
        let Some(role) = self.longest_due(now) else {
            self.window.waiting = false;
            return self.spawn_next_of_operation(now, actions);
        };
        if self.phase == Phase::Running {
            let wait_ms = self.window.room_at().saturating_sub(now);
            if wait_ms > 0 {
                if !self.window.waiting {
                    self.window.waiting = true;
                    actions.push(Action::Notice(Notice::ReforkWindowFull { wait_ms }));
                }
                return self.spawn_next_of_operation(now, actions);
            }
            self.window.count(now);
        }
        self.spawn_in_seat(role, self.policy.boot_grace_ms, now, actions);
    }

    fn spawn_in_seat(&mut self, role: Role, boot_grace_ms: Millis, now: Millis, actions: &mut Vec<Action>) {
        let held = matches!(role, Role::Spare { kind: _, place: _ });
        let member = self.new_member(role, now, boot_grace_ms, held);
        actions.push(Action::Spawn { member: member.id, role });
        if let Some(slot) = self.slot_mut(role) {
            slot.seat = Seat::Taken(member);
        }
    }

    pub(super) fn new_member(&mut self, role: Role, now: Millis, boot_grace_ms: Millis, held: bool) -> Member {
        // At one refork a second this is unique for 136 years.
        self.last_member = MemberId(self.last_member.0.wrapping_add(1));
        Member::new(self.last_member, role, now, boot_grace_ms, held)
    }

    /// The slot that may have a member at `now` and has waited longest; the first of equals.
    fn longest_due(&self, now: Millis) -> Option<Role> {
        let due = |slot: &Slot| match slot.seat {
            Seat::Empty { due } if due <= now && (self.phase == Phase::Running || self.may_start(slot.role)) => {
                Some((due, slot.role))
            }
            Seat::Empty { due: _ } | Seat::Taken(_) | Seat::Closed => None,
        };
        self.slots.iter().chain(self.spares_wanted()).filter_map(due).min_by_key(|&(due, _)| due).map(|(_, role)| role)
    }
}
