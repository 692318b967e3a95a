//! `eggctl logs --ledger` and `--reopen`: what a running application's logger has counted, and the word to open its files anew.

use std::fs;
use std::path::Path;

use crate::cli::choice::shown;
use crate::cli::masters;
use crate::error::{Exit, Failure};
use crate::logger::ledger::{self, Counters, Ledger};
use crate::options::Title;
use crate::sys::pidfd::Pidfd;
use crate::sys::{output, signals};

/// Shows the ledger: a line for each stream, or a JSON object.
///
/// # Errors
/// The application does not run, or has no logs.
pub fn show(title: &Title, json: bool) -> anyhow::Result<Exit> {
    let master = master_of(title)?;
    let Some(ledger) = open(master) else {
        return Err(Failure::new(Exit::Failed, format!("{} has no ledger", shown(title.as_str())))
            .because("it does not log into files")
            .into());
    };
    for (path, counters) in ledger.read_all()? {
        output::say(if json { as_json(&path, &counters) } else { as_text(&path, &counters) });
    }
    Ok(Exit::Done)
}

/// Tells the master to have its files opened anew.
///
/// # Errors
/// The application does not run.
pub fn reopen(title: &Title) -> anyhow::Result<Exit> {
    let master = Pidfd::open(master_of(title)?)?;
    // Between the look and the pidfd the pid may have become another's.
    master_of(title)?;
    master.signal(signals::SIGUSR1)?;
    Ok(Exit::Done)
}

fn master_of(title: &Title) -> anyhow::Result<u32> {
    let masters = masters::of_title(title)?;
    let not_running = || Failure::new(Exit::NotRunning, format!("{} does not run", shown(title.as_str())));
    Ok(*masters.first().ok_or_else(not_running)?)
}

/// The ledger among the open files of a master.
fn open(master: u32) -> Option<Ledger> {
    let wanted = format!("/memfd:{} (deleted)", ledger::NAME);
    let mut descriptors = fs::read_dir(format!("/proc/{master}/fd")).ok()?.flatten();
    let found = descriptors.find(|entry| fs::read_link(entry.path()).is_ok_and(|link| link == Path::new(&wanted)))?;
    fs::File::open(found.path()).ok().map(Ledger::open)
}

fn as_text(path: &std::ffi::OsStr, counters: &Counters) -> String {
    let Counters { bytes_in, bytes_written, bytes_dropped, lines_dropped, rotations, .. } = counters;
    format!(
        "{}: {bytes_in} bytes in, {bytes_written} written, {bytes_dropped} dropped in {lines_dropped} lines, {rotations} rotations",
        shown(&path.to_string_lossy())
    )
}

fn as_json(path: &std::ffi::OsStr, counters: &Counters) -> String {
    serde_json::json!({
        "file": path.to_string_lossy(),
        "bytesIn": counters.bytes_in,
        "bytesWritten": counters.bytes_written,
        "bytesDropped": counters.bytes_dropped,
        "linesDropped": counters.lines_dropped,
        "rotations": counters.rotations,
        "writtenAt": counters.written_at_ms,
    })
    .to_string()
}
