//! The logger beside `cat > file`, rotatelogs, s6-log, multilog and svlogd: `cargo bench --bench logs [-- MIB]`, 1024 without.
//!
//! A producer writes lines of 100 bytes into a pipe, 64 KiB at once or a line at once; the capturer moves them into files. Rounds
//! are interleaved, because only ratios within one run count on a machine that others share. The capturer's CPU time is what
//! the kernel's scheduler has counted for it (`/proc/PID/schedstat`). Those that are not installed are left out. Prints a
//! Markdown table and exits 1 when a required ratio is missed.
#![allow(missing_docs)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use eggctl::logger::ledger::Ledger;
use eggctl::logger::orders::Order;
use eggctl::options::{Every, Full, LogOptions};
use eggctl::sys::spawn::{self, Output, Program};
use eggctl::sys::{descriptors, pipes, sockets};

const ROUNDS: usize = 7;
const LINE: usize = 100;
/// `(name, bytes per write, share of the volume, required CPU beside cat's)`.
const WRITES: &[(&str, usize, usize, f64)] = &[("64 KiB", 64 * 1024, 1, 1.0), ("a line", LINE, 8, 0.6)];
/// The size at which rotating capturers begin a new file: the logger's default.
const MAX: u64 = 100 << 20;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().collect();
    if words.get(1).is_some_and(|word| word == "produce") {
        produce(words[2].parse().unwrap(), words[3].parse().unwrap());
        return ExitCode::SUCCESS;
    }
    // The logger's channel is put at this number: nothing of ours may be there.
    let _number_3 = descriptors::hold_number(spawn::CHANNEL_NUMBER).unwrap();
    let mib: usize = words.iter().skip(1).find_map(|word| word.parse().ok()).unwrap_or(1024);
    let place = std::env::temp_dir().join(format!("eggctl-logs-bench-{}", std::process::id()));
    let capturers: Vec<Capturer> = Capturer::ALL.iter().copied().filter(|one| one.is_here()).collect();
    println!("Medians of {ROUNDS} interleaved rounds, lines of {LINE} bytes, rotation at 100 MiB, no compression\n");
    println!("| writes | capturer | MB/s | CPU s/GB | CPU beside cat | required |\n|---|---|---|---|---|---|");
    let mut missed = false;
    for (name, write, share, required) in WRITES {
        let bytes = mib * 1024 * 1024 / share / LINE * LINE;
        let mut results = vec![Vec::new(); capturers.len()];
        for _ in 0..ROUNDS {
            for (capturer, results) in capturers.iter().zip(&mut results) {
                results.push(capturer.run(&place, *write, bytes));
            }
        }
        let median = |results: &[(f64, f64)], of: fn(&(f64, f64)) -> f64| {
            let mut values: Vec<f64> = results.iter().map(of).collect();
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        };
        let cat = median(&results[1], |result| result.1);
        for (capturer, results) in capturers.iter().zip(&results) {
            let (speed, cpu) = (median(results, |result| result.0), median(results, |result| result.1));
            let ours = matches!(capturer, Capturer::Logger);
            missed |= ours && cpu / cat > *required;
            let required = if ours { format!("<= {required}") } else { String::new() };
            println!("| {name} | {} | {speed:.0} | {cpu:.2} | {:.2} | {required} |", capturer.name(), cpu / cat);
        }
    }
    ExitCode::from(u8::from(missed))
}

/// Writes `bytes` bytes of lines to stdout, `write` at once.
fn produce(write: usize, bytes: usize) {
    let line = [vec![b'x'; LINE - 1], vec![b'\n']].concat();
    let chunk = line.repeat((write / LINE).max(1));
    let mut left = bytes;
    let mut out = File::from(std::io::stdout().as_fd().try_clone_to_owned().unwrap());
    while left > 0 {
        let now = left.min(chunk.len());
        out.write_all(&chunk[..now]).unwrap();
        left -= now;
    }
}

#[derive(Clone, Copy)]
enum Capturer {
    Logger,
    Cat,
    Rotatelogs,
    S6Log,
    Multilog,
    Svlogd,
}

/// A capturer that runs, reading a pipe.
struct Running {
    pid: u32,
    child: Option<Child>,
    /// The logger's channel: closed, it goes.
    channel: Option<OwnedFd>,
}

impl Capturer {
    /// The second is what others are compared with.
    const ALL: &[Capturer] =
        &[Capturer::Logger, Capturer::Cat, Capturer::Rotatelogs, Capturer::S6Log, Capturer::Multilog, Capturer::Svlogd];

    fn name(self) -> &'static str {
        match self {
            Capturer::Logger => "eggctl logger",
            Capturer::Cat => "cat",
            Capturer::Rotatelogs => "rotatelogs",
            Capturer::S6Log => "s6-log",
            Capturer::Multilog => "multilog",
            Capturer::Svlogd => "svlogd",
        }
    }

    fn is_here(&self) -> bool {
        let name = self.name();
        let found = Command::new("sh").args(["-c", &format!("command -v {name}")]).output().unwrap().status.success();
        let here = matches!(self, Capturer::Logger) || found;
        if !here {
            eprintln!("note: {name} is not installed");
        }
        here
    }

    fn start(self, place: &Path, read: OwnedFd) -> Running {
        let path = |name: &str| place.join(name).display().to_string();
        let words: Vec<String> = match self {
            Capturer::Logger => return logger(place, read),
            Capturer::Cat => vec!["sh".into(), "-c".into(), format!("exec cat > {}", path("out.log"))],
            Capturer::Rotatelogs => vec!["rotatelogs".into(), path("out.%s.log"), format!("{}M", MAX >> 20)],
            Capturer::S6Log => vec!["s6-log".into(), format!("s{MAX}"), "n100".into(), path("s6")],
            Capturer::Multilog => vec!["multilog".into(), "s16777215".into(), "n1000".into(), path("multi")],
            Capturer::Svlogd => {
                fs::create_dir_all(place.join("sv")).unwrap();
                fs::write(place.join("sv/config"), format!("s{MAX}\nn100\n")).unwrap();
                vec!["svlogd".into(), path("sv")]
            }
        };
        let child = Command::new(&words[0]).args(&words[1..]).stdin(Stdio::from(read)).spawn().unwrap();
        Running { pid: child.id(), child: Some(child), channel: None }
    }

    /// MB/s, and CPU seconds per GB.
    fn run(self, place: &Path, write: usize, bytes: usize) -> (f64, f64) {
        let _ = fs::remove_dir_all(place);
        fs::create_dir_all(place).unwrap();
        let (read, end) = match self {
            Capturer::Logger => pipes::large_pipe().unwrap(),
            _ => pipes::pipe().unwrap(),
        };
        let running = self.start(place, read);
        thread::sleep(Duration::from_millis(50));
        let before = cpu_seconds(running.pid);
        let began = Instant::now();
        let mut producer = Command::new(std::env::current_exe().unwrap())
            .args(["produce", &write.to_string(), &bytes.to_string()])
            .stdout(Stdio::from(end.try_clone().unwrap()))
            .spawn()
            .unwrap();
        producer.wait().unwrap();
        while pipes::waiting(&end).unwrap() > 0 {
            thread::sleep(Duration::from_micros(200));
        }
        let took = began.elapsed().as_secs_f64();
        thread::sleep(Duration::from_millis(20));
        let cpu = cpu_seconds(running.pid) - before;
        drop(end);
        running.end();
        let written = size(place);
        assert!(written >= bytes as u64, "{}: {written} of {bytes} bytes", self.name());
        let _ = fs::remove_dir_all(place);
        (bytes as f64 / 1e6 / took, cpu / (bytes as f64 / 1e9))
    }
}

impl Running {
    fn end(self) {
        drop(self.channel);
        match self.child {
            Some(mut child) => drop(child.wait().unwrap()),
            None => {
                while spawn::reap().unwrap().is_none() {
                    thread::sleep(Duration::from_millis(1));
                }
            }
        }
    }
}

/// The logger as a master starts it, with one stream.
fn logger(place: &Path, read: OwnedFd) -> Running {
    let program = Program {
        path: PathBuf::from(env!("CARGO_BIN_EXE_eggctl")),
        arguments: vec!["logger".into()],
        set: Vec::new(),
        unset: Vec::new(),
        directory: PathBuf::from("/"),
    };
    let spawned = spawn::spawn(&program, descriptors::raise_open_files().unwrap(), Output::default()).unwrap();
    let options = LogOptions {
        max_bytes: MAX,
        every: Every::Day,
        keep_files: 1000,
        keep_bytes: 1 << 40,
        keep_age_ms: None,
        compress: false,
        full: Full::Drop,
        per_member: false,
        stdout_by_default: true,
        stderr_by_default: true,
    };
    let tell = |order: Order, descriptor: &OwnedFd| {
        sockets::send(spawned.channel.as_fd(), &[&order.line()], Some(descriptor.as_fd())).unwrap();
    };
    tell(Order::Begin { options, close_grace_ms: 0 }, &Ledger::create().unwrap());
    tell(Order::Stream { number: 0, path: place.join("out.log").into(), set_aside: false }, &read);
    Running { pid: spawned.pid, child: None, channel: Some(spawned.channel) }
}

/// What the scheduler has counted for a process.
fn cpu_seconds(pid: u32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap();
    text.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e9
}

fn size(place: &Path) -> u64 {
    let entries = fs::read_dir(place).unwrap().flatten();
    entries.map(|entry| if entry.path().is_dir() { size(&entry.path()) } else { entry.metadata().unwrap().len() }).sum()
}
