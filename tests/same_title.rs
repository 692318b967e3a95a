//! One title, one master.

use std::fs;

use crate::harness::{World, http, processes, world};

/// Names and contents of everything in the state directory and among the logs.
fn files(world: &World) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for directory in [world.state(), world.home().join("logs")] {
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten().filter(|entry| entry.path().is_file()) {
            found.push((entry.path().display().to_string(), fs::read(entry.path()).unwrap()));
        }
    }
    found.sort();
    assert!(found.len() >= 3, "{found:?}");
    found
}

#[test]
fn the_second_start_fails_at_once_names_the_first_pid_and_touches_no_file() {
    world(|world| {
        let port = world.port();
        world.start("svc", port).run().exits(0);
        let master = world.master("svc");
        world.log_says("fixture started");
        let before = files(world);
        let second = world.start("svc", world.port()).run();
        second.fails(1).says("svc").says("running").says(&master.to_string());
        world.foreground("svc", world.port()).run().fails(1).says(&master.to_string());
        assert_eq!(files(world), before);
        assert_eq!(world.masters("svc"), [master]);
        assert_eq!(http::get(port, "/").status, 200);
        world.stop("svc");
    });
}

#[test]
fn a_lost_state_directory_does_not_yield_a_second_master() {
    world(|world| {
        // It may be noticed before the end.
        world.expect_in_log("it is made again");
        world.start("svc", world.port()).run().exits(0);
        let master = world.master("svc");
        fs::remove_dir_all(world.state()).unwrap();
        world.start("svc", world.port()).run().fails(1).says(&master.to_string());
        assert_eq!(world.masters("svc"), [master]);
        world.stop("svc");
    });
}

#[test]
fn of_fifty_starts_at_once_exactly_one_wins() {
    world(|world| {
        let port = world.port();
        let starts: Vec<_> = (0..50).map(|_| world.start("svc", port).spawn()).collect();
        let outcomes: Vec<_> = starts.into_iter().map(|start| start.finish()).collect();
        let winners = outcomes.iter().filter(|outcome| outcome.status.success()).count();
        assert_eq!(winners, 1, "{outcomes:#?}");
        for loser in outcomes.iter().filter(|outcome| !outcome.status.success()) {
            loser.fails(1).says("already running");
        }
        world.master("svc");
        assert_eq!(world.boots("agent"), 1);
        world.stop("svc");
    });
}

#[test]
fn a_stale_record_is_recognised_and_never_believed() {
    world(|world| {
        world.start("svc", world.port()).run().exits(0);
        processes::signal(world.master("svc"), nix::sys::signal::Signal::SIGKILL);
        crate::harness::eventually("the members end by themselves", || world.alive().is_empty());
        world.start("svc", world.port()).run().exits(0);
        world.stop("svc");
    });
}

#[test]
fn odd_titles_start_stop_and_are_told_apart() {
    const TITLES: &[&str] = &[
        "a b",
        "it's",
        "say \"hi\"",
        "back\\slash",
        "Ünïcödé 蛋 🥚",
        ".*",
        "a+(b)[c]{2}$^|?",
        "--port=1",
        "$(touch x) `y` %s %n",
        "../../etc/passwd",
    ];
    world(|world| {
        let first: Vec<_> = TITLES[..2].to_vec();
        for title in &first {
            world.start(title, world.port()).arg("--workers=1").run().exits(0).says(title);
        }
        // `.*` matches nobody but itself.
        world.eggctl(&["stop", "--title=.*"]).run().exits(0);
        for title in &first {
            world.master(title);
            world.stop(title);
            assert!(world.masters(title).is_empty());
        }
        for title in &TITLES[2..] {
            world.start(title, world.port()).arg("--workers=1").run().exits(0).says(title);
            let master = world.master(title);
            world.start(title, world.port()).run().fails(1).says(&master.to_string());
            world.stop(title);
            world.nobody_is_left();
        }
    });
}
