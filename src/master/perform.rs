//! Does what the lifecycle wants: spawns, signals, announcements, the log.

use std::ffi::OsStr;
use std::io;

use crate::app;
use crate::app::Runtime;
use crate::app::messages::Happening;
use crate::ipc::outbound;
use crate::ipc::report::{self, Report, Served};
use crate::lifecycle::{Action, Event, MemberId, Notice, Phase, Role, StartFailure};
use crate::options::Options;
use crate::sys::pidfd::Pidfd;
use crate::sys::reap::Ended;
use crate::sys::signals::{SIGKILL, SIGTERM};
use crate::sys::spawn::Output;
use crate::sys::{clock, signals, spawn};

use super::channel::Channel;
use super::members::{Member, Members};
use super::notices::Level;
use super::{Carried, Master, places, words};

impl Master {
    pub(super) fn perform(&mut self, action: Action) {
        match action {
            Action::Spawn { member, role } => self.spawn(member, role),
            Action::AdoptOptions(request) => self.adopt_options(request),
            Action::RestoreOptions => self.restore_options(),
            Action::Answer { request, outcome } => self.answer_request(request, outcome),
            Action::Welcome { member, address } => self.welcome(member, address),
            Action::OpenGate(member) => self.open_gate(member),
            Action::LeaveDispatch(member) => self.carried.listeners.leave_dispatch(member),
            Action::Drain(member) => self.ask_to_leave(member),
            Action::Hasten(member) => self.hasten(member),
            Action::EndChannel(member) => self.close_channel(member),
            Action::Terminate(member) => self.signal(member, SIGTERM),
            Action::Kill(member) => {
                self.enter_kill(member);
                self.signal(member, SIGKILL);
            }
            Action::CloseListeners => self.close_listeners(),
            Action::GiveBack => {
                let Carried { listeners, lifecycle, .. } = &mut self.carried;
                listeners.give_back(&self.poll, |address| lifecycle.keeps(address));
            }
            Action::EndStrays { kill } => self.end_strays(kill),
            Action::AnnounceReady => self.announce_ready(),
            Action::AnnounceFailure(failure) => self.announce_failure(failure),
            Action::AnnounceStopped(signal) => self.announce_stopped(signal),
            Action::Notice(notice) => {
                // What begins here has a receipt of its own.
                if matches!(notice, Notice::Reloading(_) | Notice::Scaling { .. } | Notice::Closing(_)) {
                    self.control.departed.clear();
                }
                self.notice(&notice);
            }
            Action::Exit(code) => self.exit = Some(code),
        }
    }

    /// Spawns a member; the lifecycle is told in the same turn how that went.
    fn spawn(&mut self, id: MemberId, role: Role) {
        self.has_spawned = true;
        let event = match self.try_spawn(id, role) {
            Ok(()) => Event::Spawned(id),
            Err(error) => {
                let node = self.carried.options.node.display();
                let why = format!("cannot run `{node}`: {error}");
                self.notices.write(Level::Warn, &why);
                self.seen.spawn_error = Some(why);
                Event::SpawnFailed { member: id, transient: is_transient(&error) }
            }
        };
        // Before anything else that waits: the lifecycle expects this answer next.
        self.events.push_front(event);
    }

    fn try_spawn(&mut self, id: MemberId, role: Role) -> io::Result<()> {
        let preload = self.preload();
        let Carried { options, members, agents, workers, runtime, logging, .. } = &mut self.carried;
        let count = match role {
            Role::Agent => agents,
            Role::Worker { .. } | Role::Spare { .. } => workers,
        };
        *count += 1;
        let number = *count;
        let inspect_port = inspect_port(options, members, role);
        let runtime = Runtime { inspect_port, ..*runtime };
        let program = app::launch(options, role, number, preload.as_deref(), &runtime);
        let output = logging.as_mut().map_or(Ok(Output::default()), |logging| logging.output_of(role))?;
        let spawned = self.endowment.spawn(&program, output)?;
        let pidfd = Pidfd::open(spawned.pid).inspect_err(|_| spawn::end_unwatched(spawned.pid))?;
        if let Some(logging) = logging {
            logging.tell_member(spawned.pid);
        }
        let channel = Some(Channel::new(spawned.channel));
        let spawned_ms = clock::monotonic_ms();
        let (pid, preload) = (spawned.pid, preload.is_some());
        let member = Member {
            role,
            number,
            pid,
            pidfd,
            preload,
            suicide: false,
            in_flight: None,
            left: None,
            channel,
            spawned_ms,
            inspect_port,
        };
        let line = words::spawned(&member);
        members.add(id, member, &self.poll).inspect_err(|_| spawn::end_unwatched(spawned.pid))?;
        if self.carried.lifecycle.phase() == Phase::Running {
            self.notices.write(Level::Info, &line);
        }
        self.report_progress();
        Ok(())
    }

    /// Without the preload nobody would answer, and TERM comes at once; while the others go on, Node's own request is the way
    /// of such workers: their channel closes with their servers. An agent's servers have the workers for clients, and those
    /// stay: it is only to read what it was sent.
    fn ask_to_leave(&mut self, id: MemberId) {
        let Carried { listeners, members, options, lifecycle, .. } = &mut self.carried;
        let Some((role, preload)) = members.get(id).map(|member| (member.role, member.preload)) else { return };
        let (running, is_agent) = (lifecycle.phase() == Phase::Running, role == Role::Agent);
        let goes_on = running && !is_agent;
        match preload {
            true if running && is_agent => members.push(id, outbound::last()),
            false if goes_on => members.push(id, outbound::disconnect(listeners.next_seq())),
            true if app::leaves_politely(options, role) => members.push(id, outbound::drain(lifecycle.quiet_ms())),
            _ => self.events.push_back(Event::Drained(id)),
        }
        if goes_on {
            self.announce(Happening::WorkerLeaves);
        }
    }

    /// Without the preload there is nothing to hasten: it has its TERM, or no channel.
    fn hasten(&mut self, id: MemberId) {
        let Carried { members, options, lifecycle, .. } = &mut self.carried;
        if options.preload {
            members.push(id, outbound::drain(lifecycle.quiet_ms()));
        }
    }

    pub(super) fn is_logger(&self, pid: u32) -> bool {
        self.carried.logging.as_ref().is_some_and(|logging| logging.is_logger(pid))
    }

    /// The logger has ended, by whatever fault or hand: what is in the pipes is the next one's.
    pub(super) fn replace_logger(&mut self, ended: Ended) {
        let now = clock::monotonic_ms();
        if let Some(logging) = &mut self.carried.logging {
            // Its own faults are signals too (a panic aborts); any other comes from outside, or from the kernel for want of memory.
            let was_killed = matches!(ended, Ended::Signal(signal) if !signals::is_fault(signal));
            logging.logger_ended(was_killed, now);
        }
        let how = match ended {
            Ended::Code(code) => format!("code: {code}"),
            Ended::Signal(signal) => format!("signal: {}", signals::name(signal)),
        };
        self.notices.write(Level::Warn, &format!("the logger died ({how}), a new one takes over"));
        self.spawn_logger_when_due(now);
    }

    /// The logger has said that all is written, or has gone (its death is reaped).
    pub(super) fn hear_logger(&mut self) {
        if self.carried.logging.as_mut().is_some_and(|logging| logging.has_written(&self.poll)) {
            self.say_written();
        }
    }

    /// Spawns a logger if its time has come.
    pub(super) fn spawn_logger_when_due(&mut self, now: u64) {
        let Carried { logging: Some(logging), members, .. } = &mut self.carried else { return };
        if logging.is_due(now) {
            let alive = members.iter().map(|(_, member)| member.pid);
            if let Err(error) = logging.spawn_logger(&self.endowment, Some(&self.poll), alive) {
                self.notices.write(Level::Warn, &format!("no logger can be run for now: {error}"));
            }
        }
    }

    fn signal(&mut self, member: MemberId, signal: i32) {
        if let Some(member) = self.carried.members.get(member) {
            // ESRCH: it ended meanwhile and is about to be reaped.
            drop(member.pidfd.signal(signal));
        }
    }

    fn close_listeners(&mut self) {
        self.reserve = None;
        let Carried { listeners, members, .. } = &mut self.carried;
        listeners.close(members, &self.poll, clock::monotonic_ms());
    }

    fn end_strays(&mut self, kill: bool) {
        let signal = if kill { SIGKILL } else { SIGTERM };
        let strays = self.strays();
        for pid in &strays {
            // A child of ours keeps its number until we reap it.
            if let Ok(pidfd) = Pidfd::open(*pid) {
                drop(pidfd.signal(signal));
            }
        }
        // Those that had ended already sent their SIGCHLD before; with nobody left there is none to come.
        self.events.extend((strays.is_empty() && self.carried.members.iter().next().is_none()).then_some(Event::Alone));
    }

    fn announce_ready(&mut self) {
        let Carried { options, listeners, record, started_ms, real_port, .. } = &mut self.carried;
        let took = clock::monotonic_ms().saturating_sub(*started_ms);
        let address = record.address.clone().unwrap_or_default();
        let place = if address.is_empty() { String::new() } else { format!(" on {address}") };
        let sticky = if options.keeps_clients() { " with STICKY MODE!" } else { "" };
        let what = options.what_starts();
        self.notices.write(Level::Info, &format!("{what} started{place} ({took}ms){sticky}"));
        if let Some(port) = options.debug_port() {
            let host = app::shown_host(options, None);
            self.notices.write(Level::Info, &format!("{what} started on http://{host}:{port}"));
        }
        for socket in listeners.unused() {
            self.notices.write(Level::Warn, &format!("the inherited socket {socket} is used by nobody"));
        }
        record.phase = crate::state::RecordPhase::Running;
        if let Err(failure) = self.directory.write_record(record) {
            self.notices.write(Level::Warn, &format!("the record cannot be written: {failure}"));
        }
        // Who they are comes first: the parent leaves at the word "ready".
        let port = real_port.port.or(options.port);
        let protocol = real_port.protocol.clone().unwrap_or_else(|| "http".to_owned());
        let served = Served { port, debug_port: options.debug_port(), address, protocol };
        self.tell_progress();
        if let Some(channel) = &mut self.carried.parent {
            channel.push(report::egg_ready(served));
        }
        self.announce(Happening::AllReady);
    }

    fn announce_failure(&mut self, failure: StartFailure) {
        let Carried { options, members, parent, .. } = &mut self.carried;
        let failed = words::start_failure(failure, members, options, &self.seen);
        let mut text = format!("{} start failed: {}", options.what_starts(), failed.why);
        if let Some(hint) = &failed.hint {
            text = format!("{text} (hint: {hint})");
        }
        if let StartFailure::Died { member, .. } = failure
            && let Some(member) = members.get(member)
        {
            text = format!("{} start fail, exiting with code:1: {text}", words::in_log(member));
        }
        self.notices.write(Level::Error, &text);
        if let Some(channel) = parent {
            channel.push(report::report(&Report::Failed(failed)));
        }
    }

    fn announce_stopped(&mut self, signal: i32) {
        let signal = signals::name(signal);
        self.notices.write(Level::Info, &format!("stopped by {signal} before everything was ready"));
        if let Some(channel) = &mut self.carried.parent {
            channel.push(report::report(&Report::Stopped { signal }));
        }
    }

    fn notice(&mut self, notice: &Notice) {
        if let Notice::Done(_) = notice {
            let workers = self.carried.lifecycle.workers();
            if self.carried.options.workers != workers {
                self.carried.options.scale(workers);
                self.show_options();
            }
        }
        let Carried { members, options, .. } = &self.carried;
        let about_places = places::notice(notice, &self.carried);
        let (level, text) = about_places.unwrap_or_else(|| words::notice(notice, members, options));
        if let Notice::ListensElsewhere { member, .. } = *notice {
            self.seen.elsewhere.insert(member, text.clone());
        }
        self.notices.write_named(level, words::error_name(notice, members), &text);
        if matches!(notice, Notice::LeftAddress(_)) {
            self.announce(Happening::WorkerLeaves);
        }
    }
}

/// Where the inspector of a new member listens, when all members are to have one: not where a living one does.
fn inspect_port(options: &Options, members: &Members, role: Role) -> Option<u16> {
    let inherited = options.inherited();
    let node_options = inherited.get("NODE_OPTIONS").and_then(OsStr::to_str).unwrap_or_default();
    let base = app::inspector::base(node_options, &options.node_flags)?;
    let is_taken = |port| members.iter().any(|(_, member)| member.inspect_port == Some(port));
    Some(app::inspector::port(base, role, options.workers, is_taken))
}

/// Can this spawn work later? The machine is short of something now; everything else is wrong for good.
fn is_transient(error: &io::Error) -> bool {
    use nix::errno::Errno;
    let transient = [Errno::EAGAIN, Errno::ENOMEM, Errno::EMFILE, Errno::ENFILE, Errno::ETXTBSY];
    error.raw_os_error().is_some_and(|errno| transient.iter().any(|one| *one as i32 == errno))
}
