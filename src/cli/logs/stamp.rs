//! The time that a line begins with: Egg's `2026-11-21 05:13:58,123`, or ISO 8601; also behind a `[`, as cfork writes it.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};

/// `2026-11-21 05:13`
const TO_THE_MINUTE: usize = 16;
/// `2026-11-21 05:13:58`
const TO_THE_SECOND: usize = 19;

/// Reads times. Lines of one minute follow each other: the calendar is asked once for each.
#[derive(Debug)]
pub struct Clock {
    zone: TimeZone,
    minute: [u8; TO_THE_MINUTE],
    /// That minute in milliseconds since 1970, as local time and as UTC.
    begins: Option<(i64, i64)>,
}

impl Clock {
    /// For lines whose times without an offset are of this zone.
    pub fn new(zone: TimeZone) -> Self {
        Clock { zone, minute: [0; TO_THE_MINUTE], begins: None }
    }

    /// The time that the line begins with, in milliseconds since 1970.
    pub fn time(&mut self, line: &[u8]) -> Option<i64> {
        let text = line.strip_prefix(b"[").unwrap_or(line);
        let minute: &[u8; TO_THE_MINUTE] = text.first_chunk()?;
        if text.get(TO_THE_MINUTE) != Some(&b':') {
            return None;
        }
        if minute != &self.minute {
            self.minute = *minute;
            self.begins = self.read_minute();
        }
        let (local, utc) = self.begins?;
        let seconds = number(text.get(TO_THE_MINUTE + 1..TO_THE_SECOND)?).filter(|seconds| *seconds <= 60)?;
        let (fraction_ms, zone) = fraction(&text[TO_THE_SECOND..]);
        let minute_begins = match zone {
            [b'Z', ..] => utc,
            [sign @ (b'+' | b'-'), rest @ ..] => match offset_ms(rest) {
                Some(offset) if *sign == b'+' => utc - offset,
                Some(offset) => utc + offset,
                None => local,
            },
            _ => local,
        };
        Some(minute_begins + seconds * 1000 + fraction_ms)
    }

    fn read_minute(&self) -> Option<(i64, i64)> {
        let text = &self.minute;
        let marks = [(4, b"-"), (7, b"-"), (13, b":")].iter().all(|(at, mark)| text[*at..].starts_with(*mark));
        if !marks || !matches!(text[10], b' ' | b'T') {
            return None;
        }
        let part = |from: usize, to: usize| number(&text[from..to]);
        let small = |from: usize| i8::try_from(part(from, from + 2)?).ok();
        let year = i16::try_from(part(0, 4)?).ok()?;
        let civil = DateTime::new(year, small(5)?, small(8)?, small(11)?, small(14)?, 0, 0).ok()?;
        // Where the clock was set back one time is two: the earlier one. Where it was set forward it is none: the later.
        let local = self.zone.to_ambiguous_timestamp(civil).compatible().ok()?;
        let utc: Timestamp = Offset::UTC.to_timestamp(civil).ok()?;
        Some((local.as_millisecond(), utc.as_millisecond()))
    }
}

/// The fraction of a second in milliseconds, and what follows it.
fn fraction(text: &[u8]) -> (i64, &[u8]) {
    let [b'.' | b',', digits @ ..] = text else { return (0, text) };
    let length = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let ms = (0..3).fold(0, |ms, at| ms * 10 + digits[..length].get(at).map_or(0, |digit| i64::from(digit - b'0')));
    (ms, &digits[length..])
}

/// `08:00` or `0800`.
fn offset_ms(text: &[u8]) -> Option<i64> {
    let hours = number(text.get(..2)?)?;
    let rest = &text[2..];
    let minutes = number(rest.strip_prefix(b":").unwrap_or(rest).get(..2)?)?;
    Some((hours * 60 + minutes) * 60_000)
}

fn number(digits: &[u8]) -> Option<i64> {
    let all = digits.iter().all(u8::is_ascii_digit);
    all.then(|| digits.iter().fold(0, |number, digit| number * 10 + i64::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(line: &str) -> Option<String> {
        let mut clock = Clock::new(TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap());
        let ms = clock.time(line.as_bytes())?;
        Some(Timestamp::from_millisecond(ms).unwrap().to_string())
    }

    #[test]
    fn times_of_egg_and_of_iso_8601_are_read() {
        for (line, expected) in [
            ("2026-11-21 05:13:58,123 INFO 7 [master] up", "2026-11-21T04:13:58.123Z"),
            ("[2026-11-21 05:13:58.123] [cfork:master:7] x", "2026-11-21T04:13:58.123Z"),
            ("2026-11-21T05:13:58Z x", "2026-11-21T05:13:58Z"),
            ("2026-11-21T05:13:58.9Z", "2026-11-21T05:13:58.9Z"),
            ("2026-11-21T05:13:58.123456789+08:00 x", "2026-11-20T21:13:58.123Z"),
            ("2026-11-21T05:13:58-0130", "2026-11-21T06:43:58Z"),
            ("2026-07-21 05:13:58", "2026-07-21T03:13:58Z"),
            ("2026-10-25 02:30:00,000 twice", "2026-10-25T00:30:00Z"),
        ] {
            assert_eq!(time(line).as_deref(), Some(expected), "{line}");
        }
    }

    #[test]
    fn other_beginnings_have_no_time() {
        for line in [
            "",
            "2026",
            "    at Object.<anonymous> (app.js:1:1)",
            "2026-11-21",
            "2026-11-21 05:13",
            "2026-11-21 05:13:5x,123",
            "2026-11-21 05:13:99",
            "2026-13-21 05:13:58",
            "2026-02-30 05:13:58",
            "2026/11/21 05:13:58",
            "\u{e4}026-11-21 05:13:58",
            "x2026-11-21 05:13:58",
        ] {
            assert_eq!(time(line), None, "{line}");
        }
    }

    #[test]
    fn the_remembered_minute_is_that_of_the_line() {
        let mut clock = Clock::new(TimeZone::UTC);
        for (line, expected) in [
            ("1970-01-01 00:00:01", Some(1000)),
            ("1970-01-01 00:00:02,5", Some(2500)),
            ("1970-01-01 00:01:00", Some(60_000)),
            ("no time in this", None),
            ("1970-99-01 00:01:00", None),
            ("1970-99-01 00:01:01", None),
            ("1970-01-01 00:01:01", Some(61_000)),
        ] {
            assert_eq!(clock.time(line.as_bytes()), expected, "{line}");
        }
    }
}
