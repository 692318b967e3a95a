//! What is shown while a command takes its time, always on stderr: on a terminal one line that changes, elsewhere plain lines,
//! more and more rarely. Both say how long the command has been at it.
//!
//! indicatif draws the line. Where it is drawn, how often and with which words is decided here.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle, TermLike};
use nix::sys::signal::{SigSet, SigmaskHow};

use crate::sys::output;

/// For this number of seconds each one has its plain line, then one in ten: a start of some minutes must not fill a log.
const EACH_SECOND: u64 = 10;
/// The columns of a terminal that does not say how many it has.
const USUAL_COLUMNS: u16 = 80;
/// On a terminal with fewer columns a line cannot say anything: it gets plain lines.
const FEWEST_COLUMNS: u16 = 20;
/// A name that has fewer columns than this says nothing.
const SHORTEST_NAME: usize = 8;
/// The line is drawn at most this number of times per second.
const MOST_DRAWS: u8 = 20;
/// The thread that counts the seconds needs no more stack than this, in bytes.
const STACK: usize = 128 * 1024;

/// The progress of one command; it is taken away when this is dropped.
#[derive(Debug)]
pub struct Progress {
    shared: Arc<Shared>,
    ticker: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    over: Condvar,
}

#[derive(Debug)]
struct State {
    words: Words,
    stage: String,
    began: Instant,
    /// `None`: plain lines.
    line: Option<ProgressBar>,
    is_over: bool,
}

/// What is going on, with what.
#[derive(Debug)]
struct Words {
    verb: &'static str,
    name: String,
    /// Are plain lines those of egg-scripts, which scripts read?
    are_egg_scripts: bool,
}

impl Progress {
    /// `reloading svc (3 s): new workers boot 1/2`, with the verb, the name and the stage, which can change.
    #[must_use]
    pub fn new(verb: &'static str, name: impl Into<String>, stage: impl Into<String>) -> Self {
        Self::begin(Words { verb, name: name.into(), are_egg_scripts: false }, stage.into())
    }

    /// The same of a start: its plain lines are `Wait Start: 3...`.
    #[must_use]
    pub fn of_start(name: &str) -> Self {
        let words = Words { verb: "starting", name: name.to_owned(), are_egg_scripts: true };
        Self::begin(words, String::new())
    }

    fn begin(words: Words, stage: String) -> Self {
        let line = is_for_people().then(|| {
            let target = ProgressDrawTarget::term_like_with_hz(Box::<Screen>::default(), MOST_DRAWS);
            let bar = ProgressBar::with_draw_target(None, target);
            // Cut to the columns that are there.
            ProgressStyle::with_template("{wide_msg}").into_iter().for_each(|style| bar.set_style(style));
            bar
        });
        let state = State { words, stage, began: Instant::now(), line, is_over: false };
        if !state.stage.is_empty() {
            state.draw();
        }
        let shared = Arc::new(Shared { state: Mutex::new(state), over: Condvar::new() });
        let ticker = tick(&shared);
        Progress { shared, ticker }
    }

    /// What is going on now.
    pub fn stage(&self, stage: impl Into<String>) {
        let stage = stage.into();
        let mut state = self.shared.lock();
        if state.stage != stage {
            state.stage = stage;
            state.draw();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.is_over = true;
        if let Some(line) = &state.line {
            line.finish_and_clear();
        }
        drop(state);
        self.shared.over.notify_all();
        self.ticker.take().into_iter().for_each(|ticker| drop(ticker.join()));
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts the seconds until it is over.
    fn count(&self) {
        let mut state = self.lock();
        let mut next = 1;
        while !state.is_over {
            let left = Duration::from_secs(next).saturating_sub(state.began.elapsed());
            if left.is_zero() {
                state.second(next);
                next += 1;
            } else {
                state = self.over.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
            }
        }
    }
}

impl State {
    /// Shows the line, if there is one.
    fn draw(&self) {
        if let Some(line) = &self.line {
            let columns = output::columns(io::stderr()).unwrap_or(USUAL_COLUMNS);
            line.set_message(self.words.line(self.began.elapsed().as_secs(), &self.stage, columns.into()));
        }
    }

    /// A whole second has passed.
    fn second(&self, count: u64) {
        match &self.line {
            Some(_) => self.draw(),
            None if !has_a_line(count) => {}
            None if self.words.are_egg_scripts => output::complain(format_args!("Wait Start: {count}...")),
            None => output::complain(self.words.line(count, &self.stage, usize::MAX)),
        }
    }
}

impl Words {
    /// What is going on is worth more columns than the name, which is shortened, then left out: the user has typed it.
    fn line(&self, seconds: u64, stage: &str, columns: usize) -> String {
        let Words { verb, name, .. } = self;
        let rest = format!(" ({seconds} s): {stage}");
        let left = columns.saturating_sub(verb.len() + 1 + rest.chars().map(width).sum::<usize>());
        if left < SHORTEST_NAME && name.chars().map(width).sum::<usize>() > left {
            return cut(format!("{}{rest}", verb.trim_end_matches(" for")), columns);
        }
        format!("{verb} {}{rest}", shortened(name, left))
    }
}

/// The columns of a character: one beyond ASCII may be a wide one.
fn width(character: char) -> usize {
    if character.is_ascii() { 1 } else { 2 }
}

/// The line with `…` in place of what does not fit.
fn cut(line: String, columns: usize) -> String {
    if line.chars().map(width).sum::<usize>() <= columns {
        return line;
    }
    let mut left = columns.saturating_sub(width('…'));
    let fits = |character: &char| {
        let before = left;
        left = left.saturating_sub(width(*character));
        before >= width(*character)
    };
    line.chars().take_while(fits).chain(['…']).collect()
}

/// The name with its middle left out where it has more columns than that.
fn shortened(name: &str, most: usize) -> String {
    if name.chars().map(width).sum::<usize>() <= most {
        return name.to_owned();
    }
    let part = |characters: &mut dyn Iterator<Item = char>| -> Vec<char> {
        let mut left = most.saturating_sub(1) / 2;
        let fits = |character: &char| {
            let before = left;
            left = left.saturating_sub(width(*character));
            before >= width(*character)
        };
        characters.take_while(fits).collect()
    };
    let (head, tail) = (part(&mut name.chars()), part(&mut name.chars().rev()));
    head.into_iter().chain(['…']).chain(tail.into_iter().rev()).collect()
}

/// Each of the first ten seconds has its line, as egg-scripts prints them, then one in ten.
fn has_a_line(second: u64) -> bool {
    second <= EACH_SECOND || second.is_multiple_of(EACH_SECOND)
}

/// May a line change? On a terminal that can do so, whose user has not asked for plain text, and not from the background, where
/// it would be drawn into what the user types.
fn is_for_people() -> bool {
    let stderr = io::stderr();
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_dumb = std::env::var_os("TERM").is_none_or(|kind| kind == "dumb");
    let is_behind = nix::unistd::tcgetpgrp(&stderr).is_ok_and(|group| group != nix::unistd::getpgrp());
    let is_wide = output::columns(&stderr).is_none_or(|columns| columns >= FEWEST_COLUMNS);
    output::is_terminal(&stderr) && is_wide && !is_dumb && !is_set("NO_COLOR") && !is_behind
}

/// A thread that counts the seconds. Without one (no memory, no more processes) there are no more than the stages. It takes no
/// signal: they are for the thread that waits for them.
fn tick(shared: &Arc<Shared>) -> Option<JoinHandle<()>> {
    let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_BLOCK).ok()?;
    let shared = Arc::clone(shared);
    let ticker = thread::Builder::new().name("progress".to_owned()).stack_size(STACK);
    let ticker = ticker.spawn(move || shared.count()).ok();
    let _ = before.thread_set_mask();
    ticker
}

/// The terminal at stderr, as indicatif draws on it: a redraw is written at once.
#[derive(Debug, Default)]
struct Screen(Mutex<String>);

impl Screen {
    fn push(&self, text: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push_str(text);
    }

    fn go(&self, lines: usize, way: char) {
        if lines > 0 {
            self.push(&format!("\x1b[{lines}{way}"));
        }
    }
}

impl TermLike for Screen {
    fn width(&self) -> u16 {
        output::columns(io::stderr()).unwrap_or(USUAL_COLUMNS).max(FEWEST_COLUMNS)
    }

    fn move_cursor_up(&self, lines: usize) -> io::Result<()> {
        self.go(lines, 'A');
        Ok(())
    }

    fn move_cursor_down(&self, lines: usize) -> io::Result<()> {
        self.go(lines, 'B');
        Ok(())
    }

    fn move_cursor_right(&self, columns: usize) -> io::Result<()> {
        self.go(columns, 'C');
        Ok(())
    }

    fn move_cursor_left(&self, columns: usize) -> io::Result<()> {
        self.go(columns, 'D');
        Ok(())
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.push(text);
        self.push("\n");
        Ok(())
    }

    /// Blanks up to the right edge are left out: a terminal that becomes narrower would wrap them.
    fn write_str(&self, text: &str) -> io::Result<()> {
        if !text.trim_matches(' ').is_empty() {
            self.push(text);
        }
        Ok(())
    }

    fn clear_line(&self) -> io::Result<()> {
        self.push("\r\x1b[2K");
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        let text = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        io::stderr().write_all(text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_ten_lines_there_is_one_every_ten_seconds() {
        let told: Vec<u64> = (1..=45).filter(|second| has_a_line(*second)).collect();
        assert_eq!(told, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 20, 30, 40]);
    }

    #[test]
    fn a_long_name_loses_its_middle_and_leaves_room_for_what_is_going_on() {
        let words = |name: &str| Words { verb: "reloading", name: name.to_owned(), are_egg_scripts: false };
        let line = |name: &str, columns| words(name).line(3, "new workers boot 1/2", columns);
        assert_eq!(line("svc", 41), "reloading svc (3 s): new workers boot 1/2");
        assert_eq!(line("svc", 40), "reloading (3 s): new workers boot 1/2");
        assert_eq!(line("egg-server-of-the-shop", 40), "reloading (3 s): new workers boot 1/2");
        assert_eq!(line("egg-server-of-the-shop", 30), "reloading (3 s): new workers…");
        assert_eq!(line("svc", 18), "reloading (3 s):…");
        assert_eq!(line("egg-server-of-the-shop", 50), "reloading egg-s…-shop (3 s): new workers boot 1/2");
        assert_eq!(line("egg-server-of-the-shop", 80), "reloading egg-server-of-the-shop (3 s): new workers boot 1/2");
        assert_eq!(line("电子商务服务", 49), "reloading 电子…服务 (3 s): new workers boot 1/2");
        assert_eq!(line("电子商务服务", 50), "reloading 电子商务服务 (3 s): new workers boot 1/2");
    }
}
