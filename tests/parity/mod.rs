//! What Egg's users count on, written once and run on either program: ours, or with `EGGCTL_UNDER_TEST=theirs`
//! egg-scripts 3.1 with egg-cluster 2.5, always inside namespaces, because its stop kills by what `ps` shows.
//!
//! What we fail is never marked. What they fail is marked by [`Theirs::Fails`] with the reason, and a marked scenario
//! that passes is an error: docs/PARITY.md would not be true any more.

mod environment;
mod failure;
mod members;
mod parent;
mod start;
mod stop;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;

use serde_json::Value;

use crate::harness::processes::Process;
use crate::harness::{
    LONG, Outcome, Typed, World, eventually, http, installed, is_inside, test_name, visibly, world_of,
};

/// How egg-scripts does in a scenario.
#[derive(Clone, Copy)]
pub enum Theirs {
    Passes,
    /// What it does instead.
    Fails(&'static str),
}

/// Whose command is typed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Program {
    Ours,
    Theirs,
}

fn under_test() -> Program {
    match std::env::var("EGGCTL_UNDER_TEST").as_deref() {
        Err(_) | Ok("ours") => Program::Ours,
        Ok("theirs") => Program::Theirs,
        Ok(other) => panic!("EGGCTL_UNDER_TEST={other}: ours or theirs"),
    }
}

/// An application of Egg 3 and a program to run it, in a world of its own.
pub struct Scene<'a> {
    pub world: &'a mut World,
    /// The program under test.
    pub program: Program,
    pub application: PathBuf,
    /// What a start of the scene is given (typed twice, a flag is a list for yargs).
    pub title: String,
    pub workers: u32,
    pub port: u16,
    pub egg_scripts: PathBuf,
}

/// Runs a scenario on the program under test. Whoever is alive at its end is killed: what a stop leaves behind is the
/// matter of those scenarios that stop.
pub fn scenario<F: FnOnce(&mut Scene<'_>)>(theirs: Theirs, body: F) {
    let (Some(egg), Some(egg_scripts)) = (installed("egg3"), installed("egg-scripts")) else { return };
    let name = test_name::<F>();
    let run = || {
        world_of(&name, |world| {
            let application = world.copy_of("parity");
            std::os::unix::fs::symlink(egg.join("node_modules"), application.join("node_modules")).unwrap();
            // The words of either program are the scenarios' own matter.
            world.expect_in_log("");
            let port = world.port();
            let egg_scripts = egg_scripts.join("node_modules/egg-scripts/bin/egg-scripts.js");
            let (program, title) = (under_test(), "svc".to_owned());
            body(&mut Scene { world, program, application, title, workers: 1, port, egg_scripts });
            eventually("nobody is alive", || {
                world.end_everything();
                world.alive().is_empty()
            });
        });
    };
    match theirs {
        Theirs::Fails(reason) if under_test() == Program::Theirs && !is_inside() => {
            assert!(catch_unwind(AssertUnwindSafe(run)).is_err(), "{name}: theirs passes, though marked: {reason}");
            visibly(&format!("{name}: theirs fails, as marked: {reason}"));
        }
        Theirs::Fails(_) | Theirs::Passes => {
            catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|why| resume_unwind(why))
        }
    }
}

/// Is this the time for heavy scenarios? If not, a note says so.
pub fn long() -> bool {
    let long = std::env::var_os(LONG).is_some();
    if !long {
        visibly("note: a parity scenario did not run: it wants EGGCTL_LONG=1");
    }
    long
}

impl Scene<'_> {
    /// `start` or `stop` and flags, of this program.
    pub fn typed(&self, program: Program, args: &[&str]) -> Typed {
        match program {
            Program::Ours => self.world.eggctl(args),
            Program::Theirs => self.world.program(&["node", self.egg_scripts.to_str().unwrap()]).args(args),
        }
    }

    /// A command of the program under test.
    pub fn command(&self, args: &[&str]) -> Typed {
        self.typed(self.program, args)
    }

    /// The program that is not under test.
    pub fn other(&self) -> Program {
        match self.program {
            Program::Ours => Program::Theirs,
            Program::Theirs => Program::Ours,
        }
    }

    /// `start application --title=… --port=… --workers=… flags…`, of this program. The application comes first: for yargs,
    /// `--require=x application` are two modules.
    fn start_of(&self, program: Program, flags: &[&str]) -> Typed {
        let given =
            [("title", self.title.clone()), ("port", self.port.to_string()), ("workers", self.workers.to_string())];
        let given = given.map(|(flag, value)| format!("--{flag}={value}"));
        self.typed(program, &["start"]).arg(&self.application).args(given).args(flags)
    }

    /// A detached start by this program.
    pub fn start_by(&self, program: Program, flags: &[&str]) -> Typed {
        self.start_of(program, &[&["--daemon"], flags].concat())
    }

    /// A detached start by the program under test.
    pub fn start(&self, flags: &[&str]) -> Typed {
        self.start_by(self.program, flags)
    }

    /// A start that stays in the foreground.
    pub fn foreground(&self) -> Typed {
        self.start_of(self.program, &[])
    }

    /// Waits for an answer.
    pub fn answers(&self) {
        eventually("it answers", || http::try_get(self.port, "/").is_ok());
    }

    /// `stop --title=…`, to its end.
    pub fn stop(&self, title: &str) -> Outcome {
        let outcome = self.command(&["stop", &format!("--title={title}")]).run();
        outcome.exits(0);
        outcome
    }

    /// Replaces the application's package.json.
    pub fn package(&self, json: &Value) {
        fs::write(self.application.join("package.json"), json.to_string()).unwrap();
    }

    /// The masters of this title, whosever.
    pub fn masters(&self, title: &str) -> Vec<Process> {
        let wanted = format!("--title={title}");
        let is_master = |process: &Process| {
            process.args.contains(&wanted) && process.args.iter().any(|arg| arg.ends_with("start-cluster"))
        };
        let masters: Vec<Process> = self.world.alive().into_iter().filter(is_master).collect();
        let is_member = |process: &&Process| masters.iter().any(|master| master.pid == process.parent);
        masters.iter().filter(|process| !is_member(process)).cloned().collect()
    }

    /// The one master of this title.
    #[track_caller]
    pub fn master(&self, title: &str) -> Process {
        let masters = self.masters(title);
        assert_eq!(masters.len(), 1, "masters of {title:?}: {masters:?} in {:#?}", self.world.alive());
        masters.into_iter().next().unwrap()
    }

    /// The agent of this master.
    #[track_caller]
    pub fn agent(&self, master: u32) -> Process {
        let agents = self.world.agents(master);
        assert_eq!(agents.len(), 1, "agents: {agents:?}");
        Process::read(agents[0]).unwrap()
    }

    /// The workers of this master, oldest first.
    pub fn workers(&self, master: u32) -> Vec<Process> {
        self.world.workers(master).into_iter().filter_map(Process::read).collect()
    }

    /// What `who` noted of this kind.
    pub fn noted(&self, who: &str, what: &str) -> Vec<Value> {
        self.world.events_of(what).into_iter().filter(|event| event["who"] == who).collect()
    }
}
