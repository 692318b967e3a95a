//! The flags that node gets before the file a member runs, and the modules that load first.

use std::path::{Path, PathBuf};

use super::Family;
use super::flags::StartFlags;
use super::framework::upward;
use super::package::Package;
use super::settings::Settings;
use crate::error::Failure;

/// What egg-scripts always gives to node.
const ALWAYS: &[&str] = &["--no-deprecation", "--trace-warnings"];

/// What the flags are made from.
pub struct NodeFlags<'a> {
    pub flags: &'a StartFlags,
    pub settings: &'a Settings,
    pub package: Option<&'a Package>,
    pub base_dir: &'a Path,
    /// Of an Egg application.
    pub family: Option<Family>,
}

impl NodeFlags<'_> {
    /// The flags, in the order of @eggjs/scripts: its own two, what is reverted, what is asked for, then the modules.
    ///
    /// # Errors
    /// Something in package.json is not what it should be, or the module for source maps is not installed.
    pub fn list(&self) -> Result<Vec<String>, Failure> {
        let mut list: Vec<String> = ALWAYS.iter().map(|flag| (*flag).to_owned()).collect();
        if let Some(package) = self.package {
            list.extend(package.reverts()?.iter().map(|revert| format!("--security-revert={revert}")));
        }
        list.extend(self.options()?.iter().map(|option| format!("--{option}")));
        // The workers of Egg 4 import these themselves: ES modules, too.
        if self.family != Some(Family::Four) {
            for module in self.modules()? {
                list.extend(["--require".to_owned(), self.seen_from_base_dir(&module)]);
            }
        }
        if self.wants_source_maps()? {
            let esm = self.package.is_some_and(Package::is_esm) && self.family != Some(Family::Three);
            let file = self.source_map_support()?;
            let file = file.to_str().ok_or_else(|| Failure::path_not_text(&file))?;
            list.extend([if esm { "--import" } else { "--require" }.to_owned(), file.to_owned()]);
        }
        Ok(list)
    }

    /// The modules that load first, as they were given. Who comes first is the family's own rule.
    pub fn modules(&self) -> Result<Vec<String>, Failure> {
        let (typed, set) = (self.flags.require.clone(), self.settings.modules()?);
        Ok(if self.family == Some(Family::Four) { [set, typed].concat() } else { [typed, set].concat() })
    }

    /// Are source maps wanted?
    pub fn wants_source_maps(&self) -> Result<bool, Failure> {
        if let Some(typed) = self.flags.sourcemap() {
            return Ok(typed);
        }
        for key in ["sourcemap", "ts", "typescript"] {
            if let Some(set) = self.settings.truth(key)? {
                return Ok(set);
            }
        }
        self.package.map_or(Ok(false), Package::is_typescript)
    }

    /// `max-old-space-size=4096`: what was typed, then what is set and was not typed.
    fn options(&self) -> Result<Vec<String>, Failure> {
        let name = |option: &str| option.split('=').next().unwrap_or_default().to_owned();
        let mut options = self.flags.node_options.clone();
        let typed: Vec<String> = options.iter().map(|option| name(option)).collect();
        options.extend(self.settings.node_options()?.into_iter().filter(|option| !typed.contains(&name(option))));
        if let Some(odd) = options.iter().find(|option| option.is_empty() || option.starts_with(['=', '-'])) {
            return Err(Failure::usage(format!("`--node-options--{odd}` names no flag of node")));
        }
        // All members would take the same port; Node's cluster counts it up.
        match options.iter().find(|option| option.starts_with("inspect") || option.starts_with("debug")) {
            Some(debugger) => Err(Failure::not_yet(&format!("--node-options--{debugger}"))),
            None => Ok(options),
        }
    }

    /// `./x` is the application's; everything else is a module's name or absolute, and node's to find.
    fn seen_from_base_dir(&self, module: &str) -> String {
        match module.strip_prefix("./") {
            Some(inside) => self.base_dir.join(inside).to_string_lossy().into_owned(),
            None => module.to_owned(),
        }
    }

    /// The module that maps stack traces back, the application's own or the one that egg-scripts brings with it.
    fn source_map_support(&self) -> Result<PathBuf, Failure> {
        const MODULE: &str = "source-map-support";
        let brought = ["egg-scripts", "@eggjs/scripts"].into_iter().filter_map(|scripts| {
            let scripts = upward(self.base_dir, scripts)?;
            upward(&std::fs::canonicalize(scripts).ok()?, MODULE)
        });
        let found = upward(self.base_dir, MODULE).into_iter().chain(brought).map(|dir| dir.join("register.js"));
        found.into_iter().find(|file| file.is_file()).ok_or_else(|| Failure::no_source_map_support(self.base_dir))
    }
}
