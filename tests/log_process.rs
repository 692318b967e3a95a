//! The logger: a process of its own between the members and their files. Nothing is lost, nothing is doubled, whoever dies.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::harness::processes::{self, Process};
use crate::harness::{World, await_some, eventually, http, read_log, world};

/// The logger of this application, and only it.
#[track_caller]
pub fn logger(world: &World) -> u32 {
    let loggers = loggers(world);
    assert_eq!(loggers.len(), 1, "{loggers:?}");
    loggers[0].pid
}

/// Every logger.
pub fn loggers(world: &World) -> Vec<Process> {
    world.alive().into_iter().filter(|process| process.args.get(1).is_some_and(|word| word == "logger")).collect()
}

/// What the ledger says of stdout.
pub fn ledger(world: &World) -> serde_json::Value {
    let outcome = world.eggctl(&["logs", "--title=svc", "--ledger", "--json"]).run();
    serde_json::from_str(outcome.stdout.lines().next().unwrap_or("null")).unwrap()
}

/// Asks a worker to print lines, and waits until they are in its pipe.
pub fn print(port: u16, tag: &str, from: usize, count: usize, width: usize) {
    let path = format!("/lines?tag={tag}&from={from}&count={count}&width={width}");
    assert_eq!(http::get(port, &path).status, 200);
}

/// The lines of a tag in a text: their numbers, in order.
pub fn numbers(text: &[u8], tag: &str) -> Vec<usize> {
    let text = String::from_utf8_lossy(text);
    let numbered = |line: &str| {
        let mut words = line.split(' ');
        (words.next() == Some(tag)).then(|| words.next().unwrap().parse().unwrap())
    };
    text.lines().filter_map(numbered).collect()
}

/// Fails unless these are all numbers below `count`, once each, in order.
#[track_caller]
pub fn all_once(found: &[usize], count: usize) {
    let missing: Vec<_> = (0..count).filter(|number| found.binary_search(number).is_err()).take(5).collect();
    assert_eq!(found.len(), count, "missing: {missing:?}");
    assert!(found.iter().copied().eq(0..count), "out of order");
}

#[test]
fn every_line_before_an_exit_and_before_an_uncaught_exception_arrives_as_in_a_file() {
    world(|world| {
        world.expect_in_log("");
        let ends = [("exits", "process.exit(3)", 3), ("throws", "throw new Error('uncaught')", 1)];
        for (name, end, code) in ends {
            let program = format!(
                "for (let i = 0; i < 20000; i++) console.log('line ' + i + ' ' + 'x'.repeat(i % 97));\n\
                 for (let i = 0; i < 2000; i++) console.error('error ' + i);\n{end};\n"
            );
            let application = world.directory(name, &[("app.js", &program), ("package.json", r#"{"name":"p"}"#)]);
            let (out, err) = (world.work().join("out"), world.work().join("err"));
            let alone = format!("exec node {name}/app.js > {} 2> {}", out.display(), err.display());
            world.program(&["sh", "-c", &alone]).run().exits(code);
            let flags = ["start", "--daemon", "--title=svc", "--workers=1", "--ignore-stderr"];
            world.eggctl(&flags).arg(&application).run().fails(1);
            let without_master = |log: Vec<u8>| -> Vec<u8> {
                let lines = log.split_inclusive(|byte| *byte == b'\n');
                lines.filter(|line| !String::from_utf8_lossy(line).contains(" [master] ")).flatten().copied().collect()
            };
            let logged = without_master(read_log(&world.stdout_log()));
            assert!(logged == fs::read(out).unwrap(), "{name}: stdout differs, {} bytes", logged.len());
            let logged = without_master(read_log(&world.stderr_log()));
            assert!(logged == fs::read(err).unwrap(), "{name}: stderr differs, {} bytes", logged.len());
        }
    });
}

#[test]
fn a_new_log_begins_at_a_size_and_no_line_is_cut() {
    world(|world| {
        world.expect_in_log("");
        let port = world.port();
        let flags = ["--workers=1", "--log-max-size=64K", "--log-keep=1000"];
        world.start("svc", port).args(flags).run().exits(0);
        print(port, "a", 0, 20_000, 100);
        world.stop("svc");
        all_once(&numbers(&world.whole_log(&world.stdout_log()), "a"), 20_000);
        let directory = world.home().join("logs");
        let mut old = 0;
        for entry in fs::read_dir(directory).unwrap().flatten() {
            let text = read_log(&entry.path());
            assert!(text.is_empty() || text.ends_with(b"\n"), "{}", entry.path().display());
            assert!(text.len() < 64 * 1024 + 200, "{}: {}", entry.path().display(), text.len());
            old += usize::from(entry.file_name().to_string_lossy().starts_with("master-stdout.log."));
        }
        assert!((33..=36).contains(&old), "{old} old logs");
    });
}

#[test]
fn a_killed_logger_is_replaced_at_once() {
    world(|world| {
        world.expect_in_log("the logger died (signal: SIGKILL), a new one takes over");
        world.expect_in_log("after");
        let port = world.port();
        world.start("svc", port).run().exits(0);
        let first = logger(world);
        // A logger of some age: one that dies at its birth waits a moment.
        thread::sleep(Duration::from_millis(150));
        processes::signal(first, Signal::SIGKILL);
        let killed = Instant::now();
        eventually("another logger", || loggers(world).iter().any(|logger| logger.pid != first));
        assert!(killed.elapsed() < Duration::from_millis(100), "{:?}", killed.elapsed());
        http::get(port, "/print?text=after");
        world.log_says("after");
        world.stop("svc");
    });
}

#[test]
fn a_logger_that_is_killed_again_and_again_is_replaced_as_soon_the_tenth_time() {
    world(|world| {
        world.expect_in_log("the logger died (signal: SIGKILL), a new one takes over");
        world.start("svc", world.port()).run().exits(0);
        let mut longest = Duration::ZERO;
        for _ in 0..10 {
            let killed = logger(world);
            let at = Instant::now();
            processes::signal(killed, Signal::SIGKILL);
            eventually("another logger", || matches!(&loggers(world)[..], [one] if one.pid != killed));
            longest = longest.max(at.elapsed());
        }
        // 50 ms on a quiet machine; a pause that doubled would be at 5 s.
        assert!(longest < Duration::from_millis(1_000), "{longest:?}");
        world.stop("svc");
    });
}

#[test]
fn the_ledger_tells_what_became_of_every_byte_over_several_loggers() {
    world(|world| {
        world.expect_in_log("");
        let port = world.port();
        world.start("svc", port).args(["--workers=1", "--log-max-size=64K"]).run().exits(0);
        for round in 0..3 {
            print(port, "a", round * 2_000, 2_000, 100);
            eventually("a logger", || loggers(world).len() == 1);
            processes::signal(logger(world), Signal::SIGKILL);
        }
        // The very look that has them all: another one may miss a file that is being compressed.
        let whole = await_some("all is written", || {
            Some(world.whole_log(&world.stdout_log())).filter(|whole| numbers(whole, "a").len() == 6_000)
        });
        let (expected, lines) = (whole.len() as u64, whole.iter().filter(|byte| **byte == b'\n').count() as u64);
        eventually("the ledger", || ledger(world)["bytesWritten"] == expected);
        let stdout = ledger(world);
        assert_eq!(stdout["bytesIn"], expected);
        assert_eq!((&stdout["linesWritten"], &stdout["linesIn"]), (&lines.into(), &lines.into()));
        assert_eq!((&stdout["bytesDropped"], &stdout["linesDropped"]), (&0.into(), &0.into()));
        // A logger that is killed between a rename and its count leaves that one uncounted; three were killed.
        assert!(stdout["rotations"].as_u64().unwrap() >= 6, "{stdout}");
        let old = fs::read_dir(world.home().join("logs")).unwrap().flatten();
        let old = old.filter(|entry| entry.file_name().to_string_lossy().starts_with("master-stdout.log.2")).count();
        assert!(old >= 9, "{old} old logs");
        world.eggctl(&["logs", "--title=svc", "--ledger"]).run().says("rotations");
        world.stop("svc");
        world.eggctl(&["logs", "--title=svc", "--ledger"]).run().fails(3).says("no application `svc` is running");
    });
}

/// Members write numbered lines at full speed, logs rotate and are compressed, and the logger is killed at random.
#[test]
fn no_line_is_lost_or_doubled_while_the_logger_is_killed_at_random() {
    let rotations = if std::env::var_os("EGGCTL_LONG").is_some() { 1_000 } else { 100 };
    world(|world| {
        world.expect_in_log("");
        let port = world.port();
        let flags = ["--log-max-size=256K", "--log-keep=100000", "--log-keep-bytes=100G"];
        world.start("svc", port).args(flags).run().exits(0);
        let master = world.master("svc");
        print(port, "warm", 0, 10_000, 100);
        let before = (own_memory(master).unwrap(), loggers_memory(world));
        let is_enough = AtomicBool::new(false);
        let (kills, lines) = thread::scope(|scope| {
            let writers = ["a", "b"].map(|tag| scope.spawn(|| print_until(&is_enough, port, tag)));
            let kills = kill_at_random(world, |kills| {
                let old_logs = fs::read_dir(world.home().join("logs")).unwrap().count();
                old_logs >= rotations && kills >= rotations / 10 || writers.iter().any(|writer| writer.is_finished())
            });
            is_enough.store(true, Ordering::Relaxed);
            (kills, writers.map(|writer| writer.join().unwrap()))
        });
        let after = (own_memory(master).unwrap(), loggers_memory(world));
        world.stop("svc");
        let log = world.whole_log(&world.stdout_log());
        eprintln!("note: {kills} kills, {lines:?} lines, {} bytes; memory in KiB {before:?} -> {after:?}", log.len());
        for (tag, lines) in ["a", "b"].iter().zip(lines) {
            all_once(&numbers(&log, tag), lines);
        }
        assert!(after.0 < before.0 + 1024 && after.1 < before.1 + 1024, "{before:?} {after:?}");
    });
}

/// Prints numbered lines until it is enough, and says how many.
fn print_until(is_enough: &AtomicBool, port: u16, tag: &str) -> usize {
    let step = 5_000;
    for round in 0.. {
        if is_enough.load(Ordering::Relaxed) {
            return round * step;
        }
        print(port, tag, round * step, step, 100);
    }
    unreachable!("rounds do not end");
}

/// Kills loggers of any age, until it is enough, and says how many.
fn kill_at_random(world: &World, is_enough: impl Fn(usize) -> bool) -> usize {
    let (mut kills, mut seed) = (0, u64::from(std::process::id()) | 1);
    while !is_enough(kills) {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        thread::sleep(Duration::from_micros(seed % 60_000));
        if let [logger] = &loggers(world)[..] {
            processes::signal(logger.pid, Signal::SIGKILL);
            kills += 1;
        }
    }
    kills
}

/// Resident memory of the logger in KiB, whichever lives.
fn loggers_memory(world: &World) -> u64 {
    await_some("a logger", || loggers(world).first().and_then(|logger| own_memory(logger.pid)))
}

/// Resident memory in KiB, without the pages of the program's file: how many of those are mapped depends on what it has
/// done so far, and varies by more than a MiB. `None`: it has just ended.
fn own_memory(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    line.trim().split(' ').next()?.parse().ok()
}

#[test]
fn the_logger_writes_what_is_left_when_the_master_is_killed_and_ends_who_stays() {
    world(|world| {
        world.expect_in_log("");
        let port = world.port();
        let typed = world.start("svc", port).env("AGENT_TERM", "ignore").env("EGG_MASTER_CLOSE_TIMEOUT", "500");
        typed.env("AGENT", "stay").run().exits(0);
        let (master, logger) = (world.master("svc"), logger(world));
        // While nothing is moved, the pipe fills.
        processes::signal(logger, Signal::SIGSTOP);
        print(port, "last", 0, 3_000, 100);
        processes::signal(master, Signal::SIGKILL);
        processes::signal(logger, Signal::SIGCONT);
        eventually("everybody has gone", || world.alive().is_empty());
        all_once(&numbers(&read_log(&world.stdout_log()), "last"), 3_000);
        assert!(!world.events_of("term").is_empty(), "who stayed was told TERM first");
    });
}

#[test]
fn a_start_right_after_a_kill_waits_for_the_logger_that_was_left_and_has_the_same_files() {
    world(|world| {
        world.expect_in_log("");
        let typed = world.start("svc", world.port()).env("AGENT_TERM", "ignore").env("EGG_MASTER_CLOSE_TIMEOUT", "500");
        typed.env("AGENT", "stay").run().exits(0);
        let master = world.master("svc");
        processes::signal(master, Signal::SIGKILL);
        // It holds the title until the kernel has come to it.
        eventually("the master has gone", || !processes::alive(master));
        let outcome = world.start("svc", world.port()).run();
        outcome.exits(0);
        outcome.does_not_say("another application");
        assert_eq!(loggers(world).len(), 1);
        world.stop("svc");
        assert!(contains(&read_log(&world.stdout_log()), "exit with code:0"));
    });
}

#[test]
fn each_member_may_have_a_log_of_its_own() {
    world(|world| {
        world.expect_in_log("from ");
        world.expect_in_log("dies");
        world.expect_a_death();
        let port = world.port();
        let typed = world.start("svc", port).args(["--log-per-member", "--ignore-stderr"]);
        typed.env("WORKER", "stderr:from a worker").env("AGENT", "stdout:from the agent").run().exits(0);
        let log = |name: &str| String::from_utf8(read_log(&world.home().join("logs").join(name))).unwrap();
        eventually("the agent's line", || log("agent-stdout.log") == "from the agent\n");
        for name in ["worker-1-stderr.log", "worker-2-stderr.log"] {
            eventually("a worker's line", || log(name) == "from a worker\n");
        }
        assert!(!log("master-stdout.log").contains("from the agent"));
        let worker = world.workers(world.master("svc"))[0];
        processes::signal(worker, Signal::SIGKILL);
        eventually("the slot keeps its log", || log("worker-1-stderr.log") == "from a worker\nfrom a worker\n");
        eventually("the new member is ready", || world.workers(world.master("svc")).len() == 2);
        world.stop("svc");
        assert!(log("master-stdout.log").contains("exit with code:0"), "{}", log("master-stdout.log"));
    });
}

#[test]
fn the_foreground_logs_into_files_when_it_is_told_to() {
    world(|world| {
        world.expect_in_log("seen");
        let port = world.port();
        let foreground = world.foreground("svc", port).arg("--log-to-files").spawn();
        world.log_says(" started on ");
        eventually("it answers", || http::try_get(port, "/print?text=seen").is_ok());
        world.log_says("seen");
        world.stop("svc");
        let outcome = foreground.finish();
        assert_eq!(outcome.stdout, "");
        outcome.exits(0);
    });
}

#[test]
fn a_second_title_gets_files_of_its_own_and_says_so() {
    world(|world| {
        world.expect_in_log("one");
        world.expect_in_log("two");
        let (first, second) = (world.port(), world.port());
        world.start("one", first).run().exits(0);
        let beside = world.home().join("logs/master-two-stdout.log");
        world.start("two", second).run().exits(0).says(beside.to_str().unwrap()).says("another application's");
        http::get(first, "/print?text=one");
        http::get(second, "/print?text=two");
        eventually("each in its own", || {
            let (one, two) = (read_log(&world.stdout_log()), read_log(&beside));
            contains(&one, "one\n") && contains(&two, "two\n") && !contains(&one, "two\n")
        });
        let taken = world.stdout_log();
        let named = world.start("three", world.port()).arg(format!("--stdout={}", taken.display())).run();
        named.fails(1).says(taken.to_str().unwrap()).says("another application");
        world.stop("one");
        world.stop("two");
    });
}

#[test]
fn a_quiet_log_stays_its_applications_also_when_the_logger_is_killed_and_when_files_are_opened_anew() {
    world(|world| {
        world.expect_in_log("the logger died");
        world.expect_in_log("printed");
        let port = world.port();
        world.start("svc", port).run().exits(0);
        let beside = |title: &str| {
            let started = world.start(title, world.port()).run();
            started.exits(0).says(&format!("master-{title}-stdout.log")).says(&format!("master-{title}-stderr.log"));
            world.stop(title);
        };
        processes::signal(logger(world), Signal::SIGKILL);
        http::get(port, "/print?text=printed");
        // Into stdout; the log of stderr is as quiet as before.
        world.log_says("printed");
        beside("two");
        world.eggctl(&["logs", "--title=svc", "--reopen"]).run().exits(0);
        http::get(port, "/print?text=printed-again");
        world.log_says("printed-again");
        beside("three");
        fs::rename(world.stderr_log(), world.home().join("moved")).unwrap();
        world.eggctl(&["logs", "--title=svc", "--reopen"]).run().exits(0);
        eventually("a new file", || world.stderr_log().exists());
        world.stop("svc");
    });
}

#[test]
fn starts_in_which_nobody_complains_keep_the_last_complaint() {
    world(|world| {
        world.expect_in_log("the crash");
        world.start("svc", world.port()).env("WORKER", "stderr:the crash").arg("--ignore-stderr").run().exits(0);
        world.stop("svc");
        for _ in 0..3 {
            world.start("svc", world.port()).run().exits(0);
            world.stop("svc");
        }
        let names = fs::read_dir(world.home().join("logs")).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
        let of_stderr: Vec<_> = names.filter(|name| name.starts_with("master-stderr.log")).collect();
        assert_eq!(of_stderr.len(), 2, "the live one and one old one: {of_stderr:?}");
        assert_eq!(world.whole_log(&world.stderr_log()), b"the crash\nthe crash\n");
    });
}

#[test]
fn the_logs_of_members_that_came_later_are_shown_too() {
    world(|world| {
        world.expect_in_log("");
        let typed = world.start("svc", world.port()).args(["--log-per-member", "--workers=1"]);
        typed.env("WORKER", "stdout:from a worker").run().exits(0);
        world.eggctl(&["scale", "--title=svc", "2"]).run().exits(0);
        let own = world.home().join("logs/worker-2-stdout.log");
        eventually("its line", || contains(&read_log(&own), "from a worker"));
        world.stop("svc");
        let shown = world.eggctl(&["logs", "--title=svc", "--stdout"]).run();
        shown.exits(0);
        assert_eq!(shown.stdout.matches("from a worker").count(), 2, "{}", shown.stdout);
        // Nobody has printed into most of them.
        world.eggctl(&["logs", "--title=svc"]).run().exits(0);
    });
}

pub fn contains(text: &[u8], words: &str) -> bool {
    String::from_utf8_lossy(text).contains(words)
}

#[test]
fn an_idle_logger_and_its_master_never_wake_up() {
    world(|world| {
        world.start("svc", world.port()).run().exits(0);
        world.log_says("fixture started");
        let (master, logger) = (world.master("svc"), logger(world));
        let switches = |pid: u32| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
            status.lines().filter(|line| line.contains("ctxt_switches")).map(str::to_owned).collect::<Vec<_>>()
        };
        // What the start has set in motion comes to rest first.
        let mut before = Vec::new();
        eventually("rest", || {
            thread::sleep(Duration::from_millis(300));
            let now = [switches(master), switches(logger)].concat();
            std::mem::replace(&mut before, now.clone()) == now
        });
        thread::sleep(Duration::from_secs(3));
        assert_eq!([switches(master), switches(logger)].concat(), before);
        world.stop("svc");
    });
}

#[test]
fn the_logger_is_one_of_the_tree_and_small() {
    world(|world| {
        world.start("svc", world.port()).run().exits(0);
        let logger = logger(world);
        let children: BTreeMap<u32, u32> =
            world.alive().into_iter().map(|process| (process.pid, process.parent)).collect();
        assert_eq!(children[&logger], world.master("svc"));
        let memory = own_memory(logger).unwrap();
        assert!(memory < 8 * 1024, "{memory} KiB");
        assert!(Path::new(&format!("/proc/{logger}")).exists());
        world.stop("svc");
        world.nobody_is_left();
    });
}
