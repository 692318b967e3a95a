//! What capturing output costs: `cargo bench --bench logs [-- MIB]`, 1024 without. Prints two Markdown tables and exits 1 when a
//! required ratio is missed.
//!
//! * [`capturer`]: CPU and speed beside `cat > file`, rotatelogs, s6-log, multilog, svlogd, supervisord and pm2. A producer writes
//!   lines of 100 bytes, 64 KiB at once or a line at once. Those that are not installed are left out (pm2 is installed by
//!   `cargo bench --bench versus`).
//! * [`flood`]: how long a new connection takes while a member prints, beside the same prints straight into a file.
//!
//! Rounds are interleaved, because only ratios within one run count on a machine that others share.
#![allow(missing_docs)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod capturer;
mod flood;

use std::process::ExitCode;

use self::capturer::{Capturer, LINE};

const ROUNDS: usize = 7;
/// `(name, bytes per write, share of the volume, required CPU beside cat's)`.
const WRITES: &[(&str, usize, usize, f64)] = &[("64 KiB", 64 * 1024, 1, 1.0), ("a line", LINE, 8, 0.6)];

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().collect();
    if words.get(1).is_some_and(|word| word == "produce") {
        capturer::produce(words[2].parse().unwrap(), words[3].parse().unwrap(), words.get(4));
        return ExitCode::SUCCESS;
    }
    let mib: usize = words.iter().skip(1).find_map(|word| word.parse().ok()).unwrap_or(1024);
    let missed = [capture(mib), flood::measure(ROUNDS)];
    ExitCode::from(u8::from(missed.contains(&true)))
}

fn capture(mib: usize) -> bool {
    let place = std::env::temp_dir().join(format!("eggctl-logs-bench-{}", std::process::id()));
    let capturers: Vec<Capturer> = Capturer::ALL.iter().copied().filter(|one| one.is_here()).collect();
    println!("Medians of {ROUNDS} interleaved rounds, lines of {LINE} bytes, rotation at 100 MiB, no compression\n");
    println!("| writes | capturer | MB/s | CPU s/GB | CPU beside cat | required |\n|---|---|---|---|---|---|");
    let mut missed = false;
    for (name, write, share, required) in WRITES {
        let mut results = vec![Vec::new(); capturers.len()];
        for _ in 0..ROUNDS {
            for (capturer, results) in capturers.iter().zip(&mut results) {
                let bytes = mib * 1024 * 1024 / share.max(&capturer.share()) / LINE * LINE;
                results.push(capturer.run(&place, *write, bytes));
            }
        }
        let of = |results: &[(f64, f64)], which: fn(&(f64, f64)) -> f64| median(results.iter().map(which).collect());
        let cat = of(&results[1], |result| result.1);
        for (capturer, results) in capturers.iter().zip(&results) {
            let (speed, cpu) = (of(results, |result| result.0), of(results, |result| result.1));
            let ours = matches!(capturer, Capturer::Logger);
            missed |= ours && cpu / cat > *required;
            let required = if ours { format!("<= {required}") } else { String::new() };
            println!("| {name} | {} | {speed:.0} | {cpu:.2} | {:.2} | {required} |", capturer.name(), cpu / cat);
        }
    }
    missed
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
