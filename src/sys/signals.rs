//! Signals as readable records for an event loop (`signalfd`), with their senders, and the dispositions of this process.
//!
//! By system calls with the kernel's own sets, 64 bits: the C library's and nix's have no place for every real-time signal.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

pub use libc::{
    SIGCHLD, SIGCONT, SIGHUP, SIGINT, SIGKILL, SIGPIPE, SIGQUIT, SIGTERM, SIGTTIN, SIGTTOU, SIGUSR1, SIGXFSZ,
};

/// The last signal that the kernel has.
const LAST: i32 = 64;
/// The size of the kernel's signal sets, in bytes.
const SET_BYTES: usize = size_of::<u64>();
/// How many signals are taken at once. The rest stays for the next turn, so that a flood of real-time signals, each of which
/// the kernel keeps, delays nothing else. Lower numbers come first: SIGCHLD is never behind them.
const MOST_AT_ONCE: usize = 32;

/// A signal that has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrived {
    /// Its number.
    pub signal: i32,
    /// The process that sent it; `None`: the kernel itself, for a terminal, a timer, a limit or a child.
    pub sender: Option<Sender>,
}

/// The process that sent a signal, as the kernel says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sender {
    /// Its pid; 0 when it is in another pid namespace.
    pub pid: u32,
    /// Its real uid.
    pub uid: u32,
}

/// Signals of this process that have no other effect any more: readable when one has arrived.
pub struct Signals(OwnedFd);

impl Signals {
    /// Catches `signals` and unblocks all others (our own exec blocks all across itself).
    ///
    /// They are blocked, and members must not inherit that: [`reset`] is for them.
    ///
    /// # Errors
    /// The kernel's.
    pub fn catch(signals: &[i32]) -> io::Result<Self> {
        let set = signals.iter().filter(|signal| (1..=LAST).contains(*signal)).fold(0_u64, |set, one| set | bit(*one));
        let flags = libc::SFD_NONBLOCK | libc::SFD_CLOEXEC;
        // SAFETY: reads one signal set from a live variable of the size given.
        let number = unsafe { libc::syscall(libc::SYS_signalfd4, -1, &raw const set, SET_BYTES, flags) };
        let number = RawFd::try_from(Errno::result(number)?).map_err(|_| Errno::EBADF)?;
        // SAFETY: the kernel has just made this descriptor for us.
        let descriptor = unsafe { OwnedFd::from_raw_fd(number) };
        let (how, old) = (libc::SIG_SETMASK, std::ptr::null_mut::<u64>());
        // SAFETY: likewise; a null old set is allowed.
        let masked = unsafe { libc::syscall(libc::SYS_rt_sigprocmask, how, &raw const set, old, SET_BYTES) };
        Errno::result(masked)?;
        Ok(Signals(descriptor))
    }

    /// What has arrived since the last call, at most [`MOST_AT_ONCE`]. Equal signals below the real-time ones that arrived
    /// together are one, as in the kernel, and the first one's sender is known.
    pub fn take(&mut self) -> Vec<Arrived> {
        const ONE: usize = size_of::<libc::signalfd_siginfo>();
        let mut bytes = [0_u8; MOST_AT_ONCE * ONE];
        // EAGAIN: nothing has.
        let read = nix::unistd::read(&self.0, &mut bytes).unwrap_or(0);
        let records = bytes[..read.min(bytes.len())].chunks_exact(ONE);
        records
            .map(|record| {
                // SAFETY: the kernel has filled these bytes with this struct, which is numbers throughout.
                let info = unsafe { record.as_ptr().cast::<libc::signalfd_siginfo>().read_unaligned() };
                arrived(&info)
            })
            .collect()
    }
}

fn arrived(info: &libc::signalfd_siginfo) -> Arrived {
    // Only these come from a process; in others the field of the pid means something else.
    let is_sent = [libc::SI_USER, libc::SI_QUEUE, libc::SI_TKILL].contains(&info.ssi_code);
    let sender = is_sent.then_some(Sender { pid: info.ssi_pid, uid: info.ssi_uid });
    Arrived { signal: i32::try_from(info.ssi_signo).unwrap_or(0), sender }
}

/// A signal in the kernel's set.
const fn bit(signal: i32) -> u64 {
    1 << (signal - 1)
}

/// Every signal that a process can do without: not what the kernel says of a fault in it, and not job control at a terminal
/// (TSTP stops, CONT goes on). What only tells something and does nothing (URG, WINCH) is left to itself.
#[must_use]
pub fn all_but_faults() -> Vec<i32> {
    let spared = [libc::SIGKILL, libc::SIGSTOP, libc::SIGTSTP, SIGCONT, libc::SIGURG, libc::SIGWINCH];
    (1..=LAST).filter(|signal| !is_fault(*signal) && !spared.contains(signal)).collect()
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Is this signal ignored, as SIGHUP is under `nohup`? Then the user wants it to stay so.
#[must_use]
pub fn is_ignored(signal: i32) -> bool {
    // SAFETY: sigaction with a null new action only reads; the old action is plain memory of the right type.
    unsafe {
        let mut old: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal, std::ptr::null(), &raw mut old) == 0 && old.sa_sigaction == libc::SIG_IGN
    }
}

/// Ignores SIGPIPE and SIGXFSZ: a closed pipe and a full quota are errors of a write, not the end of the master.
///
/// # Errors
/// The kernel's.
pub fn ignore_write_signals() -> io::Result<()> {
    let ignore = SigAction::new(SigHandler::SigIgn, SaFlags::empty(), SigSet::empty());
    for signal in [Signal::SIGPIPE, Signal::SIGXFSZ] {
        // SAFETY: ignoring installs no code.
        unsafe { sigaction(signal, &ignore) }?;
    }
    Ok(())
}

/// Ignores what closes whole groups of processes.
///
/// # Errors
/// The kernel's.
pub fn ignore_closing_signals() -> io::Result<()> {
    let ignore = SigAction::new(SigHandler::SigIgn, SaFlags::empty(), SigSet::empty());
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGUSR1, Signal::SIGUSR2] {
        // SAFETY: ignoring installs no code.
        unsafe { sigaction(signal, &ignore) }?;
    }
    Ok(())
}

/// Lets children that end be waited for: under an ignored SIGCHLD, which an exec inherits, the kernel reaps them itself.
///
/// # Errors
/// The kernel's.
pub fn keep_ended_children() -> io::Result<()> {
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    // SAFETY: the default disposition installs no code.
    unsafe { sigaction(Signal::SIGCHLD, &default) }?;
    Ok(())
}

/// The name of a signal: `SIGTERM`, `SIGRTMIN+3`, or `signal 32` for the two that the C library keeps for itself.
#[must_use]
pub fn name(signal: i32) -> String {
    let lowest = libc::SIGRTMIN();
    match Signal::try_from(signal) {
        Ok(known) => known.as_str().to_owned(),
        Err(_) if signal == lowest => "SIGRTMIN".to_owned(),
        Err(_) if (lowest..=libc::SIGRTMAX()).contains(&signal) => format!("SIGRTMIN+{}", signal - lowest),
        Err(_) => format!("signal {signal}"),
    }
}

/// Does the kernel send this signal to a process for a fault of its own?
#[must_use]
pub fn is_fault(signal: i32) -> bool {
    use libc::{SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGSYS, SIGTRAP};
    [SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGSYS, SIGTRAP].contains(&signal)
}

/// The signals of a child between fork and exec: every one to its default, and none blocked. What a `nohup` or a shell's trap
/// made us ignore is not the child's business, nor what we block to read it. Async-signal-safe.
///
/// By the system calls themselves: the C library refuses the two signals that it keeps for its threads, and one that was
/// ignored would stay ignored. (std empties the mask only on some of its ways to spawn.)
pub fn reset() {
    // The kernel's `struct sigaction` on every architecture: SIG_DFL, no flags, an empty mask.
    let default = [0_u64; 8];
    let old = std::ptr::null_mut::<u64>();
    for signal in 1..=LAST {
        // SAFETY: the kernel reads its struct, at most 64 bytes, from a live array. EINVAL for KILL and STOP is harmless.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), old, SET_BYTES) };
    }
    // SAFETY: the kernel reads one set from the same array.
    unsafe { libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, default.as_ptr(), old, SET_BYTES) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_process_can_do_without_is_everything_but_faults_and_job_control() {
        let all = all_but_faults();
        for wanted in
            [libc::SIGUSR2, libc::SIGALRM, libc::SIGPWR, libc::SIGIO, libc::SIGPIPE, SIGTTIN, SIGTTOU, 32, 33, 64]
        {
            assert!(all.contains(&wanted), "{wanted}");
        }
        for spared in [libc::SIGSEGV, libc::SIGABRT, SIGKILL, SIGCONT, libc::SIGTSTP] {
            assert!(!all.contains(&spared), "{spared}");
        }
    }

    #[test]
    fn every_signal_has_a_name() {
        let lowest = libc::SIGRTMIN();
        assert_eq!(name(15), "SIGTERM");
        assert_eq!((name(lowest), name(lowest + 3)), ("SIGRTMIN".to_owned(), "SIGRTMIN+3".to_owned()));
        assert_eq!(name(64), format!("SIGRTMIN+{}", 64 - lowest));
        assert_eq!((name(32), name(65)), ("signal 32".to_owned(), "signal 65".to_owned()));
    }
}
