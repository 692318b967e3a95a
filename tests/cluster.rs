//! Node's cluster over our master: workers share ports, and one that is stuck or dies costs nobody else anything.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::harness::{PATIENCE, eventually, http, processes, world};

#[test]
fn two_workers_share_a_port_and_both_answer_over_both_ip_versions() {
    world(|world| {
        let port = world.port();
        world.start("svc", port).run().exits(0);
        let workers: BTreeSet<u32> = world.workers(world.master("svc")).into_iter().collect();
        let answered: BTreeSet<u32> = (0..10).map(|_| http::get(port, "/").pid()).collect();
        assert_eq!(answered, workers);
        assert_eq!(http::try_get_v6(port, "/").unwrap().status, 200);
        world.stop("svc");
    });
}

#[test]
fn connections_go_round_and_none_is_lost() {
    world(|world| {
        let port = world.port();
        world.start("svc", port).run().exits(0);
        let clients: Vec<_> = (0..8)
            .map(|_| thread::spawn(move || (0..25).map(|_| http::get(port, "/").pid()).collect::<Vec<_>>()))
            .collect();
        let answers: Vec<u32> = clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
        assert_eq!(answers.len(), 200);
        // One after the other: of several at once the worker that has the processor takes more, as under Node's own primary.
        let answers: Vec<u32> = (0..100).map(|_| http::get(port, "/").pid()).collect();
        for worker in world.workers(world.master("svc")) {
            let share = answers.iter().filter(|pid| **pid == worker).count();
            assert!(share >= 20, "{worker} answered {share} of 100");
        }
        world.stop("svc");
    });
}

#[test]
fn several_ports_are_served_by_all_workers() {
    world(|world| {
        let (one, two) = (world.port(), world.port());
        world.start("svc", one).env("LISTEN", format!("{one},{two}")).run().exits(0);
        eventually("the second port is listened on by both", || world.events_of("listening").len() == 4);
        for port in [one, two] {
            let answered: BTreeSet<u32> = (0..10).map(|_| http::get(port, "/").pid()).collect();
            assert_eq!(answered.len(), 2, "port {port}");
            assert_eq!(http::get(port, "/").json()["port"], port);
        }
        world.stop("svc");
    });
}

#[test]
fn port_0_is_one_port_for_all_workers_and_two_of_them_are_two() {
    world(|world| {
        let typed = world.eggctl(&["start", "--daemon", "--title=svc", "--workers=2"]).arg(world.fixture("app"));
        typed.env("LISTEN", "0,0").run().exits(0);
        eventually("all four listens", || world.events_of("listening").len() == 4);
        let ports: BTreeSet<u64> =
            world.events_of("listening").iter().map(|event| event["port"].as_u64().unwrap()).collect();
        assert_eq!(ports.len(), 2, "{ports:?}");
        for port in ports {
            let answered: BTreeSet<u32> = (0..10).map(|_| http::get(port as u16, "/").pid()).collect();
            assert_eq!(answered.len(), 2, "port {port}");
        }
        world.stop("svc");
    });
}

#[test]
fn a_taken_port_reaches_the_worker_as_eaddrinuse() {
    world(|world| {
        world.expect_in_log("cannot listen");
        let port = world.port();
        world.start("svc", port).run().exits(0);
        let taken = TcpListener::bind("[::]:0").unwrap();
        let options = format!(r#"/listen?options={{"port":{}}}"#, taken.local_addr().unwrap().port());
        assert_eq!(http::get(port, &options).json()["code"], "EADDRINUSE");
        // Once it is free it can be had.
        drop(taken);
        assert!(http::get(port, &options).json()["address"].is_object());
        world.stop("svc");
    });
}

#[test]
fn an_address_of_ip_version_4_is_that_address_only() {
    world(|world| {
        let port = world.port();
        world.start("svc", port).arg("--workers=1").run().exits(0);
        let free = world.port();
        let options = format!(r#"/listen?options={{"port":{free},"host":"127.0.0.1"}}"#);
        assert_eq!(http::get(port, &options).json()["address"]["family"], "IPv4");
        assert_eq!(http::get(free, "/").status, 200);
        assert!(http::try_get_v6(free, "/").is_err());
        world.stop("svc");
    });
}

#[test]
fn a_blocked_worker_does_not_stop_the_others() {
    world(|world| {
        let port = world.port();
        world.start("svc", port).env("EGG_APP_CLOSE_TIMEOUT", "300").run().exits(0);
        world.expect_in_log("SIGKILL");
        let blocking = thread::spawn(move || http::try_get(port, "/block?ms=600000"));
        eventually("a worker is blocked", || world.events_of("blocked").len() == 1);
        let blocked = world.events_of("blocked")[0]["pid"].as_u64().unwrap() as u32;
        // One more connection may be promised to the blocked one; all others are served.
        let clients: Vec<_> = (0..20).map(|_| thread::spawn(move || http::try_get(port, "/"))).collect();
        eventually("all but one are answered", || clients.iter().filter(|client| client.is_finished()).count() >= 19);
        processes::signal(blocked, Signal::SIGKILL);
        world.expect_a_death();
        for client in clients {
            let reply = client.join().unwrap().expect("a connection that nobody had taken was lost");
            assert_ne!(reply.pid(), blocked);
        }
        assert!(blocking.join().unwrap().is_err());
        world.stop("svc");
    });
}

#[test]
fn with_its_only_worker_blocked_connections_wait_for_the_replacement() {
    world(|world| {
        world.expect_a_death();
        let port = world.port();
        world.start("svc", port).arg("--workers=1").run().exits(0);
        let blocking = thread::spawn(move || http::try_get(port, "/block?ms=600000"));
        eventually("the worker is blocked", || world.events_of("blocked").len() == 1);
        let blocked = world.workers(world.master("svc"))[0];
        let clients: Vec<_> = (0..5).map(|_| thread::spawn(move || http::try_get(port, "/"))).collect();
        processes::signal(blocked, Signal::SIGKILL);
        for client in clients {
            assert_ne!(client.join().unwrap().expect("a waiting connection was lost").pid(), blocked);
        }
        assert!(blocking.join().unwrap().is_err());
        world.stop("svc");
    });
}

#[test]
fn a_connection_that_a_closed_server_refuses_is_answered_by_the_worker_that_follows() {
    world(|world| {
        world.expect_a_death();
        world.expect_in_log("closed the address that it serves");
        // The second connection is offered while the worker is blocked, and refused after it has closed its server.
        let script = "
            const http = require('http'), port = Number(process.env.PORT);
            http.createServer().listen(0);
            const server = http.createServer((request, response) => response.end('closing', () => {
                const end = Date.now() + 500;
                while (Date.now() < end);
                server.close();
            })).listen(port);";
        let directory = world.directory("closes", &[("package.json", r#"{"name":"closes"}"#), ("app.js", script)]);
        let port = world.port();
        let typed = world.eggctl(&["start", "--daemon", "--title=svc", "--workers=1"]).arg(format!("--port={port}"));
        typed.arg(directory).run().exits(0);
        let mut first = TcpStream::connect(("127.0.0.1", port)).unwrap();
        first.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        assert_ne!(first.read(&mut [0; 8]).unwrap(), 0);
        let mut second = TcpStream::connect(("127.0.0.1", port)).unwrap();
        second.set_read_timeout(Some(PATIENCE)).unwrap();
        second.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        assert_eq!(second.read(&mut [0; 8]).expect("the second connection hangs, or was cut"), 8);
        world.stop("svc");
    });
}

#[test]
fn a_port_that_no_worker_listens_on_any_more_is_free() {
    world(|world| {
        let port = world.port();
        world.start("svc", port).arg("--workers=1").run().exits(0);
        world.stop("svc");
        TcpListener::bind(("127.0.0.1", port)).expect("the port can be had at once");
    });
}

#[test]
fn at_its_limit_of_open_files_the_master_says_so_and_does_not_spin() {
    world(|world| {
        world.expect_in_log("Too many open files");
        let port = world.port();
        let args = ["start", "--daemon", "--title=svc", "--workers=1", "--port", &port.to_string()];
        let typed = world.eggctl_under(&["prlimit", "--nofile=48:48"], &args);
        typed.arg(world.fixture("app")).run().exits(0);
        let master = world.master("svc");
        // Each of these costs the master a descriptor; the one that finds none left waits for its answer.
        let listening = thread::spawn(move || {
            for _more_than_there_are in 0..60 {
                if http::try_get(port, r#"/listen?options={"port":0}"#).is_err() {
                    return;
                }
            }
        });
        world.log_says("Too many open files");
        let clock = nix::time::clock_getcpuclockid(nix::unistd::Pid::from_raw(master as i32)).unwrap();
        let cpu = || Duration::from(nix::time::clock_gettime(clock).unwrap());
        let before = cpu();
        // A window to measure in, not a wait for something.
        thread::sleep(Duration::from_millis(500));
        let used = cpu() - before;
        assert!(used < Duration::from_millis(100), "the master used {used:?} of CPU in 500 ms");
        world.stop("svc");
        listening.join().unwrap();
    });
}

#[test]
fn a_dead_workers_listeners_that_its_replacement_does_not_want_are_given_back() {
    world(|world| {
        world.expect_a_death();
        let port = world.port();
        world.start("svc", port).arg("--workers=1").run().exits(0);
        let master = world.master("svc");
        let before = listening_sockets(master);
        for _each in 0..10 {
            let free = world.port();
            assert!(http::get(port, &format!(r#"/listen?options={{"port":{free}}}"#)).json()["address"].is_object());
        }
        assert_eq!(listening_sockets(master), before + 10);
        processes::signal(world.workers(master)[0], Signal::SIGKILL);
        eventually("the replacement listens", || world.events_of("listening").len() == 2);
        eventually("the ten are closed", || listening_sockets(master) == before);
        assert_eq!(http::get(port, "/").status, 200);
        world.stop("svc");
    });
}

/// How many TCP sockets listen in the network namespace of the master `master`.
fn listening_sockets(master: u32) -> usize {
    let listens = |line: &&str| line.split_whitespace().nth(3) == Some("0A");
    ["tcp", "tcp6"]
        .map(|kind| std::fs::read_to_string(format!("/proc/{master}/net/{kind}")).unwrap())
        .iter()
        .flat_map(|table| table.lines())
        .filter(listens)
        .count()
}
