//! Round robin's other question, "which worker's client is this?", for plain Node applications whose clients keep their
//! workers: the choice is that of [`super::sticky`], among slots and by the client's address.
//!
//! A connection for a worker that has not answered its last one waits here, so that it holds up no client of the others.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;

use crate::lifecycle::MemberId;
use crate::master::channel::Handle;

use super::sticky::chosen;

/// How long after the last worker that came the others are waited for, before the clients are divided among those that are
/// there: an address may be one worker's alone.
const OTHERS_MS: u64 = 5_000;
/// How many connections may wait for one worker.
const MOST_WAITING: usize = 1024;

/// Which worker has which clients.
#[derive(Debug)]
pub struct ByClient {
    /// How many slots there are. Before each has been served once, no connection is handed over: the first clients would all be
    /// moved.
    slots: usize,
    begun: bool,
    /// When it begins without the slots that are not served.
    begins_at: Option<u64>,
    /// The workers of each slot. The last one has its clients; one before it has them back when the last one leaves first.
    serving: BTreeMap<u32, Vec<MemberId>>,
    /// Connections that wait for their worker, by slot.
    waiting: BTreeMap<u32, VecDeque<Handle>>,
}

impl ByClient {
    /// No worker serves yet.
    #[must_use]
    pub fn new(slots: u32) -> Self {
        ByClient {
            slots: slots as usize,
            begun: false,
            begins_at: None,
            serving: BTreeMap::new(),
            waiting: BTreeMap::new(),
        }
    }

    /// A worker listens: its slot's clients are its from now on.
    pub fn join(&mut self, slot: u32, member: MemberId, now: u64) {
        self.serving.entry(slot).or_default().push(member);
        self.begun |= self.serving.len() >= self.slots;
        self.begins_at = (!self.begun).then_some(now.saturating_add(OTHERS_MS));
    }

    /// When [`Self::wake`] is to be called.
    #[must_use]
    pub fn begins_at(&self) -> Option<u64> {
        self.begins_at
    }

    /// Begins, if the other workers have been waited for long enough. True when it has.
    pub fn wake(&mut self, now: u64) -> bool {
        let begins = self.begins_at.take_if(|at| *at <= now).is_some();
        self.begun |= begins;
        begins
    }

    /// Has it begun?
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.begun
    }

    /// A worker has no clients any more. What waited for it, to be given to others.
    pub fn leave(&mut self, member: MemberId) -> VecDeque<Handle> {
        let mut back = VecDeque::new();
        self.serving.retain(|slot, members| {
            if members.last() == Some(&member) {
                back.extend(self.waiting.remove(slot).unwrap_or_default());
            }
            members.retain(|one| *one != member);
            !members.is_empty()
        });
        back
    }

    /// The slot of this client, and who serves it.
    #[must_use]
    pub fn worker_of(&self, client: IpAddr) -> Option<(u32, MemberId)> {
        let slot = chosen(client, self.serving.keys().copied())?;
        Some((slot, *self.serving.get(&slot)?.last()?))
    }

    /// Does a connection wait for this slot's worker already?
    #[must_use]
    pub fn has_waiting(&self, slot: u32) -> bool {
        self.waiting.get(&slot).is_some_and(|waiting| !waiting.is_empty())
    }

    /// The connection waits for its worker. False when too many do: it is closed.
    pub fn wait(&mut self, slot: u32, connection: Handle) -> bool {
        let waiting = self.waiting.entry(slot).or_default();
        let fits = waiting.len() < MOST_WAITING;
        if fits {
            waiting.push_back(connection);
        }
        fits
    }

    /// The next connection that waits for a worker that is free, and that worker.
    pub fn next(&mut self, is_free: impl Fn(MemberId) -> bool) -> Option<(MemberId, Handle)> {
        self.waiting.iter_mut().find_map(|(slot, waiting)| {
            let member = *self.serving.get(slot)?.last().filter(|member| is_free(**member))?;
            Some((member, waiting.pop_front()?))
        })
    }

    /// Everything that waits.
    pub fn drain(&mut self) -> VecDeque<Handle> {
        std::mem::take(&mut self.waiting).into_values().flatten().collect()
    }

    /// Does no connection wait?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.values().all(VecDeque::is_empty)
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::sys::descriptors;

    fn connection() -> Handle {
        Rc::new(descriptors::placeholder().unwrap())
    }

    #[test]
    fn a_successor_that_leaves_first_gives_the_clients_back_to_the_worker_before_it() {
        let (old, new, client) = (MemberId(1), MemberId(2), IpAddr::from([10, 0, 0, 1]));
        let mut clients = ByClient::new(1);
        assert_eq!(clients.worker_of(client), None);
        clients.join(0, old, 0);
        clients.join(0, new, 0);
        assert_eq!(clients.worker_of(client), Some((0, new)));
        assert!(clients.wait(0, connection()));
        assert_eq!(clients.leave(new).len(), 1);
        assert_eq!(clients.worker_of(client), Some((0, old)));
        assert!(clients.wait(0, connection()));
        assert_eq!(clients.next(|member| member == old).map(|(member, _)| member), Some(old));
        assert!(clients.leave(old).is_empty() && clients.is_empty());
        assert_eq!(clients.worker_of(client), None);
    }

    #[test]
    fn an_old_worker_that_leaves_after_its_successor_came_takes_no_connection_along() {
        let mut clients = ByClient::new(1);
        clients.join(0, MemberId(1), 0);
        clients.join(0, MemberId(2), 0);
        clients.wait(0, connection());
        assert!(clients.leave(MemberId(1)).is_empty());
        assert!(clients.has_waiting(0));
        assert_eq!(clients.next(|_| false).is_none(), clients.next(|_| true).is_some());
    }

    #[test]
    fn it_begins_when_every_slot_is_served_or_5_s_after_the_last_worker_that_came_and_a_worker_has_a_bounded_queue() {
        let mut clients = ByClient::new(2);
        clients.join(0, MemberId(1), 0);
        clients.join(0, MemberId(2), 0);
        assert!(!clients.has_begun());
        clients.join(1, MemberId(3), 0);
        assert!(clients.has_begun());
        assert_eq!(clients.begins_at(), None);
        let mut clients = ByClient::new(3);
        clients.join(0, MemberId(1), 100);
        clients.join(1, MemberId(2), 3_000);
        assert_eq!(clients.begins_at(), Some(8_000));
        assert!(!clients.wake(7_999) && !clients.has_begun());
        assert!(clients.wake(8_000) && clients.has_begun());
        assert_eq!(clients.begins_at(), None);
        let one = connection();
        assert_eq!((0..2000).filter(|_| clients.wait(0, Rc::clone(&one))).count(), MOST_WAITING);
        assert_eq!(clients.drain().len(), MOST_WAITING);
    }
}
