//! Tests of the options, on real directories and made-up surroundings.

mod bad_input;
mod changed;
mod egg;
mod env_file;
mod rules;
mod serving;
mod settings;
mod start_cluster;
mod typing;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::flags::{Cli, Command, NoCommand, StartFlags, StopFlags, parse};
use super::{Options, Surroundings, resolve};
use crate::error::Failure;

/// A directory of the test's own, gone at its end.
pub struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Scratch {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("eggctl-options-{}-{number}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        Scratch(fs::canonicalize(dir).unwrap())
    }

    /// An application `svc` in `svc/`, and a program `bin/node`.
    pub fn with_application() -> Self {
        let scratch = Scratch::new();
        scratch.write("svc/package.json", r#"{"name":"svc"}"#);
        scratch.write("svc/app.js", "");
        scratch.write("bin/node", "#!/bin/sh\n");
        scratch.set_mode("bin/node", 0o755);
        scratch
    }

    pub fn path(&self, inside: &str) -> PathBuf {
        self.0.join(inside)
    }

    pub fn text(&self, inside: &str) -> String {
        self.path(inside).to_str().unwrap().to_owned()
    }

    pub fn write(&self, inside: &str, text: &str) {
        let path = self.path(inside);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub fn set_mode(&self, inside: &str, mode: u32) {
        fs::set_permissions(self.path(inside), fs::Permissions::from_mode(mode)).unwrap();
    }

    /// Surroundings in this directory: home `home/`, 3 CPUs, PATH `bin/`.
    pub fn around(&self) -> Surroundings {
        Surroundings {
            environment: BTreeMap::from([("PATH".into(), self.path("bin").into_os_string())]),
            cwd: self.0.clone(),
            passwd_home: Some(self.path("home")),
            usable_cpus: 3,
            scaled: None,
        }
    }

    /// Resolves `eggctl start svc <typed>` with these variables.
    pub fn start(&self, typed: &[&str], variables: &[(&str, &str)]) -> Result<Options, Failure> {
        let mut around = self.around();
        set(&mut around, variables);
        let typed: Vec<&str> = std::iter::once("svc").chain(typed.iter().copied()).collect();
        resolve(&start_flags(&typed), &around)
    }
}

pub fn set(around: &mut Surroundings, variables: &[(&str, &str)]) {
    around.environment.extend(variables.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))));
}

pub fn typed(arguments: &[&str]) -> Result<Cli, NoCommand> {
    parse(std::iter::once("eggctl").chain(arguments.iter().copied()).map(OsString::from))
}

pub fn start_flags(arguments: &[&str]) -> StartFlags {
    let all: Vec<&str> = std::iter::once("start").chain(arguments.iter().copied()).collect();
    match typed(&all).unwrap().command {
        Command::Start(flags) => *flags,
        _ => panic!("start was typed"),
    }
}

pub fn stop_flags(arguments: &[&str]) -> StopFlags {
    let all: Vec<&str> = std::iter::once("stop").chain(arguments.iter().copied()).collect();
    match typed(&all).unwrap().command {
        Command::Stop(flags) => flags,
        _ => panic!("stop was typed"),
    }
}

pub fn variable<'a>(options: &'a Options, name: &str) -> Option<&'a Path> {
    options.environment.iter().find(|(other, _)| other == name).map(|(_, value)| Path::new(value))
}
