//! The options that Egg's members get, and those that Egg's own master would show: JSON objects whose keys stand in
//! egg-scripts' and egg-cluster's order.

use std::path::Path;

use serde_json::{Value, json};

use super::framework::Framework;
use super::serving::Serving;
use super::{Application, Family, Title};
use crate::error::Failure;

/// What the options are made from.
pub struct EggOptions<'a> {
    pub base_dir: &'a Path,
    pub title: &'a Title,
    pub workers: u32,
    pub port: Option<u16>,
    pub env: Option<&'a str>,
    /// What the members themselves load first, as it was given. (egg-scripts 3 makes flags of node of them.)
    pub modules: Vec<String>,
    /// Egg 4's members are told.
    pub source_maps: bool,
    /// How it is to serve.
    pub serving: Serving,
    /// What is set in package.json for Egg alone.
    pub others: Vec<(&'a str, &'a Value)>,
}

impl EggOptions<'_> {
    /// The application that runs by this framework.
    ///
    /// # Errors
    /// The framework's path is no text, which JSON cannot hold.
    pub fn application(self, framework: Framework) -> Result<Application, Failure> {
        for path in [&framework.path, &framework.agent, &framework.worker] {
            path.to_str().ok_or_else(|| Failure::path_not_text(path))?;
        }
        Ok(Application::Egg {
            cluster_options: object(&match framework.family {
                Family::Three => self.three(&framework),
                Family::Four => self.four(&framework),
            }),
            scripts_options: object(&self.scripts(&framework)),
            sticky: self.serving.sticky,
            debug_port: self.serving.debug_port,
            framework: framework.path,
            framework_name: framework.name,
            framework_version: framework.version,
            family: framework.family,
            agent: framework.agent,
            worker: framework.worker,
        })
    }

    /// egg-cluster's: its defaults in their order, overridden in place, then the rest.
    fn three(&self, framework: &Framework) -> Vec<(String, Value)> {
        let mut keys = Keys::default();
        keys.set("framework", text(&framework.path));
        keys.set("baseDir", text(self.base_dir));
        keys.set_some("port", self.port);
        keys.set("reusePort", false);
        keys.set("workers", self.workers);
        keys.set("plugins", Value::Null);
        keys.set("https", false);
        keys.set("startMode", "process");
        keys.set("ports", json!([]));
        keys.set("env", self.env);
        keys.set_some("require", self.modules());
        self.set_the_rest(&mut keys);
        keys.set("title", self.title.as_str());
        keys.0
    }

    /// @eggjs/cluster's: few defaults, and what is absent is no key.
    fn four(&self, framework: &Framework) -> Vec<(String, Value)> {
        let mut keys = Keys::default();
        keys.set("baseDir", text(self.base_dir));
        keys.set_some("port", self.port);
        keys.set("startMode", "process");
        keys.set_some("env", self.env);
        keys.set("title", self.title.as_str());
        keys.set("workers", self.workers);
        keys.set("framework", text(&framework.path));
        keys.set_some("require", self.modules());
        self.set_the_rest(&mut keys);
        keys.set_some("sourcemap", self.source_maps.then_some(true));
        keys.0
    }

    fn modules(&self) -> Option<Vec<String>> {
        Some(self.modules.clone()).filter(|modules| !modules.is_empty())
    }

    fn set_the_rest(&self, keys: &mut Keys) {
        keys.set_others(&self.others);
        keys.set_some("https", self.serving.https.clone());
        keys.set_some("sticky", self.serving.sticky.then_some(true));
        keys.set_some("debugPort", self.serving.debug_port);
    }

    /// What egg-scripts gives to the master.
    fn scripts(&self, framework: &Framework) -> Vec<(String, Value)> {
        let mut keys = Keys::default();
        keys.set("workers", self.workers);
        keys.set_some("port", self.port);
        keys.set_some("require", self.modules());
        if framework.family == Family::Four {
            keys.set_some("sourcemap", self.source_maps.then_some(true));
        }
        self.set_the_rest(&mut keys);
        keys.set("baseDir", text(self.base_dir));
        keys.set("framework", text(&framework.path));
        keys.set("title", self.title.as_str());
        keys.0
    }
}

/// Keys in the order in which they were first set, as in a JavaScript object.
#[derive(Default)]
struct Keys(Vec<(String, Value)>);

impl Keys {
    fn set(&mut self, key: &str, value: impl Into<Value>) {
        let value = value.into();
        match self.0.iter_mut().find(|(other, _)| other == key) {
            Some((_, old)) => *old = value,
            None => self.0.push((key.to_owned(), value)),
        }
    }

    fn set_some(&mut self, key: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.set(key, value);
        }
    }

    fn set_others(&mut self, others: &[(&str, &Value)]) {
        for (key, value) in others {
            self.set(key, (*value).clone());
        }
    }
}

/// Known to be text: see [`EggOptions::application`] and `Place::find`.
fn text(path: &Path) -> Value {
    path.to_string_lossy().into()
}

/// As `JSON.stringify` writes it: no spaces.
fn object(keys: &[(String, Value)]) -> String {
    let pairs: Vec<String> = keys.iter().map(|(key, value)| format!("{}:{value}", Value::from(key.as_str()))).collect();
    format!("{{{}}}", pairs.join(","))
}
