//! Who serves: what workers say about where they listen becomes events of the lifecycle, and a worker that is ready is
//! welcomed with a line in the log, Egg's messages, and the clients of its slot.

use crate::app::{self, served};
use crate::ipc::inbound::Listening;
use crate::ipc::outbound;
use crate::lifecycle::{Address, Event, Listen, MemberId, Role, Standing, Worth};
use crate::sys::clock;

use super::notices::Level;
use super::{Carried, Master, words};
use crate::app::messages::Happening;

/// So many addresses are named when a start fails because workers listen elsewhere.
const MOST_OTHERS: usize = 8;

impl Master {
    /// A worker's server listens. The lifecycle decides what follows.
    pub(super) fn take_listening(&mut self, from: MemberId, listening: &Listening) {
        let Carried { options, real_port, runtime, listeners, lifecycle, .. } = &mut self.carried;
        let expected = runtime.sticky_worker_port.or(real_port.port);
        let Some(address) = listeners.listens(from, listening) else {
            // Not numbered: there are too many places, or it has left this one already.
            let is_there = matches!(served::worth(options, expected, listening), Worth::Service | Worth::Open);
            if is_there && !matches!(options.application, crate::options::Application::Egg { .. }) {
                self.learn_address(listening);
                self.ready(from);
            }
            return;
        };
        let Some(place) = listeners.place(address) else { return };
        let listen = served::listen(options, expected, address, &place.asked, listening);
        let shown = app::address(options, real_port.protocol.as_deref(), listening);
        let others = &mut self.seen.other_addresses;
        if listen.worth == Worth::Beside && !lifecycle.is_ready(from) && others.len() < MOST_OTHERS {
            others.push(shown);
        } else if listen.worth == Worth::Service {
            self.learn_address(listening);
        }
        self.tell_listens(from, listen);
    }

    fn tell_listens(&mut self, from: MemberId, listen: Listen) {
        let was_ready = self.carried.lifecycle.is_ready(from);
        self.tell(Event::Listens { member: from, listen });
        let Carried { lifecycle, gate, .. } = &mut self.carried;
        if lifecycle.is_ready(from) && lifecycle.serves(from) == Some(listen.address) {
            gate.serves(listen.address);
            if !was_ready {
                self.join_sticky(from);
            }
        }
        self.report_progress();
    }

    /// A worker has closed a server.
    pub(super) fn take_close(&mut self, from: MemberId, key: &str) {
        let served = self.carried.lifecycle.is_ready(from);
        if let Some(address) = self.carried.listeners.address_of(from, key) {
            self.tell(Event::Closes { member: from, address });
        }
        let Carried { listeners, lifecycle, members, .. } = &mut self.carried;
        listeners.leave(from, key, &self.poll, |address| lifecycle.keeps(address));
        if served && !lifecycle.is_ready(from) {
            let outcome = listeners.leave_sticky(from, members, &self.poll, clock::monotonic_ms());
            self.note(outcome);
        }
    }

    /// A worker leaves the cluster by its own word (`worker.disconnect()`, `worker.kill()`), and waits for the answer.
    pub(super) fn take_farewell(&mut self, from: MemberId, seq: u64) {
        let served = self.carried.lifecycle.is_ready(from);
        self.tell(Event::Leaves(from));
        let Carried { listeners, lifecycle, members, .. } = &mut self.carried;
        listeners.leave_dispatch(from);
        members.leaves_by_itself(from);
        members.push(from, outbound::plain_reply(listeners.next_seq(), seq));
        if served && !lifecycle.is_ready(from) {
            self.announce(Happening::WorkerLeaves);
        }
    }

    /// Where the application serves is known from now on: it is shown, and in the record.
    pub(super) fn learn_address(&mut self, listening: &Listening) {
        let Carried { options, real_port, runtime, record, .. } = &mut self.carried;
        let shown = match runtime.sticky_worker_port {
            Some(_) => app::masters_own(real_port.port.or(options.port), listening),
            None => listening.clone(),
        };
        record.address.get_or_insert_with(|| app::address(options, real_port.protocol.as_deref(), &shown));
    }

    /// A worker has said by itself where it listens.
    pub(super) fn learn_address_it_says(&mut self, listening: &Listening) {
        let Carried { options, real_port, runtime, .. } = &self.carried;
        let expected = runtime.sticky_worker_port.or(real_port.port);
        if matches!(served::worth(options, expected, listening), Worth::Service | Worth::Open) {
            self.learn_address(listening);
        }
    }

    /// The lifecycle has decided that a worker is ready by where it listens.
    pub(super) fn welcome(&mut self, member: MemberId, address: Address) {
        let Carried { listeners, gate, .. } = &mut self.carried;
        gate.serves(address);
        if let Some(listening) = listeners.place(address).map(|place| place.listening.clone()) {
            self.learn_address(&listening);
        }
        if self.admit(member) {
            // It belongs to this turn, and the rest of its actions comes first.
            self.events.push_back(Event::Ready(member));
        }
    }

    /// A member has said that it is ready; only the first sign counts.
    pub(super) fn ready(&mut self, member: MemberId) {
        if self.admit(member) {
            self.tell(Event::Ready(member));
            self.report_progress();
        }
    }

    /// Logs and announces a member that is ready, before the lifecycle hears of it. False when it was ready before, leaves, or
    /// may not serve yet.
    fn admit(&mut self, member: MemberId) -> bool {
        match self.carried.lifecycle.standing(member) {
            Some(Standing::Booting | Standing::Waiting) => {}
            Some(Standing::Ready | Standing::Leaving) | None => return false,
        }
        if self.carried.gate.withholds(member) {
            // It asks to serve and may not yet: that it listens there once it may is the sign that counts.
            return false;
        }
        if let Some(one) = self.carried.members.get(member) {
            let took = clock::monotonic_ms().saturating_sub(one.spawned_ms);
            let Carried { options, real_port, lifecycle, .. } = &self.carried;
            let place = match real_port.port.or(options.port).filter(|_| one.is_worker() && options.is_egg()) {
                Some(port) => words::at_port(port, lifecycle, member),
                None => String::new(),
            };
            self.notices.write(Level::Info, &format!("{} started{place} ({took}ms)", words::in_log(one)));
        }
        self.announce_ready_member(member);
        self.join_sticky(member);
        true
    }

    /// A ready worker gets the clients of its slot, where clients keep their workers.
    fn join_sticky(&mut self, member: MemberId) {
        let Carried { listeners, members, .. } = &mut self.carried;
        if let Some(Role::Worker { slot, .. }) = members.get(member).map(|one| one.role) {
            let outcome = listeners.join_sticky(slot, member, members, &self.poll, clock::monotonic_ms());
            self.note(outcome);
        }
    }
}
