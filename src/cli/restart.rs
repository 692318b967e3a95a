//! `eggctl restart`: stop, then start as it was started, with what was typed now over it.

use std::convert::Infallible;
use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use nix::errno::Errno;
use nix::unistd::{AccessFlags, access};

use super::choice::shown;
use super::start::{self, log_files};
use super::{running, stop, user};
use crate::error::{Exit, Failure};
use crate::options::flags::{self, RestartFlags, StopFlags};
use crate::options::{self, Surroundings};
use crate::sys::crossing;

/// Runs the command. It ends as the start that it becomes.
///
/// # Errors
/// A [`Failure`]: nothing runs, what was typed or configured is wrong (then nothing is stopped), it cannot be restarted
/// from here, or it cannot be stopped.
pub fn run(flags: &RestartFlags) -> anyhow::Result<Infallible> {
    user::act_for(flags.user.as_deref())?;
    if flags.start.place.is_some() {
        return Err(Failure::usage("restart takes no DIR or SCRIPT").hint("name the application by `--title`").into());
    }
    let title = flags.start.checked_title()?;
    let running = running::find(title.as_ref())?;
    let name = shown(running.title.as_str());
    if !running.record.daemon {
        return Err(Failure::in_the_foreground(&name, running.record.pid).into());
    }
    let Some(before) = &running.record.command else {
        return Err(Failure::unreachable(&name, "how it was started is not recorded").into());
    };
    enterable(Path::new(&before.cwd)).map_err(|why| Failure::cannot_restart_in(&name, Path::new(&before.cwd), &why))?;
    // While it lives: what it was started with is in its memory only.
    let around = start::surroundings_of(running.record.pid, Path::new(&before.cwd))?;
    let now: Vec<OsString> = std::env::args_os().skip(2).collect();
    let arguments = flags::typed_over(&before.arguments, &now)?;
    check(&arguments, &around)?;
    let stop = StopFlags { title: Some(running.title.as_str().to_owned()), ..StopFlags::default() };
    stop::run(&stop)?;
    let failed = Command::new(crossing::own_program()?)
        .arg("start")
        .args(arguments)
        .current_dir(around.cwd)
        .env_clear()
        .envs(around.environment)
        .exec();
    Err(Failure::new(Exit::Failed, "cannot start it again").because(failed).into())
}

/// Can this be a process's working directory?
fn enterable(directory: &Path) -> io::Result<()> {
    if !directory.metadata()?.is_dir() {
        return Err(Errno::ENOTDIR.into());
    }
    Ok(access(directory, AccessFlags::X_OK)?)
}

/// Would it start? Asked before anything is stopped.
fn check(arguments: &[OsString], around: &Surroundings) -> Result<(), Failure> {
    log_files::check(&options::resolve(&flags::parse_start(arguments)?, around)?)
}
