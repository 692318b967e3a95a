//! Signals as readable bytes for the event loop (signal-hook), and the dispositions of this process.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal, sigaction, sigprocmask};
use signal_hook::iterator::backend::SignalDelivery;
use signal_hook::iterator::exfiltrator::SignalOnly;

pub use signal_hook::consts::signal::{SIGCHLD, SIGCONT, SIGHUP, SIGINT, SIGKILL, SIGQUIT, SIGTERM, SIGUSR1};

/// The signals of this process, caught: readable when one has arrived.
pub struct Signals {
    delivery: SignalDelivery<UnixStream, SignalOnly>,
}

impl Signals {
    /// Catches `signals` and unblocks all (our own exec blocks them across itself).
    ///
    /// # Errors
    /// The kernel's.
    pub fn catch(signals: &[i32]) -> io::Result<Self> {
        let (read, write) = UnixStream::pair()?;
        write.set_nonblocking(true)?;
        let delivery = SignalDelivery::with_pipe(read, write, SignalOnly, signals)?;
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
        Ok(Signals { delivery })
    }

    /// What has arrived since the last call. Equal signals that arrived together are one, as in the kernel.
    pub fn take(&mut self) -> Vec<i32> {
        self.delivery.pending().collect()
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.delivery.get_read().as_fd()
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

/// The last signal that the kernel has.
const LAST: i32 = 64;

/// Every signal to its default, for a child between fork and exec: what a `nohup` or a shell's trap made us ignore is not
/// the child's business. Async-signal-safe.
///
/// By the system call itself: the C library refuses the two signals that it keeps for its threads, and an ignored one
/// would stay ignored.
pub fn reset_dispositions() {
    // The kernel's `struct sigaction` on every architecture: SIG_DFL, no flags, an empty mask.
    let default = [0_u64; 8];
    for signal in 1..=LAST {
        let (new, old) = (default.as_ptr(), std::ptr::null_mut::<u64>());
        // SAFETY: the kernel reads its struct, at most 64 bytes, from a live array; 8 is the size of its signal sets.
        // EINVAL for KILL and STOP is harmless.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, new, old, 8_usize) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_signal_has_a_name() {
        let lowest = libc::SIGRTMIN();
        assert_eq!(name(15), "SIGTERM");
        assert_eq!((name(lowest), name(lowest + 3)), ("SIGRTMIN".to_owned(), "SIGRTMIN+3".to_owned()));
        assert_eq!(name(64), format!("SIGRTMIN+{}", 64 - lowest));
        assert_eq!((name(32), name(65)), ("signal 32".to_owned(), "signal 65".to_owned()));
    }
}
