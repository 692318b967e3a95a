//! Opens the socket that a query wants.

use std::os::fd::OwnedFd;

use nix::errno::Errno;

use crate::ipc::inbound::QueryServer;
use crate::ipc::outbound::SocketName;
use crate::sys::sockets;

use super::address;

/// A bound socket, non-blocking.
#[derive(Debug)]
pub struct Opened {
    /// The socket.
    pub socket: OwnedFd,
    /// Its address, as workers are told.
    pub name: SocketName,
}

/// Opens it.
///
/// # Errors
/// The kernel's, or the errno that Node's own primary would answer.
pub fn open(query: &QueryServer<'_>) -> Result<Opened, Errno> {
    let socket = sockets::listen_tcp(address::tcp(query)?, query.backlog)?;
    let local = sockets::local_address(&socket)?;
    let name = SocketName { address: local.ip().to_string(), v6: local.is_ipv6(), port: local.port() };
    Ok(Opened { socket, name })
}
