//! `eggctl logs --ledger` and `--reopen`: what a running application's logger has counted, and the word to open its files anew.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::Path;

use crate::cli::choice::{Meant, shown};
use crate::cli::delivered;
use crate::cli::masters::{self, Kind};
use crate::cli::running::nothing_runs;
use crate::error::{Exit, Failure};
use crate::logger::ledger::{self, Counters, Ledger};
use crate::logger::names::Form;
use crate::logger::shelf::OldLog;
use crate::logger::{compress, shelf};
use crate::options::Title;
use crate::sys::pidfd::Pidfd;
use crate::sys::signals;

use super::which;

/// How often a log is looked at again that is rotated or compressed meanwhile.
const MOST_LOOKS: u32 = 20;

/// Shows the ledger: a line for each stream, or a JSON object.
///
/// # Errors
/// The application does not run, or has no logs, or stdout takes nothing.
pub fn show(title: &Title, json: bool) -> anyhow::Result<Exit> {
    let ledger = open(master_of(title)?, title)?;
    let all = (0..).zip(ledger.read_all()?).map(|(number, (path, counters))| {
        let lines = lines_written(&ledger, number, Path::new(&path)).ok();
        if json { as_json(&path, &counters, lines) } else { as_text(&path, &counters, lines) }
    });
    delivered(all.collect::<Vec<_>>().join("\n"))
}

/// The lines in a log's files since its application was started: the counted ones, and those that nobody has counted yet.
fn lines_written(ledger: &Ledger, number: u32, live: &Path) -> io::Result<u64> {
    let (directory, name) = shelf::split(live)?;
    for _ in 0..MOST_LOOKS {
        let counted = ledger.read_counted(number)?;
        let old = shelf::old_logs(directory, name)?;
        let uncounted = old.iter().filter(|old| old.name.is_ours() && old.name.rank() > counted.up_to);
        let uncounted = uncounted.map(|old| compress::lines(&shelf::path_of(directory, name, old), old.form));
        let lines = uncounted.chain([compress::lines(live, Form::Plain)]).sum::<io::Result<u64>>();
        // What was rotated or compressed meanwhile may be counted twice or not at all.
        let names = |logs: &[OldLog]| logs.iter().map(|old| (old.name, old.form)).collect::<Vec<_>>();
        if counted == ledger.read_counted(number)? && names(&old) == names(&shelf::old_logs(directory, name)?) {
            return Ok(counted.lines + lines?);
        }
    }
    Err(io::ErrorKind::ResourceBusy.into())
}

/// Tells the master to have its files opened anew.
///
/// # Errors
/// The application does not run.
pub fn reopen(title: &Title) -> anyhow::Result<Exit> {
    let master = Pidfd::open(master_of(title)?)?;
    // Between the look and the pidfd the pid may have become another's.
    open(master_of(title)?, title)?;
    master.signal(signals::SIGUSR1)?;
    Ok(Exit::Done)
}

/// The master of the title, once its start, if one is under way, has come so far.
fn master_of(title: &Title) -> Result<u32, Failure> {
    which::settled(title, || look_for_master(title))
}

/// Our master, and nobody else: to a Node master SIGUSR1 means a debugger for everybody, to a `start` that waits its end.
fn look_for_master(title: &Title) -> Result<u32, Failure> {
    let found = masters::find(Some(title))?;
    let running = found.only(title).into_values().next().map(|application| application.running).unwrap_or_default();
    let name = || shown(title.as_str());
    match running.iter().find(|one| one.kind == Kind::Master) {
        Some(master) => Ok(master.pid),
        None if running.iter().any(|one| one.kind == Kind::EggScripts) => Err(Failure::of_egg_scripts(&name())),
        None if running.is_empty() => Err(nothing_runs(&Meant::titled(title.clone()), &found)),
        None => Err(Failure::unreachable(&name(), "its start has not come so far")),
    }
}

/// The ledger among the open files of a master.
fn open(master: u32, title: &Title) -> Result<Ledger, Failure> {
    let wanted = format!("/memfd:{} (deleted)", ledger::NAME);
    let is_it = |entry: &fs::DirEntry| fs::read_link(entry.path()).is_ok_and(|link| link == Path::new(&wanted));
    let descriptors = fs::read_dir(format!("/proc/{master}/fd")).into_iter().flatten().flatten();
    let found = descriptors.filter(is_it).find_map(|entry| fs::File::open(entry.path()).ok());
    found.map(Ledger::open).ok_or_else(|| {
        Failure::new(Exit::Failed, format!("{} has no ledger", shown(title.as_str())))
            .because("it does not log into files")
    })
}

fn as_text(path: &OsStr, counters: &Counters, lines: Option<u64>) -> String {
    let Counters { bytes_in, bytes_written, bytes_dropped, lines_dropped, rotations, .. } = counters;
    let told = |lines: Option<u64>| lines.map_or_else(|| "?".to_owned(), |lines| lines.to_string());
    format!(
        "{}: in {bytes_in} bytes, {} lines; written {bytes_written} bytes, {} lines; \
         dropped {bytes_dropped} bytes, {lines_dropped} lines; {rotations} rotations",
        shown(&path.to_string_lossy()),
        told(lines.map(|lines| lines + lines_dropped)),
        told(lines),
    )
}

fn as_json(path: &OsStr, counters: &Counters, lines: Option<u64>) -> String {
    serde_json::json!({
        "file": path.to_string_lossy(),
        "bytesIn": counters.bytes_in,
        "linesIn": lines.map(|lines| lines + counters.lines_dropped),
        "bytesWritten": counters.bytes_written,
        "linesWritten": lines,
        "bytesDropped": counters.bytes_dropped,
        "linesDropped": counters.lines_dropped,
        "rotations": counters.rotations,
        "writtenAt": counters.written_at_ms,
    })
    .to_string()
}
