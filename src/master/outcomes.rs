//! What a client of the control socket is told of an operation: how far it is, and how it came out.

use crate::app;
use crate::control::{Progress, Receipt, Refusal};
use crate::error::Exit;
use crate::lifecycle::{self, CancelledBy, Lifecycle, OperationKind, Outcome, Role, Stage, StartFailure, Wanted};

use super::members::Members;
use super::words::{Evidence, death, for_people};

/// As many members are named; the others are counted.
const MOST_NAMES: usize = 8;

/// How far the operation is.
#[must_use]
pub fn progress(progress: &lifecycle::Progress) -> Progress {
    let lifecycle::Progress { stage, wanted, booting: _, waiting, ready, leaving } = *progress;
    let (stage, done, of) = match stage {
        Stage::Booting => ("new workers boot", waiting.saturating_add(ready), wanted),
        Stage::Entering => ("new workers begin to serve", ready, wanted),
        Stage::Agent => ("a new agent boots", 0, 1),
        Stage::Leaving => ("old members leave", 0, leaving),
    };
    Progress { stage: stage.to_owned(), done, of, ..Progress::default() }
}

/// What was done; `None` when it was not. Who serves, and how long it took, is for the caller to add.
#[must_use]
pub fn receipt(outcome: Outcome) -> Option<Receipt> {
    match outcome {
        Outcome::Reloaded { workers: _, rolling, without_agent_ms } => {
            let how = if rolling { "worker by worker" } else { "by generation" };
            let note = |ms| format!("there was no agent for {ms} ms, and messages to it were kept meanwhile");
            Some(Receipt {
                what: "reloaded".to_owned(),
                how: Some(how.to_owned()),
                notes: without_agent_ms.map(note).into_iter().collect(),
                ..Receipt::default()
            })
        }
        Outcome::Scaled { from, to } => {
            Some(Receipt { what: "scaled".to_owned(), how: Some(format!("from {from} to {to}")), ..Receipt::default() })
        }
        Outcome::Failed { .. } | Outcome::Cancelled { .. } | Outcome::Refused(_) | Outcome::Interrupted => None,
    }
}

/// What has been given up, for the client that asked for that.
#[must_use]
pub fn cancelled(kind: OperationKind, replaced: u32, workers: u32) -> Receipt {
    let note = match (kind, replaced) {
        (OperationKind::Scale, _) => format!("the number of workers is {workers}"),
        (OperationKind::Reload, 0) => "nothing has changed: the old workers stay".to_owned(),
        (OperationKind::Reload, replaced) if replaced >= workers => {
            "the new workers serve already and stay; the old ones go on leaving".to_owned()
        }
        (OperationKind::Reload, replaced) => {
            format!("{} replaced before and {}", counted(replaced), if replaced == 1 { "stays" } else { "stay" })
        }
    };
    let how = Some(format!("the {}", name_of(kind)));
    Receipt { what: "cancelled".to_owned(), how, notes: vec![note], ..Receipt::default() }
}

/// `reload` or `scale`, which are also the names of the commands.
#[must_use]
pub fn name_of(kind: OperationKind) -> &'static str {
    match kind {
        OperationKind::Reload => "reload",
        OperationKind::Scale => "scale",
    }
}

/// What stands after an operation was given up.
#[must_use]
pub fn what_stands(kind: OperationKind, replaced: u32, workers: u32) -> String {
    match (kind, replaced) {
        (OperationKind::Scale, _) => format!("it was given up, and the number of workers is {workers}"),
        (OperationKind::Reload, 0) => "it was given up, and nothing has changed".to_owned(),
        (OperationKind::Reload, replaced) => {
            let (workers, stay) = (counted(replaced), if replaced == 1 { "stays" } else { "stay" });
            format!("it was given up after {workers} replaced, which {stay}")
        }
    }
}

/// Why it was not done; nothing for what was.
#[must_use]
pub fn refusal(outcome: Outcome, members: &Members, seen: &Evidence) -> Option<Refusal> {
    let (what, why, hint) = match outcome {
        Outcome::Reloaded { .. } | Outcome::Scaled { .. } => return None,
        Outcome::Failed { failure, replaced: 0 } => {
            ("it failed, and nothing has changed".to_owned(), not_up(failure, members, seen), None)
        }
        Outcome::Failed { failure, replaced } => {
            let (workers, stay) = (counted(replaced), if replaced == 1 { "stays" } else { "stay" });
            let what = format!("it failed after {workers} replaced, which {stay}");
            (what, not_up(failure, members, seen), Some("once the cause is mended: `eggctl reload`".to_owned()))
        }
        Outcome::Cancelled { by, kind, replaced, workers } => {
            let why = match by {
                CancelledBy::Request => format!("`eggctl {} --cancel` was run", name_of(kind)),
                CancelledBy::Reload => "another reload has taken its place".to_owned(),
            };
            (what_stands(kind, replaced, workers), why, None)
        }
        Outcome::Refused(refusal) => {
            let (why, hint) = not_begun(refusal);
            let is_cancel = matches!(refusal, lifecycle::Refusal::NotUnderWay(_));
            let what = if is_cancel { "nothing was cancelled" } else { "it was not begun" };
            (what.to_owned(), why, hint.map(ToOwned::to_owned))
        }
        Outcome::Interrupted => ("it was given up".to_owned(), "the application is being stopped".to_owned(), None),
    };
    let exit = if matches!(outcome, Outcome::Refused(lifecycle::Refusal::Count)) { Exit::Usage } else { Exit::Failed };
    Some(Refusal { exit: exit as u8, what, why: vec![why], hint, ..Refusal::default() })
}

/// `1 worker was` or `2 workers were`.
#[must_use]
pub fn counted(workers: u32) -> String {
    if workers == 1 { "1 worker was".to_owned() } else { format!("{workers} workers were") }
}

/// Who is not ready yet, and how many workers are.
#[must_use]
pub fn readiness(lifecycle: &Lifecycle) -> Progress {
    let missing: Vec<Role> = lifecycle.waiting_for().map(|(role, _)| role).collect();
    let mut names: Vec<String> = missing.iter().take(MOST_NAMES).map(|role| app::name_of(*role)).collect();
    if missing.len() > MOST_NAMES {
        names.push(format!("{} others", missing.len() - MOST_NAMES));
    }
    let workers_missing = missing.iter().filter(|role| **role != Role::Agent).count();
    let of = lifecycle.workers();
    let done = of.saturating_sub(u32::try_from(workers_missing).unwrap_or(u32::MAX));
    Progress { stage: "workers ready".to_owned(), done, of, not_yet: names }
}

/// Too many wait for an answer already.
#[must_use]
pub fn too_many(others: usize) -> Refusal {
    Refusal {
        exit: Exit::Failed as u8,
        what: "it was not begun".to_owned(),
        why: vec![format!("{others} others wait for such an answer already")],
        hint: Some("end some of those commands, or ask again later".to_owned()),
        ..Refusal::default()
    }
}

/// Why members did not come up.
#[must_use]
pub fn not_up(failure: StartFailure, members: &Members, seen: &Evidence) -> String {
    let who = for_people(failure.member(), members);
    match failure {
        StartFailure::Died { member: _, death: how } => format!("{who} died before it was ready: {}", death(how)),
        StartFailure::Disconnected(_) => format!("{who} closed its channel before it was ready"),
        StartFailure::SpawnFailed(_) => {
            seen.spawn_error.clone().unwrap_or_else(|| "a member could not be spawned".to_owned())
        }
        StartFailure::Closed(_) => format!("{who} closed the address that it serves before it had a seat"),
        StartFailure::NotReady(member) => match seen.elsewhere.get(&member) {
            Some(line) => format!("{who} did not get ready within the boot timeout: {line}"),
            None => format!("{who} did not get ready within the boot timeout"),
        },
    }
}

fn not_begun(refusal: lifecycle::Refusal) -> (String, Option<&'static str>) {
    use lifecycle::Refusal::{Closing, Count, NoAgent, NotUnderWay, Reloading, Scaling, Starting};
    let closing = Some("`eggctl wait --for=stopped` returns when that is over");
    let reloading = Some(
        "`eggctl wait --for=reloaded` returns when that is over, `eggctl reload --cancel` gives it up, `--replace` replaces it",
    );
    // No command waits for the end of a scale except the same scale: it joins.
    let scaling = Some(
        "ask again when `eggctl scale` has returned; the same scale again joins it, `eggctl scale --cancel` gives it up",
    );
    let starting = Some("`eggctl wait` returns when it is");
    match refusal {
        Starting => ("the application is not ready yet".to_owned(), starting),
        Closing => ("the application is being stopped".to_owned(), closing),
        Reloading => ("a reload is under way".to_owned(), reloading),
        Scaling => ("the number of workers is being changed".to_owned(), scaling),
        Count => (format!("there can be 1 to {} workers", Wanted::MOST), None),
        NoAgent => ("the application has no agent".to_owned(), None),
        NotUnderWay(kind) => (format!("no {} is under way", name_of(kind)), None),
    }
}
