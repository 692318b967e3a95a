//! The scenes of reload and spare.
//!
//! * `egg-spare`: Egg's hello: from SIGKILL of a worker until the application in whoever takes its place has been told by
//!   the master that it is ready (`egg-ready`). Ours runs with one spare, which waits by then; egg-cluster boots another.
//! * `egg-reload`: Egg's hello: `eggctl reload` of two workers by generation, the command from its spawn to its return: the
//!   new ones serve then, and the old ones have run their `beforeClose` and are gone. Beside it the bare boot of two such
//!   workers, which the same master has started a moment before, both at once: from the moment when Node began in the
//!   first (`performance.timeOrigin`) until Egg in the last was told that it is ready. So the reload, too, boots both at
//!   once (`--batch=2`: by default it takes as many as cores are spare). Nobody asks anything meanwhile.
//! * `lost-…`: five reloads while the clients of the continuity tests ask (`tests/harness/load.rs`: a connection for each
//!   request, kept ones, slow requests of 3 s, uploads): how many requests were answered, how many were refused or cut, and
//!   how many workers there are afterwards where there were two. `lost-egg`: workers on bare egg-cluster, whose master
//!   reloads on a worker's message `reload-worker`. `lost-pm2`: a plain server, unmodified, beside `pm2 reload`.
//!   `lost-int`: the same with what pm2 asks applications to do: on SIGINT the server closes, then the process ends; and
//!   pm2 gives it 10 s for that, not 1.6.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::contestant::Contestant::{self, BareBoot, EggScripts, Ours};
use crate::contestant::{ANSWERING, HELLO, PORT, TITLE};
use crate::egg::{Ready, ready};
use crate::scenes::{master, members, ms, tell, timed};

/// What the load needs of a harness.
const PATIENCE: Duration = Duration::from_secs(45);

fn eventually(what: &str, mut happened: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !happened() {
        assert!(Instant::now() < deadline, "has not happened within {PATIENCE:?}: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

fn visibly(line: &str) {
    eprintln!("{line}");
}

#[path = "../../tests/harness/load.rs"]
#[allow(dead_code)]
mod load;

pub fn spare(who: Contestant, home: &Path) {
    let mut start = who.start_application(home, HELLO);
    if who == Ours {
        start.arg("--spare=1");
    }
    timed(start);
    if who == Ours {
        let log = home.join("logs/master-stdout.log");
        eventually("the spare waits", || fs::read_to_string(&log).unwrap_or_default().contains("waits at the gate"));
    }
    // What a start leaves to be done is done by then.
    thread::sleep(Duration::from_secs(1));
    let victim = ready(home, 2)[0].pid;
    let began = Instant::now();
    kill(Pid::from_raw(victim), Signal::SIGKILL).unwrap();
    ready(home, 3);
    tell("egg-spare", who, ms(began.elapsed()));
}

pub fn by_generation(who: Contestant, home: &Path) {
    timed(who.start_application(home, HELLO));
    let workers = ready(home, 2);
    let first = workers.iter().map(|one| one.began_ms).fold(f64::MAX, f64::min);
    let last = workers.iter().map(|one: &Ready| one.told_ms).fold(f64::MIN, f64::max);
    tell("egg-reload", BareBoot, last - first);
    thread::sleep(Duration::from_secs(1));
    let (took, _) = timed(Contestant::eggctl(home, &["reload", "--title", TITLE, "--batch=2"]));
    assert_eq!(ready(home, 4).len(), 4, "two new workers");
    tell("egg-reload", who, ms(took));
}

/// Which application is reloaded under load.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Reloaded {
    OnEggCluster,
    Plain,
    OnSigint,
}

impl Reloaded {
    /// The rows of what was lost, what was answered, who was there afterwards.
    fn rows(self) -> [&'static str; 3] {
        match self {
            Reloaded::OnEggCluster => ["lost-egg", "lost-egg-answered", "lost-egg-workers"],
            Reloaded::Plain => ["lost-pm2", "lost-pm2-answered", "lost-pm2-workers"],
            Reloaded::OnSigint => ["lost-int", "lost-int-answered", "lost-int-workers"],
        }
    }
}

pub fn under_load(who: Contestant, reloaded: Reloaded, home: &Path) {
    who.prepare(home);
    timed(match reloaded {
        Reloaded::OnEggCluster => who.start_application(home, ANSWERING),
        Reloaded::Plain => who.start_script(home, "reload/app.js", &[]),
        Reloaded::OnSigint => {
            let mut start = who.start_script(home, "reload/app.js", &["--kill-timeout", "10000"]);
            start.env("ON_SIGINT", "1");
            start
        }
    });
    let master = master(who);
    let load = load::Load::begin(PORT.parse().unwrap(), &load::EVERY_KIND);
    for _ in 0..5 {
        reload(who, home, master);
        load.goes_on(100);
    }
    let tally = load.end();
    let [lost, answered, workers] = reloaded.rows();
    tell(lost, who, (tally.refused + tally.lost) as f64);
    tell(answered, who, tally.answered as f64);
    tell(workers, who, self::workers(master).len() as f64);
}

/// Reloads, and returns when who was there is gone.
fn reload(who: Contestant, home: &Path, master: i32) {
    let old = workers(master);
    match who {
        EggScripts => {
            // Whoever is asked may be among the first to go.
            let ask = || std::net::TcpStream::connect(format!("127.0.0.1:{PORT}"));
            let mut stream = ask().unwrap();
            std::io::Write::write_all(&mut stream, b"GET /reload HTTP/1.0\r\n\r\n").unwrap();
            let _ = std::io::Read::read_to_end(&mut stream, &mut Vec::new());
        }
        _ => drop(timed(who.reload(home))),
    }
    eventually("the old workers have gone", || !workers(master).iter().any(|worker| old.contains(worker)));
}

/// The workers of a master: what it runs with a channel of Node's cluster.
fn workers(master: i32) -> Vec<i32> {
    let is_worker = |pid: &i32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable.starts_with(b"NODE_UNIQUE_ID="))
    };
    members(master).into_iter().filter(is_worker).collect()
}
