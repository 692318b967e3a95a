//! The scene of connections: a bare `http` server in two workers of Egg's cluster, under eggctl and under egg-scripts,
//! whose master is egg-cluster's, and 32 clients that never pause. The load comes from this program: one thread, epoll. The
//! applications stand side by side, and are loaded in turn, a third of a second each: what else the machine does meets all.
//! Before that each has had its load until Node has compiled what it needs.
//!
//! * `conn-rr`: one request for each connection (`Connection: close`), round robin: connections per second. `conn-cpu` is
//!   the master's CPU for each of them; beside it stands a program that does nothing but hand connections over (`bare.rs`).
//! * `conn-alive`: requests per second on connections that are kept: the master has no part in it.
//! * `conn-shared`: connections again, where ours lets the workers accept (`--dispatch=shared`), beside egg-cluster's
//!   round robin; and egg-cluster's workers doing the same: no master takes part, so it is the most there can be.
//! * `conn-sticky`: the same, sticky on both sides, from clients of 16 addresses.
//! * `conn-egg`: as `conn-rr`, with Egg itself, saying hello.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{self, AddressFamily, SockFlag, SockType, SockaddrStorage, sockopt};

use crate::bare;
use crate::contestant::Contestant::{self, Bare, EggScripts, EggScriptsShared, Ours};
use crate::contestant::{Application, HELLO, READY_AT_ONCE, STICKY};
use crate::scenes::{cpu_of, master_of, tell, timed};

const CLIENTS: usize = 32;
const ADDRESSES: usize = 16;
/// Node has compiled what it needs by then: in its first second a worker uses half as much again.
const WARM_UP: Duration = Duration::from_millis(2500);
const SLICE: Duration = Duration::from_millis(333);
const SLICES: usize = 10;

const NO_FLAGS: &[&str] = &[];
const BOTH: &[(Contestant, &[&str])] = &[(Ours, NO_FLAGS), (EggScripts, NO_FLAGS)];

/// `conn-rr` and `conn-cpu`.
pub fn round_robin(home: &Path) {
    let contestants = [BOTH, &[(Bare, NO_FLAGS)]].concat();
    measure(home, READY_AT_ONCE, &contestants, Kept::No, &|one, load| {
        if one.who != Bare {
            tell("conn-rr", one.who, load.per_second());
        }
        tell("conn-cpu", one.who, load.cpu.as_secs_f64() * 1e6 / load.answers);
    });
}

pub fn alive(home: &Path) {
    measure(home, READY_AT_ONCE, BOTH, Kept::Yes, &|one, load| tell("conn-alive", one.who, load.per_second()));
}

pub fn shared(home: &Path) {
    let contestants: &[(Contestant, &[&str])] =
        &[(Ours, &["--dispatch=shared"]), (EggScripts, NO_FLAGS), (EggScriptsShared, NO_FLAGS)];
    measure(home, READY_AT_ONCE, contestants, Kept::No, &|one, load| tell("conn-shared", one.who, load.per_second()));
}

pub fn sticky(home: &Path) {
    measure(home, STICKY, BOTH, Kept::No, &|one, load| tell("conn-sticky", one.who, load.per_second()));
}

pub fn egg(home: &Path) {
    measure(home, HELLO, BOTH, Kept::No, &|one, load| tell("conn-egg", one.who, load.per_second()));
}

/// Starts the application under each of these contestants, with its flags, and loads them in turn. They end with the
/// namespaces.
fn measure(
    home: &Path,
    application: Application,
    contestants: &[(Contestant, &[&str])],
    kept: Kept,
    tell: &dyn Fn(&Running, &Load),
) {
    let running = contestants.iter().zip(7001_u16..);
    let running: Vec<Running> =
        running.map(|((who, flags), port)| Running::start(home, application, *who, flags, port)).collect();
    for one in &running {
        load(one, kept, WARM_UP);
    }
    for slice in 0..SLICES {
        for place in 0..running.len() {
            let one = &running[(slice + place) % running.len()];
            tell(one, &load(one, kept, SLICE));
        }
    }
}

/// An application that runs.
struct Running {
    who: Contestant,
    port: u16,
    master: i32,
    /// From 16 addresses?
    spread: bool,
}

impl Running {
    fn start(home: &Path, application: Application, who: Contestant, flags: &[&str], port: u16) -> Running {
        let master = if who == Bare {
            bare::start(port).id() as i32
        } else {
            let title = port.to_string();
            let mut start = who.start_application_as(home, application, &title, &title);
            start.args(flags);
            timed(start);
            master_of(who, &format!("--title={title}"))
        };
        Running { who, port, master, spread: application == STICKY }
    }
}

/// What came of a load.
struct Load {
    answers: f64,
    seconds: f64,
    /// The master's.
    cpu: Duration,
}

impl Load {
    fn per_second(&self) -> f64 {
        self.answers / self.seconds
    }
}

/// Is a connection kept for the next request?
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kept {
    Yes,
    No,
}

/// One client: its connection, and what came of the answer so far.
struct Client {
    address: Ipv4Addr,
    stream: TcpStream,
    asked: bool,
    answer: Vec<u8>,
}

/// Asks again and again for so long.
fn load(target: &Running, kept: Kept, time: Duration) -> Load {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap();
    let mut clients: Vec<Client> = (0..CLIENTS).map(|number| Client::new(number, target, &epoll)).collect();
    let mut events = [EpollEvent::empty(); CLIENTS];
    let (began, cpu, mut answers) = (Instant::now(), cpu_of(target.master), 0);
    while began.elapsed() < time {
        let ready = epoll.wait(&mut events, EpollTimeout::from(10_000_u16)).unwrap();
        assert!(ready > 0, "nobody is answered for 10 s");
        for event in &events[..ready] {
            let number = event.data() as usize;
            let client = &mut clients[number];
            if !client.goes_on(kept) {
                continue;
            }
            answers += 1;
            if kept == Kept::No {
                *client = Client::new(number, target, &epoll);
            }
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    Load { answers: f64::from(answers), seconds, cpu: cpu_of(target.master) - cpu }
}

impl Client {
    fn new(number: usize, target: &Running, epoll: &Epoll) -> Client {
        let address = Ipv4Addr::new(127, 0, 0, 1 + (number % ADDRESSES) as u8);
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let stream = socket::socket(AddressFamily::Inet, SockType::Stream, flags, None).unwrap();
        let bound = |ip: Ipv4Addr, port: u16| SockaddrStorage::from(SocketAddr::from((ip, port)));
        if target.spread {
            // The port is chosen with the server in view: the same one can be used towards several.
            socket::setsockopt(&stream, sockopt::IpBindAddressNoPort, &true).unwrap();
            socket::bind(stream.as_raw_fd(), &bound(address, 0)).unwrap();
        }
        match socket::connect(stream.as_raw_fd(), &bound(Ipv4Addr::LOCALHOST, target.port)) {
            Ok(()) | Err(Errno::EINPROGRESS) => {}
            Err(errno) => panic!("{address} cannot connect: {errno}"),
        }
        let interest = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLET;
        epoll.add(stream.as_fd(), EpollEvent::new(interest, number as u64)).unwrap();
        Client { address, stream: stream.into(), asked: false, answer: Vec::with_capacity(1024) }
    }

    /// Writes the request, if there is room; true when it is written.
    fn ask(&mut self, kept: Kept) -> bool {
        let connection = if kept == Kept::Yes { "keep-alive" } else { "close" };
        let request = format!("GET / HTTP/1.1\r\nHost: localhost\r\nConnection: {connection}\r\n\r\n");
        match self.stream.write(request.as_bytes()) {
            Ok(written) => {
                assert_eq!(written, request.len());
                self.asked = true;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock || error.kind() == ErrorKind::NotConnected => {}
            Err(error) => panic!("{}: {error}", self.address),
        }
        self.asked
    }

    /// Asks, reads what there is; true when an answer is complete.
    fn goes_on(&mut self, kept: Kept) -> bool {
        if !self.asked && !self.ask(kept) {
            return false;
        }
        let mut chunk = [0; 4096];
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => break,
                Ok(length) => self.answer.extend_from_slice(&chunk[..length]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if kept == Kept::No || !is_whole(&self.answer) {
                        return false;
                    }
                    self.check();
                    self.asked = false;
                    // The socket has room, and nothing will say so again: ask now. The answer's event is to come.
                    self.ask(kept);
                    return true;
                }
                Err(error) => panic!("{}: {error}", self.address),
            }
        }
        assert!(kept == Kept::No, "a connection that was to be kept was closed");
        self.check();
        true
    }

    fn check(&mut self) {
        assert!(self.answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&self.answer));
        self.answer.clear();
    }
}

/// Is this a head and as many bytes behind it as it says?
fn is_whole(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).map(|text| text.parse().unwrap());
    length.is_some_and(|length: usize| body.len() >= length)
}
