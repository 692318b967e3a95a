//! Old logs: thrown away and compressed in the background, one after the other, at the lowest priority.
//!
//! A thread that lives as long as there is something to do, so that an idle logger has one thread and no memory for gzip. When
//! the logger is killed, it dies in the same moment, and what it left half done is recovered by the next one.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime};

use super::names::Form;
use super::retention::{self, Limits};
use super::{compress, shelf};
use crate::options::LogOptions;
use crate::sys::priority;

/// The background work.
#[derive(Debug)]
pub struct Upkeep {
    limits: Limits,
    compress: bool,
    work: Arc<Mutex<Work>>,
}

/// What is to be done.
#[derive(Debug, Default)]
struct Work {
    /// Live files whose old ones are to be looked at.
    wanted: BTreeSet<PathBuf>,
    is_running: bool,
}

impl Upkeep {
    /// # Errors
    /// No descriptors.
    pub fn new(options: &LogOptions) -> io::Result<Self> {
        let limits = Limits {
            files: Some(options.keep_files),
            bytes: Some(options.keep_bytes),
            age: options.keep_age_ms.map(Duration::from_millis),
        };
        Ok(Upkeep { limits, compress: options.compress, work: Arc::default() })
    }

    /// The old logs of this live file are to be looked at.
    pub fn wanted(&self, live: &Path) {
        let mut work = locked(&self.work);
        work.wanted.insert(live.to_owned());
        if work.is_running {
            return;
        }
        let (limits, compress, shared) = (self.limits, self.compress, Arc::clone(&self.work));
        let run = move || run(&shared, &limits, compress);
        // Without a thread the next rotation tries again.
        work.is_running = thread::Builder::new().name("upkeep".to_owned()).stack_size(256 * 1024).spawn(run).is_ok();
    }

    /// The logger ends: what is half compressed goes, and the next one begins anew.
    pub fn leave(&self, live: &Path) {
        if locked(&self.work).is_running
            && let Ok((directory, name)) = shelf::split(live)
        {
            drop(compress::recover(directory, name));
        }
    }
}

fn locked(work: &Mutex<Work>) -> MutexGuard<'_, Work> {
    work.lock().unwrap_or_else(PoisonError::into_inner)
}

fn run(work: &Mutex<Work>, limits: &Limits, compress: bool) {
    priority::lowest();
    loop {
        let live = {
            let mut work = locked(work);
            match work.wanted.pop_first() {
                Some(live) => live,
                None => {
                    work.is_running = false;
                    return;
                }
            }
        };
        // What fails (no room, no permission) is tried again after the next rotation.
        drop(look_after(&live, limits, compress));
    }
}

/// Throws away what is too much of the old logs of a live file, and compresses the others but the newest.
fn look_after(live: &Path, limits: &Limits, compressing: bool) -> io::Result<()> {
    let (directory, name) = shelf::split(live)?;
    compress::recover(directory, name)?;
    let delete = |old: &[shelf::OldLog]| {
        for gone in retention::to_delete(old, limits, SystemTime::now()) {
            for form in [Form::Plain, Form::Compressed] {
                drop(std::fs::remove_file(directory.join(gone.file(name, form))));
            }
        }
    };
    delete(&shelf::old_logs(directory, name)?);
    if compressing {
        for old in retention::to_compress(&shelf::old_logs(directory, name)?) {
            drop(compress::compress(directory, name, old));
        }
    }
    Ok(())
}
