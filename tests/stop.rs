//! `stop`: who it finds, who it leaves alone, and that it returns only when everything is gone.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::Signal;

use crate::harness::{Background, Typed, World, eventually, http, processes, world};

#[test]
fn stop_returns_when_everything_is_gone_and_gives_a_receipt() {
    world(|world| {
        let port = world.port();
        world.start("svc", port).env("WORKER_CHILD", "plain").env("AGENT_CHILD", "setsid").run().exits(0);
        let master = world.master("svc");
        let receipt = world.stop("svc");
        world.nobody_is_left();
        receipt.says("svc").says(&master.to_string()).says(" s").does_not_say("kill");
        assert!(http::try_get(port, "/").is_err(), "the port is still served");
    });
}

#[test]
fn stop_without_anything_running_warns_and_succeeds() {
    world(|world| {
        for _twice in 0..2 {
            let outcome = world.eggctl(&["stop", "--title=svc"]).run();
            outcome.exits(0).says("svc").says("running");
            assert!(!outcome.stderr.is_empty(), "a warning goes to stderr: {outcome:?}");
        }
        world.start("svc", world.port()).run().exits(0);
        world.stop("svc");
        world.eggctl(&["stop", "--title=svc"]).run().exits(0);
    });
}

#[test]
fn a_member_that_ignores_term_is_killed_and_stop_waits_for_it() {
    world(|world| {
        world.expect_in_log("SIGKILL");
        let typed = world.start("svc", world.port()).env("WORKER_TERM", "ignore");
        typed.env("EGG_APP_CLOSE_TIMEOUT", "400").run().exits(0);
        world.stop("svc");
        world.nobody_is_left();
        assert_eq!(world.events_of("term").len(), 2);
    });
}

#[test]
fn a_stopped_master_is_continued_and_closes() {
    world(|world| {
        world.start("svc", world.port()).run().exits(0);
        processes::signal(world.master("svc"), Signal::SIGSTOP);
        world.stop("svc");
        world.nobody_is_left();
    });
}

#[test]
fn a_master_that_ignores_term_is_killed_at_the_deadline_and_the_receipt_says_so() {
    world(|world| {
        let master = egg_scripts_master(world, "process.on('SIGTERM', () => {});");
        let outcome = world.eggctl(&["stop", "--title=svc", "--timeout=500"]).run();
        world.nobody_is_left();
        outcome.exits(0).says("kill").says(&master.pid().to_string());
        master.finish().killed_by(Signal::SIGKILL);
    });
}

#[test]
fn titles_that_only_begin_alike_are_left_alone() {
    world(|world| {
        let port = world.port();
        world.start("svc2", port).arg("--workers=1").run().exits(0);
        world.start("svc", world.port()).arg("--workers=1").run().exits(0);
        world.stop("svc");
        assert!(world.masters("svc").is_empty());
        world.eggctl(&["stop", "--title=sv"]).run().exits(0);
        world.eggctl(&["stop", "--title=SVC2"]).run().exits(0);
        world.master("svc2");
        assert_eq!(http::get(port, "/").status, 200);
        world.stop("svc2");
    });
}

/// A `sleep` whose arguments look like these.
fn impostor(words: &[&str]) -> Child {
    let mut command = Command::new("sh");
    // The shell reads its script from -c; the words after it are plain arguments that /proc shows.
    command.arg0(words[0]).args(["-c", "read _"]).args(&words[1..]);
    command.stdin(Stdio::piped()).spawn().unwrap()
}

#[test]
fn a_process_that_only_carries_the_words_is_left_alone() {
    world(|world| {
        let options = r#"{"title":"svc","baseDir":"/srv"}"#;
        let mut impostors = vec![
            // An editor, a grep, a shell history: one argument holds the whole text.
            impostor(&["vim", &format!("node start-cluster {options} --title=svc")]),
            impostor(&["grep", "-r", "start-cluster --title=svc"]),
            impostor(&["tail", "/logs/egg-cluster/lib/app_worker.js", "--title=svc"]),
            impostor(&["sh", "--title=svc"]),
        ];
        world.start("svc", world.port()).arg("--workers=1").run().exits(0);
        world.stop("svc");
        world.eggctl(&["stop", "--title=svc"]).run().exits(0);
        for impostor in &mut impostors {
            assert!(impostor.try_wait().unwrap().is_none(), "an impostor was ended");
            impostor.kill().unwrap();
            impostor.wait().unwrap();
        }
    });
}

#[test]
fn leftovers_of_a_killed_master_are_found_by_their_cookie_and_cleared() {
    world(|world| {
        world.start("svc", world.port()).env("WORKER_CHILD", "plain,setsid").run().exits(0);
        processes::signal(world.master("svc"), Signal::SIGKILL);
        eventually("only the grandchildren are left", || {
            world.alive().len() == 4 && world.alive().iter().all(|process| process.args[0] == "sleep")
        });
        let outcome = world.eggctl(&["stop", "--title=svc"]).run();
        world.nobody_is_left();
        outcome.exits(0);
    });
}

#[test]
fn leftovers_of_a_killed_master_are_cleared_also_after_another_start_of_the_title() {
    world(|world| {
        let port = world.port();
        world.start("svc", port).arg("--workers=1").env("WORKER_CHILD", "setsid").run().exits(0);
        processes::signal(world.master("svc"), Signal::SIGKILL);
        eventually("only the grandchild is left", || {
            world.alive().len() == 1 && world.alive().iter().all(|process| process.args[0] == "sleep")
        });
        let left_behind = world.alive()[0].pid;
        world.start("svc", port).run().exits(0);
        let receipt = world.stop("svc");
        world.nobody_is_left();
        receipt.says("left behind").says(&left_behind.to_string());
    });
}

#[test]
fn without_a_title_the_only_one_running_is_meant_and_of_two_neither() {
    world(|world| {
        world.start("one", world.port()).arg("--workers=1").run().exits(0);
        world.start("two", world.port()).arg("--workers=1").run().exits(0);
        let refused = world.eggctl(&["stop"]).run();
        assert!([Some(1), Some(2)].contains(&refused.status.code()), "{refused:?}");
        refused.says("one").says("two").says("--all");
        world.master("one");
        world.master("two");
        world.stop("one");
        world.eggctl(&["stop"]).run().exits(0).says("two");
        world.nobody_is_left();
    });
}

#[test]
fn all_stops_all() {
    world(|world| {
        for title in ["one", "two", "three"] {
            world.start(title, world.port()).arg("--workers=1").run().exits(0);
        }
        world.eggctl(&["stop", "--all"]).run().exits(0).says("one").says("two").says("three");
        world.nobody_is_left();
    });
}

#[test]
fn an_empty_title_is_no_title() {
    world(|world| {
        world.start("svc", world.port()).arg("--workers=1").run().exits(0);
        world.eggctl(&["stop", "--title="]).run().fails(2).says("title");
        world.master("svc");
        world.stop("svc");
    });
}

#[test]
fn the_running_can_be_stopped_after_the_state_directory_is_lost() {
    world(|world| {
        world.start("svc", world.port()).run().exits(0);
        fs::remove_dir_all(world.state()).unwrap();
        world.stop("svc");
        world.nobody_is_left();
    });
}

/// What egg-scripts runs: node, the path of start-cluster, the options as JSON, the title again.
fn egg_scripts_master(world: &World, script: &str) -> Background {
    let script = format!("{script} setInterval(() => {{}}, 1e6); console.log('stands');");
    let path = world.directory("egg-scripts/lib", &[("start-cluster", &script)]).join("start-cluster");
    let options = r#"{"workers":1,"title":"svc","baseDir":"/srv","framework":"/srv/egg"}"#;
    let master = world.program(&["node", "--no-deprecation", path.to_str().unwrap(), options, "--title=svc"]).spawn();
    master.says("stands");
    master
}

#[test]
fn a_master_started_by_egg_scripts_is_found_too() {
    world(|world| {
        let master = egg_scripts_master(world, "");
        world.stop("other");
        assert!(processes::alive(master.pid()));
        world.stop("svc");
        master.finish().killed_by(Signal::SIGTERM);
    });
}

#[test]
fn a_master_started_by_egg_scripts_gets_no_signal_that_is_meant_for_ours() {
    world(|world| {
        // It has been started by us before: where its logs were is known.
        world.start("svc", world.port()).run().exits(0);
        world.stop("svc");
        let master = egg_scripts_master(world, "process.on('SIGUSR1', () => process.exit(9));");
        let typed = ["logs", "--title=svc"];
        for what in ["--reopen", "--ledger"] {
            world.eggctl(&typed).arg(what).run().fails(1).says("svc runs under egg-scripts");
        }
        world.stop("svc");
        master.finish().killed_by(Signal::SIGTERM);
    });
}

#[test]
fn a_masters_child_that_still_has_its_arguments_is_no_second_master() {
    world(|world| {
        // As any member looks between fork and exec; this one stays so.
        let child = "const { env, argv0, execPath, execArgv, argv } = process;
            const options = { argv0, stdio: 'ignore', env: { ...env, CHILD: 1 } };
            if (!env.CHILD) require('child_process').spawn(execPath, [...execArgv, ...argv.slice(1)], options);";
        let master = egg_scripts_master(world, child);
        eventually("the child stands", || {
            let alive = world.alive();
            alive.len() == 2 && alive[0].args == alive[1].args
        });
        world.stop("svc").says(&format!("stopping svc (master {})", master.pid()));
        master.finish().killed_by(Signal::SIGTERM);
    });
}

#[test]
fn it_does_not_signal_its_own_ancestors() {
    world(|world| {
        let eggctl = env!("CARGO_BIN_EXE_eggctl");
        // A shell that looks like a master of that title and runs the command itself.
        let script = format!("{eggctl} stop --title=svc; echo survived");
        let options = r#"{"title":"svc","baseDir":"/srv"}"#;
        let outcome = world.program(&["sh", "-c", &script, "node", "start-cluster", options, "--title=svc"]).run();
        outcome.exits(0).says("survived");
    });
}

/// A user whom every machine has.
const NOBODY: u32 = 65534;

/// A directory of that user's own.
fn owned_by_nobody(world: &World, name: &str) -> String {
    let directory = world.directory(name, &[]);
    nix::unistd::chown(&directory, Some(NOBODY.into()), Some(NOBODY.into())).unwrap();
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o700)).unwrap();
    directory.to_str().unwrap().to_owned()
}

/// The same command as that user, with a state directory and a home of its own.
fn as_nobody(world: &World, typed: Typed) -> Typed {
    let (state, home) = (owned_by_nobody(world, "nobodys-state"), owned_by_nobody(world, "nobodys-home"));
    typed.user(NOBODY).cwd("/").env("EGGCTL_STATE_DIR", state).env("MOCK_HOME_DIR", &home).env("HOME", home)
}

#[test]
fn another_users_master_is_not_seen_and_asking_for_it_is_not_permitted() {
    world(|world| {
        if !world.has_other_users() {
            return;
        }
        world.start("svc", world.port()).arg("--workers=1").run().exits(0);
        let master = world.master("svc");
        as_nobody(world, world.eggctl(&["stop", "--title=svc"])).run().does_not_say("stopped svc");
        assert!(processes::alive(master));
        as_nobody(world, world.eggctl(&["stop", "--title=svc", "--user=root"])).run().fails(4).says("root");
        assert!(processes::alive(master));
        world.stop("svc");
    });
}

#[test]
fn root_stops_another_users_master_only_when_it_names_the_user() {
    world(|world| {
        if !world.has_other_users() {
            return;
        }
        let files = [("package.json", r#"{"name":"nobodys"}"#), ("app.js", "require('http').createServer().listen(0)")];
        let directory = world.directory("nobodys", &files);
        let typed = as_nobody(world, world.eggctl(&["start", "--daemon", "--title=svc", "--workers=1"]));
        typed.arg(&directory).run().exits(0);
        let master = world.master("svc");
        world.stop("svc");
        assert!(processes::alive(master), "without --user, root's own are meant");
        world.eggctl(&["stop", "--title=svc", "--user=nobody"]).run().exits(0).says(&master.to_string());
        world.nobody_is_left();
    });
}
