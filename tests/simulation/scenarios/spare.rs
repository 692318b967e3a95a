//! A spare and the successor of a lost worker boot at the same time: the first one has the seat.

use eggctl::lifecycle::Action::{LeaveDispatch, Notice, OpenGate, Terminate};
use eggctl::lifecycle::Notice as N;
use eggctl::lifecycle::{Action, Death, Event, Kind, Policy, Role};

use super::{NOTHING, SIGKILL, Stage, died, nth, policy, refork, spawn, worker};

const SPARE: Role = Role::Spare { kind: Kind(0), place: 0 };

fn at_gate(stage: &mut Stage, n: u32) -> Vec<Action> {
    stage.tell(Event::AtGate(nth(n)))
}

/// A worker dies while the spare boots: the spare is the next after the workers, and the refork comes after it.
fn lost_while_the_spare_boots(workers: u32) -> Stage {
    let mut stage = Stage::running(Policy { spares: 1, ..policy(false, workers) });
    assert_eq!(stage.lifecycle.role(nth(workers + 1)), Some(SPARE));
    let spawned = spawn(workers + 2, worker(0));
    assert_eq!(stage.dies(1, SIGKILL), [died(1, SIGKILL), refork(worker(0), 0), spawned]);
    stage
}

fn stands_in(spare: u32, role: Role, slower: &[u32]) -> Vec<Action> {
    let takes = [Notice(N::SpareWaits(nth(spare))), Notice(N::SpareTakesOver { spare: nth(spare), role })];
    let goes = slower.iter().flat_map(|slower| [LeaveDispatch(nth(*slower)), Terminate(nth(*slower))]);
    takes.into_iter().chain([OpenGate(nth(spare))]).chain(goes).collect()
}

#[test]
fn a_spare_that_has_booted_before_the_refork_takes_the_seat() {
    let mut stage = lost_while_the_spare_boots(1);
    assert_eq!(at_gate(&mut stage, 2), stands_in(2, worker(0), &[3]));
    assert_eq!(stage.ready(2), [spawn(4, SPARE)], "its own place is filled again");
    assert_eq!(stage.dies(3, Death::Signal(15)), [Notice(N::Left(nth(3)))]);
    assert_eq!(at_gate(&mut stage, 4), [Notice(N::SpareWaits(nth(4)))]);
}

#[test]
fn a_refork_that_is_there_first_keeps_the_seat_and_the_spare_waits() {
    let mut stage = lost_while_the_spare_boots(1);
    assert_eq!(stage.ready(3), NOTHING);
    assert_eq!(at_gate(&mut stage, 2), [Notice(N::SpareWaits(nth(2)))]);
    // One that has its answer and has not listened yet is not overtaken: it may have a connection.
    let mut stage = lost_while_the_spare_boots(1);
    assert_eq!(at_gate(&mut stage, 3), NOTHING);
    assert_eq!(at_gate(&mut stage, 2), [Notice(N::SpareWaits(nth(2)))]);
    // But when it hangs there, the spare that waits has its seat.
    let over = [Notice(N::BootGraceOver(nth(3))), LeaveDispatch(nth(3)), Terminate(nth(3))];
    assert_eq!(stage.pass(20_000), [&over[..], &stands_in(2, worker(0), &[])[1..]].concat());
}

#[test]
fn a_spare_that_dies_while_it_boots_leaves_the_seat_to_the_refork() {
    let mut stage = lost_while_the_spare_boots(1);
    assert_eq!(stage.dies(2, SIGKILL), [died(2, SIGKILL), refork(SPARE, 0)]);
    assert_eq!(stage.ready(3), [spawn(4, SPARE)]);
}

#[test]
fn a_spare_that_dies_in_the_seat_that_it_took_is_followed_by_a_refork() {
    let mut stage = lost_while_the_spare_boots(1);
    at_gate(&mut stage, 2);
    assert_eq!(stage.dies(2, SIGKILL), [died(2, SIGKILL), refork(worker(0), 100)]);
    assert_eq!(stage.pass(100), [spawn(4, worker(0))]);
}

#[test]
fn of_several_seats_a_spare_takes_the_one_that_would_be_empty_longest() {
    let mut stage = lost_while_the_spare_boots(3);
    stage.pass(50);
    assert_eq!(stage.dies(2, SIGKILL), [died(2, SIGKILL), refork(worker(1), 0), spawn(6, worker(1))]);
    assert_eq!(stage.dies(6, SIGKILL), [died(6, SIGKILL), refork(worker(1), 100)]);
    assert_eq!(at_gate(&mut stage, 4), stands_in(4, worker(1), &[]), "nobody boots for it yet");
    let mut stage = lost_while_the_spare_boots(3);
    stage.pass(50);
    stage.dies(2, SIGKILL);
    assert_eq!(at_gate(&mut stage, 4), stands_in(4, worker(1), &[6]), "the other one is 50 ms ahead");
    assert_eq!(stage.ready(4), NOTHING);
    assert_eq!(stage.ready(5), [spawn(7, SPARE)]);
}
