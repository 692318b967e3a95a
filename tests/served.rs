//! Workers that leave the address which they serve: another takes their place, and no client is refused meanwhile.

use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::harness::egg::TITLE;
use crate::harness::{PATIENCE, World, eventually, http, installed, processes, visibly, world};
use crate::reload_sockets::Asking;

/// A worker that answers with its pid, does at TERM what the environment says, and stays for a while.
const WORKER: &str = "
    const answer = (q, a) => { a.setHeader('Connection', 'close'); a.end(JSON.stringify({ pid: process.pid })); };
    const server = require('http').createServer(answer), cluster = require('cluster');
    const listen = () => server.listen(process.env.AT || process.env.PORT);
    listen();
    setInterval(() => {}, 1e6);
    process.once('SIGTERM', () => { eval(process.env.HOW); setTimeout(() => process.exit(0), 2500); });
    process.on('SIGUSR2', () => { server.close(); setTimeout(listen, 300); });
";

fn start(world: &World, how: &str, flags: &[&str], at: Option<&PathBuf>) -> u16 {
    let (port, application) = (world.port(), application(world, WORKER));
    let typed = world.eggctl(&["start", "--daemon", "--title=svc"]).args(flags).env("HOW", how);
    let typed = match at {
        Some(path) => typed.env("AT", path),
        None => typed.arg(format!("--port={port}")),
    };
    typed.arg(&application).run().exits(0);
    port
}

fn application(world: &World, script: &str) -> PathBuf {
    world.directory("app", &[("app.js", script), ("package.json", "{\"name\":\"app\"}")])
}

fn expect_a_leave(world: &mut World) {
    world.expect_a_death();
    world.expect_in_log("closed the address that it serves");
}

/// Each of the workers is made to leave, one after the other, while somebody asks: none is refused.
#[track_caller]
fn all_leave_and_nobody_is_refused(world: &World, asking: Asking, what: &str) {
    let master = world.master("svc");
    asking.goes_on(20);
    for worker in world.workers(master) {
        let before = world.log().matches(" started (").count();
        processes::signal(worker, Signal::SIGTERM);
        eventually("a new worker is ready", || world.log().matches(" started (").count() > before);
        asking.goes_on(20);
    }
    let (answered, failures) = asking.end();
    visibly(&format!("note: {what}: {answered} answered, {} lost", failures.len()));
    assert!(failures.is_empty(), "{what}: {failures:?}");
}

fn ask_at_port(port: u16) -> Asking {
    Asking::begin(move || http::try_get(port, "/").map(drop))
}

fn leaves_at_a_port(world: &mut World, how: &str) {
    expect_a_leave(world);
    for dispatch in ["round-robin", "shared"] {
        for workers in [1, 2] {
            let flags = [&format!("--workers={workers}")[..], &format!("--dispatch={dispatch}")];
            let port = start(world, how, &flags, None);
            let what = format!("{workers} workers, {dispatch}, {how}");
            all_leave_and_nobody_is_refused(world, ask_at_port(port), &what);
            world.stop("svc");
        }
    }
}

#[test]
fn a_worker_that_closes_its_server_at_term_is_replaced_and_no_client_is_refused() {
    world(|world| leaves_at_a_port(world, "server.close()"));
}

#[test]
fn a_worker_that_closes_its_server_and_disconnects_is_replaced_and_no_client_is_refused() {
    world(|world| leaves_at_a_port(world, "server.close(); cluster.worker.disconnect()"));
}

#[test]
fn a_worker_that_closes_its_server_and_exits_soon_after_is_replaced_and_no_client_is_refused() {
    world(|world| leaves_at_a_port(world, "server.close(() => setTimeout(() => process.exit(0), 200))"));
}

#[test]
fn a_worker_at_a_unix_socket_that_closes_its_server_is_replaced_and_no_client_is_refused() {
    world(|world| {
        expect_a_leave(world);
        let path = world.work().join("its.sock");
        for dispatch in ["round-robin", "shared"] {
            start(world, "server.close()", &["--workers=1", &format!("--dispatch={dispatch}")], Some(&path));
            let path = path.clone();
            let asking = Asking::begin(move || {
                let stream = UnixStream::connect(&path)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                http::ask_over(stream, "/").map(drop)
            });
            all_leave_and_nobody_is_refused(world, asking, &format!("unix, {dispatch}"));
            world.stop("svc");
        }
    });
}

/// What arrives while no worker has the socket waits in it. The worker leaves at a word, so that the kernel tells the client
/// whether there is a socket (a datagram to none is refused).
#[test]
fn a_udp_worker_that_closes_its_socket_is_replaced_and_its_port_stays_open() {
    world(|world| {
        expect_a_leave(world);
        let port = world.port();
        let script = format!(
            "const socket = require('dgram').createSocket('udp4');
             setInterval(() => {{}}, 1e6);
             process.once('SIGTERM', () => {{ socket.close(); setTimeout(() => process.exit(0), 2500); }});
             socket.on('message', (_, from) => socket.send(String(process.pid), from.port, from.address)).bind({port})"
        );
        let application = application(world, &script);
        world.eggctl(&["start", "--daemon", "--title=svc", "--workers=1"]).arg(&application).run().exits(0);
        let master = world.master("svc");
        let [old] = world.workers(master)[..] else { panic!("one worker") };
        processes::signal(old, Signal::SIGTERM);
        eventually("another takes its place", || world.workers(master).iter().any(|worker| *worker != old));
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        socket.connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        let mut answer = [0; 16];
        let length = socket.send(b"who?").and_then(|_| socket.recv(&mut answer)).expect("the datagram was refused");
        assert_ne!(std::str::from_utf8(&answer[..length]).unwrap(), old.to_string());
        world.stop("svc");
    });
}

#[test]
fn a_worker_that_listens_again_within_a_second_keeps_its_place_and_no_client_is_refused() {
    world(|world| {
        let port = start(world, "process.exit(0)", &["--workers=1"], None);
        let (master, asking) = (world.master("svc"), ask_at_port(port));
        let workers = world.workers(master);
        asking.goes_on(20);
        for _ in 0..3 {
            processes::signal(workers[0], Signal::SIGUSR2);
            asking.goes_on(20);
        }
        let (_, failures) = asking.end();
        assert!(failures.is_empty(), "{failures:?}");
        assert_eq!(world.workers(master), workers);
        world.stop("svc");
    });
}

#[test]
fn a_worker_that_has_closed_its_server_does_not_count_as_ready() {
    world(|world| {
        expect_a_leave(world);
        let port = start(world, "server.close()", &["--workers=1"], None);
        let master = world.master("svc");
        let old = world.workers(master);
        processes::signal(old[0], Signal::SIGTERM);
        // Asked before it is replaced, this waits for the new one.
        eventually("it has closed", || world.log().contains("closed the address"));
        world.eggctl(&["wait", "--title=svc"]).run().exits(0);
        assert!(!old.contains(&http::get(port, "/").pid()));
        world.stop("svc");
    });
}

fn an_egg_workers_fault_refuses_nobody(world: &mut World, application: &Path, flags: &[&str]) {
    world.expect_in_log("");
    let port = world.port();
    world.egg(port, application).arg("--workers=1").args(flags).run().exits(0);
    let asking = Asking::begin(move || match http::try_get(port, "/") {
        // What it had in hand when it threw is its own loss; that nobody listens is ours.
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Err(error),
        Ok(_) | Err(_) => Ok(()),
    });
    asking.goes_on(5);
    let old = world.workers(world.master(TITLE));
    drop(http::try_get(port, "/throw"));
    world.new_egg_workers(&old, 1);
    asking.goes_on(5);
    let (_, failures) = asking.end();
    assert!(failures.is_empty(), "{} clients were refused: {:?}", failures.len(), failures.first());
    world.stop(TITLE);
}

#[test]
fn an_uncaught_exception_in_the_only_egg_3_worker_refuses_no_client() {
    let Some(application) = installed("egg3") else { return };
    world(|world| an_egg_workers_fault_refuses_nobody(world, &application, &[]));
}

#[test]
fn an_uncaught_exception_in_the_only_egg_4_worker_refuses_no_client() {
    let Some(application) = installed("egg4") else { return };
    world(|world| an_egg_workers_fault_refuses_nobody(world, &application, &[]));
}

#[test]
fn an_uncaught_exception_in_the_only_sticky_egg_worker_refuses_no_client() {
    let Some(application) = installed("egg3") else { return };
    world(|world| an_egg_workers_fault_refuses_nobody(world, &application, &["--sticky"]));
}

#[test]
fn an_uncaught_exception_in_the_only_egg_worker_of_a_shared_socket_refuses_no_client() {
    let Some(application) = installed("egg3") else { return };
    world(|world| an_egg_workers_fault_refuses_nobody(world, &application, &["--dispatch=shared"]));
}
