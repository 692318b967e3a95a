//! The old logs as they lie beside the live one: listing them, and setting the live one aside among them.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};

use super::names::{Form, OldName};
use crate::sys::clock;

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

/// The old logs of the log with this live name, oldest first. Only regular files count.
///
/// # Errors
/// The directory cannot be read. A file that goes while it is looked at is none.
pub fn old_logs(directory: &Path, live: &OsStr) -> io::Result<Vec<OldLog>> {
    let mut found: BTreeMap<OldName, OldLog> = BTreeMap::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let Some((name, form)) = OldName::parse(live, &entry.file_name()) else { continue };
        let Some(meta) = entry.metadata().ok().filter(fs::Metadata::is_file) else { continue };
        if form == Form::Temporary {
            continue;
        }
        let modified = meta.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        let one = OldLog { name, form, bytes: meta.len(), modified };
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

/// Renames what an earlier start has left in the live log's place, as [`set_aside`]. An empty one stays: starts in which
/// nobody printed would drive the old logs that have something in them out.
///
/// # Errors
/// It cannot be renamed. That there is none is no error.
pub fn begin_anew(live: &Path) -> io::Result<()> {
    match fs::symlink_metadata(live) {
        Ok(meta) if meta.is_file() && meta.len() == 0 => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        _ => set_aside(live).map(drop),
    }
}

/// Renames the live log to the next old name, and says which that is. Nothing is overwritten: a name that somebody else
/// has taken is passed over.
///
/// # Errors
/// There is no live log, or it cannot be renamed.
pub fn set_aside(live: &Path) -> io::Result<OldName> {
    set_aside_after(None, live)
}

/// The same, under a name later than `last`, which may have been thrown away by now: no name is given twice.
///
/// # Errors
/// As [`set_aside`].
pub fn set_aside_after(last: Option<OldName>, live: &Path) -> io::Result<OldName> {
    let (directory, file) = split(live)?;
    let newest = old_logs(directory, file)?.last().map(|old| old.name);
    let mut name = OldName::next(last.max(newest), clock::civil());
    for _ in 0..MOST_TAKEN {
        match rename_without_overwriting(live, &directory.join(name.file(file, Form::Plain))) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => name = name.successor(),
            result => return result.map(|()| name),
        }
    }
    Err(io::Error::other(format!("{MOST_TAKEN} names of old logs are taken")))
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

fn rename_without_overwriting(from: &Path, to: &Path) -> io::Result<()> {
    match renameat2(AT_FDCWD, from, AT_FDCWD, to, RenameFlags::RENAME_NOREPLACE) {
        // A file system that does not know the flag (NFS, some FUSE): link and unlink never overwrite either.
        Err(Errno::EINVAL | Errno::ENOSYS) => {
            fs::hard_link(from, to)?;
            fs::remove_file(from)
        }
        result => Ok(result?),
    }
}
