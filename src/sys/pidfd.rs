//! A process by descriptor: a signal sent through it can never reach another process that was given the same pid.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::clock;

/// One process. It is close-on-exec (the kernel's rule for pidfds).
#[derive(Debug)]
pub struct Pidfd(OwnedFd);

impl Pidfd {
    /// Opens the process that has this pid now. The pid may have been reused since it was learnt: compare
    /// [`super::proc::start_ticks`] *after* opening.
    ///
    /// # Errors
    /// `ESRCH` (`io::ErrorKind` has no name for it) when there is none, `EMFILE`, `ENOSYS` before Linux 5.3 or under a
    /// seccomp filter.
    pub fn open(pid: u32) -> io::Result<Self> {
        let pid = libc::pid_t::try_from(pid).map_err(|_| Errno::ESRCH)?;
        // SAFETY: pidfd_open takes two integers and touches no memory of ours.
        let number = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        let number = RawFd::try_from(Errno::result(number)?).map_err(|_| Errno::EBADF)?;
        // SAFETY: the kernel has just made this descriptor for us; nobody else owns it.
        Ok(Pidfd(unsafe { OwnedFd::from_raw_fd(number) }))
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// `ESRCH` when it has ended and was reaped, `EPERM` when it is another user's.
    pub fn signal(&self, signal: i32) -> io::Result<()> {
        let no_siginfo = std::ptr::null::<libc::siginfo_t>();
        // SAFETY: the descriptor is open for the call; a null siginfo is allowed and means "as by kill".
        let sent = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, self.0.as_raw_fd(), signal, no_siginfo, 0) };
        Errno::result(sent)?;
        Ok(())
    }

    /// Has it ended (all its threads, reaped or not)?
    #[must_use]
    pub fn has_ended(&self) -> bool {
        let mut polled = [PollFd::new(self.as_fd(), PollFlags::POLLIN)];
        poll(&mut polled, PollTimeout::ZERO).is_ok_and(|ended| ended == 1)
    }
}

impl From<OwnedFd> for Pidfd {
    /// A pidfd that another process has opened and sent us.
    fn from(descriptor: OwnedFd) -> Self {
        Pidfd(descriptor)
    }
}

impl AsFd for Pidfd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Waits until all have ended or until `deadline_ms` of [`clock::monotonic_ms`]. Says whether all have.
///
/// # Errors
/// The kernel's refusal to poll (`ENOMEM`, or `EINVAL` when RLIMIT_NOFILE was lowered below their number).
pub fn wait_all<'a>(pidfds: impl IntoIterator<Item = &'a Pidfd>, deadline_ms: u64) -> io::Result<bool> {
    let mut alive: Vec<PollFd<'_>> =
        pidfds.into_iter().map(|process| PollFd::new(process.as_fd(), PollFlags::POLLIN)).collect();
    loop {
        let left_ms = deadline_ms.saturating_sub(clock::monotonic_ms());
        if !alive.is_empty() {
            // One whole millisecond more than poll rounds down to; i32::MAX ms are 24 days, then the loop asks again.
            let timeout = i32::try_from(left_ms.saturating_add(u64::from(left_ms > 0))).unwrap_or(i32::MAX);
            match poll(&mut alive, PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX)) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(refused) => return Err(refused.into()),
            }
            alive.retain(|process| process.revents().is_none_or(|events| events.is_empty()));
        }
        if alive.is_empty() || left_ms == 0 {
            return Ok(alive.is_empty());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};

    use super::*;

    fn sleeper() -> Child {
        Command::new("sleep").arg("1000").spawn().unwrap()
    }

    #[test]
    fn a_process_is_waited_for_until_it_has_ended_but_not_reaped() {
        let mut children = [sleeper(), sleeper()];
        let pidfds: Vec<Pidfd> = children.iter().map(|child| Pidfd::open(child.id()).unwrap()).collect();
        assert!(!pidfds[0].has_ended());
        pidfds[0].signal(libc::SIGTERM).unwrap();
        assert!(!wait_all(&pidfds, clock::monotonic_ms() + 20).unwrap(), "the second still runs");
        pidfds[1].signal(libc::SIGKILL).unwrap();
        assert!(wait_all(&pidfds, clock::monotonic_ms() + 60_000).unwrap());
        assert!(pidfds[0].has_ended() && pidfds[1].has_ended());
        children.iter_mut().for_each(|child| drop(child.wait()));
        assert_eq!(pidfds[0].signal(libc::SIGTERM).unwrap_err().raw_os_error(), Some(libc::ESRCH));
    }

    #[test]
    fn a_deadline_in_the_past_asks_once() {
        let mut child = sleeper();
        let process = Pidfd::open(child.id()).unwrap();
        assert!(!wait_all([&process], 0).unwrap());
        process.signal(libc::SIGKILL).unwrap();
        child.wait().unwrap();
        assert!(wait_all([&process], 0).unwrap());
        assert!(wait_all([], 0).unwrap(), "nobody to wait for");
    }

    #[test]
    fn a_pid_that_nobody_has_is_no_such_process() {
        for pid in [u32::MAX, i32::MAX.unsigned_abs()] {
            assert_eq!(Pidfd::open(pid).unwrap_err().raw_os_error(), Some(libc::ESRCH));
        }
    }
}
