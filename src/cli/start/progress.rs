//! What is shown while a start goes on: one changing line on a terminal, `Wait Start: N...` lines elsewhere (egg-scripts'
//! own, which scripts read).

use std::io::{self, Write};
use std::time::Duration;

use crate::ipc::report::Progress;
use crate::options::Options;
use crate::sys::output;

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
        if !self.terminal {
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
