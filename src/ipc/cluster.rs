//! Frames of Node's cluster module in a worker (`lib/internal/cluster/child.js`), read.
//!
//! Names and types as measured on Node 20; a field that is `null` counts as absent, as it does there.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::peek;

/// The longest address that is taken, in bytes: a path's longest (PATH_MAX).
const LONGEST_ADDRESS: usize = 4096;
/// The longest blob that goes with a question: the master keeps the first one of a key, and sends it back with every answer.
/// Node's own are the ticket keys of TLS, about 120 bytes.
const LONGEST_DATA: usize = 1024;

/// A request of a worker's cluster module, or a reply to one of ours.
#[derive(Debug)]
pub enum ClusterFrame<'a> {
    /// `online`: first frame, before the application's code.
    Online,
    /// `queryServer`: it wants to listen. Must be answered.
    QueryServer(QueryServer<'a>),
    /// A `queryServer` with more address or data than is kept. Must be answered.
    QueryTooLong {
        /// Its sequence number.
        seq: u64,
    },
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
    /// The port; -1 when there is none (a unix path, `listen({fd})`).
    pub port: i64,
    /// The kind of address.
    pub address_type: AddressType,
    /// A descriptor number of the master (`listen({fd})`), never negative; the address is then absent.
    pub fd: Option<i64>,
    /// libuv's flags: bit 0 IPv6 only, bit 2 SO_REUSEADDR (UDP).
    pub flags: u32,
    /// The backlog; 0 means 511.
    pub backlog: u32,
    /// A unix socket that everybody may read.
    pub readable_all: bool,
    /// A unix socket that everybody may write, which is what a client needs.
    pub writable_all: bool,
}

/// A worker's server listens.
#[derive(Clone, Debug)]
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

/// Reads a frame whose `cmd` is `NODE_CLUSTER`; `None` when it lacks what it needs.
pub(super) fn read(json: &[u8]) -> Option<ClusterFrame<'_>> {
    let [act, seq, ack, accepted, key] = peek::fields(json, ["act", "seq", "ack", "accepted", "key"])?;
    let seq = seq.and_then(peek::number);
    if let Some(ack) = peek::present(ack) {
        let ack = peek::number(ack)?;
        return Some(match accepted.map(RawValue::get) {
            Some("true") => ClusterFrame::Accepted { ack, accepted: true },
            Some(_) => ClusterFrame::Accepted { ack, accepted: false },
            None => ClusterFrame::OtherReply,
        });
    }
    let act = peek::text(act?)?;
    Some(match act.as_ref() {
        "online" => ClusterFrame::Online,
        "queryServer" => query_server(json, seq?)?,
        "listening" => ClusterFrame::Listening(listening(json, seq?)?),
        "close" => ClusterFrame::Close { key: peek::text(key?)?.into_owned(), seq: seq? },
        "exitedAfterDisconnect" => ClusterFrame::ExitedAfterDisconnect { seq: seq? },
        _ => ClusterFrame::Unknown { act: act.into_owned(), seq },
    })
}

fn query_server(json: &[u8], seq: u64) -> Option<ClusterFrame<'_>> {
    let [index, data, address, port, address_type, fd, flags, backlog, readable_all, writable_all] = peek::fields(
        json,
        ["index", "data", "address", "port", "addressType", "fd", "flags", "backlog", "readableAll", "writableAll"],
    )?;
    let is_longer = |value: Option<&RawValue>, most| value.is_some_and(|value| value.get().len() > most);
    if is_longer(address, LONGEST_ADDRESS) || is_longer(data, LONGEST_DATA) {
        return Some(ClusterFrame::QueryTooLong { seq });
    }
    let is_true = |value: Option<&RawValue>| value.is_some_and(|value| value.get() == "true");
    Some(ClusterFrame::QueryServer(QueryServer {
        seq,
        index: index.and_then(peek::number).unwrap_or(0),
        data: peek::present(data),
        address: address.and_then(peek::text).map(Cow::into_owned),
        port: port.and_then(peek::number).unwrap_or(-1),
        address_type: read_address_type(address_type),
        // A datagram socket says `fd: -1` for none.
        fd: fd.and_then(peek::number).filter(|fd| *fd >= 0),
        flags: flags.and_then(peek::number).unwrap_or(0),
        backlog: backlog.and_then(peek::number).unwrap_or(0),
        readable_all: is_true(readable_all),
        writable_all: is_true(writable_all),
    }))
}

fn listening(json: &[u8], seq: u64) -> Option<Listening> {
    let [address, port, address_type] = peek::fields(json, ["address", "port", "addressType"])?;
    if address.is_some_and(|address| address.get().len() > LONGEST_ADDRESS) {
        return None;
    }
    Some(Listening {
        seq,
        address: address.and_then(peek::text).map(Cow::into_owned),
        port: port.and_then(peek::number).unwrap_or(-1),
        address_type: read_address_type(address_type),
    })
}

fn read_address_type(value: Option<&RawValue>) -> AddressType {
    match value.map(RawValue::get) {
        Some("4") => AddressType::Tcp4,
        Some("6") => AddressType::Tcp6,
        Some("-1") => AddressType::Pipe,
        Some(r#""udp4""#) => AddressType::Udp4,
        Some(r#""udp6""#) => AddressType::Udp6,
        _ => AddressType::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Option<ClusterFrame<'_>> {
        super::read(json.as_bytes())
    }

    // The frames of these tests were recorded between a Node 20.20 primary and its worker.

    fn query(json: &str) -> QueryServer<'_> {
        match read(json) {
            Some(ClusterFrame::QueryServer(query)) => query,
            other => panic!("{json} was read as {other:?}"),
        }
    }

    #[test]
    fn a_worker_that_wants_to_listen_on_a_port_is_understood() {
        let any = query(
            r#"{"cmd":"NODE_CLUSTER","act":"queryServer","index":0,"data":null,"address":null,"port":8123,"addressType":4,"backlog":0,"seq":2}"#,
        );
        assert_eq!((any.seq, any.index, any.port, any.address_type), (2, 0, 8123, AddressType::Tcp4));
        assert_eq!((any.address, any.fd, any.flags, any.backlog), (None, None, 0, 0));
        assert!(any.data.is_none());

        let one = query(
            r#"{"cmd":"NODE_CLUSTER","act":"queryServer","index":3,"data":{"keys":"k"},"address":"127.0.0.1","port":8123,"addressType":4,"flags":1,"backlog":128,"seq":7}"#,
        );
        assert_eq!((one.address.as_deref(), one.index, one.flags, one.backlog), (Some("127.0.0.1"), 3, 1, 128));
        assert_eq!(one.data.map(RawValue::get), Some(r#"{"keys":"k"}"#));
    }

    #[test]
    fn other_kinds_of_sockets_are_told_apart() {
        let path = query(
            r#"{"cmd":"NODE_CLUSTER","act":"queryServer","index":0,"data":null,"address":"/run/a b\n","port":-1,"addressType":-1,"backlog":0,"writableAll":true,"seq":2}"#,
        );
        assert_eq!((path.readable_all, path.writable_all), (false, true));
        assert_eq!(
            (path.address.as_deref(), path.port, path.address_type),
            (Some("/run/a b\n"), -1, AddressType::Pipe)
        );
        let datagram = query(
            r#"{"cmd":"NODE_CLUSTER","act":"queryServer","index":0,"data":null,"address":"0.0.0.0","port":0,"addressType":"udp4","fd":-1,"flags":0,"seq":5}"#,
        );
        assert_eq!((datagram.address_type, datagram.fd), (AddressType::Udp4, None));
        let descriptor = query(
            r#"{"cmd":"NODE_CLUSTER","act":"queryServer","index":0,"data":null,"address":null,"port":null,"addressType":null,"fd":77,"backlog":0,"seq":1}"#,
        );
        assert_eq!((descriptor.address_type, descriptor.fd, descriptor.port), (AddressType::Other, Some(77), -1));
    }

    #[test]
    fn the_other_acts_of_a_worker_are_understood() {
        assert!(matches!(read(r#"{"cmd":"NODE_CLUSTER","act":"online","seq":0}"#), Some(ClusterFrame::Online)));
        let listening = read(
            r#"{"cmd":"NODE_CLUSTER","act":"listening","index":0,"data":null,"address":null,"port":40551,"addressType":4,"backlog":0,"seq":3}"#,
        );
        let Some(ClusterFrame::Listening(Listening {
            seq: 3,
            address: None,
            port: 40551,
            address_type: AddressType::Tcp4,
        })) = listening
        else {
            panic!("{listening:?}")
        };
        let close = read(r#"{"cmd":"NODE_CLUSTER","act":"close","key":"null:0:4:undefined:0","seq":4}"#);
        assert!(matches!(close, Some(ClusterFrame::Close { key, seq: 4 }) if key == "null:0:4:undefined:0"));
        let leaving = read(r#"{"cmd":"NODE_CLUSTER","act":"exitedAfterDisconnect","seq":9}"#);
        assert!(matches!(leaving, Some(ClusterFrame::ExitedAfterDisconnect { seq: 9 })));
    }

    #[test]
    fn a_reply_is_a_reply_whatever_else_it_says() {
        let taken = read(r#"{"cmd":"NODE_CLUSTER","ack":5,"accepted":true,"seq":10}"#);
        assert!(matches!(taken, Some(ClusterFrame::Accepted { ack: 5, accepted: true })));
        let declined = read(r#"{"cmd":"NODE_CLUSTER","ack":5,"accepted":false,"seq":10}"#);
        assert!(matches!(declined, Some(ClusterFrame::Accepted { ack: 5, accepted: false })));
        assert!(matches!(
            read(r#"{"cmd":"NODE_CLUSTER","ack":1,"seq":1,"act":"online"}"#),
            Some(ClusterFrame::OtherReply)
        ));
    }

    #[test]
    fn an_unknown_act_keeps_its_number_for_the_answer() {
        let unknown = read(r#"{"cmd":"NODE_CLUSTER","act":"later","seq":8}"#);
        assert!(matches!(unknown, Some(ClusterFrame::Unknown { act, seq: Some(8) }) if act == "later"));
    }

    #[test]
    fn a_question_with_more_than_is_kept_is_known_by_its_number_and_nothing_of_it_is() {
        let long = "x".repeat(LONGEST_ADDRESS);
        for json in [
            format!(
                r#"{{"cmd":"NODE_CLUSTER","act":"queryServer","address":"{long}","port":1,"addressType":4,"seq":7}}"#
            ),
            format!(
                r#"{{"cmd":"NODE_CLUSTER","act":"queryServer","data":{{"a":"{long}"}},"port":1,"addressType":4,"seq":7}}"#
            ),
        ] {
            assert!(matches!(read(&json), Some(ClusterFrame::QueryTooLong { seq: 7 })));
        }
        let listening = format!(
            r#"{{"cmd":"NODE_CLUSTER","act":"listening","address":"{long}","port":1,"addressType":4,"seq":7}}"#
        );
        assert!(read(&listening).is_none());
    }

    #[test]
    fn a_frame_without_what_it_needs_is_none() {
        for json in [
            r#"{"cmd":"NODE_CLUSTER"}"#,
            r#"{"cmd":"NODE_CLUSTER","act":7,"seq":1}"#,
            r#"{"cmd":"NODE_CLUSTER","act":"queryServer"}"#,
            r#"{"cmd":"NODE_CLUSTER","act":"queryServer","seq":-1}"#,
            r#"{"cmd":"NODE_CLUSTER","act":"close","seq":1}"#,
            r#"{"cmd":"NODE_CLUSTER","act":"close","key":{},"seq":1}"#,
            r#"{"cmd":"NODE_CLUSTER","ack":"x","accepted":true}"#,
        ] {
            assert!(read(json).is_none(), "{json}");
        }
    }
}
