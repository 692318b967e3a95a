//! The peers, installed once under `target/versus`: npm's by the lock file beside this, daemontools by apt.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where the peers and the applications are.
fn place() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/versus")
}

/// The program of a peer from npm.
pub fn bin(name: &str) -> PathBuf {
    place().join("node_modules/.bin").join(name)
}

/// A directory of `benches/versus`, as it was copied beside the peers: modules are looked for from there.
pub fn app(name: &str) -> PathBuf {
    place().join(name)
}

/// Installs what is missing.
pub fn install() {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/versus");
    let lock = fs::read(from.join("package-lock.json")).unwrap();
    let installed = place().join("package-lock.json");
    fs::create_dir_all(place()).unwrap();
    // The lock is copied last, after an installation that worked.
    if !bin("pm2").exists() || fs::read(&installed).ok().as_ref() != Some(&lock) {
        eprintln!("installing the peers from npm into {}", place().display());
        fs::copy(from.join("package.json"), place().join("package.json")).unwrap();
        fs::write(&installed, &lock).unwrap();
        run(Command::new("npm").args(["ci", "--no-audit", "--no-fund", "--omit=dev"]).current_dir(place()));
    }
    for application in ["app", "framework", "egg", "relay", "reload", "sticky"] {
        copy(&from.join(application), &app(application));
    }
    let found = Command::new("sh").args(["-c", "command -v supervise"]).stdout(Stdio::null()).status();
    if !found.is_ok_and(|status| status.success()) {
        eprintln!("installing daemontools");
        run(Command::new("apt-get").args(["update", "-qq"]));
        let install = ["install", "-y", "-qq", "--no-install-recommends", "daemontools"];
        run(Command::new("apt-get").args(install).env("DEBIAN_FRONTEND", "noninteractive"));
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy(&path, &to);
        } else {
            fs::copy(path, to).unwrap();
        }
    }
}

fn run(command: &mut Command) {
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status();
    let status = status.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(status.success(), "{command:?}: {status}");
}
