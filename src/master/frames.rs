//! What members and the parent say: cluster requests go to the listeners, readiness to the lifecycle, messages onwards.

use crate::app;
use crate::ipc::inbound::{self, ClusterFrame, Envelope, Inbound, PreloadWord, QueryServer, Rubbish};
use crate::ipc::lines::TooLong;
use crate::ipc::outbound::{self, Frame};
use crate::ipc::report::{self, Report, Word};
use crate::ipc::shown::shown;
use crate::lifecycle::{CloseCause, Event, MemberId, Patience, ReloadHow, RequestId, Role, Stage};
use crate::messenger::{self, Receiver, Route, Sender};
use crate::sys::clock;
use crate::sys::signals::SIGTERM;

use super::channel::Channel;
use super::listeners::Outcome;
use super::notices::Often;
use super::{Carried, Master, words};

/// What only the master says to the parent: a member that sends it is not believed.
const ONLY_THE_MASTER_SAYS: [&str; 3] = ["egg-ready", "agent-worker-died", "app-worker-died"];

/// How long a worker may take to leave in development.
const DEVELOPERS_DRAIN_MS: u64 = 1_000;

impl Master {
    /// One line from a member.
    pub(super) fn take_line(&mut self, from: MemberId, line: Result<&[u8], TooLong>) {
        let line = match line {
            Ok(line) => line,
            Err(TooLong { bytes }) => {
                return self.warn(Often::TooLong, from, &format!("sent a frame of {bytes} bytes: dropped"));
            }
        };
        let inbound = inbound::read(line);
        let behind = match inbound {
            Inbound::Rubbish(Rubbish::NotJson) => inbound::behind_rubbish(line),
            _ => None,
        };
        self.take_frame(from, &inbound);
        // Once: what is behind that is rubbish again is told already.
        if let Some(inbound) = behind.map(inbound::read).filter(|inbound| !matches!(inbound, Inbound::Rubbish(_))) {
            self.take_frame(from, &inbound);
        }
    }

    fn take_frame(&mut self, from: MemberId, frame: &Inbound<'_>) {
        match frame {
            Inbound::User(envelope) => self.take_message(from, envelope),
            Inbound::Cluster(frame) => self.take_cluster_frame(from, frame),
            Inbound::HandleAck => self.handle_arrived(from),
            Inbound::HandleNack => self.handle_refused(from),
            Inbound::Handle { message } => self.take_handle(from, message.get()),
            Inbound::SentConnections { key, question } => {
                self.carried.members.push(from, outbound::sent_connections(*question, key));
            }
            Inbound::Preload(PreloadWord::Drained) => {
                self.carried.members.set_in_flight(from, 0, 0);
                self.tell(Event::Drained(from));
            }
            Inbound::Preload(PreloadWord::InFlight { requests, connections }) => {
                self.carried.members.set_in_flight(from, *requests, *connections);
            }
            Inbound::Internal => {}
            Inbound::Rubbish(rubbish) => {
                self.warn((*rubbish).into(), from, "sent something that is no message: ignored");
            }
        }
    }

    fn handle_arrived(&mut self, from: MemberId) {
        let Carried { listeners, members, .. } = &mut self.carried;
        if let Some(handle) = members.channel(from).and_then(Channel::acknowledged) {
            listeners.taken(from, &handle);
        }
    }

    /// A handle of a member's own: acknowledged, or its channel would wait for ever; then closed. Its message is one like
    /// any other, as in Egg's master.
    fn take_handle(&mut self, from: MemberId, message: &str) {
        let Some(channel) = self.carried.members.channel(from) else { return };
        let Some(descriptor) = channel.claim() else { return channel.push_acknowledgement(outbound::handle_nack()) };
        channel.push_acknowledgement(outbound::handle_ack());
        drop(descriptor);
        self.warn(Often::Handle, from, "sent a handle, which the master has no use for: closed");
        if let Inbound::User(envelope) = inbound::read(message.as_bytes()) {
            self.take_message(from, &envelope);
        }
    }

    fn take_cluster_frame(&mut self, from: MemberId, frame: &ClusterFrame<'_>) {
        let now = clock::monotonic_ms();
        let Carried { listeners, members, .. } = &mut self.carried;
        match frame {
            ClusterFrame::Online | ClusterFrame::OtherReply => {}
            ClusterFrame::QueryServer(query) => self.take_query(from, query),
            ClusterFrame::Listening(listening) => self.take_listening(from, listening),
            ClusterFrame::Close { key, .. } => self.take_close(from, key),
            ClusterFrame::ExitedAfterDisconnect { seq } => self.take_farewell(from, *seq),
            ClusterFrame::Accepted { ack, accepted } => {
                let outcome = listeners.answered(*ack, *accepted, members, &self.poll, now);
                self.note(outcome);
            }
            ClusterFrame::QueryTooLong { seq } => {
                let errno = nix::errno::Errno::E2BIG as i32;
                members.push(from, outbound::error_reply(listeners.next_seq(), *seq, "", None, errno));
                self.warn(Often::TooLong, from, "asked to listen with an address or data longer than is kept: refused");
            }
            ClusterFrame::Unknown { act, seq } => {
                if let Some(seq) = seq {
                    let errno = nix::errno::Errno::ENOSYS as i32;
                    members.push(from, outbound::error_reply(listeners.next_seq(), *seq, "", None, errno));
                }
                self.warn(Often::UnknownRequest, from, &format!("asked for `{}`, which is not known", shown(act)));
            }
        }
    }

    /// A worker wants to listen. Where the master itself serves the application, its socket must be had first.
    fn take_query(&mut self, from: MemberId, query: &QueryServer<'_>) {
        if self.hold(from, query) {
            return;
        }
        let now = clock::monotonic_ms();
        let Carried { options, real_port, runtime, listeners, members, .. } = &mut self.carried;
        let opened = match runtime.sticky_worker_port {
            Some(port) if i64::from(port) == query.port => {
                listeners.open_sticky(real_port.port.or(options.port), options.workers, &self.poll)
            }
            _ => Ok(()),
        };
        let outcome = match opened {
            Ok(()) => listeners.query(from, query, members, &self.poll, now),
            Err(errno) => {
                let port = real_port.port.or(options.port);
                members.push(from, outbound::error_reply(listeners.next_seq(), query.seq, "", None, errno as i32));
                let place = port.map_or_else(|| "no port".to_owned(), |port| format!("port {port}"));
                Outcome::Refused { place, port, errno }
            }
        };
        self.note(outcome);
    }

    fn take_message(&mut self, from: MemberId, envelope: &Envelope<'_>) {
        let Some(role) = self.carried.members.get(from).map(|one| one.role) else { return };
        let sender = match role {
            Role::Agent => Sender::Agent,
            Role::Worker { .. } | Role::Spare { .. } => Sender::Worker,
        };
        let route = self.route(sender, envelope);
        if messenger::may_be_for_the_master(route, envelope) && self.take_word(from, role, envelope) {
            return;
        }
        let claims = envelope.action.as_deref().is_some_and(|action| ONLY_THE_MASTER_SAYS.contains(&action));
        if route.receiver == Receiver::Parent && claims {
            return self.warn(Often::Forged, from, "sent what only the master says to the parent: dropped");
        }
        if asks_for_a_reload(route, envelope) {
            return self.reload_as_egg_asks();
        }
        if route.receiver == Receiver::Nobody {
            return self.warn(Often::Nobody, from, "sent a message to nobody: dropped");
        }
        self.relay(route, envelope);
    }

    /// A member's word about itself: that it is ready, or where Egg's workers listen. Is it one?
    fn take_word(&mut self, from: MemberId, role: Role, envelope: &Envelope<'_>) -> bool {
        let action = envelope.action.as_deref();
        if app::ready_by_message(&self.carried.options, role, action) {
            // Its own word may come before Node's of the same server; where it listens without asking, that never comes.
            if let Some(listening) = inbound::listens_at(envelope) {
                self.learn_address_it_says(&listening);
            }
            self.ready(from);
            return true;
        }
        let tells_port = action == Some("realport") && role != Role::Agent && self.carried.options.is_egg();
        if tells_port {
            self.carried.real_port = inbound::real_port(envelope);
        }
        tells_port
    }

    /// Egg's own word for it: its development plugin sends it from the agent when a file has changed, and a program that
    /// started the master may send it as the parent. Worker by worker, and in development all together, since a developer
    /// waits and no client is there.
    fn reload_as_egg_asks(&mut self) {
        let how = if self.carried.options.replaces_the_dead() {
            ReloadHow { rolling: true, ..ReloadHow::default() }
        } else {
            let patience = Patience { drain_grace_ms: DEVELOPERS_DRAIN_MS, ..Patience::default() };
            ReloadHow { rolling: true, batch: Some(u32::MAX), agent: false, patience }
        };
        self.tell(Event::Reload { request: RequestId::NOBODY, how });
    }

    /// One line from the parent: a message to the application, or nothing.
    pub(super) fn take_parents_line(&mut self, line: Result<&[u8], TooLong>) {
        let Ok(line) = line else { return };
        let inbound = match inbound::read(line) {
            // A Node parent that sends one waits for this word before it sends anything more.
            Inbound::Handle { message } => {
                let Some(channel) = &mut self.carried.parent else { return };
                let came = channel.claim().is_some();
                channel.push_acknowledgement(if came { outbound::handle_ack() } else { outbound::handle_nack() });
                if !came {
                    return; // It is sent again.
                }
                inbound::read(message.get().as_bytes())
            }
            inbound => inbound,
        };
        if matches!(inbound, Inbound::Internal)
            && let Some(word) = report::read_word(line)
        {
            return self.obey_parent(word);
        }
        if let Inbound::User(envelope) = inbound {
            let route = self.route(Sender::Parent, &envelope);
            if asks_for_a_reload(route, &envelope) {
                return self.reload_as_egg_asks();
            }
            self.relay(route, &envelope);
        }
    }

    fn obey_parent(&mut self, word: Word) {
        match word {
            Word::GiveUp => self.tell(Event::Close(CloseCause::StartGivenUp(SIGTERM))),
            Word::Write => match &mut self.carried.logging {
                Some(logging) => logging.ask_whether_written(),
                None => self.say_written(),
            },
        }
    }

    /// Everything printed before the parent asked is in the log files.
    pub(super) fn say_written(&mut self) {
        if let Some(channel) = &mut self.carried.parent {
            channel.push(report::report(&Report::Written));
        }
    }

    fn route(&self, sender: Sender, envelope: &Envelope<'_>) -> Route {
        let agent = self.carried.members.iter().find(|(_, one)| !one.is_worker() && one.channel.is_some());
        messenger::route(sender, envelope, self.carried.record.pid, agent.map(|(_, one)| one.pid))
    }

    /// Passes a message on, its payload unread, to whom the messenger decided.
    fn relay(&mut self, route: Route, envelope: &Envelope<'_>) {
        let members = &self.carried.members;
        let receivers: Vec<MemberId> = match route.receiver {
            Receiver::Master | Receiver::Nobody => return,
            Receiver::Parent => {
                let frame = outbound::relayed(envelope.text, envelope.bare, route.from, route.to);
                return self.send_to_parent(frame);
            }
            Receiver::Agent if self.agent_is_replaced() => {
                let frame = outbound::relayed(envelope.text, envelope.bare, route.from, route.to);
                if !self.carried.kept.keep(frame) {
                    let text = "a message to the agent is dropped: too many came while it is replaced";
                    self.notices.once_a_minute(Often::QueueFull, clock::monotonic_ms(), text);
                }
                return;
            }
            Receiver::Agent => members.iter().filter(|(_, one)| !one.is_worker()).map(|(id, _)| id).collect(),
            Receiver::Workers => members.iter().filter(|(_, one)| one.is_worker()).map(|(id, _)| id).collect(),
            // Egg 4's worker id is the pid too, as long as workers are processes.
            Receiver::WorkerPid(pid) | Receiver::WorkerId(pid) => {
                members.iter().filter(|(_, one)| one.is_worker() && one.pid == pid).map(|(id, _)| id).collect()
            }
        };
        let frame = outbound::relayed(envelope.text, envelope.bare, route.from, route.to);
        let waits = envelope.action.as_deref().is_some_and(app::messages::waits_for_the_turn);
        for receiver in receivers {
            if !(waits && self.carried.lifecycle.is_held(receiver)) {
                self.send_to(receiver, &frame);
            }
        }
    }

    fn agent_is_replaced(&self) -> bool {
        self.carried.lifecycle.progress().is_some_and(|progress| progress.stage == Stage::Agent)
    }

    pub(super) fn send_to(&mut self, receiver: MemberId, frame: &Frame) {
        let Some(channel) = self.carried.members.channel(receiver) else { return };
        if channel.push_user(frame.clone()).is_err() {
            self.warn(Often::QueueFull, receiver, "does not read its messages: those beyond 64 MiB are dropped");
        }
    }

    /// A warning about a member, once a minute for each kind.
    pub(super) fn warn(&mut self, kind: Often, member: MemberId, text: &str) {
        let now = clock::monotonic_ms();
        if self.notices.keeps_back(kind, now) {
            return;
        }
        let who = self.carried.members.get(member).map_or_else(|| "a member".to_owned(), words::in_log);
        self.notices.once_a_minute(kind, now, &format!("{who} {text}"));
    }
}

/// Is it Egg's word for a reload, for the master?
fn asks_for_a_reload(route: Route, envelope: &Envelope<'_>) -> bool {
    route.receiver == Receiver::Master && envelope.action.as_deref() == Some("reload-worker")
}
