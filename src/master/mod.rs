//! The only event loop: poll, tell the lifecycle what happened, do what it answers.
//!
//! * [`poll`] is epoll; [`channel`] one member's channel; [`members`] the table of the living.
//! * [`perform`] does what the lifecycle wants; [`frames`] takes what members say; [`listeners`] hands connections over.
//! * [`control`] is who asks for a reload or a scale, and [`outcomes`] what they are told.
//! * [`gate`] is where new workers and spares wait until they may serve, [`kept`] what waits for a new agent.
//! * [`home`] is the state directory, made again when it is lost.
//! * [`readiness`] is who serves and who has ceased to; [`announce`] what the master says of it in Egg's words.
//! * [`signals`] is what signals mean, and who sent them; and the children that have ended.
//! * [`logging`] is the pipes that members print into, and the logger.
//! * [`short`] is what there is too little of for now: buffers, memory, descriptors.
//! * [`notices`] is the log, [`words`] and [`places`] what it says, [`start_up`] what stands before the first turn.

mod announce;
mod channel;
mod control;
mod frames;
mod gate;
mod home;
mod kept;
mod listeners;
mod logging;
mod members;
mod notices;
mod operations;
mod outcomes;
mod perform;
mod places;
mod poll;
mod readiness;
mod receipts;
mod short;
mod signals;
mod start_up;
mod words;

use std::collections::{BTreeSet, VecDeque};
use std::os::fd::OwnedFd;
use std::process::ExitCode;

use crate::app::Runtime;
use crate::app::messages::Happening;
use crate::ipc::inbound::RealPort;
use crate::ipc::report::{self, Progress, Report};
use crate::lifecycle::{Action, Death, Event, Lifecycle, MemberId, Phase};
use crate::options::Options;
use crate::shortage::Shortages;
use crate::state::{COOKIE, Directory, Record, TitleLock};
use crate::sys::clock;
use crate::sys::code::Code;
use crate::sys::proc::{self, Reader};
use crate::sys::reap::Ended;
use crate::sys::signals::Signals;
use crate::sys::spawn::Endowment;

use channel::{Channel, Reading};
use control::Control;
use gate::Gate;
use home::Home;
use kept::Kept;
use listeners::{Listeners, Outcome};
use logging::Logging;
use members::Members;
use notices::{Level, Notices, Often};
use poll::{Poll, Source};
use signals::Hangup;
use words::Evidence;

pub use start_up::run;

/// What would have to survive an exec of the master: facts, none of them made by this process image for itself.
struct Carried {
    options: Options,
    /// The options in memory at the number that the environment names: a restart and a reload read there what runs.
    shown: OwnedFd,
    lifecycle: Lifecycle,
    members: Members,
    listeners: Listeners,
    gate: Gate,
    kept: Kept,
    /// The ready channel, as long as the parent holds its end.
    parent: Option<Channel>,
    /// The pipes that everybody prints into; none when stdout and stderr are not ours to keep.
    logging: Option<Logging>,
    /// Held for the master's life, never read.
    lock: TitleLock,
    record: Record,
    /// What every life of a member is told.
    runtime: Runtime,
    /// Hold the ports of `runtime` against strangers.
    _held_ports: Vec<OwnedFd>,
    /// What Egg's workers have told of where they listen.
    real_port: RealPort,
    /// How many agents and workers there have been: their numbers in log lines and in Node's cluster.
    agents: u32,
    workers: u32,
    started_ms: u64,
    hangup: Hangup,
}

/// The master.
struct Master {
    carried: Carried,
    poll: Poll,
    signals: Signals,
    control: Control,
    home: Home,
    notices: Notices,
    /// What there is too little of for now.
    shortages: Shortages,
    directory: Directory,
    endowment: Endowment,
    /// Given up when the close begins, so that /proc can be read even when descriptors are exhausted.
    reserve: Option<OwnedFd>,
    /// Children that this process had before it became the master: none of our business.
    foreign: BTreeSet<u32>,
    /// What went wrong on the way, for the words of a failure.
    seen: Evidence,
    /// What the lifecycle has still to be told in this turn.
    events: VecDeque<Event>,
    /// Set by the lifecycle's last action.
    exit: Option<u8>,
    buffer: Vec<u8>,
    /// When to look for ended children again, after the kernel has refused to say.
    reap_at: Option<u64>,
    /// Since when the kernel has refused to wait.
    blind_since: Option<u64>,
    /// Where this program's code is mapped.
    code: Option<Code>,
    /// Has a member been spawned since the code was last given back?
    has_spawned: bool,
}

/// How much is still read from the channel of a member that has ended: more than the kernel can hold for it, and bounded
/// in case a grandchild has the channel and goes on writing.
const LAST_READS: usize = 64;

impl Master {
    /// Turns until the lifecycle says exit.
    fn turn_until_exit(mut self) -> ExitCode {
        let mut ready = Vec::new();
        self.tell(Event::Begin);
        loop {
            self.flush();
            if let Some(code) = self.exit {
                return self.leave(code);
            }
            let timeout = self.next_timeout().map(|at| at.saturating_sub(clock::monotonic_ms()));
            if timeout.is_none() {
                self.rest();
            }
            match self.poll.wait(timeout, &mut ready) {
                Ok(()) => self.blind_since = None,
                Err(error) => self.look_at_everything(&error, &mut ready),
            }
            for source in ready.drain(..) {
                self.take(source);
            }
            self.take_timeouts();
        }
    }

    /// Nothing is due. What has last been spawned is there, and most of the code that this took is not needed for long.
    fn rest(&mut self) {
        if std::mem::take(&mut self.has_spawned)
            && let Some(code) = self.code
        {
            code.give_back();
        }
    }

    fn take(&mut self, source: Source) {
        match source {
            Source::Signals => self.take_signals(),
            Source::Parent => self.read_parent(),
            // Once: what it says is passed on while it is still in the processor's cache, and the others have their turn.
            Source::Member(member) => self.read_member(member, 1),
            Source::Control => self.take_control_connection(),
            Source::Client(number) => self.take_client(number),
            Source::Directory => self.take_directory_events(),
            Source::Logger => self.hear_logger(),
            Source::Listener(number) => {
                let now = clock::monotonic_ms();
                let Carried { listeners, members, .. } = &mut self.carried;
                let outcome = listeners.dispatch(number, members, &self.poll, now);
                self.note(outcome);
            }
        }
    }

    fn next_timeout(&self) -> Option<u64> {
        let Carried { lifecycle, listeners, logging, .. } = &self.carried;
        let logging = logging.as_ref().and_then(Logging::next_timeout);
        let deadlines = [lifecycle.next_timeout(), listeners.next_timeout(), logging, self.shortages.next_timeout()];
        deadlines.into_iter().chain([self.home.next_timeout(), self.reap_at]).flatten().min()
    }

    fn take_timeouts(&mut self) {
        let now = clock::monotonic_ms();
        if self.carried.lifecycle.next_timeout().is_some_and(|at| at <= now) {
            let mut actions = Vec::new();
            self.carried.lifecycle.handle_timeout(now, &mut actions);
            self.perform_all(actions);
            self.settle();
        }
        if self.carried.listeners.next_timeout().is_some_and(|at| at <= now) {
            let Carried { listeners, members, .. } = &mut self.carried;
            let outcome = listeners.handle_timeout(members, &self.poll, now);
            self.note(outcome);
        }
        self.spawn_logger_when_due(now);
        self.take_shortages(now);
        self.look_at_directory_when_due(now);
        if self.reap_at.take_if(|at| *at <= now).is_some() {
            self.reap();
        }
    }

    /// Tells the lifecycle, and does what it wants, until it wants nothing more.
    fn tell(&mut self, event: Event) {
        self.events.push_back(event);
        self.settle();
    }

    fn settle(&mut self) {
        while let Some(event) = self.events.pop_front() {
            let mut actions = Vec::new();
            self.carried.lifecycle.handle(event, clock::monotonic_ms(), &mut actions);
            self.perform_all(actions);
        }
    }

    fn perform_all(&mut self, actions: Vec<Action>) {
        for action in actions {
            self.perform(action);
        }
    }

    /// A member has ended: what it still had to say comes first, the exit and the end of the channel race.
    fn bury(&mut self, member: MemberId, ended: Ended) {
        self.read_member(member, LAST_READS);
        self.close_channel(member);
        let death = match ended {
            Ended::Code(code) => Death::Code(code),
            Ended::Signal(signal) => Death::Signal(signal),
        };
        // Before the outcome that counts it.
        self.enter_death(member, death);
        let was_running = self.carried.lifecycle.phase() == Phase::Running;
        self.tell(Event::Exited { member, death });
        let dead = self.carried.members.remove(member);
        if let Some(dead) = dead.filter(|_| was_running) {
            self.announce(if dead.is_worker() { Happening::WorkerDied } else { Happening::AgentDied });
        }
        self.report_progress();
    }

    /// Reads a member's channel, at most `reads` times; its end is told to the lifecycle once.
    fn read_member(&mut self, id: MemberId, reads: usize) {
        let mut buffer = std::mem::take(&mut self.buffer);
        for _ in 0..reads {
            let Some(channel) = self.carried.members.channel(id) else { break };
            let reading = channel.read(&mut buffer);
            let mut lines = std::mem::take(&mut channel.lines);
            let mut read = reading.bytes(&buffer);
            while let Some(line) = lines.next_line(&mut read) {
                self.take_line(id, line);
            }
            if let Some(channel) = self.carried.members.channel(id) {
                channel.lines = lines;
            }
            match reading {
                Reading::More(_) => {}
                Reading::All(_) => break,
                Reading::Short(errno) => {
                    self.cannot_read(id, errno);
                    break;
                }
                Reading::End => {
                    self.close_channel(id);
                    self.tell(Event::Disconnected(id));
                    break;
                }
            }
        }
        self.buffer = buffer;
    }

    /// The channel of a member is no more: what it was offered and had not taken goes to others.
    fn close_channel(&mut self, member: MemberId) {
        let Carried { members, listeners, gate, .. } = &mut self.carried;
        if members.get(member).is_some_and(|one| one.channel.is_some()) {
            members.close_channel(member, &self.poll);
            gate.forget(member);
            listeners.forget(member, members, &self.poll, clock::monotonic_ms());
        }
    }

    fn read_parent(&mut self) {
        let Some(channel) = &mut self.carried.parent else { return };
        let mut buffer = std::mem::take(&mut self.buffer);
        // Once, as with members: a parent that talks without end keeps nothing else waiting.
        let reading = channel.read(&mut buffer);
        let mut lines = std::mem::take(&mut channel.lines);
        let mut read = reading.bytes(&buffer);
        while let Some(line) = lines.next_line(&mut read) {
            self.take_parents_line(line);
        }
        self.buffer = buffer;
        match (&mut self.carried.parent, reading) {
            (Some(channel), Reading::More(_) | Reading::All(_)) => channel.lines = lines,
            (Some(channel), Reading::Short(errno)) => {
                channel.lines = lines;
                self.is_short_of(&errno.into(), "receiving from the parent");
            }
            (Some(channel), Reading::End) => {
                self.poll.remove(&*channel);
                self.carried.parent = None;
            }
            (None, _) => {}
        }
    }

    fn flush(&mut self) {
        self.serve_clients();
        self.flush_channels();
    }

    /// Tells an eggctl parent who is ready, as long as it waits.
    fn report_progress(&mut self) {
        if self.carried.lifecycle.phase() == Phase::Starting {
            self.tell_progress();
        }
    }

    fn tell_progress(&mut self) {
        let Carried { lifecycle, members, parent, .. } = &mut self.carried;
        let Some(channel) = parent else { return };
        let ready = |id: MemberId| lifecycle.is_ready(id);
        let progress = Progress {
            agent: members.iter().find(|(_, one)| !one.is_worker()).map(|(_, one)| one.pid),
            ready: members.iter().filter(|(id, one)| one.is_worker() && ready(*id)).map(|(_, one)| one.pid).collect(),
            workers: lifecycle.workers(),
            waiting: members
                .iter()
                .filter(|(id, _)| !ready(*id))
                .map(|(id, _)| words::for_people(id, members))
                .collect(),
        };
        channel.push(report::report(&Report::Progress(progress)));
    }

    fn note(&mut self, outcome: Outcome) {
        let now = clock::monotonic_ms();
        match outcome {
            Outcome::Fine => {}
            Outcome::Refused { place, port, errno } => {
                if errno == nix::errno::Errno::EADDRINUSE {
                    self.seen.taken_port = port;
                }
                let text = format!("a worker cannot listen on {place}: {}", errno.desc());
                self.notices.once_a_minute(Often::UnknownRequest, now, &text);
            }
            Outcome::Clogged(member) => {
                let text = "does not take its clients' connections: those beyond 1024 are closed";
                self.warn(Often::Clogged, member, text);
            }
            Outcome::Exhausted { errno, waiting } => {
                if !self.cannot_accept(errno, waiting) {
                    let text = format!("no connection can be accepted for now: {}", errno.desc());
                    self.notices.once_a_minute(Often::Exhausted, now, &text);
                }
            }
        }
    }

    /// Processes of our tree that are no members: children of ours by adoption.
    fn strays(&self) -> Vec<u32> {
        let ours = std::process::id();
        let cookie = self.carried.options.cookie.as_bytes();
        let mut strays = proc::children(ours).unwrap_or_default();
        let is_known = |pid: u32| self.carried.members.by_pid(pid).is_some() || self.is_logger(pid);
        strays.retain(|pid| !is_known(*pid) && !self.foreign.contains(pid));
        if !self.foreign.is_empty() {
            // Orphans of the foreign children come to us too: only what bears our cookie is ours.
            let mut reader = Reader::default();
            strays.retain(|pid| reader.environment_variable(*pid, COOKIE) == Some(cookie));
        }
        strays
    }

    fn leave(mut self, code: u8) -> ExitCode {
        self.send_last_receipts();
        self.flush();
        let level = if code == 0 { Level::Info } else { Level::Error };
        self.notices.write(level, &format!("exit with code:{code}"));
        self.directory.remove_socket(&self.carried.options.title);
        if let Some(logging) = self.carried.logging.take() {
            logging.leave(&self.endowment);
        }
        self.directory.retire_record(&self.carried.options.title);
        ExitCode::from(code)
    }
}
