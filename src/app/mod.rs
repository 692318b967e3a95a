//! The kinds of application: argv, environment and readiness of an agent and of a worker.
//!
//! Each kind is a file of its own, and [`served`] is where they serve; here is the door, and what is the same for all kinds. Plain values in, plain values
//! out: the master spawns, reads and writes.

mod egg;
pub mod inspector;
pub mod messages;
mod node;
pub mod place;
pub mod served;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::path::Path;

use crate::ipc::inbound::{AddressType, Listening};
use crate::ipc::shown::shown;
use crate::lifecycle::Role;
use crate::options::{Application, Family, Options};
use crate::sys::spawn::Program;
use node::Numbers;

/// The file that node loads first in every member when the options want it; the master keeps it on disk.
pub const PRELOAD: &str = include_str!("preload.cjs");

/// What to do when an agent takes long. Egg's says itself that it is ready.
#[must_use]
pub fn agent_ready_hint(options: &Options) -> &'static str {
    match &options.application {
        Application::Node { .. } => {
            "if it is ready, it has to say so: add `process.send({ action: 'agent-start' })` to agent.js"
        }
        Application::Egg { .. } => {
            "it is ready when its `didLoad` and `willReady` hooks have ended: Egg's log says which remain"
        }
    }
}

/// What the master chooses at its start and every life of a member is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Runtime {
    /// Where Egg's agent and workers meet (cluster-client): a port that the master holds against strangers.
    pub cluster_port: Option<u16>,
    /// Where Egg's workers listen, on the loopback, when clients keep their workers and the master serves itself.
    pub sticky_worker_port: Option<u16>,
    /// Where the inspector of this life listens: chosen for each.
    pub inspect_port: Option<u16>,
}

/// How to run a member. `cluster_id` is a worker's id in Node's cluster, from 1 and never used twice; an agent has none.
/// `preload` is the file that node loads first, when the options want it.
#[must_use]
pub fn launch(options: &Options, role: Role, cluster_id: u32, preload: Option<&Path>, runtime: &Runtime) -> Program {
    let slot = match role {
        Role::Worker { slot, .. } => Some(slot),
        Role::Agent | Role::Spare { .. } => None,
    };
    let mut program = match (&options.application, role) {
        (Application::Node { agent, .. }, Role::Agent) => node::agent(options, agent.as_deref(), preload, runtime),
        (Application::Node { script, .. }, Role::Worker { .. } | Role::Spare { .. }) => {
            node::worker(options, script, &Numbers { cluster_id, slot }, preload, runtime)
        }
        (Application::Egg { agent, cluster_options, .. }, Role::Agent) => egg::member(
            node::agent(options, Some(agent), preload, runtime),
            egg::members_options(cluster_options, runtime),
        ),
        (Application::Egg { worker, cluster_options, .. }, Role::Worker { .. } | Role::Spare { .. }) => {
            let program = node::worker(options, worker, &Numbers { cluster_id, slot }, preload, runtime);
            egg::member(program, egg::members_options(cluster_options, runtime))
        }
    };
    program.arguments.extend(options.arguments.iter().cloned());
    program
}

/// Is a member of this role asked to finish what it does before its TERM? Not Egg's agent: what it serves is the leader's
/// port, and cluster-client takes a server that closes for a fault and complains. Its `beforeClose` closes all, at TERM.
#[must_use]
pub fn leaves_politely(options: &Options, role: Role) -> bool {
    !(options.is_egg() && role == Role::Agent)
}

/// The options that Egg's members are given, a JSON object: also what `egg-ready` tells them. `None`: not Egg.
#[must_use]
pub fn members_options_json(options: &Options, runtime: &Runtime) -> Option<String> {
    match &options.application {
        Application::Node { .. } => None,
        Application::Egg { cluster_options, .. } => Some(egg::members_options(cluster_options, runtime)),
    }
}

/// Does a message with this action say that a member of this role is ready? The words are Egg's, for every kind.
#[must_use]
pub fn ready_by_message(options: &Options, role: Role, action: Option<&str>) -> bool {
    let ready = match (&options.application, role) {
        (_, Role::Agent) => "agent-start",
        // With reusePort a worker listens without asking anybody, so that Node's listening frame never comes.
        (Application::Egg { family: Family::Three, .. }, Role::Worker { .. } | Role::Spare { .. }) => {
            "reuse-port-listening"
        }
        (
            Application::Egg { family: Family::Four, .. } | Application::Node { .. },
            Role::Worker { .. } | Role::Spare { .. },
        ) => "app-start",
    };
    action == Some(ready)
}

/// What is shown when the master serves itself at `port`, and a worker of this kind of address behind it.
#[must_use]
pub fn masters_own(port: Option<u16>, behind: &Listening) -> Listening {
    Listening { address: None, port: port.map_or(-1, i64::from), ..behind.clone() }
}

/// The address as it is shown to people, by egg-cluster's rules: a unix socket's path as it is; where the worker listens
/// on any address, `$HOST`, else this machine's own. `protocol` is what Egg's workers have told by `realport`.
#[must_use]
pub fn address(options: &Options, protocol: Option<&str>, listening: &Listening) -> String {
    let scheme = match listening.address_type {
        AddressType::Pipe => return shown(listening.address.as_deref().unwrap_or_default()),
        AddressType::Udp4 | AddressType::Udp6 => "udp",
        AddressType::Tcp4 | AddressType::Tcp6 | AddressType::Other => protocol.unwrap_or("http"),
    };
    format!("{scheme}://{}:{}", shown_host(options, listening.address.as_deref()), listening.port)
}

/// The host of an address as it is shown: where it is any, `$HOST`, else this machine's own.
#[must_use]
pub fn shown_host(options: &Options, address: Option<&str>) -> String {
    let particular = |name: &&str| !matches!(*name, "" | "0.0.0.0" | "::");
    let host = address.filter(particular).or(options.host.as_deref().filter(particular)).unwrap_or("127.0.0.1");
    let host = shown(host);
    if host.contains(':') { format!("[{host}]") } else { host }
}

/// The member as people are told of it; workers are counted from 1.
#[must_use]
pub fn name_of(role: Role) -> String {
    match role {
        Role::Agent => "agent".to_owned(),
        Role::Worker { slot, .. } => format!("worker {}", u64::from(slot) + 1),
        Role::Spare { place, .. } => format!("spare {}", u64::from(place) + 1),
    }
}

/// The master's arguments after argv[0]. egg-scripts looks for lines with `node`, `start-cluster` and `"title":"svc"`.
#[must_use]
pub fn master_arguments(options: &Options) -> Vec<OsString> {
    let mut node = OsString::from("--node=");
    node.push(&options.node);
    vec![
        "start-cluster".into(),
        options.shown_json().into(),
        format!("--title={}", options.title.as_str()).into(),
        node,
    ]
}
