//! What the log says about the addresses of workers.

use crate::app;
use crate::ipc::inbound::AddressType;
use crate::lifecycle::{Address, Notice};
use crate::options::Options;

use super::notices::Level;
use super::{Carried, words};

/// How much of a socket's path is shown.
const LONGEST_SHOWN: usize = 200;

/// The log line of a decision about an address; none for any other.
#[must_use]
pub fn notice(notice: &Notice, carried: &Carried) -> Option<(Level, String)> {
    let log = |id| carried.members.get(id).map_or_else(|| "a member".to_owned(), words::in_log);
    let place = |address| shown(address, carried);
    let text = match notice {
        Notice::LeftAddress(member) => format!(
            "{} closed the address that it serves and did not listen there again: it is replaced, and has 30 s to end",
            log(*member)
        ),
        Notice::Deserted(address) => {
            let seconds = carried.options.timeout_ms / 1_000;
            format!("all workers closed {} and none opened it for {seconds} s: its socket is closed", place(*address))
        }
        Notice::ListensElsewhere { member, address, served } => {
            let wanted = wanted(&carried.options, served.map(place));
            format!("{} listens on {}, not on {wanted}", log(*member), place(*address))
        }
        Notice::NotOpened { member, address } => {
            let place = place(*address);
            format!("{} does not listen on {place} as the old workers do: its socket closes with them", log(*member))
        }
        _ => return None,
    };
    Some((Level::Warn, text))
}

/// `port 80 (from --port)`, or where the application served before.
fn wanted(options: &Options, served: Option<String>) -> String {
    match (options.port, &options.port_from, served) {
        (Some(port), Some(from), _) => format!("port {port} ({from})"),
        (Some(port), None, _) => format!("port {port}"),
        (None, _, Some(served)) => format!("{served}, where the application serves"),
        (None, _, None) => "the application's port".to_owned(),
    }
}

/// The place as people know it. A path is the member's own text: a log line is not its terminal.
fn shown(address: Address, carried: &Carried) -> String {
    let Some(place) = carried.listeners.place(address) else { return "an address".to_owned() };
    let protocol = carried.real_port.protocol.as_deref();
    let text = app::address(&carried.options, protocol, &place.listening);
    match place.listening.address_type {
        AddressType::Pipe => text.chars().take(LONGEST_SHOWN).flat_map(char::escape_debug).collect(),
        AddressType::Tcp4 | AddressType::Tcp6 | AddressType::Udp4 | AddressType::Udp6 | AddressType::Other => text,
    }
}
