//! `eggctl wait --for=ready`: the application need not be there yet. `eggctl start & eggctl wait` is one thought, and which of
//! the two is faster is chance.

use std::path::Path;
use std::time::{Duration, Instant};

use super::choice::{Here, Meant, shown};
use super::object::Object;
use super::progress::Progress;
use super::running::{self, Running};
use super::{cwd, user};
use crate::control::{Receipt, Request, Until};
use crate::error::{Exit, Failure};
use crate::options::{self, Title};
use crate::state::{Directory, RecordPhase};

/// How often it is looked at without a change in the state directory: locks change without one.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// What is said while nothing of it is there.
const NOT_STARTED: &str = "it is not started";

/// How long to wait.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Until it is ready, in milliseconds; 0: ask once.
    pub timeout_ms: u64,
    /// Of that, until its start has begun, in milliseconds.
    pub appear_ms: u64,
}

/// What a look shows.
enum Seen {
    Running(Box<Running>),
    /// Its start or stop is between two states.
    Between,
    /// Nothing of it; what to say if it stays so.
    Nothing(Failure),
}

/// Waits until the application is ready: of this title, else of this place or the current directory, else the only one that runs.
///
/// # Errors
/// It is not there in time (exit 3), is not ready in time, or its start fails (exit 1).
pub fn ready(meant: &Meant, patience: Patience, object: &mut Object) -> Result<(Running, Receipt), Failure> {
    let Patience { timeout_ms, appear_ms } = patience;
    let began = Instant::now();
    let deadline = began + Duration::from_millis(timeout_ms);
    let appears_until = began + Duration::from_millis(appear_ms.min(timeout_ms));
    let late = match timeout_ms {
        0 => "not ready".to_owned(),
        _ => format!("not ready within {} s", timeout_ms as f64 / 1000.0),
    };
    let wanted = match &meant.title {
        Some(title) => Some(title.clone()),
        None => title_of_place(meant.place.as_deref())?,
    };
    // Before the first look: what comes after it is seen.
    let directory = if user::is_another() { user::directory()? } else { Some(Directory::open()?) };
    let changes = directory.map(|directory| directory.watch()).transpose();
    let changes = changes.map_err(|error| Failure::new(Exit::Failed, "cannot wait").because(error))?;
    let mut has_begun = false;
    let name = wanted.as_ref().map_or_else(|| "an application".to_owned(), |title| shown(title.as_str()));
    let progress = Progress::new("waiting for", name, NOT_STARTED);
    loop {
        // One moment for both: the last look is the one that takes any application.
        let is_last = Instant::now() >= appears_until;
        let seen = look(meant, wanted.as_ref(), is_last)?;
        let is_there = !matches!(seen, Seen::Nothing(_));
        match seen {
            Seen::Running(running) => {
                has_begun |= running.record.phase == RecordPhase::Starting;
                let request = Request::Wait(Until::Ready);
                let answer = match (running.listens(), timeout_ms) {
                    (true, 0) => Some(running.ask_once(request, &late, object)),
                    (true, _) => Some(running.ask(request, Some(deadline), &late, (&progress, &mut *object))),
                    (false, _) => None,
                };
                match answer {
                    Some(Ok(receipt)) => return Ok((*running, receipt)),
                    Some(Err(failure)) if failure.exit != Exit::NotRunning => return Err(failure),
                    Some(Err(_)) if has_begun => return Err(start_failed(&running.title)),
                    // It is being stopped, and another may be started after it.
                    Some(Err(_)) | None => {}
                }
            }
            Seen::Between => progress.stage("a start or stop is under way"),
            Seen::Nothing(failure) => match &wanted {
                Some(wanted) if has_begun => return Err(start_failed(wanted)),
                _ if is_last => return Err(absent(failure, appear_ms.min(timeout_ms))),
                _ => progress.stage(NOT_STARTED),
            },
        }
        if is_there && Instant::now() >= deadline {
            let name = wanted.as_ref().map_or_else(|| "the application".to_owned(), |title| shown(title.as_str()));
            return Err(Failure::new(Exit::Failed, format!("{name}: {late}")).because("a start or stop is under way"));
        }
        let end = if is_there { deadline } else { appears_until };
        let left = end.saturating_duration_since(Instant::now()).min(LOOK_AGAIN);
        let Some(changes) = &changes else {
            std::thread::sleep(left);
            continue;
        };
        let changed = changes.wait(left, wanted.as_ref());
        has_begun |= changed.map_err(|error| Failure::new(Exit::Failed, "cannot wait").because(error))?;
    }
}

/// The title that the application of a place gets without `--title`.
fn title_of_place(place: Option<&Path>) -> Result<Option<Title>, Failure> {
    let cwd = cwd::current().ok();
    match (place, cwd) {
        (Some(place), cwd) => options::default_title(Some(place), cwd.as_deref().unwrap_or(Path::new("/"))),
        (None, Some(cwd)) => Ok(options::default_title(None, &cwd).ok().flatten()),
        (None, None) => Ok(None),
    }
}

/// One look. While that of this directory may still appear, another that happens to run is not meant.
fn look(meant: &Meant, wanted: Option<&Title>, any: bool) -> Result<Seen, Failure> {
    let only_here = meant.title.is_none() && meant.place.is_none() && wanted.is_some() && !any;
    match running::look(meant) {
        Ok(Some(running)) => {
            let base_dir = std::slice::from_ref(&running.record.base_dir);
            if only_here && !Here::of(None::<&Path>)?.has(running.title.as_str(), base_dir) {
                return Ok(Seen::Nothing(Failure::not_running(wanted.map(Title::as_str))));
            }
            Ok(Seen::Running(Box::new(running)))
        }
        Ok(None) => Ok(Seen::Between),
        Err(failure) if failure.exit == Exit::NotRunning || only_here && failure.exit == Exit::Usage => {
            Ok(Seen::Nothing(failure))
        }
        Err(failure) => Err(failure),
    }
}

fn start_failed(title: &Title) -> Failure {
    Failure::new(Exit::Failed, format!("{}: not ready", shown(title.as_str())))
        .because("its start failed, or it was stopped, while it was waited for")
        .hint(format!("`eggctl logs {}` shows what it has printed", user::flags_of(&shown(title.as_str()))))
}

/// Nothing has appeared: the titles that run instead, since one of them may be meant.
fn absent(failure: Failure, waited_ms: u64) -> Failure {
    let failure = match waited_ms {
        0 => failure,
        _ => failure.because(format_args!("none has appeared within {} s", waited_ms as f64 / 1000.0)),
    };
    match running::titles() {
        Ok(titles) if !titles.is_empty() => {
            let before = failure.hint.as_ref().map(|hint| format!("{hint}; ")).unwrap_or_default();
            failure.hint(format!("{before}these run: {}", titles.join(", ")))
        }
        Ok(_) | Err(_) => failure,
    }
}
