//! Who is lost is replaced: when, how often, and what is in the way.

use eggctl::lifecycle::Action::{Kill, LeaveDispatch, Notice, Terminate};
use eggctl::lifecycle::Notice as N;
use eggctl::lifecycle::{Death, Event, Policy};

use super::{AGENT, NOTHING, SIGKILL, Stage, died, nth, policy, refork, spawn, worker};

#[test]
fn a_first_death_is_replaced_in_the_same_turn() {
    let mut stage = Stage::running(policy(true, 2));
    assert_eq!(stage.dies(3, SIGKILL), [died(3, SIGKILL), refork(worker(1), 0), spawn(4, worker(1))]);
    assert_eq!(stage.dies(1, SIGKILL), [died(1, SIGKILL), refork(AGENT, 0), spawn(5, AGENT)]);
}

#[test]
fn a_second_death_within_a_minute_waits_100_ms() {
    let mut stage = Stage::running(policy(false, 2));
    stage.dies(1, SIGKILL);
    stage.ready(3);
    stage.pass(30_000);
    assert_eq!(stage.dies(3, SIGKILL), [died(3, SIGKILL), refork(worker(0), 100)]);
    assert_eq!(stage.pass(99), NOTHING);
    assert_eq!(stage.pass(1), [spawn(4, worker(0))]);
}

#[test]
fn the_back_off_doubles_to_5_s_and_a_life_of_a_minute_ends_it() {
    let mut stage = Stage::running(policy(false, 1));
    let mut member = 1;
    for after_ms in [0, 100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000] {
        assert_eq!(stage.dies(member, SIGKILL)[1], refork(worker(0), after_ms));
        stage.pass(after_ms);
        member += 1;
        stage.ready(member);
    }
    stage.pass(59_999);
    assert_eq!(stage.dies(member, SIGKILL)[1], refork(worker(0), 5_000));
    stage.pass(5_000);
    stage.ready(member + 1);
    stage.pass(60_000);
    assert_eq!(stage.dies(member + 1, SIGKILL)[1], refork(worker(0), 0));
}

#[test]
fn a_worker_that_disconnects_is_replaced_then_and_not_again_when_it_ends() {
    let mut stage = Stage::running(policy(false, 1));
    let replaced = [Notice(N::Disconnected(nth(1))), LeaveDispatch(nth(1)), refork(worker(0), 0), spawn(2, worker(0))];
    assert_eq!(stage.disconnects(1), replaced);
    assert_eq!(stage.dies(1, Death::Code(1)), [died(1, Death::Code(1))]);
}

#[test]
fn a_disconnected_worker_has_30_s_then_term_then_kill() {
    let mut stage = Stage::running(policy(false, 1));
    stage.disconnects(1);
    stage.ready(2);
    assert_eq!(stage.pass(29_999), NOTHING);
    assert_eq!(stage.pass(1), [Terminate(nth(1))]);
    assert_eq!(stage.pass(4_999), NOTHING);
    assert_eq!(stage.pass(1), [Notice(N::Killed(nth(1))), Kill(nth(1))]);
}

#[test]
fn an_agent_that_disconnects_is_ended_before_the_next_is_spawned() {
    let mut stage = Stage::running(policy(true, 1));
    assert_eq!(stage.disconnects(1), [Notice(N::Disconnected(nth(1))), Terminate(nth(1))]);
    assert_eq!(stage.pass(3_000), [Notice(N::Killed(nth(1))), Kill(nth(1))]);
    assert_eq!(stage.pass(26_999), NOTHING);
    assert_eq!(stage.dies(1, SIGKILL), [died(1, SIGKILL), refork(AGENT, 0), spawn(3, AGENT)]);
}

#[test]
fn a_replacement_that_hangs_before_ready_is_ended_and_tried_again() {
    let mut stage = Stage::running(policy(false, 1));
    stage.dies(1, SIGKILL);
    let over = [Notice(N::BootGraceOver(nth(2))), LeaveDispatch(nth(2)), Terminate(nth(2))];
    assert_eq!(stage.pass(20_000), over);
    assert_eq!(stage.pass(5_000), [Notice(N::Killed(nth(2))), Kill(nth(2))]);
    assert_eq!(stage.dies(2, SIGKILL), [died(2, SIGKILL), refork(worker(0), 100)]);
    assert_eq!(stage.pass(100), [spawn(3, worker(0))]);
}

#[test]
fn a_restarted_agent_that_hangs_is_ended_and_tried_again() {
    let mut stage = Stage::running(policy(true, 1));
    stage.dies(1, SIGKILL);
    let over = [Notice(N::AgentSlow(nth(3))), Notice(N::BootGraceOver(nth(3))), Terminate(nth(3))];
    assert_eq!(stage.pass(20_000), over);
    assert_eq!(stage.dies(3, Death::Code(0)), [died(3, Death::Code(0)), refork(AGENT, 100)]);
    assert_eq!(stage.pass(100), [spawn(4, AGENT)]);
}

#[test]
fn a_refused_refork_is_tried_again() {
    let mut stage = Stage::running(policy(false, 1));
    let (mut actions, died) = (Vec::new(), Event::Exited { member: nth(1), death: SIGKILL });
    stage.lifecycle.handle(died, 0, &mut actions);
    for (n, after_ms) in [(2, 100), (3, 200), (4, 400)] {
        assert_eq!(actions.last(), Some(&spawn(n, worker(0))));
        actions.clear();
        let refused = Event::SpawnFailed { member: nth(n), transient: n == 2 };
        stage.lifecycle.handle(refused, stage.now, &mut actions);
        assert_eq!(actions, [refork(worker(0), after_ms)]);
        assert_eq!(stage.lifecycle.next_timeout(), Some(stage.now + after_ms));
        stage.now += after_ms;
        stage.lifecycle.handle_timeout(stage.now, &mut actions);
    }
}

#[test]
fn the_61st_refork_within_a_minute_waits_for_room_and_the_log_is_told_once() {
    let mut stage = Stage::running(policy(false, 62));
    stage.pass(1_000);
    for n in 1..=60 {
        assert_eq!(stage.dies(n, SIGKILL).last(), Some(&spawn(62 + n, worker(n - 1))));
    }
    stage.pass(10_000);
    let full = Notice(N::ReforkWindowFull { wait_ms: 50_000 });
    assert_eq!(stage.dies(61, SIGKILL), [died(61, SIGKILL), refork(worker(60), 0), full]);
    assert_eq!(stage.dies(62, SIGKILL), [died(62, SIGKILL), refork(worker(61), 0)]);
    for n in 63..=122 {
        stage.ready(n);
    }
    assert_eq!(stage.pass(49_999), NOTHING);
    assert_eq!(stage.pass(1), [spawn(123, worker(60)), spawn(124, worker(61))]);
}

#[test]
fn without_refork_a_dead_worker_is_not_replaced_and_the_agent_is() {
    let mut stage = Stage::running(Policy { refork: false, ..policy(true, 1) });
    assert_eq!(stage.dies(2, SIGKILL), [died(2, SIGKILL), Notice(N::NoRefork(worker(0)))]);
    assert_eq!(stage.lifecycle.next_timeout(), None);
    assert_eq!(stage.dies(1, SIGKILL), [died(1, SIGKILL), refork(AGENT, 0), spawn(3, AGENT)]);
    assert_eq!(stage.dies(3, Death::Code(1)), [died(3, Death::Code(1)), refork(AGENT, 100)]);
    assert_eq!(stage.pass(100), [spawn(4, AGENT)]);
    stage.ready(4);
    assert_eq!(stage.lifecycle.next_timeout(), None);
}

#[test]
fn without_refork_and_without_an_agent_a_master_whose_workers_have_died_waits() {
    let mut stage = Stage::running(Policy { refork: false, ..policy(false, 1) });
    assert_eq!(stage.dies(1, SIGKILL), [died(1, SIGKILL), Notice(N::NoRefork(worker(0)))]);
    assert_eq!(stage.tell(Event::Alone), NOTHING);
    assert_eq!(stage.lifecycle.next_timeout(), None);
}

/// Found by the random lives: the deadlines of two slots fell together, and the spawn came in between.
#[test]
fn of_several_deadlines_at_once_the_spawn_comes_last() {
    let mut stage = Stage::running(Policy { boot_grace_ms: 100, ..policy(false, 3) });
    stage.dies(1, SIGKILL);
    stage.dies(4, SIGKILL); // Its next life is due in 100 ms.
    stage.dies(2, SIGKILL); // The next lives of these must be ready in 100 ms.
    stage.dies(3, SIGKILL);
    let over = |n| [Notice(N::BootGraceOver(nth(n))), LeaveDispatch(nth(n)), Terminate(nth(n))];
    assert_eq!(stage.pass(100), [&over(5)[..], &over(6), &[spawn(7, worker(0))]].concat());
}
