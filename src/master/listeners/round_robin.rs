//! Round robin: the master accepts, and hands each connection to the next free worker.
//!
//! A connection is the master's until the worker says `accepted`: one that a dying worker had not yet taken goes to
//! another. A worker is free again only after its answer, so a blocked one holds at most one connection. Without a free
//! worker nothing is accepted: the kernel's backlog is the bound.

use std::collections::VecDeque;
use std::rc::Rc;

use crate::ipc::outbound::NewConnection;
use crate::lifecycle::MemberId;
use crate::master::channel::Handle;
use crate::master::members::Members;
use crate::master::poll::{Interest, Poll};

use super::accept::{Door, Entrance};
use super::{Outcome, Sequence};

/// How long a worker that refused a connection is left alone (its `maxConnections` is reached).
const REST_MS: u64 = 10;
/// The same for one that has no descriptor left for a connection: it gets some as its clients leave.
const REST_WITHOUT_FILES_MS: u64 = 250;
/// How many connections of a backlog are still handed over when the sockets close: Node's default backlog, doubled.
const MOST_AT_CLOSE: usize = 1024;

/// The hand-over of one listening socket.
#[derive(Debug)]
pub struct RoundRobin {
    frames: NewConnection,
    entrance: Entrance,
    /// Who serves it and may get connections.
    members: Vec<MemberId>,
    /// Who of them has nothing in flight, in the order of turns.
    free: VecDeque<MemberId>,
    /// Who refused, and until when it is left alone.
    resting: Vec<(MemberId, u64)>,
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
            entrance: Entrance::new(door),
            members: Vec::new(),
            free: VecDeque::new(),
            resting: Vec::new(),
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
            self.entrance.waiting.push_front(offer.connection);
        }
    }

    /// Gives connections to free workers, in turn, as long as there are both.
    pub fn dispatch(&mut self, sequence: &mut Sequence, members: &mut Members, poll: &Poll, now: u64) -> Outcome {
        while let Some(member) = self.free.front().copied() {
            match self.entrance.next(poll, now) {
                Ok(Some(connection)) => {
                    self.free.pop_front();
                    self.offer(member, connection, sequence, members);
                }
                Ok(None) => {
                    self.entrance.watch(Interest::Read, poll);
                    return Outcome::Fine;
                }
                Err(errno) => return Outcome::Exhausted { errno, waiting: self.entrance.backlog() },
            }
        }
        self.entrance.watch(Interest::Nothing, poll);
        self.drop_the_unservable();
        Outcome::Fine
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
        let serves = self.is_served_by(offer.member);
        if accepted {
            // It may stand there already: it closed its server and opened it again while this was under way.
            if serves && !self.free.contains(&offer.member) {
                self.free.push_back(offer.member);
            }
        } else {
            self.entrance.waiting.push_front(offer.connection);
            if serves {
                self.resting.push((offer.member, now + REST_MS));
            }
        }
        true
    }

    /// The worker could not take this connection, however often it was sent: it waits for another worker, before all that
    /// came later, and this one is left alone for a while. False when this was no offer of ours.
    pub fn refused(&mut self, member: MemberId, connection: &Handle, now: u64) -> bool {
        let is_it = |offer: &Offer| offer.member == member && Rc::ptr_eq(&offer.connection, connection);
        let Some(place) = self.offers.iter().position(is_it) else { return false };
        let offer = self.offers.remove(place);
        self.entrance.waiting.push_front(offer.connection);
        if self.is_served_by(member) {
            self.free.retain(|one| *one != member);
            self.resting.retain(|(one, _)| *one != member);
            self.resting.push((member, now + REST_WITHOUT_FILES_MS));
        }
        self.drop_the_unservable();
        true
    }

    /// Is there a worker that would get the next connection?
    #[must_use]
    pub fn has_free(&self) -> bool {
        !self.free.is_empty()
    }

    /// Stops accepting: what waits in the backlog goes to the workers in turn, then the socket closes. Each worker gets
    /// its share in the order of its channel, before whatever it is told next.
    pub fn hand_over_the_rest(&mut self, sequence: &mut Sequence, members: &mut Members, poll: &Poll, now: u64) {
        let servers = self.members.clone();
        for member in servers.iter().cycle().take(MOST_AT_CLOSE) {
            let Ok(Some(connection)) = self.entrance.next(poll, now) else { break };
            self.offer(*member, connection, sequence, members);
        }
        self.close(poll);
    }

    /// Closes the socket. Connections under way stay.
    pub fn close(&mut self, poll: &Poll) {
        self.entrance.close(poll);
        self.drop_the_unservable();
    }

    /// Does this worker serve it and get connections?
    #[must_use]
    pub fn is_served_by(&self, member: MemberId) -> bool {
        self.members.contains(&member)
    }

    /// Does anybody?
    #[must_use]
    pub fn is_served(&self) -> bool {
        !self.members.is_empty()
    }

    /// Does it still accept?
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.entrance.is_open()
    }

    /// Closed, and nothing under way.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.entrance.is_done() && self.offers.is_empty()
    }

    fn drop_the_unservable(&mut self) {
        self.entrance.drop_the_unservable(self.is_served());
    }

    /// When something here wants to go on by itself.
    #[must_use]
    pub fn next_timeout(&self) -> Option<u64> {
        self.resting.iter().map(|(_, until)| *until).chain(self.entrance.paused_until()).min()
    }

    /// Ends the pauses that are over. True when there may be something to do.
    pub fn wake(&mut self, now: u64) -> bool {
        let mut woke = self.entrance.wake(now);
        while let Some(place) = self.resting.iter().position(|(_, until)| *until <= now) {
            let (member, _) = self.resting.swap_remove(place);
            self.free.push_back(member);
            woke = true;
        }
        woke
    }
}
