//! Sticky: the master accepts, and a client keeps its worker, which is chosen by the client's address.
//!
//! The choice is among *slots*, by rendezvous hashing: each slot draws a number for the address, the highest one that is
//! served gets the client. So a death moves that worker's clients and nobody else's, and who follows in the slot gets
//! them back. Egg's own master takes the address's digits modulo the number of workers: there a death breaks the choice,
//! and IPv6 addresses, whose digits are more than a JavaScript number holds, hardly spread.
//!
//! A connection goes as Egg's message, with a handle. It is the master's until the worker has acknowledged it: what a
//! dying worker had not yet taken goes to another.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::rc::Rc;

use nix::errno::Errno;

use crate::ipc::outbound;
use crate::lifecycle::MemberId;
use crate::master::channel::Handle;
use crate::master::members::Members;
use crate::master::poll::{Interest, Poll};
use crate::sys::sockets::{self, InternetAddress};

use super::accept::{Door, Entrance};
use super::address::Address;
use super::open::Opened;
use super::{Dispatch, Listener, Listeners, Outcome};

/// How many connections may wait for one worker: twice Node's default backlog. A worker that takes none must not have
/// all descriptors of the master.
const MOST_OFFERED: usize = 1024;
/// How many connections are accepted before the rest of the loop has its turn.
const MOST_AT_ONCE: usize = 64;
/// How many connections of a backlog are still handed over when the socket closes.
const MOST_AT_CLOSE: usize = 1024;

/// The key of that socket in the table. No query has it: theirs have colons.
const STICKY: &str = "sticky";

/// The hand-over of the application's own socket.
#[derive(Debug)]
pub struct Sticky {
    entrance: Entrance,
    /// How many slots there are. Nothing is handed over before all have been served at the same time once: the first
    /// clients would all be moved.
    slots: usize,
    begun: bool,
    /// Whose turn it is in each slot.
    serving: BTreeMap<u32, MemberId>,
    /// What each worker was sent and has not acknowledged, oldest first.
    offered: BTreeMap<MemberId, VecDeque<Handle>>,
}

impl Sticky {
    /// A hand-over to so many slots, none of them served yet.
    #[must_use]
    pub fn new(door: Door, slots: u32) -> Self {
        Sticky {
            entrance: Entrance::new(door),
            slots: slots as usize,
            begun: false,
            serving: BTreeMap::new(),
            offered: BTreeMap::new(),
        }
    }

    /// A worker of this slot is ready: the slot's clients are its from now on.
    pub fn join(&mut self, slot: u32, member: MemberId) {
        self.serving.insert(slot, member);
        self.begun |= self.serving.len() >= self.slots;
    }

    /// A worker gets none any more, but for those it has been offered.
    pub fn leave(&mut self, member: MemberId) {
        self.serving.retain(|_, one| *one != member);
        self.drop_the_unservable();
    }

    /// A worker is gone: what it had not yet taken waits for others.
    pub fn forget(&mut self, member: MemberId) {
        self.entrance.waiting.extend(self.offered.remove(&member).unwrap_or_default());
        self.leave(member);
    }

    /// The worker has this connection. False when it was none of ours.
    pub fn taken(&mut self, member: MemberId, connection: &Handle) -> bool {
        let Some(offered) = self.offered.get_mut(&member) else { return false };
        let Some(place) = offered.iter().position(|one| Rc::ptr_eq(one, connection)) else { return false };
        drop(offered.remove(place));
        true
    }

    /// Gives connections to the workers of their clients.
    pub fn dispatch(&mut self, members: &mut Members, poll: &Poll, now: u64) -> Outcome {
        if !self.begun || !self.is_served() {
            self.entrance.watch(Interest::Nothing, poll);
            return Outcome::Fine;
        }
        let mut outcome = Outcome::Fine;
        for _ in 0..self.entrance.waiting.len() + MOST_AT_ONCE {
            match self.entrance.next(poll, now) {
                Ok(Some(connection)) => outcome = self.offer(connection, members).unwrap_or(outcome),
                Ok(None) => break,
                Err(errno) => return Outcome::Exhausted { errno, waiting: self.entrance.backlog() },
            }
        }
        self.entrance.watch(Interest::Read, poll);
        outcome
    }

    /// Sends a connection to its client's worker; the outcome when that one has too many already.
    fn offer(&mut self, connection: Handle, members: &mut Members) -> Option<Outcome> {
        // A client that has gone meanwhile has no address.
        let client = sockets::peer_address(&*connection).ok()?.ip();
        let member = *self.serving.get(&chosen(client, self.serving.keys().copied())?)?;
        let offered = self.offered.entry(member).or_default();
        if offered.len() >= MOST_OFFERED {
            return Some(Outcome::Clogged(member));
        }
        offered.push_back(Rc::clone(&connection));
        if let Some(channel) = members.channel(member) {
            channel.push_handle(outbound::sticky_connection(), connection);
        }
        None
    }

    /// Stops accepting: what waits in the backlog goes to its workers, then the socket closes. Each worker gets it before
    /// whatever it is told next.
    pub fn hand_over_the_rest(&mut self, members: &mut Members, poll: &Poll, now: u64) {
        for _ in 0..MOST_AT_CLOSE / MOST_AT_ONCE {
            self.dispatch(members, poll, now);
        }
        self.close(poll);
    }

    /// Closes the socket. Connections under way stay.
    pub fn close(&mut self, poll: &Poll) {
        self.entrance.close(poll);
        self.drop_the_unservable();
    }

    fn drop_the_unservable(&mut self) {
        self.entrance.drop_the_unservable(self.is_served());
    }

    /// Does this worker serve?
    #[must_use]
    pub fn is_served_by(&self, member: MemberId) -> bool {
        self.serving.values().any(|one| *one == member)
    }

    /// Does anybody?
    #[must_use]
    pub fn is_served(&self) -> bool {
        !self.serving.is_empty()
    }

    /// Does it still accept?
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.entrance.is_open()
    }

    /// Closed, and nothing under way.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.entrance.is_done() && self.offered.values().all(VecDeque::is_empty)
    }

    /// When a pause of the door ends.
    #[must_use]
    pub fn next_timeout(&self) -> Option<u64> {
        self.entrance.paused_until()
    }

    /// Ends a pause that is over. True when there may be something to do.
    pub fn wake(&mut self, now: u64) -> bool {
        self.entrance.wake(now)
    }
}

/// The sticky socket in the table of all.
impl Listeners {
    /// Opens the socket of a sticky application, unless it stands already: on any address, as Egg's master does.
    ///
    /// # Errors
    /// The kernel's, EADDRINUSE above all; EINVAL without a port.
    pub fn open_sticky(&mut self, port: Option<u16>, slots: u32, poll: &Poll) -> Result<(), Errno> {
        if self.closed {
            return Err(Errno::ESHUTDOWN);
        }
        let port = port.ok_or(Errno::EINVAL)?;
        if self.find(STICKY).is_none() {
            let address = Address::Tcp(InternetAddress { ip: None, scope: 0, port, v6_only: false });
            let opened = Opened::at(address, 0, &mut self.inherited)?;
            self.last_number += 1;
            let number = self.last_number;
            let dispatch = Dispatch::Sticky(Sticky::new(Door::new(opened, number, poll)?, slots));
            let listener = Listener {
                key: STICKY.to_owned(),
                asked: None,
                address: None,
                name: None,
                is_datagram: false,
                data: None,
                dispatch,
            };
            self.table.insert(number, listener);
        }
        Ok(())
    }

    /// A worker is ready: with sticky dispatching the clients of its slot are its from now on.
    pub fn join_sticky(
        &mut self,
        slot: u32,
        member: MemberId,
        members: &mut Members,
        poll: &Poll,
        now: u64,
    ) -> Outcome {
        let Some(number) = self.find(STICKY) else { return Outcome::Fine };
        if let Some(Dispatch::Sticky(hand_over)) = self.table.get_mut(&number).map(|one| &mut one.dispatch) {
            hand_over.join(slot, member);
        }
        self.dispatch(number, members, poll, now)
    }

    /// A worker does not serve any more: its clients are others' until it does again.
    pub fn leave_sticky(&mut self, member: MemberId, members: &mut Members, poll: &Poll, now: u64) -> Outcome {
        let Some(number) = self.find(STICKY) else { return Outcome::Fine };
        if let Some(Dispatch::Sticky(hand_over)) = self.table.get_mut(&number).map(|one| &mut one.dispatch) {
            hand_over.leave(member);
        }
        self.dispatch(number, members, poll, now)
    }

    /// A worker has taken a handle.
    pub fn taken(&mut self, member: MemberId, handle: &Handle) {
        let ours = self.table.iter_mut().find_map(|(number, one)| match &mut one.dispatch {
            Dispatch::Sticky(hand_over) => hand_over.taken(member, handle).then_some(*number),
            Dispatch::RoundRobin(_) | Dispatch::Shared(_) => None,
        });
        if let Some(number) = ours {
            self.forget_if_done(number);
        }
    }
}

/// The slot of a client among those that are served: the one that draws the highest number for its address.
#[must_use]
pub fn chosen(client: IpAddr, slots: impl Iterator<Item = u32>) -> Option<u32> {
    // On a dual-stack socket IPv4 clients have mapped addresses: they are the same clients.
    let address = match client.to_canonical() {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    };
    let [low, high] = [address as u64, (address >> 64) as u64];
    let drawn = |slot: u32| mixed(mixed(mixed(high) ^ low) ^ u64::from(slot));
    slots.max_by_key(|slot| drawn(*slot))
}

/// SplitMix64's finalizer: each bit of the input changes about half of the result's.
fn mixed(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    /// Neighbours, as clients often are: 1024 of an IPv4 network, of one IPv6 network, and of as many IPv6 networks.
    fn neighbourhoods() -> [Vec<IpAddr>; 3] {
        let v4 = (0..1024).map(|n| Ipv4Addr::from_bits(0x0a00_0000 + n).into());
        let v6 = (0..1024).map(|n| Ipv6Addr::from_bits(0x2001_0db8 << 96 | n).into());
        let networks = (0..1024).map(|n| Ipv6Addr::from_bits(0x2001_0db8 << 96 | n << 64 | 1).into());
        [v4.collect(), v6.collect(), networks.collect()]
    }

    #[test]
    fn clients_spread_evenly_over_the_slots() {
        for clients in neighbourhoods() {
            for slots in [2, 3, 8] {
                let mut counts = vec![0; slots as usize];
                clients.iter().for_each(|client| counts[chosen(*client, 0..slots).unwrap() as usize] += 1);
                let fair = clients.len() / slots as usize;
                assert!(counts.iter().all(|count| (fair * 3 / 4..fair * 5 / 4).contains(count)), "{counts:?}");
            }
        }
    }

    #[test]
    fn a_slot_that_is_not_served_moves_its_own_clients_and_nobody_elses() {
        for clients in neighbourhoods() {
            for client in clients {
                let before = chosen(client, 0..4).unwrap();
                for gone in 0..4 {
                    let after = chosen(client, (0..4).filter(|slot| *slot != gone)).unwrap();
                    assert!(after != gone && (before == gone || after == before), "{client}: {before} to {after}");
                }
            }
        }
    }

    #[test]
    fn an_ipv4_client_is_the_same_on_a_dual_stack_socket_and_without_slots_there_is_no_choice() {
        let v4 = Ipv4Addr::new(10, 1, 2, 3);
        assert_eq!(chosen(v4.into(), 0..16), chosen(v4.to_ipv6_mapped().into(), 0..16));
        assert_eq!(chosen(v4.into(), 0..0), None);
    }
}
