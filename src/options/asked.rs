//! What a start is asked for, value by value: the flag, then the variable of the environment, then package.json's
//! `eggScriptsConfig`, then a default.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::changed::Kept;
use super::flags::StartFlags;
use super::place::{checked_title, title_from};
use super::settings::Settings;
use super::surroundings::{Found, Surroundings};
use super::{DispatchPolicy, Family, MOST_WORKERS, Title};
use crate::error::Failure;

/// How long a start may take when nobody says: egg-scripts' default.
const DEFAULT_TIMEOUT_MS: u64 = 300_000;
/// The longest length of time that a user can set: epoll takes no longer wait. Almost 25 days.
pub const LONGEST_MS: u64 = i32::MAX as u64;

/// Where the answers are looked up. All errors name the wrong value and where it came from.
pub struct Asked<'a> {
    pub flags: &'a StartFlags,
    pub around: &'a Surroundings,
    pub settings: &'a Settings,
    /// What a master that runs keeps of its own, where a reload asks.
    pub kept: Option<&'a Kept<'a>>,
}

impl Asked<'_> {
    pub fn title(&self, name: &Found) -> Result<Title, Failure> {
        if let Some(kept) = self.kept {
            return Ok(kept.running().title.clone());
        }
        match self.typed_or_set(Found::flag("--title", self.flags.title.as_ref()), Settings::text, "title")? {
            Some(found) => checked_title(found),
            None => title_from(name),
        }
    }

    /// The name or absolute path of Egg's framework.
    pub fn framework(&self) -> Result<Option<Found>, Failure> {
        let typed = Found::flag("--framework", self.flags.framework.as_ref()).filter(|name| !name.text.is_empty());
        self.typed_or_set(typed, Settings::text, "framework")
    }

    /// How many workers, and how many are configured.
    pub fn workers(&self) -> Result<(u32, u32), Failure> {
        let configured = self.configured_workers()?;
        let kept = self.kept.map(|kept| kept.running().workers);
        Ok((kept.or(self.around.scaled).unwrap_or(configured), configured))
    }

    fn configured_workers(&self) -> Result<u32, Failure> {
        let Some(found) = self.number_of_workers()? else {
            return Ok(self.around.usable_cpus.clamp(1, MOST_WORKERS));
        };
        let count = found.number("workers", 1, u64::from(MOST_WORKERS))?;
        Ok(u32::try_from(count).unwrap_or(MOST_WORKERS))
    }

    /// Is their number that of the CPUs?
    pub fn workers_from_cpus(&self) -> Result<bool, Failure> {
        Ok(self.number_of_workers()?.is_none())
    }

    /// A number of workers, if one was given.
    fn number_of_workers(&self) -> Result<Option<Found>, Failure> {
        let typed = Found::flag("--workers", self.flags.workers.as_ref());
        let given = self.typed_or_set(self.around.first(typed, "EGG_WORKERS")?, Settings::number, "workers")?;
        Ok(given.filter(|found| found.text != "max"))
    }

    /// How many spares; none where the dead are not replaced.
    pub fn spares(&self) -> Result<u32, Failure> {
        let typed = Found::flag("--spare", self.flags.spare.as_ref());
        let Some(found) = self.typed_or_set(typed, Settings::number, "spare")? else { return Ok(0) };
        let count = found.number("spare", 0, u64::from(MOST_WORKERS))?;
        Ok(u32::try_from(count).unwrap_or(MOST_WORKERS))
    }

    /// The port. `$PORT` comes before `eggScriptsConfig` in egg-scripts 3, and after it in @eggjs/scripts 4.
    pub fn port(&self, family: Option<Family>, default: Option<u16>) -> Result<Option<u16>, Failure> {
        if let Some(kept) = self.kept {
            return Ok(kept.running().port);
        }
        let Some(found) = self.port_as_found(family)? else { return Ok(default) };
        match found.number("port", 1, u64::from(u16::MAX)) {
            Ok(port) => Ok(u16::try_from(port).ok()),
            // egg-scripts takes 0 for "none given", others for "any free port": ask.
            Err(failure) if found.text == "0" => {
                Err(failure.hint("without `--port` and `$PORT` it is the port that the application listens on"))
            }
            Err(failure) => Err(failure),
        }
    }

    /// Where the port came from, in words; none when nothing names one.
    pub fn port_from(&self, family: Option<Family>) -> Result<Option<String>, Failure> {
        if let Some(kept) = self.kept {
            return Ok(kept.running().port_from.clone());
        }
        Ok(self.port_as_found(family)?.map(|found| found.source.to_string()))
    }

    fn port_as_found(&self, family: Option<Family>) -> Result<Option<Found>, Failure> {
        let typed = Found::flag("--port", self.flags.port.as_ref());
        if family == Some(Family::Four) {
            self.around.first(self.typed_or_set(typed, Settings::number, "port")?, "PORT")
        } else {
            self.typed_or_set(self.around.first(typed, "PORT")?, Settings::number, "port")
        }
    }

    /// `$NODE_CLUSTER_SCHED_POLICY` as Node reads it: `none` or `rr`, and anything else is nothing.
    pub fn dispatch(&self) -> Result<DispatchPolicy, Failure> {
        let typed = Found::flag("--dispatch", self.flags.dispatch.as_ref());
        if typed.is_none() {
            match self.around.variable("NODE_CLUSTER_SCHED_POLICY").and_then(OsStr::to_str) {
                Some("none") => return Ok(DispatchPolicy::Shared),
                Some("rr") => return Ok(DispatchPolicy::RoundRobin),
                _ => {}
            }
        }
        let Some(found) = self.typed_or_set(typed, Settings::text, "dispatch")? else {
            return Ok(DispatchPolicy::default());
        };
        match found.text.as_str() {
            "round-robin" => Ok(DispatchPolicy::RoundRobin),
            "shared" => Ok(DispatchPolicy::Shared),
            _ => Err(Failure::bad_choice("dispatch", &found.text, "`round-robin` or `shared`", found.source)),
        }
    }

    pub fn env(&self) -> Result<Option<String>, Failure> {
        if let Some(kept) = self.kept.filter(|kept| kept.keeps_env) {
            return Ok(kept.running().env.clone());
        }
        // `--env=$UNSET` in a script is no choice of environment.
        let typed = Found::flag("--env", self.flags.env.as_ref()).filter(|env| !env.text.is_empty());
        let given = self.around.first(typed, "EGG_SERVER_ENV")?;
        Ok(self.typed_or_set(given, Settings::text, "env")?.map(|found| found.text))
    }

    pub fn timeout_ms(&self) -> Result<u64, Failure> {
        let typed = Found::flag("--timeout", self.flags.timeout.as_ref());
        match self.typed_or_set(typed, Settings::number, "timeout")? {
            Some(found) => found.number("timeout", 1, LONGEST_MS),
            None => Ok(DEFAULT_TIMEOUT_MS),
        }
    }

    /// Does a client keep its worker?
    pub fn sticky(&self) -> Result<bool, Failure> {
        match self.kept {
            Some(kept) => Ok(kept.running().keeps_clients()),
            None => self.yes_or_no(self.flags.sticky(), "sticky"),
        }
    }

    pub fn daemon(&self) -> Result<bool, Failure> {
        self.yes_or_no(self.flags.daemon(), "daemon")
    }

    pub fn ignore_stderr(&self) -> Result<bool, Failure> {
        self.yes_or_no(self.flags.ignore_stderr(), "ignore-stderr")
    }

    pub fn exit_when_down(&self) -> Result<bool, Failure> {
        self.yes_or_no(self.flags.exit_when_down(), "exit-when-down")
    }

    /// The node program: a path, or a name.
    pub fn node(&self) -> Result<PathBuf, Failure> {
        self.path(self.flags.node.as_deref(), "node").map(|found| found.unwrap_or_else(|| PathBuf::from("node")))
    }

    /// The file of a log, from the current directory.
    pub fn log(&self, typed: Option<&Path>, key: &'static str) -> Result<Option<PathBuf>, Failure> {
        Ok(self.path(typed, key)?.map(|path| self.around.cwd.join(path)))
    }

    /// In the address that is shown.
    pub fn host(&self) -> Option<String> {
        self.around.variable("HOST").and_then(OsStr::to_str).map(str::to_owned)
    }

    fn path(&self, typed: Option<&Path>, key: &'static str) -> Result<Option<PathBuf>, Failure> {
        match typed {
            Some(typed) => Ok(Some(typed.to_owned())),
            None => Ok(self.settings.text(key)?.map(|found| PathBuf::from(found.text))),
        }
    }

    fn yes_or_no(&self, typed: Option<bool>, key: &'static str) -> Result<bool, Failure> {
        match typed {
            Some(typed) => Ok(typed),
            None => Ok(self.settings.truth(key)?.unwrap_or(false)),
        }
    }

    fn typed_or_set(
        &self,
        given: Option<Found>,
        read: fn(&Settings, &'static str) -> Result<Option<Found>, Failure>,
        key: &'static str,
    ) -> Result<Option<Found>, Failure> {
        match given {
            Some(given) => Ok(Some(given)),
            None => read(self.settings, key),
        }
    }
}
