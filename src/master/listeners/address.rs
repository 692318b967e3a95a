//! Where a query wants to listen, and the key of that place. Pure.

use std::ffi::OsString;
use std::fmt;
use std::net::IpAddr;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use nix::errno::Errno;

use crate::ipc::inbound::{AddressType, QueryServer};
use crate::ipc::shown::shown;
use crate::sys::sockets::InternetAddress;

/// libuv's flags (`UV_TCP_IPV6ONLY`, `UV_UDP_IPV6ONLY`; `UV_UDP_REUSEADDR`).
const V6_ONLY: u32 = 1;
const REUSE_ADDRESS: u32 = 4;

/// A place to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A TCP port.
    Tcp(InternetAddress),
    /// A UDP port.
    Udp {
        /// Its address.
        address: InternetAddress,
        /// May others have the same?
        shares: bool,
    },
    /// A unix socket at a path.
    Path {
        /// The path.
        path: PathBuf,
        /// Permission bits that the file gets besides those of the umask.
        more_mode: u32,
    },
    /// A unix socket without a file.
    Abstract(Vec<u8>),
}

/// The key of a listen: Node's rule since 22, for all versions. The index counts only with port 0.
#[must_use]
pub fn key(query: &QueryServer<'_>) -> String {
    let address = query.address.as_deref().unwrap_or_default();
    let fd = query.fd.unwrap_or(-1);
    let key = format!("{address}:{}:{:?}:{fd}", query.port, query.address_type);
    if query.port == 0 { format!("{key}:{}", query.index) } else { key }
}

/// Where the query wants to listen.
///
/// # Errors
/// The errno that Node's own primary answers: EINVAL for what makes no sense and for `listen({ fd })`, whose number would
/// be one of the master's.
pub fn of(query: &QueryServer<'_>) -> Result<Address, Errno> {
    if query.fd.is_some() {
        return Err(Errno::EINVAL);
    }
    match query.address_type {
        AddressType::Tcp4 | AddressType::Tcp6 => Ok(Address::Tcp(internet(query)?)),
        AddressType::Udp4 | AddressType::Udp6 => {
            Ok(Address::Udp { address: internet(query)?, shares: query.flags & REUSE_ADDRESS != 0 })
        }
        AddressType::Pipe => unix(query),
        AddressType::Other => Err(Errno::EINVAL),
    }
}

fn internet(query: &QueryServer<'_>) -> Result<InternetAddress, Errno> {
    let port = u16::try_from(query.port).map_err(|_| Errno::EINVAL)?;
    let v6_only = query.flags & V6_ONLY != 0;
    let Some(text) = query.address.as_deref().filter(|text| !text.is_empty()) else {
        return Ok(InternetAddress { ip: None, scope: 0, port, v6_only });
    };
    let (ip, scope) = text.split_once('%').unwrap_or((text, ""));
    let ip: IpAddr = ip.parse().map_err(|_| Errno::EINVAL)?;
    let scope = if scope.is_empty() { 0 } else { nix::net::if_::if_nametoindex(scope)? };
    Ok(InternetAddress { ip: Some(ip), scope, port, v6_only })
}

/// A worker makes every path absolute, also an abstract name's: `\0name` comes as `<its directory>/\0name`.
fn unix(query: &QueryServer<'_>) -> Result<Address, Errno> {
    let text = query.address.as_deref().filter(|text| text.starts_with('/')).ok_or(Errno::EINVAL)?;
    match text.split_once('\0') {
        None => {
            let read = if query.readable_all { 0o444 } else { 0 };
            let write = if query.writable_all { 0o222 } else { 0 };
            Ok(Address::Path { path: OsString::from_vec(text.into()).into(), more_mode: read | write })
        }
        Some((directory, name)) if directory.ends_with('/') => Ok(Address::Abstract(name.into())),
        Some(_) => Err(Errno::EINVAL),
    }
}

/// The place as people are told of it, whether or not it makes sense.
pub struct Shown<'a>(pub &'a QueryServer<'a>);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = shown(self.0.address.as_deref().unwrap_or_default());
        match (self.0.fd, self.0.address_type, self.0.address.is_some()) {
            (Some(fd), ..) => write!(out, "the master's descriptor {fd}"),
            (_, AddressType::Pipe | AddressType::Other, _) => write!(out, "{address}"),
            (_, AddressType::Udp4 | AddressType::Udp6, _) => write!(out, "UDP port {} of {address}", self.0.port),
            (_, AddressType::Tcp4 | AddressType::Tcp6, true) => write!(out, "port {} of {address}", self.0.port),
            (_, AddressType::Tcp4 | AddressType::Tcp6, false) => write!(out, "port {}", self.0.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(address: Option<&str>, port: i64, address_type: AddressType) -> QueryServer<'static> {
        QueryServer {
            seq: 1,
            index: 3,
            data: None,
            address: address.map(ToOwned::to_owned),
            port,
            address_type,
            fd: None,
            flags: 0,
            backlog: 0,
            readable_all: false,
            writable_all: false,
        }
    }

    #[test]
    fn the_index_is_in_the_key_with_port_0_only() {
        assert_eq!(
            key(&query(Some("::1"), 80, AddressType::Tcp6)),
            key(&QueryServer { index: 4, ..query(Some("::1"), 80, AddressType::Tcp6) })
        );
        assert_ne!(
            key(&query(None, 0, AddressType::Tcp4)),
            key(&QueryServer { index: 4, ..query(None, 0, AddressType::Tcp4) })
        );
        assert_ne!(key(&query(Some("::"), 80, AddressType::Tcp6)), key(&query(Some("::"), 80, AddressType::Udp6)));
    }

    #[test]
    fn an_abstract_name_is_known_by_its_zero_byte_behind_a_directory() {
        let unix = |text| of(&query(Some(text), -1, AddressType::Pipe));
        assert_eq!(unix("/srv/app/\0name"), Ok(Address::Abstract(b"name".to_vec())));
        assert_eq!(unix("/\0a\0b"), Ok(Address::Abstract(b"a\0b".to_vec())));
        assert_eq!(unix("/srv/na\0me"), Err(Errno::EINVAL));
        assert_eq!(unix("/srv/name"), Ok(Address::Path { path: "/srv/name".into(), more_mode: 0 }));
        assert_eq!(unix("relative"), Err(Errno::EINVAL));
    }

    proptest::proptest! {
        #[test]
        fn any_query_has_an_address_or_an_errno(address: Option<String>, port in -2i64..70_000, flags: u32, kind in 0usize..6) {
            use AddressType::{Other, Pipe, Tcp4, Tcp6, Udp4, Udp6};
            let kind = [Tcp4, Tcp6, Udp4, Udp6, Pipe, Other][kind];
            let query = QueryServer { flags, ..query(address.as_deref(), port, kind) };
            let _ = of(&query);
            let shown = Shown(&query).to_string();
            proptest::prop_assert!(!shown.contains(char::is_control), "{}", shown);
        }
    }

    #[test]
    fn what_makes_no_sense_is_einval_and_nothing_panics() {
        for (address, port) in [(None, -1), (None, 65_536), (Some("host.name"), 80), (Some("\0"), 80)] {
            assert_eq!(of(&query(address, port, AddressType::Tcp4)), Err(Errno::EINVAL), "{address:?}:{port}");
        }
        assert_eq!(of(&QueryServer { fd: Some(3), ..query(None, -1, AddressType::Other) }), Err(Errno::EINVAL));
        assert_eq!(of(&query(None, -1, AddressType::Pipe)), Err(Errno::EINVAL));
    }
}
