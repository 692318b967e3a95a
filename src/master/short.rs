//! Shortages: calls that failed because the kernel or a member is short of something, tried again until they succeed, with a
//! line in the log when that begins and one when it is over.

use std::io;

use nix::errno::Errno;

use crate::lifecycle::MemberId;
use crate::shortage::{Over, What};
use crate::sys::clock;

use super::listeners::Refused;
use super::members::watch_for_room;
use super::notices::Level;
use super::poll::Source;
use super::{Carried, Master, words};

/// What an errno says that there is too little of; nothing, when it speaks of something else.
fn what(errno: Errno) -> Option<What> {
    Some(match errno {
        Errno::ENOBUFS => What::Buffers,
        Errno::ENOMEM => What::Memory,
        Errno::ETOOMANYREFS => What::InFlight,
        Errno::EMFILE => What::Files,
        Errno::ENFILE => What::SystemFiles,
        _ => return None,
    })
}

/// The same for people.
fn name(what: What) -> &'static str {
    match what {
        What::Buffers => "socket buffers (ENOBUFS: No buffer space available)",
        What::Memory => "kernel memory (ENOMEM: Cannot allocate memory)",
        What::InFlight => "descriptors in flight (ETOOMANYREFS: Too many references)",
        What::Files => "open files of the master (EMFILE: Too many open files)",
        What::SystemFiles => "open files of the whole system (ENFILE: Too many open files in system)",
        What::MembersFiles => "open files of a worker (its RLIMIT_NOFILE)",
    }
}

impl Master {
    /// A call failed for want of something. `doing` is what it was for.
    pub(super) fn is_short_of(&mut self, error: &io::Error, doing: &str) {
        self.is_short(Errno::from_raw(error.raw_os_error().unwrap_or(0)), doing, 0);
    }

    /// The same; `connections` is how many more wait because of it.
    fn is_short(&mut self, errno: Errno, doing: &str, connections: usize) {
        // Whatever it is of, it is tried again.
        self.hit(what(errno).unwrap_or(What::Memory), doing, connections);
    }

    fn hit(&mut self, what: What, doing: &str, connections: usize) {
        let begins = self.shortages.hit(what, clock::monotonic_ms());
        self.shortages.waits(what, u32::try_from(connections).unwrap_or(u32::MAX));
        if begins {
            self.begins(what, doing, &waiting(connections));
        }
    }

    /// A listening socket cannot be accepted from; so many connections wait in the kernel.
    pub(super) fn cannot_accept(&mut self, errno: Errno, connections: u32) -> bool {
        let Some(what) = what(errno) else { return false };
        let begins = self.shortages.hit(what, clock::monotonic_ms());
        self.shortages.backlog(what, connections);
        if begins {
            self.begins(what, "accepting connections", &waiting(connections as usize));
        }
        true
    }

    fn begins(&mut self, what: What, doing: &str, connections: &str) {
        let text = format!("short of {}: {doing} failed{connections}; it is tried again until it succeeds", name(what));
        self.notices.write(Level::Warn, &text);
    }

    fn over(&mut self, over: Over) {
        let Over { what, lasted_ms, waited, moved } = over;
        let were = if waited == 1 { "connection" } else { "connections" };
        let text = format!(
            "no longer short of {}, after {lasted_ms} ms: {waited} {were} waited, {moved} went to another worker",
            name(what)
        );
        self.notices.write(Level::Warn, &text);
    }

    /// Writes what the channels take, the members', the parent's and the logger's; what could not be written for want of something is tried again later.
    pub(super) fn flush_channels(&mut self) {
        for short in self.carried.members.flush(&self.poll) {
            let doing = format!("sending to {}", self.in_log(short.member));
            self.is_short(short.errno, &doing, short.handles);
        }
        let Carried { parent, logging, members, .. } = &mut self.carried;
        let short = parent.as_mut().and_then(|channel| watch_for_room(channel, Source::Parent, &self.poll));
        let untold = logging.as_mut().and_then(|logging| logging.tell_what_is_untold(members));
        if let Some(errno) = short {
            self.is_short(errno, "sending to the parent", 0);
        }
        if let Some(errno) = untold {
            self.is_short(errno, "sending to the logger", 0);
        }
    }

    /// A member's channel cannot be read for want of something.
    pub(super) fn cannot_read(&mut self, member: MemberId, errno: Errno) {
        self.carried.members.is_short(member);
        let doing = format!("receiving from {}", self.in_log(member));
        self.is_short(errno, &doing, 0);
    }

    /// A member has refused a handle again and again: it has no number left for it. A connection goes to another worker where
    /// there is one; whatever else it was to have it is offered later.
    pub(super) fn handle_refused(&mut self, from: MemberId) {
        let now = clock::monotonic_ms();
        let Carried { listeners, members, .. } = &mut self.carried;
        let Some(channel) = members.channel(from) else { return };
        let Some((frame, handle)) = channel.refused() else { return };
        let (moved, outcome) = match listeners.refused(from, &handle, members, &self.poll, now) {
            Some(Refused { moved, outcome }) => (moved, Some(outcome)),
            None => {
                if let Some(channel) = members.channel(from) {
                    channel.keep_refused(frame, handle);
                }
                members.is_short(from);
                (false, None)
            }
        };
        let doing = format!("handing a connection to {}", self.in_log(from));
        self.hit(What::MembersFiles, &doing, usize::from(!moved));
        if moved {
            self.shortages.moved(What::MembersFiles);
        }
        if let Some(outcome) = outcome {
            self.note(outcome);
        }
    }

    /// Tries again what is due, and says what is over.
    pub(super) fn take_shortages(&mut self, now: u64) {
        let due = self.shortages.handle_timeout(now);
        if due.retry {
            self.carried.members.try_again();
            if let Some(parent) = &mut self.carried.parent {
                parent.try_again();
            }
            self.control.try_again(&self.poll);
            self.keep_reserve();
        }
        for over in due.over {
            self.over(over);
        }
    }

    fn in_log(&self, member: MemberId) -> String {
        self.carried.members.get(member).map_or_else(|| "a member".to_owned(), words::in_log)
    }
}

fn waiting(connections: usize) -> String {
    match connections {
        0 => String::new(),
        1 => ", 1 connection waits".to_owned(),
        many => format!(", {many} connections wait"),
    }
}
