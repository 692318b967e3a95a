//! One stream: from its pipe into its live file, whole lines per file, each byte once.
//!
//! A turn moves what waits in the pipe, or up to the size where a new file begins and then exactly to the end of that line. It
//! does not race with a writer for single lines: each look at the pipe costs as much as many lines do, and holds the writer up.
//! When the file takes nothing, the pipe is left alone for a moment; then lines are dropped and counted, or nothing is taken
//! until there is room, as the user has it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use nix::errno::Errno;

use super::boundary::Period;
use super::ledger::{Counters, Ledger};
use super::live::Live;
use super::loss::Loss;
use super::names::OldName;
use super::tools::Tools;
use crate::options::{Every, Full};
use crate::sys::{clock, pipes};

/// How much of one stream is moved before the others have their turn, in bytes.
const TURN: usize = 4 << 20;
/// The part of its pipe that a stream lets fill before a move is worth it. The rest is room for writers meanwhile.
const WORTH: usize = 4;
/// How long a file that takes nothing is waited for before lines are dropped, in milliseconds.
const PATIENCE_MS: u64 = 1_000;
/// How long until a file that takes nothing is tried again, in milliseconds.
const RETRY_MS: u64 = 200;
/// How long a file that cannot be set aside goes on growing before that is tried again, in milliseconds.
const ROTATE_AGAIN_MS: u64 = 1_000;

/// How often in one turn nothing is moved, but a file looked at or set aside, before the turn is over.
const MOST_IN_VAIN: u32 = 64;

/// How a stream stands.
#[derive(Debug)]
enum State {
    /// Bytes go into the file.
    Flowing,
    /// The file takes nothing: the pipe fills.
    Stalled { since_ms: u64, retry_ms: u64, why: io::Error },
    /// The file takes nothing: lines are dropped.
    Dropping { loss: Loss, retry_ms: u64 },
}

/// A stream.
#[derive(Debug)]
pub struct Stream {
    number: u32,
    pipe: OwnedFd,
    /// How much has to wait for a move to be worth it, in bytes.
    worth: usize,
    live: Live,
    state: State,
    counters: Counters,
    /// What the ledger has of them.
    told: Counters,
    /// The live file's; none before it is open.
    period: Option<Period>,
    rotate_not_before_ms: u64,
    /// What the logger has to say, once a line begins.
    note: Option<String>,
}

impl Stream {
    /// A stream that has just been told of. What a killed logger had written and not told is counted now.
    #[must_use]
    pub fn new(number: u32, pipe: OwnedFd, path: PathBuf, ledger: &Ledger) -> Self {
        let counters = ledger.read(number).unwrap_or_default();
        drop(ledger.write_path(number, path.as_os_str()));
        Stream {
            number,
            worth: pipes::capacity(&pipe) / WORTH,
            pipe,
            live: Live::new(path),
            state: State::Flowing,
            told: counters.clone(),
            counters,
            period: None,
            rotate_not_before_ms: 0,
            note: None,
        }
    }

    /// The live file, open already.
    pub fn take_file(&mut self, file: OwnedFd) {
        self.live.take(file.into());
    }

    /// The pipe's read end.
    pub fn pipe(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }

    /// Does so much wait that a moment's patience would only hold up the writers?
    pub fn is_worth_a_turn(&self) -> bool {
        pipes::waiting(&self.pipe).is_ok_and(|waiting| waiting >= self.worth)
    }

    /// The live file's path.
    pub fn path(&self) -> &std::path::Path {
        self.live.path()
    }

    /// Is anything taken from the pipe now?
    pub fn is_reading(&self) -> bool {
        !matches!(self.state, State::Stalled { .. })
    }

    /// When to try again, in monotonic milliseconds.
    pub fn next_timeout(&self) -> Option<u64> {
        match &self.state {
            State::Flowing => None,
            State::Stalled { retry_ms, .. } | State::Dropping { retry_ms, .. } => Some(*retry_ms),
        }
    }

    /// Somebody else has renamed the live file.
    pub fn reopen(&mut self) {
        self.live.forget();
        self.open();
    }

    /// Opens the live file before anything comes: its lock tells other applications that it has an owner. Where that fails
    /// the first bytes try again.
    pub fn open(&mut self) {
        drop(self.look());
    }

    /// Moves what waits, as far as this turn goes. What comes meanwhile is left for the next one, unless it is worth a move.
    pub fn take(&mut self, tools: &mut Tools, now_ms: u64) {
        self.take_while_worth(self.worth, tools, now_ms);
    }

    /// Moves everything that waits.
    pub fn take_all(&mut self, tools: &mut Tools, now_ms: u64) {
        self.take_while_worth(1, tools, now_ms);
    }

    /// Is something of what it took in neither in the file nor given up?
    pub fn is_held_up(&self) -> bool {
        match self.state {
            State::Flowing | State::Dropping { .. } => false,
            State::Stalled { .. } => pipes::waiting(&self.pipe).is_ok_and(|waiting| waiting > 0),
        }
    }

    fn take_while_worth(&mut self, worth: usize, tools: &mut Tools, now_ms: u64) {
        // Once a turn, which is at most every half millisecond: somebody may have renamed or removed the file.
        let mut has_looked = false;
        let (mut left, mut in_vain) = (TURN, 0);
        while left > 0 && in_vain < MOST_IN_VAIN {
            let waiting = pipes::waiting(&self.pipe).unwrap_or(0).min(left);
            if waiting == 0 || left < TURN && waiting < worth.min(left) {
                break;
            }
            let taken = match &mut self.state {
                State::Flowing if !std::mem::replace(&mut has_looked, true) => self.look().map(|()| 0),
                State::Flowing => self.move_some(tools, waiting, now_ms),
                State::Stalled { .. } => break,
                State::Dropping { loss, .. } => Ok(loss.take(&self.pipe, waiting, tools)),
            };
            match taken {
                Ok(0) => in_vain += 1,
                Ok(bytes) => left -= bytes.min(left),
                Err(error) => self.stall(error, tools, now_ms),
            }
        }
        self.say_note();
        self.say_what_a_dead_one_dropped();
        self.write_down(tools);
    }

    /// Tries again what did not go.
    pub fn handle_timeout(&mut self, tools: &mut Tools, now_ms: u64) {
        match &mut self.state {
            State::Stalled { retry_ms, .. } if *retry_ms <= now_ms => {
                // The patience goes on counting from its beginning if this fails again.
                let bytes = pipes::waiting(&self.pipe).unwrap_or(0);
                match self.look().and_then(|()| self.move_some(tools, bytes, now_ms)) {
                    Ok(_) => self.state = State::Flowing,
                    Err(error) => self.stall(error, tools, now_ms),
                }
                self.take(tools, now_ms);
            }
            State::Dropping { retry_ms, .. } if *retry_ms <= now_ms => {
                *retry_ms = now_ms + RETRY_MS;
                self.recover(tools);
                self.take(tools, now_ms);
            }
            State::Flowing | State::Stalled { .. } | State::Dropping { .. } => {}
        }
    }

    /// The logger ends: what still waits is given up where the file does not take it.
    pub fn end(&mut self, tools: &mut Tools, now_ms: u64) {
        self.take_while_worth(1, tools, now_ms);
        if let State::Stalled { why, .. } = &self.state {
            self.state = State::Dropping { loss: Loss::begin(why), retry_ms: 0 };
            self.take_while_worth(1, tools, now_ms);
        }
        self.recover(tools);
        self.write_down(tools);
    }

    fn look(&mut self) -> io::Result<()> {
        if self.live.follow()? {
            self.begin_file();
        }
        Ok(())
    }

    /// Moves at most `waiting` bytes, or sets the file aside; says how many were moved.
    fn move_some(&mut self, tools: &mut Tools, waiting: usize, now_ms: u64) -> io::Result<usize> {
        let end = self.live.end()?;
        let most = tools.max_bytes;
        if self.is_due(end, tools, now_ms) {
            if !self.live.is_line_start(end)? {
                return self.move_line(tools, waiting);
            }
            return self.rotate(tools, now_ms).map(|()| 0);
        }
        let room = usize::try_from(most.saturating_sub(end)).unwrap_or(usize::MAX);
        let bytes = self.splice(if room == 0 { waiting } else { waiting.min(room) });
        match bytes {
            // A limit on the size of files is one more reason for a new one.
            Err(Errno::EFBIG) if end > 0 => self.rotate(tools, now_ms).map(|()| 0),
            bytes => Ok(bytes?),
        }
    }

    fn splice(&mut self, most: usize) -> Result<usize, Errno> {
        let moved = match pipes::splice(&self.pipe, self.live.file()?, most) {
            Err(Errno::EAGAIN | Errno::EINTR) => 0,
            moved => moved?,
        };
        self.counters.bytes_in += moved as u64;
        self.counters.bytes_written += moved as u64;
        Ok(moved)
    }

    /// Moves exactly to the end of the line that is being written, or all that waits of it.
    fn move_line(&mut self, tools: &mut Tools, waiting: usize) -> io::Result<usize> {
        let peeked = tools.peek(&self.pipe, waiting)?;
        let line = memchr::memchr(b'\n', peeked).map_or(peeked.len(), |at| at + 1);
        let mut moved = 0;
        while moved < line {
            match self.splice(line - moved)? {
                0 => break,
                bytes => moved += bytes,
            }
        }
        Ok(moved)
    }

    fn is_due(&mut self, end: u64, tools: &Tools, now_ms: u64) -> bool {
        let (every, now) = (tools.options.every, Timestamp::now());
        let period = self.period.get_or_insert_with(|| period(&self.live, every, end));
        let is_over = period.is_over(every, now, |at| at.to_zoned(TimeZone::system()));
        end > 0 && (is_over || end >= tools.max_bytes) && now_ms >= self.rotate_not_before_ms
    }

    fn rotate(&mut self, tools: &mut Tools, now_ms: u64) -> io::Result<()> {
        // Before and after: whoever takes over knows only of the live file how much of it has been counted.
        self.write_down(tools);
        let last = tools.ledger.read_counted(self.number).ok().and_then(|counted| OldName::of_rank(counted.up_to));
        match self.live.rotate(last) {
            Ok(()) => {
                self.counters.rotations += 1;
                self.begin_file();
                self.write_down(tools);
                tools.upkeep.wanted(self.number, self.live.path());
                Ok(())
            }
            // It goes on growing.
            Err(error) => {
                self.rotate_not_before_ms = now_ms + ROTATE_AGAIN_MS;
                self.note.get_or_insert(format!("this log cannot be set aside and goes on growing: {error}"));
                Ok(())
            }
        }
    }

    /// Another file is open than before.
    fn begin_file(&mut self) {
        self.period = None;
        if self.counters.file == self.live.inode() {
            let untold = self.live.end().unwrap_or(0).saturating_sub(self.counters.length);
            self.counters.bytes_in += untold;
            self.counters.bytes_written += untold;
        }
    }

    /// The file has refused.
    fn stall(&mut self, why: io::Error, tools: &Tools, now_ms: u64) {
        let since_ms = match self.state {
            State::Stalled { since_ms, .. } => since_ms,
            State::Flowing | State::Dropping { .. } => now_ms,
        };
        let retry_ms = now_ms + RETRY_MS;
        self.state = if tools.options.full == Full::Drop && now_ms >= since_ms + PATIENCE_MS {
            State::Dropping { loss: Loss::begin(&why), retry_ms }
        } else {
            State::Stalled { since_ms, retry_ms, why }
        };
    }

    /// Is there room again? Then the log says what is missing.
    fn recover(&mut self, tools: &mut Tools) {
        let State::Dropping { loss, .. } = &mut self.state else { return };
        if !loss.ends_a_line(&self.pipe, tools) || self.live.follow().is_err() {
            return;
        }
        let (bytes, lines) = (loss.bytes(), loss.lines());
        if bytes > 0 && self.live.write_line(&loss.line()).is_err() {
            return;
        }
        self.counters.add_loss(bytes, lines);
        self.counters.bytes_said += bytes;
        self.counters.lines_said += lines;
        self.state = State::Flowing;
    }

    fn say_note(&mut self) {
        if self.note.is_none() || !matches!(self.state, State::Flowing) {
            return;
        }
        if let Ok(true) = self.live.end().and_then(|end| self.live.is_line_start(end))
            && let Some(note) = self.note.take()
        {
            drop(self.live.write_line(&own_line(&note)));
        }
    }

    /// A logger that was killed while it dropped lines has said nothing of them in the log.
    fn say_what_a_dead_one_dropped(&mut self) {
        let Counters { bytes_dropped, lines_dropped, bytes_said, lines_said, .. } = self.counters;
        let (bytes, lines) = (bytes_dropped.saturating_sub(bytes_said), lines_dropped.saturating_sub(lines_said));
        if bytes == 0 || !matches!(self.state, State::Flowing) {
            return;
        }
        let text =
            format!("{bytes} bytes in {lines} lines were dropped by a logger that was killed before it could tell");
        if let Ok(true) = self.live.end().and_then(|end| self.live.is_line_start(end))
            && self.live.write_line(&own_line(&text)).is_ok()
        {
            (self.counters.bytes_said, self.counters.lines_said) = (bytes_dropped, lines_dropped);
        }
    }

    fn write_down(&mut self, tools: &Tools) {
        let mut counters = self.counters.clone();
        if let State::Dropping { loss, .. } = &self.state {
            counters.add_loss(loss.bytes(), loss.lines());
        }
        if counters == self.told {
            return;
        }
        self.counters.file = self.live.inode();
        self.counters.length = self.live.end().unwrap_or(0);
        self.counters.written_at_ms = clock::unix_ms();
        let Counters { file, length, written_at_ms, .. } = self.counters;
        self.told = Counters { file, length, written_at_ms, ..counters };
        drop(tools.ledger.write(self.number, &self.told));
    }
}

/// The period of a live file of this length is that in which it was last written to.
fn period(live: &Live, every: Every, length: u64) -> Period {
    let now = Zoned::now();
    let written = live.file().ok().filter(|_| length > 0).and_then(|file| file.metadata().ok()?.modified().ok());
    let written = written.and_then(|written| Timestamp::try_from(written).ok()).unwrap_or(now.timestamp());
    Period::of(every, written, &now)
}

fn own_line(text: &str) -> String {
    format!("{} WARN {} [logger] {text}", clock::log_time(), std::process::id())
}
