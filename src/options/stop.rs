//! What `stop` is asked for, checked. Whom it finds is the command's own matter.

use super::Title;
use super::asked::LONGEST_MS;
use super::flags::StopFlags;
use super::place::checked_title;
use super::surroundings::Found;
use crate::error::Failure;

impl StopFlags {
    /// The title that was typed.
    ///
    /// # Errors
    /// It is none (exit 2): an empty one must never mean "all".
    pub fn checked_title(&self) -> Result<Option<Title>, Failure> {
        Found::flag("--title", self.title.as_ref()).map(checked_title).transpose()
    }

    /// How long to wait for the orderly end, in milliseconds, as it was typed.
    ///
    /// # Errors
    /// It is no number from 1 to epoll's longest wait (exit 2).
    pub fn checked_timeout_ms(&self) -> Result<Option<u64>, Failure> {
        Found::flag("--timeout", self.timeout.as_ref()).map(|typed| typed.number("timeout", 1, LONGEST_MS)).transpose()
    }
}
