//! The bytes that every match of an expression has in it: a line without them need not be asked.
//!
//! The regex crate looks for such bytes only where they help it to find where a match begins; here whole lines are chosen, so
//! they may stand anywhere.

use regex_syntax::ParserBuilder;
use regex_syntax::hir::{Hir, HirKind};

/// A repetition of more is taken for so many.
const MOST_TIMES: u32 = 64;

/// The longest run of bytes that every match has in it; `None`: there is none.
pub fn required(expression: &str) -> Option<Vec<u8>> {
    // As the regex crate parses it for bytes.
    let parsed = ParserBuilder::new().utf8(false).multi_line(true).build().parse(expression).ok()?;
    let mut runs = Runs::default();
    runs.add(&parsed);
    runs.cut();
    (!runs.longest.is_empty()).then_some(runs.longest)
}

/// The runs of an expression, read from left to right.
#[derive(Default)]
struct Runs {
    /// What the part before must end with.
    current: Vec<u8>,
    longest: Vec<u8>,
}

impl Runs {
    fn add(&mut self, part: &Hir) {
        match part.kind() {
            HirKind::Literal(literal) => self.current.extend_from_slice(&literal.0),
            HirKind::Concat(parts) => parts.iter().for_each(|part| self.add(part)),
            HirKind::Capture(capture) => self.add(&capture.sub),
            HirKind::Repetition(repetition) => {
                let times = repetition.min.min(MOST_TIMES);
                (0..times).for_each(|_| self.add(&repetition.sub));
                if repetition.max != Some(times) {
                    self.cut();
                }
            }
            // They match nothing: what stands around them stands side by side.
            HirKind::Empty | HirKind::Look(_) => {}
            HirKind::Class(_) | HirKind::Alternation(_) => self.cut(),
        }
    }

    /// What follows need not stand right behind.
    fn cut(&mut self) {
        let run = std::mem::take(&mut self.current);
        if run.len() > self.longest.len() {
            self.longest = run;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_every_match_has_is_found_wherever_it_stands() {
        for (expression, expected) in [
            ("^2026.*ERROR.*77", Some("ERROR")),
            ("ERROR", Some("ERROR")),
            (r"worker#[0-9]+ .*: 9{4}ms$", Some(": 9999ms")),
            ("(?P<a>ab)(cd)", Some("abcd")),
            (r"ab\bcd", Some("abcd")),
            ("a(bc)+d", Some("abc")),
            ("(xyz){2,}", Some("xyzxyz")),
            ("x?long(er)?", Some("long")),
            ("a*", None),
            ("one|two", None),
            ("(one|two) of three", Some(" of three")),
            ("(?i)error", None),
            ("[0-9]+", None),
            ("", None),
            ("(?-u:\\xff)", Some("\u{fffd}")),
            ("a(?:", None),
        ] {
            let found = required(expression).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
            assert_eq!(found.as_deref(), expected, "{expression}");
        }
    }

    #[test]
    fn a_repetition_of_repetitions_stays_small() {
        assert!(required("((a{60}){60}){60}").is_some_and(|run| run.len() < 1 << 20));
    }
}
