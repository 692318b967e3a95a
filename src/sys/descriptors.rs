//! Descriptors: what is inherited, what is kept back, how many there may be.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, FromRawFd, OwnedFd, RawFd};

use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl, open};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::Mode;

/// Marks every descriptor above stderr close-on-exec: what a shell or a terminal left open goes no further than us.
///
/// # Errors
/// The kernel's, on kernels older than 5.11 (`CLOSE_RANGE_CLOEXEC`): then each open descriptor is marked by itself.
pub fn mark_inherited_close_on_exec() -> io::Result<()> {
    const CLOSE_RANGE_CLOEXEC: libc::c_uint = 1 << 2;
    // SAFETY: a system call with three numbers; it only sets a flag on descriptors.
    let result = unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, CLOSE_RANGE_CLOEXEC) };
    if result == 0 {
        return Ok(());
    }
    for entry in std::fs::read_dir("/proc/self/fd")?.flatten() {
        let number = entry.file_name().to_str().and_then(|name| name.parse::<RawFd>().ok());
        if let Some(number) = number.filter(|number| *number > 2) {
            // SAFETY: fcntl with numbers; EBADF for the directory's own descriptor is harmless.
            unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) };
        }
    }
    Ok(())
}

/// Takes over a descriptor whose number came through the environment, close-on-exec from now on.
///
/// # Errors
/// EBADF when nothing is open there; EINVAL for the standard streams.
pub fn adopt(number: RawFd) -> io::Result<OwnedFd> {
    if number < 3 {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    // SAFETY: F_GETFD on any number is harmless; it tells whether something is open there.
    if unsafe { libc::fcntl(number, libc::F_GETFD) } == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: open, as just seen; it was made for us before an exec and nothing else in this program knows it.
    let descriptor = unsafe { OwnedFd::from_raw_fd(number) };
    fcntl(&descriptor, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    Ok(descriptor)
}

/// Lets this descriptor cross the next exec.
///
/// # Errors
/// The kernel's.
pub fn keep_across_exec(descriptor: impl AsFd) -> io::Result<()> {
    fcntl(descriptor, FcntlArg::F_SETFD(FdFlag::empty()))?;
    Ok(())
}

/// The same open file at a number of at least `lowest`, close-on-exec.
///
/// # Errors
/// EMFILE when no number is left.
pub fn duplicate_from(descriptor: impl AsFd, lowest: RawFd) -> io::Result<OwnedFd> {
    let number = fcntl(descriptor, FcntlArg::F_DUPFD_CLOEXEC(lowest))?;
    // SAFETY: the kernel has just given us this number.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// `/dev/null`, to hold a number.
///
/// # Errors
/// The kernel's.
pub fn placeholder() -> io::Result<OwnedFd> {
    Ok(open("/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty())?)
}

/// The limits of open files, soft and hard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenFiles {
    /// What the kernel enforces.
    pub soft: u64,
    /// How far it can be raised.
    pub hard: u64,
}

/// Raises the limit of open files to the hard limit; gives back what was before, for the members.
///
/// # Errors
/// The kernel's.
pub fn raise_open_files() -> io::Result<OpenFiles> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    Ok(OpenFiles { soft, hard })
}

/// How many files this process may have open.
#[must_use]
pub fn most_open_files() -> usize {
    getrlimit(Resource::RLIMIT_NOFILE).map_or(usize::MAX, |(soft, _)| usize::try_from(soft).unwrap_or(usize::MAX))
}

/// Writes `content` into a memfd that nobody can change any more.
///
/// # Errors
/// The kernel's.
pub fn sealed_memory(name: &str, content: &[u8]) -> io::Result<OwnedFd> {
    use nix::fcntl::SealFlag;
    use nix::sys::memfd::{MFdFlags, memfd_create};
    let memory = memfd_create(name, MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?;
    let mut rest = content;
    while !rest.is_empty() {
        let written = nix::unistd::write(&memory, rest)?;
        rest = rest.get(written..).unwrap_or_default();
    }
    let all = SealFlag::F_SEAL_SEAL | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_WRITE;
    fcntl(&memory, FcntlArg::F_ADD_SEALS(all))?;
    Ok(memory)
}

/// Reads a memfd from its beginning.
///
/// # Errors
/// The kernel's.
pub fn read_memory(memory: impl AsFd) -> io::Result<Vec<u8>> {
    use std::io::{Read, Seek, SeekFrom};
    let mut file = std::fs::File::from(memory.as_fd().try_clone_to_owned()?);
    file.seek(SeekFrom::Start(0))?;
    let mut content = Vec::new();
    file.read_to_end(&mut content)?;
    Ok(content)
}

/// Puts an open file in the place of another, at its number, at one moment: a process that looks at the number through /proc
/// sees the old or the new one.
///
/// # Errors
/// The kernel's.
pub fn put_in_place(new: &OwnedFd, of: &mut OwnedFd) -> io::Result<()> {
    Ok(nix::unistd::dup3(new, of, OFlag::O_CLOEXEC)?)
}
