//! What is dropped while a file takes nothing: counted, and told in the log once there is room.

use std::io;
use std::os::fd::AsFd;

use nix::errno::Errno;

use super::tools::Tools;
use crate::sys::clock;

/// Lines that are being dropped.
#[derive(Debug)]
pub struct Loss {
    since: String,
    until: String,
    why: String,
    bytes: u64,
    lines: u64,
    /// Was the last byte the end of a line?
    whole: bool,
}

impl Loss {
    /// From now on.
    #[must_use]
    pub fn begin(error: &io::Error) -> Self {
        let why =
            error.raw_os_error().map_or_else(|| error.to_string(), |errno| Errno::from_raw(errno).desc().to_owned());
        let since = clock::log_time();
        Loss { until: since.clone(), since, why, bytes: 0, lines: 0, whole: true }
    }

    /// Takes at most `most` bytes from the pipe and forgets them.
    pub fn take(&mut self, pipe: impl AsFd, most: usize, tools: &mut Tools) -> usize {
        // proof: room and what is read into it are no longer than the buffer.
        let room = tools.buffer.len().min(most);
        let read = nix::unistd::read(pipe, &mut tools.buffer[..room]).unwrap_or(0);
        self.count(&tools.buffer[..read]);
        // An error must not be asked for ever in one turn.
        if read == 0 { most } else { read }
    }

    fn count(&mut self, bytes: &[u8]) {
        if let Some(last) = bytes.last() {
            self.whole = *last == b'\n';
            self.bytes += bytes.len() as u64;
            self.lines += memchr::memchr_iter(b'\n', bytes).count() as u64;
            self.until = clock::log_time();
        }
    }

    /// Drops the rest of a line of which the beginning is dropped; false when its end has not come yet.
    pub fn ends_a_line(&mut self, pipe: impl AsFd, tools: &mut Tools) -> bool {
        while !self.whole {
            let Ok(peeked) = tools.peek(&pipe, usize::MAX) else { return false };
            let line = memchr::memchr(b'\n', peeked).map_or(peeked.len(), |at| at + 1);
            if line == 0 {
                return false;
            }
            self.take(&pipe, line, tools);
        }
        true
    }

    /// How many bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many ends of lines.
    #[must_use]
    pub fn lines(&self) -> u64 {
        self.lines
    }

    /// What the log says of it.
    #[must_use]
    pub fn line(&self) -> String {
        let Loss { since, until, why, bytes, lines, .. } = self;
        let pid = std::process::id();
        let now = clock::log_time();
        format!("{now} WARN {pid} [logger] {bytes} bytes in {lines} lines were dropped from {since} to {until}: {why}")
    }
}
