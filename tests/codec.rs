//! Frames survive any way of being cut, and are taken for what Node takes them for.

use std::io::Write as _;
use std::process::{Command, Stdio};

use eggctl::ipc::inbound::{ClusterFrame, Inbound, Rubbish, read};
use eggctl::ipc::lines::{Lines, TooLong};
use eggctl::ipc::outbound::{self, Frame, NewConnection};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

type Cut = Result<Vec<u8>, TooLong>;

/// What the collector makes of a stream that comes in these pieces.
fn cut<'a>(longest: usize, pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Cut>, usize) {
    let mut lines = Lines::new(longest);
    let mut all = Vec::new();
    for mut piece in pieces {
        while let Some(line) = lines.next_line(&mut piece) {
            all.push(line.map(<[u8]>::to_vec));
        }
        assert!(lines.pending() <= longest, "{} bytes are held, over the limit of {longest}", lines.pending());
    }
    (all, lines.pending())
}

/// What it should make of it.
fn expected(longest: usize, stream: &[u8]) -> (Vec<Cut>, usize) {
    let mut lines: Vec<&[u8]> = stream.split(|byte| *byte == b'\n').collect();
    let rest = lines.pop().map_or(0, <[u8]>::len);
    let verdict = |line: &[u8]| {
        if line.len() > longest { Err(TooLong { bytes: line.len() + 1 }) } else { Ok(line.to_vec()) }
    };
    (lines.into_iter().map(verdict).collect(), if rest > longest { 0 } else { rest })
}

#[test]
fn a_stream_cut_at_any_two_places_gives_the_same_frames() {
    let frames = [
        NewConnection::of("null:7001:4:undefined:0").frame(1),
        outbound::handle_ack(),
        outbound::relayed("{\"data\":\"é\\n\"}".as_bytes(), false, "app", "agent"),
        outbound::drain(None),
        outbound::drain(Some(300)),
    ];
    let stream: Vec<u8> = frames.iter().flat_map(|frame| frame.iter().copied()).collect();
    let whole: Vec<Cut> = frames.iter().map(|frame| Ok(frame[..frame.len() - 1].to_vec())).collect();
    for first in 0..=stream.len() {
        for second in first..=stream.len() {
            let pieces = [&stream[..first], &stream[first..second], &stream[second..]];
            assert_eq!(cut(1000, pieces), (whole.clone(), 0), "cut at {first} and {second}");
        }
    }
}

proptest! {
    #[test]
    fn any_stream_in_any_pieces_gives_its_lines(
        stream in proptest::collection::vec(prop_oneof![3 => Just(b'x'), 1 => Just(b'\n'), 1 => any::<u8>()], 0..400),
        sizes in proptest::collection::vec(1usize..40, 1..20),
        longest in 0usize..30,
    ) {
        let mut left = stream.as_slice();
        let pieces = sizes.iter().cycle().map_while(|size| {
            let (piece, rest) = left.split_at_checked(*size).unwrap_or((left, &[]));
            left = rest;
            (!piece.is_empty()).then_some(piece)
        });
        prop_assert_eq!(cut(longest, pieces), expected(longest, &stream));
    }

    #[test]
    fn any_bytes_can_be_read(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = read(&bytes);
    }

    #[test]
    fn a_relayed_message_keeps_all_its_fields_and_gets_the_stamp(message in object(), spaces in "[ \t]{0,2}") {
        let text = format!("{spaces}{message}{spaces}");
        let Inbound::User(envelope) = read(text.as_bytes()) else { return Err(TestCaseError::fail(text)) };
        let relayed = outbound::relayed(envelope.text, envelope.bare, "app", "agent");
        let mut stamped = message.clone();
        stamped["from"] = json!("app");
        stamped["to"] = json!("agent");
        prop_assert_eq!(serde_json::from_slice::<Value>(&relayed).unwrap(), stamped);
        prop_assert_eq!(relayed.iter().filter(|byte| **byte == b'\n').count(), 1);
    }

    #[test]
    fn a_relayed_string_becomes_action_and_data(string in any::<String>()) {
        let text = json!(string).to_string();
        let Inbound::User(envelope) = read(text.as_bytes()) else { return Err(TestCaseError::fail(text)) };
        prop_assert_eq!(envelope.action.as_deref(), Some(string.as_str()));
        let relayed = outbound::relayed(envelope.text, envelope.bare, "agent", "app");
        let stamped = json!({ "action": string, "data": string, "from": "agent", "to": "app" });
        prop_assert_eq!(serde_json::from_slice::<Value>(&relayed).unwrap(), stamped);
    }

    #[test]
    fn a_query_is_understood_whatever_its_address(address in any::<String>(), port in -1i64..70_000, all: (bool, bool)) {
        let (readable_all, writable_all) = all;
        let query = json!({ "cmd": "NODE_CLUSTER", "act": "queryServer", "seq": 7, "index": 2, "data": { "k": address },
            "address": address, "port": port, "addressType": -1, "readableAll": readable_all, "writableAll": writable_all });
        let line = query.to_string();
        let Inbound::Cluster(ClusterFrame::QueryServer(read)) = read(line.as_bytes()) else {
            return Err(TestCaseError::fail(line));
        };
        prop_assert_eq!((read.address.as_deref(), read.port, read.index), (Some(address.as_str()), port, 2));
        prop_assert_eq!((read.readable_all, read.writable_all), all);
    }

    #[test]
    fn answers_keep_key_blob_and_number_whatever_they_are(key in any::<String>(), blob in object(), seq: u64, ack: u64) {
        let data = serde_json::value::to_raw_value(&blob).unwrap();
        let parsed = |frame: &Frame| serde_json::from_slice::<Value>(frame).unwrap();
        let shared = parsed(&outbound::shared_reply(seq, ack, &key, Some(&data), true));
        prop_assert_eq!(&shared["type"], "dgram.Native");
        for (answer, errno) in [
            (&shared["msg"], json!(0)),
            (&parsed(&outbound::round_robin_reply(seq, ack, &key, Some(&data), None)), Value::Null),
            (&parsed(&outbound::error_reply(seq, ack, &key, Some(&data), 98)), json!(-98)),
        ] {
            prop_assert_eq!((&answer["key"], &answer["data"], &answer["errno"]), (&json!(key), &blob, &errno));
            prop_assert_eq!((&answer["seq"], &answer["ack"]), (&json!(seq), &json!(ack)));
        }
        let connection = parsed(&NewConnection::of(&key).frame(seq));
        prop_assert_eq!((&connection["msg"]["key"], &connection["msg"]["seq"]), (&json!(key), &json!(seq)));
    }

    #[test]
    fn a_question_for_sent_connections_is_answered_with_its_own_key(key in object(), count: bool) {
        let cmd = if count { "NODE_SOCKET_GET_COUNT" } else { "NODE_SOCKET_NOTIFY_CLOSE" };
        let line = json!({ "cmd": cmd, "key": key }).to_string();
        let Inbound::SentConnections { key: read_key, question } = read(line.as_bytes()) else {
            return Err(TestCaseError::fail(line));
        };
        let answer: Value = serde_json::from_slice(&outbound::sent_connections(question, read_key)).unwrap();
        prop_assert_eq!(&answer["key"], &key);
        prop_assert_eq!(answer.get("count").is_some(), count);
    }
}

/// An object of the application, with the routing fields among its own.
fn object() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    let value = leaf.prop_recursive(3, 20, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::hash_map("[a-z{}\"\\\\]{0,3}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    });
    let key = prop_oneof!["[a-z{}\"\\\\]{0,4}", Just("to".into()), Just("from".into()), Just("data".into())];
    proptest::collection::hash_map(key, value, 0..6).prop_map(|map| Value::Object(map.into_iter().collect()))
}

/// One JSON text or nearly one, with what could hide a `cmd`.
fn nearly_json() -> impl Strategy<Value = String> {
    let key = proptest::sample::select(vec![
        r#""cmd""#,
        r#""cmd""#,
        r#""\u0063md""#,
        r#""\\u0063md""#,
        r#""cm\u0064\ud800""#,
        r#""\ud800""#,
        r#""to""#,
        r#""__proto__""#,
        "\"c\u{1}\"",
        "cmd",
    ]);
    let value = proptest::sample::select(vec![
        r#""NODE_X""#,
        r#""NODE_X""#,
        r#""NODE_""#,
        r#""\u004eODE_X""#,
        r#""NODE_\ud800""#,
        r#""NODE\u005f\n""#,
        r#""node_x""#,
        r#"{"cmd":"NODE_X"}"#,
        r#"["NODE_X"]"#,
        "null",
        "true",
        "-0",
        "01",
        "1e999",
        "1.",
        "-",
        "\"\t\"",
        r#""\x""#,
        r#""\ud8""#,
        "[]",
        "{}",
        "[1,]",
        "\"é\u{2028}\"",
        "\u{a0}1",
        "NaN",
    ]);
    let space = proptest::sample::select(vec!["", "", "", " ", "\t", "\r", "\u{b}", "\u{feff}"]);
    let field =
        (key, space.clone(), value.clone()).prop_map(|(key, space, value)| format!("{key}{space}:{space}{value}"));
    let object = (space, proptest::collection::vec(field, 0..4))
        .prop_map(|(space, fields)| format!("{space}{{{}}}{space}", fields.join(",")));
    (prop_oneof![5 => object, 1 => value.prop_map(String::from)], proptest::option::weighted(0.2, any::<usize>()))
        .prop_map(|(mut text, dropped)| {
            if let Some((place, _)) = dropped.and_then(|n| text.char_indices().nth(n % text.chars().count().max(1))) {
                text.remove(place);
            }
            text
        })
}

/// Node's verdict on each line of its input: `lib/internal/child_process.js`, `channel.onread` and `isInternal`.
const NODES_VERDICT: &str = r"
require('fs').readFileSync(0, 'utf8').split('\n').slice(0, -1).forEach((line) => {
    let message;
    try { message = JSON.parse(line); } catch { return console.log('not JSON'); }
    if (typeof message === 'string') return console.log('user');
    if (message === null || typeof message !== 'object' || Array.isArray(message)) return console.log('no envelope');
    const { cmd } = message;
    console.log(typeof cmd === 'string' && cmd.length > 5 && cmd.slice(0, 5) === 'NODE_' ? 'internal' : 'user');
});";

#[test]
fn every_line_is_taken_for_what_node_takes_it_for() {
    let mut runner = TestRunner::deterministic();
    let lines: Vec<String> = (0..20_000)
        .map(|_| nearly_json().new_tree(&mut runner).expect("a strategy without filters").current())
        .collect();
    let mut node = Command::new("node")
        .args(["-e", NODES_VERDICT])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("node runs");
    // The script reads all its input before it prints, so neither side can wait for the other.
    let mut input = node.stdin.take().expect("it was piped");
    input.write_all((lines.join("\n") + "\n").as_bytes()).expect("node reads its input");
    drop(input);
    let output = node.wait_with_output().expect("node ends");
    let verdicts = String::from_utf8(output.stdout).expect("node prints UTF-8");
    assert_eq!(verdicts.lines().count(), lines.len());
    for (line, verdict) in lines.iter().zip(verdicts.lines()) {
        let ours = match read(line.as_bytes()) {
            Inbound::User(_) => "user",
            Inbound::Rubbish(Rubbish::NotJson) => "not JSON",
            Inbound::Rubbish(Rubbish::NotAnEnvelope) => "no envelope",
            _ => "internal",
        };
        // What lies in arrays and objects below the outermost is not looked at.
        let passed_over =
            verdict == "not JSON" && line.trim_start().get(1..).is_some_and(|text| text.contains(['[', '{']));
        assert!(ours == verdict || passed_over, "ours: {ours}, Node's: {verdict}, {line:?}");
    }
    for verdict in ["user", "internal", "not JSON", "no envelope"] {
        let met = verdicts.lines().filter(|line| *line == verdict).count();
        assert!(met > 100, "only {met} of the lines are {verdict}: the test has lost its aim");
    }
}
