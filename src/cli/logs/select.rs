//! Which lines are shown: those that match, of the time that was asked for.
//!
//! A line's time is the one it begins with, else that of the line before it (a stack trace belongs to its first line). Before
//! the first time in a file nobody knows: such a line is shown if the file was written in the time that was asked for.

use std::ops::Range;

use jiff::tz::TimeZone;
use memchr::memmem::Finder;
use memchr::{memchr, memrchr};
use regex::bytes::Regex;

use super::Halt;
use super::blocks::{AtEnd, Blocks, Part};
use super::literal;
use super::source::Source;
use super::stamp::Clock;
use crate::options::logs::Span;

/// How long a match in a long line may be to be found in any case, in bytes.
const LONGEST_MATCH: usize = 64 * 1024;

/// Where chosen parts go.
pub type Sink<'a> = dyn FnMut(Part<'_>) -> Result<(), Halt> + 'a;

/// Chooses lines, file by file.
pub struct Selector {
    grep: Option<Regex>,
    /// What a line must have in it to match.
    literal: Option<Finder<'static>>,
    /// Can a whole block be searched at once? Not when the expression speaks of the beginning or end of all text.
    by_block: bool,
    span: Span,
    clock: Clock,
    /// Is the last line's time, as far as it is known, in the span?
    in_time: bool,
    long: Long,
}

/// What is known of the long line that is being read.
enum Long {
    /// None is.
    None,
    /// Nothing in it has matched yet. It began here, and this is what the next piece is searched with.
    Undecided { began: u64, carried: Carried },
    /// It is shown.
    Chosen,
    /// It is not.
    Refused,
}

impl Selector {
    /// Chooses by expression and time.
    pub fn new(grep: Option<Regex>, span: Span) -> Self {
        let speaks_of_all = |regex: &Regex| regex.as_str().contains("\\A") || regex.as_str().contains("\\z");
        Selector {
            literal: grep
                .as_ref()
                .and_then(|regex| literal::required(regex.as_str()))
                .map(|bytes| Finder::new(&bytes).into_owned()),
            by_block: span.is_all() && !grep.as_ref().is_some_and(speaks_of_all),
            grep,
            span,
            clock: Clock::new(TimeZone::system()),
            in_time: true,
            long: Long::None,
        }
    }

    /// Is every line chosen?
    pub fn chooses_all(&self) -> bool {
        self.grep.is_none() && self.span.is_all()
    }

    /// A new file begins, written between these times.
    pub fn begin(&mut self, begun: i64, ended: i64) {
        self.in_time = self.span.meets(begun, ended);
        self.long = Long::None;
    }

    /// Hands the chosen of these lines to `sink`. `offset` is where `part` stands in `source`, which is asked for the
    /// beginning of a long line that turns out to be chosen.
    pub fn take(&mut self, offset: u64, part: Part<'_>, source: &Source, sink: &mut Sink<'_>) -> Result<(), Halt> {
        match part {
            part if self.chooses_all() => sink(part),
            Part::Lines(bytes) => match (&self.grep, &self.literal) {
                (Some(grep), Some(literal)) if self.span.is_all() => search_with(literal, grep, bytes, sink),
                (Some(grep), None) if self.by_block => search(grep, bytes, sink),
                _ => self.line_by_line(bytes, sink),
            },
            Part::Piece { bytes, first, last } => {
                if first {
                    let is_in_time = self.is_in_time(bytes);
                    self.long = match &self.grep {
                        _ if !is_in_time => Long::Refused,
                        None => Long::Chosen,
                        Some(_) => Long::Undecided { began: offset, carried: Carried::default() },
                    };
                }
                self.take_piece(offset, bytes, (first, last), source, sink)
            }
        }
    }

    fn line_by_line(&mut self, bytes: &[u8], sink: &mut Sink<'_>) -> Result<(), Halt> {
        let (mut chosen, mut start) = (0..0, 0);
        while start < bytes.len() {
            let end = memchr(b'\n', &bytes[start..]).map_or(bytes.len(), |length| start + length);
            let line = &bytes[start..end];
            let next = bytes.len().min(end + 1);
            if self.is_in_time(line) && self.grep.as_ref().is_none_or(|grep| grep.is_match(line)) {
                add(&mut chosen, start..next, bytes, sink)?;
            }
            start = next;
        }
        finish(chosen, bytes, sink)
    }

    /// Is the line that begins so of the time that was asked for?
    fn is_in_time(&mut self, line: &[u8]) -> bool {
        if !self.span.is_all()
            && let Some(time) = self.clock.time(line)
        {
            self.in_time = self.span.meets(time, time);
        }
        self.in_time
    }

    fn take_piece(
        &mut self,
        offset: u64,
        bytes: &[u8],
        (first, last): (bool, bool),
        source: &Source,
        sink: &mut Sink<'_>,
    ) -> Result<(), Halt> {
        match &mut self.long {
            Long::Refused | Long::None => return Ok(()),
            Long::Chosen => return sink(Part::Piece { bytes, first, last }),
            Long::Undecided { began, carried } => {
                let Some(grep) = &self.grep else { return Ok(()) };
                if !carried.matches_with(bytes, last, grep) {
                    return Ok(());
                }
                replay(source, *began, offset, sink)?;
            }
        }
        self.long = Long::Chosen;
        sink(Part::Piece { bytes, first, last })
    }
}

/// Searches whole lines at once: the expression runs over the block, and only where it finds something are lines told apart.
fn search(grep: &Regex, bytes: &[u8], sink: &mut Sink<'_>) -> Result<(), Halt> {
    let (mut chosen, mut from) = (0..0, 0);
    while from < bytes.len() {
        let Some(found) = grep.find_at(bytes, from) else { break };
        // A match of nothing behind the last line's end is in no line.
        if found.start() == bytes.len() && bytes.ends_with(b"\n") {
            break;
        }
        let start = memrchr(b'\n', &bytes[from..found.start()]).map_or(from, |end| from + end + 1);
        let end = memchr(b'\n', &bytes[found.start()..]).map_or(bytes.len(), |length| found.start() + length);
        let next = bytes.len().min(end + 1);
        // What matched beyond the line's end does not count: lines are searched one by one.
        if found.end() <= end || grep.is_match(&bytes[start..end]) {
            add(&mut chosen, start..next, bytes, sink)?;
        }
        from = next;
    }
    finish(chosen, bytes, sink)
}

/// Searches whole lines at once: only the lines with the bytes in them that every match has are asked one by one.
fn search_with(literal: &Finder<'_>, grep: &Regex, bytes: &[u8], sink: &mut Sink<'_>) -> Result<(), Halt> {
    let (mut chosen, mut from) = (0..0, 0);
    while let Some(found) = literal.find(&bytes[from..]) {
        let at = from + found;
        let start = memrchr(b'\n', &bytes[from..at]).map_or(from, |end| from + end + 1);
        let end = memchr(b'\n', &bytes[at..]).map_or(bytes.len(), |length| at + length);
        let next = bytes.len().min(end + 1);
        if grep.is_match(&bytes[start..end]) {
            add(&mut chosen, start..next, bytes, sink)?;
        }
        from = next;
    }
    finish(chosen, bytes, sink)
}

/// Adds a line to the chosen ones before it, or hands those over and begins anew.
fn add(chosen: &mut Range<usize>, line: Range<usize>, bytes: &[u8], sink: &mut Sink<'_>) -> Result<(), Halt> {
    if chosen.end == line.start {
        chosen.end = line.end;
        return Ok(());
    }
    finish(std::mem::replace(chosen, line), bytes, sink)
}

fn finish(chosen: Range<usize>, bytes: &[u8], sink: &mut Sink<'_>) -> Result<(), Halt> {
    if chosen.is_empty() { Ok(()) } else { sink(Part::Lines(&bytes[chosen])) }
}

/// The end of what was searched of a long line.
#[derive(Default)]
struct Carried {
    bytes: Vec<u8>,
    /// Does the line begin before it?
    is_cut: bool,
}

impl Carried {
    /// Does the line match up to the end of this piece? Keeps what the next one needs.
    fn matches_with(&mut self, piece: &[u8], last: bool, grep: &Regex) -> bool {
        self.bytes.extend_from_slice(if last { piece.strip_suffix(b"\n").unwrap_or(piece) } else { piece });
        // Where the line was cut it does not begin: the first byte is only looked back at.
        let mut from = usize::from(self.is_cut);
        while from <= self.bytes.len() {
            let Some(found) = grep.find_at(&self.bytes, from) else { break };
            // What the end of the piece made match is asked again with the next one.
            if last || found.end() < self.bytes.len() {
                return true;
            }
            from = found.start() + 1;
        }
        let too_much = self.bytes.len().saturating_sub(LONGEST_MATCH);
        self.is_cut |= too_much > 0;
        self.bytes.drain(..too_much);
        false
    }
}

/// Hands over once more what stands between two places of a line.
fn replay(source: &Source, from: u64, to: u64, sink: &mut Sink<'_>) -> Result<(), Halt> {
    if from == to {
        return Ok(());
    }
    let failed = |error: std::io::Error| Halt::Unread(source.failure(&error));
    let reader = source.reader(from).map_err(failed)?;
    let mut blocks = Blocks::new(std::io::Read::take(reader, to - from), from);
    while let Some((_, part)) = blocks.next(AtEnd::Finish).map_err(failed)? {
        let (bytes, first) = match part {
            Part::Lines(bytes) => (bytes, true),
            Part::Piece { bytes, first, .. } => (bytes, first),
        };
        sink(Part::Piece { bytes, first, last: false })?;
    }
    Ok(())
}
