//! Whose logs: the title that was typed, that of the place, or the only one that is known.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::cli::choice::{Here, Meant, shown};
use crate::cli::masters::{self, OfAnother};
use crate::cli::user;
use crate::error::{Exit, Failure};
use crate::options::Title;
use crate::options::flags::LogsFlags;
use crate::state::{LogFile, Logs, Stream};

/// The logs that are asked for, stdout's first; at least one, each file once.
///
/// # Errors
/// Nobody is known who logs there, or it is not clear who is meant.
pub fn find(flags: &LogsFlags, meant: &Meant) -> Result<Vec<LogFile>, Failure> {
    let chosen = chosen(meant)?;
    let name = shown(chosen.title.as_str());
    if chosen.files.is_empty() {
        return Err(Failure::new(Exit::Failed, format!("{name} has no log"))
            .because("it was started in the foreground, where stdout and stderr are those of the start")
            .hint("look where the command that started it prints to"));
    }
    let is_wanted = |file: &&LogFile| match (flags.stdout, flags.stderr) {
        (true, false) => file.stream == Stream::Stdout,
        (false, true) => file.stream == Stream::Stderr,
        _ => true,
    };
    let mut wanted: Vec<LogFile> = Vec::new();
    for file in chosen.files.iter().filter(is_wanted) {
        // Both streams may go into one file.
        if !wanted.iter().any(|other| other.path == file.path) {
            wanted.push(file.clone());
        }
    }
    if wanted.is_empty() {
        return Err(Failure::new(Exit::Failed, format!("{name} has no log of that stream")));
    }
    Ok(wanted)
}

/// The title that is asked for, among those that are known to log.
///
/// # Errors
/// As [`find`].
pub fn chosen(meant: &Meant) -> Result<Logs, Failure> {
    let title = meant.title.as_ref();
    let chosen = match title {
        Some(title) => settled(title, || known(meant)),
        None => known(meant),
    };
    chosen.map_err(|failure| if failure.exit == Exit::Failed { under_another(title, failure) } else { failure })
}

/// How long a start may take until it has written down where it logs to.
const SETTLES: Duration = Duration::from_secs(10);
/// How often it is looked at meanwhile.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// What a look finds, again and again as long as it finds nothing and the title's lock is held: then a start is under way, or
/// a stop.
///
/// # Errors
/// Those of the look.
pub fn settled<T>(title: &Title, look: impl Fn() -> Result<T, Failure>) -> Result<T, Failure> {
    let deadline = Instant::now() + SETTLES;
    let is_held = || Ok(user::directory()?.map(|directory| directory.holder(title)).transpose()?.flatten().is_some());
    loop {
        // Before the look: a start that ends in between has found nothing to be waited for.
        let is_between: Result<bool, Failure> = is_held();
        match look() {
            Err(failure) if matches!(failure.exit, Exit::NotRunning | Exit::Failed) && Instant::now() < deadline => {
                if !is_between? {
                    return Err(failure);
                }
            }
            found => return found,
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

fn known(meant: &Meant) -> Result<Logs, Failure> {
    let title = meant.title.as_ref();
    let mut known = match user::directory()? {
        Some(directory) => directory.logs()?,
        None => Vec::new(),
    };
    if user::is_another() {
        // It may run with a state directory that only its environment names.
        let running = masters::find(title)?.applications.into_values().filter_map(|application| application.directory);
        for logs in running.flat_map(|directory| directory.logs().unwrap_or_default()) {
            if !known.iter().any(|one| one.title == logs.title) {
                known.push(logs);
            }
        }
    }
    match title {
        Some(title) => known.iter().find(|logs| logs.title == *title).cloned().ok_or_else(|| unknown(title, &known)),
        None => choose(&known, meant.place.as_deref()).cloned(),
    }
}

/// Says which user's application of that title runs instead.
fn under_another(title: Option<&Title>, failure: Failure) -> Failure {
    let Ok(found) = masters::find(title) else { return failure };
    let Some(OfAnother { title, pid, uid }) = found.of_others.first() else { return failure };
    let (title, owner) = (shown(title), user::name_of(*uid));
    let failure = failure.because(format!("`{title}` runs under {owner} (pid {pid})"));
    if user::uid() == 0 { failure.hint(format!("add `{}`", user::flag_of(*uid))) } else { failure }
}

/// Without a title: the application in the place that was typed or in the current directory, by its directory or by the
/// title it would get; else, if no place was typed, the only one that is known.
fn choose<'a>(known: &'a [Logs], place: Option<&Path>) -> Result<&'a Logs, Failure> {
    let here = Here::of(place)?;
    let is_here = |logs: &&Logs| here.has(logs.title.as_str(), std::slice::from_ref(&logs.base_dir));
    let here: Vec<&Logs> = known.iter().filter(is_here).collect();
    match (&here[..], known) {
        ([one], _) => Ok(one),
        ([], [one]) if place.is_none() => Ok(one),
        ([], []) => {
            Err(Failure::new(Exit::Failed, "no logs are known").because("no application has been started by this user"))
        }
        ([], _) => Err(Failure::new(Exit::Usage, "which logs?").because(listed(known)).hint("name one with `--title`")),
        (several, _) => {
            let several: Vec<Logs> = several.iter().map(|logs| (*logs).clone()).collect();
            Err(Failure::new(Exit::Usage, "which logs?").because(listed(&several)).hint("name one with `--title`"))
        }
    }
}

fn unknown(title: &Title, known: &[Logs]) -> Failure {
    let failure = Failure::new(Exit::Failed, format!("no logs of {} are known", shown(title.as_str())))
        .because("no application of this title has been started by this user");
    if known.is_empty() { failure } else { failure.hint(format!("there are logs of {}", listed(known))) }
}

fn listed(known: &[Logs]) -> String {
    known.iter().map(|logs| shown(logs.title.as_str())).collect::<Vec<_>>().join(", ")
}
