//! How the text of a member stands in a line of ours, in a log or on a terminal: cut, and without what a terminal obeys.

/// How many characters of it are shown.
const MOST: usize = 256;

/// The text, cut and escaped. What is cut off is told by its end.
#[must_use]
pub fn shown(text: &str) -> String {
    let mut shown = String::new();
    for (count, character) in text.chars().enumerate() {
        if count == MOST {
            shown.push('…');
            break;
        }
        match character {
            '"' | '\'' => shown.push(character),
            other => shown.extend(other.escape_debug()),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_and_has_nothing_that_a_terminal_obeys() {
        assert_eq!(shown("/srv/app's.sock"), "/srv/app's.sock");
        assert_eq!(shown("a\u{1b}]0;x\u{7}\nb\u{202e}c\0"), "a\\u{1b}]0;x\\u{7}\\nb\\u{202e}c\\0");
        let long = shown(&"é".repeat(1_500_000));
        assert_eq!(long.chars().count(), MOST + 1);
        assert!(long.ends_with("é…"));
    }
}
