//! Writing lines to the standard streams without panic and, in the master, without waiting for a reader.
#![allow(unsafe_code)]

use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// What a pipe takes whole when it says it is writable (PIPE_BUF).
const WHOLE: usize = 4096;

/// Writes `line` if `stream` takes it at once; false when it was dropped. The stream is not made non-blocking: that would
/// change it for the members, who share it. A pipe that polls writable takes [`WHOLE`] bytes without waiting.
pub fn write_at_once(stream: BorrowedFd<'_>, line: &[u8]) -> bool {
    line.chunks(WHOLE).all(|chunk| {
        let mut polled = [PollFd::new(stream, PollFlags::POLLOUT)];
        let writable = poll(&mut polled, PollTimeout::ZERO).is_ok_and(|ready| ready == 1)
            && polled[0].revents().is_some_and(|events| events.contains(PollFlags::POLLOUT));
        writable && nix::unistd::write(stream, chunk).is_ok_and(|written| written == chunk.len())
    })
}

/// Is stdout kept for [`deliver`]?
static IS_KEPT: AtomicBool = AtomicBool::new(false);

/// While stdout is kept, [`say`] says nothing: a program reads stdout, and what it gets is [`deliver`]ed.
pub fn keep_stdout(is_kept: bool) {
    IS_KEPT.store(is_kept, Ordering::Relaxed);
}

/// Writes a line of a command's story to stdout. A closed or full stdout is no failure: the exit code says what was done.
pub fn say(line: impl std::fmt::Display) {
    if !IS_KEPT.load(Ordering::Relaxed) {
        drop(writeln!(io::stdout(), "{line}"));
    }
}

/// Writes all of this to stdout, and waits for its reader: what a program reads must be whole.
///
/// # Errors
/// Stdout does not take it.
pub fn deliver(text: &[u8]) -> io::Result<()> {
    let stdout = io::stdout();
    stdout.lock().flush()?;
    let mut left = text;
    while !left.is_empty() {
        match nix::unistd::write(stdout.as_fd(), left) {
            Ok(written) => left = left.get(written..).unwrap_or_default(),
            Err(Errno::EINTR) => {}
            // Another process has made the pipe non-blocking.
            Err(Errno::EAGAIN) => {
                let mut polled = [PollFd::new(stdout.as_fd(), PollFlags::POLLOUT)];
                poll(&mut polled, PollTimeout::NONE)
                    .or_else(|errno| if errno == Errno::EINTR { Ok(0) } else { Err(errno) })?;
            }
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

/// [`deliver`]s a line.
///
/// # Errors
/// Stdout does not take it.
pub fn deliver_line(line: impl std::fmt::Display) -> io::Result<()> {
    deliver(format!("{line}\n").as_bytes())
}

/// Writes a line to stderr; likewise.
pub fn complain(line: impl std::fmt::Display) {
    drop(writeln!(io::stderr(), "{line}"));
}

/// Is this stream a terminal?
#[must_use]
pub fn is_terminal(stream: impl AsFd) -> bool {
    nix::unistd::isatty(stream).unwrap_or(false)
}

/// How many columns this terminal has; `None` where it does not say, or is none.
#[must_use]
pub fn columns(stream: impl AsFd) -> Option<u16> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the descriptor is open for the call, and the kernel writes one `winsize` into ours.
    let done = unsafe { libc::ioctl(stream.as_fd().as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) };
    (done == 0 && size.ws_col > 0).then_some(size.ws_col)
}
