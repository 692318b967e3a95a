//! The parent's wait for the detached master: its channel, its end, its stderr at whole seconds and when it is ready, the
//! deadline, signals.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::ipc::lines::{LONGEST_FRAME, Lines};
use crate::ipc::report::{self, Failed, FromMaster, Progress, Report, Word};
use crate::options::Options;
use crate::sys::reap::Ended;
use crate::sys::signals::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, Signals};
use crate::sys::sockets;

use super::super::progress::Progress as Shown;
use super::log_files::LogFiles;
use super::tree::Tree;
use super::verdict::{Verdict, When};

/// How long the master is waited for beyond the boot timeout: it has the same one, and can say who is not ready and why.
const MASTERS_TURN: Duration = Duration::from_millis(500);
/// How long the end of what has printed to stderr is waited for. Egg prints an error first and closes politely then.
const TRUE_END: Duration = Duration::from_secs(1);
/// How long the logger may take to write what was printed before everything was ready.
const LAST_WRITES: Duration = Duration::from_secs(1);

/// Everything is up.
#[derive(Debug)]
pub struct Ready {
    /// Where.
    pub address: String,
    /// Who.
    pub who: Progress,
    /// The master's pid.
    pub master: u32,
    /// How long it took.
    pub took: Duration,
    /// What Node has said on stderr meanwhile, of its own accord.
    pub warnings: Vec<String>,
}

/// How the wait ended.
#[derive(Debug)]
pub enum Ending {
    /// Everything is ready.
    Ready(Ready),
    /// The master says why it failed.
    Failed(Failed),
    /// Somebody stopped it with this signal.
    Stopped(String),
    /// The master ended without a word.
    Died(Ended),
    /// Something is on stderr before everything is ready.
    Stderr,
    /// Not ready in time; who was ready by then.
    Deadline(Progress),
    /// A signal to this process.
    Cancelled(i32),
    /// This process could not wait any longer (no descriptors, no memory).
    NotWaited(String),
    /// The daemon could not become the master.
    NotDetached(String),
}

/// What the wait knows so far.
struct Waiting<'a> {
    options: &'a Options,
    logs: &'a LogFiles,
    channel: Option<OwnedFd>,
    lines: Lines,
    progress: Progress,
    signals: Signals,
    tree: &'a mut Tree,
    started: Instant,
    /// The master has answered [`Word::Write`].
    is_written: bool,
}

/// Waits until the start has ended one way or the other. What it leaves running is the caller's to end.
///
/// # Errors
/// The kernel's.
pub fn wait(options: &Options, logs: &LogFiles, channel: OwnedFd, tree: &mut Tree) -> anyhow::Result<Ending> {
    let caught: Vec<i32> = [SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGCHLD]
        .into_iter()
        .filter(|signal| *signal != SIGHUP || !crate::sys::signals::is_ignored(SIGHUP))
        .collect();
    let mut waiting = Waiting {
        options,
        logs,
        channel: Some(channel),
        lines: Lines::new(LONGEST_FRAME),
        progress: Progress { workers: options.workers, ..Progress::default() },
        signals: Signals::catch(&caught)?,
        tree,
        started: Instant::now(),
        is_written: false,
    };
    let shown = Shown::of_start(&options.name);
    let ending = waiting.until_it_ends(&shown);
    drop(shown);
    match ending? {
        Ending::Ready(ready) => waiting.judge(ready),
        ending => Ok(ending),
    }
}

impl Waiting<'_> {
    fn until_it_ends(&mut self, shown: &Shown) -> anyhow::Result<Ending> {
        let deadline = Duration::from_millis(self.options.timeout_ms) + MASTERS_TURN;
        let mut seconds: u32 = 0;
        loop {
            shown.stage(stage(&self.progress));
            let next_second = Duration::from_secs(u64::from(seconds) + 1);
            self.sleep_until(next_second.min(deadline))?;
            if let Some(ending) = self.read_channel() {
                return Ok(ending);
            }
            if let Some(ending) = self.take_signals()? {
                return Ok(ending);
            }
            let waited = self.started.elapsed();
            if waited >= next_second {
                seconds += 1;
                if self.stderr(When::Waiting)? == Verdict::Fails {
                    return self.true_end();
                }
            }
            if waited >= deadline {
                return Ok(Ending::Deadline(std::mem::take(&mut self.progress)));
            }
        }
    }

    /// The start has failed by what is on stderr. Whoever printed it may be about to end, and that tells more.
    fn true_end(&mut self) -> anyhow::Result<Ending> {
        let until = self.started.elapsed() + TRUE_END;
        while self.started.elapsed() < until {
            self.sleep_until(until)?;
            let word = match self.read_channel() {
                Some(word) => Some(word),
                None => self.take_signals()?,
            };
            match word {
                Some(Ending::Ready(_)) => break,
                Some(ending) => return Ok(ending),
                None => {}
            }
        }
        Ok(Ending::Stderr)
    }

    /// Everything is ready. When all that was printed until now is in the files, they can be judged, and whoever reads them
    /// after this command misses nothing.
    fn judge(&mut self, mut ready: Ready) -> anyhow::Result<Ending> {
        if let Some(channel) = &self.channel {
            // One that hears nothing does not answer.
            let _ = sockets::send(channel.as_fd(), &[&report::word(Word::Write)], None);
        }
        let until = self.started.elapsed() + LAST_WRITES;
        while !self.is_written && self.channel.is_some() && self.started.elapsed() < until {
            self.sleep_until(until)?;
            let word = match self.read_channel() {
                Some(word) => Some(word),
                None => self.take_signals()?,
            };
            if let Some(ending) = word {
                return Ok(ending);
            }
        }
        match self.stderr(When::Ready)? {
            Verdict::Fails => Ok(Ending::Stderr),
            Verdict::Fine(warnings) => {
                ready.warnings = warnings;
                Ok(Ending::Ready(ready))
            }
        }
    }

    /// Sleeps until something happens, or until so long after the start.
    fn sleep_until(&self, at: Duration) -> io::Result<()> {
        let mut polled = vec![PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        polled.extend(self.channel.as_ref().map(|channel| PollFd::new(channel.as_fd(), PollFlags::POLLIN)));
        let left = at.saturating_sub(self.started.elapsed());
        // Rounded up: a timeout rounded down would spin through its last millisecond.
        let timeout = PollTimeout::try_from(left.as_millis() + 1).unwrap_or(PollTimeout::MAX);
        match poll(&mut polled, timeout) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn read_channel(&mut self) -> Option<Ending> {
        let mut buffer = [0; 4096];
        loop {
            let channel = self.channel.as_ref()?;
            let mut read = match sockets::receive(channel.as_fd(), &mut buffer) {
                Ok(received) if received.bytes > 0 => buffer.get(..received.bytes)?,
                Err(Errno::EAGAIN) => return None,
                Err(Errno::EINTR) => continue,
                // The end of the channel is no end of the master: its exit tells more.
                Ok(_) | Err(_) => {
                    self.channel = None;
                    return self.unseen_end();
                }
            };
            let mut lines = std::mem::take(&mut self.lines);
            let mut ending = None;
            while let Some(line) = lines.next_line(&mut read) {
                let word = line.ok().and_then(|line| self.take_word(report::read(line)));
                ending = ending.or(word);
            }
            self.lines = lines;
            if ending.is_some() {
                return ending;
            }
        }
    }

    /// Who ended before signals were caught here, or was waited for by `daemonize`, is told by no SIGCHLD: the end of the
    /// channel is all that is seen of it.
    fn unseen_end(&mut self) -> Option<Ending> {
        self.tree.reap();
        match self.tree.masters_end() {
            Some(ended) => Some(Ending::Died(ended)),
            None if self.tree.is_empty() => Some(Ending::NotDetached("it ended before it was the master".to_owned())),
            None => None,
        }
    }

    fn take_word(&mut self, word: FromMaster) -> Option<Ending> {
        match word {
            FromMaster::Ready { address } => Some(Ending::Ready(Ready {
                address,
                who: std::mem::take(&mut self.progress),
                master: self.tree.master().unwrap_or(0),
                took: self.started.elapsed(),
                warnings: Vec::new(),
            })),
            FromMaster::Report(Report::Written) => {
                self.is_written = true;
                None
            }
            FromMaster::Report(Report::Detached { pid }) => {
                self.tree.set_master(pid);
                None
            }
            FromMaster::Report(Report::Progress(progress)) => {
                self.progress = progress;
                None
            }
            FromMaster::Report(Report::NotDetached { why }) => Some(Ending::NotDetached(why)),
            FromMaster::Report(Report::Failed(failed)) => Some(Ending::Failed(failed)),
            FromMaster::Report(Report::Stopped { signal }) => Some(Ending::Stopped(signal)),
            FromMaster::Other => None,
        }
    }

    fn take_signals(&mut self) -> io::Result<Option<Ending>> {
        for arrived in self.signals.take() {
            if arrived.signal != SIGCHLD {
                return Ok(Some(Ending::Cancelled(arrived.signal)));
            }
            self.tree.reap();
            if let Some(ended) = self.tree.masters_end() {
                // Its last words may still be in the channel.
                return Ok(Some(self.read_channel().unwrap_or(Ending::Died(ended))));
            }
        }
        Ok(None)
    }

    fn stderr(&self, when: When) -> io::Result<Verdict> {
        if self.options.ignore_stderr { Ok(Verdict::Fine(Vec::new())) } else { self.logs.judge_stderr(when) }
    }
}

/// `agent ready, workers 1/2`.
fn stage(progress: &Progress) -> String {
    let agent = match progress.agent {
        Some(pid) if progress.waiting.iter().any(|who| who == &format!("agent (pid {pid})")) => "agent …, ",
        Some(_) => "agent ready, ",
        None => "",
    };
    format!("{agent}workers {}/{}", progress.ready.len(), progress.workers)
}
