//! A socket that the workers have themselves: they accept, or receive, and the master is out of the way. It keeps the
//! socket for workers that come later. UDP is always so.

use crate::lifecycle::MemberId;
use crate::master::channel::Handle;

use super::open::Opened;

/// A socket of the workers' own.
#[derive(Debug)]
pub struct Shared {
    /// `None` once closed.
    opened: Option<Opened>,
    /// Who has it.
    members: Vec<MemberId>,
}

impl Shared {
    /// One that nobody has yet.
    #[must_use]
    pub fn new(opened: Opened) -> Self {
        Shared { opened: Some(opened), members: Vec::new() }
    }

    /// The socket, for one more worker.
    pub fn join(&mut self, member: MemberId) -> Option<Handle> {
        self.members.push(member);
        self.opened.as_ref().map(Opened::handle)
    }

    /// A worker has it no more.
    pub fn leave(&mut self, member: MemberId) {
        self.members.retain(|one| *one != member);
    }

    /// Closes the master's own; who has it keeps it.
    pub fn close(&mut self) {
        if let Some(opened) = self.opened.take() {
            opened.close();
        }
    }

    /// Has this worker got it?
    #[must_use]
    pub fn is_served_by(&self, member: MemberId) -> bool {
        self.members.contains(&member)
    }

    /// Has anybody?
    #[must_use]
    pub fn is_served(&self) -> bool {
        !self.members.is_empty()
    }

    /// Can others still have it?
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.opened.is_some()
    }
}
