//! The master's side of the control socket: who has asked for what, and what they are told.
//!
//! Nothing is decided here: a request becomes an event of the lifecycle, and what comes of it an answer.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::net::{UnixListener, UnixStream};

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};

use crate::control::server::{Client, Flushed, Heard};
use crate::control::{Answer, Departure, Progress, Receipt, Refusal, Request, Until};
use crate::error::Exit;
use crate::lifecycle::{Asked, Event, Phase, RequestId};
use crate::options::Options;
use crate::state::Directory;
use crate::sys::{clock, descriptors, sockets};

use super::notices::{Level, Often};
use super::poll::{Interest, Poll, Source};
use super::{Master, outcomes};

/// More clients of one kind (silent, waiting, with an operation) have no business at once. The longest silent one is let go
/// for a new one; the others are told.
const MOST_OF_A_KIND: usize = 16;

/// The socket and its clients.
#[derive(Debug, Default)]
pub struct Control {
    listener: Option<UnixListener>,
    /// Is it not watched, for want of something?
    is_paused: bool,
    clients: BTreeMap<u32, Waiting>,
    /// The number of the newest client; [`RequestId::NOBODY`] is none.
    last: u32,
    /// The options that a reload has brought: the lifecycle says whether they are adopted.
    pub(super) brought: Option<(RequestId, Box<Options>)>,
    /// The options of the members before the reload that is under way: they come back if it fails or is given up.
    pub(super) before: Option<Box<Options>>,
    /// How members have left in the operation or the close that is under way, or was the last one.
    pub(super) departed: Vec<Departure>,
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
pub(super) enum Kind {
    /// Nothing yet.
    Silent,
    /// To be told when something is so.
    Wait,
    Reload,
    Scale,
    Cancel,
}

impl Kind {
    fn of(request: &Request) -> Kind {
        match request {
            Request::Reload(_) => Kind::Reload,
            Request::Scale(_) => Kind::Scale,
            Request::Cancel(_) => Kind::Cancel,
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
pub(super) enum Wants {
    /// It has not asked yet, or has been answered.
    Nothing,
    /// The outcome of an operation.
    Outcome,
    /// Everybody to be ready.
    Ready,
    /// The next reload to begin: it is joined then.
    NextReload,
    /// The end of the master.
    End,
}

impl Control {
    /// Opens the title's socket, in the place of one that was removed. Its clients stay.
    ///
    /// # Errors
    /// When it cannot be made or watched.
    fn open(&mut self, directory: &Directory, options: &Options, poll: &Poll) -> anyhow::Result<()> {
        let listener = directory.listen(&options.title)?;
        listener.set_nonblocking(true)?;
        poll.add(&listener, Source::Control, Interest::Read)?;
        self.is_paused = false;
        if let Some(removed) = self.listener.replace(listener) {
            poll.remove(&removed);
        }
        Ok(())
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

    /// What this client has asked for, and since when it waits for the answer.
    pub(super) fn asked(&self, request: RequestId) -> Option<(Kind, u64)> {
        self.clients.get(&request.0).map(|one| (one.kind, one.since_ms))
    }

    /// Since when this client waits.
    pub(super) fn since_ms(&self, number: u32) -> u64 {
        self.clients.get(&number).map_or(0, |one| one.since_ms)
    }

    pub(super) fn answer(&mut self, number: u32, answer: &Answer) {
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
    pub(super) fn wanting(&self, wants: Wants) -> Vec<u32> {
        self.clients.iter().filter(|(_, one)| one.wants == wants).map(|(number, _)| *number).collect()
    }

    /// Writes what the clients take; what the kernel was short of.
    fn flush(&mut self, poll: &Poll) -> Option<io::Error> {
        let (mut gone, mut shortage) = (Vec::new(), None);
        for (number, one) in &mut self.clients {
            let Ok(Flushed { reads, writes, short }) = one.client.flush() else {
                gone.push(*number);
                continue;
            };
            shortage = short.or(shortage);
            let interest = match (reads, writes) {
                (true, true) => Interest::ReadWrite,
                (true, false) => Interest::Read,
                (false, true) => Interest::Write,
                (false, false) => Interest::Nothing,
            };
            if interest != one.watched && poll.change(&one.client, Source::Client(*number), interest).is_ok() {
                one.watched = interest;
            }
        }
        for number in gone {
            self.let_go(number, poll);
        }
        shortage
    }

    /// Watches for clients, or not: a socket that cannot be accepted from would wake us for ever.
    fn listen(&mut self, poll: &Poll, listens: bool) {
        let interest = if listens { Interest::Read } else { Interest::Nothing };
        if let Some(listener) = &self.listener
            && self.is_paused == listens
            && poll.change(listener, Source::Control, interest).is_ok()
        {
            self.is_paused = !listens;
        }
    }

    /// Tries again what failed for want of something.
    pub fn try_again(&mut self, poll: &Poll) {
        self.listen(poll, true);
        self.clients.values_mut().for_each(|one| one.client.try_again());
    }
}

impl Master {
    /// A client connects. When no descriptor is left for it, it gets the one in reserve; when that is not enough, it waits
    /// until there is one.
    pub(super) fn take_control_connection(&mut self) {
        let Some(listener) = &self.control.listener else { return };
        let accepted = listener.accept().or_else(|error| match sockets::is_shortage(&error) {
            true => {
                self.reserve = None;
                listener.accept()
            }
            false => Err(error),
        });
        let refused = match accepted {
            Ok((stream, _)) => self.control.admit(stream, &self.poll).err(),
            Err(error) if sockets::is_shortage(&error) => {
                self.control.listen(&self.poll, false);
                self.is_short_of(&error, "accepting a client of the control socket");
                None
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => None,
            Err(error) => Some(error),
        };
        self.keep_reserve();
        if let Some(error) = refused {
            let text = format!("a connection to the control socket is refused: {error}");
            self.notices.once_a_minute(Often::Control, clock::monotonic_ms(), &text);
        }
    }

    /// A descriptor is kept back, until the close begins: it is spent then.
    pub(super) fn keep_reserve(&mut self) {
        if self.reserve.is_none() && matches!(self.carried.lifecycle.phase(), Phase::Starting | Phase::Running) {
            self.reserve = descriptors::placeholder().ok();
        }
    }

    /// Everything that clients have sent until now: nothing is read any more after it.
    pub(super) fn take_control_connections(&mut self) {
        for _ in 0..MOST_OF_A_KIND {
            self.take_control_connection();
        }
        let silent = self.control.clients.iter().filter(|(_, one)| one.kind == Kind::Silent);
        let silent: Vec<u32> = silent.map(|(number, _)| *number).collect();
        silent.into_iter().for_each(|number| self.take_client(number));
    }

    pub(super) fn take_client(&mut self, number: u32) {
        let mut buffer = std::mem::take(&mut self.buffer);
        let heard = self.control.clients.get_mut(&number).map(|one| one.client.read(&mut buffer));
        self.buffer = buffer;
        match heard {
            None | Some(Ok(Heard::Nothing)) => {}
            Some(Ok(Heard::End)) => self.control.let_go(number, &self.poll),
            Some(Ok(Heard::Request(request))) => self.take_request(number, *request),
            Some(Err(error)) => self.is_short_of(&error, "receiving from a client of the control socket"),
        }
    }

    fn take_request(&mut self, number: u32, request: Request) {
        let kind = Kind::of(&request);
        if self.control.are_too_many(kind) {
            return self.control.answer(number, &Answer::Refused(outcomes::too_many(MOST_OF_A_KIND)));
        }
        let wants = match &request {
            Request::Reload(_) | Request::Scale(_) | Request::Cancel(_) => Wants::Outcome,
            Request::Wait(Until::Ready) => Wants::Ready,
            Request::Wait(Until::Reloaded) => Wants::NextReload,
            Request::Wait(Until::Stopped) => Wants::End,
        };
        if let Some(one) = self.control.clients.get_mut(&number) {
            (one.wants, one.kind, one.since_ms) = (wants, kind, clock::monotonic_ms());
        }
        let request_id = RequestId(number);
        match request {
            Request::Reload(reload) => self.begin_reload(request_id, reload),
            Request::Scale(scale) => self.begin_scale(request_id, scale),
            Request::Cancel(operation) => self.cancel(request_id, operation),
            // Answered at the end of a turn, this one or a later one.
            Request::Wait(_) => {}
        }
    }

    /// The end of a turn, for the clients: news, and the answers that were waited for.
    pub(super) fn serve_clients(&mut self) {
        if self.carried.lifecycle.operation().is_none() {
            self.control.before = None;
        }
        if self.control.clients.is_empty() {
            return;
        }
        self.join_reload();
        self.tell_operation();
        self.tell_ready();
        if let Some(error) = self.control.flush(&self.poll) {
            self.is_short_of(&error, "answering a client of the control socket");
        }
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
                Answer::Refused(Refusal { exit: Exit::NotRunning as u8, what, why, ..Refusal::default() })
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
        let title = &self.carried.options.title;
        match self.control.open(&self.directory, &self.carried.options, &self.poll) {
            Ok(()) => self.home.socket = self.directory.socket_id(title),
            Err(error) => {
                self.notices.write(Level::Warn, &format!("no control socket, so no reload or scale: {error:#}"));
            }
        }
    }
}
