//! From nothing to full strength, or to the first failure.

use eggctl::lifecycle::Action::{
    AnnounceFailure, AnnounceReady, CloseListeners, EndChannel, EndStrays, Exit, LeaveDispatch, Notice, Terminate,
};
use eggctl::lifecycle::Notice as N;
use eggctl::lifecycle::{Death, Event, Lifecycle, StartFailure};

use super::{AGENT, NOTHING, SIGKILL, Stage, nth, policy, spawn, worker};

#[test]
fn workers_are_spawned_together_and_in_order_when_the_agent_is_ready() {
    let mut stage = Stage { lifecycle: Lifecycle::new(policy(true, 3)), now: 0 };
    assert_eq!(stage.tell(Event::Begin), [spawn(1, AGENT)]);
    assert_eq!(stage.pass(2_000), NOTHING);
    assert_eq!(stage.ready(1), [spawn(2, worker(0)), spawn(3, worker(1)), spawn(4, worker(2))]);
}

#[test]
fn without_an_agent_workers_are_spawned_at_once() {
    let mut stage = Stage { lifecycle: Lifecycle::new(policy(false, 2)), now: 0 };
    assert_eq!(stage.tell(Event::Begin), [spawn(1, worker(0)), spawn(2, worker(1))]);
}

#[test]
fn ready_is_announced_once_when_the_last_one_is() {
    let mut stage = Stage::begun(policy(true, 2));
    stage.ready(1);
    assert_eq!(stage.ready(3), NOTHING);
    let waiting: Vec<_> = stage.lifecycle.waiting_for().collect();
    assert_eq!(waiting, [(worker(0), Some(nth(2)))]);
    assert_eq!(stage.ready(2), [AnnounceReady]);
    stage.dies(2, SIGKILL);
    assert_eq!(stage.ready(4), NOTHING);
}

#[test]
fn at_full_strength_nothing_is_planned() {
    let stage = Stage::running(policy(true, 4));
    assert_eq!(stage.lifecycle.next_timeout(), None);
}

#[test]
fn a_death_while_starting_fails_the_start_whatever_its_code_and_ends_workers_before_the_agent() {
    let mut stage = Stage::begun(policy(true, 2));
    stage.ready(1);
    stage.ready(2);
    let death = Death::Code(0);
    let failure = StartFailure::Died { member: nth(3), death };
    let ended =
        [AnnounceFailure(failure), CloseListeners, LeaveDispatch(nth(2)), EndChannel(nth(2)), Terminate(nth(2))];
    assert_eq!(stage.dies(3, death), ended);
    assert_eq!(stage.dies(2, Death::Code(0)), [EndChannel(nth(1)), Terminate(nth(1))]);
    assert_eq!(stage.dies(1, Death::Code(0)), [EndStrays { kill: false }]);
    assert_eq!(stage.tell(Event::Alone), [Exit(1)]);
}

#[test]
fn only_the_first_failure_is_announced() {
    let mut stage = Stage::begun(policy(false, 3));
    stage.dies(1, Death::Code(1));
    assert_eq!(stage.dies(2, Death::Code(1)), NOTHING);
    assert_eq!(stage.dies(3, Death::Code(1)), [EndStrays { kill: false }]);
}

#[test]
fn a_spawn_that_fails_while_starting_leaves_the_rest_unspawned() {
    let (mut lifecycle, mut actions) = (Lifecycle::new(policy(false, 3)), Vec::new());
    lifecycle.handle(Event::Begin, 0, &mut actions);
    lifecycle.handle(Event::Spawned(nth(1)), 0, &mut actions);
    assert_eq!(actions, [spawn(1, worker(0)), spawn(2, worker(1))]);
    actions.clear();
    lifecycle.handle(Event::SpawnFailed { member: nth(2), transient: true }, 0, &mut actions);
    let failure = AnnounceFailure(StartFailure::SpawnFailed(nth(2)));
    assert_eq!(actions, [failure, CloseListeners, LeaveDispatch(nth(1)), EndChannel(nth(1)), Terminate(nth(1))]);
}

#[test]
fn a_disconnect_while_starting_waits_a_second_for_the_true_end() {
    let mut stage = Stage::begun(policy(false, 1));
    assert_eq!(stage.disconnects(1), [LeaveDispatch(nth(1))]);
    assert_eq!(stage.pass(999), NOTHING);
    let failure = StartFailure::Died { member: nth(1), death: Death::Code(7) };
    assert_eq!(stage.dies(1, Death::Code(7))[0], AnnounceFailure(failure));

    let mut stage = Stage::begun(policy(false, 1));
    stage.disconnects(1);
    let failure = StartFailure::Disconnected(nth(1));
    assert_eq!(stage.pass(1_000), [AnnounceFailure(failure), CloseListeners, Terminate(nth(1))]);
}

#[test]
fn the_boot_grace_counts_from_the_members_own_spawn() {
    let mut stage = Stage::begun(policy(true, 1));
    stage.pass(4_000);
    stage.ready(1);
    assert_eq!(stage.pass(19_999), NOTHING);
    assert_eq!(stage.pass(1)[0], AnnounceFailure(StartFailure::NotReady(nth(2))));
}

#[test]
fn a_slow_agent_is_told_of_once_in_each_of_its_lives() {
    let mut stage = Stage::begun(policy(true, 1));
    assert_eq!(stage.pass(4_999), NOTHING);
    assert_eq!(stage.pass(10_000), [Notice(N::AgentSlow(nth(1)))]);
    stage.ready(1);
    stage.ready(2);
    stage.dies(1, SIGKILL);
    assert_eq!(stage.pass(10_000), [Notice(N::AgentSlow(nth(3)))]);
}
