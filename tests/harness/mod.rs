//! What the tests of real processes share.
//!
//! * [`world`]: runs a test inside namespaces of its own and checks at its end that nothing is left.
//! * [`World`]: the test's home, state, fixtures and logs; its commands and what its fixtures wrote down.
//! * [`Typed`], [`Outcome`], [`Background`]: a command of the product, finished or still running.
//! * [`installed`]: an application whose modules npm has installed. [`egg`]: Egg applications.
//! * [`schema`]: what `--json` prints, compared with docs/schemas.
//! * [`processes`]: who is alive, from /proc. [`http`]: one request by hand.
//!
//! Nothing here sleeps for an event to have happened: [`eventually`] looks until it has.

pub mod egg;
pub mod http;
mod installed;
pub mod load;
mod namespace;
pub mod processes;
mod product;
pub mod schema;
mod world;

use std::io::{self, Write};
use std::thread;
use std::time::{Duration, Instant};

pub use installed::installed;
pub use namespace::{is_inside, test_name, world, world_of};
pub use product::{Background, OnTerminal, Outcome, Typed};
pub use world::{World, read_log};

/// Set where the tests' long forms are wanted too.
pub const LONG: &str = "EGGCTL_LONG";

/// Are the long forms wanted?
pub fn is_long() -> bool {
    std::env::var(LONG).is_ok_and(|long| long == "1")
}

/// The directory of the `node` that a world's programs find, if it is not to be the PATH's (`tests/node_versions.rs`).
pub const NODE: &str = "EGGCTL_TEST_NODE";

/// How long anything may take before the test is told to fail. A safety net, not an expectation.
pub const PATIENCE: Duration = Duration::from_secs(45);

/// Looks until `happened`, and fails naming `what` when it has not within [`PATIENCE`].
#[track_caller]
pub fn eventually(what: &str, mut happened: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !happened() {
        assert!(Instant::now() < deadline, "has not happened within {PATIENCE:?}: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Prints past the test runner, which keeps back what a passed test prints.
pub fn visibly(line: &str) {
    io::stderr().write_all(format!("{line}\n").as_bytes()).unwrap();
}

/// Looks until `find` finds something.
#[track_caller]
pub fn await_some<T>(what: &str, mut find: impl FnMut() -> Option<T>) -> T {
    let mut found = None;
    eventually(what, || {
        found = find();
        found.is_some()
    });
    found.unwrap()
}

mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::{eventually, world};

    #[test]
    fn a_world_begins_with_nobody_and_sees_who_is_left() {
        world(|world| {
            world.nobody_is_left();
            let mut left = world.program(&["sh", "-c", "setsid sleep 1000 >/dev/null 2>&1 & echo $!"]).run();
            left.exits(0);
            eventually("the orphan stands", || world.alive().iter().any(|process| process.args[0] == "sleep"));
            assert!(catch_unwind(AssertUnwindSafe(|| world.nothing_is_left())).is_err(), "a leftover was not seen");
            let pid = std::mem::take(&mut left.stdout).trim().parse().unwrap();
            super::processes::signal(pid, nix::sys::signal::Signal::SIGKILL);
            eventually("it is gone", || world.alive().is_empty());
        });
    }

    #[test]
    fn an_unexpected_log_line_fails_a_test() {
        world(|world| {
            std::fs::create_dir_all(world.home().join("logs")).unwrap();
            std::fs::write(world.stderr_log(), "oh\n").unwrap();
            assert!(catch_unwind(AssertUnwindSafe(|| world.nothing_is_left())).is_err(), "the line was not seen");
            world.expect_in_log("oh");
        });
    }
}
