//! Ended children: collected without waiting, with every number that a wait status can hold.
#![allow(unsafe_code)]

use std::io;

use nix::errno::Errno;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With this code.
    Code(i32),
    /// By this signal, real-time ones included.
    Signal(i32),
}

/// What a look at the children found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reaped {
    /// This child had ended, and is collected.
    Child(u32, Ended),
    /// There are children, and none has ended.
    NotYet,
    /// There is no child.
    NoChildren,
}

/// Collects one ended child of any kind, without waiting.
///
/// The fields of `siginfo_t` are read as they are: nix's `WaitStatus` has no name for signals above 31 and refuses such a
/// status after the kernel has already forgotten the child.
///
/// # Errors
/// The kernel's refusal to look at all. That there is no child is no error.
pub fn reap() -> io::Result<Reaped> {
    loop {
        // SAFETY: all zero bytes are a valid siginfo_t.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        // SAFETY: waitid writes one siginfo_t to the address given, which is that of a live one.
        let result = unsafe { libc::waitid(libc::P_ALL, 0, &raw mut info, libc::WEXITED | libc::WNOHANG) };
        match Errno::result(result) {
            Ok(_) => return Ok(read(&info)),
            Err(Errno::EINTR) => {}
            Err(Errno::ECHILD) => return Ok(Reaped::NoChildren),
            Err(refused) => return Err(refused.into()),
        }
    }
}

fn read(info: &libc::siginfo_t) -> Reaped {
    // SAFETY: waitid has filled these two fields, or left them zero because no child had ended.
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    match u32::try_from(pid) {
        Ok(pid @ 1..) if info.si_code == libc::CLD_EXITED => Reaped::Child(pid, Ended::Code(status)),
        // CLD_KILLED or CLD_DUMPED: with WEXITED alone there is no other.
        Ok(pid @ 1..) => Reaped::Child(pid, Ended::Signal(status)),
        Ok(0) | Err(_) => Reaped::NotYet,
    }
}
