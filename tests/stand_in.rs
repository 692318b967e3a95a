//! The master in the place of `node`: under egg-scripts (`--node=`), and what is wrong with what it is told. What it has in
//! common with Egg's own master stands in `parity/parent.rs`.

use std::path::Path;

use nix::sys::signal::Signal;
use serde_json::json;

use crate::harness::egg::TITLE;
use crate::harness::{Typed, World, eventually, http, installed, processes, world};

/// A wrapper as a user writes it: two lines.
fn wrapper(world: &World) -> String {
    use std::os::unix::fs::PermissionsExt;
    let text = format!("#!/bin/sh\nexec {} \"$@\"\n", env!("CARGO_BIN_EXE_eggctl"));
    let file = world.directory("bin", &[("not-quite-node", &text)]).join("not-quite-node");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
    file.to_str().unwrap().to_owned()
}

/// `eggctl --no-deprecation …/start-cluster OPTIONS --title=TITLE`, without a channel.
fn stand_in(world: &World, options: &str) -> Typed {
    let words = ["--no-deprecation", "/any/where/start-cluster", options, &format!("--title={TITLE}")];
    world.eggctl(&words).env("NODE_ENV", "production")
}

/// The options that egg-scripts would give.
fn options(application: &Path, port: u16) -> serde_json::Value {
    json!({ "workers": 1, "port": port, "baseDir": application, "title": TITLE })
}

fn egg_scripts_starts_and_stops_our_master(world: &mut World, application: &Path, egg_scripts: &Path) {
    world.expect_egg_lines();
    let port = world.port();
    let node = format!("--node={}", wrapper(world));
    let (title, port_flag) = (format!("--title={TITLE}"), format!("--port={port}"));
    let scripts = |command: &str| world.program(&["node", egg_scripts.to_str().unwrap(), command]).arg(&title);
    let start = || scripts("start").args(["--workers=2", &port_flag, &node]).arg(application);

    start().arg("--daemon").run().exits(0).says(&format!("started on http://127.0.0.1:{port}"));
    let master = world.master(TITLE);
    let arguments = processes::Process::read(master).unwrap().args;
    assert_eq!(arguments[..2], ["eggctl", "start-cluster"], "{arguments:?}");
    assert_eq!((world.agents(master).len(), world.workers(master).len()), (1, 2));
    assert_eq!(http::get(port, "/").status, 200);
    scripts("stop").run().exits(0);
    world.nobody_is_left();

    let foreground = start().spawn();
    foreground.says(&format!("egg started on http://127.0.0.1:{port}"));
    foreground.signal(Signal::SIGTERM);
    foreground.finish().exits(0);
    world.nobody_is_left();
}

#[test]
fn egg_scripts_3_starts_and_stops_it() {
    let (Some(application), Some(scripts)) = (installed("egg3"), installed("egg-scripts")) else { return };
    let scripts = scripts.join("node_modules/egg-scripts/bin/egg-scripts.js");
    world(|world| egg_scripts_starts_and_stops_our_master(world, &application, &scripts));
}

#[test]
fn egg_scripts_4_starts_and_stops_it() {
    let (Some(application), Some(scripts)) = (installed("egg4"), installed("egg-scripts4")) else { return };
    let scripts = scripts.join("node_modules/@eggjs/scripts/bin/run.js");
    world(|world| egg_scripts_starts_and_stops_our_master(world, &application, &scripts));
}

#[test]
fn its_title_is_taken_and_a_second_master_of_it_fails_at_once() {
    let Some(application) = installed("egg3") else { return };
    world(|world| {
        world.expect_egg_lines();
        let port = world.port();
        let first = stand_in(world, &options(&application, port).to_string()).spawn();
        first.says("egg started on");
        let again = stand_in(world, &options(&application, world.port()).to_string()).run();
        again.fails(1).says("already running").says(&format!("pid {}", first.pid()));
        world.egg(world.port(), &application).run().fails(1).says("already running");
        world.stop(TITLE);
        first.finish().exits(0);
    });
}

#[test]
fn without_a_title_a_second_master_of_the_application_has_its_pid_in_its_title() {
    let Some(application) = installed("egg3") else { return };
    world(|world| {
        world.expect_egg_lines();
        let name = "egg-server-egg3";
        let start = |more: serde_json::Value| {
            let mut options = options(&application, world.port());
            options.as_object_mut().unwrap().remove("title");
            options.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            let words = ["--no-deprecation", "start-cluster", &options.to_string()];
            world.eggctl(&words).env("NODE_ENV", "production").spawn()
        };
        let first = start(json!({}));
        first.says("egg started on");
        let second = start(json!({ "title": null }));
        second.says("egg started on");
        assert_eq!(world.master(name), first.pid());
        let title = format!("{name}-{}", second.pid());
        assert_eq!(world.master(&title), second.pid());
        // Its commands find it by that title, its members have been told it.
        let arguments = processes::Process::read(world.workers(second.pid())[0]).unwrap().args;
        assert!(arguments.last().unwrap().contains(&format!(r#""title":"{title}""#)), "{arguments:?}");
        world.eggctl(&["reload", &format!("--title={title}")]).run().exits(0).says("reloaded by generation");
        world.stop(&title);
        second.finish().exits(0);
        // A title that is named is not changed.
        let named = start(json!({ "title": name })).finish();
        named.fails(1).says("already running").says(&format!("pid {}", first.pid()));
        world.stop(name);
        first.finish().exits(0);
    });
}

#[test]
fn reload_worker_from_the_parent_reloads_outside_of_production_too() {
    let Some(application) = installed("egg3") else { return };
    world(|world| {
        world.expect_egg_lines();
        let options = options(&application, world.port()).to_string();
        let words = json!([env!("CARGO_BIN_EXE_eggctl"), "start-cluster", options, "--title=egg"]);
        let fixture = world.fixture("parent/parent.js");
        let parent = world.program(&["node", fixture.to_str().unwrap()]).env("MASTER", words.to_string());
        let parent = parent.env("NODE_ENV", "development").env("PARENT", "reloads").spawn();
        parent.says("reloaded: 1 new worker");
        assert_eq!(world.boots("worker"), 2);
        parent.signal(Signal::SIGTERM);
        parent.finish().exits(0).says("the master ended: 0 null");
    });
}

#[test]
fn a_member_cannot_tell_a_node_parent_what_only_the_master_says() {
    let Some(application) = installed("egg3") else { return };
    world(|world| {
        let words = json!([
            env!("CARGO_BIN_EXE_eggctl"),
            "start-cluster",
            options(&application, world.port()).to_string(),
            "--title=egg",
        ]);
        let fixture = world.fixture("parent/parent.js");
        let parent = world.program(&["node", fixture.to_str().unwrap()]).env("MASTER", words.to_string());
        let parent = parent.env("NODE_ENV", "production").env("WORKER", "forge").env("WORKER_BOOTS", "2").spawn();
        parent.says("heard ");
        let worker = world.workers(world.master(TITLE))[0];
        processes::signal(worker, Signal::SIGKILL);
        parent.says("sent what only the master says to the parent: dropped");
        let text = parent.so_far();
        let heard: Vec<&str> = text.lines().filter(|line| line.starts_with("heard ")).collect();
        assert_eq!(heard.iter().filter(|line| line.contains("egg-ready")).count(), 1, "{heard:#?}");
        assert_eq!(heard.iter().filter(|line| line.contains("-died")).count(), 1, "{heard:#?}");
        parent.signal(Signal::SIGTERM);
        parent.finish().exits(0);
    });
}

#[test]
fn what_it_is_told_wrongly_is_one_clear_error() {
    let Some(application) = installed("egg3") else { return };
    world(|world| {
        let plain = world.directory("plain", &[("package.json", r#"{"name":"plain"}"#), ("app.js", "")]);
        let empty = world.directory("empty", &[]);
        let with = |more: serde_json::Value| {
            let mut all = options(&application, 7001);
            all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            all.to_string()
        };
        for (options, words) in [
            ("{".to_owned(), "the options of start-cluster cannot be used: EOF"),
            ("[]".to_owned(), "the options of start-cluster cannot be used"),
            (json!({ "baseDir": plain }).to_string(), "is no Egg application"),
            (json!({ "baseDir": empty }).to_string(), "no package.json in"),
            (with(json!({ "baseDir": "/no/where" })), "no directory or script `/no/where`"),
            (with(json!({ "baseDir": 7 })), "`baseDir` is not a string"),
            (with(json!({ "framework": "/no/framework" })), "the framework `/no/framework` should exist"),
            (
                with(json!({ "workers": "many" })),
                "`many` is not a number from 1 to 1024 (from `workers` in the options",
            ),
            (with(json!({ "port": 70000 })), "`70000` is not a number"),
            (with(json!({ "startMode": "worker_threads" })), "is not supported yet"),
        ] {
            stand_in(world, &options).run().fails(2).says(words);
        }
        world.eggctl(&["start-cluster"]).run().fails(2).says("there are none");
        let gone = stand_in(world, &with(json!({}))).env("NODE_CHANNEL_FD", "77").run();
        gone.fails(2).says("the parent's channel cannot be used: $NODE_CHANNEL_FD");
        let no_node = stand_in(world, &with(json!({}))).env("EGGCTL_NODE", "/no/node").run();
        no_node.fails(1).says("cannot run `/no/node`");
        world.nobody_is_left();
    });
}

#[test]
fn a_parent_whose_messages_are_not_json_is_refused() {
    let Some(application) = installed("egg3") else { return };
    world(|world| {
        let words = json!([env!("CARGO_BIN_EXE_eggctl"), "start-cluster", options(&application, 7001).to_string()]);
        let fixture = world.fixture("parent/parent.js");
        let parent = world.program(&["node", fixture.to_str().unwrap()]).env("MASTER", words.to_string());
        parent
            .env("PARENT", "advanced")
            .run()
            .exits(0)
            .says("`serialization` is not `json`")
            .says("the master ended: 2");
    });
}

#[test]
fn a_start_that_fails_ends_it_with_1_and_nobody_is_left() {
    let Some(application) = installed("egg3") else { return };
    world(|world| {
        let typed = stand_in(world, &options(&application, world.port()).to_string());
        typed
            .env("WORKER", "reject:no luck")
            .run()
            .exits(1)
            .says("no luck")
            .says("egg start failed")
            .says("exit with code:1");
        eventually("nobody is left", || world.alive().is_empty());
    });
}
