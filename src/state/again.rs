//! What a restart needs to start an application that it has stopped: kept until the application runs again or is stopped, so
//! that a restart whose new start fails can be tried again with the same flags, directory and environment.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use nix::unistd::{UnlinkatFlags, unlinkat};
use serde::{Deserialize, Serialize};

use super::directory::Directory;
use super::names::hash;
use super::record::Command;
use crate::error::Failure;
use crate::options::Title;

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
    environment: Vec<(Text, Text)>,
}

/// Bytes that are nearly always UTF-8.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
enum Text {
    Utf8(String),
    Bytes(Vec<u8>),
}

impl From<&OsString> for Text {
    fn from(text: &OsString) -> Self {
        text.clone().into_string().map_or_else(|text| Text::Bytes(text.into_vec()), Text::Utf8)
    }
}

impl From<Text> for OsString {
    fn from(text: Text) -> Self {
        match text {
            Text::Utf8(text) => text.into(),
            Text::Bytes(bytes) => OsString::from_vec(bytes),
        }
    }
}

impl Again {
    /// The application of this title, to be started by this command in this environment.
    pub fn new<'a>(
        title: Title,
        base_dir: PathBuf,
        command: Command,
        environment: impl IntoIterator<Item = (&'a OsString, &'a OsString)>,
    ) -> Self {
        let environment = environment.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        Again { format: FORMAT, title, base_dir, command, environment }
    }

    /// Its environment.
    #[must_use]
    pub fn environment(&self) -> Vec<(OsString, OsString)> {
        self.environment.iter().cloned().map(|(name, value)| (name.into(), value.into())).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_environment_of_any_bytes_comes_back_as_it_was() {
        let odd = OsString::from_vec(b"a=\xff\n".to_vec());
        let pairs: [(OsString, OsString); 3] =
            [("A".into(), "b".into()), ("EMPTY".into(), "".into()), (odd.clone(), odd)];
        let title = Title::try_from("svc".to_owned()).unwrap();
        let command = Command { arguments: vec!["--daemon".into()], cwd: "/srv".into() };
        let again = Again::new(title, "/srv/app".into(), command, pairs.iter().map(|(name, value)| (name, value)));
        let read: Again = serde_json::from_slice(&serde_json::to_vec(&again).unwrap()).unwrap();
        assert_eq!(read, again);
        assert_eq!(read.environment(), pairs);
    }
}
