//! Nothing is lost: requests of every kind are counted while the application is reloaded, scaled and robbed of workers.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;

use crate::harness::load::{EVERY_KIND, Kind, Load};
use crate::harness::{World, egg, eventually, installed, is_long, processes, visibly, world};

/// How often each thing is done.
fn times() -> usize {
    if is_long() { 20 } else { 5 }
}

/// What is done to the application of this title under load, for the n-th time.
type Act = fn(&World, &str, usize);

fn by_generation(world: &World, title: &str, _: usize) {
    reload(world, title, &["reload"], "by generation");
}

fn rolling(world: &World, title: &str, _: usize) {
    reload(world, title, &["reload", "--rolling"], "worker by worker");
}

fn reload(world: &World, title: &str, words: &[&str], how: &str) {
    let master = world.master(title);
    let old = world.workers(master);
    world.eggctl(words).arg(format!("--title={title}")).run().exits(0).says(how);
    let new = world.workers(master);
    assert_eq!(new.len(), old.len(), "{old:?} {new:?}");
    assert!(new.iter().all(|worker| !old.contains(worker)), "{old:?} {new:?}");
}

fn scale(world: &World, title: &str, time: usize) {
    let count = [3, 1, 4, 2, 1][time % 5];
    world.eggctl(&["scale", &count.to_string(), &format!("--title={title}")]).run().exits(0);
    assert_eq!(world.workers(world.master(title)).len(), count);
}

/// An application of this title at this port is running: clients of every kind ask it while these things are done to it.
fn nothing_is_lost_by(world: &World, title: &str, port: u16, acts: &[Act]) {
    let load = Load::begin(port, &EVERY_KIND);
    for act in acts {
        for time in 0..times() {
            act(world, title, time);
            load.goes_on(100);
        }
    }
    load.end().nothing_is_lost();
}

fn plain_under_load(world: &mut World, dispatch: &str, act: Act) {
    world.expect_in_log(" INFO ");
    let port = world.port();
    world.start("svc", port).arg(format!("--dispatch={dispatch}")).run().exits(0);
    nothing_is_lost_by(world, "svc", port, &[act]);
    world.stop("svc");
}

#[test]
fn reloads_by_generation_lose_nothing() {
    world(|world| plain_under_load(world, "round-robin", by_generation));
}

#[test]
fn reloads_by_generation_lose_nothing_where_the_workers_accept() {
    world(|world| plain_under_load(world, "shared", by_generation));
}

#[test]
fn rolling_reloads_lose_nothing() {
    world(|world| plain_under_load(world, "round-robin", rolling));
}

#[test]
fn rolling_reloads_lose_nothing_where_the_workers_accept() {
    world(|world| plain_under_load(world, "shared", rolling));
}

#[test]
fn scales_lose_nothing() {
    world(|world| plain_under_load(world, "round-robin", scale));
}

#[test]
fn scales_lose_nothing_where_the_workers_accept() {
    world(|world| plain_under_load(world, "shared", scale));
}

fn egg_under_load(world: &mut World, application: &Path, dispatch: &str) {
    world.expect_in_log("");
    let port = world.port();
    world.egg(port, application).arg(format!("--dispatch={dispatch}")).run().exits(0);
    nothing_is_lost_by(world, egg::TITLE, port, &[by_generation, rolling, scale]);
    assert!(!world.log().contains("ERROR"), "{}", world.log());
    world.stop(egg::TITLE);
}

/// An Egg application; Egg 4's only where the long forms are wanted.
fn egg_of(name: &str) -> Option<PathBuf> {
    if name == "egg4" && !is_long() {
        visibly("note: Egg 4 under every kind of load wants EGGCTL_LONG=1");
        return None;
    }
    installed(name)
}

#[test]
fn reloads_and_scales_of_an_egg_3_application_lose_nothing_of_any_kind() {
    let Some(application) = egg_of("egg3") else { return };
    world(|world| egg_under_load(world, &application, "round-robin"));
}

#[test]
fn reloads_and_scales_of_an_egg_3_application_lose_nothing_where_the_workers_accept() {
    let Some(application) = egg_of("egg3") else { return };
    world(|world| egg_under_load(world, &application, "shared"));
}

#[test]
fn reloads_and_scales_of_an_egg_4_application_lose_nothing_of_any_kind() {
    let Some(application) = egg_of("egg4") else { return };
    world(|world| egg_under_load(world, &application, "round-robin"));
}

#[test]
fn reloads_and_scales_of_an_egg_4_application_lose_nothing_where_the_workers_accept() {
    let Some(application) = egg_of("egg4") else { return };
    world(|world| egg_under_load(world, &application, "shared"));
}

/// The first worker of a running application is killed again and again, and is replaced each time.
fn kills_cost_only_what_was_being_done(world: &World, title: &str, port: u16) {
    let master = world.master(title);
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
}

#[test]
fn a_killed_worker_takes_with_it_only_what_it_was_doing() {
    world(|world| {
        world.expect_a_death();
        world.expect_in_log("new member after");
        for dispatch in ["round-robin", "shared"] {
            let port = world.port();
            world.start("svc", port).arg(format!("--dispatch={dispatch}")).run().exits(0);
            kills_cost_only_what_was_being_done(world, "svc", port);
            world.stop("svc");
        }
    });
}

fn a_killed_egg_worker_takes_only_what_it_was_doing(world: &mut World, application: &Path) {
    world.expect_in_log("");
    let port = world.port();
    world.egg(port, application).run().exits(0);
    kills_cost_only_what_was_being_done(world, egg::TITLE, port);
    world.stop(egg::TITLE);
}

#[test]
fn a_killed_worker_of_an_egg_3_application_takes_with_it_only_what_it_was_doing() {
    let Some(application) = egg_of("egg3") else { return };
    world(|world| a_killed_egg_worker_takes_only_what_it_was_doing(world, &application));
}

#[test]
fn a_killed_worker_of_an_egg_4_application_takes_with_it_only_what_it_was_doing() {
    let Some(application) = egg_of("egg4") else { return };
    world(|world| a_killed_egg_worker_takes_only_what_it_was_doing(world, &application));
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
