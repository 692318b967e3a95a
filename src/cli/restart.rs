//! `eggctl restart`: stop, then start as it was started, with what was typed now over it. Whatever can be asked beforehand is
//! asked before anything is stopped; how it is started is kept until it runs again.

use std::convert::Infallible;
use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::unistd::{AccessFlags, faccessat};
use serde_json::Value;

use super::choice::{Here, Meant, shown};
use super::object::Object;
use super::running::{self, Running};
use super::start::{self, log_files};
use super::{stop, user};
use crate::error::{Exit, Failure};
use crate::options::flags::{self, RestartFlags, StopFlags};
use crate::options::{
    self, Changed, Options, RESTART_OBJECT_VARIABLE, RESTART_VARIABLE, Restarted, Surroundings, Title, Variables,
};
use crate::state::{self, Again, Directory};
use crate::sys::{crossing, output};

/// More than this is not handed over to the start, in bytes.
const LONGEST_HANDED_OVER: usize = 100 * 1024;

/// Runs the command. It ends as the start that it becomes.
///
/// # Errors
/// A [`Failure`]: nothing runs, what was typed or configured is wrong (then nothing is stopped), it cannot be restarted
/// from here, or it cannot be stopped.
pub fn run(flags: &RestartFlags, object: &mut Object) -> anyhow::Result<Infallible> {
    user::act_for(flags.user.as_deref())?;
    let title = flags.start.checked_title()?;
    title.iter().for_each(|title| object.fact("title", title));
    if let (Some(title), Some(word)) = (&title, &flags.start.place) {
        return Err(Failure::named_twice(&shown(title.as_str()), word).into());
    }
    let meant = Meant::by(title, flags.start.place.as_deref())?;
    let now: Vec<OsString> = std::env::args_os().skip(2).collect();
    let found = running::find(&meant);
    let is_running = found.is_ok();
    let again = match found {
        Ok(running) => Plan::of_running(&running)?.over(flags, &now)?,
        Err(failure) if failure.exit == Exit::NotRunning => match left_down(&meant)? {
            Some(again) => Plan::of_again(again).over(flags, &now)?,
            None => return Err(failure.into()),
        },
        Err(failure) => return Err(failure.into()),
    };
    object.fact("title", &again.title);
    let program = again.check(object)?;
    let name = shown(again.title.as_str());
    if let Some(workers) = again.around.scaled {
        let plural = if workers == 1 { "" } else { "s" };
        object.fact("scaled", workers);
        output::say(format_args!(
            "{name} keeps {workers} worker{plural}, as `eggctl scale` has set; `--workers=N` sets N"
        ));
    }
    let restarted = Restarted {
        user: user::another().to_owned(),
        scaled: again.around.scaled,
        title: again.title.as_str().to_owned(),
    };
    if is_running {
        let mut part = Object::of_part();
        let stopped = stop::stop(&Meant::titled(again.title.clone()), &StopFlags::default(), &mut part);
        object.fact("stopped", part.known().0);
        stopped?;
    }
    let failed = Command::new(program)
        .arg("start")
        .args(again.arguments)
        .current_dir(again.around.cwd)
        .env_clear()
        .envs(again.around.environment)
        .env(RESTART_VARIABLE, restarted.to_string())
        .envs(object.is_wanted().then(|| (RESTART_OBJECT_VARIABLE, handed_over(object))))
        .exec();
    let failure = Failure::new(Exit::Failed, "the start cannot be run").because(failed);
    Err(Failure::down_after_restart(&name, &user::flags_of(&name), failure).into())
}

/// What is known so far, for the start that this process becomes. A variable has at most 128 KiB.
fn handed_over(object: &Object) -> String {
    let (facts, took_ms) = object.known();
    let mut facts = facts.clone();
    if serde_json::to_string(&facts).is_ok_and(|text| text.len() > LONGEST_HANDED_OVER) {
        facts.remove("stopped");
    }
    serde_json::json!({ "facts": facts, "took_ms": took_ms }).to_string()
}

/// This process was a restart before it was a start: what it has to say, if it is to be JSON.
pub fn go_on(object: &mut Object) {
    let Some(text) = std::env::var(RESTART_OBJECT_VARIABLE).ok() else { return };
    let Ok(Value::Object(mut before)) = serde_json::from_str(&text) else { return };
    let Some(Value::Object(facts)) = before.remove("facts") else { return };
    object.want(true);
    object.go_on("restart", facts, before.get("took_ms").and_then(Value::as_u64).unwrap_or(0));
}

/// The application that an earlier restart has left down: of this title, else of this place or the current directory, else the
/// only one.
fn left_down(meant: &Meant) -> Result<Option<(Rc<Directory>, Again)>, Failure> {
    let Some(directory) = user::directory()?.map(Rc::new) else { return Ok(None) };
    if let Some(title) = &meant.title {
        return Ok(directory.again(title).map(|again| (directory, again)));
    }
    let mut all = directory.all_again()?;
    let here = Here::of(meant.place.as_deref())?;
    let is_here = |again: &Again| here.has(again.title.as_str(), std::slice::from_ref(&again.base_dir));
    if meant.place.is_some() || all.iter().any(is_here) {
        all.retain(is_here);
    }
    Ok(all.pop().filter(|_| all.is_empty()).map(|again| (directory, again)))
}

/// How an application will be started again.
struct Plan {
    title: Title,
    /// The state directory that the application has.
    directory: Rc<Directory>,
    base_dir: PathBuf,
    arguments: Vec<OsString>,
    around: Surroundings,
    /// What runs, where it does and shows that.
    runs: Option<Box<Options>>,
}

impl Plan {
    fn of_running(running: &Running) -> anyhow::Result<Self> {
        let name = shown(running.title.as_str());
        if !running.record.daemon {
            return Err(Failure::in_the_foreground(&name, running.record.pid).into());
        }
        let Some(before) = &running.record.command else {
            return Err(Failure::unreachable(&name, "how it was started is not recorded").into());
        };
        // While it lives: what it was started with is in its memory only.
        let (around, runs) = start::surroundings_of(running.record.pid, Path::new(&before.cwd))?;
        let scaled = runs.as_ref().filter(|runs| runs.scaled_from.is_some()).map(|runs| runs.workers);
        let around = Surroundings { scaled, ..around };
        let (title, base_dir) = (running.title.clone(), running.record.base_dir.clone());
        let directory = Rc::clone(&running.directory);
        Ok(Plan { title, directory, base_dir, arguments: before.arguments.clone(), around, runs: runs.map(Box::new) })
    }

    fn of_again((directory, again): (Rc<Directory>, Again)) -> Self {
        let around = start::around(again.environment, again.command.cwd.into());
        let around = Surroundings { scaled: again.scaled, ..around };
        let (title, base_dir, arguments) = (again.title, again.base_dir, again.command.arguments);
        Plan { title, directory, base_dir, arguments, around, runs: None }
    }

    /// With what was typed now over it. A number of workers among that comes before one that a scale has set.
    fn over(self, flags: &RestartFlags, now: &[OsString]) -> Result<Self, Failure> {
        let arguments = flags::typed_over(&self.arguments, now)?;
        let scaled = self.around.scaled.filter(|_| flags.start.workers.is_none());
        let environment = match flags.update_env {
            true => start::updated(&self.around.environment),
            false => self.around.environment,
        };
        Ok(Plan { arguments, around: Surroundings { scaled, environment, ..self.around }, ..self })
    }

    /// Would it start? Asked before anything is stopped. The program that starts it.
    fn check(&self, object: &mut Object) -> anyhow::Result<PathBuf> {
        let (name, cwd) = (shown(self.title.as_str()), &self.around.cwd);
        enterable(cwd).map_err(|why| Failure::cannot_restart_in(&name, cwd, &why))?;
        let program = crossing::own_program()?;
        may(&program, AccessFlags::X_OK).map_err(|why| {
            let why = why.raw_os_error().map_or(Errno::EIO, Errno::from_raw);
            Failure::not_restarted(&name, Failure::cannot_run_itself(&program, why))
        })?;
        let options = options::resolve(&flags::parse_start(&self.arguments)?, &self.around)?;
        if object.is_wanted() && !options.daemon {
            return Err(Failure::json_in_the_foreground().into());
        }
        log_files::check(&options)?;
        let changes = self.runs.iter().flat_map(|runs| runs.changes(&options));
        // The number of workers that a scale has set stays.
        let changes = changes.filter(|one| self.around.scaled.is_none() || one.setting != "workers");
        let changes: Vec<Changed> = changes.map(|one| Changed { command: None, ..one }).collect();
        if !changes.is_empty() {
            object.fact("changed", changes);
        }
        let command = state::Command { arguments: self.arguments.clone(), cwd: cwd.clone().into() };
        let given = Variables(self.around.environment.clone());
        let mut again = Again::new(self.title.clone(), self.base_dir.clone(), command, given);
        again.scaled = self.around.scaled;
        self.directory.keep_again(&again).map_err(|why| Failure::not_restarted(&name, why))?;
        Ok(program)
    }
}

/// Can this be a process's working directory?
fn enterable(directory: &Path) -> io::Result<()> {
    if !directory.metadata()?.is_dir() {
        return Err(Errno::ENOTDIR.into());
    }
    may(directory, AccessFlags::X_OK)
}

fn may(path: &Path, what: AccessFlags) -> io::Result<()> {
    Ok(faccessat(AT_FDCWD, path, what, AtFlags::AT_EACCESS)?)
}
