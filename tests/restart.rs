//! A restart that cannot work stops nothing; one whose new start fails says that the service is down, and can be tried again.

use std::fs;
use std::path::Path;

use crate::harness::schema::keeps_to;
use crate::harness::{Outcome, World, eventually, http, is_inside, processes, world};

fn restart(world: &World, more: &[&str]) -> Outcome {
    world.eggctl(&["restart", "--title=svc"]).args(more).run()
}

/// What a restart keeps for another try.
fn kept(world: &World) -> usize {
    let names = fs::read_dir(world.state()).unwrap().map(|entry| entry.unwrap().file_name());
    names.filter(|name| name.to_string_lossy().ends_with(".again")).count()
}

/// Starts a copy of the fixture whose code can be broken.
fn start(world: &World, port: u16) -> std::path::PathBuf {
    let app = world.copy_of("app");
    let port = format!("--port={port}");
    let typed = world.eggctl(&["start", "--daemon", "--title=svc", "--workers=1", &port]).env("FIXTURE_MARK", "kept");
    typed.arg(&app).run().exits(0);
    app
}

#[test]
fn a_restart_whose_new_start_fails_says_that_the_service_is_down_and_the_next_one_tries_again() {
    world(|world| {
        world.expect_in_log("");
        let port = world.port();
        let app = start(world, port).join("app.js");
        let works = fs::read(&app).unwrap();
        fs::write(&app, "this is no JavaScript").unwrap();
        for _twice in 0..2 {
            let failed = restart(world, &[]);
            failed
                .fails(1)
                .says("error: svc is down")
                .says("SyntaxError")
                .says("`eggctl restart --title=svc` tries again");
            world.nobody_is_left();
            assert_eq!(kept(world), 1);
        }
        let refused = world.eggctl(&["reload", "--title=svc"]).run();
        refused.fails(3).says("the new start failed").says("eggctl restart --title=svc");
        fs::write(&app, works).unwrap();
        // From anywhere, in any environment: it starts as it was started.
        world.eggctl(&["restart"]).cwd("/").run().exits(0);
        assert_eq!(http::get(port, "/").status, 200);
        let master = processes::Process::read(world.master("svc")).unwrap();
        assert_eq!(master.variable("FIXTURE_MARK"), Some("kept"));
        assert_eq!(master.variable("EGGCTL_RESTART"), None);
        assert_eq!(kept(world), 0);
        restart(world, &[]).exits(0);
        assert_eq!(kept(world), 0);
        world.stop("svc");
    });
}

#[test]
fn what_a_failed_restart_has_left_down_stays_down_after_a_stop_and_a_start_that_works_ends_the_matter() {
    world(|world| {
        world.expect_in_log("");
        let app = start(world, world.port()).join("app.js");
        let works = fs::read(&app).unwrap();
        fs::write(&app, "process.exit(7)").unwrap();
        restart(world, &[]).fails(1).says("svc is down").says("code 7");
        world.stop("svc").says("no running application");
        restart(world, &[]).fails(3).says("no application `svc` is running").does_not_say("tries again");
        assert_eq!(kept(world), 0);
        fs::write(&app, &works).unwrap();
        start(world, world.port());
        fs::write(&app, "process.exit(7)").unwrap();
        restart(world, &[]).fails(1).says("svc is down");
        fs::write(&app, &works).unwrap();
        start(world, world.port());
        assert_eq!(kept(world), 0);
        world.stop("svc");
        restart(world, &[]).fails(3);
    });
}

#[test]
fn a_restart_that_is_interrupted_while_it_starts_says_that_the_service_is_down() {
    world(|world| {
        world.expect_in_log("");
        let app = start(world, world.port()).join("app.js");
        fs::write(&app, "setInterval(() => {}, 1e6)").unwrap();
        let waiting = world.eggctl(&["restart", "--title=svc"]).spawn();
        waiting.says("Save log file");
        eventually("the new start waits", || !world.masters("svc").is_empty());
        waiting.signal(nix::sys::signal::Signal::SIGINT);
        waiting.finish().fails(1).says("svc is down").says("SIGINT");
        world.nobody_is_left();
        world.stop("svc");
    });
}

/// Mounts a small file system of memory on this directory, with what is in it.
fn small_disk(world: &World, directory: &Path) {
    let kept = world.work().join("kept");
    fs::rename(directory, &kept).unwrap();
    fs::create_dir(directory).unwrap();
    let place = directory.to_str().unwrap();
    world.program(&["mount", "-t", "tmpfs", "-o", "size=256k,mode=700", "tmpfs", place]).run().exits(0);
    world.program(&["cp", "-a", &format!("{}/.", kept.display()), place]).run().exits(0);
}

#[test]
fn a_restart_whose_state_directory_is_full_or_cannot_be_written_stops_nothing() {
    world(|world| {
        if !(is_inside() && world.has_other_users()) {
            return;
        }
        fs::create_dir(world.state()).unwrap();
        fs::set_permissions(world.state(), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        small_disk(world, &world.state());
        let port = world.port();
        start(world, port);
        let master = world.master("svc");
        let place = world.state().to_str().unwrap().to_owned();
        let refused = |why: &str| {
            restart(world, &[]).fails(1).says(why).does_not_say("stopping");
            assert_eq!(world.master("svc"), master);
            assert_eq!(http::get(port, "/").status, 200);
            assert_eq!(kept(world), 0);
        };
        let fill = format!("cat /dev/zero > {place}/filler; truncate -s -8192 {place}/filler");
        world.program(&["sh", "-c", &fill]).run().exits(0);
        refused("svc is not restarted: cannot use `");
        refused("no space left");
        fs::remove_file(world.state().join("filler")).unwrap();
        // The master has files open for writing: only a second mount can be read-only.
        world.program(&["mount", "--bind", &place, &place]).run().exits(0);
        world.program(&["mount", "-o", "remount,bind,ro", &place]).run().exits(0);
        refused("read-only");
        world.program(&["umount", &place]).run().exits(0);
        restart(world, &[]).exits(0);
        world.stop("svc");
    });
}

/// How many workers run.
fn workers(world: &World) -> usize {
    world.workers(world.master("svc")).len()
}

#[test]
fn a_restart_keeps_a_scale_and_says_so_unless_a_number_of_workers_is_typed() {
    world(|world| {
        world.expect_in_log(" INFO ");
        start(world, world.port());
        let scale = |count: &str| {
            world.eggctl(&["scale", count, "--title=svc"]).run().exits(0);
        };
        restart(world, &[]).exits(0).does_not_say("keeps");
        scale("3");
        for _twice in 0..2 {
            restart(world, &[]).exits(0).says("svc keeps 3 workers").says("--workers=N");
            assert_eq!(workers(world), 3);
        }
        world.eggctl(&["reload", "--title=svc"]).run().exits(0).does_not_say("changed");
        scale("-1");
        let told = restart(world, &["--json"]);
        let told: serde_json::Value = serde_json::from_str(&told.exits(0).stdout).unwrap();
        keeps_to("restart", &told);
        assert_eq!((&told["scaled"], &told["changed"]), (&2.into(), &serde_json::Value::Null));
        assert_eq!(workers(world), 2);
        restart(world, &["--workers=4"]).exits(0).does_not_say("keeps");
        assert_eq!(workers(world), 4);
        // What was typed is configured from now on.
        scale("+1");
        scale("4");
        restart(world, &[]).exits(0).does_not_say("keeps");
        assert_eq!(workers(world), 4);
        world.stop("svc");
    });
}

#[test]
fn a_scale_is_kept_by_the_restart_that_tries_again_too_and_not_by_a_start() {
    world(|world| {
        world.expect_in_log("");
        let port = world.port();
        let app = start(world, port).join("app.js");
        world.eggctl(&["scale", "2", "--title=svc"]).run().exits(0);
        let works = fs::read(&app).unwrap();
        fs::write(&app, "process.exit(7)").unwrap();
        restart(world, &[]).fails(1).says("svc keeps 2 workers");
        fs::write(&app, &works).unwrap();
        restart(world, &[]).exits(0).says("svc keeps 2 workers");
        assert_eq!(workers(world), 2);
        world.stop("svc");
        start(world, port);
        assert_eq!(workers(world), 1);
        world.stop("svc");
    });
}

#[test]
fn a_configured_number_of_workers_that_has_changed_beside_a_scale_is_named_with_the_scale_that_applies_it() {
    world(|world| {
        world.expect_in_log(" INFO ");
        let app = world.directory("one", &[("app.js", "require('http').createServer().listen(process.env.PORT)")]);
        let configure = |workers: u32| {
            let package = format!(r#"{{"name":"svc","eggScriptsConfig":{{"workers":{workers}}}}}"#);
            fs::write(app.join("package.json"), package).unwrap();
        };
        configure(1);
        let port = format!("--port={}", world.port());
        world.eggctl(&["start", "--daemon", "--title=svc", &port]).arg(&app).run().exits(0);
        world.eggctl(&["scale", "3", "--title=svc"]).run().exits(0);
        configure(2);
        let reload = world.eggctl(&["reload", "--title=svc"]).run();
        reload.exits(0).says("`workers` changed from 1 to 2: `eggctl scale 2 --title=svc`");
        assert_eq!(workers(world), 3);
        world.eggctl(&["scale", "2", "--title=svc"]).run().exits(0);
        restart(world, &[]).exits(0);
        assert_eq!(workers(world), 2);
        world.stop("svc");
    });
}
