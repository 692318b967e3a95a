//! Sockets: listening ones, accepted ones, and the channel's reads and writes with descriptors beside the bytes.
#![allow(unsafe_code)]

use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::socket::{
    self as nix_socket, AddressFamily, Backlog, ControlMessage, MsgFlags, SockFlag, SockType, SockaddrStorage, sockopt,
};

/// Where a TCP or UDP socket is to be bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InternetAddress {
    /// The address; none: any, IPv6 and IPv4 together where there is IPv6.
    pub ip: Option<IpAddr>,
    /// The scope of a link-local IPv6 address.
    pub scope: u32,
    /// The port; 0: one that the kernel chooses.
    pub port: u16,
    /// IPv6 only?
    pub v6_only: bool,
}

/// Node's `backlog`: 0 means 511; the kernel caps it at net.core.somaxconn by itself.
#[must_use]
pub fn backlog(asked: u32) -> Backlog {
    let wanted = if asked == 0 { 511 } else { i32::try_from(asked).unwrap_or(i32::MAX).min(libc::SOMAXCONN) };
    Backlog::new(wanted).unwrap_or(Backlog::MAXCONN)
}

/// Binds and listens, non-blocking.
///
/// # Errors
/// The kernel's, EADDRINUSE above all.
pub fn listen_tcp(address: InternetAddress, backlog: Backlog) -> Result<OwnedFd, Errno> {
    bind_any_or(address, |ip, address| {
        let socket = bind_tcp(ip, address)?;
        nix_socket::listen(&socket, backlog)?;
        Ok(socket)
    })
}

/// Binds a UDP socket, non-blocking; `shares` lets it have an address that others have too.
///
/// # Errors
/// The kernel's; EINVAL without an address, and for a v6-only socket with one of IPv4, as libuv.
pub fn bind_udp(address: InternetAddress, shares: bool) -> Result<OwnedFd, Errno> {
    let ip = address.ip.ok_or(Errno::EINVAL)?;
    if address.v6_only && ip.is_ipv4() {
        return Err(Errno::EINVAL);
    }
    let socket = internet_socket(ip, SockType::Datagram)?;
    nix_socket::setsockopt(&socket, sockopt::ReuseAddr, &shares)?;
    bind_internet(&socket, ip, address)?;
    Ok(socket)
}

/// With no address as libuv does: `::`, which is both, and `0.0.0.0` where there is no IPv6.
fn bind_any_or(
    address: InternetAddress,
    bind: impl Fn(IpAddr, InternetAddress) -> Result<OwnedFd, Errno>,
) -> Result<OwnedFd, Errno> {
    match address.ip {
        Some(ip) => bind(ip, address),
        None => match bind(Ipv6Addr::UNSPECIFIED.into(), address) {
            Err(Errno::EAFNOSUPPORT | Errno::EADDRNOTAVAIL) => bind(Ipv4Addr::UNSPECIFIED.into(), address),
            result => result,
        },
    }
}

fn bind_tcp(ip: IpAddr, address: InternetAddress) -> Result<OwnedFd, Errno> {
    let socket = internet_socket(ip, SockType::Stream)?;
    nix_socket::setsockopt(&socket, sockopt::ReuseAddr, &true)?;
    bind_internet(&socket, ip, address)?;
    Ok(socket)
}

fn internet_socket(ip: IpAddr, kind: SockType) -> Result<OwnedFd, Errno> {
    let family = if ip.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet };
    nix_socket::socket(family, kind, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None)
}

fn bind_internet(socket: &OwnedFd, ip: IpAddr, address: InternetAddress) -> Result<(), Errno> {
    let target = match ip {
        IpAddr::V4(ip) => SocketAddr::V4(SocketAddrV4::new(ip, address.port)),
        IpAddr::V6(ip) => {
            nix_socket::setsockopt(socket, sockopt::Ipv6V6Only, &address.v6_only)?;
            SocketAddr::V6(SocketAddrV6::new(ip, address.port, 0, address.scope))
        }
    };
    nix_socket::bind(socket.as_raw_fd(), &SockaddrStorage::from(target))
}

/// Holds a free TCP port against strangers: bound, never listening, with SO_REUSEADDR, so that a member's server, which sets
/// it too, can still listen there.
///
/// # Errors
/// The kernel's.
pub fn hold_port() -> Result<(OwnedFd, u16), Errno> {
    let any = InternetAddress { ip: None, scope: 0, port: 0, v6_only: false };
    let socket = bind_any_or(any, bind_tcp)?;
    let port = local_address(&socket)?.port();
    Ok((socket, port))
}

/// The local address of a TCP socket.
///
/// # Errors
/// The kernel's.
pub fn local_address(socket: impl AsFd) -> Result<SocketAddr, Errno> {
    internet_address(&nix_socket::getsockname(socket.as_fd().as_raw_fd())?)
}

/// The address of who is at the other end of a TCP connection.
///
/// # Errors
/// The kernel's: ENOTCONN when the client has gone meanwhile.
pub fn peer_address(connection: impl AsFd) -> Result<SocketAddr, Errno> {
    internet_address(&nix_socket::getpeername(connection.as_fd().as_raw_fd())?)
}

fn internet_address(name: &SockaddrStorage) -> Result<SocketAddr, Errno> {
    if let Some(v4) = name.as_sockaddr_in() {
        return Ok(SocketAddr::V4(SocketAddrV4::from(*v4)));
    }
    name.as_sockaddr_in6().map(|v6| SocketAddr::V6(SocketAddrV6::from(*v6))).ok_or(Errno::EAFNOSUPPORT)
}

/// Accepts one connection, non-blocking and close-on-exec (one that leaked into a member would keep its client hanging).
///
/// # Errors
/// The kernel's: EAGAIN when none waits.
pub fn accept(listener: impl AsFd) -> Result<OwnedFd, Errno> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let number = nix_socket::accept4(listener.as_fd().as_raw_fd(), flags)?;
    // SAFETY: the kernel has just given us this number.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// How many connections wait to be accepted from a listening TCP socket.
///
/// # Errors
/// The kernel's: of a Unix socket it does not say.
pub fn waiting_connections(listener: impl AsFd) -> Result<u32, Errno> {
    // SAFETY: a structure of plain numbers, for which zeros are valid.
    let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut length = size_of::<libc::tcp_info>() as libc::socklen_t;
    let (number, option) = (listener.as_fd().as_raw_fd(), (&raw mut info).cast());
    // SAFETY: the kernel writes at most `length` bytes to a live structure of that size.
    Errno::result(unsafe { libc::getsockopt(number, libc::IPPROTO_TCP, libc::TCP_INFO, option, &raw mut length) })?;
    // Of a listening socket this field is the length of its queue.
    Ok(info.tcpi_unacked)
}

/// What a read from a channel brought.
#[derive(Debug)]
pub struct Received {
    /// Bytes read; 0: the other end is closed.
    pub bytes: usize,
    /// Descriptors that came beside them.
    pub descriptors: Vec<OwnedFd>,
    /// Did others come that this process had no number for?
    pub lost: bool,
}

/// The most descriptors the kernel passes in one message.
const MOST_DESCRIPTORS: usize = 253;

/// Reads from a channel without waiting.
///
/// # Errors
/// The kernel's: EAGAIN when nothing waits.
pub fn receive(channel: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<Received, Errno> {
    let mut control = Control([0; control_space()]);
    let mut slice = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: a message header of zeros is a valid one: no name, no buffers.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    (message.msg_iov, message.msg_iovlen) = (&raw mut slice, 1);
    (message.msg_control, message.msg_controllen) = ((&raw mut control).cast(), control_space() as _);
    let flags = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
    // SAFETY: the header points to two live buffers of the lengths that it names.
    let bytes = Errno::result(unsafe { libc::recvmsg(channel.as_raw_fd(), &raw mut message, flags) })?;
    let lost = message.msg_flags & libc::MSG_CTRUNC != 0;
    Ok(Received { bytes: bytes.unsigned_abs(), descriptors: installed(&message), lost })
}

/// Takes over every descriptor that came, also when some were cut off because this process had no number left for them:
/// nix gives none back then, and those that were installed would stay open for ever.
fn installed(message: &libc::msghdr) -> Vec<OwnedFd> {
    let mut descriptors = Vec::new();
    // SAFETY: the kernel has filled the control buffer and set its length; the macros stay inside of it, and what a
    // SCM_RIGHTS holds are numbers that were just installed for us, each wrapped once.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(message);
        while let Some(one) = header.as_ref() {
            if (one.cmsg_level, one.cmsg_type) == (libc::SOL_SOCKET, libc::SCM_RIGHTS) {
                let numbers = libc::CMSG_DATA(header).cast::<RawFd>();
                let count = (one.cmsg_len - libc::CMSG_LEN(0) as usize) / size_of::<RawFd>();
                descriptors.extend((0..count).map(|at| OwnedFd::from_raw_fd(numbers.add(at).read_unaligned())));
            }
            header = libc::CMSG_NXTHDR(message, header);
        }
    }
    descriptors
}

/// Aligned as the kernel's headers in it are.
#[repr(C, align(8))]
struct Control([u8; control_space()]);

const fn control_space() -> usize {
    // SAFETY: CMSG_SPACE only computes with its argument.
    unsafe { libc::CMSG_SPACE((MOST_DESCRIPTORS * size_of::<RawFd>()) as libc::c_uint) as usize }
}

/// Writes to a channel without waiting, with a descriptor beside the first byte. The pieces go as one stream of bytes; at
/// most 1024 of them (IOV_MAX).
///
/// # Errors
/// The kernel's: EAGAIN when the channel is full, EPIPE when the other end is closed.
pub fn send(channel: BorrowedFd<'_>, pieces: &[&[u8]], descriptor: Option<BorrowedFd<'_>>) -> Result<usize, Errno> {
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    let slices: Vec<IoSlice<'_>> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
    let channel = channel.as_raw_fd();
    match descriptor {
        None => nix_socket::sendmsg::<()>(channel, &slices, &[], flags, None),
        Some(descriptor) => {
            let numbers = [descriptor.as_raw_fd()];
            nix_socket::sendmsg::<()>(channel, &slices, &[ControlMessage::ScmRights(&numbers)], flags, None)
        }
    }
}

/// Does this error say that the kernel is short of something for now, and nothing of the socket itself?
#[must_use]
pub fn is_shortage(error: &io::Error) -> bool {
    let short = [Errno::ENOBUFS, Errno::ENOMEM, Errno::ETOOMANYREFS, Errno::EMFILE, Errno::ENFILE];
    error.raw_os_error().is_some_and(|errno| short.contains(&Errno::from_raw(errno)))
}

/// A pair of connected stream sockets for a ready channel, close-on-exec; the first is non-blocking.
///
/// # Errors
/// The kernel's.
pub fn channel_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let (ours, theirs) = nix_socket::socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_CLOEXEC)?;
    nix::fcntl::fcntl(&ours, nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK))?;
    Ok((ours, theirs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_come_beside_the_bytes_all_of_them_and_close_on_exec() {
        let (ours, theirs) = channel_pair().unwrap();
        let numbers = [theirs.as_raw_fd(); 3];
        let rights = [ControlMessage::ScmRights(&numbers)];
        nix_socket::sendmsg::<()>(theirs.as_raw_fd(), &[IoSlice::new(b"xy")], &rights, MsgFlags::empty(), None)
            .unwrap();
        let mut buffer = [0; 8];
        let received = receive(ours.as_fd(), &mut buffer).unwrap();
        assert_eq!((received.bytes, received.descriptors.len()), (2, 3));
        for descriptor in &received.descriptors {
            let flags = nix::fcntl::fcntl(descriptor, nix::fcntl::FcntlArg::F_GETFD).unwrap();
            assert_eq!(flags, libc::FD_CLOEXEC);
        }
        assert_eq!(receive(ours.as_fd(), &mut buffer).unwrap_err(), Errno::EAGAIN);
        send(theirs.as_fd(), &[b"z"], None).unwrap();
        assert!(receive(ours.as_fd(), &mut buffer).unwrap().descriptors.is_empty());
    }
}
