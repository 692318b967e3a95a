//! What was typed, as it was typed: no value is looked at here. Numbers stay text, so that a wrong one is told with the
//! name of the flag or variable it came from.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, Parser, Subcommand};

mod running;
mod typed_over;

use super::not_yet;
use crate::error::Failure;

pub use running::{LogsFlags, ReloadFlags, RestartFlags, ScaleFlags, StopFlags, WaitFlags, WaitFor, Whom};
pub use typed_over::typed_over;

/// What begins a flag that is for node.
const NODE_OPTIONS: &str = "node-options--";

/// The command line.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "eggctl",
    version,
    about,
    disable_help_subcommand = true,
    disable_version_flag = true,
    args_override_self = true,
    max_term_width = 100
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,

    /// Print the version
    // `-v` is egg-scripts'.
    #[arg(long, short = 'V', short_alias = 'v', action = clap::ArgAction::Version)]
    version: Option<bool>,
}

/// What signals do to a master, in `start --help`; docs/SIGNALS.md has the whole of it.
const SIGNALS: &str =
    "Signals to the master: TERM, INT and QUIT stop the application. HUP reloads it; where the master was started
with a controlling terminal, HUP stops it; under nohup it is ignored. USR1 opens the logs again.";

/// The commands.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Start an application: its agent first, then its workers
    #[command(after_help = SIGNALS)]
    Start(Box<StartFlags>),
    /// Stop a running application and wait until nothing of it is left
    Stop(StopFlags),
    /// Stop a running application, and start it as it was started, with what is typed here over it
    Restart(Box<RestartFlags>),
    /// Replace the workers of a running application by new ones, without losing a request
    Reload(ReloadFlags),
    /// Change the number of workers of a running application
    Scale(ScaleFlags),
    /// Wait until an application is ready, reloaded or stopped
    Wait(WaitFlags),
    /// Show what an application has printed: rotated and compressed files too, in order
    Logs(LogsFlags),
}

/// What can be typed after `eggctl start`.
#[derive(Args, Clone, Debug, Default)]
pub struct StartFlags {
    /// Directory with `package.json`, or a script [default: the current directory]
    #[arg(value_name = "DIR|SCRIPT")]
    pub place: Option<PathBuf>,

    /// Arguments of the application: every member gets them
    #[arg(last = true, value_name = "ARGS")]
    pub arguments: Vec<OsString>,

    /// The name that `stop` looks for [default: egg-server-<name in package.json>]
    #[arg(long, allow_hyphen_values = true)]
    pub title: Option<String>,

    /// Number of workers; `max`: one for each usable CPU [default: $EGG_WORKERS, else max]
    #[arg(long, short = 'c', visible_alias = "cluster", value_name = "N", allow_negative_numbers = true)]
    pub workers: Option<String>,

    /// Port the application serves [default: $PORT, else the first that other machines can reach]
    #[arg(long, short, allow_negative_numbers = true)]
    pub port: Option<String>,

    /// `round-robin`: each connection goes to the next free worker; `shared`: the workers accept by themselves
    /// [default: shared with NODE_CLUSTER_SCHED_POLICY=none, else round-robin]
    #[arg(long, value_name = "HOW")]
    pub dispatch: Option<String>,

    /// Environment of the application, its EGG_SERVER_ENV [default: $EGG_SERVER_ENV]
    #[arg(long, value_name = "NAME")]
    pub env: Option<String>,

    /// File of environment variables, in the syntax of `node --env-file`: read at every start, restart and reload; what is in the
    /// environment already stays; repeatable
    #[arg(long, value_name = "FILE")]
    pub env_file: Vec<PathBuf>,

    /// Egg's framework: a package's name or an absolute path [default: egg.framework in package.json, else egg]
    #[arg(long, value_name = "NAME|PATH")]
    pub framework: Option<String>,

    /// Key of https, a PEM file
    #[arg(long = "https.key", value_name = "FILE")]
    pub https_key: Option<PathBuf>,

    /// Certificate of https, a PEM file
    #[arg(long = "https.cert", value_name = "FILE")]
    pub https_cert: Option<PathBuf>,

    /// Authorities that https trusts, a PEM file
    #[arg(long = "https.ca", value_name = "FILE")]
    pub https_ca: Option<PathBuf>,

    /// A client keeps its worker: chosen by the client's address
    #[arg(long, overrides_with = "no_sticky")]
    sticky: bool,

    /// Not so, whatever eggScriptsConfig in package.json says.
    #[arg(long, hide = true)]
    no_sticky: bool,

    /// Port where each worker of Egg serves plain http besides
    #[arg(long = "debugPort", alias = "debug-port", value_name = "PORT", allow_negative_numbers = true)]
    pub debug_port: Option<String>,

    /// Return when the application is ready, and leave it running in the background
    #[arg(long, overrides_with = "no_daemon")]
    daemon: bool,

    /// Not so, whatever eggScriptsConfig in package.json says.
    #[arg(long, hide = true)]
    no_daemon: bool,

    /// Log of stdout with --daemon [default: ~/logs/master-stdout.log]
    #[arg(long, value_name = "FILE")]
    pub stdout: Option<PathBuf>,

    /// Log of stderr with --daemon [default: ~/logs/master-stderr.log]
    #[arg(long, value_name = "FILE")]
    pub stderr: Option<PathBuf>,

    /// How logs are kept.
    #[command(flatten)]
    pub logs: LogFlags,

    /// How long the start may take, in milliseconds [default: 300000]
    #[arg(long, value_name = "MS", allow_negative_numbers = true)]
    pub timeout: Option<String>,

    /// Output on stderr before everything is ready does not fail the start; Node's own warnings never do
    #[arg(long, overrides_with = "no_ignore_stderr")]
    ignore_stderr: bool,

    /// Not so, whatever eggScriptsConfig in package.json says.
    #[arg(long, hide = true)]
    no_ignore_stderr: bool,

    /// Workers that are booted and wait, so that a dead one's place is taken in milliseconds; each costs the memory of one
    #[arg(long, value_name = "K", allow_negative_numbers = true)]
    pub spare: Option<String>,

    /// End a detached master with exit code 1 when there is no agent, or no worker, for 30 s (in the foreground it always ends)
    #[arg(long, overrides_with = "no_exit_when_down")]
    exit_when_down: bool,

    /// Not so, whatever eggScriptsConfig in package.json says.
    #[arg(long, hide = true)]
    no_exit_when_down: bool,

    /// The node program: a path, or a name looked up in PATH [default: node]
    #[arg(long, value_name = "PROGRAM")]
    pub node: Option<PathBuf>,

    /// Module that node loads first in the agent and in each worker; `./x` is relative to the application; repeatable
    #[arg(long, short, value_name = "MODULE")]
    pub require: Vec<String>,

    /// Map stack traces to the sources, by `source-map-support` [default: egg.typescript in package.json]
    #[arg(long, visible_aliases = ["ts", "typescript"], overrides_with = "no_sourcemap")]
    sourcemap: bool,

    /// Not so, whatever package.json says.
    #[arg(long, hide = true, aliases = ["no-ts", "no-typescript"])]
    no_sourcemap: bool,

    /// A flag for node, written as one word: `--node-options--max-old-space-size=4096`; repeatable
    #[arg(long = NODE_OPTIONS, value_name = "FLAG[=VALUE]", require_equals = true)]
    pub node_options: Vec<String>,

    /// Print one JSON object on stdout, of success or failure, and nothing else; with --daemon
    #[arg(long)]
    pub json: bool,

    /// Run the members without eggctl's preload: output may be lost at an exit, keep-alive clients reset at a close
    #[arg(long)]
    pub no_preload: bool,
}

/// What can be typed about logs.
#[derive(Args, Clone, Debug, Default)]
pub struct LogFlags {
    /// Begin a new log at this size: `64K`, `100M`, `2G` [default: 100M]
    #[arg(long, value_name = "SIZE", allow_negative_numbers = true, help_heading = "Logs")]
    pub log_max_size: Option<String>,

    /// Begin a new log each `hour`, `day` or `week`, or `never` but by size [default: day]
    #[arg(long, value_name = "WHEN", help_heading = "Logs")]
    pub log_rotate: Option<String>,

    /// How many old logs are kept of stdout, and of stderr [default: 14]
    #[arg(long, value_name = "N", allow_negative_numbers = true, help_heading = "Logs")]
    pub log_keep: Option<String>,

    /// How many bytes of old logs are kept of each [default: 1G]
    #[arg(long, value_name = "SIZE", allow_negative_numbers = true, help_heading = "Logs")]
    pub log_keep_bytes: Option<String>,

    /// How long old logs are kept: `12h`, `14d`, `4w` [default: for ever]
    #[arg(long, value_name = "AGE", allow_negative_numbers = true, help_heading = "Logs")]
    pub log_keep_age: Option<String>,

    /// When the disk is full: `drop` lines and count them, or `block` who prints [default: drop]
    #[arg(long, value_name = "WHAT", help_heading = "Logs")]
    pub log_full: Option<String>,

    /// A log for each member: `agent-stdout.log`, `worker-2-stdout.log`
    #[arg(long, overrides_with = "no_log_per_member", help_heading = "Logs")]
    log_per_member: bool,

    /// Not so, whatever eggScriptsConfig in package.json says.
    #[arg(long, hide = true)]
    no_log_per_member: bool,

    /// Log into files without --daemon too
    #[arg(long, overrides_with = "no_log_to_files", help_heading = "Logs")]
    log_to_files: bool,

    /// Not so, whatever eggScriptsConfig in package.json says.
    #[arg(long, hide = true)]
    no_log_to_files: bool,

    /// So, whatever eggScriptsConfig in package.json says.
    #[arg(long, hide = true, overrides_with = "no_log_compress")]
    log_compress: bool,

    /// Leave old logs as they are instead of compressing all but the newest
    #[arg(long, help_heading = "Logs")]
    no_log_compress: bool,
}

impl LogFlags {
    /// `--log-per-member` or its opposite, if one was typed.
    #[must_use]
    pub fn log_per_member(&self) -> Option<bool> {
        one_of(self.log_per_member, self.no_log_per_member)
    }

    /// `--log-to-files` or its opposite, if one was typed.
    #[must_use]
    pub fn log_to_files(&self) -> Option<bool> {
        one_of(self.log_to_files, self.no_log_to_files)
    }

    /// `--log-compress` or its opposite, if one was typed.
    #[must_use]
    pub fn log_compress(&self) -> Option<bool> {
        one_of(self.log_compress, self.no_log_compress)
    }
}

impl StartFlags {
    /// Is anything that was typed seen from the current directory? That is also the application, where none was named.
    #[must_use]
    pub fn names_a_relative_path(&self) -> bool {
        let StartFlags { stdout, stderr, https_key, https_cert, https_ca, env_file, .. } = self;
        let files = [stdout, stderr, https_key, https_cert, https_ca].into_iter().flatten().chain(env_file);
        // A program without a slash is looked up in the PATH.
        let node = self.node.iter().filter(|node| node.components().count() > 1);
        self.place.is_none() || self.place.iter().chain(files).chain(node).any(|path| path.is_relative())
    }

    /// `--daemon` or `--no-daemon`, if one was typed.
    #[must_use]
    pub fn daemon(&self) -> Option<bool> {
        one_of(self.daemon, self.no_daemon)
    }

    /// `--ignore-stderr` or its opposite, if one was typed.
    #[must_use]
    pub fn ignore_stderr(&self) -> Option<bool> {
        one_of(self.ignore_stderr, self.no_ignore_stderr)
    }

    /// `--exit-when-down` or its opposite, if one was typed.
    #[must_use]
    pub fn exit_when_down(&self) -> Option<bool> {
        one_of(self.exit_when_down, self.no_exit_when_down)
    }

    /// `--sticky` or its opposite, if one was typed.
    #[must_use]
    pub fn sticky(&self) -> Option<bool> {
        one_of(self.sticky, self.no_sticky)
    }

    /// `--sourcemap` or its opposite, if one was typed.
    #[must_use]
    pub fn sourcemap(&self) -> Option<bool> {
        one_of(self.sourcemap, self.no_sourcemap)
    }
}

/// The last of the two that was typed: clap takes the other one back.
fn one_of(yes: bool, no: bool) -> Option<bool> {
    (yes || no).then_some(yes)
}

/// Why there is no command to run.
#[derive(Debug)]
pub enum NoCommand {
    /// Help or the version was asked for: this text goes to stdout, and the exit code is 0.
    Asked(String),
    /// What was typed is wrong.
    Wrong(Failure),
}

/// Reads the command line; the first item is the program's own name.
///
/// # Errors
/// [`NoCommand::Asked`] for `--help` and `--version`, [`NoCommand::Wrong`] (exit 2) for everything that clap refuses and for
/// flags that are known elsewhere and not supported yet.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Cli, NoCommand> {
    Cli::try_parse_from(arguments.into_iter().map(node_option_apart)).map_err(|refusal| match refusal.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => NoCommand::Asked(refusal.render().to_string()),
        _ => NoCommand::Wrong(failure(&refusal)),
    })
}

/// Reads what was typed behind `eggctl start`.
///
/// # Errors
/// As [`parse`]; a question for help or the version is none here.
pub fn parse_start(arguments: &[OsString]) -> Result<StartFlags, Failure> {
    let words = ["eggctl".into(), "start".into()].into_iter().chain(arguments.iter().cloned());
    match parse(words) {
        Ok(Cli { command: Command::Start(flags), .. }) => Ok(*flags),
        Ok(_) | Err(NoCommand::Asked(_)) => Err(Failure::usage("this is no start")),
        Err(NoCommand::Wrong(failure)) => Err(failure),
    }
}

/// `--node-options--X=V` as clap can take it: `--node-options--=X=V`.
fn node_option_apart(argument: OsString) -> OsString {
    match argument.to_str().and_then(|text| text.strip_prefix("--")?.strip_prefix(NODE_OPTIONS)) {
        Some(option) if !option.starts_with('=') => format!("--{NODE_OPTIONS}={option}").into(),
        _ => argument,
    }
}

/// Clap's refusal in this program's words.
fn failure(refusal: &clap::Error) -> Failure {
    let context = |kind| match refusal.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    match (refusal.kind(), context(ContextKind::InvalidArg), context(ContextKind::InvalidSubcommand)) {
        (ErrorKind::UnknownArgument, Some(flag), _) if not_yet::knows(flag) => Failure::not_yet(flag),
        (ErrorKind::UnknownArgument, Some(flag), _) if flag.starts_with('-') => {
            Failure::unknown_flag(flag, context(ContextKind::SuggestedArg))
        }
        (ErrorKind::UnknownArgument, Some(argument), _) => Failure::usage(format!("unexpected argument `{argument}`")),
        (ErrorKind::InvalidSubcommand, _, Some(command)) => Failure::usage(format!("unknown command `{command}`")),
        (ErrorKind::MissingSubcommand | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand, ..) => {
            Failure::usage("no command")
        }
        _ => Failure::usage(sentence(&refusal.render().to_string())),
    }
}

/// The sentence in clap's text: `error: the argument '--x' …` and a usage behind it.
fn sentence(text: &str) -> String {
    let first = text.split("\n\n").next().unwrap_or(text);
    let words: Vec<&str> = first.strip_prefix("error: ").unwrap_or(first).split_whitespace().collect();
    words.join(" ").replace('\'', "`")
}
