//! Finding applications: from the records of the state directory, and from /proc by exact comparison of argument strings,
//! so that neither a lost directory nor a master of egg-scripts hides one. Never by a part of a string.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::Deserialize;

use crate::error::Failure;
use crate::options::Title;
use crate::state::{COOKIE, Directory, Holder, Record};
use crate::sys::proc::{self, Reader};

use super::node_line::{file_name, is_start_cluster, script};

/// How long a master may take to close when nobody has written it down, in milliseconds: Egg's two defaults of 5 s.
const USUAL_CLOSE_GRACE_MS: u64 = 10_000;

/// What a process is to an application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The `start` that waits.
    Parent,
    /// Our master.
    Master,
    /// The Node master of egg-scripts.
    EggScripts,
}

/// A process that answers for an application: TERM to it ends the whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// What it is.
    pub kind: Kind,
    /// Its pid.
    pub pid: u32,
    /// When it started, in clock ticks since boot.
    pub start_ticks: u64,
    /// How long it may take to close, in milliseconds.
    pub close_grace_ms: u64,
}

/// Everything that is known of one title.
#[derive(Clone, Debug, Default)]
pub struct Application {
    /// Who answers for it; empty when its master has gone.
    pub running: Vec<Running>,
    /// Where it lives, as far as anybody said.
    pub base_dirs: Vec<PathBuf>,
    /// The cookies of its instances, the dead ones included: their members may be left.
    pub cookies: Vec<String>,
    /// A record of it exists.
    pub recorded: bool,
    /// The lock is held where this process cannot see: the pid there, if a record tells.
    pub elsewhere: Option<Option<u32>>,
    /// Masters of this title that belong to other users: pid and uid.
    pub of_others: Vec<(u32, u32)>,
}

/// Finds the applications of the user `uid`, whose state directory is `directory`: all, or the one with this title.
///
/// # Errors
/// When /proc or the state directory cannot be used.
pub fn find(
    uid: u32,
    directory: Option<&Directory>,
    wanted: Option<&Title>,
) -> Result<BTreeMap<String, Application>, Failure> {
    proc::check().map_err(Failure::no_proc)?;
    let mut found = BTreeMap::new();
    if let Some(directory) = directory {
        match wanted {
            Some(title) => ask_record(&mut found, uid, directory, title, directory.read_record(title))?,
            None => {
                for record in directory.records()? {
                    ask_record(&mut found, uid, directory, &record.title.clone(), Some(record))?;
                }
            }
        }
    }
    scan(&mut found, uid, wanted).map_err(|error| Failure::no_proc(&error))?;
    Ok(found)
}

/// Who of this user's processes answers for this title, as /proc shows it, whatever the state directory says.
///
/// # Errors
/// When /proc cannot be read.
pub fn of_title(uid: u32, title: &Title) -> Result<Vec<Running>, Failure> {
    proc::check().map_err(Failure::no_proc)?;
    let mut found = BTreeMap::new();
    scan(&mut found, uid, Some(title)).map_err(|error| Failure::no_proc(&error))?;
    let running = found.into_values().flat_map(|application| application.running);
    // A master that stands where node stood has looked like one before it was asked.
    Ok(running.filter(|running| running.pid != std::process::id()).collect())
}

/// Does a process bear one of these cookies? Its environment came from that instance, whoever its parent is now.
pub fn bears(reader: &mut Reader, pid: u32, cookies: &BTreeSet<String>) -> bool {
    let cookie = reader.environment_variable(pid, COOKIE).and_then(|cookie| std::str::from_utf8(cookie).ok());
    cookie.is_some_and(|cookie| cookies.contains(cookie))
}

/// Adds what the lock and the record of a title say.
fn ask_record(
    found: &mut BTreeMap<String, Application>,
    uid: u32,
    directory: &Directory,
    title: &Title,
    record: Option<Record>,
) -> Result<(), Failure> {
    let holder = directory.holder(title)?;
    if holder.is_none() && record.is_none() {
        return Ok(());
    }
    let mut application = Application { recorded: record.is_some(), ..Application::default() };
    let mut close_grace_ms = USUAL_CLOSE_GRACE_MS;
    if let Some(record) = record {
        close_grace_ms = record.close_grace_ms;
        application.base_dirs.push(record.base_dir);
        application.cookies.push(record.cookie);
        application.cookies.extend(record.earlier_cookies);
    }
    let mut add = |pid: u32, start_ticks: u64, close_grace_ms: u64| {
        // What a user wrote must not point root at another user's process.
        if proc::owner_uid(pid).is_ok_and(|owner| owner == uid) {
            let is_master = Reader::default().arguments(pid).is_ok_and(|arguments| Master::read(arguments).is_some());
            let kind = if is_master { Kind::Master } else { Kind::Parent };
            application.running.push(Running { kind, pid, start_ticks, close_grace_ms });
        }
    };
    match holder {
        Some(Holder::Recorded(record)) => add(record.pid, record.start_ticks, record.close_grace_ms),
        Some(Holder::Unrecorded(pids)) => {
            for pid in pids {
                if let Ok(start_ticks) = proc::start_ticks(pid) {
                    add(pid, start_ticks, close_grace_ms);
                }
            }
        }
        Some(Holder::Elsewhere(record)) => application.elsewhere = Some(record.map(|record| record.pid)),
        None => {}
    }
    found.insert(title.as_str().to_owned(), application);
    Ok(())
}

/// Adds the masters that /proc shows: one pass over the arguments of all processes.
fn scan(found: &mut BTreeMap<String, Application>, uid: u32, wanted: Option<&Title>) -> std::io::Result<()> {
    let mut reader = Reader::default();
    let pids: Vec<u32> = proc::pids()?.collect();
    let seen = in_sight(&pids, wanted);
    // Between fork and exec a member has its master's arguments.
    let is_member = |(pid, master): &(u32, Master)| {
        proc::stat(*pid).is_ok_and(|stat| seen.iter().any(|(other, its)| *other == stat.parent && its == master))
    };
    for (pid, master) in seen.iter().filter(|one| !is_member(one)).cloned() {
        let (Ok(start_ticks), Ok(owner)) = (proc::start_ticks(pid), proc::owner_uid(pid)) else { continue };
        // Read again: the ticks are those of the process whose arguments we saw.
        if reader.arguments(pid).ok().and_then(Master::read).is_none_or(|again| again != master) {
            continue;
        }
        if owner != uid {
            if wanted.is_some() {
                found.entry(master.title).or_default().of_others.push((pid, owner));
            }
            continue;
        }
        let application = found.entry(master.title).or_default();
        application.base_dirs.extend(master.base_dir);
        if application.running.iter().all(|running| running.pid != pid) {
            let close_grace_ms = USUAL_CLOSE_GRACE_MS;
            application.running.push(Running { kind: master.kind, pid, start_ticks, close_grace_ms });
            if let Some(cookie) = reader.environment_variable(pid, COOKIE) {
                application.cookies.push(String::from_utf8_lossy(cookie).into_owned());
            }
        }
    }
    Ok(())
}

/// The masters among these processes. It is the kernel that takes the time (4 µs for each process), so a crowd is shared
/// out among the CPUs; the threads are gone before anybody forks.
fn in_sight(pids: &[u32], wanted: Option<&Title>) -> Vec<(u32, Master)> {
    /// As many processes are read while a thread is made.
    const WORTH_A_THREAD: usize = 256;
    let look = |pids: &[u32]| {
        let mut reader = Reader::default();
        let mut master = |pid| reader.arguments(pid).ok().and_then(Master::read);
        let is_wanted = |master: &Master| wanted.is_none_or(|title| title.as_str() == master.title);
        pids.iter().filter_map(|pid| Some((*pid, master(*pid).filter(is_wanted)?))).collect::<Vec<_>>()
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

/// What the arguments of a master say.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Master {
    kind: Kind,
    title: String,
    base_dir: Option<PathBuf>,
}

/// What is read of Egg's options JSON.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EggOptions {
    title: String,
    base_dir: Option<PathBuf>,
}

impl Master {
    /// Reads arguments from the front, so that the same words inside a string, or behind another program's name, mean
    /// nothing: `eggctl start-cluster {JSON} … --title=T …`, or `node [flags] …/start-cluster {JSON} … --title=T …`,
    /// where T is the JSON's title.
    fn read<'a>(mut arguments: impl Iterator<Item = &'a [u8]>) -> Option<Self> {
        let program = file_name(arguments.next()?);
        let first = arguments.next()?;
        let kind = if program == b"eggctl" && first == b"start-cluster" {
            Kind::Master
        } else if program.windows(4).any(|part| part == b"node") && is_start_cluster(script(first, &mut arguments)?) {
            Kind::EggScripts
        } else {
            return None;
        };
        // serde would take an array for a struct as well.
        let json = arguments.next().filter(|json| json.starts_with(b"{"))?;
        let EggOptions { title, base_dir } = serde_json::from_slice(json).ok()?;
        arguments.any(|argument| argument.strip_prefix(b"--title=") == Some(title.as_bytes())).then_some(Master {
            kind,
            title,
            base_dir,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: &str = r#"{"title":"svc","workers":2,"baseDir":"/srv/app"}"#;

    fn read(arguments: &[&str]) -> Option<(Kind, String)> {
        Master::read(arguments.iter().map(|argument| argument.as_bytes())).map(|master| (master.kind, master.title))
    }

    #[test]
    fn our_master_and_those_of_every_egg_scripts_are_recognised() {
        let masters: [(Kind, &[&str]); 8] = [
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
