//! Ending one application for certain: TERM to whoever answers for it, KILL at the deadline, then everything of it that
//! was left behind. Each process is held by a pidfd from before its first signal, so that none is met by mistake.

use std::collections::BTreeSet;
use std::io;

use nix::errno::Errno;

use super::masters::{self, Application, Kind, Running};
use super::user;
use crate::sys::clock::monotonic_ms;
use crate::sys::pidfd::{self, Pidfd};
use crate::sys::proc::{self, Reader};
use crate::sys::signals::{SIGCONT, SIGKILL, SIGTERM};
use crate::sys::user::owns;

/// What is added to the graces of a master before KILL, in milliseconds.
const SPARE_MS: u64 = 2_000;
/// How long a process that was left behind has from TERM to KILL, in milliseconds.
const LEFT_BEHIND_GRACE_MS: u64 = 1_000;
/// How long the kernel may take to end what was killed, in milliseconds.
const AFTER_KILL_MS: u64 = 5_000;
/// How often it is told how many are left, in milliseconds.
const TELL_EACH_MS: u64 = 250;
/// How long to go after what is left in all, in milliseconds: something may fork faster than it is killed.
const CLEARING_MS: u64 = 10_000;

/// A process, held.
#[derive(Debug)]
struct Held {
    pid: u32,
    process: Pidfd,
}

impl Held {
    /// Holds the process of this pid; `None` when it has gone or `is_it` says that it is another one.
    fn open(pid: u32, is_it: impl FnOnce() -> bool) -> io::Result<Option<Self>> {
        let process = match Pidfd::open(pid) {
            Err(error) if error.raw_os_error() == Some(Errno::ESRCH as i32) => return Ok(None),
            opened => opened?,
        };
        Ok((is_it() && !process.has_ended()).then_some(Held { pid, process }))
    }

    fn open_since(pid: u32, start_ticks: u64) -> io::Result<Option<Self>> {
        Self::open(pid, || proc::start_ticks(pid).is_ok_and(|ticks| ticks == start_ticks))
    }

    /// Signals it; false when that is not permitted. A stopped process would sleep over its TERM: it is woken. Its state
    /// is not asked: a STOP may be on its way still, and CONT takes that back too.
    fn signal(&self, signal: i32) -> bool {
        let denied =
            |result: io::Result<()>| result.is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied);
        if denied(self.process.signal(signal)) {
            return false;
        }
        if signal == SIGTERM {
            drop(self.process.signal(SIGCONT));
        }
        true
    }
}

/// How it went.
#[derive(Debug, Default)]
pub struct Receipt {
    /// Who answered for the application.
    pub masters: Vec<(Kind, u32)>,
    /// How many processes have gone, these included.
    pub processes: usize,
    /// Masters that had to be killed at the deadline.
    pub killed: Vec<u32>,
    /// Processes that outlived their master and were ended.
    pub left_behind: BTreeSet<u32>,
    /// Those of them that had to be killed.
    pub left_behind_killed: BTreeSet<u32>,
    /// Whom the kernel did not let us signal.
    pub denied: BTreeSet<u32>,
    /// Who is an ancestor of this command and was spared.
    pub spared: Vec<u32>,
    /// Who is alive in spite of everything.
    pub alive: Vec<u32>,
    /// Milliseconds from the first signal to the end.
    pub took_ms: u64,
}

/// An application that has been told to end.
#[derive(Debug)]
pub struct Ending {
    masters: Vec<Held>,
    tree: Vec<Held>,
    /// Processes below the masters that belong to another user as well.
    not_theirs: Vec<Held>,
    cookies: BTreeSet<String>,
    own_line: Vec<u32>,
    begun_ms: u64,
    deadline_ms: u64,
    receipt: Receipt,
}

impl Ending {
    /// Sends TERM to those who answer for the application. `timeout_ms` replaces their own graces.
    ///
    /// # Errors
    /// When the kernel refuses descriptors.
    pub fn begin(application: &Application, timeout_ms: Option<u64>) -> io::Result<Self> {
        let mut ending = Ending {
            masters: Vec::new(),
            tree: Vec::new(),
            not_theirs: Vec::new(),
            cookies: application.cookies.iter().cloned().collect(),
            own_line: proc::self_and_ancestors(),
            begun_ms: monotonic_ms(),
            deadline_ms: 0,
            receipt: Receipt::default(),
        };
        ending.terminate(&application.running, timeout_ms)?;
        Ok(ending)
    }

    /// Holds the masters and all below them, then sends TERM to the masters.
    fn terminate(&mut self, running: &[Running], timeout_ms: Option<u64>) -> io::Result<()> {
        let first = self.masters.len();
        for Running { kind, pid, start_ticks, .. } in running {
            if self.own_line.contains(pid) {
                self.receipt.spared.push(*pid);
            } else if let Some(master) = Held::open_since(*pid, *start_ticks)? {
                self.receipt.masters.push((*kind, *pid));
                self.masters.push(master);
            }
        }
        for master in self.masters.iter().skip(first) {
            for pid in proc::descendants(master.pid) {
                let is_known = |held: &Held| held.pid == pid;
                let mut known = self.masters.iter().chain(&self.tree).chain(&self.not_theirs);
                if self.own_line.contains(&pid) || known.any(is_known) {
                    continue;
                }
                let Ok(start_ticks) = proc::start_ticks(pid) else { continue };
                let held = Held::open_since(pid, start_ticks)?;
                // The kernel lets a user signal the set-uid programs that it has started. Root in that user's name leaves
                // alone what is not the user's in every way.
                let is_theirs = !user::is_another() || owns(user::uid(), pid);
                if is_theirs { &mut self.tree } else { &mut self.not_theirs }.extend(held);
            }
        }
        let graces = running.iter().map(|running| running.close_grace_ms).max().unwrap_or(0).saturating_add(SPARE_MS);
        self.deadline_ms = monotonic_ms().saturating_add(timeout_ms.unwrap_or(graces));
        for master in self.masters.iter().skip(first).filter(|master| !master.signal(SIGTERM)) {
            self.receipt.denied.insert(master.pid);
        }
        Ok(())
    }

    /// Waits for the masters, and tells how many processes are left of how many; KILL at the deadline.
    ///
    /// # Errors
    /// When the kernel refuses to poll.
    pub fn await_masters(&mut self, mut tell: impl FnMut(usize, usize)) -> io::Result<()> {
        let denied = &self.receipt.denied;
        let waited_for = || self.masters.iter().filter(|master| !denied.contains(&master.pid));
        let all = || self.masters.iter().chain(&self.tree);
        let mut have_ended = false;
        while !have_ended && monotonic_ms() < self.deadline_ms {
            tell(all().filter(|held| !held.process.has_ended()).count(), all().count());
            let next_ms = self.deadline_ms.min(monotonic_ms() + TELL_EACH_MS);
            have_ended = pidfd::wait_all(waited_for().map(|master| &master.process), next_ms)?;
        }
        if !pidfd::wait_all(waited_for().map(|master| &master.process), self.deadline_ms)? {
            for master in waited_for().filter(|master| !master.process.has_ended()) {
                master.signal(SIGKILL);
                self.receipt.killed.push(master.pid);
            }
            pidfd::wait_all(waited_for().map(|master| &master.process), monotonic_ms() + AFTER_KILL_MS)?;
        }
        Ok(())
    }

    /// Is this record's process of an instance that is being ended, and not told yet? (A parent told just when its start
    /// succeeded leaves the master running.)
    #[must_use]
    pub fn is_unfinished(&self, cookie: &str, pid: u32) -> bool {
        self.cookies.contains(cookie)
            && self.receipt.masters.iter().all(|(_, told)| *told != pid)
            && !self.own_line.contains(&pid)
    }

    /// Sends TERM to somebody more who answers for the application.
    ///
    /// # Errors
    /// As [`Self::begin`].
    pub fn go_on_with(&mut self, running: &Running, timeout_ms: Option<u64>) -> io::Result<()> {
        self.terminate(std::slice::from_ref(running), timeout_ms)
    }

    /// Ends what the masters have left behind, and says how it all went.
    ///
    /// # Errors
    /// When /proc cannot be read, or the kernel refuses descriptors.
    pub fn finish(mut self) -> io::Result<Receipt> {
        // While a master runs that could not be told to end, its members are not left behind.
        if self.receipt.denied.is_empty() && self.receipt.spared.is_empty() {
            self.clear()?;
        }
        let spared = self.not_theirs.iter().filter(|held| !held.process.has_ended());
        self.receipt.denied.extend(spared.map(|held| held.pid));
        let alive = self.masters.iter().filter(|master| !master.process.has_ended()).map(|master| master.pid);
        let alive: Vec<u32> = alive.filter(|pid| !self.receipt.denied.contains(pid)).collect();
        self.receipt.alive.extend(alive);
        self.receipt.took_ms = monotonic_ms().saturating_sub(self.begun_ms);
        let held = self.masters.iter().chain(&self.tree);
        self.receipt.processes = held.filter(|held| held.process.has_ended()).count();
        Ok(self.receipt)
    }

    /// TERM, then KILL, to everything that is left, until nothing is: what is found may have forked meanwhile.
    fn clear(&mut self) -> io::Result<()> {
        let end_by_ms = monotonic_ms() + CLEARING_MS;
        let mut signals: &[(i32, u64)] = &[(SIGTERM, LEFT_BEHIND_GRACE_MS), (SIGKILL, AFTER_KILL_MS)];
        loop {
            self.find_bearers()?;
            let Receipt { left_behind, left_behind_killed, denied, alive, .. } = &mut self.receipt;
            let mut left: Vec<&Held> = self.tree.iter().filter(|held| !held.process.has_ended()).collect();
            left.retain(|held| !denied.contains(&held.pid));
            if left.is_empty() {
                return Ok(());
            }
            left_behind.extend(left.iter().map(|held| held.pid));
            if monotonic_ms() >= end_by_ms {
                alive.extend(left.iter().map(|held| held.pid));
                return Ok(());
            }
            for (signal, grace_ms) in signals {
                for held in left.iter().filter(|held| !held.process.has_ended()) {
                    if !held.signal(*signal) {
                        denied.insert(held.pid);
                    } else if *signal == SIGKILL {
                        left_behind_killed.insert(held.pid);
                    }
                }
                left.retain(|held| !denied.contains(&held.pid));
                pidfd::wait_all(left.iter().map(|held| &held.process), monotonic_ms() + grace_ms)?;
            }
            signals = &[(SIGKILL, AFTER_KILL_MS)];
        }
    }

    /// Adds every process that bears a cookie of the application: its environment came from there, whoever its parent
    /// is now.
    fn find_bearers(&mut self) -> io::Result<()> {
        if self.cookies.is_empty() {
            return Ok(());
        }
        let mut reader = Reader::default();
        for pid in proc::pids()? {
            let mut bears = |pid| masters::bears(&mut reader, pid, &self.cookies);
            let is_known = |held: &Held| held.pid == pid && !held.process.has_ended();
            if !bears(pid) || self.own_line.contains(&pid) || self.masters.iter().chain(&self.tree).any(is_known) {
                continue;
            }
            // A set-uid program keeps the environment of the user who started it.
            self.tree.extend(Held::open(pid, || bears(pid) && owns(user::uid(), pid))?);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Child, Command, Stdio};

    use super::*;
    use crate::state::COOKIE;

    /// A shell that runs `script` with this cookie, and has said that it is up.
    fn shell(script: &str, cookie: &str) -> Child {
        let mut child = Command::new("/bin/sh")
            .args(["-c", &format!("{script}\nread _")])
            .env(COOKIE, cookie)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        child
    }

    fn cookie() -> String {
        crate::state::new_cookie(&"svc".to_owned().try_into().unwrap()).unwrap()
    }

    fn running(pid: u32) -> Running {
        let start_ticks = proc::start_ticks(pid).unwrap();
        Running { kind: Kind::Master, pid, start_ticks, close_grace_ms: 60_000 }
    }

    fn end(application: &Application, timeout_ms: Option<u64>) -> Receipt {
        let mut ending = Ending::begin(application, timeout_ms).unwrap();
        ending.await_masters(|_, _| {}).unwrap();
        ending.finish().unwrap()
    }

    #[test]
    fn what_bears_the_cookie_of_a_dead_instance_is_ended_and_nothing_else() {
        let (ours, others) = (cookie(), cookie());
        let mut polite = shell("echo", &ours);
        let mut stubborn = shell("trap '' TERM; echo; read _; read _", &ours);
        let mut stranger = shell("echo", &others);
        let receipt = end(&Application { cookies: vec![ours], ..Application::default() }, None);
        assert_eq!(receipt.left_behind, BTreeSet::from([polite.id(), stubborn.id()]));
        assert_eq!(receipt.left_behind_killed, BTreeSet::from([stubborn.id()]));
        assert_eq!((receipt.processes, receipt.alive), (2, vec![]));
        assert_eq!(polite.wait().unwrap().signal(), Some(SIGTERM));
        assert_eq!(stubborn.wait().unwrap().signal(), Some(SIGKILL));
        assert!(stranger.try_wait().unwrap().is_none());
        drop(stranger.stdin.take());
        assert!(stranger.wait().unwrap().signal().is_none());
    }

    #[test]
    fn a_master_deaf_to_term_is_killed_at_the_deadline_and_its_tree_goes_with_it() {
        let mut master = shell("trap '' TERM; sleep 1000 & echo; read _", "");
        let child = proc::children(master.id()).unwrap();
        assert_eq!(child.len(), 1);
        let receipt = end(&Application { running: vec![running(master.id())], ..Application::default() }, Some(50));
        assert_eq!(receipt.killed, [master.id()]);
        assert_eq!(receipt.left_behind, child.into_iter().collect());
        assert_eq!((receipt.processes, receipt.alive), (2, vec![]));
        assert_eq!(master.wait().unwrap().signal(), Some(SIGKILL));
    }

    #[test]
    fn a_stopped_master_is_woken_to_end_in_order() {
        let mut master = shell("trap 'exit 7' TERM; echo; read _", "");
        let pidfd = Pidfd::open(master.id()).unwrap();
        pidfd.signal(nix::libc::SIGSTOP).unwrap();
        while proc::stat(master.id()).unwrap().state != 'T' {}
        let receipt = end(&Application { running: vec![running(master.id())], ..Application::default() }, None);
        assert_eq!((receipt.killed, receipt.alive), (vec![], vec![]));
        assert_eq!(master.wait().unwrap().code(), Some(7));
    }

    #[test]
    fn another_process_with_the_same_pid_is_left_alone() {
        let mut innocent = shell("echo", "");
        let mut before = running(innocent.id());
        before.start_ticks -= 1;
        let receipt = end(&Application { running: vec![before], ..Application::default() }, None);
        assert_eq!((receipt.processes, receipt.masters), (0, vec![]));
        assert!(innocent.try_wait().unwrap().is_none());
        drop(innocent.stdin.take());
        innocent.wait().unwrap();
    }

    #[test]
    fn this_command_and_its_ancestors_are_spared_even_with_the_cookie() {
        let parent = std::os::unix::process::parent_id();
        let receipt = end(&Application { running: vec![running(parent)], ..Application::default() }, None);
        assert_eq!((receipt.spared, receipt.processes), (vec![parent], 0));
    }
}
