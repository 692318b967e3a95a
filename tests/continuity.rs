//! Nothing is lost: requests of every kind are counted while the application is reloaded, scaled and robbed of workers.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};

use nix::sys::signal::Signal;

use crate::harness::load::{EVERY_KIND, Kind, Load};
use crate::harness::{World, eventually, is_long, processes, visibly, world};

/// How often each thing is done.
fn times() -> usize {
    if is_long() { 20 } else { 5 }
}

/// The workers, once these are all new and of this number.
#[track_caller]
fn all_new(world: &World, master: u32, old: &[u32], count: usize) {
    let workers = world.workers(master);
    assert_eq!(workers.len(), count, "{workers:?} after {old:?}");
    assert!(workers.iter().all(|worker| !old.contains(worker)), "{workers:?} after {old:?}");
}

fn under_load(world: &mut World, dispatch: &str, act: fn(&World, u32, usize)) {
    world.expect_in_log(" INFO ");
    let port = world.port();
    world.start("svc", port).arg(format!("--dispatch={dispatch}")).run().exits(0);
    let master = world.master("svc");
    let load = Load::begin(port, &EVERY_KIND);
    for time in 0..times() {
        act(world, master, time);
        load.goes_on(100);
    }
    load.end().nothing_is_lost();
    world.stop("svc");
}

fn by_generation(world: &World, master: u32, _: usize) {
    let old = world.workers(master);
    world.eggctl(&["reload", "--title=svc"]).run().exits(0).says("by generation");
    all_new(world, master, &old, 2);
}

fn rolling(world: &World, master: u32, _: usize) {
    let old = world.workers(master);
    world.eggctl(&["reload", "--title=svc", "--rolling"]).run().exits(0).says("worker by worker");
    all_new(world, master, &old, 2);
}

fn scale(world: &World, master: u32, time: usize) {
    let count = [3, 1, 4, 2, 1][time % 5];
    world.eggctl(&["scale", "--title=svc", &count.to_string()]).run().exits(0);
    assert_eq!(world.workers(master).len(), count);
}

#[test]
fn reloads_by_generation_lose_nothing() {
    world(|world| under_load(world, "round-robin", by_generation));
}

#[test]
fn reloads_by_generation_lose_nothing_where_the_workers_accept() {
    world(|world| under_load(world, "shared", by_generation));
}

#[test]
fn rolling_reloads_lose_nothing() {
    world(|world| under_load(world, "round-robin", rolling));
}

#[test]
fn rolling_reloads_lose_nothing_where_the_workers_accept() {
    world(|world| under_load(world, "shared", rolling));
}

#[test]
fn scales_lose_nothing() {
    world(|world| under_load(world, "round-robin", scale));
}

#[test]
fn scales_lose_nothing_where_the_workers_accept() {
    world(|world| under_load(world, "shared", scale));
}

#[test]
fn a_killed_worker_takes_with_it_only_what_it_was_doing() {
    world(|world| {
        world.expect_a_death();
        world.expect_in_log("new member after");
        let port = world.port();
        world.start("svc", port).run().exits(0);
        let master = world.master("svc");
        let kinds = [Kind::Close, Kind::Close, Kind::KeepAlive(0), Kind::KeepAlive(20), Kind::Upload];
        let load = Load::begin(port, &kinds);
        for _ in 0..times() {
            let old = world.workers(master);
            processes::signal(old[0], Signal::SIGKILL);
            eventually("a new worker", || {
                let workers = world.workers(master);
                workers.len() == 2 && !workers.contains(&old[0])
            });
            load.goes_on(100);
        }
        let tally = load.end();
        visibly(&format!("note: {} answered, {} lost in {} kills", tally.answered, tally.lost, times()));
        assert_eq!(tally.refused, 0, "{:#?}", tally.failures);
        // Each client has one request under way: no kill can take more than that of each.
        assert!(tally.lost <= (times() * kinds.len()) as u64, "{:#?}", tally.failures);
        world.stop("svc");
    });
}

/// Node's own way to leave closes connections that are idle, also those whose next request is on its way: a figure for
/// the documents, and no promise.
#[test]
fn without_the_preload_what_is_lost_is_told() {
    world(|world| {
        world.expect_in_log("");
        let port = world.port();
        world.start("svc", port).arg("--no-preload").run().exits(0);
        let load = Load::begin(port, &[Kind::Close, Kind::Close, Kind::KeepAlive(0), Kind::KeepAlive(20)]);
        for _ in 0..times() {
            world.eggctl(&["reload", "--title=svc", "--drain-timeout=2000"]).run().exits(0);
            load.goes_on(50);
        }
        let tally = load.end();
        visibly(&format!("note: without the preload: {} answered, {} lost", tally.answered, tally.lost));
        assert_eq!(tally.refused, 0, "{:#?}", tally.failures);
        let closing = tally.failures.iter().filter(|failure| failure.starts_with("Close")).count();
        assert_eq!(closing, 0, "a client with a connection for each request lost one: {:#?}", tally.failures);
        world.stop("svc");
    });
}

/// An upgraded connection (a websocket's, here one that echoes) lives until the drain timeout, and new ones always connect.
#[test]
fn upgraded_connections_live_to_the_limit_and_new_ones_always_connect() {
    world(|world| {
        world.expect_in_log("");
        let script = "require('http').createServer().on('upgrade', (q, s) => { s.write('HTTP/1.1 101 Switching Protocols\\r\\n\
                      Connection: Upgrade\\r\\nUpgrade: echo\\r\\n\\r\\n'); s.pipe(s); }).listen(process.env.PORT)";
        let application = world.directory("app", &[("app.js", script), ("package.json", "{\"name\":\"app\"}")]);
        let port = world.port();
        let flags = ["start", "--daemon", "--title=svc", "--workers=2", &format!("--port={port}")];
        world.eggctl(&flags).arg(&application).run().exits(0);
        let mut old = upgraded(port);
        let mut reload = world.eggctl(&["reload", "--title=svc", "--drain-timeout=3000"]).spawn();
        while !reload.has_ended() {
            assert!(echoes(&mut upgraded(port)), "a new connection works at any moment");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        let took = reload.finish();
        took.exits(0);
        assert!(took.took.as_millis() >= 3_000, "the old connection had its time: {:?}", took.took);
        assert!(!echoes(&mut old), "and not more");
        assert!(echoes(&mut upgraded(port)));
        world.stop("svc");
    });
}

fn upgraded(port: u16) -> TcpStream {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    stream.set_read_timeout(Some(crate::harness::PATIENCE)).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n").unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    stream
}

fn echoes(stream: &mut TcpStream) -> bool {
    let mut back = [0; 4];
    stream.write_all(b"ping").is_ok() && stream.read_exact(&mut back).is_ok() && &back == b"ping"
}
