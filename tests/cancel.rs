//! A start that somebody ends while it waits leaves nothing.

use nix::sys::signal::Signal;

use crate::harness::{Background, World, eventually, processes, world};

/// A start whose workers hang before they are ready, and have begun to.
fn hanging(world: &World) -> Background {
    let typed = world.start("svc", world.port()).env("WORKER", "hang").env("WORKER_CHILD", "plain,setsid");
    let start = typed.spawn();
    eventually("both workers boot", || world.boots("worker") == 2);
    start
}

fn is_cancelled_by(world: &mut World, signal: Signal) {
    let start = hanging(world);
    start.signal(signal);
    let outcome = start.finish();
    world.nobody_is_left();
    world.expect_in_log("[master]");
    assert!(!outcome.status.success(), "{outcome:?}");
    outcome.says("cancel").says(signal.as_str());
}

#[test]
fn int_to_the_waiting_parent_cancels_the_start() {
    world(|world| is_cancelled_by(world, Signal::SIGINT));
}

#[test]
fn term_to_the_waiting_parent_cancels_the_start() {
    world(|world| is_cancelled_by(world, Signal::SIGTERM));
}

#[test]
fn a_cancelled_title_can_be_started_again_at_once() {
    world(|world| {
        let start = hanging(world);
        start.signal(Signal::SIGINT);
        start.finish();
        world.expect_in_log("[master]");
        world.start("svc", world.port()).run().exits(0);
        world.stop("svc");
    });
}

#[test]
fn stop_from_elsewhere_ends_the_start_with_stopped() {
    world(|world| {
        let start = hanging(world);
        world.stop("svc");
        start.finish().fails(1).says("stopped");
        world.expect_in_log("[master]");
    });
}

#[test]
fn a_parent_that_is_killed_leaves_a_master_that_stop_finds() {
    world(|world| {
        let start = hanging(world);
        start.signal(Signal::SIGKILL);
        start.finish().killed_by(Signal::SIGKILL);
        world.stop("svc");
        world.expect_in_log("[master]");
        world.nobody_is_left();
    });
}

#[test]
fn a_master_that_is_killed_while_it_boots_is_told_at_once_and_its_members_go() {
    world(|world| {
        let start = hanging(world);
        processes::signal(world.master("svc"), Signal::SIGKILL);
        let outcome = start.finish();
        world.nobody_is_left();
        outcome.fails(1).says("SIGKILL").says("master");
        assert!(outcome.took.as_secs() < 30, "{:?}", outcome.took);
        world.expect_in_log("[master]");
    });
}
