//! The places that members take, the agent's being one of them, and who is where.

use super::address::Served;
use super::member::Member;
use super::{Address, Lifecycle, MemberId, Millis, Role};

/// A place that is kept filled while the master runs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Slot {
    pub role: Role,
    /// How many of its members died one after the other without having lived long.
    pub deaths: u32,
    pub seat: Seat,
    /// An operation is to put a new member here.
    pub stale: bool,
    /// Who is to take the seat when its time has come: the seat goes on as it is until then.
    pub next: Option<Member>,
    /// Where its workers serve, once one has.
    pub serves: Option<Served>,
    /// What its worker had opened when it was ready, or soon after: the next one is expected to open that, too.
    pub expects: Vec<Address>,
}

/// Where somebody who has gone had been.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In the seat of its slot.
    Seat,
    /// Behind the seat, to take it.
    Next,
    /// In none any more.
    Leaving,
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

impl Seat {
    fn member_mut(&mut self) -> Option<&mut Member> {
        match self {
            Seat::Taken(member) => Some(member),
            Seat::Empty { due: _ } | Seat::Closed => None,
        }
    }

    /// Closes it; who was in it comes out.
    pub fn vacate(&mut self) -> Option<Member> {
        match std::mem::replace(self, Seat::Closed) {
            Seat::Taken(member) => Some(member),
            Seat::Empty { due: _ } | Seat::Closed => None,
        }
    }
}

impl Slot {
    pub fn new(role: Role) -> Self {
        let (seat, expects) = (Seat::Empty { due: 0 }, Vec::new());
        Self { role, deaths: 0, seat, stale: false, next: None, serves: None, expects }
    }

    pub fn member(&self) -> Option<&Member> {
        match &self.seat {
            Seat::Taken(member) => Some(member),
            Seat::Empty { due: _ } | Seat::Closed => None,
        }
    }

    /// Who is in the seat and who is behind it.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.member().into_iter().chain(&self.next)
    }

    pub fn is_ready(&self) -> bool {
        self.member().is_some_and(Member::is_ready)
    }

    pub fn next_is_ready(&self) -> bool {
        self.next.as_ref().is_some_and(Member::is_ready)
    }

    /// Is somebody ready here, in the seat or behind it?
    pub fn serves(&self) -> bool {
        self.members().any(Member::is_ready)
    }

    /// A new worker has the seat, and what it has opened is what its slot expects from now on.
    pub fn take_seat(&mut self, member: Member) {
        self.expects = member.listens.addresses().collect();
        self.seat = Seat::Taken(member);
        self.note_opened();
    }

    /// Notes where the worker in the seat serves, and what it has opened in the time that it has for that.
    pub fn note_opened(&mut self) {
        let Seat::Taken(member) = &self.seat else { return };
        self.serves = member.listens.serves.or(self.serves);
        if !member.listens.settled {
            let new = member.listens.addresses().filter(|address| !self.expects.contains(address));
            let new: Vec<Address> = new.collect();
            self.expects.extend(new);
        }
    }

    /// Is a worker due here: a refork, a successor that boots, or one that opens its addresses one after the other?
    pub fn is_due(&self) -> bool {
        match &self.seat {
            Seat::Empty { due: _ } => true,
            Seat::Taken(member) => !(member.is_ready() && member.listens.settled),
            Seat::Closed => false,
        }
    }

    fn holds(&self, id: MemberId) -> bool {
        self.member().is_some_and(|member| member.id == id)
    }
}

impl Lifecycle {
    /// Everybody who lives.
    pub(super) fn lives(&self) -> impl Iterator<Item = &Member> {
        let slots = self.slots.iter().chain(&self.spares);
        slots.flat_map(Slot::members).chain(&self.leaving)
    }

    pub(super) fn lives_mut(&mut self) -> impl Iterator<Item = &mut Member> {
        let slots = self.slots.iter_mut().chain(&mut self.spares);
        slots.flat_map(|slot| slot.seat.member_mut().into_iter().chain(&mut slot.next)).chain(&mut self.leaving)
    }

    pub(super) fn member(&self, id: MemberId) -> Option<&Member> {
        self.lives().find(|member| member.id == id)
    }

    pub(super) fn member_mut(&mut self, id: MemberId) -> Option<&mut Member> {
        self.lives_mut().find(|member| member.id == id)
    }

    /// The slot of this role, the spares' included.
    pub(super) fn slot_mut(&mut self, role: Role) -> Option<&mut Slot> {
        self.slots.iter_mut().chain(&mut self.spares).find(|slot| slot.role == role)
    }

    /// Takes a life out of the books and says where it was. A seat is closed then until somebody reopens it.
    pub(super) fn remove(&mut self, id: MemberId) -> Option<(Member, Place)> {
        if let Some(position) = self.leaving.iter().position(|member| member.id == id) {
            return Some((self.leaving.remove(position), Place::Leaving));
        }
        for slot in self.slots.iter_mut().chain(&mut self.spares) {
            if let Some(next) = slot.next.take_if(|next| next.id == id) {
                return Some((next, Place::Next));
            }
            if slot.holds(id)
                && let Some(member) = slot.seat.vacate()
            {
                return Some((member, Place::Seat));
            }
        }
        None
    }

    /// The member lives on without its slot.
    pub(super) fn leave_slot(&mut self, id: MemberId) {
        if let Some((member, _)) = self.remove(id) {
            self.leaving.push(member);
        }
    }
}
