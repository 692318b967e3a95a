//! The queue of one channel: what is still to be written, at most one un-acknowledged handle with everything else
//! behind it, and the bounds.
//!
//! Node keeps a single `pendingHandle`: a second handle before the first is acknowledged lands on the wrong message.

use super::outbound::Frame;

/// How many bytes of user messages may wait for one member.
pub const MOST_QUEUED: usize = 64 * 1024 * 1024;

/// How often a handle is sent again when the peer says that it did not arrive.
pub const MOST_RETRANSMISSIONS: u32 = 3;

/// The queue of one channel. `H` is the handle: a descriptor in the master, a number in tests.
#[derive(Debug)]
pub struct Outbox<H> {
    _handle: std::marker::PhantomData<H>,
}

/// What to write next.
#[derive(Debug)]
pub struct Write<'a, H> {
    /// The bytes left of the frame.
    pub bytes: &'a [u8],
    /// The handle that goes with them: only with the first byte of a frame.
    pub handle: Option<&'a H>,
}

/// The queue is full: the message was dropped.
#[derive(Debug, PartialEq, Eq)]
pub struct Full;

impl<H> Default for Outbox<H> {
    fn default() -> Self {
        Outbox { _handle: std::marker::PhantomData }
    }
}

impl<H> Outbox<H> {
    /// Queues a frame of the cluster protocol or of the master: never refused.
    pub fn push(&mut self, frame: Frame) {
        todo!("{}", frame.len())
    }

    /// Queues a user's message.
    ///
    /// # Errors
    /// [`Full`] when more than [`MOST_QUEUED`] bytes would wait.
    pub fn push_user(&mut self, frame: Frame) -> Result<(), Full> {
        todo!("{}", frame.len())
    }

    /// Queues a frame with a handle.
    pub fn push_handle(&mut self, frame: Frame, handle: H) {
        todo!("{}", frame.len() + std::mem::size_of_val(&handle))
    }

    /// Queues an ACK or NACK of a handle that came to us: these pass the gate, but never cut a half-written frame.
    pub fn push_acknowledgement(&mut self, frame: Frame) {
        todo!("{}", frame.len())
    }

    /// What can be written now; `None` when nothing waits or everything waits behind an un-acknowledged handle.
    pub fn next_write(&self) -> Option<Write<'_, H>> {
        todo!()
    }

    /// So many bytes of [`Self::next_write`] were taken by the kernel (and the handle with them).
    pub fn wrote(&mut self, bytes: usize) {
        todo!("{bytes}")
    }

    /// The peer acknowledged: the gate opens; gives the handle back.
    pub fn acknowledged(&mut self) -> Option<H> {
        todo!()
    }

    /// The peer did not get the handle: it is sent again, before everything that waits; after
    /// [`MOST_RETRANSMISSIONS`] it is given up, and given back.
    pub fn refused(&mut self) -> Option<H> {
        todo!()
    }

    /// Takes out everything that waits; the handles among it, in order.
    pub fn abandon(&mut self) -> Vec<H> {
        todo!()
    }

    /// Bytes that wait.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        todo!()
    }
}
