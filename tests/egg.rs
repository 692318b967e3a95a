//! Egg: unmodified applications, by their own framework's agent and worker files.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::Value;

use crate::harness::processes::Process;
use crate::harness::{World, eventually, http, installed, processes, world};

/// Starts it with two workers, asks until both have answered, stops it. Its members run files in `cluster`. Returns an
/// answer.
fn starts_answers_and_stops(world: &mut World, application: &Path, cluster: &str) -> Value {
    let port = world.port();
    let flags = ["start", "--daemon", "--title=egg", "--workers=2", &format!("--port={port}")];
    world.eggctl(&flags).arg(application).run().exits(0);
    let answer = http::get(port, "/").json();
    let master = world.master("egg");
    let (agents, workers) = (world.agents(master), world.workers(master));
    assert_eq!((agents.len(), workers.len()), (1, 2));
    let mut answered = BTreeSet::new();
    eventually("both workers answer", || {
        answered.insert(http::get(port, "/").pid());
        answered == workers.iter().copied().collect()
    });
    assert!(answer["slot"] == "0" || answer["slot"] == "1", "{answer}");
    assert_eq!(answer["slots"], "2");
    let is_logger = |process: &Process| process.args.get(1).is_some_and(|word| word == "logger");
    for member in world.alive().iter().filter(|member| member.parent == master && !is_logger(member)) {
        let file = if agents.contains(&member.pid) { "agent_worker.js" } else { "app_worker.js" };
        let runs = format!("{cluster}/{file}");
        assert!(member.args.iter().any(|arg| arg.ends_with(&runs)), "{runs}: {:?}", member.args);
    }
    world.stop("egg");
    // Egg's own lines, on stdout.
    world.expect_in_log(" INFO ");
    world.expect_in_log("[egg-watcher] defaultEventSource");
    answer
}

#[test]
fn egg_3_starts_answers_by_its_workers_and_stops() {
    let Some(application) = installed("egg3") else { return };
    world(|world| drop(starts_answers_and_stops(world, &application, "/egg-cluster/lib")));
}

#[test]
fn a_framework_over_egg_3_runs_by_the_egg_below_it() {
    let Some(application) = installed("custom-framework") else { return };
    world(|world| {
        let answer = starts_answers_and_stops(world, &application, "/egg-cluster/lib");
        assert_eq!(answer["yolk"], "from the framework");
    });
}

#[test]
fn an_egg_that_only_the_framework_sees_in_pnpms_store_of_links_runs() {
    let Some(fixture) = installed("custom-framework") else { return };
    world(|world| {
        let application = world.copy_of("custom-framework");
        let store = world.directory("custom-framework/node_modules/.pnpm/yolk@1.2.3/node_modules", &[]);
        fs::rename(application.join("framework"), store.join("yolk")).unwrap();
        symlink(".pnpm/yolk@1.2.3/node_modules/yolk", application.join("node_modules/yolk")).unwrap();
        symlink(fixture.join("node_modules/egg"), store.join("egg")).unwrap();
        let answer = starts_answers_and_stops(world, &application, "/egg-cluster/lib");
        assert_eq!(answer["yolk"], "from the framework");
    });
}

#[test]
fn egg_4_starts_answers_by_its_workers_and_stops() {
    let Some(application) = installed("egg4") else { return };
    world(|world| drop(starts_answers_and_stops(world, &application, "/@eggjs/cluster/dist/commonjs")));
}

#[test]
fn an_egg_4_application_of_es_modules_runs_the_files_that_are_such() {
    let Some(application) = installed("egg4-esm") else { return };
    world(|world| drop(starts_answers_and_stops(world, &application, "/@eggjs/cluster/dist/esm")));
}

#[test]
fn what_package_json_sets_reaches_every_member_and_stack_traces_name_the_typescript() {
    let (Some(egg), Some(scripts)) = (installed("egg3"), installed("egg-scripts")) else { return };
    world(|world| {
        world.expect_egg_lines();
        let application = world.copy_of("typescript");
        let modules = world.directory("typescript/node_modules", &[]);
        // What reads source maps comes with egg-scripts, as in the field.
        for (name, fixture) in [("egg", &egg), ("egg-scripts", &scripts)] {
            symlink(fixture.join("node_modules").join(name), modules.join(name)).unwrap();
        }
        let port = world.port();
        let start = || world.eggctl(&["start", "--daemon", &format!("--port={port}")]).cwd(&application);
        start().run().exits(0);
        let answer = http::get(port, "/").json();
        let first_line = answer["stack"].as_str().unwrap().lines().nth(1).unwrap().to_owned();
        assert!(first_line.contains("/app/controller/home.ts:14:"), "{answer}");
        assert!(answer["first"].as_str().unwrap().ends_with("app_worker.js"), "{answer}");
        let master = world.master("typed");
        assert_eq!(world.workers(master).len(), 1);
        for pid in world.agents(master).into_iter().chain(world.workers(master)) {
            let arguments = processes::Process::read(pid).unwrap().args;
            assert!(arguments.iter().any(|argument| argument == "--stack-trace-limit=50"), "{arguments:?}");
        }
        world.stop("typed");

        start().arg("--no-sourcemap").run().exits(0);
        let answer = http::get(port, "/").json();
        assert!(answer["stack"].as_str().unwrap().contains("/app/controller/home.js:7:"), "{answer}");
        world.stop("typed");
    });
}
