//! How logs are kept: `--log-…`, `$EGGCTL_LOG_…`, `eggScriptsConfig["log-…"]`, in this order.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::asked::Asked;
use super::settings::Settings;
use super::surroundings::Found;
use crate::error::Failure;

/// How the logger keeps the logs of one application.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogOptions {
    /// A live file that has reached this size is set aside; in bytes, at least 1.
    pub max_bytes: u64,
    /// A live file is set aside when a new one of these begins.
    pub every: Every,
    /// So many old files are kept of each stream.
    pub keep_files: usize,
    /// So many bytes of old files are kept of each stream.
    pub keep_bytes: u64,
    /// Old files are kept no longer than this, in milliseconds.
    pub keep_age_ms: Option<u64>,
    /// Are old files compressed, but for the newest?
    pub compress: bool,
    /// What happens when the disk is full.
    pub full: Full,
    /// A file for each member?
    pub per_member: bool,
    /// Was the file of stdout chosen by default? Then another one is chosen when it is taken.
    pub stdout_by_default: bool,
    /// Likewise of stderr.
    pub stderr_by_default: bool,
}

/// How often a new file is begun, whatever its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Every {
    /// Each hour.
    Hour,
    /// Each day at midnight, local time.
    Day,
    /// Each Monday at midnight, local time.
    Week,
    /// Only by size.
    Never,
}

/// What happens to lines when the disk is full for longer than a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Full {
    /// They are dropped and counted: the service goes on.
    Drop,
    /// Whoever prints waits.
    Block,
}

/// What the agent's own logs are called after.
pub const AGENTS_LOG: &str = "agent";

/// What the own logs of a worker are called after; slots count from 0, workers from 1.
#[must_use]
pub fn workers_log(slot: u32) -> String {
    format!("worker-{}", u64::from(slot) + 1)
}

/// What the own logs of a spare are called after, as [`workers_log`]. It keeps them when it takes a worker's place: a
/// running process cannot be given another stdout.
#[must_use]
pub fn spares_log(place: u32) -> String {
    format!("spare-{}", u64::from(place) + 1)
}

/// The own log of a member, beside the common one: `worker-2-stdout.log`.
#[must_use]
pub fn member_log(common: &Path, member: &str, which: &str) -> PathBuf {
    common.with_file_name(format!("{member}-{which}.log"))
}

const DEFAULT_MAX_BYTES: u64 = 100 << 20;
const DEFAULT_KEEP_FILES: u64 = 14;
const DEFAULT_KEEP_BYTES: u64 = 1 << 30;
const MOST_BYTES: u64 = i64::MAX as u64;
const MOST_FILES: u64 = 100_000;

/// Units of a size, 1024 each.
const SIZES: &[(&str, u64)] = &[("K", 1 << 10), ("M", 1 << 20), ("G", 1 << 30), ("T", 1 << 40)];
/// Units of an age, in milliseconds.
const AGES: &[(&str, u64)] =
    &[("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 24 * 3_600_000), ("w", 7 * 24 * 3_600_000)];

impl Asked<'_> {
    /// How logs are to be kept.
    pub fn logs(&self) -> Result<LogOptions, Failure> {
        let flags = &self.flags.logs;
        let find = |typed: &Option<String>, flag, variable, key| self.log_value(typed.as_ref(), flag, variable, key);
        let size = find(&flags.log_max_size, "--log-max-size", "EGGCTL_LOG_MAX_SIZE", "log-max-size")?;
        let every = find(&flags.log_rotate, "--log-rotate", "EGGCTL_LOG_ROTATE", "log-rotate")?;
        let files = find(&flags.log_keep, "--log-keep", "EGGCTL_LOG_KEEP", "log-keep")?;
        let bytes = find(&flags.log_keep_bytes, "--log-keep-bytes", "EGGCTL_LOG_KEEP_BYTES", "log-keep-bytes")?;
        let age = find(&flags.log_keep_age, "--log-keep-age", "EGGCTL_LOG_KEEP_AGE", "log-keep-age")?;
        let full = find(&flags.log_full, "--log-full", "EGGCTL_LOG_FULL", "log-full")?;
        let keep_files = files.map_or(Ok(DEFAULT_KEEP_FILES), |found| found.number("--log-keep", 0, MOST_FILES))?;
        Ok(LogOptions {
            max_bytes: size
                .map_or(Ok(DEFAULT_MAX_BYTES), |found| in_units(&found, "--log-max-size", SIZES, 1, MOST_BYTES))?,
            every: every.map_or(Ok(Every::Day), |found| {
                let words =
                    [("hour", Every::Hour), ("day", Every::Day), ("week", Every::Week), ("never", Every::Never)];
                one_of(&found, "--log-rotate", &words)
            })?,
            keep_files: usize::try_from(keep_files).unwrap_or(usize::MAX),
            keep_bytes: bytes
                .map_or(Ok(DEFAULT_KEEP_BYTES), |found| in_units(&found, "--log-keep-bytes", SIZES, 0, MOST_BYTES))?,
            keep_age_ms: age.map(|found| in_units(&found, "--log-keep-age", AGES, 1_000, MOST_BYTES)).transpose()?,
            compress: self.log_truth(flags.log_compress(), "EGGCTL_LOG_COMPRESS", "log-compress", true)?,
            full: full.map_or(Ok(Full::Drop), |found| {
                one_of(&found, "--log-full", &[("drop", Full::Drop), ("block", Full::Block)])
            })?,
            per_member: self.log_truth(flags.log_per_member(), "EGGCTL_LOG_PER_MEMBER", "log-per-member", false)?,
            stdout_by_default: self.log(self.flags.stdout.as_deref(), "stdout")?.is_none(),
            stderr_by_default: self.log(self.flags.stderr.as_deref(), "stderr")?.is_none(),
        })
    }

    /// Do logs go to files in the foreground too?
    pub fn log_to_files(&self) -> Result<bool, Failure> {
        self.log_truth(self.flags.logs.log_to_files(), "EGGCTL_LOG_TO_FILES", "log-to-files", false)
    }

    fn log_value(
        &self,
        typed: Option<&String>,
        flag: &'static str,
        variable: &'static str,
        key: &'static str,
    ) -> Result<Option<Found>, Failure> {
        let given = self.around.first(Found::flag(flag, typed), variable)?;
        match given {
            Some(given) => Ok(Some(given)),
            None => Settings::number(self.settings, key),
        }
    }

    fn log_truth(
        &self,
        typed: Option<bool>,
        variable: &'static str,
        key: &'static str,
        default: bool,
    ) -> Result<bool, Failure> {
        if let Some(typed) = typed {
            return Ok(typed);
        }
        if let Some(found) = self.around.text(variable)? {
            return one_of(&found, variable, &[("true", true), ("1", true), ("false", false), ("0", false)]);
        }
        Ok(self.settings.truth(key)?.unwrap_or(default))
    }
}

/// A whole number with one of these units behind it, or none for 1.
fn in_units(found: &Found, what: &str, units: &[(&str, u64)], low: u64, high: u64) -> Result<u64, Failure> {
    let text = found.text.trim_end_matches("iB").trim_end_matches('B');
    let unit = units.iter().find_map(|(name, size)| {
        let digits = text.strip_suffix(name).or_else(|| text.strip_suffix(&name.to_lowercase()))?;
        Some((digits, *size))
    });
    let (digits, size) = unit.unwrap_or((text, 1));
    let number = if digits.bytes().all(|byte| byte.is_ascii_digit()) { digits.parse::<u64>().ok() } else { None };
    let value = number.and_then(|number| number.checked_mul(size));
    value.filter(|value| (low..=high).contains(value)).ok_or_else(|| {
        let names: Vec<&str> = units.iter().map(|(name, _)| *name).collect();
        Failure::bad_choice(
            what,
            &found.text,
            &format!("a whole number, or one with {} behind it", names.join(", ")),
            found.source,
        )
    })
}

/// One of these words.
fn one_of<T: Copy>(found: &Found, what: &str, words: &[(&str, T)]) -> Result<T, Failure> {
    words.iter().find(|(word, _)| *word == found.text).map(|(_, value)| *value).ok_or_else(|| {
        let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        Failure::bad_choice(what, &found.text, &words.join(", "), found.source)
    })
}
