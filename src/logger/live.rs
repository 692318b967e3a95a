//! The live file of a stream: opened at its end, locked, followed when somebody renames or removes it, set aside.
//!
//! It is not opened with O_APPEND, which `splice` refuses. Nobody else writes into it (it is locked), and what some visitor
//! appended or cut off is seen before each turn: the position is that of the end.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, fstat};

use super::names::OldName;
use super::shelf::{Shelf, distrusted};
use crate::sys::lock;

/// The live file.
#[derive(Debug)]
pub struct Live {
    path: PathBuf,
    file: Option<File>,
    /// Device and inode of `file`.
    identity: (u64, u64),
}

impl Live {
    /// The live file of this path; `file` is it, when it is open already.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Live { path, file: None, identity: (0, 0) }
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its inode; 0 when none is open.
    #[must_use]
    pub fn inode(&self) -> u64 {
        self.identity.1
    }

    /// Takes over a file that was opened and locked before this process was started. If the path shows another one by now, the
    /// next look finds out.
    pub fn take(&mut self, file: File) {
        if let Ok(meta) = file.metadata() {
            self.identity = (meta.dev(), meta.ino());
            self.file = Some(file);
        }
    }

    /// Forgets the open file: the next look opens the path.
    pub fn forget(&mut self) {
        (self.file, self.identity) = (None, (0, 0));
    }

    /// Looks at the path: when it shows another file than the open one, or none, that is opened or made. An open file that cannot
    /// be replaced is kept. Says whether the file is a new one.
    ///
    /// # Errors
    /// Nothing is open and nothing can be opened.
    pub fn follow(&mut self) -> io::Result<bool> {
        let there = std::fs::symlink_metadata(&self.path).map(|meta| (meta.dev(), meta.ino()));
        if self.file.is_some() && there.is_ok_and(|there| there == self.identity) {
            return Ok(false);
        }
        self.reopen(Shelf::make(&self.path).and_then(|shelf| open(&shelf)))
    }

    fn reopen(&mut self, opened: io::Result<File>) -> io::Result<bool> {
        match opened {
            Ok(file) => {
                self.take(file);
                Ok(true)
            }
            Err(_) if self.file.is_some() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The open file.
    ///
    /// # Errors
    /// EBADF when none is.
    pub fn file(&self) -> Result<&File, Errno> {
        self.file.as_ref().ok_or(Errno::EBADF)
    }

    /// Goes to the end of the file, and says where that is.
    ///
    /// # Errors
    /// The kernel's.
    pub fn end(&self) -> io::Result<u64> {
        self.file()?.seek(SeekFrom::End(0))
    }

    /// Does a line begin at `end`?
    ///
    /// # Errors
    /// The kernel's.
    pub fn is_line_start(&self, end: u64) -> io::Result<bool> {
        let mut last = [0];
        Ok(end == 0 || self.file()?.read_at(&mut last, end - 1)? == 0 || last == [b'\n'])
    }

    /// Writes a line of the logger's own, the whole of it or nothing: behind a line that was cut off it begins a new one.
    ///
    /// # Errors
    /// The kernel's.
    pub fn write_line(&self, line: &str) -> io::Result<u64> {
        let end = self.end()?;
        let start = if self.is_line_start(end)? { "" } else { "\n" };
        let text = format!("{start}{line}\n");
        let mut file = self.file()?;
        file.write_all(text.as_bytes()).inspect_err(|_| drop(file.set_len(end)))?;
        Ok(text.len() as u64)
    }

    /// Sets the file aside under an old name after `last`, and makes a new one. Where the new one cannot be made, the open one is kept, and
    /// the next looks try again.
    ///
    /// # Errors
    /// It cannot be renamed: it is as it was.
    pub fn rotate(&mut self, last: Option<OldName>) -> io::Result<()> {
        let shelf = Shelf::of(&self.path)?;
        shelf.set_aside(last)?;
        self.reopen(open(&shelf)).map(drop)
    }
}

/// Opens the live file of this shelf or makes it, and locks it. No symlink is followed.
///
/// # Errors
/// The kernel's; EWOULDBLOCK when another logger writes it; EINVAL when it is no regular file; `PermissionDenied` with the
/// reason for one that another user may have put there.
pub fn open(shelf: &Shelf) -> io::Result<File> {
    let mode = Mode::from_bits_truncate(0o640);
    let file = shelf.folder().open_file(shelf.live(), OFlag::O_RDWR | OFlag::O_CREAT, mode)?;
    if !file.metadata()?.is_file() {
        return Err(Errno::EINVAL.into());
    }
    distrusted(shelf.folder().distrust(&fstat(&file)?))?;
    lock_alone(&file)?;
    Ok(file)
}

/// Locks a live file. Where the file system knows no locks there is none.
///
/// # Errors
/// EWOULDBLOCK when another logger writes it.
pub fn lock_alone(file: &File) -> io::Result<()> {
    match lock::try_lock(file) {
        Ok(false) => Err(Errno::EWOULDBLOCK.into()),
        Ok(true) | Err(_) => Ok(()),
    }
}
