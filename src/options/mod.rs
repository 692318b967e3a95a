//! What is meant: flags, environment and package.json become `Options`, which cannot be invalid.
//!
//! Everything is resolved by the parent, before anything is started; the master gets the whole in a sealed memfd.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A title: 1 to 200 bytes without control characters. Names on disk are hashes of it.
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
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        if text.is_empty() || text.len() > 200 || text.chars().any(char::is_control) {
            return Err("a title has 1 to 200 bytes and no control characters".into());
        }
        Ok(Title(text))
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
    },
}

/// Everything the master needs to know. Valid by construction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Options {
    /// The string that `stop` looks for.
    pub title: Title,
    /// What the application calls itself (package.json's name, else the script's file name): shown.
    pub name: String,
    /// Absolute directory of the application; the members' working directory.
    pub base_dir: PathBuf,
    /// What runs.
    pub application: Application,
    /// How many workers: 1 to [`MOST_WORKERS`].
    pub workers: u32,
    /// The port the application serves; `None`: the first it listens on.
    pub port: Option<u16>,
    /// `--env`: `EGG_SERVER_ENV`.
    pub env: Option<String>,
    /// Detach?
    pub daemon: bool,
    /// Where the members' stdout goes when detached.
    pub stdout: PathBuf,
    /// Where the members' stderr goes when detached.
    pub stderr: PathBuf,
    /// How long the start may take, in milliseconds.
    pub timeout_ms: u64,
    /// Does output on stderr before ready not fail the start?
    pub ignore_stderr: bool,
    /// Absolute path of the node program.
    pub node: PathBuf,
    /// Node flags before the script.
    pub node_flags: Vec<String>,
    /// `EGG_APP_CLOSE_TIMEOUT`, in milliseconds.
    pub worker_close_grace_ms: u64,
    /// `EGG_AGENT_CLOSE_TIMEOUT`, in milliseconds.
    pub agent_close_grace_ms: u64,
    /// What is set in the master's and the members' environment, over what is inherited.
    pub environment: Vec<(String, String)>,
    /// The instance cookie: in the environment of every process of this tree (see `state::Cookie`).
    pub cookie: String,
}

/// More workers than this are taken for a typing error.
pub const MOST_WORKERS: u32 = 1024;
