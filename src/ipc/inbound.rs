//! What a frame from a member (or from the parent) means. Payloads stay bytes.

use std::borrow::Cow;

use serde_json::value::RawValue;

pub use super::cluster::{AddressType, ClusterFrame, Listening, QueryServer};
use super::{cluster, peek};

/// A frame, read.
#[derive(Debug)]
pub enum Inbound<'a> {
    /// A handle comes with this frame; the payload is the message it belongs to.
    Handle {
        /// The payload, one JSON text for [`read`]. `null` when the frame had none: the handle must be acknowledged
        /// all the same, or the peer's channel stalls for ever. A `Handle` inside a `Handle` brings no second one.
        message: &'a RawValue,
    },
    /// The peer took the handle we sent.
    HandleAck,
    /// The handle we sent did not arrive: send it again.
    HandleNack,
    /// Node's cluster protocol.
    Cluster(ClusterFrame<'a>),
    /// A server of the peer's, which has sent connections of its own as handles, asks what became of them.
    SentConnections {
        /// The server, in the peer's words; to be repeated in the answer.
        key: &'a RawValue,
        /// What it asks.
        question: SentConnectionsQuestion,
    },
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

/// What a server asks about the connections that it has sent (`lib/internal/socket_list.js`). Unanswered, it never closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SentConnectionsQuestion {
    /// "Say when all are closed."
    AllClosed,
    /// "How many are open?"
    Count,
}

/// What our preload says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PreloadWord {
    /// All servers have closed, the last answer is sent.
    Drained,
    /// What would be cut if the member, which has been asked to leave, ended now.
    InFlight {
        /// Requests without a whole answer.
        requests: u32,
        /// Other connections that are in use.
        connections: u32,
    },
}

/// A message of the application: Egg's routing fields, and the whole text for the relay.
#[derive(Debug)]
pub struct Envelope<'a> {
    /// The whole frame, as it came.
    pub text: &'a [u8],
    /// `action`, when it is a string; for a bare string, that string.
    pub action: Option<Cow<'a, str>>,
    /// `to`, when it is a string.
    pub to: Option<Cow<'a, str>>,
    /// `receiverPid`, a number or a string of digits; 0, which no member has, when no process can have that number.
    pub receiver_pid: Option<u32>,
    /// `receiverWorkerId`, likewise.
    pub receiver_worker_id: Option<u32>,
    /// Is it a bare JSON string?
    pub bare: bool,
}

/// Node's own messages: an object whose `cmd` begins so and goes on. They never reach a user's listener.
const INTERNAL: &str = "NODE_";

/// Reads one frame.
#[must_use]
pub fn read(line: &[u8]) -> Inbound<'_> {
    let inbound = match line.trim_ascii_start().first() {
        // A member that writes nothing but newlines must not cost a parser for each.
        None => None,
        Some(b'{') => object(line),
        Some(b'"') => bare(line),
        _ => peek::any(line).map(|_| Inbound::Rubbish(Rubbish::NotAnEnvelope)),
    };
    inbound.unwrap_or(Inbound::Rubbish(Rubbish::NotJson))
}

/// What Egg's workers tell by `realport`: where their configuration has them listen.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
pub struct RealPort {
    /// The port.
    #[serde(default)]
    pub port: Option<u16>,
    /// `http` or `https`.
    #[serde(default)]
    pub protocol: Option<String>,
}

/// Reads the data of a `realport`; rubbish tells nothing.
#[must_use]
pub fn real_port(envelope: &Envelope<'_>) -> RealPort {
    let data = peek::fields(envelope.text, ["data"]).and_then(|[data]| data);
    let told: RealPort = data.and_then(|data| serde_json::from_str(data.get()).ok()).unwrap_or_default();
    // It stands in addresses and in log lines, so it is a scheme or nothing.
    let is_scheme = |text: &String| text.len() <= 16 && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    RealPort { protocol: told.protocol.filter(is_scheme), ..told }
}

/// Where a worker says that it listens, when it has asked nobody (`reusePort`) and Node's own frame never comes: the data
/// of `reuse-port-listening`, and in `app-start` its `address`, are what `server.address()` tells of a TCP port.
#[must_use]
pub fn listens_at(envelope: &Envelope<'_>) -> Option<Listening> {
    #[derive(serde::Deserialize)]
    struct Address {
        address: Option<String>,
        family: Option<String>,
        port: u16,
    }
    #[derive(serde::Deserialize)]
    struct AppStart {
        address: Address,
    }
    let [data] = peek::fields(envelope.text, ["data"])?;
    let json = data?.get();
    let Address { address, family, port } = serde_json::from_str::<AppStart>(json)
        .map(|start| start.address)
        .or_else(|_| serde_json::from_str(json))
        .ok()?;
    let address_type = if family.as_deref() == Some("IPv6") { AddressType::Tcp6 } else { AddressType::Tcp4 };
    Some(Listening { seq: 0, address, port: port.into(), address_type })
}

/// The frame of Node's own behind the rubbish that a member has written before it without a newline. Without it a lost
/// ACK would keep that member's channel shut for ever.
#[must_use]
pub fn behind_rubbish(line: &[u8]) -> Option<&[u8]> {
    const BEGINNING: &[u8] = br#"{"cmd":"NODE_"#;
    let start = memchr::memmem::find(line.get(1..)?, BEGINNING)? + 1;
    line.get(start..)
}

fn object(json: &[u8]) -> Option<Inbound<'_>> {
    let [cmd, action, to, receiver_pid, receiver_worker_id] =
        peek::fields(json, ["cmd", "action", "to", "receiverPid", "receiverWorkerId"])?;
    let cmd = cmd.and_then(peek::text).filter(|cmd| cmd.len() > INTERNAL.len() && cmd.starts_with(INTERNAL));
    if let Some(cmd) = cmd {
        return internal(json, &cmd);
    }
    Some(Inbound::User(Envelope {
        text: json,
        action: action.and_then(peek::text),
        to: to.and_then(peek::text),
        receiver_pid: receiver_pid.and_then(receiver),
        receiver_worker_id: receiver_worker_id.and_then(receiver),
        bare: false,
    }))
}

fn internal<'a>(json: &'a [u8], cmd: &str) -> Option<Inbound<'a>> {
    Some(match cmd {
        "NODE_HANDLE" => {
            let [message] = peek::fields(json, ["msg"])?;
            Inbound::Handle { message: message.unwrap_or(RawValue::NULL) }
        }
        "NODE_HANDLE_ACK" => Inbound::HandleAck,
        "NODE_HANDLE_NACK" => Inbound::HandleNack,
        "NODE_SOCKET_NOTIFY_CLOSE" => sent_connections(json, SentConnectionsQuestion::AllClosed)?,
        "NODE_SOCKET_GET_COUNT" => sent_connections(json, SentConnectionsQuestion::Count)?,
        "NODE_CLUSTER" => cluster::read(json).map_or(Inbound::Rubbish(Rubbish::BadClusterFrame), Inbound::Cluster),
        "NODE_EGGCTL" => {
            let [act, requests, connections] = peek::fields(json, ["act", "requests", "connections"])?;
            let count = |value: Option<&RawValue>| value.and_then(peek::number).unwrap_or(0);
            match act.map(RawValue::get) {
                Some(r#""inflight""#) => Inbound::Preload(PreloadWord::InFlight {
                    requests: count(requests),
                    connections: count(connections),
                }),
                Some(r#""drained""#) => Inbound::Preload(PreloadWord::Drained),
                _ => Inbound::Internal,
            }
        }
        _ => Inbound::Internal,
    })
}

fn sent_connections(json: &[u8], question: SentConnectionsQuestion) -> Option<Inbound<'_>> {
    let [key] = peek::fields(json, ["key"])?;
    Some(key.map_or(Inbound::Internal, |key| Inbound::SentConnections { key, question }))
}

fn bare(json: &[u8]) -> Option<Inbound<'_>> {
    let action = peek::text(peek::any(json)?)?;
    Some(Inbound::User(Envelope {
        text: json,
        action: Some(action),
        to: None,
        receiver_pid: None,
        receiver_worker_id: None,
        bare: true,
    }))
}

/// A receiver's number. One that is written but can be nobody's must not turn a private message into a broadcast.
fn receiver(value: &RawValue) -> Option<u32> {
    let written = match value.get().as_bytes().first()? {
        b'"' => value.get() != r#""""#,
        b'-' | b'0'..=b'9' => value.get() != "0",
        _ => false,
    };
    written.then(|| peek::number(value).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_frame_of_nodes_own_is_found_behind_half_a_line() {
        let line = br#"{"action":"half a{"cmd":"NODE_HANDLE_ACK"}"#;
        assert!(matches!(read(line), Inbound::Rubbish(Rubbish::NotJson)));
        assert!(matches!(behind_rubbish(line).map(read), Some(Inbound::HandleAck)));
        assert_eq!(behind_rubbish(br#"{"action":"{\"cmd\":\"NODE_HANDLE_ACK\"}"#), None);
    }

    use super::*;

    fn envelope(line: &str) -> Envelope<'_> {
        match read(line.as_bytes()) {
            Inbound::User(envelope) => envelope,
            other => panic!("{line} was read as {other:?}"),
        }
    }

    #[test]
    fn an_envelope_is_read_and_its_payload_left_alone() {
        let line = r#" {"action":"egg-\u0070ids","data":{"x":"\ud800", "y":[ 1e999 ]},"to":"app","receiverPid":"42"} "#;
        let read = envelope(line);
        assert_eq!((read.action.as_deref(), read.to.as_deref()), (Some("egg-pids"), Some("app")));
        assert_eq!((read.receiver_pid, read.receiver_worker_id, read.bare), (Some(42), None, false));
        assert_eq!(read.text, line.as_bytes());
    }

    #[test]
    fn what_is_no_utf8_in_a_payload_is_the_receivers_business() {
        assert!(matches!(read(b"{\"data\":\"\xff\"}"), Inbound::User(_)));
    }

    #[test]
    fn a_bare_string_is_its_own_action() {
        let read = envelope(r#" "agent-start""#);
        assert_eq!((read.action.as_deref(), read.bare), (Some("agent-start"), true));
        assert!(envelope(r#""\ud800""#).bare);
        assert!(envelope(r#""NODE_CLUSTER""#).bare);
    }

    #[test]
    fn routing_fields_of_a_wrong_type_are_absent() {
        let read = envelope(r#"{"action":{},"to":5,"receiverPid":null,"receiverWorkerId":[7],"cmd":["NODE_CLUSTER"]}"#);
        assert_eq!((read.action, read.to, read.receiver_pid, read.receiver_worker_id), (None, None, None, None));
        assert_eq!(envelope(r#"{"receiverPid":""}"#).receiver_pid, None);
    }

    #[test]
    fn a_receiver_is_a_number_or_digits_and_an_impossible_one_is_still_a_receiver() {
        assert_eq!(envelope(r#"{"receiverPid":42}"#).receiver_pid, Some(42));
        assert_eq!(envelope(r#"{"receiverWorkerId":"7"}"#).receiver_worker_id, Some(7));
        for nobody in [r#""x""#, "-1", "1.5", "99999999999999999999", r#""\ud800""#] {
            assert_eq!(envelope(&format!(r#"{{"receiverPid":{nobody}}}"#)).receiver_pid, Some(0), "{nobody}");
        }
    }

    #[test]
    fn a_lone_surrogate_in_a_routing_field_is_an_unknown_word() {
        let line = r#"{"action":"\ud800","to":"app\udc00","\udfff":0}"#;
        let read = envelope(line);
        assert!(read.action.is_some() && read.to.is_some_and(|to| to != "app"));
        assert_eq!(read.text, line.as_bytes());
    }

    #[test]
    fn what_node_would_take_for_its_own_is_never_a_users_message() {
        for line in [
            r#"{"cmd":"NODE_X"}"#,
            r#"{"cmd":"hello","cmd":"NODE_X"}"#,
            r#"{"cmd":"hello","\u0063md":"\u004eODE_X"}"#,
            r#"{"cmd":"NODE_\ud800"}"#,
            r#"{"cmd":"\u004eODE_\ud800"}"#,
            r#"{"cmd":"NODE_HANDLE_ACK "}"#,
            r#"{"cmd":"NODE_EGGCTL","act":"drain"}"#,
        ] {
            assert!(matches!(read(line.as_bytes()), Inbound::Internal), "{line}");
        }
    }

    #[test]
    fn what_only_looks_like_nodes_own_is_a_users_message() {
        for line in [
            r#"{"cmd":"NODE_"}"#,
            r#"{"cmd":"node_x"}"#,
            r#"{"cmd":" NODE_X"}"#,
            r#"{"cmd":"NODE_X","cmd":"hello"}"#,
            r#"{"data":{"cmd":"NODE_X"}}"#,
            r#"{"__proto__":{"cmd":"NODE_X"}}"#,
            r#"{"\\u0063md":"NODE_X"}"#,
        ] {
            envelope(line);
        }
    }

    #[test]
    fn handles_and_their_answers_are_told_apart() {
        let Inbound::Handle { message } =
            read(br#"{"cmd":"NODE_HANDLE","type":"net.Native","msg":{"cmd":"NODE_CLUSTER","act":"online","seq":0}}"#)
        else {
            panic!("no handle")
        };
        assert!(matches!(read(message.get().as_bytes()), Inbound::Cluster(ClusterFrame::Online)));
        let Inbound::Handle { message } = read(br#"{"cmd":"NODE_HANDLE"}"#) else { panic!("no handle") };
        assert!(matches!(read(message.get().as_bytes()), Inbound::Rubbish(Rubbish::NotAnEnvelope)));
        let Inbound::Handle { message } = read(br#"{"cmd":"NODE_HANDLE","msg":{"cmd":"NODE_HANDLE","msg":1}}"#) else {
            panic!("no handle")
        };
        assert!(matches!(read(message.get().as_bytes()), Inbound::Handle { .. }));
        assert!(matches!(read(br#"{"cmd":"NODE_HANDLE_ACK"}"#), Inbound::HandleAck));
        assert!(matches!(read(br#"{"cmd":"NODE_HANDLE_NACK"}"#), Inbound::HandleNack));
    }

    #[test]
    fn a_worker_tells_where_it_listens_by_itself() {
        let at = |json: &str| {
            let told = listens_at(&envelope(&format!(r#"{{"action":"app-start","data":{json}}}"#)))?;
            Some((told.address, told.port, told.address_type))
        };
        let v6 = Some((Some("::".to_owned()), 7001, AddressType::Tcp6));
        assert_eq!(at(r#"{"address":"::","family":"IPv6","port":7001}"#), v6);
        assert_eq!(at(r#"{"workerId":4,"address":{"address":"::","family":"IPv6","port":7001}}"#), v6);
        assert_eq!(at(r#"{"port":7001}"#), Some((None, 7001, AddressType::Tcp4)));
        for other in [r#""/run/a.sock""#, r#"{"workerId":4,"address":"/run/a.sock"}"#, "null", r#"{"port":-1}"#] {
            assert_eq!(at(other), None, "{other}");
        }
        assert!(listens_at(&envelope(r#"{"action":"app-start"}"#)).is_none());
    }

    #[test]
    fn a_server_that_has_sent_connections_asks_for_them() {
        let Inbound::SentConnections { key, question: SentConnectionsQuestion::AllClosed } =
            read(br#"{"cmd":"NODE_SOCKET_NOTIFY_CLOSE","key":"6:::7001"}"#)
        else {
            panic!("no question")
        };
        assert_eq!(key.get(), r#""6:::7001""#);
        let count = read(br#"{"cmd":"NODE_SOCKET_GET_COUNT","key":"6:::7001"}"#);
        assert!(matches!(count, Inbound::SentConnections { question: SentConnectionsQuestion::Count, .. }));
        assert!(matches!(read(br#"{"cmd":"NODE_SOCKET_GET_COUNT"}"#), Inbound::Internal));
    }

    #[test]
    fn the_preload_says_that_it_has_drained() {
        let word = read(br#"{"cmd":"NODE_EGGCTL","act":"drained"}"#);
        assert!(matches!(word, Inbound::Preload(PreloadWord::Drained)));
    }

    #[test]
    fn rubbish_is_named_by_its_kind() {
        for line in ["null", "true", "-1.5e3", "[{\"cmd\":\"NODE_X\"}]"] {
            assert!(matches!(read(line.as_bytes()), Inbound::Rubbish(Rubbish::NotAnEnvelope)), "{line}");
        }
        for line in [&b""[..], b" ", b"nul", b"{\"a\":1", b"\"half", b"{}{}", b"\"a\" \"b\"", b"\xed\xa0\x80"] {
            assert!(matches!(read(line), Inbound::Rubbish(Rubbish::NotJson)), "{line:?}");
        }
        assert!(matches!(read(br#"{"cmd":"NODE_CLUSTER"}"#), Inbound::Rubbish(Rubbish::BadClusterFrame)));
    }
}
