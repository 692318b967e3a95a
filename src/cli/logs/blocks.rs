//! A file in parts of whole lines, with one buffer whatever the lines are: a line longer than that comes in pieces.

use std::io::{self, Read};

use memchr::{memchr, memrchr};

/// The size of the buffer, in bytes: longer lines come in pieces. It fits into a core's own cache.
pub const LONGEST_WHOLE: usize = 256 * 1024;

/// A part of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part<'a> {
    /// Whole lines. Only the last of a file may have no end.
    Lines(&'a [u8]),
    /// A piece of a long line. No character of UTF-8 is cut, and a last piece may be empty.
    Piece {
        /// Its bytes, with the line's end if it is the last.
        bytes: &'a [u8],
        /// Does the line begin here?
        first: bool,
        /// Does the line end here?
        last: bool,
    },
}

impl Part<'_> {
    /// How many lines begin in it.
    pub fn lines(&self) -> u64 {
        match self {
            Part::Lines(bytes) => {
                let ends = memchr::memchr_iter(b'\n', bytes).count();
                (ends + usize::from(bytes.last().is_some_and(|last| *last != b'\n'))) as u64
            }
            Part::Piece { first, .. } => u64::from(*first),
        }
    }
}

/// What to do with the beginning of a line when the file ends after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtEnd {
    /// It is the last line.
    Finish,
    /// The rest of it will come: keep it until then.
    Wait,
    /// The rest of it will come, and this can be shown: hand it over as a piece.
    Show,
}

/// The parts of what `reader` gives.
pub struct Blocks<R> {
    reader: R,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    /// Where in the file `buffer[start]` stands.
    offset: u64,
    /// Is the line at `start` one whose beginning was handed over?
    inside: bool,
    /// Why no more can be read.
    failure: Option<io::Error>,
}

impl<R: Read> Blocks<R> {
    /// The parts from `offset` on, where `reader` stands.
    pub fn new(reader: R, offset: u64) -> Self {
        Self::with_buffer(reader, offset, LONGEST_WHOLE)
    }

    /// The same with a buffer of this size, in bytes.
    pub fn with_buffer(reader: R, offset: u64, size: usize) -> Self {
        Blocks { reader, buffer: vec![0; size].into(), start: 0, end: 0, offset, inside: false, failure: None }
    }

    /// How far the file has been read, in bytes from its beginning.
    pub fn position(&self) -> u64 {
        self.offset + (self.end - self.start) as u64
    }

    /// The next part and where it stands; `None` at the end, for now or for good.
    ///
    /// # Errors
    /// The reader's. What was read before it is handed over first.
    pub fn next(&mut self, at_end: AtEnd) -> io::Result<Option<(u64, Part<'_>)>> {
        loop {
            if let Some(error) = self.failure.take() {
                return Err(error);
            }
            let data = &self.buffer[self.start..self.end];
            // Inside a long line its end is looked for; else the end of the last whole line.
            let line_end = if self.inside { memchr(b'\n', data) } else { memrchr(b'\n', data) };
            if let Some(line_end) = line_end {
                return Ok(Some(self.hand_over(line_end + 1, true)));
            }
            if data.len() == self.buffer.len() {
                return Ok(Some(self.hand_over(data.len() - cut_character(data), false)));
            }
            match self.fill() {
                Ok(true) => {}
                Ok(false) => return Ok(self.rest(at_end)),
                // What was read is shown before the failure is told: the next call finds nothing left to show.
                Err(error) if self.start == self.end && !self.inside => return Err(error),
                Err(error) => {
                    self.failure = Some(error);
                    return Ok(self.rest(AtEnd::Finish));
                }
            }
        }
    }

    /// Reads more behind what is there; false at the end.
    fn fill(&mut self) -> io::Result<bool> {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        loop {
            match self.reader.read(&mut self.buffer[self.end..]) {
                Ok(read) => {
                    self.end += read;
                    return Ok(read > 0);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// What the file ends with.
    fn rest(&mut self, at_end: AtEnd) -> Option<(u64, Part<'_>)> {
        let data = &self.buffer[self.start..self.end];
        match at_end {
            AtEnd::Wait => None,
            AtEnd::Show => {
                let length = data.len() - cut_character(data);
                (length > 0).then(|| self.hand_over(length, false))
            }
            AtEnd::Finish if self.inside || !data.is_empty() => Some(self.hand_over(data.len(), true)),
            AtEnd::Finish => None,
        }
    }

    fn hand_over(&mut self, length: usize, ends: bool) -> (u64, Part<'_>) {
        let (from, offset, was_inside) = (self.start, self.offset, self.inside);
        self.start += length;
        self.offset += length as u64;
        self.inside = !ends;
        let bytes = &self.buffer[from..from + length];
        match (was_inside, ends) {
            (false, true) => (offset, Part::Lines(bytes)),
            (_, last) => (offset, Part::Piece { bytes, first: !was_inside, last }),
        }
    }
}

/// How many bytes at the end are the beginning of a character of UTF-8.
fn cut_character(data: &[u8]) -> usize {
    for back in 1..=data.len().min(3) {
        let byte = data[data.len() - back];
        let needs = match byte {
            0x80..=0xbf => continue,
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf4 => 4,
            _ => 1,
        };
        return if needs > back { back } else { 0 };
    }
    0
}
