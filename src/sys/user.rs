//! Users: whose a process is, and becoming another user for good.

use std::fs;
use std::io;
use std::process::{Command, Stdio};

use nix::unistd::{Gid, Uid, User, getgroups, getresgid, getresuid, setgroups, setresgid, setresuid, setuid};

/// The user ids of a process (proc_pid_status(5), `Uid:`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ids {
    /// The user who started it.
    pub real: u32,
    /// The user whose rights it uses.
    pub effective: u32,
    /// The user whose rights it can take back.
    pub saved: u32,
}

impl Ids {
    /// The one user that a process belongs to; `None` for a set-uid program, which belongs to two.
    #[must_use]
    pub fn owner(self) -> Option<u32> {
        (self.real == self.effective && self.effective == self.saved).then_some(self.real)
    }

    fn parse(status: &str) -> Option<Self> {
        let mut ids = status.lines().find_map(|line| line.strip_prefix("Uid:"))?.split_ascii_whitespace();
        let mut next = || ids.next()?.parse().ok();
        Some(Ids { real: next()?, effective: next()?, saved: next()? })
    }
}

/// The user ids of a process. Not the owner of its directory in /proc: that is root where a program may not be looked into.
///
/// # Errors
/// `NotFound` or `ESRCH` when there is none, `InvalidData` when the kernel's lines cannot be read.
pub fn ids_of(pid: u32) -> io::Result<Ids> {
    let status = fs::read(format!("/proc/{pid}/status"))?;
    // The name in it may be any bytes. A newline in a name is escaped, so no name can make an `Uid:` line.
    Ids::parse(&String::from_utf8_lossy(&status))
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "unreadable /proc/PID/status"))
}

/// Is this process one user's, by its real, effective and saved uid?
#[must_use]
pub fn owns(uid: u32, pid: u32) -> bool {
    ids_of(pid).is_ok_and(|ids| ids.owner() == Some(uid))
}

/// The groups of a user, the primary one among them. `id` is asked, because a statically linked program cannot load the
/// system's name services (LDAP, SSSD); without `id`, `/etc/group` is read.
#[must_use]
pub fn groups_of(user: &User) -> Vec<Gid> {
    let mut groups = asked_of_id(&user.name).unwrap_or_else(|| {
        let file = fs::read(GROUPS).unwrap_or_default();
        listed(&String::from_utf8_lossy(&file), &user.name)
    });
    if !groups.contains(&user.gid) {
        groups.push(user.gid);
    }
    groups
}

const GROUPS: &str = "/etc/group";

fn asked_of_id(name: &str) -> Option<Vec<Gid>> {
    let asked = Command::new("id").args(["-G", "--", name]).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8(asked.stdout).ok().filter(|_| asked.status.success())?;
    text.split_ascii_whitespace().map(|gid| gid.parse().ok().map(Gid::from_raw)).collect()
}

/// The groups that name this user as a member: `name:password:gid:member,member`.
fn listed(file: &str, user: &str) -> Vec<Gid> {
    let group = |line: &str| {
        let mut fields = line.split(':').skip(2);
        let gid = fields.next()?.parse().ok()?;
        fields.next()?.split(',').any(|member| member.trim() == user).then(|| Gid::from_raw(gid))
    };
    file.lines().filter_map(group).collect()
}

/// Makes this process another user's for good, with these groups and no others. Root's rights cannot be taken back.
///
/// # Errors
/// The kernel's, `EPERM` without the right to; or the kernel did something else than it was asked to.
pub fn become_user(uid: Uid, gid: Gid, groups: &[Gid]) -> io::Result<()> {
    let mut wanted = groups.to_vec();
    wanted.sort_unstable_by_key(|gid| gid.as_raw());
    wanted.dedup();
    // The uid last: only root may change the groups.
    setgroups(&wanted)?;
    setresgid(gid, gid, gid)?;
    setresuid(uid, uid, uid)?;
    let (users, primary, mut now) = (getresuid()?, getresgid()?, getgroups()?);
    now.sort_unstable_by_key(|gid| gid.as_raw());
    let is_whole = [users.real, users.effective, users.saved] == [uid; 3]
        && [primary.real, primary.effective, primary.saved] == [gid; 3]
        && now == wanted
        && (uid.is_root() || setuid(Uid::from_raw(0)).is_err());
    if is_whole { Ok(()) } else { Err(io::Error::other("the kernel left this process other rights")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_belongs_to_two_users_belongs_to_none() {
        let ids = |line: &str| Ids::parse(&format!("Name:\tsh\nUmask:\t0022\n{line}\nGid:\t5\t5\t5\t5\n"));
        assert_eq!(ids("Uid:\t7\t7\t7\t7").unwrap().owner(), Some(7));
        for two in ["Uid:\t7\t0\t0\t0", "Uid:\t0\t7\t0\t7", "Uid:\t0\t0\t7\t0", "Uid:\t7\t7\t0\t7"] {
            assert_eq!(ids(two).unwrap().owner(), None, "{two}");
        }
        for rubbish in ["", "Uid:", "Uid:\t7\t7", "Uid:\tx\t7\t7\t7", "Guid:\t7\t7\t7\t7"] {
            assert_eq!(ids(rubbish), None, "{rubbish:?}");
        }
        assert!(owns(nix::unistd::geteuid().as_raw(), std::process::id()));
        assert!(ids_of(u32::MAX).is_err());
    }

    #[test]
    fn a_users_groups_are_those_that_id_prints_and_without_it_those_of_the_file() {
        let file = "root:x:0:\nadm:x:4:syslog,bob\nbob:x:1000:\nbobs:x:7:bobby,rob\nweb:x:33:bob\nbroken:x:bob\n";
        assert_eq!(listed(file, "bob"), [4, 33].map(Gid::from_raw));
        assert_eq!(listed(file, "nobody"), []);
        let own = User::from_uid(nix::unistd::geteuid()).unwrap();
        if let Some(own) = own {
            assert!(groups_of(&own).contains(&own.gid));
        }
        assert_eq!(asked_of_id("no such user"), None);
    }
}
