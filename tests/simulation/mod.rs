//! The lifecycle without processes: a world that can do everything to it that members, signals and time can, and a judge.
//!
//! * `world`: processes as the kernel would hold them, and the master's shell.
//! * `moves`: what may happen next. `lies`: what is late or untrue and must change nothing.
//! * `invariants`: what must always be true, in words and in code.
//! * `judge`: what the judge of that remembers.
//! * `operations`: the same for reload, scale and spares.
//! * `ending`: once faults stop, all ends well, in time.
//! * `coverage`: how often each phase met each event.
//! * `servers`: workers that begin and cease to serve.
//! * `health`: is the application there at all?
//! * `exhaustive`: every order of events, to a depth.
//! * `random`: long lives, many workers, then: faults stop, full strength returns, a close ends.
//! * `scenarios`: what an operator should know, one by one, and the faults of naive drafts.

// Clippy's allowances for tests do not reach the functions that tests call.
#![allow(clippy::expect_used, clippy::panic, clippy::print_stdout)]

/// Returns these words from a function that judges, unless the condition holds.
macro_rules! must {
    ($condition:expr, $($words:tt)+) => {
        if !$condition {
            return Err(format!($($words)+));
        }
    };
}

mod coverage;
mod ending;
mod exhaustive;
mod health;
mod invariants;
mod judge;
mod lies;
mod moves;
mod operations;
mod random;
mod scenarios;
mod servers;
mod world;
