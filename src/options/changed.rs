//! What a reload brings to a running master, and what it cannot bring: settings that have changed since the start and that only
//! a restart, or another command, applies.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Application, DispatchPolicy, Every, Family, Full, LogLevel, LogOptions, Options, Variables};

/// A setting that has changed and that a reload does not apply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// Its name: that of the flag without dashes, or of the variable.
    pub setting: String,
    /// What runs.
    pub from: String,
    /// What is configured.
    pub to: String,
    /// What applies it; `None`: a start at the place where this one, in the foreground, was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
}

impl fmt::Display for Changed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Changed { setting, from, to, command } = self;
        write!(out, "`{setting}` changed from {from} to {to}: ")?;
        match command {
            Some(command) => write!(out, "`{command}`"),
            None => write!(out, "restart it where it was started, since it runs in the foreground"),
        }
    }
}

/// The settings that a running master keeps whatever a reload finds, as far as members see them.
pub struct Kept<'a> {
    running: &'a Options,
    /// The environment decides whether the dead are replaced: the master cannot change its mind about that.
    pub keeps_env: bool,
}

impl<'a> Kept<'a> {
    /// Those of this master, where `found` is configured now.
    pub fn new(running: &'a Options, found: &Options) -> Self {
        Kept { running, keeps_env: running.replaces_the_dead() != found.replaces_the_dead() }
    }

    /// What runs.
    pub fn running(&self) -> &'a Options {
        self.running
    }
}

impl Options {
    /// These options with everything in it that a reload brings, from what was resolved anew. What a running master cannot
    /// change stays: [`Options::changes`] names it.
    #[must_use]
    pub fn renewed(&self, resolved: &Options) -> Options {
        let mut renewed = resolved.clone();
        renewed.title = self.title.clone();
        (renewed.workers, renewed.workers_from_cpus) = (self.workers, self.workers_from_cpus);
        renewed.scaled_from = self.scaled_from;
        (renewed.spares, renewed.daemon, renewed.dispatch) = (self.spares, self.daemon, self.dispatch);
        (renewed.stdout, renewed.stderr) = (self.stdout.clone(), self.stderr.clone());
        renewed.logs = self.logs.clone();
        (renewed.exit_when_down, renewed.timeout_ms) = (self.exit_when_down, self.timeout_ms);
        renewed.log_level = self.log_level;
        renewed.worker_close_grace_ms = self.worker_close_grace_ms;
        renewed.agent_close_grace_ms = self.agent_close_grace_ms;
        renewed.keep_kind(self);
        if renewed.given == Variables::default() {
            renewed.given = self.given.clone();
        }
        renewed.take_cookie(self.cookie.clone());
        renewed
    }

    /// The master knows whether there is an agent, and which protocol the members speak.
    fn keep_kind(&mut self, running: &Options) {
        if kind(&self.application) != kind(&running.application) {
            self.application = running.application.clone();
            self.node_flags = running.node_flags.clone();
        } else if let (Application::Node { agent, sticky, .. }, Application::Node { agent: old, sticky: kept, .. }) =
            (&mut self.application, &running.application)
        {
            *sticky = *kept;
            if agent.is_some() != old.is_some() {
                *agent = old.clone();
            }
        }
    }

    /// What `found`, resolved now, has changed that [`Options::renewed`] does not bring.
    #[must_use]
    pub fn changes(&self, found: &Options) -> Vec<Changed> {
        let kept = Kept::new(self, found);
        let (old, new) = (settings(self, &kept), settings(found, &kept));
        let changed = old.into_iter().filter_map(|(setting, from)| {
            let to = new.iter().find(|(other, _)| *other == setting).map(|(_, value)| value.clone())?;
            let command = match setting {
                // A restart keeps a scale.
                "workers" if self.scaled_from.is_some() => Some(format!("eggctl scale {to}")),
                _ => self.daemon.then(|| "eggctl restart".to_owned()),
            };
            (from != to).then(|| Changed { setting: setting.to_owned(), from, to, command })
        });
        changed.collect()
    }
}

/// The settings that are fixed while a master runs, by name.
fn settings(options: &Options, kept: &Kept<'_>) -> Vec<(&'static str, String)> {
    let level = match options.log_level {
        LogLevel::Info => "INFO",
        LogLevel::Warn => "WARN",
        LogLevel::Error => "ERROR",
        LogLevel::None => "NONE",
    };
    let dispatch = match options.dispatch {
        DispatchPolicy::RoundRobin => "round-robin",
        DispatchPolicy::Shared => "shared",
    };
    let mut settings = vec![
        ("title", options.title.as_str().to_owned()),
        ("application", kind(&options.application).to_owned()),
        ("agent", if options.has_agent() { "one".to_owned() } else { none() }),
        ("port", options.port.map_or_else(none, |port| port.to_string())),
        (
            "workers",
            if options.workers_from_cpus { "max".to_owned() } else { options.configured_workers().to_string() },
        ),
        ("spare", options.spares.to_string()),
        ("dispatch", dispatch.to_owned()),
        ("sticky", options.keeps_clients().to_string()),
        ("daemon", options.daemon.to_string()),
        ("exit-when-down", options.exit_when_down.to_string()),
        ("timeout", options.timeout_ms.to_string()),
        ("EGG_APP_CLOSE_TIMEOUT", options.worker_close_grace_ms.to_string()),
        ("EGG_AGENT_CLOSE_TIMEOUT", options.agent_close_grace_ms.to_string()),
        ("EGG_MASTER_LOGGER_LEVEL", level.to_owned()),
    ];
    if kept.keeps_env {
        settings.push(("env", options.env.clone().unwrap_or_else(none)));
    }
    match &options.logs {
        Some(logs) => settings.extend(log_settings(options, logs)),
        None => settings.push(("log-to-files", false.to_string())),
    }
    settings
}

/// Those of the logs.
fn log_settings(options: &Options, logs: &LogOptions) -> Vec<(&'static str, String)> {
    let path = |by_default: bool, path: &std::path::Path| match by_default {
        true => "the default".to_owned(),
        false => path.display().to_string(),
    };
    let every = match logs.every {
        Every::Hour => "hour",
        Every::Day => "day",
        Every::Week => "week",
        Every::Never => "never",
    };
    let full = match logs.full {
        Full::Drop => "drop",
        Full::Block => "block",
    };
    vec![
        // Where there are logs they are wanted: as a flag it is of interest where there are none.
        ("log-to-files", true.to_string()),
        ("stdout", path(logs.stdout_by_default, &options.stdout)),
        ("stderr", path(logs.stderr_by_default, &options.stderr)),
        ("log-max-size", size(logs.max_bytes)),
        ("log-rotate", every.to_owned()),
        ("log-keep", logs.keep_files.to_string()),
        ("log-keep-bytes", size(logs.keep_bytes)),
        ("log-keep-age", logs.keep_age_ms.map_or_else(|| "for ever".to_owned(), age)),
        ("log-compress", logs.compress.to_string()),
        ("log-full", full.to_owned()),
        ("log-per-member", logs.per_member.to_string()),
    ]
}

fn none() -> String {
    "none".to_owned()
}

fn kind(application: &Application) -> &'static str {
    match application {
        Application::Node { .. } => "plain Node",
        Application::Egg { family: Family::Three, .. } => "Egg 3",
        Application::Egg { family: Family::Four, .. } => "Egg 4",
    }
}

/// As it is typed: `100M`.
fn size(bytes: u64) -> String {
    in_units(bytes, &[("T", 1 << 40), ("G", 1 << 30), ("M", 1 << 20), ("K", 1 << 10), ("", 1)])
}

/// As it is typed: `14d`.
fn age(ms: u64) -> String {
    in_units(ms, &[("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)])
}

/// In the largest unit of which it is a whole number.
fn in_units(value: u64, units: &[(&str, u64)]) -> String {
    let whole = units.iter().find(|(_, size)| value != 0 && value.is_multiple_of(*size));
    whole.map_or_else(|| value.to_string(), |(unit, size)| format!("{}{unit}", value / size))
}
