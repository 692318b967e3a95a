//! Where the application is: what `DIR` or `SCRIPT` names, what runs there, and what it calls itself.

use std::fs;
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

use serde_json::{Map, Value};

use super::surroundings::{Found, Source};
use super::{Application, Title};
use crate::error::Failure;

/// What a worker of a directory runs.
const APP_SCRIPT: &str = "app.js";
/// What the agent of a directory runs, if it is there.
pub const AGENT_SCRIPT: &str = "agent.js";
/// The endings of a script's name.
const SCRIPT_ENDINGS: &[&str] = &["js", "cjs", "mjs", "ts", "cts", "mts"];
/// A package.json of more bytes is no package.json.
const LARGEST_PACKAGE: u64 = 16 * 1024 * 1024;

/// Where the application is. The place exists.
#[derive(Debug)]
pub struct Place {
    /// Absolute directory of the application.
    pub base_dir: PathBuf,
    /// Absolute path of the script, when one was named.
    script: Option<PathBuf>,
}

impl Place {
    /// Finds what was typed, from `cwd`; nothing typed is `cwd` itself.
    ///
    /// A symbolic link stays as it was typed (a deployment's `current`); only `..` is resolved, by the kernel's rules.
    ///
    /// # Errors
    /// It does not exist, is neither a directory nor a script, or has a path that is no UTF-8.
    pub fn find(typed: Option<&Path>, cwd: &Path) -> Result<Place, Failure> {
        let shown = typed.unwrap_or(cwd);
        let unknown = |error: std::io::Error| Failure::no_such_place(shown, &error);
        let mut path: PathBuf = cwd.join(shown).components().collect();
        let kind = fs::metadata(&path).map_err(unknown)?;
        if path.components().any(|part| part == Component::ParentDir) {
            path = fs::canonicalize(&path).map_err(unknown)?;
        }
        let Some(text) = path.to_str() else { return Err(Failure::path_not_text(&path)) };
        if kind.is_dir() {
            return Ok(Place { base_dir: path, script: None });
        }
        let ending = text.rsplit_once('.').map(|(_, ending)| ending);
        match path.parent() {
            Some(parent) if kind.is_file() && ending.is_some_and(|ending| SCRIPT_ENDINGS.contains(&ending)) => {
                Ok(Place { base_dir: parent.to_owned(), script: Some(path) })
            }
            _ => Err(Failure::not_an_application(shown)),
        }
    }

    /// What the application calls itself: package.json's `name`, else the script's or the directory's name.
    /// `None`: a directory without package.json.
    ///
    /// # Errors
    /// package.json cannot be read or is not what it should be, or nothing gives a name.
    pub fn name(&self) -> Result<Option<Found>, Failure> {
        let package = package_json(&self.base_dir)?;
        if package.is_none() && self.script.is_none() {
            return Ok(None);
        }
        match package.as_ref().and_then(|package| package.get("name")) {
            Some(Value::String(name)) if !name.is_empty() => {
                return Ok(Some(Found { text: name.clone(), source: Source::PackageJson }));
            }
            None | Some(Value::String(_)) => {}
            Some(_) => {
                return Err(Failure::bad_package_json(&self.base_dir.join("package.json"), "`name` is not a string"));
            }
        }
        let stem = match &self.script {
            Some(script) => script.file_stem(),
            None => self.base_dir.file_name(),
        };
        match stem {
            Some(stem) => Ok(Some(Found { text: stem.to_string_lossy().into_owned(), source: Source::Default })),
            None => Err(Failure::no_name(&self.base_dir)),
        }
    }

    /// What runs here.
    ///
    /// # Errors
    /// A directory without app.js, or one that cannot be looked into.
    pub fn application(&self) -> Result<Application, Failure> {
        if let Some(script) = &self.script {
            return Ok(Application::Node { script: script.clone(), agent: None });
        }
        let script = self.base_dir.join(APP_SCRIPT);
        let agent = self.base_dir.join(AGENT_SCRIPT);
        if !is_file(&script)? {
            return Err(Failure::no_app_script(&self.base_dir));
        }
        let agent = is_file(&agent)?.then_some(agent);
        Ok(Application::Node { script, agent })
    }
}

/// The title of the application in a place, where `--title` gives none: egg-scripts' `egg-server-<name>`.
/// `None`: nothing was typed, and the current directory is no application (it has no package.json).
///
/// # Errors
/// As for `start`: the place does not exist, its package.json is bad, its name makes no title; what was typed is a
/// directory without package.json.
pub fn default_title(typed: Option<&Path>, cwd: &Path) -> Result<Option<Title>, Failure> {
    let place = Place::find(typed, cwd)?;
    match place.name()? {
        Some(name) => title_from(&name).map(Some),
        None if typed.is_some() => Err(Failure::no_package_json(&place.base_dir)),
        None => Ok(None),
    }
}

/// The default title of an application of this name.
pub fn title_from(name: &Found) -> Result<Title, Failure> {
    checked_title(Found { text: format!("egg-server-{}", name.text), source: name.source })
        .map_err(|failure| failure.hint("give one with `--title`"))
}

/// The text as a title.
///
/// # Errors
/// It is empty, too long, or holds a control character.
pub fn checked_title(found: Found) -> Result<Title, Failure> {
    Title::try_from(found.text).map_err(|reason| Failure::bad_title(&reason, found.source))
}

/// The directory's package.json, if there is one.
fn package_json(dir: &Path) -> Result<Option<Map<String, Value>>, Failure> {
    let path = dir.join("package.json");
    let found = match fs::metadata(&path) {
        Ok(found) => found,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Failure::unreadable(&path, &error)),
    };
    if !found.is_file() || found.len() > LARGEST_PACKAGE {
        return Err(Failure::bad_package_json(&path, "not a file of at most 16 MiB"));
    }
    let bytes = fs::read(&path).map_err(|error| Failure::unreadable(&path, &error))?;
    // Node's `require` skips a byte order mark too.
    let text = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&bytes);
    serde_json::from_slice(text).map(Some).map_err(|error| Failure::bad_package_json(&path, error))
}

/// Is there a file of this name? A missing one is an answer; one that cannot be looked at is a failure.
fn is_file(path: &Path) -> Result<bool, Failure> {
    match fs::metadata(path) {
        Ok(found) => Ok(found.is_file()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Failure::unreadable(path, &error)),
    }
}
