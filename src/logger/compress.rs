//! Compressing one old log so that a crash at any moment loses nothing: written under a temporary name, synced, renamed,
//! and only then is the original removed. While both lie there the original counts, and is compressed again.
//!
//! It reads and writes at the speed of the disk and of one core: that nobody waits for it is the caller's.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use nix::fcntl::OFlag;

use super::names::{Form, OldName};

/// How much is read at once, in bytes.
const AT_ONCE: usize = 64 * 1024;

/// Compresses an old log of the log `live` in `directory`, and says how many lines it has. The new file has the mode and the
/// times of the old one.
///
/// # Errors
/// The kernel's; the original then lies there as it did, and no temporary file does. `ResourceBusy`: somebody still writes
/// into it.
pub fn compress(directory: &Path, live: &OsStr, name: OldName) -> io::Result<u64> {
    let plain = directory.join(name.file(live, Form::Plain));
    let temporary = directory.join(name.file(live, Form::Temporary));
    remove(&temporary)?;
    let done = write(&plain, &temporary).and_then(|lines| {
        fs::rename(&temporary, directory.join(name.file(live, Form::Compressed)))?;
        Ok(lines)
    });
    // The failure that counts is the first one.
    let lines = done.inspect_err(|_| drop(remove(&temporary)))?;
    // The new name must be on the disk before the old one goes from it.
    File::open(directory)?.sync_all()?;
    remove(&plain)?;
    Ok(lines)
}

/// How many lines a file has, compressed or not: the ends of lines, counted.
///
/// # Errors
/// The kernel's, or a compressed file that is damaged.
pub fn lines(path: &Path, form: Form) -> io::Result<u64> {
    let file = open(path)?;
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

/// Opens a file for reading; no link is followed, and no FIFO in its place holds us.
fn open(path: &Path) -> io::Result<File> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits()).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "not a regular file"));
    }
    Ok(file)
}

/// Removes what compressions that were cut off have left. Originals whose compressed file is there already are not removed:
/// they are compressed again.
///
/// # Errors
/// The directory cannot be read, or a file not be removed.
pub fn recover(directory: &Path, live: &OsStr) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let parsed = OldName::parse(live, &entry.file_name());
        if parsed.is_some_and(|(name, form)| name.is_ours() && form == Form::Temporary) {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

fn write(plain: &Path, temporary: &Path) -> io::Result<u64> {
    let mut from = open(plain)?;
    let before = from.metadata()?;
    let to = OpenOptions::new().write(true).create_new(true).mode(0o600).open(temporary)?;
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

/// Removes a file; one that is not there is removed.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        result => result,
    }
}
