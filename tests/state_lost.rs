//! The state directory under a running master: removed, moved, replaced, full of nothing. The service goes on and is found.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::harness::{World, eventually, http, processes, visibly, world};

const AGAIN: &str = "was removed: it is made again";

/// The one file with this ending in the directory, if it is there.
fn file(directory: &Path, ending: &str) -> Option<PathBuf> {
    let files = fs::read_dir(directory).ok()?.flatten().map(|entry| entry.path());
    files.filter(|path| path.to_string_lossy().ends_with(ending)).min()
}

fn is_whole(directory: &Path) -> bool {
    [".lock", ".json", ".sock", ".logs", ".cjs"].into_iter().all(|ending| file(directory, ending).is_some())
}

/// Waits for everything to be there again, which is to take no longer than a second.
#[track_caller]
fn made_again(directory: &Path) {
    let lost = Instant::now();
    eventually("everything is there again", || is_whole(directory));
    assert!(lost.elapsed() < Duration::from_secs(1), "{:?}", lost.elapsed());
}

/// Every command finds the master, a second start does not get its title, and a dead worker is replaced.
#[track_caller]
fn is_in_order(world: &World, state: &Path, port: u16) {
    let master = world.master("svc");
    let command = |words: &[&str]| world.eggctl(words).env("EGGCTL_STATE_DIR", state).run();
    command(&["reload", "--title=svc"]).exits(0);
    command(&["wait", "--title=svc", "--timeout=20000"]).exits(0);
    let second = world.start("svc", world.port()).env("EGGCTL_STATE_DIR", state).run();
    second.fails(1).says("already running");
    let old = world.workers(master);
    processes::signal(old[0], Signal::SIGKILL);
    eventually("the dead worker is replaced", || {
        let workers = world.workers(master);
        workers.len() == 2 && !workers.contains(&old[0])
    });
    assert_eq!(http::get(port, "/").status, 200);
    command(&["logs", "--title=svc"]).exits(0);
    let stop = command(&["stop", "--title=svc"]);
    stop.exits(0);
    world.nobody_is_left();
}

#[test]
fn a_state_directory_that_is_removed_is_made_again_and_every_command_goes_on() {
    world(|world| {
        world.expect_in_log("");
        let (port, state) = (world.port(), world.state());
        world.start("svc", port).run().exits(0);
        fs::remove_dir_all(&state).unwrap();
        made_again(&state);
        world.log_says(AGAIN);
        is_in_order(world, &state, port);
    });
}

#[test]
fn what_holds_the_state_directory_may_be_removed_or_moved_away_too() {
    world(|world| {
        world.expect_in_log("");
        let (port, above) = (world.port(), world.work().join("a"));
        let state = above.join("b/state");
        fs::create_dir_all(above.join("b")).unwrap();
        world.start("svc", port).env("EGGCTL_STATE_DIR", &state).run().exits(0);
        fs::remove_dir_all(&above).unwrap();
        made_again(&state);
        for moved in [&above, &above.join("b"), &state] {
            fs::rename(moved, world.work().join("moved")).unwrap();
            made_again(&state);
            fs::remove_dir_all(world.work().join("moved")).unwrap();
        }
        is_in_order(world, &state, port);
    });
}

#[test]
fn each_file_that_is_removed_or_moved_is_made_again() {
    world(|world| {
        world.expect_in_log("");
        let (port, state) = (world.port(), world.state());
        world.start("svc", port).run().exits(0);
        for ending in [".lock", ".json", ".sock", ".logs", ".cjs"] {
            fs::remove_file(file(&state, ending).unwrap()).unwrap();
            made_again(&state);
            fs::rename(file(&state, ending).unwrap(), world.work().join("moved")).unwrap();
            made_again(&state);
        }
        is_in_order(world, &state, port);
    });
}

#[test]
fn a_stop_or_a_start_right_after_the_loss_finds_the_master_that_runs() {
    world(|world| {
        world.expect_in_log("");
        let (port, state) = (world.port(), world.state());
        world.start("svc", port).run().exits(0);
        fs::remove_dir_all(&state).unwrap();
        world.start("svc", world.port()).run().fails(1).says("already running");
        eventually("everything is there again", || is_whole(&state));
        fs::remove_dir_all(&state).unwrap();
        world.stop("svc");
        world.nobody_is_left();
    });
}

#[test]
fn a_loss_while_the_start_goes_on_fails_no_start() {
    world(|world| {
        world.expect_in_log("");
        let port = world.port();
        let start = world.start("svc", port).env("WORKER", "hang").env("WORKER_BOOTS", "9").spawn();
        // One that is spawned in the very moment of the loss, and has not read its preload yet, cannot boot: that is known.
        eventually("the members boot", || world.boots("agent") == 1 && world.boots("worker") == 2);
        fs::remove_dir_all(world.state()).unwrap();
        start.finish().exits(0);
        eventually("everything is there again", || is_whole(&world.state()));
        is_in_order(world, &world.state(), port);
    });
}

#[test]
fn a_preload_that_cannot_be_written_stops_no_spawn_and_the_directory_comes_when_it_can() {
    world(|world| {
        world.expect_in_log("");
        let (port, state) = (world.port(), world.state());
        world.start("svc", port).run().exits(0);
        let master = world.master("svc");
        // A file in its place: not even root can make a directory there.
        let blocked = world.work().join("blocked");
        fs::write(&blocked, "").unwrap();
        let moved = world.work().join("moved");
        nix::fcntl::renameat2(
            nix::fcntl::AT_FDCWD,
            &blocked,
            nix::fcntl::AT_FDCWD,
            &state,
            nix::fcntl::RenameFlags::RENAME_EXCHANGE,
        )
        .unwrap();
        fs::rename(&blocked, &moved).unwrap();
        let old = world.workers(master);
        processes::signal(old[0], Signal::SIGKILL);
        world.log_says("cannot be made again");
        world.log_says("members run without the preload and leave less politely");
        eventually("a worker that has no preload", || {
            let workers = world.workers(master);
            workers.len() == 2 && !workers.contains(&old[0])
        });
        let new = world.workers(master)[1];
        eventually("it serves", || world.events_of("listening").iter().any(|event| event["pid"] == new));
        let args = processes::Process::read(new).unwrap().args;
        assert!(!args.iter().any(|word| word == "--require"), "{args:?}");
        fs::remove_file(&state).unwrap();
        eventually("everything is there again", || is_whole(&state));
        // It cannot be asked to leave as others are, and is not waited for in vain.
        let reload = world.eggctl(&["reload", "--title=svc"]).run();
        reload.exits(0);
        assert!(reload.took < Duration::from_secs(10), "{:?}", reload.took);
        assert!(
            world
                .workers(master)
                .iter()
                .all(|pid| { processes::Process::read(*pid).unwrap().args.iter().any(|word| word == "--require") })
        );
        is_in_order(world, &state, port);
    });
}

#[test]
fn cleaners_of_temporary_files_see_that_the_directory_and_its_socket_are_in_use() {
    world(|world| {
        world.start("svc", world.port()).run().exits(0);
        let socket = file(&world.state(), ".sock").unwrap();
        let bound = fs::read_to_string("/proc/net/unix").unwrap();
        assert!(bound.lines().any(|line| line.ends_with(socket.to_str().unwrap())), "{bound}");
        // systemd-tmpfiles leaves out a directory that it cannot lock.
        let state = world.state();
        world.program(&["flock", "-n", "-x", state.to_str().unwrap(), "true"]).run().exits(1);
        world.stop("svc");
        world.program(&["flock", "-n", "-x", state.to_str().unwrap(), "true"]).run().exits(0);
    });
}

/// Is there an strace? Says so where there is none.
fn has_strace() -> bool {
    let there = std::process::Command::new("strace").arg("-V").output().is_ok_and(|version| version.status.success());
    if !there {
        visibly("note: no strace here: what a running master opens was not seen");
    }
    there
}

#[test]
fn no_death_spawn_or_message_opens_a_file_by_its_path() {
    world(|world| {
        world.expect_a_death();
        if !has_strace() {
            return;
        }
        let port = world.port();
        world.start("svc", port).arg("--log-per-member").run().exits(0);
        let master = world.master("svc");
        let record = world.work().join("opened");
        let words = ["strace", "-o", record.to_str().unwrap(), "-e", "trace=%file", "-p", &master.to_string()];
        let strace = world.program(&words).spawn();
        strace.says("attached");
        let (old, agent) = (world.workers(master), world.agents(master)[0]);
        let ping = format!(r#"/send?message={{"action":"ping","data":{{"pid":{}}}}}"#, old[1]);
        http::get(port, &ping);
        processes::signal(old[0], Signal::SIGKILL);
        processes::signal(agent, Signal::SIGKILL);
        eventually("both are replaced", || {
            let listening = world.events_of("listening").len();
            listening == 3 && world.workers(master).len() == 2 && world.boots("agent") == 2
        });
        world.log_says(" started (");
        drop(strace);
        let opened = fs::read_to_string(&record).unwrap();
        // Between fork and exec the child is another process, which is not traced.
        let by_path = opened.lines().filter(|line| line.contains('"') && !line.contains("\"/proc/"));
        assert_eq!(by_path.collect::<Vec<_>>(), Vec::<&str>::new());
        assert!(opened.contains("/proc/self/fd/"), "it saw something: {opened}");
        world.stop("svc");
    });
}

#[test]
fn where_the_kernel_has_no_watch_left_the_directory_is_looked_at_before_each_spawn() {
    world(|world| {
        if !has_strace() {
            return;
        }
        let (port, state) = (world.port(), world.state());
        let runner =
            ["strace", "-o", "/dev/null", "-e", "trace=inotify_init1", "-e", "inject=inotify_init1:error=EMFILE"];
        let words = ["start", "--title=svc", "--workers=1", &format!("--port={port}")];
        let start = world.eggctl_under(&runner, &words).arg(world.fixture("app")).spawn();
        start.says("started on");
        start.says("the state directory cannot be watched");
        let master = world.master("svc");
        fs::remove_dir_all(&state).unwrap();
        let old = world.workers(master);
        processes::signal(old[0], Signal::SIGKILL);
        start.says(AGAIN);
        eventually("the dead worker is replaced", || matches!(&world.workers(master)[..], [one] if *one != old[0]));
        eventually("it serves", || http::try_get(port, "/").is_ok());
        world.stop("svc");
        start.finish().exits(0);
    });
}
