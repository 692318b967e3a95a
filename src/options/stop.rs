//! What `stop` is asked for.

use std::path::Path;

use super::Title;
use super::flags::StopFlags;
use super::place::{checked_title, default_title};
use super::resolve::LONGEST_MS;
use super::surroundings::Found;
use crate::error::Failure;

/// Whom to stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whom {
    /// The masters of this title: typed, or the title of the application in the place typed or in the current directory.
    Title(Title),
    /// The only master that runs: nothing was typed, and the current directory is no application.
    OnlyOne,
    /// All of the user's.
    All,
}

/// Everything that a stop needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StopOptions {
    /// Whom to stop.
    pub whom: Whom,
    /// How long to wait for the orderly end, in milliseconds; `None`: the master's own graces and a little.
    pub timeout_ms: Option<u64>,
    /// Whose, when not the caller's own.
    pub user: Option<String>,
}

/// Resolves what was typed after `eggctl stop`.
///
/// # Errors
/// A title or time that is none; a place that does not exist or whose package.json is bad (exit 2).
pub fn resolve_stop(flags: &StopFlags, cwd: &Path) -> Result<StopOptions, Failure> {
    let timeout_ms = match Found::flag("--timeout", flags.timeout.as_ref()) {
        Some(typed) => Some(typed.number("timeout", 1, LONGEST_MS)?),
        None => None,
    };
    let whom = match Found::flag("--title", flags.title.as_ref()) {
        _ if flags.all => Whom::All,
        Some(typed) => Whom::Title(checked_title(typed)?),
        None => default_title(flags.place.as_deref(), cwd)?.map_or(Whom::OnlyOne, Whom::Title),
    };
    Ok(StopOptions { whom, timeout_ms, user: flags.user.clone() })
}
