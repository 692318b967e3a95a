//! After the master: its members end by themselves when their channels do; those that do not are ended, and when nobody is
//! left to print, the logger goes.

use std::collections::BTreeMap;

use crate::sys::pidfd::Pidfd;
use crate::sys::signals::{SIGCONT, SIGKILL, SIGTERM};

/// How long members have to end by themselves, in milliseconds.
const BY_THEMSELVES_MS: u64 = 1_000;
/// How long somebody who is no member may go on printing when the last member has gone, in milliseconds.
const OTHERS_MS: u64 = 1_000;

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Terminate,
    Kill,
    Go,
}

/// The time after the master.
#[derive(Debug)]
pub struct After {
    grace_ms: u64,
    step: Step,
    at_ms: u64,
}

impl After {
    /// The master has just gone.
    #[must_use]
    pub fn begin(grace_ms: u64, now_ms: u64) -> Self {
        After { grace_ms, step: Step::Terminate, at_ms: now_ms + BY_THEMSELVES_MS }
    }

    /// When something is to be done next.
    #[must_use]
    pub fn next_timeout(&self) -> u64 {
        self.at_ms
    }

    /// The last member has gone.
    pub fn alone(&mut self, now_ms: u64) {
        if self.step != Step::Go {
            (self.step, self.at_ms) = (Step::Go, now_ms + OTHERS_MS);
        }
    }

    /// Does what is due; true when the logger is to go.
    pub fn handle_timeout(&mut self, members: &BTreeMap<u32, Pidfd>, now_ms: u64) -> bool {
        if now_ms < self.at_ms {
            return false;
        }
        let signal = |number: i32| members.values().for_each(|member| drop(member.signal(number)));
        match self.step {
            Step::Terminate => {
                signal(SIGTERM);
                // One that was stopped would sleep over it.
                signal(SIGCONT);
                (self.step, self.at_ms) = (Step::Kill, now_ms + self.grace_ms);
                false
            }
            Step::Kill => {
                signal(SIGKILL);
                (self.step, self.at_ms) = (Step::Go, now_ms + OTHERS_MS);
                false
            }
            Step::Go => true,
        }
    }
}
