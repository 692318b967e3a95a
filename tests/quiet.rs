//! Connections that nothing uses do not hold a member that leaves: at a stop they are closed after 300 ms, otherwise when
//! their server's own patience is over.
//!
//! The graces are ten minutes where a test does not say otherwise: what holds a member fails its test.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::harness::load::{Kind, Load};
use crate::harness::{Background, PATIENCE, Typed, World, egg, eventually, http, installed, is_long, visibly, world};

const TEN_MINUTES: &str = "600000";

/// Node keeps an idle connection for 5 s, and the word to leave one second more. A stop is quicker than that.
const QUICK: Duration = Duration::from_secs(4);

fn start(world: &World, port: u16, kind: &str) -> Typed {
    let port = format!("--port={port}");
    let typed = world.eggctl(&["start", "--daemon", "--title=svc", "--workers=1", &port]);
    let typed = typed.arg(world.fixture("connections")).env("KIND", kind);
    typed.env("EGG_APP_CLOSE_TIMEOUT", TEN_MINUTES).env("EGG_AGENT_CLOSE_TIMEOUT", TEN_MINUTES)
}

fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// A connection on which one request was answered.
fn kept(port: u16) -> TcpStream {
    let mut stream = connect(port);
    ask(&mut stream, "/");
    let answer = read_answer(&mut stream);
    assert!(answer.to_lowercase().contains("connection: keep-alive"), "{answer}");
    stream
}

fn ask(stream: &mut TcpStream, path: &str) {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
}

/// Up to the end of the answer's object.
fn read_answer(stream: &mut TcpStream) -> String {
    read_until(stream, b"}")
}

fn read_until(stream: &mut TcpStream, end: &[u8]) -> String {
    let (mut text, mut byte) = (Vec::new(), [0]);
    while !text.ends_with(end) {
        stream
            .read_exact(&mut byte)
            .unwrap_or_else(|error| panic!("{error} after {:?}", String::from_utf8_lossy(&text)));
        text.push(byte[0]);
    }
    String::from_utf8(text).unwrap()
}

/// Waits for the orderly end of a connection: not a reset.
fn ends(stream: &mut TcpStream) {
    assert_eq!(stream.read_to_end(&mut Vec::new()).expect("the connection was reset"), 0, "something came");
}

/// A connection over TLS, which a Node has.
fn over_tls(world: &World, port: u16, what: &str) -> Background {
    let client = world.fixture("connections/client.js");
    let client = world.program(&["node", client.to_str().unwrap(), &port.to_string(), what]).spawn();
    client.says("open");
    client
}

fn stops_quickly(world: &World, title: &str, why: &str) {
    let took = world.stop(title).took;
    visibly(&format!("note: a stop with {why} took {took:.2?}"));
    assert!(took < QUICK, "{why}: {took:?}");
}

const POLICIES: [&str; 2] = ["round-robin", "shared"];

#[test]
fn a_stop_does_not_wait_for_a_kept_connection_or_one_that_was_never_used() {
    world(|world| {
        for dispatch in POLICIES {
            let port = world.port();
            start(world, port, "http").arg(format!("--dispatch={dispatch}")).run().exits(0);
            let mut connections = [kept(port), connect(port)];
            // It has been accepted when a later one is answered.
            drop(kept(port));
            stops_quickly(world, "svc", &format!("idle connections, {dispatch}"));
            connections.iter_mut().for_each(ends);
        }
    });
}

#[test]
fn a_stop_does_not_wait_for_connections_over_tls_that_have_asked_nothing() {
    world(|world| {
        for what in ["connected", "handshaken", "kept"] {
            let port = world.port();
            start(world, port, "https").run().exits(0);
            let client = over_tls(world, port, what);
            drop(over_tls(world, port, "kept"));
            stops_quickly(world, "svc", what);
            assert_eq!(client.finish().stdout, "open\nclosed\n");
        }
    });
}

#[test]
fn a_stop_does_not_wait_for_connections_to_a_server_of_http_2_that_have_asked_nothing() {
    world(|world| {
        for (kind, what) in [("h2", "connected"), ("h2-or-http1", "connected")] {
            let port = world.port();
            start(world, port, kind).run().exits(0);
            let client = over_tls(world, port, what);
            stops_quickly(world, "svc", kind);
            assert_eq!(client.finish().stdout, "open\nclosed\n");
        }
        let port = world.port();
        start(world, port, "h2c").run().exits(0);
        let connection = connect(port);
        stops_quickly(world, "svc", "h2c");
        drop(connection);
    });
}

fn an_egg_application_stops_quickly(world: &mut World, application: &Path) {
    world.expect_egg_lines();
    let port = world.port();
    world.egg(port, application).env("EGG_APP_CLOSE_TIMEOUT", TEN_MINUTES).run().exits(0);
    let mut connections = [kept(port), connect(port), connect(port)];
    drop(kept(port));
    stops_quickly(world, egg::TITLE, "idle connections to Egg");
    connections.iter_mut().for_each(ends);
}

#[test]
fn a_stop_of_an_egg_3_application_does_not_wait_for_connections_that_nothing_uses() {
    let Some(application) = installed("egg3") else { return };
    world(|world| an_egg_application_stops_quickly(world, &application));
}

#[test]
fn a_stop_of_an_egg_4_application_does_not_wait_for_connections_that_nothing_uses() {
    let Some(application) = installed("egg4") else { return };
    world(|world| an_egg_application_stops_quickly(world, &application));
}

#[test]
fn a_reload_does_not_wait_for_a_connection_that_was_never_used() {
    world(|world| {
        world.expect_in_log(" INFO ");
        for (kind, what) in [("http", ""), ("https", "connected"), ("https", "handshaken")] {
            for dispatch in POLICIES {
                let port = world.port();
                let typed = start(world, port, kind).arg(format!("--dispatch={dispatch}"));
                typed.env("KEEP", "100").run().exits(0);
                let client = (!what.is_empty()).then(|| over_tls(world, port, what));
                let plain = (what.is_empty()).then(|| [connect(port), kept(port)]);
                world.eggctl(&["reload", "--title=svc", "--drain-timeout=600000"]).run().exits(0);
                if let Some(client) = client {
                    assert_eq!(client.finish().stdout, "open\nclosed\n");
                }
                plain.into_iter().flatten().for_each(|mut connection| ends(&mut connection));
                world.stop("svc");
            }
        }
    });
}

#[test]
fn a_stop_during_a_reload_has_a_stops_patience() {
    world(|world| {
        world.expect_in_log(" INFO ");
        let port = world.port();
        world.expect_in_log("the operation under way is given up: the master closes");
        // The reload would wait for 10 s.
        start(world, port, "http").env("KEEP", "60000").run().exits(0);
        let (mut connection, old) = (kept(port), http::get(port, "/").pid());
        let reload = world.eggctl(&["reload", "--title=svc", "--drain-timeout=600000"]).spawn();
        eventually("the new worker serves", || http::get(port, "/").pid() != old);
        stops_quickly(world, "svc", "an idle connection during a reload");
        ends(&mut connection);
        reload.finish().exits(1);
    });
}

#[test]
fn what_is_not_http_is_never_taken_for_unused() {
    world(|world| {
        world.expect_in_log(" INFO ");
        for kind in ["tcp", "tls"] {
            let port = world.port();
            start(world, port, kind).env("EGG_APP_CLOSE_TIMEOUT", "2000").run().exits(0);
            let connection = connect(port);
            let reload = world.eggctl(&["reload", "--title=svc", "--drain-timeout=1500"]).run();
            reload.exits(0);
            assert!(reload.took >= Duration::from_millis(1_500), "{kind}: {:?}", reload.took);
            drop(connection);
            let connection = connect(port);
            let took = world.stop("svc").took;
            assert!(took >= Duration::from_millis(1_600), "{kind}: the grace less a fifth: {took:?}");
            drop(connection);
        }
    });
}

#[test]
fn a_request_that_is_half_sent_and_a_server_that_spoke_first_are_no_unused_connections() {
    world(|world| {
        let port = world.port();
        start(world, port, "http").run().exits(0);
        let (mut idle, mut half) = (kept(port), connect(port));
        half.write_all(b"GET / HTTP/1.1\r\nHo").unwrap();
        drop(kept(port));
        let stop = world.eggctl(&["stop", "--title=svc"]).spawn();
        ends(&mut idle);
        half.write_all(b"st: a\r\n\r\n").unwrap();
        assert!(read_answer(&mut half).to_lowercase().contains("connection: close"));
        stop.finish().exits(0);

        start(world, port, "http").env("GREETS", "1").env("EGG_APP_CLOSE_TIMEOUT", "2000").run().exits(0);
        let mut greeted = connect(port);
        read_until(&mut greeted, b"hello\n");
        let took = world.stop("svc").took;
        assert!(took >= Duration::from_millis(1_600), "the grace less a fifth: {took:?}");
    });
}

/// An answer that had begun before the word to leave has said `keep-alive` already.
#[test]
fn connections_end_with_the_answers_that_were_in_flight() {
    world(|world| {
        let port = world.port();
        start(world, port, "http").env("KEEP", "60000").run().exits(0);
        let (mut slow, mut stream) = (connect(port), connect(port));
        ask(&mut slow, "/slow?ms=1000");
        ask(&mut stream, "/stream?ms=1000");
        read_until(&mut stream, b"[");
        drop(kept(port));
        let began = Instant::now();
        let stop = world.eggctl(&["stop", "--title=svc"]).spawn();
        assert!(read_answer(&mut slow).to_lowercase().contains("connection: close"));
        read_answer(&mut stream);
        stop.finish().exits(0);
        assert!(began.elapsed() < QUICK, "{:?}", began.elapsed());
    });
}

#[test]
fn stops_under_load_reset_no_request() {
    world(|world| {
        let (mut answered, stops) = (0, if is_long() { 20 } else { 3 });
        for _ in 0..stops {
            let port = world.port();
            start(world, port, "http").arg("--workers=2").run().exits(0);
            let kinds = [Kind::KeepAlive(0), Kind::KeepAlive(5), Kind::KeepAlive(40), Kind::KeepAlive(40)];
            let load = Load::begin(port, &[kinds, kinds].concat());
            load.goes_on(100);
            stops_quickly(world, "svc", "eight busy clients");
            let tally = load.end();
            assert_eq!(tally.lost, 0, "{:#?}", tally.failures);
            answered += tally.answered;
        }
        visibly(&format!("note: {answered} answered, none reset in {stops} stops"));
    });
}
