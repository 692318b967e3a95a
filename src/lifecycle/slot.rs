//! The places that members take, the agent's being one of them, and who is where.

use super::member::Member;
use super::{Lifecycle, MemberId, Millis, Role};

/// A place that is kept filled while the master runs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Slot {
    pub role: Role,
    /// How many of its members died one after the other without having lived long.
    pub deaths: u32,
    pub seat: Seat,
}

/// What is in a slot.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Seat {
    /// Nobody; a member is wanted from `due` on.
    Empty { due: Millis },
    /// This member.
    Taken(Member),
    /// Nobody, and it stays so.
    Closed,
}

impl Slot {
    pub fn new(role: Role) -> Self {
        Self { role, deaths: 0, seat: Seat::Empty { due: 0 } }
    }

    pub fn member(&self) -> Option<&Member> {
        match &self.seat {
            Seat::Taken(member) => Some(member),
            Seat::Empty { due: _ } | Seat::Closed => None,
        }
    }

    fn member_mut(&mut self) -> Option<&mut Member> {
        match &mut self.seat {
            Seat::Taken(member) => Some(member),
            Seat::Empty { due: _ } | Seat::Closed => None,
        }
    }

    pub fn is_ready(&self) -> bool {
        self.member().is_some_and(Member::is_ready)
    }

    fn holds(&self, id: MemberId) -> bool {
        self.member().is_some_and(|member| member.id == id)
    }
}

impl Lifecycle {
    /// Everybody who lives.
    pub(super) fn lives(&self) -> impl Iterator<Item = &Member> {
        self.slots.iter().filter_map(Slot::member).chain(&self.leaving)
    }

    pub(super) fn lives_mut(&mut self) -> impl Iterator<Item = &mut Member> {
        self.slots.iter_mut().filter_map(Slot::member_mut).chain(&mut self.leaving)
    }

    pub(super) fn member(&self, id: MemberId) -> Option<&Member> {
        self.lives().find(|member| member.id == id)
    }

    pub(super) fn member_mut(&mut self, id: MemberId) -> Option<&mut Member> {
        self.lives_mut().find(|member| member.id == id)
    }

    /// Takes a life out of the books and says whether it held a slot, which is closed then until somebody reopens it.
    pub(super) fn remove(&mut self, id: MemberId) -> Option<(Member, bool)> {
        if let Some(position) = self.leaving.iter().position(|member| member.id == id) {
            return Some((self.leaving.remove(position), false));
        }
        let slot = self.slots.iter_mut().find(|slot| slot.holds(id))?;
        match std::mem::replace(&mut slot.seat, Seat::Closed) {
            Seat::Taken(member) => Some((member, true)),
            Seat::Empty { due: _ } | Seat::Closed => None,
        }
    }

    /// The member lives on without its slot.
    pub(super) fn leave_slot(&mut self, id: MemberId) {
        if let Some((member, _)) = self.remove(id) {
            self.leaving.push(member);
        }
    }
}
