//! `start --daemon`: what a started application is, and what the parent says about it.

use std::fs;

use crate::harness::{World, http, processes, world};

/// A small application without an agent.
const ALONE: &str = "require('http').createServer((q, s) => s.end('alone')).listen(process.env.PORT || 0);";

fn limit(pid: u32) -> String {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap().to_owned();
    line.split_whitespace().skip(3).take(2).collect::<Vec<_>>().join(":")
}

#[test]
fn a_started_daemon_answers_and_the_parent_tells_title_address_pids_and_time() {
    world(|world| {
        let port = world.port();
        let started = world.start("svc", port).run();
        let master = world.master("svc");
        let (workers, agents) = (world.workers(master), world.agents(master));
        assert_eq!((workers.len(), agents.len()), (2, 1));
        started.exits(0).says("svc").says(&format!("http://127.0.0.1:{port}")).says(" ms");
        for pid in [master, agents[0], workers[0], workers[1]] {
            started.says(&pid.to_string());
        }
        let reply = http::get(port, "/");
        assert_eq!(reply.status, 200);
        assert!(workers.contains(&reply.pid()), "{reply:?} is none of {workers:?}");
        world.stop("svc");
    });
}

#[test]
fn the_master_has_a_session_of_its_own_no_terminal_one_thread_and_no_stdin() {
    world(|world| {
        world.start("svc", world.port()).run().exits(0);
        let master = world.master("svc");
        let stat = fs::read_to_string(format!("/proc/{master}/stat")).unwrap();
        let fields: Vec<&str> = stat[stat.rfind(')').unwrap() + 2..].split(' ').collect();
        let own = fs::read_to_string("/proc/self/stat").unwrap();
        let own_session = own[own.rfind(')').unwrap() + 2..].split(' ').nth(3).unwrap().to_owned();
        assert_ne!(fields[3], own_session, "the master is in the session of who started it");
        assert_eq!(fields[4], "0", "the master has a terminal");
        assert_eq!(fs::read_dir(format!("/proc/{master}/task")).unwrap().count(), 1);
        assert_eq!(fs::read_link(format!("/proc/{master}/fd/0")).unwrap().to_str(), Some("/dev/null"));
        world.stop("svc");
    });
}

#[test]
fn the_parent_returns_when_every_worker_listens_and_the_agent_came_first() {
    world(|world| {
        world.start("svc", world.port()).arg("--workers=4").run().exits(0);
        assert_eq!(world.events_of("listening").len(), 4);
        let boots = world.events_of("boot");
        assert_eq!(boots[0]["who"], "agent", "{boots:?}");
        assert!(boots[1..].iter().all(|boot| boot["primary"] == false), "cluster.isPrimary in a worker: {boots:?}");
        world.stop("svc");
    });
}

#[test]
fn an_agent_may_say_it_is_ready_with_a_string() {
    world(|world| {
        world.start("svc", world.port()).env("AGENT_SAYS", "string").run().exits(0);
        world.stop("svc");
    });
}

#[test]
fn an_application_without_agent_js_has_none_and_its_title_comes_from_package_json() {
    world(|world| {
        let files = [("package.json", r#"{"name":"little"}"#), ("app.js", ALONE)];
        let directory = world.directory("little", &files);
        let port = world.port();
        let typed = world.eggctl(&["start", "--daemon", "-c", "1", "-p", &port.to_string()]);
        typed.arg(&directory).run().exits(0).says("egg-server-little");
        let master = world.master("egg-server-little");
        assert!(world.agents(master).is_empty());
        assert_eq!(http::get(port, "/").body, "alone");
        // Without `--title`: the application in the current directory.
        world.eggctl(&["stop"]).cwd(&directory).run().exits(0);
    });
}

#[test]
fn the_directory_may_be_left_out_and_options_may_come_from_the_environment() {
    world(|world| {
        let files = [("package.json", r#"{"name":"here"}"#), ("app.js", ALONE)];
        let directory = world.directory("here", &files);
        let port = world.port();
        let typed = world.eggctl(&["start", "--daemon"]).cwd(&directory);
        typed.env("PORT", port.to_string()).env("EGG_WORKERS", "3").run().exits(0);
        assert_eq!(world.workers(world.master("egg-server-here")).len(), 3);
        assert_eq!(http::get(port, "/").status, 200);
        world.stop("egg-server-here");
    });
}

#[test]
fn an_inherited_disposition_that_ignores_ended_children_does_not_matter() {
    world(|world| {
        let port = world.port();
        let words = ["start", "--daemon", "--title=svc", &format!("--port={port}")];
        let typed = world.eggctl_under(&["env", "--ignore-signal=CHLD"], &words);
        typed.arg(world.fixture("app")).run().exits(0);
        assert_eq!(http::get(port, "/").status, 200);
        world.stop("svc");
    });
}

#[test]
fn an_output_that_takes_nothing_is_no_failure() {
    world(|world| {
        let port = world.port();
        let words = ["start", "--daemon", "--title=svc", &format!("--port={port}")];
        let typed = world.eggctl_under(&["sh", "-c", r#"exec "$@" >/dev/full"#, "sh"], &words);
        typed.arg(world.fixture("app")).run().exits(0);
        assert_eq!(http::get(port, "/").status, 200);
        world.stop("svc");
    });
}

#[test]
fn a_script_runs_its_workers_half_only() {
    world(|world| {
        let port = world.port();
        let typed = world.eggctl(&["start", "--daemon", "--workers=2", &format!("--port={port}")]);
        typed.arg(world.fixture("script/server.js")).run().exits(0);
        let master = world.master("egg-server-server");
        assert!(world.workers(master).contains(&http::get(port, "/").pid()));
        world.stop("egg-server-server");
    });
}

#[test]
fn a_worker_that_says_app_start_is_ready_before_it_listens() {
    world(|world| {
        let port = world.port();
        world.start("svc", port).env("READY", "message").run().exits(0);
        crate::harness::eventually("it listens later", || http::try_get(port, "/").is_ok());
        world.stop("svc");
    });
}

#[test]
fn without_a_port_the_first_listen_makes_ready_and_its_address_is_printed() {
    world(|world| {
        let typed = world.eggctl(&["start", "--daemon", "--title=svc", "--workers=2"]);
        let started = typed.arg(world.fixture("app")).env("LISTEN", "0").run();
        started.exits(0);
        let text = started.text();
        let port = text.split("http://127.0.0.1:").nth(1).expect(&text);
        let port: u16 = port.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap();
        assert_eq!(http::get(port, "/").status, 200);
        world.stop("svc");
    });
}

#[test]
fn members_get_egg_scripts_environment_and_none_of_the_masters_own_business() {
    world(|world| {
        let port = world.port();
        let directory = world.fixture("app");
        // What a Node program above left in the environment must not reach anybody.
        let typed = world.start("svc", port).args(["--env=prod", "-r", "./notes.js"]);
        let inherited = [("NODE_CHANNEL_FD", "77"), ("NODE_UNIQUE_ID", "5"), ("SENDMESSAGE_ONE_PROCESS", "true")];
        inherited.iter().fold(typed, |typed, (name, value)| typed.env(name, value)).run().exits(0);
        let reply = http::get(port, "/env").json();
        let variable = |name: &str| reply["env"][name].as_str().map(str::to_owned);
        assert_eq!(variable("NODE_ENV").as_deref(), Some("production"));
        assert_eq!(variable("EGG_SERVER_ENV").as_deref(), Some("prod"));
        assert_eq!(variable("PORT"), Some(port.to_string()));
        assert_eq!(variable("HOME").as_deref(), world.home().to_str());
        let bins = format!("{0}/node_modules/.bin:{0}/.node/bin:", directory.display());
        assert!(variable("PATH").unwrap().starts_with(&bins), "{reply}");
        for name in
            ["NODE_CHANNEL_FD", "NODE_UNIQUE_ID", "SENDMESSAGE_ONE_PROCESS", "EGGCTL_OPTIONS_FD", "EGGCTL_LOCK_FD"]
        {
            assert_eq!(variable(name), None, "{name}");
        }
        assert_eq!(reply["cwd"].as_str(), directory.to_str());
        let flags: Vec<&str> = reply["execArgv"].as_array().unwrap().iter().filter_map(|flag| flag.as_str()).collect();
        assert!(flags.starts_with(&["--no-deprecation", "--trace-warnings"]), "{flags:?}");
        let required = directory.join("notes.js");
        assert!(
            flags.windows(2).any(|pair| pair[0] == "--require" && pair[1] == required.to_str().unwrap()),
            "{flags:?}"
        );
        world.stop("svc");
    });
}

#[test]
fn workers_default_to_the_cpus_this_process_may_use() {
    world(|world| {
        let port = format!("--port={}", world.port());
        let args = ["start", "--daemon", "--title=svc", &port];
        let typed = world.eggctl_under(&["taskset", "-c", "0"], &args);
        typed.arg(world.fixture("app")).run().exits(0);
        assert_eq!(world.workers(world.master("svc")).len(), 1);
        world.stop("svc");
    });
}

#[test]
fn the_master_raises_its_limit_of_open_files_and_members_keep_theirs() {
    world(|world| {
        let port = format!("--port={}", world.port());
        let args = ["start", "--daemon", "--title=svc", "--workers=1", &port];
        let typed = world.eggctl_under(&["prlimit", "--nofile=512:1000"], &args);
        typed.arg(world.fixture("app")).run().exits(0);
        let master = world.master("svc");
        assert_eq!(limit(master), "1000:1000");
        let worker = world.workers(master)[0];
        // Node raises its own soft limit; what it was given is in the agent's and worker's hard limit and its start.
        assert!(["512:1000", "1000:1000"].contains(&limit(worker).as_str()), "{}", limit(worker));
        world.stop("svc");
    });
}

#[test]
fn members_are_in_process_groups_of_their_own_and_inherit_no_descriptor_but_their_channel() {
    world(|world| {
        world.start("svc", world.port()).run().exits(0);
        let master = world.master("svc");
        for member in world.workers(master).into_iter().chain(world.agents(master)) {
            let group = nix::unistd::getpgid(Some(nix::unistd::Pid::from_raw(member as i32))).unwrap();
            assert_eq!(group.as_raw() as u32, member);
            let masters_own =
                descriptors(master).into_iter().filter(|file| file.starts_with("socket:")).collect::<Vec<_>>();
            let shared: Vec<_> = descriptors(member).into_iter().filter(|file| masters_own.contains(file)).collect();
            assert!(shared.is_empty(), "{member} holds the master's {shared:?}");
        }
        world.stop("svc");
    });
}

fn descriptors(pid: u32) -> Vec<String> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    entries.filter_map(|entry| Some(fs::read_link(entry.path()).ok()?.to_string_lossy().into_owned())).collect()
}

#[test]
fn on_a_terminal_the_wait_shows_how_far_it_is() {
    world(|world| {
        let (status, shown) = world.start("svc", world.port()).env("TERM", "xterm").run_on_terminal();
        assert!(status.success(), "{shown}");
        assert!(shown.contains("workers 0/2") && shown.contains("agent"), "{shown:?}");
        assert!(!shown.contains("Wait Start"), "{shown:?}");
        world.stop("svc");
    });
}

#[test]
fn the_daemon_outlives_the_terminal_it_was_started_from() {
    world(|world: &mut World| {
        let port = world.port();
        let (status, shown) = world.start("svc", port).run_on_terminal();
        assert!(status.success(), "{shown}");
        // The terminal is gone by now.
        assert!(processes::alive(world.master("svc")));
        assert_eq!(http::get(port, "/").status, 200);
        world.stop("svc");
    });
}

#[test]
fn the_master_pushes_nobody_aside_and_what_it_starts_is_as_the_start_was() {
    const OTHER: u32 = 0;
    const BATCH: u32 = 3;
    const IDLE: u32 = 5;
    // (what `start` is run under, the class and nice value of the master, those of its members and logger)
    let cases: [(&[&str], _, _); 5] = [
        (&["nice", "-n", "0"], (BATCH, 0), (OTHER, 0)),
        (&["nice", "-n", "5"], (BATCH, 5), (OTHER, 5)),
        (&["nice", "-n", "-5"], (BATCH, -5), (OTHER, -5)),
        (&["chrt", "--batch", "0"], (BATCH, 0), (BATCH, 0)),
        (&["chrt", "--idle", "0"], (IDLE, 0), (IDLE, 0)),
    ];
    world(|world| {
        for (under, masters, others) in cases {
            let port = format!("--port={}", world.port());
            let start = world.eggctl_under(under, &["start", "--daemon", "--title=svc", "--workers=1", &port]);
            start.arg(world.fixture("app")).run().exits(0);
            let master = world.master("svc");
            assert_eq!(class_and_nice(master), masters, "{under:?}");
            for other in world.alive().iter().filter(|one| one.pid != master) {
                assert_eq!(class_and_nice(other.pid), others, "{under:?}: {:?}", other.args);
            }
            world.stop("svc");
        }
    });
}

/// The scheduler's class (`sched(7)`) and the nice value.
fn class_and_nice(pid: u32) -> (u32, i32) {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat[stat.rfind(')').unwrap() + 2..].split(' ').collect();
    (fields[38].parse().unwrap(), fields[16].parse().unwrap())
}

#[test]
fn what_was_printed_until_the_command_returns_is_in_the_files() {
    world(|world| {
        world.expect_in_log("a last word before ready");
        for flags in [&[][..], &["--log-per-member"]] {
            for round in 0..15 {
                let typed =
                    world.start("svc", world.port()).args(flags).env("WORKER", "stdout:a last word before ready");
                typed.run().exits(0);
                // At once: whatever is missing now would come some milliseconds later.
                let log = world.log();
                assert!(log.contains(" started on http://"), "{flags:?}, round {round}:\n{log}");
                let own = |n| {
                    fs::read_to_string(world.home().join(format!("logs/worker-{n}-stdout.log"))).unwrap_or_default()
                };
                let words = (log + &own(1) + &own(2)).matches("a last word before ready").count();
                assert_eq!(words, 2, "{flags:?}, round {round}");
                world.stop("svc");
            }
        }
    });
}

/// Node says it of its own accord.
const WARNS: &str = "process.emitWarning('one\\ntwo', 'ExperimentalWarning');";

#[test]
fn a_warning_of_nodes_own_is_shown_and_no_failure_however_long_the_start_takes() {
    world(|world| {
        world.expect_in_log("");
        for (late, flags) in [
            (0, ["--workers=2", "--timeout=60000"]),
            (700, ["--workers=1", "--node-options--no-trace-warnings"]),
            (1_300, ["--workers=1", "--log-per-member"]),
            (2_400, ["--workers=1", "--node-options--trace-deprecation"]),
        ] {
            let port = world.port();
            let program = serves_late(WARNS, port, late);
            let directory = world.directory("warns", &[("package.json", r#"{"name":"warns"}"#), ("app.js", &program)]);
            let typed = world.eggctl(&["start", "--daemon", "--title=svc", &format!("--port={port}")]).args(flags);
            let outcome = typed.arg(&directory).run();
            outcome.exits(0).says("warning: ").says("ExperimentalWarning: one").says("two");
            assert!(!outcome.stdout.contains("Warning"), "{}", outcome.text());
            assert_eq!(outcome.stderr.matches("Warning: one").count(), 1, "{}", outcome.text());
            world.stop("svc");
        }
    });
}

/// Does something, and listens so many milliseconds later.
fn serves_late(first: &str, port: u16, late_ms: u32) -> String {
    let server = format!("require('http').createServer((q, s) => s.end()).listen({port})");
    format!("{first};setTimeout(() => {server}, {late_ms});")
}

#[test]
fn any_other_line_on_stderr_fails_a_start_however_fast_it_is() {
    world(|world| {
        world.expect_in_log("");
        let lines = ["console.error('trouble')", "process.stderr.write('trouble')"];
        let after_a_warning = format!("{WARNS}setTimeout(() => console.error('trouble'), 50)");
        for (late, flag) in [(100, "--workers=1"), (400, "--log-per-member"), (1_300, "--workers=1")] {
            for said in lines.into_iter().chain([after_a_warning.as_str()]) {
                let port = world.port();
                let files = [("package.json", r#"{"name":"says"}"#), ("app.js", &serves_late(said, port, late))];
                let directory = world.directory("says", &files);
                let flags = ["start", "--daemon", "--title=svc", &format!("--port={port}"), flag];
                let outcome = world.eggctl(&flags).arg(&directory).run();
                world.nobody_is_left();
                outcome.fails(1).says("Start got error, see").says("trouble").says("--ignore-stderr");
                outcome.does_not_say("says started");
            }
        }
        let ignored = world.eggctl(&["start", "--daemon", "--title=svc", "--ignore-stderr"]);
        ignored.arg(world.work().join("says")).run().exits(0).does_not_say("warning");
        world.stop("svc");
    });
}
