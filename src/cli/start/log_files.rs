//! The log files of a detached application: an old file is renamed with a time stamp that never overwrites, a new one is
//! made. No symlink is followed: whoever may write into the directory must not choose what we write to.
//!
//! The format of the stamp, `.YYYYMMDD.HHmmss`, is egg-scripts'.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{AT_FDCWD, OFlag, RenameFlags, renameat2};

use crate::error::{Exit, Failure};
use crate::sys::clock;

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
        Ok(meta) if meta.is_file() => set_aside(path).map_err(|error| failure(path, &error))?,
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

/// Renames the old file to `<path>.YYYYMMDD.HHmmss`, with `.1`, `.2` … behind it when that name is taken.
fn set_aside(path: &Path) -> io::Result<()> {
    const MOST_IN_A_SECOND: u32 = 10_000;
    let stamp = clock::file_time();
    for count in 0..MOST_IN_A_SECOND {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{stamp}"));
        if count > 0 {
            name.push(format!(".{count}"));
        }
        match rename_without_overwriting(path, &PathBuf::from(name)) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            result => return result,
        }
    }
    Err(io::Error::other(format!("{MOST_IN_A_SECOND} old logs of one second")))
}

fn rename_without_overwriting(from: &Path, to: &Path) -> io::Result<()> {
    match renameat2(AT_FDCWD, from, AT_FDCWD, to, RenameFlags::RENAME_NOREPLACE) {
        // A file system that does not know the flag (NFS, some FUSE): link and unlink never overwrite either.
        Err(nix::errno::Errno::EINVAL | nix::errno::Errno::ENOSYS) => {
            std::fs::hard_link(from, to)?;
            std::fs::remove_file(from)
        }
        result => Ok(result?),
    }
}

fn failure(path: &Path, error: &io::Error) -> Failure {
    Failure::new(Exit::Failed, format!("cannot write the log `{}`", path.display()))
        .because(error)
        .hint("--stdout and --stderr name other files")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("eggctl-log-files-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    #[test]
    fn old_logs_of_one_second_get_names_of_their_own_and_nothing_is_overwritten() {
        let directory = directory("aside");
        let path = directory.join("out.log");
        for content in ["one", "two", "three", "four"] {
            std::fs::write(&path, content).unwrap();
            set_aside(&path).unwrap();
        }
        let mut contents: Vec<String> = std::fs::read_dir(&directory)
            .unwrap()
            .map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap())
            .collect();
        contents.sort();
        std::fs::remove_dir_all(&directory).unwrap();
        assert_eq!(contents, ["four", "one", "three", "two"]);
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
