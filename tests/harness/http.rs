//! One HTTP request by hand.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};

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

fn ask(address: SocketAddr, path: &str) -> io::Result<Reply> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let broken = || io::Error::new(io::ErrorKind::UnexpectedEof, format!("no whole answer: {text:?}"));
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(broken)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(broken)?;
    Ok(Reply { status, body: body.to_owned() })
}
