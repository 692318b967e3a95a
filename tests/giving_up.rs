//! An operation that is given up: by `--cancel`, for another reload, or only by the command that waits for it.

use nix::sys::signal::Signal;

use crate::harness::{eventually, http, processes, world};
use crate::reload_faults::{SLOW_BOOT, hanging, typed, with_a_third_boot_that_hangs};

/// A worker that serves.
const SERVES: &str = "require('http').createServer((q, a) => a.end('{}')).listen(process.env.PORT)";

/// A package whose workers are given another flag of Node's.
const ANOTHER_FLAG: &str = "{\"name\":\"app\",\"eggScriptsConfig\":{\"node-options--no-warnings\":true}}";

fn has_the_flag(worker: u32) -> bool {
    processes::Process::read(worker).is_some_and(|process| process.args.iter().any(|arg| arg == "--no-warnings"))
}

#[test]
fn a_reload_that_hangs_is_given_up_by_cancel_and_the_old_workers_and_their_options_stay() {
    world(|world| {
        world.expect_in_log("");
        let port = world.port();
        let application = world.directory("app", &[("app.js", SERVES), ("package.json", "{\"name\":\"app\"}")]);
        let start = typed(world, &["start", "--daemon", "--workers=2", &format!("--port={port}")]);
        start.arg(&application).run().exits(0);
        let (master, old) = (world.master("svc"), world.workers(world.master("svc")));
        // Other code and other options, which hang.
        std::fs::write(application.join("app.js"), SLOW_BOOT).unwrap();
        std::fs::write(application.join("package.json"), ANOTHER_FLAG).unwrap();
        let reload = typed(world, &["reload"]).spawn();
        eventually("a new one boots", || world.workers(master).len() > 2);
        let outcome = typed(world, &["reload", "--cancel"]).run();
        outcome.exits(0).says("svc cancelled the reload").says("nothing has changed: the old workers stay");
        reload.finish().fails(1).says("given up, and nothing has changed").says("`eggctl reload --cancel` was run");
        eventually("the new ones are gone", || world.workers(master) == old);
        world.log_says("reload: it was given up, and nothing has changed (cancelled)");
        typed(world, &["reload", "--cancel"]).run().fails(1).says("no reload is under way");
        // What follows a dead worker has the options of before, and the code of now.
        std::fs::write(application.join("app.js"), SERVES).unwrap();
        assert!(!has_the_flag(old[0]));
        processes::signal(old[0], Signal::SIGKILL);
        eventually("a successor boots", || {
            !world.workers(master).contains(&old[0]) && world.workers(master).len() == 2
        });
        typed(world, &["wait"]).run().exits(0);
        assert!(!world.workers(master).into_iter().any(has_the_flag));
        typed(world, &["reload"]).run().exits(0);
        assert!(world.workers(master).into_iter().all(has_the_flag), "the next reload brings them");
        assert_eq!(http::get(port, "/").status, 200);
        world.stop("svc");
    });
}

#[test]
fn another_reload_replaces_one_that_hangs() {
    world(|world| {
        world.expect_in_log("");
        let port = world.port();
        let application = world.directory("app", &[("app.js", SERVES), ("package.json", "{\"name\":\"app\"}")]);
        let start = typed(world, &["start", "--daemon", "--workers=2", &format!("--port={port}")]);
        start.arg(&application).run().exits(0);
        let (master, old) = (world.master("svc"), world.workers(world.master("svc")));
        std::fs::write(application.join("app.js"), SLOW_BOOT).unwrap();
        for how in [&["reload"][..], &["reload", "--rolling"]] {
            std::fs::write(application.join("app.js"), SLOW_BOOT).unwrap();
            let hanging = typed(world, how).spawn();
            eventually("a new one boots", || world.workers(master).len() > 2);
            std::fs::write(application.join("app.js"), SERVES).unwrap();
            typed(world, &["reload", "--batch=2"]).run().fails(1).says("a reload is under way").says("--replace");
            let outcome = typed(world, &["reload", "--replace", "--json"]).run();
            outcome.exits(0);
            hanging.finish().fails(1).says("given up").says("another reload has taken its place");
        }
        let new = world.workers(master);
        assert!(new.len() == 2 && new.iter().all(|worker| !old.contains(worker)), "{old:?} {new:?}");
        assert_eq!(http::get(port, "/").status, 200);
        world.stop("svc");
    });
}

#[test]
fn a_scale_that_hangs_is_given_up_by_its_own_cancel() {
    world(|world| {
        world.expect_in_log("");
        with_a_third_boot_that_hangs(world);
        let (master, before) = (world.master("svc"), world.workers(world.master("svc")));
        let scale = typed(world, &["scale", "3"]).spawn();
        hanging(world);
        typed(world, &["reload", "--cancel"]).run().fails(1).says("no reload is under way");
        typed(world, &["reload", "--replace"]).run().fails(1).says("scale --cancel");
        let outcome = typed(world, &["scale", "--cancel"]).run();
        outcome.exits(0).says("svc cancelled the scale").says("the number of workers is 2");
        scale.finish().fails(1).says("given up").says("`eggctl scale --cancel` was run");
        eventually("the third is gone", || world.workers(master) == before);
        typed(world, &["scale", "--cancel"]).run().fails(1).says("no scale is under way");
        typed(world, &["scale", "--cancel", "3"]).run().fails(2);
        typed(world, &["reload", "--cancel", "--rolling"]).run().fails(2).says("--cancel");
        world.stop("svc");
    });
}

#[test]
fn a_signal_ends_the_command_that_waits_and_says_that_the_operation_goes_on_and_how_to_cancel_it() {
    world(|world| {
        world.expect_in_log("");
        let port = world.port();
        let application = world.directory("app", &[("app.js", SERVES), ("package.json", "{\"name\":\"app\"}")]);
        let start = typed(world, &["start", "--daemon", "--workers=1", &format!("--port={port}")]);
        start.arg(&application).run().exits(0);
        let master = world.master("svc");
        std::fs::write(application.join("app.js"), SLOW_BOOT).unwrap();
        let signals = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT];
        for (words, cancel) in [(&["reload"][..], "reload --cancel"), (&["scale", "2"], "scale --cancel")] {
            for signal in signals {
                let command = typed(world, words).spawn();
                eventually("a new one boots", || world.workers(master).len() == 2);
                command.signal(signal);
                let outcome = command.finish();
                outcome.fails(1).says("goes on").says(&format!("eggctl {cancel} --title=svc")).says(signal.as_str());
                assert_eq!(world.workers(master).len(), 2, "it goes on");
                typed(world, &cancel.split(' ').collect::<Vec<_>>()).run().exits(0);
                eventually("the new one is gone", || world.workers(master).len() == 1);
            }
        }
        world.stop("svc");
    });
}
