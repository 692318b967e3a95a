//! The master's side of logging: the pipes that members print into, and the logger that empties them into files.
//!
//! The master holds both ends of every pipe: a logger that ends leaves everything in them to the next one, and a member that
//! ends does not end a pipe. Its own stdout and stderr are such ends too.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::stat::{SFlag, fstat};

use crate::lifecycle::Role;
use crate::logger::orders::Order;
use crate::options::{AGENTS_LOG, LogOptions, Options, member_log, spares_log, workers_log};
use crate::state::{self, LogFile};
use crate::sys::pidfd::{self, Pidfd};
use crate::sys::spawn::{self, Endowment, Output};
use crate::sys::{clock, crossing, descriptors, pipes, sockets};

use super::members::Members;
use super::poll::{Interest, Poll, Source};

/// A logger that lived less than this is not replaced at once, in milliseconds.
const SHORT_LIFE_MS: u64 = 100;
/// How long until it is, in milliseconds. After a kill never longer: members stand still as soon as a pipe is full.
const BACK_OFF_MS: u64 = 50;
/// Where no logger can run, the next one is waited for twice as long each time, and at most so long, in milliseconds.
const LONGEST_BACK_OFF_MS: u64 = 5_000;
/// How long the master waits at its end for the logger to write what is left, in milliseconds.
const LAST_WAIT_MS: u64 = 2_000;

/// How often, and how long apart, it is told its last orders where the kernel is short of something.
const LAST_TRIES: u32 = 50;
const LAST_PAUSE: Duration = Duration::from_millis(10);

/// Everything about logging, while there is any.
#[derive(Debug)]
pub struct Logging {
    options: LogOptions,
    close_grace_ms: u64,
    title: String,
    /// The common logs: those of members lie beside them.
    paths: (PathBuf, PathBuf),
    ledger: OwnedFd,
    streams: Vec<Stream>,
    /// The numbers of the streams that the master prints into, and members who have none of their own.
    common: (Option<usize>, Option<usize>),
    /// Those of members' own.
    own: BTreeMap<(String, &'static str), usize>,
    logger: Option<Logger>,
    /// How often, one after the other, none could be spawned or one gave up at its beginning.
    failures: u32,
    respawn_ms: Option<u64>,
    /// The parent waits for the word that everything is written.
    is_asked: bool,
    retell_ms: Option<u64>,
}

/// A pipe and where it is emptied into.
#[derive(Debug)]
struct Stream {
    path: PathBuf,
    read: OwnedFd,
    write: OwnedFd,
    /// The file, open and locked, until a logger has it.
    file: Option<OwnedFd>,
    /// Has a logger been told to set aside what was there before?
    is_begun: bool,
}

/// The logger that lives now.
#[derive(Debug)]
struct Logger {
    pid: u32,
    pidfd: Pidfd,
    channel: OwnedFd,
    spawned_ms: u64,
    /// What it is to be told, in order.
    untold: VecDeque<Untold>,
    /// What is left of an order that is half written.
    rest: Vec<u8>,
}

/// An order that has not been sent. It is made, and its descriptor found, when it is: a descriptor that is kept for it could
/// be the one too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Untold {
    Begin,
    Stream(usize),
    File(usize),
    Member(u32),
    Reopen,
    Confirm,
}

/// More orders than this do not wait: a logger that has hung for so long is told no more members.
const MOST_UNTOLD: usize = 4_096;
/// How soon a logger whose socket is full is told again, in milliseconds.
const RETELL_MS: u64 = 500;

impl Logging {
    /// Puts pipes in the place of stdout and stderr, where those are files. `None` when the options want no logs, or when
    /// neither is a file.
    ///
    /// # Errors
    /// No descriptors.
    pub fn stand(options: &Options, ledger: Option<OwnedFd>) -> io::Result<Option<Self>> {
        let (Some(logs), Some(ledger)) = (&options.logs, ledger) else { return Ok(None) };
        let mut logging = Logging {
            options: logs.clone(),
            close_grace_ms: options.worker_close_grace_ms.max(options.agent_close_grace_ms),
            title: options.title.as_str().to_owned(),
            paths: (options.stdout.clone(), options.stderr.clone()),
            ledger,
            streams: Vec::new(),
            common: (None, None),
            own: BTreeMap::new(),
            logger: None,
            failures: 0,
            respawn_ms: None,
            is_asked: false,
            retell_ms: None,
        };
        let (stdout, stderr) = (file_of(io::stdout())?, file_of(io::stderr())?);
        let shared = stdout.is_some() && stdout == stderr;
        if stdout.is_some() {
            let number = logging.add(options.stdout.clone(), Some(descriptors::duplicate_from(io::stdout(), 0)?))?;
            logging.common.0 = Some(number);
        }
        if shared {
            logging.common.1 = logging.common.0;
        } else if stderr.is_some() {
            let number = logging.add(options.stderr.clone(), Some(descriptors::duplicate_from(io::stderr(), 0)?))?;
            logging.common.1 = Some(number);
        }
        // An end of the master's own never waits.
        if let Some(end) = logging.end_of(logging.common.0, true)? {
            nix::unistd::dup2_stdout(end)?;
        }
        if let Some(end) = logging.end_of(logging.common.1, true)? {
            nix::unistd::dup2_stderr(end)?;
        }
        Ok((!logging.streams.is_empty()).then_some(logging))
    }

    fn add(&mut self, path: PathBuf, file: Option<OwnedFd>) -> io::Result<usize> {
        let (read, write) = pipes::large_pipe()?;
        let is_begun = file.is_some();
        self.streams.push(Stream { path, read, write, file, is_begun });
        Ok(self.streams.len() - 1)
    }

    fn end_of(&self, number: Option<usize>, non_blocking: bool) -> io::Result<Option<OwnedFd>> {
        let stream = number.and_then(|number| self.streams.get(number));
        stream.map(|stream| pipes::another_end(&stream.write, non_blocking)).transpose()
    }

    /// What a member of this role is to print into: ends of pipes that it shares no flags of with anybody.
    ///
    /// # Errors
    /// No descriptors.
    pub fn output_of(&mut self, role: Role) -> io::Result<Output> {
        let (mut stdout, mut stderr) = self.common;
        if self.options.per_member {
            let name = match role {
                Role::Agent => AGENTS_LOG.to_owned(),
                Role::Worker { slot, .. } => workers_log(slot),
                Role::Spare { place, .. } => spares_log(place),
            };
            let (for_stdout, for_stderr) = self.paths.clone();
            stdout = stdout.map(|_| self.own_stream(&name, "stdout", &for_stdout)).transpose()?;
            stderr = stderr.map(|_| self.own_stream(&name, "stderr", &for_stderr)).transpose()?;
        }
        Ok(Output { stdout: self.end_of(stdout, false)?, stderr: self.end_of(stderr, false)? })
    }

    fn own_stream(&mut self, name: &str, which: &'static str, common: &Path) -> io::Result<usize> {
        if let Some(number) = self.own.get(&(name.to_owned(), which)) {
            return Ok(*number);
        }
        let path = member_log(common, name, which);
        let number = self.add(path, None)?;
        self.own.insert((name.to_owned(), which), number);
        self.tell_stream(number);
        Ok(number)
    }

    /// All logs, the common ones first, as `eggctl logs` wants to know them.
    #[must_use]
    pub fn files(&self) -> Vec<LogFile> {
        let of = |stream, common: &PathBuf, which| {
            let own = self.own.iter().filter(move |((_, own), _)| *own == which);
            let own = own.filter_map(|(_, number)| self.streams.get(*number)).map(|one| one.path.clone());
            [common.clone()].into_iter().chain(own).map(move |path| LogFile { stream, path })
        };
        let (stdout, stderr) = &self.paths;
        let stdouts = of(state::Stream::Stdout, stdout, "stdout");
        stdouts.chain(of(state::Stream::Stderr, stderr, "stderr")).collect()
    }

    /// Spawns a logger and tells it everything; `members` are the pids of those that live. `poll` watches for its answers.
    ///
    /// # Errors
    /// The kernel's, of the fork or of the exec.
    pub fn spawn_logger(
        &mut self,
        endowment: &Endowment,
        poll: Option<&Poll>,
        members: impl Iterator<Item = u32>,
    ) -> io::Result<()> {
        self.respawn_ms = None;
        let arguments = ["logger".into(), format!("--title={}", self.title).into()];
        let mut unset = vec!["NODE_CHANNEL_FD"];
        unset.extend(crossing::MASTERS_OWN);
        let spawned_ms = clock::monotonic_ms();
        let spawned = endowment.spawn_own_program(&arguments, &unset).inspect_err(|_| self.back_off(spawned_ms))?;
        let pidfd = Pidfd::open(spawned.pid).inspect_err(|_| {
            spawn::end_unwatched(spawned.pid);
            self.back_off(spawned_ms);
        })?;
        // Unwatched it works as well: only the parent's question then has no answer.
        poll.map(|poll| poll.add(&spawned.channel, Source::Logger, Interest::Read));
        let (untold, rest) = (VecDeque::from([Untold::Begin]), Vec::new());
        self.logger = Some(Logger { pid: spawned.pid, pidfd, channel: spawned.channel, spawned_ms, untold, rest });
        for number in 0..self.streams.len() {
            self.tell_stream(number);
        }
        members.for_each(|pid| self.tell(Untold::Member(pid)));
        if self.is_asked {
            self.tell(Untold::Confirm);
        }
        Ok(())
    }

    /// The parent wants to know when everything that has been printed is in the files.
    pub fn ask_whether_written(&mut self) {
        self.is_asked = true;
        self.tell(Untold::Confirm);
    }

    /// Reads what the logger has answered: is everything written that somebody asked for?
    pub fn has_written(&mut self, poll: &Poll) -> bool {
        let Some(logger) = &self.logger else { return false };
        let mut answer = [0; 64];
        match sockets::receive(logger.channel.as_fd(), &mut answer) {
            Ok(received) if received.bytes > 0 => std::mem::take(&mut self.is_asked),
            Err(Errno::EAGAIN | Errno::EINTR) => false,
            // It has gone, and its successor is asked again.
            Ok(_) | Err(_) => {
                poll.remove(&logger.channel);
                false
            }
        }
    }

    /// A member has been spawned. (That it has ended the logger sees by itself.)
    pub fn tell_member(&mut self, pid: u32) {
        self.tell(Untold::Member(pid));
    }

    /// Another program has renamed the files.
    pub fn reopen(&mut self) {
        self.tell(Untold::Reopen);
    }

    fn tell_stream(&mut self, number: usize) {
        self.tell(Untold::Stream(number));
        if self.streams.get(number).is_some_and(|stream| stream.file.is_some()) {
            self.tell(Untold::File(number));
        }
    }

    fn tell(&mut self, untold: Untold) {
        if let Some(logger) = self.logger.as_mut().filter(|logger| logger.untold.len() < MOST_UNTOLD) {
            logger.untold.push_back(untold);
        }
    }

    /// Sends the orders that wait, as many as the logger's socket takes; what the kernel was short of, if it was.
    pub fn tell_what_is_untold(&mut self, members: &Members) -> Option<Errno> {
        self.retell_ms = None;
        while let Some(logger) = &mut self.logger {
            let told = match (logger.rest.is_empty(), logger.untold.front().copied()) {
                (false, _) => sockets::send(logger.channel.as_fd(), &[&logger.rest], None)
                    .map(|written| drop(logger.rest.drain(..written))),
                (true, Some(untold)) => self.send(untold, members),
                (true, None) => return None,
            };
            match told {
                Ok(()) | Err(Errno::EINTR) => {}
                Err(errno) if sockets::is_shortage(&errno.into()) => return Some(errno),
                // It hangs, on a dead disk perhaps.
                Err(Errno::EAGAIN) => {
                    self.retell_ms = Some(clock::monotonic_ms() + RETELL_MS);
                    return None;
                }
                // It has ended, and its successor is told everything.
                Err(_) => return None,
            }
        }
        None
    }

    /// Sends the first of the orders that wait.
    fn send(&mut self, untold: Untold, members: &Members) -> Result<(), Errno> {
        let streams = &self.streams;
        let (order, descriptor) = match untold {
            Untold::Begin => {
                let begin = Order::Begin { options: self.options.clone(), close_grace_ms: self.close_grace_ms };
                (Some(begin), Some(self.ledger.as_fd()))
            }
            Untold::Stream(number) => {
                let stream = streams.get(number);
                let order = |stream: &Stream| Order::Stream {
                    number: u32::try_from(number).unwrap_or(u32::MAX),
                    path: stream.path.clone().into(),
                    set_aside: !stream.is_begun,
                };
                (stream.map(order), stream.map(|stream| stream.read.as_fd()))
            }
            Untold::File(number) => {
                let file = streams.get(number).and_then(|stream| stream.file.as_ref());
                (file.map(|_| Order::File), file.map(AsFd::as_fd))
            }
            // One that has ended meanwhile prints no more.
            Untold::Member(pid) => {
                let member = members.by_pid(pid).and_then(|id| members.get(id));
                (member.map(|_| Order::Member { pid }), member.map(|member| member.pidfd.as_fd()))
            }
            Untold::Reopen => (Some(Order::Reopen), None),
            Untold::Confirm => (Some(Order::Confirm), None),
        };
        let Some(logger) = &mut self.logger else { return Ok(()) };
        if let Some(order) = order {
            let line = order.line();
            let written = sockets::send(logger.channel.as_fd(), &[&line], descriptor)?;
            logger.rest = line.get(written..).unwrap_or_default().to_vec();
        }
        logger.untold.pop_front();
        match untold {
            Untold::Stream(number) => self.streams.get_mut(number).map(|stream| stream.is_begun = true),
            Untold::File(number) => self.streams.get_mut(number).map(|stream| stream.file = None),
            Untold::Begin | Untold::Member(_) | Untold::Reopen | Untold::Confirm => None,
        };
        Ok(())
    }

    /// Is this the logger?
    #[must_use]
    pub fn is_logger(&self, pid: u32) -> bool {
        self.logger.as_ref().is_some_and(|logger| logger.pid == pid)
    }

    /// The logger has ended, killed or by itself: when is the next one to be spawned?
    pub fn logger_ended(&mut self, was_killed: bool, now_ms: u64) {
        let Some(dead) = self.logger.take() else { return };
        if now_ms >= dead.spawned_ms + SHORT_LIFE_MS {
            self.failures = 0;
            self.respawn_ms = Some(now_ms);
        } else if was_killed {
            self.respawn_ms = Some(now_ms + BACK_OFF_MS);
        } else {
            self.back_off(now_ms);
        }
    }

    fn back_off(&mut self, now_ms: u64) {
        let length = BACK_OFF_MS << self.failures.min(10);
        self.failures += 1;
        self.respawn_ms = Some(now_ms + length.min(LONGEST_BACK_OFF_MS));
    }

    /// When the next logger is to be spawned, or this one told again what its socket did not take.
    #[must_use]
    pub fn next_timeout(&self) -> Option<u64> {
        self.respawn_ms.into_iter().chain(self.retell_ms).min()
    }

    /// Is the next logger to be spawned now?
    #[must_use]
    pub fn is_due(&self, now_ms: u64) -> bool {
        self.respawn_ms.is_some_and(|at| at <= now_ms)
    }

    /// The master ends and nobody prints any more: the logger writes what is left and ends too. One that has just died has a
    /// successor for that, since what is in the pipes ends with the master.
    pub fn leave(mut self, endowment: &Endowment) {
        if self.logger.as_ref().is_none_or(|logger| logger.pidfd.has_ended()) {
            drop(self.spawn_logger(endowment, None, std::iter::empty()));
        }
        // What it has not been told it would not write: for a moment it may be had for the asking.
        for _try in 0..LAST_TRIES {
            if self.tell_what_is_untold(&Members::default()).is_none() {
                break;
            }
            pipes::pause(LAST_PAUSE);
        }
        let Ok(nothing) = descriptors::placeholder() else { return };
        let _ = nix::unistd::dup2_stdout(&nothing);
        let _ = nix::unistd::dup2_stderr(&nothing);
        drop(self.streams);
        if let Some(Logger { pidfd, channel, .. }) = self.logger {
            drop(channel);
            drop(pidfd::wait_all([&pidfd], clock::monotonic_ms() + LAST_WAIT_MS));
        }
    }
}

/// Device and inode of a stream that is a regular file.
fn file_of(stream: impl AsFd) -> io::Result<Option<(u64, u64)>> {
    let stat = fstat(stream)?;
    let is_file = SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFREG;
    Ok(is_file.then_some((stat.st_dev, stat.st_ino)))
}
