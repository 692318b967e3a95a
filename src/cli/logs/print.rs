//! How chosen lines are written: byte for byte into a pipe or a file, with control characters escaped and colours on a
//! terminal, as JSON when that was asked for.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use regex::bytes::Regex;

use super::Halt;
use super::blocks::Part;
use super::stamp::Clock;
use crate::state::Stream;
use crate::sys::output;

const RED: &str = "\x1b[31m";
const YELLOW: &str = "\x1b[33m";
const FAINT: &str = "\x1b[2m";
const BOLD_RED: &str = "\x1b[1;31m";
const PLAIN: &str = "\x1b[0m";
/// How much is written at once, in bytes.
const AT_ONCE: usize = 64 * 1024;
/// In longer lines matches are not marked, in bytes.
const LONGEST_MARKED: usize = 16 * 1024;

/// What the lines are written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// As they are.
    Raw,
    /// For people.
    Terminal {
        /// With colours?
        colours: bool,
    },
    /// An object for each.
    Json,
}

/// Whose lines they are.
#[derive(Clone, Copy, Debug)]
pub struct Whose<'a> {
    /// What the log holds.
    pub stream: Stream,
    /// The live file's path: the log's name.
    pub log: &'a Path,
}

/// Writes to stdout.
pub struct Printer {
    out: BufWriter<File>,
    look: Look,
    /// Are single lines chosen? Then each gets its end, even a file's last that has none.
    completes: bool,
    /// What is marked in a line.
    marked: Option<Regex>,
    /// Is there more than one log, so that a terminal's reader must be told which one speaks?
    several: bool,
    speaker: Option<String>,
    is_in_line: bool,
    clock: Clock,
}

impl Printer {
    /// Writes to this process's stdout.
    ///
    /// # Errors
    /// It has none.
    pub fn new(look: Look, marked: Option<&Regex>, completes: bool, several: bool) -> io::Result<Self> {
        let out = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        Ok(Printer {
            out: BufWriter::with_capacity(AT_ONCE, out),
            look,
            completes,
            marked: marked.cloned().filter(|_| look == Look::Terminal { colours: true }),
            several,
            speaker: None,
            is_in_line: false,
            clock: Clock::new(TimeZone::system()),
        })
    }

    /// The look that suits stdout.
    pub fn look(json: bool) -> Look {
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_none_or(|kind| kind == "dumb");
        match json {
            true => Look::Json,
            false if output::is_terminal(io::stdout()) => Look::Terminal { colours: !dumb && !set("NO_COLOR") },
            false => Look::Raw,
        }
    }

    /// Where it writes to, to see whether somebody still reads.
    pub fn stdout(&self) -> BorrowedFd<'_> {
        self.out.get_ref().as_fd()
    }

    /// Writes a part.
    ///
    /// # Errors
    /// [`Halt::Closed`]: nobody reads any more.
    pub fn part(&mut self, whose: Whose<'_>, part: Part<'_>) -> Result<(), Halt> {
        let written = match self.look {
            Look::Raw => self.raw(part),
            Look::Terminal { colours } => self.terminal(whose, part, colours),
            Look::Json => self.json(whose, part),
        };
        written.map_err(Halt::of_output)
    }

    /// Writes out what waits.
    ///
    /// # Errors
    /// As for [`Self::part`].
    pub fn flush(&mut self) -> Result<(), Halt> {
        self.out.flush().map_err(Halt::of_output)
    }

    /// Ends the last line.
    ///
    /// # Errors
    /// As for [`Self::part`].
    pub fn end(&mut self) -> Result<(), Halt> {
        let completes = self.completes || self.look != Look::Raw;
        let ended = if completes { self.end_line() } else { Ok(()) };
        ended.and_then(|()| self.out.flush()).map_err(Halt::of_output)
    }

    fn end_line(&mut self) -> io::Result<()> {
        if self.is_in_line {
            self.is_in_line = false;
            return self.out.write_all(b"\n");
        }
        Ok(())
    }

    fn raw(&mut self, part: Part<'_>) -> io::Result<()> {
        let (bytes, begins) = match part {
            Part::Lines(bytes) => (bytes, true),
            Part::Piece { bytes, first, .. } => (bytes, first),
        };
        if begins && self.completes {
            self.end_line()?;
        }
        if let Some(last) = bytes.last() {
            self.is_in_line = *last != b'\n';
        }
        self.out.write_all(bytes)
    }

    fn terminal(&mut self, whose: Whose<'_>, part: Part<'_>, colours: bool) -> io::Result<()> {
        self.introduce(whose, colours)?;
        match part {
            Part::Lines(bytes) => {
                for line in bytes.split_inclusive(|byte| *byte == b'\n') {
                    self.end_line()?;
                    let text = line.strip_suffix(b"\n").unwrap_or(line);
                    self.line(text, if colours { colour(text) } else { None })?;
                    self.out.write_all(b"\n")?;
                }
            }
            Part::Piece { bytes, first, last } => {
                if first {
                    self.end_line()?;
                }
                escape(&mut self.out, bytes.strip_suffix(b"\n").unwrap_or(bytes))?;
                self.is_in_line = true;
                if last {
                    self.end_line()?;
                }
            }
        }
        Ok(())
    }

    /// Says who speaks now, as tail does.
    fn introduce(&mut self, whose: Whose<'_>, colours: bool) -> io::Result<()> {
        if !self.several {
            return Ok(());
        }
        let speaker = whose.log.display().to_string();
        if self.speaker.as_ref() == Some(&speaker) {
            return Ok(());
        }
        self.end_line()?;
        if self.speaker.is_some() {
            self.out.write_all(b"\n")?;
        }
        let (on, off) = if colours { (FAINT, PLAIN) } else { ("", "") };
        write!(self.out, "{on}==> ")?;
        escape(&mut self.out, speaker.as_bytes())?;
        writeln!(self.out, " <=={off}")?;
        self.speaker = Some(speaker);
        Ok(())
    }

    fn line(&mut self, text: &[u8], colour: Option<&str>) -> io::Result<()> {
        self.out.write_all(colour.unwrap_or_default().as_bytes())?;
        let mut shown = 0;
        let marked = self.marked.as_ref().filter(|_| text.len() <= LONGEST_MARKED);
        for found in marked.into_iter().flat_map(|regex| regex.find_iter(text)).filter(|found| !found.is_empty()) {
            escape(&mut self.out, &text[shown..found.start()])?;
            self.out.write_all(BOLD_RED.as_bytes())?;
            escape(&mut self.out, found.as_bytes())?;
            write!(self.out, "{PLAIN}{}", colour.unwrap_or_default())?;
            shown = found.end();
        }
        escape(&mut self.out, &text[shown..])?;
        self.out.write_all(colour.map_or("", |_| PLAIN).as_bytes())
    }

    fn json(&mut self, whose: Whose<'_>, part: Part<'_>) -> io::Result<()> {
        match part {
            Part::Lines(bytes) => {
                for line in bytes.split_inclusive(|byte| *byte == b'\n') {
                    let time = self.clock.time(line);
                    self.object(whose, line, time, false)?;
                }
                Ok(())
            }
            Part::Piece { bytes, first, last } => {
                let time = if first { self.clock.time(bytes) } else { None };
                self.object(whose, bytes, time, !last)
            }
        }
    }

    fn object(&mut self, whose: Whose<'_>, bytes: &[u8], time: Option<i64>, more: bool) -> io::Result<()> {
        let text = if more { bytes } else { bytes.strip_suffix(b"\n").unwrap_or(bytes) };
        let time = time.and_then(|ms| Timestamp::from_millisecond(ms).ok()).map(|time| time.to_string());
        self.out.write_all(b"{\"stream\":")?;
        serde_json::to_writer(&mut self.out, &whose.stream)?;
        self.out.write_all(b",\"file\":")?;
        serde_json::to_writer(&mut self.out, &whose.log.to_string_lossy())?;
        self.out.write_all(b",\"time\":")?;
        serde_json::to_writer(&mut self.out, &time)?;
        if let Ok(text) = std::str::from_utf8(text) {
            self.out.write_all(b",\"line\":")?;
            serde_json::to_writer(&mut self.out, text)?;
        } else {
            self.out.write_all(b",\"hex\":\"")?;
            for byte in text {
                write!(self.out, "{byte:02x}")?;
            }
            self.out.write_all(b"\"")?;
        }
        self.out.write_all(if more { b",\"more\":true}\n" } else { b"}\n" })
    }
}

/// The colour of a line by the level that Egg writes behind the time.
fn colour(line: &[u8]) -> Option<&'static str> {
    match line.split(|byte| *byte == b' ').nth(2)? {
        b"ERROR" => Some(RED),
        b"WARN" => Some(YELLOW),
        b"DEBUG" => Some(FAINT),
        _ => None,
    }
}

/// Writes text so that it is only seen: what could move a terminal's cursor, change its title or turn the direction of
/// writing stands there as `\x1b` or `\u{202e}`, and so do bytes that are no UTF-8. Tabs stay.
fn escape(out: &mut impl Write, text: &[u8]) -> io::Result<()> {
    for chunk in text.utf8_chunks() {
        let valid = chunk.valid();
        let mut shown = 0;
        for (at, character) in valid.char_indices().filter(|(_, character)| is_unsafe(*character)) {
            out.write_all(&valid.as_bytes()[shown..at])?;
            match u32::from(character) {
                code @ 0..0x80 => write!(out, "\\x{code:02x}")?,
                code => write!(out, "\\u{{{code:x}}}")?,
            }
            shown = at + character.len_utf8();
        }
        out.write_all(&valid.as_bytes()[shown..])?;
        for byte in chunk.invalid() {
            write!(out, "\\x{byte:02x}")?;
        }
    }
    Ok(())
}

fn is_unsafe(character: char) -> bool {
    let turns_direction = matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    character != '\t' && (character.is_control() || turns_direction)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_command_a_terminal_is_only_seen() {
        for (text, expected) in [
            (&b"plain \xc3\xa4\ttab"[..], "plain \u{e4}\ttab"),
            (b"\x1b]0;title\x07", "\\x1b]0;title\\x07"),
            (b"cr\r nul\0 del\x7f", "cr\\x0d nul\\x00 del\\x7f"),
            (b"c1 \xc2\x9b31m", "c1 \\u{9b}31m"),
            (b"bad \xff\xfe and cut \xe2\x82", "bad \\xff\\xfe and cut \\xe2\\x82"),
            ("turned \u{202e}".as_bytes(), "turned \\u{202e}"),
        ] {
            let mut out = Vec::new();
            escape(&mut out, text).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
