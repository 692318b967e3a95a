//! Logs in directories that other users may write: a volume of uid 1000 in a container works, and its owner cannot choose
//! what root writes to, renames, reads or removes.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::path::{Path, PathBuf};

use crate::harness::{Outcome, Typed, World, eventually, http, read_log, world};
use crate::log_process::{all_once, numbers, print};

/// The user whose directory it is. No such user need exist.
const BOB: u32 = 1000;

/// A directory of this owner and mode.
fn directory(world: &World, name: &str, owner: u32, mode: u32) -> PathBuf {
    let path = world.work().join(name);
    fs::create_dir_all(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    chown(&path, Some(owner), Some(owner)).unwrap();
    path
}

fn start(world: &World, port: u16, stdout: &Path) -> Typed {
    let err = stdout.with_file_name("err.log");
    let flags = [format!("--stdout={}", stdout.display()), format!("--stderr={}", err.display())];
    world.start("svc", port).arg("--workers=1").args(flags)
}

/// Refused with this reason and a remedy, and nothing was started.
#[track_caller]
fn refused(world: &World, outcome: &Outcome, reason: &str) {
    outcome.fails(1).says("cannot write the log").says(reason).says("hint: ");
    world.nobody_is_left();
}

#[test]
fn root_logs_into_a_directory_of_another_user_and_rotates_and_compresses_there() {
    world(|world| {
        if !world.has_other_users() {
            return;
        }
        let logs = directory(world, "volume", BOB, 0o755);
        // What another process manager of that user has left is set aside, also when it is empty.
        fs::write(logs.join("out.log"), "").unwrap();
        fs::write(logs.join("err.log"), "earlier\n").unwrap();
        for name in ["out.log", "err.log"] {
            chown(logs.join(name), Some(BOB), Some(BOB)).unwrap();
        }
        let port = world.port();
        start(world, port, &logs.join("out.log")).arg("--log-max-size=64K").run().exits(0);
        print(port, "a", 0, 3_000, 100);
        let names = || -> Vec<String> {
            fs::read_dir(&logs).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
        };
        eventually("an old log is compressed", || names().iter().any(|name| name.ends_with(".gz")));
        world.stop("svc");
        let whole = world.whole_log(&logs.join("out.log"));
        all_once(&numbers(&whole, "a"), 3_000);
        assert_eq!(logs.join("out.log").symlink_metadata().unwrap().uid(), 0);
        let earlier = names().into_iter().find(|name| name.starts_with("err.log.")).expect("it is set aside");
        assert_eq!(read_log(&logs.join(earlier)), b"earlier\n");
    });
}

#[test]
fn a_way_through_a_link_that_another_user_may_exchange_is_refused() {
    world(|world| {
        if !world.has_other_users() {
            return;
        }
        let target = directory(world, "target", 0, 0o755);
        for (name, owner, mode) in [("bobs", BOB, 0o755), ("group", 0, 0o775), ("world", 0, 0o777)] {
            let around = directory(world, name, owner, mode);
            symlink(&target, around.join("logs")).unwrap();
            lchown(around.join("logs"), Some(BOB), Some(BOB)).unwrap();
            let outcome = start(world, world.port(), &around.join("logs/out.log")).run();
            refused(world, &outcome, "is a symbolic link in a directory that others may write");
        }
        assert_eq!(fs::read_dir(&target).unwrap().count(), 0, "something was made there");
        // A link that only root can exchange is root's own choice.
        let own = directory(world, "own", 0, 0o755);
        symlink(&target, own.join("logs")).unwrap();
        start(world, world.port(), &own.join("logs/out.log")).run().exits(0);
        world.stop("svc");
        assert!(target.join("out.log").exists());
    });
}

#[test]
fn a_second_name_of_a_file_of_roots_or_a_strangers_file_is_refused_as_a_log() {
    world(|world| {
        if !world.has_other_users() {
            return;
        }
        let victim = world.work().join("victim");
        for content in ["precious\n", ""] {
            fs::write(&victim, content).unwrap();
            let logs = directory(world, "bobs", BOB, 0o755);
            fs::hard_link(&victim, logs.join("out.log")).unwrap();
            refused(world, &start(world, world.port(), &logs.join("out.log")).run(), "it is a hard link");
            fs::remove_file(logs.join("out.log")).unwrap();
            fs::write(logs.join("out.log"), content).unwrap();
            chown(logs.join("out.log"), Some(4321), Some(4321)).unwrap();
            refused(world, &start(world, world.port(), &logs.join("out.log")).run(), "it belongs to uid 4321");
            fs::remove_file(logs.join("out.log")).unwrap();
            assert_eq!(fs::read_to_string(&victim).unwrap(), content);
        }
    });
}

#[test]
fn what_the_owner_of_the_directory_puts_in_a_running_logs_place_is_not_written() {
    world(|world| {
        if !world.has_other_users() {
            return;
        }
        let logs = directory(world, "bobs", BOB, 0o755);
        let (live, victim) = (logs.join("out.log"), world.work().join("victim"));
        fs::write(&victim, "precious\n").unwrap();
        let port = world.port();
        start(world, port, &live).run().exits(0);
        let says = |word: &str, file: &Path| {
            http::get(port, &format!("/print?text={word}"));
            eventually(word, || String::from_utf8_lossy(&read_log(file)).contains(word));
        };
        says("first", &live);
        let moved = logs.join("moved.log");
        fs::rename(&live, &moved).unwrap();
        fs::hard_link(&victim, &live).unwrap();
        says("second", &moved);
        fs::remove_file(&live).unwrap();
        symlink(&victim, &live).unwrap();
        says("third", &moved);
        // The whole directory, in another's place.
        let elsewhere = world.work().join("elsewhere");
        fs::rename(&logs, &elsewhere).unwrap();
        let outer = directory(world, "secret", 0, 0o755);
        fs::remove_file(elsewhere.join("out.log")).unwrap();
        symlink(&outer, &logs).unwrap();
        lchown(&logs, Some(BOB), Some(BOB)).unwrap();
        chown(world.work(), Some(BOB), Some(BOB)).unwrap();
        says("fourth", &elsewhere.join("moved.log"));
        world.stop("svc");
        chown(world.work(), Some(0), Some(0)).unwrap();
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious\n");
        assert_eq!(fs::read_dir(&outer).unwrap().count(), 0, "something was made in a directory of root's");
    });
}

#[test]
fn a_file_that_is_planted_as_an_old_log_is_neither_read_nor_copied() {
    world(|world| {
        if !world.has_other_users() {
            return;
        }
        let logs = directory(world, "bobs", BOB, 0o755);
        let victim = world.work().join("victim");
        fs::write(&victim, "precious\n").unwrap();
        fs::hard_link(&victim, logs.join("out.log.20200101.000000.0000")).unwrap();
        let port = world.port();
        start(world, port, &logs.join("out.log")).arg("--log-max-size=64K").run().exits(0);
        print(port, "a", 0, 3_000, 100);
        let compressed = || {
            let names = fs::read_dir(&logs).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
            names.filter(|name| name.ends_with(".gz")).collect::<Vec<_>>()
        };
        eventually("an old log is compressed", || !compressed().is_empty());
        world.stop("svc");
        assert!(compressed().iter().all(|name| !name.contains(".20200101.")), "{:?}", compressed());
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious\n");
    });
}

#[test]
fn a_state_directory_below_one_that_others_may_exchange_is_refused() {
    world(|world| {
        if !world.has_other_users() {
            return;
        }
        for (name, owner, mode) in [("bobs", BOB, 0o755), ("group", 0, 0o775), ("world", 0, 0o777)] {
            let above = directory(world, name, owner, mode);
            fs::create_dir(above.join("inner")).unwrap();
            let state = above.join("inner/state");
            let app = world.fixture("app");
            let start = ["start", "--daemon", "--title=svc", app.to_str().unwrap()];
            for command in [&start[..], &["stop", "--title=svc"], &["logs", "--title=svc"]] {
                let outcome = world.eggctl(command).env("EGGCTL_STATE_DIR", &state).run();
                outcome.fails(1).says("is not safe to use").says(name).says("hint: ");
            }
            assert!(!state.exists(), "made in a directory that is not safe");
        }
        // The sticky bit keeps others from exchanging what is not theirs.
        let sticky = directory(world, "sticky", 0, 0o1777);
        let state = sticky.join("state");
        world.start("svc", world.port()).env("EGGCTL_STATE_DIR", &state).run().exits(0);
        world.eggctl(&["stop", "--title=svc"]).env("EGGCTL_STATE_DIR", &state).run().exits(0);
    });
}
