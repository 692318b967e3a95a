//! The master's own log lines, in the form that Egg's master has: `2026-11-21 03:04:05,678 INFO 42 [master] …`.
//! INFO and WARN go to stdout, ERROR to stderr (a start fails when something is on stderr before everything is ready).

use std::collections::BTreeMap;
use std::os::fd::AsFd;

use crate::ipc::inbound::Rubbish;
use crate::options::LogLevel;
use crate::sys::{clock, output};

/// How loud a notice is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// What happened.
    Info,
    /// What should not have.
    Warn,
    /// What failed.
    Error,
}

/// Things that can happen a million times a second, and are told once a minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Often {
    /// A frame that is no JSON.
    NotJson,
    /// A frame that is JSON, but no message.
    NotAnEnvelope,
    /// A cluster frame without what it needs.
    BadClusterFrame,
    /// A frame beyond the limit.
    TooLong,
    /// A member claimed to be the master.
    Forged,
    /// A message for nobody.
    Nobody,
    /// A message to a member whose queue is full.
    QueueFull,
    /// A handle that a member sent us.
    Handle,
    /// A cluster request that is not served.
    UnknownRequest,
    /// No descriptors or memory for a connection.
    Exhausted,
    /// A connection to the control socket that is not let in.
    Control,
    /// A worker that takes none of its connections.
    Clogged,
    /// The kernel does not say what is ready, or which children have ended.
    Wait,
    /// The state directory cannot be watched, or made again.
    Directory,
    /// A member is run without the preload.
    Preload,
    /// A signal of this number that means nothing here.
    Signal(i32),
}

impl From<Rubbish> for Often {
    fn from(rubbish: Rubbish) -> Self {
        match rubbish {
            Rubbish::NotJson => Often::NotJson,
            Rubbish::NotAnEnvelope => Often::NotAnEnvelope,
            Rubbish::BadClusterFrame => Often::BadClusterFrame,
        }
    }
}

const A_MINUTE_MS: u64 = 60_000;

/// When a frequent thing was last told, and how often it was kept back since.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    at_ms: u64,
    kept_back: u64,
}

/// Writes notices. Never waits: a line that its stream does not take at once is counted and told about later.
#[derive(Debug)]
pub struct Notices {
    pid: u32,
    from: LogLevel,
    told: BTreeMap<Often, Told>,
    lost: u64,
}

impl Notices {
    /// Notices of the process `pid`, from this level on.
    #[must_use]
    pub fn new(pid: u32, from: LogLevel) -> Self {
        Notices { pid, from, told: BTreeMap::new(), lost: 0 }
    }

    /// Writes one.
    pub fn write(&mut self, level: Level, text: &str) {
        self.write_named(level, None, text);
    }

    /// Writes one that has, in Egg's log, the name of an error before it.
    pub fn write_named(&mut self, level: Level, name: Option<&str>, text: &str) {
        if self.lost > 0 {
            let lost = std::mem::take(&mut self.lost);
            self.line(Level::Warn, "", &format!("{lost} lines were lost because nobody read them"));
        }
        let name = name.map(|name| format!("nodejs.{name}: ")).unwrap_or_default();
        self.line(level, &name, text);
    }

    fn line(&mut self, level: Level, name: &str, text: &str) {
        let (word, itself) = match level {
            Level::Info => ("INFO", LogLevel::Info),
            Level::Warn => ("WARN", LogLevel::Warn),
            Level::Error => ("ERROR", LogLevel::Error),
        };
        if itself < self.from {
            return;
        }
        let line = format!("{} {word} {} {name}[master] {text}\n", clock::log_time(), self.pid);
        let written = match level {
            Level::Info | Level::Warn => output::write_at_once(std::io::stdout().as_fd(), line.as_bytes()),
            Level::Error => output::write_at_once(std::io::stderr().as_fd(), line.as_bytes()),
        };
        if !written {
            self.lost += 1;
        }
    }

    /// Was a warning of this kind written within the last minute?
    #[must_use]
    pub fn is_kept_back(&self, kind: Often, now_ms: u64) -> bool {
        self.told.get(&kind).is_some_and(|told| now_ms < told.at_ms + A_MINUTE_MS)
    }

    /// Would a warning of this kind be kept back now? It is counted then. Asked first, a flood costs no words.
    pub fn keeps_back(&mut self, kind: Often, now_ms: u64) -> bool {
        match self.told.get_mut(&kind) {
            Some(told) if now_ms < told.at_ms + A_MINUTE_MS => {
                told.kept_back += 1;
                true
            }
            Some(_) | None => false,
        }
    }

    /// Writes a warning unless one of its kind was written within the last minute.
    pub fn once_a_minute(&mut self, kind: Often, now_ms: u64, text: &str) {
        if self.keeps_back(kind, now_ms) {
            return;
        }
        let kept_back = self.told.get(&kind).map_or(0, |told| told.kept_back);
        self.told.insert(kind, Told { at_ms: now_ms, kept_back: 0 });
        if kept_back == 0 {
            self.write(Level::Warn, text);
        } else {
            self.write(Level::Warn, &format!("{text} (and {kept_back} more since the last such line)"));
        }
    }
}
