//! A lock on a whole file that lives as long as any copy of its descriptor: through fork, exec and the end of the process
//! that took it.
//!
//! An "open file description" lock, not `flock(2)`, because this one can be asked about without being taken: a `stop` that
//! looks must not make a `start` of the same moment believe that the title is in use.

use std::io;
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};

/// Takes the lock without waiting; false when somebody else holds it. The descriptor must be writable.
///
/// # Errors
/// When the file system has no locks (`ENOLCK`, `EINVAL`).
pub fn try_lock(file: impl AsFd) -> io::Result<bool> {
    match fcntl(file, FcntlArg::F_OFD_SETLK(&whole_file())) {
        Ok(_) => Ok(true),
        Err(Errno::EAGAIN | Errno::EACCES) => Ok(false),
        Err(refused) => Err(refused.into()),
    }
}

/// Does somebody else hold the lock?
///
/// # Errors
/// As [`try_lock`].
pub fn is_locked(file: impl AsFd) -> io::Result<bool> {
    let mut lock = whole_file();
    fcntl(file, FcntlArg::F_OFD_GETLK(&mut lock))?;
    Ok(i32::from(lock.l_type) != libc::F_UNLCK)
}

/// An exclusive lock from the first byte to whatever the end will be; `l_pid` must be 0 for this kind.
fn whole_file() -> libc::flock {
    libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    }
}
