//! Where a query wants to listen, and the key of that place.

use std::net::IpAddr;

use nix::errno::Errno;

use crate::ipc::inbound::{AddressType, QueryServer};
use crate::sys::sockets::TcpAddress;

/// The key of a listen: Node's rule since 22, for all versions. The index counts only with port 0.
#[must_use]
pub fn key(query: &QueryServer<'_>) -> String {
    let address = query.address.as_deref().unwrap_or_default();
    let fd = query.fd.unwrap_or(-1);
    let key = format!("{address}:{}:{:?}:{fd}", query.port, query.address_type);
    if query.port == 0 { format!("{key}:{}", query.index) } else { key }
}

/// Where the query wants to listen. What this master does not serve yet gets a clear errno, never silence.
///
/// # Errors
/// The errno that Node's own primary would answer.
pub fn tcp(query: &QueryServer<'_>) -> Result<TcpAddress, Errno> {
    if query.fd.is_some_and(|fd| fd >= 0) {
        return Err(Errno::EBADF);
    }
    match query.address_type {
        AddressType::Tcp4 | AddressType::Tcp6 => {}
        AddressType::Pipe | AddressType::Udp4 | AddressType::Udp6 | AddressType::Other => return Err(Errno::ENOTSUP),
    }
    let port = u16::try_from(query.port).map_err(|_| Errno::EINVAL)?;
    let v6_only = query.flags & 1 != 0;
    let Some(text) = query.address.as_deref().filter(|text| !text.is_empty()) else {
        return Ok(TcpAddress { ip: None, scope: 0, port, v6_only });
    };
    let (ip, scope) = text.split_once('%').unwrap_or((text, ""));
    let ip: IpAddr = ip.parse().map_err(|_| Errno::EINVAL)?;
    let scope = if scope.is_empty() { 0 } else { nix::net::if_::if_nametoindex(scope)? };
    Ok(TcpAddress { ip: Some(ip), scope, port, v6_only })
}
