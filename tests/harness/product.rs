//! Commands of the product: typed, running, finished.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::num::NonZero;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::{PATIENCE, eventually, processes};

/// A command as it is typed, not yet run.
pub struct Typed(pub(super) Command);

impl Typed {
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.0.arg(arg);
        self
    }

    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.0.args(args);
        self
    }

    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.0.env(name, value);
        self
    }

    pub fn cwd(mut self, directory: impl AsRef<Path>) -> Self {
        self.0.current_dir(directory);
        self
    }

    /// As the user of this uid and group.
    pub fn user(mut self, uid: u32) -> Self {
        self.0.uid(uid).gid(uid);
        self
    }

    /// Runs it to its end.
    #[track_caller]
    pub fn run(self) -> Outcome {
        self.spawn().finish()
    }

    /// Runs it to its end on a terminal, and returns what the terminal was sent.
    #[track_caller]
    pub fn run_on_terminal(mut self) -> (ExitStatus, String) {
        let terminal = nix::pty::openpty(None, None).unwrap();
        let end = || Stdio::from(terminal.slave.try_clone().unwrap());
        self.0.stdin(end()).stdout(end()).stderr(end());
        let mut child = self.0.spawn().unwrap();
        // This process must hold no end, or the terminal never ends.
        drop(terminal.slave);
        self.0.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut shown = Stream::read(File::from(terminal.master));
        eventually("the end of a command on a terminal", || child.try_wait().unwrap().is_some());
        (child.wait().unwrap(), shown.collect_all("the terminal"))
    }

    /// Starts it on a terminal of this width.
    #[track_caller]
    pub fn spawn_on_terminal(mut self, columns: u16) -> OnTerminal {
        let size = nix::pty::Winsize { ws_row: ROWS, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let terminal = nix::pty::openpty(Some(&size), None).unwrap();
        let end = || Stdio::from(terminal.slave.try_clone().unwrap());
        let child = self.0.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        OnTerminal { child, columns, shown: Stream::read(File::from(terminal.master)) }
    }

    /// Runs it to its end with its stdout into this, of which nothing is read.
    #[track_caller]
    pub fn run_into(self, stdout: Stdio) -> Outcome {
        self.spawn_into(stdout).finish()
    }

    /// Starts it and lets it run.
    #[track_caller]
    pub fn spawn(self) -> Background {
        self.spawn_into(Stdio::piped())
    }

    fn spawn_into(mut self, stdout: Stdio) -> Background {
        let words: Vec<_> = self.0.get_args().map(|arg| arg.to_string_lossy().into_owned()).collect();
        let began = Instant::now();
        let mut child = self.0.stdin(Stdio::null()).stdout(stdout).stderr(Stdio::piped()).spawn().unwrap();
        let stdout = match child.stdout.take() {
            Some(stdout) => Stream::read(stdout),
            None => Stream::read(std::io::empty()),
        };
        let stderr = Stream::read(child.stderr.take().unwrap());
        Background { words: words.join(" "), child: Some(child), began, stdout, stderr }
    }
}

/// The rows of a terminal.
const ROWS: u16 = 24;

/// A command on a terminal. Dropped, it is killed.
pub struct OnTerminal {
    child: Child,
    columns: u16,
    shown: Stream,
}

impl OnTerminal {
    pub fn signal(&self, signal: Signal) {
        processes::signal(self.child.id(), signal);
    }

    /// All that the terminal was sent.
    pub fn sent(&self) -> String {
        self.shown.so_far()
    }

    /// What the terminal shows; a line that it has wrapped is one line, and `wraps` says whether the last one is.
    pub fn screen(&self) -> Screen {
        let mut parser = vt100::Parser::new(NonZero::new(ROWS).unwrap(), NonZero::new(self.columns).unwrap(), 0);
        parser.process(&self.shown.text.lock().unwrap());
        let screen = parser.screen();
        let (row, _) = screen.cursor_position();
        Screen { text: screen.contents(), wraps: row > 0 && screen.row_wrapped(row - 1) }
    }

    /// Waits until the terminal shows `text`.
    #[track_caller]
    pub fn shows(&self, text: &str) -> Screen {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let screen = self.screen();
            if screen.text.contains(text) {
                return screen;
            }
            assert!(Instant::now() < deadline, "the terminal does not show {text:?}:\n{}", self.sent());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits for its end: what the terminal shows then.
    #[track_caller]
    pub fn finish(mut self) -> (ExitStatus, Screen) {
        eventually("the end of a command on a terminal", || self.child.try_wait().unwrap().is_some());
        // The kernel keeps what was written until it is read.
        let status = self.child.wait().unwrap();
        self.shown.collect_all("the terminal");
        (status, self.screen())
    }
}

impl Drop for OnTerminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a terminal shows.
#[derive(Clone, Debug)]
pub struct Screen {
    pub text: String,
    pub wraps: bool,
}

/// What a running command has written so far.
struct Stream {
    text: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl Stream {
    fn read(mut source: impl Read + Send + 'static) -> Stream {
        let text = Arc::new(Mutex::new(Vec::new()));
        let written = Arc::clone(&text);
        let reader = thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(length @ 1..) = source.read(&mut chunk) {
                written.lock().unwrap().extend_from_slice(&chunk[..length]);
            }
        });
        Stream { text, reader: Some(reader) }
    }

    fn so_far(&self) -> String {
        String::from_utf8_lossy(&self.text.lock().unwrap()).into_owned()
    }

    /// Everything, once nobody holds the other end any more: a daemon that kept it would make `$(eggctl start)` hang.
    #[track_caller]
    fn collect_all(&mut self, what: &str) -> String {
        let reader = self.reader.take().unwrap();
        eventually(&format!("the end of {what}: some process still holds it"), || reader.is_finished());
        self.so_far()
    }
}

/// A command that runs. Dropped, it is killed.
pub struct Background {
    words: String,
    child: Option<Child>,
    began: Instant,
    stdout: Stream,
    stderr: Stream,
}

impl Background {
    pub fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    pub fn signal(&self, signal: Signal) {
        processes::signal(self.pid(), signal);
    }

    /// What it has written so far, stdout first.
    pub fn so_far(&self) -> String {
        self.stdout.so_far() + &self.stderr.so_far()
    }

    /// What it has written so far to stdout, and to stderr.
    pub fn both_so_far(&self) -> (String, String) {
        (self.stdout.so_far(), self.stderr.so_far())
    }

    /// Waits until it has written `text`.
    #[track_caller]
    pub fn says(&self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.so_far().contains(text) {
            assert!(Instant::now() < deadline, "`eggctl {}` has not said {text:?}:\n{}", self.words, self.so_far());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Has it ended? (It stays to be collected by [`Background::finish`].)
    pub fn has_ended(&mut self) -> bool {
        self.child.as_mut().unwrap().try_wait().unwrap().is_some()
    }

    /// Waits for its end.
    #[track_caller]
    pub fn finish(mut self) -> Outcome {
        eventually(&format!("the end of `eggctl {}`, which has said:\n{}", self.words, self.so_far()), || {
            self.has_ended()
        });
        let took = self.began.elapsed();
        let status = self.child.take().unwrap().wait().unwrap();
        let stdout = self.stdout.collect_all("stdout");
        let stderr = self.stderr.collect_all("stderr");
        Outcome { words: std::mem::take(&mut self.words), status, stdout, stderr, took }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// How a command ended and what it said.
#[derive(Debug)]
pub struct Outcome {
    pub words: String,
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
    pub took: Duration,
}

impl Outcome {
    /// Everything it said, stdout first.
    pub fn text(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }

    /// Ended with this exit code, and not by a signal.
    #[track_caller]
    pub fn exits(&self, code: i32) -> &Self {
        assert_eq!(self.status.code(), Some(code), "`eggctl {}`: {}\n{}", self.words, self.status, self.text());
        self
    }

    /// Ended by this signal.
    #[track_caller]
    pub fn killed_by(&self, signal: Signal) -> &Self {
        assert_eq!(
            self.status.signal(),
            Some(signal as i32),
            "`eggctl {}`: {}\n{}",
            self.words,
            self.status,
            self.text()
        );
        self
    }

    /// Said these words somewhere, upper or lower case.
    #[track_caller]
    pub fn says(&self, words: &str) -> &Self {
        let (text, words) = (self.text().to_lowercase(), words.to_lowercase());
        assert!(text.contains(&words), "`eggctl {}` does not say {words:?}:\n{}", self.words, self.text());
        self
    }

    /// Did not say these words.
    #[track_caller]
    pub fn does_not_say(&self, words: &str) -> &Self {
        let (text, words) = (self.text().to_lowercase(), words.to_lowercase());
        assert!(!text.contains(&words), "`eggctl {}` says {words:?}:\n{}", self.words, self.text());
        self
    }

    /// Failed as a failure is told: once, `error:` first, on stderr, with nothing like a panic.
    #[track_caller]
    pub fn fails(&self, code: i32) -> &Self {
        self.exits(code);
        let told = self.stderr.lines().filter(|line| line.starts_with("error: ")).count();
        assert_eq!(told, 1, "`eggctl {}` tells its failure {told} times:\n{}", self.words, self.text());
        self.does_not_say("panicked")
    }
}
