//! A command's half: connect, ask once, read the answers until the last one, with a deadline.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{Answer, Request, request_line};
use crate::ipc::lines::Lines;

/// A connection to a master.
#[derive(Debug)]
pub struct Connection {
    stream: UnixStream,
    lines: Lines,
    /// Answers that came together with the last one.
    read: VecDeque<io::Result<Answer>>,
    deadline: Option<Instant>,
    /// Readable when the wait is to end.
    interrupt: Option<OwnedFd>,
}

impl Connection {
    /// Asks; the answers are then read until `deadline`. A master that closes in this moment takes no request: what it has
    /// said is still there to be read, then its end.
    ///
    /// # Errors
    /// The kernel's.
    pub fn ask(mut stream: UnixStream, request: Request, deadline: Option<Instant>) -> io::Result<Self> {
        stream.write_all(&request_line(request)).or_else(|error| match error.kind() {
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => Ok(()),
            _ => Err(error),
        })?;
        Ok(Connection { stream, lines: Lines::default(), read: VecDeque::new(), deadline, interrupt: None })
    }

    /// From now on the wait for an answer ends, with [`io::ErrorKind::Interrupted`], when this is readable.
    pub fn interruptible(&mut self, interrupt: OwnedFd) {
        self.interrupt = Some(interrupt);
    }

    /// Waits until there is something to read, if anything can interrupt that.
    fn wait(&self) -> io::Result<()> {
        let Some(interrupt) = &self.interrupt else { return Ok(()) };
        let mut watched =
            [PollFd::new(self.stream.as_fd(), PollFlags::POLLIN), PollFd::new(interrupt.as_fd(), PollFlags::POLLIN)];
        loop {
            match poll(&mut watched, PollTimeout::NONE) {
                Err(Errno::EINTR) => {}
                polled => {
                    polled?;
                    break;
                }
            }
        }
        let [answer, interrupted] = watched;
        // An answer that is there already is the better news.
        let is_so = |one: PollFd| one.any().unwrap_or(true);
        if is_so(interrupted) && !is_so(answer) { Err(io::ErrorKind::Interrupted.into()) } else { Ok(()) }
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
            self.wait()?;
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

/// The last whole answer in what a master has sent.
#[must_use]
pub fn last_answer(text: &[u8]) -> Option<Answer> {
    let (whole, _) = text.split_at(text.iter().rposition(|byte| *byte == b'\n')?);
    serde_json::from_slice(whole.rsplit(|byte| *byte == b'\n').next()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{Receipt, Until};

    #[test]
    fn a_master_that_has_closed_already_has_gone_and_what_it_said_before_is_read() {
        let receipt = Receipt { what: "ready".to_owned(), ..Receipt::default() };
        for said in [None, Some(Answer::Done(receipt))] {
            let (ours, mut theirs) = UnixStream::pair().unwrap();
            if let Some(said) = &said {
                theirs.write_all((serde_json::to_string(said).unwrap() + "\n").as_bytes()).unwrap();
            }
            drop(theirs);
            let mut connection = Connection::ask(ours, Request::Wait(Until::Ready), None).unwrap();
            assert_eq!(connection.next_answer().unwrap(), said);
            assert_eq!(connection.next_answer().unwrap_or(None), None);
        }
    }
}
