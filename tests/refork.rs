//! A dead member is replaced, whatever its replacements do.

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::harness::{World, await_some, eventually, http, processes, world};

/// The workers once there are `count` of them that are none of `old`.
#[track_caller]
fn new_workers(world: &World, master: u32, old: &[u32], count: usize) -> Vec<u32> {
    await_some(&format!("{count} workers beside {old:?}"), || {
        let workers: Vec<u32> = world.workers(master).into_iter().filter(|pid| !old.contains(pid)).collect();
        (workers.len() == count).then_some(workers)
    })
}

/// Waits until each of these workers has listened.
#[track_caller]
fn listen(world: &World, workers: &[u32]) {
    let listening = |pid: &u32| world.events_of("listening").iter().any(|event| event["pid"] == *pid);
    eventually(&format!("{workers:?} listen"), || workers.iter().all(listening));
}

#[test]
fn a_killed_worker_is_replaced_while_the_other_serves() {
    world(|world| {
        world.expect_a_death();
        let port = world.port();
        world.start("svc", port).run().exits(0);
        let master = world.master("svc");
        let old = world.workers(master);
        processes::signal(old[0], Signal::SIGKILL);
        let fresh = new_workers(world, master, &old, 1);
        listen(world, &fresh);
        let workers = world.workers(master);
        assert_eq!(workers, [old[1], fresh[0]]);
        world.log_says(&format!("{} died", old[0]));
        eventually("the new one serves", || http::get(port, "/").pid() == fresh[0]);
        world.stop("svc");
    });
}

#[test]
fn a_worker_that_exits_or_throws_is_replaced() {
    world(|world| {
        world.expect_in_log("");
        let port = world.port();
        world.start("svc", port).arg("--workers=1").run().exits(0);
        let master = world.master("svc");
        for path in ["/exit?code=0", "/throw", "/exit?code=9"] {
            let old = world.workers(master);
            let _ = http::try_get(port, path);
            let fresh = new_workers(world, master, &old, 1);
            listen(world, &fresh);
            assert_eq!(http::get(port, "/").pid(), fresh[0], "after {path}");
        }
        world.stop("svc");
    });
}

#[test]
fn a_dead_agent_is_replaced_and_the_workers_stay() {
    world(|world| {
        world.expect_a_death();
        let port = world.port();
        world.start("svc", port).run().exits(0);
        let master = world.master("svc");
        let (agent, workers) = (world.agents(master)[0], world.workers(master));
        processes::signal(agent, Signal::SIGKILL);
        eventually("a new agent", || world.agents(master).iter().any(|pid| *pid != agent));
        assert_eq!(world.agents(master).len(), 1);
        assert_eq!(world.workers(master), workers);
        // The new one is reached.
        eventually("the new agent answers", || {
            let worker = http::get(port, "/").pid();
            let ping = format!(r#"/send?message={{"action":"ping","data":{{"pid":{worker}}}}}"#);
            http::get(port, &ping);
            world.events_of("message").iter().any(|event| event["message"]["action"] == "pong")
        });
        world.stop("svc");
    });
}

#[test]
fn a_replacement_that_dies_at_boot_is_tried_again() {
    world(|world| {
        world.expect_in_log("");
        let port = world.port();
        let typed = world.start("svc", port).env("WORKER", "exit:7").env("WORKER_BOOTS", "3,4,5");
        typed.run().exits(0);
        let master = world.master("svc");
        let old = world.workers(master);
        processes::signal(old[1], Signal::SIGKILL);
        eventually("the fourth replacement boots", || world.boots("worker") >= 6);
        let fresh = new_workers(world, master, &old, 1);
        listen(world, &fresh);
        assert_eq!(world.boots("worker"), 6);
        world.stop("svc");
    });
}

#[test]
fn a_replacement_that_hangs_at_boot_is_ended_and_tried_again() {
    world(|world| {
        world.expect_in_log("");
        let typed = world.start("svc", world.port()).env("WORKER", "hang").env("WORKER_BOOTS", "3");
        // A member may take as long to boot as the start may.
        typed.arg("--timeout=4000").run().exits(0);
        let master = world.master("svc");
        let old = world.workers(master);
        processes::signal(old[0], Signal::SIGKILL);
        eventually("the hanging one is given up", || world.boots("worker") == 4);
        let fresh = new_workers(world, master, &old, 1);
        listen(world, &fresh);
        world.stop("svc");
    });
}

#[test]
fn a_replacement_agent_that_hangs_at_boot_is_ended_and_tried_again() {
    world(|world| {
        world.expect_in_log("");
        let typed = world.start("svc", world.port()).env("AGENT", "hang").env("AGENT_BOOTS", "2");
        typed.arg("--timeout=4000").run().exits(0);
        let master = world.master("svc");
        processes::signal(world.agents(master)[0], Signal::SIGKILL);
        eventually("the hanging agent is given up", || world.boots("agent") == 3);
        eventually("one agent", || world.agents(master).len() == 1);
        world.stop("svc");
    });
}

#[test]
fn many_deaths_are_backed_off_from_and_never_given_up() {
    world(|world| {
        world.expect_in_log("");
        let typed = world.start("svc", world.port()).arg("--workers=1").env("WORKER", "exit:1");
        typed.env("WORKER_BOOTS", "2,3,4,5,6").run().exits(0);
        let master = world.master("svc");
        let old = world.workers(master);
        processes::signal(old[0], Signal::SIGKILL);
        let fresh = await_some("the seventh boot listens", || {
            let seventh = |event: &Value| event["what"] == "boot" && event["boot"] == 7;
            world.events().iter().find(|event| seventh(event)).and_then(|event| event["pid"].as_u64())
        });
        listen(world, &[u32::try_from(fresh).unwrap()]);
        for back_off in ["100 ms", "200 ms", "400 ms", "800 ms"] {
            assert!(world.log().contains(back_off), "no back-off of {back_off} in\n{}", world.log());
        }
        world.stop("svc");
    });
}

fn replaces_no_worker_but_the_agent_in(world: &mut World, env: &str) {
    world.expect_in_log("");
    let port = world.port();
    world.start("svc", port).arg(format!("--env={env}")).run().exits(0);
    let master = world.master("svc");
    let old = world.workers(master);
    processes::signal(old[0], Signal::SIGKILL);
    world.log_says("don't fork");
    assert_eq!(world.workers(master), [old[1]]);
    assert_eq!(http::get(port, "/").pid(), old[1]);
    let agent = world.agents(master)[0];
    processes::signal(agent, Signal::SIGKILL);
    eventually("a new agent", || world.agents(master).iter().any(|pid| *pid != agent));
    // One that dies of itself, and again: the wait before it grows, and it is never given up.
    for _ in 0..2 {
        let agent = world.agents(master)[0];
        http::get(port, r#"/send?message={"action":"die","data":0}"#);
        eventually("another agent", || matches!(world.agents(master)[..], [pid] if pid != agent));
    }
    assert_eq!(world.workers(master), [old[1]], "the workers stay as they are");
    world.stop("svc");
}

#[test]
fn in_env_local_no_worker_is_replaced_and_the_agent_is() {
    world(|world| replaces_no_worker_but_the_agent_in(world, "local"));
}

#[test]
fn in_env_unittest_no_worker_is_replaced_and_the_agent_is() {
    world(|world| replaces_no_worker_but_the_agent_in(world, "unittest"));
}

#[test]
fn in_the_foreground_a_dead_agent_is_replaced_in_env_local() {
    world(|world| {
        world.expect_in_log("");
        let master = world.foreground("svc", world.port()).arg("--env=local").spawn();
        master.says("started on");
        let agent = world.agents(master.pid())[0];
        processes::signal(agent, Signal::SIGKILL);
        eventually("a new agent", || matches!(world.agents(master.pid())[..], [pid] if pid != agent));
        master.signal(Signal::SIGTERM);
        master.finish().exits(0);
    });
}

#[test]
fn a_worker_that_leaves_the_cluster_alive_is_replaced_and_ended_at_the_stop() {
    world(|world| {
        world.expect_in_log("");
        let port = world.port();
        world.start("svc", port).arg("--workers=1").run().exits(0);
        let master = world.master("svc");
        let old = world.workers(master);
        http::get(port, "/disconnect");
        let fresh = new_workers(world, master, &old, 1);
        listen(world, &fresh);
        assert_eq!(http::get(port, "/").pid(), fresh[0]);
        world.stop("svc");
        world.nobody_is_left();
    });
}
