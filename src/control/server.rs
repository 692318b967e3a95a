//! One client of the control socket, as the master sees it: read without waiting, answered as far as it reads.
//!
//! A client has one line. Rubbish in it is answered once, and the client is let go; what comes after the line is never looked
//! at, nor waited for. A client that hangs costs a descriptor; one that does not read its answers is let go.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use super::{Answer, Asked, LONGEST_REQUEST, Refusal, Request, VERSION, line};
use crate::error::Exit;
use crate::ipc::lines::Lines;
use crate::sys::sockets;

/// Answers that wait for a client to read them, in bytes.
const MOST_UNREAD: usize = 256 * 1024;

/// One client.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
    lines: Lines,
    unread: Vec<u8>,
    /// It has said its line: only its end is of interest.
    asked: bool,
    /// A read failed for want of something: none is tried until [`Client::try_again`].
    deaf: bool,
    /// It has been sent its last answer, and goes when that is written.
    answered: bool,
}

/// What a flush came to: what the client is to be watched for, besides its end.
#[derive(Debug, Default)]
pub struct Flushed {
    /// Its line.
    pub reads: bool,
    /// Room for its answers.
    pub writes: bool,
    /// The kernel was short of something: the flush is to be tried again.
    pub short: Option<io::Error>,
}

/// What a client brought.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// Nothing whole yet.
    Nothing,
    /// A request.
    Request(Box<Request>),
    /// It has gone.
    End,
}

impl Client {
    /// A client that has just connected.
    ///
    /// # Errors
    /// The kernel's.
    pub fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Client {
            stream,
            lines: Lines::new(LONGEST_REQUEST),
            unread: Vec::new(),
            asked: false,
            deaf: false,
            answered: false,
        })
    }

    /// Reads once. A line that is no request is answered here.
    ///
    /// # Errors
    /// The kernel is short of something.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<Heard> {
        let mut read = match self.stream.read(buffer) {
            Ok(0) => return Ok(Heard::End),
            Ok(read) => buffer.get(..read).unwrap_or_default(),
            Err(error) if is_nothing(&error) => return Ok(Heard::Nothing),
            Err(error) if sockets::is_shortage(&error) => {
                self.deaf = true;
                return Err(error);
            }
            Err(_) => return Ok(Heard::End),
        };
        if self.asked {
            return Ok(Heard::Nothing);
        }
        let asked = match self.lines.next_line(&mut read) {
            None => return Ok(Heard::Nothing),
            Some(Ok(line)) => understood(line),
            Some(Err(too_long)) => Err(format!("a request of {} bytes is too long", too_long.bytes)),
        };
        self.asked = true;
        self.lines = Lines::new(0);
        match asked {
            Ok(request) => return Ok(Heard::Request(Box::new(request))),
            Err(why) => self.refuse(&why),
        }
        Ok(Heard::Nothing)
    }

    /// Reads again, after a read that failed for want of something.
    pub fn try_again(&mut self) {
        self.deaf = false;
    }

    fn refuse(&mut self, why: &str) {
        let refusal = Refusal {
            exit: Exit::Usage as u8,
            what: "the master does not understand".to_owned(),
            why: vec![why.to_owned()],
            ..Refusal::default()
        };
        self.answer(&Answer::Refused(refusal));
    }

    /// Queues an answer.
    pub fn answer(&mut self, answer: &Answer) {
        if !self.answered {
            self.answered = !matches!(answer, Answer::Progress(_));
            self.unread.extend(line(answer));
        }
    }

    /// Writes what the client takes now. Errors mean that it is to be let go.
    ///
    /// # Errors
    /// It has gone, has got its last answer, or does not read.
    pub fn flush(&mut self) -> io::Result<Flushed> {
        let reads = !self.asked && !self.deaf;
        while !self.unread.is_empty() {
            match self.stream.write(&self.unread) {
                Ok(written) => drop(self.unread.drain(..written)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if sockets::is_shortage(&error) => {
                    return Ok(Flushed { reads, writes: false, short: Some(error) });
                }
                // With its last answer in line it has all that its socket holds unread: it will not read this either.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && !self.answered => {
                    if self.unread.len() > MOST_UNREAD {
                        return Err(error);
                    }
                    return Ok(Flushed { reads, writes: true, short: None });
                }
                Err(error) => return Err(error),
            }
        }
        if self.answered {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(Flushed { reads, ..Flushed::default() })
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

fn is_nothing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// The request in a line; else what is wrong with the line.
fn understood(line: &[u8]) -> Result<Request, String> {
    #[derive(serde::Deserialize)]
    struct Version {
        eggctl: u32,
    }
    let Version { eggctl } = serde_json::from_slice(line).map_err(|error| format!("that is no request: {error}"))?;
    if eggctl != VERSION {
        return Err(format!("version {eggctl} of the protocol is asked, and this master speaks {VERSION}"));
    }
    let asked: Asked = serde_json::from_slice(line).map_err(|error| format!("that is no request: {error}"))?;
    Ok(asked.request)
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};

    use super::super::{Progress, Receipt, Until};
    use super::*;

    fn pair() -> (Client, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (Client::new(ours).unwrap(), theirs)
    }

    fn hear(client: &mut Client) -> Heard {
        client.read(&mut [0; 4096]).unwrap()
    }

    #[test]
    fn a_request_is_heard_once_it_is_whole() {
        let (mut client, mut theirs) = pair();
        let asked = line(&Asked { eggctl: VERSION, request: Request::Wait(Until::Ready) });
        let (begin, end) = asked.split_at(7);
        theirs.write_all(begin).unwrap();
        assert_eq!(hear(&mut client), Heard::Nothing);
        theirs.write_all(end).unwrap();
        assert_eq!(hear(&mut client), Heard::Request(Box::new(Request::Wait(Until::Ready))));
        drop(theirs);
        assert_eq!(hear(&mut client), Heard::End);
    }

    #[test]
    fn rubbish_and_other_versions_are_told_and_the_client_is_let_go() {
        for (rubbish, why) in [
            ("null", "that is no request"),
            ("{\"eggctl\":1}", "that is no request"),
            ("{\"eggctl\":99,\"dance\":true}", "this master speaks 1"),
            ("{\"eggctl\":1,\"scale\":{\"to\":-1}}", "that is no request"),
        ] {
            let (mut client, mut theirs) = pair();
            writeln!(theirs, "{rubbish}").unwrap();
            assert_eq!(hear(&mut client), Heard::Nothing);
            assert!(client.flush().is_err(), "{rubbish}");
            drop(client);
            let told = BufReader::new(theirs).lines().next().unwrap().unwrap();
            assert!(told.contains(why), "{told}");
        }
    }

    #[test]
    fn a_client_has_one_line_and_what_it_writes_after_it_is_not_waited_for() {
        let (mut client, mut theirs) = pair();
        theirs.write_all(&[b'\n'; 4096]).unwrap();
        assert_eq!(hear(&mut client), Heard::Nothing);
        assert!(client.flush().is_err(), "it has its answer and is let go");
        drop(client);
        let mut told = String::new();
        theirs.set_nonblocking(true).unwrap();
        // The rest of what it wrote was not read: the kernel may say that as a reset behind the answer.
        let _ = theirs.read_to_string(&mut told);
        assert_eq!(told.lines().count(), 1, "{told}");

        let (mut client, mut theirs) = pair();
        let asked = line(&Asked { eggctl: VERSION, request: Request::Wait(Until::Ready) });
        theirs.write_all(&[asked.as_slice(), b"\n\nmore", asked.as_slice()].concat()).unwrap();
        assert!(client.flush().unwrap().reads);
        assert_eq!(hear(&mut client), Heard::Request(Box::new(Request::Wait(Until::Ready))));
        assert!(!client.flush().unwrap().reads, "nothing more is waited for");
        drop(theirs);
        assert_eq!(hear(&mut client), Heard::End);
    }

    #[test]
    fn nothing_is_told_behind_the_last_answer() {
        let (mut client, theirs) = pair();
        client.answer(&Answer::Progress(Progress::default()));
        assert!(!client.flush().unwrap().writes);
        client.answer(&Answer::Done(Receipt::default()));
        client.answer(&Answer::Progress(Progress::default()));
        assert!(client.flush().is_err());
        drop(client);
        assert_eq!(BufReader::new(theirs).lines().count(), 2);
    }

    #[test]
    fn a_client_that_does_not_read_is_let_go() {
        let (mut client, _theirs) = pair();
        let mut rounds = 0;
        let progress = Answer::Progress(Progress { stage: "x".repeat(1000), ..Progress::default() });
        while client.flush().is_ok() {
            client.answer(&progress);
            rounds += 1;
            assert!(rounds < 10_000 && client.unread.len() < 2 * MOST_UNREAD);
        }
    }
}
