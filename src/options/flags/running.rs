//! What can be typed after the commands that meet an application which runs, or did.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::StartFlags;

/// What can be typed after `eggctl stop`.
#[derive(Args, Clone, Debug, Default)]
pub struct StopFlags {
    /// Which application: a title that runs or is known, else a directory or script (`./svc` always is) [default: that of the
    /// current directory, else the only one that runs]
    #[arg(value_name = "TITLE|DIR|SCRIPT")]
    pub place: Option<PathBuf>,

    /// The application's title, compared exactly; it decides, whatever the directory
    #[arg(long, allow_hyphen_values = true)]
    pub title: Option<String>,

    /// Wait this long for the orderly end, in milliseconds, then kill [default: the application's own limits and 2 s: the
    /// workers have EGG_APP_CLOSE_TIMEOUT, then the agent EGG_AGENT_CLOSE_TIMEOUT, 5 s each; requests in flight have that
    /// less a fifth, `beforeClose` the rest]
    #[arg(long, value_name = "MS", allow_negative_numbers = true)]
    pub timeout: Option<String>,

    /// Stop every application
    #[arg(long, conflicts_with_all = ["title", "place"])]
    pub all: bool,

    /// Print one JSON object on stdout, of success or failure, and nothing else
    #[arg(long)]
    pub json: bool,

    /// Whose applications; another user's only as root, who then acts as that user [default: your own]
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
}

/// What can be typed after `eggctl restart`.
#[derive(Args, Clone, Debug, Default)]
pub struct RestartFlags {
    /// What replaces what was typed at the start; the title tells which application.
    #[command(flatten)]
    pub start: StartFlags,

    /// Take the environment of this command in the place of the start's, for this restart and all that follows
    #[arg(long)]
    pub update_env: bool,

    /// Whose application; another user's only as root, who then acts as that user [default: your own]
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
}

/// What can be typed after `eggctl reload`.
#[derive(Args, Clone, Debug, Default)]
pub struct ReloadFlags {
    /// Which application.
    #[command(flatten)]
    pub whom: Whom,

    /// Worker by worker, each new one ready before an old one leaves; else all new ones begin together
    #[arg(long)]
    pub rolling: bool,

    /// How many workers boot at a time [default: as many as there are spare CPUs, at least 1]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub batch: Option<String>,

    /// The agent too
    #[arg(long)]
    pub agent: bool,

    /// Take the environment of this command in the place of the start's, for this reload and all that follows
    #[arg(long)]
    pub update_env: bool,

    /// Give up a reload that is under way, however it was asked for, and begin this one
    #[arg(long)]
    pub replace: bool,

    /// Give up the reload that is under way: workers that have not been replaced stay, and so do the options that they have.
    /// Old workers that have been asked to leave go on leaving
    #[arg(long, conflicts_with_all = ["rolling", "batch", "agent", "update_env", "replace", "boot_timeout", "drain_timeout"])]
    pub cancel: bool,

    /// How long a new worker may take to boot, in milliseconds [default: 60000]
    #[arg(long, value_name = "MS", allow_negative_numbers = true)]
    pub boot_timeout: Option<String>,

    /// How long an old worker may take to finish what it has begun, in milliseconds [default: 30000]
    #[arg(long, value_name = "MS", allow_negative_numbers = true)]
    pub drain_timeout: Option<String>,

    /// Print one JSON object on stdout, of success or failure, and nothing else
    #[arg(long)]
    pub json: bool,
}

/// What can be typed after `eggctl scale`.
#[derive(Args, Clone, Debug, Default)]
pub struct ScaleFlags {
    /// The number of workers, or how many more or fewer; `max`: one for each usable CPU
    #[arg(value_name = "N|+N|-N|max", allow_hyphen_values = true, required_unless_present = "cancel")]
    pub workers: Option<String>,

    /// Give up the scale that is under way: workers that it has added leave; workers that it has asked to leave go on leaving
    #[arg(long)]
    pub cancel: bool,

    /// Which application.
    #[command(flatten)]
    pub whom: Whom,

    /// Print one JSON object on stdout, of success or failure, and nothing else
    #[arg(long)]
    pub json: bool,
}

/// What can be typed after `eggctl wait`.
#[derive(Args, Clone, Debug, Default)]
pub struct WaitFlags {
    /// Which application.
    #[command(flatten)]
    pub whom: Whom,

    /// What is waited for: every worker is ready; the reload under way, or else the next one, is over; nothing is left
    #[arg(long = "for", value_name = "WHAT", default_value = "ready")]
    pub until: WaitFor,

    /// How long to wait, in milliseconds; 0 asks once [default: 300000]
    #[arg(long, value_name = "MS", allow_negative_numbers = true)]
    pub timeout: Option<String>,

    /// How much of that to wait for an application that has not been started yet, in milliseconds [default: 10000]
    #[arg(long, value_name = "MS", allow_negative_numbers = true)]
    pub appear: Option<String>,

    /// Print one JSON object on stdout, of success or failure, and nothing else
    #[arg(long)]
    pub json: bool,
}

/// What can be waited for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum WaitFor {
    /// Every wanted worker is ready, and the agent.
    #[default]
    Ready,
    /// A reload is over.
    Reloaded,
    /// Nothing is left.
    Stopped,
}

/// Which running application is meant.
#[derive(Args, Clone, Debug, Default)]
pub struct Whom {
    /// Which application: a title that runs or is known, else a directory or script (`./svc` always is) [default: that of the
    /// current directory, else the only one that runs]
    // A negative number is one for `scale`, which takes its two words in either order.
    #[arg(value_name = "TITLE|DIR|SCRIPT", allow_negative_numbers = true)]
    pub name: Option<PathBuf>,

    /// The application's title, compared exactly; it decides, whatever the directory
    #[arg(long, allow_hyphen_values = true)]
    pub title: Option<String>,

    /// Whose application; another user's only as root, who then acts as that user [default: your own]
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
}

/// What can be typed after `eggctl logs`.
#[derive(Args, Clone, Debug, Default)]
pub struct LogsFlags {
    /// Which application: a title that runs or is known, else a directory or script (`./svc` always is) [default: that of the
    /// current directory, else the only one that is known]
    #[arg(value_name = "TITLE|DIR|SCRIPT")]
    pub place: Option<PathBuf>,

    /// The application's title, compared exactly; it decides, whatever the directory
    #[arg(long, allow_hyphen_values = true)]
    pub title: Option<String>,

    /// Go on with what is printed from now on, through every rotation; begins with the last 10 lines
    #[arg(long, short)]
    pub follow: bool,

    /// Only the last N lines of each log, of those that the other flags choose; `all` for all
    #[arg(long, short = 'n', value_name = "N")]
    pub lines: Option<String>,

    /// Only lines of this time or later: `10m` (ago; s, m, h, d, w), `05:13`, `2026-11-21 05:13:58`, with `Z` or an offset.
    /// A line is judged by the time it begins with (Egg's or ISO 8601), else by the line before it; lines before the first
    /// time in a file are shown if the file was written in that time
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,

    /// Only lines of this time or earlier; as --since
    #[arg(long, value_name = "TIME", conflicts_with = "follow")]
    pub until: Option<String>,

    /// Only lines that this regular expression matches; `(?i)` before it ignores case
    #[arg(long, short, value_name = "REGEX", allow_hyphen_values = true)]
    pub grep: Option<String>,

    /// Only what went to stdout [default: stdout's log, then stderr's]
    #[arg(long)]
    pub stdout: bool,

    /// Only what went to stderr
    #[arg(long)]
    pub stderr: bool,

    /// What became of the bytes of each log, while the application runs: in, written, dropped; how often a new file began
    #[arg(long, conflicts_with_all = ["follow", "lines", "since", "until", "grep", "stdout", "stderr", "reopen"])]
    pub ledger: bool,

    /// Have the log files opened anew, after another program has renamed them
    #[arg(long, conflicts_with_all = ["follow", "lines", "since", "until", "grep", "stdout", "stderr", "json"])]
    pub reopen: bool,

    /// An object of JSON for each line: stream, file, time (null without one), line (or hex, if it is no UTF-8)
    #[arg(long)]
    pub json: bool,

    /// Whose application; another user's only as root, who then acts as that user [default: your own]
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
}
