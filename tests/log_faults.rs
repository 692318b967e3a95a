//! What can happen to logs: full disks, files that go or change under the logger, limits, odd bytes. The service goes on.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::harness::{World, await_some, eventually, http, processes, read_log, world};
use crate::log_process::{all_once, contains, ledger, logger, loggers, numbers, print};

/// A running application with one worker, and what the tests do with it.
struct Service<'a> {
    world: &'a World,
    port: u16,
    log: PathBuf,
}

impl<'a> Service<'a> {
    fn start(world: &'a mut World, flags: &[&str]) -> Service<'a> {
        world.expect_in_log("");
        let port = world.port();
        world.start("svc", port).arg("--workers=1").args(flags).run().exits(0);
        world.log_says("fixture started");
        Service { world, port, log: world.stdout_log() }
    }

    /// Prints a word, and waits until the live log has it.
    #[track_caller]
    fn says(&self, word: &str) {
        http::get(self.port, &format!("/print?text={word}"));
        eventually(word, || contains(&read_log(&self.log), word));
    }
}

/// A small file system in memory. `None` where none can be mounted.
fn small_disk(world: &World, size: &str) -> Option<PathBuf> {
    let place = world.work().join("disk");
    fs::create_dir_all(&place).unwrap();
    let options = format!("size={size}");
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(&place).status().unwrap();
    if !mounted.success() {
        eprintln!("note: nothing can be mounted here: this test did not run");
        return None;
    }
    Some(place)
}

/// A running application with one worker whose stdout goes to a disk that is full soon, and what makes room there once it is
/// removed.
struct FullDisk {
    port: u16,
    log: PathBuf,
    ballast: PathBuf,
}

/// `None` where nothing can be mounted.
fn on_a_full_disk(world: &mut World, flags: &[&str]) -> Option<FullDisk> {
    let disk = small_disk(world, "128k")?;
    let (log, ballast) = (disk.join("out.log"), disk.join("ballast"));
    fs::write(&ballast, vec![b'b'; 64 * 1024]).unwrap();
    world.expect_in_log("");
    let port = world.port();
    let flag = format!("--stdout={}", log.display());
    world.start("svc", port).args(flags).args(["--workers=1", &flag]).run().exits(0);
    Some(FullDisk { port, log, ballast })
}

#[test]
fn a_disk_that_takes_nothing_holds_a_start_up_for_a_second_at_most() {
    world(|world| {
        let Some(disk) = small_disk(world, "128k") else { return };
        world.expect_in_log("");
        let port = world.port();
        let start = |world: &World| {
            let flags = ["--log-full=block".to_owned(), format!("--stdout={}", disk.join("out.log").display())];
            world.start("svc", port).arg("--workers=1").args(flags).run()
        };
        let usual = start(world);
        usual.exits(0);
        world.stop("svc");
        fs::write(disk.join("ballast"), vec![b'b'; 128 * 1024]).unwrap_err();
        let held_up = start(world);
        held_up.exits(0);
        assert!(held_up.took > Duration::from_secs(1), "nothing could be written: {:?}", held_up.took);
        assert!(held_up.took < usual.took + Duration::from_secs(3), "{:?}, usually {:?}", held_up.took, usual.took);
        assert_eq!(http::get(port, "/").status, 200);
        fs::remove_file(disk.join("ballast")).unwrap();
        world.stop("svc");
    });
}

#[test]
fn a_full_disk_drops_and_counts_lines_and_the_log_says_so_once_there_is_room() {
    world(|world| {
        let Some(FullDisk { port, log, ballast }) = on_a_full_disk(world, &[]) else { return };
        // More than the disk and the pipe can take: the worker goes on when lines are dropped.
        print(port, "a", 0, 30_000, 100);
        assert_eq!(http::get(port, "/").status, 200);
        eventually("the ledger knows at once", || ledger(world)["linesDropped"].as_u64() > Some(1_000));
        print(port, "b", 0, 10, 100);
        fs::remove_file(ballast).unwrap();
        let said = |log: &PathBuf| String::from_utf8_lossy(&read_log(log)).contains("were dropped from");
        eventually("the log says what is missing", || said(&log));
        http::get(port, "/print?text=there+is+room");
        eventually("the service logs on", || contains(&read_log(&log), "there is room"));
        let text = String::from_utf8(read_log(&log)).unwrap();
        let notice = text.lines().find(|line| line.contains("were dropped from")).unwrap();
        assert!(notice.contains("No space left on device"), "{notice}");
        let words: Vec<&str> = notice.split_once("[logger] ").unwrap().1.split(' ').collect();
        let (bytes, lines): (usize, usize) = (words[0].parse().unwrap(), words[3].parse().unwrap());
        // Every line is either there or counted; one may be cut where the disk was full.
        let there = numbers(text.as_bytes(), "a").len() + numbers(text.as_bytes(), "b").len();
        assert!((30_010..=30_011).contains(&(there + lines)), "{there} there, {lines} dropped");
        assert!(bytes >= lines * 100, "{notice}");
        let told = ledger(world);
        assert_eq!((&told["bytesDropped"], &told["linesDropped"]), (&bytes.into(), &lines.into()));
        world.stop("svc");
    });
}

#[test]
fn what_a_logger_dropped_that_was_killed_meanwhile_is_told_by_the_next_one() {
    world(|world| {
        let Some(FullDisk { port, log, ballast }) = on_a_full_disk(world, &[]) else { return };
        print(port, "a", 0, 30_000, 100);
        eventually("lines are dropped", || ledger(world)["linesDropped"].as_u64() > Some(1_000));
        processes::signal(logger(world), Signal::SIGKILL);
        print(port, "b", 0, 10, 100);
        fs::remove_file(ballast).unwrap();
        http::get(port, "/print?text=there+is+room");
        let all_told = || {
            let text = String::from_utf8_lossy(&read_log(&log)).into_owned();
            let bytes = |line: &str| -> Option<u64> {
                let (_, told) = line.split_once("[logger] ")?;
                line.contains("were dropped").then(|| told.split(' ').next().unwrap().parse().unwrap())
            };
            let told: Vec<u64> = text.lines().filter_map(bytes).collect();
            !told.is_empty() && ledger(world)["bytesDropped"] == told.iter().sum::<u64>()
        };
        eventually("the log tells of everything the ledger has", || {
            http::get(port, "/print?text=more");
            all_told()
        });
        assert!(contains(&read_log(&log), "by a logger that was killed before it could tell"));
        world.stop("svc");
    });
}

#[test]
fn with_block_whoever_prints_waits_for_room_and_nothing_is_lost() {
    world(|world| {
        let Some(FullDisk { port, log, ballast }) = on_a_full_disk(world, &["--log-full=block"]) else { return };
        let count = 900;
        print(port, "a", 0, count, 100);
        eventually("the disk is full", || fs::metadata(&log).unwrap().len() > 60_000);
        std::thread::sleep(std::time::Duration::from_millis(1500));
        assert!(numbers(&read_log(&log), "a").len() < count);
        fs::remove_file(ballast).unwrap();
        eventually("the rest", || numbers(&read_log(&log), "a").len() == count);
        all_once(&numbers(&read_log(&log), "a"), count);
        assert!(!contains(&read_log(&log), "dropped"));
        world.stop("svc");
    });
}

#[test]
fn a_read_only_place_fails_the_start_and_names_the_file() {
    world(|world| {
        let Some(disk) = small_disk(world, "128k") else { return };
        let remounted = Command::new("mount").args(["-o", "remount,ro"]).arg(&disk).status().unwrap();
        assert!(remounted.success());
        let log = disk.join("out.log");
        let outcome = world.start("svc", world.port()).arg(format!("--stdout={}", log.display())).run();
        outcome.fails(1).says(log.to_str().unwrap()).says("Read-only");
        world.nobody_is_left();
    });
}

#[test]
fn a_live_file_that_was_deleted_or_moved_is_opened_anew() {
    world(|world| {
        let service = Service::start(world, &[]);
        service.says("before");
        fs::remove_file(&service.log).unwrap();
        service.says("after-the-deletion");
        let moved = service.log.with_extension("moved");
        fs::rename(&service.log, &moved).unwrap();
        service.says("after-the-move");
        assert!(contains(&fs::read(&moved).unwrap(), "after-the-deletion"));
        fs::remove_dir_all(service.log.parent().unwrap()).unwrap();
        service.says("after-the-directory");
        service.world.stop("svc");
    });
}

#[test]
fn a_live_file_that_is_deleted_under_a_flood_is_opened_anew_within_a_second() {
    world(|world| {
        let service = Service::start(world, &[]);
        let port = service.port;
        let flood = std::thread::spawn(move || (0..40).for_each(|_| print(port, "flood", 0, 5_000, 100)));
        eventually("the flood", || contains(&read_log(&service.log), "flood"));
        fs::remove_file(&service.log).unwrap();
        let deleted = std::time::Instant::now();
        eventually("another file", || service.log.exists());
        assert!(deleted.elapsed() < std::time::Duration::from_millis(1_100), "{:?}", deleted.elapsed());
        flood.join().unwrap();
        service.world.stop("svc");
    });
}

#[test]
fn a_live_file_that_was_cut_goes_on_at_its_new_end() {
    world(|world| {
        let service = Service::start(world, &[]);
        print(service.port, "a", 0, 1_000, 100);
        service.says("before");
        fs::File::options().write(true).open(&service.log).unwrap().set_len(0).unwrap();
        service.says("after");
        let text = read_log(&service.log);
        assert!(text.starts_with(b"after"), "no hole of zeros: {:?}", &text[..20]);
        service.world.stop("svc");
    });
}

#[test]
fn a_directory_or_a_dangling_link_in_the_live_files_place_is_not_followed_and_nothing_is_lost() {
    world(|world| {
        let service = Service::start(world, &[]);
        let victim = service.world.work().join("victim");
        for (number, obstacle) in ["directory", "link"].into_iter().enumerate() {
            let moved = service.log.with_extension(obstacle);
            fs::rename(&service.log, &moved).unwrap();
            match number {
                0 => fs::create_dir(&service.log).unwrap(),
                _ => symlink(&victim, &service.log).unwrap(),
            }
            http::get(service.port, &format!("/print?text=beside-a-{obstacle}"));
            eventually("the open file is written on", || contains(&read_log(&moved), &format!("beside-a-{obstacle}")));
            match number {
                0 => fs::remove_dir(&service.log).unwrap(),
                _ => fs::remove_file(&service.log).unwrap(),
            }
            service.says(&format!("after-the-{obstacle}"));
        }
        assert!(!victim.exists());
        service.world.stop("svc");
    });
}

#[test]
fn an_external_rotation_is_followed_when_the_files_are_reopened() {
    world(|world| {
        let service = Service::start(world, &[]);
        let flood = {
            let port = service.port;
            std::thread::spawn(move || print(port, "a", 0, 30_000, 100))
        };
        eventually("the flood", || contains(&read_log(&service.log), "a 100 "));
        let moved = service.log.with_extension("moved");
        fs::rename(&service.log, &moved).unwrap();
        service.world.eggctl(&["logs", "--title=svc", "--reopen"]).run().exits(0);
        eventually("a new file", || service.log.exists());
        flood.join().unwrap();
        service.world.stop("svc");
        let both = [read_log(&moved), read_log(&service.log)].concat();
        all_once(&numbers(&both, "a"), 30_000);
    });
}

#[test]
fn a_limit_on_the_size_of_files_begins_new_ones_and_loses_nothing() {
    world(|world| {
        world.expect_in_log("");
        let port = world.port();
        let start = world.eggctl_under(
            &["prlimit", "--fsize=100000"],
            &["start", "--daemon", "--title=svc", "--workers=1", &format!("--port={port}"), "--log-keep=1000"],
        );
        start.arg(world.fixture("app")).run().exits(0);
        print(port, "a", 0, 5_000, 100);
        world.stop("svc");
        all_once(&numbers(&world.whole_log(&world.stdout_log()), "a"), 5_000);
    });
}

#[test]
fn a_logger_without_descriptors_writes_on_and_rotates_when_it_has_some() {
    world(|world| {
        let service = Service::start(world, &["--log-max-size=64K", "--log-keep=1000"]);
        let pid = logger(service.world).to_string();
        let limit = |files: &str| {
            let done = Command::new("prlimit").args(["--pid", &pid, &format!("--nofile={files}")]).status().unwrap();
            assert!(done.success());
        };
        limit("3:4096");
        print(service.port, "a", 0, 5_000, 100);
        eventually("all is written", || numbers(&service.world.whole_log(&service.log), "a").len() == 5_000);
        limit("4096:4096");
        std::thread::sleep(std::time::Duration::from_millis(1_100));
        print(service.port, "a", 5_000, 5_000, 100);
        service.says("at-the-end");
        service.world.stop("svc");
        all_once(&numbers(&service.world.whole_log(&service.log), "a"), 10_000);
        assert!(fs::metadata(&service.log).unwrap().len() < 70_000);
    });
}

#[test]
fn odd_bytes_arrive_as_they_were_printed() {
    world(|world| {
        world.expect_in_log("");
        let program = r#"
const fs = require('fs');
const put = bytes => { for (let at = 0; at < bytes.length;) at += fs.writeSync(1, bytes, at); };
put(Buffer.from([0x61, 0xff, 0xfe, 0x80, 0x62, 0, 0, 0x0d, 0x0a, 0x1b, 0x5d, 0x30, 0x3b, 0x41, 0x07, 0x0a]));
put(Buffer.concat([Buffer.alloc(100e6, 'x'), Buffer.from('\n')]));
for (const byte of Buffer.from('a byte at a time\n')) put(Buffer.from([byte]));
put(Buffer.from('no final newline'));
require('http').createServer((q, r) => r.end()).listen(process.env.PORT);
"#;
        let application = world.directory("odd", &[("app.js", program), ("package.json", r#"{"name":"odd"}"#)]);
        let flags = ["start", "--daemon", "--title=svc", "--workers=1", "--log-max-size=1M"];
        world.eggctl(&flags).arg(format!("--port={}", world.port())).arg(&application).run().exits(0);
        world.stop("svc");
        let mut log = world.whole_log(&world.stdout_log());
        let mut expected =
            vec![0x61, 0xff, 0xfe, 0x80, 0x62, 0, 0, 0x0d, 0x0a, 0x1b, 0x5d, 0x30, 0x3b, 0x41, 0x07, 0x0a];
        expected.extend(std::iter::repeat_n(b'x', 100_000_000));
        expected.extend(b"\na byte at a time\nno final newline");
        log.truncate(expected.len());
        assert!(log == expected, "{} bytes, {:?} …", log.len(), String::from_utf8_lossy(&log[..60]));
    });
}

#[test]
fn one_member_that_floods_does_not_keep_others_waiting() {
    world(|world| {
        world.expect_in_log("");
        let port = world.port();
        world.start("svc", port).arg("--log-per-member").env("WORKER_CHILD", "").run().exits(0);
        let flood = std::thread::spawn(move || print(port, "flood", 0, 300_000, 100));
        let mut slowest = std::time::Duration::ZERO;
        while !flood.is_finished() {
            let began = std::time::Instant::now();
            // The other worker's turn or the flooding one's, which answers between its lines.
            assert_eq!(http::get(port, "/print?text=quiet").status, 200);
            slowest = slowest.max(began.elapsed());
        }
        flood.join().unwrap();
        assert!(slowest < std::time::Duration::from_secs(2), "{slowest:?}");
        world.stop("svc");
    });
}

#[test]
fn old_logs_that_were_deleted_by_hand_are_not_missed_and_only_so_many_are_kept() {
    world(|world| {
        let service = Service::start(world, &["--log-max-size=64K", "--log-keep=3"]);
        let directory = service.log.parent().unwrap().to_owned();
        let old = || -> Vec<PathBuf> {
            let all = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path());
            all.filter(|path| path.to_str().unwrap().contains("master-stdout.log.")).collect()
        };
        for round in 0..5 {
            print(service.port, "a", round * 3_000, 3_000, 100);
            old().into_iter().take(2).for_each(|path| drop(fs::remove_file(path)));
        }
        print(service.port, "a", 15_000, 3_000, 100);
        eventually("three are kept, all but the newest compressed", || {
            let old = old();
            old.len() == 3 && old.iter().filter(|path| path.extension().is_some_and(|gz| gz == "gz")).count() == 2
        });
        service.world.stop("svc");
        assert_eq!(loggers(service.world).len(), 0);
    });
}

#[test]
fn a_path_that_is_no_text_is_logged_to() {
    world(|world| {
        world.expect_in_log("");
        let name = OsString::from_vec(b"\xff\xfe.log".to_vec());
        let log = world.work().join(&name);
        let mut flag = OsString::from("--stdout=");
        flag.push(&log);
        let port = world.port();
        world.start("svc", port).arg(&flag).arg("--log-max-size=64K").run().exits(0);
        print(port, "a", 0, 2_000, 100);
        world.stop("svc");
        assert!(fs::metadata(&log).unwrap().size() < 70_000);
        let old = fs::read_dir(world.work()).unwrap().flatten().map(|entry| entry.file_name().into_vec());
        assert!(old.filter(|old| old.starts_with(b"\xff\xfe.log.")).count() >= 3);
    });
}

/// The logger dies in the middle of each system call that rotation and compression are made of; the next one goes on.
#[test]
fn the_logger_may_be_killed_at_every_step_of_a_rotation_and_of_a_compression() {
    world(|world| {
        let service = Service::start(world, &["--log-max-size=64K", "--log-keep=1000"]);
        let steps =
            ["renameat2", "openat", "splice", "tee", "rename", "unlink", "fsync", "lseek", "getdents64", "fcntl"];
        let mut from = 0;
        for call in steps {
            for nth in 1..=3 {
                // The one before may be dying yet, with its successor still to come.
                let victim = await_some("a logger", || loggers(service.world).first().map(|logger| logger.pid));
                let strace = Command::new("strace")
                    .args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={call}"), "-e"])
                    .arg(format!("inject={call}:signal=KILL:when={nth}"))
                    .args(["-p", &victim.to_string()])
                    .spawn();
                let Ok(mut strace) = strace else {
                    eprintln!("note: no strace here: this test did not run");
                    return drop(service.world.stop("svc"));
                };
                eventually("strace is there", || {
                    let status = fs::read_to_string(format!("/proc/{victim}/status")).unwrap_or_default();
                    !status.contains("TracerPid:\t0\n") || strace.try_wait().unwrap().is_some()
                });
                print(service.port, "a", from, 2_000, 100);
                from += 2_000;
                // Not every call happens so often: then the logger lives on.
                let _ = strace.kill();
                strace.wait().unwrap();
            }
        }
        service.world.stop("svc");
        all_once(&numbers(&service.world.whole_log(&service.log), "a"), from);
    });
}
