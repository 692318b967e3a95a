//! `eggctl wait`: returns when the application is ready, reloaded, or gone. The master tells the first two; the end shows.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::appear::{self, Patience};
use super::choice::{Meant, choose, shown};
use super::masters::{self, Running};
use super::object::Object;
use super::progress::Progress;
use super::{running, user};
use crate::control::{Receipt, Request, Until};
use crate::error::{Exit, Failure};
use crate::options::flags::{WaitFlags, WaitFor};
use crate::sys::pidfd::{self, Pidfd};
use crate::sys::proc::{self, Reader};
use crate::sys::{clock, output};

/// Runs the command.
///
/// # Errors
/// A [`Failure`]: nothing runs (exit 3; not when its end is waited for), or it did not come to that in time.
pub fn run(flags: &WaitFlags, object: &mut Object) -> anyhow::Result<Exit> {
    user::act_for(flags.whom.user.as_deref())?;
    let timeout_ms = flags.checked_timeout_ms()?;
    let meant = Meant::by(flags.whom.checked_title()?, flags.whom.name.as_deref())?;
    meant.title.iter().for_each(|title| object.fact("title", title));
    let (running, receipt) = match flags.until {
        WaitFor::Ready => {
            let patience = Patience { timeout_ms, appear_ms: flags.checked_appear_ms()? };
            appear::ready(&meant, patience, object)?
        }
        WaitFor::Reloaded => reloaded(&meant, timeout_ms, object)?,
        WaitFor::Stopped => return stopped(&meant, timeout_ms, object),
    };
    running::print(&running, &receipt, object);
    Ok(Exit::Done)
}

/// Waits for the end of the reload under way, or of the next one.
fn reloaded(meant: &Meant, timeout_ms: u64, object: &mut Object) -> Result<(running::Running, Receipt), Failure> {
    let deadline = Instant::now() + Duration::from_millis(timeout_ms);
    let running = running::find_listening(meant, deadline)?;
    let patience = format!("not reloaded within {} s", timeout_ms as f64 / 1000.0);
    let progress = Progress::new("waiting for", shown(running.title.as_str()), "no reload has begun");
    let receipt = running.ask(Request::Wait(Until::Reloaded), Some(deadline), &patience, (&progress, object))?;
    Ok((running, receipt))
}

/// Waits for the end of masters and members alike.
fn stopped(meant: &Meant, timeout_ms: u64, object: &mut Object) -> anyhow::Result<Exit> {
    let title = meant.title.as_ref();
    let began_ms = clock::monotonic_ms();
    let deadline_ms = began_ms.saturating_add(timeout_ms);
    let mut found = masters::find(title)?;
    let chosen = match title {
        Some(title) => found.only(title),
        None => choose(std::mem::take(&mut found.applications), meant.place.as_deref())?,
    };
    for (name, application) in chosen {
        object.fact("title", &name);
        let progress = Progress::new("waiting for", shown(&name), "it is not stopped");
        let is_it = |one: &&Running| proc::start_ticks(one.pid).is_ok_and(|ticks| ticks == one.start_ticks);
        let mut left: Vec<u32> = application.running.iter().filter(is_it).map(|one| one.pid).collect();
        let cookies = application.cookies.into_iter().collect();
        loop {
            let processes: Vec<Pidfd> = left.iter().filter_map(|pid| Pidfd::open(*pid).ok()).collect();
            if !pidfd::wait_all(&processes, deadline_ms)? {
                object.fact("alive", &left);
                let pids = left.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                let failure = Failure::new(Exit::Failed, format!("{} is not stopped", shown(&name)));
                return Err(failure.because(format_args!("after {timeout_ms} ms: {pids}")).into());
            }
            left = bearers(&cookies)?;
            if left.is_empty() {
                break;
            }
        }
        drop(progress);
        output::say(format_args!("{} stopped", shown(&name)));
    }
    object.fact("what", "stopped");
    Ok(Exit::Done)
}

/// Who bears these cookies, but for this command and its ancestors.
fn bearers(cookies: &BTreeSet<String>) -> std::io::Result<Vec<u32>> {
    let (own_line, mut reader) = (proc::self_and_ancestors(), Reader::default());
    let bears = |pid: &u32| !own_line.contains(pid) && masters::bears(&mut reader, *pid, cookies);
    Ok(proc::pids()?.filter(bears).collect())
}
