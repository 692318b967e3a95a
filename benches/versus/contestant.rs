//! The contestants: how each is started and stopped, and which of its processes is the master.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::peers;

/// Who takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Contestant {
    Ours,
    /// With a Node worker, where the row's own figure is of a `sleep`.
    OursNode,
    /// The boot of the same workers under the same master, at its start.
    BareBoot,
    EggScripts,
    Pm2Cluster,
    Pm2Fork,
    Daemontools,
    /// Egg-scripts, whose workers accept by themselves: Node's own variable says so.
    EggScriptsShared,
    /// No master: what the other ends can do at most.
    Nobody,
    /// A program that hands connections over and does nothing else (`bare.rs`).
    Bare,
}

use Contestant::{
    Bare, BareBoot, Daemontools, EggScripts, EggScriptsShared, Nobody, Ours, OursNode, Pm2Cluster, Pm2Fork,
};

pub const TITLE: &str = "versus";
pub const PORT: &str = "7001";

/// An application and its framework, for those who know Egg: directories under [`peers::place`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Application {
    directory: &'static str,
    framework: &'static str,
}

/// Egg, saying hello.
pub const HELLO: Application = Application { directory: "egg", framework: "node_modules/egg" };
/// Workers that send messages, on bare egg-cluster.
pub const RELAY: Application = Application { directory: "app", framework: "relay" };
/// Workers that answer the clients of a load, on bare egg-cluster.
pub const ANSWERING: Application = Application { directory: "app", framework: "reload" };
/// Members that are ready at once, on bare egg-cluster.
pub const READY_AT_ONCE: Application = Application { directory: "app", framework: "framework" };

/// The same, where a client keeps its worker.
pub const STICKY: Application = Application { directory: "sticky", framework: "framework" };

impl Contestant {
    pub const ALL: [Contestant; 10] =
        [Ours, OursNode, BareBoot, EggScripts, EggScriptsShared, Pm2Cluster, Pm2Fork, Daemontools, Nobody, Bare];

    /// As the table has it.
    pub fn name(self) -> &'static str {
        match self {
            Ours => "eggctl",
            OursNode => "eggctl, a Node worker",
            BareBoot => "the bare boot of its workers",
            EggScripts => "egg-scripts 3.1.0",
            Pm2Cluster => "pm2 7.0.4, cluster",
            Pm2Fork => "pm2 7.0.4, fork",
            Daemontools => "daemontools 0.76",
            EggScriptsShared => "egg-scripts 3.1.0, the workers accept too",
            Nobody => "Node to Node, nobody between",
            Bare => "a bare hand-over to bare workers",
        }
    }

    /// What must run before the start that is measured.
    pub fn prepare(self, home: &Path) {
        match self {
            // Its daemon stands already: that is in pm2's favour.
            Pm2Cluster | Pm2Fork => run(pm2(home).arg("ping")),
            Daemontools => {
                let service = home.join("service");
                fs::create_dir_all(&service).unwrap();
                fs::write(service.join("run"), "#!/bin/sh\nexec sleep 100000\n").unwrap();
                run(Command::new("chmod").arg("755").arg(service.join("run")));
            }
            Ours | OursNode | BareBoot | EggScripts | EggScriptsShared | Nobody | Bare => {}
        }
    }

    /// Two workers (and an agent, for those that know one) behind one port; one `sleep` for the last two.
    pub fn start(self, home: &Path) -> Command {
        match self {
            Ours | OursNode | BareBoot | Pm2Cluster => self.start_script(home, "app/app.js", &[]),
            EggScripts => self.start_application(home, READY_AT_ONCE),
            Pm2Fork => {
                let mut command = pm2(home);
                command.args(["start", "/bin/sleep", "--interpreter", "none", "--name", TITLE, "--", "100000"]);
                command
            }
            // Never returns: it is the master.
            Daemontools => with(home, "supervise".into(), &[home.join("service").to_str().unwrap()]),
            EggScriptsShared | Nobody | Bare => unreachable!("takes part in no scene that starts it so"),
        }
    }

    /// Two workers of a plain script; these flags are pm2's.
    pub fn start_script(self, home: &Path, script: &str, flags: &[&str]) -> Command {
        let script = peers::app(script);
        if !matches!(self, Pm2Cluster) {
            let application = script.parent().unwrap();
            let start = ["start", "--daemon", "--title", TITLE, "--workers=2", "--port", PORT];
            return with(home, eggctl(), &[&start[..], &[application.to_str().unwrap()]].concat());
        }
        let mut command = pm2(home);
        command.args(["start", script.to_str().unwrap(), "-i", "2", "--wait-ready"]).args(flags).env("PORT", PORT);
        command
    }

    /// Replaces the workers of what runs.
    pub fn reload(self, home: &Path) -> Command {
        match self {
            Ours | OursNode | BareBoot => Contestant::eggctl(home, &["reload", "--title", TITLE]),
            Pm2Cluster | Pm2Fork => {
                let mut command = pm2(home);
                command.args(["reload", "all"]);
                command
            }
            _ => unreachable!("{} has no command for it", self.name()),
        }
    }

    /// A command of ours.
    pub fn eggctl(home: &Path, words: &[&str]) -> Command {
        with(home, eggctl(), words)
    }

    /// An agent and two workers of an application of Egg's kind.
    pub fn start_application(self, home: &Path, application: Application) -> Command {
        self.start_application_as(home, application, TITLE, PORT)
    }

    /// The same under this title, at this port.
    pub fn start_application_as(self, home: &Path, application: Application, title: &str, port: &str) -> Command {
        let program = match self {
            Ours | OursNode | BareBoot => eggctl(),
            _ => peers::bin("egg-scripts"),
        };
        let (title, framework) = (format!("--title={title}"), peers::app(application.framework));
        let (framework, directory) =
            (format!("--framework={}", framework.display()), peers::app(application.directory));
        let directory = directory.to_str().unwrap();
        let args = ["start", "--daemon", &title, "--workers=2", "--port", port, &framework, directory];
        let mut command = with(home, program, &args);
        if self == EggScriptsShared {
            command.env("NODE_CLUSTER_SCHED_POLICY", "none");
        }
        command
    }

    /// Stops what `start` started.
    pub fn stop(self, home: &Path, title: &str) -> Command {
        let title = format!("--title={title}");
        match self {
            Ours | OursNode | BareBoot => with(home, eggctl(), &["stop", &title]),
            EggScripts | EggScriptsShared => with(home, peers::bin("egg-scripts"), &["stop", &title]),
            Pm2Cluster | Pm2Fork => {
                let mut command = pm2(home);
                command.args(["delete", "all"]);
                command
            }
            Daemontools => with(home, "svc".into(), &["-dx", home.join("service").to_str().unwrap()]),
            Nobody | Bare => unreachable!("has no command that stops it"),
        }
    }

    /// Starts one `sleep`, where a contestant can run one: it ends and begins as fast as a process can.
    pub fn start_sleep(self, home: &Path) -> Command {
        match self {
            // A worker's program that says it is ready on its channel, descriptor 3.
            Ours => {
                let program = home.join("sleep");
                let script = "#!/bin/sh\necho '{\"action\":\"app-start\"}' >&3\nexec sleep 100000\n";
                fs::write(&program, script).unwrap();
                run(Command::new("chmod").arg("755").arg(&program));
                let node = format!("--node={}", program.display());
                let app = peers::app("app").join("app.js");
                let args = ["start", "--daemon", &node, "--workers=1", app.to_str().unwrap()];
                with(home, eggctl(), &args)
            }
            _ => self.start(home),
        }
    }

    /// Is this command line the master's?
    pub fn is_master(self, words: &[String]) -> bool {
        let has = |text: &str| words.iter().any(|word| word.contains(text));
        match self {
            Ours | OursNode | BareBoot => words.iter().any(|word| word == "start-cluster"),
            EggScripts | EggScriptsShared => words.iter().any(|word| word.ends_with("/start-cluster")),
            Pm2Cluster | Pm2Fork => has("God Daemon"),
            Daemontools => words.first().is_some_and(|word| word == "supervise"),
            Nobody | Bare => false,
        }
    }
}

fn eggctl() -> std::path::PathBuf {
    env!("CARGO_BIN_EXE_eggctl").into()
}

fn pm2(home: &Path) -> Command {
    with(home, peers::bin("pm2"), &[])
}

/// A command with nothing in the environment but places of its own.
fn with(home: &Path, program: std::path::PathBuf, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(args).current_dir(home).env_clear();
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    for name in ["HOME", "MOCK_HOME_DIR", "TMPDIR"] {
        command.env(name, home);
    }
    command.env("PM2_HOME", home.join("pm2")).env("EGGCTL_STATE_DIR", home.join("state"));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn run(command: &mut Command) {
    let status = command.status().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(status.success(), "{command:?}: {status}");
}
