//! The state directory under the running master: what it needs there is in place, or is made again.
//!
//! No spawn, death or message opens a file in it, since it may lie on a disk that hangs. The preload is written once, and
//! the watch says whether it is still there.

use std::path::PathBuf;

use crate::app;
use crate::lifecycle::Phase;
use crate::state::{FileId, LockOutcome, Logs, Watch};
use crate::sys::clock;

use super::logging::Logging;
use super::notices::{Level, Often};
use super::poll::{Interest, Source};
use super::{Carried, Master};

/// How long after the first sign of a loss the directory is looked at, in milliseconds: `rm -rf` takes one file after the
/// other, and what is made in between goes with the rest.
const MOMENT_MS: u64 = 50;
/// The longest time between two attempts to make it again, in milliseconds.
const LONGEST_MS: u64 = 1_000;

/// What the master has in the state directory.
#[derive(Debug, Default)]
pub struct Home {
    /// Missing where the kernel has no watch left: then each spawn looks.
    watch: Option<Watch>,
    /// The preload, while it is in place.
    preload: Option<PathBuf>,
    /// The file of the control socket.
    pub socket: Option<FileId>,
    /// Is it kept there where the logs are? (By a start that could write it.)
    logs: bool,
    /// When to look at the directory.
    look_at: Option<u64>,
    /// How often it could not be made again since it was whole.
    failures: u32,
}

impl Home {
    /// When to look at the directory.
    #[must_use]
    pub fn next_timeout(&self) -> Option<u64> {
        self.look_at
    }
}

impl Master {
    /// Writes the preload, and watches the directory from now on.
    pub(super) fn settle_in(&mut self) {
        let Carried { options, .. } = &self.carried;
        let watch = Watch::begin(&self.directory, &options.title, app::PRELOAD).and_then(|watch| {
            self.poll.add(&watch, Source::Directory, Interest::Read)?;
            Ok(watch)
        });
        if let Err(error) = &watch {
            let text = format!("the state directory cannot be watched: it is looked at before each spawn: {error}");
            self.notices.once_a_minute(Often::Directory, clock::monotonic_ms(), &text);
        }
        // The one before leaves the epoll set when it is closed: no other process has it.
        self.home.watch = watch.ok();
        self.home.logs |= self.directory.has_logs(&self.carried.options.title);
        // What stays unwritten is tried again, and logged, when a member wants it.
        self.home.preload = self.written_preload().ok();
        // What was taken away before the watch began is seen by one more look.
        self.home.look_at = Some(clock::monotonic_ms() + MOMENT_MS);
    }

    /// The preload for a member that is spawned now. A member without it leaves less politely, but it serves.
    pub(super) fn preload(&mut self) -> Option<PathBuf> {
        if !self.carried.options.preload {
            return None;
        }
        let now = clock::monotonic_ms();
        // A loss that has not been looked at yet would end the member at its boot.
        if self.home.look_at.is_some() || self.home.watch.as_ref().is_none_or(Watch::take) {
            self.look_at_directory(now);
        }
        if self.home.preload.is_none() {
            match self.written_preload() {
                Ok(path) => self.home.preload = Some(path),
                Err(error) => {
                    let text = format!("members run without the preload and leave less politely: {error:#}");
                    self.notices.once_a_minute(Often::Preload, now, &text);
                }
            }
        }
        self.home.preload.clone()
    }

    fn written_preload(&self) -> anyhow::Result<PathBuf> {
        let path = self.directory.keep_preload(app::PRELOAD)?;
        anyhow::ensure!(self.directory.is_in_place(), "the state directory is not where it was");
        Ok(path)
    }

    pub(super) fn take_directory_events(&mut self) {
        if self.home.watch.as_ref().is_some_and(Watch::take) {
            self.home.look_at.get_or_insert(clock::monotonic_ms() + MOMENT_MS);
        }
    }

    pub(super) fn look_at_directory_when_due(&mut self, now: u64) {
        if self.home.look_at.is_some_and(|at| at <= now) {
            self.look_at_directory(now);
        }
    }

    fn look_at_directory(&mut self, now: u64) {
        let Carried { options, lock, lifecycle, .. } = &self.carried;
        self.home.look_at = None;
        // A close needs nothing there, and leaves nothing there.
        let lives = matches!(lifecycle.phase(), Phase::New | Phase::Starting | Phase::Running);
        if !lives || self.directory.is_whole(&options.title, lock, self.home.socket, app::PRELOAD, self.home.logs) {
            self.home.failures = 0;
            return;
        }
        self.home.preload = None;
        let place = self.directory.path().display().to_string();
        match self.make_directory_again() {
            Ok(()) => {
                self.home.failures = 0;
                let text = format!("the state directory {place}, or a file in it, was removed: it is made again");
                self.notices.write(Level::Warn, &text);
            }
            Err(error) => {
                let delay_ms = (MOMENT_MS << self.home.failures.min(10)).min(LONGEST_MS);
                self.home.failures += 1;
                self.home.look_at = Some(now + delay_ms);
                let text = format!("the state directory {place} was removed and cannot be made again: {error:#}");
                self.notices.once_a_minute(Often::Directory, now, &text);
            }
        }
    }

    fn make_directory_again(&mut self) -> anyhow::Result<()> {
        let fresh = self.directory.made_again()?;
        let title = self.carried.options.title.clone();
        if !fresh.is_lock_of(&title, &self.carried.lock) {
            match fresh.lock(&title)? {
                LockOutcome::Locked(lock) => self.carried.lock = lock,
                // A start of this title that has not found this master yet: it gives up when it has.
                LockOutcome::Held(_) => anyhow::bail!("another process holds the lock of the title"),
            }
        }
        self.directory = fresh;
        let Carried { options, record, logging, .. } = &self.carried;
        self.directory.write_record(record)?;
        let mut logs = Logs::of(options, logging.as_ref().map(Logging::files).unwrap_or_default());
        logs.started_at_ms = record.started_at_ms;
        // `eggctl logs` finds less; the logs themselves are written all the same.
        self.home.logs = self.directory.restore_logs(&logs).is_ok();
        self.open_control();
        self.settle_in();
        Ok(())
    }
}
