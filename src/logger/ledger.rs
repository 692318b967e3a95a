//! The ledger: what has become of the bytes of each stream, in memory that the parent, the master and each logger share and
//! that outlives a logger. Nobody maps it: it is read and written by position.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileExt;

use nix::sys::memfd::{MFdFlags, memfd_create};

/// The name in `/proc/PID/fd`: `/memfd:eggctl-ledger (deleted)`.
pub const NAME: &str = "eggctl-ledger";

/// The room of one stream, in bytes: numbers in the first page, the path in the second.
const RECORD: u64 = 8192;
const PATH_AT: u64 = 4096;
/// The longest path.
const LONGEST_PATH: usize = 4095;
const NUMBERS: usize = 10;
/// Where in the first page the lines of old logs stand.
const COUNTED_AT: u64 = 2048;

/// What is known of one stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Bytes taken from the pipe.
    pub bytes_in: u64,
    /// Bytes that are in files.
    pub bytes_written: u64,
    /// Bytes given up because no file took them.
    pub bytes_dropped: u64,
    /// Lines among those: the ends of lines, counted.
    pub lines_dropped: u64,
    /// How often the live file was set aside, but for the start's.
    pub rotations: u64,
    /// The live file's inode and its length when this was written: what it is longer now was written by a logger that was
    /// killed before it could say so.
    pub file: u64,
    /// See [`Self::file`].
    pub length: u64,
    /// When the last bytes were written, in milliseconds since 1970; 0: never.
    pub written_at_ms: u64,
    /// How many of the dropped bytes the log itself tells of.
    pub bytes_said: u64,
    /// And lines.
    pub lines_said: u64,
}

/// The lines of the old logs of this start, as far as they have been counted. `splice` looks at no byte, and a look at each
/// would cost half as much again: lines are counted where a file is read anyway, to compress it, or when somebody asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// How many lines the counted ones have.
    pub lines: u64,
    /// The newest counted one, or older than this start, as [`super::names::OldName::rank`]; 0: nobody has begun.
    pub up_to: u64,
}

/// The ledger, open.
#[derive(Debug)]
pub struct Ledger(File);

impl Ledger {
    /// A new one, empty.
    ///
    /// # Errors
    /// The kernel's.
    pub fn create() -> io::Result<OwnedFd> {
        Ok(memfd_create(NAME, MFdFlags::MFD_CLOEXEC)?)
    }

    /// The ledger behind a descriptor.
    #[must_use]
    pub fn open(memory: impl Into<File>) -> Self {
        Ledger(memory.into())
    }

    /// Writes the path of a stream. A path that is too long is cut.
    ///
    /// # Errors
    /// ENOMEM.
    pub fn write_path(&self, number: u32, path: &OsStr) -> io::Result<()> {
        let mut bytes = path.as_bytes().to_vec();
        bytes.truncate(LONGEST_PATH);
        bytes.push(0);
        self.0.write_all_at(&bytes, u64::from(number) * RECORD + PATH_AT)
    }

    /// Writes what is known of a stream.
    ///
    /// # Errors
    /// ENOMEM.
    pub fn write(&self, number: u32, counters: &Counters) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(NUMBERS * 8);
        for field in counters.clone().fields() {
            bytes.extend(field.to_ne_bytes());
        }
        self.0.write_all_at(&bytes, u64::from(number) * RECORD)
    }

    /// Reads what is known of a stream; of one that is not there yet, zeros.
    ///
    /// # Errors
    /// The kernel's.
    pub fn read(&self, number: u32) -> io::Result<Counters> {
        let mut bytes = [0; NUMBERS * 8];
        let read = self.0.read_at(&mut bytes, u64::from(number) * RECORD)?;
        let mut counters = Counters::default();
        for (field, chunk) in counters.fields().into_iter().zip(bytes[..read].chunks_exact(8)) {
            *field = u64::from_ne_bytes(chunk.try_into().unwrap_or_default());
        }
        Ok(counters)
    }

    /// Writes how many lines of a stream's old logs have been counted.
    ///
    /// # Errors
    /// ENOMEM.
    pub fn write_counted(&self, number: u32, counted: Counted) -> io::Result<()> {
        let bytes = [counted.lines.to_ne_bytes(), counted.up_to.to_ne_bytes()].concat();
        self.0.write_all_at(&bytes, u64::from(number) * RECORD + COUNTED_AT)
    }

    /// How many lines of a stream's old logs have been counted.
    ///
    /// # Errors
    /// The kernel's.
    pub fn read_counted(&self, number: u32) -> io::Result<Counted> {
        let mut bytes = [[0; 8]; 2];
        self.0.read_at(bytes.as_flattened_mut(), u64::from(number) * RECORD + COUNTED_AT)?;
        let [lines, up_to] = bytes.map(u64::from_ne_bytes);
        Ok(Counted { lines, up_to })
    }

    /// The same ledger once more.
    ///
    /// # Errors
    /// No descriptors.
    pub fn try_clone(&self) -> io::Result<Self> {
        self.0.try_clone().map(Ledger)
    }

    /// All streams: the paths of their live files, and what is known of them.
    ///
    /// # Errors
    /// The kernel's.
    pub fn read_all(&self) -> io::Result<Vec<(OsString, Counters)>> {
        let streams = self.0.metadata()?.len().div_ceil(RECORD);
        let mut all = Vec::new();
        for number in 0..u32::try_from(streams).unwrap_or(u32::MAX) {
            let mut path = vec![0; LONGEST_PATH];
            let read = self.0.read_at(&mut path, u64::from(number) * RECORD + PATH_AT)?;
            path.truncate(memchr::memchr(0, &path[..read]).unwrap_or(read));
            all.push((OsString::from_vec(path), self.read(number)?));
        }
        Ok(all)
    }
}

impl Counters {
    /// More has been taken and given up.
    pub fn add_loss(&mut self, bytes: u64, lines: u64) {
        self.bytes_in += bytes;
        self.bytes_dropped += bytes;
        self.lines_dropped += lines;
    }

    /// The numbers in the order in which they stand in the ledger.
    fn fields(&mut self) -> [&mut u64; NUMBERS] {
        let Counters { bytes_in, bytes_written, bytes_dropped, lines_dropped, rotations, .. } = self;
        let Counters { file, length, written_at_ms, bytes_said, lines_said, .. } = self;
        [
            bytes_in,
            bytes_written,
            bytes_dropped,
            lines_dropped,
            rotations,
            file,
            length,
            written_at_ms,
            bytes_said,
            lines_said,
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_by_number_and_a_stream_that_is_not_there_is_zeros() {
        let ledger = Ledger::open(Ledger::create().unwrap());
        assert_eq!(ledger.read(3).unwrap(), Counters::default());
        let counters =
            Counters { bytes_in: 1, lines_dropped: 4, written_at_ms: 9, lines_said: 5, ..Counters::default() };
        ledger.write_path(1, OsStr::from_bytes(b"/a/\xff.log")).unwrap();
        ledger.write(1, &counters).unwrap();
        assert_eq!(ledger.read(1).unwrap(), counters);
        assert_eq!(ledger.read_counted(1).unwrap(), Counted::default());
        ledger.write_counted(1, Counted { lines: 5, up_to: 6 }).unwrap();
        assert_eq!(ledger.read_counted(1).unwrap(), Counted { lines: 5, up_to: 6 });
        let all = ledger.read_all().unwrap();
        assert_eq!(all.len(), 2);
        assert_eq!(all[1], (OsString::from_vec(b"/a/\xff.log".to_vec()), counters));
    }
}
