//! Old logs while the service runs: their names whatever the clock and others do, and what is known of them when they are gone.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use crate::harness::{World, eventually, http, read_log, world};
use crate::log_process::{all_once, ledger, numbers, print};

/// A library to be loaded before others: the clock on the wall is as many seconds off as the file says.
const SHIM: &str = r#"
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t clock, struct timespec *now) {
    int result = syscall(SYS_clock_gettime, clock, now);
    FILE *file = clock == CLOCK_REALTIME ? fopen(getenv("CLOCK_OFFSET"), "re") : 0;
    long seconds = 0;
    if (file && fscanf(file, "%ld", &seconds) == 1) now->tv_sec += seconds;
    if (file) fclose(file);
    return result;
}
"#;

/// The names of the old logs of stdout, in the order of their names.
fn old(world: &World) -> Vec<String> {
    let entries = fs::read_dir(world.home().join("logs")).unwrap().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.retain(|name| name.starts_with("master-stdout.log.2"));
    names.sort();
    names
}

fn live(world: &World) -> Vec<usize> {
    numbers(&read_log(&world.stdout_log()), "a")
}

#[test]
fn the_clock_may_step_an_hour_forth_and_back_and_the_names_sort_in_the_order_of_writing() {
    world(|world| {
        world.expect_in_log("");
        let (source, shim, offset) = ("clock.c", world.work().join("clock.so"), world.work().join("offset"));
        fs::write(world.work().join(source), SHIM).unwrap();
        world.program(&["cc", "-shared", "-fPIC", "-o", "clock.so", source]).run().exits(0);
        let step = |seconds: i64| {
            fs::write(world.work().join("new"), seconds.to_string()).unwrap();
            fs::rename(world.work().join("new"), &offset).unwrap();
        };
        step(0);
        let port = world.port();
        let flags = ["--workers=1", "--log-rotate=hour", "--log-max-size=64K", "--log-keep=1000", "--no-log-compress"];
        let typed = world.start("svc", port).args(flags).env("LD_PRELOAD", &shim).env("CLOCK_OFFSET", &offset);
        typed.run().exits(0);
        let mut begun = 0;
        let mut lines = |count: usize| {
            print(port, "a", begun, count, 100);
            begun += count;
            eventually("the last line", || live(world).last() == Some(&(begun - 1)));
            begun
        };
        lines(10);
        let before = old(world).len();
        step(3600);
        lines(10);
        assert_eq!(old(world).len(), before + 1, "the hour is over, although the file is small");
        let newest = old(world).pop().unwrap();
        step(-3600);
        lines(3000);
        let last = lines(10);
        assert!(old(world).len() >= before + 5, "by size, two hours ago: {:?}", old(world));
        let stamp = |name: &str| name["master-stdout.log.".len()..][..15].to_owned();
        assert!(old(world)[before + 1..].iter().all(|name| stamp(name) == stamp(&newest)), "{:?}", old(world));
        step(3600 + 60);
        let last = last.max(lines(3000));
        world.stop("svc");
        all_once(&numbers(&world.whole_log(&world.stdout_log()), "a"), last);
    });
}

#[test]
fn names_that_others_have_taken_are_passed_over_and_nothing_of_theirs_is_touched() {
    world(|world| {
        world.expect_in_log("");
        let port = world.port();
        world.start("svc", port).args(["--workers=1", "--log-max-size=64K", "--log-keep=2"]).run().exits(0);
        // Whatever second it is when the next file begins: a directory has the first name, and a link the second.
        let date = |at: i64| {
            let output = Command::new("date").args([&format!("-d@{at}"), "+%Y%m%d.%H%M%S"]).output().unwrap();
            String::from_utf8(output.stdout).unwrap().trim().to_owned()
        };
        let now = i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_secs()).unwrap();
        let path =
            |stamp: &str, sequence: u32| world.home().join(format!("logs/master-stdout.log.{stamp}.{sequence:04}"));
        let stamps: Vec<String> = (now - 1..now + 60).map(date).collect();
        for stamp in &stamps {
            fs::create_dir(path(stamp, 0)).unwrap();
            symlink("nowhere", path(stamp, 1)).unwrap();
        }
        print(port, "a", 0, 2_500, 100);
        eventually("the last line", || live(world).last() == Some(&2_499));
        for stamp in &stamps {
            assert!(path(stamp, 0).is_dir());
            assert_eq!(fs::read_link(path(stamp, 1)).unwrap(), Path::new("nowhere"));
            fs::remove_dir(path(stamp, 0)).unwrap();
            fs::remove_file(path(stamp, 1)).unwrap();
        }
        world.stop("svc");
        let kept = numbers(&world.whole_log(&world.stdout_log()), "a");
        assert!(kept.len() > 1_000 && kept.windows(2).all(|pair| pair[1] == pair[0] + 1), "{kept:?}");
    });
}

#[test]
fn the_ledger_knows_the_lines_of_old_logs_that_have_been_thrown_away() {
    world(|world| {
        world.expect_in_log("");
        for flags in [&["--log-keep=2"][..], &["--log-keep=2", "--no-log-compress"], &["--log-keep=0"]] {
            let port = world.port();
            world.start("svc", port).args(["--workers=1", "--log-max-size=64K"]).args(flags).run().exits(0);
            let own = || read_log(&world.stdout_log()).iter().filter(|byte| **byte == b'\n').count();
            eventually("the start's own lines", || own() > 0 && ledger(world)["linesIn"] == own());
            let own = own();
            print(port, "a", 0, 5_000, 100);
            eventually("all are counted", || ledger(world)["linesWritten"] == 5_000 + own && old(world).len() <= 2);
            http::get(port, "/print?text=one+more");
            eventually("one more is counted", || ledger(world)["linesIn"] == 5_001 + own);
            world.stop("svc");
        }
    });
}

#[test]
fn what_a_member_says_into_a_log_of_its_own_fails_the_start_as_it_would_in_the_common_one() {
    world(|world| {
        world.expect_in_log("");
        let typed = world.start("svc", world.port()).args(["--log-per-member", "--timeout=20000"]);
        let outcome = typed.env("WORKER", "stderr-hang:out of order").run();
        outcome.fails(1).says("stderr").says("out of order").says("worker-");
        world.nobody_is_left();
    });
}
