//! `--dispatch=shared`: the workers accept by themselves, and the master is out of the path.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::thread;

use nix::sys::signal::Signal;
use serde_json::json;

use super::{listen, run, serve_exactly, served_by, typed, who};
use crate::harness::processes::{self, Process};
use crate::harness::{World, eventually, world};

const HOST: Ipv4Addr = Ipv4Addr::LOCALHOST;

fn start_shared(world: &World, port: u16, workers: u32) {
    typed(world, port, workers).arg("--dispatch=shared").run().exits(0);
}

/// How often the process has been woken.
fn wake_ups(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).unwrap();
    line.trim().parse().unwrap()
}

#[test]
fn workers_accept_by_themselves_and_no_connection_wakes_the_master() {
    world(|world| {
        let port = world.port();
        start_shared(world, port, 2);
        let master = world.master("svc");
        who((HOST, port)).unwrap();
        let before = wake_ups(master);
        for _each in 0..200 {
            who((HOST, port)).unwrap();
        }
        assert_eq!(wake_ups(master), before);
        // Each serves while the other one cannot.
        let pids = world.workers(master);
        for (stopped, other) in [(pids[0], 2), (pids[1], 1)] {
            processes::signal(stopped, Signal::SIGSTOP);
            eventually("it stands still", || Process::read(stopped).unwrap().state == 'T');
            serve_exactly(&[other], || who((HOST, port)));
            processes::signal(stopped, Signal::SIGCONT);
        }
        world.stop("svc");
    });
}

#[test]
fn nodes_own_variable_asks_for_it_and_the_flag_decides() {
    world(|world| {
        let port = world.port();
        for (variable, flag, woken) in [("none", None, false), ("rr", None, true), ("none", Some("round-robin"), true)]
        {
            let mut typed = typed(world, port, 1).env("NODE_CLUSTER_SCHED_POLICY", variable);
            if let Some(flag) = flag {
                typed = typed.arg(format!("--dispatch={flag}"));
            }
            typed.run().exits(0);
            let master = world.master("svc");
            who((HOST, port)).unwrap();
            let before = wake_ups(master);
            who((HOST, port)).unwrap();
            assert_eq!(wake_ups(master) != before, woken, "{variable} {flag:?}");
            world.stop("svc");
        }
        typed(world, port, 1).arg("--dispatch=sometimes").run().fails(2).says("`sometimes` is not");
    });
}

#[test]
fn shared_sockets_of_every_kind_are_closed_by_the_last_one_out() {
    world(|world| {
        world.expect_in_log("cannot listen");
        let port = world.port();
        start_shared(world, port, 2);
        let (free, path) = (world.port(), world.work().join("socket"));
        let (tcp, unix) = (super::at("127.0.0.1", free), json!({ "path": path, "writableAll": true }));
        for _turn in 0..2 {
            listen(world, &[1, 2], "tcp", &tcp);
            listen(world, &[1, 2], "unix", &unix);
            for (leaves, left) in [(1, [2].as_slice()), (2, &[])] {
                run(world, leaves, "return Promise.all([kit.close('tcp'), kit.close('unix')])");
                if left.is_empty() {
                    eventually("the port is closed", || who((HOST, free)).is_err());
                    eventually("the file is gone", || !path.exists());
                } else {
                    serve_exactly(left, || who((HOST, free)));
                    serve_exactly(left, || served_by(UnixStream::connect(&path)?));
                }
            }
        }
        let taken = TcpListener::bind((HOST, free)).unwrap();
        let told = &listen(world, &[1], "tcp", &tcp)[0];
        assert_eq!(told["message"], format!("bind EADDRINUSE 127.0.0.1:{free}"));
        drop(taken);
        world.stop("svc");
    });
}

#[test]
fn when_all_who_share_a_socket_are_dead_connections_wait_for_the_replacement() {
    world(|world| {
        world.expect_a_death();
        let port = world.port();
        start_shared(world, port, 1);
        processes::signal(world.workers(world.master("svc"))[0], Signal::SIGSTOP);
        let waiting: Vec<_> = (0..5).map(|_| TcpStream::connect((HOST, port)).unwrap()).collect();
        processes::signal(world.workers(world.master("svc"))[0], Signal::SIGKILL);
        let clients: Vec<_> = waiting.into_iter().map(|client| thread::spawn(move || served_by(client))).collect();
        for client in clients {
            assert_eq!(client.join().unwrap().expect("a connection was lost"), 2);
        }
        world.stop("svc");
    });
}

#[test]
fn a_worker_without_an_open_file_left_gets_its_socket_when_it_has_one() {
    world(|world| {
        world.expect_in_log("short of open files of a worker");
        let port = world.port();
        let (port_flag, flags) = (format!("--port={port}"), ["start", "--daemon", "--title=svc", "--dispatch=shared"]);
        let typed = world.eggctl_under(&["prlimit", "--nofile=64"], &flags);
        typed.args(["--workers=1", &port_flag]).arg(world.fixture("sockets")).run().exits(0);
        let body = "
            const fs = require('fs'), held = [];
            try { for (;;) held.push(fs.openSync('/dev/null')) } catch {}
            setTimeout(() => { kit.freed = Date.now(); held.forEach(fd => fs.closeSync(fd)); }, 1500);
            const listened = await kit.listen('late', { port: 0 });
            return { ...listened, took: Date.now() - kit.freed };";
        let listened = run(world, 1, body);
        assert!(listened["address"].is_object(), "{listened}");
        assert!(listened["took"].as_u64().unwrap() < 2_000, "{listened}");
        assert_eq!(who((HOST, super::port_of(&listened))).unwrap(), 1);
        world.log_says("no longer short of open files of a worker");
        world.stop("svc");
    });
}
