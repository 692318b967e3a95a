//! Going on with what is written from now on, through rotation: the kernel says when something happens in the logs'
//! directories (inotify), and then each log is read on.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::SystemTime;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use super::blocks::{AtEnd, Blocks};
use super::print::{Printer, Whose};
use super::select::Selector;
use super::source::{Reader, Source, unreadable};
use super::survey::{self, Survey};
use super::{Halt, show_blocks};
use crate::error::Failure;
use crate::logger::names::OldName;
use crate::logger::shelf::{self, OldLog};
use crate::state::LogFile;
use crate::sys::output::complain;

/// How often to look where the kernel does not say that a file grows by splice(2), in milliseconds.
const LOOK_AGAIN_MS: u16 = 250;

/// A log that is followed.
pub struct Followed {
    /// Which.
    pub log: LogFile,
    /// Chooses its lines.
    pub selector: Selector,
    /// The live file, if there is one, read so far.
    pub live: Option<(Source, Blocks<Reader>)>,
    /// When the live file that has been read and deleted was last written, until there is a new one.
    pub deleted: Option<SystemTime>,
    /// The newest old log when that was opened.
    pub newest: Option<OldName>,
    /// What to do with a line that is not whole yet.
    pub at_end: AtEnd,
}

/// Follows until nobody reads stdout any more.
///
/// # Errors
/// That, always, unless a log cannot be read on.
pub fn follow(logs: &mut [Followed], printer: &mut Printer) -> Result<(), Halt> {
    let watch = Watch::new(logs).map_err(Halt::Unread)?;
    loop {
        for log in &mut *logs {
            log.read_on(printer)?;
        }
        printer.flush()?;
        watch.wait(printer)?;
    }
}

/// The kernel's word that something has happened in the directories.
struct Watch {
    inotify: Inotify,
    timeout: PollTimeout,
}

impl Watch {
    fn new(logs: &[Followed]) -> Result<Self, Failure> {
        let directories: BTreeSet<&Path> = logs.iter().filter_map(|log| log.log.path.parent()).collect();
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK);
        let failure = |directory: &Path, errno: Errno| {
            let failure = unreadable(directory, &errno.into());
            match errno {
                Errno::ENOSPC | Errno::EMFILE => {
                    failure.hint("raise fs.inotify.max_user_watches and max_user_instances")
                }
                _ => failure,
            }
        };
        let inotify = inotify.map_err(|errno| failure(Path::new("inotify"), errno))?;
        let events = AddWatchFlags::IN_MODIFY
            | AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_MOVE
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_DELETE_SELF
            | AddWatchFlags::IN_MOVE_SELF;
        for directory in directories {
            inotify.add_watch(directory, events).map_err(|errno| failure(directory, errno))?;
        }
        let timeout = if tells_of_splice() { PollTimeout::NONE } else { PollTimeout::from(LOOK_AGAIN_MS) };
        Ok(Watch { inotify, timeout })
    }

    /// Waits until something has happened, or nobody reads stdout any more.
    fn wait(&self, printer: &Printer) -> Result<(), Halt> {
        let stdout = printer.stdout();
        // Nothing is asked of stdout: that its reader has gone is told without.
        let mut polled = [
            PollFd::new(std::os::fd::AsFd::as_fd(&self.inotify), PollFlags::POLLIN),
            PollFd::new(stdout, PollFlags::empty()),
        ];
        match poll(&mut polled, self.timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(Halt::Unread(unreadable(Path::new("inotify"), &errno.into()))),
        }
        if polled[1].any().unwrap_or(false) {
            return Err(Halt::Closed);
        }
        let gone = AddWatchFlags::IN_DELETE_SELF | AddWatchFlags::IN_MOVE_SELF | AddWatchFlags::IN_IGNORED;
        match self.inotify.read_events() {
            Ok(events) if events.iter().any(|event| event.mask.intersects(gone)) => {
                let failure = Failure::new(crate::error::Exit::Failed, "cannot follow the logs any more");
                Err(Halt::Unread(failure.because("their directory has been moved or removed")))
            }
            Ok(_) | Err(Errno::EAGAIN | Errno::EINTR) => Ok(()),
            Err(errno) => Err(Halt::Unread(unreadable(Path::new("inotify"), &errno.into()))),
        }
    }
}

/// Does inotify tell that a file grows by splice(2), as the logger's do? Since Linux 6.4.
fn tells_of_splice() -> bool {
    let Ok(name) = nix::sys::utsname::uname() else { return false };
    let release = name.release().to_string_lossy().into_owned();
    let mut numbers = release.split(|byte: char| !byte.is_ascii_digit()).filter_map(|part| part.parse::<u32>().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (6, 4)
}

impl Followed {
    /// Shows what has been written since, in however many files.
    fn read_on(&mut self, printer: &mut Printer) -> Result<(), Halt> {
        loop {
            self.show_live(printer, self.at_end)?;
            let Ok(meta) = fs::symlink_metadata(&self.log.path) else {
                // A deleted file that stays open would keep the kernel from telling that its directory is deleted too.
                if self.live.as_ref().is_some_and(|(live, _)| live.is_deleted()) {
                    self.show_live(printer, AtEnd::Finish)?;
                    self.deleted = self.live.take().and_then(|(live, _)| live.modified());
                }
                return Ok(());
            };
            if let Some((live, blocks)) = &mut self.live
                && live.is(&meta)
            {
                if meta.len() >= blocks.position() {
                    return Ok(());
                }
                complain(format_args!(
                    "note: {} was truncated, and is read from its beginning",
                    self.log.path.display()
                ));
                *blocks = open_at_start(live)?;
                continue;
            }
            let survey = Survey::of(&self.log.path).map_err(Halt::Unread)?;
            // Moved away again, or not yet there.
            let Some(next) = survey.live else { return Ok(()) };
            // Whoever writes has opened the next file: the one before is whole.
            self.show_live(printer, AtEnd::Finish)?;
            self.show_between(&survey.old, printer)?;
            let before = survey.old.last();
            self.newest = before.map(|old| old.name).max(self.newest);
            self.selector.begin(survey::written(&next, before).0, i64::MAX);
            self.live = Some((next.clone(), open_at_start(&next)?));
            self.deleted = None;
        }
    }

    fn show_live(&mut self, printer: &mut Printer, at_end: AtEnd) -> Result<(), Halt> {
        let Some((source, blocks)) = &mut self.live else { return Ok(()) };
        let whose = Whose { stream: self.log.stream, log: &self.log.path };
        show_blocks(source, blocks, &mut self.selector, at_end, &mut |part| printer.part(whose, part))
    }

    /// Shows the old logs that came and went between two looks. The first of them may be the file that was just read.
    fn show_between(&mut self, old: &[OldLog], printer: &mut Printer) -> Result<(), Halt> {
        let new = old.iter().filter(|log| Some(log.name) > self.newest);
        for (at, log) in new.enumerate() {
            let Some(source) = survey::open_old(&self.log.path, log).map_err(Halt::Unread)? else { continue };
            if at == 0 && self.was_live(&source) {
                continue;
            }
            let (begun, ended) = survey::written(&source, None);
            self.selector.begin(begun, ended);
            let mut blocks = open_at_start(&source)?;
            let whose = Whose { stream: self.log.stream, log: &self.log.path };
            show_blocks(&source, &mut blocks, &mut self.selector, AtEnd::Finish, &mut |part| {
                printer.part(whose, part)
            })?;
        }
        Ok(())
    }

    /// Is this the file that was live until now? If it has been compressed since, it is another file with the same time.
    fn was_live(&self, source: &Source) -> bool {
        let live = self.live.as_ref().map(|(live, _)| live);
        if source.is_compressed() {
            let deleted = live.filter(|live| live.is_deleted()).and_then(Source::modified).or(self.deleted);
            return deleted.is_some() && deleted == source.modified();
        }
        live.is_some_and(|live| live.is_same_file(source))
    }
}

fn open_at_start(source: &Source) -> Result<Blocks<Reader>, Halt> {
    let reader = source.reader(0).map_err(|error| Halt::Unread(source.failure(&error)))?;
    Ok(Blocks::new(reader, 0))
}

/// The directory of a log must be there to be followed.
///
/// # Errors
/// It is not.
pub fn check_directory(path: &Path) -> Result<(), Failure> {
    let (directory, _) = shelf::split(path).map_err(|error| unreadable(path, &error))?;
    fs::metadata(directory).map(drop).map_err(|error| unreadable(directory, &error))
}
