//! A child that ends is noticed, whatever signal ended it and whatever it was.

use std::time::Duration;

use crate::harness::processes::{self, Process, signal_number};
use crate::harness::{World, await_some, eventually, http, is_long, world};

/// Numbers that a wait status can hold beside those that have a name: one that the C library keeps for its threads, the first
/// and the last real-time one, and some between.
const REAL_TIME: [i32; 5] = [32, 34, 37, 50, 64];

/// Signals that end a Node process: all but those that it ignores, catches (33 is the C library's for setuid) or is stopped by.
fn deadly() -> Vec<i32> {
    let spared = [10, 13, 17, 18, 19, 20, 21, 22, 23, 25, 28, 33];
    match is_long() {
        true => (1..=64).filter(|number| !spared.contains(number)).collect(),
        false => REAL_TIME.into_iter().chain([1, 9, 12, 15]).collect(),
    }
}

fn logger(world: &World) -> Option<Process> {
    world.alive().into_iter().find(|process| process.args.get(1).is_some_and(|word| word == "logger"))
}

#[test]
fn a_worker_an_agent_and_a_logger_that_any_signal_ends_are_replaced() {
    world(|world| {
        world.expect_a_death();
        world.expect_in_log("the logger died (signal: SIG");
        world.expect_in_log("the logger died (signal: signal 3");
        world.expect_in_log("reforks in 60 s");
        world.expect_in_log("it is tried again and again");
        world.expect_in_log(": new member after ");
        let port = world.port();
        world.start("svc", port).arg("--workers=1").run().exits(0);
        let master = world.master("svc");
        for number in deadly() {
            let worker = await_some("a worker", || world.workers(master).first().copied());
            signal_number(worker, number);
            eventually(
                &format!("another worker after signal {number}"),
                || matches!(&world.workers(master)[..], [one] if *one != worker),
            );
            let agent = await_some("an agent", || world.agents(master).first().copied());
            signal_number(agent, number);
            eventually(
                &format!("another agent after signal {number}"),
                || matches!(&world.agents(master)[..], [one] if *one != agent),
            );
            // Those that close whole groups it ignores.
            if ![1, 2, 3, 12, 15].contains(&number) {
                let old = await_some("a logger", || logger(world)).pid;
                signal_number(old, number);
                eventually(&format!("another logger after signal {number}"), || {
                    logger(world).is_some_and(|one| one.pid != old)
                });
            }
        }
        eventually("the last worker serves", || http::try_get(port, "/").is_ok());
        world.log_says("died (code: null, signal: SIGRTMIN+3)");
        world.log_says("the logger died (signal: SIGRTMIN+3), a new one takes over");
        world.stop("svc");
    });
}

#[test]
fn a_member_that_a_real_time_signal_ends_at_boot_ends_the_start_and_is_named() {
    world(|world| {
        world.expect_in_log("");
        for (member, name) in [("WORKER", "worker"), ("AGENT", "agent")] {
            let outcome = world.start("svc", world.port()).env(member, "kill-number:37").run();
            outcome.fails(1).says(name).says("killed by SIGRTMIN+3");
            assert!(outcome.took < Duration::from_secs(20), "{:?}", outcome.took);
            world.nobody_is_left();
        }
    });
}

#[test]
fn an_adopted_orphan_that_a_real_time_signal_ends_hides_no_other_death() {
    world(|world| {
        world.expect_a_death();
        world.expect_in_log(": new member after ");
        let port = world.port();
        world.start("svc", port).arg("--workers=1").env("WORKER_CHILD", "setsid").run().exits(0);
        let master = world.master("svc");
        let worker = world.workers(master)[0];
        processes::signal(worker, nix::sys::signal::Signal::SIGKILL);
        // One that is just being replaced has no arguments.
        let is_orphan =
            |process: &Process| process.parent == master && process.args.first().is_some_and(|arg| arg == "sleep");
        let orphan = await_some("the orphan", || world.alive().into_iter().find(is_orphan));
        signal_number(orphan.pid, 64);
        eventually("the orphan is reaped", || world.processes().iter().all(|process| process.pid != orphan.pid));
        let worker = await_some("another worker", || world.workers(master).first().copied());
        signal_number(worker, 34);
        eventually("a third worker", || matches!(&world.workers(master)[..], [one] if *one != worker));
        world.stop("svc");
    });
}

#[test]
fn a_stop_and_a_reload_see_the_end_of_members_that_a_real_time_signal_ends() {
    world(|world| {
        world.expect_in_log("");
        let port = world.port();
        world.start("svc", port).env("WORKER_TERM", "kill:37").env("AGENT_TERM", "kill:37").run().exits(0);
        let reload = world.eggctl(&["reload", "--title=svc", "--agent"]).run();
        reload.exits(0);
        let stop = world.stop("svc");
        for outcome in [reload, stop] {
            assert!(outcome.took < Duration::from_secs(4), "{}: {:?}", outcome.words, outcome.took);
        }
    });
}

#[test]
fn members_have_every_signal_by_default_whatever_the_master_inherited() {
    world(|world| {
        // An exec keeps what is ignored; python can ignore what the C library refuses no program.
        let ignoring = "import os, signal, sys\n\
            for number in range(1, 65):\n\
            \x20   try: signal.signal(number, signal.SIG_IGN)\n\
            \x20   except (OSError, ValueError): pass\n\
            os.execvp(sys.argv[1], sys.argv[1:])";
        let port = world.port();
        let words = ["start", "--daemon", "--title=svc", &format!("--port={port}"), "--workers=1"];
        world.eggctl_under(&["python3", "-c", ignoring], &words).arg(world.fixture("app")).run().exits(0);
        let master = world.master("svc");
        for member in world.workers(master).into_iter().chain(world.agents(master)) {
            let status = std::fs::read_to_string(format!("/proc/{member}/status")).unwrap();
            let mask = |name: &str| {
                let line = status.lines().find(|line| line.starts_with(name)).unwrap();
                u64::from_str_radix(line[name.len()..].trim(), 16).unwrap()
            };
            // SIGPIPE and SIGXFSZ are Node's own doing.
            assert_eq!(mask("SigIgn:") & !(1 << 12 | 1 << 24), 0, "{status}");
            assert_eq!(mask("SigBlk:"), 0, "{status}");
        }
        world.stop("svc");
    });
}
