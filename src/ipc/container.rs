//! Where an array or object ends, checked to be JSON on the way there.
//!
//! What is relayed goes through `JSON.parse` in every receiver, which throws on anything else and takes the receiver with it.
//! The compact form that `JSON.stringify` writes is checked 64 bytes at a time ([`compact`](super::compact)); whatever is not
//! found right there is looked at byte by byte here, which has the last word.

use super::{compact, scan};

/// Behind the array or object that begins with the bracket at `at`; `None` when it does not end, or is no JSON.
pub(super) fn end(json: &[u8], at: usize) -> Option<usize> {
    compact::end(json, at).or_else(|| byte_by_byte(json, at))
}

/// The kinds of the brackets that are open, a bit each: nesting has no bound, so that no text is refused that `JSON.parse`
/// takes.
#[derive(Default)]
pub(super) struct Open {
    /// Of the innermost ones, the last in the lowest bit.
    inner: u64,
    outer: Vec<u64>,
    depth: usize,
}

const BITS: usize = u64::BITS as usize;

impl Open {
    pub(super) fn push(&mut self, is_object: bool) {
        if self.depth > 0 && self.depth.is_multiple_of(BITS) {
            self.outer.push(self.inner);
        }
        self.inner = self.inner << 1 | u64::from(is_object);
        self.depth += 1;
    }

    pub(super) fn pop(&mut self) {
        self.inner >>= 1;
        self.depth = self.depth.saturating_sub(1);
        if self.depth > 0 && self.depth.is_multiple_of(BITS) {
            self.inner = self.outer.pop().unwrap_or_default();
        }
    }

    /// Is the innermost one an object?
    pub(super) fn is_object(&self) -> bool {
        self.inner & 1 == 1
    }

    pub(super) fn is_empty(&self) -> bool {
        self.depth == 0
    }
}

fn byte_by_byte(json: &[u8], mut at: usize) -> Option<usize> {
    let mut open = Open::default();
    loop {
        // A value begins here.
        at = match *json.get(at)? {
            b'{' => {
                open.push(true);
                let inside = scan::space(json, at + 1);
                if json.get(inside) != Some(&b'}') {
                    at = key(json, inside)?;
                    continue;
                }
                inside
            }
            b'[' => {
                open.push(false);
                let inside = scan::space(json, at + 1);
                if json.get(inside) != Some(&b']') {
                    at = inside;
                    continue;
                }
                inside
            }
            _ => scan::space(json, scan::scalar(json, at)?),
        };
        // It has ended, or the bracket that closes it, empty as it is, is next.
        loop {
            match (*json.get(at)?, open.is_object()) {
                (b',', is_object) => {
                    at = scan::space(json, at + 1);
                    if is_object {
                        at = key(json, at)?;
                    }
                    break;
                }
                (b'}', true) | (b']', false) => open.pop(),
                _ => return None,
            }
            if open.is_empty() {
                return Some(at + 1);
            }
            at = scan::space(json, at + 1);
        }
    }
}

/// Behind a key and its colon, where a value begins.
fn key(json: &[u8], at: usize) -> Option<usize> {
    let colon = scan::space(json, scan::string(json, at)?);
    (json.get(colon) == Some(&b':')).then(|| scan::space(json, colon + 1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::value::RawValue;

    use super::*;

    fn json() -> impl Strategy<Value = serde_json::Value> {
        let text = "[a-z\"\\\\{}\\[\\]\n:,é]{0,30}";
        let number = prop_oneof![
            any::<i32>().prop_map(serde_json::Value::from),
            any::<f64>().prop_map(serde_json::Value::from),
            (0..3).prop_map(serde_json::Value::from)
        ];
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            number,
            text.prop_map(Into::into)
        ];
        leaf.prop_recursive(6, 200, 10, move |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..10).prop_map(Into::into),
                proptest::collection::btree_map(text, inner, 0..10)
                    .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
            ]
        })
    }

    fn is_json(text: &[u8]) -> bool {
        serde_json::from_slice::<&RawValue>(text).is_ok()
    }

    #[test]
    fn brackets_quotes_and_escapes_are_seen_at_every_place_of_a_block() {
        for length in 0..200 {
            let filler = "x".repeat(length);
            for (inside, ends) in
                [(r"", true), (r#"\""#, true), (r"\\", true), (r#"\\\""#, true), (r#"}]\\"#, true), (r"\", false)]
            {
                let json = format!(r#"{{"{filler}{inside}":[]}}"#);
                assert_eq!(end(json.as_bytes(), 0), ends.then_some(json.len()), "{json}");
                let cut = json.get(..json.len() - 1).unwrap();
                assert_eq!(end(cut.as_bytes(), 0), None, "{cut}");
            }
        }
    }

    #[test]
    fn what_json_parse_would_throw_on_does_not_end_wherever_it_stands_in_a_block() {
        const BROKEN: &[&str] = &[
            "[}",
            "{]",
            "[1}",
            "[,]",
            "[1,]",
            "[,1]",
            "[1 2]",
            "[1,,2]",
            "[:]",
            "[1:2]",
            r#"["a":1]"#,
            "{,}",
            r#"{"a"}"#,
            r#"{"a":}"#,
            r#"{"a":1,}"#,
            r#"{"a":1 "b":2}"#,
            r#"{"a","b"}"#,
            r#"{"a":1:2}"#,
            r#"{"a":"b":"c"}"#,
            r#"{a:1}"#,
            r#"{"a":[]"b":1}"#,
            "{1:2}",
            "{[]:1}",
            r#"{"a":{}:1}"#,
            "[01]",
            "[00]",
            "[-]",
            "[-01]",
            "[1.]",
            "[.5]",
            "[1.2.3]",
            "[1e]",
            "[1e+]",
            "[1-2]",
            "[+1]",
            "[--1]",
            "[0x1]",
            "[tru]",
            "[trues]",
            "[nul]",
            "[falsey]",
            "[NaN]",
            "[True]",
            "[truefalse]",
            "[1true]",
            "[\"\u{1}\"]",
            "[\"a\nb\"]",
            r#"["\x"]"#,
            r#"["\u12g4"]"#,
            r#"["\u123"]"#,
            "[é]",
            "[\\]",
            r#"[""""]"#,
            r#"["a"1]"#,
            r#"[1"a"]"#,
            "[[]1]",
            "[1[]]",
            "[{}[]]",
            "[']",
            "[//]",
            "[\u{a0}]",
            "[undefined]",
            "[-a]",
            "[1.e5]",
            "[1E5.5]",
            "[\u{b}1]",
        ];
        for length in 0..140 {
            let before = "x".repeat(length);
            for broken in BROKEN {
                for json in [format!(r#"["{before}",{broken}]"#), format!(r#"{{"{before}":{broken},"b":[1]}}"#)] {
                    assert_eq!(end(json.as_bytes(), 0), None, "{json}");
                }
            }
            for fine in [
                "[]",
                "{}",
                "[[],{}]",
                "[0,-0,10,-1.5,1.25e-3,1E5,0.5]",
                "[true,false,null]",
                "[ 1 , 2 ]",
                r#"{ "a" : [ ] }"#,
                r#"["\u00e9\n\"\\",""]"#,
                r#"{"":{"":""}}"#,
                "[\"\u{7f}é\"]",
                "[ ]",
                "{ }",
            ] {
                let json = format!(r#"["{before}",{fine}]"#);
                assert_eq!(end(json.as_bytes(), 0), Some(json.len()), "{json}");
            }
        }
    }

    #[test]
    fn nesting_has_no_bound_and_each_bracket_needs_one_of_its_kind() {
        for depth in [1, 63, 64, 65, 127, 128, 129, 1_000, 100_000] {
            let kinds: Vec<bool> = (0..depth).map(|n| n % 3 == 0).collect();
            let open: String = kinds.iter().map(|is_object| if *is_object { r#"{"k":"# } else { "[" }).collect();
            let close: String = kinds.iter().rev().map(|is_object| if *is_object { "}" } else { "]" }).collect();
            let json = format!("{open}1{close}");
            assert_eq!(end(json.as_bytes(), 0), Some(json.len()), "{depth}");
            let wrong = close.replacen(['}', ']'], if close.starts_with('}') { "]" } else { "}" }, 1);
            assert_eq!(end(format!("{open}1{wrong}").as_bytes(), 0), None, "{depth}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 3_000, max_global_rejects: 10_000, ..ProptestConfig::default() })]

        #[test]
        fn it_ends_where_serde_sees_it_end(json in json(), before in "[ -~]{0,70}", behind in "[ -~]{0,70}", pretty: bool) {
            let text = if pretty { serde_json::to_string_pretty(&json).unwrap() } else { json.to_string() };
            prop_assume!(text.starts_with(['[', '{']));
            prop_assert!(is_json(text.as_bytes()));
            let whole = format!("{before}{text}{behind}");
            prop_assert_eq!(end(whole.as_bytes(), before.len()), Some(before.len() + text.len()));
            // What Node writes needs no second look.
            prop_assert_eq!(compact::end(text.as_bytes(), 0).is_some(), !pretty || !text.contains(['\n', ' ']));
        }

        #[test]
        fn with_one_byte_changed_it_ends_when_serde_accepts_it(
            json in json(), place in any::<prop::sample::Index>(), byte in prop::sample::select(b"{}[]:,\"\\ \t01-+.eEtfnlux/".to_vec()),
        ) {
            let mut text = format!("[{json}]").into_bytes();
            let place = 1 + place.index(text.len() - 1);
            text[place] = byte;
            prop_assume!(std::str::from_utf8(&text).is_ok());
            let shown = String::from_utf8_lossy(&text).into_owned();
            prop_assert_eq!(end(&text, 0) == Some(text.len()), is_json(&text), "{}", shown);
            prop_assert!(compact::end(&text, 0).is_none_or(|end| byte_by_byte(&text, 0) == Some(end)), "{}", shown);
        }
    }
}
