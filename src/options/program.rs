//! Finds a program as `execvp` would, before anything is started.

use std::env::split_paths;
use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::unistd::{AccessFlags, access};

use crate::error::Failure;

/// The absolute path of `program`: with a slash it is a path from `cwd`, without one it is looked up in `path`, whose
/// relative and empty parts are seen from `cwd`.
///
/// # Errors
/// `cannot run X: errno` (exit 1). As with `execvp`, a program that is there and cannot be run is told before "not found".
pub fn find(program: &Path, path: &OsStr, cwd: &Path) -> Result<PathBuf, Failure> {
    let candidates: Vec<PathBuf> = if program.as_os_str().as_bytes().contains(&b'/') {
        vec![cwd.join(program)]
    } else {
        split_paths(path).map(|dir| cwd.join(dir).join(program)).collect()
    };
    let mut refusal = Errno::ENOENT;
    for candidate in candidates {
        match runnable(&candidate) {
            Ok(()) => return Ok(candidate),
            Err(Errno::ENOENT | Errno::ENOTDIR) => {}
            Err(errno) => refusal = errno,
        }
    }
    Err(Failure::cannot_run(program, refusal))
}

/// Is it a file that may be executed, and that the kernel can load? A text without `#!` is none: `execvp` would hand it to a
/// shell, and its first line would be the only explanation.
fn runnable(path: &Path) -> Result<(), Errno> {
    let found = fs::metadata(path).map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(0)))?;
    if found.is_dir() {
        return Err(Errno::EISDIR);
    }
    if !found.is_file() {
        return Err(Errno::EACCES);
    }
    access(path, AccessFlags::X_OK)?;
    let mut magic = [0; 4];
    let read = fs::File::open(path).and_then(|mut file| file.read(&mut magic));
    match read {
        Ok(_) if !magic.starts_with(b"\x7fELF") && !magic.starts_with(b"#!") => Err(Errno::ENOEXEC),
        // One that may be run but not read is the kernel's to judge.
        Ok(_) | Err(_) => Ok(()),
    }
}
