//! `eggctl stop`: whom to stop, the story, and the truth in the exit code. Returns only when everything is gone.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use nix::unistd::{Uid, User};

use super::ending::{Ending, Receipt};
use super::masters::{self, Application, Kind, Running};
use crate::error::{Exit, Failure};
use crate::options::flags::StopFlags;
use crate::options::{self, Title};
use crate::state::{Directory, Holder, LockOutcome};
use crate::sys::output::{complain, say};
use crate::sys::{descriptors, proc};

/// Applications by title.
type Applications = BTreeMap<String, Application>;

/// Runs the command.
///
/// # Errors
/// A [`Failure`]: what was typed is wrong, not permitted, or something is alive in spite of everything.
pub fn run(flags: &StopFlags) -> anyhow::Result<Exit> {
    let title = flags.checked_title()?;
    let timeout_ms = flags.checked_timeout_ms()?;
    let uid = checked_user(flags.user.as_deref())?;
    let directory = Directory::of_uid(uid)?;
    // One descriptor for each process that is waited for.
    descriptors::raise_open_files()?;
    let found = masters::find(uid, directory.as_ref(), title.as_ref())?;
    let chosen = match &title {
        _ if flags.all => found,
        Some(title) => found.into_iter().filter(|(found, _)| found == title.as_str()).collect(),
        None => choose(found, flags.place.as_deref())?,
    };
    let asked = title.as_ref().map_or_else(String::new, |title| format!(" with title {}", title.as_str()));
    Stop { uid, directory, timeout_ms }.stop(&chosen, &asked)
}

/// The uid whose applications are meant: the caller's own, or for root anybody's.
pub(super) fn checked_user(name: Option<&str>) -> Result<u32, Failure> {
    let own = Uid::effective();
    let Some(name) = name else { return Ok(own.as_raw()) };
    let by_name = User::from_name(name).ok().flatten().map(|user| user.uid.as_raw());
    let uid = by_name
        .or_else(|| name.parse().ok())
        .ok_or_else(|| Failure::new(Exit::Usage, format!("`--user={name}`")).because("there is no such user"))?;
    if own.is_root() || uid == own.as_raw() {
        return Ok(uid);
    }
    Err(Failure::new(Exit::NotPermitted, format!("cannot stop applications of {}", user_name(uid)))
        .because("only root may stop another user's"))
}

fn user_name(uid: u32) -> String {
    User::from_uid(Uid::from_raw(uid)).ok().flatten().map_or_else(|| format!("uid {uid}"), |user| user.name)
}

/// Without a title: the application in the place that was typed or in the current directory, known by its directory or by
/// the title it would get; else, if no place was typed, the only one that runs.
fn choose(found: Applications, place: Option<&Path>) -> Result<Applications, Failure> {
    let cwd = std::env::current_dir().ok();
    let title = match (place, &cwd) {
        (Some(_), _) => options::default_title(place, cwd.as_deref().unwrap_or(Path::new("/")))?,
        // A package.json that cannot be read is none.
        (None, Some(cwd)) => options::default_title(None, cwd).ok().flatten(),
        (None, None) => None,
    };
    let base_dir = match place {
        Some(place) if place.is_dir() => place.canonicalize().ok(),
        Some(script) => script.canonicalize().ok().and_then(|script| script.parent().map(Path::to_owned)),
        None => cwd,
    };
    // Both resolved now: a deployment's `current` may lead elsewhere than when the application started.
    let is_base = |dir: &PathBuf| dir.canonicalize().ok().is_some_and(|dir| base_dir.as_ref() == Some(&dir));
    let is_here = |(found, application): &(&String, &Application)| {
        title.as_ref().is_some_and(|title| title.as_str() == found.as_str())
            || application.base_dirs.iter().any(is_base)
    };
    let here: Vec<String> = found.iter().filter(is_here).map(|(title, _)| title.clone()).collect();
    let is_running = |application: &Application| !application.running.is_empty();
    let mut candidates = found;
    if here.is_empty() {
        candidates.retain(|_, application| place.is_none() && is_running(application));
    } else {
        candidates.retain(|title, _| here.contains(title));
    }
    match candidates.values().filter(|application| is_running(application)).count() {
        0 => {}
        1 => candidates.retain(|_, application| is_running(application)),
        _ => return Err(Failure::which_application(&listed(&candidates))),
    }
    Ok(candidates)
}

/// `a (master 1), b (masters 2, 3)`.
fn listed(applications: &Applications) -> String {
    let running = applications.iter().filter(|(_, application)| !application.running.is_empty());
    let entries = running.map(|(title, application)| {
        let whom: Vec<_> = application.running.iter().map(|running| (running.kind, running.pid)).collect();
        format!("{} ({})", shown(title), words(&whom))
    });
    entries.collect::<Vec<_>>().join(", ")
}

struct Stop {
    uid: u32,
    directory: Option<Directory>,
    timeout_ms: Option<u64>,
}

impl Stop {
    fn stop(&self, chosen: &Applications, asked: &str) -> anyhow::Result<Exit> {
        let mut failures = Vec::new();
        let mut begun = Vec::new();
        // All are told before one is waited for.
        for (title, application) in chosen {
            failures.extend(self.out_of_reach(title, application));
            if !application.running.is_empty() {
                let whom: Vec<_> = application.running.iter().map(|running| (running.kind, running.pid)).collect();
                say(format_args!("stopping {} ({})", shown(title), words(&whom)));
            }
            begun.push((title, application, Ending::begin(self.uid, application, self.timeout_ms)?));
        }
        let mut anything = false;
        for (title, application, ending) in begun {
            let receipt = self.end(title, ending)?;
            let nothing_is_left = receipt.denied.is_empty() && receipt.spared.is_empty() && receipt.alive.is_empty();
            if nothing_is_left && application.recorded {
                self.forget(title, application);
            }
            anything |= !application.running.is_empty() || receipt.processes > 0;
            if receipt.processes > 0 {
                say(receipt_line(title, &receipt));
            }
            failures.extend(self.failures(title, &receipt));
        }
        if !anything && failures.is_empty() {
            complain(format_args!("warning: no running application{asked}"));
            self.hint_at_others(chosen);
        }
        conclude(failures)
    }

    fn end(&self, title: &str, mut ending: Ending) -> anyhow::Result<Receipt> {
        ending.await_masters()?;
        while let Some(running) = self.successor(title, &ending) {
            ending.go_on_with(&running, self.timeout_ms)?;
            ending.await_masters()?;
        }
        Ok(ending.finish()?)
    }

    /// The master of the same instance that was not there yet when its parent was told.
    fn successor(&self, title: &str, ending: &Ending) -> Option<Running> {
        let title = Title::try_from(title.to_owned()).ok()?;
        match self.directory.as_ref()?.holder(&title) {
            Ok(Some(Holder::Recorded(record))) if ending.is_unfinished(&record.cookie, record.pid) => Some(Running {
                kind: Kind::Master,
                pid: record.pid,
                start_ticks: record.start_ticks,
                close_grace_ms: record.close_grace_ms,
            }),
            _ => None,
        }
    }

    /// Removes the record of an instance of which nothing is left, unless a new one holds the title.
    fn forget(&self, title: &str, application: &Application) {
        let (Some(directory), Ok(title)) = (&self.directory, Title::try_from(title.to_owned())) else { return };
        let Ok(LockOutcome::Locked(_held)) = directory.lock(&title) else { return };
        if directory.read_record(&title).is_some_and(|record| application.cookies.contains(&record.cookie)) {
            directory.remove_record(&title);
        }
    }

    /// What is known before anybody is told.
    fn out_of_reach(&self, title: &str, application: &Application) -> Option<Failure> {
        if let Some(pid) = application.elsewhere {
            return Some(Failure::holder_elsewhere(&shown(title), pid));
        }
        let (pid, owner) = application.of_others.first().filter(|_| application.running.is_empty())?;
        (!Uid::effective().is_root()).then(|| Failure::not_yours(&shown(title), *pid, &user_name(*owner)))
    }

    fn hint_at_others(&self, chosen: &Applications) {
        for (title, application) in chosen {
            for (pid, owner) in &application.of_others {
                let (title, owner) = (shown(title), user_name(*owner));
                complain(format_args!("hint: {title} of {owner} runs (master {pid}): `--user={owner}` stops it"));
            }
        }
    }

    fn failures(&self, title: &str, receipt: &Receipt) -> Vec<Failure> {
        let title = shown(title);
        let mut failures = Vec::new();
        for pid in &receipt.spared {
            failures.push(Failure::own_ancestor(&title, *pid));
        }
        for pid in &receipt.denied {
            let owner = proc::owner_uid(*pid).unwrap_or(self.uid);
            failures.push(Failure::not_yours(&title, *pid, &user_name(owner)));
        }
        for pid in &receipt.alive {
            let state = proc::stat(*pid).map_or('?', |stat| stat.state);
            failures.push(Failure::still_alive(&title, *pid, state));
        }
        failures
    }
}

/// The worst failure decides and is told last, by whoever tells failures; the others here.
fn conclude(mut failures: Vec<Failure>) -> anyhow::Result<Exit> {
    failures.sort_by_key(|failure| failure.exit as u8);
    let Some(worst) = failures.pop() else { return Ok(Exit::Done) };
    for failure in failures {
        complain(format_args!("error: {failure}"));
        if let Some(hint) = failure.hint {
            complain(format_args!("hint: {hint}"));
        }
    }
    Err(worst.into())
}

/// `stopped svc: master 123, 4 processes, 0.31 s; killed at the deadline: 123`.
fn receipt_line(title: &str, receipt: &Receipt) -> String {
    let is_whole = receipt.alive.is_empty() && receipt.denied.is_empty() && receipt.spared.is_empty();
    let mut line = format!("{} {}: ", if is_whole { "stopped" } else { "stopped a part of" }, shown(title));
    if !receipt.masters.is_empty() {
        line += &format!("{}, ", words(&receipt.masters));
    }
    let plural = if receipt.processes == 1 { "" } else { "es" };
    let seconds = receipt.took_ms as f64 / 1000.0;
    // proof: writing to a String cannot fail.
    let _ = write!(line, "{} process{plural}, {seconds:.2} s", receipt.processes);
    let mut tell = |what: &str, pids: Vec<u32>| {
        if !pids.is_empty() {
            let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
            line += &format!("; {what}: {}", pids.join(", "));
        }
    };
    tell("killed at the deadline", receipt.killed.clone());
    tell("left behind and ended", receipt.left_behind.difference(&receipt.left_behind_killed).copied().collect());
    tell("left behind and killed", receipt.left_behind_killed.iter().copied().collect());
    line
}

/// `master 1, 2`, `parent 3`.
fn words(whom: &[(Kind, u32)]) -> String {
    let of = |word: &str, is_it: &dyn Fn(Kind) -> bool| {
        let pids: Vec<String> = whom.iter().filter(|(kind, _)| is_it(*kind)).map(|(_, pid)| pid.to_string()).collect();
        (!pids.is_empty()).then(|| format!("{word} {}", pids.join(", ")))
    };
    let parents = of("parent", &|kind| kind == Kind::Parent);
    let masters = of("master", &|kind| kind != Kind::Parent);
    parents.into_iter().chain(masters).collect::<Vec<_>>().join(", ")
}

/// A title as it can be shown: another's may hold control characters.
pub(super) fn shown(title: &str) -> String {
    let mut shown = String::with_capacity(title.len());
    for character in title.chars() {
        if character.is_control() { shown.extend(character.escape_default()) } else { shown.push(character) }
    }
    shown
}
