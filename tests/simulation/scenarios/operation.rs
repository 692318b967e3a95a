//! Reload, scale and spares, one by one.

use eggctl::lifecycle::Action::{
    AdoptOptions, Answer, Drain, Hasten, LeaveDispatch, Notice, OpenGate, RestoreOptions, Terminate,
};
use eggctl::lifecycle::Notice as N;
use eggctl::lifecycle::{
    Action, Death, Event, Outcome, Patience, Policy, Refusal, ReloadHow, RequestId, Role, StartFailure, Wanted,
};

use super::{AGENT, NOTHING, SIGKILL, Stage, died, nth, policy, refork, spawn, worker};

const GENERATION: ReloadHow = ReloadHow { rolling: false, batch: Some(8), agent: false, patience: super::PATIENCE };
const ROLLING: ReloadHow = ReloadHow { rolling: true, batch: None, agent: false, patience: super::PATIENCE };

fn reload(stage: &mut Stage, request: u32, how: ReloadHow) -> Vec<Action> {
    stage.tell(Event::Reload { request: RequestId(request), how })
}

/// What a reload begins with.
fn begins(request: u32, how: ReloadHow) -> [Action; 2] {
    [AdoptOptions(RequestId(request)), Notice(N::Reloading(how))]
}

fn scale(stage: &mut Stage, wanted: Wanted) -> Vec<Action> {
    stage.tell(Event::Scale { request: RequestId(1), wanted, patience: super::PATIENCE })
}

fn over(request: u32, outcome: Outcome) -> [Action; 2] {
    [Notice(N::Done(outcome)), Answer { request: RequestId(request), outcome }]
}

fn reloaded(workers: u32, rolling: bool, without_agent_ms: Option<u64>) -> Outcome {
    Outcome::Reloaded { workers, rolling, without_agent_ms }
}

fn at_gate(stage: &mut Stage, n: u32) -> Vec<Action> {
    stage.tell(Event::AtGate(nth(n)))
}

fn leaves(n: u32) -> [Action; 2] {
    [LeaveDispatch(nth(n)), Drain(nth(n))]
}

/// Drains, gets TERM, ends.
fn goes(stage: &mut Stage, n: u32) -> Vec<Action> {
    assert_eq!(stage.tell(Event::Drained(nth(n))), [Terminate(nth(n))]);
    stage.dies(n, Death::Code(0))
}

#[test]
fn a_generation_waits_for_its_last_one_is_let_in_together_and_then_the_old_ones_leave() {
    let mut stage = Stage::running(policy(false, 2));
    let began = [&begins(7, GENERATION)[..], &[spawn(3, worker(0)), spawn(4, worker(1))]].concat();
    assert_eq!(reload(&mut stage, 7, GENERATION), began);
    assert_eq!(at_gate(&mut stage, 4), NOTHING);
    assert_eq!(at_gate(&mut stage, 3), [OpenGate(nth(3)), OpenGate(nth(4))]);
    assert_eq!(stage.ready(3), NOTHING);
    assert_eq!(stage.ready(4), [leaves(1), leaves(2)].concat());
    assert_eq!(goes(&mut stage, 2), [Notice(N::Left(nth(2)))]);
    let end = [vec![Notice(N::Left(nth(1)))], over(7, reloaded(2, false, None)).to_vec()].concat();
    assert_eq!(goes(&mut stage, 1), end);
}

#[test]
fn a_batch_is_the_spare_cores_and_at_least_one() {
    for (cores, batch) in [(1, 1), (3, 1), (5, 2), (64, 3)] {
        let mut stage = Stage::running(Policy { cores, ..policy(false, 3) });
        let began = reload(&mut stage, 1, ReloadHow { batch: None, ..GENERATION });
        assert_eq!(began.len() - 2, batch, "{cores} cores: {began:?}");
    }
}

/// The dead go on waiting for room in the refork window; a reload may be what mends them.
#[test]
fn a_reload_does_not_wait_for_room_as_reforks_do() {
    let mut stage = Stage::running(policy(false, 61));
    for n in 1..=60 {
        stage.dies(n, SIGKILL);
    }
    assert!(matches!(stage.dies(61, SIGKILL)[..], [_, _, Notice(N::ReforkWindowFull { .. })]));
    let began = reload(&mut stage, 7, GENERATION);
    assert_eq!((began.len(), began.last()), (10, Some(&spawn(129, worker(7)))));
}

#[test]
fn a_new_one_that_dies_dismisses_its_generation_and_nobody_else_notices() {
    let mut stage = Stage::running(policy(false, 2));
    reload(&mut stage, 7, GENERATION);
    at_gate(&mut stage, 3);
    let failure = StartFailure::Died { member: nth(4), death: Death::Code(1) };
    let failed = Outcome::Failed { failure, replaced: 0 };
    let mut ended = vec![died(4, Death::Code(1)), Notice(N::Done(failed)), RestoreOptions];
    ended.extend([LeaveDispatch(nth(3)), Terminate(nth(3)), Answer { request: RequestId(7), outcome: failed }]);
    assert_eq!(stage.dies(4, Death::Code(1)), ended);
    assert!(stage.lifecycle.is_ready(nth(1)) && stage.lifecycle.is_ready(nth(2)));
    assert_eq!(stage.dies(3, Death::Code(0)), [Notice(N::Left(nth(3)))]);
    assert_eq!(stage.lifecycle.next_timeout(), None);
}

#[test]
fn a_new_one_that_hangs_is_given_up_at_its_boot_grace_but_one_at_the_gate_may_wait() {
    let mut stage = Stage::running(policy(false, 2));
    reload(&mut stage, 7, GENERATION);
    at_gate(&mut stage, 3);
    assert_eq!(stage.pass(super::PATIENCE.boot_grace_ms - 1), NOTHING);
    let failed = Outcome::Failed { failure: StartFailure::NotReady(nth(4)), replaced: 0 };
    assert_eq!(stage.pass(1)[0], Notice(N::Done(failed)));
}

#[test]
fn rolling_each_old_one_leaves_when_its_successor_is_ready() {
    let mut stage = Stage::running(policy(false, 2));
    assert_eq!(reload(&mut stage, 7, ROLLING), [&begins(7, ROLLING)[..], &[spawn(3, worker(0))]].concat());
    assert!(!stage.lifecycle.is_held(nth(3)), "it does not wait");
    assert_eq!(stage.ready(3), [&leaves(1)[..], &[spawn(4, worker(1))]].concat());
    assert_eq!(stage.ready(4), leaves(2));
    goes(&mut stage, 1);
    assert_eq!(goes(&mut stage, 2)[1..], over(7, reloaded(2, true, None)));
}

#[test]
fn who_passes_the_gate_makes_the_reload_rolling() {
    let mut stage = Stage::running(policy(false, 2));
    reload(&mut stage, 7, ReloadHow { batch: None, ..GENERATION });
    let passed = [&[Notice(N::PassedGate(nth(3)))][..], &leaves(1), &[spawn(4, worker(1))]].concat();
    assert_eq!(stage.ready(3), passed);
    assert!(!stage.lifecycle.is_held(nth(4)));
    stage.ready(4);
    goes(&mut stage, 1);
    assert_eq!(goes(&mut stage, 2)[1..], over(7, reloaded(2, true, None)));
}

#[test]
fn the_agent_goes_when_the_old_workers_have_gone_and_the_receipt_says_how_long_there_was_none() {
    let mut stage = Stage::running(policy(true, 2));
    reload(&mut stage, 7, ReloadHow { agent: true, ..GENERATION });
    at_gate(&mut stage, 4);
    at_gate(&mut stage, 5);
    stage.ready(4);
    assert_eq!(stage.ready(5), [leaves(2), leaves(3)].concat(), "they may still talk to it");
    assert_eq!(goes(&mut stage, 3), [Notice(N::Left(nth(3)))]);
    assert_eq!(goes(&mut stage, 2), [Notice(N::Left(nth(2))), Drain(nth(1))], "it reads what it was sent");
    stage.pass(100);
    assert_eq!(goes(&mut stage, 1), [Notice(N::Left(nth(1))), spawn(6, AGENT)]);
    stage.pass(400);
    assert_eq!(stage.ready(6), over(7, reloaded(2, false, Some(500))));
}

#[test]
fn a_new_agent_that_hangs_has_the_reloads_patience() {
    let mut stage = Stage::running(policy(true, 1));
    let patience = Patience { boot_grace_ms: 2_000, ..super::PATIENCE };
    reload(&mut stage, 7, ReloadHow { agent: true, patience, ..GENERATION });
    at_gate(&mut stage, 3);
    stage.ready(3);
    goes(&mut stage, 2);
    assert_eq!(goes(&mut stage, 1).last(), Some(&spawn(4, AGENT)));
    let failed = Outcome::Failed { failure: StartFailure::NotReady(nth(4)), replaced: 1 };
    assert!(stage.pass(2_000).contains(&Answer { request: RequestId(7), outcome: failed }));
}

#[test]
fn a_rolling_reload_goes_no_further_when_a_new_one_dies_in_its_seat() {
    let mut stage = Stage::running(policy(false, 3));
    reload(&mut stage, 7, ReloadHow { batch: Some(1), ..ROLLING });
    stage.ready(4);
    let failure = StartFailure::Died { member: nth(4), death: SIGKILL };
    let failed = Outcome::Failed { failure, replaced: 1 };
    assert!(stage.dies(4, SIGKILL).contains(&Answer { request: RequestId(7), outcome: failed }));
    assert!(stage.lifecycle.is_ready(nth(2)) && stage.lifecycle.is_ready(nth(3)));
}

#[test]
fn the_new_agent_does_not_wait_for_room_as_reforks_do() {
    let mut stage = Stage::running(policy(true, 60));
    (2..=61).for_each(|n| drop(stage.dies(n, SIGKILL)));
    (62..=121).for_each(|n| drop(stage.ready(n)));
    reload(&mut stage, 7, ReloadHow { agent: true, batch: Some(60), ..GENERATION });
    (122..=181).for_each(|n| drop(at_gate(&mut stage, n)));
    (122..=181).for_each(|n| drop(stage.ready(n)));
    (62..=121).for_each(|n| drop(goes(&mut stage, n)));
    assert_eq!(goes(&mut stage, 1), [Notice(N::Left(nth(1))), spawn(182, AGENT)]);
}

#[test]
fn an_old_worker_that_does_not_leave_holds_the_agent_no_longer_than_to_its_kill() {
    let mut stage = Stage::running(policy(true, 1));
    reload(&mut stage, 7, ReloadHow { agent: true, ..GENERATION });
    at_gate(&mut stage, 3);
    stage.ready(3);
    assert_eq!(stage.pass(super::PATIENCE.drain_grace_ms), [Terminate(nth(2))]);
    let grace_ms = policy(true, 1).worker_close_grace_ms;
    assert_eq!(stage.pass(grace_ms), [Notice(N::Killed(nth(2))), Action::Kill(nth(2)), Drain(nth(1))]);
}

#[test]
fn a_close_leaves_an_agent_that_a_reload_has_asked_to_leave_its_own_time() {
    let mut stage = Stage::running(policy(true, 1));
    let grace_ms = policy(true, 1).agent_close_grace_ms;
    reload(&mut stage, 7, ReloadHow { agent: true, ..GENERATION });
    at_gate(&mut stage, 3);
    stage.ready(3);
    assert_eq!(goes(&mut stage, 2)[1..], [Drain(nth(1))]);
    stage.signal();
    assert_eq!(stage.pass(grace_ms - grace_ms / 5)[..1], [Terminate(nth(1))]);
    let killed = |actions: Vec<Action>| actions.contains(&Action::Kill(nth(1)));
    assert!(!killed(stage.pass(grace_ms - 1)) && killed(stage.pass(1)));
}

/// The naive draft's fault: a second reload 1 ms after the first doubled the workers.
#[test]
fn the_same_reload_again_joins_and_another_is_refused() {
    let mut stage = Stage::running(policy(false, 1));
    reload(&mut stage, 7, GENERATION);
    assert_eq!(reload(&mut stage, 8, GENERATION), NOTHING);
    let refused = |request, refusal| [Answer { request: RequestId(request), outcome: Outcome::Refused(refusal) }];
    assert_eq!(reload(&mut stage, 9, ROLLING), refused(9, Refusal::Reloading));
    assert_eq!(scale(&mut stage, Wanted::More(1)), refused(1, Refusal::Reloading));
    at_gate(&mut stage, 2);
    stage.ready(2);
    let outcome = reloaded(1, false, None);
    let joined = [&over(7, outcome)[..], &[Answer { request: RequestId(8), outcome }]].concat();
    assert_eq!(goes(&mut stage, 1)[1..], joined);
}

#[test]
fn what_a_member_asks_for_during_a_reload_follows_it() {
    let mut stage = Stage::running(policy(false, 1));
    reload(&mut stage, 7, ROLLING);
    assert_eq!(reload(&mut stage, 0, ROLLING), NOTHING);
    stage.ready(2);
    let then = [&over(7, reloaded(1, true, None))[..], &begins(0, ROLLING), &[spawn(3, worker(0))]].concat();
    assert_eq!(goes(&mut stage, 1)[1..], then);
}

#[test]
fn more_workers_are_wanted_only_once_they_are_ready_and_fewer_leave_from_the_end() {
    let mut stage = Stage::running(policy(false, 1));
    let began = [Notice(N::Scaling { from: 1, to: 2 }), spawn(2, worker(1))];
    assert_eq!(scale(&mut stage, Wanted::More(1)), began);
    assert_eq!(stage.lifecycle.workers(), 1);
    assert_eq!(stage.ready(2), over(1, Outcome::Scaled { from: 1, to: 2 }));
    assert_eq!(stage.dies(2, SIGKILL), [died(2, SIGKILL), refork(worker(1), 0), spawn(3, worker(1))]);
    stage.ready(3);
    let fewer = [&[Notice(N::Scaling { from: 2, to: 1 })][..], &leaves(3)].concat();
    assert_eq!(scale(&mut stage, Wanted::Exactly(1)), fewer);
    assert_eq!(goes(&mut stage, 3)[1..], over(1, Outcome::Scaled { from: 2, to: 1 }));
    let none = [Answer { request: RequestId(1), outcome: Outcome::Refused(Refusal::Count) }];
    assert_eq!(scale(&mut stage, Wanted::Fewer(1)), none);
}

#[test]
fn a_scale_that_fails_takes_back_what_it_added() {
    let mut stage = Stage::running(policy(false, 1));
    scale(&mut stage, Wanted::More(2));
    stage.ready(2);
    let failure = StartFailure::Died { member: nth(3), death: SIGKILL };
    let failed = Outcome::Failed { failure, replaced: 1 };
    let mut ended = vec![died(3, SIGKILL), Notice(N::Done(failed))];
    ended.extend(leaves(2));
    ended.push(Answer { request: RequestId(1), outcome: failed });
    assert_eq!(stage.dies(3, SIGKILL), ended);
    assert_eq!(stage.lifecycle.workers(), 1);
}

const SPARE: Role = Role::Spare { kind: eggctl::lifecycle::Kind(0), place: 0 };

#[test]
fn a_spare_takes_over_at_once_and_its_place_is_filled_behind_it_with_the_crashs_back_off() {
    let (mut stage, mut all) = (Stage::begun(Policy { spares: 1, ..policy(false, 1) }), Vec::new());
    all.extend(stage.ready(1));
    assert_eq!(all, [Action::AnnounceReady, spawn(2, SPARE)]);
    assert!(stage.lifecycle.is_held(nth(2)));
    assert_eq!(at_gate(&mut stage, 2), [Notice(N::SpareWaits(nth(2)))]);
    let takes = |spare: u32| [Notice(N::SpareTakesOver { spare: nth(spare), role: worker(0) }), OpenGate(nth(spare))];
    assert_eq!(stage.dies(1, SIGKILL), [&[died(1, SIGKILL)][..], &takes(2)].concat());
    assert_eq!(stage.ready(2), [spawn(3, SPARE)]);
    at_gate(&mut stage, 3);
    assert_eq!(stage.dies(2, SIGKILL), [&[died(2, SIGKILL)][..], &takes(3)].concat());
    assert_eq!(stage.ready(3), NOTHING);
    assert_eq!(stage.pass(100), [spawn(4, SPARE)]);
}

#[test]
fn a_reload_recycles_the_spare() {
    let mut stage = Stage::begun(Policy { spares: 1, ..policy(false, 1) });
    stage.ready(1);
    at_gate(&mut stage, 2);
    reload(&mut stage, 7, GENERATION);
    at_gate(&mut stage, 3);
    assert_eq!(stage.ready(3), [&leaves(1)[..], &[LeaveDispatch(nth(2)), Terminate(nth(2))]].concat());
    stage.dies(2, Death::Code(0));
    assert_eq!(goes(&mut stage, 1).last(), Some(&spawn(4, SPARE)));
}

#[test]
fn a_close_hastens_those_that_leave_by_a_reload_and_asks_the_others() {
    let mut stage = Stage::running(policy(false, 1));
    reload(&mut stage, 7, GENERATION);
    at_gate(&mut stage, 2);
    assert_eq!(stage.ready(2), leaves(1));
    let actions = stage.signal();
    let close = actions.iter().position(|action| *action == Action::CloseListeners).unwrap();
    assert_eq!(actions[close..], [&[Action::CloseListeners, Hasten(nth(1))], &leaves(2)[..]].concat(), "{actions:?}");
    assert_eq!(stage.tell(Event::Drained(nth(1))), [Terminate(nth(1))]);
}

#[test]
fn a_close_gives_an_operation_up_and_ends_its_members_too() {
    let mut stage = Stage::running(policy(false, 1));
    reload(&mut stage, 7, GENERATION);
    let actions = stage.signal();
    assert_eq!(actions[1..3], over(7, Outcome::Interrupted));
    assert!(actions.contains(&Terminate(nth(2))) && actions.contains(&Drain(nth(1))), "{actions:?}");
}
