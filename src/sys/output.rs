//! Writing lines to the standard streams without panic and, in the master, without waiting for a reader.

use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};

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

/// Writes a line to stdout; a closed or full stdout is not our failure.
pub fn say(line: impl std::fmt::Display) {
    drop(writeln!(io::stdout(), "{line}"));
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
