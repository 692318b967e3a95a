//! Where a title's last start logs to: kept when the application has gone, because that is when its logs are read.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::directory::Directory;
use super::names::hash;
use crate::error::Failure;
use crate::options::{Options, Title, any_path};
use crate::sys::clock;

/// The format that this program writes and the only one it reads.
const FORMAT: u32 = 1;

/// What a log holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// What was printed to stdout.
    Stdout,
    /// What was printed to stderr.
    Stderr,
}

/// A log of a title.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogFile {
    /// What it holds.
    pub stream: Stream,
    /// Absolute path of the live file.
    #[serde(with = "any_path")]
    pub path: PathBuf,
}

/// The logs of a title's last start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Logs {
    format: u32,
    /// The title.
    pub title: Title,
    /// Absolute directory of the application.
    pub base_dir: PathBuf,
    /// When it was started, in milliseconds since 1970; for people.
    pub started_at_ms: u64,
    /// The files; none in the foreground. Stdout's first.
    pub files: Vec<LogFile>,
}

impl Logs {
    /// The logs of the application of these options, which starts now.
    #[must_use]
    pub fn of(options: &Options, files: Vec<LogFile>) -> Self {
        Logs {
            format: FORMAT,
            title: options.title.clone(),
            base_dir: options.base_dir.clone(),
            started_at_ms: clock::unix_ms(),
            files,
        }
    }
}

impl Directory {
    /// Keeps where a title logs to. Only for who holds the title's lock.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_logs(&self, logs: &Logs) -> Result<(), Failure> {
        let name = logs_name(&logs.title);
        let text = serde_json::to_vec(logs).map_err(|error| self.failure(&name, &error.into()))?;
        self.replace(&name, &text).map_err(|error| self.failure(&name, &error))
    }

    /// Adds a log to those of a title, if it is not among them: a member has come that the start did not know of.
    ///
    /// # Errors
    /// A failure that names the file.
    pub fn add_log(&self, title: &Title, log: LogFile) -> Result<(), Failure> {
        match self.read_logs(&logs_name(title)) {
            Some(mut logs) if !logs.files.contains(&log) => {
                logs.files.push(log);
                self.write_logs(&logs)
            }
            _ => Ok(()),
        }
    }

    /// Keeps where a title logs to, if that is not known any more. Only for who holds the title's lock.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn restore_logs(&self, logs: &Logs) -> Result<(), Failure> {
        match self.read_logs(&logs_name(&logs.title)) {
            Some(_) => Ok(()),
            None => self.write_logs(logs),
        }
    }

    /// Where each title that was ever started here logs to; the last started first.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn logs(&self) -> Result<Vec<Logs>, Failure> {
        let mut found: Vec<Logs> = self.names(".logs")?.iter().filter_map(|name| self.read_logs(name)).collect();
        found.sort_by_key(|logs| std::cmp::Reverse(logs.started_at_ms));
        Ok(found)
    }

    fn read_logs(&self, name: &str) -> Option<Logs> {
        let logs: Logs = serde_json::from_slice(&self.read_file(name).ok()?).ok()?;
        (logs.format == FORMAT && logs_name(&logs.title) == name).then_some(logs)
    }
}

pub(super) fn logs_name(title: &Title) -> String {
    format!("{}.logs", hash(title.as_str().as_bytes()))
}
