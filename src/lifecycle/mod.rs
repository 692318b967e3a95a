//! Every decision of the master about time, count, order and phase. Pure: no system calls, no clock, no descriptors.
//!
//! One door: an event and the time go in, actions come out. The master performs them and tells what happened.

mod action;
mod event;
mod policy;

pub use action::{Action, StartFailure, Notice};
pub use event::{CloseCause, Death, Event};
pub use policy::{Millis, Policy};

/// One life of an agent or worker. Given by the lifecycle, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(pub u32);

/// A kind of worker. There is one kind today; a slot belongs to a kind so that there can be more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kind(pub u8);

/// What a member is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// The one agent, started before the workers and stopped after them.
    Agent,
    /// The worker in position `slot` (0..n) of its kind; the slot survives the member in it.
    Worker {
        /// The kind of worker.
        kind: Kind,
        /// The position, counted from 0.
        slot: u32,
    },
}
