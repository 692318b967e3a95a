//! The close of an Egg application: requests are answered, `beforeClose` runs while messages still arrive, nobody stays.

use std::path::Path;
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::harness::egg::TITLE;
use crate::harness::{World, eventually, http, installed, world};

fn positions(events: &[Value], who: &str, what: &str) -> Vec<usize> {
    let found = |event: &Value| event["who"] == who && event["what"] == what;
    events.iter().enumerate().filter(|(_, event)| found(event)).map(|(at, _)| at).collect()
}

fn a_close_answers_requests_and_runs_before_close_with_the_messenger(world: &mut World, application: &Path) {
    world.expect_egg_lines();
    let port = world.port();
    world.egg(port, application).env("CLOSE", "echo").run().exits(0);
    let agent = world.agents(world.master(TITLE))[0];
    let held: Vec<_> = (0..4).map(|_| thread::spawn(move || http::try_get(port, "/held"))).collect();
    eventually("four requests are in flight", || world.events_of("held").len() == 4);
    let stop = world.eggctl(&["stop", &format!("--title={TITLE}")]).spawn();
    world.log_says("closing");
    std::fs::write(world.work().join("release"), "").unwrap();
    for request in held {
        assert_eq!(request.join().unwrap().expect("a request in flight was lost").status, 200);
    }
    stop.finish().exits(0);
    let events = world.events();
    for (who, count) in [("worker", 2), ("agent", 1)] {
        for what in ["before-close", "echoed", "exit"] {
            assert_eq!(positions(&events, who, what).len(), count, "{who} {what}: {events:#?}");
        }
    }
    let agents_turn = positions(&events, "agent", "before-close")[0];
    assert!(positions(&events, "worker", "exit").iter().all(|exit| *exit < agents_turn), "{events:#?}");
    assert_eq!(world.told(agent, &["goodbye"]).len(), 3, "the agent hears the workers' and its own: {events:#?}");
    assert!(world.events_of("exit").iter().all(|exit| exit["code"] == 0));
}

#[test]
fn a_close_of_egg_3_answers_requests_and_runs_before_close_with_the_messenger() {
    let Some(application) = installed("egg3") else { return };
    world(|world| a_close_answers_requests_and_runs_before_close_with_the_messenger(world, &application));
}

#[test]
fn a_close_of_egg_4_answers_requests_and_runs_before_close_with_the_messenger() {
    let Some(application) = installed("egg4") else { return };
    world(|world| a_close_answers_requests_and_runs_before_close_with_the_messenger(world, &application));
}

/// Half of the grace of 5 s would cut such a request.
fn a_request_of_three_seconds_is_answered_and_before_close_runs(world: &mut World, application: &Path) {
    world.expect_egg_lines();
    let port = world.port();
    world.egg(port, application).env("CLOSE", "echo").run().exits(0);
    let client = thread::spawn(move || http::try_get(port, "/slow?ms=3000"));
    eventually("the request is in flight", || world.events_of("slow").len() == 1);
    world.stop(TITLE);
    assert_eq!(client.join().unwrap().expect("the request in flight was cut").status, 200);
    assert_eq!(positions(&world.events(), "worker", "exit").len(), 2);
}

#[test]
fn an_egg_3_worker_answers_a_request_of_three_seconds_at_a_stop_and_runs_before_close() {
    let Some(application) = installed("egg3") else { return };
    world(|world| a_request_of_three_seconds_is_answered_and_before_close_runs(world, &application));
}

#[test]
fn an_egg_4_worker_answers_a_request_of_three_seconds_at_a_stop_and_runs_before_close() {
    let Some(application) = installed("egg4") else { return };
    world(|world| a_request_of_three_seconds_is_answered_and_before_close_runs(world, &application));
}

#[test]
fn an_egg_worker_whose_before_close_never_ends_is_killed_at_its_grace_and_the_agent_closes_politely() {
    let Some(application) = installed("egg3") else { return };
    world(|world| {
        world.expect_in_log("");
        let typed = world.egg(world.port(), &application).env("CLOSE", "hang");
        typed.env("EGG_APP_CLOSE_TIMEOUT", "1000").run().exits(0);
        let took = world.stop(TITLE).took;
        assert!((Duration::from_secs(1)..Duration::from_secs(4)).contains(&took), "{took:?}");
        assert_eq!(world.log().matches("did not end in time and gets SIGKILL").count(), 2);
        let events = world.events();
        assert_eq!(positions(&events, "worker", "before-close").len(), 2);
        assert!(positions(&events, "worker", "exit").is_empty());
        assert_eq!(positions(&events, "agent", "exit").len(), 1);
    });
}

/// A server of its agent that closes is a fault to cluster-client: it would complain.
fn an_agent_that_leads_closes_without_a_complaint(world: &mut World, application: &Path) {
    world.expect_egg_lines();
    world.egg(world.port(), application).env("REGISTRY", "1").run().exits(0);
    eventually("both are led", || world.events_of("led").len() == 2);
    world.stop(TITLE);
    assert!(!world.log().contains("leader failed"), "{}", world.log());
}

#[test]
fn an_egg_3_agent_that_leads_closes_without_a_complaint() {
    let Some(application) = installed("egg3") else { return };
    world(|world| an_agent_that_leads_closes_without_a_complaint(world, &application));
}

#[test]
fn an_egg_4_agent_that_leads_closes_without_a_complaint() {
    let Some(application) = installed("egg4") else { return };
    world(|world| an_agent_that_leads_closes_without_a_complaint(world, &application));
}
