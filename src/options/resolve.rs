//! From what was typed and what is around to `Options`. The rules and defaults are egg-scripts' (its `start` command),
//! but for what is wrong: there is no silent default for a value that makes no sense.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use super::asked::{Asked, LONGEST_MS};
use super::changed::{Changed, Kept};
use super::egg::EggOptions;
use super::flags::StartFlags;
use super::node_flags::NodeFlags;
use super::place::Place;
use super::serving::Serving;
use super::settings::Settings;
use super::surroundings::{Source, Surroundings};
use super::{Application, Family, LogLevel, Options, Variables, env_file, program};
use crate::error::Failure;

/// How long agent and workers may take to close when nobody says: egg-cluster's default.
const DEFAULT_CLOSE_GRACE_MS: u64 = 5_000;

/// Resolves and checks everything that a start needs; changes nothing. What is missing is the cookie
/// ([`Options::take_cookie`]), which is made when the title is taken.
///
/// The cli creates what is missing: the logs' directories, and (for Node's alinode, without which a start works too) the
/// environment's `NODE_LOG_DIR`.
///
/// # Errors
/// The first thing that is wrong, with the flag, variable or file it came from: exit 2, or 1 for a node that cannot be run.
pub fn resolve(flags: &StartFlags, around: &Surroundings) -> Result<Options, Failure> {
    resolve_with(flags, around, None)
}

/// The same for a reload of a master that runs with these options: what it brings, and what it cannot bring.
///
/// # Errors
/// As above.
pub fn resolve_for(
    running: &Options,
    flags: &StartFlags,
    around: &Surroundings,
) -> Result<(Options, Vec<Changed>), Failure> {
    let found = resolve(flags, around)?;
    let changes = running.changes(&found);
    // What members are told of a setting that stays must be the old one, wherever it stands.
    let kept = Kept::new(running, &found);
    Ok((resolve_with(flags, around, Some(&kept))?, changes))
}

fn resolve_with(flags: &StartFlags, around: &Surroundings, kept: Option<&Kept<'_>>) -> Result<Options, Failure> {
    if flags.place.is_none() && !flags.arguments.is_empty() {
        return Err(Failure::arguments_of_nothing());
    }
    let place = Place::find(flags.place.as_deref(), &around.cwd)?;
    let name = place.name()?.ok_or_else(|| Failure::no_package_json(&place.base_dir))?;
    let settings = place.settings()?;
    let given = Variables::of_user(around.environment.clone());
    let from_files = env_file::read(&env_files(flags, &settings, &place.base_dir, &around.cwd)?, around)?;
    let around = &with(around, &from_files);
    let asked = Asked { flags, around, settings: &settings, kept };
    let framework = place.framework(asked.framework()?, &around.cwd)?;
    let family = framework.as_ref().map(|framework| framework.family);
    let title = asked.title(&name)?;
    let ((workers, configured), env) = (asked.workers()?, asked.env()?);
    let base_dir = place.base_dir.as_path();
    let serving = match family {
        Some(_) => Serving::of(&asked, base_dir)?,
        None => Serving::of_node(&asked)?,
    };
    let port = asked.port(family, serving.default_port())?;
    let node = NodeFlags { flags, settings: &settings, package: place.package.as_ref(), base_dir, family };
    let (application, script) = match framework {
        None => place.node_application(serving.sticky).map(|(application, script)| (application, Some(script)))?,
        Some(framework) => {
            let modules = if framework.family == Family::Four { node.modules()? } else { Vec::new() };
            let (source_maps, others) = (node.wants_source_maps()?, settings.of_egg()?);
            let env = env.as_deref();
            let options =
                EggOptions { base_dir, title: &title, workers, port, env, modules, source_maps, serving, others };
            (options.application(framework)?, None)
        }
    };
    let (found, said) = script.map_or((Vec::new(), None), |script| (script.arguments, script.said));
    let arguments: Vec<OsString> =
        found.into_iter().map(OsString::from).chain(flags.arguments.iter().cloned()).collect();
    let (daemon, logs_kept) = (asked.daemon()?, asked.logs()?);
    let home = home(around)?;
    let is_egg = matches!(application, Application::Egg { .. });
    let environment = Derived { around, base_dir, home: &home, env: env.as_deref(), port, is_egg };
    let logs = home.join("logs");
    let log = |typed: &Option<PathBuf>, key, name| {
        asked.log(typed.as_deref(), key).map(|found| found.unwrap_or_else(|| logs.join(name)))
    };
    Ok(Options {
        node: program::find(&asked.node()?, &environment.path(), &around.cwd)?,
        given,
        from_files,
        environment: environment.list(),
        title,
        name: name.text,
        application,
        arguments,
        said,
        workers,
        workers_from_cpus: asked.workers_from_cpus()?,
        scaled_from: (workers != configured).then_some(configured),
        port,
        port_from: asked.port_from(family)?,
        dispatch: asked.dispatch()?,
        host: asked.host(),
        spares: asked.spares()?,
        exit_when_down: asked.exit_when_down()?,
        daemon,
        logs: (daemon || asked.log_to_files()?).then_some(logs_kept),
        stdout: log(&flags.stdout, "stdout", "master-stdout.log")?,
        stderr: log(&flags.stderr, "stderr", "master-stderr.log")?,
        timeout_ms: asked.timeout_ms()?,
        ignore_stderr: asked.ignore_stderr()?,
        node_flags: node.list()?,
        preload: !flags.no_preload,
        log_level: log_level(around)?,
        worker_close_grace_ms: close_grace_ms("EGG_APP_CLOSE_TIMEOUT", around)?,
        agent_close_grace_ms: close_grace_ms("EGG_AGENT_CLOSE_TIMEOUT", around)?,
        cookie: String::new(),
        // Where @eggjs/scripts brings its master; egg-scripts 3 leaves it where the command was typed.
        directory: if family == Some(Family::Three) { around.cwd.clone() } else { place.base_dir.clone() },
        base_dir: place.base_dir.clone(),
        env,
    })
}

/// The files of variables: those that were typed, from the current directory, else those that are set, from the application's.
fn env_files(
    flags: &StartFlags,
    settings: &Settings,
    base_dir: &Path,
    cwd: &Path,
) -> Result<Vec<(PathBuf, Source)>, Failure> {
    if !flags.env_file.is_empty() {
        return Ok(flags.env_file.iter().map(|path| (cwd.join(path), Source::Flag("--env-file"))).collect());
    }
    let set = settings.texts("env-file", "a file's path or a list of them")?;
    Ok(set.into_iter().map(|path| (base_dir.join(path), Source::Setting("env-file"))).collect())
}

fn with(around: &Surroundings, from_files: &Variables) -> Surroundings {
    let mut around = around.clone();
    around.environment.extend(from_files.0.clone());
    around
}

/// egg-scripts' home (its `node-homedir`): `MOCK_HOME_DIR`, then the passwd database, and only then `$HOME`.
pub fn home(around: &Surroundings) -> Result<PathBuf, Failure> {
    around
        .variable("MOCK_HOME_DIR")
        .map(PathBuf::from)
        .or_else(|| around.passwd_home.clone().filter(|home| !home.as_os_str().is_empty()))
        .or_else(|| around.variable("HOME").map(PathBuf::from))
        .map(|home| around.cwd.join(home))
        .ok_or_else(Failure::no_home)
}

/// Milliseconds; `EGG_MASTER_CLOSE_TIMEOUT` stands in for the role's own variable, as in egg-cluster. 0 is "KILL at once".
pub fn close_grace_ms(variable: &'static str, around: &Surroundings) -> Result<u64, Failure> {
    let found = around.first(around.text(variable)?, "EGG_MASTER_CLOSE_TIMEOUT")?;
    found.map_or(Ok(DEFAULT_CLOSE_GRACE_MS), |found| found.number("close timeout", 0, LONGEST_MS))
}

/// egg-logger's names of levels. The master has no lines below INFO.
pub fn log_level(around: &Surroundings) -> Result<LogLevel, Failure> {
    const VARIABLE: &str = "EGG_MASTER_LOGGER_LEVEL";
    let Some(found) = around.text(VARIABLE)? else { return Ok(LogLevel::default()) };
    match found.text.to_uppercase().as_str() {
        "ALL" | "DEBUG" | "INFO" => Ok(LogLevel::Info),
        "WARN" => Ok(LogLevel::Warn),
        "ERROR" => Ok(LogLevel::Error),
        "NONE" => Ok(LogLevel::None),
        _ => Err(Failure::bad_log_level(&found.text, VARIABLE)),
    }
}

/// What is set over the user's environment is made from this.
struct Derived<'a> {
    around: &'a Surroundings,
    base_dir: &'a Path,
    home: &'a Path,
    env: Option<&'a str>,
    port: Option<u16>,
    is_egg: bool,
}

impl Derived<'_> {
    /// The application's own programs first.
    fn path(&self) -> OsString {
        let mut path = self.base_dir.join("node_modules/.bin").into_os_string();
        path.push(":");
        path.push(self.base_dir.join(".node/bin"));
        // No empty part at the end: it would mean the current directory.
        let Some(inherited) = self.around.variable("PATH") else { return path };
        path.push(":");
        path.push(inherited);
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
        // Egg's members are told in their options, and $PORT stays what it was.
        if let Some(port) = self.port.filter(|_| !self.is_egg) {
            list.push(("PORT", port.to_string().into()));
        }
        list.into_iter().map(|(name, value)| (OsStr::new(name).to_owned(), value)).collect()
    }
}
