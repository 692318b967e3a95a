//! Clients that ask without end while something happens to the application, and count what became of their requests.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::{PATIENCE, eventually, visibly};

/// How one client behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A connection for each request.
    Close,
    /// One connection for as long as the server keeps it, and a pause of up to so many milliseconds between requests.
    KeepAlive(u64),
    /// A request that the server takes 3 s for, on a connection of its own.
    Slow,
    /// A body of 200 kB in pieces, over 300 ms or so, on a connection of its own.
    Upload,
}

/// Two or three of each kind: what a busy service looks like.
pub const EVERY_KIND: [Kind; 12] = [
    Kind::Close,
    Kind::Close,
    Kind::KeepAlive(0),
    Kind::KeepAlive(0),
    Kind::KeepAlive(20),
    Kind::KeepAlive(20),
    Kind::KeepAlive(2_000),
    Kind::KeepAlive(2_000),
    Kind::Slow,
    Kind::Slow,
    Kind::Upload,
    Kind::Upload,
];

/// What became of the requests.
#[derive(Debug, Default)]
struct Counts {
    answered: AtomicU64,
    /// No connection.
    refused: AtomicU64,
    /// A connection, and no whole answer.
    lost: AtomicU64,
}

/// Clients at work.
pub struct Load {
    counts: Arc<Counts>,
    stop: Arc<AtomicBool>,
    /// The first failure of each client.
    clients: Vec<JoinHandle<Vec<String>>>,
}

/// What became of the requests, when all is over.
#[derive(Debug)]
pub struct Tally {
    pub answered: u64,
    pub refused: u64,
    pub lost: u64,
    /// Each loss in words.
    pub failures: Vec<String>,
}

impl Load {
    /// Clients of these kinds on this port.
    pub fn begin(port: u16, kinds: &[Kind]) -> Load {
        let (counts, stop) = (Arc::new(Counts::default()), Arc::new(AtomicBool::new(false)));
        let clients = kinds.iter().enumerate().map(|(number, &kind)| {
            let (counts, stop) = (Arc::clone(&counts), Arc::clone(&stop));
            thread::spawn(move || Client { port, kind, seed: number as u64 + 1, connection: None }.ask(&counts, &stop))
        });
        let load = Load { counts: Arc::clone(&counts), stop: Arc::clone(&stop), clients: clients.collect() };
        eventually("the first answers", || load.answered() > 10);
        load
    }

    /// How many requests have been answered.
    pub fn answered(&self) -> u64 {
        self.counts.answered.load(Ordering::Relaxed)
    }

    /// Waits until so many more have been.
    #[track_caller]
    pub fn goes_on(&self, more: u64) {
        let before = self.answered();
        eventually("more answers", || self.answered() >= before + more);
    }

    /// The clients end their last requests.
    pub fn end(self) -> Tally {
        self.stop.store(true, Ordering::Relaxed);
        let failures = self.clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Counts { answered, refused, lost } = &*self.counts;
        Tally { answered: count(answered), refused: count(refused), lost: count(lost), failures }
    }
}

impl Tally {
    /// Fails unless every request was answered.
    #[track_caller]
    pub fn nothing_is_lost(&self) {
        visibly(&format!("note: {} answered, {} refused, {} lost", self.answered, self.refused, self.lost));
        assert_eq!((self.refused, self.lost), (0, 0), "{:#?}", self.failures);
    }
}

struct Client {
    port: u16,
    kind: Kind,
    seed: u64,
    connection: Option<TcpStream>,
}

impl Client {
    fn ask(mut self, counts: &Counts, stop: &AtomicBool) -> Vec<String> {
        let mut failures = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            let counter = match self.connect() {
                Err(error) => {
                    failures.push(format!("{:?}: no connection: {error}", self.kind));
                    &counts.refused
                }
                Ok((connection, used)) => match self.exchange(connection) {
                    Ok(kept) => {
                        self.connection = kept;
                        &counts.answered
                    }
                    Err(error) => {
                        failures.push(format!(
                            "{:?}, {} connection: {error}",
                            self.kind,
                            if used { "used" } else { "new" }
                        ));
                        &counts.lost
                    }
                },
            };
            counter.fetch_add(1, Ordering::Relaxed);
            failures.truncate(20);
            if let Kind::KeepAlive(most @ 1..) = self.kind {
                thread::sleep(Duration::from_millis(self.dice() % most));
            }
        }
        failures
    }

    fn dice(&mut self) -> u64 {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.seed >> 33
    }

    /// The connection that was kept, unless the server has closed it meanwhile; else a new one.
    fn connect(&mut self) -> io::Result<(TcpStream, bool)> {
        if let Some(kept) = self.connection.take() {
            kept.set_nonblocking(true)?;
            let open = matches!(kept.peek(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock);
            kept.set_nonblocking(false)?;
            if open {
                return Ok((kept, true));
            }
        }
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok((stream, false))
    }

    /// One request and its whole answer; the connection, if it may be used again.
    fn exchange(&mut self, mut connection: TcpStream) -> io::Result<Option<TcpStream>> {
        let keep = matches!(self.kind, Kind::KeepAlive(_));
        let path = if self.kind == Kind::Slow { "/slow?ms=3000" } else { "/" };
        let wish = if keep { "keep-alive" } else { "close" };
        if self.kind == Kind::Upload {
            static PIECE: [u8; 20_000] = [b'x'; 20_000];
            write!(
                connection,
                "POST /upload HTTP/1.1\r\nHost: a\r\nConnection: {wish}\r\nContent-Length: {}\r\n\r\n",
                10 * PIECE.len()
            )?;
            for _ in 0..10 {
                connection.write_all(&PIECE)?;
                thread::sleep(Duration::from_millis(20 + self.dice() % 20));
            }
        } else {
            write!(connection, "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: {wish}\r\n\r\n")?;
        }
        let head = answer(&mut connection)?;
        Ok((keep && !head.to_ascii_lowercase().contains("connection: close")).then_some(connection))
    }
}

/// Reads one whole answer with status 200; its head.
fn answer(connection: &mut TcpStream) -> io::Result<String> {
    let broken = |text: &[u8]| {
        io::Error::new(io::ErrorKind::UnexpectedEof, format!("half an answer: {:?}", String::from_utf8_lossy(text)))
    };
    let (mut text, mut chunk) = (Vec::new(), [0; 4096]);
    loop {
        if let Some(end) = text.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&text[..end]).into_owned();
            let body = &text[end + 4..];
            let lower = head.to_ascii_lowercase();
            let length =
                lower.lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse::<usize>().ok());
            let whole = match length {
                Some(length) => body.len() >= length,
                None => body.ends_with(b"0\r\n\r\n"),
            };
            if whole {
                return if head.starts_with("HTTP/1.1 200") { Ok(head) } else { Err(broken(head.as_bytes())) };
            }
        }
        match connection.read(&mut chunk)? {
            0 => return Err(broken(&text)),
            length => text.extend_from_slice(&chunk[..length]),
        }
    }
}
