//! Receipts: how each member left, by name, and what was cut with it. What cannot be known is not claimed.

use std::net::TcpStream;
use std::path::Path;
use std::thread;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::harness::egg::TITLE;
use crate::harness::{Outcome, World, eventually, http, installed, processes, world};
use crate::reload_faults::typed;

/// The names of the members that left in this way, as a receipt in JSON has them.
fn those(receipt: &Value, left: &str) -> Vec<String> {
    let departed = receipt["departed"].as_array().unwrap().iter();
    let those = departed.filter(|one| one["left"] == left);
    those.map(|one| format!("{} (pid {})", one["name"].as_str().unwrap(), one["pid"])).collect()
}

fn json(outcome: &Outcome) -> Value {
    outcome.exits(0);
    serde_json::from_str(&outcome.stdout).unwrap()
}

/// Requests that are never answered, on their way: who serves them.
fn hang(world: &World, port: u16, requests: usize) -> Vec<u32> {
    let before = world.events_of("slow").len();
    for _ in 0..requests {
        thread::spawn(move || http::try_get(port, "/slow?ms=600000"));
    }
    eventually("the requests are in flight", || world.events_of("slow").len() == before + requests);
    let events = world.events_of("slow");
    events[before..].iter().map(|event| event["pid"].as_u64().unwrap().try_into().unwrap()).collect()
}

#[test]
fn a_reload_says_which_worker_left_at_the_limit_and_how_many_requests_were_cut() {
    world(|world| {
        world.expect_in_log("");
        let port = world.port();
        world.start("svc", port).arg("--workers=2").run().exits(0);
        let old = world.workers(world.master("svc"));
        let serving = hang(world, port, 1)[0];
        let receipt = json(&typed(world, &["reload", "--drain-timeout=300", "--json"]).run());
        let counts = ["left", "left_by_themselves", "left_at_limit", "requests_cut", "connections_cut", "killed"];
        assert_eq!(counts.map(|name| receipt[name].as_u64().unwrap()), [2, 1, 1, 1, 0, 0], "{receipt}");
        let [at_limit, by_itself] = ["at_limit", "by_itself"].map(|left| those(&receipt, left));
        let named = |pid: u32| format!("worker {} (pid {pid})", old.iter().position(|one| *one == pid).unwrap() + 1);
        assert_eq!(at_limit, [named(serving)]);
        assert_eq!(by_itself, [named(old[usize::from(old[0] == serving)])]);
        world.log_says("has left at its limit, with 1 request cut");
        let serving = hang(world, port, 2);
        let outcome = typed(world, &["reload", "--drain-timeout=300"]).run();
        for pid in serving {
            outcome.exits(0).says(&format!("(pid {pid}) with ")).says(" left at the limit: worker ");
        }
        world.stop("svc");
    });
}

#[test]
fn a_stop_says_how_each_member_left() {
    world(|world| {
        world.expect_in_log("");
        let port = world.port();
        world.start("svc", port).env("EGG_APP_CLOSE_TIMEOUT", "500").run().exits(0);
        let (master, serving) = (world.master("svc"), hang(world, port, 1)[0]);
        let agent = world.agents(master)[0];
        let outcome = world.stop("svc");
        outcome.says("1 left at the limit: worker ").says(&format!("(pid {serving}) with 1 request cut"));
        outcome.says("2 left by themselves: worker ").says(&format!("agent (pid {agent})")).does_not_say("killed");
    });
}

#[test]
fn a_stop_names_the_members_that_had_to_be_killed() {
    world(|world| {
        world.expect_in_log("SIGKILL");
        let typed = world.start("svc", world.port()).env("WORKER_TERM", "ignore");
        typed.env("EGG_APP_CLOSE_TIMEOUT", "300").run().exits(0);
        let workers = world.workers(world.master("svc"));
        let outcome = world.stop("svc");
        outcome.says("2 were killed: worker 1 (pid ").says("1 left by itself: agent (pid ");
        for pid in workers {
            outcome.says(&format!("(pid {pid})"));
        }
    });
}

#[test]
fn a_reload_logs_that_a_worker_was_killed_and_not_that_it_has_left() {
    world(|world| {
        world.expect_in_log("");
        let start = world.start("svc", world.port()).arg("--workers=1").env("WORKER_TERM", "ignore");
        start.env("EGG_APP_CLOSE_TIMEOUT", "300").run().exits(0);
        let old = world.workers(world.master("svc"))[0];
        typed(world, &["reload", "--drain-timeout=300"]).run().exits(0).says("1 was killed: worker 1 (pid ");
        world.log_says(&format!("app_worker#1:{old} was killed"));
        assert!(!world.log().contains(&format!("app_worker#1:{old} has left")), "{}", world.log());
        world.stop("svc");
    });
}

#[test]
fn a_scale_and_a_restart_say_how_members_left() {
    world(|world| {
        world.expect_in_log("");
        let port = world.port();
        world.start("svc", port).run().exits(0);
        let second = world.workers(world.master("svc"))[1];
        let receipt = json(&typed(world, &["scale", "1", "--json"]).run());
        assert_eq!((&receipt["left_by_themselves"], &receipt["killed"]), (&1.into(), &0.into()), "{receipt}");
        assert_eq!(those(&receipt, "by_itself"), [format!("worker 2 (pid {second})")]);
        typed(world, &["restart"]).run().exits(0).says("2 left by themselves: worker 1 (pid ").says("agent (pid ");
        world.stop("svc");
    });
}

/// Serves what upgrades on its port, and raw TCP on the next argument's; counts what it holds in a file.
const LONG_LIVED: &str = "const { appendFileSync } = require('fs');
    const held = () => appendFileSync(process.env.FIXTURE_DIR + '/held', 'x');
    require('net').createServer(socket => { held(); socket.on('error', () => {}); }).listen(Number(process.env.RAW));
    const server = require('http').createServer((request, answer) => answer.end('{}'));
    server.on('upgrade', (request, socket) => {
      socket.write('HTTP/1.1 101 Switching Protocols\\r\\nUpgrade: x\\r\\nConnection: Upgrade\\r\\n\\r\\n');
      socket.on('error', () => {});
      held();
    });
    server.listen(process.env.PORT);";

#[test]
fn websockets_and_raw_connections_are_counted_as_connections_and_idle_ones_are_not() {
    world(|world| {
        world.expect_in_log("");
        let (port, raw) = (world.port(), world.port());
        let application = world.directory("app", &[("app.js", LONG_LIVED), ("package.json", "{\"name\":\"app\"}")]);
        let start = typed(world, &["start", "--daemon", "--workers=1", &format!("--port={port}")]);
        start.env("RAW", raw.to_string()).arg(&application).run().exits(0);
        let upgrade = "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n";
        let connect = |port: u16, text: &str| {
            use std::io::Write;
            let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
            stream.write_all(text.as_bytes()).unwrap();
            stream
        };
        let _held = [connect(port, upgrade), connect(port, upgrade), connect(raw, "x")];
        let _never_used = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let held = || std::fs::read_to_string(world.work().join("held")).unwrap_or_default().len();
        eventually("three are held", || held() == 3);
        let receipt = json(&typed(world, &["reload", "--drain-timeout=300", "--json"]).run());
        assert_eq!((&receipt["requests_cut"], &receipt["connections_cut"]), (&0.into(), &3.into()), "{receipt}");
        world.stop("svc");
    });
}

/// Answers what is in flight at its TERM, and then exits.
const ANSWERS_AT_TERM: &str = "const { appendFileSync } = require('fs');
    let waiting;
    const server = require('http').createServer((request, answer) => {
      waiting = answer;
      appendFileSync(process.env.FIXTURE_DIR + '/held', 'x');
    }).listen(process.env.PORT);
    process.on('SIGTERM', () => { waiting.end('{}'); server.close(() => process.exit()); });";

#[test]
fn what_a_member_still_answers_after_the_limit_is_not_cut() {
    world(|world| {
        world.expect_in_log("");
        let port = world.port();
        let application =
            world.directory("app", &[("app.js", ANSWERS_AT_TERM), ("package.json", "{\"name\":\"app\"}")]);
        let start = typed(world, &["start", "--daemon", "--workers=1", &format!("--port={port}")]);
        start.env("EGG_APP_CLOSE_TIMEOUT", "1000").arg(&application).run().exits(0);
        let client = thread::spawn(move || http::try_get(port, "/"));
        eventually("it is held", || world.work().join("held").exists());
        let outcome = world.stop("svc");
        outcome.says("1 left at the limit: worker 1 (pid ").does_not_say("cut");
        assert_eq!(client.join().unwrap().unwrap().status, 200);
    });
}

#[test]
fn of_a_worker_that_is_too_busy_to_say_what_it_holds_no_number_is_claimed() {
    world(|world| {
        world.expect_in_log("");
        let port = world.port();
        world.start("svc", port).arg("--workers=1").env("EGG_APP_CLOSE_TIMEOUT", "400").run().exits(0);
        thread::spawn(move || http::try_get(port, "/block?ms=600000"));
        eventually("it is busy", || world.events_of("blocked").len() == 1);
        let outcome = world.stop("svc");
        outcome.says("1 left at the limit: worker 1 (pid ").does_not_say("cut");
    });
}

#[test]
fn a_master_that_was_killed_gives_no_receipt_of_its_members() {
    world(|world| {
        world.expect_a_death();
        world.start("svc", world.port()).env("WORKER_CHILD", "setsid").run().exits(0);
        processes::signal(world.master("svc"), Signal::SIGKILL);
        world.stop("svc").does_not_say("left by").does_not_say("limit");
    });
}

fn a_stop_of_egg_counts_the_requests_that_it_cuts(world: &mut World, application: &Path) {
    world.expect_egg_lines();
    world.expect_in_log("");
    let port = world.port();
    world.egg(port, application).env("EGG_APP_CLOSE_TIMEOUT", "500").run().exits(0);
    thread::spawn(move || http::try_get(port, "/slow?ms=600000"));
    eventually("the request is in flight", || world.events_of("slow").len() == 1);
    let outcome = world.stop(TITLE);
    outcome.says("1 left at the limit: worker ").says("with 1 request cut").says("2 left by themselves: worker ");
}

#[test]
fn a_stop_of_egg_3_counts_the_requests_that_it_cuts() {
    let Some(application) = installed("egg3") else { return };
    world(|world| a_stop_of_egg_counts_the_requests_that_it_cuts(world, &application));
}

#[test]
fn a_stop_of_egg_4_counts_the_requests_that_it_cuts() {
    let Some(application) = installed("egg4") else { return };
    world(|world| a_stop_of_egg_counts_the_requests_that_it_cuts(world, &application));
}
