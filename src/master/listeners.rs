//! Node's cluster primary: the listening sockets, and the hand-over of their connections, round robin.
//!
//! This is the data plane: connections never pass through the lifecycle. A connection is the master's until the worker
//! says `accepted`; one that a dying worker had not yet taken goes to another. Without a free worker nothing is accepted:
//! the kernel's backlog is the bound.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use nix::errno::Errno;
use serde_json::value::RawValue;

use crate::ipc::inbound::{AddressType, QueryServer};
use crate::ipc::outbound::{self, SocketName};
use crate::lifecycle::MemberId;
use crate::sys::sockets::{self, TcpAddress};

use super::channel::Handle;
use super::members::Members;
use super::poll::{Interest, Poll, Source};

/// A member that asks for sockets without end must not have all descriptors of the master.
const MOST_LISTENERS: usize = 1024;
/// How long a worker that refused a connection is left alone (its `maxConnections` is reached).
const REST_MS: u64 = 10;
/// How long nothing is accepted after the kernel had no descriptor or memory for it.
const PAUSE_MS: u64 = 100;
/// How many connections of a backlog are still handed over when the sockets close: Node's default backlog, doubled.
const MOST_AT_CLOSE: usize = 1024;

/// A listening socket that workers share.
#[derive(Debug)]
struct Listener {
    key: String,
    /// `None` once closed, while connections are still under way.
    socket: Option<OwnedFd>,
    name: SocketName,
    /// The first worker's blob, echoed to all (TLS ticket keys).
    data: Option<Box<RawValue>>,
    /// Who serves it and may get connections.
    members: Vec<MemberId>,
    /// Who of them has nothing in flight, in the order of turns.
    free: VecDeque<MemberId>,
    /// Who refused, and until when it is left alone.
    resting: Vec<(MemberId, u64)>,
    /// Accepted connections that have nobody yet.
    waiting: VecDeque<Handle>,
    watched: bool,
    paused_until: Option<u64>,
}

/// A connection that was offered and not yet taken.
#[derive(Debug)]
struct InFlight {
    listener: u32,
    member: MemberId,
    connection: Handle,
}

/// All listening sockets.
#[derive(Debug, Default)]
pub struct Listeners {
    table: BTreeMap<u32, Listener>,
    in_flight: BTreeMap<u64, InFlight>,
    last_number: u32,
    last_seq: u64,
    closed: bool,
}

/// What the loop is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All is well.
    Fine,
    /// A socket could not be opened on this port.
    Refused {
        /// The port; -1 for a path.
        port: i64,
        /// Why.
        errno: Errno,
    },
    /// A connection could not be accepted: descriptors or memory are exhausted.
    Exhausted(Errno),
}

impl Listeners {
    /// The next number of a frame of ours.
    pub fn next_seq(&mut self) -> u64 {
        self.last_seq += 1;
        self.last_seq
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
                return Outcome::Refused { port: query.port, errno };
            }
        };
        let Some(listener) = self.table.get_mut(&number) else { return Outcome::Fine };
        let data = listener.data.as_deref();
        members.push(member, outbound::round_robin_reply(seq, query.seq, &listener.key, data, Some(&listener.name)));
        listener.members.push(member);
        listener.free.push_back(member);
        self.dispatch(number, members, poll, now)
    }

    /// The key of a listen: Node's rule since 22, for all versions. The index counts only with port 0; a worker that holds
    /// the key already gets a fresh one (and then the kernel's EADDRINUSE, unless the other has closed meanwhile).
    fn key_for(&self, member: MemberId, query: &QueryServer<'_>) -> String {
        let address = query.address.as_deref().unwrap_or_default();
        let fd = query.fd.unwrap_or(-1);
        let mut key = format!("{address}:{}:{:?}:{fd}", query.port, query.address_type);
        if query.port == 0 {
            key = format!("{key}:{}", query.index);
        }
        let holds = self.table.values().any(|one| one.key == key && one.members.contains(&member));
        if holds { format!("{key}#{}", self.last_number + 1) } else { key }
    }

    fn find(&self, key: &str) -> Option<u32> {
        self.table.iter().find(|(_, one)| one.key == key && one.socket.is_some()).map(|(number, _)| *number)
    }

    fn open(&mut self, key: &str, query: &QueryServer<'_>, poll: &Poll) -> Result<u32, Errno> {
        if self.closed {
            return Err(Errno::ESHUTDOWN);
        }
        if self.table.len() >= MOST_LISTENERS {
            return Err(Errno::EMFILE);
        }
        let socket = sockets::listen_tcp(address_of(query)?, query.backlog)?;
        let local = sockets::local_address(&socket)?;
        let name = SocketName { address: local.ip().to_string(), v6: local.is_ipv6(), port: local.port() };
        self.last_number += 1;
        let number = self.last_number;
        poll.add(&socket, Source::Listener(number), Interest::Read).map_err(|_| Errno::ENOMEM)?;
        let listener = Listener {
            key: key.to_owned(),
            socket: Some(socket),
            name,
            data: query.data.map(ToOwned::to_owned),
            members: Vec::new(),
            free: VecDeque::new(),
            resting: Vec::new(),
            waiting: VecDeque::new(),
            watched: true,
            paused_until: None,
        };
        self.table.insert(number, listener);
        Ok(number)
    }

    /// Gives connections to free workers, in turn, as long as there are both.
    pub fn dispatch(&mut self, number: u32, members: &mut Members, poll: &Poll, now: u64) -> Outcome {
        loop {
            let Some(listener) = self.table.get_mut(&number) else { return Outcome::Fine };
            let Some(member) = listener.free.front().copied() else {
                // Level-triggered: a readable socket that nobody can serve would wake us for ever.
                listener.watch(number, Interest::Nothing, poll);
                listener.drop_the_unservable();
                self.forget_if_done(number);
                return Outcome::Fine;
            };
            match listener.next_connection() {
                Ok(Some(connection)) => {
                    listener.free.pop_front();
                    self.hand_over(number, member, connection, members);
                }
                Ok(None) => {
                    listener.watch(number, Interest::Read, poll);
                    self.forget_if_done(number);
                    return Outcome::Fine;
                }
                Err(errno) => {
                    listener.paused_until = Some(now + PAUSE_MS);
                    listener.watch(number, Interest::Nothing, poll);
                    return Outcome::Exhausted(errno);
                }
            }
        }
    }

    /// Offers a connection. It is registered before it is written: a write that finds the worker dead must not lose it.
    fn hand_over(&mut self, number: u32, member: MemberId, connection: Handle, members: &mut Members) {
        let seq = self.next_seq();
        let Some(listener) = self.table.get(&number) else { return };
        let frame = outbound::new_connection(seq, &listener.key);
        self.in_flight.insert(seq, InFlight { listener: number, member, connection: Rc::clone(&connection) });
        if let Some(channel) = members.channel(member) {
            channel.push_handle(frame, connection);
        }
    }

    /// The worker's answer to an offer.
    pub fn answered(&mut self, ack: u64, accepted: bool, members: &mut Members, poll: &Poll, now: u64) -> Outcome {
        let Some(offer) = self.in_flight.remove(&ack) else { return Outcome::Fine };
        let Some(listener) = self.table.get_mut(&offer.listener) else { return Outcome::Fine };
        let serves = listener.members.contains(&offer.member);
        if accepted {
            // It may stand there already: it closed its server and opened it again while this was under way.
            if serves && !listener.free.contains(&offer.member) {
                listener.free.push_back(offer.member);
            }
        } else {
            listener.waiting.push_front(offer.connection);
            if serves {
                listener.resting.push((offer.member, now + REST_MS));
            }
        }
        self.dispatch(offer.listener, members, poll, now)
    }

    /// A worker has closed its server on this key. The last one out closes the socket.
    pub fn leave(&mut self, member: MemberId, key: &str, poll: &Poll) {
        let held = self.table.iter_mut().find(|(_, one)| one.key == key && one.members.contains(&member));
        let Some((&number, listener)) = held else { return };
        listener.drop_member(member);
        if listener.members.is_empty() {
            listener.close(poll);
            self.forget_if_done(number);
        }
    }

    /// A worker gets no connection any more, but for those it has been offered.
    pub fn leave_dispatch(&mut self, member: MemberId) {
        for listener in self.table.values_mut() {
            listener.drop_member(member);
        }
    }

    /// A worker is gone: what it was offered and had not taken goes to another. The sockets stay open, so that nothing
    /// is refused while its replacement boots.
    pub fn forget(&mut self, member: MemberId, members: &mut Members, poll: &Poll, now: u64) {
        self.leave_dispatch(member);
        let lost: Vec<u64> =
            self.in_flight.iter().filter(|(_, offer)| offer.member == member).map(|(seq, _)| *seq).collect();
        for seq in lost.into_iter().rev() {
            let Some(offer) = self.in_flight.remove(&seq) else { continue };
            if let Some(listener) = self.table.get_mut(&offer.listener) {
                listener.waiting.push_front(offer.connection);
            }
            self.dispatch(offer.listener, members, poll, now);
        }
    }

    /// Everybody is there again: what dead workers listened on and no replacement wanted is given back.
    pub fn give_back(&mut self, poll: &Poll) {
        for number in self.table.keys().copied().collect::<Vec<_>>() {
            if let Some(listener) = self.table.get_mut(&number).filter(|one| one.members.is_empty()) {
                listener.close(poll);
                listener.waiting.clear();
                self.forget_if_done(number);
            }
        }
    }

    /// Stops accepting: what waits in the backlog goes to the workers in turn, then the sockets close. Each worker gets
    /// its share in the order of its channel, before whatever it is told next.
    pub fn close(&mut self, members: &mut Members, poll: &Poll) {
        self.closed = true;
        for number in self.table.keys().copied().collect::<Vec<_>>() {
            let Some(listener) = self.table.get_mut(&number) else { continue };
            let servers = listener.members.clone();
            for turn in 0..MOST_AT_CLOSE {
                let Some(listener) = self.table.get_mut(&number) else { break };
                let Some(member) = servers.get(turn % servers.len().max(1)).copied() else { break };
                let Ok(Some(connection)) = listener.next_connection() else { break };
                self.hand_over(number, member, connection, members);
            }
            if let Some(listener) = self.table.get_mut(&number) {
                listener.close(poll);
            }
            self.forget_if_done(number);
        }
    }

    /// A closed listener with nothing under way is no more.
    fn forget_if_done(&mut self, number: u32) {
        let done = |one: &Listener| one.socket.is_none() && one.waiting.is_empty();
        let under_way = || self.in_flight.values().any(|offer| offer.listener == number);
        if self.table.get(&number).is_some_and(done) && !under_way() {
            self.table.remove(&number);
        }
    }

    /// When something here wants to go on by itself.
    #[must_use]
    pub fn next_timeout(&self) -> Option<u64> {
        let pauses = self.table.values().filter_map(|one| one.paused_until);
        let rests = self.table.values().flat_map(|one| one.resting.iter().map(|(_, until)| *until));
        pauses.chain(rests).min()
    }

    /// Goes on with what has waited long enough.
    pub fn handle_timeout(&mut self, members: &mut Members, poll: &Poll, now: u64) -> Outcome {
        let mut outcome = Outcome::Fine;
        for number in self.table.keys().copied().collect::<Vec<_>>() {
            let Some(listener) = self.table.get_mut(&number) else { continue };
            if listener.wake(now)
                && let Outcome::Exhausted(errno) = self.dispatch(number, members, poll, now)
            {
                outcome = Outcome::Exhausted(errno);
            }
        }
        outcome
    }
}

impl Listener {
    /// A connection that waits here already, else one from the kernel, else none.
    fn next_connection(&mut self) -> Result<Option<Handle>, Errno> {
        if let Some(waiting) = self.waiting.pop_front() {
            return Ok(Some(waiting));
        }
        if self.paused_until.is_some() {
            return Ok(None);
        }
        let Some(socket) = &self.socket else { return Ok(None) };
        loop {
            match sockets::accept(socket) {
                Ok(connection) => return Ok(Some(Rc::new(connection))),
                Err(Errno::EAGAIN) => return Ok(None),
                // The client has gone meanwhile: the next one.
                Err(Errno::ECONNABORTED | Errno::EINTR | Errno::EPROTO) => {}
                Err(errno) => return Err(errno),
            }
        }
    }

    fn watch(&mut self, number: u32, interest: Interest, poll: &Poll) {
        let wanted = interest == Interest::Read && self.paused_until.is_none();
        if let Some(socket) = &self.socket
            && wanted != self.watched
        {
            let interest = if wanted { Interest::Read } else { Interest::Nothing };
            if poll.change(socket, Source::Listener(number), interest).is_ok() {
                self.watched = wanted;
            }
        }
    }

    fn drop_member(&mut self, member: MemberId) {
        self.members.retain(|one| *one != member);
        self.free.retain(|one| *one != member);
        self.resting.retain(|(one, _)| *one != member);
    }

    fn close(&mut self, poll: &Poll) {
        if let Some(socket) = self.socket.take() {
            poll.remove(&socket);
        }
        self.drop_the_unservable();
    }

    /// Closes the connections that wait for nobody: every server of this key is closed. Their clients would hang.
    fn drop_the_unservable(&mut self) {
        if self.socket.is_none() && self.members.is_empty() {
            self.waiting.clear();
        }
    }

    /// Ends the pauses that are over. True when there may be something to do.
    fn wake(&mut self, now: u64) -> bool {
        let mut woke = self.paused_until.is_some_and(|until| until <= now);
        if woke {
            self.paused_until = None;
        }
        while let Some(place) = self.resting.iter().position(|(_, until)| *until <= now) {
            let (member, _) = self.resting.swap_remove(place);
            self.free.push_back(member);
            woke = true;
        }
        woke
    }
}

/// Where the query wants to listen. What this master does not serve yet gets a clear errno, never silence.
fn address_of(query: &QueryServer<'_>) -> Result<TcpAddress, Errno> {
    if query.fd.is_some_and(|fd| fd >= 0) {
        return Err(Errno::EBADF);
    }
    match query.address_type {
        AddressType::Tcp4 | AddressType::Tcp6 => {}
        AddressType::Pipe | AddressType::Udp4 | AddressType::Udp6 | AddressType::Other => return Err(Errno::ENOTSUP),
    }
    let port = u16::try_from(query.port).map_err(|_| Errno::EINVAL)?;
    let v6_only = query.flags & 1 != 0;
    let Some(text) = query.address.as_deref().filter(|text| !text.is_empty()) else {
        return Ok(TcpAddress { ip: None, scope: 0, port, v6_only });
    };
    let (ip, scope) = text.split_once('%').unwrap_or((text, ""));
    let ip: IpAddr = ip.parse().map_err(|_| Errno::EINVAL)?;
    let scope = if scope.is_empty() { 0 } else { nix::net::if_::if_nametoindex(scope)? };
    Ok(TcpAddress { ip: Some(ip), scope, port, v6_only })
}
