//! One channel, a member's or the parent's: the socket, the half-read line, the queue, the descriptors that came.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use nix::errno::Errno;

use crate::ipc::lines::{LONGEST_FRAME, Lines};
use crate::ipc::outbound::Frame;
use crate::ipc::outbox::{Full, Outbox};
use crate::sys::sockets;

use super::poll::Interest;

/// A descriptor on its way to a member, shared with whoever must keep it until it has arrived.
pub type Handle = Rc<OwnedFd>;

/// Descriptors that came and were not claimed by a frame yet: more than this are closed at once.
const MOST_UNCLAIMED: usize = 16;

/// So long a frame is taken from a member whatever waits for it: its own word that it is done must come through.
const ALWAYS_HELD: usize = 1024 * 1024;

/// One end of a channel.
#[derive(Debug)]
pub struct Channel {
    socket: OwnedFd,
    /// The bytes of an unfinished line. Taken out while its lines are worked on.
    pub lines: Lines,
    outbox: Outbox<Handle>,
    unclaimed: VecDeque<OwnedFd>,
    /// Handles that the other end has refused again and again, since it has no number left for them: offered again later,
    /// the oldest first and alone.
    refused: VecDeque<(Frame, Handle)>,
    /// A read failed for want of something: none is tried until [`Channel::try_again`].
    deaf: bool,
    /// Set when a write found the other end closed: reading goes on to its end, writing does not.
    broken: bool,
    /// What it is watched for. Kept by the loop.
    pub watched: Interest,
}

/// What a read brought: so many bytes, now in the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// And there may be more.
    More(usize),
    /// And that is all for now.
    All(usize),
    /// Nothing: the kernel is short of something.
    Short(Errno),
    /// The other end is closed.
    End,
}

impl Reading {
    /// What was read into the buffer.
    #[must_use]
    pub fn bytes(self, buffer: &[u8]) -> &[u8] {
        match self {
            Reading::More(bytes) | Reading::All(bytes) => buffer.get(..bytes).unwrap_or_default(),
            Reading::Short(_) | Reading::End => &[],
        }
    }
}

impl Channel {
    /// A channel over a non-blocking socket.
    #[must_use]
    pub fn new(socket: OwnedFd) -> Self {
        Channel {
            socket,
            lines: Lines::new(LONGEST_FRAME),
            outbox: Outbox::default(),
            unclaimed: VecDeque::new(),
            refused: VecDeque::new(),
            deaf: false,
            broken: false,
            watched: Interest::Read,
        }
    }

    /// Reads once. What was read is for `lines`, which holds the less the more waits to be written: for each member there is
    /// one bound.
    pub fn read(&mut self, buffer: &mut [u8]) -> Reading {
        self.lines.limit(LONGEST_FRAME.saturating_sub(self.outbox.queued_bytes()).max(ALWAYS_HELD));
        match sockets::receive(self.socket.as_fd(), buffer) {
            Ok(received) => {
                // The kernel ends a read behind a descriptor, whatever else waits; any other short read has emptied it.
                let more = received.bytes == buffer.len() || !received.descriptors.is_empty();
                self.unclaimed.extend(received.descriptors);
                self.unclaimed.truncate(MOST_UNCLAIMED);
                if received.bytes == 0 {
                    return Reading::End;
                }
                if more { Reading::More(received.bytes) } else { Reading::All(received.bytes) }
            }
            Err(Errno::EAGAIN | Errno::EINTR) => Reading::All(0),
            Err(errno) if sockets::is_shortage(&errno.into()) => {
                self.deaf = true;
                Reading::Short(errno)
            }
            Err(_) => Reading::End,
        }
    }

    /// The descriptor that belongs to a handle frame, oldest first.
    pub fn claim(&mut self) -> Option<OwnedFd> {
        self.unclaimed.pop_front()
    }

    /// Queues a frame of the protocol.
    pub fn push(&mut self, frame: Frame) {
        if !self.broken {
            self.outbox.push(frame);
        }
    }

    /// Queues a user's message.
    ///
    /// # Errors
    /// [`Full`] when the queue has no room: the message is dropped.
    pub fn push_user(&mut self, frame: Frame) -> Result<(), Full> {
        if self.broken { Ok(()) } else { self.outbox.push_user(frame, self.lines.pending()) }
    }

    /// Queues a frame with a descriptor. The caller keeps a clone until it knows that it arrived.
    pub fn push_handle(&mut self, frame: Frame, handle: Handle) {
        if self.broken {
            return;
        }
        if self.refused.is_empty() {
            self.outbox.push_handle(frame, handle);
        } else {
            self.refused.push_back((frame, handle));
        }
    }

    /// Keeps a handle that the other end could not take, to be offered again later.
    pub fn keep_refused(&mut self, frame: Frame, handle: Handle) {
        if !self.broken {
            self.refused.push_front((frame, handle));
        }
    }

    /// Tries again what could not be had: reads, and the oldest of the refused handles. Writes are tried by every flush.
    pub fn try_again(&mut self) {
        self.deaf = false;
        if let Some((frame, handle)) = self.refused.pop_front() {
            self.outbox.push_handle(frame, handle);
        }
    }

    /// Is there something that only [`Channel::try_again`] goes on with?
    #[must_use]
    pub fn is_short(&self) -> bool {
        self.deaf || !self.refused.is_empty()
    }

    /// How many handles have not been sent.
    #[must_use]
    pub fn waiting_handles(&self) -> usize {
        self.refused.len() + self.outbox.waiting_handles()
    }

    /// Queues the answer to a handle that came.
    pub fn push_acknowledgement(&mut self, frame: Frame) {
        if !self.broken {
            self.outbox.push_acknowledgement(frame);
        }
    }

    /// The other end has the descriptor we sent: this one. What it refused before it can have now, too.
    pub fn acknowledged(&mut self) -> Option<Handle> {
        for (frame, handle) in self.refused.drain(..) {
            self.outbox.push_handle(frame, handle);
        }
        self.outbox.acknowledged()
    }

    /// The other end did not get it: it is sent again, a few times, and then given up and back.
    pub fn refused(&mut self) -> Option<(Frame, Handle)> {
        self.outbox.refused()
    }

    /// Writes what the kernel takes now, and says what to watch the channel for.
    pub fn flush(&mut self) -> Flushed {
        let (wants_room, short) = match self.write() {
            Written::Everything => (false, None),
            Written::UntilFull => (true, None),
            Written::UntilShort(errno) => (false, Some(errno)),
        };
        let interest = match (self.deaf || self.outbox.is_clogged(), wants_room) {
            (false, false) => Interest::Read,
            (false, true) => Interest::ReadWrite,
            (true, true) => Interest::Write,
            // After an un-acknowledged handle. Its end is reported all the same.
            (true, false) => Interest::Nothing,
        };
        Flushed { interest, short }
    }

    fn write(&mut self) -> Written {
        loop {
            let Some(write) = self.outbox.next_write() else { return Written::Everything };
            let handle = write.handle.map(|handle| handle.as_fd());
            match sockets::send(self.socket.as_fd(), &write.pieces, handle) {
                Ok(written) => self.outbox.wrote(written),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Written::UntilFull,
                // Nothing reports that it is over, and a worker whose connection waits here gets no next frame.
                Err(errno) if sockets::is_shortage(&errno.into()) => return Written::UntilShort(errno),
                // The other end is closed. What it still said is read to its end.
                Err(_) => {
                    self.broken = true;
                    self.refused.clear();
                    drop(self.outbox.abandon());
                    return Written::Everything;
                }
            }
        }
    }
}

/// What a flush came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flushed {
    /// What to watch the channel for.
    pub interest: Interest,
    /// What the kernel was short of: the flush is to be tried again.
    pub short: Option<Errno>,
}

/// How far a write came.
enum Written {
    /// To the end, or to a handle that is not acknowledged yet.
    Everything,
    /// Until the socket was full.
    UntilFull,
    /// Until the kernel was short of something.
    UntilShort(Errno),
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
