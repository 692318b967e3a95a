//! Round robin: the master accepts, and hands each connection to the next free worker.
//!
//! A connection is the master's until the worker says `accepted`: one that a dying worker had not yet taken goes to
//! another. A worker is free again only after its answer, so a blocked one holds at most one connection. Without a free
//! worker nothing is accepted: the kernel's backlog is the bound.

use std::collections::VecDeque;
use std::rc::Rc;

use nix::errno::Errno;

use crate::ipc::outbound::NewConnection;
use crate::lifecycle::MemberId;
use crate::master::channel::Handle;
use crate::master::members::Members;
use crate::master::poll::{Interest, Poll};

use super::accept::Door;
use super::{Outcome, Sequence};

/// How long a worker that refused a connection is left alone (its `maxConnections` is reached).
const REST_MS: u64 = 10;
/// How many connections of a backlog are still handed over when the sockets close: Node's default backlog, doubled.
const MOST_AT_CLOSE: usize = 1024;

/// The hand-over of one listening socket.
#[derive(Debug)]
pub struct RoundRobin {
    frames: NewConnection,
    /// `None` once closed, while connections are still under way.
    door: Option<Door>,
    /// Who serves it and may get connections.
    members: Vec<MemberId>,
    /// Who of them has nothing in flight, in the order of turns.
    free: VecDeque<MemberId>,
    /// Who refused, and until when it is left alone.
    resting: Vec<(MemberId, u64)>,
    /// Accepted connections that have nobody yet.
    waiting: VecDeque<Handle>,
    /// Connections that were offered and not yet taken: at most one for each worker.
    offers: Vec<Offer>,
}

#[derive(Debug)]
struct Offer {
    seq: u64,
    member: MemberId,
    connection: Handle,
}

impl RoundRobin {
    /// A hand-over without workers.
    #[must_use]
    pub fn new(key: &str, door: Door) -> Self {
        RoundRobin {
            frames: NewConnection::of(key),
            door: Some(door),
            members: Vec::new(),
            free: VecDeque::new(),
            resting: Vec::new(),
            waiting: VecDeque::new(),
            offers: Vec::new(),
        }
    }

    /// A worker may get connections from now on.
    pub fn join(&mut self, member: MemberId) {
        self.members.push(member);
        self.free.push_back(member);
    }

    /// A worker gets none any more, but for the one it has been offered.
    pub fn leave(&mut self, member: MemberId) {
        self.members.retain(|one| *one != member);
        self.free.retain(|one| *one != member);
        self.resting.retain(|(one, _)| *one != member);
        self.drop_the_unservable();
    }

    /// A worker is gone: what it was offered and had not taken waits for another, before all that came later.
    pub fn forget(&mut self, member: MemberId) {
        self.leave(member);
        let lost: Vec<Offer> = self.offers.extract_if(.., |offer| offer.member == member).collect();
        for offer in lost.into_iter().rev() {
            self.waiting.push_front(offer.connection);
        }
    }

    /// Gives connections to free workers, in turn, as long as there are both.
    pub fn dispatch(&mut self, sequence: &mut Sequence, members: &mut Members, poll: &Poll, now: u64) -> Outcome {
        while let Some(member) = self.free.front().copied() {
            match self.next_connection(poll, now) {
                Ok(Some(connection)) => {
                    self.free.pop_front();
                    self.offer(member, connection, sequence, members);
                }
                Ok(None) => {
                    self.watch(Interest::Read, poll);
                    return Outcome::Fine;
                }
                Err(errno) => return Outcome::Exhausted(errno),
            }
        }
        self.watch(Interest::Nothing, poll);
        self.drop_the_unservable();
        Outcome::Fine
    }

    /// A connection that waits here already, else one from the kernel, else none.
    fn next_connection(&mut self, poll: &Poll, now: u64) -> Result<Option<Handle>, Errno> {
        match (self.waiting.pop_front(), &mut self.door) {
            (Some(waiting), _) => Ok(Some(waiting)),
            (None, Some(door)) => door.accept(poll, now),
            (None, None) => Ok(None),
        }
    }

    /// Offers a connection. It is registered before it is written: a write that finds the worker dead must not lose it.
    fn offer(&mut self, member: MemberId, connection: Handle, sequence: &mut Sequence, members: &mut Members) {
        let seq = sequence.next();
        self.offers.push(Offer { seq, member, connection: Rc::clone(&connection) });
        if let Some(channel) = members.channel(member) {
            channel.push_handle(self.frames.frame(seq), connection);
        }
    }

    /// The worker's answer. False when this was no offer of ours.
    pub fn answered(&mut self, ack: u64, accepted: bool, now: u64) -> bool {
        let Some(place) = self.offers.iter().position(|offer| offer.seq == ack) else { return false };
        let offer = self.offers.remove(place);
        let serves = self.members.contains(&offer.member);
        if accepted {
            // It may stand there already: it closed its server and opened it again while this was under way.
            if serves && !self.free.contains(&offer.member) {
                self.free.push_back(offer.member);
            }
        } else {
            self.waiting.push_front(offer.connection);
            if serves {
                self.resting.push((offer.member, now + REST_MS));
            }
        }
        true
    }

    /// Stops accepting: what waits in the backlog goes to the workers in turn, then the socket closes. Each worker gets
    /// its share in the order of its channel, before whatever it is told next.
    pub fn hand_over_the_rest(&mut self, sequence: &mut Sequence, members: &mut Members, poll: &Poll, now: u64) {
        let servers = self.members.clone();
        for member in servers.iter().cycle().take(MOST_AT_CLOSE) {
            let Ok(Some(connection)) = self.next_connection(poll, now) else { break };
            self.offer(*member, connection, sequence, members);
        }
        self.close(poll);
    }

    /// Closes the socket. Connections under way stay.
    pub fn close(&mut self, poll: &Poll) {
        if let Some(door) = self.door.take() {
            door.close(poll);
        }
        self.drop_the_unservable();
    }

    /// Who serves it and may get connections.
    #[must_use]
    pub fn members(&self) -> &[MemberId] {
        &self.members
    }

    /// Does it still accept?
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.door.is_some()
    }

    /// Closed, and nothing under way.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.door.is_none() && self.waiting.is_empty() && self.offers.is_empty()
    }

    fn watch(&mut self, interest: Interest, poll: &Poll) {
        if let Some(door) = &mut self.door {
            door.watch(interest, poll);
        }
    }

    /// Closes the connections that wait for nobody: every server of this key is closed. Their clients would hang.
    fn drop_the_unservable(&mut self) {
        if self.door.is_none() && self.members.is_empty() {
            self.waiting.clear();
        }
    }

    /// When something here wants to go on by itself.
    #[must_use]
    pub fn next_timeout(&self) -> Option<u64> {
        let pause = self.door.as_ref().and_then(Door::paused_until);
        self.resting.iter().map(|(_, until)| *until).chain(pause).min()
    }

    /// Ends the pauses that are over. True when there may be something to do.
    pub fn wake(&mut self, now: u64) -> bool {
        let mut woke = self.door.as_mut().is_some_and(|door| door.wake(now));
        while let Some(place) = self.resting.iter().position(|(_, until)| *until <= now) {
            let (member, _) = self.resting.swap_remove(place);
            self.free.push_back(member);
            woke = true;
        }
        woke
    }
}
