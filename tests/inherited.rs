//! Listening sockets that whoever starts the command has opened: used where address and kind match, never closed.

use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::Signal;

use crate::harness::{Typed, World, eventually, http, installed, processes, world};

/// `eggctl args…` by a parent that hands these sockets to it as systemd would.
fn activated(world: &World, sockets: &[&dyn AsFd], args: &[&str]) -> Typed {
    // Out of the way of the numbers that they are to get. They live as long as this test's process.
    let moved = sockets.iter().map(|socket| fcntl(socket.as_fd(), FcntlArg::F_DUPFD(100)).unwrap());
    let redirections: Vec<String> = (3..).zip(moved).map(|(number, moved)| format!("{number}<&{moved}")).collect();
    let variables = format!("LISTEN_PID=$$ LISTEN_FDS={} LISTEN_FDNAMES=one:two", sockets.len());
    let script = format!("export {variables}; exec \"$@\" {}", redirections.join(" "));
    world.eggctl_under(&["bash", "-c", &script, "bash"], args)
}

/// An application that serves a port, a unix socket and a UDP port; each answers with the worker's pid.
fn application(world: &World) -> PathBuf {
    let script = "const answer = require('http').createServer((_, to) => to.end(JSON.stringify({ pid: process.pid })));
        const { PORT, UDP, SOCKET } = process.env;
        const udp = require('dgram').createSocket('udp4');
        udp.on('message', (_, from) => udp.send(String(process.pid), from.port, from.address));
        require('http').createServer(answer.listeners('request')[0]).listen(SOCKET, () =>
          udp.bind(Number(UDP), '127.0.0.1', () => answer.listen(Number(PORT))));";
    world.directory("application", &[("package.json", r#"{ "name": "svc" }"#), ("app.js", script)])
}

fn flags<'a>(port: &'a str, application: &'a Path) -> [&'a str; 4] {
    ["--title=svc", "--workers=2", port, application.to_str().unwrap()]
}

#[test]
fn inherited_sockets_serve_a_detached_application_and_are_left_as_they_were() {
    world(|world| {
        world.expect_in_log("");
        let path = world.work().join("svc.sock");
        let tcp = TcpListener::bind("[::]:0").unwrap();
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let unix = UnixListener::bind(&path).unwrap();
        let (port, udp_port) = (tcp.local_addr().unwrap().port(), udp.local_addr().unwrap().port());
        let (application, flag) = (application(world), format!("--port={port}"));
        for _ in 0..2 {
            let args = [&["start", "--daemon"][..], &flags(&flag, &application)].concat();
            let typed = activated(world, &[&tcp, &unix, &udp], &args);
            typed.env("SOCKET", &path).env("UDP", udp_port.to_string()).run().exits(0);
            let workers = world.workers(world.master("svc"));
            for process in world.alive() {
                assert!(process.variable("LISTEN_FDS").is_none(), "{process:?}");
                assert!(!workers.contains(&process.pid) || process.variable("EGGCTL_INHERITED_FDS").is_none());
            }
            assert!(workers.contains(&http::get(port, "/").pid()));
            assert!(workers.contains(&http::ask_over(UnixStream::connect(&path).unwrap(), "/").unwrap().pid()));
            let client = UdpSocket::bind("127.0.0.1:0").unwrap();
            client.send_to(b"?", ("127.0.0.1", udp_port)).unwrap();
            let mut answer = [0; 16];
            let length = client.recv(&mut answer).unwrap();
            assert!(workers.contains(&std::str::from_utf8(&answer[..length]).unwrap().parse().unwrap()));
            assert!(!world.log().contains("used by nobody"), "{}", world.log());
            world.stop("svc");
            assert!(path.exists(), "its file is the giver's");
        }
        // What comes between two lives waits for the next one.
        TcpStream::connect(("127.0.0.1", port)).expect("the socket was closed");
        UnixStream::connect(&path).expect("the socket was closed");
    });
}

#[test]
fn inherited_sockets_survive_the_death_of_all_workers_and_in_the_foreground_a_client_waits_for_the_next_life() {
    world(|world| {
        world.expect_a_death();
        let tcp = TcpListener::bind("[::]:0").unwrap();
        let port = tcp.local_addr().unwrap().port();
        let app = world.fixture("app");
        let flag = format!("--port={port}");
        let start = || activated(world, &[&tcp], &[&["start"][..], &flags(&flag, &app)].concat()).spawn();
        let first = start();
        first.says("started on");
        for worker in world.workers(first.pid()) {
            processes::signal(worker, Signal::SIGKILL);
        }
        assert!(processes::alive(http::get(port, "/").pid()));
        first.signal(Signal::SIGTERM);
        first.finish().exits(0);
        let waiting = std::thread::spawn(move || http::get(port, "/"));
        let second = start();
        let answered = waiting.join().unwrap().pid();
        eventually("it is ready", || second.so_far().contains("started on"));
        assert!(world.workers(second.pid()).contains(&answered));
        second.signal(Signal::SIGTERM);
        second.finish().exits(0);
    });
}

#[test]
fn a_sticky_egg_application_serves_an_inherited_socket() {
    let Some(application) = installed("egg3") else { return };
    world(|world| {
        world.expect_in_log("");
        let tcp = TcpListener::bind("[::]:0").unwrap();
        let port = tcp.local_addr().unwrap().port();
        let flag = format!("--port={port}");
        let args = [&["start", "--daemon", "--sticky"][..], &flags(&flag, &application)].concat();
        activated(world, &[&tcp], &args).run().exits(0);
        assert!(world.workers(world.master("svc")).contains(&http::get(port, "/").pid()));
        world.stop("svc");
        TcpStream::connect(("127.0.0.1", port)).expect("the socket was closed");
    });
}

#[test]
fn an_inherited_socket_of_another_address_is_told_one_that_is_not_there_fails_and_one_of_others_is_left_alone() {
    world(|world| {
        world.expect_in_log("used by nobody");
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = world.port();
        let (app, flag) = (world.fixture("app"), format!("--port={port}"));
        let args = [&["start", "--daemon"][..], &flags(&flag, &app)].concat();
        activated(world, &[&other], &args).run().exits(0);
        world.log_says(&format!("the inherited socket {} (one) is used by nobody", other.local_addr().unwrap()));
        http::get(port, "/");
        world.stop("svc");

        let promised = world.eggctl_under(&["sh", "-c", "LISTEN_PID=$$ LISTEN_FDS=7 exec \"$@\"", "sh"], &args);
        promised.run().fails(1).says("LISTEN_FDS=7").says("is not open");
        let elsewhere = world.eggctl(&args).env("LISTEN_PID", "1").env("LISTEN_FDS", "7");
        elsewhere.run().exits(0);
        assert!(world.alive().iter().all(|process| process.variable("LISTEN_PID").is_none()));
        world.stop("svc");
    });
}

#[test]
fn a_connection_that_makes_systemd_start_the_application_is_answered_by_it() {
    let tool = "systemd-socket-activate";
    if Command::new(tool).arg("--version").output().is_err() {
        return eprintln!("note: {tool} is not here: activation by systemd's own program did not run");
    }
    world(|world| {
        let port = world.port();
        let (app, flag) = (world.fixture("app"), format!("--port={port}"));
        let keep = ["HOME", "MOCK_HOME_DIR", "EGGCTL_STATE_DIR", "TMPDIR", "FIXTURE_DIR", "PATH"];
        let keep = keep.map(|name| format!("--setenv={name}"));
        let address = port.to_string();
        let runner = [tool, "--listen", &address, "--fdname=web"];
        let runner: Vec<&str> = runner.into_iter().chain(keep.iter().map(String::as_str)).collect();
        let running = world.eggctl_under(&runner, &[&["start"][..], &flags(&flag, &app)].concat()).spawn();
        let mut answered = None;
        eventually("it listens", || {
            answered = http::try_get(port, "/").ok();
            answered.is_some()
        });
        running.says("started on");
        assert!(world.workers(running.pid()).contains(&answered.unwrap().pid()));
        running.signal(Signal::SIGTERM);
        running.finish().exits(0);
    });
}
