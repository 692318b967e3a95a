//! Where an application serves: what it says that a worker listens at an address, and which questions wait at the gate.

use std::path::{Path, PathBuf};

use crate::ipc::inbound::{AddressType, Listening};
use crate::lifecycle::{Address, Listen, Worth};
use crate::options::{Application, Family, Options};

/// What it says that a worker listens at this address. `asked` is what it asked for, where port 0 is still 0.
#[must_use]
pub fn listen(
    options: &Options,
    real_port: Option<u16>,
    address: Address,
    asked: &Listening,
    listening: &Listening,
) -> Listen {
    let decides = !matches!(options.application, Application::Egg { family: Family::Four, .. });
    let worth = worth(options, real_port, listening);
    Listen { address, worth, decides, lasts: lasts(asked) }
}

/// What it says about the place of the service that a worker listens there.
#[must_use]
pub fn worth(options: &Options, real_port: Option<u16>, listening: &Listening) -> Worth {
    match &options.application {
        Application::Node { .. } if options.port.is_none() => by_reach(listening),
        Application::Node { .. } | Application::Egg { .. } => {
            if serves(options, real_port, listening) {
                Worth::Service
            } else {
                Worth::Beside
            }
        }
    }
}

/// Where nothing says where the application serves: by who can reach it.
fn by_reach(listening: &Listening) -> Worth {
    let address = listening.address.as_deref().unwrap_or_default();
    match listening.address_type {
        AddressType::Tcp4 | AddressType::Tcp6 if is_loopback(address) => Worth::Local,
        AddressType::Tcp4 | AddressType::Tcp6 => Worth::Open,
        AddressType::Pipe if is_temporary(address) => Worth::Temporary,
        AddressType::Pipe => Worth::Local,
        AddressType::Udp4 | AddressType::Udp6 | AddressType::Other => Worth::Datagram,
    }
}

fn is_loopback(address: &str) -> bool {
    let address = address.split_once('%').map_or(address, |(address, _)| address);
    address.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

/// Is this a Unix socket in a directory for temporary files? An abstract name has no directory.
fn is_temporary(address: &str) -> bool {
    let usual = ["/tmp", "/var/tmp", "/dev/shm"].map(PathBuf::from);
    let own = std::env::temp_dir();
    let mut directories = usual.iter().chain(Some(&own).filter(|own| own.is_absolute()));
    !address.contains('\0') && directories.any(|directory| Path::new(address).starts_with(directory))
}

/// Is it the same place in each life of the application?
fn lasts(asked: &Listening) -> bool {
    match asked.address_type {
        AddressType::Tcp4 | AddressType::Tcp6 => asked.port != 0,
        AddressType::Pipe => !is_temporary(asked.address.as_deref().unwrap_or_default()),
        AddressType::Udp4 | AddressType::Udp6 | AddressType::Other => false,
    }
}

/// Do the options, or has a worker of Egg's, named this as the place where the application serves? It may listen elsewhere
/// before (metrics, a debug port). `real_port` is what Egg's workers have told by `realport`.
///
/// A Node application serves at the TCP port in the options, if there is one. Egg serves at its real port, which is the
/// options' until it is told, and at any unix socket: egg-cluster's rule. (When clients keep their workers the caller gives
/// the port of [`super::Runtime::sticky_worker_port`] for the real one, and nothing else counts.)
#[must_use]
pub fn serves(options: &Options, real_port: Option<u16>, listening: &Listening) -> bool {
    let at = |port: u16| {
        matches!(listening.address_type, AddressType::Tcp4 | AddressType::Tcp6) && listening.port == i64::from(port)
    };
    match &options.application {
        Application::Node { .. } => options.port.is_some_and(at),
        Application::Egg { .. } => {
            listening.address_type == AddressType::Pipe && !options.is_sticky()
                || real_port.or(options.port).is_some_and(at)
        }
    }
}

/// Is it there that a worker which asks for this place will serve? As [`serves`]; where the options do not say it, it is
/// where the first worker of all does: `as_before`.
#[must_use]
pub fn is_to_serve(options: &Options, real_port: Option<u16>, as_before: bool, asked: &Listening) -> bool {
    match &options.application {
        Application::Node { .. } if options.port.is_none() => as_before,
        Application::Node { .. } | Application::Egg { .. } => serves(options, real_port, asked),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listening(address_type: AddressType, address: Option<&str>, port: i64) -> Listening {
        Listening { seq: 1, address: address.map(ToOwned::to_owned), port, address_type }
    }

    #[test]
    fn without_a_port_it_counts_who_can_reach_the_address() {
        use AddressType::{Pipe, Tcp4, Tcp6, Udp4};
        for (address_type, address, expected) in [
            (Tcp4, None, Worth::Open),
            (Tcp4, Some("0.0.0.0"), Worth::Open),
            (Tcp6, Some("::"), Worth::Open),
            (Tcp4, Some("10.0.0.1"), Worth::Open),
            (Tcp6, Some("fe80::1%eth0"), Worth::Open),
            (Tcp4, Some("127.0.0.1"), Worth::Local),
            (Tcp4, Some("127.8.0.1"), Worth::Local),
            (Tcp6, Some("::1"), Worth::Local),
            (Tcp6, Some("::ffff:127.0.0.1"), Worth::Local),
            (Pipe, Some("/run/app/its.sock"), Worth::Local),
            (Pipe, Some("/srv/app/\0name"), Worth::Local),
            (Pipe, Some("/tmp/its.sock"), Worth::Temporary),
            (Pipe, Some("/var/tmp/a/its.sock"), Worth::Temporary),
            (Pipe, Some("/tmpfiles/its.sock"), Worth::Local),
            (Udp4, None, Worth::Datagram),
        ] {
            assert_eq!(by_reach(&listening(address_type, address, 80)), expected, "{address_type:?} {address:?}");
        }
    }

    #[test]
    fn what_the_kernel_chose_and_what_is_temporary_does_not_last() {
        use AddressType::{Pipe, Tcp4, Udp4};
        for (asked, expected) in [
            (listening(Tcp4, None, 80), true),
            (listening(Tcp4, None, 0), false),
            (listening(Udp4, None, 80), false),
            (listening(Pipe, Some("/run/its.sock"), -1), true),
            (listening(Pipe, Some("/tmp/its.sock"), -1), false),
        ] {
            assert_eq!(lasts(&asked), expected, "{asked:?}");
        }
    }
}
