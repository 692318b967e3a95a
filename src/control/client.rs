//! A command's half: connect, ask once, read the answers until the last one, with a deadline.

use std::collections::VecDeque;
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
    /// Answers that came together with the last one.
    read: VecDeque<io::Result<Answer>>,
    deadline: Option<Instant>,
}

impl Connection {
    /// Asks; the answers are then read until `deadline`.
    ///
    /// # Errors
    /// The kernel's.
    pub fn ask(mut stream: UnixStream, request: Request, deadline: Option<Instant>) -> io::Result<Self> {
        stream.write_all(&line(&Asked { eggctl: VERSION, request }))?;
        Ok(Connection { stream, lines: Lines::default(), read: VecDeque::new(), deadline })
    }

    /// The next answer; `None` when the master is gone.
    ///
    /// # Errors
    /// [`io::ErrorKind::TimedOut`] at the deadline, `InvalidData` for what is no answer, else the kernel's.
    pub fn next_answer(&mut self) -> io::Result<Option<Answer>> {
        let mut buffer = [0; 4096];
        loop {
            if let Some(answer) = self.read.pop_front() {
                return answer.map(Some);
            }
            let left = self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.stream.set_read_timeout(left)?;
            match self.stream.read(&mut buffer) {
                Ok(0) => return Ok(None),
                Ok(read) => self.take(buffer.get(..read).unwrap_or_default()),
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }

    fn take(&mut self, mut read: &[u8]) {
        while let Some(line) = self.lines.next_line(&mut read) {
            self.read.push_back(match line {
                Ok(line) => serde_json::from_slice(line).map_err(io::Error::from),
                Err(_) => Err(io::ErrorKind::InvalidData.into()),
            });
        }
    }
}
