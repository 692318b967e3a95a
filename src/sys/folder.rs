//! A directory held open. What lies in it is reached by name through its descriptor, so that its path is walked once, and
//! no other user can exchange a part of the path between two steps.
//!
//! A directory that other users may write is theirs to arrange: a symbolic link in it leads wherever they choose, and a
//! name in it may be a second name of a file of ours. [`Folder::open`] follows no such link, [`Folder::distrust`] refuses
//! such a file.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, RenameFlags, openat, readlinkat, renameat, renameat2};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat, mkdirat};
use nix::unistd::{LinkatFlags, UnlinkatFlags, geteuid, linkat, unlinkat};

/// How many links one path may lead through, as in the kernel.
const MOST_LINKS: usize = 40;

/// A directory, open.
#[derive(Debug)]
pub struct Folder {
    /// O_PATH: enough to reach what lies in it, also where it may not be listed.
    descriptor: OwnedFd,
    /// Who may arrange what lies in it, besides root and this process's user.
    owner: u32,
    others_write: bool,
}

/// What a walk does about a directory.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Walk {
    /// It must be there.
    Open,
    /// It is made, with mode 0755, where it is missing.
    Make,
    /// It must be there, and on the way to it no user but root and this one may exchange anything.
    Guarded(u32),
}

impl Folder {
    /// Opens the directory of this path. A relative one begins in the current directory.
    ///
    /// # Errors
    /// The kernel's; `PermissionDenied` with the reason where the path leads through a link that other users may exchange.
    pub fn open(path: &Path) -> io::Result<Folder> {
        walk(path, Walk::Open)
    }

    /// The same, and makes each directory that is missing, with mode 0755.
    ///
    /// # Errors
    /// As [`Folder::open`].
    pub fn make(path: &Path) -> io::Result<Folder> {
        walk(path, Walk::Make)
    }

    /// Opens a directory to which no user but root and `uid` controls the way: every directory above it belongs to one of
    /// them, and others may not write it, or it has the sticky bit. It is what sshd asks of the way to `authorized_keys`.
    ///
    /// # Errors
    /// As [`Folder::open`], for a directory of the way, too.
    pub fn open_guarded(path: &Path, uid: u32) -> io::Result<Folder> {
        walk(path, Walk::Guarded(uid))
    }

    fn of(descriptor: OwnedFd) -> io::Result<Folder> {
        let found = fstat(&descriptor)?;
        let others_write = may_others_write(&found, geteuid().as_raw());
        Ok(Folder { descriptor, owner: found.st_uid, others_write })
    }

    /// May users besides root and this process's own write into it?
    #[must_use]
    pub fn others_write(&self) -> bool {
        self.others_write
    }

    /// What lies there under this name; a link itself, not what it leads to.
    ///
    /// # Errors
    /// The kernel's.
    pub fn look(&self, name: &OsStr) -> io::Result<FileStat> {
        Ok(fstatat(&self.descriptor, name, AtFlags::AT_SYMLINK_NOFOLLOW)?)
    }

    /// Opens a file. No link is followed, and O_NONBLOCK is set: a FIFO in the file's place must not hold us.
    ///
    /// # Errors
    /// The kernel's.
    pub fn open_file(&self, name: &OsStr, flags: OFlag, mode: Mode) -> io::Result<File> {
        let flags = flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        Ok(File::from(openat(&self.descriptor, name, flags, mode)?))
    }

    /// Why this file must not be written; `None` where it may. Where others may write into the directory, only a regular
    /// file of this process's user that has no second name is certainly not another file of ours.
    #[must_use]
    pub fn distrust(&self, found: &FileStat) -> Option<String> {
        if !self.others_write {
            return None;
        }
        let us = geteuid().as_raw();
        if found.st_uid != us {
            return Some(format!("it belongs to uid {}, in a directory that others may write", found.st_uid));
        }
        self.second_names(found)
    }

    /// Why this file must not even be renamed or read as an old log; `None` where it may. Besides our own, a file of the
    /// directory's owner is theirs to lose.
    #[must_use]
    pub fn distrust_old(&self, found: &FileStat) -> Option<String> {
        if !self.others_write {
            return None;
        }
        if found.st_uid != geteuid().as_raw() && found.st_uid != self.owner {
            return Some(format!("it belongs to uid {}, in a directory that others may write", found.st_uid));
        }
        self.second_names(found)
    }

    fn second_names(&self, found: &FileStat) -> Option<String> {
        let names = found.st_nlink;
        (names > 1).then(|| format!("it is a hard link (it has {names} names), in a directory that others may write"))
    }

    /// Renames, and overwrites nothing.
    ///
    /// # Errors
    /// The kernel's; `AlreadyExists` when the new name is taken.
    pub fn rename_without_overwriting(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        let here = &self.descriptor;
        match renameat2(here, from, here, to, RenameFlags::RENAME_NOREPLACE) {
            // A file system that does not know the flag (NFS, some FUSE): link and unlink never overwrite either.
            Err(Errno::EINVAL | Errno::ENOSYS) => {
                linkat(here, from, here, to, LinkatFlags::empty())?;
                Ok(unlinkat(here, from, UnlinkatFlags::NoRemoveDir)?)
            }
            result => Ok(result?),
        }
    }

    /// Renames, in the place of what had the new name.
    ///
    /// # Errors
    /// The kernel's.
    pub fn rename(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        Ok(renameat(&self.descriptor, from, &self.descriptor, to)?)
    }

    /// Removes a file; one that is not there is removed.
    ///
    /// # Errors
    /// The kernel's.
    pub fn remove(&self, name: &OsStr) -> io::Result<()> {
        match unlinkat(&self.descriptor, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(refused) => Err(refused.into()),
        }
    }

    /// The names in it, without `.` and `..`.
    ///
    /// # Errors
    /// The kernel's.
    pub fn names(&self) -> io::Result<Vec<OsString>> {
        let mut listing = Dir::openat(&self.descriptor, ".", listing(), Mode::empty())?;
        let mut names = Vec::new();
        for entry in listing.iter() {
            let name = OsStr::from_bytes(entry?.file_name().to_bytes()).to_owned();
            if name != "." && name != ".." {
                names.push(name);
            }
        }
        Ok(names)
    }

    /// Waits until renames and removals in it are on the disk.
    ///
    /// # Errors
    /// The kernel's.
    pub fn sync(&self) -> io::Result<()> {
        File::from(openat(&self.descriptor, ".", listing(), Mode::empty())?).sync_all()
    }
}

impl AsFd for Folder {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

fn listing() -> OFlag {
    OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC
}

/// May users other than root and `uid` write into this directory?
fn may_others_write(found: &FileStat, uid: u32) -> bool {
    (found.st_uid != 0 && found.st_uid != uid) || found.st_mode & 0o022 != 0
}

fn is_sticky(found: &FileStat) -> bool {
    found.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFDIR.bits() && found.st_mode & Mode::S_ISVTX.bits() != 0
}

/// One step after the other, each from the directory that the last one has opened.
fn walk(path: &Path, how: Walk) -> io::Result<Folder> {
    let mut left: VecDeque<OsString> = parts(path);
    let mut here = start(path)?;
    let mut seen = if path.is_absolute() { PathBuf::from("/") } else { PathBuf::new() };
    let mut links = 0;
    while let Some(part) = left.pop_front() {
        let around = fstat(&here)?;
        if let Walk::Guarded(uid) = how {
            guard(&around, uid, &seen)?;
        }
        let (next, found) = step(&here, &part, how)?;
        if found.st_mode & SFlag::S_IFMT.bits() != SFlag::S_IFLNK.bits() {
            seen.push(&part);
            here = next;
            continue;
        }
        links += 1;
        if links > MOST_LINKS {
            return Err(Errno::ELOOP.into());
        }
        may_follow(&around, &found, &seen.join(&part))?;
        let target = PathBuf::from(readlinkat(&here, part.as_os_str())?);
        if target.is_absolute() {
            (here, seen) = (start(&target)?, PathBuf::from("/"));
        }
        for part in parts(&target).into_iter().rev() {
            left.push_front(part);
        }
    }
    Folder::of(here)
}

/// Opens what has this name, without following it; a directory that is missing is made where that is wanted.
fn step(here: &OwnedFd, part: &OsStr, how: Walk) -> io::Result<(OwnedFd, FileStat)> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let next = match openat(here, part, flags, Mode::empty()) {
        Err(Errno::ENOENT) if how == Walk::Make => {
            match mkdirat(here, part, Mode::from_bits_truncate(0o755)) {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(refused) => return Err(refused.into()),
            }
            openat(here, part, flags, Mode::empty())?
        }
        next => next?,
    };
    let found = fstat(&next)?;
    let kind = found.st_mode & SFlag::S_IFMT.bits();
    if kind != SFlag::S_IFDIR.bits() && kind != SFlag::S_IFLNK.bits() {
        return Err(Errno::ENOTDIR.into());
    }
    Ok((next, found))
}

fn start(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    Ok(openat(AT_FDCWD, if path.is_absolute() { "/" } else { "." }, flags, Mode::empty())?)
}

fn parts(path: &Path) -> VecDeque<OsString> {
    let is_step = |part: &Component| matches!(part, Component::Normal(_) | Component::ParentDir);
    path.components().filter(is_step).map(|part| part.as_os_str().to_owned()).collect()
}

/// A link in a directory that others may write is followed only if it is ours, and by root only if nobody else can have put
/// it there: in a directory with the sticky bit that is root's own.
fn may_follow(around: &FileStat, link: &FileStat, path: &Path) -> io::Result<()> {
    let us = geteuid().as_raw();
    if !may_others_write(around, us) {
        return Ok(());
    }
    let is_ours = link.st_uid == us || link.st_uid == 0;
    let stays = us != 0 || (is_sticky(around) && around.st_uid == 0);
    if is_ours && stays {
        return Ok(());
    }
    let why = format!("`{}` is a symbolic link in a directory that others may write", path.display());
    Err(io::Error::new(io::ErrorKind::PermissionDenied, why))
}

fn guard(found: &FileStat, uid: u32, path: &Path) -> io::Result<()> {
    let path = path.display();
    let why = if found.st_uid != 0 && found.st_uid != uid {
        format!("`{path}` above it belongs to uid {}, who could exchange it", found.st_uid)
    } else if found.st_mode & 0o022 != 0 && !is_sticky(found) {
        format!(
            "`{path}` above it may be written by others (mode {:04o}), who could exchange it",
            found.st_mode & 0o7777
        )
    } else {
        return Ok(());
    };
    Err(io::Error::new(io::ErrorKind::PermissionDenied, why))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, lchown, symlink};

    use super::*;

    /// A directory of this test's own, removed at its end.
    struct Place(PathBuf);

    impl Place {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("eggctl-folder-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Place(path.canonicalize().unwrap())
        }

        fn directory(&self, name: &str, mode: u32) -> PathBuf {
            let path = self.0.join(name);
            fs::create_dir_all(&path).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            path
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn is_root() -> bool {
        let root = geteuid().is_root();
        if !root {
            eprintln!("note: not root: what needs files of other users did not run");
        }
        root
    }

    #[test]
    fn a_path_through_links_of_ours_is_walked_and_missing_directories_are_made() {
        let place = Place::new("walk");
        place.directory("real/deep", 0o755);
        symlink("real", place.0.join("relative")).unwrap();
        symlink(place.0.join("relative/../relative"), place.0.join("absolute")).unwrap();
        let folder = Folder::make(&place.0.join("absolute/deep/a/b")).unwrap();
        folder.open_file(OsStr::new("x"), OFlag::O_CREAT | OFlag::O_WRONLY, Mode::S_IRUSR).unwrap();
        assert!(place.0.join("real/deep/a/b/x").exists());
        assert_eq!(folder.names().unwrap(), ["x"]);
        symlink("loop", place.0.join("loop")).unwrap();
        let looping = Folder::open(&place.0.join("loop")).unwrap_err();
        assert_eq!(looping.raw_os_error(), Some(Errno::ELOOP as i32));
        assert_eq!(Folder::open(&place.0.join("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
        fs::write(place.0.join("file"), "").unwrap();
        assert_eq!(Folder::open(&place.0.join("file/x")).unwrap_err().raw_os_error(), Some(Errno::ENOTDIR as i32));
    }

    #[test]
    fn root_follows_no_link_in_a_directory_that_others_may_write() {
        if !is_root() {
            return;
        }
        let place = Place::new("links");
        let target = place.directory("target", 0o755);
        for (name, mode, owner, followed) in [
            ("ours", 0o755, 0, true),
            ("group", 0o775, 0, false),
            ("world", 0o777, 0, false),
            ("bobs", 0o755, 1234, false),
            ("bobs-sticky", 0o1777, 1234, false),
            ("sticky", 0o1777, 0, true),
        ] {
            let directory = place.directory(name, mode);
            symlink(&target, directory.join("link")).unwrap();
            lchown(&directory, Some(owner), Some(owner)).unwrap();
            let opened = Folder::open(&directory.join("link"));
            assert_eq!(opened.is_ok(), followed, "{name}: {opened:?}");
            lchown(directory.join("link"), Some(1234), Some(1234)).unwrap();
            let opened = Folder::open(&directory.join("link"));
            assert_eq!(opened.is_ok(), name == "ours", "{name}, a link of uid 1234: {opened:?}");
        }
    }

    #[test]
    fn a_file_with_a_second_name_or_another_owner_is_not_trusted_where_others_write() {
        if !is_root() {
            return;
        }
        let place = Place::new("trust");
        for (name, owner, others) in [("ours", 0, false), ("bobs", 1234, true)] {
            let directory = place.directory(name, 0o755);
            for file in ["plain", "linked", "bobs", "third"] {
                fs::write(directory.join(file), "").unwrap();
            }
            fs::hard_link(directory.join("linked"), place.0.join(format!("second-{name}"))).unwrap();
            lchown(directory.join("bobs"), Some(1234), Some(1234)).unwrap();
            lchown(directory.join("third"), Some(4321), Some(4321)).unwrap();
            lchown(&directory, Some(owner), Some(owner)).unwrap();
            let folder = Folder::open(&directory).unwrap();
            let verdict = |file: &str| {
                let found = folder.look(OsStr::new(file)).unwrap();
                (folder.distrust(&found).is_some(), folder.distrust_old(&found).is_some())
            };
            assert_eq!(folder.others_write(), others);
            assert_eq!(verdict("plain"), (false, false));
            assert_eq!(verdict("linked"), (others, others));
            assert_eq!(verdict("bobs"), (others, false), "the directory's owner's");
            assert_eq!(verdict("third"), (others, others));
        }
    }

    #[test]
    fn a_guarded_way_belongs_to_root_or_the_user_and_others_may_not_write_it() {
        if !is_root() {
            return;
        }
        let place = Place::new("guard");
        for (name, mode, owner, fine) in [
            ("roots", 0o755, 0, true),
            ("theirs", 0o700, 1234, true),
            ("sticky", 0o1777, 0, true),
            ("group", 0o775, 0, false),
            ("world", 0o777, 1234, false),
            ("strangers", 0o755, 4321, false),
        ] {
            let above = place.directory(name, 0o755);
            fs::create_dir(above.join("state")).unwrap();
            fs::set_permissions(&above, fs::Permissions::from_mode(mode)).unwrap();
            lchown(&above, Some(owner), Some(owner)).unwrap();
            let opened = Folder::open_guarded(&above.join("state"), 1234);
            assert_eq!(opened.is_ok(), fine, "{name}: {opened:?}");
            if let Err(refused) = opened {
                assert!(refused.to_string().contains(name), "names the directory: {refused}");
            }
        }
    }
}
