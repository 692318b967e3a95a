//! Egg: unmodified applications, by their own framework's agent and worker files.

use std::path::Path;

use crate::harness::{World, http, installed, world};

/// Starts it with two workers, asks once, stops it. Its members run files in `cluster`.
fn starts_answers_and_stops(world: &mut World, application: &Path, cluster: &str) {
    let port = world.port();
    let flags = ["start", "--daemon", "--title=egg", "--workers=2", &format!("--port={port}")];
    world.eggctl(&flags).arg(application).run().exits(0);
    let answer = http::get(port, "/").json();
    let master = world.master("egg");
    let (agents, workers) = (world.agents(master), world.workers(master));
    assert_eq!((agents.len(), workers.len()), (1, 2));
    assert!(workers.iter().any(|worker| answer["pid"] == *worker), "{answer} of {workers:?}");
    assert!(answer["slot"] == "0" || answer["slot"] == "1", "{answer}");
    assert_eq!(answer["slots"], "2");
    for member in world.alive().iter().filter(|member| member.parent == master) {
        let file = if agents.contains(&member.pid) { "agent_worker.js" } else { "app_worker.js" };
        let runs = format!("{cluster}/{file}");
        assert!(member.args.iter().any(|arg| arg.ends_with(&runs)), "{runs}: {:?}", member.args);
    }
    world.stop("egg");
    // Egg's own lines, on stdout.
    world.expect_in_log(" INFO ");
    world.expect_in_log("[egg-watcher] defaultEventSource");
}

#[test]
fn egg_3_starts_answers_by_its_workers_and_stops() {
    let Some(application) = installed("egg3") else { return };
    world(|world| starts_answers_and_stops(world, &application, "/egg-cluster/lib"));
}

#[test]
fn a_framework_over_egg_3_runs_by_the_egg_below_it() {
    let Some(application) = installed("custom-framework") else { return };
    world(|world| starts_answers_and_stops(world, &application, "/egg-cluster/lib"));
}

#[test]
fn egg_4_starts_answers_by_its_workers_and_stops() {
    let Some(application) = installed("egg4") else { return };
    world(|world| starts_answers_and_stops(world, &application, "/@eggjs/cluster/dist/commonjs"));
}

#[test]
fn an_egg_4_application_of_es_modules_runs_the_files_that_are_such() {
    let Some(application) = installed("egg4-esm") else { return };
    world(|world| starts_answers_and_stops(world, &application, "/@eggjs/cluster/dist/esm"));
}
