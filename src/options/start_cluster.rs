//! What Egg's own master is told, `node <flags> …/start-cluster '{options}'`, as `Options`: for a master that stands where
//! node stood. The rules are egg-cluster's (its `utils/options.js`), but for what is wrong: that is told.
//!
//! Whoever typed this (egg-scripts, or a program of the user's) has looked at flags and package.json already, and has made
//! the environment and the directory that the members inherit.

use std::ffi::OsString;
use std::path::Path;

use serde_json::{Map, Value};

use super::asked::Asked;
use super::egg::EggOptions;
use super::flags::StartFlags;
use super::package::is_truthy;
use super::place::Place;
use super::resolve::{close_grace_ms, home, log_level};
use super::serving::Serving;
use super::settings::Settings;
use super::surroundings::{Found, Surroundings};
use super::{LONGEST_TITLE, Options, Title, Variables, program};
use crate::error::Failure;

/// How long a member may boot. Whoever started this master limits its start; Egg's members give up by themselves after 10
/// minutes (`workerStartTimeout`). This is for those that hang so that they cannot.
const BOOT_GRACE_MS: u64 = 15 * 60 * 1_000;

/// The variable with the node program that the members run.
const NODE: &str = "EGGCTL_NODE";

/// What was typed: all but the script, which is not looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartCluster {
    /// Node's flags before the script.
    pub node_flags: Vec<OsString>,
    /// What stands behind the script.
    pub arguments: Vec<OsString>,
}

impl StartCluster {
    /// Node's flags, which every member gets, too.
    fn node_flags(&self) -> Result<Vec<String>, Failure> {
        let text = |flag: &OsString| {
            flag.to_str().map(str::to_owned).ok_or_else(|| Failure::bad_start_cluster("a flag of node is not UTF-8"))
        };
        self.node_flags.iter().map(text).collect()
    }

    /// Does it say which title the master is to have?
    #[must_use]
    pub fn names_title(&self) -> bool {
        // What cannot be read is told by [`resolve_start_cluster`].
        self.options().is_ok_and(|options| options.get("title").is_some_and(|title| title != ""))
    }

    /// The options as they were given; what means "none" to egg-cluster is taken away.
    fn options(&self) -> Result<Map<String, Value>, Failure> {
        let json = self.arguments.first().ok_or_else(|| Failure::bad_start_cluster("there are none"))?;
        let json = json.to_str().ok_or_else(|| Failure::bad_start_cluster("they are not UTF-8"))?;
        let mut options: Map<String, Value> = serde_json::from_str(json).map_err(Failure::bad_start_cluster)?;
        options.retain(|key, value| match key.as_str() {
            "workers" | "port" | "framework" | "env" => is_truthy(value),
            _ => !value.is_null(),
        });
        // The old name, which egg-cluster still takes.
        if let Some(custom) = options.remove("customEgg") {
            options.entry("framework").or_insert(custom);
        }
        // egg-scripts puts it there for `ps`; the options come first.
        let title = self.arguments.iter().find_map(|argument| argument.to_str()?.strip_prefix("--title="));
        if let Some(title) = title {
            options.entry("title").or_insert(title.into());
        }
        Ok(options)
    }
}

/// Resolves and checks everything; changes nothing. `pid` is put at the end of a default title: another master of this
/// application has the plain one.
///
/// # Errors
/// The first thing that is wrong: exit 2, or 1 for a node that cannot be run.
pub fn resolve_start_cluster(
    typed: &StartCluster,
    pid: Option<u32>,
    around: &Surroundings,
) -> Result<Options, Failure> {
    let node_flags = typed.node_flags()?;
    let options = typed.options()?;
    let given = Variables::of_user(around.environment.clone());
    let mut around = around.clone();
    // Those of egg-scripts, not of the master.
    let not_read = ["PORT", "EGG_WORKERS"].into_iter().chain(options.contains_key("env").then_some("EGG_SERVER_ENV"));
    for name in not_read {
        around.environment.remove(std::ffi::OsStr::new(name));
    }
    let settings = Settings::of_start_cluster(options);
    let flags = StartFlags::default();
    let asked = Asked { flags: &flags, around: &around, settings: &settings, kept: None };

    let base_dir = settings.text("baseDir")?;
    let place = Place::find(base_dir.as_ref().map(|found| Path::new(&found.text)), &around.cwd)?;
    let name = place.name()?.ok_or_else(|| Failure::no_package_json(&place.base_dir))?;
    let framework = place.framework(asked.framework()?, &around.cwd)?;
    let framework = framework.ok_or_else(|| Failure::not_egg(&place.base_dir))?;
    let title: Title = match pid {
        Some(pid) => asked.title(&with_pid(&name, pid))?,
        None => asked.title(&name)?,
    };
    let ((workers, _), env, serving) = (asked.workers()?, asked.env()?, Serving::of(&asked, &place.base_dir)?);
    let port = asked.port(Some(framework.family), serving.default_port())?;
    let port_from = asked.port_from(Some(framework.family))?;
    let application = EggOptions {
        base_dir: &place.base_dir,
        title: &title,
        workers,
        port,
        env: env.as_deref(),
        modules: settings.modules()?,
        source_maps: settings.truth("sourcemap")?.unwrap_or(false),
        serving,
        others: settings.of_egg()?,
    };
    let application = application.application(framework)?;
    let logs = home(&around)?.join("logs");
    let node = around.variable(NODE).unwrap_or("node".as_ref());
    let path = around.variable("PATH").unwrap_or_default();
    // The members inherit all of the environment; this one they are told apart by.
    let node_env = around.variable("NODE_ENV").map(|value| ("NODE_ENV".into(), value.to_owned()));
    Ok(Options {
        // egg-scripts, or whoever else stands above, has opened the files for our output.
        logs: None,
        node: program::find(Path::new(node), path, &around.cwd)?,
        given,
        from_files: Variables::default(),
        environment: node_env.into_iter().collect(),
        title,
        name: name.text,
        application,
        arguments: Vec::new(),
        said: None,
        workers,
        workers_from_cpus: asked.workers_from_cpus()?,
        scaled_from: None,
        port,
        port_from,
        dispatch: asked.dispatch()?,
        host: asked.host(),
        daemon: false,
        spares: 0,
        exit_when_down: false,
        stdout: logs.join("master-stdout.log"),
        stderr: logs.join("master-stderr.log"),
        timeout_ms: BOOT_GRACE_MS,
        ignore_stderr: true,
        node_flags,
        preload: true,
        log_level: log_level(&around)?,
        worker_close_grace_ms: close_grace_ms("EGG_APP_CLOSE_TIMEOUT", &around)?,
        agent_close_grace_ms: close_grace_ms("EGG_AGENT_CLOSE_TIMEOUT", &around)?,
        cookie: String::new(),
        base_dir: place.base_dir.clone(),
        directory: around.cwd.clone(),
        env,
    })
}

/// The name with the pid after it, cut so that it makes a title that is short enough.
fn with_pid(name: &Found, pid: u32) -> Found {
    const MOST: usize = LONGEST_TITLE - "egg-server-".len() - "-4294967295".len();
    let end = (0..=MOST.min(name.text.len())).rev().find(|end| name.text.is_char_boundary(*end));
    Found { text: format!("{}-{pid}", &name.text[..end.unwrap_or(0)]), source: name.source }
}
