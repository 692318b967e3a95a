//! Every worker knows its place, in the numbering of the log; nothing else has one.

use nix::sys::signal::Signal;

use crate::harness::egg::TITLE;
use crate::harness::processes::{self, Process};
use crate::harness::{World, eventually, http, installed, world};

const NAMES: [&str; 4] = ["EGGCTL_WORKER", "CFORK_WORKER_INDEX", "CFORK_WORKER_COUNT", "NODE_APP_INSTANCE"];

/// What this process was started with, of the four.
fn started_with(pid: u32) -> [Option<String>; 4] {
    let process = Process::read(pid).unwrap();
    NAMES.map(|name| process.variable(name).map(str::to_owned))
}

fn place(values: [&str; 4]) -> [Option<String>; 4] {
    values.map(|value| Some(value.to_owned()))
}

/// The places of all workers, in order.
fn places(world: &World, master: u32) -> Vec<[Option<String>; 4]> {
    let mut places: Vec<_> = world.workers(master).into_iter().map(started_with).collect();
    places.sort();
    places
}

#[test]
fn workers_know_their_numbers_through_deaths_reloads_and_scales_and_the_agent_has_none() {
    world(|world| {
        world.expect_in_log("");
        let port = world.port();
        // A worker of another master may be what types this.
        let typed = NAMES.into_iter().fold(world.start("svc", port), |typed, name| typed.env(name, "7"));
        typed.arg("--log-per-member").run().exits(0);
        let master = world.master("svc");
        let two = vec![place(["1", "0", "2", "0"]), place(["2", "1", "2", "1"])];
        assert_eq!(places(world, master), two);
        assert_eq!(started_with(world.agents(master)[0]), [None, None, None, None]);
        // The number is the one in the log's name and in the log.
        let second = *world.workers(master).iter().find(|pid| started_with(**pid) == two[1]).unwrap();
        http::get(port, "/");
        processes::signal(second, Signal::SIGKILL);
        world.log_says("worker 2: new member");
        let is_back = || places(world, master) == two && !world.workers(master).contains(&second);
        eventually("worker 2 again", is_back);
        let old = world.workers(master);
        for how in [&["--rolling"][..], &[]] {
            world.eggctl(&["reload", "--title=svc"]).args(how).run().exits(0);
            assert_eq!(places(world, master), two, "after a reload {how:?}");
        }
        assert!(world.workers(master).iter().all(|pid| !old.contains(pid)));
        world.eggctl(&["scale", "3", "--title=svc"]).run().exits(0);
        let numbers = |world: &World| places(world, master).into_iter().map(|place| place[0].clone().unwrap());
        assert_eq!(numbers(world).collect::<Vec<_>>(), ["1", "2", "3"]);
        world.eggctl(&["scale", "2", "--title=svc"]).run().exits(0);
        assert_eq!(places(world, master), two);
        assert!(world.home().join("logs/worker-2-stdout.log").is_file());
        world.stop("svc");
    });
}

#[test]
fn eggs_workers_know_them_too_and_its_agent_has_none() {
    let Some(application) = installed("egg4") else { return };
    world(|world| {
        world.expect_egg_lines();
        world.egg(world.port(), &application).env("NODE_APP_INSTANCE", "7").run().exits(0);
        let master = world.master(TITLE);
        assert_eq!(places(world, master), [place(["1", "0", "2", "0"]), place(["2", "1", "2", "1"])]);
        assert_eq!(started_with(world.agents(master)[0]), [None, None, None, None]);
        world.stop(TITLE);
    });
}

#[test]
fn a_spare_has_no_number_until_it_takes_a_workers_place() {
    world(|world| {
        world.expect_in_log("");
        let port = world.port();
        world.start("svc", port).args(["--spare=1", "--workers=2"]).env("EGGCTL_WORKER", "7").run().exits(0);
        world.log_says("waits at the gate");
        let master = world.master("svc");
        let has_none = |pid: &&u32| started_with(**pid) == [None, None, None, None];
        let workers = world.workers(master);
        let [spare] = workers.iter().filter(has_none).collect::<Vec<_>>()[..] else { panic!("not one spare") };
        let second = *workers.iter().find(|pid| started_with(**pid)[0].as_deref() == Some("2")).unwrap();
        processes::signal(second, Signal::SIGKILL);
        world.log_says("becomes worker 2");
        let mut told = serde_json::Value::Null;
        eventually("the spare answers", || {
            told = http::get(port, "/env").json();
            told["pid"] == *spare
        });
        assert_eq!(NAMES.map(|name| told["env"][name].as_str().unwrap()), ["2", "1", "2", "1"]);
        world.stop("svc");
    });
}

#[test]
fn without_the_preload_workers_know_their_numbers_too() {
    world(|world| {
        let port = world.port();
        world.start("svc", port).arg("--no-preload").run().exits(0);
        let master = world.master("svc");
        assert_eq!(places(world, master), [place(["1", "0", "2", "0"]), place(["2", "1", "2", "1"])]);
        world.stop("svc");
    });
}
