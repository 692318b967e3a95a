//! `--sticky` for a plain Node application: a client keeps its worker, whichever of the others dies, and through reload and
//! scale.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::thread;

use nix::sys::signal::Signal;

use crate::harness::load::{Kind, Load};
use crate::harness::{World, await_some, eventually, http, installed, processes, world};
use crate::reload_sockets::Asking;

/// Sixteen clients: neighbours on the loopback.
fn clients() -> impl Iterator<Item = IpAddr> {
    (1..=16).map(|last| Ipv4Addr::new(127, 0, 0, last).into())
}

/// Which worker answers each of these clients.
#[track_caller]
fn answers(port: u16) -> BTreeMap<IpAddr, u32> {
    clients().map(|client| (client, http::try_get_from(client, port, "/").unwrap().pid())).collect()
}

fn running(world: &mut World, flags: &[&str]) -> (u16, u32) {
    world.expect_in_log("");
    let port = world.port();
    world.start("svc", port).args(["--sticky", "--workers=3"]).args(flags).run().exits(0);
    (port, world.master("svc"))
}

fn clients_keep_their_workers_through_the_death_of_another(world: &mut World, flags: &[&str]) {
    let (port, master) = running(world, flags);
    world.log_says("with STICKY MODE!");
    let workers = world.workers(master);
    let before = answers(port);
    assert!(workers.iter().all(|worker| before.values().any(|pid| pid == worker)), "a worker idles: {before:?}");
    for _ in 0..3 {
        assert_eq!(answers(port), before);
    }
    let victim = workers[1];
    processes::signal(victim, Signal::SIGKILL);
    eventually("the victim is gone", || !processes::alive(victim));
    for (client, pid) in answers(port) {
        assert!(pid != victim && (pid == before[&client] || before[&client] == victim), "{client} was moved to {pid}");
    }
    let fresh = await_some("a successor", || world.workers(master).into_iter().find(|pid| !workers.contains(pid)));
    let expected = before.into_iter().map(|(client, pid)| (client, if pid == victim { fresh } else { pid }));
    let expected: BTreeMap<IpAddr, u32> = expected.collect();
    eventually("the successor has the victim's clients", || answers(port) == expected);
    world.stop("svc");
}

#[test]
fn clients_of_a_node_application_keep_their_workers_through_the_death_of_another() {
    world(|world| clients_keep_their_workers_through_the_death_of_another(world, &[]));
}

#[test]
fn they_do_so_whatever_the_dispatch_policy_is() {
    world(|world| clients_keep_their_workers_through_the_death_of_another(world, &["--dispatch=shared"]));
}

/// Worker 2 opens another port, long after all have settled where they serve.
const WITH_AN_ADMINS_PORT: &str = r"
const http = require('http'), cluster = require('cluster');
const answer = (_, response) => response.end(String(process.pid));
http.createServer(answer).listen(+process.env.SERVICE, () => {
  if (cluster.worker.id !== 2) return;
  setTimeout(() => http.createServer(answer).listen(+process.env.ADMIN, () => console.log('admin listens')), 6000);
});
";

#[test]
fn an_address_that_one_worker_alone_opens_is_served_by_it() {
    world(|world| {
        world.expect_in_log("");
        let (port, admin) = (world.port(), world.port());
        let directory = world.directory("admin", &[("server.js", WITH_AN_ADMINS_PORT)]);
        let start = world.eggctl(&["start", "--daemon", "--title=svc", "--sticky", "--workers=3", "server.js"]);
        start.cwd(&directory).env("SERVICE", port.to_string()).env("ADMIN", admin.to_string()).run().exits(0);
        world.log_says("admin listens");
        let workers = world.workers(world.master("svc"));
        for client in clients() {
            let pid = http::try_get_from(client, admin, "/").unwrap().body.parse().unwrap();
            assert!(workers.contains(&pid));
        }
        world.stop("svc");
    });
}

#[test]
fn without_the_preload_they_do_so_too() {
    world(|world| clients_keep_their_workers_through_the_death_of_another(world, &["--no-preload"]));
}

#[test]
fn reloads_and_scales_of_a_sticky_node_application_lose_nothing_and_clients_stay_put() {
    world(|world| {
        let (port, master) = running(world, &[]);
        let mut before = answers(port);
        let asking: Vec<Asking> =
            clients().map(|client| Asking::begin(move || http::try_get_from(client, port, "/").map(drop))).collect();
        let load = Load::begin(port, &[Kind::KeepAlive(0), Kind::KeepAlive(20)]);
        for (flags, how) in [(&[][..], "by generation"), (&["--rolling"], "worker by worker")] {
            world.eggctl(&["reload", "--title=svc"]).args(flags).run().exits(0).says(how);
            let after = answers(port);
            assert_eq!(answers(port), after, "clients move about");
            let together = |answers: &BTreeMap<IpAddr, u32>| {
                let mates = |pid: &u32| clients().filter(|client| answers[client] == *pid).collect::<Vec<_>>();
                answers.values().map(mates).collect::<Vec<_>>()
            };
            assert_eq!(together(&before), together(&after), "clients that had one worker together have one again");
            asking.iter().for_each(|one| one.goes_on(5));
            before = after;
        }
        // A fourth worker takes some of their clients, and gives them back when it goes.
        world.eggctl(&["scale", "4", "--title=svc"]).run().exits(0);
        let (four, old) = (answers(port), world.workers(master));
        assert!(
            clients()
                .all(|client| four[&client] == before[&client] || !before.values().any(|pid| *pid == four[&client]))
        );
        assert!(four.values().any(|pid| !before.values().any(|old| old == pid)), "the fourth has no client: {four:?}");
        world.eggctl(&["scale", "3", "--title=svc"]).run().exits(0);
        assert!(world.workers(master).len() == 3 && old.len() == 4);
        assert_eq!(answers(port), before);
        let failures: Vec<_> = asking.into_iter().flat_map(|one| one.end().1).collect();
        assert!(failures.is_empty(), "{failures:?}");
        load.end().nothing_is_lost();
        world.stop("svc");
    });
}

#[test]
fn a_stopped_worker_delays_its_own_clients_only_and_when_it_dies_others_answer_them() {
    world(|world| {
        let (port, master) = running(world, &[]);
        let before = answers(port);
        let victim = before[&clients().next().unwrap()];
        processes::signal(victim, Signal::SIGSTOP);
        let (its, others): (Vec<IpAddr>, Vec<IpAddr>) = clients().partition(|client| before[client] == victim);
        let asked = its.into_iter().map(|client| thread::spawn(move || http::try_get_from(client, port, "/")));
        let asked: Vec<_> = asked.collect();
        for client in others {
            assert_eq!(http::try_get_from(client, port, "/").unwrap().pid(), before[&client]);
        }
        assert!(asked.iter().all(|asked| !asked.is_finished()));
        processes::signal(victim, Signal::SIGKILL);
        for asked in asked {
            let pid = asked.join().unwrap().expect("a connection was lost with a worker that had not taken it").pid();
            assert_ne!(pid, victim);
        }
        eventually("three workers", || world.workers(master).len() == 3);
        world.stop("svc");
    });
}

#[test]
fn a_reload_that_fails_leaves_each_client_its_worker() {
    world(|world| {
        world.expect_in_log("");
        let port = world.port();
        let typed = world.start("svc", port).args(["--sticky", "--workers=2"]).env("WORKER", "exit:1");
        typed.env("WORKER_BOOTS", "4").run().exits(0);
        let before = answers(port);
        world.eggctl(&["reload", "--title=svc"]).run().exits(1);
        assert_eq!(answers(port), before);
        world.stop("svc");
    });
}

#[test]
fn ten_of_ten_socket_io_clients_that_poll_work_with_sticky() {
    let Some(application) = installed("socketio") else { return };
    world(|world| {
        world.expect_in_log("");
        let port = world.port();
        let start = world.eggctl(&["start", "--daemon", "--title=svc", "--workers=4", "--sticky"]);
        start.arg(format!("--port={port}")).arg(&application).run().exits(0);
        let script = application.join("clients.js");
        let clients = world.program(&["node", script.to_str().unwrap(), &port.to_string()]).run();
        clients.exits(0).says("10 of 10 clients work").does_not_say("with 1 workers");
        world.stop("svc");
    });
}
