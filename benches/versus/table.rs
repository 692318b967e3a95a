//! The table: n, median, range, ratio, and what is required beside it.

use crate::Samples;
use crate::contestant::Contestant::{self, Ours, OursNode};

/// What must hold of a row.
pub enum Required {
    /// Our median over that contestant's.
    Ratio(Contestant, f64),
    /// The same, where more is better.
    RatioAtLeast(Contestant, f64),
    /// One of two such ratios.
    EitherRatio([(Contestant, f64); 2]),
    /// Our median, in the row's unit.
    AtMost(f64),
}

/// One row.
pub struct Row {
    pub name: &'static str,
    pub what: &'static str,
    pub unit: &'static str,
    pub required: &'static [Required],
}

fn median(samples: &[f64]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 }
}

/// Three digits that mean something.
fn shown(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        small if small < 10.0 => format!("{value:.2}"),
        middle if middle < 100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

/// Prints the rows; false when a requirement is missed.
pub fn print(rows: &[&Row], samples: &Samples) -> bool {
    println!("| figure | who | n | median | range | ours / theirs |");
    println!("|---|---|---|---|---|---|");
    let mut verdicts = Vec::new();
    for row in rows {
        let of = |who: Contestant| samples.get(&(row.name, who)).map(|samples| median(samples));
        let ours = of(Ours).expect("we take part in every row");
        for who in Contestant::ALL {
            let Some(samples) = samples.get(&(row.name, who)) else { continue };
            let (low, high) = samples.iter().fold((f64::MAX, f64::MIN), |(low, high), s| (low.min(*s), high.max(*s)));
            let theirs = median(samples);
            let ratio = if matches!(who, Ours | OursNode) || theirs == 0.0 {
                String::new()
            } else {
                format!("{:.4}", ours / theirs)
            };
            let unit = row.unit;
            println!(
                "| {} | {} | {} | {} {unit} | {}–{} | {ratio} |",
                row.what,
                who.name(),
                samples.len(),
                shown(theirs),
                shown(low),
                shown(high)
            );
        }
        verdicts.extend(row.required.iter().map(|required| verdict(row, required, ours, &of)));
    }
    println!("\n| required | measured | |\n|---|---|---|");
    for (required, measured, holds) in &verdicts {
        println!("| {required} | {measured} | {} |", if *holds { "holds" } else { "MISSED" });
    }
    verdicts.iter().all(|(_, _, holds)| *holds)
}

fn verdict(
    row: &Row,
    required: &Required,
    ours: f64,
    of: &dyn Fn(Contestant) -> Option<f64>,
) -> (String, String, bool) {
    let ratio = |who: Contestant| ours / of(who).expect("a required peer takes part");
    match required {
        Required::Ratio(who, most) => {
            let measured = ratio(*who);
            let text = format!("{}: at most {most:.4} of {}", row.name, who.name());
            (text, format!("{measured:.4}"), measured <= *most)
        }
        Required::RatioAtLeast(who, least) => {
            let measured = ratio(*who);
            let text = format!("{}: at least {least} times {}", row.name, who.name());
            (text, format!("{measured:.2}"), measured >= *least)
        }
        Required::EitherRatio(either) => {
            let text = either.map(|(who, most)| format!("{most} of {}", who.name())).join(" or ");
            let measured = either.map(|(who, _)| format!("{:.3}", ratio(who))).join(" and ");
            let holds = either.iter().any(|(who, most)| ratio(*who) <= *most);
            (format!("{}: at most {text}", row.name), measured, holds)
        }
        Required::AtMost(most) => {
            let text = format!("{}: at most {most} {}", row.name, row.unit);
            (text, format!("{} {}", shown(ours), row.unit), ours <= *most)
        }
    }
}
