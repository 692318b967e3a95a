//! Pipes: made, asked how much waits in them, and emptied into a file without the bytes passing through this process.
#![allow(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, SpliceFFlags, fcntl};

/// How much a log's pipe holds, in bytes, where the kernel allows it: what an unprivileged user may ask for
/// (`fs.pipe-max-size`). Writers then run on while the disk hesitates.
const WANTED_SIZE: i32 = 1024 * 1024;

/// A pipe, `(read end, write end)`, close-on-exec.
///
/// # Errors
/// EMFILE, ENFILE.
pub fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(nix::unistd::pipe2(OFlag::O_CLOEXEC)?)
}

/// The same, larger than the usual 64 KiB. Where the kernel allows no more (`fs.pipe-user-pages-soft`), it stays smaller.
///
/// # Errors
/// EMFILE, ENFILE.
pub fn large_pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = pipe()?;
    let _ = fcntl(&write, FcntlArg::F_SETPIPE_SZ(WANTED_SIZE));
    Ok((read, write))
}

/// How many bytes a pipe holds at most, if every page in it is full; the usual 64 KiB where the kernel does not say.
pub fn capacity(pipe: impl AsFd) -> usize {
    fcntl(pipe, FcntlArg::F_GETPIPE_SZ).ok().and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(64 * 1024)
}

/// Another write end of the same pipe that shares no flags with this one: O_NONBLOCK, which Node sets for a moment, belongs to
/// the open file, and every process that had inherited the same one would find its own writes refused.
///
/// # Errors
/// EMFILE, or when /proc is not there.
pub fn another_end(write: impl AsFd, non_blocking: bool) -> io::Result<OwnedFd> {
    // An open for writing alone would wait for a reader, but the pipe has one: us.
    let flags = if non_blocking { OFlag::O_NONBLOCK } else { OFlag::empty() };
    let path = format!("/proc/self/fd/{}", write.as_fd().as_raw_fd());
    Ok(OpenOptions::new().write(true).custom_flags(flags.bits()).open(path)?.into())
}

/// How many bytes wait in a pipe.
///
/// # Errors
/// The kernel's.
pub fn waiting(pipe: impl AsFd) -> Result<usize, Errno> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: FIONREAD writes one int to the address given, which is that of a live one.
    Errno::result(unsafe { libc::ioctl(pipe.as_fd().as_raw_fd(), libc::FIONREAD, &raw mut bytes) })?;
    Ok(usize::try_from(bytes).unwrap_or(0))
}

/// Moves at most `most` bytes from a pipe to where `file` stands, without waiting for more. What has been moved is gone from
/// the pipe and is in the file, also when this process is killed in the middle: neither twice nor nowhere. 0: there is no writer.
///
/// # Errors
/// EAGAIN when nothing waits; the file's errors; EINVAL for a file opened with O_APPEND.
pub fn splice(pipe: impl AsFd, file: &File, most: usize) -> Result<usize, Errno> {
    nix::fcntl::splice(pipe, None, file, None, most, SpliceFFlags::SPLICE_F_NONBLOCK | SpliceFFlags::SPLICE_F_MOVE)
}

/// Copies at most `most` bytes from a pipe into another one, and leaves them where they are.
///
/// # Errors
/// EAGAIN when nothing waits or the other one is full.
pub fn tee(pipe: impl AsFd, into: impl AsFd, most: usize) -> Result<usize, Errno> {
    nix::fcntl::tee(pipe, into, most, SpliceFFlags::SPLICE_F_NONBLOCK)
}

/// Sleeps for a fraction of a millisecond, which epoll cannot before Linux 5.11.
pub fn pause(length: Duration) {
    std::thread::sleep(length);
}
