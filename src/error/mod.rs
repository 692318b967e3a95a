//! Every failure that a user can meet: what happened, why, what to do, and the exit code that tells it to scripts.
//!
//! A failure is made by a constructor named after what went wrong, so that all texts stand in this room: of what runs already
//! in `running`, all others here.

mod running;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

/// The program's exit codes (README, "Exit codes").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// The application could not be started, or what was asked failed.
    Failed = 1,
    /// Usage or configuration.
    Usage = 2,
    /// Not running (never used by `stop`, which is idempotent).
    NotRunning = 3,
    /// Not permitted.
    NotPermitted = 4,
    /// Still alive after everything was tried.
    StillAlive = 5,
}

/// A failure as a user meets it: told once, on stderr, as `error: what: why`, then what belongs
/// beside it, then `hint: …` on its own line.
#[derive(Debug)]
pub struct Failure {
    /// How the process ends.
    pub exit: Exit,
    /// What failed and where, without a full stop.
    pub what: String,
    /// Why, from the outermost cause to the innermost.
    pub why: Vec<String>,
    /// What belongs beside it, in lines of its own: an application's last output.
    pub beside: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.what)?;
        for cause in &self.why {
            write!(out, ": {cause}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}

impl Failure {
    /// A failure with neither cause nor hint yet.
    pub fn new(exit: Exit, what: impl Into<String>) -> Self {
        Failure { exit, what: what.into(), why: Vec::new(), beside: None, hint: None }
    }

    /// Adds a cause.
    #[must_use]
    pub fn because(mut self, cause: impl fmt::Display) -> Self {
        self.why.push(cause.to_string());
        self
    }

    /// Adds lines that belong beside it.
    #[must_use]
    pub fn beside(mut self, lines: impl Into<String>) -> Self {
        self.beside = Some(lines.into());
        self
    }

    /// Adds what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

// options

impl Failure {
    /// What was typed cannot be read.
    pub fn usage(what: impl Into<String>) -> Self {
        Failure::new(Exit::Usage, what).hint("`eggctl --help` and `eggctl COMMAND --help` tell what can be typed")
    }

    /// A flag that nobody knows, and the nearest known one.
    pub fn unknown_flag(flag: &str, nearest: Option<&str>) -> Self {
        let failure = Failure::usage(format!("unknown flag `{flag}`"));
        match nearest {
            Some(nearest) => failure.hint(format!("did you mean `{nearest}`?")),
            None => failure,
        }
    }

    /// A flag of egg-scripts or an option of egg-cluster that has no support here yet.
    pub fn not_yet(flag: &str) -> Self {
        Failure::new(Exit::Usage, format!("{flag} is not supported yet"))
    }

    /// A text that is not the number it should be.
    pub fn bad_number(what: &str, text: &str, low: u64, high: u64, source: impl fmt::Display) -> Self {
        Failure::new(Exit::Usage, what).because(format!("`{text}` is not a number from {low} to {high} ({source})"))
    }

    /// A variable that names no level of the log.
    pub fn bad_log_level(text: &str, variable: &str) -> Self {
        Failure::new(Exit::Usage, format!("${variable}"))
            .because(format!("`{text}` is none of DEBUG, INFO, WARN, ERROR and NONE"))
    }

    /// A text that is none of the words or sizes it should be.
    pub fn bad_choice(what: &str, text: &str, wanted: &str, source: impl fmt::Display) -> Self {
        Failure::new(Exit::Usage, what).because(format!("`{text}` is not what it takes: {wanted} ({source})"))
    }

    /// A variable whose value is no text.
    pub fn not_text(variable: &str) -> Self {
        Failure::new(Exit::Usage, format!("the value of ${variable} is not UTF-8"))
    }

    /// A path that Node cannot be told.
    pub fn path_not_text(path: &Path) -> Self {
        Failure::new(Exit::Usage, format!("the path `{}` is not UTF-8", path.display()))
            .because("Node cannot run an application there")
    }

    /// A text that makes no title; `reason` ends the sentence that begins with "the title".
    pub fn bad_title(reason: &str, source: impl fmt::Display) -> Self {
        Failure::new(Exit::Usage, format!("the title {reason} ({source})"))
    }

    /// What was typed is seen from a directory that has been removed.
    pub fn no_current_directory(error: &io::Error) -> Self {
        Failure::new(Exit::Usage, "the current directory cannot be used")
            .because(reason(error))
            .hint("change to a directory that exists, or type absolute paths: `eggctl start --title=svc /srv/svc`")
    }

    /// `DIR` or `SCRIPT` names nothing that can be reached.
    pub fn no_such_place(typed: &Path, error: &io::Error) -> Self {
        Failure::new(Exit::Usage, format!("no directory or script `{}`", typed.display())).because(reason(error))
    }

    /// `DIR` or `SCRIPT` names something else.
    pub fn not_an_application(typed: &Path) -> Self {
        Failure::new(Exit::Usage, format!("`{}` is neither a directory nor a script", typed.display()))
            .hint("a script ends in .js, .cjs, .mjs or .ts, has no ending, or begins with `#!/usr/bin/env node`")
    }

    /// A script whose first line names another program.
    pub fn script_of_another(typed: &Path, program: &str) -> Self {
        Failure::new(Exit::Usage, format!("`{}` is no script of node", typed.display()))
            .because(format!("its first line says `{program}`"))
    }

    /// Words after `--` with nothing before it that they are for.
    pub fn arguments_of_nothing() -> Self {
        Failure::new(Exit::Usage, "the words after `--` need a directory or a script before it")
            .hint("`eggctl start . -- --flag` starts the application of this directory with `--flag`")
    }

    /// A directory is an application only with a package.json.
    pub fn no_package_json(dir: &Path) -> Self {
        Failure::new(Exit::Usage, format!("no package.json in `{}`", dir.display()))
            .hint("name the application's directory, or a script, which needs no package.json")
    }

    /// What was given to `start-cluster` is not what Egg's master is given.
    pub fn bad_start_cluster(why: impl fmt::Display) -> Self {
        Failure::new(Exit::Usage, "the options of start-cluster cannot be used")
            .because(why)
            .hint("they are one argument, a JSON object: `{\"baseDir\":\"/srv/app\",\"workers\":2,\"title\":\"svc\"}`")
    }

    /// `start-cluster` starts Egg, and nothing else.
    pub fn not_egg(base_dir: &Path) -> Self {
        Failure::new(Exit::Usage, format!("`{}` is no Egg application", base_dir.display()))
            .because("no framework is named, its package.json names no `egg`, and none is installed there")
            .hint("`eggctl start` runs other applications")
    }

    /// A package.json that cannot be used; a syntax error carries its line and column.
    pub fn bad_package_json(path: &Path, error: impl fmt::Display) -> Self {
        Failure::new(Exit::Usage, format!("`{}` is not a package.json", path.display())).because(error)
    }

    /// A directory without the script that its workers run.
    pub fn no_app_script(dir: &Path) -> Self {
        Failure::new(Exit::Usage, format!("no app.js in `{}`", dir.display())).hint(
            "each worker runs what scripts.start (`node FILE`) or main in package.json name, app.js, server.js or index.js; \
             another script is started by its name: `eggctl start SCRIPT`",
        )
    }

    /// A framework that is named by its path.
    pub fn no_framework_at(path: &Path) -> Self {
        Failure::new(Exit::Usage, format!("the framework `{}` should exist", path.display()))
    }

    /// A framework that is named by its name; the words are egg-utils'.
    pub fn no_framework(name: &str, looked: &[PathBuf], base_dir: &Path) -> Self {
        let mut looked: Vec<String> = looked.iter().map(|dir| dir.display().to_string()).collect();
        looked.dedup();
        Failure::new(Exit::Usage, format!("{name} is not found in {}", looked.join(",")))
            .hint(format!("install what the application depends on: `npm install` in `{}`", base_dir.display()))
    }

    /// A script has no framework.
    pub fn framework_of_script(source: impl fmt::Display) -> Self {
        Failure::new(Exit::Usage, format!("a script runs without a framework ({source})"))
            .hint("name the application's directory instead of the script")
    }

    /// A framework's directory without a package.json.
    pub fn framework_without_package(framework: &Path) -> Self {
        Failure::new(Exit::Usage, format!("no package.json in the framework `{}`", framework.display()))
    }

    /// The package that runs a framework's members is not there.
    pub fn no_cluster(package: &str, from: &Path) -> Self {
        Failure::new(Exit::Usage, format!("{package} is not found from `{}` upward", from.display()))
            .because("it is the package whose files agent and workers run")
            .hint("install what the framework depends on, or name another with `--framework`")
    }

    /// A framework with which both of Egg's protocols could be meant.
    pub fn two_clusters(framework: &Path) -> Self {
        Failure::new(Exit::Usage, format!("`{}` can run by egg-cluster and by @eggjs/cluster", framework.display()))
            .hint("let the framework's package.json depend on the egg that it stands on")
    }

    /// The package is there, and not the file in it.
    pub fn no_member_file(cluster: &Path, file: &str) -> Self {
        Failure::new(Exit::Usage, format!("no {file} in `{}`", cluster.display()))
            .because("this version of the package is not known, or it is not installed completely")
    }

    /// Source maps are wanted without the module that reads them.
    pub fn no_source_map_support(base_dir: &Path) -> Self {
        Failure::new(Exit::Usage, format!("source-map-support is not found from `{}` upward", base_dir.display()))
            .because("`--sourcemap` or egg.typescript in package.json asks for it")
            .hint("`npm install source-map-support`, or start with `--no-sourcemap`")
    }

    /// A flag that means something to Egg's workers alone.
    pub fn only_for_egg(flag: &str) -> Self {
        Failure::new(Exit::Usage, format!("`{flag}` is for Egg applications"))
            .because("this one has no framework, and would not be told")
    }

    /// https with one of its two files only; the words are egg-cluster's.
    pub fn https_without(file: &str) -> Self {
        Failure::new(Exit::Usage, format!("https.{file} should exist"))
            .because("https needs a key and a certificate")
            .hint(format!("name the file with `--https.{file}=FILE` or eggScriptsConfig.https.{file} in package.json"))
    }

    /// A file of https that the workers could not read.
    pub fn https_file(file: &str, path: &Path, error: &io::Error, source: impl fmt::Display) -> Self {
        Failure::new(Exit::Usage, format!("cannot read https.{file} `{}`", path.display()))
            .because(format!("{} ({source})", reason(error)))
    }

    /// A file of `--env-file`.
    pub fn env_file(path: &Path, error: &io::Error, source: impl fmt::Display) -> Self {
        Failure::new(Exit::Usage, format!("cannot read the variables in `{}`", path.display()))
            .because(format!("{} ({source})", reason(error)))
    }

    /// Nothing gives the application a name.
    pub fn no_name(dir: &Path) -> Self {
        Failure::new(Exit::Usage, format!("the application in `{}` has no name", dir.display()))
            .hint("add `name` to package.json")
    }

    /// A file of the application that cannot be looked at.
    pub fn unreadable(path: &Path, error: &io::Error) -> Self {
        Failure::new(Exit::Usage, format!("cannot read `{}`", path.display())).because(reason(error))
    }

    /// Neither the passwd database nor the environment has a home.
    pub fn no_home() -> Self {
        Failure::new(Exit::Usage, "no home directory: the user has none and $HOME is not set").hint("set HOME")
    }

    /// A program that cannot be run.
    pub fn cannot_run(program: &Path, errno: Errno) -> Self {
        let failure = Failure::new(Exit::Failed, format!("cannot run `{}`", program.display())).because(errno.desc());
        match errno {
            Errno::ENOENT => failure.hint("install Node, or name the program with `--node`"),
            _ => failure,
        }
    }
}

impl Failure {
    /// This program's own file was moved, or is closed to the user.
    #[must_use]
    pub fn cannot_run_itself(program: &Path, errno: Errno) -> Self {
        Failure::new(Exit::Failed, format!("cannot run `{}`", program.display()))
            .because(errno.desc())
            .hint("run the eggctl that is installed now")
    }
}

/// An I/O error's reason without std's "(os error 2)".
fn reason(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(raw) => Errno::from_raw(raw).desc().to_owned(),
        None => error.to_string(),
    }
}

/// What a command prints.
impl Failure {
    /// Stdout does not take what was asked for.
    #[must_use]
    pub fn unwritten(error: &io::Error) -> Self {
        Failure::new(Exit::Failed, "what was asked for cannot be written to stdout").because(reason(error))
    }

    /// Stdout does not take the object of a command that has ended like this.
    #[must_use]
    pub fn not_delivered(error: &io::Error, exit: Exit) -> Self {
        match exit {
            Exit::Done => {
                Failure::new(Exit::Failed, "what was asked for is done, but its result cannot be written to stdout")
            }
            exit => Failure::new(exit, "the failure above cannot be written to stdout"),
        }
        .because(reason(error))
    }

    /// In the foreground stdout is the application's.
    #[must_use]
    pub fn json_in_the_foreground() -> Self {
        Failure::new(Exit::Usage, "`--json` needs `--daemon`")
            .because("in the foreground, stdout belongs to the application")
            .hint("add `--daemon`, or omit `--json`")
    }
}

/// The state directory and /proc.
impl Failure {
    /// A file of the state directory, or the directory, cannot be used.
    #[must_use]
    pub fn state(path: &Path, error: &io::Error) -> Self {
        let exit = if error.kind() == io::ErrorKind::PermissionDenied { Exit::NotPermitted } else { Exit::Failed };
        Failure::new(exit, format!("cannot use `{}`", path.display())).because(reason(error))
    }

    /// The state directory could have been made, or could be changed, by somebody else.
    #[must_use]
    pub fn state_place_unsafe(path: &Path, why: &str, variable: &str) -> Self {
        let path = path.display();
        Failure::new(Exit::Failed, format!("state directory `{path}` is not safe to use")).because(why).hint(format!(
            "it must be a directory of yours with mode 0700; repair it, or name another one in {variable}"
        ))
    }

    /// The chosen place of the state directory means something else in every working directory.
    #[must_use]
    pub fn state_place_not_absolute(variable: &str, path: &Path) -> Self {
        Failure::new(Exit::Usage, format!("{variable} is `{}`", path.display()))
            .because("not an absolute path of a directory")
    }

    /// /proc cannot be read.
    #[must_use]
    pub fn no_proc(why: impl fmt::Display) -> Self {
        Failure::new(Exit::Failed, "cannot look at processes").because(why).hint("mount it: `mount -t proc proc /proc`")
    }

    /// The system gives no random bytes.
    #[must_use]
    pub fn no_random_bytes(error: &io::Error) -> Self {
        Failure::new(Exit::Failed, "cannot read `/dev/urandom`").because(error)
    }
}
