//! What signals do to the master: those that mean something, all others, and what the log says of their senders.

use nix::sys::signal::Signal;

use crate::harness::processes::{self, signal_number};
use crate::harness::{World, eventually, http, visibly, world};

/// Every signal that means nothing to the master and would end or stop it by default.
const MEANINGLESS: [i32; 17] = [12, 13, 14, 16, 21, 22, 24, 25, 26, 27, 29, 30, 32, 33, 34, 37, 64];

/// A program that gives its child a terminal as the controlling one, and goes on until it is killed.
const ON_A_TERMINAL: &str = "\
import os, pty, sys
pid, terminal = pty.fork()
if pid == 0: os.execvp(sys.argv[1], sys.argv[1:])
while True:
    sys.stdout.buffer.write(os.read(terminal, 4096))
    sys.stdout.flush()
";

/// The pids of the workers once there are two that are none of `old`.
#[track_caller]
fn replaced(world: &World, master: u32, old: &[u32]) {
    eventually("new workers only", || {
        let workers = world.workers(master);
        workers.len() == 2 && workers.iter().all(|pid| !old.contains(pid))
    });
}

fn foreground_words(port: u16) -> [String; 4] {
    ["start".into(), "--title=svc".into(), format!("--port={port}"), "--workers=2".into()]
}

#[test]
fn signals_that_mean_nothing_end_neither_a_daemon_nor_a_foreground_master_and_are_logged_with_their_sender() {
    world(|world| {
        world.expect_in_log("means nothing to the master: ignored");
        let (port, other_port) = (world.port(), world.port());
        world.start("svc", port).run().exits(0);
        let foreground = world.foreground("other", other_port).spawn();
        foreground.says("started on");
        let masters = [world.master("svc"), world.master("other")];
        for number in MEANINGLESS {
            for master in masters {
                signal_number(master, number);
            }
        }
        for name in
            ["SIGUSR2", "SIGALRM", "SIGPIPE", "SIGPWR", "SIGIO", "SIGTTOU", "SIGXFSZ", "SIGRTMIN+3", "signal 32"]
        {
            world.log_says(&format!("{name} from pid "));
            foreground.says(&format!("{name} from pid "));
        }
        assert_eq!([world.master("svc"), world.master("other")], masters);
        assert_eq!((http::get(port, "/").status, http::get(other_port, "/").status), (200, 200));
        // Its children inherit nothing of what it blocks.
        let children = world.alive().into_iter().filter(|process| process.parent == masters[0]);
        let children: Vec<u32> = children.map(|process| process.pid).collect();
        assert_eq!(children.len(), 4, "two workers, the agent, the logger");
        for member in children {
            let status = std::fs::read_to_string(format!("/proc/{member}/status")).unwrap();
            assert!(status.contains("SigBlk:\t0000000000000000"), "{status}");
        }
        foreground.signal(Signal::SIGTERM);
        foreground.finish().exits(0);
        world.stop("svc");
    });
}

#[test]
fn a_flood_of_signals_costs_one_line_a_minute_each_and_no_member() {
    world(|world| {
        world.expect_in_log("means nothing to the master: ignored");
        let port = world.port();
        world.start("svc", port).run().exits(0);
        let master = world.master("svc");
        let flood = format!("i=0; while [ $i -lt 3000 ]; do kill -35 {master}; kill -12 {master}; i=$((i+1)); done");
        world.program(&["sh", "-c", &flood]).run().exits(0);
        assert_eq!(http::get(port, "/").status, 200);
        world.stop("svc");
        for name in ["SIGUSR2", "SIGRTMIN+1"] {
            assert_eq!(world.log().matches(&format!("{name} from pid ")).count(), 1, "{}", world.log());
        }
    });
}

#[test]
fn the_log_names_the_sender_of_a_signal_with_its_command_line_escaped_and_cut() {
    world(|world| {
        world.expect_in_log("means nothing to the master: ignored");
        let port = world.port();
        world.start("svc", port).run().exits(0);
        let master = world.master("svc");
        let script = format!("kill -12 {master}; exec sleep 1000 # `a`\n{}", "x".repeat(1000));
        let sender = world.program(&["sh", "-c", "eval \"$0\"; sleep 1000", &script]).spawn();
        // It has the shell's arguments or those of its successor, by when the master looks.
        world.log_says(&format!("SIGUSR2 from pid {} (`", sender.pid()));
        let log = world.log();
        let line = log.lines().find(|line| line.contains("SIGUSR2")).unwrap();
        assert!(line.len() < 500 && line.contains("`), uid 0 means nothing"), "{line}");
        drop(sender);
        world.stop("svc");
        let log = world.log();
        let lines: Vec<&str> = log.lines().filter(|line| line.contains("SIGTERM")).collect();
        // Egg's own line stays as it is, for those who search for it.
        assert!(lines[1].ends_with("[master] master is killed by signal SIGTERM, closing"), "{log}");
        assert!(lines[0].contains("SIGTERM from pid ") && lines[0].contains("stop --title=svc`), uid 0"), "{log}");
    });
}

#[test]
fn hup_reloads_a_daemon_with_the_options_that_it_has() {
    world(|world| {
        world.expect_in_log("");
        let port = world.port();
        world.start("svc", port).run().exits(0);
        let master = world.master("svc");
        let old = world.workers(master);
        processes::signal(master, Signal::SIGHUP);
        replaced(world, master, &old);
        world.log_says("reloaded: 2 new workers");
        world.log_says("SIGHUP from pid ");
        assert_eq!(world.master("svc"), master);
        world.stop("svc");
    });
}

#[test]
fn hup_reloads_a_foreground_master_without_a_terminal_as_under_systemd() {
    world(|world| {
        let port = world.port();
        let start = world.eggctl_under(&["setsid"], &[]).args(foreground_words(port)).arg(world.fixture("app")).spawn();
        start.says("started on");
        let master = world.master("svc");
        let old = world.workers(master);
        processes::signal(master, Signal::SIGHUP);
        replaced(world, master, &old);
        start.says("reloaded: 2 new workers");
        processes::signal(master, Signal::SIGTERM);
        start.finish().exits(0);
    });
}

#[test]
fn hup_closes_a_foreground_master_that_had_a_terminal_when_it_started() {
    world(|world| {
        let run = |port: u16| {
            let runner = ["python3", "-c", ON_A_TERMINAL];
            let typed = world.eggctl_under(&runner, &[]).args(foreground_words(port)).arg(world.fixture("app"));
            let start = typed.env("WORKER_TERM", "record").spawn();
            start.says("started on");
            (start, world.master("svc"))
        };
        // By hand, and by the kernel when the terminal goes away, which the master does not have any more by then.
        let (terminal, master) = run(world.port());
        processes::signal(master, Signal::SIGHUP);
        terminal.says("master is killed by signal SIGHUP, closing");
        eventually("the master closes", || !processes::alive(master));
        drop(terminal);
        eventually("everything has gone", || world.alive().is_empty());
        let terms = world.events_of("term").len();
        let (terminal, _) = run(world.port());
        terminal.signal(Signal::SIGKILL);
        eventually("everything has gone again", || world.alive().is_empty());
        assert_eq!((terms, world.events_of("term").len()), (2, 4), "each worker got one TERM");
    });
}

#[test]
fn a_hup_that_was_ignored_at_the_start_stays_ignored() {
    world(|world| {
        world.expect_in_log("SIGUSR2");
        let port = world.port();
        let words = ["--daemon"].into_iter().map(str::to_owned).chain(foreground_words(port).into_iter().skip(1));
        let start = world.eggctl_under(&["nohup"], &["start"]).args(words).arg(world.fixture("app")).run();
        start.exits(0);
        let master = world.master("svc");
        let old = world.workers(master);
        processes::signal(master, Signal::SIGHUP);
        processes::signal(master, Signal::SIGUSR2);
        world.log_says("SIGUSR2 from pid ");
        assert_eq!(world.workers(master), old);
        assert!(!world.log().contains("SIGHUP"), "{}", world.log());
        world.stop("svc");
    });
}

/// An strace that makes this call of the master fail; `None`, visibly, where there is none.
fn failing(world: &World, master: u32, calls: &str, error: &str) -> Option<crate::harness::Background> {
    let there = std::process::Command::new("strace").arg("-V").output().is_ok_and(|version| version.status.success());
    if !there {
        visibly("note: no strace here: a failing system call was not tried");
        return None;
    }
    let injected = format!("inject={calls}:error={error}");
    let record = world.work().join("strace");
    let words = ["strace", "-o", record.to_str().unwrap(), "-e", &injected, "-p", &master.to_string()];
    let strace = world.program(&words).spawn();
    strace.says("attached");
    Some(strace)
}

#[test]
fn errors_of_the_wait_that_pass_are_survived_and_logged() {
    world(|world| {
        world.expect_in_log("the event loop cannot wait: ");
        let port = world.port();
        world.start("svc", port).run().exits(0);
        let master = world.master("svc");
        for error in ["ENOMEM:when=1", "EBADF:when=2", "EINTR:when=1..3"] {
            let Some(strace) = failing(world, master, "epoll_wait,epoll_pwait", error) else { return };
            eventually("the call fails", || {
                let _ = http::get(port, "/");
                std::fs::read_to_string(world.work().join("strace")).unwrap().contains("(INJECTED)")
            });
            drop(strace);
        }
        assert_eq!((http::get(port, "/").status, world.master("svc")), (200, master));
        world.log_says("the event loop cannot wait: ");
        world.stop("svc");
    });
}

#[test]
fn a_wait_that_fails_for_good_ends_the_service_in_order_and_with_exit_code_1() {
    world(|world| {
        let start = world.foreground("svc", world.port()).env("WORKER_TERM", "record").spawn();
        start.says("started on");
        let Some(strace) = failing(world, start.pid(), "epoll_wait,epoll_pwait", "EBADF") else { return };
        let outcome = start.finish();
        drop(strace);
        outcome.exits(1).says("the event loop cannot wait: ").says("exit with code:1");
        world.nobody_is_left();
        assert_eq!(world.events_of("term").len(), 2, "each worker got one TERM");
        assert!(outcome.text().len() < 20_000, "it is said once: {}", outcome.text());
    });
}

#[test]
fn a_refusal_to_say_which_children_have_ended_is_no_end_of_any_and_is_asked_again() {
    world(|world| {
        world.expect_in_log("");
        let port = world.port();
        world.start("svc", port).run().exits(0);
        let master = world.master("svc");
        let old = world.workers(master);
        let Some(strace) = failing(world, master, "waitid", "EINVAL:when=1..3") else { return };
        processes::signal(old[0], Signal::SIGKILL);
        eventually("a new worker", || {
            let workers = world.workers(master);
            workers.len() == 2 && !workers.contains(&old[0])
        });
        world.log_says("cannot look for ended children: ");
        eventually("it is asked until it is answered", || !world.processes().iter().any(|one| one.pid == old[0]));
        drop(strace);
        world.stop("svc");
    });
}
