//! A running master of ours, and asking it: connect, show how far it is, return what it answers.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::choice::{Meant, choose, shown};
use super::masters::{self, Found, Kind, OfAnother};
use super::object::Object;
use super::progress::Progress;
use super::{cwd, user};
use crate::control::client::Connection;
use crate::control::{self, Answer, Departure, Left, Operation, Receipt, Refusal, Request};
use crate::error::{Exit, Failure};
use crate::options::{self, Title, member_log, workers_log};
use crate::state::{Directory, Holder, LogFile, Logs, Record, Stream};
use crate::sys::output;
use crate::sys::signals::{self, SIGHUP, SIGINT, SIGQUIT, SIGTERM, Signals};

/// How often an application is looked at whose start or stop is under way: locks and processes change without a word in the
/// directory.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// How long a start or a stop may be between two states before that counts as a fault.
const SETTLES: Duration = Duration::from_secs(10);

/// This number of members are named for each way to leave; the others are counted.
const MOST_NAMES: usize = 8;

/// A running master.
#[derive(Debug)]
pub struct Running {
    /// Its title.
    pub title: Title,
    /// What it has written down of itself.
    pub record: Record,
    /// Its state directory.
    pub directory: Rc<Directory>,
}

/// The running application that is meant: of this title, else of this place, else of the current directory, else the only one.
///
/// # Errors
/// Nothing runs (exit 3), several do (exit 2), or it is not a master of ours.
pub fn find(meant: &Meant) -> Result<Running, Failure> {
    find_listening(meant, Instant::now() + SETTLES)
}

/// What a look shows; `None`: a start or a stop is under way, and is between two states (its lock is taken and its record
/// not written yet, or removed already).
///
/// # Errors
/// As [`find`].
pub fn look(meant: &Meant) -> Result<Option<Running>, Failure> {
    let title = meant.title.as_ref();
    let mut found = masters::find(title)?;
    found.applications.retain(|_, application| !application.running.is_empty());
    let chosen = match title {
        Some(title) => found.only(title),
        None => choose(std::mem::take(&mut found.applications), meant.place.as_deref())?,
    };
    let Some((name, application)) = chosen.into_iter().next() else {
        return Err(nothing_runs(meant, &found));
    };
    if application.running.iter().all(|running| running.kind == Kind::EggScripts) {
        return Err(Failure::of_egg_scripts(&shown(&name)));
    }
    let title = Title::try_from(name.clone()).map_err(|_| Failure::not_running(title.map(Title::as_str)))?;
    let Some(directory) = application.directory else { return Ok(None) };
    match directory.holder(&title)? {
        Some(Holder::Recorded(record)) => Ok(Some(Running { title, record: *record, directory })),
        Some(Holder::Elsewhere(_)) => Err(Failure::unreachable(&shown(&name), "it runs where this process cannot see")),
        Some(Holder::Unrecorded(_)) | None => Ok(None),
    }
}

/// Nothing of this title runs, or nothing at all: then whether another user's does, or what would start it.
pub fn nothing_runs(meant: &Meant, found: &Found) -> Failure {
    let title = meant.title.as_ref();
    let place = || meant.place.as_ref().map(|place| place.display().to_string());
    let asked = title.map(|title| shown(title.as_str())).or_else(place);
    if let Some(OfAnother { title, pid, uid }) = found.of_others.first() {
        let (title, owner) = (shown(title), user::name_of(*uid));
        let flag = (user::uid() == 0).then(|| user::flag_of(*uid));
        return Failure::runs_under_another(asked.as_deref(), &title, &owner, *pid, flag.as_deref());
    }
    if let Some(title) = title.filter(|title| found.directory.as_ref().is_some_and(|one| one.again(title).is_some())) {
        let title = shown(title.as_str());
        return Failure::left_down(&title, &user::flags_of(&title));
    }
    let failure = Failure::not_running(asked.as_deref());
    // True only where a start would start just that.
    let here = cwd::current().ok().and_then(|cwd| options::default_title(None, &cwd).ok().flatten());
    let is_here = here.is_some_and(|here| title.is_none_or(|title| *title == here)) && !user::is_another();
    let is_here = is_here && meant.place.is_none();
    if is_here { failure.hint("`eggctl start` starts the one in this directory") } else { failure }
}

/// The same, once its master has its socket: while `start` is about to make one it has none, and a master that closes has
/// none any more. Waits until `deadline`.
///
/// # Errors
/// As [`find`]; or there is no socket in time.
pub fn find_listening(meant: &Meant, deadline: Instant) -> Result<Running, Failure> {
    loop {
        match look(meant)? {
            Some(running) if running.listens() => {
                // The record that was read may be that of the start, and the socket the master's.
                return Ok(look(meant)?.unwrap_or(running));
            }
            Some(running) if Instant::now() >= deadline => return Ok(running),
            None if Instant::now() >= deadline => {
                let title = meant.title.as_ref();
                let name = title.map_or_else(|| "the application".to_owned(), |title| shown(title.as_str()));
                return Err(Failure::unreachable(&name, "its record is missing"));
            }
            Some(_) | None => std::thread::sleep(LOOK_AGAIN),
        }
    }
}

impl Running {
    /// Has its master its socket?
    #[must_use]
    pub fn listens(&self) -> bool {
        self.directory.connect(&self.title).is_ok()
    }

    /// Connects to its master. One that closes in this moment has no socket any more.
    fn connect(&self) -> Result<UnixStream, Failure> {
        self.directory.connect(&self.title).map_err(|error| {
            let unreachable = |error| Failure::unreachable(&shown(self.title.as_str()), error);
            match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                    Some(self.gone()).filter(|gone| gone.exit == Exit::NotRunning).unwrap_or_else(|| unreachable(error))
                }
                _ => unreachable(error),
            }
        })
    }

    /// The master has gone without an answer: with it the application, when its stop, or its failed start, is over.
    fn gone(&self) -> Failure {
        let deadline = Instant::now() + SETTLES;
        loop {
            match look(&Meant::titled(self.title.clone())) {
                Err(failure) if failure.exit == Exit::NotRunning => {
                    return failure.because("it was stopped, or its start failed, in this moment");
                }
                Ok(Some(running)) if running.record.cookie != self.record.cookie || Instant::now() >= deadline => {
                    let name = shown(self.title.as_str());
                    return Failure::new(Exit::Failed, format!("{name}: the master has gone without an answer"));
                }
                Err(failure) => return failure,
                Ok(_) if Instant::now() >= deadline => return Failure::not_running(Some(self.title.as_str())),
                Ok(_) => std::thread::sleep(LOOK_AGAIN),
            }
        }
    }

    /// Asks whether it is so now, without waiting for it.
    ///
    /// # Errors
    /// It is not, with what is missing.
    pub fn ask_once(&self, request: Request, patience: &str, object: &mut Object) -> Result<Receipt, Failure> {
        let name = shown(self.title.as_str());
        self.is_known_to(object);
        let failure = || Failure::new(Exit::Failed, format!("{name}: {patience}"));
        let stream = self.directory.connect(&self.title).map_err(|_| failure())?;
        let deadline = Instant::now() + SETTLES;
        let mut connection =
            Connection::ask(stream, request, Some(deadline)).map_err(|error| failure().because(error))?;
        match connection.next_answer().map_err(|error| failure().because(error))? {
            Some(Answer::Done(receipt)) => Ok(receipt),
            Some(Answer::Refused(refusal)) => Err(told(&name, refusal)),
            Some(Answer::Progress(progress)) => Err(failure().because(words(&progress))),
            None => Err(failure()),
        }
    }

    /// Where it logs to; `None` when that is not known.
    #[must_use]
    pub fn logs(&self) -> Option<Logs> {
        let known = self.directory.logs().ok()?;
        known.into_iter().find(|logs| logs.title == self.title)
    }

    /// Adds the logs of workers that a scale has brought to those that `eggctl logs` shows, where each member has its own. The
    /// master does not: it opens no file while it serves.
    pub fn keep_logs(&self, workers: usize) {
        let Some(logs) = self.logs() else { return };
        let workers = u32::try_from(workers).unwrap_or(u32::MAX);
        for (stream, which) in [(Stream::Stdout, "stdout"), (Stream::Stderr, "stderr")] {
            // The common log of each stream comes first.
            let Some(common) = logs.files.iter().find(|file| file.stream == stream) else { continue };
            let of = |slot| LogFile { stream, path: member_log(&common.path, &workers_log(slot), which) };
            if logs.files.contains(&of(0)) {
                (1..workers).for_each(|slot| drop(self.directory.add_log(&self.title, of(slot))));
            }
        }
    }

    /// Asks the master and reads its answers up to the last one, with the news shown.
    ///
    /// # Errors
    /// It cannot be reached, goes without an answer, does not answer until `deadline`, or refuses.
    pub fn ask(
        &self,
        request: Request,
        deadline: Option<Instant>,
        patience: &str,
        (progress, object): (&Progress, &mut Object),
    ) -> Result<Receipt, Failure> {
        let name = shown(self.title.as_str());
        self.is_known_to(object);
        let stream = self.connect()?;
        let lost = |error: io::Error| match error.kind() {
            io::ErrorKind::TimedOut => Failure::new(Exit::Failed, format!("{name}: {patience}")),
            _ => Failure::unreachable(&name, error),
        };
        let mut connection = Connection::ask(stream, request, deadline).map_err(lost)?;
        self.answer(&mut connection, (progress, object), lost)
    }

    /// Asks for an operation and waits until it is over. A signal ends this command, not the operation: it says so.
    ///
    /// # Errors
    /// As [`Running::ask`], or a signal has come.
    pub fn ask_to_operate(
        &self,
        request: Request,
        operation: Operation,
        object: &mut Object,
    ) -> Result<Receipt, Failure> {
        let name = shown(self.title.as_str());
        self.is_known_to(object);
        let lost = |error: io::Error| Failure::unreachable(&name, error);
        let (command, verb) = match operation {
            Operation::Reload => ("reload", "reloading"),
            Operation::Scale => ("scale", "scaling"),
        };
        let progress = Progress::new(verb, &*name, "asking its master");
        let stream = self.connect()?;
        let hup = (!signals::is_ignored(SIGHUP)).then_some(SIGHUP);
        let caught: Vec<i32> = [SIGINT, SIGTERM, SIGQUIT].into_iter().chain(hup).collect();
        let mut signals = Signals::catch(&caught).map_err(lost)?;
        let mut connection = Connection::ask(stream, request, None).map_err(lost)?;
        connection.interruptible(signals.as_fd().try_clone_to_owned().map_err(lost)?);
        self.answer(&mut connection, (&progress, object), |error| match error.kind() {
            io::ErrorKind::Interrupted => {
                let signal =
                    signals.take().first().map_or_else(|| "a signal".to_owned(), |one| signals::name(one.signal));
                Failure::goes_on(&name, &user::flags_of(&name), command, &signal)
            }
            _ => Failure::unreachable(&name, error),
        })
    }

    fn answer(
        &self,
        connection: &mut Connection,
        (progress, object): (&Progress, &mut Object),
        mut lost: impl FnMut(io::Error) -> Failure,
    ) -> Result<Receipt, Failure> {
        let name = shown(self.title.as_str());
        let mut news = None;
        loop {
            let answer = connection.next_answer().map_err(|error| {
                let failure = lost(error);
                news.take().into_iter().fold(failure, Failure::because)
            });
            match answer? {
                Some(Answer::Progress(one)) => {
                    progress.stage(words(&one));
                    news = Some(words(&one));
                }
                Some(Answer::Done(receipt)) => return Ok(receipt),
                Some(Answer::Refused(refusal)) => {
                    refusal.agent.into_iter().for_each(|pid| object.fact("agent", pid));
                    refusal.workers.iter().for_each(|pids| object.fact("workers", pids));
                    return Err(told(&name, refusal));
                }
                None => return Err(self.gone()),
            }
        }
    }

    /// What is known of it, for JSON.
    pub fn is_known_to(&self, object: &mut Object) {
        object.fact("title", &self.title);
        object.fact("master", self.record.pid);
        self.record.address.iter().for_each(|address| object.fact("address", address));
    }

    /// The same application with what its master has written down since: the pid and the address may be new.
    fn now(&self) -> Running {
        let record = match self.directory.holder(&self.title) {
            Ok(Some(Holder::Recorded(record))) => *record,
            Ok(_) | Err(_) => self.record.clone(),
        };
        Running { title: self.title.clone(), record, directory: Rc::clone(&self.directory) }
    }
}

/// The titles of all that runs, as they are shown.
///
/// # Errors
/// When /proc or the state directory cannot be used.
pub fn titles() -> Result<Vec<String>, Failure> {
    let running =
        masters::find(None)?.applications.into_iter().filter(|(_, application)| !application.running.is_empty());
    Ok(running.map(|(title, _)| shown(&title)).collect())
}

fn told(name: &str, refusal: Refusal) -> Failure {
    let Refusal { exit, what, why, beside, hint, .. } = refusal;
    let exit = [Exit::Usage, Exit::NotPermitted, Exit::NotRunning]
        .into_iter()
        .find(|one| *one as u8 == exit)
        .unwrap_or(Exit::Failed);
    Failure { exit, what: format!("{name}: {what}"), why, beside, hint }
}

/// The receipt, for people and as JSON.
pub fn print(running: &Running, receipt: &Receipt, object: &mut Object) {
    running.now().is_known_to(object);
    object.facts(receipt);
    if receipt.took_ms == 0 {
        // What was so already: the command's own time says more.
        object.forget("took_ms");
    }
    let title = &running.title;
    let pids = |pids: &[u32]| pids.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    let how = receipt.how.as_ref().map(|how| format!(" {how}")).unwrap_or_default();
    let agent = receipt.agent.map(|agent| format!("agent {agent}, ")).unwrap_or_default();
    let mut line =
        format!("{} {}{how}: {agent}workers {}", shown(title.as_str()), receipt.what, pids(&receipt.workers));
    if receipt.left > 0 {
        line += &format!(", {} left", receipt.left);
    }
    if receipt.killed > 0 {
        line += &format!(", {} of them killed", receipt.killed);
    }
    if receipt.took_ms > 0 {
        line += &format!(", {:.2} s", receipt.took_ms as f64 / 1000.0);
    }
    output::say(line);
    departures(receipt).iter().for_each(output::say);
    for note in &receipt.notes {
        output::say(note);
    }
}

/// How the members left, a line for each way: `1 left at the limit: worker 2 (pid 43) with 2 requests cut`.
#[must_use]
pub fn departures(receipt: &Receipt) -> Vec<String> {
    let ways = [
        (Left::ByItself, "left by itself", "left by themselves"),
        (Left::AtLimit, "left at the limit", "left at the limit"),
        (Left::Killed, "was killed", "were killed"),
        (Left::Died, "died meanwhile", "died meanwhile"),
    ];
    let line = |(left, one, many): (Left, &str, &str)| {
        let those: Vec<&Departure> = receipt.departed.iter().filter(|departure| departure.left == left).collect();
        let mut names: Vec<String> = those.iter().take(MOST_NAMES).map(|departure| named(departure)).collect();
        if those.len() > MOST_NAMES {
            names.push(format!("{} others", those.len() - MOST_NAMES));
        }
        let what = if those.len() == 1 { one } else { many };
        (!those.is_empty()).then(|| format!("{} {what}: {}", those.len(), names.join(", ")))
    };
    ways.into_iter().filter_map(line).collect()
}

/// `worker 2 (pid 43) with 2 requests cut`.
fn named(departure: &Departure) -> String {
    let Departure { name, pid, requests_cut, connections_cut, .. } = departure;
    let cut = control::cut(requests_cut.unwrap_or(0), connections_cut.unwrap_or(0));
    format!("{name} (pid {pid}){}", cut.map(|cut| format!(" with {cut}")).unwrap_or_default())
}

/// `new workers boot 1/2`.
fn words(control::Progress { stage, done, of, not_yet }: &control::Progress) -> String {
    let who = if not_yet.is_empty() { String::new() } else { format!(", not yet: {}", not_yet.join(", ")) };
    format!("{stage} {done}/{of}{who}")
}
