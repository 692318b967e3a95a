//! `eggctl logs`: what an application has printed, across rotated and compressed files, in order.
//!
//! Each log (stdout's, then stderr's) is read from its oldest file to its newest: [`survey`] lists them, [`last`] finds where
//! the last lines begin, [`blocks`] reads, [`select`] chooses, [`print`] writes, [`follow`] goes on.

pub mod blocks;
mod follow;
mod last;
mod ledger;
mod literal;
mod print;
pub mod select;
pub mod source;
mod stamp;
mod survey;
#[cfg(test)]
mod tests;
mod which;

use std::io;

use regex::bytes::Regex;

use self::blocks::{AtEnd, Blocks};
use self::follow::Followed;
use self::last::Skip;
use self::print::{Look, Printer, Whose};
use self::select::{Selector, Sink};
use self::source::{Reader, Source};
use self::survey::Survey;
use super::choice::Meant;
use super::user;
use crate::error::{Exit, Failure};
use crate::logger::shelf::OldLog;
use crate::options::flags::LogsFlags;
use crate::options::logs::Span;
use crate::state::LogFile;
use crate::sys::output::complain;

/// Why no more is shown.
pub enum Halt {
    /// Nobody reads stdout any more: that is the end, and no failure.
    Closed,
    /// A log cannot be read. The others can.
    Unread(Failure),
    /// Stdout cannot be written.
    Unwritten(Failure),
}

impl Halt {
    /// An error of writing to stdout.
    fn of_output(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Halt::Closed,
            _ => Halt::Unwritten(Failure::unwritten(&error)),
        }
    }
}

/// Runs the command.
///
/// # Errors
/// A [`Failure`]: what was typed is wrong, nobody logs there, or a part of the logs cannot be read (the rest was shown).
pub fn run(flags: &LogsFlags) -> anyhow::Result<Exit> {
    user::act_for(flags.user.as_deref())?;
    let meant = Meant::by(flags.checked_title()?, flags.place.as_deref())?;
    let (lines, grep) = (flags.checked_lines()?, flags.checked_grep()?);
    let span = flags.checked_span(&jiff::Zoned::now())?;
    if flags.ledger || flags.reopen {
        let title = which::chosen(&meant)?.title;
        return if flags.reopen { ledger::reopen(&title) } else { ledger::show(&title, flags.json) };
    }
    let logs = which::find(flags, &meant)?;
    let look = Printer::look(flags.json);
    let chooses = grep.is_some() || !span.is_all();
    let no_stdout = |error| Failure::unwritten(&error);
    let printer = Printer::new(look, grep.as_ref(), chooses, logs.len() > 1).map_err(no_stdout)?;
    // A part of a line is shown at once only where nothing must be known of the rest.
    let at_end = match (flags.follow, chooses || look == Look::Json) {
        (false, _) => AtEnd::Finish,
        (true, true) => AtEnd::Wait,
        (true, false) => AtEnd::Show,
    };
    let mut show = Show { printer, lines, span, grep, follow: flags.follow, at_end, failures: Vec::new() };
    match show.run(logs) {
        Ok(()) | Err(Halt::Closed) => {}
        Err(Halt::Unread(failure) | Halt::Unwritten(failure)) => show.failures.push(failure),
    }
    show.conclude()
}

/// What is asked for, and how far it is done.
struct Show {
    printer: Printer,
    lines: Option<u64>,
    span: Span,
    grep: Option<Regex>,
    follow: bool,
    at_end: AtEnd,
    /// What could not be read.
    failures: Vec<Failure>,
}

/// One file of a log, and from where on it is shown.
struct Planned<'a> {
    source: Source,
    /// The old log before it.
    before: Option<&'a OldLog>,
    is_live: bool,
    offset: u64,
    too_many: u64,
}

impl Show {
    fn run(&mut self, logs: Vec<LogFile>) -> Result<(), Halt> {
        let mut followed = Vec::new();
        for log in logs {
            match self.log(log) {
                Ok(one) => followed.push(one),
                Err(Halt::Unread(failure)) => self.failures.push(failure),
                Err(halt) => return Err(halt),
            }
        }
        if self.follow && !followed.is_empty() {
            self.printer.flush()?;
            for failure in self.failures.drain(..) {
                complain(format_args!("warning: {failure}"));
            }
            return follow::follow(&mut followed, &mut self.printer);
        }
        self.printer.end()
    }

    /// The failure that decides is told last, by whoever tells failures; the others here.
    fn conclude(self) -> anyhow::Result<Exit> {
        let mut failures = self.failures;
        let Some(last) = failures.pop() else { return Ok(Exit::Done) };
        for failure in failures {
            complain(format_args!("warning: {failure}"));
        }
        Err(last.into())
    }

    /// Shows what there is of a log, and returns it to be followed.
    fn log(&mut self, log: LogFile) -> Result<Followed, Halt> {
        let survey = Survey::of(&log.path).map_err(Halt::Unread)?;
        if survey.is_empty() && !self.follow {
            let missing = Failure::new(Exit::Failed, format!("there is no log `{}`", log.path.display()));
            return Err(Halt::Unread(missing.because("the file is missing, and so are rotated ones")));
        }
        if self.follow {
            follow::check_directory(&log.path).map_err(Halt::Unread)?;
        }
        let mut selector = Selector::new(self.grep.clone(), self.span);
        let mut live = None;
        for planned in self.plan(&log, &survey, &mut selector)? {
            let is_live = planned.is_live;
            let blocks = match self.file(&log, &planned, &mut selector) {
                Ok(blocks) => blocks,
                Err(Halt::Unread(failure)) => {
                    self.failures.push(failure);
                    continue;
                }
                Err(halt) => return Err(halt),
            };
            if is_live {
                live = Some((planned.source, blocks));
            }
        }
        let newest = survey.old.last().map(|old| old.name);
        Ok(Followed { log, selector, live, deleted: None, newest, at_end: self.at_end })
    }

    /// The files that are shown, oldest first, and from where on.
    fn plan<'a>(
        &mut self,
        log: &LogFile,
        survey: &'a Survey,
        selector: &mut Selector,
    ) -> Result<Vec<Planned<'a>>, Halt> {
        let mut planned = Vec::new();
        let mut wanted = self.lines;
        let olds = survey.old.iter().map(Some).chain(survey.live.iter().map(|_| None)).enumerate();
        let newest_first: Vec<(usize, Option<&OldLog>)> = olds.collect();
        for (at, old) in newest_first.into_iter().rev() {
            let before = at.checked_sub(1).and_then(|before| survey.old.get(before));
            let source = match old {
                None => survey.live.clone(),
                Some(old) => match survey::open_old(&log.path, old) {
                    Ok(source) => source,
                    Err(failure) => {
                        self.failures.push(failure);
                        continue;
                    }
                },
            };
            // Retention may have taken it meanwhile.
            let Some(source) = source else { continue };
            let is_live = old.is_none();
            let (begun, ended) = self.written(&source, before, is_live);
            let is_followed = is_live && self.follow;
            // Whoever copies logs may make a file seem younger than its lines, never older.
            let is_too_old = self.span.since.is_some_and(|since| ended < since);
            if !is_followed && (wanted == Some(0) || is_too_old) {
                continue;
            }
            let (mut offset, mut too_many) = (0, 0);
            if let Some(lines) = &mut wanted {
                selector.begin(begun, ended);
                let found = last::find(&source, selector, *lines)?;
                (offset, too_many) = (found.offset, found.too_many);
                *lines = lines.saturating_sub(found.lines);
            }
            planned.push(Planned { source, before, is_live, offset, too_many });
        }
        planned.reverse();
        Ok(planned)
    }

    /// When a file was begun and last written, in milliseconds since 1970. A file that is followed has no end yet.
    fn written(&self, source: &Source, before: Option<&OldLog>, is_live: bool) -> (i64, i64) {
        let (begun, ended) = survey::written(source, before);
        (begun, if is_live && self.follow { i64::MAX } else { ended })
    }

    fn file(&mut self, log: &LogFile, planned: &Planned<'_>, selector: &mut Selector) -> Result<Blocks<Reader>, Halt> {
        let source = &planned.source;
        let (begun, ended) = self.written(source, planned.before, planned.is_live);
        selector.begin(begun, ended);
        let reader = source.reader(planned.offset).map_err(|error| Halt::Unread(source.failure(&error)))?;
        let mut blocks = Blocks::new(reader, planned.offset);
        let mut skip = Skip::new(planned.too_many);
        let whose = Whose { stream: log.stream, log: &log.path };
        let printer = &mut self.printer;
        let at_end = if planned.is_live { self.at_end } else { AtEnd::Finish };
        show_blocks(source, &mut blocks, selector, at_end, &mut |part| match skip.pass(part) {
            Some(part) => printer.part(whose, part),
            None => Ok(()),
        })?;
        Ok(blocks)
    }
}

/// Hands the chosen lines of what can be read of a file now to `sink`.
fn show_blocks(
    source: &Source,
    blocks: &mut Blocks<Reader>,
    selector: &mut Selector,
    at_end: AtEnd,
    sink: &mut Sink<'_>,
) -> Result<(), Halt> {
    let failed = |error: io::Error| Halt::Unread(source.failure(&error));
    while let Some((offset, part)) = blocks.next(at_end).map_err(failed)? {
        selector.take(offset, part, source, sink)?;
    }
    Ok(())
}
