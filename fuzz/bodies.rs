//! What is fuzzed: one function for each target, from any bytes to a panic where a promise is broken.
//!
//! `fuzz_targets/` gives them to libFuzzer, `tests/fuzz.rs` to a small mutator of its own, so that they run as ordinary tests
//! on a stable compiler, too. A promise is stated as an `assert!` beside what it is about.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsString;
use std::fs;
use std::io::Write as _;
use std::net::Shutdown;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::OnceLock;

use eggctl::cli::logs::blocks::{AtEnd, Blocks, Part};
use eggctl::cli::logs::select::Selector;
use eggctl::cli::logs::source::Source;
use eggctl::control::server::{Client, Heard};
use eggctl::control::{Answer, Receipt};
use eggctl::ipc::inbound::{self, ClusterFrame, Inbound};
use eggctl::ipc::lines::Lines;
use eggctl::ipc::outbound;
use eggctl::ipc::outbox::Outbox;
use eggctl::options::flags::{Command, NoCommand, parse};
use eggctl::options::logs::Span;
use eggctl::options::{Surroundings, resolve};
use regex::bytes::RegexBuilder;
use serde::de::IgnoredAny;
use serde_json::Value;

/// The name of a target, which is that of its corpus, and its body.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: &[Target] =
    &[("frames", frames), ("outbox", outbox), ("control", control), ("options", options), ("selection", selection)];

/// A stream of a member's channel: a line cut anywhere is the same line, nothing over the limit is held, and what is relayed
/// of it is one line of JSON that says what the message said.
pub fn frames(data: &[u8]) {
    const LONGEST: usize = 512;
    let (seed, stream) = data.split_first().map_or((0, data), |(seed, rest)| (*seed, rest));
    let whole = lines_of(stream, usize::MAX, LONGEST);
    assert_eq!(lines_of(stream, usize::from(seed) + 1, LONGEST), whole, "cut into pieces of {}", usize::from(seed) + 1);
    for line in whole.iter().flatten() {
        read_one(line);
    }
}

fn lines_of(stream: &[u8], piece: usize, longest: usize) -> Vec<Result<Vec<u8>, usize>> {
    let mut lines = Lines::new(longest);
    let mut all = Vec::new();
    for mut read in stream.chunks(piece) {
        while let Some(line) = lines.next_line(&mut read) {
            all.push(line.map(<[u8]>::to_vec).map_err(|too_long| too_long.bytes));
        }
        assert!(lines.pending() <= longest, "{} bytes are held, over the limit of {longest}", lines.pending());
    }
    all
}

fn read_one(line: &[u8]) {
    if let Some(rest) = inbound::behind_rubbish(line) {
        assert!(rest.len() <= line.len());
    }
    match inbound::read(line) {
        Inbound::User(envelope) => {
            let relayed = outbound::relayed(envelope.text, envelope.bare, "app", "agent");
            assert_eq!(relayed.iter().filter(|byte| **byte == b'\n').count(), 1, "a frame is one line");
            assert_eq!(relayed.last(), Some(&b'\n'));
            let is_json = |text: &[u8]| serde_json::from_slice::<IgnoredAny>(text).is_ok();
            assert!(is_json(&relayed), "what is relayed is JSON: {}", String::from_utf8_lossy(&relayed));
            assert!(is_json(line), "only JSON is taken for a message: {}", String::from_utf8_lossy(line));
            // A lone surrogate is JSON to JavaScript, and no text to us.
            let (said, was) = (serde_json::from_slice::<Value>(&relayed), serde_json::from_slice::<Value>(line));
            if let (Ok(said), Ok(was)) = (said, was) {
                assert_eq!((&said["from"], &said["to"]), (&Value::from("app"), &Value::from("agent")));
                let data = if envelope.bare { &was } else { &was["data"] };
                assert_eq!(&said["data"], data, "the payload is untouched");
            }
            drop((inbound::real_port(&envelope), inbound::listens_at(&envelope)));
        }
        Inbound::Cluster(ClusterFrame::QueryServer(query)) => {
            let reply = outbound::round_robin_reply(1, query.seq, "key", query.data, None);
            assert!(serde_json::from_slice::<IgnoredAny>(&reply).is_ok(), "{}", String::from_utf8_lossy(&reply));
            // As above: a lone surrogate in the question's data is no text to us.
            if let Ok(reply) = serde_json::from_slice::<Value>(&reply) {
                assert_eq!(reply["ack"], query.seq);
            }
        }
        _ => {}
    }
}

/// A queue with handles under any order of pushes, writes of any length, acknowledgements and refusals: never two handles
/// without an answer, frames whole and in order, each handle given back once.
pub fn outbox(data: &[u8]) {
    let mut queue: Outbox<u8> = Outbox::default();
    let (mut expected, mut written) = (VecDeque::new(), Vec::new());
    let (mut in_flight, mut next, mut given_back) = (None, 0_u8, Vec::new());
    for pair in data.chunks(2) {
        let [what, amount] = [pair[0] % 6, *pair.get(1).unwrap_or(&1)];
        match what {
            0 | 1 => {
                let frame = frame(next, usize::from(amount));
                expected.push_back(frame.clone());
                if what == 0 {
                    queue.push(frame)
                } else {
                    assert!(queue.push_user(frame, 0).is_ok())
                }
                next = next.wrapping_add(1);
            }
            2 if queue.queued_bytes() < 4096 => {
                let frame = frame(next, usize::from(amount));
                expected.push_back(frame.clone());
                queue.push_handle(frame, next);
                next = next.wrapping_add(1);
            }
            3 => given_back.extend(queue.acknowledged().inspect(|handle| assert_eq!(in_flight.take(), Some(*handle)))),
            _ => {
                let Some(write) = queue.next_write() else { continue };
                if let Some(handle) = write.handle {
                    assert_eq!(in_flight, None, "a second handle goes before the first one is answered");
                    assert_eq!(write.pieces.len(), 1, "the frame of a handle goes alone");
                    in_flight = Some(*handle);
                }
                let all: Vec<u8> = write.pieces.concat();
                assert!(!all.is_empty(), "there is nothing to write in what is to be written");
                let taken = all.len().min(usize::from(amount).max(1));
                written.extend_from_slice(&all[..taken]);
                queue.wrote(taken);
            }
        }
        while let Some(first) = expected.front().filter(|first: &&Rc<Vec<u8>>| written.len() >= first.len()) {
            assert_eq!(&written[..first.len()], first.as_slice(), "frames are whole and in order");
            written.drain(..first.len());
            expected.pop_front();
        }
    }
    given_back.extend(queue.abandon());
    given_back.sort_unstable();
    let count = given_back.len();
    given_back.dedup();
    assert!(count == given_back.len() || next < 8, "a handle is given back twice: {given_back:?}");
}

fn frame(number: u8, length: usize) -> Rc<Vec<u8>> {
    let mut frame = vec![number; length];
    frame.push(b'\n');
    Rc::new(frame)
}

/// A client of the control socket that sends anything: one request at most is heard of it, one last answer at most goes out,
/// and what it gets is JSON, a line each.
pub fn control(data: &[u8]) {
    let (ours, mut theirs) = UnixStream::pair().expect("a socket pair");
    let mut client = Client::new(ours).expect("a client");
    let mut buffer = [0; 256];
    let (mut heard, mut ended) = (0, false);
    theirs.set_nonblocking(true).expect("a socket takes flags");
    let mut turns = 0;
    for piece in data.chunks(1000) {
        let mut left = piece;
        while !left.is_empty() && !ended {
            match theirs.write(left) {
                Ok(taken) => left = &left[taken..],
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => break,
            }
            ended |= hear(&mut client, &mut buffer, &mut heard);
            ended |= client.flush().is_err();
            turns += 1;
            assert!(turns < 100_000, "the client is heard for ever");
        }
    }
    let _ = theirs.shutdown(Shutdown::Write);
    while !ended && turns < 100_000 {
        ended = hear(&mut client, &mut buffer, &mut heard);
        ended |= client.flush().is_err();
        turns += 1;
    }
    drop(client);
    let mut answers = Vec::new();
    theirs.set_nonblocking(false).expect("a socket takes flags");
    let _ = std::io::Read::read_to_end(&mut theirs, &mut answers);
    assert!(heard <= 1, "{heard} requests of one client were heard");
    let last = answers.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let answers: Vec<Answer> = last.map(|line| serde_json::from_slice(line).expect("an answer is JSON")).collect();
    assert!(answers.len() <= 1, "{} last answers were sent", answers.len());
}

/// Is the client gone, or answered?
fn hear(client: &mut Client, buffer: &mut [u8], heard: &mut u32) -> bool {
    let Ok(word) = client.read(buffer) else { return false };
    match word {
        Heard::Nothing => false,
        Heard::End => true,
        Heard::Request(_) => {
            *heard += 1;
            client.answer(&Answer::Done(Receipt::default()));
            false
        }
    }
}

/// A package.json (up to the first NUL) and words typed after `eggctl start` (each up to the next NUL): options, or a failure
/// that says something and has an exit code of its own.
pub fn options(data: &[u8]) {
    let mut parts = data.split(|byte| *byte == 0);
    let package = parts.next().unwrap_or_default();
    let words = parts.map(|word| OsString::from_vec(word.to_vec())).take(20);
    let home = application(package);
    let typed = ["eggctl".into(), "start".into(), "svc".into()].into_iter().chain(words);
    let flags = match parse(typed) {
        Ok(cli) => cli,
        Err(NoCommand::Asked(text)) => return assert!(!text.is_empty()),
        Err(NoCommand::Wrong(failure)) => return assert!(!failure.to_string().is_empty()),
    };
    let Command::Start(flags) = flags.command else { return };
    let around = Surroundings {
        environment: BTreeMap::from([("PATH".into(), home.join("bin").into_os_string())]),
        cwd: home.clone(),
        passwd_home: Some(home.join("home")),
        usable_cpus: 3,
        scaled: None,
    };
    match resolve(&flags, &around) {
        Ok(options) => {
            assert!(!options.title.as_str().is_empty() && options.title.as_str().len() <= 200, "{:?}", options.title);
            assert!(options.workers >= 1, "no worker");
            let shown: Value = serde_json::from_str(&options.shown_json()).expect("what argv shows is JSON");
            assert_eq!(shown["title"], options.title.as_str());
            let text = serde_json::to_string(&options).expect("options cross to the master as JSON");
            let crossed: eggctl::options::Options = serde_json::from_str(&text).expect("and come back");
            assert_eq!(serde_json::to_string(&crossed).expect("as before"), text);
        }
        Err(failure) => {
            assert!(!failure.to_string().is_empty());
            assert!(matches!(failure.exit as u8, 1 | 2 | 4), "exit code {}", failure.exit as u8);
        }
    }
}

/// One directory for each thread that fuzzes, with a program that stands for node; the package.json is written each time.
fn application(package: &[u8]) -> PathBuf {
    thread_local! {
        static HOME: OnceLock<Scratch> = const { OnceLock::new() };
    }
    HOME.with(|home| {
        let home = &home.get_or_init(|| Scratch::new("options")).0;
        if !home.join("bin/node").exists() {
            for directory in ["svc", "bin", "home"] {
                fs::create_dir_all(home.join(directory)).expect("a directory");
            }
            fs::write(home.join("svc/app.js"), "").expect("a file");
            fs::write(home.join("bin/node"), "#!/bin/sh\n").expect("a file");
            fs::set_permissions(home.join("bin/node"), fs::Permissions::from_mode(0o755)).expect("its mode");
        }
        fs::write(home.join("svc/package.json"), package).expect("a file");
        home.clone()
    })
}

/// A log (from the second line on) searched for an expression (the first line) through a small buffer: the lines that match
/// one by one, whole and in order, and no others.
pub fn selection(data: &[u8]) {
    let Some(end) = data.iter().position(|byte| *byte == b'\n') else { return };
    let (first, content) = (&data[..end], &data[end + 1..]);
    let Some((size, expression)) = first.split_first() else { return };
    let Ok(expression) = std::str::from_utf8(expression) else { return };
    let Ok(regex) = RegexBuilder::new(expression).multi_line(true).size_limit(1 << 20).build() else { return };
    let is_chosen = |line: &&[u8]| regex.is_match(line.strip_suffix(b"\n").unwrap_or(line));
    let lines = content.split_inclusive(|byte| *byte == b'\n');
    let expected: Vec<u8> = lines.filter(is_chosen).flatten().copied().collect();
    let scratch = Scratch::file("selection", content);
    let source = Source::open(&scratch.0, false).ok().flatten().expect("the log");
    let mut selector = Selector::new(Some(regex.clone()), Span::default());
    selector.begin(i64::MIN, i64::MAX);
    let reader = source.reader(0).expect("a reader");
    let mut blocks = Blocks::with_buffer(reader, 0, usize::from(*size).max(4));
    let mut chosen = Vec::new();
    while let Some((offset, part)) = blocks.next(AtEnd::Finish).expect("the log is readable") {
        let taken = selector.take(offset, part, &source, &mut |part| {
            let (Part::Lines(bytes) | Part::Piece { bytes, .. }) = part;
            chosen.extend_from_slice(bytes);
            Ok(())
        });
        assert!(taken.is_ok());
    }
    assert_eq!(chosen, expected, "`{expression}` through a buffer of {size}");
}

/// A file or directory of this process's own, removed at its end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let thread = format!("{:?}", std::thread::current().id());
        let digits: String = thread.chars().filter(char::is_ascii_digit).collect();
        let path = std::env::temp_dir().join(format!("eggctl-fuzz-{name}-{}-{digits}", std::process::id()));
        let _ = fs::create_dir_all(&path);
        Scratch(fs::canonicalize(&path).unwrap_or(path))
    }

    fn file(name: &str, content: &[u8]) -> Self {
        let directory = Scratch::new(name);
        let path = directory.0.join("log");
        fs::write(&path, content).expect("a file");
        std::mem::forget(directory);
        Scratch(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let directory: &Path = if self.0.is_dir() { &self.0 } else { self.0.parent().unwrap_or(&self.0) };
        let _ = fs::remove_dir_all(directory);
    }
}
