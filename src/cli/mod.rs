//! What was typed and what is printed: one file per command, straight-line blocking code.

mod masters;
mod start;
mod stop;

use std::process::ExitCode;

use clap::Parser;

use crate::error::{Exit, Failure};
use crate::options::flags::{Cli, Command};
use crate::sys::crossing::Crossing;
use crate::sys::{descriptors, output, signals};

/// Runs the command that was typed, or the master when this program was started by itself.
#[must_use]
pub fn run() -> ExitCode {
    match prepare() {
        Ok(Some(crossing)) => return crate::master::run(crossing),
        Ok(None) => {}
        Err(error) => return tell(&error),
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return tell_usage(&error),
    };
    let result = match cli.command {
        Command::Start(flags) => start::run(&flags),
        Command::Stop(flags) => stop::run(&flags),
    };
    match result {
        Ok(exit) => ExitCode::from(exit as u8),
        Err(error) => tell(&error),
    }
}

/// What was inherited and must not matter: stray descriptors, and SIGPIPE's and SIGXFSZ's power to kill.
fn prepare() -> anyhow::Result<Option<Crossing>> {
    signals::ignore_write_signals()?;
    let is_master = std::env::args_os().nth(1).is_some_and(|word| word == "start-cluster");
    let crossing = if is_master { Crossing::arrive()? } else { None };
    descriptors::mark_inherited_close_on_exec()?;
    Ok(crossing)
}

/// `error: what: why`, then `hint: …` on its own line; the exit code of the failure.
fn tell(error: &anyhow::Error) -> ExitCode {
    let failure = error.downcast_ref::<Failure>();
    output::complain(format_args!("error: {error:#}"));
    if let Some(hint) = failure.and_then(|failure| failure.hint.as_ref()) {
        output::complain(format_args!("hint: {hint}"));
    }
    let exit = failure.map_or(Exit::Failed, |failure| failure.exit);
    ExitCode::from(exit as u8)
}

/// Help and version go to stdout with exit 0, mistakes to stderr with exit 2.
fn tell_usage(error: &clap::Error) -> ExitCode {
    // A closed pipe is not our failure.
    drop(error.print());
    if error.use_stderr() { ExitCode::from(Exit::Usage as u8) } else { ExitCode::SUCCESS }
}
