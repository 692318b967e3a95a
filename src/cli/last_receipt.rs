//! What a master that is being stopped says of its members as it ends. `stop` asks over the control socket before the TERM and
//! reads the answer after the end, so it never waits for it: a master that hangs, died or speaks no such word has no answer.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use crate::control::client::last_answer;
use crate::control::{Answer, Receipt, Request, Until, request_line};
use crate::options::Title;
use crate::state::Directory;

/// The longest answer that is read, in bytes: more than the kernel keeps for a socket whose other end is closed.
const LONGEST_ANSWER: u64 = 1024 * 1024;

/// The connection to a master that has been asked.
#[derive(Debug)]
pub struct Asked(UnixStream);

impl Asked {
    /// Asks the title's master; `None` where it cannot be asked without waiting.
    pub fn ask(directory: &Directory, title: &Title) -> Option<Asked> {
        let mut stream = directory.connect_without_waiting(title).ok()?;
        stream.write_all(&request_line(Request::Wait(Until::Stopped))).ok()?;
        Some(Asked(stream))
    }

    /// What it has said, now that it has ended.
    pub fn answer(self) -> Option<Receipt> {
        let mut text = Vec::new();
        // One that is still alive has said nothing: the stream does not block.
        let _ = self.0.take(LONGEST_ANSWER).read_to_end(&mut text);
        match last_answer(&text)? {
            Answer::Done(receipt) => Some(receipt),
            Answer::Progress(_) | Answer::Refused(_) => None,
        }
    }
}
