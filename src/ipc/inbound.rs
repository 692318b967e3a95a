//! What a frame from a member (or from the parent) means. Payloads stay bytes.

use serde_json::value::RawValue;

/// A frame, read.
#[derive(Debug)]
pub enum Inbound<'a> {
    /// A handle comes with this frame; the payload is the message it belongs to.
    Handle {
        /// The payload, one JSON text.
        message: &'a RawValue,
    },
    /// The peer took the handle we sent.
    HandleAck,
    /// The handle we sent did not arrive: send it again.
    HandleNack,
    /// Node's cluster protocol.
    Cluster(ClusterFrame<'a>),
    /// A word of our own member preload.
    Preload(PreloadWord),
    /// Another message of Node's own (`cmd` begins with `NODE_`): never relayed.
    Internal,
    /// A message of the application.
    User(Envelope<'a>),
    /// Nothing the master can use.
    Rubbish(Rubbish),
}

/// Why a frame is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rubbish {
    /// Not JSON, or not UTF-8.
    NotJson,
    /// `null`, a boolean, a number or an array.
    NotAnEnvelope,
    /// A cluster frame without what it needs.
    BadClusterFrame,
}

/// What our preload says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PreloadWord {
    /// All servers have closed, the last answer is sent.
    Drained,
}

/// A message of the application: Egg's routing fields, and the whole text for the relay.
#[derive(Debug)]
pub struct Envelope<'a> {
    /// The whole frame, as it came.
    pub text: &'a [u8],
    /// `action`, when it is a string; for a bare string, that string.
    pub action: Option<std::borrow::Cow<'a, str>>,
    /// `to`, when it is a string.
    pub to: Option<std::borrow::Cow<'a, str>>,
    /// `receiverPid`, a number or a string of digits.
    pub receiver_pid: Option<u32>,
    /// `receiverWorkerId`, likewise.
    pub receiver_worker_id: Option<u32>,
    /// `data`, unread.
    pub data: Option<&'a RawValue>,
    /// Is it a bare JSON string?
    pub bare: bool,
}

/// A request of a worker's cluster module, or a reply to one of ours.
#[derive(Debug)]
pub enum ClusterFrame<'a> {
    /// `online`: first frame, before the application's code.
    Online,
    /// `queryServer`: it wants to listen. Must be answered.
    QueryServer(QueryServer<'a>),
    /// `listening`.
    Listening(Listening),
    /// `close`: it has closed its server on this key.
    Close {
        /// The key we gave.
        key: String,
        /// Its sequence number.
        seq: u64,
    },
    /// `exitedAfterDisconnect`: it leaves by itself; must be answered.
    ExitedAfterDisconnect {
        /// Its sequence number.
        seq: u64,
    },
    /// The answer to our `newconn`.
    Accepted {
        /// Our sequence number.
        ack: u64,
        /// Did it take the connection?
        accepted: bool,
    },
    /// An answer to something else of ours.
    OtherReply,
    /// A request we do not know.
    Unknown {
        /// Its `act`.
        act: String,
        /// Its sequence number, for the error reply.
        seq: Option<u64>,
    },
}

/// The kind of address in a `queryServer` or `listening`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AddressType {
    /// TCP over IPv4 (or both, when there is no address).
    Tcp4,
    /// TCP over IPv6.
    Tcp6,
    /// A unix socket or abstract name.
    Pipe,
    /// UDP over IPv4.
    Udp4,
    /// UDP over IPv6.
    Udp6,
    /// Something newer than this program.
    Other,
}

/// A worker wants a listening socket (`lib/internal/cluster/child.js`).
#[derive(Debug)]
pub struct QueryServer<'a> {
    /// Its sequence number.
    pub seq: u64,
    /// The how-manieth listen with these values in that worker.
    pub index: u64,
    /// A blob that the first worker gives and all get back (TLS ticket keys).
    pub data: Option<&'a RawValue>,
    /// The address; none means any.
    pub address: Option<String>,
    /// The port; -1 for a unix path.
    pub port: i64,
    /// The kind of address.
    pub address_type: AddressType,
    /// A descriptor number of the master (`listen({fd})`).
    pub fd: Option<i64>,
    /// libuv's flags: bit 0 IPv6 only, bit 2 SO_REUSEADDR (UDP).
    pub flags: u32,
    /// The backlog; 0 means 511.
    pub backlog: u32,
}

/// A worker's server listens.
#[derive(Debug)]
pub struct Listening {
    /// Its sequence number.
    pub seq: u64,
    /// The address; none means any.
    pub address: Option<String>,
    /// The real port, -1 for a unix path.
    pub port: i64,
    /// The kind of address.
    pub address_type: AddressType,
}

/// Reads one frame.
#[must_use]
pub fn read(line: &[u8]) -> Inbound<'_> {
    todo!("{}", line.len())
}
