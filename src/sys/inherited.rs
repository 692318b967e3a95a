//! Listening sockets that whoever started this process has opened for it: systemd's protocol, `sd_listen_fds(3)`.
//!
//! They are used where a listen wants their address and kind, and are never closed nor unlinked as long as this process
//! lives: what is given out is a duplicate.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{self as nix_socket, SockType, SockaddrStorage, UnixAddr, sockopt};

use super::descriptors;
use super::sockets::{self, InternetAddress};

/// The protocol's variables. They are for this process alone.
const PID: &str = "LISTEN_PID";
const COUNT: &str = "LISTEN_FDS";
const NAMES: &str = "LISTEN_FDNAMES";

/// The number of the first of them.
const FIRST: RawFd = 3;
/// More than this are taken for a mistake.
const MOST: RawFd = 1024;

/// A socket, and what its giver calls it.
#[derive(Debug)]
pub struct Given {
    /// The socket, as it came.
    pub socket: OwnedFd,
    /// Its name: systemd's unit, or its `FileDescriptorName=`.
    pub name: String,
}

/// Takes over the sockets that this process was started with. To be called once, before anything is opened: a number
/// that the giver promised and did not open could be ours later.
///
/// # Errors
/// A promised descriptor is not open.
pub fn arrive() -> io::Result<Vec<Given>> {
    let number = |name: &str| std::env::var(name).ok()?.parse::<RawFd>().ok();
    // Variables that name another process were inherited by accident.
    if number(PID) != i32::try_from(std::process::id()).ok() {
        return Ok(Vec::new());
    }
    let count = number(COUNT).unwrap_or(0).clamp(0, MOST);
    let names = std::env::var(NAMES).unwrap_or_default();
    let mut names = names.split(':');
    (FIRST..FIRST + count)
        .map(|number| {
            let promised =
                |error: io::Error| io::Error::other(format!("{COUNT}={count}, but {number} is not open: {error}"));
            let socket = descriptors::adopt(number).map_err(promised)?;
            Ok(Given { socket, name: names.next().unwrap_or_default().to_owned() })
        })
        .collect()
}

/// The sockets, each known by its address.
#[derive(Debug, Default)]
pub struct Inherited(Vec<One>);

#[derive(Debug)]
struct One {
    given: Given,
    place: Place,
    /// Has it been asked for?
    used: bool,
}

/// Where a socket listens.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Tcp {
        address: SocketAddr,
        v6_only: bool,
    },
    Udp {
        address: SocketAddr,
        v6_only: bool,
    },
    Path(PathBuf),
    Abstract(Vec<u8>),
    /// No listening socket of these kinds: nobody can ask for it.
    Other,
}

impl Inherited {
    /// Looks at each.
    #[must_use]
    pub fn new(given: Vec<Given>) -> Self {
        let known = |given: Given| {
            let place = place(&given.socket).unwrap_or(Place::Other);
            One { given, place, used: false }
        };
        Inherited(given.into_iter().map(known).collect())
    }

    /// One that listens at this TCP address. Without an address: on any, IPv6 and IPv4 together or IPv4 alone.
    pub fn tcp(&mut self, wanted: InternetAddress) -> Option<OwnedFd> {
        self.give(|place| matches!(place, Place::Tcp { address, v6_only } if serves(*address, *v6_only, wanted)))
    }

    /// One that is bound to this UDP address.
    pub fn udp(&mut self, wanted: InternetAddress) -> Option<OwnedFd> {
        self.give(|place| matches!(place, Place::Udp { address, v6_only } if serves(*address, *v6_only, wanted)))
    }

    /// One that listens at this path.
    pub fn path(&mut self, wanted: &Path) -> Option<OwnedFd> {
        self.give(|place| matches!(place, Place::Path(path) if path == wanted))
    }

    /// One that listens at this abstract name, which comes without its zero byte.
    pub fn abstract_name(&mut self, wanted: &[u8]) -> Option<OwnedFd> {
        self.give(|place| matches!(place, Place::Abstract(name) if name == wanted))
    }

    /// Those that nobody has asked for, for people: `[::]:7001 (svc.socket)`.
    pub fn unused(&self) -> impl Iterator<Item = String> {
        self.0.iter().filter(|one| !one.used).map(|one| format!("{} ({})", one.place, one.given.name))
    }

    /// A duplicate, non-blocking as the loop needs it: a flag of the open file, which its giver sees, too.
    fn give(&mut self, is_wanted: impl Fn(&Place) -> bool) -> Option<OwnedFd> {
        let one = self.0.iter_mut().find(|one| is_wanted(&one.place))?;
        let socket = descriptors::duplicate_from(&one.given.socket, FIRST).ok()?;
        fcntl(&socket, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).ok()?;
        one.used = true;
        Some(socket)
    }
}

/// Is this address the wanted one?
fn serves(address: SocketAddr, v6_only: bool, wanted: InternetAddress) -> bool {
    let same_ip = match wanted.ip {
        None => address.ip().is_unspecified() && !v6_only,
        Some(ip) => address.ip() == ip && (!ip.is_unspecified() || ip.is_ipv4() || v6_only == wanted.v6_only),
    };
    let scope = match address {
        SocketAddr::V6(v6) => v6.scope_id(),
        SocketAddr::V4(_) => 0,
    };
    same_ip && address.port() == wanted.port && (wanted.scope == 0 || scope == wanted.scope)
}

fn place(socket: &OwnedFd) -> Result<Place, Errno> {
    let kind = nix_socket::getsockopt(socket, sockopt::SockType)?;
    if kind == SockType::Stream && !nix_socket::getsockopt(socket, sockopt::AcceptConn)? {
        return Ok(Place::Other);
    }
    let name: SockaddrStorage = nix_socket::getsockname(socket.as_fd().as_raw_fd())?;
    if let Some(unix) = name.as_unix_addr() {
        return Ok(if kind == SockType::Stream { at(unix) } else { Place::Other });
    }
    let address = sockets::local_address(socket)?;
    let v6_only = address.is_ipv6() && nix_socket::getsockopt(socket, sockopt::Ipv6V6Only)?;
    Ok(match kind {
        SockType::Stream => Place::Tcp { address, v6_only },
        SockType::Datagram => Place::Udp { address, v6_only },
        _ => Place::Other,
    })
}

fn at(unix: &UnixAddr) -> Place {
    match (unix.path(), unix.as_abstract()) {
        (Some(path), _) => Place::Path(path.to_owned()),
        (None, Some(name)) => Place::Abstract(name.to_owned()),
        (None, None) => Place::Other,
    }
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Tcp { address, .. } => write!(out, "{address}"),
            Place::Udp { address, .. } => write!(out, "UDP {address}"),
            Place::Path(path) => write!(out, "{}", path.display()),
            Place::Abstract(name) => write!(out, "@{}", OsString::from_vec(name.clone()).display()),
            Place::Other => write!(out, "no listening socket"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, UdpSocket};
    use std::os::unix::net::{UnixDatagram, UnixListener};

    use super::*;

    fn of(socket: impl Into<OwnedFd>) -> Inherited {
        Inherited::new(vec![Given { socket: socket.into(), name: "svc".to_owned() }])
    }

    fn wanted(ip: Option<IpAddr>, port: u16, v6_only: bool) -> InternetAddress {
        InternetAddress { ip, scope: 0, port, v6_only }
    }

    #[test]
    fn a_socket_is_given_to_who_wants_its_kind_and_its_address_and_stays() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = tcp.local_addr().unwrap().port();
        let mut inherited = of(tcp);
        let here = wanted(Some(Ipv4Addr::LOCALHOST.into()), port, false);
        assert_eq!(inherited.unused().collect::<Vec<_>>(), [format!("127.0.0.1:{port} (svc)")]);
        for _ in 0..2 {
            let given = inherited.tcp(here).expect("a duplicate");
            assert_eq!(sockets::local_address(&given).unwrap().port(), port);
        }
        let there = wanted(Some(Ipv4Addr::new(127, 0, 0, 2).into()), port, false);
        for other in [there, wanted(None, port, false), InternetAddress { port: port ^ 1, ..here }] {
            assert!(inherited.tcp(other).is_none(), "{other:?}");
        }
        assert!(inherited.udp(here).is_none());
        assert_eq!(inherited.unused().count(), 0);
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = udp.local_addr().unwrap().port();
        let mut inherited = of(udp);
        assert!(
            inherited.udp(InternetAddress { port, ..here }).is_some()
                && inherited.tcp(InternetAddress { port, ..here }).is_none()
        );
    }

    #[test]
    fn any_address_is_both_families_unless_it_is_ipv6_only() {
        let dual: SocketAddr = "[::]:80".parse().unwrap();
        let v4: SocketAddr = "0.0.0.0:80".parse().unwrap();
        let any_v6 = Some(Ipv6Addr::UNSPECIFIED.into());
        for (address, v6_only, wanted, expected) in [
            (dual, false, wanted(None, 80, false), true),
            (v4, false, wanted(None, 80, false), true),
            (dual, true, wanted(None, 80, false), false),
            (dual, false, wanted(any_v6, 80, false), true),
            (dual, false, wanted(any_v6, 80, true), false),
            (dual, true, wanted(any_v6, 80, true), true),
            (dual, false, wanted(Some(Ipv4Addr::UNSPECIFIED.into()), 80, false), false),
            (v4, false, wanted(Some(Ipv4Addr::UNSPECIFIED.into()), 80, false), true),
            (v4, false, wanted(None, 81, false), false),
        ] {
            assert_eq!(serves(address, v6_only, wanted), expected, "{address} {v6_only} {wanted:?}");
        }
    }

    #[test]
    fn a_unix_socket_is_known_by_its_path_and_only_when_it_listens() {
        let path = std::env::temp_dir().join(format!("eggctl-inherited-{}", std::process::id()));
        let mut inherited = of(UnixListener::bind(&path).unwrap());
        assert!(inherited.path(&path).is_some() && inherited.path(Path::new("/other")).is_none());
        assert!(path.exists(), "it is the giver's");
        std::fs::remove_file(&path).unwrap();
        let (one, _other) = UnixDatagram::pair().unwrap();
        assert_eq!(of(one).unused().next().unwrap(), "no listening socket (svc)");
        assert_eq!(of(std::fs::File::open("/dev/null").unwrap()).unused().next().unwrap(), "no listening socket (svc)");
    }
}
