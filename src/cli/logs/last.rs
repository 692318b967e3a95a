//! Where the last N lines begin: looking from the newest file back, so that the old ones are not read for it.

use memchr::memrchr_iter;

use super::Halt;
use super::blocks::{AtEnd, Blocks, Part};
use super::select::Selector;
use super::source::Source;

/// How much is read at once from the end of a file, in bytes.
const AT_ONCE: usize = 64 * 1024;

/// What one file has of the last lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// How many of the lines that are looked for, or more.
    pub lines: u64,
    /// Where to begin to read, in bytes of content.
    pub offset: u64,
    /// How many chosen lines from there on are too many.
    pub too_many: u64,
}

/// Looks for the last `wanted` chosen lines of a file, of which the selector has been told the times.
///
/// # Errors
/// It cannot be read.
pub fn find(source: &Source, selector: &mut Selector, wanted: u64) -> Result<Found, Halt> {
    if selector.chooses_all() && !source.is_compressed() {
        let (lines, offset) = from_the_end(source, wanted)?;
        return Ok(Found { lines, offset, too_many: 0 });
    }
    let mut lines = 0;
    let mut count = |part: Part<'_>| {
        lines += part.lines();
        Ok(())
    };
    let failed = |error: std::io::Error| Halt::Unread(source.failure(&error));
    let mut blocks = Blocks::new(source.reader(0).map_err(failed)?, 0);
    // What is damaged is told when it is shown.
    while let Ok(Some((offset, part))) = blocks.next(AtEnd::Finish) {
        selector.take(offset, part, source, &mut count)?;
    }
    Ok(Found { lines, offset: 0, too_many: lines.saturating_sub(wanted) })
}

/// How many of the last `wanted` lines a file has, and where they begin: only line ends are looked at, from the end on.
fn from_the_end(source: &Source, wanted: u64) -> Result<(u64, u64), Halt> {
    let length = source.length().map_err(Halt::Unread)?;
    if wanted == 0 || length == 0 {
        return Ok((0, length));
    }
    let mut buffer = vec![0; AT_ONCE];
    let (mut end, mut lines) = (length, 0);
    while end > 0 {
        let size = AT_ONCE.min(usize::try_from(end).unwrap_or(AT_ONCE));
        let start = end - size as u64;
        source.read_at(&mut buffer[..size], start).map_err(Halt::Unread)?;
        for at in memrchr_iter(b'\n', &buffer[..size]) {
            let behind = start + at as u64 + 1;
            // The end of the last line begins none.
            if behind == length {
                continue;
            }
            lines += 1;
            if lines == wanted {
                return Ok((lines, behind));
            }
        }
        end = start;
    }
    Ok((lines + 1, 0))
}

/// Lets pass what comes after the first `left` lines.
pub struct Skip {
    left: u64,
    /// Is the long line that is being handed over one of those?
    skips_line: bool,
}

impl Skip {
    /// Holds back so many lines.
    pub fn new(left: u64) -> Self {
        Skip { left, skips_line: false }
    }

    /// What of the part passes.
    pub fn pass<'a>(&mut self, part: Part<'a>) -> Option<Part<'a>> {
        match part {
            Part::Lines(bytes) => {
                let mut from = 0;
                while self.left > 0 && from < bytes.len() {
                    from = memchr::memchr(b'\n', &bytes[from..]).map_or(bytes.len(), |end| from + end + 1);
                    self.left -= 1;
                }
                (from < bytes.len()).then(|| Part::Lines(&bytes[from..]))
            }
            Part::Piece { first, .. } => {
                if first {
                    self.skips_line = self.left > 0;
                    self.left = self.left.saturating_sub(1);
                }
                (!self.skips_line).then_some(part)
            }
        }
    }
}
