//! A plain Node application: a forked child as the agent, Node cluster workers, told apart by their environment alone.

use std::ffi::OsString;
use std::path::Path;

use super::{Runtime, place};
use crate::options::{AGENT_SCRIPT, Options, SCRUBBED};
use crate::sys::spawn::Program;

/// A forked child: a channel, and no `NODE_UNIQUE_ID`, which would make it a cluster worker. Node ends a worker whose channel
/// ends, and Egg its agent; of a plain agent the kernel does it, by TERM, and the preload sees that it does not take longer
/// than the agent's part of a close.
pub fn agent(options: &Options, script: Option<&Path>, preload: Option<&Path>, runtime: &Runtime) -> Program {
    // An application without an agent is never asked for one; if it were, node would tell the truth about this path.
    let named = options.base_dir.join(AGENT_SCRIPT);
    let told = vec![("EGGCTL_AGENT_GRACE", options.agent_close_grace_ms.to_string())];
    let told = if preload.is_some() && !options.is_egg() { told } else { Vec::new() };
    let program = program(options, script.unwrap_or(&named), told, preload, runtime);
    Program { ends_with_us: !options.is_egg(), ..program }
}

/// What a worker is told of itself.
pub struct Numbers {
    /// Its id in Node's cluster.
    pub cluster_id: u32,
    /// Its place among the workers; a spare has none yet.
    pub slot: Option<u32>,
}

/// A worker of Node's cluster: `cluster.isPrimary` is false in it.
pub fn worker(
    options: &Options,
    script: &Path,
    numbers: &Numbers,
    preload: Option<&Path>,
    runtime: &Runtime,
) -> Program {
    let mut told = vec![("NODE_UNIQUE_ID", numbers.cluster_id.to_string())];
    told.extend(numbers.slot.into_iter().flat_map(|slot| place::variables(slot, options.workers)));
    program(options, script, told, preload, runtime)
}

fn program(
    options: &Options,
    script: &Path,
    told: Vec<(&'static str, String)>,
    preload: Option<&Path>,
    runtime: &Runtime,
) -> Program {
    let mut arguments: Vec<OsString> = options.node_flags.iter().map(OsString::from).collect();
    // After what names the base, and it is the last one that counts.
    arguments.extend(runtime.inspect_port.map(|port| format!("--inspect-port={port}").into()));
    let mut set = options.environment.clone();
    if let Some(preload) = preload {
        // Forks of a member inherit the flag: by this the preload tells which it is.
        set.push(("EGGCTL_MEMBER".into(), "1".into()));
        arguments.extend(["--require".into(), preload.into()]);
    }
    arguments.push(script.into());
    set.push(("NODE_CHANNEL_SERIALIZATION_MODE".into(), "json".into()));
    set.extend(told.into_iter().map(|(name, value)| (name.into(), value.into())));
    let unset = SCRUBBED.iter().copied().filter(|name| set.iter().all(|(other, _)| other != name)).collect();
    Program {
        path: options.node.clone(),
        arguments,
        inherited: options.inherited().0,
        set,
        unset,
        directory: options.directory.clone(),
        ends_with_us: false,
    }
}
