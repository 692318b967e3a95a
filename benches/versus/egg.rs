//! The scenes of Egg: an application that says hello (`benches/versus/egg`), one agent and two workers, under eggctl and
//! under egg-scripts, whose master is egg-cluster's; and what a message costs on its way through the master.
//!
//! * `egg-start`: the command, from its spawn to its return: everything is ready then. `egg-cpu` is the command's and the
//!   master's CPU by then, `egg-rss` the master's resident memory.
//! * `egg-stop`: the command, from its spawn to its return.
//! * `egg-crash`: from SIGKILL of a worker until the application in its successor has been told by the master that it is
//!   ready (`egg-ready`). Each of the two workers is killed once.
//! * `relay-…`: a worker sends messages of so many bytes of JSON, as applications send it, to the other worker
//!   (`receiverPid`); how many are under way is bounded (`benches/versus/relay`, on bare egg-cluster: Egg's own
//!   listeners would only add to both). CPU is the master's, read around the burst. Messages per second are from the first
//!   that is sent to the last that is acknowledged; on two cores that is as much the ends' speed as the master's, so the
//!   same ends without any master stand beside it. A smaller burst before warms Node up.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::contestant::Contestant::{self, Nobody};
use crate::contestant::{HELLO, PORT, RELAY, TITLE};
use crate::peers;
use crate::scenes::{cpu_of, master, members, ms, status, tell, timed};

pub fn start(who: Contestant, home: &Path) {
    let (took, cli) = timed(who.start_application(home, HELLO));
    let master = master(who);
    tell("egg-start", who, ms(took));
    tell("egg-cpu", who, ms(cli + cpu_of(master)));
    tell("egg-rss", who, status(master, "VmRSS") as f64 / 1024.0);
}

pub fn stop(who: Contestant, home: &Path) {
    timed(who.start_application(home, HELLO));
    let (took, _) = timed(who.stop(home, TITLE));
    tell("egg-stop", who, ms(took));
}

pub fn crash(who: Contestant, home: &Path) {
    timed(who.start_application(home, HELLO));
    for victim in ready(home, 2) {
        let before = ready(home, 2).len();
        let began = Instant::now();
        kill(Pid::from_raw(victim.pid), Signal::SIGKILL).unwrap();
        ready(home, before + 1);
        tell("egg-crash", who, ms(began.elapsed()));
    }
}

/// A worker that has been told that it is ready, with moments in milliseconds since 1970.
#[derive(Clone, Copy, Debug)]
pub struct Ready {
    pub pid: i32,
    /// When Node began in it.
    pub began_ms: f64,
    pub told_ms: f64,
}

/// The workers that have been told that they are ready, once there were `count`.
pub fn ready(home: &Path, count: usize) -> Vec<Ready> {
    let began = Instant::now();
    loop {
        let text = fs::read_to_string(home.join("ready")).unwrap_or_default();
        let workers: Vec<Ready> = text.split_inclusive('\n').filter_map(read_ready).collect();
        if workers.len() >= count {
            return workers;
        }
        assert!(began.elapsed() < Duration::from_secs(30), "{count} workers are to be ready: {workers:?}");
        thread::sleep(Duration::from_micros(500));
    }
}

/// A whole line `PID BEGAN TOLD`.
fn read_ready(line: &str) -> Option<Ready> {
    let mut words = line.strip_suffix('\n')?.split(' ');
    let mut number = || words.next()?.parse::<f64>().ok();
    Some(Ready { pid: number()? as i32, began_ms: number()?, told_ms: number()? })
}

/// The rows of a size: bytes of a message's text, messages, CPU, throughput.
const SIZES: [(usize, usize, &str, &str); 3] = [
    (64, 240_000, "relay-cpu-64b", "relay-64b"),
    (1024, 120_000, "relay-cpu-1k", "relay-1k"),
    (64 * 1024, 4_500, "relay-cpu-64k", "relay-64k"),
];

pub fn relay(who: Contestant, home: &Path) {
    if who == Nobody {
        return direct();
    }
    timed(who.start_application(home, RELAY));
    let master = master(who);
    // The first of the members is the agent.
    let workers: Vec<String> = members(master).iter().skip(1).map(i32::to_string).collect();
    let pids = workers.join(",");
    for (size, count, cpu_row, row) in SIZES {
        burst(&pids, size, count / 3);
        let before = cpu_of(master);
        let (messages, seconds) = burst(&pids, size, count);
        let cpu = cpu_of(master) - before;
        tell(cpu_row, who, cpu.as_secs_f64() * 1e6 / messages);
        tell(row, who, messages / seconds);
    }
}

/// The same from process to process: what Node's ends can do at most.
fn direct() {
    for (size, count, _, row) in SIZES {
        let program = peers::app("relay").join("direct.js");
        let output = Command::new("node").arg(program).args([size.to_string(), count.to_string()]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let (messages, seconds) = figures(&String::from_utf8(output.stdout).unwrap());
        tell(row, Nobody, messages / seconds);
    }
}

/// Has some worker send so many messages of this size to the others; how many it was and how many seconds that took.
fn burst(pids: &str, size: usize, count: usize) -> (f64, f64) {
    let mut stream = TcpStream::connect(format!("127.0.0.1:{PORT}")).unwrap();
    let request = format!("GET /?pids={pids}&size={size}&count={count} HTTP/1.0\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    figures(answer.split("\r\n\r\n").nth(1).unwrap_or_else(|| panic!("no figures: {answer}")))
}

/// `MESSAGES SECONDS`.
fn figures(text: &str) -> (f64, f64) {
    let (messages, seconds) = text.trim().split_once(' ').unwrap_or_else(|| panic!("no figures: {text}"));
    (messages.parse().unwrap(), seconds.parse().unwrap())
}
