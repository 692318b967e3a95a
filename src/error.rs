//! Every failure that a user can meet: what happened, why, what to do, and the exit code that tells it to scripts.
//!
//! A failure is made by a constructor named after what went wrong, so that all texts stand in this file.

use std::fmt;
use std::io;
use std::path::Path;

/// The program's exit codes (README, "Exit codes").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// The application could not be started, or what was asked failed.
    Failed = 1,
    /// Usage or configuration.
    Usage = 2,
    /// Not running (never used by `stop`, which is idempotent).
    NotRunning = 3,
    /// Not permitted.
    NotPermitted = 4,
    /// Still alive after everything was tried.
    StillAlive = 5,
}

/// A failure as a user meets it: told once, on stderr, as `error: what: why`, then `hint: …` on its own line.
#[derive(Debug)]
pub struct Failure {
    /// How the process ends.
    pub exit: Exit,
    /// What failed and where, without a full stop.
    pub what: String,
    /// Why, from the outermost cause to the innermost.
    pub why: Vec<String>,
    /// What to do about it.
    pub hint: Option<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.what)?;
        for cause in &self.why {
            write!(out, ": {cause}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}

impl Failure {
    /// A failure with neither cause nor hint yet.
    pub fn new(exit: Exit, what: impl Into<String>) -> Self {
        Failure { exit, what: what.into(), why: Vec::new(), hint: None }
    }

    /// Adds a cause.
    #[must_use]
    pub fn because(mut self, cause: impl fmt::Display) -> Self {
        self.why.push(cause.to_string());
        self
    }

    /// Adds what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// The state directory and /proc.
impl Failure {
    /// A file of the state directory, or the directory, cannot be used.
    #[must_use]
    pub fn state(path: &Path, error: &io::Error) -> Self {
        Failure::new(Exit::Failed, format!("cannot use `{}`", path.display())).because(error)
    }

    /// The state directory could have been made, or could be changed, by somebody else.
    #[must_use]
    pub fn state_place_unsafe(path: &Path, why: &str, variable: &str) -> Self {
        let path = path.display();
        Failure::new(Exit::Failed, format!("state directory `{path}` is not safe to use")).because(why).hint(format!(
            "it must be a directory of yours with mode 0700; repair it, or name another one in {variable}"
        ))
    }

    /// The chosen place of the state directory means something else in every working directory.
    #[must_use]
    pub fn state_place_not_absolute(variable: &str, path: &Path) -> Self {
        Failure::new(Exit::Usage, format!("{variable} is `{}`", path.display()))
            .because("not an absolute path of a directory")
    }

    /// /proc cannot be read.
    #[must_use]
    pub fn no_proc(why: impl fmt::Display) -> Self {
        Failure::new(Exit::Failed, "cannot look at processes").because(why).hint("mount it: `mount -t proc proc /proc`")
    }

    /// The system gives no random bytes.
    #[must_use]
    pub fn no_random_bytes(error: &io::Error) -> Self {
        Failure::new(Exit::Failed, "cannot read `/dev/urandom`").because(error)
    }
}
