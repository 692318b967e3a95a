//! Receipts: how each member left that an operation or the close has asked to, and what went with it.

use crate::app;
use crate::control::{Answer, Departure, Left, Receipt};
use crate::lifecycle::{Death, Leave, MemberId};
use crate::sys::{clock, signals};

use super::Master;
use super::control::Wants;

impl Master {
    /// A member has been sent KILL: it may never be seen to end.
    pub(super) fn enter_kill(&mut self, id: MemberId) {
        // How it ends is known before it does.
        if self.carried.lifecycle.leave(id, Death::Signal(signals::SIGKILL)) == Some(Leave::Killed) {
            self.enter(id, Left::Killed);
        }
    }

    /// A member has ended, and the lifecycle has not been notified yet.
    pub(super) fn enter_death(&mut self, id: MemberId, death: Death) {
        match self.carried.lifecycle.leave(id, death) {
            // Entered at its KILL.
            None | Some(Leave::Killed) => {}
            Some(Leave::ByItself) => self.enter(id, Left::ByItself),
            Some(Leave::AtLimit) => self.enter(id, Left::AtLimit),
            Some(Leave::Died) => self.enter(id, Left::Died),
        }
    }

    fn enter(&mut self, id: MemberId, left: Left) {
        let Some(member) = self.carried.members.get_mut(id) else { return };
        member.left = Some(left);
        let (requests, connections) = member.in_flight.unzip();
        let some = |count: Option<u32>| count.filter(|count| *count > 0);
        self.control.departed.push(Departure {
            name: app::name_of(member.role),
            pid: member.pid,
            left,
            requests_cut: some(requests),
            connections_cut: some(connections),
        });
    }

    /// The master is about to end: clients that wait for that learn how its members left.
    pub(super) fn send_last_receipts(&mut self) {
        // A client may have asked in the very moment in which the last member ended.
        self.take_control_connections();
        for number in self.control.wanting(Wants::End) {
            let since_ms = self.control.since_ms(number);
            let took_ms = clock::monotonic_ms().saturating_sub(since_ms);
            let receipt = Receipt { what: "stopped".to_owned(), took_ms, ..Receipt::default() };
            let receipt = receipt.with(self.control.departed.clone());
            self.control.answer(number, &Answer::Done(receipt));
        }
    }
}
