//! The names of a log's files: the live one, the old ones, the compressed ones; their order, and the next name.
//!
//! `master-stdout.log.20261121.051358.0000`: egg-scripts' stamp, in local time as in Egg's own lines, then a sequence of four
//! digits, and `.gz` once it is compressed. No stamp is earlier than one before it: when the clock steps back (or summer time
//! ends), the last stamp stays and the sequence grows. So the names sort in the order of writing, as text too.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use jiff::Span;
use jiff::civil::DateTime;

/// The ending of a compressed file.
const COMPRESSED: &[u8] = b".gz";
/// The ending of a compressed file that is not whole yet.
const TEMPORARY: &[u8] = b".gz.tmp";
/// The last sequence of a stamp.
const LAST_SEQUENCE: u16 = 9999;
/// How many names a stamp has: one without a sequence, and the others.
const SEQUENCES: u64 = LAST_SEQUENCE as u64 + 2;

/// The name of one old log, of whatever live name; ordered by the time of writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OldName {
    stamp: DateTime,
    /// `None`: egg-scripts named it, which knows no sequence.
    sequence: Option<u16>,
}

/// What the name of a file says that belongs to a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As it was written.
    Plain,
    /// Compressed, and whole.
    Compressed,
    /// Being compressed, or left so by a crash.
    Temporary,
}

impl OldName {
    /// The name after `last`, the newest that is there, at the local time `now`.
    #[must_use]
    pub fn next(last: Option<OldName>, now: DateTime) -> OldName {
        let now = now.with().subsec_nanosecond(0).build().unwrap_or(now);
        let first = OldName { stamp: now, sequence: Some(0) };
        match last {
            Some(last) if last >= first => last.successor(),
            _ => first,
        }
    }

    /// The name right after this one.
    #[must_use]
    pub fn successor(self) -> OldName {
        match self.sequence {
            Some(LAST_SEQUENCE) => {
                // At the end of the year 9999 there is no later second.
                let stamp = self.stamp.checked_add(Span::new().seconds(1)).unwrap_or(self.stamp);
                OldName { stamp, sequence: Some(0) }
            }
            Some(sequence) => OldName { sequence: Some(sequence + 1), ..self },
            None => OldName { sequence: Some(0), ..self },
        }
    }

    /// Its place in the order of writing as a number, at least 1.
    #[must_use]
    pub fn rank(self) -> u64 {
        let later = [self.stamp.month(), self.stamp.day(), self.stamp.hour(), self.stamp.minute(), self.stamp.second()];
        let year = u64::from(self.stamp.year().unsigned_abs());
        let stamp = later.into_iter().fold(year, |rank, part| rank * 100 + u64::from(part.unsigned_abs()));
        stamp * SEQUENCES + self.sequence.map_or(0, |sequence| u64::from(sequence) + 1)
    }

    /// The name of this rank.
    #[must_use]
    pub fn of_rank(rank: u64) -> Option<OldName> {
        let mut left = rank / SEQUENCES;
        let mut part = || {
            let part = i8::try_from(left % 100).unwrap_or_default();
            left /= 100;
            part
        };
        let (second, minute, hour, day, month) = (part(), part(), part(), part(), part());
        let stamp = DateTime::new(i16::try_from(left).ok()?, month, day, hour, minute, second, 0).ok()?;
        let sequence = (rank % SEQUENCES).checked_sub(1).and_then(|sequence| u16::try_from(sequence).ok());
        Some(OldName { stamp, sequence })
    }

    /// Did eggctl name it? egg-scripts' old logs are read, but never compressed or deleted.
    #[must_use]
    pub fn is_ours(self) -> bool {
        self.sequence.is_some()
    }

    /// The file's name, for the log with this live name.
    #[must_use]
    pub fn file(self, live: &OsStr, form: Form) -> OsString {
        let mut name = live.as_bytes().to_vec();
        name.extend(format!(".{}", self.stamp.strftime("%Y%m%d.%H%M%S")).into_bytes());
        if let Some(sequence) = self.sequence {
            name.extend(format!(".{sequence:04}").into_bytes());
        }
        name.extend(match form {
            Form::Plain => b"".as_slice(),
            Form::Compressed => COMPRESSED,
            Form::Temporary => TEMPORARY,
        });
        OsString::from_vec(name)
    }

    /// Reads the name of a file; `None`: it is none of the log with this live name.
    #[must_use]
    pub fn parse(live: &OsStr, file: &OsStr) -> Option<(OldName, Form)> {
        let rest = file.as_bytes().strip_prefix(live.as_bytes())?.strip_prefix(b".")?;
        let (rest, form) = match (rest.strip_suffix(TEMPORARY), rest.strip_suffix(COMPRESSED)) {
            (Some(rest), _) => (rest, Form::Temporary),
            (None, Some(rest)) => (rest, Form::Compressed),
            (None, None) => (rest, Form::Plain),
        };
        let mut parts = rest.split(|byte| *byte == b'.');
        let (date, time) = (number(parts.next()?, 8)?, number(parts.next()?, 6)?);
        let sequence = match parts.next() {
            Some(digits) => Some(u16::try_from(number(digits, 4)?).ok()?),
            None => None,
        };
        let stamp = DateTime::new(
            i16::try_from(date / 10_000).ok()?,
            i8::try_from(date / 100 % 100).ok()?,
            i8::try_from(date % 100).ok()?,
            i8::try_from(time / 10_000).ok()?,
            i8::try_from(time / 100 % 100).ok()?,
            i8::try_from(time % 100).ok()?,
            0,
        );
        parts.next().is_none().then_some((OldName { stamp: stamp.ok()?, sequence }, form))
    }
}

/// The number that exactly `length` digits are.
fn number(digits: &[u8], length: usize) -> Option<u32> {
    let all = digits.len() == length && digits.iter().all(u8::is_ascii_digit);
    all.then(|| digits.iter().fold(0, |number, digit| number * 10 + u32::from(digit - b'0')))
}
