//! Who is alive, read from /proc: independent of what the product says.

use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A process as /proc shows it.
#[derive(Clone, Debug)]
pub struct Process {
    pub pid: u32,
    pub parent: u32,
    /// `R`, `S`, `Z` …
    pub state: char,
    pub args: Vec<String>,
    /// The environment it was started with.
    pub environment: Vec<String>,
}

impl Process {
    /// Reads one process; `None` when there is none.
    pub fn read(pid: u32) -> Option<Process> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name in parentheses may itself hold `) `: the fields begin after the last one.
        let mut fields = stat[stat.rfind(')')? + 2..].split(' ');
        let state = fields.next()?.chars().next()?;
        let parent = fields.next()?.parse().ok()?;
        let list = |file: &str| {
            let bytes = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
            let text = String::from_utf8_lossy(&bytes).into_owned();
            text.split_terminator('\0').map(str::to_owned).collect::<Vec<_>>()
        };
        Some(Process { pid, parent, state, args: list("cmdline"), environment: list("environ") })
    }

    /// The value of a variable in the environment it was started with.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.environment.iter().find_map(|entry| entry.strip_prefix(name)?.strip_prefix('='))
    }

    /// Is this a cluster worker, as Node itself would tell?
    pub fn is_worker(&self) -> bool {
        self.variable("NODE_UNIQUE_ID").is_some()
    }
}

/// Every process in sight, zombies included.
pub fn all() -> Vec<Process> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| Process::read(entry.file_name().to_str()?.parse().ok()?)).collect()
}

/// Is it there and no zombie?
pub fn alive(pid: u32) -> bool {
    Process::read(pid).is_some_and(|process| process.state != 'Z')
}

/// How many sockets a process has open.
pub fn sockets(pid: u32) -> usize {
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    let is_socket = |link: std::path::PathBuf| link.to_string_lossy().starts_with("socket:");
    open.filter(|entry| std::fs::read_link(entry.path()).is_ok_and(is_socket)).count()
}

/// Sends a signal; fails when there is nobody.
#[track_caller]
pub fn signal(pid: u32, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(pid).unwrap()), signal)
        .unwrap_or_else(|error| panic!("{signal} to {pid}: {error}"));
}

/// The same by number, which may be a real-time signal's: nix has no name for those.
#[track_caller]
pub fn signal_number(pid: u32, signal: i32) {
    let (signal, pid) = (signal.to_string(), pid.to_string());
    let mut kill = std::process::Command::new("sh");
    kill.args(["-c", "kill -$0 $1", &signal, &pid]);
    assert!(kill.status().unwrap().success(), "signal {signal} to {pid}");
}
