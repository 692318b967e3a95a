//! Nobody is there for long: Egg's health check.

use eggctl::lifecycle::Action::{CloseListeners, LeaveDispatch, Notice, Terminate};
use eggctl::lifecycle::Notice as N;
use eggctl::lifecycle::{Action, Event, Millis, Patience, Phase, Policy, ReloadHow, RequestId};

use super::{NOTHING, SIGKILL, Stage, nth, policy};

fn down(agents: usize, workers: usize, for_ms: Millis, exits: bool) -> Action {
    Notice(N::Down { agents, workers, for_ms, exits })
}

fn gives_up(agent: bool, workers: u32) -> Policy {
    Policy { exit_when_down: true, boot_grace_ms: 300_000, ..policy(agent, workers) }
}

/// Its members die `n` by `n` from the given one on, 1 ms after their spawn, until `length` has passed.
fn keep_dying(stage: &mut Stage, first: u32, length: Millis) -> Vec<Action> {
    let (mut actions, end, mut n) = (Vec::new(), stage.now + length, first);
    while stage.now < end {
        actions.extend(stage.pass(1));
        if stage.lifecycle.role(nth(n)).is_some() {
            actions.extend(stage.dies(n, SIGKILL));
            n += 1;
        }
    }
    actions
}

#[test]
fn without_a_worker_for_30_s_the_master_exits_with_1() {
    let mut stage = Stage::running(gives_up(false, 1));
    stage.dies(1, SIGKILL);
    let told = keep_dying(&mut stage, 2, 29_999);
    assert!(told.iter().all(|action| !matches!(action, Notice(N::Down { .. }))), "{told:?}");
    assert_eq!(stage.pass(1)[..2], [down(0, 0, 30_000, true), CloseListeners]);
    assert_eq!(stage.lifecycle.phase(), Phase::ClosingStrays);
    assert_eq!(stage.tell(Event::Alone), [Action::Exit(1)]);
}

#[test]
fn without_an_agent_for_30_s_the_workers_leave_politely_before_the_exit() {
    let mut stage = Stage::running(gives_up(true, 1));
    stage.dies(1, SIGKILL);
    keep_dying(&mut stage, 3, 29_999);
    let polite = [down(0, 1, 30_000, true), CloseListeners, LeaveDispatch(nth(2)), Action::Drain(nth(2))];
    assert_eq!(stage.pass(1), polite);
}

/// Found by the random lives: the new one served, and the log was told that nobody did.
#[test]
fn who_is_let_in_by_a_reload_is_there_before_its_generation_is_complete() {
    let mut stage = Stage::running(Policy { boot_grace_ms: 60_000, ..policy(false, 2) });
    let how = ReloadHow { batch: Some(2), patience: super::PATIENCE, ..ReloadHow::default() };
    stage.tell(Event::Reload { request: RequestId(1), how });
    stage.dies(1, SIGKILL);
    stage.dies(2, SIGKILL);
    stage.tell(Event::AtGate(nth(3)));
    stage.tell(Event::AtGate(nth(4)));
    stage.ready(3);
    assert_eq!(stage.pass(59_999), NOTHING);
}

#[test]
fn a_replacement_that_takes_a_minute_to_boot_is_waited_for() {
    let mut stage = Stage::running(gives_up(false, 2));
    stage.dies(1, SIGKILL);
    stage.dies(2, SIGKILL);
    assert_eq!(stage.pass(60_000), NOTHING);
    stage.ready(3);
    assert_eq!(stage.pass(60_000), NOTHING);
}

#[test]
fn a_new_one_of_a_reload_that_takes_a_minute_to_boot_is_waited_for_too() {
    let mut stage = Stage::running(gives_up(false, 1));
    let patience = Patience { boot_grace_ms: 300_000, ..super::PATIENCE };
    let how = ReloadHow { batch: Some(1), patience, ..ReloadHow::default() };
    stage.tell(Event::Reload { request: RequestId(1), how });
    stage.dies(1, SIGKILL);
    // What took its seat dies and dies.
    assert!(!keep_dying(&mut stage, 3, 60_000).contains(&CloseListeners));
    stage.ready(2);
    assert_eq!(stage.lifecycle.phase(), Phase::Running);
}

#[test]
fn a_slow_replacement_that_dies_after_the_30_s_has_no_successor() {
    let mut stage = Stage::running(gives_up(false, 1));
    stage.dies(1, SIGKILL);
    stage.pass(60_000);
    let told = stage.dies(2, SIGKILL);
    assert!(told.contains(&down(0, 0, 60_000, true)), "{told:?}");
    assert!(!told.iter().any(|action| matches!(action, Action::Spawn { .. })), "{told:?}");
}

#[test]
fn being_there_again_for_a_moment_begins_the_30_s_anew() {
    let mut stage = Stage::running(gives_up(false, 1));
    stage.dies(1, SIGKILL);
    stage.pass(29_000);
    stage.ready(2);
    stage.dies(2, SIGKILL);
    assert!(!keep_dying(&mut stage, 3, 29_999).contains(&CloseListeners));
    assert!(stage.pass(1).contains(&CloseListeners));
}

#[test]
fn a_master_that_goes_on_says_so_once_a_minute() {
    let mut stage = Stage::running(policy(true, 1));
    stage.dies(2, SIGKILL);
    let told = keep_dying(&mut stage, 3, 155_000);
    let told: Vec<_> = told.into_iter().filter(|action| matches!(action, Notice(N::Down { .. }))).collect();
    assert_eq!(told, [30_000, 90_000, 150_000].map(|for_ms| down(1, 0, for_ms, false)));
}

#[test]
fn in_development_where_the_dead_stay_dead_nobody_gives_up() {
    let mut stage = Stage::running(Policy { refork: false, ..gives_up(true, 1) });
    stage.dies(2, SIGKILL);
    stage.dies(1, SIGKILL);
    stage.ready(3);
    assert_eq!(stage.pass(600_000), NOTHING);
}

#[test]
fn a_hung_replacement_has_its_boot_grace_and_then_the_master_gives_up() {
    let mut stage = Stage::running(Policy { boot_grace_ms: 40_000, ..gives_up(false, 1) });
    stage.dies(1, SIGKILL);
    let over = [Notice(N::BootGraceOver(nth(2))), LeaveDispatch(nth(2)), Terminate(nth(2))];
    assert_eq!(stage.pass(40_000), [&over[..], &[down(0, 0, 40_000, true), CloseListeners]].concat());
}
