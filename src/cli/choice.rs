//! Which application is meant: that of a title, of a place, of the current directory, or the only one that runs. And how it
//! is named to people.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::cwd;
use super::masters::{self, Application, Kind};
use crate::error::Failure;
use crate::options::{self, Title};

/// Applications by title.
pub type Applications = BTreeMap<String, Application>;

/// Which application a command is about: of a title, in a place, or, with neither, that of the current directory.
#[derive(Clone, Debug, Default)]
pub struct Meant {
    /// The title, which decides.
    pub title: Option<Title>,
    /// The directory or script.
    pub place: Option<PathBuf>,
}

impl Meant {
    /// The one of this title.
    #[must_use]
    pub fn titled(title: Title) -> Self {
        Meant { title: Some(title), place: None }
    }

    /// Was one named?
    #[must_use]
    pub fn names_one(&self) -> bool {
        self.title.is_some() || self.place.is_some()
    }

    /// What a word means: a title that runs or is known, else a directory or script that is there, else a title. A word with a
    /// slash is a path, and so are `.` and `..`. A title that was typed as such decides.
    ///
    /// # Errors
    /// When /proc or the state directory cannot be used.
    pub fn by(title: Option<Title>, word: Option<&Path>) -> Result<Self, Failure> {
        let Some(word) = word.filter(|_| title.is_none()) else { return Ok(Meant { title, place: None }) };
        let place = || Meant { title: None, place: Some(word.to_owned()) };
        let is_path = word.as_os_str().as_bytes().contains(&b'/') || matches!(word.to_str(), None | Some("." | ".."));
        let Some(named) = word.to_str().filter(|_| !is_path).and_then(|text| Title::try_from(text.to_owned()).ok())
        else {
            return Ok(place());
        };
        let is_there = || word.symlink_metadata().is_ok();
        Ok(if is_known(&named)? || !is_there() { Meant::titled(named) } else { place() })
    }
}

/// Does an application of this title run, or has one left a record, logs or a way to start it again? Another user's counts: then
/// that is said.
fn is_known(title: &Title) -> Result<bool, Failure> {
    let found = masters::find(Some(title))?;
    if found.applications.contains_key(title.as_str()) || !found.of_others.is_empty() {
        return Ok(true);
    }
    let Some(directory) = &found.directory else { return Ok(false) };
    Ok(directory.again(title).is_some() || directory.logs()?.iter().any(|logs| logs.title == *title))
}

/// Without a title: the application in the place that was typed or in the current directory, known by its directory or by
/// the title it would get; else, if no place was typed, the only one that runs.
///
/// # Errors
/// The place is none, or several applications are meant equally (exit 2).
pub fn choose(found: Applications, place: Option<&Path>) -> Result<Applications, Failure> {
    let here = Here::of(place)?;
    let is_here = |(title, application): &(&String, &Application)| here.has(title, &application.base_dirs);
    let here: Vec<String> = found.iter().filter(is_here).map(|(title, _)| title.clone()).collect();
    let is_running = |application: &Application| !application.running.is_empty();
    let mut candidates = found;
    if here.is_empty() {
        candidates.retain(|_, application| place.is_none() && is_running(application));
    } else {
        candidates.retain(|title, _| here.contains(title));
    }
    match candidates.values().filter(|application| is_running(application)).count() {
        0 => {}
        1 => candidates.retain(|_, application| is_running(application)),
        _ => return Err(Failure::which_application(&listed(&candidates))),
    }
    Ok(candidates)
}

/// The application of a place: known by its directory, or by the title that it would get.
pub struct Here {
    title: Option<Title>,
    base_dir: Option<PathBuf>,
}

impl Here {
    /// That of the place that was typed, or of the current directory.
    ///
    /// # Errors
    /// What was typed is no place (exit 2).
    pub fn of(place: Option<&Path>) -> Result<Self, Failure> {
        let cwd = cwd::current().ok();
        let title = match (place, &cwd) {
            (Some(_), _) => options::default_title(place, cwd.as_deref().unwrap_or(Path::new("/")))?,
            // A package.json that cannot be read is none.
            (None, Some(cwd)) => options::default_title(None, cwd).ok().flatten(),
            (None, None) => None,
        };
        let base_dir = match place {
            Some(place) if place.is_dir() => place.canonicalize().ok(),
            Some(script) => script.canonicalize().ok().and_then(|script| script.parent().map(Path::to_owned)),
            None => cwd.and_then(|cwd| cwd.canonicalize().ok()),
        };
        Ok(Here { title, base_dir })
    }

    /// Is it the application of this title, in one of these directories?
    pub fn has(&self, title: &str, base_dirs: &[PathBuf]) -> bool {
        // Both resolved now: a deployment's `current` may lead elsewhere than when the application started.
        let is_base = |dir: &PathBuf| dir.canonicalize().ok().is_some_and(|dir| self.base_dir.as_ref() == Some(&dir));
        self.title.as_ref().is_some_and(|own| own.as_str() == title) || base_dirs.iter().any(is_base)
    }
}

/// `a (master 1), b (masters 2, 3)`.
fn listed(applications: &Applications) -> String {
    let running = applications.iter().filter(|(_, application)| !application.running.is_empty());
    let entries = running.map(|(title, application)| {
        let whom: Vec<_> = application.running.iter().map(|running| (running.kind, running.pid)).collect();
        format!("{} ({})", shown(title), words(&whom))
    });
    entries.collect::<Vec<_>>().join(", ")
}

/// `master 1, 2`, `parent 3`.
pub fn words(whom: &[(Kind, u32)]) -> String {
    let of = |word: &str, is_it: &dyn Fn(Kind) -> bool| {
        let pids: Vec<String> = whom.iter().filter(|(kind, _)| is_it(*kind)).map(|(_, pid)| pid.to_string()).collect();
        (!pids.is_empty()).then(|| format!("{word} {}", pids.join(", ")))
    };
    let parents = of("parent", &|kind| kind == Kind::Parent);
    let masters = of("master", &|kind| kind != Kind::Parent);
    parents.into_iter().chain(masters).collect::<Vec<_>>().join(", ")
}

/// A title as it can be shown: another's may hold control characters.
pub fn shown(title: &str) -> String {
    let mut shown = String::with_capacity(title.len());
    for character in title.chars() {
        if character.is_control() { shown.extend(character.escape_default()) } else { shown.push(character) }
    }
    shown
}
