//! The directory that a command is typed in: one that was entered through a link keeps the link's name, and a command that names
//! its application needs none.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::harness::{Typed, World, http, installed, processes, world};

/// Two releases, and a link to the first.
fn releases(world: &World) -> PathBuf {
    for release in ["one", "two"] {
        let code = format!(
            "const answer = () => JSON.stringify({{ release: '{release}', cwd: process.cwd(), pwd: process.env.PWD }});
             require('http').createServer((q, a) => a.end(answer())).listen(process.env.PORT)"
        );
        world.directory(release, &[("app.js", &code), ("package.json", "{}")]);
    }
    let current = world.work().join("current");
    symlink("one", &current).unwrap();
    current
}

/// As a deployment does it: at every moment there is a link. The old release is removed.
fn deploy(world: &World, release: &str, old: &str) {
    symlink(release, world.work().join("next")).unwrap();
    fs::rename(world.work().join("next"), world.work().join("current")).unwrap();
    fs::rename(world.work().join(old), world.work().join(format!("{old}.old"))).unwrap();
}

/// This command, typed in a shell that has gone into `directory`.
fn in_shell(world: &World, directory: &Path, args: &[&str]) -> Typed {
    let script = format!("cd '{}' && exec \"$@\"", directory.display());
    world.eggctl_under(&["sh", "-c", &script, "sh"], args)
}

/// This command in a directory that has been removed.
fn nowhere(world: &World, args: &[&str]) -> Typed {
    let script = "mkdir -p gone && cd gone && rmdir ../gone && exec \"$@\"";
    world.eggctl_under(&["sh", "-c", script, "sh"], args)
}

#[test]
fn an_application_that_was_started_inside_a_link_runs_what_the_link_leads_to_after_a_reload_and_a_restart() {
    world(|world| {
        world.expect_in_log(" INFO ");
        let (current, port) = (releases(world), world.port());
        let flags = ["start", "--daemon", "--workers=1", &format!("--port={port}")];
        // Without a name of its own it is called after the link.
        in_shell(world, &current, &flags).run().exits(0).says("title egg-server-current");
        let answer = || http::get(port, "/").json();
        assert_eq!((&answer()["release"], answer()["pwd"].as_str()), (&"one".into(), current.to_str()));
        deploy(world, "two", "one");
        in_shell(world, &current, &["reload"]).run().exits(0);
        assert_eq!(answer()["release"], "two");
        fs::rename(world.work().join("one.old"), world.work().join("one")).unwrap();
        deploy(world, "one", "two");
        world.eggctl(&["restart", "--title=egg-server-current"]).cwd("/").run().exits(0);
        assert_eq!((&answer()["release"], answer()["pwd"].as_str()), (&"one".into(), current.to_str()));
        fs::rename(world.work().join("two.old"), world.work().join("two")).unwrap();
        deploy(world, "two", "one");
        world.eggctl(&["reload"]).cwd("/").run().exits(0);
        assert_eq!(answer()["release"], "two");
        in_shell(world, &current, &["stop"]).run().exits(0).says("stopped egg-server-current");
    });
}

#[test]
fn an_egg_application_that_was_started_inside_a_link_follows_it_too() {
    let Some(egg) = installed("egg3") else { return };
    world(|world| {
        world.expect_in_log("");
        let port = world.port();
        world.copy_of("app");
        world.copy_of("egg-members");
        for release in ["one", "two"] {
            let application = world.copy_of("egg3");
            symlink(egg.join("node_modules"), application.join("node_modules")).unwrap();
            fs::rename(application, world.work().join(release)).unwrap();
        }
        let current = world.work().join("current");
        symlink("one", &current).unwrap();
        let flags = ["start", "--daemon", "--workers=1", "--title=egg", &format!("--port={port}")];
        in_shell(world, &current, &flags).run().exits(0);
        deploy(world, "two", "one");
        let is_of_two = || {
            let worker = world.workers(world.master("egg"))[0];
            let cwd = fs::read_link(format!("/proc/{worker}/cwd")).unwrap();
            assert_eq!(cwd, world.work().join("two").canonicalize().unwrap());
            let told = processes::Process::read(worker).unwrap().args.pop().unwrap();
            assert!(told.contains(&format!("\"baseDir\":\"{}\"", current.display())), "{told}");
            assert_eq!(http::get(port, "/").status, 200);
        };
        world.eggctl(&["reload", "--title=egg"]).cwd("/").run().exits(0);
        is_of_two();
        world.eggctl(&["restart", "--title=egg"]).cwd("/").run().exits(0);
        is_of_two();
        world.stop("egg");
    });
}

#[test]
fn a_pwd_that_leads_elsewhere_is_not_believed() {
    world(|world| {
        let (current, port) = (releases(world), world.port());
        let (one, two) = (world.work().join("one"), world.work().join("two"));
        let flags = ["start", "--daemon", "--workers=1", "--title=svc", &format!("--port={port}")];
        for pwd in [two.as_path(), Path::new("one"), &two.join("../one"), Path::new("")] {
            world.eggctl(&flags).cwd(&one).env("PWD", pwd).run().exits(0).says(&format!("at {}", one.display()));
            world.stop("svc");
        }
        world.eggctl(&flags).cwd(&one).env("PWD", &current).run().exits(0).says(&format!("at {}", current.display()));
        world.stop("svc");
    });
}

#[test]
fn a_command_that_names_its_application_needs_no_current_directory() {
    world(|world| {
        world.expect_in_log(" INFO ");
        let (current, port) = (releases(world), world.port());
        let (port_flag, place) = (format!("--port={port}"), current.to_str().unwrap());
        let run = |args: &[&str]| nowhere(world, args).run();
        run(&["start", "--daemon", "--title=svc", "--workers=1", &port_flag, place]).exits(0);
        for command in [
            &["reload", "--title=svc"][..],
            &["scale", "2", "--title=svc"],
            &["wait", "--title=svc"],
            &["restart", "--title=svc"],
            &["reload", "--title=svc"],
            &["logs", "--title=svc"],
            &["logs", "--title=svc", "--ledger"],
            &["stop", "--title=svc"],
            &["wait", "--for=stopped", "--title=svc"],
        ] {
            run(command).exits(0);
        }
        for refused in [&["start"][..], &["start", "app"], &["start", "--stdout=x.log", place]] {
            run(refused).fails(2).says("the current directory").says("hint: ");
        }
    });
}
