//! What signals mean to the master, and which process sent them. CHLD: the children that have ended. And what is done while the
//! kernel refuses to say what has happened.

use std::fmt::Write;
use std::io;
use std::time::Duration;

use crate::lifecycle::{CloseCause, Event, ReloadHow, RequestId};
use crate::sys::reap::{self, Reaped};
use crate::sys::signals::{self, Arrived, SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, Sender};
use crate::sys::{clock, pipes, proc};

use super::Master;
use super::logging::Logging;
use super::notices::{Level, Often};
use super::poll::Source;

/// How much of a sender's command line is shown, in bytes.
const MOST_SHOWN: usize = 200;
/// How long after a refusal to say which children have ended the master asks again, in milliseconds.
const REAP_AGAIN_MS: u64 = 100;
/// How long the loop rests between two looks while the kernel refuses to wait for it.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// How long it goes on like that before the master closes, in milliseconds.
const LONGEST_BLIND_MS: u64 = 1_000;

/// What HUP means. Decided once, at the start: when a terminal hangs up, the kernel takes it away before the signal comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hangup {
    /// A terminal has gone: the application closes.
    Closes,
    /// There was none: an operator wants a reload, as from every other daemon.
    Reloads,
    /// It was ignored when the master started (`nohup`) and stays so.
    Ignored,
}

impl Hangup {
    /// Looks at the disposition and at the terminal that this process has now.
    ///
    /// # Errors
    /// When /proc is not there.
    pub fn decide() -> io::Result<Self> {
        Ok(match (signals::is_ignored(SIGHUP), proc::has_controlling_terminal()?) {
            (true, _) => Hangup::Ignored,
            (false, true) => Hangup::Closes,
            (false, false) => Hangup::Reloads,
        })
    }

    /// The signals that the master catches: every one that is no fault of its own, since the default of most is to end it.
    pub fn caught(self) -> Vec<i32> {
        let mut caught = signals::all_but_faults();
        caught.retain(|signal| *signal != SIGHUP || self != Hangup::Ignored);
        caught
    }
}

impl Master {
    /// The kernel refuses to say what is ready: everything is looked at, some times in a second. A refusal that lasts is the
    /// end of the service, which a supervisor must be able to tell from an orderly one.
    pub(super) fn look_at_everything(&mut self, error: &io::Error, ready: &mut Vec<Source>) {
        let now = clock::monotonic_ms();
        self.notices.once_a_minute(Often::Wait, now, &format!("the event loop cannot wait: {error}"));
        pipes::pause(LOOK_AGAIN);
        ready.extend([Source::Signals, Source::Parent, Source::Control]);
        ready.extend(self.carried.members.iter().map(|(member, _)| Source::Member(member)));
        if now >= *self.blind_since.get_or_insert(now) + LONGEST_BLIND_MS {
            self.tell(Event::Close(CloseCause::Fault));
        }
    }

    pub(super) fn take_signals(&mut self) {
        for arrived in self.signals.take() {
            match arrived.signal {
                SIGCHLD => self.reap(),
                SIGUSR1 => self.carried.logging.iter_mut().for_each(Logging::reopen),
                SIGHUP if self.carried.hangup == Hangup::Reloads => {
                    self.notices.write(Level::Info, &format!("{}: reload", in_words(arrived)));
                    self.tell(Event::Reload { request: RequestId::NOBODY, how: ReloadHow::default() });
                }
                SIGTERM | SIGINT | SIGQUIT | SIGHUP => {
                    self.notices.write(Level::Info, &in_words(arrived));
                    self.tell(Event::Close(CloseCause::Signal(arrived.signal)));
                }
                _ => self.ignore(arrived),
            }
        }
    }

    /// A signal that means nothing here. (PIPE and XFSZ of our own are the errors of a write, which were seen there.)
    fn ignore(&mut self, arrived: Arrived) {
        let is_own = arrived.sender.is_some_and(|sender| sender.pid == std::process::id());
        if is_own || arrived.sender.is_none() && matches!(arrived.signal, signals::SIGPIPE | signals::SIGXFSZ) {
            return;
        }
        let (kind, now) = (Often::Signal(arrived.signal), clock::monotonic_ms());
        // A sender is looked at only for a line that is written.
        let text = match self.notices.is_kept_back(kind, now) {
            true => String::new(),
            false => format!("{} means nothing to the master: ignored", in_words(arrived)),
        };
        self.notices.once_a_minute(kind, now, &text);
    }

    /// Collects every child that has ended: members, and orphans of theirs that came to us as the subreaper.
    pub(super) fn reap(&mut self) {
        loop {
            match reap::reap() {
                Ok(Reaped::Child(pid, ended)) => match self.carried.members.by_pid(pid) {
                    Some(member) => self.bury(member, ended),
                    None if self.is_logger(pid) => self.replace_logger(ended),
                    None => drop(self.foreign.remove(&pid)),
                },
                Ok(Reaped::NotYet) => break,
                Ok(Reaped::NoChildren) => return self.tell(Event::Alone),
                Err(error) => {
                    // Children may well be there, and the SIGCHLD of the last one may be the one just taken.
                    let now = clock::monotonic_ms();
                    self.reap_at = Some(now + REAP_AGAIN_MS);
                    let text = format!("cannot look for ended children: {error}");
                    return self.notices.once_a_minute(Often::Wait, now, &text);
                }
            }
        }
        let others = !self.foreign.is_empty() || self.carried.logging.is_some();
        if others && self.carried.members.iter().next().is_none() && self.strays().is_empty() {
            self.tell(Event::Alone);
        }
    }
}

/// ``SIGTERM from pid 812 (`systemd`), uid 0``.
fn in_words(arrived: Arrived) -> String {
    let name = signals::name(arrived.signal);
    match arrived.sender {
        None => format!("{name} from the kernel (a terminal, a timer or a limit)"),
        Some(Sender { pid: 0, uid }) => format!("{name} from outside this pid namespace, uid {uid}"),
        Some(Sender { pid, uid }) => match proc::first_words(pid, MOST_SHOWN) {
            Ok(words) => format!("{name} from pid {pid} (`{}`), uid {uid}", escaped(&words)),
            Err(_) => format!("{name} from pid {pid} (which has exited), uid {uid}"),
        },
    }
}

/// Bytes of another process as they can stand between backticks in a log line.
fn escaped(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for character in String::from_utf8_lossy(bytes).chars() {
        match character {
            '`' | '\\' => drop(write!(text, "\\{character}")),
            ' '..='~' => text.push(character),
            other if other.is_alphanumeric() => text.push(other),
            other => drop(write!(text, "{}", other.escape_unicode())),
        }
    }
    if bytes.len() >= MOST_SHOWN {
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_sender_calls_itself_cannot_break_a_line_or_grow_it() {
        assert_eq!(escaped(b"sh -c a"), "sh -c a");
        assert_eq!(escaped(b"a\n2026-01-01 INFO `x` \x1b[2J\\"), "a\\u{a}2026-01-01 INFO \\`x\\` \\u{1b}[2J\\\\");
        assert_eq!(escaped("例 \u{202e}".as_bytes()), "例 \\u{202e}");
        assert_eq!(escaped(&[b'x'; MOST_SHOWN]), format!("{}…", "x".repeat(MOST_SHOWN)));
    }
}
