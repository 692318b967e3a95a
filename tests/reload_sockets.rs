//! Reloads of applications that serve elsewhere than at a TCP port of their own: a unix socket, UDP.

use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::json;

use crate::harness::egg::TITLE;
use crate::harness::{PATIENCE, World, eventually, http, installed, visibly, world};

/// Somebody who asks without end, one question at a time.
pub struct Asking {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    asker: JoinHandle<Vec<io::Error>>,
}

impl Asking {
    pub fn begin(mut ask: impl FnMut() -> io::Result<()> + Send + 'static) -> Asking {
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (is_over, counter) = (Arc::clone(&stop), Arc::clone(&answered));
        let asker = thread::spawn(move || {
            let mut failures = Vec::new();
            while !is_over.load(Ordering::Relaxed) {
                match ask() {
                    Ok(()) => drop(counter.fetch_add(1, Ordering::Relaxed)),
                    Err(error) => failures.push(error),
                }
            }
            failures
        });
        Asking { stop, answered, asker }
    }

    /// Waits until so many more questions are answered.
    #[track_caller]
    pub fn goes_on(&self, more: u64) {
        let before = self.answered.load(Ordering::Relaxed);
        eventually("more answers", || self.answered.load(Ordering::Relaxed) >= before + more);
    }

    /// How many were answered, and what went wrong.
    pub fn end(self) -> (u64, Vec<io::Error>) {
        self.stop.store(true, Ordering::Relaxed);
        let failures = self.asker.join().unwrap();
        (self.answered.load(Ordering::Relaxed), failures)
    }
}

/// Three reloads by generation and one worker by worker, under load: each says how it was done, and brings new workers.
fn reloads(world: &World, title: &str, asking: &Asking) {
    let master = world.master(title);
    for (flags, how) in [
        (&[][..], "by generation"),
        (&[], "by generation"),
        (&["--rolling"], "worker by worker"),
        (&[], "by generation"),
    ] {
        let old = world.workers(master);
        let typed = world.eggctl(&["reload", &format!("--title={title}")]).args(flags);
        typed.run().exits(0).says(how).does_not_say("listened without asking");
        let new = world.workers(master);
        assert!(new.len() == 2 && new.iter().all(|worker| !old.contains(worker)), "{old:?} {new:?}");
        asking.goes_on(50);
    }
}

fn ask_at(path: &Path) -> io::Result<()> {
    let stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    http::ask_over(stream, "/").map(drop)
}

#[test]
fn an_application_at_a_unix_socket_is_reloaded_by_generation_and_loses_nothing() {
    world(|world| {
        world.expect_in_log(" INFO ");
        let script =
            "require('http').createServer((q, a) => a.end('{}')).listen(process.env.FIXTURE_DIR + '/its.sock')";
        let application = world.directory("app", &[("app.js", script), ("package.json", "{\"name\":\"app\"}")]);
        for dispatch in ["round-robin", "shared"] {
            let flags = ["start", "--daemon", "--title=svc", "--workers=2", &format!("--dispatch={dispatch}")];
            world.eggctl(&flags).arg(&application).run().exits(0);
            let path = world.work().join("its.sock");
            let asking = Asking::begin(move || ask_at(&path));
            reloads(world, "svc", &asking);
            let (answered, failures) = asking.end();
            visibly(&format!("note: {dispatch}: {answered} answered, {} lost", failures.len()));
            assert!(failures.is_empty(), "{failures:?}");
            world.stop("svc");
        }
    });
}

#[test]
fn an_egg_application_at_a_unix_socket_is_reloaded_by_generation_and_loses_nothing() {
    let Some(application) = installed("egg3") else { return };
    world(|world| {
        world.expect_in_log("");
        let path = world.work().join("egg.sock");
        let listen = json!({ "path": path.to_str().unwrap() }).to_string();
        let flags = ["start", "--daemon", &format!("--title={TITLE}"), "--workers=2"];
        world.eggctl(&flags).arg(&application).env("CLUSTER_LISTEN", listen).run().exits(0);
        let asking = Asking::begin(move || ask_at(&path));
        reloads(world, TITLE, &asking);
        let (answered, failures) = asking.end();
        visibly(&format!("note: {answered} answered, {} lost", failures.len()));
        assert!(failures.is_empty(), "{failures:?}");
        world.stop(TITLE);
    });
}

/// The workers have one socket together, and new ones wait at the gate for it. What a worker has received and not answered
/// when its TERM comes goes with it: nothing on the wire says that somebody waits.
#[test]
fn an_application_on_udp_is_reloaded_by_generation() {
    world(|world| {
        world.expect_in_log(" INFO ");
        let port = world.port();
        let script = format!(
            "const socket = require('dgram').createSocket('udp4');\
             socket.on('message', (_, from) => socket.send('here', from.port, from.address)).bind({port})"
        );
        let application = world.directory("app", &[("app.js", &script), ("package.json", "{\"name\":\"app\"}")]);
        world.eggctl(&["start", "--daemon", "--title=svc", "--workers=2"]).arg(&application).run().exits(0);
        let asking = Asking::begin(move || {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
            socket.set_read_timeout(Some(Duration::from_secs(2)))?;
            socket.send_to(b"who?", (Ipv4Addr::LOCALHOST, port))?;
            socket.recv(&mut [0; 8]).map(drop)
        });
        reloads(world, "svc", &asking);
        let (answered, failures) = asking.end();
        visibly(&format!("note: {answered} answered, {} lost", failures.len()));
        assert!(failures.len() <= 8, "more than one for each worker that has left: {failures:?}");
        world.stop("svc");
    });
}
