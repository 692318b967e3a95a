//! The only `unsafe` and the only raw libc: processes, signals, descriptors, sockets, /proc. Imports nothing of ours.
//!
//! Each file wraps one thing of the kernel in a type that cannot leak or be misused; no decision is made here.

pub mod clock;
pub mod code;
pub mod cpus;
pub mod crossing;
pub mod descriptors;
pub mod folder;
pub mod inherited;
pub mod lock;
pub mod output;
pub mod pidfd;
pub mod pipes;
pub mod ports;
mod power;
pub mod priority;
pub mod proc;
pub mod reap;
pub mod signals;
pub mod sockets;
pub mod spawn;
pub mod unix;
pub mod user;
