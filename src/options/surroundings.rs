//! What a process finds around itself, as plain values: the environment, the directory it is in, its user's home, its CPUs.
//! The cli fills them in, so that nothing else here asks the process.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::PathBuf;

use crate::error::Failure;

/// What is around the command.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// The environment.
    pub environment: BTreeMap<OsString, OsString>,
    /// Absolute path of the current directory.
    pub cwd: PathBuf,
    /// The user's home in the passwd database, if there is such a user.
    pub passwd_home: Option<PathBuf>,
    /// How many CPUs can be used (`sys::cpus::usable`); at least 1.
    pub usable_cpus: u32,
    /// The number of workers that a scale has set and that a restart keeps: it comes before what is configured.
    pub scaled: Option<u32>,
}

/// Where a value came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A flag of the command line, with its dashes.
    Flag(&'static str),
    /// A variable of the environment, without `$`.
    Variable(&'static str),
    /// The application's package.json.
    PackageJson,
    /// A key of package.json's `eggScriptsConfig`.
    Setting(&'static str),
    /// A key of the options that were given to `start-cluster`.
    StartCluster(&'static str),
    /// Nobody gave one.
    Default,
}

impl fmt::Display for Source {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Flag(flag) => write!(out, "from {flag}"),
            Source::Variable(name) => write!(out, "from ${name}"),
            Source::PackageJson => write!(out, "from package.json"),
            Source::Setting(key) => write!(out, "from eggScriptsConfig.{key} in package.json"),
            Source::StartCluster(key) => write!(out, "from `{key}` in the options of start-cluster"),
            Source::Default => write!(out, "by default"),
        }
    }
}

/// A text, and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The text.
    pub text: String,
    /// Where it came from.
    pub source: Source,
}

impl Found {
    /// What was typed after `flag`.
    pub fn flag(flag: &'static str, typed: Option<&String>) -> Option<Found> {
        typed.map(|text| Found { text: text.clone(), source: Source::Flag(flag) })
    }

    /// The text as a whole number from `low` to `high`.
    ///
    /// # Errors
    /// Names `what` the number is for, the text, the range and the source.
    pub fn number(&self, what: &str, low: u64, high: u64) -> Result<u64, Failure> {
        // Digits only: Rust would also read `+80`, which no other tool does.
        let digits = self.text.bytes().all(|byte| byte.is_ascii_digit());
        match self.text.parse() {
            Ok(number) if digits && (low..=high).contains(&number) => Ok(number),
            _ => Err(Failure::bad_number(what, &self.text, low, high, self.source)),
        }
    }
}

impl Surroundings {
    /// A variable's value. An empty one counts as absent, as in egg-scripts.
    pub fn variable(&self, name: &str) -> Option<&OsStr> {
        self.environment.get(OsStr::new(name)).map(OsString::as_os_str).filter(|value| !value.is_empty())
    }

    /// A variable's value where only text makes sense.
    ///
    /// # Errors
    /// Names the variable whose value is no UTF-8.
    pub fn text(&self, name: &'static str) -> Result<Option<Found>, Failure> {
        let Some(value) = self.variable(name) else { return Ok(None) };
        let text = value.to_str().ok_or_else(|| Failure::not_text(name))?.to_owned();
        Ok(Some(Found { text, source: Source::Variable(name) }))
    }

    /// What was found already, else the variable's text.
    ///
    /// # Errors
    /// Names the variable whose value is no UTF-8.
    pub fn first(&self, found: Option<Found>, variable: &'static str) -> Result<Option<Found>, Failure> {
        match found {
            Some(found) => Ok(Some(found)),
            None => self.text(variable),
        }
    }
}
