//! What the master says about its members and about a start, in words: for the log, the parent and the foreground.

use std::collections::BTreeMap;

use crate::control::Left;
use crate::ipc::report::Failed;
use crate::lifecycle::{CancelledBy, Death, Lifecycle, MemberId, Notice, Outcome, ReloadHow, Role, StartFailure};
use crate::options::Options;
use crate::sys::signals;
use crate::{app, control};

use super::members::{Member, Members};
use super::notices::Level;
use super::outcomes;

/// What went wrong before a start failed, as far as the master saw it.
#[derive(Debug, Default)]
pub struct Evidence {
    /// The port that could not be had because it was taken.
    pub taken_port: Option<u16>,
    /// Why the last spawn failed: `cannot run `node`: …`.
    pub spawn_error: Option<String>,
    /// Where workers listen that are not the address they are to serve.
    pub other_addresses: Vec<String>,
    /// The lines of the log that say so of workers that have listened elsewhere for long.
    pub elsewhere: BTreeMap<MemberId, String>,
}

/// `agent_worker#1:42` or `app_worker#2:43`, as Egg's log has it.
#[must_use]
pub fn in_log(member: &Member) -> String {
    let role = if member.is_worker() { "app_worker" } else { "agent_worker" };
    format!("{role}#{}:{}", member.number, member.pid)
}

/// ` at 7001, remain 2`, as Egg's log has it of a worker that becomes ready: how many are still waited for.
#[must_use]
pub fn at_port(port: u16, lifecycle: &Lifecycle, worker: MemberId) -> String {
    let others = lifecycle.waiting_for().filter(|(role, who)| *role != Role::Agent && *who != Some(worker));
    format!(" at {port}, remain {}", others.count())
}

/// `agent (pid 42)` or `worker 2 (pid 43)`, for people.
#[must_use]
pub fn for_people(id: MemberId, members: &Members) -> String {
    match members.get(id) {
        Some(member) => format!("{} (pid {})", app::name_of(member.role), member.pid),
        None => "a member".to_owned(),
    }
}

/// `exit code 1` or `killed by SIGKILL`.
#[must_use]
pub fn death(death: Death) -> String {
    match death {
        Death::Code(code) => format!("exit code {code}"),
        Death::Signal(signal) => format!("killed by {}", signals::name(signal)),
    }
}

/// What Egg's log says of a member that follows a dead one.
#[must_use]
pub fn spawned(member: &Member) -> String {
    match member.is_worker() {
        true => format!("new worker:{} fork (state: none)", member.pid),
        false => "new agent_worker starting...".to_owned(),
    }
}

/// The name that an error has in Egg's log.
#[must_use]
pub fn error_name(notice: &Notice, members: &Members) -> Option<&'static str> {
    match notice {
        Notice::Died { member, .. } => Some(match members.get(*member)?.is_worker() {
            true => "AppWorkerDiedError",
            false => "AgentWorkerDiedError",
        }),
        Notice::Down { exits: true, .. } => Some("ClusterWorkerExceptionError"),
        _ => None,
    }
}

/// `code: 1, signal: null`, as Egg's log has it.
fn death_in_log(death: Death) -> String {
    match death {
        Death::Code(code) => format!("code: {code}, signal: null"),
        Death::Signal(signal) => format!("code: null, signal: {}", signals::name(signal)),
    }
}

/// Why the start failed, from what the lifecycle decided and what was seen on the way.
#[must_use]
pub fn start_failure(failure: StartFailure, members: &Members, options: &Options, seen: &Evidence) -> Failed {
    let (why, hint) = match failure {
        StartFailure::Died { member, death: how } => {
            let who = for_people(member, members);
            let hint = (how == Death::Code(0))
                .then(|| "an exit before everything is ready is a failure, also with code 0".to_owned());
            (format!("{who} died before everything was ready: {}", death(how)), hint)
        }
        StartFailure::Disconnected(member) => {
            (format!("{} closed its channel before it was ready", for_people(member, members)), None)
        }
        StartFailure::Closed(member) => {
            let who = for_people(member, members);
            (format!("{who} closed the address that it serves before everything was ready"), None)
        }
        StartFailure::SpawnFailed(_) => {
            let why = seen.spawn_error.clone().unwrap_or_else(|| "a member could not be spawned".to_owned());
            (why, Some("check --node and the PATH".to_owned()))
        }
        StartFailure::NotReady(member) => not_ready(member, members, options, seen),
    };
    match seen.taken_port {
        Some(port) => Failed { why: format!("port {port} is taken; {why}"), taken_port: Some(port), hint },
        None => Failed { why, taken_port: None, hint },
    }
}

fn not_ready(member: MemberId, members: &Members, options: &Options, seen: &Evidence) -> (String, Option<String>) {
    let seconds = std::time::Duration::from_millis(options.timeout_ms).as_secs_f64();
    // The parent has the same deadline and may be first: one failure, one wording.
    let why = format!("Start failed, {seconds}s timeout: not ready: {}", for_people(member, members));
    let hint = match members.get(member).map(|one| one.role) {
        Some(Role::Worker { .. } | Role::Spare { .. }) => match (options.port, seen.other_addresses.first()) {
            (Some(port), Some(other)) => format!("it is to listen on port {port}, but listens on {other}"),
            (Some(port), None) => format!("a worker is ready when it listens on port {port} or sends `app-start`"),
            (None, _) => "a worker is ready when it listens or sends `app-start`".to_owned(),
        },
        Some(Role::Agent) | None => app::agent_ready_hint(options).to_owned(),
    };
    (why, Some(hint))
}

/// The log line of a decision of the lifecycle.
#[must_use]
pub fn notice(notice: &Notice, members: &Members, options: &Options) -> (Level, String) {
    let log = |id: MemberId| members.get(id).map_or_else(|| "a member".to_owned(), in_log);
    match notice {
        Notice::Died { member, death } => {
            let workers: Vec<String> = members
                .iter()
                .filter(|(id, one)| one.is_worker() && id != member)
                .map(|(_, one)| one.pid.to_string())
                .collect();
            let (who, how, left) = (log(*member), death_in_log(*death), workers.join(","));
            let text = match members.get(*member).filter(|one| one.is_worker()) {
                Some(Member { suicide, .. }) => {
                    format!("{who} died ({how}, suicide: {suicide}, state: dead), current workers: [{left}]")
                }
                None => format!("{who} died ({how})"),
            };
            (Level::Error, text)
        }
        Notice::Refork { role, after_ms: 0 } => (Level::Info, format!("{}: new member now", app::name_of(*role))),
        Notice::Refork { role, after_ms } => {
            (Level::Warn, format!("{}: new member after {after_ms} ms", app::name_of(*role)))
        }
        Notice::NoRefork(role) => {
            (Level::Warn, format!("{}: don't fork new work in this environment", app::name_of(*role)))
        }
        Notice::ReforkWindowFull { wait_ms } => {
            (Level::Error, format!("60 reforks in 60 s: the next one after {wait_ms} ms"))
        }
        Notice::Down { agents, workers, for_ms: _, exits: true } => {
            // egg-cluster's words.
            let text = format!("{agents} agent and {workers} worker(s) alive, exit to avoid unknown state");
            (Level::Error, text)
        }
        Notice::Down { agents, workers, for_ms, exits: false } => {
            let seconds = for_ms / 1_000;
            let text =
                format!("{agents} agent and {workers} worker(s) alive for {seconds} s: it is tried again and again");
            (Level::Error, text)
        }
        Notice::BootGraceOver(member) => {
            (Level::Error, format!("{} is not ready in time: it is ended and tried again", log(*member)))
        }
        Notice::AgentSlow(member) => {
            (Level::Warn, format!("{} is not ready for 5 s: {}", log(*member), app::agent_ready_hint(options)))
        }
        Notice::Closing(signal) => {
            (Level::Info, format!("master is killed by signal {}, closing", signals::name(*signal)))
        }
        Notice::CloseHurried(signal) => {
            (Level::Warn, format!("{} while closing: nobody is waited for politely any more", signals::name(*signal)))
        }
        Notice::Disconnected(member) => (Level::Info, format!("{} closed its channel", log(*member))),
        Notice::GivenUp(member) => {
            (Level::Error, format!("{} is alive after SIGKILL: it waits inside the kernel, and is left", log(*member)))
        }
        Notice::StraysGivenUp => {
            (Level::Error, "what members left behind is alive after SIGKILL, and is left".to_owned())
        }
        Notice::Left(member) => left(*member, members),
        Notice::Reloading(how) => (Level::Info, reloading(*how)),
        Notice::Scaling { from, to } => (Level::Info, format!("scale from {from} to {to} workers")),
        Notice::PassedGate(member) => (Level::Warn, format!("{} {PASSES}: reload worker by worker", log(*member))),
        Notice::NoSpares(member) => (Level::Warn, format!("{} {PASSES}: it can have no spares", log(*member))),
        Notice::SpareWaits(member) => (Level::Info, format!("{} has booted and waits at the gate", log(*member))),
        Notice::SpareTakesOver { spare, role } => {
            (Level::Info, format!("{} becomes {}", log(*spare), app::name_of(*role)))
        }
        Notice::Done(outcome) => done(*outcome, members),
        // `places` has the words of these.
        Notice::LeftAddress(_) | Notice::Deserted(_) | Notice::ListensElsewhere { .. } | Notice::NotOpened { .. } => {
            (Level::Warn, format!("{notice:?}"))
        }
        Notice::Killed(member) => (Level::Error, format!("{} did not end in time and gets SIGKILL", log(*member))),
    }
}

/// A member has left as it was asked to, and what went with it. No warning: how long it is waited for is the user's choice.
fn left(id: MemberId, members: &Members) -> (Level, String) {
    let Some(member) = members.get(id) else { return (Level::Info, "a member has left".to_owned()) };
    let (requests, connections) = member.in_flight.unwrap_or_default();
    let how = match member.left {
        Some(Left::Killed) => "was killed",
        Some(Left::AtLimit) => "has left at its limit",
        Some(Left::ByItself | Left::Died) | None => "has left",
    };
    let cut = control::cut(requests, connections).map(|cut| format!(", with {cut}")).unwrap_or_default();
    (Level::Info, format!("{} {how}{cut}", in_log(member)))
}

/// What a worker has done that is given no gate to wait at.
const PASSES: &str = "listened without asking (`exclusive`, `reusePort`)";

fn reloading(how: ReloadHow) -> String {
    let way = if how.rolling { "worker by worker" } else { "by generation" };
    let agent = if how.agent { ", then the agent" } else { "" };
    format!("reload {way}{agent}")
}

/// How an operation came out.
fn done(outcome: Outcome, members: &Members) -> (Level, String) {
    match outcome {
        Outcome::Reloaded { workers, rolling: _, without_agent_ms: None } => {
            (Level::Info, format!("reloaded: {workers} new workers"))
        }
        Outcome::Reloaded { workers, rolling: _, without_agent_ms: Some(ms) } => {
            (Level::Info, format!("reloaded: {workers} new workers, and the agent, which was away for {ms} ms"))
        }
        Outcome::Scaled { from, to } => (Level::Info, format!("scaled from {from} to {to} workers")),
        Outcome::Failed { failure, replaced } => {
            let why = outcomes::not_up(failure, members, &Evidence::default());
            let before = match replaced {
                0 => String::new(),
                _ => format!(" after {} put in place", outcomes::counted(replaced)),
            };
            (Level::Error, format!("the operation failed{before}: {why}"))
        }
        Outcome::Cancelled { by, kind, replaced, workers } => {
            let why = match by {
                CancelledBy::Request => "cancelled",
                CancelledBy::Reload => "another reload takes its place",
            };
            let (name, stands) = (outcomes::name_of(kind), outcomes::what_stands(kind, replaced, workers));
            (Level::Warn, format!("{name}: {stands} ({why})"))
        }
        Outcome::Refused(_) => (Level::Warn, "an operation was refused".to_owned()),
        Outcome::Interrupted => (Level::Warn, "the operation under way is given up: the master closes".to_owned()),
    }
}
