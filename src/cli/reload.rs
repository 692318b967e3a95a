//! `eggctl reload` and `eggctl scale`: what is asked of the master, resolved and checked; the receipt.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::running::{self, Running};
use super::{start, tail};
use crate::control::{Reload, Request, Scale};
use crate::error::Exit;
use crate::options::flags::{self, ReloadFlags, ScaleFlags};
use crate::options::{self, Options};

/// Runs `reload`.
///
/// # Errors
/// A [`crate::error::Failure`]: what was typed or configured is wrong, nothing runs, or the new members did not come up.
pub fn run(flags: &ReloadFlags) -> anyhow::Result<Exit> {
    let (batch, title) = (flags.checked_batch()?, flags.whom.checked_title()?);
    let (boot_timeout_ms, drain_timeout_ms) = (flags.checked_boot_timeout_ms()?, flags.checked_drain_timeout_ms()?);
    let running = running::find(title.as_ref())?;
    let options = resolved_anew(&running)?.map(Box::new);
    let (rolling, agent) = (flags.rolling, flags.agent);
    let request = Request::Reload(Reload { rolling, batch, agent, boot_timeout_ms, drain_timeout_ms, options });
    finish(&running, request, flags.json)
}

/// Runs `scale`.
///
/// # Errors
/// As above.
pub fn scale(flags: &ScaleFlags) -> anyhow::Result<Exit> {
    let scale = match flags.checked_workers()? {
        (None, count) => Scale::To(count),
        (Some('+'), more) => Scale::More(more),
        (Some(_), fewer) => Scale::Fewer(fewer),
    };
    let title = flags.whom.checked_title()?;
    finish(&running::find(title.as_ref())?, Request::Scale(scale), flags.json)
}

fn finish(running: &Running, request: Request, json: bool) -> anyhow::Result<Exit> {
    let log = Log::now(running);
    let receipt = running.ask(request, None, "").map_err(|failure| match log.and_then(Log::since) {
        Some(lines) if failure.beside.is_none() && failure.exit == Exit::Failed => failure.beside(lines),
        _ => failure,
    })?;
    running::print(&running.title, &receipt, json);
    Ok(Exit::Done)
}

/// The options of a start as it was typed, from files as they are now and from the environment that the master has.
/// `None`: it was not started by a command of ours, and goes on with what it has.
fn resolved_anew(running: &Running) -> anyhow::Result<Option<Options>> {
    let Some(command) = &running.record.command else { return Ok(None) };
    let around = start::surroundings_of(running.record.pid, Path::new(&command.cwd))?;
    Ok(Some(options::resolve(&flags::parse_start(&command.arguments)?, &around)?))
}

/// The end of a detached application's stderr log at one moment.
struct Log {
    path: PathBuf,
    file: File,
    end: u64,
    master: u32,
}

impl Log {
    fn now(running: &Running) -> Option<Log> {
        let (_, stderr) = running.record.logs.as_ref()?;
        let path = PathBuf::from(stderr);
        let file = File::open(&path).ok()?;
        let end = file.metadata().ok()?.len();
        Some(Log { path, file, end, master: running.record.pid })
    }

    /// What was written since, the master's own lines left out: the last words of who failed.
    fn since(self) -> Option<String> {
        let text = tail::since(&self.file, self.end).ok()?;
        tail::shown(&text, &self.path, Some(self.master))
    }
}
