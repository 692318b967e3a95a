//! The log files of a start: what an earlier one has left is set aside, new files are made and locked. A user who may write
//! into the directory does not choose what we write to (`sys::folder`).
//!
//! The master and the logger get them open; how an old log is named stands in `logger::names`.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{Mode, SFlag};
use nix::unistd::{AccessFlags, faccessat};

use crate::error::{Exit, Failure};
use crate::logger::ledger::Ledger;
use crate::logger::live;
use crate::logger::shelf::Shelf;
use crate::options::{Options, member_log};
use crate::sys::pidfd::{self, Pidfd};
use crate::sys::{clock, lock, output, proc};

use super::super::tail;
use super::verdict::{self, Verdict, When};

/// How long the logger of a killed master of the same title is waited for, in milliseconds: its members' graces are usually 5 s.
const LEFT_OVER_MS: u64 = 10_000;

/// How many bytes of warnings a start may print.
const MOST_WARNINGS: u64 = 1 << 20;

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
    /// Judges what is on stderr, in the common log and in the members' own. A device tells nothing, nor does a file that
    /// stdout goes into as well.
    ///
    /// # Errors
    /// The kernel's.
    pub fn judge_stderr(&self, when: When) -> io::Result<Verdict> {
        let mut own_lines = Vec::new();
        for path in self.of_members("stderr")? {
            let Verdict::Fine(lines) = judge_file(&tail::open(&path)?, when)? else { return Ok(Verdict::Fails) };
            own_lines.extend(lines);
        }
        if !self.shared && self.stderr.metadata()?.is_file() {
            // The master gives stdout the first place in the ledger, if it is a file, and stderr the next one.
            let number = u32::from(self.stdout.metadata()?.is_file());
            let counters = Ledger::open(self.ledger.try_clone()?).read(number)?;
            let Verdict::Fine(lines) = judge_file(&self.stderr, when)? else { return Ok(Verdict::Fails) };
            own_lines.extend(lines);
            // What no file holds cannot be looked at; a log that was set aside twice held more than warnings.
            if counters.bytes_dropped > 0 || counters.rotations > 1 {
                return Ok(Verdict::Fails);
            }
        }
        Ok(Verdict::Fine(own_lines))
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

/// Judges a file of stderr: one that is larger holds more than warnings.
fn judge_file(file: &File, when: When) -> io::Result<Verdict> {
    let length = file.metadata()?.len();
    if length > MOST_WARNINGS {
        return Ok(Verdict::Fails);
    }
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
    let read = file.read_at(&mut bytes, 0)?;
    Ok(verdict::judge(&String::from_utf8_lossy(bytes.get(..read).unwrap_or_default()), when))
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
    let shelf = match Shelf::of(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return try_to_make_directory(path).map_err(|error| failure(path, &error));
        }
        shelf => shelf.map_err(|error| failure(path, &error))?,
    };
    let checked = match what_is_at(&shelf, path)? {
        There::Nothing => try_to_make(&shelf),
        There::Device => may(&shelf, shelf.live(), AccessFlags::W_OK),
        // An old log is renamed, which the directory must allow.
        There::File => {
            if let Some(pids) = writers(&shelf).filter(|pids| !by_default && !are_loggers_of(pids, title)) {
                return Err(taken(path, &pids));
            }
            may(&shelf, shelf.live(), AccessFlags::W_OK)
                .and_then(|()| may(&shelf, OsStr::new("."), AccessFlags::W_OK | AccessFlags::X_OK))
                .and_then(|()| shelf.may_begin_anew())
        }
    };
    checked.map_err(|error| failure(path, &error))
}

fn may(shelf: &Shelf, name: &OsStr, what: AccessFlags) -> io::Result<()> {
    Ok(faccessat(shelf.folder(), name, what, AtFlags::AT_EACCESS)?)
}

/// Makes the file and removes it: no question tells as surely whether it can be made (`/proc` says that root may).
fn try_to_make(shelf: &Shelf) -> io::Result<()> {
    let fresh = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL;
    shelf.folder().open_file(shelf.live(), fresh, Mode::S_IRUSR | Mode::S_IWUSR)?;
    shelf.folder().remove(shelf.live())
}

/// The same for the first of its directories that is missing.
fn try_to_make_directory(path: &Path) -> io::Result<()> {
    let missing = path.ancestors().skip(1).take_while(|one| matches!(one.try_exists(), Ok(false)));
    let Some(first) = missing.last() else { return Ok(()) };
    std::fs::create_dir(first)?;
    std::fs::remove_dir(first)
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
    let shelf = Shelf::make(path).map_err(|error| failure(path.parent().unwrap_or(path), &error))?;
    match what_is_at(&shelf, path)? {
        There::File => {
            if let Some(pids) = writers(&shelf) {
                return Ok(Opened::TakenBy(pids));
            }
            shelf.begin_anew().map_err(|error| failure(path, &error))?;
        }
        There::Device => {
            return open_device(&shelf).map(Opened::Open).map_err(|error| failure(path, &error));
        }
        There::Nothing => {}
    }
    live::open(&shelf).map(Opened::Open).map_err(|error| failure(path, &error))
}

/// What stands where a log is to be.
enum There {
    Nothing,
    File,
    Device,
}

/// Fails for what can be no log.
fn what_is_at(shelf: &Shelf, path: &Path) -> Result<There, Failure> {
    let found = match shelf.folder().look(shelf.live()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(There::Nothing),
        found => found.map_err(|error| failure(path, &error))?,
    };
    match SFlag::from_bits_truncate(found.st_mode & SFlag::S_IFMT.bits()) {
        SFlag::S_IFLNK => {
            let failure = Failure::new(Exit::Failed, format!("cannot write the log `{}`", path.display()));
            Err(failure.because("it is a symbolic link, and logs follow none").hint("name the file itself"))
        }
        SFlag::S_IFDIR => Err(failure(path, &Errno::EISDIR.into())),
        SFlag::S_IFREG => Ok(There::File),
        kind => match shelf.folder().distrust(&found).filter(|_| kind == SFlag::S_IFIFO) {
            // Its reader gets what the application prints.
            Some(why) => Err(failure(path, &io::Error::new(io::ErrorKind::PermissionDenied, why))),
            None => Ok(There::Device),
        },
    }
}

/// Who holds the lock of a live file, if anybody does.
fn writers(shelf: &Shelf) -> Option<Vec<u32>> {
    let file = shelf.folder().open_file(shelf.live(), OFlag::O_WRONLY, Mode::empty()).ok()?;
    let is_locked = lock::is_locked(&file).unwrap_or(false);
    is_locked.then(|| proc::holders_of_lock(&file).unwrap_or_default())
}

/// A device or a pipe that somebody else reads: written to as it is. A pipe without a reader is an error, not a wait.
fn open_device(shelf: &Shelf) -> io::Result<File> {
    let file = shelf.folder().open_file(shelf.live(), OFlag::O_WRONLY | OFlag::O_APPEND, Mode::empty())?;
    nix::fcntl::fcntl(&file, nix::fcntl::FcntlArg::F_SETFL(OFlag::O_APPEND))?;
    Ok(file)
}

fn failure(path: &Path, error: &io::Error) -> Failure {
    let failure = Failure::new(Exit::Failed, format!("cannot write the log `{}`", path.display())).because(error);
    // A reason in words is one of trust; the kernel's own has a number.
    if error.kind() == io::ErrorKind::PermissionDenied && error.raw_os_error().is_none() {
        return failure.hint("remove it, or name files in a directory of your own with `--stdout` and `--stderr`");
    }
    failure.hint("--stdout and --stderr name other files")
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
