//! Old logs: counted, thrown away and compressed in the background, one after the other, at the lowest priority.
//!
//! A thread that lives as long as there is something to do, so that an idle logger has one thread and no memory for gzip. When
//! the logger is killed, it dies in the same moment, and what it left half done is recovered by the next one.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime};

use super::compress;
use super::ledger::{Counted, Ledger};
use super::names::{Form, OldName};
use super::retention::{self, Limits};
use super::shelf::{OldLog, Shelf};
use crate::options::LogOptions;
use crate::sys::priority;

/// The background work.
#[derive(Debug)]
pub struct Upkeep {
    limits: Limits,
    compress: bool,
    /// Where lines are counted in.
    ledger: Arc<Ledger>,
    work: Arc<Mutex<Work>>,
}

/// What is to be done.
#[derive(Debug, Default)]
struct Work {
    /// Live files whose old ones are to be looked at, by their places in the ledger.
    wanted: BTreeSet<(u32, PathBuf)>,
    is_running: bool,
}

impl Upkeep {
    /// # Errors
    /// No descriptors.
    pub fn new(options: &LogOptions, ledger: Ledger) -> io::Result<Self> {
        let limits = Limits {
            files: Some(options.keep_files),
            bytes: Some(options.keep_bytes),
            age: options.keep_age_ms.map(Duration::from_millis),
        };
        Ok(Upkeep { limits, compress: options.compress, ledger: Arc::new(ledger), work: Arc::default() })
    }

    /// A stream is there. What old logs it has when the first logger hears of it are an earlier start's: they do not count.
    pub fn begin(&self, number: u32, live: &Path) {
        if self.ledger.read_counted(number).is_ok_and(|counted| counted.up_to == 0) {
            let old = Shelf::of(live).and_then(|shelf| shelf.old_logs());
            let up_to = old.ok().and_then(|old| Some(old.last()?.name.rank())).unwrap_or(1);
            drop(self.ledger.write_counted(number, Counted { lines: 0, up_to }));
        }
        self.wanted(number, live);
    }

    /// The old logs of this live file are to be looked at.
    pub fn wanted(&self, number: u32, live: &Path) {
        let mut work = locked(&self.work);
        work.wanted.insert((number, live.to_owned()));
        if work.is_running {
            return;
        }
        let (limits, compress, shared) = (self.limits, self.compress, Arc::clone(&self.work));
        let ledger = Arc::clone(&self.ledger);
        let run = move || run(&shared, &ledger, &limits, compress);
        // Without a thread the next rotation tries again.
        work.is_running = thread::Builder::new().name("upkeep".to_owned()).stack_size(256 * 1024).spawn(run).is_ok();
    }

    /// The logger ends: what is half compressed goes, and the next one begins anew.
    pub fn leave(&self, live: &Path) {
        if locked(&self.work).is_running
            && let Ok(shelf) = Shelf::of(live)
        {
            drop(compress::recover(&shelf));
        }
    }
}

fn locked(work: &Mutex<Work>) -> MutexGuard<'_, Work> {
    work.lock().unwrap_or_else(PoisonError::into_inner)
}

fn run(work: &Mutex<Work>, ledger: &Ledger, limits: &Limits, compress: bool) {
    priority::lowest();
    loop {
        let (number, live) = {
            let mut work = locked(work);
            match work.wanted.pop_first() {
                Some(wanted) => wanted,
                None => {
                    work.is_running = false;
                    return;
                }
            }
        };
        // What fails (no room, no permission) is tried again after the next rotation.
        drop(look_after(&live, &mut Tally::of(ledger, number), limits, compress));
    }
}

/// Throws away what is too much of the old logs of a live file, and compresses the others but the newest.
fn look_after(live: &Path, tally: &mut Tally<'_>, limits: &Limits, compressing: bool) -> io::Result<()> {
    let shelf = Shelf::of(live)?;
    compress::recover(&shelf)?;
    let old = shelf.old_logs()?;
    let lines = |old: &OldLog| {
        let file = shelf.open_old(&shelf.file(old.name, old.form)).ok()?;
        compress::lines_of(file, old.form).ok()
    };
    let delete = retention::to_delete(&old, limits, SystemTime::now());
    for gone in old.iter().filter(|old| delete.contains(&old.name)) {
        tally.add(gone.name, || lines(gone).or(Some(0)));
        for form in [Form::Plain, Form::Compressed] {
            drop(shelf.folder().remove(&shelf.file(gone.name, form)));
        }
    }
    let old = shelf.old_logs()?;
    let compress = if compressing { retention::to_compress(&old) } else { Vec::new() };
    let but_the_newest = old.split_last().map_or(&[][..], |(_, older)| older);
    for old in but_the_newest.iter().filter(|old| old.name.is_ours()) {
        let compressed = compress.contains(&old.name).then(|| compress::compress_on(&shelf, old.name).ok());
        tally.add(old.name, || match old.form {
            Form::Plain => compressed.flatten(),
            Form::Compressed | Form::Temporary => lines(old),
        });
    }
    Ok(())
}

/// Counts the lines of old logs, each once and without a gap, whichever logger is killed meanwhile.
struct Tally<'a> {
    ledger: &'a Ledger,
    number: u32,
    counted: Counted,
    /// Is there an older one that could not be counted?
    has_gap: bool,
}

impl<'a> Tally<'a> {
    fn of(ledger: &'a Ledger, number: u32) -> Self {
        let counted = ledger.read_counted(number).unwrap_or_default();
        Tally { ledger, number, counted, has_gap: false }
    }

    /// The next old log, if it has not been counted yet.
    fn add(&mut self, name: OldName, lines: impl FnOnce() -> Option<u64>) {
        if self.has_gap || name.rank() <= self.counted.up_to {
            return;
        }
        let Some(lines) = lines() else { return self.has_gap = true };
        self.counted = Counted { lines: self.counted.lines + lines, up_to: name.rank() };
        drop(self.ledger.write_counted(self.number, self.counted));
    }
}
