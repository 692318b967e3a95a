//! The period of a live file: the hour, day or week in which it was last written to, by the wall clock, which may step: pure.

use jiff::{RoundMode, Timestamp, ToSpan, Unit, Zoned, ZonedRound};

use crate::options::Every;

/// When the period of a live file is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Period {
    end: Option<Timestamp>,
    /// The latest look at the clock.
    seen: Timestamp,
}

impl Period {
    /// The period in which a file was `written` last; a time to come is taken for now.
    #[must_use]
    pub fn of(every: Every, written: Timestamp, now: &Zoned) -> Self {
        let written = written.min(now.timestamp()).to_zoned(now.time_zone().clone());
        Period { end: after(every, &written), seen: now.timestamp() }
    }

    /// Is it over? When the clock has stepped back, the period is that of the new time: it does not last until the clock is
    /// where it was.
    pub fn is_over(&mut self, every: Every, now: Timestamp, zoned: impl Fn(Timestamp) -> Zoned) -> bool {
        if now < self.seen {
            let end = after(every, &zoned(now));
            self.end = self.end.min(end);
        }
        self.seen = now;
        self.end.is_some_and(|end| now >= end)
    }
}

/// The first moment of the hour, day or week after the one in which `now` lies. `None`: never, or at the end of time.
fn after(every: Every, now: &Zoned) -> Option<Timestamp> {
    let days = match every {
        Every::Never => return None,
        Every::Hour => {
            let hour = now.round(ZonedRound::new().smallest(Unit::Hour).mode(RoundMode::Trunc)).ok()?;
            return Some(hour.checked_add(1.hour()).ok()?.timestamp());
        }
        Every::Day => 1,
        // ISO's week: it begins on Monday.
        Every::Week => 7 - i64::from(now.weekday().to_monday_zero_offset()),
    };
    let midnight = now.date().checked_add(days.days()).ok()?.to_zoned(now.time_zone().clone()).ok()?;
    Some(midnight.timestamp())
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;

    fn utc(text: &str) -> Zoned {
        text.parse::<Timestamp>().unwrap().to_zoned(TimeZone::UTC)
    }

    fn after_text(every: Every, now: &str) -> String {
        let now = utc(now);
        after(every, &now).unwrap().to_zoned(now.time_zone().clone()).strftime("%Y-%m-%d %H:%M").to_string()
    }

    #[test]
    fn the_next_hour_day_and_week_begin_where_the_wall_clock_says() {
        let now = "2026-11-21T05:59:59Z";
        assert_eq!(after_text(Every::Hour, now), "2026-11-21 06:00");
        assert_eq!(after_text(Every::Day, now), "2026-11-22 00:00");
        assert_eq!(after_text(Every::Week, now), "2026-11-23 00:00", "the 21st is a Saturday");
        assert_eq!(after_text(Every::Week, "2026-11-23T00:00:00Z"), "2026-11-30 00:00");
        assert_eq!(after(Every::Never, &utc(now)), None);
    }

    #[test]
    fn a_clock_that_steps_forth_ends_the_period_once_and_one_that_steps_back_does_not_stretch_it() {
        let utc = |at: Timestamp| at.to_zoned(TimeZone::UTC);
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let noon = at("2026-11-21T12:10:00Z");
        let over = |period: &mut Period, text: &str| period.is_over(Every::Hour, at(text), utc);
        let mut period = Period::of(Every::Hour, noon, &utc(noon));
        assert!(!over(&mut period, "2026-11-21T12:59:59Z"));
        assert!(over(&mut period, "2026-11-21T13:10:00Z"), "an hour forth");
        let forth = at("2026-11-21T13:10:00Z");
        let mut period = Period::of(Every::Hour, forth, &utc(forth));
        assert!(!over(&mut period, "2026-11-21T12:10:01Z"), "and back: nothing is over");
        assert!(over(&mut period, "2026-11-21T13:00:00Z"), "the hour ends where it would have");
        let back = at("2026-11-20T12:00:00Z");
        let mut period = Period::of(Every::Day, noon, &utc(back));
        assert!(!period.is_over(Every::Day, at("2026-11-20T23:59:59Z"), utc), "a file from the future");
        assert!(period.is_over(Every::Day, at("2026-11-21T00:00:00Z"), utc));
    }
}
