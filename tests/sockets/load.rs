//! Under load: nothing else is delayed by connections, and no connection is lost by a death.

use std::net::{Ipv4Addr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::{run, start, typed, who};
use crate::harness::{eventually, processes, world};

const HOST: Ipv4Addr = Ipv4Addr::LOCALHOST;
/// How late a signal, a message or a death may be told under a flood: what a person calls at once.
const AT_ONCE: Duration = Duration::from_secs(2);

/// What happens while clients connect as fast as they can and hang up unserved.
fn under_a_flood(port: u16, during: impl FnOnce()) {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for _client in 0..4 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    // Refused once the application is stopped.
                    drop(TcpStream::connect((HOST, port)));
                }
            });
        }
        during();
        done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_flood_of_connections_delays_no_message_no_death_and_no_signal() {
    world(|world| {
        world.expect_a_death();
        let port = world.port();
        start(world, port, 2);
        for worker in [1, 2] {
            let echo = "process.on('message', message => {
                if (message.action === 'ping') process.send({ action: 'pong', to: 'app' });
                if (message.action === 'pong' && kit.ponged) kit.ponged();
            })";
            run(world, worker, echo);
        }
        let master = world.master("svc");
        under_a_flood(port, || {
            for _turn in 0..5 {
                let began = Instant::now();
                run(
                    world,
                    1,
                    "return new Promise(resolve => { kit.ponged = resolve; process.send({ action: 'ping', to: 'app' }); })",
                );
                assert!(began.elapsed() < AT_ONCE, "a message and its answer took {:?}", began.elapsed());
            }
            let began = Instant::now();
            processes::signal(world.workers(master)[0], Signal::SIGKILL);
            world.log_says(" died (code: ");
            assert!(began.elapsed() < AT_ONCE, "a death took {:?}", began.elapsed());
            eventually("the replacement serves", || world.events_of("main").len() == 3);
            let began = Instant::now();
            processes::signal(master, Signal::SIGTERM);
            world.log_says("closing");
            assert!(began.elapsed() < AT_ONCE, "a signal took {:?}", began.elapsed());
            eventually("the application has closed", || world.alive().is_empty());
        });
    });
}

/// Clients, one after the other in each of 8 threads, as long as `more` (told how many there have been) wants them; how
/// many got no answer.
fn unanswered(port: u16, more: impl Fn(usize) -> bool + Sync) -> usize {
    let (begun, unanswered) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _client in 0..8 {
            scope.spawn(|| {
                while more(begun.fetch_add(1, Ordering::Relaxed)) {
                    if who((HOST, port)).is_err() {
                        unanswered.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    unanswered.into_inner()
}

/// Connections, kills and workers: all of them with `EGGCTL_LONG=1`. (Who dies often is replaced ever later: the more
/// workers, the sooner the many deaths are through.)
fn size() -> (usize, usize, u32) {
    if std::env::var_os("EGGCTL_LONG").is_some() { (10_000, 50, 8) } else { (1_000, 5, 2) }
}

#[test]
fn workers_that_die_at_a_hand_over_lose_no_connection() {
    world(|world| {
        world.expect_a_death();
        world.expect_in_log(": new member after");
        let (connections, kills, workers) = size();
        let port = world.port();
        typed(world, port, workers).env("DIES_AT", (connections / kills).to_string()).run().exits(0);
        assert_eq!(unanswered(port, |begun| begun < connections), 0);
        let died = world.log().matches(" died (code: ").count();
        assert!(died + workers as usize >= kills, "{died} workers died");
        eventually("the last one is replaced", || world.events_of("main").len() == died + workers as usize);
        world.stop("svc");
    });
}

#[test]
fn workers_killed_at_any_time_take_only_the_connection_with_them_that_they_were_taking() {
    world(|world| {
        world.expect_a_death();
        world.expect_in_log(": new member after");
        let (connections, kills, workers) = size();
        let port = world.port();
        start(world, port, workers);
        let master = world.master("svc");
        let done = AtomicBool::new(false);
        let lost = thread::scope(|scope| {
            let clients =
                scope.spawn(|| unanswered(port, |begun| begun < connections || !done.load(Ordering::Relaxed)));
            for killed in 0..kills {
                // One always stays, so that connections go on being handed over.
                eventually("all serve", || world.events_of("main").len() == killed + workers as usize);
                processes::signal(world.workers(master)[0], Signal::SIGKILL);
            }
            done.store(true, Ordering::Relaxed);
            clients.join().unwrap()
        });
        // Between a worker's word that it takes a connection and its first byte to the client there is an instant.
        assert!(lost <= kills, "{lost} connections were lost by {kills} kills");
        eventually("all serve", || world.events_of("main").len() == kills + workers as usize);
        world.stop("svc");
    });
}
