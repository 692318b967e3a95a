//! Egg's applications are reloaded without a lost request, and what waits at the gate is not told that it is its turn.

use std::path::Path;

use nix::sys::signal::Signal;

use crate::harness::egg::TITLE;
use crate::harness::load::{Kind, Load};
use crate::harness::{World, await_some, eventually, http, installed, processes, world};

/// What the home page can be asked.
const KINDS: [Kind; 6] =
    [Kind::Close, Kind::Close, Kind::KeepAlive(0), Kind::KeepAlive(20), Kind::KeepAlive(20), Kind::KeepAlive(2_000)];

fn reloads_lose_nothing(world: &mut World, application: &Path) {
    world.expect_in_log("");
    let port = world.port();
    world.egg(port, application).run().exits(0);
    let master = world.master(TITLE);
    let load = Load::begin(port, &KINDS);
    let flags: [&[&str]; 3] = [&[], &["--rolling"], &["--agent"]];
    for flags in flags {
        let (old, agent) = (world.workers(master), world.agents(master)[0]);
        world.eggctl(&["reload", "--title=egg"]).args(flags).run().exits(0);
        let new = world.workers(master);
        assert!(new.len() == 2 && new.iter().all(|worker| !old.contains(worker)), "{old:?} {new:?}");
        assert_eq!(world.agents(master) != [agent], flags.contains(&"--agent"));
        load.goes_on(50);
        for worker in new {
            eventually("it is told that all are ready", || !world.told(worker, &["egg-ready"]).is_empty());
        }
        for worker in old {
            let ended = |what: &str| world.events_of(what).iter().any(|event| event["pid"] == worker);
            assert!(ended("before-close"), "{worker} has not run its beforeClose");
        }
    }
    load.end().nothing_is_lost();
    assert!(!world.log().contains("ERROR"), "{}", world.log());
    world.stop(TITLE);
}

#[test]
fn reloads_of_an_egg_3_application_lose_nothing() {
    let Some(application) = installed("egg3") else { return };
    world(|world| reloads_lose_nothing(world, &application));
}

#[test]
fn reloads_of_an_egg_4_application_lose_nothing() {
    let Some(application) = installed("egg4") else { return };
    world(|world| reloads_lose_nothing(world, &application));
}

fn a_spare_is_told_when_it_is_its_turn(world: &mut World, application: &Path) {
    world.expect_in_log("");
    let port = world.port();
    world.egg(port, application).arg("--spare=1").env("TICK", "50ms").run().exits(0);
    let master = world.master(TITLE);
    world.log_says("waits at the gate");
    let ready = |pid: &u32| !world.told(*pid, &["egg-ready"]).is_empty();
    let old: Vec<u32> = world.workers(master).into_iter().filter(ready).collect();
    assert_eq!(old.len(), 2);
    let spare = await_some("the spare", || world.workers(master).into_iter().find(|pid| !old.contains(pid)));
    let ticks = || world.events_of("tick");
    let before = ticks().len();
    eventually("the schedule runs", || ticks().len() > before + 10);
    crate::harness::egg::say(port, "agent", "sendToApp", "all", "");
    let heard =
        |pid: u32, action: &str| world.events_of("told").iter().any(|it| it["pid"] == pid && it["action"] == action);
    eventually("the spare hears what all hear", || heard(spare, "hello"));
    assert!(!ticks().iter().any(|tick| tick["pid"] == spare), "the spare does what is scheduled");
    assert!(!heard(spare, "egg-schedule"));
    assert!(world.told(spare, &["egg-ready"]).is_empty(), "the spare is told that it is its turn");
    processes::signal(old[0], Signal::SIGKILL);
    eventually("it is told", || !world.told(spare, &["egg-ready"]).is_empty());
    eventually("it serves", || http::try_get(port, "/").is_ok_and(|reply| reply.pid() == spare));
    eventually("it does what is scheduled", || ticks().iter().any(|tick| tick["pid"] == spare));
    world.stop(TITLE);
}

#[test]
fn a_spare_of_an_egg_3_application_is_told_when_it_is_its_turn() {
    let Some(application) = installed("egg3") else { return };
    world(|world| a_spare_is_told_when_it_is_its_turn(world, &application));
}

#[test]
fn a_spare_of_an_egg_4_application_is_told_when_it_is_its_turn() {
    let Some(application) = installed("egg4") else { return };
    world(|world| a_spare_is_told_when_it_is_its_turn(world, &application));
}
