//! The gate: what members that are to wait have asked for, the address that the application serves; answered when the
//! lifecycle opens it. Whatever else they listen on (a metrics port that their boot awaits) is answered at once.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use crate::app;
use crate::app::served;
use crate::ipc::inbound::{Listening, QueryServer};
use crate::ipc::outbound;
use crate::lifecycle::{Address, Event, MemberId, Role};
use crate::sys::clock;

use super::{Carried, Master};

/// How many questions of one member are kept; one for each address it serves.
const MOST_HELD: usize = 64;

/// A question, and the blob that came with it.
type Held = (QueryServer<'static>, Option<Box<RawValue>>);

/// The questions that wait for their answers.
#[derive(Debug, Default)]
pub struct Gate {
    held: BTreeMap<MemberId, Vec<Held>>,
    /// Where the first worker of all began to serve: it tells where the others will, when the options do not.
    served: Option<Address>,
}

impl Gate {
    /// A worker that is ready listens there.
    pub fn serves(&mut self, address: Address) {
        self.served.get_or_insert(address);
    }

    /// Does a question of this member wait for its answer?
    pub fn withholds(&self, member: MemberId) -> bool {
        self.held.contains_key(&member)
    }

    /// The member is gone, and does not care any more.
    pub fn forget(&mut self, member: MemberId) {
        self.held.remove(&member);
    }
}

impl Master {
    /// Is this question one that has to wait? Then it is kept. The lifecycle hears of each that is about the served address.
    pub(super) fn hold(&mut self, from: MemberId, query: &QueryServer<'_>) -> bool {
        let Carried { options, real_port, runtime, lifecycle, listeners, gate, .. } = &mut self.carried;
        let expected = runtime.sticky_worker_port.or(real_port.port);
        let asked = Listening {
            seq: query.seq,
            address: query.address.clone(),
            port: query.port,
            address_type: query.address_type,
        };
        let as_before = gate.served.is_some() && listeners.asked_before(query) == gate.served;
        if !served::is_to_serve(options, expected, as_before, &asked) {
            return false;
        }
        if !lifecycle.is_held(from) {
            self.tell(Event::AtGate(from));
            return false;
        }
        let held = gate.held.entry(from).or_default();
        if held.len() >= MOST_HELD {
            return false;
        }
        let data = query.data.map(ToOwned::to_owned);
        held.push((QueryServer { address: query.address.clone(), data: None, ..*query }, data));
        self.tell(Event::AtGate(from));
        true
    }

    /// Answers everything that the member asked, in the order in which it did.
    pub(super) fn open_gate(&mut self, member: MemberId) {
        let Carried { members, lifecycle, gate, listeners, options, .. } = &mut self.carried;
        let before = members.get(member).map(|one| one.role);
        if let Some(role) = lifecycle.role(member) {
            members.set_role(member, role);
            // A spare becomes a worker: it learns which one before it serves.
            if let (Role::Worker { slot, .. }, true) = (role, before != Some(role) && options.preload) {
                members.push(member, outbound::place(&app::place::variables(slot, options.workers)));
            }
        }
        let mut outcomes = Vec::new();
        for (query, data) in gate.held.remove(&member).unwrap_or_default() {
            let query = QueryServer { data: data.as_deref(), ..query };
            outcomes.push(listeners.query(member, &query, members, &self.poll, clock::monotonic_ms()));
        }
        for outcome in outcomes {
            self.note(outcome);
        }
    }
}
