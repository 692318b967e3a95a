//! `eggctl <node's flags> …/start-cluster '{options}' [--title=T]`: the master in the place of `node`, for egg-scripts
//! (`--node=eggctl`) and for programs that start Egg's master by themselves.
//!
//! The parent, if there is one, has Node's channel to this process. Without one it is a master in the foreground, as
//! `node start-cluster` is.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use crate::error::{Exit, Failure};
use crate::options::{self, StartCluster};
use crate::sys::crossing;

use super::node_line;
use super::object::Object;
use super::start::{self, By};

/// How a parent may want the messages framed: JSON is one of two.
const SERIALIZATION: &str = "NODE_CHANNEL_SERIALIZATION_MODE";

/// What was typed, if it is that.
#[must_use]
pub fn typed() -> Option<StartCluster> {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let mut rest = arguments.iter().map(|argument| argument.as_bytes());
    node_line::script(rest.next()?, &mut rest).filter(|script| node_line::is_start_cluster(script))?;
    let behind: Vec<OsString> = rest.map(|argument| OsString::from_vec(argument.to_vec())).collect();
    let script_at = arguments.len() - behind.len() - 1;
    // `--` ends node's flags: the members have one more before their script.
    let node_flags = arguments.into_iter().take(script_at).filter(|flag| flag != "--").collect();
    Some(StartCluster { node_flags, arguments: behind })
}

/// Becomes the master.
///
/// # Errors
/// A [`Failure`] for whatever the user can mend.
pub fn run(typed: &StartCluster) -> anyhow::Result<Exit> {
    start::check_kernel()?;
    if std::env::var_os(SERIALIZATION).is_some_and(|mode| mode != "json") {
        let failure = Failure::new(Exit::Usage, "the parent's channel cannot be used");
        return Err(failure
            .because("its `serialization` is not `json`")
            .hint("leave that option of spawn away")
            .into());
    }
    // Nothing here is said as JSON.
    let mut object = Object::of_part();
    let channel = crossing::parents_channel().map_err(|error| {
        Failure::new(Exit::Usage, "the parent's channel cannot be used").because(format!("$NODE_CHANNEL_FD: {error}"))
    })?;
    let around = start::surroundings()?;
    let options = options::resolve_start_cluster(typed, None, &around)?;
    if typed.names_title() {
        let title = start::take_title(&options, &mut object)?;
        return start::begin(options, title, By::StartCluster { channel }, &mut object);
    }
    // Egg's own master takes no title, so that a program may start several of one application.
    if let Ok(title) = start::try_title(&options)? {
        return start::begin(options, title, By::StartCluster { channel }, &mut object);
    }
    let options = options::resolve_start_cluster(typed, Some(std::process::id()), &around)?;
    let title = start::take_title(&options, &mut object)?;
    start::begin(options, title, By::StartCluster { channel }, &mut object)
}
