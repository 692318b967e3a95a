//! Where members listen, as plain numbers: which of it decides that a worker is ready, and what it has opened so far.

use super::Millis;

/// How long after a worker has begun to listen at a lesser address a better one may come; and how long after it has closed
/// the address that it serves it may listen there again.
pub(super) const PATIENCE_MS: Millis = 1_000;

/// How long after it is ready a worker may open the other addresses of the application; and how long it may listen elsewhere
/// than where the application serves before the log says so.
pub(super) const OTHERS_MS: Millis = 5_000;

/// A place where members listen: a socket address or a path. Given by the master: equal places have equal numbers, in every
/// member, for as long as the master runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address(pub u32);

/// What it says about the place of a service that a worker listens there. The better comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Worth {
    /// The options say, or the worker has said, that the application serves there.
    Service,
    /// TCP, and reachable from other machines.
    Open,
    /// TCP over the loopback, or a Unix socket.
    Local,
    /// UDP.
    Datagram,
    /// A Unix socket in a directory for temporary files.
    Temporary,
    /// The application serves elsewhere: the options name the place.
    Beside,
}

/// A member has begun to listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Listen {
    /// Where.
    pub address: Address,
    /// What that says about the place of the service.
    pub worth: Worth,
    /// Can it show that the worker is ready? Some say so in a message instead.
    pub decides: bool,
    /// Is it the same place in each life of the application? Not a port that the kernel chose, UDP, or a file in a directory
    /// for temporary ones.
    pub lasts: bool,
}

/// Where the workers of a slot serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Served {
    pub address: Address,
    pub lasts: bool,
}

/// What a member listens at, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Open {
    listen: Listen,
    since: Millis,
}

/// Where one member listens, and what follows from it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Listens {
    /// In the order in which it began. The master bounds how many sockets there are.
    open: Vec<Open>,
    /// Where it serves: what has shown that it is ready, or the service's place if it said so itself.
    pub serves: Option<Served>,
    /// When it became ready.
    pub ready_at: Option<Millis>,
    /// It has been ready for [`OTHERS_MS`]: what it has not opened by then is not expected of it.
    pub settled: bool,
    /// The log has the line that it listens elsewhere.
    pub elsewhere_noted: bool,
}

/// What is known about the place of the service before a worker listens.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    /// Where its slot, or if that is new the application, has served before.
    pub served: Option<Served>,
    /// Is only that place good enough? A reload must not leave it.
    pub strict: bool,
    /// Everything starts: the first address that other machines reach counts immediately.
    pub is_start: bool,
}

impl Known {
    /// The place that it must listen at, if one is known and no other will do.
    fn only(&self) -> Option<Served> {
        self.served.filter(|served| self.strict && served.lasts)
    }
}

impl Listens {
    pub fn open(&mut self, listen: Listen, now: Millis) {
        if !self.has(listen.address) {
            self.open.push(Open { listen, since: now });
        }
    }

    pub fn close(&mut self, address: Address) {
        self.open.retain(|open| open.listen.address != address);
    }

    pub fn has(&self, address: Address) -> bool {
        self.open.iter().any(|open| open.listen.address == address)
    }

    /// All that is open now.
    pub fn addresses(&self) -> impl Iterator<Item = Address> {
        self.open.iter().map(|open| open.listen.address)
    }

    /// What is open now and is the same place in each life of the application.
    pub fn lasting(&self) -> impl Iterator<Item = Address> {
        self.open.iter().filter(|open| open.listen.lasts).map(|open| open.listen.address)
    }

    /// The address that decides that a worker which is not ready is, and when; none while it listens nowhere that could.
    pub fn decision(&self, known: Known) -> Option<(Millis, Served)> {
        let can = |open: &&Open| open.listen.decides && open.listen.worth != Worth::Beside;
        let is_known = |open: &Open| known.served.is_some_and(|served| served.address == open.listen.address);
        let only = known.only();
        let fits = |open: &&Open| only.is_none() || is_known(open) || open.listen.worth == Worth::Service;
        let rank =
            |open: &&Open| (open.listen.worth != Worth::Service && !is_known(open), open.listen.worth, open.since);
        let best = self.open.iter().filter(can).filter(fits).min_by_key(rank)?;
        let is_clear = match best.listen.worth {
            Worth::Service => true,
            Worth::Open => is_known(best) || known.is_start || known.served.is_none(),
            Worth::Local | Worth::Datagram | Worth::Temporary | Worth::Beside => is_known(best),
        };
        let due = best.since.saturating_add(if is_clear { 0 } else { PATIENCE_MS });
        Some((due, Served { address: best.listen.address, lasts: best.listen.lasts }))
    }

    /// Where a worker that said itself that it is ready turns out to serve.
    pub fn learn(&mut self, known: Known) {
        let is_known = |open: &Open| known.served.is_some_and(|served| served.address == open.listen.address);
        let is_strict = known.only().is_some();
        let can = |open: &&Open| match open.listen.worth {
            Worth::Service => true,
            Worth::Open => is_known(open) || !is_strict,
            Worth::Local | Worth::Datagram | Worth::Temporary | Worth::Beside => is_known(open),
        };
        let best = self.open.iter().filter(can).min_by_key(|open| (open.listen.worth, !is_known(open), open.since));
        if let (None, Some(best)) = (self.serves, best) {
            self.serves = Some(Served { address: best.listen.address, lasts: best.listen.lasts });
        }
    }

    /// The first address at which it listens while the application serves elsewhere, and when the log must say so.
    pub fn elsewhere(&self, known: Known) -> Option<(Millis, Address)> {
        let is_service = |open: &Open| {
            open.listen.worth == Worth::Service
                || known.only().is_some_and(|served| served.address == open.listen.address)
        };
        if self.open.iter().any(is_service) {
            return None;
        }
        let is_elsewhere = |open: &&Open| {
            open.listen.lasts && (open.listen.worth == Worth::Beside || known.only().is_some() && self.serves.is_none())
        };
        let first = self.open.iter().find(is_elsewhere)?;
        Some((first.since.saturating_add(OTHERS_MS), first.listen.address))
    }

    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// When it will have been ready for [`OTHERS_MS`].
    pub fn settles_at(&self) -> Option<Millis> {
        self.ready_at.filter(|_| !self.settled).map(|at| at.saturating_add(OTHERS_MS))
    }
}
