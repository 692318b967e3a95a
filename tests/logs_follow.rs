//! `eggctl logs --follow`: goes on through every rotation, and ends when nobody reads.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use eggctl::logger::{compress, shelf};
use nix::sys::signal::Signal;

use crate::harness::{Background, World, eventually, http, world};
use crate::logs_read::{start, stopped};

fn follow(world: &World, args: &[&str]) -> Background {
    world.eggctl(&["logs", "--title=svc", "-f", "--stdout"]).args(args).spawn()
}

fn append(path: &Path, text: &str) {
    File::options().append(true).create(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
}

/// Ends it and returns everything it wrote.
#[track_caller]
fn end(following: Background) -> String {
    following.signal(Signal::SIGTERM);
    let outcome = following.finish();
    outcome.killed_by(Signal::SIGTERM);
    assert_eq!(outcome.stderr, "");
    outcome.stdout
}

#[test]
fn a_running_application_is_followed() {
    world(|world| {
        let logs = world.work().join("logs");
        let port = world.port();
        start(world, &logs).arg(format!("--port={port}")).run().exits(0);
        let following = follow(world, &[]);
        following.says("started");
        http::get(port, "/print?text=hello+follower");
        following.says("hello follower\n");
        // A whole new start: the log is set aside, and the new one gone on with.
        world.stop("svc");
        start(world, &logs).arg(format!("--port={port}")).run().exits(0);
        http::get(port, "/print?text=hello+again");
        following.says("hello again\n");
        world.stop("svc");
        let shown = end(following);
        assert_eq!(shown.matches("exit with code:0").count(), 2, "{shown}");
    });
}

#[test]
fn following_begins_with_the_last_ten_lines() {
    world(|world| {
        let path = stopped(world).join("out.log");
        let lines = |range: std::ops::Range<u32>| range.map(|number| format!("{number}\n")).collect::<String>();
        append(&path, &lines(0..30));
        for (args, first) in [(&[][..], 20), (&["-n3"], 27), (&["-nall"], 0), (&["--since=1h"], 0)] {
            let following = follow(world, args);
            following.says(&lines(first..30));
            append(&path, "more\n");
            following.says("more\n");
            assert_eq!(end(following), lines(first..30) + "more\n", "{args:?}");
            fs::write(&path, lines(0..30)).unwrap();
        }
    });
}

#[test]
fn no_line_is_lost_or_doubled_through_rotations_however_fast() {
    world(|world| {
        let directory = stopped(world);
        let path = directory.join("out.log");
        append(&path, "0\n");
        let following = follow(world, &["-nall"]);
        following.says("0\n");
        let mut expected = "0\n".to_owned();
        for number in 1..=300 {
            // Several rotations may fall between two looks, and what was rotated may be compressed by then.
            let name = shelf::set_aside(&path).unwrap();
            if number % 3 == 0 {
                compress::compress(&directory, path.file_name().unwrap(), name).unwrap();
            }
            append(&path, &format!("{number}\n"));
            expected += &format!("{number}\n");
            if number % 50 == 0 {
                following.says(&format!("\n{number}\n"));
            }
        }
        following.says("\n300\n");
        assert_eq!(end(following), expected);
    });
}

#[test]
fn a_stopped_follower_finds_what_was_rotated_meanwhile() {
    world(|world| {
        let directory = stopped(world);
        let path = directory.join("out.log");
        append(&path, "0\n");
        let following = follow(world, &[]);
        following.says("0\n");
        following.signal(Signal::SIGSTOP);
        for number in 1..=5 {
            append(&path, &format!("end of {number}\n"));
            let name = shelf::set_aside(&path).unwrap();
            compress::compress(&directory, path.file_name().unwrap(), name).unwrap();
            append(&path, &format!("{number}\n"));
        }
        following.signal(Signal::SIGCONT);
        following.says("\n5\n");
        let expected: String = (1..=5).map(|number| format!("end of {number}\n{number}\n")).collect();
        assert_eq!(end(following), format!("0\n{expected}"));
    });
}

#[test]
fn a_log_that_is_moved_by_hand_truncated_or_not_there_yet_is_gone_on_with() {
    world(|world| {
        let directory = stopped(world);
        let path = directory.join("out.log");
        let following = follow(world, &[]);
        append(&path, "first\n");
        following.says("first\n");
        fs::rename(&path, directory.join("elsewhere")).unwrap();
        append(&directory.join("elsewhere"), "still into the old one\n");
        following.says("still into the old one\n");
        append(&path, "second\n");
        following.says("second\n");
        File::options().write(true).open(&path).unwrap().set_len(0).unwrap();
        following.says("truncated");
        append(&path, "3\n");
        following.says("3\n");
        fs::remove_file(&path).unwrap();
        append(&path, "fourth\n");
        following.says("fourth\n");
        following.signal(Signal::SIGTERM);
        assert_eq!(following.finish().stdout, "first\nstill into the old one\nsecond\n3\nfourth\n");
    });
}

#[test]
fn a_part_of_a_line_is_shown_at_once_unless_the_whole_line_decides() {
    world(|world| {
        let path = stopped(world).join("out.log");
        append(&path, "begun");
        let (plain, choosing) = (follow(world, &[]), follow(world, &["--grep=needle"]));
        plain.says("begun");
        append(&path, " and ended with a nee");
        plain.says("nee");
        append(&path, "dle\nanother\n");
        plain.says("needle\nanother\n");
        choosing.says("begun and ended with a needle\n");
        assert_eq!(end(choosing), "begun and ended with a needle\n");
        assert_eq!(end(plain), "begun and ended with a needle\nanother\n");
    });
}

#[test]
fn the_reader_s_end_is_the_end_although_nothing_is_printed() {
    world(|world| {
        let path = stopped(world).join("out.log");
        append(&path, "one line\n");
        let script =
            format!("({} logs --title=svc -f; echo \"exit $?\" >&2) | head -n 1", env!("CARGO_BIN_EXE_eggctl"));
        let outcome = world.program(&["sh", "-c", &script]).run();
        assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), ("one line\n", "exit 0\n"));
    });
}

#[test]
fn a_directory_that_goes_ends_it_with_an_error() {
    world(|world| {
        let directory = stopped(world);
        append(&directory.join("out.log"), "one line\n");
        let following = follow(world, &[]);
        following.says("one line\n");
        fs::remove_dir_all(&directory).unwrap();
        following.finish().fails(1).says("directory has been moved or removed");
    });
}

#[test]
fn an_idle_follower_does_not_wake() {
    world(|world| {
        let path = stopped(world).join("out.log");
        append(&path, "one line\n");
        let following = follow(world, &[]);
        following.says("one line\n");
        let switches = || {
            let status = fs::read_to_string(format!("/proc/{}/status", following.pid())).unwrap();
            let lines = status.lines().filter(|line| line.contains("ctxt_switches"));
            lines.map(|line| line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()).sum::<u64>()
        };
        let sleeps = || fs::read_to_string(format!("/proc/{}/stat", following.pid())).unwrap().contains(") S ");
        eventually("it waits", sleeps);
        let before = switches();
        // Long enough for several looks, if there were any.
        std::thread::sleep(std::time::Duration::from_secs(1));
        assert_eq!(switches(), before);
        end(following);
    });
}
