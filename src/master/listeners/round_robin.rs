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
use crate::sys::sockets;

use super::accept::{Door, Entrance};
use super::by_client::ByClient;
use super::{Dispatch, Listeners, Outcome, Refused, Sequence};

/// How long a worker that refused a connection is left alone (its `maxConnections` is reached).
const REST_MS: u64 = 10;
/// The same for one that has no descriptor left for a connection: it gets some as its clients leave.
const REST_WITHOUT_FILES_MS: u64 = 250;
/// How many connections are accepted before the rest of the loop has its turn, where it is the client that decides.
const MOST_AT_ONCE: usize = 64;
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
    /// Whose client each is, where clients keep their workers: then nobody has a turn.
    clients: Option<ByClient>,
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
            clients: None,
        }
    }

    /// The same, but each client keeps its worker: one of so many slots.
    #[must_use]
    pub fn by_client(key: &str, door: Door, slots: u32) -> Self {
        RoundRobin { clients: Some(ByClient::new(slots)), ..RoundRobin::new(key, door) }
    }

    /// A worker may get connections from now on.
    pub fn join(&mut self, slot: Option<u32>, member: MemberId, now: u64) {
        if let (Some(clients), Some(slot)) = (&mut self.clients, slot) {
            clients.join(slot, member, now);
        }
        self.members.push(member);
        self.free.push_back(member);
    }

    /// A worker gets none any more, but for the one it has been offered.
    pub fn leave(&mut self, member: MemberId) {
        self.members.retain(|one| *one != member);
        self.free.retain(|one| *one != member);
        self.resting.retain(|(one, _)| *one != member);
        let back = self.clients.as_mut().map(|clients| clients.leave(member)).unwrap_or_default();
        self.entrance.waiting.extend(back);
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
        if self.clients.is_some() {
            return self.dispatch_by_client(sequence, members, poll, now);
        }
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

    /// Gives connections to the workers of their clients; those whose worker has not answered its last one wait for it.
    fn dispatch_by_client(&mut self, sequence: &mut Sequence, members: &mut Members, poll: &Poll, now: u64) -> Outcome {
        let Some(mut clients) = self.clients.take() else { return Outcome::Fine };
        while let Some((member, connection)) = clients.next(|member| self.free.contains(&member)) {
            self.free.retain(|one| *one != member);
            self.offer(member, connection, sequence, members);
        }
        let serves = clients.has_begun() && self.is_served();
        self.entrance.watch(if serves { Interest::Read } else { Interest::Nothing }, poll);
        let mut outcome = Outcome::Fine;
        for _ in 0..if serves { self.entrance.waiting.len() + MOST_AT_ONCE } else { 0 } {
            let connection = match self.entrance.next(poll, now) {
                Ok(Some(connection)) => connection,
                Ok(None) => break,
                Err(errno) => {
                    outcome = Outcome::Exhausted { errno, waiting: self.entrance.backlog() };
                    break;
                }
            };
            // A client that has gone meanwhile has no address.
            let client = sockets::peer_address(&*connection).ok().map(|address| address.ip());
            let Some((slot, member)) = client.and_then(|client| clients.worker_of(client)) else { continue };
            if self.free.contains(&member) && !clients.has_waiting(slot) {
                self.free.retain(|one| *one != member);
                self.offer(member, connection, sequence, members);
            } else if !clients.wait(slot, connection) {
                outcome = Outcome::Clogged(member);
            }
        }
        self.clients = Some(clients);
        outcome
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

    /// Is there a worker that would get the next connection? A client that keeps its worker waits for that one.
    #[must_use]
    pub fn has_free(&self) -> bool {
        self.clients.is_none() && !self.free.is_empty()
    }

    /// Stops accepting: what waits in the backlog goes to the workers in turn, then the socket closes. Each worker gets
    /// its share in the order of its channel, before whatever it is told next.
    pub fn hand_over_the_rest(&mut self, sequence: &mut Sequence, members: &mut Members, poll: &Poll, now: u64) {
        let servers = self.members.clone();
        let back = self.clients.as_mut().map(ByClient::drain).unwrap_or_default();
        self.entrance.waiting.extend(back);
        for turn in servers.iter().cycle().take(MOST_AT_CLOSE) {
            let Ok(Some(connection)) = self.entrance.next(poll, now) else { break };
            let client = sockets::peer_address(&*connection).ok().map(|address| address.ip());
            let own = self.clients.as_ref().zip(client).and_then(|(clients, client)| clients.worker_of(client));
            let member = own.map_or(*turn, |(_, member)| member);
            self.offer(member, connection, sequence, members);
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
        self.entrance.is_done() && self.offers.is_empty() && self.clients.as_ref().is_none_or(ByClient::is_empty)
    }

    fn drop_the_unservable(&mut self) {
        self.entrance.drop_the_unservable(self.is_served());
    }

    /// When something here wants to go on by itself.
    #[must_use]
    pub fn next_timeout(&self) -> Option<u64> {
        let begins_at = self.clients.as_ref().and_then(ByClient::begins_at);
        self.resting.iter().map(|(_, until)| *until).chain(self.entrance.paused_until()).chain(begins_at).min()
    }

    /// Ends the pauses that are over. True when there may be something to do.
    pub fn wake(&mut self, now: u64) -> bool {
        let mut woke = self.entrance.wake(now);
        woke |= self.clients.as_mut().is_some_and(|clients| clients.wake(now));
        while let Some(place) = self.resting.iter().position(|(_, until)| *until <= now) {
            let (member, _) = self.resting.swap_remove(place);
            self.free.push_back(member);
            woke = true;
        }
        woke
    }
}

/// What workers answer, in the table of all.
impl Listeners {
    /// The worker's answer to an offer.
    pub fn answered(&mut self, ack: u64, accepted: bool, members: &mut Members, poll: &Poll, now: u64) -> Outcome {
        let offered = self.table.iter_mut().find_map(|(number, one)| match &mut one.dispatch {
            Dispatch::RoundRobin(hand_over) => hand_over.answered(ack, accepted, now).then_some(*number),
            Dispatch::Shared(_) => None,
            Dispatch::Sticky(_) => None,
        });
        match offered {
            Some(number) => self.dispatch(number, members, poll, now),
            None => Outcome::Fine,
        }
    }

    /// A worker has no descriptor left for this connection: another one gets it, now or later. `None` when the handle is none
    /// that others may have.
    pub fn refused(
        &mut self,
        member: MemberId,
        handle: &Handle,
        members: &mut Members,
        poll: &Poll,
        now: u64,
    ) -> Option<Refused> {
        let (number, moved) = self.table.iter_mut().find_map(|(number, one)| match &mut one.dispatch {
            Dispatch::RoundRobin(hand_over) => {
                hand_over.refused(member, handle, now).then(|| (*number, hand_over.has_free()))
            }
            Dispatch::Shared(_) | Dispatch::Sticky(_) => None,
        })?;
        Some(Refused { moved, outcome: self.dispatch(number, members, poll, now) })
    }
}
