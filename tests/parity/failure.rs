//! Starts that fail, and what the exit code says.

use std::net::TcpListener;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::json;

use super::Theirs::{Fails, Passes};
use super::scenario;
use crate::harness::{eventually, processes};

#[test]
fn output_on_stderr_before_it_is_ready_fails_a_start() {
    scenario(Passes, |scene| {
        let started = scene.start(&[]).env("STDERR", "something is odd").run();
        started.exits(1).says("something is odd").says("Start got error, see ").says("Or use `--ignore-stderr`");
        eventually("nobody is left", || scene.world.alive().is_empty());
    });
}

#[test]
fn output_on_stderr_can_be_ignored() {
    scenario(Passes, |scene| {
        scene.start(&["--ignore-stderr"]).env("STDERR", "something is odd").run().exits(0).says(" started on ");
    });
}

#[test]
fn an_agent_that_throws_fails_a_start_and_its_error_is_told() {
    scenario(Passes, |scene| {
        scene.start(&[]).env("AGENT", "throws").run().exits(1).says("no agent today");
        eventually("nobody is left", || scene.world.alive().is_empty());
    });
}

#[test]
fn an_application_that_throws_fails_a_start_and_its_error_is_told() {
    scenario(Passes, |scene| {
        scene.start(&[]).env("APP", "throws").run().exits(1).says("no application today");
        eventually("nobody is left", || scene.world.alive().is_empty());
    });
}

#[test]
fn a_port_in_use_fails_a_start() {
    scenario(Passes, |scene| {
        let _taken = TcpListener::bind(("0.0.0.0", scene.port)).unwrap();
        scene.start(&[]).run().exits(1).says("EADDRINUSE");
        eventually("nobody is left", || scene.world.alive().is_empty());
    });
}

#[test]
fn a_start_that_takes_too_long_fails() {
    scenario(Passes, |scene| {
        let started = scene.start(&["--timeout=2000"]).env("AGENT", "is-never-ready").run();
        started.exits(1).says("Start failed, 2s timeout");
        eventually("nobody is left", || scene.world.alive().is_empty());
    });
}

#[test]
fn a_framework_that_is_not_installed_fails_a_start() {
    scenario(Passes, |scene| {
        scene.package(&json!({ "name": "parity", "egg": { "framework": "yolk" } }));
        let started = scene.start(&[]).run();
        assert!(!started.status.success());
        started.says("yolk is not found in ");
    });
}

#[test]
fn a_directory_without_package_json_fails_a_start() {
    scenario(Passes, |scene| {
        std::fs::remove_file(scene.application.join("package.json")).unwrap();
        let started = scene.start(&[]).run();
        assert!(!started.status.success());
        started.says("package.json");
    });
}

#[test]
fn a_master_that_dies_without_a_word_is_noticed_at_once() {
    scenario(Fails("it does not look whether the master lives, and waits for its timeout"), |scene| {
        let started = scene.start(&["--timeout=6000"]).env("AGENT", "ends-the-master").run();
        started.exits(1);
        assert!(started.took < Duration::from_secs(5), "{:?}", started.took);
    });
}

#[test]
fn a_title_that_runs_already_is_refused() {
    scenario(Fails("nothing looks for another master of the title"), |scene| {
        scene.start(&[]).run().exits(0);
        scene.port = scene.world.port();
        assert!(!scene.start(&[]).run().status.success());
        scene.master("svc");
    });
}

#[test]
fn in_the_foreground_an_orderly_end_is_exit_0() {
    scenario(Passes, |scene| {
        let running = scene.foreground().spawn();
        scene.answers();
        running.signal(Signal::SIGTERM);
        running.finish().exits(0);
        eventually("nobody is left", || scene.world.alive().is_empty());
    });
}

#[test]
fn in_the_foreground_a_start_that_fails_is_exit_1() {
    scenario(Passes, |scene| {
        scene.foreground().env("AGENT", "throws").run().exits(1).says("no agent today");
    });
}

#[test]
fn in_the_foreground_a_killed_master_is_no_success() {
    scenario(Fails("process.exit(null) makes exit 0 of a death by signal"), |scene| {
        let running = scene.foreground().spawn();
        scene.answers();
        processes::signal(scene.master("svc").pid, Signal::SIGKILL);
        assert!(!running.finish().status.success());
        eventually("the members end with their master", || scene.world.alive().is_empty());
    });
}
