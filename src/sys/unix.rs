//! Listening unix sockets: paths of any length, abstract names, and the file that such a socket leaves behind.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::socket::{self as nix_socket, AddressFamily, Backlog, SockFlag, SockType, UnixAddr};
use nix::sys::stat::Mode;

/// The file of a bound socket. Only that file is ever removed, not one that has taken its place since: as long as the
/// socket is open, the kernel gives its inode's number to no other.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl SocketFile {
    /// Removes the file, if it is still the one that was made.
    pub fn remove(self) {
        if std::fs::symlink_metadata(&self.path).is_ok_and(|now| (now.dev(), now.ino()) == (self.device, self.inode)) {
            // Somebody may have been faster.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Binds a path and listens, non-blocking; `more_mode` are permission bits that the file gets besides those that the umask
/// leaves it.
///
/// A file of a socket that nobody listens on is replaced.
///
/// # Errors
/// The kernel's; EADDRINUSE when the path is something else, or somebody listens there.
pub fn listen(path: &Path, more_mode: u32, backlog: Backlog) -> Result<(OwnedFd, SocketFile), Errno> {
    let socket = stream()?;
    let short = Short::of(path)?;
    match bind(&socket, &short.address()?) {
        Err(Errno::EADDRINUSE) if is_stale(path, &short) => {
            std::fs::remove_file(path).map_err(errno)?;
            bind(&socket, &short.address()?)?;
        }
        result => result?,
    }
    let file = claim(path, more_mode)?;
    match nix_socket::listen(&socket, backlog) {
        Ok(()) => Ok((socket, file)),
        Err(errno) => {
            file.remove();
            Err(errno)
        }
    }
}

/// Binds an abstract name (without its leading zero byte) and listens, non-blocking.
///
/// # Errors
/// The kernel's.
pub fn listen_abstract(name: &[u8], backlog: Backlog) -> Result<OwnedFd, Errno> {
    let socket = stream()?;
    bind(&socket, &UnixAddr::new_abstract(name)?)?;
    nix_socket::listen(&socket, backlog)?;
    Ok(socket)
}

fn stream() -> Result<OwnedFd, Errno> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    nix_socket::socket(AddressFamily::Unix, SockType::Stream, flags, None)
}

fn bind(socket: &OwnedFd, address: &UnixAddr) -> Result<(), Errno> {
    nix_socket::bind(socket.as_raw_fd(), address)
}

/// Takes note of the file that a bind has just made, and opens it to others as asked.
fn claim(path: &Path, more_mode: u32) -> Result<SocketFile, Errno> {
    let file = File::from(open(path, OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())?);
    let made = file.metadata().map_err(errno)?;
    if more_mode != 0 {
        // By the descriptor: what the path leads to may change meanwhile. An O_PATH one has no fchmod of its own.
        let mode = made.permissions().mode() | more_mode;
        let link = format!("/proc/self/fd/{}", file.as_raw_fd());
        std::fs::set_permissions(link, std::fs::Permissions::from_mode(mode)).map_err(errno)?;
    }
    Ok(SocketFile { path: path.to_owned(), device: made.dev(), inode: made.ino() })
}

/// Is this the file of a socket that nobody listens on?
fn is_stale(path: &Path, short: &Short) -> bool {
    if !std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket()) {
        return false;
    }
    let (Ok(probe), Ok(address)) = (stream(), short.address()) else { return false };
    nix_socket::connect(probe.as_raw_fd(), &address) == Err(Errno::ECONNREFUSED)
}

/// A path as the kernel takes it: at most 107 bytes. A longer one goes by its directory's descriptor.
#[derive(Debug)]
struct Short {
    path: PathBuf,
    /// What `path` leads through.
    _directory: Option<OwnedFd>,
}

impl Short {
    fn of(path: &Path) -> Result<Self, Errno> {
        const LONGEST: usize = size_of::<libc::sockaddr_un>() - size_of::<libc::sa_family_t>() - 1;
        if path.as_os_str().len() <= LONGEST {
            return Ok(Short { path: path.to_owned(), _directory: None });
        }
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Err(Errno::EINVAL) };
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let directory = open(parent, flags, Mode::empty())?;
        let path = Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(name);
        Ok(Short { path, _directory: Some(directory) })
    }

    fn address(&self) -> Result<UnixAddr, Errno> {
        UnixAddr::new(&self.path)
    }
}

fn errno(error: io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    /// A directory of this test's own, removed at its end.
    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("eggctl-unix-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            Directory(path)
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_stale_file_is_replaced_and_a_living_one_or_another_kind_is_not() {
        let directory = Directory::new("stale");
        let path = directory.0.join("socket");
        let (first, first_file) = listen(&path, 0, Backlog::MAXCONN).unwrap();
        assert_eq!(listen(&path, 0, Backlog::MAXCONN).unwrap_err(), Errno::EADDRINUSE);
        std::fs::remove_file(&path).unwrap();
        let (second, _stale) = listen(&path, 0, Backlog::MAXCONN).unwrap();
        first_file.remove();
        UnixStream::connect(&path).expect("the first one's end must not take the second one's file");
        drop((first, second));
        assert!(path.exists());
        let (_third, third_file) = listen(&path, 0, Backlog::MAXCONN).unwrap();
        third_file.remove();
        assert!(!path.exists());
        std::fs::write(&path, "precious").unwrap();
        assert_eq!(listen(&path, 0, Backlog::MAXCONN).unwrap_err(), Errno::EADDRINUSE);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    }

    #[test]
    fn a_path_may_be_longer_than_the_kernel_takes_and_a_name_may_not() {
        let directory = Directory::new("long");
        let deep = directory.0.join("d".repeat(200));
        std::fs::create_dir(&deep).unwrap();
        let path = deep.join("socket");
        let (_socket, file) = listen(&path, 0o222, Backlog::MAXCONN).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o222, 0o222);
        assert_eq!(listen(&path, 0, Backlog::MAXCONN).unwrap_err(), Errno::EADDRINUSE);
        file.remove();
        assert!(!path.exists());
        assert_eq!(listen(&deep.join("n".repeat(120)), 0, Backlog::MAXCONN).unwrap_err(), Errno::ENAMETOOLONG);
        assert_eq!(listen(&directory.0.join("none/socket"), 0, Backlog::MAXCONN).unwrap_err(), Errno::ENOENT);
    }
}
