//! The close: in-flight requests are answered, each member gets one TERM, workers go before the agent, nobody stays.

use std::thread;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::harness::{eventually, http, processes, world};

fn position(events: &[Value], who: &str, what: &str) -> Vec<usize> {
    let found = |event: &Value| event["who"] == who && event["what"] == what;
    events.iter().enumerate().filter(|(_, event)| found(event)).map(|(at, _)| at).collect()
}

#[test]
fn a_request_in_flight_is_answered_before_the_workers_go() {
    world(|world| {
        let port = world.port();
        world.start("svc", port).run().exits(0);
        let client = thread::spawn(move || http::try_get(port, "/slow?ms=700"));
        eventually("the request is in flight", || world.events_of("slow").len() == 1);
        world.stop("svc");
        let reply = client.join().unwrap().expect("the request in flight was cut off");
        assert_eq!(reply.status, 200);
    });
}

#[test]
fn every_member_gets_exactly_one_term_and_the_agent_after_the_workers() {
    world(|world| {
        let typed = world.start("svc", world.port()).env("WORKER_TERM", "record").env("AGENT_TERM", "record");
        // Descendants get theirs without their members getting a second one.
        typed.env("WORKER_CHILD", "plain").run().exits(0);
        world.stop("svc");
        let events = world.events();
        assert_eq!(position(&events, "worker", "term").len(), 2, "{events:#?}");
        let exits = position(&events, "worker", "exit");
        assert_eq!(exits.len(), 2);
        let agent = position(&events, "agent", "term");
        assert_eq!(agent.len(), 1);
        assert!(
            exits.iter().all(|exit| *exit < agent[0]),
            "the agent was told before the workers had gone: {events:#?}"
        );
    });
}

#[test]
fn a_worker_that_ignores_term_is_killed_at_its_grace_and_the_agent_still_closes_politely() {
    world(|world| {
        world.expect_in_log("SIGKILL");
        let typed = world.start("svc", world.port()).env("WORKER_TERM", "ignore").env("AGENT_TERM", "record");
        typed.env("EGG_APP_CLOSE_TIMEOUT", "300").run().exits(0);
        world.stop("svc");
        let events = world.events();
        assert_eq!(position(&events, "worker", "term").len(), 2, "one TERM each: {events:#?}");
        assert!(position(&events, "worker", "exit").is_empty(), "KILL leaves no time for an exit: {events:#?}");
        assert_eq!(position(&events, "agent", "exit").len(), 1);
    });
}

#[test]
fn an_agent_that_ignores_term_is_killed_at_its_own_grace() {
    world(|world| {
        world.expect_in_log("SIGKILL");
        let typed = world.start("svc", world.port()).env("AGENT_TERM", "ignore");
        typed.env("EGG_AGENT_CLOSE_TIMEOUT", "300").run().exits(0);
        world.stop("svc");
        assert_eq!(position(&world.events(), "agent", "term").len(), 1);
    });
}

#[test]
fn without_the_preload_nobody_is_waited_for_who_cannot_leave_politely() {
    world(|world| {
        let port = world.port();
        let typed = world.start("svc", port).args(["--no-preload", "--workers=2"]);
        // The polite part would be half of these ten minutes each.
        typed.env("EGG_APP_CLOSE_TIMEOUT", "600000").env("EGG_AGENT_CLOSE_TIMEOUT", "600000").run().exits(0);
        world.stop("svc");
    });
}

#[test]
fn a_second_signal_skips_the_polite_part() {
    world(|world| {
        world.expect_in_log("while closing: nobody is waited for");
        let port = world.port();
        let typed = world.start("svc", port).arg("--workers=1").env("EGG_APP_CLOSE_TIMEOUT", "600000");
        typed.run().exits(0);
        let master = world.master("svc");
        let client = thread::spawn(move || http::try_get(port, "/slow?ms=600000"));
        eventually("the request is in flight", || world.events_of("slow").len() == 1);
        processes::signal(master, Signal::SIGTERM);
        world.log_says("closing");
        assert!(processes::alive(master), "the first signal waits for the request");
        processes::signal(master, Signal::SIGTERM);
        eventually("the second signal ends it", || world.alive().is_empty());
        assert!(client.join().unwrap().is_err(), "the request would have taken ten minutes");
    });
}

#[test]
fn descendants_go_after_their_members_also_those_that_left_their_session_or_ignore_term() {
    world(|world| {
        world.expect_in_log("");
        let children = "plain,setsid,stubborn";
        let typed = world.start("svc", world.port()).env("WORKER_CHILD", children).env("AGENT_CHILD", children);
        typed.env("EGG_APP_CLOSE_TIMEOUT", "1000").env("EGG_AGENT_CLOSE_TIMEOUT", "1000").run().exits(0);
        eventually("all descendants stand", || {
            world.alive().iter().filter(|process| process.args[0] == "sleep").count() == 9
        });
        world.stop("svc");
        world.nobody_is_left();
    });
}

#[test]
fn a_close_while_a_replacement_boots_leaves_nobody() {
    world(|world| {
        world.expect_in_log("");
        let typed = world.start("svc", world.port()).env("WORKER", "hang").env("WORKER_BOOTS", "3");
        typed.run().exits(0);
        processes::signal(world.workers(world.master("svc"))[0], Signal::SIGKILL);
        eventually("the replacement boots", || world.boots("worker") == 3);
        world.stop("svc");
        world.nobody_is_left();
    });
}

/// A server that notes each request and answers it after 3 s; `ready` runs when it listens.
fn slow_server(port: u16, ready: &str) -> String {
    format!(
        "require('http').createServer((request, answer) => {{
           require('fs').appendFileSync(process.env.FIXTURE_DIR + '/asked', '{port} ');
           setTimeout(() => answer.end('{{}}'), 3000);
         }}).listen({port}, () => {{ {ready} }});"
    )
}

/// The grace is 5 s: half of it would cut such a request, and the whole of it would leave `beforeClose` nothing.
#[test]
fn a_request_of_three_seconds_is_answered_at_a_stop_by_a_worker_and_by_an_agent_that_serves() {
    world(|world| {
        let (workers, agents) = (world.port(), world.port());
        let (worker, agent) =
            (slow_server(workers, ""), slow_server(agents, "process.send({ action: 'agent-start' })"));
        let files = [("app.js", worker.as_str()), ("agent.js", agent.as_str()), ("package.json", "{\"name\":\"app\"}")];
        let application = world.directory("app", &files);
        for port in [workers, agents] {
            let typed = world.eggctl(&["start", "--daemon", "--title=svc", "--workers=1"]);
            typed.arg(format!("--port={workers}")).arg(&application).run().exits(0);
            let client = thread::spawn(move || http::try_get(port, "/"));
            let asked = || std::fs::read_to_string(world.work().join("asked")).unwrap_or_default();
            eventually("a request is in flight", || asked().contains(&port.to_string()));
            world.stop("svc");
            assert_eq!(client.join().unwrap().expect("the request in flight was cut").status, 200);
        }
    });
}
