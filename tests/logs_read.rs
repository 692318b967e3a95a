//! `eggctl logs`: rotated and compressed files in order, chosen by expression, time and number; raw into a pipe, harmless on
//! a terminal.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;

use crate::harness::{Outcome, World, http, world};

const EGGCTL: &str = env!("CARGO_BIN_EXE_eggctl");

/// The directory of the logs of `svc`, which has been started and stopped; they are removed.
pub fn stopped(world: &World) -> PathBuf {
    let logs = world.work().join("logs");
    start(world, &logs).run().exits(0);
    world.stop("svc");
    fs::remove_dir_all(&logs).unwrap();
    fs::create_dir(&logs).unwrap();
    logs
}

pub fn start(world: &World, logs: &Path) -> crate::harness::Typed {
    let flags = [format!("--stdout={}/out.log", logs.display()), format!("--stderr={}/err.log", logs.display())];
    world.start("svc", world.port()).arg("--workers=1").args(flags)
}

/// `eggctl logs --title=svc`, and more.
fn logs(world: &World, args: &[&str]) -> Outcome {
    world.eggctl(&["logs", "--title=svc"]).args(args).run()
}

/// What it writes into a pipe, byte for byte; it must succeed.
#[track_caller]
fn bytes(world: &World, args: &[&str]) -> Vec<u8> {
    let file = world.work().join("shown");
    let script = "exec \"$0\" logs --title=svc \"$@\" > shown";
    world.program(&["sh", "-c", script, EGGCTL]).args(args).run().exits(0);
    fs::read(file).unwrap()
}

#[track_caller]
fn text(world: &World, args: &[&str]) -> String {
    String::from_utf8(bytes(world, args)).unwrap()
}

pub fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn write(logs: &Path, files: &[(&str, &[u8])]) {
    for (name, content) in files {
        fs::write(logs.join(name), content).unwrap();
    }
}

fn written_at(path: &Path, seconds_ago: u64) {
    let time = SystemTime::now() - Duration::from_secs(seconds_ago);
    File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

#[test]
fn what_members_print_is_shown_while_the_application_runs_and_after_it_has_stopped() {
    world(|world| {
        let port = world.port();
        let directory = world.work().join("logs");
        let flags = ["out", "err"].map(|name| format!("{}/{name}.log", directory.display()));
        let flags = [format!("--stdout={}", flags[0]), format!("--stderr={}", flags[1])];
        world.start("svc", port).args(flags).run().exits(0);
        http::get(port, "/print?text=to+stdout");
        http::get(port, "/print?to=error&text=to+stderr");
        let both = || {
            fs::read_to_string(directory.join("out.log")).unwrap()
                + &fs::read_to_string(directory.join("err.log")).unwrap()
        };
        crate::harness::eventually("it is printed", || both().contains("to stdout") && both().contains("to stderr"));
        assert_eq!(text(world, &[]), both());
        assert!(!text(world, &["--stdout"]).contains("to stderr"));
        assert_eq!(text(world, &["--stderr"]), "to stderr\n");
        world.stop("svc");
        assert_eq!(text(world, &[]), both());
        // Without a title: the only application that is known.
        world.eggctl(&["logs"]).run().exits(0).says("to stdout");
    });
}

#[test]
fn rotated_and_compressed_files_are_read_in_the_order_of_writing_byte_for_byte() {
    world(|world| {
        let directory = stopped(world);
        let strange = b"nul \0 bad \xff\xfe escape \x1b[31m cr\r\nno end";
        write(
            &directory,
            &[
                ("out.log.20261120.235959", b"0 by egg-scripts\n"),
                ("out.log.20261121.051358.0000.gz", &gzip(b"1\n2\n")),
                ("out.log.20261121.051358.0001.gz", &[gzip(b"3\n"), gzip(b"4 a second member\n")].concat()),
                ("out.log.20261121.051358.0002", b"5\n"),
                ("out.log.20261121.051400.0000", b"6\n"),
                ("out.log", strange),
                ("out.log.bak", b"another's\n"),
                ("out.log.20261121.051359.0000.gz.tmp", b"half of it"),
                ("out.log.20261121.051359", b"5.5 by egg-scripts\n"),
            ],
        );
        let before = b"0 by egg-scripts\n1\n2\n3\n4 a second member\n5\n5.5 by egg-scripts\n6\n";
        assert_eq!(bytes(world, &["--stdout"]), [before, &strange[..]].concat());
    });
}

#[test]
fn a_plain_file_counts_where_its_compressed_one_lies_beside_it() {
    world(|world| {
        let directory = stopped(world);
        write(
            &directory,
            &[("out.log.20261121.051358.0000.gz", b"half of it"), ("out.log.20261121.051358.0000", b"whole\n")],
        );
        assert_eq!(text(world, &["--stdout"]), "whole\n");
    });
}

#[test]
fn of_a_damaged_file_what_can_be_read_is_shown_and_the_damage_is_told() {
    world(|world| {
        let directory = stopped(world);
        let lines: Vec<u8> = (0..100_000).flat_map(|number| format!("line {number}\n").into_bytes()).collect();
        let mut cut = gzip(&lines);
        cut.truncate(cut.len() / 2);
        write(
            &directory,
            &[("out.log.20261121.051358.0000.gz", &cut), ("out.log", b"after it\n"), ("err.log", b"e\n")],
        );
        let outcome = logs(world, &[]);
        outcome
            .fails(1)
            .says("out.log.20261121.051358.0000.gz")
            .says("cut off")
            .says("line 10000\n")
            .says("after it\ne\n");
        logs(world, &["--grep=line 9$", "--stdout"]).fails(1).says("line 9\n");
        logs(world, &["-n1", "--stdout"]).exits(0);
    });
}

#[test]
fn the_last_lines_are_those_of_all_files_that_the_other_flags_choose() {
    world(|world| {
        let directory = stopped(world);
        write(
            &directory,
            &[
                ("out.log.20261121.051358.0000.gz", &gzip(b"1 a\n2 b\n3 a\n")),
                ("out.log.20261121.051358.0001", b"4 b\n5 a\n"),
                ("out.log", b"6 b\n7 a\nno end"),
            ],
        );
        for (args, expected) in [
            (&["-n0"][..], ""),
            (&["-n1"], "no end"),
            (&["-n2"], "7 a\nno end"),
            (&["-n", "3"], "6 b\n7 a\nno end"),
            (&["-n4"], "5 a\n6 b\n7 a\nno end"),
            (&["--lines=6"], "3 a\n4 b\n5 a\n6 b\n7 a\nno end"),
            (&["-n8"], "1 a\n2 b\n3 a\n4 b\n5 a\n6 b\n7 a\nno end"),
            (&["-n99"], "1 a\n2 b\n3 a\n4 b\n5 a\n6 b\n7 a\nno end"),
            (&["-nall"], "1 a\n2 b\n3 a\n4 b\n5 a\n6 b\n7 a\nno end"),
            (&["-n3", "--grep= a$"], "3 a\n5 a\n7 a\n"),
            (&["-n1", "--grep=^[12] "], "2 b\n"),
            (&["-n1", "--grep=end"], "no end\n"),
        ] {
            assert_eq!(text(world, &[&["--stdout"], args].concat()), expected, "{args:?}");
        }
        // More lines than the search from the end reads at once.
        let many: String = (0..100_000).map(|number| format!("line {number}\n")).collect();
        write(&directory, &[("out.log", many.as_bytes())]);
        let last: String = (30_000..100_000).map(|number| format!("line {number}\n")).collect();
        assert_eq!(text(world, &["--stdout", "-n70000"]), last);
    });
}

#[test]
fn an_expression_is_searched_line_by_line() {
    world(|world| {
        let directory = stopped(world);
        write(&directory, &[("out.log", b"alpha\nbeta\n\ngamma beta\nALPHA \xff\nlast alpha")]);
        for (expression, expected) in [
            ("alpha", &b"alpha\nlast alpha\n"[..]),
            ("(?i)alpha", b"alpha\nALPHA \xff\nlast alpha\n"),
            ("^beta$", b"beta\n"),
            ("^$", b"\n"),
            ("^", b"alpha\nbeta\n\ngamma beta\nALPHA \xff\nlast alpha\n"),
            ("$", b"alpha\nbeta\n\ngamma beta\nALPHA \xff\nlast alpha\n"),
            ("\\Abeta", b"beta\n"),
            ("beta\\z", b"beta\ngamma beta\n"),
            // A line's end is no part of it, and matches do not run over it.
            ("alpha\\s+beta", b""),
            ("\\n", b""),
            ("\\s", b"gamma beta\nALPHA \xff\nlast alpha\n"),
            ("(?s)alpha.*gamma", b""),
            ("a[^x]b", b"gamma beta\n"),
            ("(?-u:\\xff)$", b"ALPHA \xff\n"),
            ("nothing", b""),
        ] {
            assert_eq!(
                bytes(world, &["--stdout", "-g", expression]).escape_ascii().to_string(),
                expected.escape_ascii().to_string(),
                "{expression}"
            );
        }
    });
}

#[test]
fn lines_are_judged_by_the_time_they_begin_with_or_by_the_line_before() {
    world(|world| {
        let directory = stopped(world);
        let content = "before any time\n\
            2020-11-21 05:00:00,000 INFO 1 [a] one\n\
            2020-11-21 05:10:00,000 ERROR 1 [a] two\n    at a stack trace\n\
            [2020-11-21 05:20:00.000] [cfork:master:1] three\n\
            2020-11-21T05:30:00Z four\n";
        write(&directory, &[("out.log", content.as_bytes())]);
        let shown = |args: &[&str]| {
            let words = |line: &str| line.split(' ').next_back().unwrap().to_owned();
            let command = world.eggctl(&["logs", "--title=svc", "--stdout"]).args(args).env("TZ", "UTC").run();
            command.exits(0);
            command.stdout.lines().map(words).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(shown(&["--since=2020-11-21 05:10"]), "time two trace three four");
        assert_eq!(shown(&["--since=2020-11-21 05:10:00,001"]), "time three four");
        assert_eq!(shown(&["--since=2020-11-21T05:05:00Z", "--until=2020-11-21T05:10:00Z"]), "time two trace");
        assert_eq!(shown(&["--since=2020-11-21T07:20:00+02:00", "--until=2020-11-21 05:29"]), "time three");
        assert_eq!(shown(&["--since=2020-11-21 05:00", "--grep=^2020", "-n2"]), "two four");
        // Before the first time nobody knows, and nothing is newer than the file's last write.
        assert_eq!(shown(&["--until=2020-01-01"]), "time");
        written_at(&directory.join("out.log"), 3600);
        assert_eq!(shown(&["--since=30m"]), "");
        // A rotated file was begun when the one before it was written last.
        write(
            &directory,
            &[("out.log.20200101.000000.0000", b"old\n"), ("out.log.20200101.000000.0001", b"older than an hour\n")],
        );
        written_at(&directory.join("out.log.20200101.000000.0000"), 7200);
        written_at(&directory.join("out.log.20200101.000000.0001"), 5400);
        assert_eq!(shown(&["--until=100m", "--since=110m"]), "hour");
        assert_eq!(shown(&["--until=119m"]), "old hour one two trace three four");
    });
}

#[test]
fn a_file_that_both_streams_go_to_is_shown_once() {
    world(|world| {
        let both = world.work().join("logs/both.log");
        let flags = ["stdout", "stderr"].map(|stream| format!("--{stream}={}", both.display()));
        world.start("svc", world.port()).args(flags).run().exits(0);
        world.stop("svc");
        fs::write(&both, "once\n").unwrap();
        for args in [&[][..], &["--stdout"], &["--stderr"], &["--stdout", "--stderr"]] {
            assert_eq!(text(world, args), "once\n");
        }
    });
}

#[test]
fn a_terminal_is_told_whose_lines_they_are_and_sees_no_control_character() {
    world(|world| {
        let directory = stopped(world);
        write(
            &directory,
            &[
                ("out.log", b"\x1b]0;owned\x07 bad \xff\xc2\x9b1m tab\t.\r\nno end"),
                ("err.log", b"2026-11-21 05:00:00,000 ERROR 7 [x] oh needle\n"),
            ],
        );
        let (out, err) = (directory.join("out.log"), directory.join("err.log"));
        let (out, err) = (out.display(), err.display());
        let typed = || world.eggctl(&["logs", "--title=svc"]);
        let (status, shown) = typed().env("TERM", "dumb").run_on_terminal();
        assert!(status.success());
        let expected = format!(
            "==> {out} <==\n\\x1b]0;owned\\x07 bad \\xff\\u{{9b}}1m tab\t.\\x0d\nno end\n\n\
             ==> {err} <==\n2026-11-21 05:00:00,000 ERROR 7 [x] oh needle\n"
        );
        // A terminal's driver ends lines with CR and LF.
        assert_eq!(shown.replace("\r\n", "\n"), expected);
        let coloured = || typed().args(["--stderr", "--grep=needle"]).env("TERM", "xterm");
        let (_, shown) = coloured().run_on_terminal();
        let red = "\x1b[31m2026-11-21 05:00:00,000 ERROR 7 [x] oh \x1b[1;31mneedle\x1b[0m\x1b[31m\x1b[0m";
        assert_eq!(shown.trim_end(), red);
        let (_, shown) = coloured().env("NO_COLOR", "1").run_on_terminal();
        assert!(!shown.contains('\x1b'), "{shown:?}");
    });
}

#[test]
fn json_has_an_object_for_each_line_with_stream_file_time_and_text() {
    world(|world| {
        let directory = stopped(world);
        write(&directory, &[("out.log", b"2026-11-21T05:00:00Z \"quoted\"\n\xff\n"), ("err.log", b"no end")]);
        let objects: Vec<Value> =
            text(world, &["--json"]).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let (out, err) = (directory.join("out.log"), directory.join("err.log"));
        assert_eq!(
            objects,
            [
                serde_json::json!({"stream": "stdout", "file": out, "time": "2026-11-21T05:00:00Z", "line": "2026-11-21T05:00:00Z \"quoted\""}),
                serde_json::json!({"stream": "stdout", "file": out, "time": null, "hex": "ff"}),
                serde_json::json!({"stream": "stderr", "file": err, "time": null, "line": "no end"}),
            ]
        );
    });
}

#[test]
fn a_line_of_a_hundred_megabytes_is_searched_and_shown_with_little_memory() {
    world(|world| {
        let directory = stopped(world);
        let mut line = vec![b'x'; 100_000_000];
        // Where two pieces of the line meet, and at the very end.
        line[256 * 1024 - 3..][..6].copy_from_slice(b"needle");
        line.extend_from_slice("\u{e4}last\n".as_bytes());
        let content = [b"before\n", &line[..], b"after\n"].concat();
        let length = content.len();
        fs::write(directory.join("out.log"), &content).unwrap();
        fs::write(directory.join("out.log.20261121.051358.0000.gz"), gzip(&content)).unwrap();
        drop(content);
        let shown = |args: &str| {
            let limit = "prlimit --as=100000000";
            let script = format!("{limit} {EGGCTL} logs --title=svc --stdout {args} | wc -c");
            let outcome = world.program(&["sh", "-c", &script]).run();
            outcome.exits(0);
            assert_eq!(outcome.stderr, "", "{args}");
            outcome.stdout.trim().parse::<usize>().unwrap()
        };
        let long = line.len();
        assert_eq!(shown(""), 2 * length);
        assert_eq!(shown("--grep=needle"), 2 * long, "across two pieces");
        assert_eq!(shown("'--grep=last$'"), 2 * long);
        assert_eq!(shown("'--grep=x$'"), 0, "the end of a piece is no end of a line");
        assert_eq!(shown("'--grep=^x'"), 2 * long);
        assert_eq!(shown("'--grep=^(last|needle)'"), 0, "nor is its beginning one");
        assert_eq!(shown("'--grep=^(before|after)$'"), 2 * ("before\nafter\n".len()));
        assert_eq!(shown("-n3 --grep=e"), long + 2 * "after\n".len() + "before\n".len() - "after\n".len());
        assert_eq!(shown("-n2"), long + "after\n".len());
        assert_eq!(shown("-n4"), length + "after\n".len());
        assert_eq!(shown("--since=1h"), 2 * length);
        let objects =
            world.program(&["sh", "-c", &format!("{EGGCTL} logs --title=svc --stdout -n2 --json | tail -n 3")]).run();
        let objects: Vec<Value> = objects.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(objects[0]["more"], true);
        assert!(objects[1]["line"].as_str().unwrap().ends_with("x\u{e4}last") && objects[1]["more"].is_null());
        assert_eq!(objects[2]["line"], "after");
    });
}

#[test]
fn a_reader_that_goes_ends_it_quietly_and_a_full_disk_does_not() {
    world(|world| {
        let directory = stopped(world);
        write(&directory, &[("out.log", &b"a line of a log\n".repeat(100_000))]);
        let script = format!("({EGGCTL} logs --title=svc; echo \"exit $?\" >&2) | head -c 10");
        let outcome = world.program(&["sh", "-c", &script]).run();
        assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), ("a line of ", "exit 0\n"));
        let script = format!("{EGGCTL} logs --title=svc > /dev/full");
        world.program(&["sh", "-c", &script]).run().fails(1).says("no space left");
    });
}

#[test]
fn who_has_no_logs_is_told_so() {
    world(|world| {
        world.eggctl(&["logs"]).run().fails(1).says("no logs are known");
        logs(world, &[]).fails(1).says("no logs of svc are known");
        let directory = stopped(world);
        world
            .eggctl(&["logs", "--title=sv"])
            .run()
            .fails(1)
            .says("no logs of sv are known")
            .says("there are logs of svc");
        logs(world, &["--stdout"]).fails(1).says("out.log").says("missing");
        write(&directory, &[("err.log", b"there\n")]);
        logs(world, &[]).fails(1).says("out.log").says("there\n");
        // Two applications, and neither is in this directory.
        let flags = ["out", "err"].map(|name| directory.join(format!("{name}2.log")));
        let flags = [format!("--stdout={}", flags[0].display()), format!("--stderr={}", flags[1].display())];
        world.start("other", world.port()).args(flags).run().exits(0);
        world.stop("other");
        world.eggctl(&["logs"]).run().fails(2).says("svc").says("other").says("--title");
        world.eggctl(&["logs"]).arg("./nowhere").run().fails(2).says("nowhere");
        world.eggctl(&["logs"]).arg("nowhere").run().fails(1).says("no logs of nowhere are known");
        // In the foreground nothing is logged.
        let running = world.foreground("svc", world.port()).spawn();
        running.says("started");
        logs(world, &[]).fails(1).says("foreground");
        running.signal(nix::sys::signal::Signal::SIGTERM);
        running.finish().exits(0);
    });
}

#[test]
fn what_is_no_file_of_ours_to_read_is_told_with_its_path() {
    world(|world| {
        let directory = stopped(world);
        let path = directory.join("out.log");
        let told = |words: &str| {
            logs(world, &["--stdout"]).fails(1).says(words).says(path.to_str().unwrap());
            logs(world, &["--stdout", "-f"]).fails(1).says(words);
        };
        fs::create_dir(&path).unwrap();
        told("directory");
        fs::remove_dir(&path).unwrap();
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        told("no regular file");
        fs::remove_file(&path).unwrap();
        symlink("/etc/passwd", &path).unwrap();
        told("symbolic link");
        fs::remove_file(&path).unwrap();
        symlink("nowhere", &path).unwrap();
        told("symbolic link");
        fs::remove_file(&path).unwrap();
        if world.has_other_users() {
            write(&directory, &[("out.log", b"secret\n")]);
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            // root reads everything; another user may neither read this nor ask for root's.
            let typed = world.eggctl(&["logs", "--title=svc", "--user=0"]).user(65534);
            typed.run().fails(4);
        }
        fs::remove_dir_all(&directory).unwrap();
        logs(world, &["--stdout"]).fails(1).says("out.log");
        logs(world, &["--stdout", "-f"]).fails(1).says(directory.to_str().unwrap());
    });
}

#[test]
fn what_is_typed_wrong_is_a_usage_error() {
    world(|world| {
        for (flag, words) in [
            ("--lines=many", "many"),
            ("--lines=-1", "-1"),
            ("--since=yesterday", "yesterday"),
            ("--until=25:00", "25:00"),
            ("--grep=(", "regular expression"),
            ("--title=", "title"),
            ("--frobnicate", "frobnicate"),
        ] {
            world.eggctl(&["logs", flag]).run().fails(2).says(words);
        }
        world.eggctl(&["logs", "--since=1m", "--until=2m"]).run().fails(2).says("later");
        world.eggctl(&["logs", "-f", "--until=2m"]).run().fails(2).says("--follow");
    });
}
