//! A test's own home, state, fixtures and logs.

use std::ffi::OsString;
use std::fs;
use std::io::Read;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{self, Command};

use nix::sys::signal::Signal;
use serde_json::Value;

use super::processes::{self, Process};
use super::{NODE, Outcome, Typed, eventually};

/// Everything one test has to itself.
pub struct World {
    root: PathBuf,
    /// In namespaces of its own?
    alone: bool,
    allowed: Vec<String>,
}

impl World {
    pub(super) fn new(root: &Path, alone: bool) -> World {
        World { root: root.to_owned(), alone, allowed: Vec::new() }
    }

    // -- places

    /// The home directory: logs go to `logs/` in it.
    pub fn home(&self) -> PathBuf {
        self.root.join("home")
    }

    /// A directory for what the test itself makes; the fixtures write their events here.
    pub fn work(&self) -> PathBuf {
        self.root.join("work")
    }

    /// The product's state directory.
    pub fn state(&self) -> PathBuf {
        self.root.join("state")
    }

    /// An application in `tests/fixtures`.
    pub fn fixture(&self, name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
    }

    /// A copy of it under [`World::work`], without installed modules, to be changed.
    pub fn copy_of(&self, name: &str) -> PathBuf {
        let target = self.work().join(name);
        copy(&self.fixture(name), &target);
        target
    }

    /// Makes a directory with these files under [`World::work`].
    pub fn directory(&self, name: &str, files: &[(&str, &str)]) -> PathBuf {
        let directory = self.work().join(name);
        fs::create_dir_all(&directory).unwrap();
        for (file, content) in files {
            fs::write(directory.join(file), content).unwrap();
        }
        directory
    }

    /// A copy in this directory of a program in the PATH, with this mode.
    pub fn copy_of_program(&self, program: &str, directory: &Path, mode: u32) -> PathBuf {
        let path = path();
        let mut found = std::env::split_paths(&path).map(|one| one.join(program));
        let found = found.find(|path| path.is_file()).unwrap().canonicalize().unwrap();
        let copy = directory.join(program);
        fs::copy(found, &copy).unwrap();
        fs::set_permissions(&copy, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
        copy
    }

    /// A port that nobody has.
    pub fn port(&self) -> u16 {
        TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
    }

    /// May tests be another user here? A user namespace of a user knows no second one.
    pub fn has_other_users(&self) -> bool {
        let map = fs::read_to_string("/proc/self/uid_map").unwrap();
        let all = map.split_whitespace().nth(2) == Some("4294967295");
        if !(all && nix::unistd::geteuid().is_root()) {
            eprintln!("note: only one user here: the part with another user did not run");
        }
        all && nix::unistd::geteuid().is_root()
    }

    // -- commands

    /// `eggctl args…` with nothing in the environment but this test's own places.
    pub fn eggctl(&self, args: &[&str]) -> Typed {
        self.command(Command::new(env!("CARGO_BIN_EXE_eggctl"))).args(args)
    }

    /// The same, run by another program (`taskset -c 0 eggctl …`).
    pub fn eggctl_under(&self, runner: &[&str], args: &[&str]) -> Typed {
        let mut command = Command::new(runner[0]);
        command.args(&runner[1..]).arg(env!("CARGO_BIN_EXE_eggctl"));
        self.command(command).args(args)
    }

    /// Another program in the same surroundings.
    pub fn program(&self, words: &[&str]) -> Typed {
        self.command(Command::new(words[0])).args(&words[1..])
    }

    fn command(&self, mut command: Command) -> Typed {
        command
            .current_dir(self.work())
            .env_clear()
            .env("PATH", path())
            .env("HOME", self.home())
            .env("MOCK_HOME_DIR", self.home())
            .env("EGGCTL_STATE_DIR", self.state())
            .env("TMPDIR", self.root.join("tmp"))
            .env("FIXTURE_DIR", self.work());
        Typed(command)
    }

    /// `eggctl start --daemon --title=TITLE --port=PORT tests/fixtures/app` with two workers, to be given more.
    pub fn start(&self, title: &str, port: u16) -> Typed {
        let (title, port) = (format!("--title={title}"), format!("--port={port}"));
        self.eggctl(&["start", "--daemon", &title, &port]).env("EGG_WORKERS", "2").arg(self.fixture("app"))
    }

    /// The same without `--daemon`.
    pub fn foreground(&self, title: &str, port: u16) -> Typed {
        let (title, port) = (format!("--title={title}"), format!("--port={port}"));
        self.eggctl(&["start", &title, &port]).env("EGG_WORKERS", "2").arg(self.fixture("app"))
    }

    /// `eggctl stop --title=TITLE`, which must succeed and leave nobody.
    #[track_caller]
    pub fn stop(&self, title: &str) -> Outcome {
        let outcome = self.eggctl(&["stop", &format!("--title={title}")]).run();
        outcome.exits(0);
        outcome
    }

    // -- who is there

    /// Every process that belongs to this test, zombies included.
    pub fn processes(&self) -> Vec<Process> {
        let root = self.root.to_str().unwrap();
        let mine = |process: &Process| {
            let ours = if self.alone { process.pid != 1 } else { process.environment.iter().any(|v| v.contains(root)) };
            ours && process.pid != process::id()
        };
        processes::all().into_iter().filter(mine).collect()
    }

    /// Those that are alive.
    pub fn alive(&self) -> Vec<Process> {
        self.processes().into_iter().filter(|process| process.state != 'Z').collect()
    }

    /// The masters of this title: a whole argument says so. Not a member that has not been exec'ed yet: it still has them all.
    pub fn masters(&self, title: &str) -> Vec<u32> {
        let wanted = format!("--title={title}");
        let is_master =
            |process: &Process| process.args.contains(&wanted) && process.args.iter().any(|arg| arg == "start-cluster");
        let masters: Vec<Process> = self.alive().into_iter().filter(is_master).collect();
        let is_member = |process: &&Process| masters.iter().any(|master| master.pid == process.parent);
        masters.iter().filter(|process| !is_member(process)).map(|process| process.pid).collect()
    }

    /// The one master of this title.
    #[track_caller]
    pub fn master(&self, title: &str) -> u32 {
        let masters = self.masters(title);
        let [master] = masters[..] else { panic!("masters of {title:?}: {masters:?} in {:#?}", self.alive()) };
        master
    }

    /// The workers of this master that are alive, oldest first.
    pub fn workers(&self, master: u32) -> Vec<u32> {
        let mut workers: Vec<_> =
            self.alive().into_iter().filter(|member| member.parent == master && member.is_worker()).collect();
        workers.sort_by_key(|member| member.variable("NODE_UNIQUE_ID").unwrap().parse::<u32>().unwrap_or(0));
        workers.into_iter().map(|member| member.pid).collect()
    }

    /// The agents of this master that are alive.
    pub fn agents(&self, master: u32) -> Vec<u32> {
        let is_agent = |member: &Process| {
            member.parent == master && !member.is_worker() && member.variable("NODE_CHANNEL_FD").is_some()
        };
        self.alive().into_iter().filter(is_agent).map(|member| member.pid).collect()
    }

    /// Fails when anybody of this test is alive, now.
    #[track_caller]
    pub fn nobody_is_left(&self) {
        let left = self.alive();
        assert!(left.is_empty(), "left behind: {left:#?}");
    }

    // -- what the fixtures wrote down

    /// What members noted, in order: objects with `who`, `pid`, `what` and more.
    pub fn events(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.work().join("events")).unwrap_or_default();
        // A line without its end is being written.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Those of this kind.
    pub fn events_of(&self, what: &str) -> Vec<Value> {
        self.events().into_iter().filter(|event| event["what"] == what).collect()
    }

    /// How many members of this role have begun to boot.
    pub fn boots(&self, who: &str) -> usize {
        self.events_of("boot").iter().filter(|event| event["who"] == who).count()
    }

    // -- logs

    pub fn stdout_log(&self) -> PathBuf {
        self.home().join("logs/master-stdout.log")
    }

    pub fn stderr_log(&self) -> PathBuf {
        self.home().join("logs/master-stderr.log")
    }

    /// Both logs, as far as they are written.
    pub fn log(&self) -> String {
        let read = |path: PathBuf| String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned();
        read(self.stdout_log()) + &read(self.stderr_log())
    }

    /// The whole of a stream, in the order of writing: old logs, compressed or not, then the live one.
    pub fn whole_log(&self, live: &Path) -> Vec<u8> {
        let name = live.file_name().unwrap().to_str().unwrap();
        let of_stream = |path: &PathBuf| {
            let file = path.file_name().unwrap().to_str().unwrap();
            file.starts_with(&format!("{name}.")) && !file.ends_with(".tmp")
        };
        let mut old: Vec<PathBuf> = fs::read_dir(live.parent().unwrap())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(of_stream)
            .collect();
        old.sort();
        // A plain file and its compressed one: the plain one counts.
        old.retain(|path| path.extension().is_none_or(|gz| gz != "gz") || !path.with_extension("").exists());
        old.into_iter().chain([live.to_owned()]).flat_map(|path| read_log(&path)).collect()
    }

    /// Waits for these words in either log.
    #[track_caller]
    pub fn log_says(&self, words: &str) {
        eventually(&format!("{words:?} in the log"), || self.log().contains(words));
    }

    /// Lines with these words may be in the logs when the test ends.
    pub fn expect_in_log(&mut self, words: &str) {
        self.allowed.push(words.to_owned());
    }

    /// The notices of a member's death and of the new one may be in the logs when the test ends.
    pub fn expect_a_death(&mut self) {
        for words in ["closed its channel", " died (code: ", ": new member now"] {
            self.expect_in_log(words);
        }
    }

    // -- the end

    /// The end of every test: nobody is left, and no log holds a line that the test did not announce.
    pub(super) fn nothing_is_left(&self) {
        self.nobody_is_left();
        eventually("the last zombie is reaped", || self.processes().is_empty());
        for entry in fs::read_dir(self.home().join("logs"))
            .into_iter()
            .flatten()
            .flatten()
            .filter(|entry| entry.path().is_file())
        {
            let text = String::from_utf8_lossy(&read_log(&entry.path())).into_owned();
            let about_errors = entry.file_name().to_string_lossy().contains("stderr");
            for line in text.lines() {
                let fine = self.allowed.iter().any(|words| line.contains(words.as_str()))
                    || !about_errors && is_ordinary(line);
                assert!(fine, "unexpected line in {}: {line:?}\nof\n{text}", entry.path().display());
            }
        }
    }

    /// Kills whoever is alive: after a failed test nobody stays to disturb the next one without namespaces.
    pub fn end_everything(&self) {
        for process in self.alive() {
            let pid = nix::unistd::Pid::from_raw(i32::try_from(process.pid).unwrap());
            let _ = nix::sys::signal::kill(pid, Signal::SIGKILL);
        }
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    let entries = fs::read_dir(from).unwrap().map(Result::unwrap);
    for entry in entries.filter(|entry| entry.file_name() != "node_modules") {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// The PATH, with the directory of the Node that is asked for before it.
fn path() -> OsString {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::env::var_os(NODE).map(PathBuf::from).into_iter().chain(std::env::split_paths(&path));
    std::env::join_paths(directories).unwrap()
}

/// The bytes of a log, compressed or not; none of one that is not there any more or is half compressed.
pub fn read_log(path: &Path) -> Vec<u8> {
    let bytes = fs::read(path).unwrap_or_default();
    if path.extension().is_some_and(|extension| extension == "tmp") {
        return Vec::new();
    }
    if path.extension().is_none_or(|extension| extension != "gz") {
        return bytes;
    }
    let mut plain = Vec::new();
    flate2::read::MultiGzDecoder::new(&bytes[..]).read_to_end(&mut plain).unwrap();
    plain
}

/// A line that any good run may hold: the master's notices of a start and of a close. All others a test announces.
fn is_ordinary(line: &str) -> bool {
    let Some((_, text)) = line.split_once(" [master] ").filter(|(stamp, _)| stamp.contains(" INFO ")) else {
        return false;
    };
    text.contains(" started") && text.ends_with("ms)")
        || text == "master is killed by signal SIGTERM, closing"
        || text.starts_with("SIG") && text.contains(" from ") && text.contains(", uid ") && !text.contains("ignored")
        || text.starts_with("new worker:") && text.ends_with(" fork (state: none)")
        || text == "new agent_worker starting..."
        || text == "exit with code:0"
}
