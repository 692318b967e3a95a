//! The control socket of a title: made, reached and removed through the open directory.

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::directory::{Directory, socket_name};
use crate::error::Failure;
use crate::options::Title;

impl Directory {
    /// Makes the title's control socket, mode 0600. Only for who holds the lock: what stands there is a dead master's.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn listen(&self, title: &Title) -> Result<UnixListener, Failure> {
        let name = socket_name(title);
        self.remove_socket(title);
        // No other thread runs in this process that could make a file meanwhile.
        let mask = umask(Mode::from_bits_truncate(0o177));
        let listener = self.bind(&name);
        umask(mask);
        listener.map_err(|error| self.failure(&name, &error))
    }

    /// By its real path where that is short enough for a socket and leads here: cleaners of temporary files leave alone what
    /// they find in /proc/net/unix.
    fn bind(&self, name: &str) -> io::Result<UnixListener> {
        let path = self.path.join(name);
        if let Ok(listener) = UnixListener::bind(&path) {
            if self.is_in_place() {
                return Ok(listener);
            }
            drop(std::fs::remove_file(path));
        }
        UnixListener::bind(self.reachable(name))
    }

    /// Connects to the control socket of the title's master.
    ///
    /// # Errors
    /// The kernel's: `NotFound` when there is none, `ConnectionRefused` when its master is dead.
    pub fn connect(&self, title: &Title) -> io::Result<UnixStream> {
        UnixStream::connect(self.reachable(&socket_name(title)))
    }

    /// The same for a client that must not wait: neither here, where a master that hangs has too many clients already, nor as
    /// it reads and writes.
    ///
    /// # Errors
    /// As [`Directory::connect`], or `WouldBlock`.
    pub fn connect_without_waiting(&self, title: &Title) -> io::Result<UnixStream> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
        connect(socket.as_raw_fd(), &UnixAddr::new(&self.reachable(&socket_name(title)))?)?;
        Ok(UnixStream::from(socket))
    }

    /// Removes the title's control socket.
    pub fn remove_socket(&self, title: &Title) {
        let _ = unlinkat(&self.descriptor, socket_name(title).as_str(), UnlinkatFlags::NoRemoveDir);
    }
}
