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
