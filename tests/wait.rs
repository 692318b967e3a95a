//! `wait` and the other commands, in whatever moment of a start or a stop they come.

use std::time::Duration;

use nix::sys::signal::Signal;

use crate::harness::{Background, Outcome, Typed, World, eventually, processes, world};

/// A small application without an agent, which is ready in no time.
const SMALL: &[(&str, &str)] = &[
    ("package.json", r#"{"name":"small"}"#),
    ("app.js", "require('http').createServer((q, s) => s.end()).listen(process.env.PORT);"),
];

/// Starts it in the background.
fn start(world: &World, title: &str) -> Background {
    let flags = ["start", "--daemon", "--workers=1", &format!("--title={title}"), &format!("--port={}", world.port())];
    world.eggctl(&flags).arg(world.directory("small", SMALL)).spawn()
}

fn wait(world: &World) -> Typed {
    world.eggctl(&["wait", "--title=svc"])
}

#[test]
fn a_wait_that_comes_together_with_the_start_waits_for_it() {
    world(|world| {
        for round in 0..50 {
            // Whichever of the two comes first.
            let (first, second) = if round % 2 == 0 {
                let started = start(world, "svc");
                (started, wait(world).spawn())
            } else {
                let waits = wait(world).spawn();
                (start(world, "svc"), waits)
            };
            second.finish().exits(0).says("svc ready");
            first.finish().exits(0);
            world.stop("svc");
        }
    });
}

/// Nothing is waited for here: the commands are to meet every moment of what goes on, each a little later.
fn a_moment(ms: usize) {
    std::thread::sleep(Duration::from_millis(ms as u64));
}

/// What must be no answer to any command, only because it came in the middle of something.
#[track_caller]
fn is_no_fault_of_the_moment(outcome: &Outcome, codes: &[i32]) {
    outcome.does_not_say("record is missing").does_not_say("cannot be asked").does_not_say("not see");
    outcome.does_not_say("has not come so far").does_not_say("are known").does_not_say("without an answer");
    let code = outcome.status.code().unwrap_or(-1);
    assert!(codes.contains(&code), "{code}: {}\n{}", outcome.words, outcome.text());
}

#[test]
fn no_command_fails_only_because_a_start_is_between_two_states() {
    world(|world| {
        world.expect_in_log("");
        let commands: [(&[&str], &[i32]); 6] = [
            (&["reload"], &[0, 1, 3]),
            (&["scale", "2"], &[0, 1, 3]),
            (&["logs"], &[0, 1]),
            (&["logs", "--ledger"], &[0, 3]),
            (&["wait"], &[0]),
            (&["stop"], &[0]),
        ];
        for round in 0..60 {
            let (command, codes) = commands[round % commands.len()];
            let started = start(world, "svc");
            // Later in each round, so that all moments of a start are met.
            let lock = || world.state().read_dir().is_ok_and(|mut entries| entries.next().is_some());
            eventually("the state directory is there", lock);
            a_moment(round / 6 * 4);
            let outcome = world.eggctl(command).arg("--title=svc").run();
            let known = outcome.text().contains("no logs of svc");
            if !(command[0] == "logs" && known && round < 6) {
                is_no_fault_of_the_moment(&outcome, codes);
            }
            started.finish();
            world.stop("svc");
        }
    });
}

#[test]
fn no_command_fails_only_because_a_stop_is_between_two_states() {
    world(|world| {
        world.expect_in_log("");
        let commands: [(&[&str], &[i32]); 4] = [
            (&["reload"], &[0, 1, 3]),
            (&["scale", "2"], &[0, 1, 3]),
            (&["logs", "--ledger"], &[0, 1, 3]),
            (&["wait", "--appear=0"], &[0, 3]),
        ];
        for round in 0..32 {
            let (command, codes) = commands[round % commands.len()];
            start(world, "svc").finish().exits(0);
            let stopped = world.eggctl(&["stop", "--title=svc"]).spawn();
            a_moment(round / 4 * 6);
            is_no_fault_of_the_moment(&world.eggctl(command).arg("--title=svc").run(), codes);
            stopped.finish().exits(0);
        }
    });
}

#[test]
fn an_application_that_does_not_appear_is_not_running_and_those_that_run_are_named() {
    world(|world| {
        wait(world).arg("--appear=200").run().fails(3).says("svc").says("0.2 s").does_not_say("these run");
        start(world, "other").finish().exits(0);
        let outcome = wait(world).arg("--appear=200").run();
        outcome.fails(3).says("these run: other");
        // The timeout is the limit of both.
        let outcome = wait(world).arg("--timeout=300").run();
        outcome.fails(3);
        assert!(outcome.took < Duration::from_secs(5), "{:?}", outcome.took);
        world.stop("other");
    });
}

#[test]
fn a_timeout_of_0_asks_once() {
    world(|world| {
        world.expect_in_log("[master]");
        let once = |code: i32| {
            let outcome = wait(world).arg("--timeout=0").run();
            if code == 0 {
                outcome.exits(0)
            } else {
                outcome.fails(code)
            };
            assert!(outcome.took < Duration::from_secs(3), "{:?}", outcome.took);
            outcome
        };
        once(3).says("no application `svc` is running");
        let hangs = world.start("svc", world.port()).env("WORKER", "hang").spawn();
        eventually("a worker boots", || world.boots("worker") > 0);
        once(1).says("not ready");
        hangs.signal(Signal::SIGINT);
        hangs.finish();
        start(world, "svc").finish().exits(0);
        once(0).says("svc ready");
        world.stop("svc");
    });
}

#[test]
fn a_start_that_fails_while_it_is_waited_for_ends_the_wait_with_1() {
    world(|world| {
        world.expect_in_log("");
        for variables in [("WORKER", "exit:3"), ("WORKER", "stderr:noise"), ("AGENT", "exit:1")] {
            let waits = wait(world).spawn();
            let failed = world.start("svc", world.port()).env(variables.0, variables.1).run();
            failed.fails(1);
            let outcome = waits.finish();
            // What is ready and is given up for its stderr has been ready for a moment.
            if variables.1 != "stderr:noise" {
                outcome.fails(1).says("svc");
            }
            assert!(outcome.took < failed.took + Duration::from_secs(3), "{:?}", outcome.took);
        }
    });
}

#[test]
fn a_start_that_is_killed_while_it_is_waited_for_ends_the_wait_with_1() {
    world(|world| {
        world.expect_in_log("[master]");
        let hangs = world.start("svc", world.port()).env("WORKER", "hang").spawn();
        eventually("a worker boots", || world.boots("worker") > 0);
        let master = world.master("svc");
        let before = processes::sockets(master);
        let waits = wait(world).spawn();
        eventually("the wait has found the start", || processes::sockets(master) > before);
        processes::signal(master, Signal::SIGKILL);
        hangs.finish().fails(1);
        waits.finish().fails(1);
    });
}

#[test]
fn in_an_applications_directory_its_own_start_is_waited_for_and_not_another_that_runs() {
    world(|world| {
        start(world, "other").finish().exits(0);
        let files = [SMALL[0], SMALL[1]].map(|(name, text)| (name, text.replace("small", "mine")));
        let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
        let directory = world.directory("mine", &files);
        let waits = world.eggctl(&["wait"]).cwd(&directory).spawn();
        let flags = ["start", "--daemon", "--workers=1", &format!("--port={}", world.port())];
        world.eggctl(&flags).cwd(&directory).run().exits(0);
        waits.finish().exits(0).says("egg-server-mine ready");
        world.stop("egg-server-mine");
        // Where nothing of its own appears, the only one that runs is meant.
        world.eggctl(&["wait", "--appear=100"]).cwd(&directory).run().exits(0).says("other ready");
        world.stop("other");
    });
}

#[test]
fn a_wait_that_comes_during_a_stop_waits_for_the_start_after_it() {
    world(|world| {
        world.expect_in_log("[master]");
        let slow = world.start("svc", world.port()).env("WORKER_TERM", "record").env("AGENT_TERM", "record");
        slow.run().exits(0);
        let stopped = world.eggctl(&["stop", "--title=svc"]).spawn();
        eventually("a worker is asked to go", || !world.events_of("term").is_empty());
        let waits = wait(world).spawn();
        stopped.finish().exits(0);
        start(world, "svc").finish().exits(0);
        waits.finish().exits(0).says("svc ready");
        world.stop("svc");
    });
}
