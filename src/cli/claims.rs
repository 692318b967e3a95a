//! What processes claim to be by their arguments, and what is believed of it. Arguments are chosen by whoever starts a
//! program, so they only name candidates: [`Proof`] says what must be true besides.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::options::Title;
use crate::state::{self, COOKIE};
use crate::sys::proc::{self, Reader};
use crate::sys::user;

use super::masters::Kind;
use super::node_line::{file_name, is_start_cluster, script};

/// What the arguments of a master say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Whose master.
    pub kind: Kind,
    /// Its title.
    pub title: String,
    /// Where it lives.
    pub base_dir: Option<PathBuf>,
    /// The program that runs its members, as it was typed.
    node: Option<PathBuf>,
}

/// What is read of Egg's options JSON.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EggOptions {
    title: String,
    base_dir: Option<PathBuf>,
}

impl Claim {
    /// Reads arguments from the front, so that the same words inside a string, or after another program's name, mean
    /// nothing: `eggctl start-cluster {JSON} … --title=T …`, or `node [flags] …/start-cluster {JSON} … --title=T …`,
    /// where T is the JSON's title.
    pub fn read<'a>(mut arguments: impl Iterator<Item = &'a [u8]> + Clone) -> Option<Self> {
        let program = file_name(arguments.next()?);
        let first = arguments.next()?;
        let node = arguments.clone().find_map(|argument| argument.strip_prefix(b"--node="));
        let is_node = names_node(program) || node.is_some_and(|node| file_name(node) == program);
        let kind = if program == b"eggctl" && first == b"start-cluster" {
            Kind::Master
        } else if is_node && is_start_cluster(script(first, &mut arguments)?) {
            Kind::EggScripts
        } else {
            return None;
        };
        // serde would take an array for a struct as well.
        let json = arguments.next().filter(|json| json.starts_with(b"{"))?;
        let EggOptions { title, base_dir } = serde_json::from_slice(json).ok()?;
        let node = node.map(|node| PathBuf::from(OsStr::from_bytes(node)));
        let is_titled = arguments.any(|argument| argument.strip_prefix(b"--title=") == Some(title.as_bytes()));
        is_titled.then_some(Claim { kind, title, base_dir, node })
    }
}

/// A process whose arguments claim something.
#[derive(Clone, Debug)]
pub struct Claimant {
    /// Its pid.
    pub pid: u32,
    /// What it claims.
    pub claim: Claim,
}

/// Who stands behind a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The user that the process belongs to, by its real, effective and saved uid.
    pub uid: u32,
    /// When it started, in clock ticks since boot.
    pub start_ticks: u64,
    /// The cookie of its instance, if it is one of eggctl's and its environment can be read.
    pub cookie: Option<String>,
    /// Is it what it claims to be? The environment and the executable of another user's process are often closed to us.
    pub is_believed: bool,
}

impl Claimant {
    /// What is true of this process; `None`: it has gone, is another one by now, runs in another pid namespace, or belongs to
    /// two users, as set-uid programs do.
    pub fn proof(&self, reader: &mut Reader) -> Option<Proof> {
        let start_ticks = proc::start_ticks(self.pid).ok()?;
        let uid = user::ids_of(self.pid).ok()?.owner()?;
        let own_namespace = proc::namespace_of(std::process::id()).ok()?;
        if proc::namespace_of(self.pid).is_ok_and(|namespace| namespace != own_namespace) {
            return None;
        }
        let cookie = match self.claim.kind {
            Kind::Master => self.cookie(reader),
            Kind::EggScripts | Kind::Parent => None,
        };
        let is_believed = match self.claim.kind {
            Kind::Master => cookie.is_some() && !is_set_uid(self.pid),
            Kind::EggScripts => self.runs_node() && !is_set_uid(self.pid),
            Kind::Parent => false,
        };
        // Read again: all of this is of the process whose arguments we saw.
        let again = reader.arguments(self.pid).ok().and_then(Claim::read)?;
        let is_same = again == self.claim && proc::start_ticks(self.pid).is_ok_and(|ticks| ticks == start_ticks);
        is_same.then_some(Proof { uid, start_ticks, cookie, is_believed })
    }

    /// The cookie of this title's instance. Its executable proves nothing: it may be an older one, or deleted.
    fn cookie(&self, reader: &mut Reader) -> Option<String> {
        let title = Title::try_from(self.claim.title.clone()).ok()?;
        let cookie = reader.environment_variable(self.pid, COOKIE)?;
        let cookie = std::str::from_utf8(cookie).ok().filter(|cookie| state::is_cookie_of(cookie, &title))?;
        Some(cookie.to_owned())
    }

    /// Is its executable a node, or the one that its arguments name?
    fn runs_node(&self) -> bool {
        let Ok(executable) = executable(self.pid) else { return false };
        let named = self.claim.node.as_deref().and_then(|node| node.canonicalize().ok());
        names_node(file_name(&executable)) || named.is_some_and(|node| node.as_os_str().as_bytes() == executable)
    }
}

/// A program that gives its user another's rights chooses neither its arguments nor its environment, whatever its uids are by
/// now.
fn is_set_uid(pid: u32) -> bool {
    const SET_IDS: u32 = 0o6000;
    fs::metadata(format!("/proc/{pid}/exe")).is_ok_and(|file| file.permissions().mode() & SET_IDS != 0)
}

/// `node`, `nodejs`, `node20`.
fn names_node(name: &[u8]) -> bool {
    name.windows(4).any(|part| part == b"node")
}

/// The path of a process's executable, without the word that the kernel adds to one that was removed or replaced.
fn executable(pid: u32) -> io::Result<Vec<u8>> {
    let path = fs::read_link(format!("/proc/{pid}/exe"))?;
    let path = path.as_os_str().as_bytes();
    Ok(path.strip_suffix(b" (deleted)").unwrap_or(path).to_vec())
}

/// The processes that claim to be a master: of this title, or of any.
pub fn claimants(wanted: Option<&Title>) -> io::Result<Vec<Claimant>> {
    let pids: Vec<u32> = proc::pids()?.collect();
    let seen = in_sight(&pids, wanted);
    // Between fork and exec a member has its master's arguments.
    let is_member = |one: &Claimant| {
        let is_parent = |other: &Claimant, parent| other.pid == parent && other.claim == one.claim;
        proc::stat(one.pid).is_ok_and(|stat| seen.iter().any(|other| is_parent(other, stat.parent)))
    };
    Ok(seen.iter().filter(|one| !is_member(one)).cloned().collect())
}

/// The claimants among these processes. It is the kernel that takes the time (4 µs for each process), so a crowd is shared out
/// among the CPUs; the threads have ended before anything forks.
fn in_sight(pids: &[u32], wanted: Option<&Title>) -> Vec<Claimant> {
    /// As many processes are read while a thread is made.
    const WORTH_A_THREAD: usize = 256;
    let look = |pids: &[u32]| {
        let (mut reader, mut programs) = (Reader::default(), Programs::default());
        let is_wanted = |claim: &Claim| wanted.is_none_or(|title| title.as_str() == claim.title);
        let mut claimant = |pid| {
            let claim = reader.arguments(pid).ok().and_then(Claim::read).filter(is_wanted)?;
            Some(Claimant { pid, claim })
        };
        pids.iter().filter(|pid| programs.may_be_a_master(**pid)).filter_map(|pid| claimant(*pid)).collect::<Vec<_>>()
    };
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let share = pids.len().div_ceil(cpus).max(WORTH_A_THREAD);
    let mut shares = pids.chunks(share);
    let own = shares.next().unwrap_or_default();
    std::thread::scope(|scope| {
        let others: Vec<_> =
            shares.map(|share| (share, std::thread::Builder::new().spawn_scoped(scope, move || look(share)))).collect();
        let mut found = look(own);
        for (share, thread) in others {
            // Where there is no thread to be had, or it failed, this one does its work.
            let theirs = thread.ok().and_then(|thread| thread.join().ok());
            found.extend(theirs.unwrap_or_else(|| look(share)));
        }
        found
    })
}

/// The executables seen so far, and whether it is worth reading the arguments of a process that runs one: asking for the
/// executable is one call, arguments take three and the other process's memory.
#[derive(Debug, Default)]
struct Programs {
    known: BTreeMap<PathBuf, bool>,
    last: Option<(PathBuf, bool)>,
}

impl Programs {
    /// No node is smaller, except where most of it is in a library, and then it is called node; and no eggctl.
    const SMALLEST: u64 = 1024 * 1024;

    /// False for a process that runs a program that is neither eggctl nor a node, whatever their names are.
    fn may_be_a_master(&mut self, pid: u32) -> bool {
        let path = match fs::read_link(format!("/proc/{pid}/exe")) {
            Ok(path) => path,
            // Threads of the kernel have none, and zombies.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return false,
            // Another user's executable, or that of a program with rights of its own, is closed to us; its arguments are not.
            Err(_) => return true,
        };
        if let Some((last, may)) = &self.last
            && *last == path
        {
            return *may;
        }
        let may = *self.known.entry(path.clone()).or_insert_with(|| Self::is_worth_a_look(pid, &path));
        self.last = Some((path, may));
        may
    }

    fn is_worth_a_look(pid: u32, path: &Path) -> bool {
        let name = path.file_name().unwrap_or_default().as_bytes();
        let is_small = || fs::metadata(format!("/proc/{pid}/exe")).is_ok_and(|file| file.len() < Self::SMALLEST);
        names_node(name) || !is_small()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: &str = r#"{"title":"svc","workers":2,"baseDir":"/srv/app"}"#;

    fn read(arguments: &[&str]) -> Option<(Kind, String)> {
        Claim::read(arguments.iter().map(|argument| argument.as_bytes())).map(|claim| (claim.kind, claim.title))
    }

    #[test]
    fn our_master_and_those_of_every_egg_scripts_are_recognised() {
        let masters: [(Kind, &[&str]); 9] = [
            (Kind::Master, &["eggctl", "start-cluster", JSON, "--title=svc", "--node=/usr/bin/node"]),
            (Kind::Master, &["/opt/bin/eggctl", "start-cluster", JSON, "--sticky", "--title=svc"]),
            (Kind::EggScripts, &["node", "/app/node_modules/egg-scripts/lib/start-cluster", JSON, "--title=svc"]),
            (
                Kind::EggScripts,
                &["/usr/bin/node", "--no-deprecation", "--trace-warnings", "/x/start-cluster", JSON, "--title=svc"],
            ),
            (Kind::EggScripts, &["node", "-r", "./a.js", "--import", "b", "/x/start-cluster.mjs", JSON, "--title=svc"]),
            (Kind::EggScripts, &["node20", "--require=./a.js", "start-cluster.cjs", JSON, "--title=svc"]),
            (Kind::EggScripts, &["nodejs", "--", "/a b/start-cluster.js", JSON, "--title=svc"]),
            (
                Kind::EggScripts,
                &["node", "--max-old-space-size=99", "/x/start-cluster", JSON, "--x", "--title=svc", "--y"],
            ),
            (Kind::EggScripts, &["/opt/iojs", "/x/start-cluster", JSON, "--title=svc", "--node=/opt/iojs"]),
        ];
        for (kind, arguments) in masters {
            assert_eq!(read(arguments), Some((kind, "svc".to_owned())), "{arguments:?}");
        }
    }

    #[test]
    fn impostors_are_not() {
        let text = format!("node start-cluster {JSON} --title=svc");
        let impostors: &[&[&str]] = &[
            &[&text],
            &["vim", &text],
            &[&format!("vim … {text}")],
            &["sh", "-c", &text],
            &["bash", "-c", "exec \"$@\"", "eggctl", "start-cluster", JSON, "--title=svc"],
            &["grep", "start-cluster", JSON, "--title=svc"],
            &["vim", "start-cluster", JSON, "--title=svc"],
            &["vim", "start-cluster", JSON, "--title=svc", "--node=/usr/bin/emacs"],
            &["strace", "eggctl", "start-cluster", JSON, "--title=svc"],
            &["sudo", "-u", "app", "node", "/x/start-cluster", JSON, "--title=svc"],
            &["node", "myscript.js", "start-cluster", JSON, "--title=svc"],
            &["node", "-e", "1", "/x/start-cluster", JSON, "--title=svc"],
            &["node", "-", "start-cluster", JSON, "--title=svc"],
            &["node", "-r", "/x/start-cluster", JSON, "--title=svc"],
            &["node", "/x/my-start-cluster", JSON, "--title=svc"],
            &["node", "/x/start-cluster/worker.js", JSON, "--title=svc"],
            &["node", "/x/egg-cluster/lib/app_worker.js", JSON, "--title=svc"],
            &["eggctl", "stop", "--title=svc"],
            &["eggctl", "start", "--daemon", "--title=svc"],
            &["eggctl", "start", "start-cluster", JSON, "--title=svc"],
            &["eggctl", "start-cluster", "--title=svc", JSON],
            &["eggctl", "start-cluster", JSON],
            &["eggctl", "start-cluster", JSON, "--title=svc2"],
            &["eggctl", "start-cluster", JSON, "--title", "svc"],
            &["eggctl", "start-cluster", JSON, "x--title=svc"],
            &["eggctl", "start-cluster", r#"["svc",null]"#, "--title=svc"],
            &["eggctl", "start-cluster", r#"{"title":7}"#, "--title=7"],
            &["eggctl", "start-cluster", r#"{"name":"svc"}"#, "--title=svc"],
            &["eggctl", "start-cluster", r#"{"title":"svc"#, "--title=svc"],
            &["eggctl", "start-cluster"],
            &["eggctl"],
            &[""],
            &[],
        ];
        for arguments in impostors {
            assert_eq!(read(arguments), None, "{arguments:?}");
        }
    }

    #[test]
    fn odd_titles_are_compared_as_json_means_them() {
        for title in ["a\"b", "x\\y", "例 子", ".*", "--title=", "-", "svc --port=1"] {
            let json = serde_json::json!({ "title": title }).to_string();
            let flag = format!("--title={title}");
            assert_eq!(read(&["eggctl", "start-cluster", &json, &flag]), Some((Kind::Master, title.to_owned())));
        }
        let escaped = r#"{"title":"\u4f8b"}"#;
        assert_eq!(read(&["node", "start-cluster", escaped, "--title=例"]), Some((Kind::EggScripts, "例".to_owned())));
    }
}
