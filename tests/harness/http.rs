//! One HTTP request by hand.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::fd::AsRawFd;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, socket};
use serde_json::Value;

use super::PATIENCE;

/// What the server answered.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub body: String,
}

impl Reply {
    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The pid in the fixture's answer.
    #[track_caller]
    pub fn pid(&self) -> u32 {
        self.json()["pid"].as_u64().unwrap_or_else(|| panic!("no pid in {self:?}")).try_into().unwrap()
    }
}

/// `GET path` on a connection of its own; fails the test when there is no answer.
#[track_caller]
pub fn get(port: u16, path: &str) -> Reply {
    try_get(port, path).unwrap_or_else(|error| panic!("GET {path} on port {port}: {error}"))
}

/// `GET path` on a connection of its own.
pub fn try_get(port: u16, path: &str) -> io::Result<Reply> {
    ask(SocketAddr::from((Ipv4Addr::LOCALHOST, port)), path)
}

/// The same over IPv6.
pub fn try_get_v6(port: u16, path: &str) -> io::Result<Reply> {
    ask(SocketAddr::from((Ipv6Addr::LOCALHOST, port)), path)
}

/// The same from this address, which is one of this machine's own: over the loopback to a client's.
pub fn try_get_from(client: IpAddr, port: u16, path: &str) -> io::Result<Reply> {
    ask_on(connect_from(client, port)?, path)
}

/// A connection from this address to the loopback.
pub fn connect_from(client: IpAddr, port: u16) -> io::Result<TcpStream> {
    let (family, server) = match client {
        IpAddr::V4(_) => (AddressFamily::Inet, SocketAddr::from((Ipv4Addr::LOCALHOST, port))),
        IpAddr::V6(_) => (AddressFamily::Inet6, SocketAddr::from((Ipv6Addr::LOCALHOST, port))),
    };
    let stream = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    bind(stream.as_raw_fd(), &SockaddrStorage::from(SocketAddr::from((client, 0))))?;
    connect(stream.as_raw_fd(), &SockaddrStorage::from(server))?;
    Ok(TcpStream::from(stream))
}

fn ask(address: SocketAddr, path: &str) -> io::Result<Reply> {
    ask_on(TcpStream::connect_timeout(&address, PATIENCE)?, path)
}

fn ask_on(stream: TcpStream, path: &str) -> io::Result<Reply> {
    stream.set_read_timeout(Some(PATIENCE))?;
    ask_over(stream, path)
}

/// `GET path` on this connection, whose last request it is.
pub fn ask_over(mut stream: impl Read + Write, path: &str) -> io::Result<Reply> {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let broken = || io::Error::new(io::ErrorKind::UnexpectedEof, format!("no whole answer: {text:?}"));
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(broken)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(broken)?;
    Ok(Reply { status, body: body.to_owned() })
}
