//! `eggctl start`: resolve and check everything, take the title's lock, then become the master (foreground) or detach it
//! and wait until it is ready or has failed.

mod detach;
pub(super) mod log_files;
mod story;
mod tree;
mod verdict;
mod wait;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::{fs, io};

use crate::app;
use crate::error::{Exit, Failure};
use crate::options::flags::StartFlags;
use crate::options::{
    self, AGENTS_LOG, Options, Restarted, Surroundings, Title, Variables, member_log, spares_log, workers_log,
};
use crate::state::{self, Command, Directory, LockOutcome, LogFile, Logs, Record, Stream, TitleLock};
use crate::sys::crossing::{self, Crossing};
use crate::sys::inherited::Given;
use crate::sys::proc::Reader;
use crate::sys::{cpus, inherited, output, sockets};

use super::choice::shown;
use super::object::Object;
use super::progress::Progress;
use super::{cwd, masters, restart, user};
use log_files::LogFiles;

/// The current directory of a start whose own has been removed.
const NOWHERE: &str = "/";

/// Runs the command.
///
/// # Errors
/// A [`Failure`] for whatever the user can mend.
pub fn run(flags: &StartFlags, object: &mut Object) -> anyhow::Result<Exit> {
    // First: nothing else may have been opened (see there).
    let inherited = inherited::arrive()?;
    if restarted().is_some() {
        restart::go_on(object);
    }
    let started = resolve(flags, object).and_then(|options| {
        let title = take_title(&options, object)?;
        begin(options, title, By::Command { inherited }, object)
    });
    match restarted() {
        Some(restarted) => started.map_err(|error| {
            let why = error.downcast().unwrap_or_else(|error| Failure::new(Exit::Failed, format!("{error:#}")));
            let title = shown(&restarted.title);
            Failure::down_after_restart(&title, &user::flags(&title, &restarted.user), why).into()
        }),
        None => started,
    }
}

/// What a restart has stopped that has become this start.
fn restarted() -> Option<Restarted> {
    std::env::var(options::RESTART_VARIABLE).ok().as_deref().and_then(Restarted::read)
}

/// A title that is this process' own.
pub struct Taken {
    directory: Directory,
    lock: TitleLock,
}

/// How this process was started.
pub enum By {
    /// By `eggctl start`, with these sockets.
    Command {
        /// What was inherited.
        inherited: Vec<Given>,
    },
    /// In the place of node: by a parent with this channel, or from a shell.
    StartCluster {
        /// The parent's channel.
        channel: Option<OwnedFd>,
    },
}

/// Becomes the master, or detaches it and waits.
///
/// # Errors
/// A [`Failure`] for whatever the user can mend.
pub fn begin(mut options: Options, title: Taken, by: By, object: &mut Object) -> anyhow::Result<Exit> {
    let Taken { directory, lock } = title;
    options.take_cookie(state::new_cookie(&options.title)?);
    // What is typed in the place of node is no command that a reload could read again.
    let (command, channel, inherited) = match by {
        By::Command { inherited } => (Some(typed()), None, inherited),
        By::StartCluster { channel } => (None, channel, Vec::new()),
    };
    record(&options, command, &directory)?;
    let program = crossing::own_program()?;
    make_directories(&options);
    let logs = log_files::open(&mut options)?;
    keep_logs(&options, &directory);
    let memory = crossing::options_memory(&serde_json::to_vec(&options)?)?;
    let ledger = logs.as_ref().map(|logs| logs.ledger.try_clone()).transpose()?;
    let crossing = Crossing { options: memory, lock: lock.into(), ledger, channel, inherited };
    if let Some(said) = &options.said {
        output::say(said);
        object.fact("notes", [said]);
    }
    let mut arguments = vec![OsString::from("eggctl")];
    arguments.extend(app::master_arguments(&options));
    let environment = environment(&options);
    if let Some(logs) = logs {
        if options.daemon {
            let master = detach::Master { program: &program, arguments: &arguments, environment: &environment };
            return start_detached(&options, &directory, &master, crossing, &logs, object);
        }
        nix::unistd::dup2_stdout(&logs.stdout)?;
        nix::unistd::dup2_stderr(&logs.stderr)?;
    }
    // In the foreground the application is in the hands of whatever keeps this process.
    forget_again(&options, &directory);
    let failed = crossing.exec(&program, &arguments, &environment);
    Err(Failure::new(Exit::Failed, "cannot become the master").because(failed).into())
}

fn resolve(flags: &StartFlags, object: &mut Object) -> anyhow::Result<Options> {
    check_kernel()?;
    let around = around(Variables::of_user(std::env::vars_os()), typed_in(flags)?);
    let scaled = restarted().and_then(|restarted| restarted.scaled);
    let options = options::resolve(flags, &Surroundings { scaled, ..around })?;
    object.fact("title", &options.title);
    object.fact("directory", options.base_dir.to_string_lossy());
    if object.is_wanted() && !options.daemon {
        return Err(Failure::json_in_the_foreground().into());
    }
    if options.daemon && std::process::id() == 1 {
        let failure = Failure::new(Exit::Usage, "`--daemon` makes no sense as PID 1")
            .because("when the first process of a container ends, the kernel kills the rest")
            .hint("leave `--daemon` away: the master then is PID 1");
        return Err(failure.into());
    }
    Ok(options)
}

/// The environment, directory and limits that this process was started with.
///
/// # Errors
/// The directory has been removed.
pub fn surroundings() -> Result<Surroundings, Failure> {
    let cwd = cwd::current().map_err(|error| Failure::no_current_directory(&error))?;
    Ok(around(Variables::of_user(std::env::vars_os()), cwd))
}

/// This environment and directory, with the limits that this process was started with.
pub fn around(environment: Variables, cwd: PathBuf) -> Surroundings {
    let passwd = nix::unistd::User::from_uid(nix::unistd::getuid()).ok().flatten();
    let passwd_home = passwd.map(|user| user.dir);
    Surroundings { environment: environment.0, cwd, passwd_home, usable_cpus: cpus::usable(), scaled: None }
}

/// Where typed paths are seen from. A start whose paths are all absolute needs no directory that exists.
fn typed_in(flags: &StartFlags) -> Result<PathBuf, Failure> {
    cwd::current().or_else(|error| match flags.names_a_relative_path() {
        true => Err(Failure::no_current_directory(&error)),
        false => Ok(NOWHERE.into()),
    })
}

/// The environment of this command in the place of `old`, which the user gave to a start. What says where the start was typed
/// and where its state is stays as it was.
pub fn updated(old: &BTreeMap<OsString, OsString>) -> BTreeMap<OsString, OsString> {
    let stays = |name: &OsStr| name == "PWD" || name == state::STATE_DIR;
    let own = Variables::of_user(std::env::vars_os()).0.into_iter().filter(|(name, _)| !stays(name));
    let kept = old.iter().filter(|(name, _)| stays(name)).map(|(name, value)| (name.clone(), value.clone()));
    own.chain(kept).collect()
}

/// What was around the start of a running master: the environment that the user gave to it, in this directory. And what it
/// runs with, where it shows that.
///
/// # Errors
/// It has gone.
pub fn surroundings_of(master: u32, cwd: &Path) -> anyhow::Result<(Surroundings, Option<Options>)> {
    let closed = |why: io::Error| environment_closed(master, &why);
    let options = crossing::options_of(master).map_err(closed)?;
    let options = options.and_then(|content| serde_json::from_slice::<Options>(&content).ok());
    let environment = match &options {
        Some(options) => options.given.clone(),
        // An older master shows only what was made of it.
        None => Variables::of_user(Reader::default().environment(master).map_err(closed)?),
    };
    Ok((around(environment, cwd.to_owned()), options))
}

/// What keeps the environment of a master from us: the kernel shows it only to a process with the master's user and group.
fn environment_closed(master: u32, why: &io::Error) -> Failure {
    let group = fs::metadata(format!("/proc/{master}")).map(|found| found.gid()).ok();
    let own = nix::unistd::getegid().as_raw();
    let another = group.filter(|group| *group != own && why.kind() == io::ErrorKind::PermissionDenied);
    Failure::environment_closed(master, why, another.map(|group| (group, own, user::uid())))
}

/// pidfds, `close_range` and `renameat2` are taken for granted: Linux 5.10 has them all.
pub fn check_kernel() -> anyhow::Result<()> {
    let name = nix::sys::utsname::uname()?;
    let release = name.release().to_string_lossy().into_owned();
    let mut numbers = release.split(|byte: char| !byte.is_ascii_digit()).filter_map(|part| part.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version >= (5, 10) {
        return Ok(());
    }
    let failure = Failure::new(Exit::Failed, format!("Linux {release} is too old"));
    Err(failure.because("eggctl needs 5.10 or newer").into())
}

/// Takes the title, or says that another master has it.
///
/// # Errors
/// It is taken, or the state directory cannot be used.
pub fn take_title(options: &Options, object: &mut Object) -> anyhow::Result<Taken> {
    match try_title(options)? {
        Ok(taken) => Ok(taken),
        Err(pid) => {
            pid.into_iter().for_each(|pid| object.fact("master", pid));
            Err(already(options, pid).into())
        }
    }
}

/// Takes the title's lock, and asks /proc too: a lost state directory must not yield two masters. Inside: the pid of the
/// master that has it, as far as it is known.
///
/// # Errors
/// The state directory cannot be used.
pub fn try_title(options: &Options) -> anyhow::Result<Result<Taken, Option<u32>>> {
    let directory = Directory::open()?;
    let lock = match directory.lock(&options.title)? {
        LockOutcome::Locked(lock) => lock,
        LockOutcome::Held(holder) => return Ok(Err(holder.pid())),
    };
    Ok(match masters::of_title(&options.title)?.first() {
        Some(running) => Err(Some(running.pid)),
        None => Ok(Taken { directory, lock }),
    })
}

/// Writes who the master is to be. Commands find it by this.
fn record(options: &Options, command: Option<Command>, directory: &Directory) -> anyhow::Result<()> {
    let mut record = Record::of_self(options)?;
    record.command = command;
    if let Some(before) = directory.read_record(&options.title) {
        record.follow(before);
    }
    Ok(directory.write_record(&record)?)
}

/// What was typed behind `eggctl start`, and where.
fn typed() -> Command {
    let cwd = cwd::current().unwrap_or_else(|_| NOWHERE.into());
    Command { arguments: std::env::args_os().skip(2).collect(), cwd: cwd.into() }
}

fn already(options: &Options, pid: Option<u32>) -> Failure {
    let title = options.title.as_str();
    let pid = pid.map_or_else(|| "its pid is not known yet".to_owned(), |pid| format!("pid {pid}"));
    Failure::new(Exit::Failed, format!("`{title}` is already running: {pid}"))
        .hint(format!("`eggctl stop --title={title}` ends it; another `--title` starts one beside it"))
}

/// The directory that egg-scripts makes for Node's own logs. Nothing of ours needs it: a start goes on without.
fn make_directories(options: &Options) {
    if let Some(directory) = options.node_log_dir()
        && let Err(error) = std::fs::create_dir_all(directory)
    {
        output::complain(format_args!("warning: cannot make NODE_LOG_DIR `{}`: {error}", directory.display()));
    }
}

/// Keeps where the logs are for `eggctl logs`. A start goes on without.
fn keep_logs(options: &Options, directory: &Directory) {
    let (mut files, mut others) = (Vec::new(), Vec::new());
    if let Some(logs) = &options.logs {
        let mut members: Vec<String> = Vec::new();
        if logs.per_member {
            members.extend(options.has_agent().then(|| AGENTS_LOG.to_owned()));
            members.extend((0..options.workers).map(workers_log));
            members.extend((0..options.spares).map(spares_log));
        }
        let of_members =
            |path: &Path, which| members.iter().map(move |member| member_log(path, member, which)).collect();
        let stdouts: Vec<PathBuf> = of_members(&options.stdout, "stdout");
        let stderrs: Vec<PathBuf> = of_members(&options.stderr, "stderr");
        files.extend([options.stdout.clone()].into_iter().chain(stdouts));
        others.extend([options.stderr.clone()].into_iter().chain(stderrs));
    }
    let stdouts = files.into_iter().map(|path| LogFile { stream: Stream::Stdout, path });
    let stderrs = others.into_iter().map(|path| LogFile { stream: Stream::Stderr, path });
    if let Err(failure) = directory.write_logs(&Logs::of(options, stdouts.chain(stderrs).collect())) {
        output::complain(format_args!("warning: `eggctl logs` will not find the logs of this start: {failure}"));
    }
}

/// What the user gave, with what the options say.
fn environment(options: &Options) -> Vec<(OsString, OsString)> {
    let mut variables = options.given.0.clone();
    variables.extend(options.environment.iter().cloned());
    variables.into_iter().collect()
}

/// It runs, and so does what a restart has stopped for it: that may have had another title, as it was configured then.
fn forget_again(options: &Options, directory: &Directory) {
    let before = restarted().and_then(|restarted| Title::try_from(restarted.title).ok());
    before.iter().chain([&options.title]).for_each(|title| directory.forget_again(title));
}

fn start_detached(
    options: &Options,
    directory: &Directory,
    master: &detach::Master<'_>,
    mut crossing: Crossing,
    logs: &LogFiles,
    object: &mut Object,
) -> anyhow::Result<Exit> {
    let (ours, theirs) = sockets::channel_pair()?;
    crossing.channel = Some(theirs);
    // Held until the tree of a failed start is gone, so that nobody starts the title again before.
    let held = crossing.lock.try_clone()?;
    story::starting(options, object);
    let mut tree = tree::Tree::of_this_process()?;
    let (stdout, stderr) = (logs.stdout.try_clone()?, logs.stderr.try_clone()?);
    detach::detach(master, stdout, stderr, crossing)?;
    // A wait that fails ends the tree like a start that fails.
    let waited = wait::wait(options, logs, ours.try_clone()?, &mut tree);
    let ending = waited.unwrap_or_else(|error| wait::Ending::NotWaited(format!("{error:#}")));
    if let wait::Ending::Ready(ready) = ending {
        forget_again(options, directory);
        story::ready(options, &ready, object);
        return Ok(Exit::Done);
    }
    let progress = Progress::new("stopping", shown(&options.name), "the start is given up");
    let left = tree.end(&ending, &ours);
    drop(progress);
    let left = left?;
    directory.retire_record(&options.title);
    drop(held);
    object.fact("alive", &left);
    Err(story::failure(options, &ending, logs, tree.master(), left).into())
}
