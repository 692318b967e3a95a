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

/// One end of a channel.
#[derive(Debug)]
pub struct Channel {
    socket: OwnedFd,
    /// The bytes of an unfinished line. Taken out while its lines are worked on.
    pub lines: Lines,
    outbox: Outbox<Handle>,
    unclaimed: VecDeque<OwnedFd>,
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
    /// The other end is closed.
    End,
}

impl Reading {
    /// What was read into the buffer.
    #[must_use]
    pub fn bytes(self, buffer: &[u8]) -> &[u8] {
        match self {
            Reading::More(bytes) | Reading::All(bytes) => buffer.get(..bytes).unwrap_or_default(),
            Reading::End => &[],
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
            broken: false,
            watched: Interest::Read,
        }
    }

    /// Reads once. What was read is for `lines`.
    pub fn read(&mut self, buffer: &mut [u8]) -> Reading {
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
        if self.broken { Ok(()) } else { self.outbox.push_user(frame) }
    }

    /// Queues a frame with a descriptor. The caller keeps a clone until it knows that it arrived.
    pub fn push_handle(&mut self, frame: Frame, handle: Handle) {
        if !self.broken {
            self.outbox.push_handle(frame, handle);
        }
    }

    /// Queues the answer to a handle that came.
    pub fn push_acknowledgement(&mut self, frame: Frame) {
        if !self.broken {
            self.outbox.push_acknowledgement(frame);
        }
    }

    /// The other end has the descriptor we sent: this one.
    pub fn acknowledged(&mut self) -> Option<Handle> {
        self.outbox.acknowledged()
    }

    /// The other end did not get it: it is sent again, a few times, and then given up and back.
    pub fn refused(&mut self) -> Option<Handle> {
        self.outbox.refused()
    }

    /// Writes what the kernel takes now, and says what to watch the channel for.
    pub fn flush(&mut self) -> Interest {
        let wants_room = self.write();
        match (self.outbox.is_clogged(), wants_room) {
            (false, false) => Interest::Read,
            (false, true) => Interest::ReadWrite,
            (true, true) => Interest::Write,
            // Behind an un-acknowledged handle. Its end is told all the same.
            (true, false) => Interest::Nothing,
        }
    }

    /// True when something is left that wants room.
    fn write(&mut self) -> bool {
        loop {
            let Some(write) = self.outbox.next_write() else { return false };
            let handle = write.handle.map(|handle| handle.as_fd());
            match sockets::send(self.socket.as_fd(), &write.pieces, handle) {
                Ok(written) => self.outbox.wrote(written),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return true,
                // The kernel is short of something for now; the next frame for this member tries again.
                Err(Errno::ETOOMANYREFS | Errno::ENOBUFS | Errno::ENOMEM) => return false,
                // The other end is closed. What it still said is read to its end.
                Err(_) => {
                    self.broken = true;
                    drop(self.outbox.abandon());
                    return false;
                }
            }
        }
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
