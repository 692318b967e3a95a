//! `eggctl logs --grep` beside `cat | grep` and `zcat | grep`: `cargo bench --bench logs_read [-- MIB]`, 1024 without.
//!
//! Rounds are interleaved, because only ratios within one run count on a machine that others share. Both sides write into a
//! pipe and must write the same bytes. Prints a Markdown table and exits 1 when a ratio is above the required one.
#![allow(missing_docs)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Instant;

use flate2::Compression;
use flate2::write::GzEncoder;

const ROUNDS: usize = 7;
const REQUIRED: f64 = 1.5;
const TITLE: &str = "logs-read-bench";
/// What is looked for: one line in a million, one in ten, by more than letters, by letters that do not begin the match.
const EXPRESSIONS: &[(&str, &str)] = &[
    ("rare", "request 7654321 "),
    ("one line in ten", "ERROR"),
    ("expression", r"worker#[0-9]+ .*: 9{4}ms"),
    ("from the line on", "^2026.*ERROR.*77"),
];

fn main() -> ExitCode {
    let mib: u64 = std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(1024);
    let bench = Bench { directory: std::env::temp_dir().join(format!("eggctl-logs-read-{}", std::process::id())) };
    fs::create_dir_all(&bench.directory).unwrap();
    bench.start_once();
    println!("`eggctl logs --grep` on {mib} MiB, medians of {ROUNDS} interleaved rounds\n");
    println!("| log | lines looked for | eggctl, s | peer, s | ratio | required |\n|---|---|---|---|---|---|");
    let mut missed = false;
    for compressed in [false, true] {
        let file = bench.lay_out(mib, compressed);
        let cat = if compressed { "zcat" } else { "cat" };
        for (what, expression) in EXPRESSIONS {
            let ours = format!("{} logs --title={TITLE} --stdout --grep='{expression}'", env!("CARGO_BIN_EXE_eggctl"));
            let peers = format!("{cat} {} | grep -E '{expression}'", file.display());
            let (ours, peers) = bench.compare(&ours, &peers);
            let ratio = ours / peers;
            missed |= ratio > REQUIRED;
            println!(
                "| {} | {what} | {ours:.2} | {peers:.2} (`{cat} \\| grep`) | {ratio:.2} | <= {REQUIRED} |",
                if compressed { "gzip" } else { "plain" }
            );
        }
        fs::remove_file(file).unwrap();
    }
    ExitCode::from(u8::from(missed))
}

struct Bench {
    directory: PathBuf,
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

impl Bench {
    fn shell(&self, script: &str) -> String {
        let mut command = Command::new("sh");
        command.args(["-c", script]).env("EGGCTL_STATE_DIR", self.directory.join("state")).env("LC_ALL", "C");
        let output = command.output().unwrap();
        assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The application whose logs they are has run once.
    fn start_once(&self) {
        let directory = self.directory.display();
        fs::write(
            self.directory.join("server.js"),
            "process.send({ action: 'app-start' }); setInterval(() => {}, 1e9);",
        )
        .unwrap();
        let eggctl = env!("CARGO_BIN_EXE_eggctl");
        let logs = format!("--stdout={directory}/out.log --stderr={directory}/err.log");
        self.shell(&format!("{eggctl} start --daemon --title={TITLE} --workers=1 {logs} {directory}/server.js"));
        self.shell(&format!("{eggctl} stop --title={TITLE}"));
        let _ = fs::remove_file(self.directory.join("out.log"));
    }

    /// Egg's lines, as the live log or as one compressed old log.
    fn lay_out(&self, mib: u64, compressed: bool) -> PathBuf {
        let name = if compressed { "out.log.20261121.051358.0000.gz" } else { "out.log" };
        let path = self.directory.join(name);
        let out = BufWriter::new(File::create(&path).unwrap());
        if compressed {
            let mut encoder = GzEncoder::new(out, Compression::default());
            write_lines(&mut encoder, mib * 1024 * 1024);
            encoder.finish().unwrap().flush().unwrap();
        } else {
            let mut out = out;
            write_lines(&mut out, mib * 1024 * 1024);
            out.flush().unwrap();
        }
        path
    }

    /// The medians of both, in seconds.
    fn compare(&self, ours: &str, peers: &str) -> (f64, f64) {
        assert_eq!(
            self.shell(&format!("{ours} | cksum")),
            self.shell(&format!("{peers} | cksum")),
            "not the same lines"
        );
        let time = |script: &str| {
            let began = Instant::now();
            // grep writes nothing at all when it sees /dev/null.
            self.shell(&format!("{script} | cat > /dev/null"));
            began.elapsed().as_secs_f64()
        };
        let (mut first, mut second) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            first.push(time(ours));
            second.push(time(peers));
        }
        (median(first), median(second))
    }
}

fn write_lines(out: &mut impl Write, bytes: u64) {
    let (mut written, mut number, mut noise) = (0, 0_u64, 0x9e37_79b9_7f4a_7c15_u64);
    while written < bytes {
        // xorshift: the lines must not compress to nothing.
        noise ^= noise << 13;
        noise ^= noise >> 7;
        noise ^= noise << 17;
        let level = if number.is_multiple_of(10) { "ERROR" } else { "INFO" };
        let line = format!(
            "2026-11-21 05:{:02}:{:02},{:03} {level} 4711 [-/127.0.0.1/{noise:016x}/{}ms GET /api/v1/items/{}] worker#{} request {number} done: {}ms\n",
            number / 60_000 % 60,
            number / 1000 % 60,
            number % 1000,
            noise % 977,
            noise % 100_003,
            number % 8,
            noise % 10_007,
        );
        out.write_all(line.as_bytes()).unwrap();
        written += line.len() as u64;
        number += 1;
    }
}

fn median(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}
