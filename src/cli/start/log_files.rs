//! The log files of a start: what an earlier one has left is set aside, new files are made and locked. No symlink is
//! followed: whoever may write into the directory must not choose what we write to.
//!
//! The master and the logger get them open; how an old log is named stands in `logger::names`.

use std::ffi::OsString;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::unistd::{AccessFlags, access};

use crate::error::{Exit, Failure};
use crate::logger::ledger::Ledger;
use crate::logger::{live, shelf};
use crate::options::{Options, member_log};
use crate::sys::pidfd::{self, Pidfd};
use crate::sys::{clock, lock, output, proc};

/// How long the logger of a killed master of the same title is waited for, in milliseconds: its members' graces are usually 5 s.
const LEFT_OVER_MS: u64 = 10_000;

/// The two files, open for reading too: a failed start shows their last lines.
#[derive(Debug)]
pub struct LogFiles {
    /// Where stdout goes.
    pub stdout: File,
    /// Where stderr goes.
    pub stderr: File,
    /// Are both one file? Then nothing can be told from the size of stderr.
    pub shared: bool,
    /// What the loggers of this start count in.
    pub ledger: OwnedFd,
}

impl LogFiles {
    /// Has anybody printed to stderr? What a logger has taken counts, wherever it has gone; a device tells nothing.
    ///
    /// # Errors
    /// The kernel's.
    pub fn stderr_speaks(&self) -> io::Result<bool> {
        if self.of_members("stderr")?.next().is_some() {
            return Ok(true);
        }
        if self.shared {
            return Ok(false);
        }
        // The master gives stdout the first place in the ledger, if it is a file, and stderr the next one.
        let number = u32::from(self.stdout.metadata()?.is_file());
        Ok(Ledger::open(self.ledger.try_clone()?).read(number)?.bytes_in > 0 || self.stderr.metadata()?.len() > 0)
    }

    /// The members' own logs of `stdout` or `stderr` that anything has been printed into, the latest first.
    ///
    /// # Errors
    /// The kernel's.
    pub fn of_members(&self, which: &str) -> io::Result<impl Iterator<Item = PathBuf> + use<>> {
        let is_file = |file: &File| file.metadata().map(|meta| usize::from(meta.is_file()));
        let common = is_file(&self.stdout)? + if self.shared { 0 } else { is_file(&self.stderr)? };
        let ending = member_log(Path::new(""), "", which).into_os_string();
        let streams = Ledger::open(self.ledger.try_clone()?).read_all()?.into_iter().skip(common);
        let is_wanted = |path: &OsString| path.as_bytes().ends_with(ending.as_bytes());
        let mut own: Vec<_> = streams.filter(|(path, counters)| is_wanted(path) && counters.bytes_in > 0).collect();
        own.sort_by_key(|(_, counters)| std::cmp::Reverse(counters.written_at_ms));
        Ok(own.into_iter().map(|(path, _)| PathBuf::from(path)))
    }
}

/// Opens both, if there are to be logs. Where a file that was chosen by default is another application's, the options get
/// one with the title in its name.
///
/// # Errors
/// A failure that names the path.
pub fn open(options: &mut Options) -> Result<Option<LogFiles>, Failure> {
    let Some(logs) = &options.logs else { return Ok(None) };
    let (stdout_by_default, stderr_by_default) = (logs.stdout_by_default, logs.stderr_by_default);
    let title = options.title.as_str().to_owned();
    let out = open_or_beside(&mut options.stdout, stdout_by_default, &title)?;
    let identity = |meta: std::fs::Metadata| (meta.dev(), meta.ino());
    let there = std::fs::symlink_metadata(&options.stderr).ok().map(identity);
    let shared = there.is_some() && there == out.metadata().ok().map(identity);
    let err = if shared {
        out.try_clone().map_err(|error| failure(&options.stderr, &error))?
    } else {
        open_or_beside(&mut options.stderr, stderr_by_default, &title)?
    };
    let ledger = Ledger::create().map_err(|error| failure(&options.stdout, &error))?;
    Ok(Some(LogFiles { stdout: out, stderr: err, shared, ledger }))
}

fn open_or_beside(path: &mut PathBuf, by_default: bool, title: &str) -> Result<File, Failure> {
    let opened = match open_one(path)? {
        Opened::TakenBy(pids) if are_left_over(&pids, title) => open_one(path)?,
        opened => opened,
    };
    let refused = match opened {
        Opened::Open(file) => return Ok(file),
        Opened::TakenBy(pids) => taken(path, &pids),
    };
    if !by_default {
        return Err(refused);
    }
    let beside = beside(path, title);
    match open_one(&beside)? {
        Opened::Open(file) => {
            output::say(format_args!("{} is another application's: {} is used", path.display(), beside.display()));
            *path = beside;
            Ok(file)
        }
        Opened::TakenBy(pids) => Err(taken(&beside, &pids)),
    }
}

/// Could a start open these logs, once the application of this title has let go of them? Told without their locks, and
/// nothing that is there is changed: what is not there yet is made, and taken away again.
///
/// # Errors
/// A failure that names the path.
pub fn check(options: &Options) -> Result<(), Failure> {
    let Some(logs) = &options.logs else { return Ok(()) };
    let title = options.title.as_str();
    check_one(&options.stdout, logs.stdout_by_default, title)?;
    check_one(&options.stderr, logs.stderr_by_default, title)
}

fn check_one(path: &Path, by_default: bool, title: &str) -> Result<(), Failure> {
    let parent = path.parent().unwrap_or(path);
    let checked = match what_is_at(path)? {
        There::Nothing => try_to_make(path),
        There::Device { pipe: _ } => may(path, AccessFlags::W_OK),
        // An old log is renamed, which the directory must allow.
        There::File => {
            if let Some(pids) = writers(path).filter(|pids| !by_default && !are_loggers_of(pids, title)) {
                return Err(taken(path, &pids));
            }
            may(path, AccessFlags::W_OK).and_then(|()| may(parent, AccessFlags::W_OK | AccessFlags::X_OK))
        }
    };
    checked.map_err(|error| failure(path, &error))
}

fn may(path: &Path, what: AccessFlags) -> io::Result<()> {
    Ok(access(path, what)?)
}

/// Makes the file, or the first of its directories that is missing, and removes it: no question tells as surely whether it
/// can be made (`/proc` says that root may).
fn try_to_make(path: &Path) -> io::Result<()> {
    let missing = path.ancestors().take_while(|one| matches!(one.try_exists(), Ok(false)));
    match missing.last() {
        Some(first) if first != path => {
            std::fs::create_dir(first)?;
            std::fs::remove_dir(first)
        }
        _ => {
            OpenOptions::new().write(true).create_new(true).open(path)?;
            std::fs::remove_file(path)
        }
    }
}

/// Are they loggers of this very title? We have its lock, so their master was killed: they are about to write what is left and
/// to go, and are waited for.
fn are_left_over(pids: &[u32], title: &str) -> bool {
    let pidfds: Vec<Pidfd> = pids.iter().filter_map(|pid| Pidfd::open(*pid).ok()).collect();
    are_loggers_of(pids, title) && pidfd::wait_all(&pidfds, clock::monotonic_ms() + LEFT_OVER_MS).unwrap_or(false)
}

fn are_loggers_of(pids: &[u32], title: &str) -> bool {
    let wanted = format!("--title={title}");
    let mut reader = proc::Reader::default();
    let mut is_ours = |pid: u32| {
        reader
            .arguments(pid)
            .is_ok_and(|mut words| words.nth(1) == Some(b"logger") && words.next() == Some(wanted.as_bytes()))
    };
    !pids.is_empty() && pids.iter().all(|pid| is_ours(*pid))
}

/// `master-stdout.log` as `master-TITLE-stdout.log`.
fn beside(path: &Path, title: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let which = name.strip_prefix("master-").unwrap_or(&name);
    path.with_file_name(OsString::from(format!("master-{}-{which}", title.replace('/', "_"))))
}

fn taken(path: &Path, pids: &[u32]) -> Failure {
    let who = pids.first().map_or_else(String::new, |pid| format!(" (pid {pid})"));
    failure(path, &io::Error::other(format!("another application writes it{who}")))
}

enum Opened {
    Open(File),
    TakenBy(Vec<u32>),
}

fn open_one(path: &Path) -> Result<Opened, Failure> {
    if let Some(directory) = path.parent() {
        let made = DirBuilder::new().recursive(true).mode(0o755).create(directory);
        made.map_err(|error| failure(directory, &error))?;
    }
    match what_is_at(path)? {
        There::File => {
            if let Some(pids) = writers(path) {
                return Ok(Opened::TakenBy(pids));
            }
            shelf::begin_anew(path).map_err(|error| failure(path, &error))?;
        }
        There::Device { pipe } => {
            return open_device(path, pipe).map(Opened::Open).map_err(|error| failure(path, &error));
        }
        There::Nothing => {}
    }
    live::open(path).map(Opened::Open).map_err(|error| failure(path, &error))
}

/// What stands where a log is to be.
enum There {
    Nothing,
    File,
    Device { pipe: bool },
}

/// Fails for what can be no log.
fn what_is_at(path: &Path) -> Result<There, Failure> {
    match std::fs::symlink_metadata(path) {
        Ok(meta) if meta.file_type().is_symlink() => {
            let failure = Failure::new(Exit::Failed, format!("cannot write the log `{}`", path.display()));
            Err(failure.because("it is a symbolic link, and logs follow none").hint("name the file itself"))
        }
        Ok(meta) if meta.is_dir() => Err(failure(path, &Errno::EISDIR.into())),
        Ok(meta) if meta.is_file() => Ok(There::File),
        Ok(meta) => Ok(There::Device { pipe: meta.file_type().is_fifo() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(There::Nothing),
        Err(error) => Err(failure(path, &error)),
    }
}

/// Who holds the lock of a live file, if anybody does.
fn writers(path: &Path) -> Option<Vec<u32>> {
    let flags = (OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits();
    let file = OpenOptions::new().write(true).custom_flags(flags).open(path).ok()?;
    let is_locked = lock::is_locked(&file).unwrap_or(false);
    is_locked.then(|| proc::holders_of_lock(&file).unwrap_or_default())
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

    fn directory(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("eggctl-log-files-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    #[test]
    fn a_symlink_is_refused_and_a_file_that_somebody_writes_is_left_alone() {
        let directory = directory("symlink");
        let link = directory.join("link.log");
        std::os::unix::fs::symlink(directory.join("victim"), &link).unwrap();
        let refused = open_or_beside(&mut link.clone(), false, "t").unwrap_err().to_string();
        let path = directory.join("master-stdout.log");
        let first = open_or_beside(&mut path.clone(), true, "first").unwrap();
        let explicit = open_or_beside(&mut path.clone(), false, "second").unwrap_err().to_string();
        let mut chosen = path.clone();
        let second = open_or_beside(&mut chosen, true, "a/b").unwrap();
        drop((first, second));
        let mut third = path.clone();
        drop(open_or_beside(&mut third, true, "third").unwrap());
        std::fs::remove_dir_all(&directory).unwrap();
        assert!(refused.contains("symbolic link"), "{refused}");
        assert!(explicit.contains("another application"), "{explicit}");
        assert_eq!(chosen, directory.join("master-a_b-stdout.log"));
        assert_eq!(third, path, "free again");
    }
}
