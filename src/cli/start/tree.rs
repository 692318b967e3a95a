//! The processes that a start has made: this process is their subreaper, so none escapes it. A failed start returns only
//! when nothing of them is left.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use crate::ipc::report::{self, Word};
use crate::sys::pidfd::{self, Pidfd};
use crate::sys::reap::{self, Ended, Reaped};
use crate::sys::signals::{SIGKILL, SIGTERM};
use crate::sys::{clock, proc, sockets};

use super::wait::Ending;

/// How long the master may take before it gets KILL. Its workers, its agent and what they leave behind have half a second
/// each, and the logger may be busy with a disk.
const MASTERS_END: Duration = Duration::from_millis(3_500);
/// How long a logger may take to write the last lines.
const LAST_LINES: Duration = Duration::from_secs(1);
/// How long a process may take to end after KILL (it may be waiting for a disk).
const AFTER_KILL: Duration = Duration::from_secs(5);

/// The tree.
pub struct Tree {
    /// Children that this process had before: none of our business.
    foreign: BTreeSet<u32>,
    master: Option<u32>,
    ended: Option<Ended>,
}

impl Tree {
    /// The tree before anything was started.
    ///
    /// # Errors
    /// When /proc cannot be read.
    pub fn of_this_process() -> io::Result<Self> {
        let foreign = proc::children(std::process::id())?.into_iter().collect();
        Ok(Tree { foreign, master: None, ended: None })
    }

    /// The detached process has told its pid.
    pub fn set_master(&mut self, pid: u32) {
        self.master = Some(pid);
    }

    /// The master's pid, once it is known.
    #[must_use]
    pub fn master(&self) -> Option<u32> {
        self.master
    }

    /// How the master ended, once it has.
    #[must_use]
    pub fn masters_end(&self) -> Option<Ended> {
        self.ended
    }

    /// Is nobody left of what the start has made?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        proc::children(std::process::id()).is_ok_and(|all| all.iter().all(|pid| self.foreign.contains(pid)))
    }

    /// Collects whatever has ended.
    pub fn reap(&mut self) {
        while let Ok(Reaped::Child(pid, ended)) = reap::reap() {
            if self.master.is_none_or(|master| master == pid) && !self.foreign.remove(&pid) {
                self.ended = Some(ended);
            }
        }
    }

    /// Ends what a failed start has left: TERM to the master unless it is ending by itself, KILL when it takes longer than
    /// its members can, then whatever it has left behind. On the ready channel it is told that the start has failed: it may
    /// be ready, and would ask its members politely. Gives back what could not be ended.
    ///
    /// # Errors
    /// When /proc cannot be read.
    pub fn end(&mut self, ending: &Ending, ready_channel: &OwnedFd) -> io::Result<Vec<u32>> {
        if let Some(master) = self.master.filter(|_| self.ended.is_none()) {
            let pidfd = Pidfd::open(master)?;
            match ending {
                Ending::Stderr | Ending::Deadline(_) | Ending::Cancelled(_) | Ending::NotWaited(_) => {
                    drop(pidfd.signal(SIGTERM));
                    // One that hears nothing ends politely, or by KILL.
                    let _ = sockets::send(ready_channel.as_fd(), &[&report::word(Word::GiveUp)], None);
                }
                Ending::Ready(_)
                | Ending::Failed(_)
                | Ending::Stopped(_)
                | Ending::Died(_)
                | Ending::NotDetached(_) => {}
            }
            let deadline = clock::monotonic_ms() + millis(MASTERS_END);
            if !pidfd::wait_all([&pidfd], deadline)? {
                drop(pidfd.signal(SIGKILL));
            }
        }
        self.end_the_rest()
    }

    /// KILL to every child left, until there is none: their orphans come to us one generation after the other. The logger of
    /// a master that was killed is let alone as long as it writes what they have printed.
    fn end_the_rest(&mut self) -> io::Result<Vec<u32>> {
        let begun = clock::monotonic_ms();
        let (deadline, last_lines) = (begun + millis(AFTER_KILL), begun + millis(LAST_LINES));
        loop {
            self.reap();
            let mut left = proc::children(std::process::id())?;
            left.retain(|pid| !self.foreign.contains(pid));
            let loggers: Vec<u32> = left.iter().copied().filter(|pid| is_logger(*pid)).collect();
            if loggers.len() == left.len() && !left.is_empty() && clock::monotonic_ms() < last_lines {
                let pidfds: Vec<Pidfd> = loggers.iter().filter_map(|pid| Pidfd::open(*pid).ok()).collect();
                pidfd::wait_all(&pidfds, last_lines)?;
                continue;
            }
            if clock::monotonic_ms() < last_lines {
                left.retain(|pid| !loggers.contains(pid));
            }
            if left.is_empty() || clock::monotonic_ms() >= deadline {
                return Ok(left);
            }
            // Children of ours keep their numbers until we reap them.
            let pidfds: Vec<Pidfd> = left.iter().filter_map(|pid| Pidfd::open(*pid).ok()).collect();
            for pidfd in &pidfds {
                drop(pidfd.signal(SIGKILL));
            }
            pidfd::wait_all(&pidfds, deadline)?;
        }
    }
}

fn is_logger(pid: u32) -> bool {
    let mut reader = proc::Reader::default();
    reader.arguments(pid).is_ok_and(|mut words| words.nth(1) == Some(b"logger"))
}

fn millis(length: Duration) -> u64 {
    u64::try_from(length.as_millis()).unwrap_or(u64::MAX)
}
