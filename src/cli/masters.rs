//! Finding applications. Those of eggctl are found by their locks in the state directory. /proc is asked for masters of
//! egg-scripts, which have none, and for ours whose directory was lost or chosen elsewhere; what is believed there is in
//! [`super::claims`].

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::rc::Rc;

use crate::error::Failure;
use crate::options::Title;
use crate::state::{COOKIE, Directory, Holder, Record, STATE_DIR};
use crate::sys::proc::{self, Reader};
use crate::sys::user as system;

use super::claims::{self, Claim, Claimant, Proof};
use super::user;

/// How long a master may take to close when nothing is recorded of it, in milliseconds: Egg's two defaults of 5 s.
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
    /// The processes that answer for it; empty when its master has exited.
    pub running: Vec<Running>,
    /// Where it lives, as far as that is recorded or claimed.
    pub base_dirs: Vec<PathBuf>,
    /// The cookies of its instances, the dead ones included: their members may be left.
    pub cookies: Vec<String>,
    /// A record of it exists.
    pub recorded: bool,
    /// The directory that has its lock and its record, if it has any.
    pub directory: Option<Rc<Directory>>,
    /// The lock is held where this process cannot see: the pid there, if a record tells.
    pub elsewhere: Option<Option<u32>>,
}

/// A master that belongs to another user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfAnother {
    /// Its title.
    pub title: String,
    /// Its pid.
    pub pid: u32,
    /// Its user.
    pub uid: u32,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Found {
    /// The user's applications by title.
    pub applications: BTreeMap<String, Application>,
    /// Masters of other users, for a hint and for nothing else.
    pub of_others: Vec<OfAnother>,
    /// The user's state directory, if there is one.
    pub directory: Option<Rc<Directory>>,
}

impl Found {
    /// Only the application of this title.
    #[must_use]
    pub fn only(&self, title: &Title) -> BTreeMap<String, Application> {
        let one = self.applications.get_key_value(title.as_str());
        one.map(|(title, application)| (title.clone(), application.clone())).into_iter().collect()
    }
}

/// Finds this user's applications: all, or the one with this title.
///
/// # Errors
/// When /proc or the state directory cannot be used.
pub fn find(wanted: Option<&Title>) -> Result<Found, Failure> {
    proc::check().map_err(Failure::no_proc)?;
    let directory = user::directory()?.map(Rc::new);
    let mut found = Found { directory: directory.clone(), ..Found::default() };
    if let Some(directory) = &directory {
        match wanted {
            Some(title) => found.ask_record(directory, title, directory.read_record(title))?,
            None => {
                for record in directory.records()? {
                    found.ask_record(directory, &record.title.clone(), Some(record))?;
                }
            }
        }
    }
    found.ask_proc(wanted).map_err(|error| Failure::no_proc(&error))?;
    Ok(found)
}

/// This user's processes that answer for this title as /proc shows it, whatever the state directory says.
///
/// # Errors
/// When /proc cannot be read.
pub fn of_title(title: &Title) -> Result<Vec<Running>, Failure> {
    proc::check().map_err(Failure::no_proc)?;
    let mut found = Found::default();
    found.ask_proc(Some(title)).map_err(|error| Failure::no_proc(&error))?;
    let running = found.applications.into_values().flat_map(|application| application.running);
    // A master that stands where node stood has looked like one before it was asked.
    Ok(running.filter(|running| running.pid != std::process::id()).collect())
}

/// Does a process bear one of these cookies? Its environment came from that instance, whatever its parent is now.
pub fn bears(reader: &mut Reader, pid: u32, cookies: &BTreeSet<String>) -> bool {
    let cookie = reader.environment_variable(pid, COOKIE).and_then(|cookie| std::str::from_utf8(cookie).ok());
    cookie.is_some_and(|cookie| cookies.contains(cookie))
}

impl Found {
    /// Adds what the lock and the record of a title say.
    fn ask_record(&mut self, directory: &Rc<Directory>, title: &Title, record: Option<Record>) -> Result<(), Failure> {
        let holder = directory.holder(title)?;
        if holder.is_none() && record.is_none() {
            return Ok(());
        }
        let application = self.applications.entry(title.as_str().to_owned()).or_default();
        application.recorded |= record.is_some();
        application.directory = Some(Rc::clone(directory));
        let mut close_grace_ms = USUAL_CLOSE_GRACE_MS;
        if let Some(record) = record {
            close_grace_ms = record.close_grace_ms;
            application.base_dirs.push(record.base_dir);
            application.cookies.push(record.cookie);
            application.cookies.extend(record.earlier_cookies);
        }
        match holder {
            Some(Holder::Recorded(record)) => application.add(record.pid, record.start_ticks, record.close_grace_ms),
            Some(Holder::Unrecorded(pids)) => {
                for pid in pids {
                    if let Ok(start_ticks) = proc::start_ticks(pid) {
                        application.add(pid, start_ticks, close_grace_ms);
                    }
                }
            }
            Some(Holder::Elsewhere(record)) => application.elsewhere = Some(record.map(|record| record.pid)),
            None => {}
        }
        Ok(())
    }

    /// Adds the masters that /proc shows.
    fn ask_proc(&mut self, wanted: Option<&Title>) -> std::io::Result<()> {
        let uid = user::uid();
        let mut reader = Reader::default();
        for claimant in claims::claimants(wanted)? {
            let Claimant { pid, claim: Claim { title, .. } } = &claimant;
            if self.applications.get(title).is_some_and(|known| known.running.iter().any(|one| one.pid == *pid)) {
                continue;
            }
            match claimant.proof(&mut reader) {
                Some(proof) if proof.uid == uid && proof.is_believed => self.add(claimant, proof, &mut reader),
                Some(proof) if proof.uid != uid && (proof.is_believed || uid != 0) => {
                    self.of_others.push(OfAnother { title: title.clone(), pid: *pid, uid: proof.uid });
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Adds a master that was found in /proc. One of ours that runs with another state directory leads to its record.
    fn add(&mut self, claimant: Claimant, proof: Proof, reader: &mut Reader) {
        let Claimant { pid, claim } = claimant;
        if claim.kind == Kind::Master
            && let Ok(title) = Title::try_from(claim.title.clone())
            && let Some(directory) = Directory::of_value(reader.environment_variable(pid, STATE_DIR))
            && let Ok(Some(Holder::Recorded(record))) = directory.holder(&title)
            && record.pid == pid
            && self.ask_record(&Rc::new(directory), &title, Some(*record)).is_ok()
        {
            return;
        }
        let application = self.applications.entry(claim.title).or_default();
        application.base_dirs.extend(claim.base_dir);
        application.cookies.extend(proof.cookie);
        let (start_ticks, close_grace_ms) = (proof.start_ticks, USUAL_CLOSE_GRACE_MS);
        application.running.push(Running { kind: claim.kind, pid, start_ticks, close_grace_ms });
    }
}

impl Application {
    /// Adds the process that holds the lock. What a user wrote must not point root at another user's process.
    fn add(&mut self, pid: u32, start_ticks: u64, close_grace_ms: u64) {
        if system::owns(user::uid(), pid) {
            let is_master = Reader::default().arguments(pid).is_ok_and(|arguments| Claim::read(arguments).is_some());
            let kind = if is_master { Kind::Master } else { Kind::Parent };
            self.running.push(Running { kind, pid, start_ticks, close_grace_ms });
        }
    }
}
