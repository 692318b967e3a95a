//! What the commands that meet a running application are asked for, checked. Whom they find is their own matter.

use super::asked::LONGEST_MS;
use super::flags::{ReloadFlags, ScaleFlags, StartFlags, StopFlags, WaitFlags, Whom};
use super::place::checked_title;
use super::surroundings::Found;
use super::{MOST_WORKERS, Title};
use crate::error::{Exit, Failure};

/// How long a new worker may take to boot during a reload when nobody says, in milliseconds.
const DEFAULT_BOOT_TIMEOUT_MS: u64 = 60_000;
/// How long an old one may take to leave.
const DEFAULT_DRAIN_TIMEOUT_MS: u64 = 30_000;
/// How long `wait` waits: as long as a start.
const DEFAULT_WAIT_MS: u64 = 300_000;
/// How much of that it waits for an application whose start has not begun.
const DEFAULT_APPEAR_MS: u64 = 10_000;

impl StopFlags {
    /// The title that was typed.
    ///
    /// # Errors
    /// It is none (exit 2): an empty one must never mean "all".
    pub fn checked_title(&self) -> Result<Option<Title>, Failure> {
        typed_title(self.title.as_ref())
    }

    /// How long to wait for the orderly end, in milliseconds, as it was typed.
    ///
    /// # Errors
    /// It is no number from 1 to epoll's longest wait (exit 2).
    pub fn checked_timeout_ms(&self) -> Result<Option<u64>, Failure> {
        typed_ms("--timeout", self.timeout.as_ref(), "timeout")
    }
}

impl StartFlags {
    /// The title that was typed.
    ///
    /// # Errors
    /// It is none (exit 2).
    pub fn checked_title(&self) -> Result<Option<Title>, Failure> {
        typed_title(self.title.as_ref())
    }
}

impl Whom {
    /// The title that was typed.
    ///
    /// # Errors
    /// It is none (exit 2).
    pub fn checked_title(&self) -> Result<Option<Title>, Failure> {
        typed_title(self.title.as_ref())
    }
}

impl ReloadFlags {
    /// How many workers boot at a time, if that was typed.
    ///
    /// # Errors
    /// It is no number of workers (exit 2).
    pub fn checked_batch(&self) -> Result<Option<u32>, Failure> {
        let batch = Found::flag("--batch", self.batch.as_ref());
        batch.map(|typed| number_of_workers(&typed)).transpose()
    }

    /// How long a new worker may take to boot, in milliseconds.
    ///
    /// # Errors
    /// It is no number from 1 to epoll's longest wait (exit 2).
    pub fn checked_boot_timeout_ms(&self) -> Result<u64, Failure> {
        let typed = typed_ms("--boot-timeout", self.boot_timeout.as_ref(), "boot timeout")?;
        Ok(typed.unwrap_or(DEFAULT_BOOT_TIMEOUT_MS))
    }

    /// How long an old worker may take to leave, in milliseconds.
    ///
    /// # Errors
    /// As above.
    pub fn checked_drain_timeout_ms(&self) -> Result<u64, Failure> {
        let typed = typed_ms("--drain-timeout", self.drain_timeout.as_ref(), "drain timeout")?;
        Ok(typed.unwrap_or(DEFAULT_DRAIN_TIMEOUT_MS))
    }
}

impl ScaleFlags {
    /// The sign that was typed, if any, and the number behind it.
    ///
    /// # Errors
    /// It is no number of workers (exit 2).
    pub fn checked_workers(&self) -> Result<(Option<char>, u32), Failure> {
        let typed = self.workers.as_deref().unwrap_or_default();
        let sign = typed.chars().next().filter(|first| matches!(first, '+' | '-'));
        let text = typed.get(usize::from(sign.is_some())..).unwrap_or_default().to_owned();
        // proof of the source: the only thing that stands there.
        let found = Found::flag("N", Some(&text)).ok_or_else(|| Failure::usage("no number of workers"))?;
        Ok((sign, number_of_workers(&found)?))
    }
}

impl WaitFlags {
    /// How long to wait, in milliseconds; 0: ask once.
    ///
    /// # Errors
    /// It is no number from 0 to epoll's longest wait (exit 2).
    pub fn checked_timeout_ms(&self) -> Result<u64, Failure> {
        let typed = Found::flag("--timeout", self.timeout.as_ref());
        typed.map_or(Ok(DEFAULT_WAIT_MS), |typed| typed.number("timeout", 0, LONGEST_MS))
    }

    /// How long the application may take to appear, in milliseconds.
    ///
    /// # Errors
    /// As above.
    pub fn checked_appear_ms(&self) -> Result<u64, Failure> {
        let typed = Found::flag("--appear", self.appear.as_ref());
        typed.map_or(Ok(DEFAULT_APPEAR_MS), |typed| typed.number("appear", 0, LONGEST_MS))
    }
}

fn typed_title(typed: Option<&String>) -> Result<Option<Title>, Failure> {
    Found::flag("--title", typed).map(checked_title).transpose()
}

fn typed_ms(flag: &'static str, typed: Option<&String>, what: &str) -> Result<Option<u64>, Failure> {
    Found::flag(flag, typed).map(|typed| typed.number(what, 1, LONGEST_MS)).transpose()
}

fn number_of_workers(typed: &Found) -> Result<u32, Failure> {
    let count = typed.number("workers", 1, u64::from(MOST_WORKERS))?;
    u32::try_from(count).map_err(|_| Failure::new(Exit::Usage, "workers"))
}
