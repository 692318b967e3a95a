//! What `start --daemon` tells: the story on stdout as egg-scripts tells it, a failure with its class, the last lines of
//! output once, and what to do.

use std::fs::File;
use std::path::Path;

use crate::app;
use crate::error::{Exit, Failure};
use crate::ipc::report::Progress;
use crate::options::Options;
use crate::sys::reap::Ended;
use crate::sys::{output, ports, signals};

use super::super::object::Object;
use super::super::tail;
use super::log_files::LogFiles;
use super::wait::{Ending, Ready};

/// The beginning.
pub fn starting(options: &Options, object: &mut Object) {
    let kind = if options.is_egg() { " application" } else { "" };
    output::say(format_args!("Starting {}{kind} at {}", options.what_starts(), options.base_dir.display()));
    output::say(format_args!("Save log file to {}, {}", options.stdout.display(), options.stderr.display()));
    object.fact("stdout", options.stdout.to_string_lossy());
    object.fact("stderr", options.stderr.to_string_lossy());
}

/// The good end.
pub fn ready(options: &Options, ready: &Ready, object: &mut Object) {
    let place = if ready.address.is_empty() { String::new() } else { format!(" on {}", ready.address) };
    output::say(format_args!("{} started{place}", options.what_starts()));
    let agent = ready.who.agent.map_or_else(String::new, |pid| format!("agent {pid}, "));
    let workers: Vec<String> = ready.who.ready.iter().map(ToString::to_string).collect();
    output::say(format_args!(
        "title {}, master {}, {agent}workers {}, {} ms",
        options.title.as_str(),
        ready.master,
        workers.join(" "),
        ready.took.as_millis()
    ));
    warned(options, &ready.warnings);
    if !ready.address.is_empty() {
        object.fact("address", &ready.address);
    }
    ready.who.agent.into_iter().for_each(|pid| object.fact("agent", pid));
    object.fact("master", ready.master);
    object.fact("workers", &ready.who.ready);
    object.started(ready.took);
    object.fact("warnings", &ready.warnings);
}

/// Node's own lines on stderr: no failure, and not to be overlooked.
fn warned(options: &Options, lines: &[String]) {
    if let Some(shown) = tail::warnings(lines) {
        output::complain(format_args!("warning: node warns on stderr, see {}\n{shown}", options.stderr.display()));
    }
}

/// The bad end, with its class, the last lines and a hint.
#[must_use]
pub fn failure(options: &Options, ending: &Ending, logs: &LogFiles, master: Option<u32>, left: Vec<u32>) -> Failure {
    let name = &options.name;
    let (why, hint) = class(options, ending);
    let mut failure = Failure::new(Exit::Failed, format!("{name} could not be started")).because(why);
    if !left.is_empty() {
        failure.exit = Exit::StillAlive;
        failure = failure.because(format_args!("still alive after KILL: {left:?}"));
    }
    if shows_output(ending)
        && let Some(lines) = last_lines(options, logs, master)
    {
        failure = failure.beside(lines);
    }
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

fn class(options: &Options, ending: &Ending) -> (String, Option<String>) {
    let logs = format!("the whole output is in {}", options.stderr.display());
    match ending {
        Ending::Ready(_) => ("it is ready".to_owned(), None),
        Ending::Failed(failed) => {
            let owner = failed.taken_port.and_then(ports::owner_of);
            let hint = owner.map(|owner| format!("the port is held by {owner}")).or_else(|| failed.hint.clone());
            (failed.why.clone(), hint.or(Some(logs)))
        }
        Ending::Stopped(signal) => (format!("stopped: the master got {signal} before everything was ready"), None),
        Ending::Died(Ended::Code(code)) => (format!("the master died without a word: exit code {code}"), Some(logs)),
        Ending::Died(Ended::Signal(signal)) => {
            (format!("the master died: killed by {}", signals::name(*signal)), Some(logs))
        }
        Ending::Stderr => (
            format!("Start got error, see {}", options.stderr.display()),
            Some("Or use `--ignore-stderr` to ignore stderr at startup.".to_owned()),
        ),
        Ending::Deadline(progress) => {
            let seconds = options.timeout_ms as f64 / 1000.0;
            let agent_is_silent = progress.waiting.iter().any(|who| who.starts_with("agent"));
            let hint = if agent_is_silent { app::agent_ready_hint(options) } else { "`--timeout=MS` waits longer" };
            (format!("Start failed, {seconds}s timeout: {}", not_ready(progress)), Some(hint.to_owned()))
        }
        Ending::Cancelled(signal) => {
            (format!("stopped: {} cancelled the start, and nothing is left", signals::name(*signal)), None)
        }
        Ending::NotWaited(why) => (format!("cannot wait for the master: {why}"), None),
        Ending::NotDetached(why) => (format!("the daemon could not become the master: {why}"), None),
    }
}

fn not_ready(progress: &Progress) -> String {
    if progress.waiting.is_empty() {
        return "nobody was spawned yet".to_owned();
    }
    format!(
        "not ready: {} ({} of {} workers ready)",
        progress.waiting.join(", "),
        progress.ready.len(),
        progress.workers
    )
}

/// A stop or a cancel is nobody's fault: there is nothing to look for in the output.
fn shows_output(ending: &Ending) -> bool {
    !matches!(ending, Ending::Ready(_) | Ending::Stopped(_) | Ending::Cancelled(_))
}

/// The last lines on stderr, or on stdout where stderr is silent; a member's own log before the common one.
fn last_lines(options: &Options, logs: &LogFiles, master: Option<u32>) -> Option<String> {
    let shown = |file: &File, path: &Path| tail::shown(&tail::since(file, 0).ok()?, path, master);
    let common = [("stderr", &logs.stderr, &options.stderr), ("stdout", &logs.stdout, &options.stdout)];
    common.into_iter().find_map(|(which, file, path)| {
        let mut own = logs.of_members(which).ok()?;
        own.find_map(|path| shown(&tail::open(&path).ok()?, &path)).or_else(|| shown(file, path))
    })
}
