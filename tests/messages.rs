//! Messages between agent and workers, and what becomes of rubbish.

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::harness::{World, eventually, http, processes, world};

/// `/send?message=…` on some worker.
#[track_caller]
fn send(port: u16, message: &str) {
    assert_eq!(http::get(port, &format!("/send?message={}", message.replace(' ', "%20"))).status, 200);
}

/// What members of this role got with this action.
fn got(world: &World, who: &str, action: &str) -> Vec<Value> {
    let found = |event: &Value| event["who"] == who && event["message"]["action"] == action;
    world.events_of("message").into_iter().filter(found).collect()
}

#[test]
fn a_workers_message_goes_to_the_agent_and_its_answer_to_that_worker_alone() {
    world(|world| {
        let port = world.port();
        world.start("svc", port).arg("--workers=3").run().exits(0);
        let master = world.master("svc");
        let worker = world.workers(master)[1];
        send(port, &format!(r#"{{"action":"ping","data":{{"pid":{worker}}}}}"#));
        eventually("the answer", || got(world, "worker", "pong").len() == 1);
        let pong = &got(world, "worker", "pong")[0];
        assert_eq!(pong["pid"], worker);
        assert_eq!(pong["message"]["data"]["agent"], world.agents(master)[0]);
        assert_eq!(got(world, "agent", "ping")[0]["message"]["from"], "app", "the master stamps who sent it");
        world.stop("svc");
    });
}

#[test]
fn a_message_to_app_reaches_every_worker() {
    world(|world| {
        let port = world.port();
        world.start("svc", port).arg("--workers=3").run().exits(0);
        send(port, r#"{"action":"shout","data":"all"}"#);
        eventually("the agent's shout reaches all", || got(world, "worker", "shouted").len() == 3);
        assert!(got(world, "worker", "shouted").iter().all(|event| event["message"]["from"] == "agent"));
        send(port, r#"{"action":"hello","to":"app","data":1}"#);
        eventually("a worker's message reaches all", || got(world, "worker", "hello").len() == 3);
        assert!(got(world, "agent", "hello").is_empty());
        world.stop("svc");
    });
}

#[test]
fn a_word_of_readiness_to_others_is_a_message_like_any_other() {
    world(|world| {
        let port = world.port();
        world.start("svc", port).run().exits(0);
        send(port, r#"{"action":"app-start","to":"app"}"#);
        eventually("both workers have it", || got(world, "worker", "app-start").len() == 2);
        send(port, r#"{"action":"app-start","to":"agent"}"#);
        eventually("the agent has it", || got(world, "agent", "app-start").len() == 1);
        world.stop("svc");
    });
}

#[test]
fn a_string_is_an_action() {
    world(|world| {
        let port = world.port();
        world.start("svc", port).arg("--workers=1").run().exits(0);
        send(port, r#""plain""#);
        eventually("the agent has it", || got(world, "agent", "plain").len() == 1);
        assert_eq!(got(world, "agent", "plain")[0]["message"]["data"], "plain");
        world.stop("svc");
    });
}

#[test]
fn messages_keep_their_order() {
    world(|world| {
        let port = world.port();
        world.start("svc", port).arg("--workers=1").run().exits(0);
        for number in 0..50 {
            send(port, &format!(r#"{{"action":"count","data":{number}}}"#));
        }
        eventually("all fifty", || got(world, "agent", "count").len() == 50);
        let numbers: Vec<_> =
            got(world, "agent", "count").iter().map(|e| e["message"]["data"].as_u64().unwrap()).collect();
        assert_eq!(numbers, (0..50).collect::<Vec<_>>());
        world.stop("svc");
    });
}

#[test]
fn a_message_of_3_mb_arrives_whole() {
    world(|world| {
        let port = world.port();
        world.start("svc", port).run().exits(0);
        for to in ["agent", "app"] {
            http::get(port, &format!("/send-big?size=3000000&to={to}"));
        }
        eventually("the agent and both workers have it", || {
            world
                .events_of("message")
                .iter()
                .filter(|event| event["size"] == 3_000_000 && event["whole"] == true)
                .count()
                == 3
        });
        world.stop("svc");
    });
}

#[test]
fn rubbish_from_a_worker_gives_one_notice_of_its_kind_and_nothing_else() {
    const KINDS: &[&str] =
        &["null", "number", "boolean", "array", "text", "empty", "bytes", "deep", "odd", "cluster", "handle", "master"];
    world(|world| {
        world.expect_in_log("WARN");
        let port = world.port();
        world.start("svc", port).run().exits(0);
        let master = world.master("svc");
        let (workers, agents) = (world.workers(master), world.agents(master));
        for kind in KINDS {
            for _again in 0..5 {
                assert_eq!(http::get(port, &format!("/rubbish?kind={kind}")).status, 200, "{kind}");
            }
        }
        // Everything that was sent before this has been read once it has arrived.
        for _each_worker in 0..4 {
            send(port, r#"{"action":"after"}"#);
        }
        eventually("messages still arrive", || got(world, "agent", "after").len() == 4);
        assert_eq!((world.workers(master), world.agents(master)), (workers, agents), "rubbish cost a member its life");
        let log = world.log();
        let warnings: Vec<&str> = log.lines().filter(|line| line.contains(" WARN ")).collect();
        assert!(!warnings.is_empty(), "no notice of the rubbish:\n{log}");
        assert!(warnings.len() <= KINDS.len(), "more than one notice of a kind:\n{}", warnings.join("\n"));
        world.stop("svc");
    });
}

#[test]
fn what_is_relayed_is_json_whatever_a_member_writes() {
    world(|world| {
        world.expect_in_log("sent something that is no message");
        let port = world.port();
        world.start("svc", port).run().exits(0);
        let master = world.master("svc");
        let (workers, agents) = (world.workers(master), world.agents(master));
        assert_eq!(http::get(port, "/rubbish?kind=payload").status, 200);
        for to in ["app", "agent"] {
            send(port, &format!(r#"{{"action":"after","to":"{to}"}}"#));
        }
        let after = |who| got(world, who, "after").len();
        eventually("messages still arrive", || after("worker") == 2 && after("agent") == 1);
        assert_eq!((world.workers(master), world.agents(master)), (workers, agents), "it cost a member its life");
        assert_eq!(got(world, "worker", "broken").len() + got(world, "agent", "broken").len(), 0);
        world.log_says("sent something that is no message");
        world.stop("svc");
    });
}

#[test]
fn half_a_line_waits_for_its_other_half_and_hurts_nobody() {
    world(|world| {
        world.expect_in_log("WARN");
        let port = world.port();
        world.start("svc", port).run().exits(0);
        assert_eq!(http::get(port, "/rubbish?kind=half").status, 200);
        for _each_worker in 0..4 {
            assert_eq!(http::get(port, "/").status, 200);
        }
        world.stop("svc");
    });
}

#[test]
fn the_agent_may_send_rubbish_too() {
    world(|world| {
        world.expect_in_log("WARN");
        let port = world.port();
        world.start("svc", port).run().exits(0);
        let agents = world.agents(world.master("svc"));
        for kind in ["null", "text", "deep", "master", "handle", "cluster"] {
            send(port, &format!(r#"{{"action":"rubbish","data":"{kind}"}}"#));
        }
        send(port, r#"{"action":"shout","data":"still here"}"#);
        eventually("the agent still speaks", || got(world, "worker", "shouted").len() == 2);
        assert_eq!(world.agents(world.master("svc")), agents);
        world.stop("svc");
    });
}

#[test]
fn what_a_member_does_not_read_is_kept_up_to_a_bound_and_then_dropped_and_counted() {
    world(|world| {
        world.expect_in_log("64 MiB");
        let port = world.port();
        world.start("svc", port).arg("--workers=1").run().exits(0);
        let master = world.master("svc");
        let agent = world.agents(master)[0];
        processes::signal(agent, Signal::SIGSTOP);
        for _each_megabyte in 0..80 {
            http::get(port, "/send-big?size=1000000&to=agent");
        }
        world.log_says("64 MiB");
        let status = std::fs::read_to_string(format!("/proc/{master}/status")).unwrap();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        let resident_kb: u64 = resident.trim().trim_end_matches(" kB").parse().unwrap();
        assert!(resident_kb < 160_000, "the master has grown to {resident_kb} kB");
        processes::signal(agent, Signal::SIGCONT);
        // What was kept arrives whole, and so does what is sent afterwards.
        let big = |world: &World| world.events_of("message").iter().filter(|event| event["size"] == 1_000_000).count();
        eventually("what was kept arrives", || (60..80).contains(&big(world)));
        send(port, r#"{"action":"after"}"#);
        eventually("messages arrive again", || got(world, "agent", "after").len() == 1);
        world.stop("svc");
    });
}
