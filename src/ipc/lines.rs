//! Cuts the byte stream of a channel into frames: one JSON text and a newline each, split anywhere by the kernel.

/// The longest frame that is kept, in bytes: a longer one is skipped to its end and told once.
pub const LONGEST_FRAME: usize = 64 * 1024 * 1024;

/// Collects bytes and gives back whole lines. The scan for the newline resumes where it stopped (a re-scan is quadratic).
#[derive(Debug, Default)]
pub struct Lines {}

/// A frame was longer than the limit and was skipped; so many bytes of it were dropped.
#[derive(Debug, PartialEq, Eq)]
pub struct TooLong {
    /// Bytes dropped, the newline included.
    pub bytes: usize,
}

impl Lines {
    /// An empty collector with a limit of `longest` bytes per line.
    #[must_use]
    pub fn new(longest: usize) -> Self {
        todo!("{longest}")
    }

    /// Adds what was read.
    pub fn feed(&mut self, bytes: &[u8]) {
        todo!("{}", bytes.len())
    }

    /// The next whole line without its newline, or `None` until more is fed.
    pub fn next_line(&mut self) -> Option<Result<&[u8], TooLong>> {
        todo!()
    }

    /// Bytes of an unfinished line that are held.
    #[must_use]
    pub fn pending(&self) -> usize {
        todo!()
    }
}
