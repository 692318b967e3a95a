//! What `logs` is asked for, checked: how many lines, of which time, matching what.

use jiff::civil::{Date, DateTime, Time};
use jiff::{Timestamp, Zoned};
use regex::bytes::{Regex, RegexBuilder};

use super::Title;
use super::flags::LogsFlags;
use super::place::checked_title;
use super::surroundings::Found;
use crate::error::{Exit, Failure};

/// How many lines `--follow` begins with when nobody says.
const LINES_BEFORE_FOLLOWING: u64 = 10;
/// How large a compiled expression may be, in bytes.
const LARGEST_REGEX: usize = 64 * 1024 * 1024;

/// A span of time in milliseconds since 1970, both ends included; `None` is open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Not before this.
    pub since: Option<i64>,
    /// Not after this.
    pub until: Option<i64>,
}

impl Span {
    /// Is all time in it?
    #[must_use]
    pub fn is_all(&self) -> bool {
        *self == Span::default()
    }

    /// Does any moment from `first` to `last` lie in it?
    #[must_use]
    pub fn meets(&self, first: i64, last: i64) -> bool {
        self.since.is_none_or(|since| last >= since) && self.until.is_none_or(|until| first <= until)
    }
}

impl LogsFlags {
    /// The title that was typed.
    ///
    /// # Errors
    /// It is none (exit 2).
    pub fn checked_title(&self) -> Result<Option<Title>, Failure> {
        Found::flag("--title", self.title.as_ref()).map(checked_title).transpose()
    }

    /// How many of the last lines; `None`: all.
    ///
    /// # Errors
    /// Neither a number nor `all` (exit 2).
    pub fn checked_lines(&self) -> Result<Option<u64>, Failure> {
        match self.lines.as_deref() {
            Some("all") => Ok(None),
            None => Ok((self.follow && self.since.is_none()).then_some(LINES_BEFORE_FOLLOWING)),
            Some(_) => Found::flag("--lines", self.lines.as_ref())
                .map(|typed| typed.number("number of lines", 0, u64::from(u32::MAX)))
                .transpose(),
        }
    }

    /// From when until when; `now` is the local time.
    ///
    /// # Errors
    /// A text that is no time, or an end before the beginning (exit 2).
    pub fn checked_span(&self, now: &Zoned) -> Result<Span, Failure> {
        let checked = |flag: &str, typed: &Option<String>| match typed {
            Some(text) => point(text, now).map(Some).ok_or_else(|| bad_time(flag, text)),
            None => Ok(None),
        };
        let span = Span { since: checked("--since", &self.since)?, until: checked("--until", &self.until)? };
        match span {
            Span { since: Some(since), until: Some(until) } if since > until => {
                Err(Failure::new(Exit::Usage, "`--since` is later than `--until`"))
            }
            span => Ok(span),
        }
    }

    /// The expression, as bytes; `^` and `$` are the ends of a line.
    ///
    /// # Errors
    /// It is no regular expression (exit 2).
    pub fn checked_grep(&self) -> Result<Option<Regex>, Failure> {
        let Some(text) = &self.grep else { return Ok(None) };
        let built = RegexBuilder::new(text).multi_line(true).size_limit(LARGEST_REGEX).build();
        built.map(Some).map_err(|error| {
            let why = error.to_string();
            // The crate draws the expression with a mark under the place; its last line says what is wrong.
            let last = why.lines().last().unwrap_or(&why).trim_start_matches("error: ").to_owned();
            Failure::new(Exit::Usage, format!("`--grep={text}` is no regular expression")).because(last)
        })
    }
}

fn bad_time(flag: &str, text: &str) -> Failure {
    Failure::new(Exit::Usage, format!("`{flag}={text}` is no time"))
        .hint("write `10m` for ten minutes ago (s, m, h, d, w), `05:13` for today, or `2026-11-21 05:13:58`")
}

/// A point in time as people write it, in milliseconds since 1970.
fn point(text: &str, now: &Zoned) -> Option<i64> {
    let text = text.trim();
    if let Some(ago) = length_ms(text) {
        return now.timestamp().as_millisecond().checked_sub(ago);
    }
    // Egg writes a comma before the milliseconds.
    let text = &text.replace(',', ".");
    if let Ok(exact) = text.parse::<Timestamp>() {
        return Some(exact.as_millisecond());
    }
    // jiff takes `10` for ten o'clock; whoever types that means ten of something.
    let time = || text.contains(':').then(|| text.parse::<Time>().ok()).flatten();
    let time_of_today = || time().map(|time| now.date().to_datetime(time));
    let midnight = || text.parse::<Date>().ok().map(|date| date.to_datetime(Time::midnight()));
    let local = text.parse::<DateTime>().ok().or_else(midnight).or_else(time_of_today)?;
    Some(local.to_zoned(now.time_zone().clone()).ok()?.timestamp().as_millisecond())
}

/// `90s`, `10m`, `1h30m`, `2d`, `1w`.
fn length_ms(text: &str) -> Option<i64> {
    let (mut total, mut rest) = (0_i64, text);
    while !rest.is_empty() {
        let end = rest.find(|character: char| !character.is_ascii_digit())?;
        let unit = match rest[end..].chars().next()? {
            's' => 1_000,
            'm' => 60_000,
            'h' => 3_600_000,
            'd' => 86_400_000,
            'w' => 7 * 86_400_000,
            _ => return None,
        };
        total = total.checked_add(rest[..end].parse::<i64>().ok()?.checked_mul(unit)?)?;
        rest = &rest[end + 1..];
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::tz::TimeZone;

    fn at(text: &str) -> Option<i64> {
        // As a rule, not by its name: a machine need not have a database of zones.
        let vienna = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        let now = "2026-11-21T04:13:58Z".parse::<Timestamp>().unwrap().to_zoned(vienna);
        point(text, &now)
    }

    fn utc(text: &str) -> Option<i64> {
        Some(text.parse::<Timestamp>().unwrap().as_millisecond())
    }

    #[test]
    fn times_are_read_as_people_write_them() {
        for (text, expected) in [
            ("0s", "2026-11-21T04:13:58Z"),
            ("10m", "2026-11-21T04:03:58Z"),
            ("1h30m", "2026-11-21T02:43:58Z"),
            ("1w", "2026-11-14T04:13:58Z"),
            ("05:00", "2026-11-21T04:00:00Z"),
            ("2026-11-21", "2026-11-20T23:00:00Z"),
            ("2026-11-21 05:13", "2026-11-21T04:13:00Z"),
            ("2026-11-21 05:13:58,123", "2026-11-21T04:13:58.123Z"),
            ("2026-11-21T05:13:58", "2026-11-21T04:13:58Z"),
            ("2026-07-01T05:13:58", "2026-07-01T03:13:58Z"),
            ("2026-11-21T05:13:58Z", "2026-11-21T05:13:58Z"),
            ("2026-11-21T05:13:58+08:00", "2026-11-20T21:13:58Z"),
        ] {
            assert_eq!(at(text), utc(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_told_so() {
        for text in
            ["", " ", "m", "10", "10x", "-10m", "10m ago", "yesterday", "2026-13-01", "25:00", "99999999999999w"]
        {
            assert_eq!(at(text), None, "{text:?}");
        }
    }

    #[test]
    fn following_begins_with_ten_lines_unless_something_else_was_asked_for() {
        let lines = |flags: LogsFlags| flags.checked_lines().unwrap();
        let (all, since) = (Some("all".to_owned()), Some("1h".to_owned()));
        let following = LogsFlags { follow: true, ..LogsFlags::default() };
        assert_eq!(lines(LogsFlags::default()), None);
        assert_eq!(lines(following.clone()), Some(10));
        assert_eq!(lines(LogsFlags { since, ..following.clone() }), None);
        assert_eq!(lines(LogsFlags { lines: all, ..following }), None);
        assert_eq!(lines(LogsFlags { lines: Some("0".to_owned()), ..LogsFlags::default() }), Some(0));
        assert!(LogsFlags { lines: Some("-1".to_owned()), ..LogsFlags::default() }.checked_lines().is_err());
    }
}
