//! Where the directory is: from the uid alone, never from `HOME` or `TMPDIR`, so that `stop` in any shell, cron job or
//! container exec finds what `start` made. Opened without following a symlink, believed only with the right owner and mode.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, open};
use nix::sys::stat::{Mode, fstat};
use nix::unistd::{AccessFlags, Uid, User, faccessat};

use crate::error::Failure;
use crate::sys::folder::Folder;

/// The variable that overrides the place.
pub const VARIABLE: &str = "EGGCTL_STATE_DIR";

/// A directory that must exist and what may be made below it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place {
    base: PathBuf,
    below: PathBuf,
    /// Was it chosen by the variable? The ways to all others are the system's own.
    chosen: bool,
}

impl Place {
    /// The places of a user, the preferred one first.
    pub(super) fn all_of(uid: u32) -> Result<Vec<Self>, Failure> {
        Self::of_value(std::env::var_os(VARIABLE), uid)
    }

    /// The places of a user's process that has this value of the variable.
    pub(super) fn of_value(value: Option<OsString>, uid: u32) -> Result<Vec<Self>, Failure> {
        match value.filter(|chosen| !chosen.is_empty()) {
            Some(chosen) => Ok(vec![Place::chosen(chosen)?]),
            None => Ok(Self::usual_of(uid)),
        }
    }

    /// The places of a user where no variable has chosen one.
    pub(super) fn usual_of(uid: u32) -> Vec<Self> {
        let place = |base: PathBuf, below: &str| Place { base, below: below.into(), chosen: false };
        let fallback = place("/tmp".into(), &format!("eggctl-{uid}"));
        let home = User::from_uid(Uid::from_raw(uid)).ok().flatten().map(|user| user.dir);
        let preferred = match home {
            _ if uid == 0 => Some(place("/run".into(), "eggctl")),
            Some(home) if home.is_absolute() => Some(place(home, ".local/state/eggctl")),
            _ => None,
        };
        preferred.into_iter().chain([fallback]).collect()
    }

    /// Could this process make it, as far as can be told without trying?
    pub(super) fn can_be_made(&self) -> bool {
        let mut path = self.base.clone();
        for part in &self.below {
            let next = path.join(part);
            if next.symlink_metadata().is_err() {
                break;
            }
            path = next;
        }
        let what = AccessFlags::W_OK | AccessFlags::X_OK;
        path.is_dir() && faccessat(AT_FDCWD, &path, what, AtFlags::AT_EACCESS).is_ok()
    }

    fn chosen(path: OsString) -> Result<Self, Failure> {
        let path = PathBuf::from(path);
        match (path.parent(), path.file_name()) {
            (Some(base), Some(name)) if path.is_absolute() => {
                Ok(Place { base: base.to_owned(), below: PathBuf::from(name), chosen: true })
            }
            _ => Err(Failure::state_place_not_absolute(VARIABLE, &path)),
        }
    }

    pub(super) fn path(&self) -> PathBuf {
        self.base.join(&self.below)
    }

    /// May the way to it be believed? Where the variable has chosen it, no user but root and `uid` may be able to exchange a
    /// directory above it.
    ///
    /// # Errors
    /// A failure with the reason. A way that ends before the place is none.
    pub(super) fn check_way(&self, uid: u32) -> Result<(), Failure> {
        if !self.chosen {
            return Ok(());
        }
        match Folder::open_guarded(&self.path(), uid) {
            // The kernel's own reasons are met again, and said, by whoever opens it.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied && error.raw_os_error().is_none() => {
                Err(unsafe_place(&self.path(), error.to_string()))
            }
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Makes what is missing below the base. Others may be doing the same.
    pub(super) fn make(&self) -> io::Result<()> {
        let mut path = self.base.clone();
        for part in &self.below {
            path.push(part);
            match nix::unistd::mkdir(&path, Mode::S_IRWXU) {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(refused) => return Err(refused.into()),
            }
        }
        Ok(())
    }
}

/// Opens the directory if it is there; `None` if it is not, or if the way to it is closed.
pub(super) fn open_checked(path: &Path, uid: u32) -> Result<Option<OwnedFd>, Failure> {
    let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    match open(path, flags, Mode::empty()) {
        Ok(directory) => check(&directory, uid).map(|()| Some(directory)).map_err(|why| unsafe_place(path, why)),
        Err(refused) => match path.symlink_metadata() {
            Ok(found) if found.is_symlink() => Err(unsafe_place(path, "it is a symbolic link".into())),
            Ok(found) if !found.is_dir() => Err(unsafe_place(path, "it is no directory".into())),
            Ok(_) => Err(Failure::state(path, &refused.into())),
            Err(_) => Ok(None),
        },
    }
}

fn unsafe_place(path: &Path, why: String) -> Failure {
    Failure::state_place_unsafe(path, &why, VARIABLE)
}

fn check(directory: &OwnedFd, uid: u32) -> Result<(), String> {
    let found = fstat(directory).map_err(|error| error.to_string())?;
    if found.st_uid != uid {
        return Err(format!("it belongs to uid {}, not to uid {uid}", found.st_uid));
    }
    let mode = found.st_mode & 0o777;
    if mode != 0o700 {
        return Err(format!("its mode is {mode:04o}, not 0700"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_place_is_in_run_and_everybody_has_a_fallback() {
        let places = Place::all_of(0).unwrap();
        assert_eq!(places[0].path(), Path::new("/run/eggctl"));
        assert_eq!(places[1].path(), Path::new("/tmp/eggctl-0"));
        assert_eq!(Place::all_of(4_000_000).unwrap().last().unwrap().path(), Path::new("/tmp/eggctl-4000000"));
    }

    #[test]
    fn a_chosen_place_must_be_absolute() {
        assert_eq!(Place::chosen("/var/x/y".into()).unwrap().path(), Path::new("/var/x/y"));
        for wrong in ["x", "./x", "/", "/x/.."] {
            assert!(Place::chosen(wrong.into()).is_err(), "{wrong}");
        }
    }
}
