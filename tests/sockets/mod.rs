//! Every kind of socket that Node's cluster knows, each way of closing it and handing its connections over.
//!
//! A test tells single workers what to do, in JavaScript (`tests/fixtures/sockets`), and looks from outside who serves.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{PATIENCE, Typed, World, eventually};

mod bounds;
mod datagrams;
mod handles;
mod leaving;
mod limits;
mod load;
mod shared;
mod tcp;
mod tls;
mod unix;

/// `eggctl start` of the fixture with so many workers.
fn typed(world: &World, port: u16, workers: u32) -> Typed {
    let (port, workers) = (format!("--port={port}"), format!("--workers={workers}"));
    world.eggctl(&["start", "--daemon", "--title=svc", &port, &workers]).arg(world.fixture("sockets"))
}

/// Starts it.
#[track_caller]
fn start(world: &World, port: u16, workers: u32) {
    typed(world, port, workers).run().exits(0);
}

/// What the worker of this cluster id returns from this body of a JavaScript function.
#[track_caller]
fn run(world: &World, worker: u32, body: &str) -> Value {
    let result = try_run(world, worker, body).unwrap_or_else(|error| panic!("worker {worker}, {body}: {error}"));
    assert!(result["thrown"].is_null(), "worker {worker}, {body}: {result}");
    result
}

/// The same, where the worker may end over it.
fn try_run(world: &World, worker: u32, body: &str) -> io::Result<Value> {
    let mut stream = UnixStream::connect(world.work().join(format!("worker-{worker}")))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let length = body.len();
    write!(stream, "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let body = text.split_once("\r\n\r\n").map(|(_, body)| body).ok_or(io::ErrorKind::UnexpectedEof)?;
    // Node chunks what it does not know the length of.
    let body = if text.contains("chunked") { body.lines().nth(1).unwrap_or_default() } else { body };
    Ok(serde_json::from_str(body)?)
}

/// Has these workers listen under one name; what each got to hear.
#[track_caller]
fn listen(world: &World, workers: &[u32], name: &str, options: &Value) -> Vec<Value> {
    workers.iter().map(|worker| run(world, *worker, &format!("return kit.listen('{name}', {options})"))).collect()
}

/// The port of what a listen has told.
#[track_caller]
fn port_of(listened: &Value) -> u16 {
    listened["address"]["port"].as_u64().unwrap_or_else(|| panic!("no port in {listened}")).try_into().unwrap()
}

/// Which worker serves this connection, by its cluster id.
fn served_by(mut stream: impl Read) -> io::Result<u32> {
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    text.split(' ').next().and_then(|id| id.parse().ok()).ok_or(io::ErrorKind::UnexpectedEof.into())
}

/// Which worker serves at this TCP address.
fn who(address: impl ToSocketAddrs) -> io::Result<u32> {
    let address = address.to_socket_addrs()?.next().ok_or(io::ErrorKind::AddrNotAvailable)?;
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    served_by(stream)
}

/// Which workers serve there, each connection taken in turn: asked until those expected have answered, and nobody else.
#[track_caller]
fn serve_exactly(expected: &[u32], mut ask: impl FnMut() -> io::Result<u32>) {
    let expected: BTreeSet<u32> = expected.iter().copied().collect();
    let mut seen = BTreeSet::new();
    eventually(&format!("{expected:?} serve"), || {
        let worker = ask().expect("a connection was not served");
        assert!(expected.contains(&worker), "worker {worker} serves, and only {expected:?} should");
        seen.insert(worker);
        seen == expected
    });
}

/// `{ port }` of the host.
fn at(host: &str, port: u16) -> Value {
    json!({ "host": host, "port": port })
}

/// The process has next to nothing to do, measured over half a second.
#[track_caller]
fn cpu_free(pid: u32) {
    let clock = nix::time::clock_getcpuclockid(nix::unistd::Pid::from_raw(pid as i32)).unwrap();
    let used = || Duration::from(nix::time::clock_gettime(clock).unwrap());
    let before = used();
    // A window to measure in, not a wait for something.
    thread::sleep(Duration::from_millis(500));
    let used = used() - before;
    assert!(used < Duration::from_millis(100), "{pid} used {used:?} of CPU in 500 ms");
}

#[test]
fn every_test_that_the_page_of_protocols_names_is_there() {
    let page = include_str!("../../docs/PROTOCOLS.md");
    let named: Vec<&str> =
        page.split('`').skip(1).step_by(2).filter(|name| name.len() > 2 && name.contains("::")).collect();
    assert!(named.len() > 30, "only {named:?}");
    for name in named {
        let (module, test) = name.rsplit_once("::").unwrap();
        let file =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(module.replace("::", "/")).with_extension("rs");
        let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(text.contains(&format!("fn {test}() {{")), "{name} is not there");
    }
}
