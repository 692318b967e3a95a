//! The open directory: taking a title's lock, writing and reading its record, keeping the preload.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, renameat};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::names::hash;
use super::place::{self, Place};
use super::record::Record;
use crate::error::Failure;
use crate::options::Title;
use crate::sys::{lock, proc};

/// Nothing of ours in the directory is longer, in bytes.
const LONGEST_FILE: u64 = 1024 * 1024;

/// The per-user directory, open. Everything below it is reached through this descriptor.
#[derive(Debug)]
pub struct Directory {
    pub(super) descriptor: OwnedFd,
    pub(super) path: PathBuf,
}

/// A title's lock, held as long as any copy of this descriptor is open, in whichever process.
#[derive(Debug)]
pub struct TitleLock(OwnedFd);

/// What came of the attempt to take a title's lock.
#[derive(Debug)]
pub enum LockOutcome {
    /// It is ours.
    Locked(TitleLock),
    /// Somebody else holds it.
    Held(Holder),
}

/// Who holds a title's lock.
#[derive(Debug)]
pub enum Holder {
    /// The process of this record: it is alive, and it is the one that wrote it.
    Recorded(Box<Record>),
    /// These processes, which have not written their record yet.
    Unrecorded(Vec<u32>),
    /// Nobody in sight: a process in another pid namespace or on another machine that shares the directory. The record,
    /// if there is one, speaks of there.
    Elsewhere(Option<Box<Record>>),
}

impl Holder {
    /// A pid to tell people.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        match self {
            Holder::Recorded(record) => Some(record.pid),
            Holder::Unrecorded(pids) => pids.first().copied(),
            Holder::Elsewhere(record) => record.as_ref().map(|record| record.pid),
        }
    }
}

impl AsFd for TitleLock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<TitleLock> for OwnedFd {
    fn from(lock: TitleLock) -> OwnedFd {
        lock.0
    }
}

/// For the master, which gets the locked descriptor through the exec.
impl From<OwnedFd> for TitleLock {
    fn from(descriptor: OwnedFd) -> TitleLock {
        TitleLock(descriptor)
    }
}

/// How often the holder of a lock that is held is looked for before it counts as out of sight.
const LOOKS_FOR_A_HOLDER: usize = 5;

/// What happens in the directory.
#[derive(Debug)]
pub struct Changes(Inotify);

impl Changes {
    /// Waits for a change, at most this long. Has the record of this title been written meanwhile?
    ///
    /// # Errors
    /// The kernel's.
    pub fn wait(&self, at_most: Duration, title: Option<&Title>) -> io::Result<bool> {
        let timeout = PollTimeout::try_from(at_most).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)], timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        // EAGAIN: nothing was.
        let events = self.0.read_events().unwrap_or_default();
        let record = title.map(record_name);
        let is_record = |name: &OsString| record.as_ref().is_some_and(|record| name == record.as_str());
        let is_written = |event: &InotifyEvent| event.mask.contains(AddWatchFlags::IN_MOVED_TO);
        Ok(events.iter().any(|event| is_written(event) && event.name.as_ref().is_some_and(is_record)))
    }
}

impl Directory {
    /// Opens the caller's own directory, and makes it if need be.
    ///
    /// # Errors
    /// When it cannot be made, or is not safe: a symlink, another's, or open to others.
    pub fn open() -> Result<Self, Failure> {
        let uid = nix::unistd::geteuid().as_raw();
        let places = Place::all_of(uid)?;
        let mut why = None;
        for place in &places {
            let path = place.path();
            place.check_way(uid)?;
            if let Some(descriptor) = place::open_checked(&path, uid)? {
                return Ok(Directory { descriptor, path });
            }
            match place.make() {
                Ok(()) => return Self::at(&path, uid)?.ok_or_else(|| Failure::state(&path, &Errno::ENOENT.into())),
                Err(refused) => why = Some(Failure::state(&path, &refused)),
            }
        }
        // proof: there is at least one place.
        Err(why.unwrap_or_else(|| Failure::state(Path::new("/tmp"), &Errno::ENOENT.into())))
    }

    /// Opens the caller's own directory, if there is one.
    ///
    /// # Errors
    /// When it is not safe.
    pub fn existing() -> Result<Option<Self>, Failure> {
        let uid = nix::unistd::geteuid().as_raw();
        Self::first_of(&Place::all_of(uid)?, uid)
    }

    /// The same where the variable may speak of another user's directory: root has become this user.
    ///
    /// # Errors
    /// As above, of a directory that the variable does not name.
    pub fn of_another() -> Result<Option<Self>, Failure> {
        let uid = nix::unistd::geteuid().as_raw();
        match Self::existing() {
            Ok(Some(directory)) => Ok(Some(directory)),
            Ok(None) | Err(_) => Self::first_of(&Place::usual_of(uid), uid),
        }
    }

    /// The directory of a process of this user that has this value of [`super::STATE_DIR`], if it is there and safe.
    #[must_use]
    pub fn of_value(value: Option<&[u8]>) -> Option<Self> {
        let uid = nix::unistd::geteuid().as_raw();
        let places = Place::of_value(value.map(|value| OsStr::from_bytes(value).to_owned()), uid).ok()?;
        Self::first_of(&places, uid).ok().flatten()
    }

    fn first_of(places: &[Place], uid: u32) -> Result<Option<Self>, Failure> {
        let mut has_another = false;
        for place in places {
            place.check_way(uid)?;
            match Self::at(&place.path(), uid) {
                Ok(Some(directory)) => return Ok(Some(directory)),
                Ok(None) => has_another |= place.can_be_made(),
                // Any user can make a directory of this name in /tmp: it matters only to a user who has no other place.
                Err(_) if has_another => {}
                Err(failure) => return Err(failure),
            }
        }
        Ok(None)
    }

    fn at(path: &Path, uid: u32) -> Result<Option<Self>, Failure> {
        let descriptor = place::open_checked(path, uid)?;
        Ok(descriptor.map(|descriptor| Directory { descriptor, path: path.to_owned() }))
    }

    /// Tries to take the title's lock, at once.
    ///
    /// # Errors
    /// When the lock file cannot be used.
    pub fn lock(&self, title: &Title) -> Result<LockOutcome, Failure> {
        let name = lock_name(title);
        let file =
            self.open_file(&name, OFlag::O_RDWR | OFlag::O_CREAT).map_err(|error| self.failure(&name, &error))?;
        loop {
            if lock::try_lock(&file).map_err(|error| self.failure(&name, &error))? {
                return Ok(LockOutcome::Locked(TitleLock(file.into())));
            }
            if let Some(holder) = self.who(title, &file)? {
                return Ok(LockOutcome::Held(holder));
            }
            // Whoever held it has just let go.
        }
    }

    /// Who holds the title's lock; `None` when it is free. Asks without taking it.
    ///
    /// # Errors
    /// When the lock file cannot be used.
    pub fn holder(&self, title: &Title) -> Result<Option<Holder>, Failure> {
        let name = lock_name(title);
        match self.open_file(&name, OFlag::O_RDWR) {
            Ok(file) => self.who(title, &file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.failure(&name, &error)),
        }
    }

    fn who(&self, title: &Title, file: &File) -> Result<Option<Holder>, Failure> {
        let is_locked = || lock::is_locked(file).map_err(|error| self.failure(&lock_name(title), &error));
        if !is_locked()? {
            return Ok(None);
        }
        let record = match self.read_record(title) {
            Some(record) if record.fits() => return Ok(Some(Holder::Recorded(Box::new(record)))),
            record => record.filter(|record| !record.is_of_here()),
        };
        for _ in 0..LOOKS_FOR_A_HOLDER {
            let pids = proc::holders_of_lock(file).map_err(|error| Failure::no_proc(&error))?;
            if !pids.is_empty() {
                return Ok(Some(Holder::Unrecorded(pids)));
            }
            if !is_locked()? {
                return Ok(None);
            }
            // While a start detaches, the lock goes from one process to another that the list of processes did not have yet.
        }
        Ok(Some(Holder::Elsewhere(record.map(Box::new))))
    }

    /// Writes the record, in one piece. Only for who holds the lock.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_record(&self, record: &Record) -> Result<(), Failure> {
        let name = record_name(&record.title);
        let text = serde_json::to_vec(record).map_err(|error| self.failure(&name, &error.into()))?;
        self.replace(&name, &text).map_err(|error| self.failure(&name, &error))
    }

    /// The record of a title as it was written: ask [`Self::holder`] whether it is to be believed.
    #[must_use]
    pub fn read_record(&self, title: &Title) -> Option<Record> {
        self.read_named(&record_name(title)).filter(|record| record.title == *title)
    }

    /// All records, as they were written.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn records(&self) -> Result<Vec<Record>, Failure> {
        let read = |name: &String| self.read_named(name).filter(|record| record_name(&record.title) == *name);
        Ok(self.names(".json")?.iter().filter_map(read).collect())
    }

    /// The names in this directory that end so.
    pub(super) fn names(&self, ending: &str) -> Result<Vec<String>, Failure> {
        let failure = |error: Errno| Failure::state(&self.path, &error.into());
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let mut listing = Dir::openat(&self.descriptor, ".", flags, Mode::empty()).map_err(failure)?;
        let mut names = Vec::new();
        for entry in listing.iter() {
            let entry = entry.map_err(failure)?;
            names.extend(entry.file_name().to_str().ok().filter(|name| name.ends_with(ending)).map(str::to_owned));
        }
        Ok(names)
    }

    /// The record of an orderly end: removed, unless it still names earlier instances that ended without order. Then it
    /// stays, for `stop` to find what they left behind.
    pub fn retire_record(&self, title: &Title) {
        if self.read_record(title).is_none_or(|record| record.earlier_cookies.is_empty()) {
            self.remove_record(title);
        }
    }

    /// Removes the title's record. Only for who holds the lock: nobody else can be writing one. A record that stays
    /// because that failed is stale as soon as the lock is free.
    pub fn remove_record(&self, title: &Title) {
        let _ = unlinkat(&self.descriptor, record_name(title).as_str(), UnlinkatFlags::NoRemoveDir);
    }

    /// Keeps the member preload in a file named after its content, and says where (an absolute path).
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn keep_preload(&self, content: &str) -> Result<PathBuf, Failure> {
        let name = preload_name(content);
        let kept = self.read_file(&name).is_ok_and(|found| found == content.as_bytes());
        if !kept {
            self.replace(&name, content.as_bytes()).map_err(|error| self.failure(&name, &error))?;
        }
        Ok(self.path.join(name))
    }

    /// Tells when something in this directory is made, replaced or removed: from now on, in [`Changes::wait`].
    ///
    /// # Errors
    /// The kernel's.
    pub fn watch(&self) -> io::Result<Changes> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        let what = AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_DELETE;
        inotify.add_watch(&self.reachable("."), what)?;
        Ok(Changes(inotify))
    }

    /// A file of this directory as the path of a socket: through the descriptor, since such paths have 107 bytes at most.
    pub(super) fn reachable(&self, name: &str) -> PathBuf {
        format!("/proc/self/fd/{}/{name}", self.descriptor.as_raw_fd()).into()
    }

    fn read_named(&self, name: &str) -> Option<Record> {
        self.read_file(name).ok().and_then(|bytes| Record::read(&bytes))
    }

    pub(super) fn read_file(&self, name: &str) -> io::Result<Vec<u8>> {
        self.read_up_to(name, LONGEST_FILE)
    }

    pub(super) fn read_up_to(&self, name: &str, longest: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.open_file(name, OFlag::O_RDONLY)?.take(longest).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }

    /// Puts a file in the place of another at one moment: whoever reads sees the old or the new one, whole.
    pub(super) fn replace(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let temporary = format!("{name}.{}", std::process::id());
        let written = self
            .open_file(&temporary, OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_TRUNC)
            .and_then(|mut file| file.write_all(content))
            .and_then(|()| Ok(renameat(&self.descriptor, temporary.as_str(), &self.descriptor, name)?));
        if written.is_err() {
            // The failure that counts is the first one.
            let _ = unlinkat(&self.descriptor, temporary.as_str(), UnlinkatFlags::NoRemoveDir);
        }
        written
    }

    /// Opens a regular file of this directory. O_NONBLOCK: a FIFO in its place must not hold us.
    fn open_file(&self, name: &str, flags: OFlag) -> io::Result<File> {
        let flags = flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        let file = File::from(openat(&self.descriptor, name, flags, Mode::S_IRUSR | Mode::S_IWUSR)?);
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "not a regular file"));
        }
        Ok(file)
    }

    pub(super) fn failure(&self, name: &str, error: &io::Error) -> Failure {
        Failure::state(&self.path.join(name), error)
    }
}

pub(super) fn lock_name(title: &Title) -> String {
    format!("{}.lock", hash(title.as_str().as_bytes()))
}

pub(super) fn socket_name(title: &Title) -> String {
    format!("{}.sock", hash(title.as_str().as_bytes()))
}

pub(super) fn record_name(title: &Title) -> String {
    format!("{}.json", hash(title.as_str().as_bytes()))
}

pub(super) fn preload_name(content: &str) -> String {
    format!("preload-{}.cjs", hash(content.as_bytes()))
}

#[cfg(test)]
mod tests;
