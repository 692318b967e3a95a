//! After SIGKILL of the master.

use nix::sys::signal::Signal;

use crate::harness::{eventually, http, processes, world};

#[test]
fn the_members_of_a_killed_master_end_by_themselves_and_the_port_is_free() {
    world(|world| {
        let port = world.port();
        world.start("svc", port).run().exits(0);
        processes::signal(world.master("svc"), Signal::SIGKILL);
        eventually("everybody has gone", || world.alive().is_empty());
        assert!(http::try_get(port, "/").is_err());
        world.start("svc", port).run().exits(0);
        assert_eq!(http::get(port, "/").status, 200);
        world.stop("svc");
    });
}

#[test]
fn members_that_were_still_booting_end_too() {
    world(|world| {
        world.expect_in_log("");
        world.start("svc", world.port()).env("WORKER", "hang").env("WORKER_BOOTS", "3").run().exits(0);
        let master = world.master("svc");
        processes::signal(world.workers(master)[0], Signal::SIGKILL);
        eventually("a replacement boots", || world.boots("worker") == 3);
        processes::signal(master, Signal::SIGKILL);
        eventually("everybody has gone", || world.alive().is_empty());
    });
}
