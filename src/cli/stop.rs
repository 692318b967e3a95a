//! `eggctl stop`: whom to stop, the story, and the truth in the exit code. Returns only when everything is gone.

use std::fmt::Write as _;

use nix::unistd::{Uid, User};

use super::choice::{Applications, choose, shown, words};
use super::ending::{Ending, Receipt};
use super::masters::{self, Application, Kind, Running};
use crate::error::{Exit, Failure};
use crate::options::Title;
use crate::options::flags::StopFlags;
use crate::state::{Directory, Holder, LockOutcome};
use crate::sys::output::{complain, say};
use crate::sys::{descriptors, proc};

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
