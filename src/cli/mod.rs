//! What was typed and what is printed: one file per command, straight-line blocking code.

use std::process::ExitCode;

/// Runs the command that was typed.
#[must_use]
pub fn run() -> ExitCode {
    todo!()
}
