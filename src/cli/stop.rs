//! `eggctl stop`: whom to stop, the story, and the truth in the exit code. Returns only when everything is gone.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::choice::{Applications, Here, Meant, choose, shown, words};
use super::ending::{Ending, Receipt};
use super::last_receipt::Asked;
use super::masters::{self, Application, Found, Kind, OfAnother, Running};
use super::object::Object;
use super::progress::Progress;
use super::{running, user};
use crate::control;
use crate::error::{Exit, Failure};
use crate::options::Title;
use crate::options::flags::StopFlags;
use crate::state::{Holder, LockOutcome};
use crate::sys::output::{complain, say};
use crate::sys::user::ids_of;
use crate::sys::{clock, descriptors, proc};

/// Runs the command.
///
/// # Errors
/// A [`Failure`]: what was typed is wrong, not permitted, or something is alive in spite of everything.
pub fn run(flags: &StopFlags, object: &mut Object) -> anyhow::Result<Exit> {
    user::act_for(flags.user.as_deref())?;
    let meant = Meant::by(flags.checked_title()?, flags.place.as_deref())?;
    let exit = stop(&meant, flags, object)?;
    stay_down(&meant, flags.all)?;
    Ok(exit)
}

/// A restart that failed must not be tried again by mistake: what was stopped on purpose stays so.
fn stay_down(meant: &Meant, all: bool) -> Result<(), Failure> {
    let Some(directory) = user::directory()? else { return Ok(()) };
    for again in directory.all_again()? {
        let is_titled = meant.title.as_ref().is_none_or(|title| *title == again.title);
        let is_here = || {
            Here::of(meant.place.as_deref())
                .is_ok_and(|here| here.has(again.title.as_str(), std::slice::from_ref(&again.base_dir)))
        };
        if is_titled && (all || meant.title.is_some() || is_here()) {
            directory.forget_again(&again.title);
        }
    }
    Ok(())
}

/// Stops what is running.
///
/// # Errors
/// As [`run`].
pub fn stop(meant: &Meant, flags: &StopFlags, object: &mut Object) -> anyhow::Result<Exit> {
    let title = &meant.title;
    title.iter().for_each(|title| object.fact("title", title));
    let timeout_ms = flags.checked_timeout_ms()?;
    // One descriptor for each process that is waited for.
    descriptors::raise_open_files()?;
    let mut found = masters::find(title.as_ref())?;
    let chosen = match title {
        _ if flags.all => std::mem::take(&mut found.applications),
        Some(title) => found.only(title),
        None => choose(std::mem::take(&mut found.applications), meant.place.as_deref())?,
    };
    if let [name] = chosen.keys().collect::<Vec<_>>()[..] {
        object.fact("title", name);
    }
    Stop { found, timeout_ms }.stop(&chosen, title.as_ref(), object)
}

struct Stop {
    found: Found,
    timeout_ms: Option<u64>,
}

impl Stop {
    fn stop(&self, chosen: &Applications, asked: Option<&Title>, object: &mut Object) -> anyhow::Result<Exit> {
        let began_ms = clock::monotonic_ms();
        let mut failures = Vec::new();
        let mut begun = Vec::new();
        // All are told before one is waited for.
        for (title, application) in chosen {
            failures.extend(out_of_reach(title, application));
            if !application.running.is_empty() {
                let whom: Vec<_> = application.running.iter().map(|running| (running.kind, running.pid)).collect();
                say(format_args!("stopping {} ({})", shown(title), words(&whom)));
            }
            // Before the TERM: a master that closes faster than it is asked says nothing.
            let question = self.ask_master(title, application);
            begun.push((title, application, question, Ending::begin(application, self.timeout_ms)?));
        }
        let mut stopped = Vec::new();
        for (title, application, question, ending) in begun {
            let receipt = self.end(title, application, ending)?;
            let nothing_is_left = receipt.denied.is_empty() && receipt.spared.is_empty() && receipt.alive.is_empty();
            if nothing_is_left && application.recorded {
                forget(title, application);
            }
            let said = question.filter(|_| receipt.processes > 0).and_then(Asked::answer);
            if receipt.processes > 0 {
                say(receipt_line(title, &receipt));
                said.iter().flat_map(running::departures).for_each(say);
            }
            failures.extend(failures_of(title, &receipt));
            if !application.running.is_empty() || receipt.processes > 0 {
                stopped.push(Stopped { title, receipt, said });
            }
        }
        object.fact("took_ms", clock::monotonic_ms().saturating_sub(began_ms));
        object.fact("processes", stopped.iter().map(|one| one.receipt.processes).sum::<usize>());
        object.fact("applications", stopped.iter().map(Stopped::known).collect::<Vec<_>>());
        if stopped.is_empty() && failures.is_empty() {
            failures.extend(self.nothing(asked, object));
        }
        conclude(failures, object)
    }

    /// Asks our master of this title, if there is one, to say at its end how its members left.
    fn ask_master(&self, title: &str, application: &Application) -> Option<Asked> {
        let is_ours = application.running.iter().any(|running| running.kind == Kind::Master);
        let title = Title::try_from(title.to_owned()).ok().filter(|_| is_ours)?;
        Asked::ask(application.directory.as_ref().or(self.found.directory.as_ref())?, &title)
    }

    fn end(&self, title: &str, application: &Application, mut ending: Ending) -> anyhow::Result<Receipt> {
        let progress = Progress::new("stopping", shown(title), "");
        let tell = |left: usize, all: usize| progress.stage(format!("processes left {left}/{all}"));
        ending.await_masters(tell)?;
        while let Some(running) = self.successor(title, application, &ending) {
            ending.go_on_with(&running, self.timeout_ms)?;
            ending.await_masters(tell)?;
        }
        progress.stage("ending what its master has left");
        Ok(ending.finish()?)
    }

    /// The master of the same instance that was not there yet when its parent got its signal.
    fn successor(&self, title: &str, application: &Application, ending: &Ending) -> Option<Running> {
        let title = Title::try_from(title.to_owned()).ok()?;
        let directory = application.directory.as_ref().or(self.found.directory.as_ref())?;
        match directory.holder(&title) {
            Ok(Some(Holder::Recorded(record))) if ending.is_unfinished(&record.cookie, record.pid) => Some(Running {
                kind: Kind::Master,
                pid: record.pid,
                start_ticks: record.start_ticks,
                close_grace_ms: record.close_grace_ms,
            }),
            _ => None,
        }
    }

    /// Nothing ran: a warning, with other users' applications in a hint. To ask for the one of another user by its title is not
    /// permitted but to root.
    fn nothing(&self, asked: Option<&Title>, object: &mut Object) -> Option<Failure> {
        let title = asked.map_or_else(String::new, |title| format!(" with title {}", shown(title.as_str())));
        if let Some(OfAnother { title, pid, uid }) = self.found.of_others.first().filter(|_| asked.is_some())
            && user::uid() != 0
        {
            return Some(Failure::not_yours(&shown(title), *pid, &user::name_of(*uid)));
        }
        object.fact("notes", [format!("no running application{title}")]);
        complain(format_args!("warning: no running application{title}"));
        for OfAnother { title, pid, uid } in &self.found.of_others {
            let (title, owner) = (shown(title), user::name_of(*uid));
            let who = match user::uid() {
                0 => format!("`{}` stops it", user::flag_of(*uid)),
                _ => format!("only {owner} can"),
            };
            complain(format_args!("hint: {title} of {owner} runs (pid {pid}): {who}"));
        }
        None
    }
}

/// What has become of one application.
struct Stopped<'a> {
    title: &'a str,
    receipt: Receipt,
    /// What its master said of its members.
    said: Option<control::Receipt>,
}

impl Stopped<'_> {
    /// The same, for JSON.
    fn known(&self) -> Map<String, Value> {
        let Receipt { masters, processes, killed, took_ms, .. } = &self.receipt;
        let Receipt { left_behind, left_behind_killed, denied, spared, alive, .. } = &self.receipt;
        let mut object = Object::of_part();
        object.fact("title", self.title);
        object.fact("masters", masters.iter().map(|(_, pid)| *pid).collect::<Vec<_>>());
        object.fact("processes", processes);
        object.fact("masters_killed", killed);
        object.fact("left_behind", left_behind);
        object.fact("left_behind_killed", left_behind_killed);
        object.fact("not_permitted", denied);
        object.fact("ancestors", spared);
        object.fact("alive", alive);
        self.said.iter().for_each(|said| object.facts(said));
        // Of the stop, not of the master's close; its workers serve no more.
        ["what", "workers", "agent", "how"].iter().for_each(|name| object.forget(name));
        object.fact("took_ms", took_ms);
        object.known().0.clone()
    }
}

/// Removes the record of an instance of which nothing is left, unless a new one holds the title.
fn forget(title: &str, application: &Application) {
    let (Some(directory), Ok(title)) = (&application.directory, Title::try_from(title.to_owned())) else { return };
    let Ok(LockOutcome::Locked(_held)) = directory.lock(&title) else { return };
    if directory.read_record(&title).is_some_and(|record| application.cookies.contains(&record.cookie)) {
        directory.remove_record(&title);
    }
}

/// What is known before any process gets a signal.
fn out_of_reach(title: &str, application: &Application) -> Option<Failure> {
    application.elsewhere.map(|pid| Failure::holder_elsewhere(&shown(title), pid))
}

fn failures_of(title: &str, receipt: &Receipt) -> Vec<Failure> {
    let title = shown(title);
    let mut failures = Vec::new();
    for pid in &receipt.spared {
        failures.push(Failure::own_ancestor(&title, *pid));
    }
    for pid in &receipt.denied {
        let owner = owner_of(*pid).map_or_else(|| "another user".to_owned(), user::name_of);
        failures.push(Failure::not_yours(&title, *pid, &owner));
    }
    for pid in &receipt.alive {
        let state = proc::stat(*pid).map_or('?', |stat| stat.state);
        failures.push(Failure::still_alive(&title, *pid, state));
    }
    failures
}

/// The user whose rights a process has, if they are not only the rights of the user who asks.
fn owner_of(pid: u32) -> Option<u32> {
    let ids = ids_of(pid).ok()?;
    [ids.effective, ids.saved, ids.real].into_iter().find(|uid| *uid != user::uid())
}

/// The worst failure decides and is told last, by whoever tells failures; the others here.
fn conclude(mut failures: Vec<Failure>, object: &mut Object) -> anyhow::Result<Exit> {
    failures.sort_by_key(|failure| failure.exit as u8);
    let Some(worst) = failures.pop() else {
        object.fact("what", "stopped");
        return Ok(Exit::Done);
    };
    object.failures(&failures);
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
