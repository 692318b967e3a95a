//! What a restart needs to start an application that it has stopped: kept until the application runs again or is stopped, so
//! that a restart whose new start fails can be tried again with the same flags, directory and environment.

use std::io;
use std::path::PathBuf;

use nix::unistd::{UnlinkatFlags, unlinkat};
use serde::{Deserialize, Serialize};

use super::directory::Directory;
use super::names::hash;
use super::record::Command;
use crate::error::Failure;
use crate::options::{Title, Variables};

/// The format that this program writes and the only one it reads.
const FORMAT: u32 = 1;
/// No environment is larger, in bytes: the kernel's limit for arguments and environment of one program is 6 MiB.
const LONGEST: u64 = 16 * 1024 * 1024;
/// What a start writes into the directory, generously, in bytes.
const ROOM: usize = 32 * 1024;

/// How an application is started again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Again {
    format: u32,
    /// Its title.
    pub title: Title,
    /// Where it lives.
    pub base_dir: PathBuf,
    /// What is typed after `eggctl start`, and where.
    pub command: Command,
    /// Its environment.
    pub environment: Variables,
    /// The number of workers that a scale has set.
    #[serde(default)]
    pub scaled: Option<u32>,
}

impl Again {
    /// The application of this title, to be started by this command in this environment.
    #[must_use]
    pub fn new(title: Title, base_dir: PathBuf, command: Command, environment: Variables) -> Self {
        Again { format: FORMAT, title, base_dir, command, environment, scaled: None }
    }
}

impl Directory {
    /// Keeps how an application is started again, and makes sure of the room that its start will need.
    ///
    /// # Errors
    /// The directory cannot be written, or is full.
    pub fn keep_again(&self, again: &Again) -> Result<(), Failure> {
        let name = file_name(&again.title);
        let failure = |error: &io::Error| self.failure(&name, error);
        let text = serde_json::to_vec(again).map_err(|error| failure(&error.into()))?;
        self.replace(&name, &text).map_err(|error| failure(&error))?;
        let probe = format!("{name}.room");
        let tried = self.replace(&probe, &[b' '; ROOM]);
        let _ = unlinkat(self.descriptor(), probe.as_str(), UnlinkatFlags::NoRemoveDir);
        tried.map_err(|error| {
            self.forget_again(&again.title);
            failure(&error)
        })
    }

    /// How the application of this title is started again, if a restart has left it down.
    #[must_use]
    pub fn again(&self, title: &Title) -> Option<Again> {
        self.read_again(&file_name(title)).filter(|again| again.title == *title)
    }

    /// All applications that a restart has left down.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn all_again(&self) -> Result<Vec<Again>, Failure> {
        let read = |name: &String| self.read_again(name).filter(|again| file_name(&again.title) == *name);
        Ok(self.names(".again")?.iter().filter_map(read).collect())
    }

    /// It runs again, or is to stay down.
    pub fn forget_again(&self, title: &Title) {
        let _ = unlinkat(self.descriptor(), file_name(title).as_str(), UnlinkatFlags::NoRemoveDir);
    }

    fn read_again(&self, name: &str) -> Option<Again> {
        let text = self.read_up_to(name, LONGEST).ok()?;
        serde_json::from_slice(&text).ok().filter(|again: &Again| again.format == FORMAT)
    }
}

fn file_name(title: &Title) -> String {
    format!("{}.again", hash(title.as_str().as_bytes()))
}
