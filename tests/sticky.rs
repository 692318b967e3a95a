//! Sticky: a client of an Egg application keeps its worker, chosen by its address, whoever else dies and however it is reloaded.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener};
use std::path::Path;
use std::thread;

use nix::sys::signal::Signal;

use crate::harness::egg::TITLE;
use crate::harness::load::{Kind, Load};
use crate::harness::{World, eventually, http, installed, processes, visibly, world};
use crate::reload_sockets::Asking;

/// Sixteen clients: neighbours on the loopback.
fn clients() -> impl Iterator<Item = IpAddr> {
    (1..=16).map(|last| Ipv4Addr::new(127, 0, 0, last).into())
}

/// Who answers each of these clients.
#[track_caller]
fn answers(clients: impl Iterator<Item = IpAddr>, port: u16) -> BTreeMap<IpAddr, u32> {
    clients.map(|client| (client, http::try_get_from(client, port, "/").unwrap().pid())).collect()
}

fn clients_keep_their_workers_through_the_death_of_another(world: &mut World, application: &Path) {
    world.expect_in_log("");
    let port = world.port();
    world
        .egg(port, application)
        .args(["--sticky", "--workers=3"])
        .run()
        .exits(0)
        .says(&format!("on http://127.0.0.1:{port}"));
    world.log_says("with STICKY MODE!");
    let workers = world.workers(world.master(TITLE));
    let before = answers(clients(), port);
    assert!(workers.iter().all(|worker| before.values().any(|pid| pid == worker)), "nobody idles: {before:?}");
    for _ in 0..3 {
        assert_eq!(answers(clients(), port), before);
    }
    let (victim, mut expected) = (workers[1], before.clone());
    processes::signal(victim, Signal::SIGKILL);
    eventually("the victim is gone", || !processes::alive(victim));
    for (client, pid) in answers(clients(), port) {
        assert!(pid != victim && (pid == before[&client] || before[&client] == victim), "{client} was moved to {pid}");
    }
    let fresh = world.new_egg_workers(&workers, 1)[0];
    // Who has its slot has its clients.
    expected.values_mut().filter(|pid| **pid == victim).for_each(|pid| *pid = fresh);
    assert_eq!(answers(clients(), port), expected);
    world.stop(TITLE);
}

#[test]
fn clients_of_egg_3_keep_their_workers_through_the_death_of_another() {
    let Some(application) = installed("egg3") else { return };
    world(|world| clients_keep_their_workers_through_the_death_of_another(world, &application));
}

#[test]
fn clients_of_egg_4_keep_their_workers_through_the_death_of_another() {
    let Some(application) = installed("egg4") else { return };
    world(|world| clients_keep_their_workers_through_the_death_of_another(world, &application));
}

/// Each client asks without end while the application is reloaded: it is answered, and keeps its place among the workers.
fn reloads_lose_nothing_and_clients_stay_put(world: &mut World, application: &Path) {
    world.expect_in_log("");
    let port = world.port();
    world.egg(port, application).args(["--sticky", "--workers=3"]).run().exits(0);
    let master = world.master(TITLE);
    let mut before = answers(clients(), port);
    let asking: Vec<Asking> =
        clients().map(|client| Asking::begin(move || http::try_get_from(client, port, "/").map(drop))).collect();
    // From one address, on connections that are kept.
    let load = Load::begin(port, &[Kind::KeepAlive(0), Kind::KeepAlive(20), Kind::KeepAlive(2_000)]);
    for (flags, how) in [(&[][..], "by generation"), (&["--rolling"], "worker by worker"), (&[], "by generation")] {
        let old = world.workers(master);
        world.eggctl(&["reload", "--title=egg"]).args(flags).run().exits(0).says(how);
        let new = world.workers(master);
        assert!(new.len() == 3 && new.iter().all(|worker| !old.contains(worker)), "{old:?} {new:?}");
        let after = answers(clients(), port);
        assert_eq!(answers(clients(), port), after, "clients move about");
        let together = |answers: &BTreeMap<IpAddr, u32>| {
            let mates = |pid: &u32| clients().filter(|client| answers[client] == *pid).collect::<Vec<_>>();
            answers.values().map(mates).collect::<Vec<_>>()
        };
        assert_eq!(together(&before), together(&after), "who had one worker together has one again");
        asking.iter().for_each(|one| one.goes_on(5));
        before = after;
    }
    let (answered, failures): (Vec<u64>, Vec<_>) = asking.into_iter().map(Asking::end).unzip();
    let failures: Vec<_> = failures.into_iter().flatten().collect();
    visibly(&format!("note: {} answered, {} lost", answered.iter().sum::<u64>(), failures.len()));
    assert!(failures.is_empty(), "{failures:?}");
    load.end().nothing_is_lost();
    world.stop(TITLE);
}

#[test]
fn reloads_of_a_sticky_egg_3_application_lose_nothing_and_clients_stay_put() {
    let Some(application) = installed("egg3") else { return };
    world(|world| reloads_lose_nothing_and_clients_stay_put(world, &application));
}

#[test]
fn reloads_of_a_sticky_egg_4_application_lose_nothing_and_clients_stay_put() {
    let Some(application) = installed("egg4") else { return };
    world(|world| reloads_lose_nothing_and_clients_stay_put(world, &application));
}

#[test]
fn clients_over_ipv6_spread_over_the_workers_and_keep_them() {
    let Some(application) = installed("egg3") else { return };
    world(|world| {
        world.expect_in_log("");
        let clients = || (1..=16).map(|last| IpAddr::from(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last)));
        for client in clients() {
            let added = world.program(&["ip", "address", "add", &format!("{client}/128"), "dev", "lo", "nodad"]).run();
            if !added.status.success() {
                return eprintln!("note: no IPv6 addresses can be had here: {}", added.stderr.trim());
            }
        }
        let port = world.port();
        world.egg(port, &application).arg("--sticky").run().exits(0);
        let before = answers(clients(), port);
        for worker in world.workers(world.master(TITLE)) {
            let count = before.values().filter(|pid| **pid == worker).count();
            assert!((4..=12).contains(&count), "{count} of 16 clients have {worker}");
        }
        assert_eq!(answers(clients(), port), before);
        world.stop(TITLE);
    });
}

#[test]
fn connections_that_a_dying_worker_has_not_taken_are_answered_by_another() {
    let Some(application) = installed("egg3") else { return };
    world(|world| {
        world.expect_in_log("");
        let port = world.port();
        world.egg(port, &application).arg("--sticky").run().exits(0);
        let before = answers(clients(), port);
        let victim = before[&clients().next().unwrap()];
        processes::signal(victim, Signal::SIGSTOP);
        let (its, others): (Vec<IpAddr>, Vec<IpAddr>) = clients().partition(|client| before[client] == victim);
        let asked = its.into_iter().map(|client| thread::spawn(move || http::try_get_from(client, port, "/")));
        let asked: Vec<_> = asked.collect();
        // A worker that is stopped delays nobody else's clients.
        for client in others {
            assert_eq!(http::try_get_from(client, port, "/").unwrap().pid(), before[&client]);
        }
        assert!(asked.iter().all(|asked| !asked.is_finished()));
        processes::signal(victim, Signal::SIGKILL);
        for asked in asked {
            let pid = asked.join().unwrap().expect("a connection was lost with a worker that had not taken it").pid();
            assert_ne!(pid, victim);
        }
        world.new_egg_workers(&before.into_values().collect::<Vec<_>>(), 1);
        world.stop(TITLE);
    });
}

#[test]
fn a_sticky_request_in_flight_is_answered_when_the_application_is_stopped() {
    let Some(application) = installed("egg3") else { return };
    world(|world| {
        world.expect_in_log("");
        let port = world.port();
        world.egg(port, &application).arg("--sticky").run().exits(0);
        let held = thread::spawn(move || http::try_get(port, "/held"));
        eventually("a request is in flight", || world.events_of("held").len() == 1);
        let stop = world.eggctl(&["stop", "--title=egg"]).spawn();
        eventually("the door is closed", || http::connect_from(Ipv4Addr::LOCALHOST.into(), port).is_err());
        std::fs::write(world.work().join("release"), "").unwrap();
        assert_eq!(held.join().unwrap().expect("the request in flight was lost").status, 200);
        stop.finish().exits(0);
    });
}

#[test]
fn a_taken_port_of_a_sticky_application_is_named() {
    let Some(application) = installed("egg3") else { return };
    world(|world| {
        world.expect_in_log("");
        let taken = TcpListener::bind("[::]:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let outcome = world.egg(port, &application).arg("--sticky").run();
        world.nobody_is_left();
        outcome.fails(1).says(&format!("port {port} is taken"));
    });
}
