//! The environment of a process, as it crosses an exec or a socket: names and values of any bytes. In JSON they are text where
//! they are UTF-8, since serde writes an `OsString` as a list of numbers.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStringExt;

use serde::{Deserialize, Serialize};

use super::is_own;

/// Variables by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<(Text, Text)>", into = "Vec<(Text, Text)>")]
pub struct Variables(pub BTreeMap<OsString, OsString>);

impl Variables {
    /// Those that are a user's matter: without what eggctl and Node say to each other in the environment.
    #[must_use]
    pub fn of_user(environment: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        Variables(environment.into_iter().filter(|(name, _)| !is_own(name)).collect())
    }

    /// The value of one.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&OsStr> {
        self.0.get(OsStr::new(name)).map(OsString::as_os_str)
    }

    /// How long they are in all, in bytes.
    #[must_use]
    pub fn length(&self) -> usize {
        self.0.iter().map(|(name, value)| name.len() + value.len()).sum()
    }
}

/// Bytes that are nearly always UTF-8.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
enum Text {
    Utf8(String),
    Bytes(Vec<u8>),
}

impl From<OsString> for Text {
    fn from(text: OsString) -> Self {
        text.into_string().map_or_else(|text| Text::Bytes(text.into_vec()), Text::Utf8)
    }
}

impl From<Text> for OsString {
    fn from(text: Text) -> Self {
        match text {
            Text::Utf8(text) => text.into(),
            Text::Bytes(bytes) => OsString::from_vec(bytes),
        }
    }
}

impl From<Vec<(Text, Text)>> for Variables {
    fn from(pairs: Vec<(Text, Text)>) -> Self {
        Variables(pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

impl From<Variables> for Vec<(Text, Text)> {
    fn from(variables: Variables) -> Self {
        variables.0.into_iter().map(|(name, value)| (name.into(), value.into())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_of_any_bytes_come_back_as_they_were() {
        let odd = OsString::from_vec(b"a=\xff\n".to_vec());
        let pairs: [(OsString, OsString); 3] =
            [("A".into(), "b".into()), ("EMPTY".into(), "".into()), (odd.clone(), odd)];
        let variables = Variables(pairs.into_iter().collect());
        let text = serde_json::to_string(&variables).unwrap();
        assert_eq!(serde_json::from_str::<Variables>(&text).unwrap(), variables);
        assert!(text.contains(r#"["A","b"]"#), "{text}");
    }
}
