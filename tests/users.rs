//! Root and the applications of other users: `--user`, what is done with that user's rights, and what is said without it.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;

use crate::harness::{Typed, World, eventually, http, processes, world};

/// A user whom every machine has.
const NOBODY: u32 = 65534;
const APP: &str =
    "require('http').createServer((_, response) => response.end(String(process.pid))).listen(process.env.PORT)";

/// A directory of that user's own.
fn owned_by_nobody(world: &World, name: &str) -> PathBuf {
    let directory = world.directory(name, &[]);
    nix::unistd::chown(&directory, Some(NOBODY.into()), Some(NOBODY.into())).unwrap();
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o700)).unwrap();
    directory
}

/// The same command as that user, with a state directory and a home of its own.
fn as_nobody(world: &World, typed: Typed) -> Typed {
    let (state, home) = (owned_by_nobody(world, "nobodys-state"), owned_by_nobody(world, "nobodys-home"));
    typed.user(NOBODY).cwd("/").env("EGGCTL_STATE_DIR", state).env("MOCK_HOME_DIR", &home).env("HOME", home)
}

/// Starts `svc` as nobody; its master.
fn start_as_nobody(world: &World, port: u16, app: &str) -> u32 {
    let directory = world.directory("nobodys", &[("package.json", r#"{"name":"nobodys"}"#), ("app.js", app)]);
    let port = format!("--port={port}");
    let typed = as_nobody(world, world.eggctl(&["start", "--daemon", "--title=svc", "--workers=1", &port]));
    typed.arg(&directory).run().exits(0);
    world.master("svc")
}

/// Everything in this directory that does not belong to nobody.
fn of_others(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if entry.metadata().unwrap().uid() != NOBODY {
            found.push(path.clone());
        }
        if path.is_dir() {
            found.extend(of_others(&path));
        }
    }
    found
}

/// The uids, the gids and the groups of a process, as /proc has them.
fn rights(pid: u32) -> Vec<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let is_right = |line: &&str| ["Uid:", "Gid:", "Groups:"].iter().any(|name| line.starts_with(name));
    status.lines().filter(is_right).map(|line| line.trim().to_owned()).collect()
}

#[test]
fn root_operates_another_users_application_with_that_users_rights_and_leaves_no_file_of_its_own() {
    world(|world| {
        if !world.has_other_users() {
            return;
        }
        let port = world.port();
        let before = start_as_nobody(world, port, APP);
        let run = |args: &[&str]| world.eggctl(args).args(["--title=svc", "--user=nobody"]).run();
        run(&["wait"]).exits(0);
        run(&["reload"]).exits(0).says("reloaded");
        run(&["scale", "2"]).exits(0);
        assert_eq!(world.workers(before).len(), 2);
        run(&["logs", "-n", "all"]).exits(0).says("nobodys started on");
        run(&["logs", "--ledger"]).exits(0).says("written");
        run(&["logs", "--reopen"]).exits(0);
        run(&["restart", "--workers=1"]).exits(0).says("stopped svc");
        let master = world.master("svc");
        assert_ne!(master, before);
        assert_eq!(http::get(port, "/").status, 200);
        let own = ["Uid:\t65534\t65534\t65534\t65534", "Gid:\t65534\t65534\t65534\t65534", "Groups:\t65534"];
        for pid in [master].into_iter().chain(world.workers(master)) {
            assert_eq!(rights(pid), own);
        }
        let app = world.work().join("nobodys/app.js");
        fs::write(&app, "this is no JavaScript").unwrap();
        run(&["restart"]).fails(1).says("`eggctl restart --title=svc --user=nobody` tries again");
        fs::write(&app, APP).unwrap();
        let again = world.eggctl(&["restart", "--title=svc", "--user=nobody"]);
        again.env("EGGCTL_STATE_DIR", world.work().join("nobodys-state")).run().exits(0);
        let master = world.master("svc");
        assert_eq!(rights(master), own);
        run(&["stop"]).exits(0).says(&master.to_string());
        run(&["stop"]).exits(0).says("no running application");
        run(&["wait", "--for=stopped"]).exits(0);
        run(&["reload"]).fails(3);
        for directory in ["nobodys-state", "nobodys-home"] {
            assert_eq!(of_others(&world.work().join(directory)), Vec::<PathBuf>::new());
        }
        world.nobody_is_left();
    });
}

#[test]
fn without_the_user_every_command_says_under_which_user_the_application_runs() {
    world(|world| {
        if !world.has_other_users() {
            return;
        }
        let master = start_as_nobody(world, world.port(), APP);
        // A directory where `eggctl start` would start the very application.
        let package = r#"{"name":"svc","eggScriptsConfig":{"title":"svc"}}"#;
        let here = world.directory("here", &[("package.json", package), ("app.js", "")]);
        for command in [&["reload"][..], &["scale", "2"], &["wait", "--timeout=0"], &["restart"]] {
            for title in [&["--title=svc"][..], &[]] {
                let refused = world.eggctl(command).args(title).cwd(&here).run();
                refused.fails(3).says("runs under nobody").says(&master.to_string()).says("--user=nobody");
                refused.does_not_say("eggctl start");
            }
        }
        for command in [&["logs"][..], &["logs", "--ledger"], &["logs", "--reopen"]] {
            let refused = world.eggctl(command).arg("--title=svc").cwd(&here).run();
            refused.fails(1).says("runs under nobody").says("--user=nobody");
        }
        world.eggctl(&["stop", "--title=svc"]).run().exits(0).says("svc of nobody runs").says("--user=nobody");
        world.eggctl(&["stop", "--title=svc", "--user=nobody"]).run().exits(0);
        // Now the hint is true, and only here.
        world.eggctl(&["reload", "--title=svc"]).cwd(&here).run().fails(3).says("`eggctl start` starts");
        world.eggctl(&["reload", "--title=svc"]).cwd("/").run().fails(3).does_not_say("eggctl start");
        world.eggctl(&["reload", "--title=other"]).cwd(&here).run().fails(3).does_not_say("eggctl start");
    });
}

/// A user that has no entry in passwd, as in many a container.
const UNKNOWN: u32 = 1_234_567;

#[test]
fn a_user_without_a_name_is_named_by_number_and_another_group_is_said() {
    world(|world| {
        if !world.has_other_users() {
            return;
        }
        let owned = |name: &str| {
            let directory = world.directory(name, &[]);
            nix::unistd::chown(&directory, Some(UNKNOWN.into()), Some(UNKNOWN.into())).unwrap();
            fs::set_permissions(&directory, fs::Permissions::from_mode(0o700)).unwrap();
            directory
        };
        let (state, home) = (owned("state-of-unknown"), owned("home-of-unknown"));
        let app = world.directory("unknowns", &[("package.json", "{}"), ("app.js", APP)]);
        let port = format!("--port={}", world.port());
        // Its group is its own, and root cannot know it: there is no passwd to say so.
        let typed = world.eggctl(&["start", "--daemon", "--title=svc", "--workers=1", &port]).arg(&app);
        let typed = typed.user(UNKNOWN).cwd("/").env("MOCK_HOME_DIR", &home).env("HOME", &home);
        typed.env("EGGCTL_STATE_DIR", &state).run().exits(0);
        for command in [&["reload"][..], &["restart"], &["scale", "2"], &["wait", "--timeout=0"]] {
            let refused = world.eggctl(command).arg("--title=svc").run();
            refused.fails(3).says("uid 1234567").says("`--user=1234567`");
        }
        world.eggctl(&["logs", "--title=svc"]).run().fails(1).says("`--user=1234567`");
        world.eggctl(&["stop", "--title=svc"]).run().exits(0).says("`--user=1234567`");
        for command in ["reload", "restart"] {
            let as_unknown = world.eggctl(&[command, "--title=svc", "--user=1234567"]);
            let refused = as_unknown.env("EGGCTL_STATE_DIR", &state).run();
            refused.fails(1).says("runs with group 1234567").says("setpriv --reuid=1234567 --regid=1234567");
        }
        let stop = world.eggctl(&["stop", "--title=svc", "--user=1234567"]);
        stop.env("EGGCTL_STATE_DIR", &state).run().exits(0).says("stopped svc");
    });
}

#[test]
fn another_user_sees_that_root_runs_one_and_may_not_act_for_root() {
    world(|world| {
        if !world.has_other_users() {
            return;
        }
        world.start("svc", world.port()).arg("--workers=1").run().exits(0);
        for command in [&["reload"][..], &["scale", "2"], &["wait", "--timeout=0"], &["restart"]] {
            let as_nobody = |typed: Typed| as_nobody(world, typed).run();
            as_nobody(world.eggctl(command).arg("--title=svc"))
                .fails(3)
                .says("runs under root")
                .does_not_say("eggctl start");
            as_nobody(world.eggctl(command).args(["--title=svc", "--user=root"])).fails(4).says("only root");
        }
        for command in [&["stop"][..], &["logs"], &["logs", "--ledger"], &["wait", "--for=stopped"]] {
            as_nobody(world, world.eggctl(command).args(["--title=svc", "--user=root"]))
                .run()
                .fails(4)
                .says("only root");
        }
        world.eggctl(&["stop", "--title=svc", "--user=no-such-user"]).run().fails(2).says("no such user");
        world.eggctl(&["stop", "--title=svc", "--user=root"]).run().exits(0).says("stopped svc");
    });
}

#[test]
fn a_stop_in_another_users_name_ends_no_process_that_is_roots_too() {
    world(|world| {
        if !world.has_other_users() {
            return;
        }
        world.expect_in_log("");
        let node = world.copy_of_program("node", &world.directory("set-uid", &[]), 0o4755);
        let child = "process.setgid(0); process.setuid(0); process.title = 'roots'; setInterval(() => {}, 1e6)";
        let app = format!(
            "require('child_process').spawn('{}', ['-e', \"{child}\"], {{ stdio: 'ignore', detached: true }}).unref();\n{APP}",
            node.display()
        );
        start_as_nobody(world, world.port(), &app);
        let roots =
            || world.alive().into_iter().find(|one| one.args.first().is_some_and(|name| name.starts_with("roots")));
        eventually("root's process stands below nobody's", || roots().is_some());
        let pid = roots().unwrap().pid;
        let outcome = world.eggctl(&["stop", "--title=svc", "--user=nobody"]).run();
        assert!(processes::alive(pid), "{outcome:?}");
        outcome.fails(4).says(&format!("process {pid} belongs to root"));
        processes::signal(pid, Signal::SIGKILL);
        eventually("it is gone", || !processes::alive(pid));
        world.nobody_is_left();
    });
}

#[test]
fn logs_of_another_user_are_read_with_that_users_rights() {
    world(|world| {
        if !world.has_other_users() {
            return;
        }
        start_as_nobody(world, world.port(), APP);
        world.eggctl(&["stop", "--title=svc", "--user=nobody"]).run().exits(0);
        let home = world.work().join("nobodys-home/logs");
        let (secret, log) = (world.work().join("secret.log"), home.join("master-stdout.log"));
        fs::write(&secret, "root's secret\n").unwrap();
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
        fs::remove_file(&log).unwrap();
        // What nobody could make with a link to a file of root's, were links of others not forbidden by most kernels.
        fs::hard_link(&secret, &log).unwrap();
        // Root's variable is followed where it names a directory of nobody's.
        let typed = world.eggctl(&["logs", "--title=svc", "--user=nobody"]);
        let outcome = typed.env("EGGCTL_STATE_DIR", world.work().join("nobodys-state")).run();
        outcome.fails(4).says("cannot read the log").does_not_say("secret\n");
        fs::remove_file(&log).unwrap();
    });
}
