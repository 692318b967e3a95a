//! A service that answers while one of its members prints: how long does a new connection take, with the logger and without?

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::median;

const REQUIRED: f64 = 1.15;
/// How many connections are made, one after the other, in each round.
const CONNECTIONS: usize = 2_000;
const TITLE: &str = "logs-flood-bench";

/// The first worker answers; the second prints 100,000 lines of 100 bytes a second, each by a write of its own.
const SERVER: &str = "
const { worker } = require('cluster');
if (worker.id === 1) {
  require('http').createServer((request, response) => response.end('ok')).listen(process.env.PORT);
} else {
  process.send({ action: 'app-start' });
  const line = 'x'.repeat(99) + '\\n', begun = Date.now();
  let printed = 0;
  setInterval(() => { for (const due = (Date.now() - begun) * 100; printed < due; printed++) process.stdout.write(line); }, 5);
}
";

/// Measures pairs, prints the table and says whether the required ratio is missed.
pub fn measure(pairs: usize) -> bool {
    let place = std::env::temp_dir().join(format!("eggctl-logs-flood-{}", std::process::id()));
    fs::create_dir_all(&place).unwrap();
    fs::write(place.join("server.js"), SERVER).unwrap();
    let service = Service { place: place.clone() };
    println!(
        "\nA new connection and its answer while a member prints 10 MB/s, {CONNECTIONS} each, medians of {pairs} pairs\n"
    );
    println!("| prints go | median, µs | 99th percentile, µs | beside a file | required |\n|---|---|---|---|---|");
    let (mut logged, mut straight) = (Vec::new(), Vec::new());
    for _ in 0..pairs {
        logged.push(service.logged());
        straight.push(service.straight());
    }
    let of = |all: &[(f64, f64)], which: fn(&(f64, f64)) -> f64| median(all.iter().map(which).collect());
    let ratio = of(&logged, |one| one.0) / of(&straight, |one| one.0);
    for (name, all, told) in [
        ("through the logger", &logged, format!("{ratio:.2} | <= {REQUIRED}")),
        ("straight into a file", &straight, "1.00 | ".to_owned()),
    ] {
        println!("| {name} | {:.0} | {:.0} | {told} |", of(all, |one| one.0), of(all, |one| one.1));
    }
    fs::remove_dir_all(place).unwrap();
    ratio > REQUIRED
}

struct Service {
    place: PathBuf,
}

impl Service {
    fn eggctl(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_eggctl"));
        command.args(words).arg(format!("--title={TITLE}")).env("EGGCTL_STATE_DIR", self.place.join("state"));
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    fn start(&self, port: u16, more: &str) -> Command {
        let mut command = self.eggctl(&["start", "--workers=2", more]);
        command.arg(format!("--port={port}")).arg(self.place.join("server.js"));
        command
    }

    fn logged(&self) -> (f64, f64) {
        let port = free_port();
        let logs = self.place.join("logs");
        // Not the old ones' compression is measured.
        let _ = fs::remove_dir_all(&logs);
        let (out, err) = (logs.join("out.log"), logs.join("err.log"));
        let mut command = self.start(port, "--daemon");
        command.args([format!("--stdout={}", out.display()), format!("--stderr={}", err.display())]);
        assert!(command.status().unwrap().success());
        self.ask_and_stop(port, &out, None)
    }

    /// In the foreground there is no logger: what is printed goes where the command's stdout goes.
    fn straight(&self) -> (f64, f64) {
        let port = free_port();
        let out = self.place.join("straight.log");
        // In a session of its own, as a daemon is: the kernel shares the processors out by sessions.
        let eggctl = self.start(port, "--no-daemon");
        let mut command = Command::new("setsid");
        command.arg(eggctl.get_program()).args(eggctl.get_args()).stdin(Stdio::null());
        command.envs(eggctl.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let child = command.stdout(File::create(&out).unwrap()).spawn().unwrap();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            thread::sleep(Duration::from_millis(10));
        }
        self.ask_and_stop(port, &out, Some(child))
    }

    fn ask_and_stop(&self, port: u16, log: &Path, child: Option<Child>) -> (f64, f64) {
        thread::sleep(Duration::from_millis(500));
        let (before, began) = (length(log), Instant::now());
        let mut took: Vec<f64> = (0..CONNECTIONS).map(|_| connection(port)).collect();
        let printed = (length(log) - before) as f64 / 1e6 / began.elapsed().as_secs_f64();
        assert!(printed > 5.0, "the member has printed only {printed:.1} MB/s");
        assert!(self.eggctl(&["stop"]).status().unwrap().success());
        if let Some(mut child) = child {
            child.wait().unwrap();
        }
        took.sort_by(f64::total_cmp);
        (took[CONNECTIONS / 2], took[CONNECTIONS * 99 / 100])
    }
}

/// One request over a connection of its own, in microseconds.
fn connection(port: u16) -> f64 {
    let began = Instant::now();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert!(answer.ends_with(b"ok"), "{}", String::from_utf8_lossy(&answer));
    began.elapsed().as_secs_f64() * 1e6
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The length of a log with what has been set aside of it.
fn length(log: &Path) -> u64 {
    let name = log.file_name().unwrap().to_str().unwrap();
    let entries = fs::read_dir(log.parent().unwrap()).unwrap().flatten();
    let of_log = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(name));
    of_log.map(|entry| entry.metadata().unwrap().len()).sum()
}
