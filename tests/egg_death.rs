//! A dead member of an Egg application is replaced, and what the others serve goes on.

use std::path::Path;
use std::thread;

use nix::sys::signal::Signal;

use crate::harness::egg::TITLE;
use crate::harness::{World, eventually, http, installed, processes, world};

#[test]
fn an_egg_worker_that_is_killed_or_exits_is_replaced_while_the_other_serves() {
    let Some(application) = installed("egg3") else { return };
    world(|world| {
        world.expect_in_log("");
        let port = world.port();
        world.egg(port, &application).run().exits(0);
        let old = world.workers(world.master(TITLE));
        processes::signal(old[0], Signal::SIGKILL);
        eventually("the other serves", || http::try_get(port, "/").is_ok_and(|reply| reply.pid() == old[1]));
        let second = world.new_egg_workers(&old, 1)[0];
        for code in [0, 3] {
            let before = world.workers(world.master(TITLE));
            assert!(http::try_get(port, &format!("/exit?code={code}")).is_err());
            let fresh = world.new_egg_workers(&before, 1)[0];
            eventually("the new one serves", || http::get(port, "/").pid() == fresh);
        }
        world.log_says(&format!("{} died (code: null, signal: SIGKILL", old[0]));
        world.log_says("died (code: 3, signal: null");
        assert!(!processes::alive(old[0]) && second != old[0]);
        world.stop(TITLE);
    });
}

fn an_uncaught_exception_is_drained_while_the_replacement_serves(world: &mut World, application: &Path) {
    world.expect_in_log("");
    let port = world.port();
    world.egg(port, application).arg("--workers=1").run().exits(0);
    let old = world.workers(world.master(TITLE));
    let held = thread::spawn(move || http::try_get(port, "/held"));
    eventually("a request is in flight", || world.events_of("held").len() == 1);
    drop(http::try_get(port, "/throw"));
    let fresh = world.new_egg_workers(&old, 1)[0];
    assert_eq!(http::get(port, "/").pid(), fresh);
    assert!(processes::alive(old[0]), "it has a request to answer");
    std::fs::write(world.work().join("release"), "").unwrap();
    assert_eq!(held.join().unwrap().expect("the request in flight was lost").pid(), old[0]);
    world.log_says("thrown on request");
    world.stop(TITLE);
}

#[test]
fn an_egg_3_worker_with_an_uncaught_exception_answers_what_it_has_while_its_replacement_serves() {
    let Some(application) = installed("egg3") else { return };
    world(|world| an_uncaught_exception_is_drained_while_the_replacement_serves(world, &application));
}

#[test]
fn an_egg_4_worker_with_an_uncaught_exception_answers_what_it_has_while_its_replacement_serves() {
    let Some(application) = installed("egg4") else { return };
    world(|world| an_uncaught_exception_is_drained_while_the_replacement_serves(world, &application));
}

#[test]
fn an_egg_agent_that_keeps_dying_is_tried_again_while_the_workers_serve() {
    let Some(application) = installed("egg3") else { return };
    world(|world| {
        world.expect_in_log("");
        let port = world.port();
        world.egg(port, &application).env("AGENT", "throw:no luck").env("AGENT_BOOTS", "2,3,4").run().exits(0);
        let master = world.master(TITLE);
        let (agent, workers) = (world.agents(master)[0], world.workers(master));
        processes::signal(agent, Signal::SIGKILL);
        eventually("the fifth agent boots", || {
            assert!(workers.contains(&http::get(port, "/").pid()));
            world.boots("agent") == 5
        });
        world.new_egg_agent(agent);
        assert_eq!(world.workers(master), workers);
        world.stop(TITLE);
    });
}

#[test]
fn with_all_egg_workers_dead_and_their_replacements_dying_at_boot_the_slots_come_back() {
    let Some(application) = installed("egg3") else { return };
    world(|world| {
        world.expect_in_log("");
        let port = world.port();
        let typed = world.egg(port, &application).env("WORKER", "reject:no luck").env("WORKER_BOOTS", "3,4");
        typed.run().exits(0);
        let old = world.workers(world.master(TITLE));
        old.iter().for_each(|worker| processes::signal(*worker, Signal::SIGKILL));
        // Nobody serves, and nobody is refused: the connection waits for a worker.
        let asked = thread::spawn(move || http::try_get(port, "/"));
        let fresh = world.new_egg_workers(&old, 2);
        assert_eq!(world.boots("worker"), 6);
        assert!(fresh.contains(&asked.join().unwrap().expect("a client was refused").pid()));
        world.stop(TITLE);
    });
}
