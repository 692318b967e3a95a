//! HTTP/2 and gRPC over reloads: each session gets its GOAWAY, streams in flight finish, clients go on with the new workers.

use std::path::Path;
use std::process::Command;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::harness::{Background, Typed, World, installed, visibly, world};

const RELOADS: u64 = 5;

fn start(world: &World, port: u16, application: &Path) -> Typed {
    let port = format!("--port={port}");
    world.eggctl(&["start", "--daemon", "--title=svc", "--workers=2", &port]).arg(application)
}

/// Reloads while this client is at work. Nothing is to hold a reload: its drain timeout is ten minutes.
fn reload_under(world: &World, client: Background) -> Value {
    client.says("begun");
    for _ in 0..RELOADS {
        world.eggctl(&["reload", "--title=svc", "--drain-timeout=600000"]).run().exits(0);
    }
    client.signal(Signal::SIGTERM);
    let outcome = client.finish();
    visibly(&format!("note: {}", outcome.stdout.trim_start_matches("begun\n").trim_end()));
    serde_json::from_str(outcome.stdout.lines().last().unwrap()).unwrap()
}

#[test]
fn requests_of_nodes_own_client_are_answered_or_refused_unprocessed() {
    world(|world| {
        world.expect_in_log(" INFO ");
        for (kind, scheme) in [("h2c", "http"), ("h2", "https")] {
            let port = world.port();
            start(world, port, &world.fixture("connections")).env("KIND", kind).run().exits(0);
            let (client, url) = (world.fixture("connections/h2-client.js"), format!("{scheme}://127.0.0.1:{port}"));
            let tally = reload_under(world, world.program(&["node", client.to_str().unwrap(), &url]).spawn());
            assert_eq!(tally["lost"], 0, "{kind}: {tally}");
            // A request that the client starts in the very turn in which it reads the GOAWAY.
            assert!(tally["refused"].as_u64().unwrap() <= 2 * RELOADS, "{kind}: {tally}");
            world.stop("svc");
        }
    });
}

#[test]
fn calls_and_streams_of_grpc_are_all_answered() {
    let Some(application) = installed("grpc") else { return };
    world(|world| {
        world.expect_in_log(" INFO ");
        let node = world.program(&["node", "-p", "process.versions.node.split('.')[0]"]).run();
        if node.stdout.trim() == "18" {
            return visibly("note: a server on Node 18 cuts streams that are running: gRPC did not run");
        }
        let port = world.port();
        start(world, port, &application).run().exits(0);
        let client = application.join("client.js");
        let tally = reload_under(world, world.program(&["node", client.to_str().unwrap(), &port.to_string()]).spawn());
        assert_eq!((&tally["callsLost"], &tally["streamsLost"]), (&0.into(), &0.into()), "{tally}");
        assert!(tally["streams"].as_u64().unwrap() > 0, "{tally}");
        world.stop("svc");
    });
}

#[test]
fn curl_asks_one_request_after_another_and_loses_none() {
    let has_http_2 = Command::new("curl")
        .arg("--version")
        .output()
        .is_ok_and(|known| String::from_utf8_lossy(&known.stdout).contains("HTTP2"));
    if !has_http_2 {
        return visibly("note: no curl that speaks HTTP/2 is here: it did not run");
    }
    world(|world| {
        world.expect_in_log(" INFO ");
        let port = world.port();
        start(world, port, &world.fixture("connections")).env("KIND", "h2").run().exits(0);
        let url = format!("https://127.0.0.1:{port}/slow?ms=10&n=[1-300]");
        let flags = [
            "curl",
            "--silent",
            "--show-error",
            "--insecure",
            "--http2",
            "--write-out",
            "%{http_code}-%{http_version}\n",
        ];
        let curl = world.program(&flags).args(["--output", "/dev/null", &url]).spawn();
        curl.says("200-2\n");
        for _ in 0..RELOADS {
            world.eggctl(&["reload", "--title=svc", "--drain-timeout=600000"]).run().exits(0);
        }
        let done = curl.finish();
        assert_eq!(done.exits(0).stdout.matches("200-2\n").count(), 300, "{}", done.text());
        world.stop("svc");
    });
}

#[test]
fn an_idle_session_does_not_hold_a_reload() {
    world(|world| {
        world.expect_in_log(" INFO ");
        let port = world.port();
        start(world, port, &world.fixture("connections")).env("KIND", "h2c").run().exits(0);
        let script = "const session = require('http2').connect(process.argv[1]);
            const request = session.request({ ':path': '/' }).resume().end();
            request.on('end', () => console.log('open'));
            session.on('goaway', code => console.log('goaway ' + code)).on('close', () => console.log('closed'));";
        let idle = world.program(&["node", "-e", script, &format!("http://127.0.0.1:{port}")]).spawn();
        idle.says("open");
        let took = world.eggctl(&["reload", "--title=svc", "--drain-timeout=600000"]).run();
        took.exits(0);
        visibly(&format!("note: a reload with an idle session took {:.2?}", took.took));
        let told = idle.finish().stdout;
        assert!(told.starts_with("open\ngoaway 0\n") && told.ends_with("closed\n"), "{told}");
        world.stop("svc");
    });
}

/// What the documents say about WebSockets, with upgraded connections that echo.
#[test]
fn an_application_that_listens_for_the_drain_closes_its_upgraded_connections() {
    world(|world| {
        world.expect_in_log(" INFO ");
        let script = "const sockets = new Set();
            require('diagnostics_channel').subscribe('eggctl.drain', () => sockets.forEach(s => s.end('bye')));
            require('http').createServer().on('upgrade', (q, s) => {
              sockets.add(s.on('close', () => sockets.delete(s)));
              s.write('HTTP/1.1 101 Switching Protocols\\r\\nConnection: Upgrade\\r\\nUpgrade: echo\\r\\n\\r\\n');
            }).listen(process.env.PORT)";
        let application = world.directory("app", &[("app.js", script), ("package.json", "{\"name\":\"app\"}")]);
        let port = world.port();
        start(world, port, &application).run().exits(0);
        let client = "const request = require('http').get({ port: process.argv[1], headers: { connection: 'upgrade', upgrade: 'echo' } });
            request.on('upgrade', (answer, socket) => { console.log('open'); socket.on('data', data => socket.end(console.log(String(data)))); });";
        let client = world.program(&["node", "-e", client, &port.to_string()]).spawn();
        client.says("open");
        world.eggctl(&["reload", "--title=svc", "--drain-timeout=600000"]).run().exits(0);
        assert_eq!(client.finish().stdout, "open\nbye\n");
        world.stop("svc");
    });
}
