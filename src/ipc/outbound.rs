//! The frames that the master sends. Each is one line with its newline, as Node 20 writes it.

use serde_json::Value;
use serde_json::value::RawValue;

use super::inbound::SentConnectionsQuestion;

/// A frame ready to be written, shared by the queues it stands in.
///
/// Not `Rc<[u8]>`: that would copy the bytes once more.
pub type Frame = std::rc::Rc<Vec<u8>>;

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

/// The answer to a `queryServer` that the master serves by handing over connections; a unix socket has no `name`.
#[must_use]
pub fn round_robin_reply(seq: u64, ack: u64, key: &str, data: Option<&RawValue>, name: Option<&SocketName>) -> Frame {
    let (key, data) = (quoted(key), data.map_or("null", RawValue::get));
    let name = name.map_or(String::new(), |SocketName { address, v6, port }| {
        let (address, family) = (quoted(address), if *v6 { "IPv6" } else { "IPv4" });
        format!(r#""sockname":{{"address":{address},"family":"{family}","port":{port}}},"#)
    });
    frame(format!(r#"{{"cmd":"NODE_CLUSTER","errno":null,"key":{key},"ack":{ack},"data":{data},{name}"seq":{seq}}}"#))
}

/// The answer to a `queryServer` that goes with the socket itself.
#[must_use]
pub fn shared_reply(seq: u64, ack: u64, key: &str, data: Option<&RawValue>, is_datagram: bool) -> Frame {
    let (key, data) = (quoted(key), data.map_or("null", RawValue::get));
    let message = format!(r#"{{"cmd":"NODE_CLUSTER","errno":0,"key":{key},"ack":{ack},"data":{data},"seq":{seq}}}"#);
    let module = if is_datagram { "dgram" } else { "net" };
    frame(format!(r#"{{"cmd":"NODE_HANDLE","type":"{module}.Native","msg":{message}}}"#))
}

/// The answer to a `queryServer` that cannot be served: `errno` is positive here, and Node wants it negative.
#[must_use]
pub fn error_reply(seq: u64, ack: u64, key: &str, data: Option<&RawValue>, errno: i32) -> Frame {
    let (errno, key, data) = (-i64::from(errno), quoted(key), data.map_or("null", RawValue::get));
    frame(format!(r#"{{"cmd":"NODE_CLUSTER","errno":{errno},"key":{key},"ack":{ack},"data":{data},"seq":{seq}}}"#))
}

/// A bare answer: `{ack}`.
#[must_use]
pub fn plain_reply(seq: u64, ack: u64) -> Frame {
    frame(format!(r#"{{"cmd":"NODE_CLUSTER","ack":{ack},"seq":{seq}}}"#))
}

/// The frames of the connections of one key, each of which goes with its handle: written for every connection, so all but
/// the number is written once.
#[derive(Clone, Debug)]
pub struct NewConnection {
    before_seq: String,
}

impl NewConnection {
    /// Those of this key.
    #[must_use]
    pub fn of(key: &str) -> Self {
        let key = quoted(key);
        let message = format!(r#"{{"cmd":"NODE_CLUSTER","act":"newconn","key":{key},"seq":"#);
        NewConnection { before_seq: format!(r#"{{"cmd":"NODE_HANDLE","type":"net.Native","msg":{message}"#) }
    }

    /// The one with this number.
    #[must_use]
    pub fn frame(&self, seq: u64) -> Frame {
        frame(format!("{}{seq}}}}}", self.before_seq))
    }
}

/// A connection for the worker as Egg's master sends it when clients keep their workers: goes with the handle.
#[must_use]
pub fn sticky_connection() -> Frame {
    frame(r#"{"cmd":"NODE_HANDLE","type":"net.Socket","msg":"sticky-session:connection"}"#.into())
}

/// Node's own request to close all servers and then the channel.
#[must_use]
pub fn disconnect(seq: u64) -> Frame {
    frame(format!(r#"{{"cmd":"NODE_CLUSTER","act":"disconnect","seq":{seq}}}"#))
}

/// Our preload's request: close the servers, keep the channel. `quiet_ms`: close connections that nothing uses after this
/// time; without it the preload has the patience of the servers' own timeouts.
#[must_use]
pub fn drain(quiet_ms: Option<u64>) -> Frame {
    let quiet = quiet_ms.map(|quiet_ms| format!(r#","quiet":{quiet_ms}"#)).unwrap_or_default();
    frame(format!(r#"{{"cmd":"NODE_EGGCTL","act":"drain"{quiet}}}"#))
}

/// "This is the last that you are sent." The preload answers when everything before it has been emitted.
#[must_use]
pub fn last() -> Frame {
    frame(r#"{"cmd":"NODE_EGGCTL","act":"last"}"#.into())
}

/// "This is your place now": our preload puts the variables into the member's environment, as far as its program sees it.
#[must_use]
pub fn place(variables: &[(&str, String)]) -> Frame {
    let pairs = variables.iter().map(|(name, value)| format!("{}:{}", Value::from(*name), Value::from(value.as_str())));
    let pairs: Vec<String> = pairs.collect();
    frame(format!(r#"{{"cmd":"NODE_EGGCTL","act":"place","env":{{{}}}}}"#, pairs.join(",")))
}

/// "The handle has arrived."
#[must_use]
pub fn handle_ack() -> Frame {
    frame(r#"{"cmd":"NODE_HANDLE_ACK"}"#.into())
}

/// "The handle has not arrived."
#[must_use]
pub fn handle_nack() -> Frame {
    frame(r#"{"cmd":"NODE_HANDLE_NACK"}"#.into())
}

/// The answer to a server that asks after connections it has sent: the master has closed them all.
#[must_use]
pub fn sent_connections(question: SentConnectionsQuestion, key: &RawValue) -> Frame {
    frame(match question {
        SentConnectionsQuestion::AllClosed => format!(r#"{{"cmd":"NODE_SOCKET_ALL_CLOSED","key":{}}}"#, key.get()),
        SentConnectionsQuestion::Count => format!(r#"{{"cmd":"NODE_SOCKET_COUNT","key":{},"count":0}}"#, key.get()),
    })
}

/// A message of the master itself, such as `egg-pids`; `data` is JSON text.
#[must_use]
pub fn from_master(action: &str, data: Option<&str>, to: &str) -> Frame {
    let (action, to) = (quoted(action), quoted(to));
    let data = data.map(|data| format!(r#""data":{data},"#)).unwrap_or_default();
    frame(format!(r#"{{"action":{action},{data}"from":"master","to":{to}}}"#))
}

/// The user's message `text` with `from` and `to` set: appended as last keys, since `JSON.parse` takes the last of equal
/// keys, so that the payload is never parsed. A bare string `s` becomes `{"action":s,"data":s,…}`.
///
/// `text` and `bare` are those of an [`Envelope`](super::inbound::Envelope); `from` and `to` are the messenger's words, which
/// need no escapes.
#[must_use]
pub fn relayed(text: &[u8], bare: bool, from: &'static str, to: &'static str) -> Frame {
    let text = text.trim_ascii();
    let (from, to) = (from.as_bytes(), to.as_bytes());
    let frame = match text.strip_suffix(b"}") {
        Some(fields) if !bare => {
            // Only the brace that opens an empty object can stand before its last one: no field ends with it.
            let stamp: &[u8] = if fields.trim_ascii_end().ends_with(b"{") { br#""from":""# } else { br#","from":""# };
            [fields, stamp, from, br#"","to":""#, to, b"\"}\n"].concat()
        }
        _ => {
            let stamp = br#","from":""#;
            [br#"{"action":"#, text, br#","data":"#, text, stamp, from, br#"","to":""#, to, b"\"}\n"].concat()
        }
    };
    frame.into()
}

fn frame(mut json: String) -> Frame {
    json.push('\n');
    json.into_bytes().into()
}

/// A text as JSON.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(frame: &Frame) -> &str {
        let line = std::str::from_utf8(frame).unwrap();
        let json = line.strip_suffix('\n').expect("a frame ends with its newline");
        assert!(!json.contains('\n'));
        serde_json::from_str::<serde_json::Value>(json).unwrap();
        json
    }

    // The frames of these two tests were recorded between a Node 20.20 primary and its worker.

    #[test]
    fn answers_to_a_worker_that_wants_to_listen_are_nodes_own() {
        let name = SocketName { address: "::".into(), v6: true, port: 40551 };
        assert_eq!(
            line(&round_robin_reply(0, 1, "null:0:4:undefined:0", None, Some(&name))),
            r#"{"cmd":"NODE_CLUSTER","errno":null,"key":"null:0:4:undefined:0","ack":1,"data":null,"sockname":{"address":"::","family":"IPv6","port":40551},"seq":0}"#
        );
        assert_eq!(
            line(&round_robin_reply(1, 2, "/tmp/sock:-1:-1:undefined:0", None, None)),
            r#"{"cmd":"NODE_CLUSTER","errno":null,"key":"/tmp/sock:-1:-1:undefined:0","ack":2,"data":null,"seq":1}"#
        );
        assert_eq!(
            line(&error_reply(0, 1, "null:null:null:77:0", None, 22)),
            r#"{"cmd":"NODE_CLUSTER","errno":-22,"key":"null:null:null:77:0","ack":1,"data":null,"seq":0}"#
        );
    }

    #[test]
    fn a_shared_socket_goes_as_the_handle_of_its_answer() {
        assert_eq!(
            line(&shared_reply(9, 16, "0.0.0.0:0:udp4:-1:0", None, true)),
            r#"{"cmd":"NODE_HANDLE","type":"dgram.Native","msg":{"cmd":"NODE_CLUSTER","errno":0,"key":"0.0.0.0:0:udp4:-1:0","ack":16,"data":null,"seq":9}}"#
        );
        assert_eq!(
            line(&shared_reply(0, 1, "null:80:4:undefined", None, false)),
            r#"{"cmd":"NODE_HANDLE","type":"net.Native","msg":{"cmd":"NODE_CLUSTER","errno":0,"key":"null:80:4:undefined","ack":1,"data":null,"seq":0}}"#
        );
    }

    #[test]
    fn a_connection_goes_as_the_message_of_a_handle() {
        assert_eq!(
            line(&NewConnection::of("127.0.0.1:8123:4:undefined:0").frame(5)),
            r#"{"cmd":"NODE_HANDLE","type":"net.Native","msg":{"cmd":"NODE_CLUSTER","act":"newconn","key":"127.0.0.1:8123:4:undefined:0","seq":5}}"#
        );
    }

    #[test]
    fn short_frames_are_one_line_of_json() {
        assert_eq!(line(&plain_reply(3, 9)), r#"{"cmd":"NODE_CLUSTER","ack":9,"seq":3}"#);
        assert_eq!(line(&disconnect(4)), r#"{"cmd":"NODE_CLUSTER","act":"disconnect","seq":4}"#);
        assert_eq!(line(&drain(None)), r#"{"cmd":"NODE_EGGCTL","act":"drain"}"#);
        assert_eq!(line(&drain(Some(300))), r#"{"cmd":"NODE_EGGCTL","act":"drain","quiet":300}"#);
        assert_eq!(line(&last()), r#"{"cmd":"NODE_EGGCTL","act":"last"}"#);
        assert_eq!(line(&handle_ack()), r#"{"cmd":"NODE_HANDLE_ACK"}"#);
        assert_eq!(line(&handle_nack()), r#"{"cmd":"NODE_HANDLE_NACK"}"#);
        let key: &RawValue = serde_json::from_str(r#""6:::7001""#).unwrap();
        let closed = sent_connections(SentConnectionsQuestion::AllClosed, key);
        assert_eq!(line(&closed), r#"{"cmd":"NODE_SOCKET_ALL_CLOSED","key":"6:::7001"}"#);
        let count = sent_connections(SentConnectionsQuestion::Count, key);
        assert_eq!(line(&count), r#"{"cmd":"NODE_SOCKET_COUNT","key":"6:::7001","count":0}"#);
        let pids = from_master("egg-pids", Some("[7,8]"), "agent");
        assert_eq!(line(&pids), r#"{"action":"egg-pids","data":[7,8],"from":"master","to":"agent"}"#);
        let start = from_master("agent-start", None, "app");
        assert_eq!(line(&start), r#"{"action":"agent-start","from":"master","to":"app"}"#);
    }

    #[test]
    fn a_key_cannot_break_out_of_its_quotes() {
        let frame = NewConnection::of("a\"b\n\\").frame(1);
        assert!(line(&frame).contains(r#""key":"a\"b\n\\","#));
    }

    #[test]
    fn a_place_is_an_object_of_variables() {
        let told = line(&place(&[("A", "1".to_owned()), ("B", "\"".to_owned())])).to_owned();
        assert_eq!(told, r#"{"cmd":"NODE_EGGCTL","act":"place","env":{"A":"1","B":"\""}}"#);
    }

    #[test]
    fn the_blob_of_the_first_worker_is_given_back_untouched() {
        let blob: &RawValue = serde_json::from_str(r#"{"ticketKeys":"\u00e9 é"}"#).unwrap();
        assert!(line(&error_reply(0, 0, "k", Some(blob), 98)).contains(r#""data":{"ticketKeys":"\u00e9 é"},"#));
    }

    #[test]
    fn a_relayed_message_gets_its_stamp_as_last_keys() {
        for (text, relay) in [
            (r#"{}"#, r#"{"from":"app","to":"agent"}"#),
            (" {\t} ", "{\t\"from\":\"app\",\"to\":\"agent\"}"),
            (r#"{"data":{}}"#, r#"{"data":{},"from":"app","to":"agent"}"#),
            (r#"{"data":"{"} "#, r#"{"data":"{","from":"app","to":"agent"}"#),
            (r#"{"from":"master","to":"app"}"#, r#"{"from":"master","to":"app","from":"app","to":"agent"}"#),
        ] {
            assert_eq!(line(&relayed(text.as_bytes(), false, "app", "agent")), relay);
        }
    }

    #[test]
    fn a_relayed_bare_string_becomes_action_and_data() {
        assert_eq!(
            line(&relayed(br#" "ping}" "#, true, "agent", "app")),
            r#"{"action":"ping}","data":"ping}","from":"agent","to":"app"}"#
        );
    }
}
