//! The logger's loop: orders from the master, bytes in pipes, members that end once the master is no more.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::after::After;
use super::ledger::Ledger;
use super::orders::Order;
use super::shelf::Shelf;
use super::stream::Stream;
use super::tools::Tools;
use crate::ipc::lines::{LONGEST_FRAME, Lines};
use crate::sys::pidfd::Pidfd;
use crate::sys::{clock, descriptors, output, pipes, signals, sockets, spawn};

/// How long a pipe may fill before it is emptied. Longer would throttle the writers of a pipe of 64 KiB, which fills in 0.3 ms;
/// without it each line costs a turn.
const MOMENT: Duration = Duration::from_micros(200);

/// How long nothing is done when the kernel is short of something for an order: the socket stays readable meanwhile.
const SHORT_PAUSE: Duration = Duration::from_millis(20);

const MOST_EVENTS: usize = 64;

/// What became ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Master,
    Stream(u32),
    Member(u32),
}

/// The logger.
struct Logger {
    /// `None` once the master is no more.
    master: Option<OwnedFd>,
    lines: Lines,
    /// Descriptors that came, and whose orders have not; `None` for one that was lost on the way.
    descriptors: VecDeque<Option<OwnedFd>>,
    tools: Option<Tools>,
    streams: BTreeMap<u32, Open>,
    last_stream: u32,
    members: BTreeMap<u32, Pidfd>,
    close_grace_ms: u64,
    after: Option<After>,
    /// The master has asked when everything is written.
    is_asked: bool,
    epoll: Epoll,
}

/// A stream and how its pipe is watched.
struct Open {
    stream: Stream,
    watched: bool,
    ended: bool,
}

/// Runs the logger until nobody is left to print.
#[must_use]
pub fn run() -> ExitCode {
    let logger = spawn::own_channel().and_then(|master| {
        descriptors::mark_inherited_close_on_exec()?;
        // Its own stdout and stderr are pipes that it empties: with them open they would never end.
        let nothing = descriptors::placeholder()?;
        nix::unistd::dup2_stdout(&nothing)?;
        nix::unistd::dup2_stderr(&nothing)?;
        // Whoever ends a whole group or session ends the members, and the logger has to write what they still say.
        signals::ignore_closing_signals()?;
        drop(descriptors::raise_open_files());
        Logger::new(master)
    });
    match logger.and_then(Logger::turn_until_alone) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::complain(format_args!("error: the logger cannot run: {error} (only a master starts it)"));
            ExitCode::FAILURE
        }
    }
}

impl Logger {
    fn new(master: OwnedFd) -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(&master, EpollEvent::new(EpollFlags::EPOLLIN, token(Source::Master)))?;
        Ok(Logger {
            master: Some(master),
            lines: Lines::new(LONGEST_FRAME),
            descriptors: VecDeque::new(),
            tools: None,
            streams: BTreeMap::new(),
            last_stream: 0,
            members: BTreeMap::new(),
            close_grace_ms: 0,
            after: None,
            is_asked: false,
            epoll,
        })
    }

    fn turn_until_alone(mut self) -> io::Result<()> {
        let mut events = [EpollEvent::empty(); MOST_EVENTS];
        loop {
            let count = match self.epoll.wait(&mut events, self.timeout()) {
                Ok(count) => count,
                Err(Errno::EINTR) => 0,
                Err(error) => return Err(error.into()),
            };
            let ready: Vec<(Source, EpollFlags)> =
                events.iter().take(count).filter_map(|event| Some((source(event.data())?, event.events()))).collect();
            self.wait_a_moment(&ready);
            for (source, flags) in ready {
                match source {
                    Source::Master => self.take_orders()?,
                    Source::Stream(number) => self.take(number, flags),
                    Source::Member(pid) => self.forget_member(pid),
                }
            }
            self.confirm();
            if self.take_timeouts() || self.is_over() {
                self.end();
                return Ok(());
            }
        }
    }

    /// Lets pipes fill a little, unless one is worth a turn already or is at its end.
    fn wait_a_moment(&self, ready: &[(Source, EpollFlags)]) {
        let is_small = |(source, flags): &(Source, EpollFlags)| match source {
            Source::Stream(number) => {
                !flags.contains(EpollFlags::EPOLLHUP)
                    && self.streams.get(number).is_some_and(|open| !open.stream.is_worth_a_turn())
            }
            Source::Master | Source::Member(_) => false,
        };
        if !ready.is_empty() && ready.iter().all(is_small) {
            pipes::pause(MOMENT);
        }
    }

    fn timeout(&self) -> EpollTimeout {
        let streams = self.streams.values().filter_map(|open| open.stream.next_timeout());
        let next = streams.chain(self.after.as_ref().map(After::next_timeout)).min();
        next.map_or(EpollTimeout::NONE, |at| {
            // Rounded up: one rounded down would spin through its last millisecond.
            let left = at.saturating_sub(clock::monotonic_ms()).min(60_000);
            EpollTimeout::try_from(left).unwrap_or(EpollTimeout::ZERO)
        })
    }

    /// Does what is due; true when the logger is to go.
    fn take_timeouts(&mut self) -> bool {
        let now_ms = clock::monotonic_ms();
        let numbers: Vec<u32> = self.streams.keys().copied().collect();
        for number in numbers {
            if let (Some(open), Some(tools)) = (self.streams.get_mut(&number), &mut self.tools)
                && open.stream.next_timeout().is_some_and(|at| at <= now_ms)
            {
                open.stream.handle_timeout(tools, now_ms);
                self.watch(number);
            }
        }
        if let Some(after) = &mut self.after {
            if self.members.is_empty() {
                after.alone(now_ms);
            }
            return after.handle_timeout(&self.members, now_ms);
        }
        false
    }

    /// The master is no more, and nobody can print any more.
    fn is_over(&self) -> bool {
        self.after.is_some() && self.members.is_empty() && self.streams.values().all(|open| open.ended)
    }

    fn end(&mut self) {
        let now_ms = clock::monotonic_ms();
        if let Some(tools) = &mut self.tools {
            for open in self.streams.values_mut() {
                open.stream.end(tools, now_ms);
                tools.upkeep.leave(open.stream.path());
            }
        }
    }

    fn take(&mut self, number: u32, flags: EpollFlags) {
        let (Some(open), Some(tools)) = (self.streams.get_mut(&number), &mut self.tools) else { return };
        open.stream.take(tools, clock::monotonic_ms());
        // Without a writer and without a byte there is nothing to come.
        let is_empty = pipes::waiting(open.stream.pipe()).is_ok_and(|waiting| waiting == 0);
        if flags.contains(EpollFlags::EPOLLHUP) && is_empty {
            open.ended = true;
        }
        self.watch(number);
    }

    /// Watches a pipe exactly as long as something may be taken from it.
    fn watch(&mut self, number: u32) {
        let Some(open) = self.streams.get_mut(&number) else { return };
        let wanted = open.stream.is_reading() && !open.ended;
        if wanted == open.watched {
            return;
        }
        let event = EpollEvent::new(EpollFlags::EPOLLIN, token(Source::Stream(number)));
        let changed = match wanted {
            true => self.epoll.add(open.stream.pipe(), event),
            // Not only without EPOLLIN: the end of a pipe is told whatever one waits for.
            false => self.epoll.delete(open.stream.pipe()),
        };
        if changed.is_ok() {
            open.watched = wanted;
        }
    }

    fn take_orders(&mut self) -> io::Result<()> {
        let mut buffer = [0; 4096];
        while let Some(master) = &self.master {
            let mut read: &[u8] = &[];
            match sockets::receive(master.as_fd(), &mut buffer) {
                Ok(received) if received.bytes > 0 => {
                    self.descriptors.extend(received.descriptors.into_iter().map(Some));
                    self.descriptors.extend(received.lost.then_some(None));
                    read = buffer.get(..received.bytes).unwrap_or_default();
                }
                Err(Errno::EAGAIN) => return Ok(()),
                Err(Errno::EINTR) => {}
                // The master lives: to take this for its end would end its members. Soon is early enough for an order.
                Err(errno) if sockets::is_shortage(&errno.into()) => {
                    pipes::pause(SHORT_PAUSE);
                    return Ok(());
                }
                Ok(_) | Err(_) => {
                    self.master = None;
                    self.after = Some(After::begin(self.close_grace_ms, clock::monotonic_ms()));
                }
            }
            let mut lines = std::mem::take(&mut self.lines);
            while let Some(line) = lines.next_line(&mut read) {
                if let Some(order) = line.ok().and_then(|line| serde_json::from_slice::<Order>(line).ok()) {
                    self.obey(order)?;
                }
            }
            self.lines = lines;
        }
        Ok(())
    }

    fn obey(&mut self, order: Order) -> io::Result<()> {
        // One that was lost on the way (no number free for it) leaves the order without effect.
        let descriptor = if order.has_descriptor() { self.descriptors.pop_front().flatten() } else { None };
        match (order, descriptor) {
            (Order::Begin { options, close_grace_ms }, Some(ledger)) => {
                self.close_grace_ms = close_grace_ms;
                self.tools = Some(Tools::new(options, Ledger::open(ledger))?);
            }
            (Order::Stream { number, path, set_aside }, Some(pipe)) => {
                let Some(tools) = &self.tools else { return Ok(()) };
                let mut stream = Stream::new(number, pipe, PathBuf::from(path), &tools.ledger);
                if set_aside {
                    drop(Shelf::of(stream.path()).and_then(|shelf| shelf.begin_anew()));
                }
                // The first logger finds it locked, and is given it by the next order.
                stream.open();
                tools.upkeep.begin(number, stream.path());
                self.streams.insert(number, Open { stream, watched: false, ended: false });
                self.last_stream = number;
                self.watch(number);
            }
            (Order::File, Some(file)) => {
                if let Some(open) = self.streams.get_mut(&self.last_stream) {
                    open.stream.take_file(file);
                }
            }
            (Order::Member { pid }, Some(pidfd)) => {
                let event = EpollEvent::new(EpollFlags::EPOLLIN, token(Source::Member(pid)));
                self.epoll.add(&pidfd, event)?;
                self.members.insert(pid, Pidfd::from(pidfd));
            }
            (Order::Confirm, _) => {
                let now_ms = clock::monotonic_ms();
                for open in self.streams.values_mut() {
                    if let Some(tools) = &mut self.tools {
                        open.stream.take_all(tools, now_ms);
                    }
                }
                self.is_asked = true;
            }
            (Order::Reopen, _) => self.streams.values_mut().for_each(|open| open.stream.reopen()),
            (Order::Begin { .. } | Order::Stream { .. } | Order::File | Order::Member { .. }, None) => {}
        }
        Ok(())
    }

    /// Answers the master, once no file holds anything up.
    fn confirm(&mut self) {
        if self.is_asked && !self.streams.values().any(|open| open.stream.is_held_up()) {
            self.is_asked = false;
            if let Some(master) = &self.master {
                let _ = sockets::send(master.as_fd(), &[b"written\n"], None);
            }
        }
    }

    fn forget_member(&mut self, pid: u32) {
        if let Some(member) = self.members.remove(&pid) {
            // The master holds the same open file: a close alone would leave it watched.
            let _ = self.epoll.delete(&member);
        }
    }
}

const KIND_SHIFT: u32 = 32;

fn token(source: Source) -> u64 {
    let (kind, number) = match source {
        Source::Master => (0, 0),
        Source::Stream(number) => (1, number),
        Source::Member(pid) => (2, pid),
    };
    kind << KIND_SHIFT | u64::from(number)
}

fn source(token: u64) -> Option<Source> {
    let number = u32::try_from(token & u64::from(u32::MAX)).ok()?;
    match token >> KIND_SHIFT {
        0 => Some(Source::Master),
        1 => Some(Source::Stream(number)),
        2 => Some(Source::Member(number)),
        _ => None,
    }
}
