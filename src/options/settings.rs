//! package.json's `eggScriptsConfig`: what is typed there once instead of at each start. A key is a flag's name; what is no
//! flag's name goes to Egg's options as it is. The options that a program gives to `start-cluster` are read in the same way.

use serde_json::{Map, Value};

use super::package::{self, Package};
use super::surroundings::{Found, Source};
use crate::error::Failure;

/// The key in package.json.
const KEY: &str = "eggScriptsConfig";
/// What begins the name of a flag for node.
const NODE_OPTION: &str = "node-options--";
/// What does not go to Egg as it is: the command's own flags, and what is always found elsewhere or checked first.
const NOT_EGGS: &[&str] = &[
    "_",
    "$0",
    "baseDir",
    "daemon",
    "debugPort",
    "dispatch",
    "env",
    "env-file",
    "framework",
    "https",
    "ignore-stderr",
    "exit-when-down",
    "spare",
    "log-compress",
    "log-full",
    "log-keep",
    "log-keep-age",
    "log-keep-bytes",
    "log-max-size",
    "log-per-member",
    "log-rotate",
    "log-to-files",
    "node",
    "port",
    "require",
    "sourcemap",
    "stderr",
    "stdout",
    "sticky",
    "timeout",
    "title",
    "ts",
    "typescript",
    "workers",
];

/// The settings of an application; without an `eggScriptsConfig` they are empty.
#[derive(Clone, Debug)]
pub struct Settings {
    origin: Origin,
    fields: Map<String, Value>,
}

/// Who has set them.
#[derive(Clone, Debug)]
enum Origin {
    PackageJson(Option<Package>),
    StartCluster,
}

impl Settings {
    /// Reads them.
    ///
    /// # Errors
    /// `eggScriptsConfig` is no object.
    pub fn of(package: Option<&Package>) -> Result<Settings, Failure> {
        let fields = match package {
            Some(package) => package.object(KEY)?.cloned().unwrap_or_default(),
            None => Map::new(),
        };
        Ok(Settings { origin: Origin::PackageJson(package.cloned()), fields })
    }

    /// The options that were given to `start-cluster`.
    pub fn of_start_cluster(fields: Map<String, Value>) -> Settings {
        Settings { origin: Origin::StartCluster, fields }
    }

    /// A text; an empty one counts as absent.
    ///
    /// # Errors
    /// It is something else.
    pub fn text(&self, key: &'static str) -> Result<Option<Found>, Failure> {
        match self.fields.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(self.found(key, text).filter(|found| !found.text.is_empty())),
            Some(_) => Err(self.wrong(key, "a string")),
        }
    }

    /// What should be a number, as text: its range is the reader's matter.
    ///
    /// # Errors
    /// It is neither a number nor a text.
    pub fn number(&self, key: &'static str) -> Result<Option<Found>, Failure> {
        match self.fields.get(key) {
            Some(Value::Number(number)) => Ok(self.found(key, &number.to_string())),
            Some(Value::Bool(_) | Value::Array(_) | Value::Object(_)) => Err(self.wrong(key, "a number")),
            None | Some(Value::Null | Value::String(_)) => self.text(key),
        }
    }

    /// Yes or no.
    ///
    /// # Errors
    /// It is something else.
    pub fn truth(&self, key: &'static str) -> Result<Option<bool>, Failure> {
        match self.fields.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bool(truth)) => Ok(Some(*truth)),
            Some(_) => Err(self.wrong(key, "true or false")),
        }
    }

    /// The modules of `require`, as they stand there.
    ///
    /// # Errors
    /// It is neither a text nor a list of texts.
    pub fn modules(&self) -> Result<Vec<String>, Failure> {
        self.texts("require", "a string or a list of strings")
    }

    /// One text or a list of texts.
    ///
    /// # Errors
    /// It is neither.
    pub fn texts(&self, key: &str, wanted: &str) -> Result<Vec<String>, Failure> {
        package::texts(self.fields.get(key)).ok_or_else(|| self.wrong(key, wanted))
    }

    /// The flags for node, without their dashes: `max-old-space-size=4096`. As egg-scripts 3 gives them to node: `true` is
    /// the bare flag, `false` its `no-` form.
    ///
    /// # Errors
    /// One is a list or an object.
    pub fn node_options(&self) -> Result<Vec<String>, Failure> {
        let mut options = Vec::new();
        for (key, value) in &self.fields {
            let Some(name) = key.strip_prefix(NODE_OPTION) else { continue };
            match value {
                Value::Null => {}
                Value::Bool(true) => options.push(name.to_owned()),
                Value::Bool(false) => options.push(format!("no-{name}")),
                Value::Number(number) => options.push(format!("{name}={number}")),
                Value::String(text) if text.is_empty() => options.push(name.to_owned()),
                Value::String(text) => options.push(format!("{name}={text}")),
                Value::Array(_) | Value::Object(_) => return Err(self.wrong(key, "a string, a number, true or false")),
            }
        }
        Ok(options)
    }

    /// All that goes to Egg's options as it is.
    ///
    /// # Errors
    /// One has no support here yet.
    pub fn of_egg(&self) -> Result<Vec<(&str, &Value)>, Failure> {
        let is_eggs = |key: &str| !key.starts_with(NODE_OPTION) && !NOT_EGGS.contains(&key);
        let all = self.fields.iter().filter(|(key, value)| is_eggs(key) && !value.is_null());
        let all: Vec<(&str, &Value)> = all.map(|(key, value)| (key.as_str(), value)).collect();
        match all.iter().find(|(key, value)| is_not_yet(key, value)) {
            Some((key, value)) => Err(Failure::not_yet(&format!("`{}` = {value}", self.name(key)))),
            None => Ok(all),
        }
    }

    /// A setting as it stands there.
    pub fn value(&self, key: &str) -> Option<&Value> {
        self.fields.get(key)
    }

    /// What is told of a setting that is not what it should be.
    pub fn wrong(&self, key: &str, wanted: &str) -> Failure {
        match &self.origin {
            Origin::PackageJson(Some(package)) => package.wrong(&self.name(key), wanted),
            // Without a package.json there is no setting to be wrong.
            Origin::PackageJson(None) | Origin::StartCluster => {
                Failure::bad_start_cluster(format!("`{key}` is not {wanted}"))
            }
        }
    }

    /// The setting as its writer knows it.
    fn name(&self, key: &str) -> String {
        match self.origin {
            Origin::PackageJson(_) => format!("{KEY}.{key}"),
            Origin::StartCluster => format!("start-cluster {{\"{key}\"}}"),
        }
    }

    fn found(&self, key: &'static str, text: &str) -> Option<Found> {
        let source = match self.origin {
            Origin::PackageJson(_) => Source::Setting(key),
            Origin::StartCluster => Source::StartCluster(key),
        };
        Some(Found { text: text.to_owned(), source })
    }
}

/// Options of Egg's cluster that the master would have to act on, and cannot yet. Off is off.
fn is_not_yet(key: &str, value: &Value) -> bool {
    match key {
        "pidFile" => package::is_truthy(value),
        "ports" => value.as_array().is_none_or(|ports| !ports.is_empty()),
        "startMode" => value == "worker_threads",
        _ => false,
    }
}
