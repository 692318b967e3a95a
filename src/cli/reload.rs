//! `eggctl reload` and `eggctl scale`: what is asked of the master, resolved and checked; the receipt.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::choice::{Meant, shown};
use super::object::Object;
use super::progress::Progress;
use super::running::{self, Running};
use super::{start, tail, user};
use crate::control::{LONGEST_REQUEST, Operation, Reload, Request, Scale};
use crate::error::{Exit, Failure};
use crate::options::flags::{self, ReloadFlags, ScaleFlags, Whom};
use crate::options::{self, Changed, Count, MOST_WORKERS, Options, Variables};
use crate::state::Stream;
use crate::sys::{cpus, output};

/// The longest environment that a reload can bring, in bytes: in JSON it fits a request, with all else.
const LONGEST_ENVIRONMENT: usize = LONGEST_REQUEST / 2;

/// Runs `reload`.
///
/// # Errors
/// A [`crate::error::Failure`]: what was typed or configured is wrong, nothing runs, or the new members did not come up.
pub fn run(flags: &ReloadFlags, object: &mut Object) -> anyhow::Result<Exit> {
    user::act_for(flags.whom.user.as_deref())?;
    let (batch, meant) = (flags.checked_batch()?, meant(&flags.whom, None)?);
    meant.title.iter().for_each(|title| object.fact("title", title));
    let (boot_timeout_ms, drain_timeout_ms) = (flags.checked_boot_timeout_ms()?, flags.checked_drain_timeout_ms()?);
    let running = running::find(&meant)?;
    if flags.cancel {
        return cancel(&running, Operation::Reload, object);
    }
    running.is_known_to(object);
    let (options, mut needs_restart) = resolved_anew(&running, flags.update_env)?;
    let options = options.map(Box::new);
    if meant.names_one() || user::is_another() {
        name_application(&mut needs_restart, &running);
    }
    if !needs_restart.is_empty() {
        object.fact("needs_restart", &needs_restart);
    }
    let (rolling, agent, replace) = (flags.rolling, flags.agent, flags.replace);
    let reload = Reload { rolling, batch, agent, replace, boot_timeout_ms, drain_timeout_ms, options };
    finish(&running, Request::Reload(reload), Operation::Reload, &needs_restart, object)
}

/// Runs `scale`.
///
/// # Errors
/// As above.
pub fn scale(flags: &ScaleFlags, object: &mut Object) -> anyhow::Result<Exit> {
    user::act_for(flags.whom.user.as_deref())?;
    flags.whom.checked_title()?.iter().for_each(|title| object.fact("title", title));
    let (count, word) = flags.checked_words()?;
    let meant = meant(&flags.whom, word)?;
    meant.title.iter().for_each(|title| object.fact("title", title));
    let Some(count) = count else { return cancel(&running::find(&meant)?, Operation::Scale, object) };
    let scale = match count {
        Count::To(count) => Scale::To(count),
        Count::More(more) => Scale::More(more),
        Count::Fewer(fewer) => Scale::Fewer(fewer),
        Count::Max => Scale::To(cpus::usable().clamp(1, MOST_WORKERS)),
    };
    finish(&running::find(&meant)?, Request::Scale(scale), Operation::Scale, &[], object)
}

/// Which application is meant by the title and by the word that were typed.
fn meant(whom: &Whom, word: Option<&str>) -> Result<Meant, Failure> {
    Meant::by(whom.checked_title()?, word.map(Path::new).or(whom.name.as_deref()))
}

fn cancel(running: &Running, operation: Operation, object: &mut Object) -> anyhow::Result<Exit> {
    let progress = Progress::new("cancelling", shown(running.title.as_str()), "asking its master");
    let asked = running.ask(Request::Cancel(operation), None, "", (&progress, object));
    drop(progress);
    running::print(running, &asked?, object);
    Ok(Exit::Done)
}

/// `needs_restart` is what the request does not bring.
fn finish(
    running: &Running,
    request: Request,
    operation: Operation,
    needs_restart: &[Changed],
    object: &mut Object,
) -> anyhow::Result<Exit> {
    let logs = Log::all_of(running);
    let receipt = running.ask_to_operate(request, operation, object).map_err(|failure| {
        // One of these may be why the new members did not come up.
        let failure = match failure.hint {
            None if failure.exit == Exit::Failed && !needs_restart.is_empty() => failure.hint(changed(needs_restart)),
            _ => failure,
        };
        if failure.beside.is_some() || failure.exit != Exit::Failed {
            return failure;
        }
        let last_words: Vec<String> = logs.into_iter().filter_map(Log::since).collect();
        if last_words.is_empty() { failure } else { failure.beside(last_words.join("\n")) }
    })?;
    running.keep_logs(receipt.workers.len());
    running::print(running, &receipt, object);
    needs_restart.iter().for_each(output::say);
    Ok(Exit::Done)
}

/// The options of a start as it was typed, from files as they are now and from the environment that the user gave; and what
/// has changed that they do not bring. `None`: it was not started by a command of ours, and goes on with what it has.
fn resolved_anew(running: &Running, update_env: bool) -> anyhow::Result<(Option<Options>, Vec<Changed>)> {
    let name = shown(running.title.as_str());
    let Some(command) = &running.record.command else {
        return if update_env {
            Err(Failure::keeps_its_environment(&name, &user::flags_of(&name)).into())
        } else {
            Ok((None, Vec::new()))
        };
    };
    let (mut around, runs) = start::surroundings_of(running.record.pid, Path::new(&command.cwd))?;
    if update_env {
        around.environment = start::updated(&around.environment);
    }
    let flags = flags::parse_start(&command.arguments)?;
    let Some(runs) = runs else {
        return if update_env {
            Err(Failure::keeps_its_environment(&name, &user::flags_of(&name)).into())
        } else {
            Ok((Some(options::resolve(&flags, &around)?), Vec::new()))
        };
    };
    let (mut options, changes) = options::resolve_for(&runs, &flags, &around)?;
    if !update_env {
        // The master has what the user gave: it is long, and a request is not.
        options.given = Variables::default();
    }
    if options.given.length() + options.from_files.length() > LONGEST_ENVIRONMENT {
        let flag = if update_env { "--update-env " } else { "" };
        let command = format!("eggctl restart {flag}{}", user::flags_of(&name));
        return Err(Failure::environment_too_long(&name, &command, LONGEST_ENVIRONMENT).into());
    }
    Ok((Some(options), changes))
}

/// Makes the commands say whose settings they apply, as the command that was typed did: they may be pasted anywhere.
fn name_application(changes: &mut [Changed], running: &Running) {
    let flags = user::flags_of(&shown(running.title.as_str()));
    for command in changes.iter_mut().filter_map(|change| change.command.as_mut()) {
        command.push(' ');
        command.push_str(&flags);
    }
}

/// What has changed, in one line.
fn changed(changes: &[Changed]) -> String {
    changes.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// The end of one of an application's stderr logs at one moment.
struct Log {
    path: PathBuf,
    file: Option<File>,
    end: u64,
    master: u32,
}

impl Log {
    /// All that it has; none where stderr is a terminal or somebody else's.
    fn all_of(running: &Running) -> Vec<Log> {
        let files = running.logs().map(|logs| logs.files).unwrap_or_default();
        let stderr = files.into_iter().filter(|file| file.stream == Stream::Stderr);
        stderr.map(|file| Log::now(file.path, running.record.pid)).collect()
    }

    /// A log that is not there yet has its end at its beginning.
    fn now(path: PathBuf, master: u32) -> Log {
        let file = File::open(&path).ok();
        let end = file.as_ref().and_then(|file| file.metadata().ok()).map_or(0, |metadata| metadata.len());
        Log { path, file, end, master }
    }

    /// What was written since, the master's own lines left out: the last words of who failed.
    fn since(self) -> Option<String> {
        let file = self.file.or_else(|| File::open(&self.path).ok())?;
        let text = tail::since(&file, self.end).ok()?;
        tail::shown(&text, &self.path, Some(self.master))
    }
}
