//! Fixtures with dependencies: `npm ci` in place, once for each lock file, whoever comes first.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::fcntl::{Flock, FlockArg};

use super::visibly;

/// In node_modules: the lock file that it was installed from.
const STAMP: &str = "node_modules/.installed-from";

/// The fixture's directory, with its modules in it.
///
/// To be called before `world`: inside there is no network. `None`: npm is not here, and a note says so. Where `CI` is
/// set, that is a failure.
#[track_caller]
pub fn installed(name: &str) -> Option<PathBuf> {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    let file = fs::File::open(fixture.join("package-lock.json")).unwrap();
    // Held to the end of this function: the others wait, and then find everything there.
    let _turn = Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| errno).unwrap();
    let wanted = fs::read(fixture.join("package-lock.json")).unwrap();
    if fs::read(fixture.join(STAMP)).is_ok_and(|installed| installed == wanted) {
        return Some(fixture);
    }
    let found = Command::new("npm").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !found.is_ok_and(|status| status.success()) {
        assert!(std::env::var_os("CI").is_none(), "npm is not here, and a test needs it for {name}");
        visibly(&format!("note: npm is not here: what needs the modules of {name} did not run"));
        return None;
    }
    let install = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline"];
    let done = Command::new("npm").args(install).current_dir(&fixture).output().unwrap();
    assert!(done.status.success(), "npm ci for {name}: {}", String::from_utf8_lossy(&done.stderr));
    fs::write(fixture.join(STAMP), wanted).unwrap();
    Some(fixture)
}
