//! A start that fails names the class of the failure and who it was, tells it once, and leaves nothing.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::harness::{Outcome, World, eventually, world};

/// A start with these variables that must fail with exit 1, and whose tree must be gone when it returns.
#[track_caller]
fn fails(world: &mut World, flags: &[&str], variables: &[(&str, &str)]) -> Outcome {
    let typed = world.start("svc", world.port()).args(flags);
    let outcome = variables.iter().fold(typed, |typed, (name, value)| typed.env(name, value)).run();
    world.nobody_is_left();
    outcome.fails(1);
    // What the members and the master printed about it.
    world.expect_in_log("");
    outcome
}

#[test]
fn a_worker_that_exits_is_named_with_its_code() {
    world(|world| {
        let outcome = fails(world, &[], &[("WORKER", "exit:3"), ("WORKER_BOOTS", "2")]);
        outcome.says("worker").says("exit code 3").does_not_say("timeout");
        assert!(
            outcome.took.as_secs() < 30,
            "a death is told when it happens, not at the deadline: {:?}",
            outcome.took
        );
    });
}

#[test]
fn a_worker_that_is_killed_is_named_with_its_signal() {
    world(|world| {
        fails(world, &[], &[("WORKER", "kill:SIGKILL")]).says("worker").says("SIGKILL");
    });
}

#[test]
fn an_exit_before_ready_is_a_failure_also_with_code_0() {
    world(|world| {
        fails(world, &[], &[("WORKER", "exit:0")]).says("worker").says("exit code 0");
    });
}

#[test]
fn an_agent_that_exits_is_named_and_no_worker_is_started() {
    world(|world| {
        fails(world, &[], &[("AGENT", "exit:5")]).says("agent").says("exit code 5");
        assert_eq!(world.boots("worker"), 0);
    });
}

#[test]
fn an_agent_that_is_killed_is_named_with_its_signal() {
    world(|world| {
        fails(world, &[], &[("AGENT", "kill:SIGSEGV")]).says("agent").says("SIGSEGV");
    });
}

#[test]
fn what_a_member_threw_is_shown_once() {
    world(|world| {
        let outcome = fails(world, &["--workers=1"], &[("WORKER", "throw:a broken import")]);
        let shown = outcome.text().matches("Error: a broken import").count();
        assert_eq!(shown, 1, "{}", outcome.text());
    });
}

#[test]
fn output_on_stderr_before_ready_is_a_failure_that_names_the_file_and_the_way_out() {
    world(|world| {
        let outcome = fails(world, &["--timeout=20000"], &[("WORKER", "stderr-hang:some noise")]);
        outcome.says(world.stderr_log().to_str().unwrap()).says("--ignore-stderr").says("some noise");
        assert!(outcome.took.as_secs() < 15, "{:?}", outcome.took);
    });
}

#[test]
fn a_member_that_prints_to_stderr_and_ends_is_told_by_its_end() {
    world(|world| {
        // The look at stderr, once a second, falls between the two.
        let outcome = fails(world, &["--workers=1"], &[("WORKER", "stderr-exit:6")]);
        outcome.says("worker 1").says("exit code 6").says("noise on stderr").does_not_say("--ignore-stderr");
    });
}

#[test]
fn ignore_stderr_lets_a_noisy_application_start() {
    world(|world| {
        world.expect_in_log("some noise");
        let typed = world.start("svc", world.port()).arg("--ignore-stderr");
        typed.env("WORKER", "stderr:some noise").env("AGENT", "stderr:some noise").run().exits(0);
        world.stop("svc");
    });
}

#[test]
fn the_deadline_holds_with_ignore_stderr_too_and_says_who_is_not_ready() {
    world(|world| {
        let flags = ["--ignore-stderr", "--timeout=1500"];
        let outcome = fails(world, &flags, &[("WORKER", "stderr-hang:noise"), ("WORKER_BOOTS", "2")]);
        outcome.says("1.5").says("worker").says("not ready").says("Wait Start: 1...");
        let hung =
            world.events_of("boot").into_iter().find(|boot| boot["who"] == "worker" && boot["boot"] == 2).unwrap();
        outcome.says(&format!("pid {}", hung["pid"]));
    });
}

#[test]
fn an_agent_that_never_says_it_is_ready_is_told_the_line_of_code_to_add() {
    world(|world| {
        let outcome = fails(world, &["--timeout=5800"], &[("AGENT", "hang")]);
        outcome.says("agent").says("process.send({ action: 'agent-start' })");
        assert!(world.log().contains("agent-start"), "the log has it after 5 s:\n{}", world.log());
    });
}

#[test]
fn a_worker_that_closes_its_channel_before_ready_fails_the_start() {
    world(|world| {
        fails(world, &["--workers=1"], &[("WORKER", "disconnect")]).says("worker").does_not_say("timeout");
    });
}

#[test]
fn forged_master_messages_make_nothing_ready() {
    world(|world| {
        let outcome = fails(world, &["--workers=1", "--timeout=2500"], &[("WORKER", "forge")]);
        outcome.says("not ready").does_not_say("started on");
    });
}

#[test]
fn with_a_port_a_listen_elsewhere_makes_nobody_ready() {
    world(|world| {
        let other = world.port().to_string();
        let outcome = fails(world, &["--workers=1", "--timeout=2500"], &[("LISTEN", &other)]);
        outcome.says("worker").says("not ready");
    });
}

#[test]
fn a_taken_port_is_named_with_its_owner() {
    world(|world| {
        let taken = TcpListener::bind("[::]:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let outcome = world.start("svc", port).run();
        world.nobody_is_left();
        world.expect_in_log("");
        outcome.fails(1).says(&format!("port {port}")).says("taken").says(&std::process::id().to_string());
    });
}

#[test]
fn descendants_of_a_failed_start_are_gone_too() {
    world(|world| {
        let children = "plain,setsid,stubborn";
        let variables = [("WORKER", "hang"), ("WORKER_CHILD", children), ("AGENT_CHILD", children)];
        fails(world, &["--timeout=1500"], &variables);
    });
}

#[test]
fn a_node_that_cannot_be_run_is_named_with_the_reason() {
    world(|world| {
        let directory = world.directory("node", &[("garbage", "\u{1}\u{2} no program"), ("plain", "#!/bin/sh\n")]);
        fs::set_permissions(directory.join("garbage"), fs::Permissions::from_mode(0o755)).unwrap();
        for (name, reason) in [("missing", "no such file"), ("plain", ""), ("garbage", "exec format error"), (".", "")]
        {
            let node = directory.join(name);
            let outcome = world.start("svc", world.port()).arg(format!("--node={}", node.display())).run();
            world.nobody_is_left();
            assert!([Some(1), Some(2)].contains(&outcome.status.code()), "{outcome:?}");
            outcome.fails(outcome.status.code().unwrap()).says(&directory.display().to_string()).says(reason);
        }
        world.expect_in_log("cannot run");
        assert_eq!(world.boots("agent"), 0);
    });
}

#[test]
fn daemon_as_pid_1_is_refused_with_the_reason() {
    world(|world| {
        let runner = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"];
        let typed = world.eggctl_under(&runner, &["start", "--daemon", "--title=svc"]).arg(world.fixture("app"));
        typed.run().fails(2).says("PID 1").says("--daemon");
    });
}

#[test]
fn control_characters_of_the_application_do_not_reach_the_terminal() {
    world(|world| {
        let typed =
            world.start("svc", world.port()).env("WORKER", "stderr-hang:\u{1b}]0;gotcha\u{7}").arg("--workers=1");
        let (status, shown) = typed.run_on_terminal();
        world.nobody_is_left();
        world.expect_in_log("gotcha");
        world.expect_in_log("stopped by SIGTERM");
        assert_eq!(status.code(), Some(1), "{shown}");
        assert!(shown.contains("gotcha") && !shown.contains("\u{1b}]0;"), "{shown:?}");
    });
}

#[test]
fn bad_configuration_is_one_clear_error_and_nothing_is_started() {
    world(|world| {
        let app = world.fixture("app");
        let app = app.to_str().unwrap();
        let empty = world.directory("empty", &[]);
        let broken = world.directory("broken", &[("package.json", "{ no json"), ("app.js", "")]);
        let (empty, broken) = (empty.to_str().unwrap(), broken.to_str().unwrap());
        let table: &[(&[&str], &str)] = &[
            (&["/no/such/directory"], "/no/such/directory"),
            (&["/no/such/script.js"], "/no/such/script.js"),
            (&[empty], "package.json"),
            (&[broken], "package.json"),
            (&[app, "--port=abc"], "abc"),
            (&[app, "--port=65536"], "65536"),
            (&[app, "--port=-1"], "-1"),
            (&[app, "--workers=0"], "0"),
            (&[app, "--workers=-2"], "-2"),
            (&[app, "--workers=1000000"], "1000000"),
            (&[app, "--workers=two"], "two"),
            (&[app, "--wrkers=2"], "--workers"),
            (&[app, "--title="], "title"),
            (&[app, "--title=a\nb"], "title"),
            (&[app, "--title=\u{1b}[31m"], "title"),
            (&[app, "--timeout=soon"], "soon"),
            (&[app, "--pidFile=p"], "not supported yet"),
            (&[app, "--debugPort=7200"], "for Egg applications"),
            (&[app, "another"], "another"),
        ];
        for (args, word) in table {
            let outcome = world.eggctl(&["start", "--daemon"]).args(*args).run();
            let code = outcome.status.code().unwrap_or(-1);
            assert!([1, 2].contains(&code), "{outcome:?}");
            outcome.fails(code).says(word);
            world.nobody_is_left();
            assert!(!world.stdout_log().exists(), "a bad configuration opened the log: {args:?}");
        }
        for (name, value) in [("PORT", "http"), ("EGG_WORKERS", "many"), ("EGG_APP_CLOSE_TIMEOUT", "x")] {
            world.eggctl(&["start", "--daemon", app]).env(name, value).run().fails(2).says(name).says(value);
        }
        let long = "x".repeat(201);
        world.eggctl(&["start", "--daemon", app, &format!("--title={long}")]).run().fails(2).says("title");
        assert_eq!(world.boots("agent"), 0);
    });
}

#[test]
fn a_log_that_cannot_be_written_is_named_and_nothing_is_started() {
    world(|world| {
        let directory = world.directory("logs", &[("file", "")]);
        symlink(directory.join("victim"), directory.join("dangling")).unwrap();
        symlink(directory.join("file"), directory.join("link")).unwrap();
        for name in ["dangling", "link", "file/below.log", "."] {
            let path = directory.join(name);
            let outcome = world.start("svc", world.port()).arg(format!("--stdout={}", path.display())).run();
            world.nobody_is_left();
            let code = outcome.status.code().unwrap_or(-1);
            assert!([1, 2].contains(&code), "{outcome:?}");
            outcome.fails(code).says(directory.to_str().unwrap());
        }
        assert!(!directory.join("victim").exists(), "a dangling link was followed");
        assert_eq!(world.boots("agent"), 0);
    });
}

/// Whoever ends while it is becoming the master (the kernel's memory killer takes anybody) ends the start at once, and not
/// at its deadline.
#[test]
fn a_daemon_that_is_killed_before_it_is_the_master_fails_the_start_at_once() {
    world(|world| {
        // The first process that `daemonize` forks makes a session, the second one the files its own; then it is the master.
        for call in ["setsid", "dup2", "execve"] {
            let port = world.port();
            let kill = format!("inject={call}:signal=KILL");
            let strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={call}"), "-e", &kill];
            let start = ["start", "--daemon", "--title=svc", &format!("--port={port}")];
            if !world.program(&["strace", "-qq", "-o", "/dev/null", "true"]).run().status.success() {
                return eprintln!("note: strace does not work here: this test did not run");
            }
            let outcome = world.eggctl_under(&strace, &start).arg(world.fixture("app")).run();
            outcome.fails(1).does_not_say("within");
            assert!(outcome.took < Duration::from_secs(20), "{call}: {:?}", outcome.took);
            world.nobody_is_left();
        }
    });
}

#[test]
fn a_worker_that_listens_somewhere_else_is_told_where_and_not_to_be_waited_for_longer() {
    world(|world| {
        world.expect_in_log("");
        let (wanted, other) = (world.port(), world.port());
        let program = format!("require('http').createServer(() => {{}}).listen({other});");
        let application = world.directory("elsewhere", &[("app.js", &program), ("package.json", r#"{"name":"e"}"#)]);
        let port = format!("--port={wanted}");
        let flags = ["start", "--daemon", "--title=svc", "--workers=1", "--timeout=1000", &port];
        let outcome = world.eggctl(&flags).arg(&application).run();
        world.nobody_is_left();
        outcome
            .fails(1)
            .says("Start failed, 1s timeout")
            .says(&format!("it is to listen on port {wanted}, but listens"));
        outcome.says(&other.to_string()).does_not_say("waits longer");
    });
}

/// How long nothing of a failed start may take to end that ends by KILL only: workers, agent and strays have half a second
/// each, and a second goes by until stderr is looked at, another one for the true end.
fn is_quick(outcome: &Outcome, before: Duration) {
    let most = before + Duration::from_millis(if std::env::var_os("CI").is_some() { 4_000 } else { 3_000 });
    assert!(outcome.took < most, "{:?}:\n{}", outcome.took, outcome.text());
}

/// A cause: flags, variables, and how many milliseconds pass before the start has failed by it.
type Cause = (&'static [&'static str], &'static [(&'static str, &'static str)], u64);

/// Members that stay when they get TERM and when their channel ends, and what fails the start around them.
const CAUSES: &[Cause] = &[
    (&[], &[("WORKER", "exit:3"), ("WORKER_BOOTS", "2")], 0),
    (&[], &[("WORKER", "kill:SIGSEGV"), ("WORKER_BOOTS", "2")], 0),
    (&[], &[("WORKER", "disconnect"), ("WORKER_BOOTS", "2")], 1_000),
    (&[], &[("AGENT", "exit-later:5"), ("WORKER", "hang")], 300),
    (&[], &[("WORKER", "stderr-hang:noise")], 2_000),
    (&[], &[("WORKER", "stderr:noise")], 0),
    (&["--timeout=1000"], &[("WORKER", "hang")], 1_000),
];

#[test]
fn nothing_of_a_failed_start_is_asked_politely_whatever_has_failed() {
    world(|world| {
        for (flags, variables, before) in CAUSES {
            let stubborn = [("AGENT_TERM", "stay"), ("WORKER_TERM", "stay"), ("EGG_MASTER_CLOSE_TIMEOUT", "20000")];
            let outcome = fails(world, flags, &[&stubborn[..], variables].concat());
            is_quick(&outcome, Duration::from_millis(*before));
            // The next ones are the first to boot again.
            for entry in fs::read_dir(world.work()).unwrap().map(Result::unwrap) {
                if entry.file_name().to_string_lossy().contains("-boot-") {
                    fs::remove_file(entry.path()).unwrap();
                }
            }
        }
    });
}

#[test]
fn a_taken_port_fails_a_start_without_waiting_for_anybody() {
    world(|world| {
        let taken = TcpListener::bind("[::]:0").unwrap();
        let typed = world.start("svc", taken.local_addr().unwrap().port());
        let outcome = typed.env("AGENT_TERM", "stay").env("EGG_AGENT_CLOSE_TIMEOUT", "20000").run();
        world.nobody_is_left();
        world.expect_in_log("");
        outcome.fails(1).says("taken");
        is_quick(&outcome, Duration::ZERO);
    });
}

#[test]
fn an_interrupted_start_asks_nobody_politely_with_and_without_a_parent() {
    world(|world| {
        world.expect_in_log("[master]");
        for daemon in [true, false] {
            let typed = if daemon { world.start("svc", world.port()) } else { world.foreground("svc", world.port()) };
            let stubborn =
                typed.env("AGENT_TERM", "stay").env("WORKER_TERM", "stay").env("EGG_MASTER_CLOSE_TIMEOUT", "20000");
            let boots = world.boots("worker");
            let start = stubborn.env("WORKER", "hang").env("WORKER_CHILD", "stubborn").spawn();
            eventually("both workers boot", || world.boots("worker") == boots + 2);
            let interrupted = Instant::now();
            start.signal(Signal::SIGINT);
            start.finish();
            assert!(interrupted.elapsed() < Duration::from_secs(4), "{daemon}: {:?}", interrupted.elapsed());
            world.nobody_is_left();
        }
    });
}
