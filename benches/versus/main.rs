//! Side by side with the peers, in one run: `cargo bench --bench versus [-- ROW…]`.
//!
//! Rows: `start`, `cpu`, `rss`, `idle`, `crash`, `stop`, `lookup`; those of Egg (`egg.rs` says what they measure):
//! `egg-start`, `egg-cpu`, `egg-rss`, `egg-stop`, `egg-crash`, and `relay-` and `relay-cpu-` with `64b`, `1k`, `64k`;
//! those of reload (`reload.rs`): `egg-spare`, `egg-reload`, and `lost-egg`, `lost-pm2`, `lost-int`;
//! those of connections (`connections.rs`): `conn-rr`, `conn-cpu`, `conn-shared`, `conn-sticky`, `conn-egg`, `conn-alive`. A name
//! stands for every row that begins so (`egg`, `relay-cpu`); without one all but `lost-…` are measured. Every contestant runs in
//! namespaces of its own; rounds are interleaved, because only ratios within one run count on a machine that others
//! share. Prints a Markdown table and exits 1 when a required ratio is missed.
#![allow(missing_docs)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod bare;
mod connections;
mod contestant;
mod egg;
mod peers;
mod reload;
mod scenes;
mod table;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::thread;

use contestant::Contestant::{self, BareBoot, Daemontools, EggScripts, Nobody, Ours, OursNode, Pm2Cluster, Pm2Fork};
use scenes::Scene;
use table::{Required, Row};

/// The samples of each contestant, by what was measured.
pub type Samples = BTreeMap<(&'static str, Contestant), Vec<f64>>;

const ROWS: &[Row] = &[
    Row { name: "start", what: "start: the command returns", unit: "ms", required: &[] },
    Row {
        name: "cpu",
        what: "CPU of command and master until ready",
        unit: "ms",
        required: &[Required::Ratio(EggScripts, 1.0 / 40.0)],
    },
    Row { name: "rss", what: "resident memory of the master", unit: "MB", required: &[Required::AtMost(5.0)] },
    Row { name: "idle", what: "wake-ups of the master in 20 s idle", unit: "", required: &[Required::AtMost(0.0)] },
    Row {
        name: "crash",
        what: "SIGKILL of a `sleep` to its successor",
        unit: "ms",
        required: &[Required::EitherRatio([(Daemontools, 1.5), (Pm2Fork, 0.25)])],
    },
    Row {
        name: "stop",
        what: "stop: the command returns",
        unit: "ms",
        required: &[Required::Ratio(EggScripts, 1.0 / 12.0)],
    },
    Row {
        name: "lookup",
        what: "`stop` of a title nobody has, among 5,000 processes",
        unit: "ms",
        required: &[Required::Ratio(EggScripts, 1.0 / 20.0)],
    },
    Row {
        name: "egg-start",
        what: "Egg, hello, 1 + 2: start, the command returns",
        unit: "ms",
        required: &[Required::Ratio(EggScripts, 0.75)],
    },
    Row {
        name: "egg-cpu",
        what: "Egg, hello: CPU of command and master until ready",
        unit: "ms",
        required: &[Required::Ratio(EggScripts, 1.0 / 50.0)],
    },
    Row {
        name: "egg-rss",
        what: "Egg, hello: resident memory of the master",
        unit: "MB",
        required: &[Required::Ratio(EggScripts, 1.0 / 15.0)],
    },
    Row {
        name: "egg-stop",
        what: "Egg, hello: stop, the command returns",
        unit: "ms",
        required: &[Required::Ratio(EggScripts, 1.0 / 12.0)],
    },
    Row {
        name: "egg-crash",
        what: "Egg, hello: SIGKILL of a worker until its successor is ready",
        unit: "ms",
        required: &[Required::Ratio(EggScripts, 1.0)],
    },
    Row {
        name: "egg-spare",
        what: "Egg, hello: SIGKILL of a worker until another is ready in its place, ours with one spare",
        unit: "ms",
        required: &[Required::Ratio(EggScripts, 1.0 / 25.0)],
    },
    Row {
        name: "egg-reload",
        what: "Egg, hello: a reload by generation, two workers at once",
        unit: "ms",
        required: &[Required::Ratio(BareBoot, 1.2)],
    },
    Row {
        name: "relay-cpu-64b",
        what: "messenger, 64 B: CPU of the master per message",
        unit: "µs",
        required: &[Required::Ratio(EggScripts, 0.25)],
    },
    Row {
        name: "relay-cpu-1k",
        what: "messenger, 1 KiB: CPU of the master per message",
        unit: "µs",
        required: &[Required::Ratio(EggScripts, 0.25)],
    },
    Row {
        name: "relay-cpu-64k",
        what: "messenger, 64 KiB: CPU of the master per message",
        unit: "µs",
        required: &[Required::Ratio(EggScripts, 0.125)],
    },
    Row {
        name: "relay-64b",
        what: "messenger, 64 B: messages end to end",
        unit: "msg/s",
        required: &[Required::RatioAtLeast(EggScripts, 2.0)],
    },
    Row {
        name: "relay-1k",
        what: "messenger, 1 KiB: messages end to end",
        unit: "msg/s",
        required: &[Required::RatioAtLeast(EggScripts, 2.0)],
    },
    Row {
        name: "relay-64k",
        what: "messenger, 64 KiB: messages end to end",
        unit: "msg/s",
        required: &[Required::RatioAtLeast(EggScripts, 2.0)],
    },
    Row {
        name: "conn-rr",
        what: "bare http, 2 workers, a connection for each request, round robin",
        unit: "conn/s",
        required: &[Required::RatioAtLeast(EggScripts, 1.15)],
    },
    Row {
        name: "conn-cpu",
        what: "the same: CPU of the master per connection",
        unit: "µs",
        required: &[Required::Ratio(EggScripts, 1.0 / 6.0)],
    },
    Row {
        name: "conn-shared",
        what: "the same, the workers accept (egg-cluster: round robin)",
        unit: "conn/s",
        required: &[Required::RatioAtLeast(EggScripts, 2.2)],
    },
    Row {
        name: "conn-sticky",
        what: "the same, sticky, 16 addresses",
        unit: "conn/s",
        required: &[Required::RatioAtLeast(EggScripts, 1.0)],
    },
    Row {
        name: "conn-egg",
        what: "Egg, hello: a connection for each request, round robin",
        unit: "conn/s",
        required: &[],
    },
    Row { name: "conn-alive", what: "bare http: requests on connections that are kept", unit: "req/s", required: &[] },
    Row {
        name: "lost-egg",
        what: "5 reloads under load, egg-cluster's `reload-worker`: requests refused or cut",
        unit: "",
        required: &[Required::AtMost(0.0)],
    },
    Row { name: "lost-egg-answered", what: "the same: requests answered", unit: "", required: &[] },
    Row { name: "lost-egg-workers", what: "the same: workers afterwards, of 2", unit: "", required: &[] },
    Row {
        name: "lost-pm2",
        what: "5 reloads under load, an unmodified server: requests refused or cut",
        unit: "",
        required: &[Required::AtMost(0.0)],
    },
    Row { name: "lost-pm2-answered", what: "the same: requests answered", unit: "", required: &[] },
    Row { name: "lost-pm2-workers", what: "the same: workers afterwards, of 2", unit: "", required: &[] },
    Row {
        name: "lost-int",
        what: "5 reloads under load, a server that closes on SIGINT as pm2 asks: requests refused or cut",
        unit: "",
        required: &[Required::AtMost(0.0)],
    },
    Row { name: "lost-int-answered", what: "the same: requests answered", unit: "", required: &[] },
    Row { name: "lost-int-workers", what: "the same: workers afterwards, of 2", unit: "", required: &[] },
];

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1).filter(|word| word != "--bench").peekable();
    if words.next_if_eq("--inside").is_some() {
        scenes::inside(&words.collect::<Vec<_>>());
        return ExitCode::SUCCESS;
    }
    if words.next_if_eq("--bare").is_some() {
        bare::run(words.next().as_deref());
        return ExitCode::SUCCESS;
    }
    let wanted: Vec<String> = words.collect();
    if let Some(unknown) = wanted.iter().find(|word| !ROWS.iter().any(|row| row.name.starts_with(word.as_str()))) {
        let names: Vec<&str> = ROWS.iter().map(|row| row.name).collect();
        eprintln!("no row begins with {unknown}; there are {}", names.join(", "));
        return ExitCode::from(2);
    }
    let is_named = |row: &str| wanted.iter().any(|word| row.starts_with(word.as_str()));
    // What is lost is counted, not compared, and takes its time: only who names it has it.
    let is_wanted = |row: &str| is_named(row) || wanted.is_empty() && !row.starts_with("lost");
    peers::install();
    let mut samples = Samples::new();
    if ["start", "cpu", "rss"].into_iter().any(is_wanted) {
        rounds(&mut samples, 9, Scene::Start, &[Ours, EggScripts, Pm2Cluster]);
    }
    if is_wanted("crash") {
        rounds(&mut samples, 9, Scene::Crash, &[Ours, OursNode, Daemontools, Pm2Fork]);
    }
    if is_wanted("stop") {
        rounds(&mut samples, 5, Scene::Stop, &[Ours, EggScripts, Pm2Cluster]);
    }
    if is_wanted("lookup") {
        take(&mut samples, Scene::Lookup.play(Ours));
    }
    if is_wanted("idle") {
        // At the same time: what counts is whether anything happens at all.
        let playing = [Ours, EggScripts, Pm2Cluster].map(|who| thread::spawn(move || Scene::Idle.play(who)));
        playing.into_iter().for_each(|scene| take(&mut samples, scene.join().unwrap()));
    }
    if ["egg-start", "egg-cpu", "egg-rss"].into_iter().any(is_wanted) {
        rounds(&mut samples, 9, Scene::EggStart, &[Ours, EggScripts]);
    }
    if is_wanted("egg-stop") {
        rounds(&mut samples, 5, Scene::EggStop, &[Ours, EggScripts]);
    }
    if is_wanted("egg-crash") {
        rounds(&mut samples, 7, Scene::EggCrash, &[Ours, EggScripts]);
    }
    if is_wanted("egg-spare") {
        rounds(&mut samples, 7, Scene::EggSpare, &[Ours, EggScripts]);
    }
    if is_wanted("egg-reload") {
        rounds(&mut samples, 7, Scene::EggReload, &[Ours]);
    }
    if ROWS.iter().any(|row| row.name.starts_with("relay") && is_wanted(row.name)) {
        rounds(&mut samples, 5, Scene::Relay, &[Ours, EggScripts, Nobody]);
    }
    for (rows, scene) in [
        (&["conn-rr", "conn-cpu"][..], Scene::ConnectionsRoundRobin),
        (&["conn-alive"], Scene::ConnectionsAlive),
        (&["conn-shared"], Scene::ConnectionsShared),
        (&["conn-sticky"], Scene::ConnectionsSticky),
        (&["conn-egg"], Scene::ConnectionsEgg),
    ] {
        if rows.iter().any(|row| is_wanted(row)) {
            rounds(&mut samples, 2, scene, &[Ours]);
        }
    }
    for (row, scene, peer) in [
        ("lost-egg", Scene::ReloadsOfEgg, EggScripts),
        ("lost-pm2", Scene::ReloadsOfScript, Pm2Cluster),
        ("lost-int", Scene::ReloadsOnSigint, Pm2Cluster),
    ] {
        if is_named(row) {
            rounds(&mut samples, 3, scene, &[Ours, peer]);
        }
    }
    let shown: Vec<&Row> = ROWS.iter().filter(|row| is_wanted(row.name)).collect();
    if table::print(&shown, &samples) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Plays the scene `count` times with each contestant in turn, beginning with another one each time.
fn rounds(samples: &mut Samples, count: usize, scene: Scene, contestants: &[Contestant]) {
    for round in 0..count {
        for turn in 0..contestants.len() {
            take(samples, scene.play(contestants[(round + turn) % contestants.len()]));
        }
        eprint!("\r{scene:?}: round {} of {count}", round + 1);
    }
    eprintln!();
}

fn take(samples: &mut Samples, measured: Vec<(&'static str, Contestant, f64)>) {
    for (row, who, value) in measured {
        samples.entry((row, who)).or_default().push(value);
    }
}
