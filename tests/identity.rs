//! Arguments are a claim: no process holds a title, or is ended, because of what it is called.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::harness::{World, http, processes, world};

/// A user whom every machine has.
const NOBODY: u32 = 65534;
/// Whoever runs the program has its owner's rights: root's.
const SET_UID: u32 = 0o4755;
const OPTIONS: &str = r#"{"title":"svc"}"#;
/// What becomes root altogether, then says so and stays.
const ROOT_ALTOGETHER: &str =
    "process.setgid(0); process.setuid(0); console.log('stands'); setInterval(() => {}, 1e6);";

/// `tee`, which takes any arguments for files of its own directory, called like a master; the user's, with this cookie.
fn named_like_a_master(tee: &Path, name: &str, uid: u32, cookie: &str) -> Child {
    let mut command = Command::new(tee);
    command.arg0(name).args(["start-cluster", OPTIONS, "--title=svc"]).uid(uid).gid(uid);
    // The first word that is no flag ends the flags.
    command.env("POSIXLY_CORRECT", "1").env("EGGCTL_INSTANCE", cookie);
    command.current_dir(tee.parent().unwrap()).stdin(Stdio::piped()).stdout(Stdio::null());
    command.spawn().unwrap()
}

/// Node, set-uid, that has all of root's ids by now.
fn root_by_set_uid(node: &Path, name: &str, cookie: &str) -> Child {
    let script = node.parent().unwrap().join("start-cluster");
    fs::write(&script, ROOT_ALTOGETHER).unwrap();
    let mut command = Command::new(node);
    command.arg0(name).args(["start-cluster", OPTIONS, "--title=svc"]).uid(NOBODY).gid(NOBODY);
    command.env("EGGCTL_INSTANCE", cookie).current_dir(script.parent().unwrap()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut said = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut said).unwrap();
    assert_eq!(said, "stands\n");
    child
}

/// The cookie of a start that is over: what a stranger may know of one.
fn some_cookie(world: &World) -> String {
    world.start("svc", world.port()).arg("--workers=1").run().exits(0);
    let master = processes::Process::read(world.master("svc")).unwrap();
    world.stop("svc");
    master.variable("EGGCTL_INSTANCE").unwrap().to_owned()
}

/// Every command that looks for an application of this title, while these processes stand; none is blocked by them, and none
/// of them is hurt.
fn no_command_believes(world: &World, impostors: &mut [Child]) {
    let run = |args: &[&str]| world.eggctl(args).run();
    for _each_title in ["--title=svc", "--all"] {
        let stopped = run(&["stop", _each_title]);
        stopped.exits(0).says("no running application").does_not_say("stopping");
    }
    for command in [&["reload"][..], &["scale", "2"], &["wait", "--timeout=0"], &["restart"]] {
        world.eggctl(command).arg("--title=svc").run().fails(3).says("no application `svc` is running");
    }
    run(&["logs", "--title=svc", "--ledger"]).fails(3);
    run(&["wait", "--title=svc", "--for=stopped", "--timeout=20000"]).exits(0);
    let port = world.port();
    world.start("svc", port).arg("--workers=1").run().exits(0);
    run(&["wait", "--title=svc"]).exits(0);
    run(&["reload", "--title=svc"]).exits(0);
    run(&["scale", "2", "--title=svc"]).exits(0);
    run(&["logs", "--title=svc", "--ledger"]).exits(0);
    run(&["restart", "--title=svc"]).exits(0);
    assert_eq!(http::get(port, "/").status, 200);
    run(&["stop"]).exits(0).says("stopped svc");
    for impostor in impostors {
        assert!(impostor.try_wait().unwrap().is_none(), "an impostor was ended");
        impostor.kill().unwrap();
        impostor.wait().unwrap();
    }
}

#[test]
fn a_strangers_set_uid_program_that_looks_like_a_master_of_root_neither_blocks_nor_is_hurt() {
    world(|world| {
        if !world.has_other_users() {
            return;
        }
        let cookie = some_cookie(world);
        let copy = |program: &str| world.copy_of_program(program, &world.directory(program, &[]), SET_UID);
        let (tee, node) = (copy("tee"), copy("node"));
        world.expect_in_log(" INFO ");
        let mut impostors = vec![
            named_like_a_master(&tee, "eggctl", NOBODY, &cookie),
            named_like_a_master(&tee, "node", NOBODY, &cookie),
            root_by_set_uid(&node, "eggctl", &cookie),
            root_by_set_uid(&node, "node", &cookie),
        ];
        no_command_believes(world, &mut impostors);
    });
}

#[test]
fn a_process_of_ones_own_is_no_master_by_its_arguments_alone() {
    world(|world| {
        let forged = some_cookie(world).replace(|byte: char| byte.is_ascii_digit(), "0");
        let directory = world.directory("own", &[]);
        let tee = world.copy_of_program("tee", &directory, 0o755);
        let uid = nix::unistd::geteuid().as_raw();
        world.expect_in_log(" INFO ");
        let mut impostors = vec![
            // No cookie, and one of another title; a node that is none.
            named_like_a_master(&tee, "eggctl", uid, ""),
            named_like_a_master(&tee, "eggctl", uid, &forged),
            named_like_a_master(&tee, "node", uid, ""),
        ];
        no_command_believes(world, &mut impostors);
    });
}

#[test]
fn a_master_whose_executable_is_deleted_and_whose_directory_is_lost_is_found_by_its_cookie() {
    world(|world| {
        let port = world.port();
        for name in ["eggctl", "older"] {
            let copy = world.directory("release", &[]).join(name);
            fs::copy(env!("CARGO_BIN_EXE_eggctl"), &copy).unwrap();
            let port = format!("--port={port}");
            let typed =
                world.program(&[copy.to_str().unwrap(), "start", "--daemon", "--title=svc", "--workers=1", &port]);
            typed.arg(world.fixture("app")).run().exits(0);
            fs::remove_file(&copy).unwrap();
            let master = world.master("svc");
            fs::remove_dir_all(world.state()).unwrap();
            world.start("svc", world.port()).run().fails(1).says(&master.to_string());
            fs::remove_dir_all(world.state()).unwrap_or_default();
            world.stop("svc").says(&master.to_string());
            world.nobody_is_left();
        }
    });
}

#[test]
fn a_node_of_any_name_runs_a_master_of_egg_scripts_where_its_arguments_say_so() {
    world(|world| {
        let directory =
            world.directory("iojs", &[("start-cluster", "console.log('stands'); setInterval(() => {}, 1e6);")]);
        let node = world.copy_of_program("node", &directory, 0o755);
        let other = directory.join("alinode");
        fs::rename(&node, directory.join("runtime")).unwrap();
        let runtime = directory.join("runtime");
        let script = directory.join("start-cluster");
        let words = |named: &Path| {
            let named = format!("--node={}", named.display());
            let mut words: Vec<String> = [&runtime, &script].map(|path| path.display().to_string()).to_vec();
            words.extend([OPTIONS.to_owned(), "--title=svc".to_owned(), named]);
            words
        };
        let start = |named: &Path| {
            let words = words(named);
            let started = world.program(&words.iter().map(String::as_str).collect::<Vec<_>>()).spawn();
            started.says("stands");
            started
        };
        let impostor = start(&other);
        world.stop("svc");
        assert!(processes::alive(impostor.pid()), "its executable is not what its arguments name");
        let master = start(&runtime);
        world.stop("svc").says(&master.pid().to_string());
        master.finish();
        drop(impostor);
    });
}
