//! A word without a flag names an application: a title that runs or is known, else a directory or a script that is there.

use std::fs;

use crate::harness::{Outcome, World, http, world};

const SERVER: &str = "require('http').createServer((q, s) => s.end(process.cwd())).listen(process.env.PORT);";

/// Starts an application in the directory `name` with this title.
fn start(world: &World, name: &str, title: &str) -> u16 {
    let package = format!(r#"{{"name":"{name}"}}"#);
    let directory = world.directory(name, &[("app.js", SERVER), ("package.json", &package)]);
    let port = world.port();
    let flags = ["start", "--daemon", "--workers=1", &format!("--title={title}"), &format!("--port={port}")];
    world.eggctl(&flags).arg(directory).run().exits(0);
    port
}

fn run(world: &World, args: &[&str]) -> Outcome {
    world.eggctl(args).run()
}

#[test]
fn every_command_takes_a_title_that_runs_as_a_word() {
    world(|world| {
        world.expect_in_log(" INFO ");
        start(world, "one", "svc");
        start(world, "two", "other");
        let workers = || world.workers(world.master("svc")).len();
        run(world, &["reload", "svc"]).exits(0).says("svc reloaded");
        run(world, &["scale", "2", "svc"]).exits(0).says("svc scaled");
        assert_eq!(workers(), 2);
        run(world, &["scale", "svc", "-1"]).exits(0);
        assert_eq!(workers(), 1);
        run(world, &["scale", "--cancel", "svc"]).fails(1).says("svc").says("no scale is under way");
        run(world, &["scale", "--cancel", "3"]).fails(2).says("--cancel");
        run(world, &["scale", "svc"]).fails(2).says("svc");
        run(world, &["reload", "svc", "--cancel"]).fails(1).says("no reload is under way");
        run(world, &["wait", "svc"]).exits(0).says("svc ready");
        run(world, &["restart", "svc", "--workers=2"]).exits(0).says("title svc");
        assert_eq!(workers(), 2);
        run(world, &["restart", "--workers=1", "svc"]).exits(0).says("title svc");
        assert_eq!(workers(), 1);
        run(world, &["logs", "svc"]).exits(0).says("one started").does_not_say("two started");
        run(world, &["logs", "--ledger", "svc"]).exits(0);
        run(world, &["stop", "svc"]).exits(0).says("stopped svc").does_not_say("other");
        run(world, &["wait", "--for=stopped", "svc"]).exits(0);
        run(world, &["logs", "svc"]).exits(0);
        run(world, &["stop", "svc"]).exits(0).says("no running application with title svc");
        run(world, &["reload", "svc"]).fails(3).says("no application `svc` is running");
        // `--title` decides, whatever word stands beside it.
        run(world, &["reload", "svc", "--title=other"]).exits(0).says("other reloaded");
        world.stop("other");
    });
}

#[test]
fn a_title_comes_before_a_directory_of_that_name_and_a_path_is_always_a_directory() {
    world(|world| {
        world.expect_in_log(" INFO ");
        // The directory `svc` has the application `other`; that of `svc` is elsewhere.
        start(world, "svc", "other");
        start(world, "elsewhere", "svc");
        run(world, &["reload", "svc"]).exits(0).says("svc reloaded");
        for path in ["./svc", "../work/svc", world.work().join("svc").to_str().unwrap()] {
            run(world, &["reload", path]).exits(0).says("other reloaded");
        }
        world.eggctl(&["reload", "."]).cwd(world.work().join("svc")).run().exits(0).says("other reloaded");
        run(world, &["wait", "./svc"]).exits(0).says("other ready");
        run(world, &["scale", "1", "elsewhere"]).exits(0).says("svc scaled");
        run(world, &["restart", "./svc"]).exits(0).says("title other");
        run(world, &["logs", "./svc"]).exits(0);
        // What is known is a title too, although it does not run.
        world.stop("svc");
        run(world, &["reload", "svc"]).fails(3).says("no application `svc` is running");
        run(world, &["stop", "svc"]).exits(0).says("no running application with title svc");
        run(world, &["stop", "./svc"]).exits(0).says("stopped other");
        run(world, &["reload", "./svc"]).fails(3);
        run(world, &["stop", "./none"]).fails(2).says("no directory or script `./none`");
        run(world, &["stop", "none"]).exits(0).says("no running application with title none");
    });
}

#[test]
fn a_wait_for_a_word_waits_for_the_title_that_is_still_to_come() {
    world(|world| {
        let waiting = world.eggctl(&["wait", "svc", "--appear=40000"]).spawn();
        let port = start(world, "one", "svc");
        waiting.finish().exits(0).says("svc ready");
        assert_eq!(http::get(port, "/").status, 200);
        world.stop("svc");
    });
}

#[test]
fn a_restart_by_a_word_tries_again_what_an_earlier_one_has_left_down() {
    world(|world| {
        world.expect_in_log("");
        start(world, "one", "svc");
        start(world, "two", "other");
        let code = world.work().join("one/app.js");
        fs::write(&code, "process.exit(7)").unwrap();
        run(world, &["restart", "svc"]).fails(1).says("svc is down");
        fs::write(&code, SERVER).unwrap();
        run(world, &["restart", "svc"]).exits(0).says("title svc");
        world.stop("svc");
        world.stop("other");
    });
}

#[test]
fn max_workers_are_one_for_each_usable_cpu_at_a_start_a_restart_and_a_scale() {
    world(|world| {
        world.expect_in_log(" INFO ");
        let one_cpu = |args: &[&str]| world.eggctl_under(&["taskset", "-c", "0"], args).run();
        let package = r#"{"name":"one","eggScriptsConfig":{"workers":"max"}}"#;
        let directory = world.directory("one", &[("app.js", SERVER), ("package.json", package)]);
        let (port, place) = (format!("--port={}", world.port()), directory.to_str().unwrap());
        let workers = || world.workers(world.master("svc")).len();
        let usable = std::thread::available_parallelism().unwrap().get();
        one_cpu(&["start", "--daemon", "--title=svc", &port, place]).exits(0);
        assert_eq!(workers(), 1);
        run(world, &["scale", "max", "svc"]).exits(0);
        assert_eq!(workers(), usable);
        one_cpu(&["scale", "svc", "max"]).exits(0);
        assert_eq!(workers(), 1);
        run(world, &["restart", "svc", "--workers=max"]).exits(0);
        assert_eq!(workers(), usable);
        one_cpu(&["reload", "svc"]).exits(0).does_not_say("changed");
        assert_eq!(workers(), usable);
        world.stop("svc");
        for wrong in ["Max", "maximum", "0", "-1"] {
            let flag = format!("--workers={wrong}");
            run(world, &["start", "--daemon", "--title=svc", &port, &flag, place]).fails(2).says(wrong);
        }
    });
}
