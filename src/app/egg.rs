//! An Egg application: the framework's own agent and worker files, told all in one argument of JSON.
//!
//! They work in the application's directory, as under @eggjs/scripts; egg-scripts 3 leaves them in the caller's.

use std::ffi::OsString;

use super::Runtime;
use crate::sys::spawn::Program;

/// The agent or a worker: its one argument, and its warnings.
pub fn member(mut program: Program, json: String) -> Program {
    program.arguments.push(json.into());
    // egg-cluster's: what is deprecated would be told on stderr, and fail the start.
    if program.set.contains(&("NODE_ENV".into(), "production".into())) {
        program.set.push(("NO_DEPRECATION".into(), OsString::from("*")));
    }
    program
}

/// Egg's options with the ports that the master chose, behind all others as in egg-cluster.
pub fn members_options(cluster_options: &str, runtime: &Runtime) -> String {
    let ports = [("clusterPort", runtime.cluster_port), ("stickyWorkerPort", runtime.sticky_worker_port)];
    let ports = ports.into_iter().filter_map(|(key, port)| Some(format!(",\"{key}\":{}", port?)));
    match cluster_options.strip_suffix('}') {
        Some(open) => format!("{open}{}}}", ports.collect::<String>()),
        None => cluster_options.to_owned(),
    }
}
