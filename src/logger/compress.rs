//! Compressing one old log so that a crash at any moment loses nothing: written under a temporary name, synced, renamed,
//! and only then is the original removed. While both lie there the original counts, and is compressed again.
//!
//! It reads and writes at the speed of the disk and of one core: that nobody waits for it is the caller's.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

use super::names::{Form, OldName};
use super::shelf::Shelf;

/// How much is read at once, in bytes.
const AT_ONCE: usize = 64 * 1024;

/// Compresses an old log of the log `live` in `directory`, and says how many lines it has. The new file has the mode and the
/// times of the old one.
///
/// # Errors
/// The kernel's; the original then lies there as it did, and no temporary file does. `ResourceBusy`: somebody still writes
/// into it.
pub fn compress(directory: &Path, live: &OsStr, name: OldName) -> io::Result<u64> {
    compress_on(&Shelf::of(&directory.join(live))?, name)
}

/// The same for the directory that a shelf holds open.
///
/// # Errors
/// As [`compress`].
pub fn compress_on(shelf: &Shelf, name: OldName) -> io::Result<u64> {
    let folder = shelf.folder();
    let (plain, temporary) = (shelf.file(name, Form::Plain), shelf.file(name, Form::Temporary));
    folder.remove(&temporary)?;
    let done = write(shelf, &plain, &temporary).and_then(|lines| {
        folder.rename(&temporary, &shelf.file(name, Form::Compressed))?;
        Ok(lines)
    });
    // The failure that counts is the first one.
    let lines = done.inspect_err(|_| drop(folder.remove(&temporary)))?;
    // The new name must be on the disk before the old one goes from it.
    folder.sync()?;
    folder.remove(&plain)?;
    Ok(lines)
}

/// How many lines a file has, compressed or not: the ends of lines, counted.
///
/// # Errors
/// The kernel's, or a compressed file that is damaged.
pub fn lines(path: &Path, form: Form) -> io::Result<u64> {
    let shelf = Shelf::of(path)?;
    lines_of(shelf.open_old(shelf.live())?, form)
}

/// The same of an open file.
///
/// # Errors
/// As [`lines`].
pub fn lines_of(file: File, form: Form) -> io::Result<u64> {
    let mut reader: Box<dyn Read> = match form {
        Form::Plain => Box::new(file),
        Form::Compressed | Form::Temporary => Box::new(MultiGzDecoder::new(file)),
    };
    let (mut buffer, mut lines) = (vec![0; AT_ONCE], 0);
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(lines),
            Ok(read) => lines += ends(&buffer[..read]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn ends(bytes: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', bytes).count() as u64
}

/// Removes what compressions that were cut off have left. Originals whose compressed file is there already are not removed:
/// they are compressed again.
///
/// # Errors
/// The directory cannot be read, or a file not be removed.
pub fn recover(shelf: &Shelf) -> io::Result<()> {
    for file in shelf.folder().names()? {
        let parsed = OldName::parse(shelf.live(), &file);
        if parsed.is_some_and(|(name, form)| name.is_ours() && form == Form::Temporary) {
            shelf.folder().remove(&file)?;
        }
    }
    Ok(())
}

fn write(shelf: &Shelf, plain: &OsStr, temporary: &OsStr) -> io::Result<u64> {
    let mut from = shelf.open_old(plain)?;
    let before = from.metadata()?;
    let fresh = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL;
    let to = shelf.folder().open_file(temporary, fresh, Mode::S_IRUSR | Mode::S_IWUSR)?;
    to.set_permissions(before.permissions())?;
    let mut encoder = GzEncoder::new(to, Compression::default());
    let mut buffer = vec![0; AT_ONCE];
    let (mut bytes, mut lines) = (0_u64, 0);
    loop {
        match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => {
                encoder.write_all(&buffer[..read])?;
                bytes += read as u64;
                lines += ends(&buffer[..read]);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let after = from.metadata()?;
    if (bytes, after.mtime(), after.mtime_nsec()) != (after.len(), before.mtime(), before.mtime_nsec()) {
        return Err(io::Error::new(ErrorKind::ResourceBusy, "somebody still writes into it"));
    }
    let to = encoder.finish()?;
    // The age of a log is that of its last line.
    to.set_modified(before.modified()?)?;
    to.sync_all()?;
    Ok(lines)
}
