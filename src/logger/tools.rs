//! What all streams of one logger share: how logs are kept, the ledger, a pipe to peek with, a buffer, the upkeep.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::sys::resource::{Resource, getrlimit};

use super::ledger::Ledger;
use super::upkeep::Upkeep;
use crate::options::LogOptions;
use crate::sys::pipes;

/// How much is looked at or dropped at once, in bytes: what the peek pipe holds.
const BUFFER: usize = 64 * 1024;

/// The shared things.
#[derive(Debug)]
pub struct Tools {
    /// How logs are kept.
    pub options: LogOptions,
    /// The size at which a new file begins: the user's, or less where this process may not write files that large.
    pub max_bytes: u64,
    /// The ledger.
    pub ledger: Ledger,
    /// Old logs.
    pub upkeep: Upkeep,
    /// For bytes that are looked at or dropped.
    pub buffer: Vec<u8>,
    peek: (OwnedFd, OwnedFd),
}

impl Tools {
    /// # Errors
    /// No descriptors.
    pub fn new(options: LogOptions, ledger: Ledger) -> io::Result<Self> {
        // Half of it, so that a whole line still fits behind the size.
        let longest = getrlimit(Resource::RLIMIT_FSIZE).map_or(u64::MAX, |(soft, _)| soft) / 2;
        let max_bytes = options.max_bytes.min(longest).max(1);
        let upkeep = Upkeep::new(&options, ledger.try_clone()?)?;
        Ok(Tools { options, max_bytes, ledger, upkeep, buffer: vec![0; BUFFER], peek: pipes::pipe()? })
    }

    /// The first bytes that wait in a pipe, at most `most`, and leaves them there.
    ///
    /// # Errors
    /// EAGAIN when nothing waits.
    pub fn peek(&mut self, pipe: impl AsFd, most: usize) -> io::Result<&[u8]> {
        let copied = pipes::tee(pipe, &self.peek.1, most.min(self.buffer.len()))?;
        // Whatever was copied must leave the peek pipe, or the next look sees old bytes.
        let mut read = 0;
        while read < copied {
            match nix::unistd::read(&self.peek.0, &mut self.buffer[read..copied])? {
                0 => break,
                bytes => read += bytes,
            }
        }
        // proof: read <= copied <= the buffer's length.
        Ok(&self.buffer[..read])
    }
}
