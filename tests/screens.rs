//! What a command shows while it takes its time, and at its end: on terminals of 40, 80 and 200 columns, on a terminal that can
//! only print (`TERM=dumb`) or whose user wants no more (`NO_COLOR`), and into a pipe. The texts are stored in tests/screens;
//! `EGGCTL_STORE=1 cargo test screens::` stores them again.

use std::fs;
use std::path::Path;

use regex::Regex;

use crate::harness::{Typed, World, eventually, processes, world};
use crate::reload_faults::SLOW_BOOT;

/// Where a command is looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Look {
    Terminal(u16),
    Dumb,
    NoColor,
    Pipe,
}

/// A command that has shown what it waits for, and goes on.
enum Shown {
    OnTerminal(crate::harness::OnTerminal),
    InPipe(crate::harness::Background),
}

/// A worker that has to be killed.
const STAYS: &str = "process.on('SIGTERM', () => {}); setInterval(() => {}, 1e6);";
const NAME: &str = "egg-server-of-the-online-shop";

impl Look {
    /// Starts the command, and waits until it shows these words: those of a line that changes, or those of a plain one.
    fn shows(self, typed: Typed, changing: &str, plain: &str) -> (Shown, String) {
        let (typed, columns) = match self {
            Look::Terminal(columns) => (typed.env("TERM", "xterm-256color"), columns),
            Look::Dumb => (typed.env("TERM", "dumb"), 80),
            Look::NoColor => (typed.env("TERM", "xterm-256color").env("NO_COLOR", "1"), 80),
            Look::Pipe => {
                let command = typed.spawn();
                command.says(plain);
                let (stdout, stderr) = command.both_so_far();
                return (Shown::InPipe(command), format!("[stdout]\n{stdout}[stderr]\n{stderr}"));
            }
        };
        let command = typed.spawn_on_terminal(columns);
        let screen = match self {
            Look::Terminal(_) => command.shows(changing),
            _ => command.shows(plain),
        };
        if self != Look::Terminal(columns) {
            assert!(!command.sent().contains('\x1b'), "{:?}", command.sent());
        }
        assert!(!screen.wraps, "wider than {columns} columns:\n{}", screen.text);
        (Shown::OnTerminal(command), screen.text)
    }
}

impl Shown {
    /// What it shows at its end.
    fn finish(self) -> String {
        match self {
            Shown::OnTerminal(command) => command.finish().1.text,
            Shown::InPipe(command) => {
                let outcome = command.finish();
                format!("[stdout]\n{}[stderr]\n{}", outcome.stdout, outcome.stderr)
            }
        }
    }

    fn interrupt(&self) {
        let signal = nix::sys::signal::Signal::SIGINT;
        match self {
            Shown::OnTerminal(command) => command.signal(signal),
            Shown::InPipe(command) => command.signal(signal),
        }
    }
}

/// All that is different in each run is named, and a plain line that comes every second is there once.
fn normal(world: &World, port: u16, text: &str) -> String {
    let root = world.work().parent().unwrap().to_str().unwrap().to_owned();
    let mut text = text.replace(&root, "ROOT").replace(&format!(":{port}"), ":PORT");
    for (pattern, by) in [
        (r"\(\d+ s\)", "(N s)"),
        (r"Wait Start: \d+", "Wait Start: N"),
        (r"\d+\.\d\d s\b", "N.NN s"),
        (r"\d+ ms\b", "N ms"),
        (r"\b(pid|master|agent) \d+", "$1 PID"),
        (r"workers( \d+)+( *)(\n|,|$)", "workers PIDS$3"),
        (r"\d+ processes", "N processes"),
        (r"processes left \d+/\d+", "processes left N/N"),
        // They leave in any order.
        (r"worker \d+ \(pid PID\)", "worker N (pid PID)"),
        (r"(?m) +$", ""),
    ] {
        text = Regex::new(pattern).unwrap().replace_all(&text, by).into_owned();
    }
    let mut lines: Vec<&str> = text.trim_end().lines().collect();
    lines.dedup();
    lines.join("\n") + "\n"
}

/// All that is shown of a service's life, command by command.
fn life(world: &mut World, look: Look) -> String {
    world.expect_in_log("");
    let port = world.port();
    let package = format!("{{\"name\":\"{NAME}\"}}");
    let application = world.directory("app", &[("app.js", SLOW_BOOT), ("package.json", &package)]);
    let go = world.work().join("go");
    let title = format!("--title={NAME}");
    let typed = |words: &[&str]| world.eggctl(words).arg(&title).env("EGG_APP_CLOSE_TIMEOUT", "2500");
    let start = || {
        let words = ["start", "--daemon", "--workers=2", &format!("--port={port}"), application.to_str().unwrap()];
        typed(&words)
    };
    let mut story = String::new();
    let mut tell = |what: &str, text: &str| story += &format!("=== {what}\n{}\n", normal(world, port, text));

    let (shown, text) = look.shows(start(), "workers 0/2", "Wait Start: 1...");
    tell("eggctl start, while it waits", &text);
    let (waits, text) = look.shows(typed(&["wait"]), "workers ready 0/2", "workers ready 0/2");
    tell("eggctl wait, meanwhile", &text);
    shown.interrupt();
    tell("eggctl start, interrupted", &shown.finish());
    tell("eggctl wait, whose start has failed", &waits.finish());

    let (shown, _) = look.shows(start(), "workers 0/2", "Wait Start: 1...");
    fs::write(&go, "").unwrap();
    tell("eggctl start, when it has started", &shown.finish());

    fs::remove_file(&go).unwrap();
    let (shown, text) = look.shows(typed(&["reload"]), "new workers boot 0/2", "new workers boot 0/2");
    tell("eggctl reload, while it waits", &text);
    fs::write(&go, "").unwrap();
    tell("eggctl reload, when it is done", &shown.finish());

    fs::remove_file(&go).unwrap();
    let (shown, text) = look.shows(typed(&["scale", "3"]), "new workers boot 0/1", "new workers boot 0/1");
    tell("eggctl scale 3, while it waits", &text);
    shown.interrupt();
    tell("eggctl scale 3, interrupted", &shown.finish());
    fs::write(&go, "").unwrap();
    eventually("three serve", || typed(&["scale", "3"]).run().status.success());
    typed(&["scale", "2"]).run().exits(0);

    fs::write(application.join("app.js"), format!("{STAYS} {SLOW_BOOT}")).unwrap();
    typed(&["reload"]).run().exits(0);
    let stopping = "processes left";
    let (shown, text) = look.shows(typed(&["restart"]), stopping, stopping);
    tell("eggctl restart, while it stops", &text);
    tell("eggctl restart, when it has started", &shown.finish());
    let (shown, text) = look.shows(typed(&["stop"]), stopping, stopping);
    tell("eggctl stop, while it waits", &text);
    tell("eggctl stop, when it is done", &shown.finish());
    story
}

fn shows_what_is_stored(world: &mut World, look: Look, file: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/screens").join(file);
    let story = life(world, look);
    if std::env::var_os("EGGCTL_STORE").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        return fs::write(&path, story).unwrap();
    }
    let stored = fs::read_to_string(&path).unwrap_or_default();
    assert!(story == stored, "not as {} has it:\n{story}", path.display());
}

#[test]
fn on_a_terminal_of_40_columns_no_line_is_wider() {
    world(|world| shows_what_is_stored(world, Look::Terminal(40), "40-columns.txt"));
}

#[test]
fn on_a_terminal_of_80_columns_each_long_command_says_what_it_waits_for() {
    world(|world| shows_what_is_stored(world, Look::Terminal(80), "80-columns.txt"));
}

#[test]
fn on_a_terminal_of_200_columns_nothing_is_cut() {
    world(|world| shows_what_is_stored(world, Look::Terminal(200), "200-columns.txt"));
}

#[test]
fn a_dumb_terminal_gets_plain_lines() {
    world(|world| shows_what_is_stored(world, Look::Dumb, "dumb.txt"));
}

#[test]
fn a_terminal_whose_user_wants_no_colour_gets_plain_lines() {
    world(|world| shows_what_is_stored(world, Look::NoColor, "no-color.txt"));
}

#[test]
fn a_pipe_gets_plain_lines_on_stderr() {
    world(|world| shows_what_is_stored(world, Look::Pipe, "pipe.txt"));
}

#[test]
fn a_line_that_changes_follows_the_terminals_width_and_is_gone_at_the_end() {
    world(|world| {
        world.expect_in_log("");
        let (port, package) = (world.port(), format!("{{\"name\":\"{NAME}\"}}"));
        let application = world.directory("app", &[("app.js", SLOW_BOOT), ("package.json", &package)]);
        let words = ["start", "--daemon", "--workers=2", &format!("--port={port}"), "--title=电子商务服务"];
        for columns in [20, 21, 25, 39, 1000] {
            let start = world.eggctl(&words).arg(&application).env("TERM", "xterm").spawn_on_terminal(columns);
            start.shows("starting ");
            eventually("a second has passed", || {
                start.sent().contains("(1 s)") || start.sent().matches('\r').count() > 8
            });
            let screen = start.screen();
            assert!(!screen.wraps, "{columns}: {:?}", start.sent());
            start.signal(nix::sys::signal::Signal::SIGINT);
            let (_, screen) = start.finish();
            assert!(!screen.text.contains("starting "), "{columns}: {}", screen.text);
        }
        // Too narrow for any line.
        let start = world.eggctl(&words).arg(&application).env("TERM", "xterm").spawn_on_terminal(12);
        start.shows("Wait Start: ");
        start.signal(nix::sys::signal::Signal::SIGINT);
        start.finish();
    });
}

#[test]
fn no_master_and_no_logger_loads_a_library_for_what_only_commands_draw() {
    world(|world| {
        world.start("svc", world.port()).run().exits(0);
        let maps = |pid: u32| fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
        let ours = processes::all().into_iter().map(|one| maps(one.pid)).filter(|maps| maps.contains("/eggctl\n"));
        let ours: Vec<String> = ours.collect();
        assert!(ours.len() >= 2, "{ours:?}");
        for maps in ours {
            let files = maps.lines().filter_map(|line| line.split('/').next_back().filter(|file| file.contains(".so")));
            let more: Vec<&str> = files
                .filter(|file| {
                    !["libc.", "libgcc_s.", "ld-linux", "ld-musl"].iter().any(|known| file.starts_with(known))
                })
                .collect();
            assert!(more.is_empty(), "{more:?}");
        }
        world.stop("svc");
    });
}
