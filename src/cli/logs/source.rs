//! One file of a log: opened without following links, readable from any place of its content, also when it is compressed.

use std::fs::{File, Metadata};
use std::io::{self, BufReader, Read};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::SystemTime;

use flate2::bufread::MultiGzDecoder;
use nix::errno::Errno;
use nix::fcntl::OFlag;

use crate::error::{Exit, Failure};

/// How much of a compressed file is read at once, in bytes.
const COMPRESSED_AT_ONCE: usize = 64 * 1024;

/// A file of a log, open. It stays the same file when it is renamed.
#[derive(Clone, Debug)]
pub struct Source {
    file: Rc<File>,
    path: PathBuf,
    compressed: bool,
}

impl Source {
    /// Opens a file; `None`: there is none.
    ///
    /// # Errors
    /// It cannot be read, or is no regular file.
    pub fn open(path: &Path, compressed: bool) -> Result<Option<Self>, Failure> {
        // O_NONBLOCK: a FIFO must not hold us.
        let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
        let file = match File::options().read(true).custom_flags(flags.bits()).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unreadable(path, &error)),
        };
        let kind = file.metadata().map_err(|error| unreadable(path, &error))?.file_type();
        if !kind.is_file() {
            return Err(Failure::new(Exit::Failed, format!("cannot read the log `{}`", path.display()))
                .because(if kind.is_dir() { "it is a directory" } else { "it is no regular file" }));
        }
        Ok(Some(Source { file: Rc::new(file), path: path.to_owned(), compressed }))
    }

    /// Is it compressed?
    pub fn is_compressed(&self) -> bool {
        self.compressed
    }

    /// Is this the file that has these metadata?
    pub fn is(&self, meta: &Metadata) -> bool {
        self.file.metadata().is_ok_and(|own| (own.dev(), own.ino()) == (meta.dev(), meta.ino()))
    }

    /// Are both the same file?
    pub fn is_same_file(&self, other: &Source) -> bool {
        other.file.metadata().is_ok_and(|meta| self.is(&meta))
    }

    /// Has it no name any more?
    pub fn is_deleted(&self) -> bool {
        self.file.metadata().is_ok_and(|meta| meta.nlink() == 0)
    }

    /// How many bytes it has on the disk.
    ///
    /// # Errors
    /// The kernel's.
    pub fn length(&self) -> Result<u64, Failure> {
        Ok(self.file.metadata().map_err(|error| self.failure(&error))?.len())
    }

    /// When it was last written.
    pub fn modified(&self) -> Option<SystemTime> {
        self.file.metadata().and_then(|meta| meta.modified()).ok()
    }

    /// Is this the file at that path?
    pub fn is_at(&self, path: &Path) -> bool {
        std::fs::symlink_metadata(path).is_ok_and(|meta| self.is(&meta))
    }

    /// Its content from `offset` on. In a compressed file that means to decompress what stands before.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn reader(&self, offset: u64) -> io::Result<Reader> {
        let at = At { file: Rc::clone(&self.file), position: if self.compressed { 0 } else { offset } };
        if !self.compressed {
            return Ok(Reader::Plain(at));
        }
        let mut decoder = MultiGzDecoder::new(BufReader::with_capacity(COMPRESSED_AT_ONCE, at));
        io::copy(&mut (&mut decoder).take(offset), &mut io::sink())?;
        Ok(Reader::Compressed(Box::new(decoder)))
    }

    /// Bytes at a place of a file that is not compressed.
    ///
    /// # Errors
    /// It cannot be read, or is shorter.
    pub fn read_at(&self, bytes: &mut [u8], offset: u64) -> Result<(), Failure> {
        self.file.read_exact_at(bytes, offset).map_err(|error| self.failure(&error))
    }

    /// It cannot be read on.
    pub fn failure(&self, error: &io::Error) -> Failure {
        let failure = unreadable(&self.path, error);
        if self.compressed { failure.hint("what stands before the damage was shown") } else { failure }
    }
}

/// A file's content.
pub enum Reader {
    /// As it stands there.
    Plain(At),
    /// Decompressed.
    Compressed(Box<MultiGzDecoder<BufReader<At>>>),
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Reader::Plain(at) => at.read(buffer),
            Reader::Compressed(decoder) => decoder.read(buffer),
        }
    }
}

/// A place in a file, of which there may be several.
pub struct At {
    file: Rc<File>,
    position: u64,
}

impl Read for At {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.position)?;
        self.position += read as u64;
        Ok(read)
    }
}

/// Milliseconds since 1970.
pub fn unix_ms(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// A file that cannot be read.
pub fn unreadable(path: &Path, error: &io::Error) -> Failure {
    let errno = error.raw_os_error().map(Errno::from_raw);
    let exit = match errno {
        Some(Errno::EACCES | Errno::EPERM) => Exit::NotPermitted,
        _ => Exit::Failed,
    };
    let failure = Failure::new(exit, format!("cannot read the log `{}`", path.display()));
    match errno {
        Some(Errno::ELOOP) => failure.because("it is a symbolic link, and logs follow none"),
        Some(errno) => failure.because(errno.desc()),
        None if error.kind() == io::ErrorKind::UnexpectedEof => failure.because("it is cut off"),
        None => failure.because(error),
    }
}
