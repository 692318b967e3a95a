//! A spare that boots when a worker dies: what is there first has the place.

use nix::sys::signal::Signal;

use crate::harness::{World, await_some, eventually, http, processes, world};

/// One worker, whose spare and whose successor boot for as long as the test likes: boots 2 and 3.
fn dies_while_its_spare_boots(world: &mut World, port: u16) -> u32 {
    world.expect_in_log("");
    let typed = world.start("svc", port).args(["--workers=1", "--spare=1"]).env("WORKER", "wait");
    typed.env("WORKER_BOOTS", "2,3").run().exits(0);
    let master = world.master("svc");
    eventually("the spare boots", || world.boots("worker") == 2);
    processes::signal(http::get(port, "/").pid(), Signal::SIGKILL);
    eventually("the successor boots", || world.boots("worker") == 3);
    master
}

/// Lets this boot go on. Its pid.
fn go(world: &World, boot: u64) -> u32 {
    std::fs::write(world.work().join(format!("go-{boot}")), "").unwrap();
    await_some("its pid", || {
        let booted =
            world.events_of("boot").into_iter().find(|event| event["who"] == "worker" && event["boot"] == boot)?;
        u32::try_from(booted["pid"].as_u64()?).ok()
    })
}

#[test]
fn a_spare_that_boots_faster_than_the_successor_of_a_dead_worker_takes_its_place() {
    world(|world| {
        let port = world.port();
        let master = dies_while_its_spare_boots(world, port);
        let spare = go(world, 2);
        assert_eq!(http::get(port, "/").pid(), spare);
        world.log_says("becomes worker 1");
        // The successor is not needed any more, and a new spare boots in the place of this one.
        eventually("the new spare boots", || world.boots("worker") == 4);
        world.log_says("waits at the gate");
        eventually("the successor is gone", || world.workers(master).len() == 2);
        assert_eq!(http::get(port, "/").pid(), spare);
        world.stop("svc");
    });
}

#[test]
fn a_successor_that_boots_faster_than_the_spare_keeps_its_place_and_the_spare_waits() {
    world(|world| {
        let port = world.port();
        let master = dies_while_its_spare_boots(world, port);
        let successor = go(world, 3);
        assert_eq!(http::get(port, "/").pid(), successor);
        let spare = go(world, 2);
        world.log_says("waits at the gate");
        assert_eq!(world.workers(master), [spare, successor]);
        assert_eq!(http::get(port, "/").pid(), successor);
        world.stop("svc");
    });
}

#[test]
fn a_spare_that_dies_while_it_boots_leaves_the_place_to_the_successor() {
    world(|world| {
        let port = world.port();
        dies_while_its_spare_boots(world, port);
        let booting = world.events_of("boot").into_iter().find(|event| event["boot"] == 2 && event["who"] == "worker");
        processes::signal(u32::try_from(booting.unwrap()["pid"].as_u64().unwrap()).unwrap(), Signal::SIGKILL);
        let successor = go(world, 3);
        assert_eq!(http::get(port, "/").pid(), successor);
        world.log_says("waits at the gate");
        world.stop("svc");
    });
}
