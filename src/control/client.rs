//! A command's half: connect, ask once, read the answers until the last one, with a deadline.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use super::{Answer, Asked, Request, VERSION, line};
use crate::ipc::lines::Lines;

/// A connection to a master.
#[derive(Debug)]
pub struct Connection {
    stream: UnixStream,
    lines: Lines,
    deadline: Option<Instant>,
}

impl Connection {
    /// Asks; the answers are then read until `deadline`.
    ///
    /// # Errors
    /// The kernel's.
    pub fn ask(mut stream: UnixStream, request: Request, deadline: Option<Instant>) -> io::Result<Self> {
        stream.write_all(&line(&Asked { eggctl: VERSION, request }))?;
        Ok(Connection { stream, lines: Lines::default(), deadline })
    }

    /// The next answer; `None` when the master is gone.
    ///
    /// # Errors
    /// [`io::ErrorKind::TimedOut`] at the deadline, `InvalidData` for what is no answer, else the kernel's.
    pub fn next_answer(&mut self) -> io::Result<Option<Answer>> {
        let mut buffer = [0; 4096];
        loop {
            match self.lines.next_line() {
                Some(Ok(line)) => return Ok(Some(serde_json::from_slice(line).map_err(io::Error::from)?)),
                Some(Err(_)) => return Err(io::ErrorKind::InvalidData.into()),
                None => {}
            }
            let left = self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.stream.set_read_timeout(left)?;
            match self.stream.read(&mut buffer) {
                Ok(0) => return Ok(None),
                Ok(read) => self.lines.feed(buffer.get(..read).unwrap_or_default()),
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }
}
