//! What the machine, or a member, is short of for now: when to try again, and what the log says of it.
//!
//! Pure: the time is an argument. A call that failed is a *hit*. The first hit begins a shortage, which is one line in the
//! log; it is over when no call has failed for a while, which is another one. In between the calls are tried again, first
//! soon and then ever later, but never later than [`LONGEST_WAIT_MS`]: nothing else may happen that would try them.

use std::collections::BTreeMap;

/// The first wait before a call is tried again, in milliseconds: most shortages are over by then.
const FIRST_WAIT_MS: u64 = 10;
/// The longest wait: service resumes well within a second of the shortage's end.
const LONGEST_WAIT_MS: u64 = 320;
/// A shortage is over when no call has failed for this long. Longer than any wait, or it would end between two tries.
const QUIET_MS: u64 = 500;
/// One that comes back within this long has twice as long a quiet the next time, up to this long itself: shortages that come
/// and go all day must not fill the log.
const SOON_MS: u64 = 60_000;

/// What there is too little of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// Buffers of sockets.
    Buffers,
    /// The kernel's memory.
    Memory,
    /// Descriptors that are on their way between processes.
    InFlight,
    /// Open files of the master.
    Files,
    /// Open files of the whole system.
    SystemFiles,
    /// Open files of a member.
    MembersFiles,
}

/// The shortages that there are, and those that there were of late.
#[derive(Debug, Default)]
pub struct Shortages {
    table: BTreeMap<What, Shortage>,
}

#[derive(Debug)]
struct Shortage {
    /// `None`: it is over.
    since_ms: Option<u64>,
    /// When the calls are tried again; `None` once they have been, until one fails.
    retry_ms: Option<u64>,
    wait_ms: u64,
    /// The last hit; once over, the end.
    last_ms: u64,
    quiet_ms: u64,
    waited: u32,
    backlog: u32,
    moved: u32,
}

/// A shortage that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Over {
    /// What there was too little of.
    pub what: What,
    /// From the first call that failed to the last one, in milliseconds.
    pub lasted_ms: u64,
    /// How many connections waited.
    pub waited: u32,
    /// How many were given to another worker.
    pub moved: u32,
}

/// What is due.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Due {
    /// The calls that failed are to be tried again.
    pub retry: bool,
    /// These are over.
    pub over: Vec<Over>,
}

impl Shortages {
    /// A call failed for want of this. True when that begins a shortage.
    pub fn hit(&mut self, what: What, now: u64) -> bool {
        let one = self.table.entry(what).or_insert(Shortage {
            since_ms: None,
            retry_ms: None,
            wait_ms: FIRST_WAIT_MS,
            last_ms: 0,
            quiet_ms: QUIET_MS,
            waited: 0,
            backlog: 0,
            moved: 0,
        });
        let begins = one.since_ms.is_none();
        if begins {
            let soon = one.last_ms > 0 && now < one.last_ms.saturating_add(SOON_MS);
            one.quiet_ms = if soon { (one.quiet_ms * 2).min(SOON_MS) } else { QUIET_MS };
            (one.since_ms, one.wait_ms) = (Some(now), FIRST_WAIT_MS);
            (one.waited, one.backlog, one.moved) = (0, 0, 0);
        }
        one.last_ms = now;
        if one.retry_ms.is_none() {
            one.retry_ms = Some(now + one.wait_ms);
            one.wait_ms = (one.wait_ms * 2).min(LONGEST_WAIT_MS);
        }
        begins
    }

    /// So many more connections wait because of it.
    pub fn waits(&mut self, what: What, connections: u32) {
        self.count(what, |one| one.waited = one.waited.saturating_add(connections));
    }

    /// So many connections wait in the kernel, all in all.
    pub fn backlog(&mut self, what: What, connections: u32) {
        self.count(what, |one| one.backlog = one.backlog.max(connections));
    }

    /// A connection goes to another worker because of it.
    pub fn moved(&mut self, what: What) {
        self.count(what, |one| one.moved = one.moved.saturating_add(1));
    }

    fn count(&mut self, what: What, count: impl FnOnce(&mut Shortage)) {
        if let Some(one) = self.table.get_mut(&what) {
            count(one);
        }
    }

    /// When something is due; never while nothing is short.
    #[must_use]
    pub fn next_timeout(&self) -> Option<u64> {
        self.table.values().filter_map(Shortage::next_timeout).min()
    }

    /// What is due now. Calls that are tried again and fail are hits again.
    pub fn handle_timeout(&mut self, now: u64) -> Due {
        let mut due = Due::default();
        for (what, one) in &mut self.table {
            if one.retry_ms.is_some_and(|at| at <= now) {
                one.retry_ms = None;
                due.retry = true;
            }
            let is_quiet = one.retry_ms.is_none() && one.last_ms.saturating_add(one.quiet_ms) <= now;
            // Not in the turn of a try, which may be a hit yet.
            if let Some(since) = one.since_ms.filter(|_| is_quiet && !due.retry) {
                one.since_ms = None;
                due.over.push(Over {
                    what: *what,
                    lasted_ms: one.last_ms.saturating_sub(since),
                    waited: one.waited.saturating_add(one.backlog),
                    moved: one.moved,
                });
            }
        }
        due
    }
}

impl Shortage {
    fn next_timeout(&self) -> Option<u64> {
        self.since_ms?;
        Some(self.retry_ms.unwrap_or(self.last_ms.saturating_add(self.quiet_ms)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lives through a shortage from `from` to `until` of a call that is tried whenever it is due: when each try was, and the
    /// first that succeeded; the ends that were told.
    fn live(shortages: &mut Shortages, from: u64, until: u64) -> (Vec<u64>, Vec<Over>) {
        let (mut tries, mut over) = (vec![from], Vec::new());
        shortages.hit(What::Buffers, from);
        while let Some(now) = shortages.next_timeout() {
            let due = shortages.handle_timeout(now);
            over.extend(due.over);
            if due.retry {
                tries.push(now);
                if now < until {
                    assert!(!shortages.hit(What::Buffers, now), "it begins twice");
                }
            }
        }
        (tries, over)
    }

    #[test]
    fn service_resumes_within_a_second_and_no_time_is_spent_on_trying() {
        for lasts in [0, 1, 9, 10, 100, 999, 60_000] {
            let mut shortages = Shortages::default();
            let (tries, over) = live(&mut shortages, 1_000, 1_000 + lasts);
            let resumed = *tries.last().unwrap();
            assert!((1_000 + lasts..2_000 + lasts).contains(&resumed), "{lasts} ms: resumed at {resumed}");
            assert!(tries.len() as u64 <= 8 + lasts / 300, "{} tries in {lasts} ms", tries.len());
            assert_eq!(over.len(), 1);
            assert!(over[0].lasted_ms <= lasts, "{over:?}");
            assert_eq!(shortages.next_timeout(), None, "nothing is due while nothing is short");
        }
    }

    #[test]
    fn what_waited_and_what_was_moved_is_told_at_the_end_and_counted_from_nothing_the_next_time() {
        let mut shortages = Shortages::default();
        assert!(shortages.hit(What::Files, 10));
        shortages.waits(What::Files, 2);
        shortages.backlog(What::Files, 7);
        shortages.backlog(What::Files, 5);
        shortages.moved(What::Files);
        assert!(!shortages.hit(What::Files, 15));
        assert!(shortages.hit(What::Memory, 15), "each kind is a shortage of its own");
        let mut over = Vec::new();
        while let Some(now) = shortages.next_timeout() {
            over.extend(shortages.handle_timeout(now).over);
        }
        let files = over.iter().find(|one| one.what == What::Files).copied();
        assert_eq!(files, Some(Over { what: What::Files, lasted_ms: 5, waited: 9, moved: 1 }));
        assert_eq!(over.len(), 2);
        assert!(shortages.hit(What::Files, 100_000));
        let again = std::iter::from_fn(|| {
            let now = shortages.next_timeout()?;
            Some(shortages.handle_timeout(now).over)
        });
        assert_eq!(again.flatten().next().map(|one| (one.waited, one.moved)), Some((0, 0)));
    }

    #[test]
    fn shortages_that_come_and_go_all_day_are_told_ever_less_often() {
        let (mut shortages, mut told) = (Shortages::default(), 0);
        for second in 1..=86_400 {
            told += usize::from(shortages.hit(What::Buffers, second * 1_000));
            while let Some(now) = shortages.next_timeout().filter(|at| *at < (second + 1) * 1_000) {
                shortages.handle_timeout(now);
            }
        }
        assert!(told < 20, "{told} times");
        // After an hour of peace it is told at the usual time.
        let now = 90_000_000;
        while let Some(at) = shortages.next_timeout() {
            shortages.handle_timeout(at);
        }
        assert!(shortages.hit(What::Buffers, now));
        shortages.handle_timeout(now + FIRST_WAIT_MS);
        assert_eq!(shortages.next_timeout(), Some(now + QUIET_MS));
    }
}
