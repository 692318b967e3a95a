//! Walks over one JSON text: where its values end.
//!
//! All of it is checked as `JSON.parse` checks it, arrays and objects by [`container`]. Bytes that are no UTF-8 pass inside
//! strings, where Node's decoder makes U+FFFD of them.

use super::container;

/// Behind the value that begins at `at`; `None` when no value begins there, or does not end.
pub(super) fn value(json: &[u8], at: usize) -> Option<usize> {
    match *json.get(at)? {
        b'{' | b'[' => container::end(json, at),
        _ => scalar(json, at),
    }
}

/// The same of a value that is neither an array nor an object.
pub(super) fn scalar(json: &[u8], at: usize) -> Option<usize> {
    match *json.get(at)? {
        b'"' => string(json, at),
        b't' | b'f' | b'n' => any_word(json, at),
        _ => number(json, at),
    }
}

/// Behind `true`, `false` or `null`.
pub(super) fn any_word(json: &[u8], at: usize) -> Option<usize> {
    [b"true".as_slice(), b"false", b"null"].iter().find_map(|one| word(json, at, one))
}

/// Behind the spaces at `at`.
pub(super) fn space(json: &[u8], mut at: usize) -> usize {
    while matches!(json.get(at), Some(b' ' | b'\t' | b'\r' | b'\n')) {
        at += 1;
    }
    at
}

/// Behind the string that begins with the quote at `at`.
pub(super) fn string(json: &[u8], at: usize) -> Option<usize> {
    let mut at = word(json, at, b"\"")?;
    loop {
        at += plain(json.get(at..)?);
        match *json.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at = escape(json, at + 1)?,
            _ => return None,
        }
    }
}

/// How many bytes there are before the first quote, backslash or control character.
fn plain(text: &[u8]) -> usize {
    /// Shorter strings end within so many steps of a word; it is not worth to begin a search for the end of the others.
    const SHORT: usize = 64;
    let mut at = 0;
    for word in text.as_chunks().0.iter().take(SHORT / 8) {
        let special = specials(u64::from_le_bytes(*word));
        if special != 0 {
            return at + (special.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    let rest = text.get(at..).unwrap_or_default();
    let end = memchr::memchr2(b'"', b'\\', rest).unwrap_or(rest.len());
    let rest = rest.get(..end).unwrap_or_default();
    // The least of all first: that is done by many bytes at a time.
    let least = rest.iter().fold(u8::MAX, |least, byte| least.min(*byte));
    let control = if least < b' ' { rest.iter().position(|byte| *byte < b' ') } else { None };
    at + control.unwrap_or(end)
}

/// The highest bit of each quote, backslash and control character among eight bytes; above the lowest such bit there may
/// be others by the carry.
fn specials(word: u64) -> u64 {
    const ONES: u64 = u64::MAX / 255;
    let zero_in = |word: u64| word.wrapping_sub(ONES) & !word;
    let control = word.wrapping_sub(ONES * 0x20) & !word;
    let each = |byte: u8| zero_in(word ^ (ONES * u64::from(byte)));
    (control | each(b'"') | each(b'\\')) & (ONES << 7)
}

/// Behind what follows a backslash.
pub(super) fn escape(json: &[u8], at: usize) -> Option<usize> {
    match *json.get(at)? {
        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(at + 1),
        b'u' => json.get(at + 1..at + 5)?.iter().all(u8::is_ascii_hexdigit).then_some(at + 5),
        _ => None,
    }
}

fn number(json: &[u8], at: usize) -> Option<usize> {
    let at = at + usize::from(*json.get(at)? == b'-');
    let mut at = if *json.get(at)? == b'0' { at + 1 } else { digits(json, at)? };
    if json.get(at) == Some(&b'.') {
        at = digits(json, at + 1)?;
    }
    if matches!(json.get(at), Some(b'e' | b'E')) { exponent(json, at) } else { Some(at) }
}

/// Behind the exponent that begins with the letter at `at`.
pub(super) fn exponent(json: &[u8], at: usize) -> Option<usize> {
    let digits_at = match json.get(at..)? {
        [b'e' | b'E', b'+' | b'-', ..] => at + 2,
        [b'e' | b'E', ..] => at + 1,
        _ => return None,
    };
    digits(json, digits_at)
}

/// Behind at least one digit.
fn digits(json: &[u8], mut at: usize) -> Option<usize> {
    let begin = at;
    while json.get(at).is_some_and(u8::is_ascii_digit) {
        at += 1;
    }
    (at > begin).then_some(at)
}

fn word(json: &[u8], at: usize, word: &[u8]) -> Option<usize> {
    json.get(at..)?.starts_with(word).then_some(at + word.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn accepts(json: &[u8]) -> bool {
        value(json, 0) == Some(json.len())
    }

    fn serde_accepts(json: &[u8]) -> bool {
        serde_json::from_slice::<&serde_json::value::RawValue>(json).is_ok()
    }

    #[test]
    fn a_string_ends_where_it_ends_however_long_it_is() {
        for length in 0..200 {
            for (special, valid) in
                [("\"", true), ("\\n\"", true), ("\\\"\"", true), ("\n\"", false), ("\u{1f}\"", false), ("", false)]
            {
                let json = format!("\"{}{special}", "é~\u{7f} !#[]".chars().cycle().take(length).collect::<String>());
                assert_eq!(string(json.as_bytes(), 0), valid.then_some(json.len()), "{json:?}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 20_000, ..ProptestConfig::default() })]

        #[test]
        fn a_scalar_that_serde_accepts_is_accepted_and_nothing_else(
            json in prop_oneof![
                "-?[0-9]{0,2}(\\.[0-9]{0,2})?([eE][+-]?[0-9]?)?", "true|false|null|nul", "[a-z0-9\"]{1,3}",
                "\"[a-z\\\\\"u0-9 \n]{0,12}\"", "\"[a-z]{0,90}\"", "\"\\PC{0,20}\"",
            ],
        ) {
            prop_assert_eq!(accepts(json.as_bytes()), serde_accepts(json.as_bytes()), "{}", json);
        }

        #[test]
        fn a_text_with_one_byte_changed_is_accepted_when_serde_accepts_it(
            text in "[a-z\"\\\\\n]{0,90}", place in any::<prop::sample::Index>(), byte in 0u8..0x80,
        ) {
            let mut json = serde_json::Value::from(text).to_string().into_bytes();
            prop_assert!(accepts(&json));
            let place = place.index(json.len());
            json[place] = byte;
            prop_assume!(!json.starts_with(b"[") && !json.starts_with(b"{"));
            prop_assert_eq!(accepts(&json), serde_accepts(&json), "{}", String::from_utf8_lossy(&json));
        }
    }
}
