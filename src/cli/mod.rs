//! What was typed and what is printed: one file per command, straight-line blocking code.

mod appear;
mod choice;
mod claims;
mod cwd;
mod ending;
mod last_receipt;
#[doc(hidden)]
pub mod logs;
mod masters;
mod node_line;
mod object;
mod progress;
mod reload;
mod restart;
mod running;
mod start;
mod start_cluster;
mod stop;
mod tail;
mod user;
mod wait;

use std::process::ExitCode;

use crate::error::{Exit, Failure};
use crate::options::flags::{self, Command, NoCommand};
use crate::sys::crossing::Crossing;
use crate::sys::{descriptors, output, signals};

use object::Object;

/// Runs the command that was typed, or the master when this program was started by itself.
#[must_use]
pub fn run() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|word| word == "logger") {
        return crate::logger::run();
    }
    match prepare() {
        Ok(Some(crossing)) => return crate::master::run(crossing),
        Ok(None) => {}
        Err(error) => return Object::of_typed(std::env::args_os()).end(Err(error)),
    }
    if let Some(typed) = start_cluster::typed() {
        return match start_cluster::run(&typed) {
            Ok(exit) => ExitCode::from(exit as u8),
            Err(error) => ExitCode::from(tell(&error) as u8),
        };
    }
    let mut object = Object::of_typed(std::env::args_os());
    let result = match flags::parse(std::env::args_os()) {
        Ok(cli) => run_command(cli.command, &mut object),
        Err(NoCommand::Asked(text)) => {
            object.want(false);
            delivered(text.trim_end())
        }
        Err(NoCommand::Wrong(failure)) => Err(failure.into()),
    };
    object.end(result)
}

fn run_command(command: Command, object: &mut Object) -> anyhow::Result<Exit> {
    object.want(match &command {
        Command::Start(flags) => flags.json,
        Command::Stop(flags) => flags.json,
        Command::Restart(flags) => flags.start.json,
        Command::Reload(flags) => flags.json,
        Command::Scale(flags) => flags.json,
        Command::Wait(flags) => flags.json,
        Command::Logs(_) => false,
    });
    match command {
        Command::Start(flags) => start::run(&flags, object),
        Command::Stop(flags) => stop::run(&flags, object),
        Command::Restart(flags) => restart::run(&flags, object).map(|never| match never {}),
        Command::Reload(flags) => reload::run(&flags, object),
        Command::Scale(flags) => reload::scale(&flags, object),
        Command::Wait(flags) => wait::run(&flags, object),
        Command::Logs(flags) => logs::run(&flags),
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

/// Prints what was asked for: a stdout that does not take it is a failure.
fn delivered(text: impl std::fmt::Display) -> anyhow::Result<Exit> {
    output::deliver_line(text).map_err(|error| Failure::unwritten(&error))?;
    Ok(Exit::Done)
}

/// `error: what: why`, then what belongs beside it, then `hint: …` on its own line; the exit code of the failure.
fn tell(error: &anyhow::Error) -> Exit {
    let failure = error.downcast_ref::<Failure>();
    output::complain(format_args!("error: {error:#}"));
    if let Some(lines) = failure.and_then(|failure| failure.beside.as_ref()) {
        output::complain(lines);
    }
    if let Some(hint) = failure.and_then(|failure| failure.hint.as_ref()) {
        output::complain(format_args!("hint: {hint}"));
    }
    failure.map_or(Exit::Failed, |failure| failure.exit)
}
