//! Cuts the byte stream of a channel into frames: one JSON text and a newline each, split anywhere by the kernel.
//!
//! Bytes are split, never decoded text: JSON escapes newlines, so the byte 0x0A only ever ends a frame.

/// The longest frame that is kept, in bytes: a longer one is skipped to its end and told once.
pub const LONGEST_FRAME: usize = 64 * 1024 * 1024;

/// The room kept for the next unfinished line, in bytes. A rare big one gives the rest back.
const KEPT_CAPACITY: usize = 128 * 1024;

/// Gives back whole lines, out of what was read where they lie there whole: only a line that came in pieces is copied.
#[derive(Debug)]
pub struct Lines {
    /// The unfinished line; a finished one until the next call.
    held: Vec<u8>,
    /// `held` is a line that has been given.
    given: bool,
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
        Lines { held: Vec::new(), given: false, dropped: 0, longest }
    }

    /// Keeps no longer line than this from now on, what is held already included.
    pub fn limit(&mut self, longest: usize) {
        self.longest = longest;
    }

    /// The next whole line without its newline, taken off the front of what was read. `None`: there is none, and the
    /// beginning of the next one, if any, was taken off too and is kept.
    pub fn next_line<'a, 'r: 'a>(&'a mut self, read: &mut &'r [u8]) -> Option<Result<&'a [u8], TooLong>> {
        if std::mem::take(&mut self.given) {
            self.let_go();
        }
        let Some((line, rest)) = memchr::memchr(b'\n', read).and_then(|end| read.split_at_checked(end)) else {
            self.keep(std::mem::take(read));
            return None;
        };
        *read = rest.get(1..).unwrap_or_default();
        let bytes = std::mem::take(&mut self.dropped) + self.held.len() + line.len();
        if bytes > self.longest {
            self.given = true;
            return Some(Err(TooLong { bytes: bytes + 1 }));
        }
        if self.held.is_empty() {
            return Some(Ok(line));
        }
        self.held.extend_from_slice(line);
        self.given = true;
        Some(Ok(&self.held))
    }

    /// Bytes of an unfinished line that are held.
    #[must_use]
    pub fn pending(&self) -> usize {
        if self.given { 0 } else { self.held.len() }
    }

    /// Keeps the beginning of a line, as long as it can be kept.
    fn keep(&mut self, beginning: &[u8]) {
        let bytes = self.dropped + self.held.len() + beginning.len();
        if bytes > self.longest {
            self.dropped = bytes;
            self.let_go();
        } else {
            self.held.extend_from_slice(beginning);
        }
    }

    fn let_go(&mut self) {
        self.held.clear();
        self.held.shrink_to(KEPT_CAPACITY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every line that this finishes.
    fn take(lines: &mut Lines, mut read: &[u8]) -> Vec<Result<Vec<u8>, TooLong>> {
        std::iter::from_fn(|| lines.next_line(&mut read).map(|line| line.map(<[u8]>::to_vec))).collect()
    }

    #[test]
    fn a_line_that_comes_in_pieces_is_given_once_it_is_whole() {
        let mut lines = Lines::default();
        assert_eq!(take(&mut lines, b"one\ntw"), [Ok(b"one".to_vec())]);
        assert_eq!(lines.pending(), 2);
        assert_eq!(take(&mut lines, b"o"), []);
        assert_eq!(take(&mut lines, b"\n\n"), [Ok(b"two".to_vec()), Ok(Vec::new())]);
        assert_eq!(lines.pending(), 0);
    }

    #[test]
    fn the_limit_is_the_last_length_that_passes() {
        let mut lines = Lines::new(3);
        assert_eq!(
            take(&mut lines, b"abc\nabcd\nok\n"),
            [Ok(b"abc".to_vec()), Err(TooLong { bytes: 5 }), Ok(b"ok".to_vec())]
        );
    }

    #[test]
    fn a_line_over_the_limit_is_not_held_and_is_told_once_at_its_end() {
        let mut lines = Lines::new(1000);
        for _ in 0..1000 {
            assert_eq!(take(&mut lines, &[b'x'; 700]), []);
            assert!(lines.pending() <= 1000);
        }
        assert!(lines.held.capacity() < 10_000);
        assert_eq!(take(&mut lines, b"\nnext\n"), [Err(TooLong { bytes: 700_001 }), Ok(b"next".to_vec())]);
    }

    #[test]
    fn the_memory_of_a_big_line_is_given_back_when_it_has_been_taken() {
        let mut lines = Lines::default();
        assert_eq!(take(&mut lines, &vec![b'x'; 10 * 1024 * 1024]), []);
        assert_eq!(take(&mut lines, b"\nrest").len(), 1);
        assert!(lines.held.capacity() <= KEPT_CAPACITY);
        assert_eq!(lines.pending(), 4);
    }

    #[test]
    fn a_line_that_came_whole_is_given_where_it_lies() {
        let mut lines = Lines::default();
        let read = b"one\ntwo\nthr";
        let mut left = &read[..];
        assert_eq!(lines.next_line(&mut left).unwrap().unwrap().as_ptr(), read.as_ptr());
        assert_eq!(lines.next_line(&mut left).unwrap().unwrap().as_ptr(), read[4..].as_ptr());
        assert_eq!(lines.next_line(&mut left), None);
        assert_eq!((left.len(), lines.pending()), (0, 3));
    }
}
