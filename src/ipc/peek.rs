//! Looks into one JSON text for a few fields and leaves everything else bytes.
//!
//! What it sees is what Node's `JSON.parse` would see: of equal keys the last one counts, and a key or text may be
//! written with escapes. What is inside of arrays and objects it does not look at.

use std::borrow::Cow;

use serde::de::{Deserialize, Deserializer, Error, Visitor};
use serde_json::value::RawValue;

use super::scan;

/// The values of the fields `names` of an object, in that order; `None` when `json` is no object or no JSON at all.
///
/// Only the values of these fields become text. (Nor are keys decoded by serde: a lone surrogate, `"\ud800"`, which
/// `JSON.stringify` does write, is an error to it in a text.)
pub(super) fn fields<'a, const N: usize>(json: &'a [u8], names: [&str; N]) -> Option<[Option<&'a RawValue>; N]> {
    let mut found = [None; N];
    let mut at = scan::space(json, 0);
    if *json.get(at)? != b'{' {
        return None;
    }
    at = scan::space(json, at + 1);
    if *json.get(at)? != b'}' {
        loop {
            let behind_key = scan::string(json, at)?;
            let key = json.get(at..behind_key)?;
            let colon = scan::space(json, behind_key);
            let begin = scan::space(json, colon + 1);
            let end = scan::value(json, begin).filter(|_| json.get(colon) == Some(&b':'))?;
            if let Some((place, _)) = found.iter_mut().zip(names).find(|(_, name)| is_name(key, name)) {
                *place = Some(json.get(begin..end)?);
            }
            at = scan::space(json, end);
            match *json.get(at)? {
                b',' => at = scan::space(json, at + 1),
                b'}' => break,
                _ => return None,
            }
        }
    }
    let ends = scan::space(json, at + 1) == json.len();
    ends.then(|| found.map(|value| value.and_then(|value| serde_json::from_slice(value).ok())))
}

/// Is this key, in its quotes, that name? A key may be written with escapes.
fn is_name(key: &[u8], name: &str) -> bool {
    if memchr::memchr(b'\\', key).is_some() {
        return serde_json::from_slice(key).ok().and_then(text).is_some_and(|key| key == name);
    }
    key.get(1..key.len() - 1) == Some(name.as_bytes())
}

/// Any JSON text, checked to its end.
pub(super) fn any(json: &[u8]) -> Option<&RawValue> {
    serde_json::from_slice(json).ok()
}

/// A string's text; a lone surrogate in it becomes U+FFFD, which no word of ours contains.
pub(super) fn text(value: &RawValue) -> Option<Cow<'_, str>> {
    let inner = value.get().strip_prefix('"')?.strip_suffix('"')?;
    if memchr::memchr(b'\\', inner.as_bytes()).is_none() {
        return Some(Cow::Borrowed(inner));
    }
    let Unescaped(bytes) = serde_json::from_str(value.get()).ok()?;
    Some(Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()))
}

/// A string's bytes without its escapes. serde_json lets lone surrogates pass only when asked for bytes.
struct Unescaped(Vec<u8>);

impl<'a> Deserialize<'a> for Unescaped {
    fn deserialize<D: Deserializer<'a>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Unescaped;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("a string")
            }

            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Unescaped, E> {
                Ok(Unescaped(bytes.to_vec()))
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}

/// A whole number that fits, written as a number or as a string of digits.
pub(super) fn number<T: TryFrom<i64>>(value: &RawValue) -> Option<T> {
    let digits = text(value).unwrap_or(Cow::Borrowed(value.get()));
    T::try_from(digits.parse().ok()?).ok()
}

/// A value that is there: neither absent nor `null`.
pub(super) fn present(value: Option<&RawValue>) -> Option<&RawValue> {
    value.filter(|value| value.get() != "null")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts<'a>(json: &'a str, name: &str) -> Option<Option<&'a str>> {
        fields(json.as_bytes(), [name]).map(|[value]| value.map(RawValue::get))
    }

    #[test]
    fn of_equal_keys_the_last_counts_however_it_is_written() {
        assert_eq!(texts(r#"{"a":1,"b":2,"a":3}"#, "a"), Some(Some("3")));
        assert_eq!(texts(r#"{"a":1,"\u0061":{"a":9}}"#, "a"), Some(Some(r#"{"a":9}"#)));
        assert_eq!(texts(r#"{"b":{"a":1}}"#, "a"), Some(None));
    }

    #[test]
    fn lone_surrogates_in_keys_values_and_texts_are_read_over() {
        assert_eq!(texts(r#"{"\ud800":1,"b":"\udfff","a":2}"#, "a"), Some(Some("2")));
        let [value] = fields(br#"{"a":"x\ud800"}"#, ["a"]).unwrap();
        let read = text(value.unwrap()).unwrap();
        assert!(read.starts_with('x') && read.contains('\u{fffd}'), "{read:?}");
    }

    #[test]
    fn what_json_parse_would_refuse_is_refused() {
        for json in [
            "",
            "{",
            "{}}",
            "{'a':1}",
            "{\"a\":1,}",
            "{\"a\u{1}\":1}",
            "{\"a\":\"\u{1}\"}",
            "{\"a\":01}",
            "{\"a\":\"\\x\"}",
            "{1:2}",
            "\u{feff}{}",
        ] {
            assert!(texts(json, "a").is_none(), "{json:?}");
        }
    }

    #[test]
    fn a_payload_nested_without_end_is_only_bytes() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(texts(&format!(r#"{{"a":{deep}}}"#), "a"), Some(Some(deep.as_str())));
    }
}
