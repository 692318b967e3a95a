//! The two clocks: monotonic milliseconds for every deadline, local time for people.

use std::sync::OnceLock;

use jiff::tz::TimeZone;
use nix::time::{ClockId, clock_gettime};

/// Milliseconds of `CLOCK_MONOTONIC`: goes on through an exec, stands still for nobody's clock change.
#[must_use]
pub fn monotonic_ms() -> u64 {
    // proof: CLOCK_MONOTONIC exists on every Linux and a valid pointer is passed: clock_gettime cannot fail.
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap_or(nix::sys::time::TimeSpec::new(0, 0));
    let seconds = u64::try_from(now.tv_sec()).unwrap_or(0);
    let nanoseconds = u64::try_from(now.tv_nsec()).unwrap_or(0);
    seconds * 1000 + nanoseconds / 1_000_000
}

/// The local time as log lines have it: `2026-11-21 03:04:05,678`. The zone is read once: jiff reads the system's files again
/// every few minutes, and a process that must not wait for a disk cannot.
#[must_use]
pub fn log_time() -> String {
    static ZONE: OnceLock<TimeZone> = OnceLock::new();
    let zone = ZONE.get_or_init(TimeZone::system);
    jiff::Timestamp::now().to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S,%3f").to_string()
}

/// The local date and time.
#[must_use]
pub fn civil() -> jiff::civil::DateTime {
    jiff::Zoned::now().datetime()
}

/// Milliseconds since 1970, for records that people read; never for a deadline.
#[must_use]
pub fn unix_ms() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or(0)
}
