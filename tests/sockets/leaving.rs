//! Workers that leave by themselves, in each of the ways that Node gives them.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::{listen, run, serve_exactly, start, who};
use crate::harness::{World, eventually, world};

/// The replacement of worker 1 of 2 serves beside worker 2.
fn is_replaced(world: &World, port: u16) {
    eventually("the replacement serves", || world.events_of("main").len() == 3);
    serve_exactly(&[2, 3], || who((Ipv4Addr::LOCALHOST, port)));
}

/// Worker 1 of 2 leaves in this way under load, and no connection is lost.
fn leaves_without_a_loss(world: &mut World, how: &str) {
    world.expect_a_death();
    let port = world.port();
    start(world, port, 2);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut served = Vec::new();
                    while !done.load(Ordering::Relaxed) {
                        served.push(who((Ipv4Addr::LOCALHOST, port)).expect("a connection was lost"));
                    }
                    served
                })
            })
            .collect();
        run(world, 1, &format!("setTimeout(() => {how}, 50)"));
        is_replaced(world, port);
        done.store(true, Ordering::Relaxed);
        for client in clients {
            assert!(!client.join().unwrap().is_empty());
        }
    });
    world.stop("svc");
}

#[test]
fn a_worker_that_disconnects_itself_is_replaced_and_no_connection_is_lost() {
    world(|world| leaves_without_a_loss(world, "{ kit.control.close(); require('cluster').worker.disconnect(); }"));
}

#[test]
fn a_worker_that_kills_itself_by_nodes_own_word_is_replaced_and_no_connection_is_lost() {
    world(|world| leaves_without_a_loss(world, "require('cluster').worker.kill()"));
}

#[test]
fn a_worker_that_drops_its_channel_ends_and_is_replaced() {
    world(|world| {
        world.expect_a_death();
        let port = world.port();
        start(world, port, 2);
        run(world, 1, "setTimeout(() => process.disconnect(), 20)");
        is_replaced(world, port);
        world.stop("svc");
    });
}

#[test]
fn what_only_a_worker_that_left_listened_on_is_closed() {
    world(|world| {
        world.expect_a_death();
        let port = world.port();
        start(world, port, 2);
        let free = world.port();
        listen(world, &[1], "alone", &super::at("127.0.0.1", free));
        let path = world.work().join("socket");
        listen(world, &[1], "unix", &serde_json::json!({ "path": path }));
        run(world, 1, "setTimeout(() => { kit.control.close(); require('cluster').worker.disconnect(); }, 20)");
        eventually("its port is closed", || who((Ipv4Addr::LOCALHOST, free)).is_err());
        eventually("its file is gone", || !path.exists());
        is_replaced(world, port);
        world.stop("svc");
    });
}
