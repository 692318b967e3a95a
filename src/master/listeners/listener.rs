//! One listening socket: what every way of dispatching answers.

use crate::ipc::inbound::{Listening, QueryServer};
use crate::ipc::outbound;
use crate::lifecycle::MemberId;
use crate::master::members::Members;
use crate::master::poll::Poll;

use super::{Dispatch, Listener};

impl Listener {
    /// Does the master serve here itself, and choose the worker by the client?
    pub fn is_own(&self) -> bool {
        matches!(self.dispatch, Dispatch::Sticky(_))
    }

    /// Is it here that this worker listens, as it says?
    pub fn is_at(&self, member: MemberId, listening: &Listening) -> bool {
        let Some(asked) = &self.asked else { return false };
        let same = asked.address_type == listening.address_type && asked.address == listening.address;
        let real_port = self.name.as_ref().map_or(asked.port, |name| i64::from(name.port));
        same && [asked.port, real_port].contains(&listening.port) && self.is_served_by(member)
    }

    /// One more worker: it is answered, with the socket where it is to have it.
    pub fn admit(&mut self, member: MemberId, seq: u64, query: &QueryServer<'_>, members: &mut Members, now: u64) {
        if self.data.is_none() {
            self.data = query.data.map(ToOwned::to_owned);
        }
        let (key, data) = (&self.key, self.data.as_deref());
        match &mut self.dispatch {
            Dispatch::RoundRobin(hand_over) => {
                members.push(member, outbound::round_robin_reply(seq, query.seq, key, data, self.name.as_ref()));
                hand_over.join(members.slot(member), member, now);
            }
            Dispatch::Shared(socket) => {
                let frame = outbound::shared_reply(seq, query.seq, key, data, self.is_datagram);
                if let (Some(handle), Some(channel)) = (socket.join(member), members.channel(member)) {
                    channel.push_handle(frame, handle);
                }
            }
            // Nobody asks for the master's own.
            Dispatch::Sticky(_) => {}
        }
    }

    pub fn is_served_by(&self, member: MemberId) -> bool {
        match &self.dispatch {
            Dispatch::RoundRobin(hand_over) => hand_over.is_served_by(member),
            Dispatch::Shared(socket) => socket.is_served_by(member),
            Dispatch::Sticky(hand_over) => hand_over.is_served_by(member),
        }
    }

    pub fn is_served(&self) -> bool {
        match &self.dispatch {
            Dispatch::RoundRobin(hand_over) => hand_over.is_served(),
            Dispatch::Shared(socket) => socket.is_served(),
            Dispatch::Sticky(hand_over) => hand_over.is_served(),
        }
    }

    pub fn leave(&mut self, member: MemberId) {
        match &mut self.dispatch {
            Dispatch::RoundRobin(hand_over) => hand_over.leave(member),
            Dispatch::Shared(socket) => socket.leave(member),
            Dispatch::Sticky(hand_over) => hand_over.leave(member),
        }
    }

    pub fn close(&mut self, poll: &Poll) {
        match &mut self.dispatch {
            Dispatch::RoundRobin(hand_over) => hand_over.close(poll),
            Dispatch::Shared(socket) => socket.close(),
            Dispatch::Sticky(hand_over) => hand_over.close(poll),
        }
    }

    pub fn is_open(&self) -> bool {
        match &self.dispatch {
            Dispatch::RoundRobin(hand_over) => hand_over.is_open(),
            Dispatch::Shared(socket) => socket.is_open(),
            Dispatch::Sticky(hand_over) => hand_over.is_open(),
        }
    }

    pub fn is_done(&self) -> bool {
        match &self.dispatch {
            Dispatch::RoundRobin(hand_over) => hand_over.is_done(),
            Dispatch::Shared(socket) => !socket.is_open(),
            Dispatch::Sticky(hand_over) => hand_over.is_done(),
        }
    }

    pub fn next_timeout(&self) -> Option<u64> {
        match &self.dispatch {
            Dispatch::RoundRobin(hand_over) => hand_over.next_timeout(),
            Dispatch::Shared(_) => None,
            Dispatch::Sticky(hand_over) => hand_over.next_timeout(),
        }
    }

    pub fn wake(&mut self, now: u64) -> bool {
        match &mut self.dispatch {
            Dispatch::RoundRobin(hand_over) => hand_over.wake(now),
            Dispatch::Shared(_) => false,
            Dispatch::Sticky(hand_over) => hand_over.wake(now),
        }
    }
}
