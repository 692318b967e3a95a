//! Detaching: `daemonize` forks twice and gives the master a session of its own, then the daemon execs itself as the
//! master, which wipes every hazard of a fork without exec (docs/decisions/0002).
//!
//! This process is a child subreaper first: the orphaned master becomes its child, so its end can be waited for.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use daemonize::{Daemonize, Outcome};

use crate::ipc::report::{self, Report};
use crate::sys::crossing::Crossing;
use crate::sys::signals;

/// What the daemon becomes.
pub struct Master<'a> {
    /// This program.
    pub program: &'a Path,
    /// The master's argv.
    pub arguments: &'a [OsString],
    /// The master's environment.
    pub environment: &'a [(OsString, OsString)],
}

/// Forks the master off, with its stdio on the two files. Returns in the parent only.
///
/// # Errors
/// When the first fork fails. Later failures come over the channel, as `NotDetached`.
pub fn detach(master: &Master<'_>, stdout: File, stderr: File, crossing: Crossing) -> anyhow::Result<()> {
    nix::sys::prctl::set_child_subreaper(true)?;
    // `daemonize` waits for its first child, and takes it for a failure when there is none to wait for.
    signals::keep_ended_children()?;
    let umask = nix::sys::stat::umask(nix::sys::stat::Mode::empty());
    nix::sys::stat::umask(umask);
    // Buffered output would be printed by each of the three processes. One that is not taken is no failure of a start.
    drop(io::stdout().flush());
    // Members have a directory of their own; this one may have been removed.
    let directory = std::env::current_dir().unwrap_or_else(|_| "/".into());
    let daemon = Daemonize::new().working_directory(directory).umask(umask.bits()).stdout(stdout).stderr(stderr);
    match daemon.execute() {
        Outcome::Parent(Ok(_)) => Ok(()),
        Outcome::Parent(Err(error)) => Err(anyhow::anyhow!("cannot detach: {error}")),
        Outcome::Child(result) => become_master(master, crossing, result.err().map(|error| error.to_string())),
    }
}

/// The daemon's short life between the second fork and the exec.
fn become_master(master: &Master<'_>, crossing: Crossing, failed: Option<String>) -> ! {
    let channel = crossing.channel.as_ref().and_then(|channel| channel.try_clone().ok());
    let why = match failed {
        Some(why) => why,
        None => {
            send(channel.as_ref(), &Report::Detached { pid: std::process::id() });
            crossing.exec(master.program, master.arguments, master.environment).to_string()
        }
    };
    send(channel.as_ref(), &Report::NotDetached { why });
    std::process::exit(1)
}

fn send(channel: Option<&OwnedFd>, words: &Report) {
    if let Some(channel) = channel {
        // A parent that is gone hears nothing.
        let _ = nix::unistd::write(channel, &report::report(words));
    }
}
