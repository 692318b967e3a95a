//! The door of a listening socket that the master accepts from: watched or not, paused or not; and the connections that came
//! in by it and have nobody yet.

use std::collections::VecDeque;
use std::rc::Rc;

use nix::errno::Errno;

use crate::master::channel::Handle;
use crate::master::poll::{Interest, Poll, Source};
use crate::sys::sockets;

use super::open::Opened;

/// How long nothing is accepted after the kernel had no descriptor or memory for it.
const PAUSE_MS: u64 = 100;

/// A listening socket in the master's poll.
#[derive(Debug)]
pub struct Door {
    socket: Opened,
    source: Source,
    watched: bool,
    paused_until: Option<u64>,
}

impl Door {
    /// Watches the socket of this number.
    ///
    /// # Errors
    /// The kernel had no memory for it.
    pub fn new(socket: Opened, number: u32, poll: &Poll) -> Result<Self, Errno> {
        let source = Source::Listener(number);
        poll.add(&socket, source, Interest::Read).map_err(|_| Errno::ENOMEM)?;
        Ok(Door { socket, source, watched: true, paused_until: None })
    }

    /// The next connection; none when nobody knocks, or while it is paused.
    ///
    /// # Errors
    /// The kernel's, which begin a pause: EMFILE and its kin.
    pub fn accept(&mut self, poll: &Poll, now: u64) -> Result<Option<Handle>, Errno> {
        if self.paused_until.is_some() {
            return Ok(None);
        }
        loop {
            match sockets::accept(&self.socket) {
                Ok(connection) => return Ok(Some(Rc::new(connection))),
                Err(Errno::EAGAIN) => return Ok(None),
                // The client has gone meanwhile: the next one.
                Err(Errno::ECONNABORTED | Errno::EINTR | Errno::EPROTO) => {}
                Err(errno) => {
                    self.paused_until = Some(now + PAUSE_MS);
                    self.watch(Interest::Nothing, poll);
                    return Err(errno);
                }
            }
        }
    }

    /// How many connections wait to be accepted, as far as the kernel says.
    #[must_use]
    pub fn backlog(&self) -> u32 {
        sockets::waiting_connections(&self.socket).unwrap_or(0)
    }

    /// Watches it, or not. Level-triggered: a readable socket that nobody can serve would wake us for ever.
    pub fn watch(&mut self, interest: Interest, poll: &Poll) {
        let wanted = interest == Interest::Read && self.paused_until.is_none();
        let interest = if wanted { Interest::Read } else { Interest::Nothing };
        if wanted != self.watched && poll.change(&self.socket, self.source, interest).is_ok() {
            self.watched = wanted;
        }
    }

    /// Closes it.
    pub fn close(self, poll: &Poll) {
        poll.remove(&self.socket);
        self.socket.close();
    }

    /// When its pause ends.
    #[must_use]
    pub fn paused_until(&self) -> Option<u64> {
        self.paused_until
    }

    /// Ends a pause that is over. True when it was.
    pub fn wake(&mut self, now: u64) -> bool {
        let over = self.paused_until.is_some_and(|until| until <= now);
        if over {
            self.paused_until = None;
        }
        over
    }
}

/// A door, until it is closed, and who waits behind it.
#[derive(Debug)]
pub struct Entrance {
    /// `None` once closed.
    door: Option<Door>,
    /// Accepted connections that have nobody yet: whoever was to have them refused or died.
    pub waiting: VecDeque<Handle>,
}

impl Entrance {
    /// An open one; nobody waits.
    #[must_use]
    pub fn new(door: Door) -> Self {
        Entrance { door: Some(door), waiting: VecDeque::new() }
    }

    /// A connection that waits here already, else one from the kernel, else none.
    ///
    /// # Errors
    /// As [`Door::accept`].
    pub fn next(&mut self, poll: &Poll, now: u64) -> Result<Option<Handle>, Errno> {
        match (self.waiting.pop_front(), &mut self.door) {
            (Some(waiting), _) => Ok(Some(waiting)),
            (None, Some(door)) => door.accept(poll, now),
            (None, None) => Ok(None),
        }
    }

    /// How many connections wait, here and in the kernel.
    #[must_use]
    pub fn backlog(&self) -> u32 {
        let here = u32::try_from(self.waiting.len()).unwrap_or(u32::MAX);
        here.saturating_add(self.door.as_ref().map_or(0, Door::backlog))
    }

    /// Watches the door, or not.
    pub fn watch(&mut self, interest: Interest, poll: &Poll) {
        if let Some(door) = &mut self.door {
            door.watch(interest, poll);
        }
    }

    /// Closes the door. Who waits goes on waiting.
    pub fn close(&mut self, poll: &Poll) {
        if let Some(door) = self.door.take() {
            door.close(poll);
        }
    }

    /// Closes the connections that wait for nobody, where nobody serves and nobody will: their clients would hang.
    pub fn drop_the_unservable(&mut self, is_served: bool) {
        if self.door.is_none() && !is_served {
            self.waiting.clear();
        }
    }

    /// Does it still accept?
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.door.is_some()
    }

    /// Closed, and nobody waits.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.door.is_none() && self.waiting.is_empty()
    }

    /// When a pause of the door ends.
    #[must_use]
    pub fn paused_until(&self) -> Option<u64> {
        self.door.as_ref().and_then(Door::paused_until)
    }

    /// Ends a pause that is over. True when it was.
    pub fn wake(&mut self, now: u64) -> bool {
        self.door.as_mut().is_some_and(|door| door.wake(now))
    }
}
