//! Cuts the byte stream of a channel into frames: one JSON text and a newline each, split anywhere by the kernel.
//!
//! Bytes are split, never decoded text: JSON escapes newlines, so the byte 0x0A only ever ends a frame.

/// The longest frame that is kept, in bytes: a longer one is skipped to its end and told once.
pub const LONGEST_FRAME: usize = 64 * 1024 * 1024;

/// The room kept between frames, in bytes: one full read of a channel. A rare big frame gives the rest back.
const KEPT_CAPACITY: usize = 64 * 1024;

/// Collects bytes and gives back whole lines. The scan for the newline resumes where it stopped (a re-scan is quadratic).
///
/// After each [`feed`](Self::feed) take lines until there is none: only then are the bytes of taken lines let go.
#[derive(Debug)]
pub struct Lines {
    held: Vec<u8>,
    /// Where the next line begins in `held`.
    begin: usize,
    /// Up to here `held` is known to have no newline since `begin`.
    scanned: usize,
    /// Bytes already dropped of a line that is too long and has not ended; 0 when there is none.
    dropped: usize,
    longest: usize,
}

/// A frame was longer than the limit and was skipped; so many bytes of it were dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong {
    /// Bytes dropped, the newline included.
    pub bytes: usize,
}

impl Default for Lines {
    fn default() -> Self {
        Self::new(LONGEST_FRAME)
    }
}

impl Lines {
    /// An empty collector with a limit of `longest` bytes per line, its newline not counted.
    #[must_use]
    pub fn new(longest: usize) -> Self {
        Lines { held: Vec::new(), begin: 0, scanned: 0, dropped: 0, longest }
    }

    /// Adds what was read.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.held.extend_from_slice(bytes);
    }

    /// The next whole line without its newline, or `None` until more is fed.
    pub fn next_line(&mut self) -> Option<Result<&[u8], TooLong>> {
        // begin <= scanned <= held.len() always: `scanned` only moves to a newline's successor or to the end.
        let Some(distance) = memchr::memchr(b'\n', &self.held[self.scanned..]) else {
            self.keep_the_rest();
            return None;
        };
        let line = self.begin..self.scanned + distance;
        self.begin = line.end + 1;
        self.scanned = self.begin;
        let bytes = std::mem::take(&mut self.dropped) + line.len();
        if bytes > self.longest { Some(Err(TooLong { bytes: bytes + 1 })) } else { Some(Ok(&self.held[line])) }
    }

    /// Bytes of an unfinished line that are held.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.held.len() - self.begin
    }

    /// Nothing held has a newline any more: lets the taken lines go, and the unfinished one too if it cannot be kept.
    fn keep_the_rest(&mut self) {
        let too_long = self.dropped > 0 || self.pending() > self.longest;
        if too_long {
            self.dropped += self.pending();
            self.held.clear();
        } else {
            self.held.drain(..self.begin);
        }
        self.begin = 0;
        self.scanned = self.held.len();
        // An unfinished line that is already big is about to grow: shrinking under it would only copy it back and forth.
        if self.held.capacity() > KEPT_CAPACITY && self.held.len() < KEPT_CAPACITY {
            self.held.shrink_to(KEPT_CAPACITY);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everything that can be taken now.
    fn take(lines: &mut Lines) -> Vec<Result<Vec<u8>, TooLong>> {
        std::iter::from_fn(|| lines.next_line().map(|line| line.map(<[u8]>::to_vec))).collect()
    }

    #[test]
    fn a_line_that_comes_in_pieces_is_given_once_it_is_whole() {
        let mut lines = Lines::default();
        lines.feed(b"one\ntw");
        assert_eq!(take(&mut lines), [Ok(b"one".to_vec())]);
        assert_eq!(lines.pending(), 2);
        lines.feed(b"o");
        assert_eq!(take(&mut lines), []);
        lines.feed(b"\n\n");
        assert_eq!(take(&mut lines), [Ok(b"two".to_vec()), Ok(Vec::new())]);
        assert_eq!(lines.pending(), 0);
    }

    #[test]
    fn the_limit_is_the_last_length_that_passes() {
        let mut lines = Lines::new(3);
        lines.feed(b"abc\nabcd\nok\n");
        assert_eq!(take(&mut lines), [Ok(b"abc".to_vec()), Err(TooLong { bytes: 5 }), Ok(b"ok".to_vec())]);
    }

    #[test]
    fn a_line_over_the_limit_is_not_held_and_is_told_once_at_its_end() {
        let mut lines = Lines::new(1000);
        for _ in 0..1000 {
            lines.feed(&[b'x'; 700]);
            assert_eq!(take(&mut lines), []);
            assert!(lines.pending() <= 1000);
        }
        assert!(lines.held.capacity() < 10_000);
        lines.feed(b"\nnext\n");
        assert_eq!(take(&mut lines), [Err(TooLong { bytes: 700_001 }), Ok(b"next".to_vec())]);
    }

    #[test]
    fn the_memory_of_a_big_line_is_given_back_when_it_has_been_taken() {
        let mut lines = Lines::default();
        lines.feed(&vec![b'x'; 10 * 1024 * 1024]);
        assert_eq!(take(&mut lines), []);
        lines.feed(b"\nrest");
        assert_eq!(take(&mut lines).len(), 1);
        assert!(lines.held.capacity() <= KEPT_CAPACITY);
        assert_eq!(lines.pending(), 4);
    }

    #[test]
    fn what_was_scanned_is_not_scanned_again() {
        let mut lines = Lines::default();
        lines.feed(b"abc");
        assert_eq!(take(&mut lines), []);
        assert_eq!(lines.scanned, 3);
        lines.feed(b"de");
        assert_eq!(take(&mut lines), []);
        assert_eq!(lines.scanned, 5);
    }
}
