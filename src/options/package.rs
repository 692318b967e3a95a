//! package.json, as far as something here asks it: the application's and a framework's.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::error::Failure;

/// A package.json of more bytes is no package.json.
const LARGEST: u64 = 16 * 1024 * 1024;

/// A package.json that was read: an object.
#[derive(Clone, Debug)]
pub struct Package {
    /// Its path.
    pub file: PathBuf,
    fields: Map<String, Value>,
}

impl Package {
    /// The directory's package.json, if there is one.
    ///
    /// # Errors
    /// It cannot be read, or is no JSON object.
    pub fn read(dir: &Path) -> Result<Option<Package>, Failure> {
        let file = dir.join("package.json");
        let found = match fs::metadata(&file) {
            Ok(found) => found,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Failure::unreadable(&file, &error)),
        };
        if !found.is_file() || found.len() > LARGEST {
            return Err(Failure::bad_package_json(&file, "not a file of at most 16 MiB"));
        }
        let bytes = fs::read(&file).map_err(|error| Failure::unreadable(&file, &error))?;
        // Node's `require` skips a byte order mark too.
        let text = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&bytes);
        match serde_json::from_slice(text) {
            Ok(fields) => Ok(Some(Package { file, fields })),
            Err(error) => Err(Failure::bad_package_json(&file, error)),
        }
    }

    /// The text of a field; an empty one counts as absent.
    ///
    /// # Errors
    /// It is something else than a text.
    pub fn text(&self, name: &str) -> Result<Option<&str>, Failure> {
        text(self.fields.get(name)).map_err(|()| self.wrong(name, "a string"))
    }

    /// The object of a field.
    ///
    /// # Errors
    /// It is something else than an object.
    pub fn object(&self, name: &str) -> Result<Option<&Map<String, Value>>, Failure> {
        match self.fields.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Object(fields)) => Ok(Some(fields)),
            Some(_) => Err(self.wrong(name, "an object")),
        }
    }

    /// The text of `egg.<name>`.
    ///
    /// # Errors
    /// `egg` is no object, or this is no text.
    pub fn egg_text(&self, name: &str) -> Result<Option<&str>, Failure> {
        let egg = self.object("egg")?;
        text(egg.and_then(|egg| egg.get(name))).map_err(|()| self.wrong(&format!("egg.{name}"), "a string"))
    }

    /// Is `egg.typescript` set, by JavaScript's idea of truth?
    ///
    /// # Errors
    /// `egg` is no object.
    pub fn is_typescript(&self) -> Result<bool, Failure> {
        Ok(self.object("egg")?.and_then(|egg| egg.get("typescript")).is_some_and(is_truthy))
    }

    /// `egg.revert`: the security repairs that node is told to take back.
    ///
    /// # Errors
    /// It is neither a text nor a list of texts.
    pub fn reverts(&self) -> Result<Vec<String>, Failure> {
        let revert = self.object("egg")?.and_then(|egg| egg.get("revert"));
        texts(revert).ok_or_else(|| self.wrong("egg.revert", "a string or a list of strings"))
    }

    /// What `npm start` runs. Another program's field: whatever is no text is left to it.
    #[must_use]
    pub fn start_script(&self) -> Option<&str> {
        self.fields.get("scripts")?.get("start")?.as_str()
    }

    /// The file that the package is, in Node's eyes.
    #[must_use]
    pub fn main(&self) -> Option<&str> {
        self.fields.get("main")?.as_str().filter(|main| !main.is_empty())
    }

    /// Does Node take its `.js` files for ES modules?
    #[must_use]
    pub fn is_esm(&self) -> bool {
        self.fields.get("type").is_some_and(|kind| kind == "module")
    }

    /// Is `name` among what has to be installed with it?
    #[must_use]
    pub fn depends_on(&self, name: &str) -> bool {
        self.needed(true).any(|needed| needed == name)
    }

    /// The packages that it depends on, and, if that is asked for, those that it expects beside itself.
    pub fn needed(&self, with_peers: bool) -> impl Iterator<Item = &str> {
        let lists = if with_peers { &["dependencies", "peerDependencies"][..] } else { &["dependencies"] };
        let lists = lists.iter().filter_map(|list| self.fields.get(*list)?.as_object());
        lists.flat_map(Map::keys).map(String::as_str)
    }

    /// What is told of a field that is not what it should be.
    pub fn wrong(&self, name: &str, wanted: &str) -> Failure {
        Failure::bad_package_json(&self.file, format!("`{name}` is not {wanted}"))
    }
}

/// A text; absent and empty are the same.
fn text(value: Option<&Value>) -> Result<Option<&str>, ()> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str()).filter(|text| !text.is_empty())),
        Some(_) => Err(()),
    }
}

/// One text or a list of texts, without the empty ones; `None`: neither.
pub fn texts(value: Option<&Value>) -> Option<Vec<String>> {
    let list = match value {
        None | Some(Value::Null) => return Some(Vec::new()),
        Some(Value::Array(list)) => list.as_slice(),
        Some(one) => std::slice::from_ref(one),
    };
    let texts: Option<Vec<&str>> = list.iter().map(Value::as_str).collect();
    Some(texts?.into_iter().filter(|text| !text.is_empty()).map(str::to_owned).collect())
}

/// JavaScript's idea of truth.
pub fn is_truthy(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(truth) => *truth,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(_) | Value::Object(_) => true,
    }
}
