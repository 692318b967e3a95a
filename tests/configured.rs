//! What is configured is what runs: a changed configuration is followed by a restart, and by a reload as far as a reload can.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::harness::schema::keeps_to;
use crate::harness::{World, http, installed, processes, world};

/// A server that answers with its environment, directory and arguments.
const SERVER: &str = "const answer = () => JSON.stringify({ pid: process.pid, env: process.env, cwd: process.cwd() });
    require('http').createServer((q, s) => s.end(answer())).listen(process.env.PORT);";

/// Writes these settings into the application's package.json.
fn configure(application: &Path, settings: &str) {
    let package = format!(r#"{{"name":"svc","eggScriptsConfig":{settings}}}"#);
    fs::write(application.join("package.json"), package).unwrap();
}

/// An application with these settings.
fn application(world: &World, settings: &str) -> PathBuf {
    let directory = world.directory("app", &[("app.js", SERVER)]);
    configure(&directory, settings);
    directory
}

/// A variable of the worker that answers at this port.
fn variable(port: u16, name: &str) -> Option<String> {
    http::get(port, "/").json()["env"][name].as_str().map(str::to_owned)
}

#[test]
fn a_restart_follows_a_port_and_an_env_that_have_changed_in_package_json() {
    world(|world| {
        world.expect_in_log(" INFO ");
        let (first, second) = (world.port(), world.port());
        let app = application(world, &format!(r#"{{"workers":1,"port":{first},"env":"one"}}"#));
        world.eggctl(&["start", "--daemon", "--title=svc"]).arg(&app).run().exits(0);
        assert_eq!(variable(first, "EGG_SERVER_ENV").as_deref(), Some("one"));
        configure(&app, &format!(r#"{{"workers":2,"port":{second},"env":"two"}}"#));
        world.eggctl(&["restart", "--title=svc"]).run().exits(0);
        assert_eq!(variable(second, "EGG_SERVER_ENV").as_deref(), Some("two"));
        assert_eq!(variable(second, "PORT"), Some(second.to_string()));
        assert!(http::try_get(first, "/").is_err(), "nothing serves the old port");
        assert_eq!(world.workers(world.master("svc")).len(), 2);
        world.stop("svc");
    });
}

#[test]
fn a_reload_applies_what_it_can_and_says_what_needs_a_restart() {
    world(|world| {
        world.expect_in_log(" INFO ");
        let (first, second) = (world.port(), world.port());
        let app = application(world, &format!(r#"{{"workers":1,"port":{first},"env":"one"}}"#));
        world.eggctl(&["start", "--daemon", "--title=svc"]).arg(&app).run().exits(0);
        let reload = |more: &[&str]| world.eggctl(&["reload", "--title=svc"]).args(more).run();
        reload(&[]).exits(0).does_not_say("changed");
        configure(
            &app,
            &format!(
                r#"{{"workers":2,"port":{second},"env":"two","spare":1,"log-max-size":"5M","log-rotate":"never"}}"#
            ),
        );
        reload(&[])
            .exits(0)
            .says(&format!("`port` changed from {first} to {second}: `eggctl restart --title=svc`"))
            .says("`workers` changed from 1 to 2: `eggctl restart --title=svc`")
            .says("`spare` changed from 0 to 1: `eggctl restart --title=svc`")
            .says("`log-max-size` changed from 100M to 5M: `eggctl restart --title=svc`")
            .says("`log-rotate` changed from day to never: `eggctl restart --title=svc`")
            .does_not_say("`env`");
        // Where no application was named, none is: what is pasted in the same place means the same.
        let here = world.eggctl(&["reload"]).run();
        here.exits(0).says(&format!("`port` changed from {first} to {second}: `eggctl restart`\n"));
        assert_eq!(variable(first, "EGG_SERVER_ENV").as_deref(), Some("two"));
        assert_eq!(variable(first, "PORT"), Some(first.to_string()), "the port that is served");
        let receipt: serde_json::Value = serde_json::from_str(&reload(&["--json"]).stdout).unwrap();
        keeps_to("reload", &receipt);
        let port = receipt["needs_restart"].as_array().unwrap().iter().find(|one| one["setting"] == "port").unwrap();
        let (first_text, second_text) = (first.to_string(), second.to_string());
        assert_eq!(port["from"], first_text.as_str());
        assert_eq!(port["to"], second_text.as_str());
        assert_eq!(port["command"], "eggctl restart --title=svc");
        let restart = world.eggctl(&["restart", "--title=svc", "--json"]).run();
        restart.exits(0);
        let restarted: serde_json::Value = serde_json::from_str(&restart.stdout).unwrap();
        keeps_to("restart", &restarted);
        let port = serde_json::json!({"setting": "port", "from": first_text, "to": second_text});
        assert!(restarted["changed"].as_array().unwrap().contains(&port), "{restarted}");
        assert_eq!(restarted["scaled"], serde_json::Value::Null);
        reload(&[]).exits(0).does_not_say("changed");
        assert_eq!(variable(second, "EGG_SERVER_ENV").as_deref(), Some("two"));
        world.stop("svc");
    });
}

#[test]
fn a_reload_that_fails_names_the_changed_port_which_may_be_why() {
    world(|world| {
        world.expect_in_log("");
        let (first, second) = (world.port(), world.port());
        let app = application(world, &format!(r#"{{"workers":1,"port":{first}}}"#));
        world.eggctl(&["start", "--daemon", "--title=svc"]).arg(&app).run().exits(0);
        configure(&app, &format!(r#"{{"workers":1,"port":{second}}}"#));
        fs::write(app.join("app.js"), SERVER.replace("process.env.PORT", &second.to_string())).unwrap();
        let failed = world.eggctl(&["reload", "--title=svc", "--boot-timeout=1500"]).run();
        failed.fails(1).says(&format!("hint: `port` changed from {first} to {second}: `eggctl restart --title=svc`"));
        assert_eq!(http::get(first, "/").status, 200);
        world.stop("svc");
    });
}

#[test]
fn a_reload_in_the_foreground_says_that_what_it_cannot_apply_needs_a_start() {
    world(|world| {
        world.expect_in_log("");
        let (first, second) = (world.port(), world.port());
        let app = application(world, &format!(r#"{{"workers":1,"port":{first},"env":"one"}}"#));
        let start = world.eggctl(&["start", "--title=svc"]).arg(&app).spawn();
        world.eggctl(&["wait", "--title=svc"]).run().exits(0);
        configure(&app, &format!(r#"{{"workers":1,"port":{second},"env":"two"}}"#));
        let reload = world.eggctl(&["reload", "--title=svc"]).run();
        reload.exits(0).says("`port` changed from").says("in the foreground").does_not_say("eggctl restart");
        assert_eq!(variable(first, "EGG_SERVER_ENV").as_deref(), Some("two"));
        world.stop("svc");
        start.finish().exits(0);
    });
}

#[test]
fn an_egg_applications_port_and_env_are_followed_too() {
    let Some(egg) = installed("egg3") else { return };
    world(|world| {
        world.expect_in_log("");
        let (first, second) = (world.port(), world.port());
        world.copy_of("app");
        world.copy_of("egg-members");
        let app = world.copy_of("egg3");
        std::os::unix::fs::symlink(egg.join("node_modules"), app.join("node_modules")).unwrap();
        let mut package: serde_json::Value =
            serde_json::from_slice(&fs::read(app.join("package.json")).unwrap()).unwrap();
        let mut configure = |port: u16, env: &str| {
            package["eggScriptsConfig"] = serde_json::json!({ "port": port, "env": env, "workers": 1 });
            fs::write(app.join("package.json"), package.to_string()).unwrap();
        };
        configure(first, "one");
        world.eggctl(&["start", "--daemon", "--title=egg"]).arg(&app).run().exits(0);
        configure(second, "two");
        let reload = world.eggctl(&["reload", "egg"]).run();
        reload.exits(0).says(&format!("`port` changed from {first} to {second}: `eggctl restart --title=egg`"));
        let worker = |port| {
            assert_eq!(http::get(port, "/").status, 200);
            let worker = world.workers(world.master("egg"))[0];
            processes::Process::read(worker).unwrap()
        };
        let reloaded = worker(first);
        assert_eq!(reloaded.variable("EGG_SERVER_ENV"), Some("two"));
        let told: serde_json::Value = serde_json::from_str(reloaded.args.last().unwrap()).unwrap();
        assert_eq!((&told["port"], &told["env"]), (&first.into(), &"two".into()));
        world.eggctl(&["restart", "--title=egg"]).run().exits(0);
        let told: serde_json::Value = serde_json::from_str(worker(second).args.last().unwrap()).unwrap();
        assert_eq!((&told["port"], &told["env"]), (&second.into(), &"two".into()));
        world.stop("egg");
    });
}

#[test]
fn members_have_the_same_environment_after_reloads_deaths_and_restarts() {
    world(|world| {
        world.expect_in_log("");
        world.expect_a_death();
        let port = world.port();
        let app = application(world, "{}");
        let typed = world.eggctl(&["start", "--daemon", "--title=svc", "--workers=1", &format!("--port={port}")]);
        typed.arg(&app).env("MARK", "a b=\"c\"\n").env("NODE_ENV", "test").run().exits(0);
        // What is a member's own, or an instance's.
        let own = ["EGGCTL_INSTANCE", "NODE_UNIQUE_ID"];
        let environment = || {
            let mut environment = http::get(port, "/").json()["env"].as_object().unwrap().clone();
            environment.retain(|name, _| !own.contains(&name.as_str()));
            environment
        };
        let first = environment();
        assert_eq!((&first["MARK"], &first["NODE_ENV"]), (&"a b=\"c\"\n".into(), &"production".into()));
        for command in ["reload", "restart", "reload", "restart"] {
            world.eggctl(&[command, "--title=svc"]).env("MARK", "another").run().exits(0);
            assert_eq!(environment(), first, "after {command}");
        }
        let worker = world.workers(world.master("svc"))[0];
        processes::signal(worker, nix::sys::signal::Signal::SIGKILL);
        world.log_says(": new member now");
        world.eggctl(&["wait", "--title=svc"]).run().exits(0);
        assert_eq!(environment(), first, "after a death");
        world.stop("svc");
    });
}

/// Every file below this directory with its mode.
fn files(directory: &Path) -> Vec<(PathBuf, u32)> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let below = |entry: fs::DirEntry| match entry.file_type().unwrap() {
        kind if kind.is_dir() => files(&entry.path()),
        kind if kind.is_file() => vec![(entry.path(), entry.metadata().unwrap().permissions().mode())],
        _ => Vec::new(),
    };
    entries.flat_map(below).collect()
}

#[test]
fn a_secret_in_the_environment_is_in_no_argument_and_in_no_file_that_another_user_can_read() {
    world(|world| {
        world.expect_in_log("");
        let port = world.port();
        let app = application(world, "{}");
        let secret = "s3cr3t-of-the-environment";
        let typed = world.eggctl(&["start", "--daemon", "--title=svc", "--workers=1", &format!("--port={port}")]);
        typed.arg(&app).env("SECRET", secret).run().exits(0);
        let nothing_shows_it = || {
            for process in world.alive() {
                assert!(!process.args.join(" ").contains(secret), "{process:?}");
            }
            for (path, mode) in files(&world.home()).into_iter().chain(files(&world.state())) {
                let has_it = fs::read(&path).is_ok_and(|text| String::from_utf8_lossy(&text).contains(secret));
                assert!(!has_it || mode & 0o077 == 0, "{path:?} has mode {mode:o}");
            }
        };
        nothing_shows_it();
        world.eggctl(&["reload", "--title=svc"]).run().exits(0);
        nothing_shows_it();
        let works = fs::read(app.join("app.js")).unwrap();
        fs::write(app.join("app.js"), "process.exit(7)").unwrap();
        world.eggctl(&["restart", "--title=svc"]).run().fails(1);
        nothing_shows_it();
        fs::write(app.join("app.js"), works).unwrap();
        world.eggctl(&["restart", "--title=svc"]).run().exits(0);
        assert_eq!(variable(port, "SECRET").as_deref(), Some(secret));
        nothing_shows_it();
        let master = world.master("svc");
        if world.has_other_users() {
            // The memory that has it is closed to another user.
            let look = format!("cat /proc/{master}/environ /proc/{master}/fd/*");
            let seen = world.program(&["sh", "-c", &look]).user(1234567).run();
            seen.does_not_say(secret).says("denied");
        }
        world.stop("svc");
    });
}
