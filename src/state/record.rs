//! The record: who serves a title, and what `stop` must know of it.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::options::{Options, Title};
use crate::sys::{clock, proc};

/// The format that this program writes and the only one it reads.
const FORMAT: u32 = 1;
/// More instances of one title than this are not killed in a row without a stop between them.
const MOST_EARLIER: usize = 16;

/// How far the application of a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RecordPhase {
    /// Not ready yet: the pid is the waiting parent's, or the master's.
    Starting,
    /// Ready: the pid is the master's.
    Running,
}

/// How an application was started: for `restart`, and for `reload`, which resolves it anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// What was typed behind `eggctl start`.
    pub arguments: Vec<OsString>,
    /// In which directory: a path of any bytes, which serde writes only as this.
    pub cwd: OsString,
}

/// What is written about a running application.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The format of this record.
    pub(super) format: u32,
    /// The version of the program that wrote it.
    pub version: String,
    /// Its title.
    pub title: Title,
    /// Who wrote it: the parent or the master.
    pub pid: u32,
    /// When that process started, in clock ticks since boot.
    pub start_ticks: u64,
    /// In which boot.
    pub boot_id: String,
    /// In which pid namespace.
    pub pid_namespace: u64,
    /// How far it is.
    pub phase: RecordPhase,
    /// The instance cookie, in the environment of every process of the tree.
    pub cookie: String,
    /// The cookies of earlier instances of the title whose masters were killed, newest first: what they left behind may
    /// still be there. At most [`MOST_EARLIER`].
    pub earlier_cookies: Vec<String>,
    /// Absolute directory of the application.
    pub base_dir: PathBuf,
    /// The address it serves, once that is known.
    pub address: Option<String>,
    /// When it was started, in milliseconds since 1970; for people.
    pub started_at_ms: u64,
    /// How long the master may take to close, in milliseconds: the sum of its graces.
    pub close_grace_ms: u64,
    /// Is it detached?
    pub daemon: bool,
    /// How it was started, where a command of ours did it.
    pub command: Option<Command>,
}

impl Record {
    /// The record of the calling process, parent or master, which starts the application of these options.
    ///
    /// # Errors
    /// When /proc is not there.
    pub fn of_self(options: &Options) -> io::Result<Self> {
        let pid = std::process::id();
        Ok(Record {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            title: options.title.clone(),
            pid,
            start_ticks: proc::start_ticks(pid)?,
            boot_id: proc::boot_id()?,
            pid_namespace: proc::pid_namespace()?,
            phase: RecordPhase::Starting,
            cookie: options.cookie.clone(),
            earlier_cookies: Vec::new(),
            base_dir: options.base_dir.clone(),
            address: None,
            started_at_ms: clock::unix_ms(),
            close_grace_ms: options.worker_close_grace_ms.saturating_add(options.agent_close_grace_ms),
            daemon: options.daemon,
            command: None,
        })
    }

    /// Takes over what the record before this one knew: its instance has gone without a word, or is this one.
    pub fn follow(&mut self, before: Record) {
        if before.cookie == self.cookie {
            self.command = before.command;
        }
        let known = std::iter::once(before.cookie).chain(before.earlier_cookies);
        self.earlier_cookies = known.filter(|cookie| *cookie != self.cookie).take(MOST_EARLIER).collect();
    }

    /// Reads what was written; `None` for rubbish and for other formats.
    #[must_use]
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok().filter(|record: &Record| record.format == FORMAT)
    }

    /// Is its process alive? A process elsewhere (another boot, another pid namespace) is not.
    #[must_use]
    pub(super) fn fits(&self) -> bool {
        self.is_of_here() && proc::start_ticks(self.pid).is_ok_and(|ticks| ticks == self.start_ticks)
    }

    /// Do its pid and ticks mean anything here: the same boot, the same pid namespace?
    #[must_use]
    pub(super) fn is_of_here(&self) -> bool {
        proc::boot_id().is_ok_and(|boot| boot == self.boot_id)
            && proc::pid_namespace().is_ok_and(|namespace| namespace == self.pid_namespace)
    }
}
