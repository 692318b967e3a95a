//! The log files of a detached application: an old file is renamed with a time stamp that never overwrites, a new one is
//! made. No symlink is followed: whoever may write into the directory must not choose what we write to.
//!
//! How an old log is named stands in `logger::names`.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use nix::fcntl::OFlag;

use crate::error::{Exit, Failure};
use crate::logger::shelf;

/// The two files, open for reading too: a failed start shows their last lines.
#[derive(Debug)]
pub struct LogFiles {
    /// Where stdout goes.
    pub stdout: File,
    /// Where stderr goes.
    pub stderr: File,
    /// Are both one file? Then nothing can be told from the size of stderr.
    pub shared: bool,
}

/// Opens both.
///
/// # Errors
/// A failure that names the path.
pub fn open(stdout: &Path, stderr: &Path) -> Result<LogFiles, Failure> {
    let out = open_one(stdout)?;
    let same = |one: &File| Some((one.metadata().ok()?.dev(), one.metadata().ok()?.ino()));
    let there = std::fs::symlink_metadata(stderr).ok().map(|meta| (meta.dev(), meta.ino()));
    let shared = same(&out).is_some() && same(&out) == there;
    let err = if shared { out.try_clone().map_err(|error| failure(stderr, &error))? } else { open_one(stderr)? };
    Ok(LogFiles { stdout: out, stderr: err, shared })
}

fn open_one(path: &Path) -> Result<File, Failure> {
    if let Some(directory) = path.parent() {
        let made = DirBuilder::new().recursive(true).mode(0o755).create(directory);
        made.map_err(|error| failure(directory, &error))?;
    }
    match std::fs::symlink_metadata(path) {
        Ok(meta) if meta.file_type().is_symlink() => {
            let failure = Failure::new(Exit::Failed, format!("cannot write the log `{}`", path.display()));
            return Err(failure.because("it is a symbolic link, and logs follow none").hint("name the file itself"));
        }
        Ok(meta) if meta.is_file() => shelf::set_aside(path).map(drop).map_err(|error| failure(path, &error))?,
        Ok(meta) if meta.is_dir() => {
            let error = io::Error::from_raw_os_error(nix::errno::Errno::EISDIR as i32);
            return Err(failure(path, &error));
        }
        Ok(meta) => return open_device(path, meta.file_type().is_fifo()).map_err(|error| failure(path, &error)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failure(path, &error)),
    }
    let mut options = OpenOptions::new();
    options.read(true).append(true).create_new(true).mode(0o640).custom_flags(OFlag::O_NOFOLLOW.bits());
    options.open(path).map_err(|error| failure(path, &error))
}

/// A device or a pipe that somebody else reads: written to as it is. A pipe without a reader is an error, not a wait.
fn open_device(path: &Path, pipe: bool) -> io::Result<File> {
    let flags = OFlag::O_NOFOLLOW.bits() | if pipe { OFlag::O_NONBLOCK.bits() } else { 0 };
    let file = OpenOptions::new().append(true).custom_flags(flags).open(path)?;
    nix::fcntl::fcntl(&file, nix::fcntl::FcntlArg::F_SETFL(OFlag::O_APPEND))?;
    Ok(file)
}

fn failure(path: &Path, error: &io::Error) -> Failure {
    Failure::new(Exit::Failed, format!("cannot write the log `{}`", path.display()))
        .because(error)
        .hint("--stdout and --stderr name other files")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn directory(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("eggctl-log-files-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    #[test]
    fn a_symlink_is_refused_and_one_file_for_both_is_opened_once() {
        let directory = directory("symlink");
        let link = directory.join("link.log");
        std::os::unix::fs::symlink(directory.join("victim"), &link).unwrap();
        let refused = open_one(&link).unwrap_err().to_string();
        let path = directory.join("both.log");
        let both = open(&path, &path).unwrap();
        let names = std::fs::read_dir(&directory).unwrap().count();
        std::fs::remove_dir_all(&directory).unwrap();
        assert!(refused.contains("symbolic link"), "{refused}");
        assert!(both.shared);
        assert_eq!(names, 2, "the link and the one log");
    }
}
