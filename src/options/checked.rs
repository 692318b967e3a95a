//! What the commands that meet a running application are asked for, checked. Whom they find is their own matter.

use std::path::Path;

use super::asked::LONGEST_MS;
use super::flags::{ReloadFlags, ScaleFlags, StartFlags, StopFlags, WaitFlags, Whom};
use super::place::checked_title;
use super::surroundings::{Found, Source};
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

/// To which number of workers `scale` is asked to change it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// This many.
    To(u32),
    /// This number more.
    More(u32),
    /// This number fewer.
    Fewer(u32),
    /// As many as CPUs can be used.
    Max,
}

impl ScaleFlags {
    /// What the two words mean, in either order: the number, and the application. With `--cancel` there is no number.
    ///
    /// # Errors
    /// There is no number of workers, or one beside `--cancel` (exit 2).
    pub fn checked_words(&self) -> Result<(Option<Count>, Option<&str>), Failure> {
        let (first, second) = (self.workers.as_deref(), self.whom.name.as_deref().and_then(Path::to_str));
        let is_count = |word: &&str| {
            let digits = word.strip_prefix(['+', '-']).unwrap_or(word);
            *word == "max" || !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
        };
        let is_swapped = second.as_ref().is_some_and(is_count) && !first.as_ref().is_some_and(is_count);
        let (count, word) = if is_swapped { (second, first) } else { (first, second) };
        if self.cancel {
            return match (count.filter(is_count), count.or(word)) {
                (Some(_), _) => Err(Failure::usage("`--cancel` takes no number of workers")),
                (None, word) => Ok((None, word)),
            };
        }
        let typed = count.ok_or_else(|| Failure::usage("the number of workers is missing"))?;
        let sign = typed.chars().next().filter(|first| matches!(first, '+' | '-'));
        if typed == "max" {
            return Ok((Some(Count::Max), word));
        }
        let text = typed.get(usize::from(sign.is_some())..).unwrap_or_default().to_owned();
        let number = number_of_workers(&Found { text, source: Source::Flag("N") })?;
        let count = match sign {
            None => Count::To(number),
            Some('+') => Count::More(number),
            Some(_) => Count::Fewer(number),
        };
        Ok((Some(count), word))
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
