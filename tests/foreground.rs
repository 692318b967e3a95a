//! Without `--daemon`, `start` becomes the master: same pid, and the exit code is the truth.

use nix::sys::signal::Signal;

use crate::harness::{Background, World, eventually, http, processes, world};

/// A foreground start whose application answers.
fn running(world: &World, port: u16, variables: &[(&str, &str)]) -> Background {
    let typed = world.foreground("svc", port);
    let start = variables.iter().fold(typed, |typed, (name, value)| typed.env(name, value)).spawn();
    start.says("started on");
    assert_eq!(http::get(port, "/").status, 200);
    start
}

#[test]
fn start_becomes_the_master_with_the_same_pid_and_its_own_output() {
    world(|world| {
        let port = world.port();
        let start = running(world, port, &[]);
        assert_eq!(start.pid(), world.master("svc"));
        assert_eq!(world.workers(start.pid()).len(), 2);
        http::get(port, "/print?text=said+by+a+worker");
        start.says("said by a worker");
        world.stop("svc");
        start.finish().exits(0);
        assert!(!world.stdout_log().exists(), "the foreground has no log files");
    });
}

/// Sends the signal, and expects an orderly close with exit code 0.
fn closes_on(world: &World, signal: Signal) {
    let start = running(world, world.port(), &[("WORKER_TERM", "record"), ("AGENT_TERM", "record")]);
    start.signal(signal);
    let outcome = start.finish();
    world.nobody_is_left();
    outcome.exits(0);
    assert_eq!(world.events_of("term").len(), 3, "each member got one TERM");
}

#[test]
fn int_closes_in_order_and_the_exit_code_is_0() {
    world(|world| closes_on(world, Signal::SIGINT));
}

#[test]
fn quit_closes_in_order_and_the_exit_code_is_0() {
    world(|world| closes_on(world, Signal::SIGQUIT));
}

#[test]
fn term_closes_in_order_and_the_exit_code_is_0() {
    world(|world| closes_on(world, Signal::SIGTERM));
}

#[test]
fn a_start_that_fails_exits_with_1_and_says_who_died() {
    world(|world| {
        let outcome = world.foreground("svc", world.port()).env("WORKER", "exit:0").run();
        world.nobody_is_left();
        outcome.exits(1).says("worker").says("exit code 0");
    });
}

#[test]
fn a_signal_before_it_is_ready_ends_it_and_leaves_nothing() {
    world(|world| {
        let start = world.foreground("svc", world.port()).env("WORKER", "hang").spawn();
        eventually("both workers boot", || world.boots("worker") == 2);
        start.signal(Signal::SIGTERM);
        let outcome = start.finish();
        world.nobody_is_left();
        outcome.exits(0).says("stopped by SIGTERM before everything was ready");
    });
}

#[test]
fn a_killed_master_is_seen_as_killed_and_its_members_go() {
    world(|world| {
        let start = running(world, world.port(), &[]);
        start.signal(Signal::SIGKILL);
        eventually("the members end by themselves", || world.alive().iter().all(|process| process.pid == start.pid()));
        start.finish().killed_by(Signal::SIGKILL);
    });
}

#[test]
fn a_terminals_interrupt_reaches_the_master_only() {
    world(|world| {
        let start = running(world, world.port(), &[("WORKER_TERM", "record")]);
        for worker in world.workers(start.pid()) {
            let group = nix::unistd::getpgid(Some(nix::unistd::Pid::from_raw(worker as i32))).unwrap();
            assert_ne!(group.as_raw() as u32, start.pid(), "a terminal's INT goes to the master's group");
        }
        start.signal(Signal::SIGINT);
        start.finish().exits(0);
    });
}

#[test]
fn it_runs_as_pid_1_and_reaps_orphans() {
    world(|world| {
        let runner = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"];
        let port = world.port();
        let args = ["start", "--title=svc", "--workers=1", &format!("--port={port}")];
        let start = world.eggctl_under(&runner, &args).arg(world.fixture("app")).spawn();
        start.says("started on");
        let init = world.master("svc");
        // A process that its parent has left: its zombie falls to PID 1.
        http::get(port, "/orphan");
        eventually("the orphan is there and goes", || world.events_of("orphan").len() == 1);
        eventually("no zombie stays", || processes::all().iter().all(|process| process.state != 'Z'));
        processes::signal(init, Signal::SIGTERM);
        start.finish().exits(0);
    });
}
