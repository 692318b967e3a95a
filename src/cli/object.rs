//! What a command says with `--json`: one object on stdout, of success and of failure alike, and nothing else there. The
//! schemas in docs/schemas say what is in it.

use std::ffi::{OsStr, OsString};
use std::process::ExitCode;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::error::{Exit, Failure};
use crate::sys::{clock, output};

/// The version of the objects. What is added keeps it; what is renamed, removed or means something else raises it.
const VERSION: u32 = 1;

/// The commands that have an object.
const COMMANDS: &[&str] = &["start", "stop", "reload", "scale", "restart", "wait"];

/// What is known of one command so far.
#[derive(Debug)]
pub struct Object {
    command: Option<&'static str>,
    is_wanted: bool,
    began_ms: u64,
    facts: Map<String, Value>,
}

/// The object as it is printed.
#[derive(Serialize)]
struct Printed<'a> {
    version: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<&'static str>,
    ok: bool,
    code: u8,
    #[serde(flatten)]
    facts: &'a Map<String, Value>,
}

/// A failure in it.
#[derive(Serialize)]
struct Failed {
    what: String,
    why: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    beside: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

impl Object {
    /// The object of what was typed, which need not be right: a mistake after `--json` is an object, too.
    #[must_use]
    pub fn of_typed(arguments: impl IntoIterator<Item = OsString>) -> Self {
        let words: Vec<OsString> = arguments.into_iter().skip(1).take_while(|word| word != "--").collect();
        let first = words.first().map(OsString::as_os_str).unwrap_or_default();
        let command = COMMANDS.iter().copied().find(|command| OsStr::new(command) == first);
        // The objects of `logs` are its lines.
        let is_wanted = words.iter().any(|word| word == "--json") && first != "logs";
        let mut object = Object { command, ..Object::of_part() };
        object.want(is_wanted);
        object
    }

    /// What is known of a part of a command.
    #[must_use]
    pub fn of_part() -> Self {
        Object { command: None, is_wanted: false, began_ms: clock::monotonic_ms(), facts: Map::new() }
    }

    /// It is wanted, or not, after all: what is typed after a flag can be that flag's value.
    pub fn want(&mut self, is_wanted: bool) {
        self.is_wanted = is_wanted;
        output::keep_stdout(is_wanted);
    }

    /// Is it wanted?
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        self.is_wanted
    }

    /// It is the object of this command, of which this is known, which has begun this long ago in milliseconds.
    pub fn go_on(&mut self, command: &'static str, facts: Map<String, Value>, since_ms: u64) {
        (self.command, self.facts) = (Some(command), facts);
        self.began_ms = self.began_ms.saturating_sub(since_ms);
    }

    /// What is known, and how long the command has taken, in milliseconds.
    #[must_use]
    pub fn known(&self) -> (&Map<String, Value>, u64) {
        (&self.facts, clock::monotonic_ms().saturating_sub(self.began_ms))
    }

    /// One more thing is known.
    pub fn fact(&mut self, name: &str, value: impl Serialize) {
        if let Ok(value) = serde_json::to_value(value) {
            self.facts.insert(name.to_owned(), value);
        }
    }

    /// Something is not known after all.
    pub fn forget(&mut self, name: &str) {
        self.facts.remove(name);
    }

    /// The application has started: by itself, or at the end of a restart, which has taken longer.
    pub fn started(&mut self, took: Duration) {
        if self.command == Some("restart") {
            self.fact("what", "restarted");
        } else {
            self.fact("what", "started");
            self.fact("took_ms", u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
        }
    }

    /// All that a value has in it is known.
    pub fn facts(&mut self, value: impl Serialize) {
        if let Ok(Value::Object(facts)) = serde_json::to_value(value) {
            self.facts.extend(facts);
        }
    }

    /// Failures besides the one that ends the command.
    pub fn failures(&mut self, failures: &[Failure]) {
        if !failures.is_empty() {
            let all = failures.iter().map(|one| Failed::of(one).with_code(one.exit));
            self.fact("failures", all.collect::<Vec<_>>());
        }
    }

    /// The end of the command: a failure for people on stderr, then the object, if it is wanted.
    #[must_use]
    pub fn end(mut self, result: anyhow::Result<Exit>) -> ExitCode {
        let exit = match &result {
            Ok(exit) => *exit,
            Err(error) => super::tell(error),
        };
        if !self.is_wanted {
            return ExitCode::from(exit as u8);
        }
        if let Err(error) = &result {
            self.facts(Failed::of_error(error));
        }
        let took_ms = self.known().1;
        self.facts.entry("took_ms").or_insert(took_ms.into());
        let printed = Printed {
            version: VERSION,
            command: self.command,
            ok: result.is_ok(),
            code: exit as u8,
            facts: &self.facts,
        };
        let text = serde_json::to_string(&printed).unwrap_or_default() + "\n";
        match output::deliver(text.as_bytes()) {
            Ok(()) => ExitCode::from(exit as u8),
            Err(error) => {
                let failure = Failure::not_delivered(&error, exit);
                ExitCode::from(super::tell(&failure.into()) as u8)
            }
        }
    }
}

impl Failed {
    fn of(failure: &Failure) -> Self {
        let Failure { what, why, beside, hint, .. } = failure;
        Failed { what: what.clone(), why: why.clone(), beside: beside.clone(), hint: hint.clone() }
    }

    fn of_error(error: &anyhow::Error) -> Self {
        match error.downcast_ref::<Failure>() {
            Some(failure) => Failed::of(failure),
            None => {
                let why = error.chain().skip(1).map(ToString::to_string).collect();
                Failed { what: error.to_string(), why, beside: None, hint: None }
            }
        }
    }

    fn with_code(self, exit: Exit) -> Map<String, Value> {
        let mut all = match serde_json::to_value(self) {
            Ok(Value::Object(all)) => all,
            Ok(_) | Err(_) => Map::new(),
        };
        all.insert("code".to_owned(), (exit as u8).into());
        all
    }
}
