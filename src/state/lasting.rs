//! The directory of a running master: what a title needs in it is watched, and made again when it has been taken away
//! (`rm -rf`, a cleaner of temporary files, a moved directory).

use std::fs::DirBuilder;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, Flock, FlockArg};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::sys::stat::{FileStat, fstat, fstatat, lstat};

use super::directory::{Directory, lock_name, preload_name, record_name, socket_name};
use super::logs::logs_name;
use crate::error::Failure;
use crate::options::Title;

/// Which file a name leads to.
pub type FileId = (u64, u64);

/// Tells when something of a title has been taken away.
///
/// Only removals are watched, and of those only the title's own: another application's start in the same directory wakes
/// nothing else up for long.
#[derive(Debug)]
pub struct Watch {
    inotify: Inotify,
    names: Vec<String>,
    /// A shared BSD lock on the directory: systemd-tmpfiles leaves alone what it cannot lock.
    _spared: Option<Flock<OwnedFd>>,
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}

impl Watch {
    /// Watches the files of `title` and `preload`, the directory itself, and the directories that hold it. (The kernel does not
    /// report the removal of a directory that is open. Its files are removed before it, and those are reported.)
    ///
    /// # Errors
    /// The kernel's: `EMFILE` when the user has too many such watches.
    pub fn begin(directory: &Directory, title: &Title, preload: &str) -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        let moved = AddWatchFlags::IN_MOVE_SELF | AddWatchFlags::IN_DELETE_SELF | AddWatchFlags::IN_ONLYDIR;
        let files = AddWatchFlags::IN_DELETE | AddWatchFlags::IN_MOVED_FROM;
        inotify.add_watch(&directory.reachable("."), moved | files)?;
        for above in directory.path.ancestors().skip(1) {
            // One that this user may not look at is the system's, and stays where it is.
            let _ = inotify.add_watch(above, moved);
        }
        let titles = [lock_name(title), record_name(title), socket_name(title), logs_name(title)];
        let names = titles.into_iter().chain([preload_name(preload)]).collect();
        let copy = directory.descriptor.try_clone();
        let spared = copy.ok().and_then(|copy| Flock::lock(copy, FlockArg::LockSharedNonblock).ok());
        Ok(Watch { inotify, names, _spared: spared })
    }

    /// Reads what has happened: may something have been taken away?
    pub fn take(&self) -> bool {
        let mut taken = false;
        loop {
            match self.inotify.read_events() {
                Ok(events) => {
                    taken |= events.iter().any(|event| match event.name.as_deref().and_then(|name| name.to_str()) {
                        Some(name) => self.names.iter().any(|ours| ours == name),
                        // The directory, one above it, or more than the queue holds.
                        None => true,
                    });
                }
                Err(Errno::EINTR) => {}
                // EAGAIN: that was all.
                Err(_) => return taken,
            }
        }
    }
}

impl Directory {
    /// Does its path still lead to this directory?
    #[must_use]
    pub fn is_in_place(&self) -> bool {
        let here = fstat(&self.descriptor).map(|found| id(&found));
        here.is_ok() && here == lstat(&self.path).map(|found| id(&found))
    }

    /// Is everything there that the title's master needs: this directory at its path, the lock that is held, the record, the
    /// socket that was bound, the preload, and where the logs are if `logs` says that this was kept?
    #[must_use]
    pub fn is_whole(&self, title: &Title, lock: impl AsFd, socket: Option<FileId>, preload: &str, logs: bool) -> bool {
        self.is_in_place()
            && self.is_lock_of(title, lock)
            && self.file_id(&record_name(title)).is_some()
            && (socket.is_none() || socket == self.socket_id(title))
            && self.file_id(&preload_name(preload)).is_some()
            && (!logs || self.has_logs(title))
    }

    /// Is it kept where the title's logs are?
    #[must_use]
    pub fn has_logs(&self, title: &Title) -> bool {
        self.file_id(&logs_name(title)).is_some()
    }

    /// Which file the title's socket is.
    #[must_use]
    pub fn socket_id(&self, title: &Title) -> Option<FileId> {
        self.file_id(&socket_name(title))
    }

    /// Is this open file the lock file of the title?
    #[must_use]
    pub fn is_lock_of(&self, title: &Title, lock: impl AsFd) -> bool {
        fstat(lock).is_ok_and(|held| self.file_id(&lock_name(title)) == Some(id(&held)))
    }

    fn file_id(&self, name: &str) -> Option<FileId> {
        fstatat(&self.descriptor, name, AtFlags::AT_SYMLINK_NOFOLLOW).ok().map(|found| id(&found))
    }

    /// The same directory as its path leads to it now: made again where it is missing, together with those that hold it.
    ///
    /// # Errors
    /// As [`Directory::open`].
    pub fn made_again(&self) -> Result<Self, Failure> {
        if let Some(above) = self.path.parent() {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(above);
            made.map_err(|error| Failure::state(above, &error))?;
        }
        Self::open()
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn id(found: &FileStat) -> FileId {
    (found.st_dev, found.st_ino)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::*;
    use crate::state::directory::LockOutcome;

    const PRELOAD: &str = "'use strict';";

    /// A directory with the files of a title, and its lock. (The record is any file.)
    fn furnished(name: &str) -> (PathBuf, Directory, Title, crate::state::TitleLock) {
        let path = std::env::temp_dir().join(format!("eggctl-lasting-{name}-{}", std::process::id()));
        DirBuilder::new().mode(0o700).create(&path).unwrap();
        let descriptor = fs::File::open(&path).unwrap().into();
        let (directory, title) =
            (Directory { descriptor, path: path.clone() }, Title::try_from("svc".to_owned()).unwrap());
        let LockOutcome::Locked(lock) = directory.lock(&title).unwrap() else { panic!("it is held") };
        directory.keep_preload(PRELOAD).unwrap();
        fs::write(path.join(record_name(&title)), "").unwrap();
        fs::write(path.join(logs_name(&title)), "").unwrap();
        (path, directory, title, lock)
    }

    #[test]
    fn the_loss_of_each_file_is_reported_and_another_applications_are_not() {
        let (path, directory, title, lock) = furnished("files");
        let listener = directory.listen(&title).unwrap();
        let watch = Watch::begin(&directory, &title, PRELOAD).unwrap();
        let whole = || directory.is_whole(&title, &lock, directory.socket_id(&title), PRELOAD, true);
        assert!(whole() && !watch.take());
        let other = Title::try_from("other".to_owned()).unwrap();
        drop(directory.lock(&other).unwrap());
        fs::remove_file(path.join(lock_name(&other))).unwrap();
        assert!(!watch.take(), "another application's");
        let names = [lock_name(&title), record_name(&title), preload_name(PRELOAD), logs_name(&title)];
        for name in names {
            fs::rename(path.join(&name), path.join("away")).unwrap();
            assert!(watch.take() && !whole(), "{name}");
            fs::rename(path.join("away"), path.join(&name)).unwrap();
            assert!(!watch.take() && whole(), "{name}");
        }
        let socket = directory.socket_id(&title);
        fs::remove_file(path.join(socket_name(&title))).unwrap();
        assert!(watch.take() && !directory.is_whole(&title, &lock, socket, PRELOAD, true));
        drop(listener);
        fs::remove_dir_all(&path).unwrap();
    }

    #[test]
    fn another_file_or_directory_of_the_same_name_is_not_the_one_that_was_there() {
        let (path, directory, title, lock) = furnished("names");
        let watch = Watch::begin(&directory, &title, PRELOAD).unwrap();
        fs::copy(path.join(lock_name(&title)), path.join("copy")).unwrap();
        fs::rename(path.join("copy"), path.join(lock_name(&title))).unwrap();
        assert!(!directory.is_whole(&title, &lock, None, PRELOAD, true), "the lock is another file's");
        let away = path.with_extension("away");
        fs::rename(&path, &away).unwrap();
        assert!(watch.take() && !directory.is_in_place());
        DirBuilder::new().mode(0o700).create(&path).unwrap();
        assert!(!directory.is_in_place());
        fs::remove_dir_all(&path).unwrap();
        fs::rename(&away, &path).unwrap();
        assert!(directory.is_in_place());
        fs::remove_dir_all(&path).unwrap();
    }
}
