//! The fuzz targets as ordinary tests: every seed of the corpus, then some seconds of mutations of the seeds.
//!
//! The mutations of a run follow from one number, which a failure names: `EGGCTL_SEED=n` runs them again, `EGGCTL_LONG=1` runs
//! each target for two minutes. `fuzz/README.md` says how libFuzzer runs the same bodies.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use crate::harness::is_long;

#[path = "../fuzz/bodies.rs"]
mod bodies;

/// An input is no longer than this, in bytes.
const LONGEST: usize = 4096;

/// xorshift64*: enough to choose mutations, and the same on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit.max(1) as u64).unwrap()
    }
}

/// The seeds of a target, by name.
fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut seeds: Vec<_> = fs::read_dir(&directory)
        .unwrap_or_else(|error| panic!("{}: {error}", directory.display()))
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect();
    seeds.sort();
    assert!(!seeds.is_empty(), "no seed in {}", directory.display());
    seeds
}

/// A few changes of one seed: bits, bytes, pieces copied, removed, doubled, or taken from another seed.
fn mutated(seeds: &[(PathBuf, Vec<u8>)], random: &mut Random) -> Vec<u8> {
    const TELLING: &[&[u8]] =
        &[b"\n", b"\0", b"\"", b"\\", b"{", b"}", b"[", b"]", b":", b",", b"--", b"=", b"\xff", b"\\ud800"];
    let mut input = seeds[random.below(seeds.len())].1.clone();
    for _ in 0..=random.below(6) {
        let at = random.below(input.len() + 1);
        let end = (at + random.below(16)).min(input.len());
        match random.below(6) {
            0 if at < input.len() => input[at] ^= 1 << random.below(8),
            1 => drop(input.splice(at..at, TELLING[random.below(TELLING.len())].iter().copied())),
            2 => drop(input.drain(at..end)),
            3 => {
                let piece = input[at..end].to_vec();
                let to = random.below(input.len() + 1);
                input.splice(to..to, piece);
            }
            4 => {
                let other = &seeds[random.below(seeds.len())].1;
                let from = random.below(other.len() + 1);
                let until = (from + random.below(64)).min(other.len());
                input.splice(at..end, other[from..until].iter().copied());
            }
            _ => input.insert(at, random.next().to_le_bytes()[0]),
        }
    }
    input.truncate(LONGEST);
    input
}

fn fuzz(name: &str) {
    let (_, body) = bodies::TARGETS.iter().find(|(target, _)| *target == name).expect("a target of this name");
    let seeds = corpus(name);
    for (path, seed) in &seeds {
        let passed = catch_unwind(AssertUnwindSafe(|| body(seed)));
        assert!(passed.is_ok(), "the seed {} fails", path.display());
    }
    let given = std::env::var("EGGCTL_SEED").ok().map(|text| text.parse().expect("EGGCTL_SEED is a number"));
    let clock = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let number: u64 = given.unwrap_or_else(clock);
    let mut random = Random(number | 1);
    let until = Instant::now() + Duration::from_secs(if is_long() { 120 } else { 3 });
    let mut runs = 0_u64;
    while Instant::now() < until {
        let input = mutated(&seeds, &mut random);
        let passed = catch_unwind(AssertUnwindSafe(|| body(&input)));
        assert!(passed.is_ok(), "EGGCTL_SEED={number}, input {runs}: {:?}", String::from_utf8_lossy(&input));
        runs += 1;
    }
    eprintln!("note: {name}: {} seeds and {runs} mutations (EGGCTL_SEED={number})", seeds.len());
    assert!(runs > 10, "only {runs} inputs were tried");
}

#[test]
fn frames_of_a_channel_are_the_same_however_they_are_cut_and_relayed_as_json() {
    fuzz("frames");
}

#[test]
fn a_queue_with_handles_keeps_its_order_whatever_happens_to_it() {
    fuzz("outbox");
}

#[test]
fn a_control_client_may_send_anything_and_gets_one_answer() {
    fuzz("control");
}

#[test]
fn any_package_json_and_any_flags_give_options_or_a_reason() {
    fuzz("options");
}

#[test]
fn the_lines_that_a_search_chooses_are_those_that_match_one_by_one() {
    fuzz("selection");
}

#[test]
fn a_member_that_asks_sixty_questions_of_thirty_mebibytes_is_read_frame_by_frame() {
    let data = "x".repeat(30 << 20);
    let mut question = format!(
        r#"{{"cmd":"NODE_CLUSTER","act":"queryServer","seq":1,"index":0,"address":null,"port":0,"addressType":4,"data":"{data}"}}"#
    );
    question.push('\n');
    let mut lines = eggctl::ipc::lines::Lines::new(64 << 20);
    for _ in 0..60 {
        for mut piece in question.as_bytes().chunks(64 << 10) {
            while let Some(line) = lines.next_line(&mut piece) {
                let line = line.expect("30 MiB are no line over 64 MiB");
                assert!(matches!(eggctl::ipc::inbound::read(line), eggctl::ipc::inbound::Inbound::Cluster(_)));
            }
        }
    }
    assert_eq!(lines.pending(), 0);
}
