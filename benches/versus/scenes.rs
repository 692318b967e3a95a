//! What is measured, each scene in PID, mount and network namespaces of its own: egg-scripts' `stop`, for one, would
//! end other people's applications.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::contestant::Contestant::{self, EggScripts, Ours};
use crate::contestant::TITLE;
use crate::reload::{self, Reloaded};
use crate::{connections, egg};

/// One thing to play with one contestant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scene {
    /// Start: how long, how much CPU, how much memory.
    Start,
    /// Start and stop.
    Stop,
    /// Start, kill a process, wait for its successor.
    Crash,
    /// Start and look how often the master wakes.
    Idle,
    /// Look for a title that nobody has, both contestants in one namespace.
    Lookup,
    /// An Egg application: start it.
    EggStart,
    /// Start it and stop it.
    EggStop,
    /// Start it, kill its workers, wait until others are ready.
    EggCrash,
    /// Start it, ours with a spare, kill a worker, wait until another one is ready in its place.
    EggSpare,
    /// Start it, reload it.
    EggReload,
    /// Reload an application of egg-cluster's kind under load.
    ReloadsOfEgg,
    /// Reload a plain script under load.
    ReloadsOfScript,
    /// The same, which closes its server on SIGINT.
    ReloadsOnSigint,
    /// Start an application that sends messages, and have it send some of each size.
    Relay,
    /// Load contestants with connections, all in one namespace: by round robin.
    ConnectionsRoundRobin,
    /// The same, on connections that are kept.
    ConnectionsAlive,
    /// The same, where workers accept.
    ConnectionsShared,
    /// The same, where a client keeps its worker.
    ConnectionsSticky,
    /// The same, with Egg itself.
    ConnectionsEgg,
}

const SCENES: [Scene; 19] = [
    Scene::Start,
    Scene::Stop,
    Scene::Crash,
    Scene::Idle,
    Scene::Lookup,
    Scene::EggStart,
    Scene::EggStop,
    Scene::EggCrash,
    Scene::EggSpare,
    Scene::EggReload,
    Scene::ReloadsOfEgg,
    Scene::ReloadsOfScript,
    Scene::ReloadsOnSigint,
    Scene::Relay,
    Scene::ConnectionsRoundRobin,
    Scene::ConnectionsAlive,
    Scene::ConnectionsShared,
    Scene::ConnectionsSticky,
    Scene::ConnectionsEgg,
];

impl Scene {
    /// Plays it in new namespaces and reads what it printed.
    pub fn play(self, who: Contestant) -> Vec<(&'static str, Contestant, f64)> {
        // A shell that waits for this program again, and reaps the orphans meanwhile, as an init does.
        let init = r#"ip link set lo up && { "$@" & wait $!; }"#;
        let output = Command::new("unshare")
            .args(["--pid", "--fork", "--kill-child", "--mount-proc", "--net", "sh", "-c", init, "sh"])
            .arg(std::env::current_exe().unwrap())
            .args(["--inside", &format!("{self:?}"), &format!("{who:?}")])
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .unwrap();
        assert!(output.status.success(), "{self:?} with {}: {}", who.name(), output.status);
        let text = String::from_utf8(output.stdout).unwrap();
        let samples: Vec<_> = text.lines().filter_map(read_sample).collect();
        assert!(!samples.is_empty(), "{self:?} with {} measured nothing", who.name());
        samples
    }
}

pub fn tell(row: &str, who: Contestant, value: f64) {
    println!("sample {row} {who:?} {value}");
}

fn read_sample(line: &str) -> Option<(&'static str, Contestant, f64)> {
    let mut words = line.strip_prefix("sample ")?.split(' ');
    let (row, who, value) = (words.next()?, words.next()?, words.next()?);
    let row = crate::ROWS.iter().find(|one| one.name == row)?.name;
    let who = Contestant::ALL.into_iter().find(|one| format!("{one:?}") == who)?;
    Some((row, who, value.parse().ok()?))
}

/// Inside the namespaces: plays the scene of these words.
pub fn inside(words: &[String]) {
    let scene = SCENES.into_iter().find(|scene| format!("{scene:?}") == words[0]).expect("a scene");
    let who = Contestant::ALL.into_iter().find(|who| format!("{who:?}") == words[1]).expect("a contestant");
    let home = make_home();
    let result = std::panic::catch_unwind(|| match scene {
        Scene::Start => start(who, &home),
        Scene::Stop => stop(who, &home),
        Scene::Crash => crash(who, &home),
        Scene::Idle => idle(who, &home),
        Scene::Lookup => lookup(&home),
        Scene::EggStart => egg::start(who, &home),
        Scene::EggStop => egg::stop(who, &home),
        Scene::EggCrash => egg::crash(who, &home),
        Scene::EggSpare => reload::spare(who, &home),
        Scene::EggReload => reload::by_generation(who, &home),
        Scene::ReloadsOfEgg => reload::under_load(who, Reloaded::OnEggCluster, &home),
        Scene::ReloadsOfScript => reload::under_load(who, Reloaded::Plain, &home),
        Scene::ReloadsOnSigint => reload::under_load(who, Reloaded::OnSigint, &home),
        Scene::Relay => egg::relay(who, &home),
        Scene::ConnectionsRoundRobin => connections::round_robin(&home),
        Scene::ConnectionsAlive => connections::alive(&home),
        Scene::ConnectionsShared => connections::shared(&home),
        Scene::ConnectionsSticky => connections::sticky(&home),
        Scene::ConnectionsEgg => connections::egg(&home),
    });
    let _ = fs::remove_dir_all(&home);
    if result.is_err() {
        std::process::exit(1);
    }
}

fn make_home() -> PathBuf {
    // The pid here is a small number in every namespace: the parent's directory must differ by time.
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
    let home = std::env::temp_dir().join(format!("eggctl-versus-{now}"));
    fs::create_dir_all(&home).unwrap();
    home
}

/// Runs a command to its end; how long it took and the CPU of it and of what it waited for.
pub fn timed(mut command: Command) -> (Duration, Duration) {
    let cpu = || {
        let usage = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap();
        let micros = |time: nix::sys::time::TimeVal| time.tv_sec() * 1_000_000 + time.tv_usec();
        Duration::from_micros((micros(usage.user_time()) + micros(usage.system_time())) as u64)
    };
    let (before, began) = (cpu(), Instant::now());
    let status = command.status().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let took = began.elapsed();
    assert!(status.success(), "{command:?}: {status}");
    (took, cpu() - before)
}

pub fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// `(pid, parent)` of every process.
fn processes() -> Vec<(i32, i32)> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter_map(|pid| Some((pid, parent(pid)?))).collect()
}

fn parent(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat[stat.rfind(')')? + 2..].split(' ').nth(1)?.parse().ok()
}

pub fn master(who: Contestant) -> i32 {
    master_of(who, "")
}

/// The one with this word in its command line.
pub fn master_of(who: Contestant, word: &str) -> i32 {
    let pids = processes().into_iter().map(|(pid, _)| pid);
    let is_it = |words: &[String]| who.is_master(words) && (word.is_empty() || words.iter().any(|one| one == word));
    let found: Vec<i32> = pids.filter(|pid| is_it(&words(*pid))).collect();
    assert_eq!(found.len(), 1, "masters of {}: {found:?}", who.name());
    found[0]
}

/// The children of a master but for its logger, the eldest first: the agent, then the workers.
pub fn members(master: i32) -> Vec<i32> {
    let is_member = |pid: &i32| words(*pid).get(1).is_none_or(|word| word != "logger");
    let children = processes().into_iter().filter(|(_, parent)| *parent == master).map(|(pid, _)| pid);
    let mut members: Vec<i32> = children.filter(is_member).collect();
    members.sort_unstable();
    members
}

/// The command line of a process; empty when it has gone.
fn words(pid: i32) -> Vec<String> {
    let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.split('\0').map(str::to_owned).collect()
}

/// CPU that a living process has used, to the nanosecond.
pub fn cpu_of(pid: i32) -> Duration {
    let clock = nix::time::clock_getcpuclockid(Pid::from_raw(pid)).unwrap();
    nix::time::clock_gettime(clock).unwrap().into()
}

/// A number from /proc/PID/status.
pub fn status(pid: i32, field: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.trim_start_matches(':').split_whitespace().next().unwrap().parse().unwrap()
}

fn start(who: Contestant, home: &Path) {
    who.prepare(home);
    // A daemon that stood before has used CPU before.
    let stood = if who == Contestant::Pm2Cluster { cpu_of(master(who)) } else { Duration::ZERO };
    let (took, cli) = timed(who.start(home));
    let master = master(who);
    tell("start", who, ms(took));
    tell("cpu", who, ms(cli + cpu_of(master) - stood));
    tell("rss", who, status(master, "VmRSS") as f64 / 1024.0);
}

fn stop(who: Contestant, home: &Path) {
    who.prepare(home);
    timed(who.start(home));
    let (took, _) = timed(who.stop(home, TITLE));
    tell("stop", who, ms(took));
}

/// Starts it, also when it is a master that does not return.
fn start_anyhow(who: Contestant, home: &Path, start: fn(Contestant, &Path) -> Command) -> Option<Child> {
    who.prepare(home);
    if who == Contestant::Daemontools {
        return Some(start(who, home).spawn().unwrap());
    }
    timed(start(who, home));
    None
}

fn crash(who: Contestant, home: &Path) {
    let _master = start_anyhow(who, home, Contestant::start_sleep);
    // Every one of them answers a process that ends within a second of its start more slowly.
    thread::sleep(Duration::from_millis(1500));
    let master = master(who);
    // The youngest: a worker, not the agent.
    let victim = *members(master).last().unwrap();
    let newest = processes().into_iter().map(|(pid, _)| pid).max().unwrap();
    let began = Instant::now();
    kill(Pid::from_raw(victim), Signal::SIGKILL).unwrap();
    let successor = || {
        let entries = fs::read_dir("/proc").unwrap().flatten();
        let mut pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        pids.any(|pid| pid > newest && parent(pid) == Some(master))
    };
    while !successor() {
        assert!(began.elapsed() < Duration::from_secs(20), "{} has made no successor", who.name());
    }
    tell("crash", who, ms(began.elapsed()));
}

fn idle(who: Contestant, home: &Path) {
    let _master = start_anyhow(who, home, Contestant::start);
    // What a start leaves to be done is done by then.
    thread::sleep(Duration::from_secs(3));
    let master = master(who);
    let wakes = || status(master, "voluntary_ctxt_switches") + status(master, "nonvoluntary_ctxt_switches");
    let before = wakes();
    thread::sleep(Duration::from_secs(20));
    tell("idle", who, (wakes() - before) as f64);
}

fn lookup(home: &Path) {
    let mut crowd: Vec<Child> = (0..5000).map(|_| Command::new("sleep").arg("100000").spawn().unwrap()).collect();
    for round in 0..7 {
        let order = if round % 2 == 0 { [Ours, EggScripts] } else { [EggScripts, Ours] };
        for who in order {
            tell("lookup", who, ms(timed(who.stop(home, "none")).0));
        }
    }
    for process in &mut crowd {
        let _ = process.kill();
    }
}
