//! What is meant: flags, environment and package.json become `Options`, which cannot be invalid.
//!
//! Everything is resolved by the parent, before anything is started; the master gets the whole in a sealed memfd.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::sys::crossing;

pub(crate) mod any_path;
mod asked;
mod changed;
mod checked;
mod egg;
mod env_file;
pub mod flags;
mod framework;
mod js_data;
mod log_options;
pub mod logs;
mod node_flags;
mod not_yet;
mod package;
mod place;
mod pm2;
mod program;
mod resolve;
mod restarted;
mod script;
mod serving;
mod settings;
mod start_cluster;
mod surroundings;
#[cfg(test)]
mod tests;
mod variables;

pub use changed::Changed;
pub use checked::Count;
pub use log_options::{AGENTS_LOG, Every, Full, LogOptions, member_log, spares_log, workers_log};
pub use place::{AGENT_SCRIPT, default_title};
pub use resolve::{resolve, resolve_for};
pub use restarted::Restarted;
pub use start_cluster::{StartCluster, resolve_start_cluster};
pub use surroundings::{Source, Surroundings};
pub use variables::Variables;

/// The longest title, in bytes.
pub const LONGEST_TITLE: usize = 200;

/// A title: 1 to [`LONGEST_TITLE`] bytes without control characters. Names on disk are hashes of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Title(String);

impl Title {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Title {
    /// Why the text is no title: the end of a sentence that begins with "the title".
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.is_empty() {
            return Err("is empty".to_owned());
        }
        if text.len() > LONGEST_TITLE {
            return Err(format!("is {} bytes long, and {LONGEST_TITLE} is the most", text.len()));
        }
        match text.chars().find(|character| character.is_control()) {
            Some(control) => Err(format!("holds the control character U+{:04X}", u32::from(control))),
            None => Ok(Title(text)),
        }
    }
}

impl From<Title> for String {
    fn from(title: Title) -> String {
        title.0
    }
}

/// What runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Application {
    /// A Node application: `agent.js` beside `app.js`, or one script.
    Node {
        /// Absolute path of the script each worker runs.
        script: PathBuf,
        /// Absolute path of the agent's script.
        agent: Option<PathBuf>,
        /// Does a client keep its worker? Then the master chooses by the client's address to whom it hands a connection.
        sticky: bool,
    },
    /// An Egg application: the framework's own files run, and find the application by their options. All paths are UTF-8.
    Egg {
        /// The framework's directory as egg-scripts gives it: links in it are not followed.
        framework: PathBuf,
        /// What the framework calls itself.
        framework_name: String,
        /// Its version; empty when it has none.
        framework_version: String,
        /// Which protocol its members speak.
        family: Family,
        /// The file that the agent runs, links followed.
        agent: PathBuf,
        /// The file that each worker runs, links followed.
        worker: PathBuf,
        /// Does a client keep its worker? Then the master listens itself, and chooses by the client's address.
        sticky: bool,
        /// Where each worker serves plain http besides.
        debug_port: Option<u16>,
        /// Egg's options as its own master would have them, a JSON object, but for the ports that the master chooses.
        cluster_options: String,
        /// Those that egg-scripts would give to that master, a JSON object: shown, and read by nobody.
        scripts_options: String,
    },
}

/// What an Egg's members say when they are ready, and where their files are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Family {
    /// egg-cluster: Egg 3 and before. A worker is ready when it listens.
    Three,
    /// @eggjs/cluster: Egg 4. A worker says that it is ready.
    Four,
}

/// From which level on the master's own lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum LogLevel {
    /// All of them.
    #[default]
    Info,
    /// Warnings and errors.
    Warn,
    /// Errors.
    Error,
    /// None at all.
    None,
}

/// How connections find their workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum DispatchPolicy {
    /// The master accepts, and hands each connection to the next free worker: Node's default.
    #[default]
    RoundRobin,
    /// The workers have the socket and accept by themselves: less work in all, and less even.
    Shared,
}

/// Everything the master needs to know. Valid by construction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Options {
    /// The string that `stop` looks for.
    pub title: Title,
    /// What the application calls itself (package.json's name, else the script's file name): shown.
    pub name: String,
    /// Absolute directory of the application. UTF-8: Node can run nothing elsewhere.
    pub base_dir: PathBuf,
    /// Absolute path of the members' working directory.
    #[serde(with = "any_path")]
    pub directory: PathBuf,
    /// What runs.
    pub application: Application,
    /// The application's own arguments, for every member.
    pub arguments: Vec<OsString>,
    /// What is to be said about the script that was found, where it was not named.
    pub said: Option<String>,
    /// How many workers: 1 to [`MOST_WORKERS`].
    pub workers: u32,
    /// Is their number, as it is configured, that of the CPUs?
    #[serde(default)]
    pub workers_from_cpus: bool,
    /// How many are configured, where a scale has set another number: a restart keeps that.
    #[serde(default)]
    pub scaled_from: Option<u32>,
    /// The port the application serves; `None`: the first at which other machines reach it, else where it listens.
    pub port: Option<u16>,
    /// Where the port came from, in words.
    pub port_from: Option<String>,
    /// How connections find their workers.
    pub dispatch: DispatchPolicy,
    /// `$HOST`: in the address that is shown, nowhere else.
    pub host: Option<String>,
    /// `--env`: `EGG_SERVER_ENV`.
    pub env: Option<String>,
    /// Detach?
    pub daemon: bool,
    /// How many booted workers wait at the gate to take the place of a dead one; none where the dead are not replaced.
    pub spares: u32,
    /// `--exit-when-down`.
    pub exit_when_down: bool,
    /// Where the members' stdout goes when it is logged.
    #[serde(with = "any_path")]
    pub stdout: PathBuf,
    /// Where the members' stderr goes when it is logged.
    #[serde(with = "any_path")]
    pub stderr: PathBuf,
    /// How the logs are kept; `None`: there are none, stdout and stderr are the terminal's or whoever's.
    pub logs: Option<LogOptions>,
    /// How long the start may take, in milliseconds.
    pub timeout_ms: u64,
    /// Does output on stderr before ready not fail the start?
    pub ignore_stderr: bool,
    /// Absolute path of the node program.
    #[serde(with = "any_path")]
    pub node: PathBuf,
    /// Node flags before the script.
    pub node_flags: Vec<String>,
    /// Do the members get the preload (blocking output, polite leave)?
    pub preload: bool,
    /// `EGG_MASTER_LOGGER_LEVEL`.
    pub log_level: LogLevel,
    /// `EGG_APP_CLOSE_TIMEOUT`, in milliseconds.
    pub worker_close_grace_ms: u64,
    /// `EGG_AGENT_CLOSE_TIMEOUT`, in milliseconds.
    pub agent_close_grace_ms: u64,
    /// The environment that the user gave to the start, for the next start or reload to resolve from. Members inherit it.
    #[serde(default)]
    pub given: Variables,
    /// What the files of `--env-file` add to it, for members.
    #[serde(default)]
    pub from_files: Variables,
    /// What is set in the master's and the members' environment, over what the user gave.
    pub environment: Vec<(OsString, OsString)>,
    /// The instance cookie: in the environment of every process of this tree. Empty until [`Options::take_cookie`].
    pub cookie: String,
}

impl Options {
    /// A scale has set the number of workers.
    pub fn scale(&mut self, workers: u32) {
        let configured = self.configured_workers();
        self.workers = workers;
        self.scaled_from = (workers != configured).then_some(configured);
    }

    /// How many workers are configured.
    #[must_use]
    pub fn configured_workers(&self) -> u32 {
        self.scaled_from.unwrap_or(self.workers)
    }

    /// Gives the new tree its mark, once its title is taken.
    pub fn take_cookie(&mut self, cookie: String) {
        self.environment.retain(|(name, _)| name != COOKIE_VARIABLE);
        self.environment.push((COOKIE_VARIABLE.into(), (&cookie).into()));
        self.cookie = cookie;
    }

    /// The environment that members inherit, before anything is set in it for one of them.
    #[must_use]
    pub fn inherited(&self) -> Variables {
        let set = self.environment.iter().cloned();
        Variables(self.from_files.0.clone().into_iter().chain(self.given.0.clone()).chain(set).collect())
    }

    /// Is there an agent?
    #[must_use]
    pub fn has_agent(&self) -> bool {
        match &self.application {
            Application::Node { agent, .. } => agent.is_some(),
            Application::Egg { .. } => true,
        }
    }

    /// What is said to start: with Egg it is the framework, in egg-scripts' words and egg-cluster's ("egg started on …"),
    /// else the application.
    #[must_use]
    pub fn what_starts(&self) -> &str {
        match &self.application {
            Application::Egg { framework_name, .. } => framework_name,
            Application::Node { .. } => &self.name,
        }
    }

    /// Is it an Egg application?
    #[must_use]
    pub fn is_egg(&self) -> bool {
        matches!(self.application, Application::Egg { .. })
    }

    /// Does a client keep its worker, of whatever application?
    #[must_use]
    pub fn keeps_clients(&self) -> bool {
        self.is_sticky() || matches!(self.application, Application::Node { sticky: true, .. })
    }

    /// Does a client of an Egg application keep its worker? Then the master serves itself.
    #[must_use]
    pub fn is_sticky(&self) -> bool {
        matches!(self.application, Application::Egg { sticky: true, .. })
    }

    /// Where each worker serves plain http besides.
    #[must_use]
    pub fn debug_port(&self) -> Option<u16> {
        match self.application {
            Application::Egg { debug_port, .. } => debug_port,
            Application::Node { .. } => None,
        }
    }

    /// Is a dead worker replaced? egg-cluster's rule: everywhere except in development. A dead agent is replaced there, too.
    #[must_use]
    pub fn replaces_the_dead(&self) -> bool {
        match self.env.as_deref() {
            Some(env) => !matches!(env, "local" | "unittest"),
            // Always so but under a parent that has its own idea.
            None => self.environment.contains(&("NODE_ENV".into(), "production".into())),
        }
    }

    /// Does the master give up when there has been no agent, or no worker, for 30 s? Egg's does. A daemon is looked after
    /// by nobody: it goes on, unless it is told that somebody starts it anew.
    #[must_use]
    pub fn exits_when_down(&self) -> bool {
        self.exit_when_down || !self.daemon
    }

    /// The directory that egg-scripts makes for alinode, Node's profiler: `NODE_LOG_DIR` of the members.
    #[must_use]
    pub fn node_log_dir(&self) -> Option<&OsStr> {
        self.environment.iter().find(|(name, _)| name == "NODE_LOG_DIR").map(|(_, value)| value.as_os_str())
    }

    /// The options as the master's argv shows them: what Egg's own master would show, compact as `JSON.stringify` writes
    /// it, so that egg-scripts finds our masters by the text `"title":"svc"`. Nobody reads the options back from it.
    #[must_use]
    pub fn shown_json(&self) -> String {
        if let Application::Egg { scripts_options, .. } = &self.application {
            return scripts_options.clone();
        }
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        let port = self.port.map(|port| format!("\"port\":{port},")).unwrap_or_default();
        let base_dir = quoted(&self.base_dir.to_string_lossy());
        let title = quoted(self.title.as_str());
        format!("{{\"workers\":{},{port}\"baseDir\":{base_dir},\"title\":{title}}}", self.workers)
    }
}

/// The variable that marks every process of one tree with its cookie.
pub const COOKIE_VARIABLE: &str = "EGGCTL_INSTANCE";

/// The variable by which a restart says to the start that it becomes what it has stopped: see [`Restarted`].
pub const RESTART_VARIABLE: &str = "EGGCTL_RESTART";

/// The variable by which a restart that prints JSON hands what it has to say so far to the start that it becomes.
pub const RESTART_OBJECT_VARIABLE: &str = "EGGCTL_RESTART_OBJECT";

/// Taken from the environment of master and members, unless set anew for a member. With the first five a member would
/// believe in a channel or a cluster of somebody else's, with the next four in a place that is another master's worker's, with
/// `LISTEN_…` in sockets that only the master has inherited; the others switch off sending in Egg's messenger (`sendmessage`
/// does so under node-dev, which it sees in `_`, a shell's word for the program that it ran).
pub const SCRUBBED: &[&str] = &[
    "NODE_CHANNEL_FD",
    "NODE_CHANNEL_SERIALIZATION_MODE",
    "NODE_UNIQUE_ID",
    "EGGCTL_MEMBER",
    "EGGCTL_AGENT_GRACE",
    "EGGCTL_WORKER",
    "CFORK_WORKER_INDEX",
    "CFORK_WORKER_COUNT",
    "NODE_APP_INSTANCE",
    "LISTEN_PID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    "SENDMESSAGE_ONE_PROCESS",
    "IS_NODE_DEV_RUNNER",
    RESTART_VARIABLE,
    RESTART_OBJECT_VARIABLE,
    "_",
];

/// Is this variable eggctl's or Node's own matter between two processes, which no user sets?
#[must_use]
pub fn is_own(name: &OsStr) -> bool {
    SCRUBBED.iter().chain(&crossing::MASTERS_OWN).chain(&[COOKIE_VARIABLE]).any(|own| name == *own)
}

/// More workers than this are taken for a typing error.
pub const MOST_WORKERS: u32 = 1024;
