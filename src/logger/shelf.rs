//! The old logs as they lie beside the live one: listing them, and setting the live one aside among them.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{FileStat, Mode, SFlag};

use super::names::{Form, OldName};
use crate::sys::clock;
use crate::sys::folder::Folder;

/// How many names that somebody else has taken are passed over, one after the other.
const MOST_TAKEN: u32 = 10_000;

/// One old log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OldLog {
    /// Its name, and with it its place in the order of writing.
    pub name: OldName,
    /// Plain or compressed. Where both files lie there the plain one counts: a crash may have left it so.
    pub form: Form,
    /// What it takes on the disk's account, in bytes; both files together.
    pub bytes: u64,
    /// When it was last written, before it was compressed.
    pub modified: SystemTime,
}

/// The directory of a log, held open, and the log's name in it.
#[derive(Debug)]
pub struct Shelf {
    folder: Folder,
    live: OsString,
}

impl Shelf {
    /// That of the live log with this path.
    ///
    /// # Errors
    /// The kernel's; `PermissionDenied` with the reason where the path leads through a link that other users may exchange.
    pub fn of(live: &Path) -> io::Result<Shelf> {
        let (directory, name) = split(live)?;
        Ok(Shelf { folder: Folder::open(directory)?, live: name.to_owned() })
    }

    /// The same, and makes the directory if it is missing.
    ///
    /// # Errors
    /// As [`Shelf::of`].
    pub fn make(live: &Path) -> io::Result<Shelf> {
        let (directory, name) = split(live)?;
        Ok(Shelf { folder: Folder::make(directory)?, live: name.to_owned() })
    }

    /// The directory.
    #[must_use]
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// The live log's name.
    #[must_use]
    pub fn live(&self) -> &OsStr {
        &self.live
    }

    /// The name of an old log's file.
    #[must_use]
    pub fn file(&self, name: OldName, form: Form) -> OsString {
        name.file(&self.live, form)
    }

    /// The old logs, oldest first. Only regular files count.
    ///
    /// # Errors
    /// The directory cannot be read. A file that goes while it is looked at is none.
    pub fn old_logs(&self) -> io::Result<Vec<OldLog>> {
        let mut found: BTreeMap<OldName, OldLog> = BTreeMap::new();
        for file in self.folder.names()? {
            let Some((name, form)) = OldName::parse(&self.live, &file) else { continue };
            let Some(meta) = self.folder.look(&file).ok().filter(is_regular) else { continue };
            if form == Form::Temporary {
                continue;
            }
            let bytes = u64::try_from(meta.st_size).unwrap_or_default();
            let one = OldLog { name, form, bytes, modified: modified(&meta) };
            found
                .entry(name)
                .and_modify(|other| {
                    let plain = if form == Form::Plain { one } else { *other };
                    *other = OldLog { bytes: one.bytes + other.bytes, ..plain };
                })
                .or_insert(one);
        }
        Ok(found.into_values().collect())
    }

    /// Opens the file of an old log for reading.
    ///
    /// # Errors
    /// The kernel's; `InvalidInput` for what is no regular file; `PermissionDenied` with the reason for one that another user
    /// may have put there.
    pub fn open_old(&self, file: &OsStr) -> io::Result<File> {
        let opened = self.folder.open_file(file, OFlag::O_RDONLY, Mode::empty())?;
        let meta = nix::sys::stat::fstat(&opened)?;
        if !is_regular(&meta) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        distrusted(self.folder.distrust_old(&meta))?;
        Ok(opened)
    }

    /// May what an earlier start has left in the live log's place be set aside?
    ///
    /// # Errors
    /// `PermissionDenied` with the reason when another user may have put it there.
    pub fn may_begin_anew(&self) -> io::Result<()> {
        let meta = self.folder.look(&self.live)?;
        if is_regular(&meta) { distrusted(self.folder.distrust_old(&meta)) } else { Ok(()) }
    }

    /// Renames what an earlier start has left in the live log's place, as [`Shelf::set_aside`]. An empty one of our own stays:
    /// starts in which nothing was printed would drive out the old logs that have something in them.
    ///
    /// # Errors
    /// It cannot be renamed, or [may not be](Shelf::may_begin_anew). A live log that is missing is no error.
    pub fn begin_anew(&self) -> io::Result<()> {
        let meta = match self.folder.look(&self.live) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            meta => meta?,
        };
        self.may_begin_anew()?;
        let stays = is_regular(&meta) && meta.st_size == 0 && self.folder.distrust(&meta).is_none();
        if stays { Ok(()) } else { self.set_aside(None).map(drop) }
    }

    /// Renames the live log to the next old name, one later than `last`, which may have been thrown away by now, and says which
    /// that is. No name is given twice, and nothing is overwritten: a name that is taken is passed over.
    ///
    /// # Errors
    /// There is no live log, or it cannot be renamed.
    pub fn set_aside(&self, last: Option<OldName>) -> io::Result<OldName> {
        let newest = self.old_logs()?.last().map(|old| old.name);
        let mut name = OldName::next(last.max(newest), clock::civil());
        for _ in 0..MOST_TAKEN {
            match self.folder.rename_without_overwriting(&self.live, &self.file(name, Form::Plain)) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => name = name.successor(),
                result => return result.map(|()| name),
            }
        }
        Err(io::Error::other(format!("{MOST_TAKEN} names of old logs are taken")))
    }
}

/// The reason of a distrust as an error.
///
/// # Errors
/// `PermissionDenied`, if there is one.
pub fn distrusted(reason: Option<String>) -> io::Result<()> {
    reason.map_or(Ok(()), |why| Err(io::Error::new(io::ErrorKind::PermissionDenied, why)))
}

fn is_regular(meta: &FileStat) -> bool {
    meta.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFREG.bits()
}

fn modified(meta: &FileStat) -> SystemTime {
    let (seconds, nanoseconds) = (u64::try_from(meta.st_mtime), u32::try_from(meta.st_mtime_nsec));
    let since = Duration::new(seconds.unwrap_or_default(), nanoseconds.unwrap_or_default());
    SystemTime::UNIX_EPOCH + since
}

/// Renames the live log of this path, as [`Shelf::set_aside`].
///
/// # Errors
/// As there.
pub fn set_aside(live: &Path) -> io::Result<OldName> {
    Shelf::of(live)?.set_aside(None)
}

/// The old logs of the log with this live name in `directory`, as [`Shelf::old_logs`].
///
/// # Errors
/// As there.
pub fn old_logs(directory: &Path, live: &OsStr) -> io::Result<Vec<OldLog>> {
    Shelf::of(&directory.join(live))?.old_logs()
}

/// The directory and the name of a log; a bare name lies in the current directory.
///
/// # Errors
/// It ends in `..` or is `/`.
pub fn split(live: &Path) -> io::Result<(&Path, &OsStr)> {
    let file = live.file_name().ok_or_else(|| io::Error::from(Errno::EISDIR))?;
    let directory = live.parent().filter(|parent| !parent.as_os_str().is_empty());
    Ok((directory.unwrap_or(Path::new(".")), file))
}

/// The path of an old log.
#[must_use]
pub fn path_of(directory: &Path, live: &OsStr, old: &OldLog) -> PathBuf {
    directory.join(old.name.file(live, old.form))
}
