//! Who moves what a program prints into files, and what that costs.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::thread;
use std::time::{Duration, Instant};

use eggctl::logger::ledger::Ledger;
use eggctl::logger::orders::Order;
use eggctl::options::{Every, Full, LogOptions};
use eggctl::sys::reap::{self, Reaped};
use eggctl::sys::spawn::{Endowment, Output, Program};
use eggctl::sys::{pipes, sockets};

/// The length of a line, in bytes.
pub const LINE: usize = 100;
/// The size at which rotating capturers begin a new file: the logger's default.
const MAX: u64 = 100 << 20;

/// Writes `bytes` bytes of lines to stdout, `write` at once; not before somebody opens the FIFO `go`.
pub fn produce(write: usize, bytes: usize, go: Option<&String>) {
    if let Some(go) = go {
        let _ = File::open(go).unwrap().read(&mut [0]);
    }
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

/// One of them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Capturer {
    Logger,
    Cat,
    Rotatelogs,
    S6Log,
    Multilog,
    Svlogd,
    /// Runs the producer itself.
    Supervisord,
    /// The same. It rotates by a plug-in that looks now and then: it does without.
    Pm2,
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
    pub const ALL: &[Capturer] = &[
        Capturer::Logger,
        Capturer::Cat,
        Capturer::Rotatelogs,
        Capturer::S6Log,
        Capturer::Multilog,
        Capturer::Svlogd,
        Capturer::Supervisord,
        Capturer::Pm2,
    ];

    /// Which part of the volume it gets: slow ones would need minutes.
    pub fn share(self) -> usize {
        if matches!(self, Capturer::Logger | Capturer::Cat | Capturer::Rotatelogs) { 1 } else { 8 }
    }

    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Capturer::Logger => "eggctl logger",
            Capturer::Cat => "cat",
            Capturer::Rotatelogs => "rotatelogs",
            Capturer::S6Log => "s6-log",
            Capturer::Multilog => "multilog",
            Capturer::Svlogd => "svlogd",
            Capturer::Supervisord => "supervisord",
            Capturer::Pm2 => "pm2",
        }
    }

    /// Is it installed?
    pub fn is_here(&self) -> bool {
        let here = *self == Capturer::Logger || self.program().is_some();
        if !here {
            eprintln!("note: {} is not installed", self.name());
        }
        here
    }

    fn program(self) -> Option<PathBuf> {
        let peers = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/versus/node_modules/.bin");
        let path = std::env::var_os("PATH").unwrap_or_default();
        let all: Vec<PathBuf> = std::env::split_paths(&path).chain([peers]).collect();
        all.into_iter().map(|directory| directory.join(self.name())).find(|program| program.exists())
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
            Capturer::Supervisord | Capturer::Pm2 => unreachable!("they run the producer themselves"),
        };
        let child = Command::new(&words[0]).args(&words[1..]).stdin(Stdio::from(read)).spawn().unwrap();
        Running { pid: child.id(), child: Some(child), channel: None }
    }

    /// MB/s, and CPU seconds per GB.
    pub fn run(self, place: &Path, write: usize, bytes: usize) -> (f64, f64) {
        let _ = fs::remove_dir_all(place);
        fs::create_dir_all(place).unwrap();
        if matches!(self, Capturer::Supervisord | Capturer::Pm2) {
            let results = self.run_whole(place, write, bytes);
            let _ = fs::remove_dir_all(place);
            return results;
        }
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

    /// The same of one that runs the producer itself.
    fn run_whole(self, place: &Path, write: usize, bytes: usize) -> (f64, f64) {
        let (program, go, logs) = (self.program().unwrap(), place.join("go"), place.join("logs"));
        fs::create_dir_all(&logs).unwrap();
        nix::unistd::mkfifo(&go, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let own = std::env::current_exe().unwrap();
        let words = ["produce".into(), write.to_string(), bytes.to_string(), go.display().to_string()];
        let out = logs.join("out.log");
        let mut running = None;
        let pid: u32 = if self == Capturer::Supervisord {
            let text = format!(
                "[supervisord]\nnodaemon=true\nlogfile={0}/own.log\npidfile={0}/own.pid\n[program:producer]\ncommand={1} {2}\n\
                 startsecs=0\nautorestart=false\nredirect_stderr=true\nstdout_logfile={3}\nstdout_logfile_maxbytes={MAX}\n\
                 stdout_logfile_backups=100\n",
                place.display(),
                own.display(),
                words.join(" "),
                out.display()
            );
            fs::write(place.join("conf"), text).unwrap();
            let mut command = Command::new(program);
            command.args(["-n", "-c"]).arg(place.join("conf")).stdout(Stdio::null()).stderr(Stdio::null());
            running.insert(command.spawn().unwrap()).id()
        } else {
            let home = place.join("pm2");
            let flags =
                ["--name=producer", "--no-autorestart", "--interpreter=none", "--merge-logs", "-e", "/dev/null"];
            let mut command = Command::new(&program);
            command.arg("start").arg(&own).args(flags).arg("-o").arg(&out).arg("--").args(&words);
            assert!(command.env("PM2_HOME", &home).stdout(Stdio::null()).status().unwrap().success());
            fs::read_to_string(home.join("pm2.pid")).unwrap().trim().parse().unwrap()
        };
        // Opens when the producer does.
        let go = File::options().write(true).open(go).unwrap();
        thread::sleep(Duration::from_millis(300));
        let before = cpu_seconds(pid);
        let began = Instant::now();
        drop(go);
        // pm2 loses what it has not read when the program ends: what comes for a second no more is not there.
        let (mut written, mut took) = (0, began.elapsed());
        while written < bytes as u64 && began.elapsed() < took + Duration::from_secs(1) {
            let now = size(&logs);
            if now > written {
                (written, took) = (now, began.elapsed());
            }
            thread::sleep(Duration::from_millis(1));
        }
        if written < bytes as u64 {
            eprintln!("note: {} has lost {} of {bytes} bytes", self.name(), bytes as u64 - written);
        }
        thread::sleep(Duration::from_millis(20));
        let cpu = cpu_seconds(pid) - before;
        match running {
            Some(mut child) => {
                nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid.cast_signed()), nix::sys::signal::SIGTERM)
                    .unwrap();
                child.wait().unwrap();
            }
            None => {
                let mut command = Command::new(self.program().unwrap());
                command.arg("kill").env("PM2_HOME", place.join("pm2")).stdout(Stdio::null()).status().unwrap();
            }
        }
        (written as f64 / 1e6 / took.as_secs_f64(), cpu / (written as f64 / 1e9))
    }
}

impl Running {
    fn end(self) {
        drop(self.channel);
        match self.child {
            Some(mut child) => drop(child.wait().unwrap()),
            None => {
                while !matches!(reap::reap().unwrap(), Reaped::Child(..)) {
                    thread::sleep(Duration::from_millis(1));
                }
            }
        }
    }
}

/// What a master gives its children.
static ENDOWMENT: LazyLock<Endowment> = LazyLock::new(|| Endowment::take().unwrap());

/// The logger as a master starts it, with one stream.
fn logger(place: &Path, read: OwnedFd) -> Running {
    let program = Program {
        path: PathBuf::from(env!("CARGO_BIN_EXE_eggctl")),
        arguments: vec!["logger".into(), ENDOWMENT.channel_flag()],
        inherited: std::env::vars_os().collect(),
        set: Vec::new(),
        unset: Vec::new(),
        directory: PathBuf::from("/"),
        ends_with_us: false,
    };
    let spawned = ENDOWMENT.spawn(&program, Output::default()).unwrap();
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

/// What the scheduler has counted for a process and all its threads.
fn cpu_seconds(pid: u32) -> f64 {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let texts = threads.filter_map(|thread| fs::read_to_string(thread.path().join("schedstat")).ok());
    texts.map(|text| text.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e9).sum()
}

fn size(place: &Path) -> u64 {
    let entries = fs::read_dir(place).unwrap().flatten();
    entries.map(|entry| if entry.path().is_dir() { size(&entry.path()) } else { entry.metadata().unwrap().len() }).sum()
}
