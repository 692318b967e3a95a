//! How members leave at TERM: as they would under plain Node, by having nothing left to do, with their channel usable to
//! the end.
//!
//! The graces here are ten minutes: a member that is kept by its channel fails its test.

use std::time::Duration;

use nix::sys::signal::Signal;

use crate::harness::{Typed, World, eventually, http, processes, world};

const TEN_MINUTES: &str = "600000";

/// Two workers that leave in this way, and an agent that does.
fn start(world: &World, port: u16, way: &str) -> Typed {
    let port = format!("--port={port}");
    let typed = world.eggctl(&["start", "--daemon", "--title=svc", "--workers=2", &port]).arg(world.fixture("leaving"));
    let typed = typed.env("EGG_APP_CLOSE_TIMEOUT", TEN_MINUTES).env("EGG_AGENT_CLOSE_TIMEOUT", TEN_MINUTES);
    if way.is_empty() { typed } else { typed.env("WORKER_TERM", way).env("AGENT_TERM", way) }
}

/// How many members of this role noted this.
fn noted(world: &World, who: &str, what: &str) -> usize {
    world.events_of(what).iter().filter(|event| event["who"] == who).count()
}

fn leaves_at_a_stop(world: &World, way: &str) {
    start(world, world.port(), way).run().exits(0);
    let took = world.stop("svc").took;
    assert!(took < Duration::from_secs(10), "{way}: {took:?}");
    for (who, count) in [("worker", 2), ("agent", 1)] {
        assert_eq!(noted(world, who, "term"), count, "{way}: the handlers of TERM ran: {:#?}", world.events());
        assert_eq!(noted(world, who, "exit"), count, "{way}: those of the exit, too: {:#?}", world.events());
    }
    assert!(world.events_of("exit").iter().all(|exit| exit["code"] == 0), "{way}: {:#?}", world.events());
    let alone = |term: &serde_json::Value| term["listeners"] == 0;
    assert!(world.events_of("term").iter().all(alone), "no listener but its own: {:#?}", world.events());
}

#[test]
fn members_that_close_their_servers_at_term_end_when_they_have_nothing_left_to_do() {
    world(|world| leaves_at_a_stop(world, "close"));
}

#[test]
fn members_that_close_their_servers_at_term_find_no_error_in_having_been_asked_before() {
    world(|world| {
        leaves_at_a_stop(world, "promise");
        assert_eq!(world.events_of("closed").len(), 3);
    });
}

#[test]
fn members_that_listen_to_messages_end_all_the_same() {
    world(|world| leaves_at_a_stop(world, "messages"));
}

#[test]
fn workers_that_disconnect_at_term_learn_that_they_are_disconnected() {
    world(|world| {
        leaves_at_a_stop(world, "disconnect");
        assert_eq!(world.events_of("disconnected").len(), 2);
    });
}

#[test]
fn what_a_worker_sends_last_arrives_whole() {
    world(|world| {
        start(world, world.port(), "tells").env("AGENT_TERM", "close").run().exits(0);
        world.stop("svc");
        let told: Vec<_> = world.events_of("told").iter().map(|event| event["size"].as_u64()).collect();
        assert_eq!(told, [Some(3_000_000), Some(3_000_000)]);
    });
}

#[test]
fn a_worker_that_asks_something_at_term_gets_its_answer() {
    world(|world| {
        start(world, world.port(), "asks").env("AGENT_TERM", "close").run().exits(0);
        world.stop("svc");
        assert_eq!(noted(world, "worker", "answered"), 2, "{:#?}", world.events());
    });
}

#[test]
fn workers_that_close_their_servers_at_term_leave_a_reload_and_a_scale() {
    world(|world| {
        world.expect_in_log(" INFO ");
        let port = world.port();
        start(world, port, "close").run().exits(0);
        world.eggctl(&["reload", "--title=svc"]).run().exits(0);
        assert_eq!(noted(world, "worker", "exit"), 2, "{:#?}", world.events());
        world.eggctl(&["reload", "--title=svc", "--agent"]).run().exits(0);
        assert_eq!((noted(world, "worker", "exit"), noted(world, "agent", "exit")), (4, 1), "{:#?}", world.events());
        world.eggctl(&["scale", "1", "--title=svc"]).run().exits(0);
        assert_eq!(noted(world, "worker", "exit"), 5, "{:#?}", world.events());
        world.stop("svc");
    });
}

#[test]
fn a_worker_that_another_program_sends_term_ends_and_is_replaced() {
    world(|world| {
        world.expect_a_death();
        let port = world.port();
        start(world, port, "close").run().exits(0);
        let old = http::get(port, "/").pid();
        processes::signal(old, Signal::SIGTERM);
        eventually("it has ended", || noted(world, "worker", "exit") == 1);
        let master = world.master("svc");
        eventually("there are two others", || {
            let workers = world.workers(master);
            workers.len() == 2 && !workers.contains(&old)
        });
        world.stop("svc");
    });
}

#[test]
fn members_that_never_listen_to_term_die_of_it() {
    world(|world| {
        world.expect_a_death();
        world.expect_in_log("signal: SIGTERM");
        let port = world.port();
        start(world, port, "").run().exits(0);
        processes::signal(http::get(port, "/").pid(), Signal::SIGTERM);
        world.log_says("signal: SIGTERM");
        world.stop("svc");
        assert_eq!(world.events_of("exit").len(), 0, "the signal ended them: {:#?}", world.events());
    });
}

#[test]
fn what_a_member_forks_lives_by_its_own_rules() {
    world(|world| {
        let port = world.port();
        start(world, port, "close").run().exits(0);
        http::get(port, "/fork");
        let child = u32::try_from(world.events_of("boot")[0]["pid"].as_u64().unwrap()).unwrap();
        processes::signal(child, Signal::SIGTERM);
        eventually("its handler ran", || noted(world, "child", "term") == 1);
        processes::signal(child, Signal::SIGTERM);
        eventually("its channel keeps it", || noted(world, "child", "term") == 2);
        world.stop("svc");
    });
}

#[test]
fn a_handler_of_term_that_was_there_before_the_application_counts_too() {
    world(|world| {
        let early = world.fixture("leaving/early.js");
        start(world, world.port(), "").arg("--require").arg(early).run().exits(0);
        world.stop("svc");
        assert_eq!((noted(world, "early", "term"), noted(world, "early", "exit")), (3, 3), "{:#?}", world.events());
    });
}
