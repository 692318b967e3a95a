//! The frames that the master sends. Each is one line with its newline.

use serde_json::value::RawValue;

/// A frame ready to be written, shared by the queues it stands in.
pub type Frame = std::rc::Rc<[u8]>;

/// The address a round-robin worker is told it listens on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketName {
    /// The numeric address.
    pub address: String,
    /// Is it an IPv6 address?
    pub v6: bool,
    /// The real port.
    pub port: u16,
}

/// The answer to a `queryServer` that the master serves by handing over connections.
#[must_use]
pub fn round_robin_reply(seq: u64, ack: u64, key: &str, data: Option<&RawValue>, name: Option<&SocketName>) -> Frame {
    todo!("{seq}{ack}{key}{data:?}{name:?}")
}

/// The answer to a `queryServer` that cannot be served: `errno` is positive here, and Node wants it negative.
#[must_use]
pub fn error_reply(seq: u64, ack: u64, key: &str, data: Option<&RawValue>, errno: i32) -> Frame {
    todo!("{seq}{ack}{key}{data:?}{errno}")
}

/// A bare answer: `{ack}`.
#[must_use]
pub fn plain_reply(seq: u64, ack: u64) -> Frame {
    todo!("{seq}{ack}")
}

/// A connection for the worker: goes with the handle.
#[must_use]
pub fn new_connection(seq: u64, key: &str) -> Frame {
    todo!("{seq}{key}")
}

/// Node's own request to close all servers and then the channel.
#[must_use]
pub fn disconnect(seq: u64) -> Frame {
    todo!("{seq}")
}

/// Our preload's request: close the servers, keep the channel.
#[must_use]
pub fn drain() -> Frame {
    todo!()
}

/// "The handle has arrived."
#[must_use]
pub fn handle_ack() -> Frame {
    todo!()
}

/// "The handle has not arrived."
#[must_use]
pub fn handle_nack() -> Frame {
    todo!()
}

/// The user's message `text` with `from` and `to` set: appended as last keys, since `JSON.parse` takes the last of equal
/// keys, so that the payload is never parsed. A bare string `s` becomes `{"action":s,"data":s,…}`.
#[must_use]
pub fn relayed(text: &[u8], bare: bool, from: &str, to: &str) -> Frame {
    todo!("{text:?}{bare}{from}{to}")
}
