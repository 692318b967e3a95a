//! An operation that is given up, at every point: by `--cancel`, or for another reload.

use eggctl::lifecycle::Action::{
    AdoptOptions, Answer, Drain, LeaveDispatch, Notice, OpenGate, RestoreOptions, Terminate,
};
use eggctl::lifecycle::Notice as N;
use eggctl::lifecycle::{
    Action, CancelledBy, Death, Event, OperationKind, Outcome, Patience, Phase, Refusal, ReloadHow, RequestId, Wanted,
};

use super::{AGENT, NOTHING, Stage, nth, policy, spawn, worker};

const GENERATION: ReloadHow = ReloadHow { rolling: false, batch: Some(8), agent: false, patience: super::PATIENCE };
const ROLLING: ReloadHow = ReloadHow { rolling: true, batch: None, agent: false, patience: super::PATIENCE };

fn reload(stage: &mut Stage, how: ReloadHow) -> Vec<Action> {
    stage.tell(Event::Reload { request: RequestId(7), how })
}

fn replace(stage: &mut Stage, how: ReloadHow) -> Vec<Action> {
    stage.tell(Event::Replace { request: RequestId(8), how })
}

fn cancel(stage: &mut Stage, kind: OperationKind) -> Vec<Action> {
    stage.tell(Event::Cancel { request: RequestId(9), kind })
}

fn cancelled(by: CancelledBy, replaced: u32, workers: u32) -> Outcome {
    Outcome::Cancelled { by, kind: OperationKind::Reload, replaced, workers }
}

fn at_gate(stage: &mut Stage, n: u32) -> Vec<Action> {
    stage.tell(Event::AtGate(nth(n)))
}

fn dismissed(n: u32) -> [Action; 2] {
    [LeaveDispatch(nth(n)), Terminate(nth(n))]
}

fn leaves(n: u32) -> [Action; 2] {
    [LeaveDispatch(nth(n)), Drain(nth(n))]
}

fn goes(stage: &mut Stage, n: u32) -> Vec<Action> {
    stage.tell(Event::Drained(nth(n)));
    stage.dies(n, Death::Code(0))
}

fn answers(outcome: Outcome) -> [Action; 2] {
    [7, 9].map(|request| Answer { request: RequestId(request), outcome })
}

/// Booting, at the gate, begun to listen, and all at once the old ones are as they were.
#[test]
fn a_generation_that_is_cancelled_before_it_has_its_seats_leaves_everything_as_it_was() {
    for point in 0..4 {
        let mut stage = Stage::running(policy(false, 2));
        reload(&mut stage, GENERATION);
        if point > 0 {
            at_gate(&mut stage, 3);
        }
        if point > 1 {
            assert_eq!(at_gate(&mut stage, 4), [OpenGate(nth(3)), OpenGate(nth(4))]);
        }
        if point > 2 {
            stage.ready(3);
        }
        let outcome = cancelled(CancelledBy::Request, 0, 2);
        let first = if point > 2 { leaves(3) } else { dismissed(3) };
        let expected = [&[Notice(N::Done(outcome)), RestoreOptions][..], &first, &dismissed(4), &answers(outcome)];
        assert_eq!(cancel(&mut stage, OperationKind::Reload), expected.concat(), "point {point}");
        assert!(stage.lifecycle.is_ready(nth(1)) && stage.lifecycle.is_ready(nth(2)));
        assert_eq!(stage.dies(4, Death::Code(0)), [Notice(N::Left(nth(4)))]);
        assert_eq!(goes(&mut stage, 3).last(), Some(&Notice(N::Left(nth(3)))));
        assert_eq!((stage.lifecycle.operation(), stage.lifecycle.next_timeout()), (None, None));
    }
}

#[test]
fn a_generation_that_serves_is_not_called_back_but_its_reload_is_over_and_the_old_ones_go_on_leaving() {
    let mut stage = Stage::running(policy(false, 1));
    reload(&mut stage, GENERATION);
    at_gate(&mut stage, 2);
    assert_eq!(stage.ready(2), leaves(1));
    let outcome = cancelled(CancelledBy::Request, 1, 1);
    let ended = [&[Notice(N::Done(outcome))][..], &answers(outcome)].concat();
    assert_eq!(cancel(&mut stage, OperationKind::Reload), ended);
    assert_eq!(stage.pass(super::PATIENCE.drain_grace_ms), [Terminate(nth(1))]);
    assert_eq!(stage.dies(1, Death::Code(0)), [Notice(N::Left(nth(1)))]);
    assert!(stage.lifecycle.is_ready(nth(2)));
}

#[test]
fn a_rolling_reload_that_is_cancelled_keeps_what_it_has_replaced_and_its_options() {
    let mut stage = Stage::running(policy(false, 2));
    reload(&mut stage, ROLLING);
    assert_eq!(stage.ready(3), [&leaves(1)[..], &[spawn(4, worker(1))]].concat());
    let outcome = cancelled(CancelledBy::Request, 1, 2);
    let ended = [&[Notice(N::Done(outcome))][..], &dismissed(4), &answers(outcome)].concat();
    assert_eq!(cancel(&mut stage, OperationKind::Reload), ended);
    assert!(stage.lifecycle.is_ready(nth(2)) && stage.lifecycle.is_ready(nth(3)));
}

#[test]
fn a_cancel_before_the_agents_turn_leaves_it_alone() {
    let mut stage = Stage::running(policy(true, 1));
    reload(&mut stage, ReloadHow { agent: true, ..GENERATION });
    at_gate(&mut stage, 3);
    stage.ready(3);
    cancel(&mut stage, OperationKind::Reload);
    assert_eq!(goes(&mut stage, 2), [Notice(N::Left(nth(2)))]);
    assert!(stage.lifecycle.is_ready(nth(1)));
}

/// Nobody can take back that it was asked to leave: that must be no death, and no back-off, and never the end of all agents.
#[test]
fn an_agent_that_was_asked_to_leave_by_a_reload_which_is_cancelled_has_a_successor_at_once() {
    for refork in [true, false] {
        let mut stage = Stage::running(eggctl::lifecycle::Policy { refork, ..policy(true, 1) });
        reload(&mut stage, ReloadHow { agent: true, ..GENERATION });
        at_gate(&mut stage, 3);
        stage.ready(3);
        assert_eq!(goes(&mut stage, 2).last(), Some(&Drain(nth(1))));
        cancel(&mut stage, OperationKind::Reload);
        assert_eq!(goes(&mut stage, 1), [Notice(N::Left(nth(1))), spawn(4, AGENT)]);
        assert_eq!(stage.ready(4), NOTHING);
    }
}

#[test]
fn another_reload_takes_the_place_of_one_that_hangs_and_its_options_follow_those_before_both() {
    let mut stage = Stage::running(policy(false, 1));
    let how = ReloadHow { patience: Patience { boot_grace_ms: 3_600_000, ..super::PATIENCE }, ..GENERATION };
    reload(&mut stage, how);
    assert_eq!(stage.pass(600_000), NOTHING);
    let outcome = cancelled(CancelledBy::Reload, 0, 1);
    let replaced = [
        &[Notice(N::Done(outcome)), RestoreOptions][..],
        &dismissed(2),
        &[Answer { request: RequestId(7), outcome }, AdoptOptions(RequestId(8)), Notice(N::Reloading(GENERATION))],
        &[spawn(3, worker(0))],
    ];
    assert_eq!(replace(&mut stage, GENERATION), replaced.concat());
    at_gate(&mut stage, 3);
    assert_eq!(stage.ready(3), leaves(1));
    assert_eq!(goes(&mut stage, 1), [Notice(N::Left(nth(1)))], "the dismissed one has not gone");
    let outcome = Outcome::Reloaded { workers: 1, rolling: false, without_agent_ms: None };
    let over = [Notice(N::Left(nth(2))), Notice(N::Done(outcome)), Answer { request: RequestId(8), outcome }];
    assert_eq!(stage.dies(2, Death::Code(0)), over);
}

#[test]
fn a_reload_that_replaces_where_nothing_is_under_way_is_an_ordinary_one() {
    let mut stage = Stage::running(policy(false, 1));
    let began = [AdoptOptions(RequestId(8)), Notice(N::Reloading(ROLLING)), spawn(2, worker(0))];
    assert_eq!(replace(&mut stage, ROLLING), began);
}

#[test]
fn a_reload_that_cannot_be_gives_up_no_other() {
    let mut stage = Stage::running(policy(false, 1));
    reload(&mut stage, GENERATION);
    // It wants an agent where there is none, and the reload that goes on is in its way all the same.
    let outcome = Outcome::Refused(Refusal::Reloading);
    let refused = replace(&mut stage, ReloadHow { agent: true, ..GENERATION });
    assert_eq!(refused, [Answer { request: RequestId(8), outcome }]);
    assert!(stage.lifecycle.operation().is_some());
    let mut stage = Stage::running(policy(false, 1));
    stage.tell(Event::Scale { request: RequestId(7), wanted: Wanted::More(1), patience: super::PATIENCE });
    let outcome = Outcome::Refused(Refusal::Scaling);
    assert_eq!(replace(&mut stage, GENERATION), [Answer { request: RequestId(8), outcome }]);
}

#[test]
fn a_scale_to_more_that_is_cancelled_takes_back_what_it_has_added_and_one_to_fewer_stands() {
    let kind = OperationKind::Scale;
    let by = CancelledBy::Request;
    let mut stage = Stage::running(policy(false, 1));
    stage.tell(Event::Scale { request: RequestId(7), wanted: Wanted::More(2), patience: super::PATIENCE });
    stage.ready(2);
    let outcome = Outcome::Cancelled { by, kind, replaced: 1, workers: 1 };
    let ended = [&[Notice(N::Done(outcome))][..], &dismissed(3), &leaves(2), &answers(outcome)].concat();
    assert_eq!(cancel(&mut stage, kind), ended);
    assert_eq!(stage.lifecycle.workers(), 1);

    let mut stage = Stage::running(policy(false, 2));
    let fewer = Event::Scale { request: RequestId(7), wanted: Wanted::Exactly(1), patience: super::PATIENCE };
    assert_eq!(stage.tell(fewer)[1..], leaves(2));
    let outcome = Outcome::Cancelled { by, kind, replaced: 0, workers: 1 };
    assert_eq!(cancel(&mut stage, kind), [&[Notice(N::Done(outcome))][..], &answers(outcome)].concat());
    assert_eq!(stage.lifecycle.workers(), 1);
}

#[test]
fn where_nothing_of_the_kind_is_under_way_nothing_is_cancelled() {
    let refused = |refusal| [Answer { request: RequestId(9), outcome: Outcome::Refused(refusal) }];
    let not = |kind| refused(Refusal::NotUnderWay(kind));
    let mut stage = Stage::running(policy(false, 1));
    assert_eq!(cancel(&mut stage, OperationKind::Reload), not(OperationKind::Reload));
    reload(&mut stage, GENERATION);
    assert_eq!(cancel(&mut stage, OperationKind::Scale), not(OperationKind::Scale));
    assert!(stage.lifecycle.operation().is_some());
    stage.signal();
    assert_eq!(cancel(&mut stage, OperationKind::Reload), refused(Refusal::Closing));
    let mut stage = Stage::begun(policy(false, 1));
    assert_eq!(cancel(&mut stage, OperationKind::Reload), refused(Refusal::Starting));
    assert_eq!(stage.lifecycle.phase(), Phase::Starting);
}

#[test]
fn what_a_member_has_asked_for_meanwhile_goes_with_the_reload_that_is_cancelled() {
    let mut stage = Stage::running(policy(false, 1));
    reload(&mut stage, GENERATION);
    stage.tell(Event::Reload { request: RequestId::NOBODY, how: ROLLING });
    cancel(&mut stage, OperationKind::Reload);
    assert_eq!(stage.lifecycle.operation(), None);
}
