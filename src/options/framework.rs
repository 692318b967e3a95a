//! Egg's framework: is there one, where it is, and which files its members run. The rules are egg-utils' (where a
//! framework is) and Node's (where a package finds another).

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

/// The real directory of the package that runs the framework's members.
///
/// A framework that is not Egg itself stands on an `egg` that it finds upward from its real place (its own, a sibling in
/// pnpm's store, or the application's). The dependencies of the first of the two that names a cluster package decide; a
/// directory that names nothing (a framework in the application's own tree) takes what it finds.
fn cluster_of(framework: &Path) -> Result<(PathBuf, Family), Failure> {
    let real = |path: &Path| fs::canonicalize(path).map_err(|error| Failure::unreadable(path, &error));
    let own = real(framework)?;
    let egg = upward(&own, EGG).map(|egg| real(&egg)).transpose()?;
    for dir in std::iter::once(&own).chain(egg.as_ref()) {
        let Some(package) = Package::read(dir)? else { continue };
        let mut named = Family::ALL.into_iter().filter(|family| package.depends_on(family.package()));
        match (named.next(), named.next()) {
            (None, _) => {}
            (Some(_), Some(_)) => return Err(Failure::two_clusters(framework)),
            (Some(family), None) => {
                let found = upward(dir, family.package()).ok_or_else(|| Failure::no_cluster(family.package(), dir))?;
                return Ok((real(&found)?, family));
            }
        }
    }
    let mut found = Family::ALL.into_iter().filter_map(|family| Some((upward(&own, family.package())?, family)));
    match (found.next(), found.next()) {
        (None, _) => Err(Failure::no_cluster("egg-cluster or @eggjs/cluster", &own)),
        (Some(_), Some(_)) => Err(Failure::two_clusters(framework)),
        (Some((path, family)), None) => Ok((real(&path)?, family)),
    }
}

/// The package as Node finds it: in `node_modules` of the directory, then of each one above it.
pub fn upward(from: &Path, name: &str) -> Option<PathBuf> {
    let places = from.ancestors().filter(|dir| !dir.ends_with("node_modules"));
    places.map(|dir| dir.join("node_modules").join(name)).find(|path| path.join("package.json").is_file())
}
