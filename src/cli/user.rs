//! Whose applications a command is about: the caller's own, or those of the user that root names with `--user`. Root then
//! becomes that user, with its groups, before anything of the user's is read: no file, link or process of the user's is met
//! with root's rights, and no file of root's is left among the user's.

use std::sync::OnceLock;

use nix::unistd::{Gid, Uid, User};

use crate::error::Failure;
use crate::state::Directory;
use crate::sys::user as system;

/// The user that this process has become, as it was typed. It does so once, and cannot go back.
static ANOTHER: OnceLock<String> = OnceLock::new();
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
    ANOTHER.get_or_init(|| name.to_owned());
    Ok(())
}

/// Does root act for another user?
#[must_use]
pub fn is_another() -> bool {
    ANOTHER.get().is_some()
}

/// The user that root acts for, as it was typed; empty where it acts for none.
#[must_use]
pub fn another() -> &'static str {
    ANOTHER.get().map_or("", String::as_str)
}

/// The flags by which a hint names this application.
#[must_use]
pub fn flags_of(title: &str) -> String {
    flags(title, another())
}

/// The same for an application of the user that root acts for, if that is not empty.
#[must_use]
pub fn flags(title: &str, another: &str) -> String {
    if another.is_empty() { format!("--title={title}") } else { format!("--title={title} --user={another}") }
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

/// The flag by which root names this user: by its name, else by its number.
#[must_use]
pub fn flag_of(uid: u32) -> String {
    let name = User::from_uid(Uid::from_raw(uid)).ok().flatten().map_or_else(|| uid.to_string(), |user| user.name);
    format!("--user={name}")
}

/// A user's name, else its number in words.
#[must_use]
pub fn name_of(uid: u32) -> String {
    User::from_uid(Uid::from_raw(uid)).ok().flatten().map_or_else(|| format!("uid {uid}"), |user| user.name)
}
