//! Bytes and messages: Node's channel (`child_process`) and Node's cluster protocol. Pure: no descriptors, no I/O.
//!
//! * [`lines`] cuts the byte stream of a channel into frames, one JSON text each.
//! * [`inbound`] says what a frame from a member means, `cluster` what one of Node's cluster module means;
//!   `peek` is how both look into JSON without parsing it, `scan` how that
//!   walks over it; `container` and `compact` check what is nested.
//! * [`outbound`] writes the frames that the master sends.
//! * [`outbox`] is the queue of one channel with its one-handle gate and its bounds.
//! * [`report`] is what the master tells its parent.
//! * [`shown`](mod@shown) is how a member's text stands in a line of ours.

mod cluster;
mod compact;
mod container;
pub mod inbound;
pub mod lines;
pub mod outbound;
pub mod outbox;
mod peek;
pub mod report;
mod scan;
pub mod shown;
