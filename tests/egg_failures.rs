//! An Egg application that cannot start: its own error is shown, the start ends when it does, and nothing is left.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::harness::egg::TITLE;
use crate::harness::{Outcome, Typed, World, installed, world};

/// Runs a start that must fail with exit 1 and leave nobody.
#[track_caller]
fn fails(world: &mut World, typed: Typed) -> Outcome {
    let outcome = typed.run();
    world.nobody_is_left();
    outcome.fails(1);
    // What the members and the master printed about it.
    world.expect_in_log("");
    outcome
}

fn what_the_application_throws_is_shown(world: &mut World, application: &Path) {
    for (who, kind, words) in [
        ("AGENT", "throw:a broken agent", "agent"),
        ("AGENT", "reject:a broken hook", "agent"),
        ("WORKER", "throw:a broken app", "worker"),
        ("WORKER", "reject:a broken hook", "worker"),
    ] {
        let typed = world.egg(world.port(), application).env(who, kind);
        let outcome = fails(world, typed);
        let message = kind.split_once(':').unwrap().1;
        outcome.says(message).says(&format!("{words} ")).says("died before everything was ready");
        outcome.does_not_say("timeout").does_not_say("started on");
        let text = outcome.text();
        let first = text.lines().find(|line| line.contains("Error")).unwrap();
        assert!(first.contains(message), "its own error comes first:\n{text}");
        assert!(outcome.took.as_secs() < 30, "told when it happens: {:?}", outcome.took);
    }
}

#[test]
fn what_an_egg_3_application_throws_at_load_or_in_a_hook_is_shown() {
    let Some(application) = installed("egg3") else { return };
    world(|world| what_the_application_throws_is_shown(world, &application));
}

#[test]
fn what_an_egg_4_application_throws_at_load_or_in_a_hook_is_shown() {
    let Some(application) = installed("egg4") else { return };
    world(|world| what_the_application_throws_is_shown(world, &application));
}

#[test]
fn an_egg_member_that_exits_before_it_is_ready_fails_the_start_also_with_code_0() {
    let Some(application) = installed("egg3") else { return };
    world(|world| {
        for (who, words) in [("AGENT", "agent (pid "), ("WORKER", "worker ")] {
            let typed = world.egg(world.port(), &application).env(who, "exit:0");
            fails(world, typed).says(words).says("died before everything was ready: exit code 0");
        }
    });
}

fn a_taken_port_is_named_with_its_owner(world: &mut World, application: &Path) {
    let taken = TcpListener::bind("[::]:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let typed = world.egg(port, application);
    let outcome = fails(world, typed);
    outcome.says(&format!("port {port} is taken")).says(&format!("pid {}", std::process::id()));
}

#[test]
fn a_taken_port_of_an_egg_3_application_is_named_with_its_owner() {
    let Some(application) = installed("egg3") else { return };
    world(|world| a_taken_port_is_named_with_its_owner(world, &application));
}

#[test]
fn a_taken_port_of_an_egg_4_application_is_named_with_its_owner() {
    let Some(application) = installed("egg4") else { return };
    world(|world| a_taken_port_is_named_with_its_owner(world, &application));
}

#[test]
fn an_egg_application_that_prints_to_stderr_or_is_never_ready_is_told_so() {
    let Some(application) = installed("egg3") else { return };
    world(|world| {
        let typed = world.egg(world.port(), &application).env("WORKER", "stderr-hang:some noise");
        fails(world, typed).says("some noise").says("--ignore-stderr").does_not_say("timeout");
        let typed = world.egg(world.port(), &application).env("AGENT", "hang").arg("--timeout=2500");
        let outcome = fails(world, typed);
        // The deadline of the start or that of the agent itself, whichever is seen first.
        outcome.says("2.5").says("agent (pid ").says("not ready").says("`didLoad`").does_not_say("process.send");
        let typed = world.egg(world.port(), &application).env("WORKER", "hang").arg("--timeout=4200");
        fails(world, typed).says("4.2").says("worker 1 (pid ").says("not ready");
    });
}

/// An application whose framework, over the egg of this fixture, exports what `source` says.
fn with_framework(world: &World, fixture: &Path, source: &str) -> PathBuf {
    let application = world.directory(
        "application",
        &[("package.json", r#"{ "name": "application", "egg": { "framework": "strange" } }"#)],
    );
    let modules = world.directory("application/node_modules", &[]);
    let files = [("package.json", r#"{ "name": "strange", "version": "1.0.0" }"#), ("index.js", source)];
    world.directory("application/node_modules/strange", &files);
    for name in ["egg", "egg-cluster"] {
        if fs::symlink_metadata(modules.join(name)).is_err() {
            symlink(fixture.join("node_modules").join(name), modules.join(name)).unwrap();
        }
    }
    application
}

#[test]
fn a_framework_that_is_missing_or_exports_no_agent_or_no_application_is_named() {
    let Some(fixture) = installed("egg3") else { return };
    world(|world| {
        let application = world
            .directory("nothing", &[("package.json", r#"{ "name": "nothing", "egg": { "framework": "nowhere" } }"#)]);
        let outcome = world.egg(world.port(), &application).run();
        outcome.fails(outcome.status.code().unwrap()).says("nowhere is not found in").says("node_modules");
        assert!(world.masters(TITLE).is_empty() && world.log().is_empty());

        for (source, word) in [
            ("exports.Application = require('egg').Application;", "Agent"),
            ("exports.Agent = require('egg').Agent;", "Application"),
            ("throw new Error('a broken framework');", "a broken framework"),
        ] {
            let application = with_framework(world, &fixture, source);
            let typed = world.egg(world.port(), &application);
            fails(world, typed).says(word).says("died before everything was ready");
        }
    });
}

#[test]
fn what_is_wrong_in_the_files_of_an_egg_application_is_told_before_anything_starts() {
    world(|world| {
        let application = world.directory("application", &[]);
        let egg = r#"{ "name": "egg", "dependencies": { "egg-cluster": "*" } }"#;
        world.directory("application/node_modules/egg", &[("package.json", egg)]);
        world.directory("application/node_modules/egg-cluster", &[("package.json", "{}")]);
        let files = [("agent_worker.js", ""), ("app_worker.js", "")];
        world.directory("application/node_modules/egg-cluster/lib", &files);
        for (name, package) in [
            ("broken", "{"),
            ("two", r#"{ "dependencies": { "egg-cluster": "*", "@eggjs/cluster": "*" } }"#),
            ("none", r#"{ "dependencies": { "@eggjs/cluster": "*" } }"#),
        ] {
            world.directory(&format!("application/node_modules/{name}"), &[("package.json", package)]);
        }
        world.directory("application/node_modules/without", &[]);
        for (package, words) in [
            ("{ \"egg\": {}, }", "package.json"),
            ("[]", "package.json"),
            (r#"{ "egg": "yes" }"#, "`egg` is not an object"),
            (r#"{ "egg": { "framework": 1 } }"#, "`egg.framework` is not a string"),
            (r#"{ "egg": { "framework": "broken" } }"#, "node_modules/broken/package.json"),
            (r#"{ "egg": { "framework": "without" } }"#, "no package.json in the framework"),
            (r#"{ "egg": { "framework": "two" } }"#, "by egg-cluster and by @eggjs/cluster"),
            (r#"{ "egg": { "framework": "none" } }"#, "@eggjs/cluster is not found"),
            (r#"{ "egg": {}, "eggScriptsConfig": [] }"#, "`eggScriptsConfig` is not an object"),
            (r#"{ "egg": {}, "eggScriptsConfig": { "workers": {} } }"#, "`eggScriptsConfig.workers` is not a number"),
            (r#"{ "egg": {}, "eggScriptsConfig": { "port": "x" } }"#, "eggScriptsConfig.port"),
            (r#"{ "egg": {}, "eggScriptsConfig": { "title": 1 } }"#, "`eggScriptsConfig.title` is not a string"),
            (
                r#"{ "egg": {}, "eggScriptsConfig": { "sourcemap": "no" } }"#,
                "`eggScriptsConfig.sourcemap` is not true or false",
            ),
            (r#"{ "egg": {}, "eggScriptsConfig": { "require": 7 } }"#, "`eggScriptsConfig.require` is not"),
            (
                r#"{ "egg": {}, "eggScriptsConfig": { "node-options--x": [] } }"#,
                "`eggScriptsConfig.node-options--x` is not",
            ),
        ] {
            fs::write(application.join("package.json"), package).unwrap();
            let outcome = world.eggctl(&["start", "--daemon"]).arg(&application).run();
            outcome.fails(2).says(words).does_not_say("Starting");
            assert!(world.alive().is_empty() && !world.stdout_log().exists(), "{package}");
        }
    });
}
