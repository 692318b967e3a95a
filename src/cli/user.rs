//! Whose applications a command is about: the caller's own, or those of the user that root names with `--user`. Root then
//! becomes that user, with its groups, before anything of the user's is read: no file, link or process of the user's is met
//! with root's rights, and no file of root's is left among the user's.

use std::sync::atomic::{AtomicBool, Ordering};

use nix::unistd::{Gid, Uid, User};

use crate::error::Failure;
use crate::state::Directory;
use crate::sys::user as system;

/// Has this process become another user? It does so once, and cannot go back.
static IS_ANOTHER: AtomicBool = AtomicBool::new(false);
/// The group of a user that has no entry in passwd: the kernel's own word for "none that is known here".
const NO_GROUP: Gid = Gid::from_raw(65534);

/// Becomes the user of `--user`, if that is not the caller. To be called before anything else is looked at.
///
/// # Errors
/// There is no such user (exit 2), or only root may do that (exit 4).
pub fn act_for(name: Option<&str>) -> Result<(), Failure> {
    let own = Uid::effective();
    let Some(name) = name else { return Ok(()) };
    let known = User::from_name(name).ok().flatten();
    let uid = known.as_ref().map(|user| user.uid).or_else(|| name.parse().ok().map(Uid::from_raw));
    let uid = uid.ok_or_else(|| Failure::no_such_user(name))?;
    if uid == own {
        return Ok(());
    }
    let named = known.or_else(|| User::from_uid(uid).ok().flatten());
    let owner = named.as_ref().map_or_else(|| name_of(uid.as_raw()), |user| user.name.clone());
    if !own.is_root() {
        return Err(Failure::only_root_acts_for(&owner));
    }
    let (gid, groups) = match &named {
        Some(user) => (user.gid, system::groups_of(user)),
        None => (NO_GROUP, Vec::new()),
    };
    system::become_user(uid, gid, &groups).map_err(|error| Failure::cannot_act_for(&owner, &error))?;
    IS_ANOTHER.store(true, Ordering::Relaxed);
    Ok(())
}

/// Does root act for another user?
#[must_use]
pub fn is_another() -> bool {
    IS_ANOTHER.load(Ordering::Relaxed)
}

/// The user whose applications are meant.
#[must_use]
pub fn uid() -> u32 {
    Uid::effective().as_raw()
}

/// That user's state directory, if there is one.
///
/// # Errors
/// It is not safe to use.
pub fn directory() -> Result<Option<Directory>, Failure> {
    if is_another() {
        // The variable is that of root's shell: it is followed only to a directory of the user's.
        return Directory::of_another();
    }
    Directory::existing()
}

/// A user's name, else its number in words.
#[must_use]
pub fn name_of(uid: u32) -> String {
    User::from_uid(Uid::from_raw(uid)).ok().flatten().map_or_else(|| format!("uid {uid}"), |user| user.name)
}
