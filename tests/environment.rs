//! The environment of members: the user's at the start until the user says otherwise, and files of variables.

use std::fs;
use std::path::PathBuf;

use nix::sys::signal::Signal;

use crate::harness::{World, eventually, http, processes, world};

const SERVER: &str = "const answer = () => JSON.stringify({ pid: process.pid, env: process.env });
    require('http').createServer((q, s) => s.end(answer())).listen(process.env.PORT);";

fn application(world: &World) -> PathBuf {
    world.directory("app", &[("app.js", SERVER), ("package.json", r#"{"name":"svc"}"#)])
}

/// Variables of the worker that answers at this port.
fn variables<const N: usize>(port: u16, names: [&str; N]) -> [Option<String>; N] {
    let answer = http::get(port, "/").json();
    names.map(|name| answer["env"][name].as_str().map(str::to_owned))
}

fn some<const N: usize>(values: [&str; N]) -> [Option<String>; N] {
    values.map(|value| Some(value.to_owned()))
}

/// Kills the only worker, and waits for the next one.
fn replace_worker(world: &World) {
    let master = world.master("svc");
    let before = world.workers(master)[0];
    processes::signal(before, Signal::SIGKILL);
    eventually("another took its place", || world.workers(master).first().is_some_and(|pid| *pid != before));
    world.eggctl(&["wait", "--title=svc"]).run().exits(0);
}

#[test]
fn update_env_takes_the_callers_environment_in_a_reload_and_in_a_restart_and_for_good() {
    world(|world| {
        world.expect_in_log("");
        let (port, app) = (world.port(), application(world));
        let flags = ["start", "--daemon", "--title=svc", "--workers=1", &format!("--port={port}")];
        world.eggctl(&flags).arg(&app).env("MARK", "one").env("GOES", "yes").env("PWD", world.work()).run().exits(0);
        let command = |words: &[&str], mark: &str| {
            let typed = world.eggctl(words).args(["--title=svc"]).env("MARK", mark).env("PWD", "/").cwd("/");
            typed.run().exits(0);
        };
        let is = |mark: &str| {
            let work = world.work().to_str().unwrap().to_owned();
            let [answered, goes, pwd, home] = variables(port, ["MARK", "GOES", "PWD", "HOME"]);
            assert_eq!(answered.as_deref(), Some(mark));
            assert_eq!(goes.is_some(), mark == "one");
            assert_eq!((pwd, home.as_deref()), (Some(work), world.home().to_str()));
        };
        command(&["reload"], "ignored");
        is("one");
        command(&["reload", "--update-env"], "two");
        is("two");
        command(&["reload"], "ignored");
        is("two");
        replace_worker(world);
        is("two");
        command(&["restart"], "ignored");
        is("two");
        command(&["restart", "--update-env"], "three");
        is("three");
        command(&["restart"], "ignored");
        is("three");
        command(&["reload", "--update-env", "--rolling"], "four");
        is("four");
        world.stop("svc");
    });
}

#[test]
fn a_reload_that_fails_or_is_cancelled_keeps_the_environment_that_runs() {
    world(|world| {
        world.expect_in_log("");
        let (port, app) = (world.port(), application(world));
        let flags = ["start", "--daemon", "--title=svc", "--workers=1", &format!("--port={port}")];
        world.eggctl(&flags).arg(&app).env("MARK", "one").run().exits(0);
        let works = fs::read(app.join("app.js")).unwrap();
        let reload = |more: &[&str]| world.eggctl(&["reload", "--title=svc"]).args(more).env("MARK", "two");
        fs::write(app.join("app.js"), "process.exit(7)").unwrap();
        reload(&["--update-env"]).run().fails(1);
        fs::write(app.join("app.js"), "setInterval(() => {}, 1e6)").unwrap();
        let hangs = reload(&["--update-env"]).spawn();
        let master = world.master("svc");
        eventually("the new worker boots", || world.workers(master).len() == 2);
        reload(&["--cancel"]).run().exits(0);
        hangs.finish().fails(1);
        fs::write(app.join("app.js"), works).unwrap();
        replace_worker(world);
        assert_eq!(variables(port, ["MARK"]), some(["one"]));
        world.eggctl(&["restart", "--title=svc"]).run().exits(0);
        assert_eq!(variables(port, ["MARK"]), some(["one"]));
        world.stop("svc");
    });
}

#[test]
fn a_variable_that_update_env_changes_is_a_setting_too() {
    world(|world| {
        world.expect_in_log(" INFO ");
        let (port, other, app) = (world.port(), world.port(), application(world));
        let flags = ["start", "--daemon", "--title=svc"];
        let typed = world.eggctl(&flags).arg(&app).env("PORT", port.to_string());
        typed.env("EGG_WORKERS", "1").env("EGG_SERVER_ENV", "one").run().exits(0);
        let reload = world.eggctl(&["reload", "--title=svc", "--update-env"]).env("PORT", other.to_string());
        let reload = reload.env("EGG_WORKERS", "2").env("EGG_SERVER_ENV", "two").run();
        reload.exits(0).says(&format!("`port` changed from {port} to {other}")).says("`workers` changed from 1 to 2");
        assert_eq!(variables(port, ["EGG_SERVER_ENV", "PORT"]), some(["two", &port.to_string()]));
        world.eggctl(&["restart", "--title=svc"]).run().exits(0);
        assert_eq!(variables(other, ["EGG_SERVER_ENV"]), some(["two"]));
        assert_eq!(world.workers(world.master("svc")).len(), 2);
        world.stop("svc");
    });
}

#[test]
fn an_environment_that_is_too_long_for_a_reload_is_refused_and_taken_by_a_restart() {
    world(|world| {
        world.expect_in_log(" INFO ");
        let (port, app) = (world.port(), application(world));
        let flags = ["start", "--daemon", "--title=svc", "--workers=1", &format!("--port={port}")];
        world.eggctl(&flags).arg(&app).env("MARK", "one").run().exits(0);
        let long = "x".repeat(100_000);
        let with = |command: &str| {
            let typed = world.eggctl(&[command, "--title=svc", "--update-env"]).env("MARK", "two");
            (0..6).fold(typed, |typed, number| typed.env(&format!("LONG_{number}"), &long)).run()
        };
        with("reload").fails(1).says("512 KiB").says("eggctl restart --update-env");
        assert_eq!(variables(port, ["MARK"]), some(["one"]));
        with("restart").exits(0);
        assert_eq!(variables(port, ["MARK", "LONG_5"]), some(["two", &long]));
        world.eggctl(&["reload", "--title=svc"]).run().exits(0);
        assert_eq!(variables(port, ["MARK", "LONG_5"]), some(["two", &long]));
        // A file's variables are as long as others.
        let file = world.work().join("long.env");
        fs::write(&file, (0..6).map(|number| format!("FILE_{number}={long}\n")).collect::<String>()).unwrap();
        let flag = format!("--env-file={}", file.display());
        world.eggctl(&["restart", "--title=svc", &flag]).run().exits(0);
        let refused = world.eggctl(&["reload", "--title=svc"]).run();
        refused.fails(1).says("512 KiB").says("`eggctl restart --title=svc` takes it");
        assert_eq!(variables(port, ["MARK", "FILE_5"]), some(["two", &long]));
        world.stop("svc");
    });
}

#[test]
fn an_env_file_is_read_at_the_start_and_at_every_reload_and_restart() {
    world(|world| {
        world.expect_in_log("");
        let (port, app) = (world.port(), application(world));
        // Seen from where the start is typed.
        let file = world.work().join("svc.env");
        let write = |text: &str| fs::write(&file, format!("PORT={port}\nGIVEN=file\n{text}")).unwrap();
        write("# one\nMARK=\"one\\nline\"\nGOES=yes\n");
        let flags = ["start", "--daemon", "--title=svc", "--workers=1", "--env-file=svc.env"];
        world.eggctl(&flags).arg(&app).env("GIVEN", "given").run().exits(0);
        assert_eq!(variables(port, ["MARK", "GOES", "GIVEN"]), some(["one\nline", "yes", "given"]));
        let command = |words: &[&str]| world.eggctl(words).args(["--title=svc"]).cwd("/").run();
        write("MARK=two\n");
        replace_worker(world);
        assert_eq!(variables(port, ["MARK", "GOES"]), some(["one\nline", "yes"]), "a death reads no file");
        command(&["reload"]).exits(0);
        assert_eq!(variables(port, ["MARK", "GOES"]), [Some("two".to_owned()), None]);
        write("MARK=three\n");
        command(&["restart"]).exits(0);
        assert_eq!(variables(port, ["MARK", "GIVEN"]), some(["three", "given"]));
        fs::remove_file(&file).unwrap();
        let master = world.master("svc");
        for refused in ["reload", "restart"] {
            command(&[refused]).fails(2).says("svc.env").says("--env-file");
        }
        assert_eq!(world.master("svc"), master, "nothing is stopped");
        assert_eq!(variables(port, ["MARK"]), some(["three"]));
        fs::write(world.work().join("other.env"), format!("PORT={port}\nMARK=four")).unwrap();
        let other = format!("--env-file={}", world.work().join("other.env").display());
        command(&["restart", &other]).exits(0);
        assert_eq!(variables(port, ["MARK"]), some(["four"]));
        world.stop("svc");
    });
}

#[test]
fn what_an_env_file_says_is_in_members_only_and_in_no_argument_or_file() {
    world(|world| {
        world.expect_in_log(" INFO ");
        let (port, app) = (world.port(), application(world));
        let secret = "s3cr3t-of-the-file";
        // The master's own directory of state is none of the file's matter.
        fs::write(world.work().join("svc.env"), format!("SECRET={secret}\nEGGCTL_STATE_DIR=/nowhere\n")).unwrap();
        let flags =
            ["start", "--daemon", "--title=svc", "--workers=1", "--env-file=svc.env", &format!("--port={port}")];
        world.eggctl(&flags).arg(&app).run().exits(0);
        world.eggctl(&["reload", "--title=svc"]).run().exits(0);
        world.eggctl(&["restart", "--title=svc"]).run().exits(0);
        assert_eq!(variables(port, ["SECRET", "EGGCTL_STATE_DIR"]), some([secret, world.state().to_str().unwrap()]));
        for process in world.alive() {
            assert!(!process.args.join(" ").contains(secret), "{process:?}");
            let is_member = process.variable("EGGCTL_MEMBER").is_some();
            let has_it = process.environment.iter().any(|variable| variable.contains(secret));
            assert_eq!(has_it, is_member, "{process:?}");
        }
        for entry in fs::read_dir(world.state()).unwrap().flatten().filter(|entry| entry.file_type().unwrap().is_file())
        {
            let text = fs::read(entry.path()).unwrap();
            assert!(!String::from_utf8_lossy(&text).contains(secret), "{:?}", entry.path());
        }
        world.stop("svc");
    });
}
