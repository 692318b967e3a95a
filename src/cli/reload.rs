//! `eggctl reload` and `eggctl scale`: what is asked of the master, resolved and checked; the receipt.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::choice::shown;
use super::object::Object;
use super::progress::Progress;
use super::running::{self, Running};
use super::{start, tail, user};
use crate::control::{Operation, Reload, Request, Scale};
use crate::error::Exit;
use crate::options::flags::{self, ReloadFlags, ScaleFlags};
use crate::options::{self, Options};
use crate::state::Stream;

/// Runs `reload`.
///
/// # Errors
/// A [`crate::error::Failure`]: what was typed or configured is wrong, nothing runs, or the new members did not come up.
pub fn run(flags: &ReloadFlags, object: &mut Object) -> anyhow::Result<Exit> {
    user::act_for(flags.whom.user.as_deref())?;
    let (batch, title) = (flags.checked_batch()?, flags.whom.checked_title()?);
    title.iter().for_each(|title| object.fact("title", title));
    let (boot_timeout_ms, drain_timeout_ms) = (flags.checked_boot_timeout_ms()?, flags.checked_drain_timeout_ms()?);
    let running = running::find(title.as_ref())?;
    if flags.cancel {
        return cancel(&running, Operation::Reload, object);
    }
    running.is_known_to(object);
    let options = resolved_anew(&running)?.map(Box::new);
    let (rolling, agent, replace) = (flags.rolling, flags.agent, flags.replace);
    let reload = Reload { rolling, batch, agent, replace, boot_timeout_ms, drain_timeout_ms, options };
    finish(&running, Request::Reload(reload), Operation::Reload, object)
}

/// Runs `scale`.
///
/// # Errors
/// As above.
pub fn scale(flags: &ScaleFlags, object: &mut Object) -> anyhow::Result<Exit> {
    user::act_for(flags.whom.user.as_deref())?;
    let title = flags.whom.checked_title()?;
    title.iter().for_each(|title| object.fact("title", title));
    if flags.cancel {
        return cancel(&running::find(title.as_ref())?, Operation::Scale, object);
    }
    let scale = match flags.checked_workers()? {
        (None, count) => Scale::To(count),
        (Some('+'), more) => Scale::More(more),
        (Some(_), fewer) => Scale::Fewer(fewer),
    };
    finish(&running::find(title.as_ref())?, Request::Scale(scale), Operation::Scale, object)
}

fn cancel(running: &Running, operation: Operation, object: &mut Object) -> anyhow::Result<Exit> {
    let progress = Progress::new("cancelling", shown(running.title.as_str()), "asking its master");
    let asked = running.ask(Request::Cancel(operation), None, "", (&progress, object));
    drop(progress);
    running::print(running, &asked?, object);
    Ok(Exit::Done)
}

fn finish(running: &Running, request: Request, operation: Operation, object: &mut Object) -> anyhow::Result<Exit> {
    let logs = Log::all_of(running);
    let receipt = running.ask_to_operate(request, operation, object).map_err(|failure| {
        if failure.beside.is_some() || failure.exit != Exit::Failed {
            return failure;
        }
        let last_words: Vec<String> = logs.into_iter().filter_map(Log::since).collect();
        if last_words.is_empty() { failure } else { failure.beside(last_words.join("\n")) }
    })?;
    running.keep_logs(receipt.workers.len());
    running::print(running, &receipt, object);
    Ok(Exit::Done)
}

/// The options of a start as it was typed, from files as they are now and from the environment that the master has.
/// `None`: it was not started by a command of ours, and goes on with what it has.
fn resolved_anew(running: &Running) -> anyhow::Result<Option<Options>> {
    let Some(command) = &running.record.command else { return Ok(None) };
    let around = start::surroundings_of(running.record.pid, Path::new(&command.cwd))?;
    Ok(Some(options::resolve(&flags::parse_start(&command.arguments)?, &around)?))
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
