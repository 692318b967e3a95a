//! Reload, scale and spares: what new code may do wrong, what may come in between, and what is there afterwards.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::harness::{World, await_some, eventually, http, processes, world};

/// Starts the fixture so that boots 3, 4 … (the first of a reload) misbehave like this; the port, and who runs.
fn running(world: &World, bad: &str, boots: &str) -> (u16, u32, Vec<u32>) {
    let port = world.port();
    world.start("svc", port).env("WORKER", bad).env("WORKER_BOOTS", boots).run().exits(0);
    let master = world.master("svc");
    (port, master, world.workers(master))
}

fn reload(world: &World, flags: &[&str]) -> crate::harness::Typed {
    world.eggctl(&["reload", "--title=svc"]).args(flags)
}

/// The old ones serve, and nobody else is there once the dismissed ones are gone.
#[track_caller]
fn nothing_has_changed(world: &World, port: u16, master: u32, old: &[u32]) {
    assert_eq!(http::get(port, "/").status, 200);
    assert!(old.contains(&http::get(port, "/").pid()));
    eventually("only the old ones are there", || world.workers(master) == old);
}

#[test]
fn new_code_that_throws_changes_nothing_and_is_told_with_its_last_words() {
    world(|world| {
        world.expect_in_log("");
        let (port, master, old) = running(world, "throw:the new code is broken", "3,4");
        let outcome = reload(world, &[]).run();
        outcome.fails(1).says("died").says("exit code 1").says("the new code is broken").says("nothing has changed");
        nothing_has_changed(world, port, master, &old);
        reload(world, &["--rolling"]).run().fails(1);
        nothing_has_changed(world, port, master, &old);
        reload(world, &[]).run().exits(0);
        assert!(world.workers(master).iter().all(|worker| !old.contains(worker)));
        world.stop("svc");
    });
}

#[test]
fn new_code_that_exits_with_0_at_boot_has_failed_too() {
    world(|world| {
        world.expect_in_log("");
        let (port, master, old) = running(world, "exit:0", "4");
        reload(world, &[]).run().fails(1).says("exit code 0");
        nothing_has_changed(world, port, master, &old);
        world.stop("svc");
    });
}

#[test]
fn new_code_that_hangs_is_given_up_at_the_boot_timeout() {
    world(|world| {
        world.expect_in_log("");
        let (port, master, old) = running(world, "hang", "4");
        reload(world, &["--boot-timeout=2500"]).run().fails(1).says("did not get ready");
        nothing_has_changed(world, port, master, &old);
        world.stop("svc");
    });
}

#[test]
fn new_code_that_prints_to_stderr_is_let_in() {
    world(|world| {
        world.expect_in_log(" INFO ");
        world.expect_in_log("a harmless warning");
        let (_, master, old) = running(world, "stderr:a harmless warning", "3,4");
        reload(world, &[]).run().exits(0);
        assert!(world.workers(master).iter().all(|worker| !old.contains(worker)));
        world.stop("svc");
    });
}

#[test]
fn a_generation_is_let_in_together() {
    world(|world| {
        world.expect_in_log(" INFO ");
        let (_, _, old) = running(world, "", "");
        reload(world, &["--batch=1"]).run().exits(0);
        let what = |event: &Value| (event["what"].as_str().unwrap().to_owned(), event["id"].as_u64().unwrap_or(0));
        let events: Vec<_> = world.events().iter().filter(|event| event["who"] == "worker").map(what).collect();
        let at = |wanted: (&str, u64)| events.iter().position(|(what, id)| (what.as_str(), *id) == wanted).unwrap();
        assert!(at(("boot", 4)) < at(("listening", 3)), "the first waits for the second: {events:?}");
        assert_eq!(old.len(), 2);
        world.stop("svc");
    });
}

#[test]
fn an_application_that_passes_the_gate_is_reloaded_worker_by_worker() {
    world(|world| {
        world.expect_in_log(" INFO ");
        world.expect_in_log("listened without asking");
        let port = world.port();
        let script = "process.send({ action: 'app-start' });\
                      require('http').createServer((q, a) => a.end('{}')).listen(process.env.PORT);";
        let application = world.directory("app", &[("app.js", script), ("package.json", "{\"name\":\"app\"}")]);
        let flags = ["start", "--daemon", "--title=svc", "--workers=2", &format!("--port={port}")];
        world.eggctl(&flags).arg(&application).run().exits(0);
        let old = world.workers(world.master("svc"));
        reload(world, &[]).run().exits(0).says("worker by worker");
        let new = world.workers(world.master("svc"));
        assert!(new.len() == 2 && new.iter().all(|worker| !old.contains(worker)), "{old:?} {new:?}");
        world.stop("svc");
    });
}

#[test]
fn who_says_that_it_is_ready_before_it_may_serve_is_let_in_with_the_others_and_serves() {
    world(|world| {
        world.expect_in_log(" INFO ");
        let port = world.port();
        let script = "require('http').createServer((q, a) => a.end(JSON.stringify({ pid: process.pid })))
                        .listen(process.env.PORT);
                      process.send({ action: 'app-start' });";
        let application = world.directory("app", &[("app.js", script), ("package.json", "{\"name\":\"app\"}")]);
        let flags = ["start", "--daemon", "--title=svc", "--workers=2", &format!("--port={port}")];
        world.eggctl(&flags).arg(&application).run().exits(0);
        let outcome = reload(world, &[]).run();
        outcome.exits(0);
        assert!(!outcome.text().contains("worker by worker"), "it has not passed the gate");
        for worker in world.workers(world.master("svc")) {
            eventually("each worker serves", || http::get(port, "/").pid() == worker);
        }
        world.stop("svc");
    });
}

#[test]
fn what_a_reload_has_brought_stays_when_something_else_is_refused_afterwards() {
    world(|world| {
        world.expect_a_death();
        world.expect_in_log(" INFO ");
        let port = world.port();
        let script = "require('http').createServer((q, a) => a.end(JSON.stringify({ release: global.release })))
                        .listen(process.env.PORT)";
        let package = |module: &str| format!(r#"{{"name":"app","eggScriptsConfig":{{"require":["./{module}.js"]}}}}"#);
        let (old, new) = ("global.release = 'old'", "global.release = 'new'");
        let files = [("app.js", script), ("old.js", old), ("new.js", new), ("package.json", &package("old"))];
        let application = world.directory("app", &files);
        let flags = ["start", "--daemon", "--title=svc", "--workers=1", &format!("--port={port}")];
        world.eggctl(&flags).arg(&application).run().exits(0);
        fs::write(application.join("package.json"), package("new")).unwrap();
        fs::remove_file(application.join("old.js")).unwrap();
        reload(world, &[]).run().exits(0);
        world.eggctl(&["scale", "-7", "--title=svc"]).run().fails(2);
        let master = world.master("svc");
        let before = world.workers(master);
        processes::signal(before[0], Signal::SIGKILL);
        eventually("another took its place", || world.workers(master).first().is_some_and(|pid| *pid != before[0]));
        world.eggctl(&["wait", "--title=svc"]).run().exits(0);
        assert_eq!(http::get(port, "/").json()["release"], "new");
        world.stop("svc");
    });
}

/// Starts the first of two releases by a link to it; the port, and the link.
fn first_release(world: &World) -> (u16, PathBuf) {
    let code = |text: &str| {
        format!(
            "require('http').createServer((q, a) => a.end(JSON.stringify({{ release: '{text}' }}))).listen(process.env.PORT)"
        )
    };
    for release in ["one", "two"] {
        world.directory(release, &[("app.js", &code(release)), ("package.json", "{\"name\":\"svc\"}")]);
    }
    let (current, port) = (world.work().join("current"), world.port());
    symlink("one", &current).unwrap();
    let flags = ["start", "--daemon", "--title=svc", "--workers=2", &format!("--port={port}")];
    world.eggctl(&flags).arg(&current).run().exits(0);
    assert_eq!(http::get(port, "/").json()["release"], "one");
    (port, current)
}

#[test]
fn a_reload_runs_the_release_that_the_link_points_to_now() {
    world(|world| {
        world.expect_in_log(" INFO ");
        let (port, current) = first_release(world);
        fs::remove_file(&current).unwrap();
        symlink("two", &current).unwrap();
        reload(world, &[]).run().exits(0);
        assert_eq!(http::get(port, "/").json()["release"], "two");
        world.stop("svc");
    });
}

#[test]
fn who_replaces_a_dead_worker_runs_the_release_that_the_link_points_to_now_also_when_the_old_one_is_gone() {
    world(|world| {
        world.expect_a_death();
        let (port, current) = first_release(world);
        // As `ln -sfn` does it: at every moment there is a link.
        symlink("two", world.work().join("next")).unwrap();
        fs::rename(world.work().join("next"), &current).unwrap();
        fs::remove_dir_all(world.work().join("one")).unwrap();
        for worker in world.workers(world.master("svc")) {
            processes::signal(worker, Signal::SIGKILL);
        }
        eventually("both are replaced", || world.log().matches(": new member now").count() == 2);
        for _ in 0..4 {
            assert_eq!(http::get(port, "/").json()["release"], "two");
        }
        world.stop("svc");
    });
}

#[test]
fn an_old_worker_that_does_not_leave_is_ended_at_the_drain_timeout() {
    world(|world| {
        world.expect_in_log("");
        let (port, _, _) = running(world, "", "");
        let slow = std::thread::spawn(move || http::try_get(port, "/slow?ms=60000").is_err());
        eventually("a slow request is under way", || !world.events_of("slow").is_empty());
        reload(world, &["--drain-timeout=1000"]).run().exits(0);
        assert!(slow.join().unwrap(), "its request was cut");
        world.stop("svc");
    });
}

#[test]
fn a_second_reload_joins_the_first_and_gets_the_same_answer() {
    world(|world| {
        world.expect_in_log(" INFO ");
        let (_, master, _) = running(world, "", "");
        let (mut first, mut second) = (reload(world, &[]).spawn(), reload(world, &[]).spawn());
        eventually("both end", || first.has_ended() && second.has_ended());
        first.finish().exits(0);
        second.finish().exits(0);
        assert_eq!(world.workers(master).len(), 2);
        assert!(world.boots("worker") <= 6, "{} boots", world.boots("worker"));
        world.stop("svc");
    });
}

#[test]
fn a_stop_in_the_middle_of_a_reload_leaves_nobody() {
    world(|world| {
        world.expect_in_log("");
        let (_, _, _) = running(world, "hang", "3,4");
        let reload = reload(world, &[]).spawn();
        eventually("a new worker boots", || world.boots("worker") == 3);
        world.stop("svc");
        world.nobody_is_left();
        reload.finish().fails(1).says("stopped");
    });
}

#[test]
fn a_worker_that_dies_during_a_reload_is_made_up_for() {
    world(|world| {
        world.expect_in_log("");
        let (port, master, old) = running(world, "", "");
        let reload = reload(world, &[]).spawn();
        processes::signal(old[0], Signal::SIGKILL);
        reload.finish().exits(0);
        eventually("two workers", || world.workers(master).len() == 2);
        assert!(!world.workers(master).contains(&old[1]));
        assert_eq!(http::get(port, "/").status, 200);
        world.stop("svc");
    });
}

#[test]
fn the_agent_is_replaced_and_what_is_sent_to_it_meanwhile_arrives() {
    world(|world| {
        world.expect_in_log(" INFO ");
        let (port, master, _) = running(world, "", "");
        let agent = world.agents(master)[0];
        let reload = reload(world, &["--agent"]).spawn();
        let mut sent = 0;
        let mut reload = reload;
        while !reload.has_ended() {
            sent += 1;
            http::get(port, &format!(r#"/send?message={{"action":"count","data":{sent}}}"#));
        }
        reload.finish().exits(0).says("no agent for");
        assert_ne!(world.agents(master), [agent]);
        let got =
            || world.events_of("message").into_iter().filter(|event| event["message"]["action"] == "count").count();
        eventually("every message is there", || got() == sent);
        world.stop("svc");
    });
}

#[test]
fn an_agent_that_is_replaced_reads_what_it_was_sent_before_it_goes() {
    world(|world| {
        world.expect_in_log(" INFO ");
        let port = world.port();
        world.start("svc", port).env("EGG_AGENT_CLOSE_TIMEOUT", "20000").run().exits(0);
        let agent = world.agents(world.master("svc"))[0];
        let send = |message: &str| http::get(port, &format!("/send?message={message}"));
        send(r#"{"action":"busy","data":2000}"#);
        eventually("the agent is busy", || !world.events_of("message").is_empty());
        send(r#"{"action":"count","data":1}"#);
        reload(world, &["--agent"]).run().exits(0);
        let count = world.events_of("message").into_iter().find(|event| event["message"]["action"] == "count");
        assert_eq!(count.expect("it has read it")["pid"], agent);
        world.stop("svc");
    });
}

#[test]
fn reload_worker_from_a_member_reloads_worker_by_worker() {
    world(|world| {
        world.expect_in_log(" INFO ");
        let (port, master, old) = running(world, "", "");
        http::get(port, r#"/send?message={"action":"reload-worker","to":"master"}"#);
        eventually("two new workers", || {
            let workers = world.workers(master);
            workers.len() == 2 && workers.iter().all(|worker| !old.contains(worker))
        });
        world.log_says("reloaded: 2 new workers");
        world.stop("svc");
    });
}

#[test]
fn in_development_reload_worker_brings_back_who_died() {
    world(|world| {
        world.expect_in_log("");
        let port = world.port();
        world.start("svc", port).arg("--env=local").run().exits(0);
        let master = world.master("svc");
        let old = world.workers(master);
        processes::signal(old[0], Signal::SIGKILL);
        world.log_says("don't fork");
        http::get(port, r#"/send?message={"action":"reload-worker","to":"master"}"#);
        eventually("two new workers", || {
            let workers = world.workers(master);
            workers.len() == 2 && workers.iter().all(|worker| !old.contains(worker))
        });
        world.stop("svc");
    });
}

/// The pid of the spare, once it waits: it has booted, and listens nowhere.
#[track_caller]
fn spare(world: &World, master: u32, others: &[u32]) -> u32 {
    await_some("a spare", || world.workers(master).into_iter().find(|worker| !others.contains(worker)))
}

#[test]
fn a_spare_waits_without_serving_and_takes_the_place_of_a_dead_worker() {
    world(|world| {
        world.expect_in_log("");
        let port = world.port();
        world.start("svc", port).arg("--spare=1").run().exits(0);
        let master = world.master("svc");
        world.log_says("waits at the gate");
        let workers: Vec<u32> = world.workers(master)[..2].to_vec();
        let waiting = spare(world, master, &workers);
        for _ in 0..20 {
            assert!(workers.contains(&http::get(port, "/").pid()), "the spare serves");
        }
        processes::signal(workers[0], Signal::SIGKILL);
        eventually("the spare serves", || http::get(port, "/").pid() == waiting);
        let others = [workers[0], workers[1], waiting];
        let next = spare(world, master, &others);
        assert!(!world.events_of("listening").iter().any(|event| event["pid"] == next), "the new spare listens");
        // A reload brings a new one too.
        reload(world, &[]).run().exits(0);
        eventually("three new ones", || {
            let now = world.workers(master);
            now.len() == 3 && now.iter().all(|worker| !others.contains(worker) && *worker != next)
        });
        world.stop("svc");
    });
}
