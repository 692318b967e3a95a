//! Node's cluster primary: the table of listening sockets, and who shares them.
//!
//! This is the data plane: connections never pass through the lifecycle.
//!
//! * `address` is where a query wants to listen, and the key of that place.
//! * `known` numbers these places for the lifecycle, which decides how long a socket without a worker stays open.
//! * `open` opens the socket; `listener` is one socket with its workers, whatever its way of dispatching.
//! * `accept` is the door of a socket that the master accepts from; `round_robin` hands its connections over.
//! * `shared` is a socket that the workers have themselves.
//! * `by_client` is whose client a connection is, where clients of a plain application keep their workers.
//! * `sticky` accepts, too, and hands over by the client's address.

mod accept;
mod address;
mod by_client;
mod known;
mod listener;
mod open;
mod round_robin;
mod shared;
mod sticky;

use std::collections::BTreeMap;

use nix::errno::Errno;
use serde_json::value::RawValue;

use crate::ipc::inbound::{AddressType, Listening, QueryServer};
use crate::ipc::outbound::{self, SocketName};
use crate::lifecycle::{Address, MemberId};
use crate::options::DispatchPolicy;
use crate::sys::descriptors;
use crate::sys::inherited::Inherited;

use super::members::Members;
use super::poll::Poll;

use accept::Door;
use address::Shown;
use known::{Known, Place};
use open::Opened;
use round_robin::RoundRobin;
use shared::Shared;
use sticky::Sticky;

/// A member that asks for sockets without end must not have all descriptors of the master: at most this number, and at most
/// half of those that the master may have.
const MOST_LISTENERS: usize = 1024;

/// A listening socket that workers share.
#[derive(Debug)]
struct Listener {
    key: String,
    /// The place as it was asked for, and its number; the master's own has none.
    asked: Option<Listening>,
    address: Option<Address>,
    name: Option<SocketName>,
    is_datagram: bool,
    /// The first worker's blob, echoed to all (TLS ticket keys).
    data: Option<Box<RawValue>>,
    dispatch: Dispatch,
}

/// How its connections find their workers.
#[derive(Debug)]
enum Dispatch {
    RoundRobin(RoundRobin),
    Shared(Shared),
    Sticky(Sticky),
}

/// The numbers of our frames.
#[derive(Debug, Default)]
struct Sequence(u64);

/// All listening sockets.
#[derive(Debug)]
pub struct Listeners {
    policy: DispatchPolicy,
    /// Where clients of a plain application keep their workers: how many of these there are at the start.
    by_client: Option<u32>,
    inherited: Inherited,
    known: Known,
    table: BTreeMap<u32, Listener>,
    /// The bound of the table.
    most: usize,
    last_number: u32,
    sequence: Sequence,
    closed: bool,
}

/// What the loop is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All is well.
    Fine,
    /// A socket could not be opened.
    Refused {
        /// Where, for people.
        place: String,
        /// The TCP port, where it is one.
        port: Option<u16>,
        /// Why.
        errno: Errno,
    },
    /// A connection could not be accepted: descriptors or memory are exhausted.
    Exhausted {
        /// Why.
        errno: Errno,
        /// How many connections wait, as far as the kernel says.
        waiting: u32,
    },
    /// A sticky client's worker takes no connections, and was offered too many already: this one was closed.
    Clogged(MemberId),
}

/// A connection that a worker could not take, and that waits for another now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Another worker gets it in this turn.
    pub moved: bool,
    /// What came of giving it away.
    pub outcome: Outcome,
}

impl Listeners {
    /// None yet.
    #[must_use]
    pub fn new(policy: DispatchPolicy, by_client: Option<u32>, inherited: Inherited) -> Self {
        let (known, table, sequence) = (Known::default(), BTreeMap::new(), Sequence(0));
        let most = MOST_LISTENERS.min(descriptors::most_open_files() / 2);
        Listeners { policy, by_client, inherited, known, table, most, last_number: 0, sequence, closed: false }
    }

    /// Inherited sockets that nobody has asked for, for people.
    pub fn unused(&self) -> Vec<String> {
        self.inherited.unused().collect()
    }

    /// The next number of a frame of ours.
    pub fn next_seq(&mut self) -> u64 {
        self.sequence.next()
    }

    /// A worker wants to listen: it shares the socket of that key, or opens it. It is always answered.
    pub fn query(
        &mut self,
        member: MemberId,
        query: &QueryServer<'_>,
        members: &mut Members,
        poll: &Poll,
        now: u64,
    ) -> Outcome {
        let seq = self.next_seq();
        let key = self.key_for(member, query);
        let number = match self.find(&key).map_or_else(|| self.open(&key, query, poll), Ok) {
            Ok(number) => number,
            Err(errno) => {
                members.push(member, outbound::error_reply(seq, query.seq, &key, query.data, errno as i32));
                return refused(query, errno);
            }
        };
        if let Some(listener) = self.table.get_mut(&number) {
            listener.admit(member, seq, query, members, now);
        }
        self.dispatch(number, members, poll, now)
    }

    /// A worker that holds the key already gets a fresh one (and then the kernel's EADDRINUSE, unless the other has closed
    /// meanwhile).
    fn key_for(&self, member: MemberId, query: &QueryServer<'_>) -> String {
        let key = address::key(query);
        let holds = self.table.values().any(|one| one.key == key && one.is_served_by(member));
        if holds { format!("{key}#{}", self.last_number + 1) } else { key }
    }

    fn find(&self, key: &str) -> Option<u32> {
        self.table.iter().find(|(_, one)| one.key == key && one.is_open()).map(|(number, _)| *number)
    }

    fn open(&mut self, key: &str, query: &QueryServer<'_>, poll: &Poll) -> Result<u32, Errno> {
        if self.closed {
            return Err(Errno::ESHUTDOWN);
        }
        if self.table.len() >= self.most {
            return Err(Errno::EMFILE);
        }
        let mut opened = Opened::open(query, &mut self.inherited)?;
        let (name, is_datagram) = (opened.name.take(), opened.is_datagram);
        self.last_number += 1;
        let number = self.last_number;
        let is_tcp = matches!(query.address_type, AddressType::Tcp4 | AddressType::Tcp6);
        let dispatch = match (self.policy, self.by_client.filter(|_| is_tcp)) {
            // Whatever the policy: a worker that accepts by itself has any client.
            (_, Some(slots)) => {
                Dispatch::RoundRobin(RoundRobin::by_client(key, Door::new(opened, number, poll)?, slots))
            }
            (DispatchPolicy::RoundRobin, None) if !is_datagram => {
                Dispatch::RoundRobin(RoundRobin::new(key, Door::new(opened, number, poll)?))
            }
            (DispatchPolicy::RoundRobin | DispatchPolicy::Shared, None) => Dispatch::Shared(Shared::new(opened)),
        };
        let address = self.known.number(query);
        let asked = address.and_then(|address| self.known.place(address)).map(|place| place.asked.clone());
        let listener = Listener { key: key.to_owned(), asked, address, name, is_datagram, data: None, dispatch };
        self.table.insert(number, listener);
        Ok(number)
    }

    /// The number of the place that a worker says it listens at, if it was given its socket.
    pub fn listens(&mut self, member: MemberId, listening: &Listening) -> Option<Address> {
        let address = self.table.values().find(|one| one.is_at(member, listening))?.address?;
        self.known.learn(address, listening.port);
        Some(address)
    }

    /// The number of the place with this key, if the worker listens there.
    pub fn address_of(&self, member: MemberId, key: &str) -> Option<Address> {
        self.table.values().find(|one| one.key == key && one.is_served_by(member))?.address
    }

    /// The number of the place that a worker asks for, if any has listened there before.
    pub fn asked_before(&self, query: &QueryServer<'_>) -> Option<Address> {
        self.known.find(query)
    }

    /// The place of this number.
    pub fn place(&self, address: Address) -> Option<&Place> {
        self.known.place(address)
    }

    /// Gives connections to workers, as long as there are both.
    pub fn dispatch(&mut self, number: u32, members: &mut Members, poll: &Poll, now: u64) -> Outcome {
        let Some(Listener { dispatch, .. }) = self.table.get_mut(&number) else { return Outcome::Fine };
        let outcome = match dispatch {
            Dispatch::RoundRobin(hand_over) => hand_over.dispatch(&mut self.sequence, members, poll, now),
            Dispatch::Shared(_) => Outcome::Fine,
            Dispatch::Sticky(hand_over) => hand_over.dispatch(members, poll, now),
        };
        self.forget_if_done(number);
        outcome
    }

    /// A worker has closed its server on this key. The last one out closes the socket, unless others are due there.
    pub fn leave(&mut self, member: MemberId, key: &str, poll: &Poll, is_kept: impl Fn(Address) -> bool) {
        let held = self.table.iter_mut().find(|(_, one)| one.key == key && one.is_served_by(member));
        let Some((&number, listener)) = held else { return };
        listener.leave(member);
        if !listener.is_served() && !listener.address.is_some_and(is_kept) {
            listener.close(poll);
            self.forget_if_done(number);
        }
    }

    /// A worker gets no connection any more, but for those it has been offered.
    pub fn leave_dispatch(&mut self, member: MemberId) {
        for listener in self.table.values_mut() {
            listener.leave(member);
        }
    }

    /// A worker is gone: what it was offered and had not taken goes to another. The sockets stay open, so that nothing
    /// is refused while its replacement boots.
    pub fn forget(&mut self, member: MemberId, members: &mut Members, poll: &Poll, now: u64) {
        for number in self.numbers() {
            match self.table.get_mut(&number).map(|one| &mut one.dispatch) {
                Some(Dispatch::RoundRobin(hand_over)) => hand_over.forget(member),
                Some(Dispatch::Shared(socket)) => socket.leave(member),
                Some(Dispatch::Sticky(hand_over)) => hand_over.forget(member),
                None => {}
            }
            self.dispatch(number, members, poll, now);
        }
    }

    /// Closes what no worker has, and none is due for. The master's own socket stays.
    pub fn give_back(&mut self, poll: &Poll, is_kept: impl Fn(Address) -> bool) {
        let is_needed = |one: &Listener| one.is_own() || one.is_served() || one.address.is_some_and(&is_kept);
        for number in self.numbers() {
            let Some(listener) = self.table.get_mut(&number) else { continue };
            if !is_needed(listener) {
                listener.close(poll);
                self.forget_if_done(number);
            }
        }
    }

    /// Stops accepting: what waits in the backlogs is still handed over, then the sockets close.
    pub fn close(&mut self, members: &mut Members, poll: &Poll, now: u64) {
        self.closed = true;
        for number in self.numbers() {
            let Some(Listener { dispatch, .. }) = self.table.get_mut(&number) else { continue };
            match dispatch {
                Dispatch::RoundRobin(hand_over) => {
                    hand_over.hand_over_the_rest(&mut self.sequence, members, poll, now);
                }
                // What waits in its backlog is the workers': they accept until they are told to leave.
                Dispatch::Shared(socket) => socket.close(),
                Dispatch::Sticky(hand_over) => hand_over.hand_over_the_rest(members, poll, now),
            }
            self.forget_if_done(number);
        }
    }

    fn numbers(&self) -> Vec<u32> {
        self.table.keys().copied().collect()
    }

    /// A closed listener with nothing under way is no more.
    fn forget_if_done(&mut self, number: u32) {
        if self.table.get(&number).is_some_and(Listener::is_done) {
            self.table.remove(&number);
        }
    }

    /// When something here wants to go on by itself.
    #[must_use]
    pub fn next_timeout(&self) -> Option<u64> {
        self.table.values().filter_map(Listener::next_timeout).min()
    }

    /// Goes on with what has waited long enough.
    pub fn handle_timeout(&mut self, members: &mut Members, poll: &Poll, now: u64) -> Outcome {
        let mut outcome = Outcome::Fine;
        for number in self.numbers() {
            let Some(listener) = self.table.get_mut(&number) else { continue };
            if !listener.wake(now) {
                continue;
            }
            match self.dispatch(number, members, poll, now) {
                Outcome::Fine => {}
                other => outcome = other,
            }
        }
        outcome
    }
}

impl Sequence {
    fn next(&mut self) -> u64 {
        self.0 += 1;
        self.0
    }
}

fn refused(query: &QueryServer<'_>, errno: Errno) -> Outcome {
    let is_tcp = matches!(query.address_type, AddressType::Tcp4 | AddressType::Tcp6);
    let port = u16::try_from(query.port).ok().filter(|_| is_tcp);
    Outcome::Refused { place: Shown(query).to_string(), port, errno }
}
