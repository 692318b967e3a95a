//! The one list of descriptors that cross our own exec into the master, and that exec.

use std::ffi::{CString, OsStr, OsString};
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};

use super::descriptors;
use super::inherited::Given;
use super::proc::Reader;

/// The variable with the number of the sealed memfd that holds the options.
const OPTIONS: &str = "EGGCTL_OPTIONS_FD";
/// The variable with the number of the title's locked file.
const LOCK: &str = "EGGCTL_LOCK_FD";
/// The variable with the number of the logs' ledger.
const LEDGER: &str = "EGGCTL_LEDGER_FD";
/// The variable with the number of the ready channel: Node's own, so that a Node parent is no special case.
const CHANNEL: &str = "NODE_CHANNEL_FD";
/// The variable with the numbers and names of inherited sockets: `12=svc.socket:13=`.
const INHERITED: &str = "EGGCTL_INHERITED_FDS";

/// What the memory is called, and how /proc shows that.
const MEMORY_NAME: &str = "eggctl-options";
const MEMORY: &[u8] = b"/memfd:eggctl-options";

/// Variables that name descriptors of the master's own: not for members.
pub const MASTERS_OWN: [&str; 4] = [OPTIONS, LOCK, LEDGER, INHERITED];
/// All variables of this list: never inherited by accident.
const VARIABLES: [&str; 5] = [OPTIONS, LOCK, LEDGER, CHANNEL, INHERITED];

/// Everything above the standard streams that crosses our own exec. Numbers start at 10: the master needs a low one for its
/// members' channel.
#[derive(Debug)]
pub struct Crossing {
    /// The options, sealed. The master keeps them open, and puts others in their place: commands read there what runs.
    pub options: OwnedFd,
    /// The title's lock, held for the master's life.
    pub lock: OwnedFd,
    /// The logs' ledger; none without logs.
    pub ledger: Option<OwnedFd>,
    /// The ready channel to the parent; none in the foreground.
    pub channel: Option<OwnedFd>,
    /// Listening sockets that were inherited from whoever started the command.
    pub inherited: Vec<Given>,
}

const LOWEST: RawFd = 10;

impl Crossing {
    /// Takes over what the environment names; `None` when this program was not started by itself.
    ///
    /// # Errors
    /// When a variable names nothing that is open.
    pub fn arrive() -> io::Result<Option<Self>> {
        let (Some(options), Some(lock)) = (adopt_named(OPTIONS)?, adopt_named(LOCK)?) else { return Ok(None) };
        let (ledger, channel, inherited) = (adopt_named(LEDGER)?, adopt_named(CHANNEL)?, adopt_inherited()?);
        Ok(Some(Crossing { options, lock, ledger, channel, inherited }))
    }

    /// Becomes the program `program`, with these descriptors and all signals blocked (the next image unblocks them once
    /// its handlers stand, so that none is lost). Returns only when that failed.
    pub fn exec(self, program: &Path, arguments: &[OsString], environment: &[(OsString, OsString)]) -> io::Error {
        match self.try_exec(program, arguments, environment) {
            Ok(never) => match never {},
            Err(error) => error,
        }
    }

    fn try_exec(
        self,
        program: &Path,
        arguments: &[OsString],
        environment: &[(OsString, OsString)],
    ) -> io::Result<std::convert::Infallible> {
        let mut variables: Vec<CString> = Vec::with_capacity(environment.len() + VARIABLES.len());
        for (name, value) in environment {
            if !VARIABLES.iter().any(|ours| name == ours) {
                variables.push(variable(name, value)?);
            }
        }
        let mut kept = Vec::new();
        let (options, lock) = (Some(self.options), Some(self.lock));
        for (name, descriptor) in [(OPTIONS, options), (LOCK, lock), (LEDGER, self.ledger), (CHANNEL, self.channel)] {
            let Some(descriptor) = descriptor else { continue };
            let moved = moved(&descriptor)?;
            variables.push(variable(OsStr::new(name), OsStr::new(&moved.as_raw_fd().to_string()))?);
            kept.push(moved);
        }
        let mut inherited = Vec::new();
        for given in &self.inherited {
            let moved = moved(&given.socket)?;
            inherited.push(format!("{}={}", moved.as_raw_fd(), given.name));
            kept.push(moved);
        }
        if !inherited.is_empty() {
            variables.push(variable(OsStr::new(INHERITED), OsStr::new(&inherited.join(":")))?);
        }
        let program = CString::new(program.as_os_str().as_bytes())?;
        let arguments: Vec<CString> =
            arguments.iter().map(|text| CString::new(text.as_bytes())).collect::<Result<_, _>>()?;
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None)?;
        let failed = nix::unistd::execve(&program, &arguments, &variables);
        // Only a failed exec comes here: the mask and the descriptors are as they were.
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
        drop(kept);
        Ok(failed?)
    }
}

/// The memory with the options that this master runs with; `None`: it is an older one, which does not keep them open.
///
/// Where it is stands in the master's environment. The kernel shows both to the processes that it shows the environment to: those
/// with the master's user and group.
///
/// # Errors
/// `NotFound` or `ESRCH` when it has gone, `PermissionDenied` when it is closed to this process.
pub fn options_of(master: u32) -> io::Result<Option<Vec<u8>>> {
    let environment = Reader::default().environment(master)?;
    let number = environment.into_iter().find(|(name, _)| name == OPTIONS).map(|(_, number)| number);
    let Some(number) = number.and_then(|number| number.to_str()?.parse::<RawFd>().ok()) else { return Ok(None) };
    let place = format!("/proc/{master}/fd/{number}");
    let is_memory = std::fs::read_link(&place).is_ok_and(|name| name.as_os_str().as_bytes().starts_with(MEMORY));
    if !is_memory {
        return Ok(None);
    }
    let mut content = Vec::new();
    std::fs::File::open(place)?.read_to_end(&mut content)?;
    Ok(Some(content))
}

/// The options in sealed memory.
///
/// # Errors
/// The kernel's.
pub fn options_memory(content: &[u8]) -> io::Result<OwnedFd> {
    descriptors::sealed_memory(MEMORY_NAME, content)
}

/// The channel of a Node parent, when this program was started where `node` is expected.
///
/// # Errors
/// When the variable names nothing that is open.
pub fn parents_channel() -> io::Result<Option<OwnedFd>> {
    adopt_named(CHANNEL)
}

/// The same open file at a number that the next image leaves alone.
fn moved(descriptor: &OwnedFd) -> io::Result<OwnedFd> {
    let moved = descriptors::duplicate_from(descriptor, LOWEST)?;
    descriptors::keep_across_exec(&moved)?;
    Ok(moved)
}

fn variable(name: &OsStr, value: &OsStr) -> io::Result<CString> {
    let mut text = name.to_owned();
    text.push("=");
    text.push(value);
    Ok(CString::new(text.into_vec())?)
}

fn adopt_named(name: &str) -> io::Result<Option<OwnedFd>> {
    let Some(text) = std::env::var_os(name) else { return Ok(None) };
    adopt_number(name, text.to_str()).map(Some)
}

fn adopt_number(name: &str, text: Option<&str>) -> io::Result<OwnedFd> {
    let number = text.and_then(|text| text.parse().ok());
    descriptors::adopt(number.ok_or_else(|| io::Error::other(format!("{name} is not a descriptor number")))?)
}

fn adopt_inherited() -> io::Result<Vec<Given>> {
    let text = std::env::var(INHERITED).unwrap_or_default();
    let adopt = |one: &str| {
        let (number, name) = one.split_once('=').unwrap_or((one, ""));
        Ok(Given { socket: adopt_number(INHERITED, Some(number))?, name: name.to_owned() })
    };
    text.split(':').filter(|one| !one.is_empty()).map(adopt).collect()
}

/// The program that runs, by its real path: resolved once, since after an update the link reads `… (deleted)`.
///
/// # Errors
/// When /proc is not there.
pub fn own_program() -> io::Result<PathBuf> {
    std::env::current_exe()
}
