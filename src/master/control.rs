//! The master's side of the control socket: who has asked for what, and what they are told.
//!
//! Nothing is decided here: a request becomes an event of the lifecycle, and what comes of it an answer.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::net::{UnixListener, UnixStream};

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};

use crate::control::server::{Client, Heard};
use crate::control::{Answer, Progress, Receipt, Refusal, Reload, Request, Scale, Until};
use crate::error::Exit;
use crate::lifecycle::{Asked, Event, Outcome, Patience, Phase, ReloadHow, RequestId, Standing, Wanted};
use crate::options::Options;
use crate::state::Directory;
use crate::sys::{clock, descriptors};

use super::notices::{Level, Often};
use super::poll::{Interest, Poll, Source};
use super::{Carried, Master, outcomes};

/// More clients of one kind (silent, waiting, with an operation) have no business at once. The longest silent one is let go
/// for a new one; the others are told.
const MOST_OF_A_KIND: usize = 16;

/// The socket and its clients.
#[derive(Debug, Default)]
pub struct Control {
    listener: Option<UnixListener>,
    clients: BTreeMap<u32, Waiting>,
    /// The number of the newest client; [`RequestId::NOBODY`] is none.
    last: u32,
    /// The options of the members before the reload that is under way: they come back if it fails.
    before: Option<Box<Options>>,
    /// Members that have left, and been killed, since the operation began.
    left: u32,
    killed: u32,
}

#[derive(Debug)]
struct Waiting {
    client: Client,
    wants: Wants,
    /// What it has asked for.
    kind: Kind,
    /// The last news that it was told.
    heard: Option<Progress>,
    since_ms: u64,
    watched: Interest,
}

/// What a client has asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Nothing yet.
    Silent,
    /// To be told when something is so.
    Wait,
    Reload,
    Scale,
}

impl Kind {
    fn of(request: &Request) -> Kind {
        match request {
            Request::Reload(_) => Kind::Reload,
            Request::Scale(_) => Kind::Scale,
            Request::Wait(_) => Kind::Wait,
        }
    }

    /// Operations are bounded together, apart from the others: who only waits keeps none from being begun.
    fn is_bounded_with(self, other: Kind) -> bool {
        let is_operation = |kind| matches!(kind, Kind::Reload | Kind::Scale);
        self == other || is_operation(self) && is_operation(other)
    }
}

/// What a client waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wants {
    /// It has not asked yet, or has been answered.
    Nothing,
    /// The outcome of an operation.
    Outcome,
    /// Everybody to be ready.
    Ready,
    /// The next reload to begin: it is joined then.
    NextReload,
}

impl Control {
    /// Opens the title's socket.
    ///
    /// # Errors
    /// When it cannot be made or watched.
    pub fn open(directory: &Directory, options: &Options, poll: &Poll) -> anyhow::Result<Control> {
        let listener = directory.listen(&options.title)?;
        listener.set_nonblocking(true)?;
        poll.add(&listener, Source::Control, Interest::Read)?;
        Ok(Control { listener: Some(listener), ..Control::default() })
    }

    /// Takes a connection in, if there is room and the other end is ours.
    fn admit(&mut self, stream: UnixStream, poll: &Poll) -> io::Result<()> {
        let uid = getsockopt(&stream, PeerCredentials)?.uid();
        if uid != 0 && uid != nix::unistd::geteuid().as_raw() {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        if self.are_too_many(Kind::Silent) {
            let silent = self.clients.iter().find(|(_, one)| one.kind == Kind::Silent).map(|(number, _)| *number);
            silent.into_iter().for_each(|number| self.let_go(number, poll));
        }
        let client = Client::new(stream)?;
        self.last = self.last.wrapping_add(1).max(1);
        poll.add(&client, Source::Client(self.last), Interest::Read)?;
        let (wants, kind, heard) = (Wants::Nothing, Kind::Silent, None);
        let (since_ms, watched) = (clock::monotonic_ms(), Interest::Read);
        self.clients.insert(self.last, Waiting { client, wants, kind, heard, since_ms, watched });
        Ok(())
    }

    /// Are there as many of this kind as there may be?
    fn are_too_many(&self, kind: Kind) -> bool {
        self.clients.values().filter(|one| one.kind.is_bounded_with(kind)).count() >= MOST_OF_A_KIND
    }

    fn let_go(&mut self, number: u32, poll: &Poll) {
        if let Some(gone) = self.clients.remove(&number) {
            poll.remove(&gone.client);
        }
    }

    fn answer(&mut self, number: u32, answer: &Answer) {
        if let Some(one) = self.clients.get_mut(&number) {
            one.client.answer(answer);
        }
    }

    /// News for those who want this and have not heard them.
    fn tell(&mut self, wants: Wants, news: &Progress) {
        for one in self.clients.values_mut().filter(|one| one.wants == wants && one.heard.as_ref() != Some(news)) {
            one.client.answer(&Answer::Progress(news.clone()));
            one.heard = Some(news.clone());
        }
    }

    /// Those who want this.
    fn wanting(&self, wants: Wants) -> Vec<u32> {
        self.clients.iter().filter(|(_, one)| one.wants == wants).map(|(number, _)| *number).collect()
    }

    fn flush(&mut self, poll: &Poll) {
        let mut gone = Vec::new();
        for (number, one) in &mut self.clients {
            let Ok(wants_room) = one.client.flush() else {
                gone.push(*number);
                continue;
            };
            let interest = if wants_room { Interest::ReadWrite } else { Interest::Read };
            if interest != one.watched && poll.change(&one.client, Source::Client(*number), interest).is_ok() {
                one.watched = interest;
            }
        }
        for number in gone {
            self.let_go(number, poll);
        }
    }

    /// A member has gone.
    pub fn count_left(&mut self) {
        self.left = self.left.saturating_add(1);
    }

    /// A member has been sent KILL.
    pub fn count_killed(&mut self) {
        self.killed = self.killed.saturating_add(1);
    }
}

impl Master {
    /// Somebody connects. When no descriptor is left for it the one in reserve is spent, so that it does not knock for ever.
    pub(super) fn take_control_connection(&mut self) {
        let Some(listener) = &self.control.listener else { return };
        let accepted = match listener.accept() {
            Ok((stream, _)) => self.control.admit(stream, &self.poll),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => {
                self.reserve = None;
                drop(listener.accept());
                self.reserve = descriptors::placeholder().ok();
                Err(error)
            }
        };
        if let Err(error) = accepted {
            let text = format!("a connection to the control socket is refused: {error}");
            self.notices.once_a_minute(Often::Control, clock::monotonic_ms(), &text);
        }
    }

    pub(super) fn take_client(&mut self, number: u32) {
        let mut buffer = std::mem::take(&mut self.buffer);
        let heard = self.control.clients.get_mut(&number).map(|one| one.client.read(&mut buffer));
        self.buffer = buffer;
        match heard {
            None | Some(Heard::Nothing) => {}
            Some(Heard::End) => self.control.let_go(number, &self.poll),
            Some(Heard::Request(request)) => self.take_request(number, *request),
        }
    }

    fn take_request(&mut self, number: u32, request: Request) {
        let kind = Kind::of(&request);
        if self.control.are_too_many(kind) {
            return self.control.answer(number, &Answer::Refused(outcomes::too_many(MOST_OF_A_KIND)));
        }
        let wants = match &request {
            Request::Reload(_) | Request::Scale(_) => Wants::Outcome,
            Request::Wait(Until::Ready) => Wants::Ready,
            Request::Wait(Until::Reloaded) => Wants::NextReload,
        };
        if let Some(one) = self.control.clients.get_mut(&number) {
            (one.wants, one.kind, one.since_ms) = (wants, kind, clock::monotonic_ms());
        }
        if self.carried.lifecycle.operation().is_none() {
            (self.control.left, self.control.killed) = (0, 0);
        }
        let request_id = RequestId(number);
        match request {
            Request::Reload(reload) => self.begin_reload(request_id, reload),
            Request::Scale(scale) => {
                let event = Event::Scale { request: request_id, wanted: wanted(scale), patience: Patience::default() };
                self.tell(event);
            }
            // Answered at the end of a turn, this one or a later one.
            Request::Wait(_) => {}
        }
    }

    /// The members of the reload are spawned with what it brought. Who joins one brings nothing.
    fn begin_reload(&mut self, request: RequestId, reload: Reload) {
        let Carried { lifecycle, options, .. } = &mut self.carried;
        if let Some(resolved) = reload.options.as_ref().filter(|_| lifecycle.operation().is_none()) {
            let renewed = options.renewed(resolved);
            self.control.before = Some(Box::new(std::mem::replace(options, renewed)));
        }
        self.tell(Event::Reload { request, how: how(&reload) });
        if self.carried.lifecycle.operation().is_none() {
            // It was refused: a reload that is over already has left nothing here.
            self.take_options_back();
        }
    }

    /// The outcome of an operation, for one of those who wait for it.
    pub(super) fn answer_request(&mut self, request: RequestId, outcome: Outcome) {
        match outcome {
            // Who was replaced stays, and whoever replaces it must be like it.
            Outcome::Reloaded { .. } | Outcome::Failed { replaced: 1.., .. } => self.control.before = None,
            Outcome::Failed { replaced: 0, .. } | Outcome::Interrupted => self.take_options_back(),
            // Somebody else's, or a scale's, whose members are spawned with the options that stand.
            Outcome::Refused(_) | Outcome::Scaled { .. } => {}
        }
        let is_scale = self.control.clients.get(&request.0).is_some_and(|one| one.kind == Kind::Scale);
        let outcome = match outcome {
            // What a scale had added before has gone again.
            Outcome::Failed { failure, replaced: _ } if is_scale => Outcome::Failed { failure, replaced: 0 },
            outcome => outcome,
        };
        let Carried { members, .. } = &self.carried;
        let answer = match (outcomes::receipt(outcome), outcomes::refusal(outcome, members, &self.seen)) {
            (Some(done), _) => Answer::Done(self.completed(request, done)),
            (None, Some(refusal)) => Answer::Refused(refusal),
            (None, None) => return,
        };
        self.control.answer(request.0, &answer);
    }

    fn take_options_back(&mut self) {
        if let Some(before) = self.control.before.take() {
            self.carried.options = *before;
        }
    }

    /// The receipt with who serves now, who left, and how long it took this client.
    fn completed(&self, request: RequestId, done: Receipt) -> Receipt {
        let since_ms = self.control.clients.get(&request.0).map_or(0, |one| one.since_ms);
        let Receipt { what, how, notes, .. } = done;
        let (left, killed) = (self.control.left, self.control.killed);
        let took_ms = clock::monotonic_ms().saturating_sub(since_ms);
        Receipt { what, how, notes, left, killed, took_ms, ..self.who_serves() }
    }

    /// A receipt with nothing but the pids of those who are ready.
    fn who_serves(&self) -> Receipt {
        let Carried { lifecycle, members, .. } = &self.carried;
        let ready = members.iter().filter(|(id, _)| lifecycle.standing(*id) == Some(Standing::Ready));
        let (workers, agents): (Vec<_>, Vec<_>) = ready.map(|(_, one)| one).partition(|one| one.is_worker());
        let pid = |one: &&super::members::Member| one.pid;
        Receipt {
            agent: agents.iter().map(pid).next(),
            workers: workers.iter().map(pid).collect(),
            ..Receipt::default()
        }
    }

    /// The end of a turn, for the clients: news, and the answers that were waited for.
    pub(super) fn serve_clients(&mut self) {
        if self.control.clients.is_empty() {
            return;
        }
        self.join_reload();
        self.tell_operation();
        self.tell_ready();
        self.control.flush(&self.poll);
    }

    fn join_reload(&mut self) {
        let Some(Asked::Reload(how)) = self.carried.lifecycle.operation() else { return };
        for number in self.control.wanting(Wants::NextReload) {
            if let Some(one) = self.control.clients.get_mut(&number) {
                one.wants = Wants::Outcome;
            }
            self.tell(Event::Reload { request: RequestId(number), how });
        }
    }

    fn tell_operation(&mut self) {
        if let Some(progress) = self.carried.lifecycle.progress() {
            self.control.tell(Wants::Outcome, &outcomes::progress(&progress));
        }
    }

    fn tell_ready(&mut self) {
        let lifecycle = &self.carried.lifecycle;
        let answer = match lifecycle.phase() {
            Phase::New | Phase::Starting => return self.tell_who_is_missing(),
            Phase::Running if lifecycle.waiting_for().next().is_some() => return self.tell_who_is_missing(),
            Phase::Running => Answer::Done(Receipt { what: "ready".to_owned(), ..self.who_serves() }),
            Phase::ClosingWorkers | Phase::ClosingAgent | Phase::ClosingStrays | Phase::Ended => {
                let (what, why) = ("it does not get ready".to_owned(), vec!["it is being closed".to_owned()]);
                Answer::Refused(Refusal { exit: Exit::Failed as u8, what, why, ..Refusal::default() })
            }
        };
        for number in self.control.wanting(Wants::Ready) {
            self.control.answer(number, &answer);
        }
    }

    fn tell_who_is_missing(&mut self) {
        if !self.control.wanting(Wants::Ready).is_empty() {
            self.control.tell(Wants::Ready, &outcomes::readiness(&self.carried.lifecycle));
        }
    }

    /// Without a control socket everything goes on but what is asked through it.
    pub(super) fn open_control(&mut self) {
        match Control::open(&self.directory, &self.carried.options, &self.poll) {
            Ok(control) => self.control = control,
            Err(error) => {
                self.notices.write(Level::Warn, &format!("no control socket, so no reload or scale: {error:#}"));
            }
        }
    }
}

fn how(reload: &Reload) -> ReloadHow {
    let Reload { rolling, batch, agent, boot_timeout_ms, drain_timeout_ms, .. } = *reload;
    let patience = Patience { boot_grace_ms: boot_timeout_ms, drain_grace_ms: drain_timeout_ms };
    ReloadHow { rolling, batch, agent, patience }
}

fn wanted(scale: Scale) -> Wanted {
    match scale {
        Scale::To(count) => Wanted::Exactly(count),
        Scale::More(more) => Wanted::More(more),
        Scale::Fewer(fewer) => Wanted::Fewer(fewer),
    }
}
