//! Spawning a member: its own process group, a clean signal state, its channel at a low number, nothing else inherited.
#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, setsockopt, socketpair, sockopt};

use super::descriptors::{self, OpenFiles};
use super::{priority, signals};

/// The variable that names the channel's number to a Node member.
const NODES_CHANNEL: &str = "NODE_CHANNEL_FD";

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
    /// The environment that it is given, instead of this process' own.
    pub inherited: BTreeMap<OsString, OsString>,
    /// Variables to set over those.
    pub set: Vec<(OsString, OsString)>,
    /// Variables to take away.
    pub unset: Vec<&'static str>,
    /// Its working directory.
    pub directory: PathBuf,
    /// Does the kernel send it TERM when this process ends, however that is?
    pub ends_with_us: bool,
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

/// What every child is given: a number for its channel, `/dev/null` for its stdin, and the limit of open files that this
/// process had itself before it raised its own.
#[derive(Debug)]
pub struct Endowment {
    /// Holds the channel's number in this process and is `/dev/null`, open since the start: no spawn opens a file by its path.
    ///
    /// std's own pipe that reports a failed exec must not get that number, because the channel is put there between fork and
    /// exec. It is the lowest that is free at the start: 3, or another where a preloaded library holds that one, which then
    /// holds it in the members, too. Up to 16, Node marks it close-on-exec at its start (libuv's
    /// `uv_disable_stdio_inheritance`, Node 18 to 24): a channel that leaks into a grandchild would never end.
    number: OwnedFd,
    open_files: OpenFiles,
}

impl Endowment {
    /// Takes the number, before anything else is opened, and raises the limit of open files.
    ///
    /// # Errors
    /// The kernel's.
    pub fn take() -> io::Result<Self> {
        Ok(Endowment { number: descriptors::placeholder()?, open_files: descriptors::raise_open_files()? })
    }

    /// Spawns `program` with a channel.
    ///
    /// # Errors
    /// The kernel's, of the fork or of the exec.
    pub fn spawn(&self, program: &Program, output: Output) -> io::Result<Spawned> {
        let mut command = command_of(program, output);
        command.env(NODES_CHANNEL, self.channel_number().to_string());
        if program.ends_with_us {
            // SAFETY: one async-signal-safe call between fork and exec. The signal is bound to the thread that forks: this
            // program has one.
            unsafe {
                command.pre_exec(|| {
                    libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM);
                    Ok(())
                });
            }
        }
        self.spawn_with_channel(command)
    }

    /// Spawns this very program with these arguments and `--channel=NUMBER`, likewise: what runs now, also when its file was
    /// replaced or removed.
    ///
    /// # Errors
    /// The kernel's, of the fork or of the exec.
    pub fn spawn_own_program(&self, arguments: &[OsString], unset: &[&str]) -> io::Result<Spawned> {
        let mut command = Command::new("/proc/self/exe");
        command.arg0("eggctl").args(arguments).arg(self.channel_flag()).current_dir("/");
        for name in unset {
            command.env_remove(name);
        }
        self.spawn_with_channel(command)
    }

    /// The argument that names the channel to our own program.
    #[must_use]
    pub fn channel_flag(&self) -> OsString {
        format!("{CHANNEL_FLAG}{}", self.channel_number()).into()
    }

    fn channel_number(&self) -> RawFd {
        self.number.as_raw_fd()
    }

    fn spawn_with_channel(&self, mut command: Command) -> io::Result<Spawned> {
        let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_CLOEXEC)?;
        nix::fcntl::fcntl(&ours, nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK))?;
        make_room_for_bursts(&theirs);
        let (channel, number, open_files) = (theirs.as_raw_fd(), self.channel_number(), self.open_files);
        command.stdin(Stdio::from(self.number.try_clone()?)).process_group(0);
        // SAFETY: between fork and exec only async-signal-safe calls (dup2, rt_sigaction, rt_sigprocmask, setrlimit,
        // sched_setscheduler), no allocation and no lock.
        unsafe {
            command.pre_exec(move || {
                if libc::dup2(channel, number) == -1 {
                    return Err(io::Error::last_os_error());
                }
                signals::reset();
                let limit = libc::rlimit { rlim_cur: open_files.soft, rlim_max: open_files.hard };
                libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
                priority::undo_batch();
                Ok(())
            });
        }
        let child = command.spawn()?;
        Ok(Spawned { pid: child.id(), channel: ours })
    }
}

/// Before the number of the channel in the arguments of our own program.
const CHANNEL_FLAG: &str = "--channel=";

/// The channel that [`Endowment::spawn_own_program`] gave to this process.
///
/// # Errors
/// It was not started so.
pub fn own_channel() -> io::Result<OwnedFd> {
    let number = std::env::args().find_map(|word| word.strip_prefix(CHANNEL_FLAG)?.parse().ok());
    descriptors::adopt(number.ok_or_else(|| io::Error::other("it has no channel"))?)
}

fn command_of(program: &Program, output: Output) -> Command {
    let mut command = Command::new(&program.path);
    command.args(&program.arguments).current_dir(&program.directory).env_clear().envs(&program.inherited);
    command.envs(program.set.iter().map(|(name, value)| (name, value)));
    for name in &program.unset {
        command.env_remove(name);
    }
    output.stdout.map(|stdout| command.stdout(stdout));
    output.stderr.map(|stderr| command.stderr(stderr));
    command
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
