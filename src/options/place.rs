//! Where the application is: what `DIR` or `SCRIPT` names, what runs there, and what it calls itself.

use std::fs;
use std::path::{Component, Path, PathBuf};

use super::framework::Framework;
use super::package::Package;
use super::pm2;
use super::script::{self, Script};
use super::settings::Settings;
use super::surroundings::{Found, Source};
use super::{Application, Title};
use crate::error::Failure;

/// What the agent of a directory runs, if it is there.
pub const AGENT_SCRIPT: &str = "agent.js";

/// Where the application is. The place exists.
#[derive(Debug)]
pub struct Place {
    /// Absolute directory of the application.
    pub base_dir: PathBuf,
    /// The directory's package.json.
    pub package: Option<Package>,
    /// Absolute path of the script, when one was named.
    script: Option<PathBuf>,
}

impl Place {
    /// Finds what was typed, from `cwd`; nothing typed is `cwd` itself.
    ///
    /// A symbolic link stays as it was typed (a deployment's `current`); only `..` is resolved, by the kernel's rules.
    ///
    /// # Errors
    /// It does not exist, is neither a directory nor a script, has a path that is no UTF-8, or a bad package.json.
    pub fn find(typed: Option<&Path>, cwd: &Path) -> Result<Place, Failure> {
        let shown = typed.unwrap_or(cwd);
        let unknown = |error: std::io::Error| Failure::no_such_place(shown, &error);
        let mut path: PathBuf = cwd.join(shown).components().collect();
        let kind = fs::metadata(&path).map_err(unknown)?;
        if path.components().any(|part| part == Component::ParentDir) {
            path = fs::canonicalize(&path).map_err(unknown)?;
        }
        if path.to_str().is_none() {
            return Err(Failure::path_not_text(&path));
        }
        if kind.is_dir() {
            return Ok(Place { package: Package::read(&path)?, base_dir: path, script: None });
        }
        match path.parent() {
            Some(parent) if kind.is_file() => {
                if let Some(answer) = pm2::recognised(&path) {
                    return Err(answer);
                }
                script::check(&path, shown)?;
                Ok(Place { package: Package::read(parent)?, base_dir: parent.to_owned(), script: Some(path) })
            }
            _ => Err(Failure::not_an_application(shown)),
        }
    }

    /// What the application calls itself: package.json's `name`, else the script's or the directory's name.
    /// `None`: a directory without package.json.
    ///
    /// # Errors
    /// package.json's name is no string, or nothing gives a name.
    pub fn name(&self) -> Result<Option<Found>, Failure> {
        if self.package.is_none() && self.script.is_none() {
            return Ok(None);
        }
        if let Some(package) = &self.package
            && let Some(name) = package.text("name")?
        {
            return Ok(Some(Found { text: name.to_owned(), source: Source::PackageJson }));
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

    /// package.json's `eggScriptsConfig`.
    ///
    /// # Errors
    /// It is no object.
    pub fn settings(&self) -> Result<Settings, Failure> {
        Settings::of(self.package.as_ref())
    }

    /// The framework, when this is an Egg application ([`Framework::find`]): a directory. A script is one of plain Node.
    ///
    /// # Errors
    /// The framework is not found, is not clear, or is named for a script.
    pub fn framework(&self, given: Option<Found>, cwd: &Path) -> Result<Option<Framework>, Failure> {
        match (&self.script, &self.package, given) {
            (Some(_), _, Some(Found { source: source @ Source::Flag(_), .. })) => {
                Err(Failure::framework_of_script(source))
            }
            (Some(_), ..) | (None, None, _) => Ok(None),
            (None, Some(package), given) => {
                Framework::find(package, &self.base_dir, given.as_ref().map(|found| found.text.as_str()), cwd)
            }
        }
    }

    /// What runs here, without a framework: each worker the script that was named, or that of the directory, and the agent
    /// agent.js, where it is there.
    ///
    /// # Errors
    /// A directory without a script, or one that cannot be looked into.
    pub fn node_application(&self, sticky: bool) -> Result<(Application, Script), Failure> {
        if let Some(path) = &self.script {
            let script = Script { path: path.clone(), arguments: Vec::new(), said: None };
            return Ok((Application::Node { script: path.clone(), agent: None, sticky }, script));
        }
        let script = script::of_directory(&self.base_dir, self.package.as_ref())?;
        let agent = self.base_dir.join(AGENT_SCRIPT);
        let agent = script::is_file(&agent)?.then_some(agent).filter(|agent| *agent != script.path);
        Ok((Application::Node { script: script.path.clone(), agent, sticky }, script))
    }
}

/// The title of the application in a place, where `--title` gives none: what `eggScriptsConfig.title` says, else
/// egg-scripts' `egg-server-<name>`. `None`: nothing was typed, and the current directory is no application (it has no package.json).
///
/// # Errors
/// As for `start`: the place does not exist, its package.json is bad, its name makes no title; what was typed is a
/// directory without package.json.
pub fn default_title(typed: Option<&Path>, cwd: &Path) -> Result<Option<Title>, Failure> {
    let place = Place::find(typed, cwd)?;
    if let Some(set) = place.settings()?.text("title")? {
        return checked_title(set).map(Some);
    }
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
