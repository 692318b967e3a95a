//! From what was typed and what is around to `Options`. The rules and defaults are egg-scripts' (its `start` command),
//! but for what is wrong: there is no silent default for a value that makes no sense.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use super::flags::StartFlags;
use super::place::{Place, checked_title, title_from};
use super::surroundings::{Found, Surroundings};
use super::{MOST_WORKERS, Options, program};
use crate::error::Failure;

/// How long a start may take when nobody says: egg-scripts' default.
const DEFAULT_TIMEOUT_MS: u64 = 300_000;
/// How long agent and workers may take to close when nobody says: egg-cluster's default.
const DEFAULT_CLOSE_GRACE_MS: u64 = 5_000;
/// The longest length of time that a user can set: epoll takes no longer wait. Almost 25 days.
pub(super) const LONGEST_MS: u64 = i32::MAX as u64;

/// Resolves and checks everything that a start needs; changes nothing. What is missing is the cookie
/// ([`Options::take_cookie`]), which is made when the title is taken.
///
/// The cli creates what is missing: the logs' directories, and (for Node's alinode, without which a start works too) the
/// environment's `NODE_LOG_DIR`.
///
/// # Errors
/// The first thing that is wrong, with the flag, variable or file it came from: exit 2, or 1 for a node that cannot be run.
pub fn resolve(flags: &StartFlags, around: &Surroundings) -> Result<Options, Failure> {
    let place = Place::find(flags.place.as_deref(), &around.cwd)?;
    let name = place.name()?.ok_or_else(|| Failure::no_package_json(&place.base_dir))?;
    let application = place.application()?;
    let title = match Found::flag("--title", flags.title.as_ref()) {
        Some(typed) => checked_title(typed)?,
        None => title_from(&name)?,
    };
    let timeout_ms = match Found::flag("--timeout", flags.timeout.as_ref()) {
        Some(typed) => typed.number("timeout", 1, LONGEST_MS)?,
        None => DEFAULT_TIMEOUT_MS,
    };
    let workers = workers(flags, around)?;
    let port = port(flags, around)?;
    // `--env=$UNSET` in a script is no choice of environment.
    let typed_env = Found::flag("--env", flags.env.as_ref()).filter(|env| !env.text.is_empty());
    let env = around.first(typed_env, "EGG_SERVER_ENV")?.map(|found| found.text);
    let home = home(around)?;
    let environment = Environment { around, base_dir: &place.base_dir, home: &home, env: env.as_deref(), port };
    let log = |typed: &Option<PathBuf>, name: &str| match typed {
        Some(typed) => around.cwd.join(typed),
        None => home.join("logs").join(name),
    };
    Ok(Options {
        node: program::find(flags.node.as_deref().unwrap_or(Path::new("node")), &environment.path(), &around.cwd)?,
        environment: environment.list(),
        title,
        name: name.text,
        application,
        workers,
        port,
        host: around.variable("HOST").and_then(OsStr::to_str).map(str::to_owned),
        daemon: flags.daemon,
        stdout: log(&flags.stdout, "master-stdout.log"),
        stderr: log(&flags.stderr, "master-stderr.log"),
        timeout_ms,
        ignore_stderr: flags.ignore_stderr,
        node_flags: node_flags(&flags.require, &place.base_dir),
        preload: !flags.no_preload,
        worker_close_grace_ms: close_grace_ms("EGG_APP_CLOSE_TIMEOUT", around)?,
        agent_close_grace_ms: close_grace_ms("EGG_AGENT_CLOSE_TIMEOUT", around)?,
        cookie: String::new(),
        env,
        base_dir: place.base_dir,
    })
}

fn workers(flags: &StartFlags, around: &Surroundings) -> Result<u32, Failure> {
    let typed = Found::flag("--workers", flags.workers.as_ref());
    let Some(found) = around.first(typed, "EGG_WORKERS")? else {
        return Ok(around.usable_cpus.clamp(1, MOST_WORKERS));
    };
    let count = found.number("workers", 1, u64::from(MOST_WORKERS))?;
    Ok(u32::try_from(count).unwrap_or(MOST_WORKERS))
}

fn port(flags: &StartFlags, around: &Surroundings) -> Result<Option<u16>, Failure> {
    let Some(found) = around.first(Found::flag("--port", flags.port.as_ref()), "PORT")? else { return Ok(None) };
    match found.number("port", 1, u64::from(u16::MAX)) {
        Ok(port) => Ok(u16::try_from(port).ok()),
        // egg-scripts takes 0 for "none given", others for "any free port": ask.
        Err(failure) if found.text == "0" => {
            Err(failure.hint("without `--port` and `$PORT` the port is the first that the application listens on"))
        }
        Err(failure) => Err(failure),
    }
}

/// egg-scripts' home (its `node-homedir`): `MOCK_HOME_DIR`, then the passwd database, and only then `$HOME`.
fn home(around: &Surroundings) -> Result<PathBuf, Failure> {
    around
        .variable("MOCK_HOME_DIR")
        .map(PathBuf::from)
        .or_else(|| around.passwd_home.clone().filter(|home| !home.as_os_str().is_empty()))
        .or_else(|| around.variable("HOME").map(PathBuf::from))
        .map(|home| around.cwd.join(home))
        .ok_or_else(Failure::no_home)
}

/// Milliseconds; `EGG_MASTER_CLOSE_TIMEOUT` stands in for the role's own variable, as in egg-cluster. 0 is "KILL at once".
fn close_grace_ms(variable: &'static str, around: &Surroundings) -> Result<u64, Failure> {
    let found = around.first(around.text(variable)?, "EGG_MASTER_CLOSE_TIMEOUT")?;
    found.map_or(Ok(DEFAULT_CLOSE_GRACE_MS), |found| found.number("close timeout", 0, LONGEST_MS))
}

/// What egg-scripts always gives to node, then the `--require` pairs. `./x` is the application's; everything else is a
/// module's name or absolute, and node's to find.
fn node_flags(required: &[String], base_dir: &Path) -> Vec<String> {
    let mut flags = vec!["--no-deprecation".to_owned(), "--trace-warnings".to_owned()];
    for module in required {
        flags.push("--require".to_owned());
        flags.push(match module.strip_prefix("./") {
            Some(inside) => base_dir.join(inside).to_string_lossy().into_owned(),
            None => module.clone(),
        });
    }
    flags
}

/// What the environment of master and members is made from.
struct Environment<'a> {
    around: &'a Surroundings,
    base_dir: &'a Path,
    home: &'a Path,
    env: Option<&'a str>,
    port: Option<u16>,
}

impl Environment<'_> {
    /// The application's own programs first.
    fn path(&self) -> OsString {
        let mut path = self.base_dir.join("node_modules/.bin").into_os_string();
        path.push(":");
        path.push(self.base_dir.join(".node/bin"));
        // No empty part at the end: it would mean the current directory.
        if let Some(inherited) = self.around.variable("PATH") {
            path.push(":");
            path.push(inherited);
        }
        path
    }

    /// All that is set over what is inherited.
    fn list(&self) -> Vec<(OsString, OsString)> {
        let node_logs = match self.around.variable("NODE_LOG_DIR") {
            Some(kept) => kept.to_owned(),
            None => self.home.join("logs/alinode").into_os_string(),
        };
        let mut list: Vec<(&str, OsString)> = vec![
            ("HOME", self.home.into()),
            ("NODE_ENV", "production".into()),
            ("PATH", self.path()),
            ("ENABLE_NODE_LOG", "YES".into()),
            ("NODE_LOG_DIR", node_logs),
        ];
        if let Some(env) = self.env {
            list.push(("EGG_SERVER_ENV", env.into()));
        }
        if let Some(port) = self.port {
            list.push(("PORT", port.to_string().into()));
        }
        list.into_iter().map(|(name, value)| (OsStr::new(name).to_owned(), value)).collect()
    }
}
