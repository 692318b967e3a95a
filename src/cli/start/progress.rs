//! What is shown while a start goes on: one changing line on a terminal, `Wait Start: N...` lines elsewhere (egg-scripts'
//! own, which scripts read).

use std::io::{self, Write};
use std::time::Duration;

use crate::ipc::report::Progress;
use crate::options::Options;
use crate::sys::output;

/// For so many seconds each one is told.
const EACH_SECOND: u32 = 10;

/// The display of one wait.
pub struct Display {
    terminal: bool,
    name: String,
    shown: String,
}

impl Display {
    /// A display on stdout.
    #[must_use]
    pub fn new(options: &Options) -> Self {
        Display { terminal: output::is_terminal(io::stdout()), name: options.name.clone(), shown: String::new() }
    }

    /// Shows how far it is, on a terminal.
    pub fn show(&mut self, progress: &Progress, waited: Duration) {
        if !self.terminal {
            return;
        }
        let agent = match progress.agent {
            Some(pid) if progress.waiting.iter().any(|who| who == &format!("agent (pid {pid})")) => "agent …, ",
            Some(_) => "agent ready, ",
            None => "",
        };
        let (ready, workers) = (progress.ready.len(), progress.workers);
        let line = format!("starting {}: {agent}workers {ready}/{workers}, {} s", self.name, waited.as_secs());
        if line != self.shown {
            drop(write!(io::stdout(), "\r\x1b[K{line}").and_then(|()| io::stdout().flush()));
            self.shown = line;
        }
    }

    /// A whole second has passed.
    pub fn second(&self, count: u32) {
        if !self.terminal && has_a_line(count) {
            output::say(format_args!("Wait Start: {count}..."));
        }
    }

    /// Takes the line away.
    pub fn clear(&mut self) {
        if !std::mem::take(&mut self.shown).is_empty() {
            drop(write!(io::stdout(), "\r\x1b[K").and_then(|()| io::stdout().flush()));
        }
    }
}

/// Each of the first ten seconds has its line, as egg-scripts prints them, then one in ten: a start of some minutes must not
/// fill a log.
fn has_a_line(second: u32) -> bool {
    second <= EACH_SECOND || second.is_multiple_of(EACH_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_ten_lines_there_is_one_every_ten_seconds() {
        let told: Vec<u32> = (1..=45).filter(|second| has_a_line(*second)).collect();
        assert_eq!(told, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 20, 30, 40]);
    }
}
