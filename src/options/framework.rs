//! Egg's framework: is there one, where it is, and which files its members run. The rules are egg-utils' (where a
//! framework is) and Node's (where a package finds another).

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::Family;
use super::package::Package;
use crate::error::Failure;

/// The framework's name when nobody says.
const EGG: &str = "egg";

/// A framework that can be run.
#[derive(Debug)]
pub struct Framework {
    /// Its directory as egg-scripts would give it: links are not followed.
    pub path: PathBuf,
    /// Its name in its package.json, else `egg`.
    pub name: String,
    /// Its version in its package.json, else empty.
    pub version: String,
    /// Which of Egg's two protocols its members speak.
    pub family: Family,
    /// The file that the agent runs.
    pub agent: PathBuf,
    /// The file that each worker runs.
    pub worker: PathBuf,
}

impl Framework {
    /// The framework of the application in `base_dir`; `None`: it is a plain Node application.
    ///
    /// It is an Egg application when one of these holds: a framework is named (by `--framework`, by
    /// `eggScriptsConfig.framework`, by `egg.framework` in package.json); package.json has an `egg` object; package.json
    /// depends on `egg`; `egg` is in `node_modules` of the application or of the current directory. That `app.js` and
    /// `agent.js` are there says nothing: an Egg application has its boot hooks there.
    ///
    /// # Errors
    /// It is one, and the framework or the files of its members are not found or not clear.
    pub fn find(
        application: &Package,
        base_dir: &Path,
        given: Option<&str>,
        cwd: &Path,
    ) -> Result<Option<Framework>, Failure> {
        let named = match given {
            Some(name) => Some(name),
            None => application.egg_text("framework")?,
        };
        let name = named.unwrap_or(EGG);
        if Path::new(name).is_absolute() {
            let path = PathBuf::from(name);
            return match path.exists() {
                true => Framework::at(path, application).map(Some),
                false => Err(Failure::no_framework_at(&path)),
            };
        }
        let near = [base_dir.join("node_modules"), cwd.join("node_modules")];
        if let Some(path) = near.iter().map(|dir| dir.join(name)).find(|path| path.exists()) {
            return Framework::at(path, application).map(Some);
        }
        if named.is_none() && application.object("egg")?.is_none() && !application.depends_on(EGG) {
            return Ok(None);
        }
        // egg-scripts, installed above several applications, finds the framework beside itself.
        match upward(base_dir, name) {
            Some(path) => Framework::at(path, application).map(Some),
            None => Err(Failure::no_framework(name, &near, base_dir)),
        }
    }

    fn at(path: PathBuf, application: &Package) -> Result<Framework, Failure> {
        let package = Package::read(&path)?.ok_or_else(|| Failure::framework_without_package(&path))?;
        let (cluster, family) = cluster_of(&path)?;
        let file = |name: &str| {
            let places = family.directories(application.is_esm()).iter().map(|dir| cluster.join(dir).join(name));
            places.into_iter().find(|file| file.is_file()).ok_or_else(|| Failure::no_member_file(&cluster, name))
        };
        Ok(Framework {
            name: package.text("name")?.unwrap_or(EGG).to_owned(),
            version: package.text("version")?.unwrap_or_default().to_owned(),
            family,
            agent: file("agent_worker.js")?,
            worker: file("app_worker.js")?,
            path,
        })
    }
}

impl Family {
    const ALL: [Family; 2] = [Family::Three, Family::Four];

    /// The package that runs its members.
    fn package(self) -> &'static str {
        match self {
            Family::Three => "egg-cluster",
            Family::Four => "@eggjs/cluster",
        }
    }

    /// Where in that package the members' files may be.
    fn directories(self, esm: bool) -> &'static [&'static str] {
        match (self, esm) {
            (Family::Three, _) => &["lib"],
            // From 4.1 on there is one build.
            (Family::Four, false) => &["dist/commonjs", "dist"],
            (Family::Four, true) => &["dist/esm", "dist"],
        }
    }
}

/// The real directory of the package that runs the framework's members, and what it makes of them.
///
/// It is what the framework stands on that decides (see [`named_from`]); where that chain names nothing, what an `egg`
/// stands on that it finds upward from its real place; a directory that names nothing at all (a framework in the
/// application's own tree) takes what it finds.
fn cluster_of(framework: &Path) -> Result<(PathBuf, Family), Failure> {
    let real = |path: &Path| fs::canonicalize(path).map_err(|error| Failure::unreadable(path, &error));
    let own = real(framework)?;
    let egg = upward(&own, EGG).map(|egg| real(&egg)).transpose()?;
    for root in std::iter::once(&own).chain(egg.as_ref()) {
        if let Some((dir, family)) = named_from(root, framework)? {
            let found = upward(&dir, family.package()).ok_or_else(|| Failure::no_cluster(family.package(), &dir))?;
            return Ok((real(&found)?, family));
        }
    }
    let found = Family::ALL.into_iter().filter_map(|family| Some((upward(&own, family.package())?, family)));
    match the_one(found, framework)? {
        Some((path, family)) => Ok((real(&path)?, family)),
        None => Err(Failure::no_cluster("egg-cluster or @eggjs/cluster", &own)),
    }
}

/// Who names a cluster package, and which: the root, else the nearest of those that it leads to, as Node's `require`
/// goes: level by level, each package found upward from the real place of the one that declares it, `egg` before the
/// others of its level. The root's peers count, as somebody has to install them with it; a dependency's peers do not,
/// since a plugin's are the application's business. One that is not installed, or not to be read, is passed over.
fn named_from(root: &Path, framework: &Path) -> Result<Option<(PathBuf, Family)>, Failure> {
    let mut seen = BTreeSet::new();
    let mut level = vec![root.to_owned()];
    while !level.is_empty() {
        let mut below = Vec::new();
        for dir in level {
            if !seen.insert(dir.clone()) {
                continue;
            }
            let Ok(Some(package)) = Package::read(&dir) else { continue };
            let needed: Vec<&str> = package.needed(dir == root).collect();
            let named = Family::ALL.into_iter().filter(|family| needed.contains(&family.package()));
            if let Some(family) = the_one(named, framework)? {
                return Ok(Some((dir, family)));
            }
            let found = needed.iter().filter_map(|name| Some((*name != EGG, upward(&dir, name)?)));
            below.extend(found.filter_map(|(is_other, path)| Some((is_other, fs::canonicalize(path).ok()?))));
        }
        below.sort_by_key(|(is_other, _)| *is_other);
        level = below.into_iter().map(|(_, dir)| dir).collect();
    }
    Ok(None)
}

/// The only one, if there is any; two are one too many for the framework.
fn the_one<T>(mut found: impl Iterator<Item = T>, framework: &Path) -> Result<Option<T>, Failure> {
    match (found.next(), found.next()) {
        (Some(_), Some(_)) => Err(Failure::two_clusters(framework)),
        (one, _) => Ok(one),
    }
}

/// The package as Node finds it: in `node_modules` of the directory, then of each one above it.
pub fn upward(from: &Path, name: &str) -> Option<PathBuf> {
    let places = from.ancestors().filter(|dir| !dir.ends_with("node_modules"));
    places.map(|dir| dir.join("node_modules").join(name)).find(|path| path.join("package.json").is_file())
}
