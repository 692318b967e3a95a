//! `eggctl wait`: returns when the application is ready, reloaded, or gone. The master tells the first two; the end shows.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::appear::{self, Patience};
use super::choice::{choose, shown};
use super::masters::{self, Running};
use super::{running, user};
use crate::control::{Receipt, Request, Until};
use crate::error::{Exit, Failure};
use crate::options::Title;
use crate::options::flags::{WaitFlags, WaitFor};
use crate::sys::pidfd::{self, Pidfd};
use crate::sys::proc::{self, Reader};
use crate::sys::{clock, output};

/// Runs the command.
///
/// # Errors
/// A [`Failure`]: nothing runs (exit 3; not when its end is waited for), or it did not come to that in time.
pub fn run(flags: &WaitFlags) -> anyhow::Result<Exit> {
    user::act_for(flags.whom.user.as_deref())?;
    let (title, timeout_ms) = (flags.whom.checked_title()?, flags.checked_timeout_ms()?);
    let (title, receipt) = match flags.until {
        WaitFor::Ready => {
            appear::ready(title.as_ref(), Patience { timeout_ms, appear_ms: flags.checked_appear_ms()? })?
        }
        WaitFor::Reloaded => reloaded(title.as_ref(), timeout_ms)?,
        WaitFor::Stopped => return stopped(title.as_ref(), timeout_ms, flags.json),
    };
    running::print(&title, &receipt, flags.json);
    Ok(Exit::Done)
}

/// Waits for the end of the reload under way, or of the next one.
fn reloaded(title: Option<&Title>, timeout_ms: u64) -> Result<(Title, Receipt), Failure> {
    let deadline = Instant::now() + Duration::from_millis(timeout_ms);
    let running = running::find_listening(title, deadline)?;
    let patience = format!("not reloaded within {} s", timeout_ms as f64 / 1000.0);
    let receipt = running.ask(Request::Wait(Until::Reloaded), Some(deadline), &patience)?;
    Ok((running.title, receipt))
}

/// Waits for the end of masters and members alike.
fn stopped(title: Option<&Title>, timeout_ms: u64, json: bool) -> anyhow::Result<Exit> {
    let began_ms = clock::monotonic_ms();
    let deadline_ms = began_ms.saturating_add(timeout_ms);
    let mut found = masters::find(title)?;
    let chosen = match title {
        Some(title) => found.only(title),
        None => choose(std::mem::take(&mut found.applications), None)?,
    };
    for (name, application) in chosen {
        let is_it = |one: &&Running| proc::start_ticks(one.pid).is_ok_and(|ticks| ticks == one.start_ticks);
        let mut left: Vec<u32> = application.running.iter().filter(is_it).map(|one| one.pid).collect();
        let cookies = application.cookies.into_iter().collect();
        loop {
            let processes: Vec<Pidfd> = left.iter().filter_map(|pid| Pidfd::open(*pid).ok()).collect();
            if !pidfd::wait_all(&processes, deadline_ms)? {
                let pids = left.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                let failure = Failure::new(Exit::Failed, format!("{} is not stopped", shown(&name)));
                return Err(failure.because(format_args!("after {timeout_ms} ms: {pids}")).into());
            }
            left = bearers(&cookies)?;
            if left.is_empty() {
                break;
            }
        }
        if !json {
            output::say(format_args!("{} stopped", shown(&name)));
        }
    }
    if json {
        let took_ms = clock::monotonic_ms().saturating_sub(began_ms);
        let receipt = Receipt { what: "stopped".to_owned(), took_ms, ..Receipt::default() };
        output::say(serde_json::to_string(&receipt)?);
    }
    Ok(Exit::Done)
}

/// Who bears these cookies, but for this command and its ancestors.
fn bearers(cookies: &BTreeSet<String>) -> std::io::Result<Vec<u32>> {
    let (own_line, mut reader) = (proc::self_and_ancestors(), Reader::default());
    let bears = |pid: &u32| !own_line.contains(pid) && masters::bears(&mut reader, *pid, cookies);
    Ok(proc::pids()?.filter(bears).collect())
}
