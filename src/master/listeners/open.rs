//! Opens the socket that a query wants, and closes it: a unix socket's file goes with it.

use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;

use nix::errno::Errno;

use crate::ipc::inbound::QueryServer;
use crate::ipc::outbound::SocketName;
use crate::master::channel::Handle;
use crate::sys::inherited::Inherited;
use crate::sys::sockets::{self, backlog};
use crate::sys::unix::{self, SocketFile};

use super::address::{self, Address};

/// A bound socket, non-blocking; all but UDP listen already.
#[derive(Debug)]
pub struct Opened {
    socket: Handle,
    file: Option<SocketFile>,
    /// Its address, as workers are told: a unix socket has none.
    pub name: Option<SocketName>,
    /// Is it UDP?
    pub is_datagram: bool,
}

impl Opened {
    /// Opens it.
    ///
    /// # Errors
    /// The kernel's, or the errno that Node's own primary would answer.
    pub fn open(query: &QueryServer<'_>, inherited: &mut Inherited) -> Result<Self, Errno> {
        Opened::at(address::of(query)?, query.backlog, inherited)
    }

    /// Opens a socket at this place, unless an inherited one stands there: its file is not ours.
    ///
    /// # Errors
    /// The kernel's.
    pub fn at(address: Address, wanted: u32, inherited: &mut Inherited) -> Result<Self, Errno> {
        let given = match &address {
            Address::Tcp(address) => inherited.tcp(*address),
            Address::Udp { address, .. } => inherited.udp(*address),
            Address::Path { path, .. } => inherited.path(path),
            Address::Abstract(name) => inherited.abstract_name(name),
        };
        let backlog = backlog(wanted);
        let is_datagram = matches!(address, Address::Udp { .. });
        let (socket, file) = match (given, address) {
            (Some(given), _) => (given, None),
            (None, Address::Tcp(address)) => (sockets::listen_tcp(address, backlog)?, None),
            (None, Address::Udp { address, shares }) => (sockets::bind_udp(address, shares)?, None),
            (None, Address::Abstract(name)) => (unix::listen_abstract(&name, backlog)?, None),
            (None, Address::Path { path, more_mode }) => match unix::listen(&path, more_mode, backlog) {
                Ok((socket, file)) => (socket, Some(file)),
                // As libuv, for the sake of Windows.
                Err(Errno::ENOENT) => return Err(Errno::EACCES),
                Err(errno) => return Err(errno),
            },
        };
        let name = sockets::local_address(&socket).ok().map(|local| SocketName {
            address: local.ip().to_string(),
            v6: local.is_ipv6(),
            port: local.port(),
        });
        Ok(Opened { socket: Rc::new(socket), file, name, is_datagram })
    }

    /// The socket, for a worker of its own.
    #[must_use]
    pub fn handle(&self) -> Handle {
        Rc::clone(&self.socket)
    }

    /// Closes it. A file goes first: nobody finds a socket that is closed.
    pub fn close(self) {
        if let Some(file) = self.file {
            file.remove();
        }
    }
}

impl AsFd for Opened {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
