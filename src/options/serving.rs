//! How an Egg application is to serve, as far as it is said outside of the application: https and its files, sticky, the
//! debug port. The rules are egg-cluster's (its `utils/options.js`); what the application's own configuration says
//! (`cluster.https`, `cluster.listen`), its workers read by themselves.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::asked::Asked;
use super::settings::Settings;
use super::surroundings::{Found, Source};
use crate::error::Failure;

/// Where https is served when nobody names a port.
const HTTPS_PORT: u16 = 8443;

/// What was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Serving {
    /// The option `https` as Egg's workers get it: absolute paths of files that can be read.
    pub https: Option<Value>,
    /// Does a client keep its worker?
    pub sticky: bool,
    /// Where each worker serves plain http besides.
    pub debug_port: Option<u16>,
}

impl Serving {
    /// What was typed, else set; the files of https are looked at.
    ///
    /// # Errors
    /// A file of https is not named, is none, or cannot be read; the debug port is no port.
    pub fn of(asked: &Asked<'_>, base_dir: &Path) -> Result<Serving, Failure> {
        let flags = asked.flags;
        let port = match Found::flag("--debugPort", flags.debug_port.as_ref()) {
            Some(typed) => Some(typed),
            // Off is off.
            None => asked.settings.number("debugPort")?.filter(|found| found.text != "0"),
        };
        let port = port.map(|found| found.number("debugPort", 1, u64::from(u16::MAX))).transpose()?;
        Ok(Serving {
            https: https(asked, base_dir)?,
            sticky: asked.sticky()?,
            debug_port: port.and_then(|port| u16::try_from(port).ok()),
        })
    }

    /// What an application of plain Node can have: its clients may keep their workers. Any other flag of this is refused.
    ///
    /// # Errors
    /// Another one was typed; `sticky` is set to something else than true or false.
    pub fn of_node(asked: &Asked<'_>) -> Result<Serving, Failure> {
        let flags = asked.flags;
        let typed = [
            ("--https.key", flags.https_key.is_some()),
            ("--https.cert", flags.https_cert.is_some()),
            ("--https.ca", flags.https_ca.is_some()),
            ("--debugPort", flags.debug_port.is_some()),
        ];
        match typed.iter().find(|(_, typed)| *typed) {
            Some((flag, _)) => Err(Failure::only_for_egg(flag)),
            None => Ok(Serving { sticky: asked.sticky()?, ..Serving::default() }),
        }
    }

    /// The port when nobody named one.
    pub fn default_port(&self) -> Option<u16> {
        self.https.is_some().then_some(HTTPS_PORT)
    }
}

/// `{key, cert, ca}` from the flags and from `eggScriptsConfig`, file by file; `None`: no https.
fn https(asked: &Asked<'_>, base_dir: &Path) -> Result<Option<Value>, Failure> {
    let flags = asked.flags;
    let typed =
        |flag, typed: &Option<PathBuf>| typed.as_ref().map(|path| (asked.around.cwd.join(path), Source::Flag(flag)));
    let set = |key: &'static str, name| -> Result<_, Failure> {
        Ok(asked.settings.https(key)?.map(|path| (base_dir.join(path), Source::Setting(name))))
    };
    let key = typed("--https.key", &flags.https_key).map_or_else(|| set("key", "https.key"), |file| Ok(Some(file)))?;
    let cert =
        typed("--https.cert", &flags.https_cert).map_or_else(|| set("cert", "https.cert"), |file| Ok(Some(file)))?;
    let ca = typed("--https.ca", &flags.https_ca).map_or_else(|| set("ca", "https.ca"), |file| Ok(Some(file)))?;
    if key.is_none() && cert.is_none() && ca.is_none() && !asked.settings.wants_https() {
        return Ok(None);
    }
    let (Some(key), Some(cert)) = (&key, &cert) else {
        return Err(Failure::https_without(if key.is_none() { "key" } else { "cert" }));
    };
    let mut https = json!({ "key": readable("key", key)?, "cert": readable("cert", cert)? });
    if let Some(ca) = &ca {
        https["ca"] = readable("ca", ca)?.into();
    }
    Ok(Some(https))
}

/// The file's path for the workers, once it is known that they can read it.
fn readable(what: &str, (path, source): &(PathBuf, Source)) -> Result<String, Failure> {
    let unreadable = |error: &io::Error| Failure::https_file(what, path, error, *source);
    // Not opened before it is known to be a file: a pipe would wait for a writer.
    if !fs::metadata(path).map_err(|error| unreadable(&error))?.is_file() {
        return Err(unreadable(&io::Error::other("not a file")));
    }
    drop(fs::File::open(path).map_err(|error| unreadable(&error))?);
    path.to_str().map(str::to_owned).ok_or_else(|| Failure::path_not_text(path))
}

impl Settings {
    /// A file of `https`. `true` stands for the top level's `key` and `cert`, as in old times.
    fn https(&self, key: &'static str) -> Result<Option<PathBuf>, Failure> {
        let text = match self.value("https") {
            Some(Value::Object(https)) => https.get(key),
            Some(Value::Bool(true)) if key != "ca" => self.value(key),
            None | Some(Value::Null | Value::Bool(_)) => None,
            Some(_) => return Err(self.wrong("https", "an object with `key` and `cert`")),
        };
        match text {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if text.is_empty() => Ok(None),
            Some(Value::String(text)) => Ok(Some(PathBuf::from(text))),
            Some(_) => Err(self.wrong(&format!("https.{key}"), "a file's path")),
        }
    }

    fn wants_https(&self) -> bool {
        self.value("https").is_some_and(super::package::is_truthy)
    }
}
