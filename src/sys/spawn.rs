//! Spawning a member: its own process group, a clean signal state, its channel at descriptor 3, nothing else inherited.
#![allow(unsafe_code)]

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, setsockopt, socketpair, sockopt};

use super::descriptors::OpenFiles;
use super::{priority, signals};

/// The number of the channel in a member. Low, because Node marks only low inherited numbers close-on-exec at its start,
/// and a channel that leaks into a grandchild never ends.
pub const CHANNEL_NUMBER: i32 = 3;

/// How many bytes a member may have on their way to us, by the kernel's own count: a message of 64 bytes takes 768 of them.
/// (The kernel doubles what is asked for, and caps it at net.core.wmem_max where we are not root.)
const ON_THE_WAY: usize = 1024 * 1024;

/// What to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// The program's path.
    pub path: PathBuf,
    /// Its arguments after argv[0].
    pub arguments: Vec<OsString>,
    /// Variables to set over the inherited ones.
    pub set: Vec<(OsString, OsString)>,
    /// Variables to take away.
    pub unset: Vec<&'static str>,
    /// Its working directory.
    pub directory: PathBuf,
}

/// A member that has been spawned.
#[derive(Debug)]
pub struct Spawned {
    /// Its pid. Only `waitid` in the loop reaps it.
    pub pid: u32,
    /// Our end of its channel: non-blocking, close-on-exec.
    pub channel: OwnedFd,
}

/// Where a member's output goes; what is not given is inherited.
#[derive(Debug, Default)]
pub struct Output {
    /// Its stdout.
    pub stdout: Option<OwnedFd>,
    /// Its stderr.
    pub stderr: Option<OwnedFd>,
}

/// Spawns `program` with a channel, giving it `open_files` as its limit.
///
/// The caller holds number 3 in this process: std's own pipe that reports a failed exec must not get it, because the
/// channel is put there between fork and exec.
///
/// # Errors
/// The kernel's, of the fork or of the exec.
pub fn spawn(program: &Program, open_files: OpenFiles, output: Output) -> io::Result<Spawned> {
    let mut command = Command::new(&program.path);
    command.args(&program.arguments).current_dir(&program.directory);
    command.envs(program.set.iter().map(|(name, value)| (name, value)));
    for name in &program.unset {
        command.env_remove(name);
    }
    output.stdout.map(|stdout| command.stdout(stdout));
    output.stderr.map(|stderr| command.stderr(stderr));
    spawn_with_channel(command, open_files)
}

/// Spawns this very program with these arguments, likewise: what runs now, also when its file was replaced or removed.
///
/// # Errors
/// The kernel's, of the fork or of the exec.
pub fn spawn_own_program(arguments: &[OsString], unset: &[&str], open_files: OpenFiles) -> io::Result<Spawned> {
    let mut command = Command::new("/proc/self/exe");
    command.arg0("eggctl").args(arguments).current_dir("/");
    for name in unset {
        command.env_remove(name);
    }
    spawn_with_channel(command, open_files)
}

fn spawn_with_channel(mut command: Command, open_files: OpenFiles) -> io::Result<Spawned> {
    let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_CLOEXEC)?;
    nix::fcntl::fcntl(&ours, nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK))?;
    make_room_for_bursts(&theirs);
    let channel = theirs.as_raw_fd();
    command.stdin(Stdio::null()).process_group(0);
    // SAFETY: between fork and exec only async-signal-safe calls: dup2, rt_sigaction, setrlimit, sched_setscheduler; no allocation, no lock.
    unsafe {
        command.pre_exec(move || {
            if libc::dup2(channel, CHANNEL_NUMBER) == -1 {
                return Err(io::Error::last_os_error());
            }
            signals::reset_dispositions();
            let limit = libc::rlimit { rlim_cur: open_files.soft, rlim_max: open_files.hard };
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
            priority::undo_batch();
            Ok(())
        });
    }
    let child = command.spawn()?;
    Ok(Spawned { pid: child.id(), channel: ours })
}

/// A sender whose socket is full waits, is woken, and fills it again in small turns: a burst costs it a third less where it
/// goes in whole. A kernel that refuses leaves a channel that works.
fn make_room_for_bursts(theirs: &OwnedFd) {
    let _ = setsockopt(theirs, sockopt::SndBufForce, &ON_THE_WAY)
        .or_else(|_| setsockopt(theirs, sockopt::SndBuf, &ON_THE_WAY));
}

/// Ends a child that was spawned but cannot be watched (no descriptor left for its pidfd, no memory for its place in the
/// epoll set). The number is safe: the child is ours and nobody has reaped it.
pub fn end_unwatched(pid: u32) {
    if let Ok(number) = i32::try_from(pid) {
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(number), nix::sys::signal::Signal::SIGKILL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many messages go in while nobody reads.
    fn burst(socket: &OwnedFd) -> usize {
        (0..).take_while(|_| nix::unistd::write(socket, &[b'x'; 64]).is_ok()).count()
    }

    #[test]
    fn a_member_may_say_far_more_at_once_than_a_socket_takes_by_itself() {
        let pair = || socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_NONBLOCK).unwrap();
        let ((ordinary, _one), (roomy, _other)) = (pair(), pair());
        make_room_for_bursts(&roomy);
        // Twice is what the kernel grants where we are not root and net.core.wmem_max is its default.
        let (takes, by_itself) = (burst(&roomy), burst(&ordinary));
        assert!(takes * 10 >= by_itself * 19, "{takes} messages instead of {by_itself}");
    }
}
