//! The floor of a hand-over: a program that accepts, sends the connection to one of two workers that have none in flight,
//! and closes it; and workers that answer it. Neither knows a protocol: a byte goes with the connection, a byte comes back.

use std::io::{self, IoSlice, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};

use eggctl::sys::sockets;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

const WORKERS: usize = 2;
const LISTENER: u64 = WORKERS as u64;

/// Spawns the master, which is this program again.
pub fn start(port: u16) -> Child {
    Command::new(std::env::current_exe().unwrap()).args(["--bare", &port.to_string()]).spawn().unwrap()
}

/// The master of this port, for ever; a worker on its stdin, without a port.
pub fn run(port: Option<&str>) {
    match port {
        Some(port) => master(port.parse().unwrap()),
        None => worker(&io::stdin().as_fd().try_clone_to_owned().unwrap()),
    }
}

fn master(port: u16) {
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let (workers, _children): (Vec<UnixStream>, Vec<Child>) = (0..WORKERS).map(|_| spawn_worker()).unzip();
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap();
    for (number, worker) in workers.iter().enumerate() {
        epoll.add(worker, EpollEvent::new(EpollFlags::EPOLLIN, number as u64)).unwrap();
    }
    let watch = |flags| EpollEvent::new(flags, LISTENER);
    epoll.add(&listener, watch(EpollFlags::EPOLLIN)).unwrap();
    let (mut free, mut watched) = ((0..WORKERS).collect::<Vec<_>>(), true);
    let mut events = [EpollEvent::empty(); WORKERS + 1];
    loop {
        let ready = epoll.wait(&mut events, EpollTimeout::NONE).unwrap();
        for event in events.iter().take(ready).filter(|event| event.data() != LISTENER) {
            let number = event.data() as usize;
            assert_eq!((&workers[number]).read(&mut [0]).unwrap(), 1);
            free.push(number);
        }
        let mut knocks = true;
        while let (Some(number), true) = (free.last(), knocks) {
            match listener.accept() {
                Ok((connection, _)) => {
                    hand_over(&workers[*number], &connection);
                    free.pop();
                }
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                    knocks = false;
                }
            }
        }
        if watched == free.is_empty() {
            watched = !watched;
            let flags = if watched { EpollFlags::EPOLLIN } else { EpollFlags::empty() };
            epoll.modify(&listener, &mut watch(flags)).unwrap();
        }
    }
}

fn spawn_worker() -> (UnixStream, Child) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let program = std::env::current_exe().unwrap();
    (ours, Command::new(program).arg("--bare").stdin(Stdio::from(OwnedFd::from(theirs))).spawn().unwrap())
}

fn hand_over(worker: &UnixStream, connection: &TcpStream) {
    let handle = [connection.as_raw_fd()];
    let (text, control) = ([IoSlice::new(b"c")], [ControlMessage::ScmRights(&handle)]);
    sendmsg::<()>(worker.as_raw_fd(), &text, &control, MsgFlags::empty(), None).unwrap();
}

/// Ends when the master has gone.
fn worker(channel: &OwnedFd) {
    while let Some(mut connection) = receive(channel) {
        nix::unistd::write(channel, b"a").unwrap();
        // A client may have gone: the load has ended.
        if connection.read(&mut [0; 4096]).is_ok_and(|length| length > 0) {
            let _ = connection.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
        }
    }
}

fn receive(channel: &OwnedFd) -> Option<TcpStream> {
    poll(&mut [PollFd::new(channel.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE).unwrap();
    let received = sockets::receive(channel.as_fd(), &mut [0]).unwrap();
    received.descriptors.into_iter().next().map(TcpStream::from)
}
