//! A configuration of pm2 is recognised, and answered with what to type instead: read as data, never run.

use std::fs;
use std::io::Read;
use std::path::Path;

use super::js_data::{self, Data};
use crate::error::{Exit, Failure};

/// The names that pm2's documents give it.
const NAMES: &[&str] = &["ecosystem", "pm2", "process", "processes"];
/// The names of configurations that are looked for in a directory.
const IN_A_DIRECTORY: &[&str] =
    &["ecosystem.config.js", "ecosystem.config.cjs", "ecosystem.config.mjs", "ecosystem.config.json", "ecosystem.json"];
/// A configuration is not larger, in bytes.
const LARGEST: u64 = 1 << 20;

/// What is translated, and what says the same without being typed.
const UNDERSTOOD: &[&str] = &[
    "name",
    "script",
    "instances",
    "exec_mode",
    "args",
    "env",
    "cwd",
    "node_args",
    "nodeArgs",
    "interpreter",
    "interpreter_args",
    "interpreterArgs",
    "exec_interpreter",
    "port",
    "out_file",
    "output",
    "out",
    "error_file",
    "error",
    "err",
    "autorestart",
    "watch",
    "merge_logs",
    "combine_logs",
    "listen_timeout",
];

/// Package managers, which pm2 can be told to run.
const MANAGERS: &[&str] = &["npm", "yarn", "pnpm"];

/// The answer to a file that is a configuration of pm2; `None`: it is none.
#[must_use]
pub fn recognised(file: &Path) -> Option<Failure> {
    let name = file.file_name()?.to_str()?;
    let mut parts = name.split('.');
    let (first, ending) = (parts.next()?, name.rsplit_once('.')?.1);
    let is_named = NAMES.contains(&first) && matches!(ending, "js" | "cjs" | "mjs" | "json" | "yml" | "yaml");
    let has_config = name.contains(".config.") || ending == "json";
    if !(has_config || is_named && ending.starts_with('y')) {
        return None;
    }
    let mut source = String::new();
    fs::File::open(file).ok()?.take(LARGEST).read_to_string(&mut source).ok()?;
    let apps = if ending.starts_with('y') { None } else { apps(&source) };
    // Other programs have a `….config.js`, too: theirs has no applications.
    if apps.is_none() && !(is_named && (source.contains("apps") || source.contains("script"))) {
        return None;
    }
    Some(answer(name, &apps.unwrap_or_default()))
}

/// The answer for a directory whose application stands in a configuration of pm2 only.
#[must_use]
pub fn recognised_in(dir: &Path) -> Option<Failure> {
    IN_A_DIRECTORY.iter().find_map(|name| recognised(&dir.join(name)))
}

/// The applications that are written out; `None` when there are none.
fn apps(source: &str) -> Option<Vec<Data>> {
    let exported = js_data::exported(source)?;
    let listed = match exported.field("apps") {
        Some(apps) => apps.clone(),
        None => exported,
    };
    let list = match listed {
        Data::List(list) => list,
        one => vec![one],
    };
    let apps: Vec<Data> = list.into_iter().filter(|app| app.field("script").is_some()).collect();
    (!apps.is_empty()).then_some(apps)
}

fn answer(name: &str, apps: &[Data]) -> Failure {
    let failure = Failure::new(Exit::Usage, format!("`{name}` is a configuration of pm2, which eggctl does not read"));
    if apps.is_empty() {
        return failure.because("it is not written as plain data, so it cannot be translated without running it").hint(
            "type `eggctl start --daemon --title=NAME --workers=INSTANCES SCRIPT -- ARGS` with what stands in it",
        );
    }
    let translated: Vec<Translation> = apps.iter().map(Translation::of).collect();
    let lines: Vec<String> = translated
        .iter()
        .flat_map(|one| {
            [format!("  {}", one.command)].into_iter().chain(one.notes.iter().map(|note| format!("    {note}")))
        })
        .collect();
    let hint = match &translated[..] {
        [one] => format!("type `{}`", one.command),
        _ => "type the line of each application".to_owned(),
    };
    failure.beside(lines.join("\n")).hint(hint)
}

/// One application.
struct Translation {
    command: String,
    notes: Vec<String>,
}

impl Translation {
    fn of(app: &Data) -> Self {
        let mut notes = Vec::new();
        let mut words: Vec<String> = ["eggctl", "start", "--daemon"].map(str::to_owned).into();
        let text = |names: &[&str]| names.iter().find_map(|name| app.field(name)?.word().map(str::to_owned));
        words.extend(text(&["name"]).map(|name| format!("--title={name}")));
        match app.field("instances").and_then(Data::word) {
            // pm2's words for as many as there are CPUs, which is the default here.
            Some("max" | "0") => {}
            Some(count) if count.parse::<u32>().is_ok() => words.push(format!("--workers={count}")),
            Some(other) => notes.push(format!("`instances` is `{other}`: give the number with `--workers`")),
            None if app.field("instances").is_some() => {}
            None => words.push("--workers=1".to_owned()),
        }
        words.extend(env(app, &mut notes));
        words.extend(text(&["out_file", "output", "out"]).map(|file| format!("--stdout={file}")));
        words.extend(text(&["error_file", "error", "err"]).map(|file| format!("--stderr={file}")));
        words.extend(text(&["listen_timeout"]).map(|timeout| format!("--timeout={timeout}")));
        words.extend(node_flags(app, &mut notes));
        words.push(place(app, &mut notes));
        let is_managed = text(&["script"]).is_some_and(|script| MANAGERS.contains(&script.as_str()));
        // Theirs say what to run, not how.
        let arguments = app.field("args").filter(|_| !is_managed).map(list).unwrap_or_default();
        if !arguments.is_empty() {
            words.push("--".to_owned());
            words.extend(arguments);
        }
        notes.extend(left_out(app));
        let typed = words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ");
        let command = match text(&["cwd"]) {
            Some(cwd) => format!("cd {} && {typed}", quoted(&cwd)),
            None => typed,
        };
        Translation { command, notes }
    }
}

/// The port as a flag. The names of the other variables only: values may be secrets, and what is typed is kept by shells.
fn env(app: &Data, notes: &mut Vec<String>) -> Option<String> {
    let Data::Object(root) = app else { return None };
    let port = app.field("env").and_then(|env| env.field("PORT")).and_then(Data::word);
    for (name, variables) in root.iter().filter(|(name, _)| name == "env" || name.starts_with("env_")) {
        let Data::Object(variables) = variables else { continue };
        let names = variables.iter().map(|(name, _)| name.as_str());
        let is_set = |variable: &&str| !(variable.is_empty() || name == "env" && *variable == "PORT" && port.is_some());
        let names: Vec<&str> = names.filter(is_set).filter(|variable| *variable != "NODE_ENV").collect();
        if !names.is_empty() {
            notes.push(format!("set in the environment before, from `{name}`: {}", names.join(", ")));
        }
    }
    let node_env = app.field("env").and_then(|env| env.field("NODE_ENV")).and_then(Data::word);
    if let Some(other) = node_env.filter(|value| *value != "production") {
        notes.push(format!("NODE_ENV is `{other}` there, and always `production` here"));
    }
    port.map(|port| format!("--port={port}"))
}

/// Node's own flags.
fn node_flags(app: &Data, notes: &mut Vec<String>) -> Vec<String> {
    let given =
        ["node_args", "nodeArgs", "interpreter_args", "interpreterArgs"].iter().find_map(|name| app.field(name));
    let mut words = given.map(list).unwrap_or_default().into_iter();
    let mut flags = Vec::new();
    while let Some(word) = words.next() {
        match word.strip_prefix("--") {
            _ if word == "-r" || word == "--require" => {
                flags.extend(words.next().map(|module| format!("--require={module}")))
            }
            Some(flag) => match flag.strip_prefix("require=") {
                Some(module) => flags.push(format!("--require={module}")),
                None => flags.push(format!("--node-options--{flag}")),
            },
            None => notes.push(format!("`{word}` for node: use `--node-options--FLAG[=VALUE]`")),
        }
    }
    flags
}

/// What runs: a script, or what a package manager starts.
fn place(app: &Data, notes: &mut Vec<String>) -> String {
    let interpreter = ["interpreter", "exec_interpreter"].iter().find_map(|name| app.field(name)?.word());
    if let Some(other) = interpreter.filter(|program| !program.ends_with("node")) {
        notes.push(format!("`{other}` runs it there: eggctl runs scripts of node"));
    }
    match app.field("script").and_then(Data::word) {
        Some(manager) if MANAGERS.contains(&manager) => {
            notes.push("a package manager runs it there: here the directory is started".to_owned());
            ".".to_owned()
        }
        Some(script) => script.to_owned(),
        None => {
            notes.push("`script` is not plain data: put its path in the place of SCRIPT".to_owned());
            "SCRIPT".to_owned()
        }
    }
}

/// What has no place in the command: expressions, and what pm2 alone does.
fn left_out(app: &Data) -> Vec<String> {
    let Data::Object(fields) = app else { return Vec::new() };
    let expressions: Vec<String> = fields
        .iter()
        .filter_map(|(name, value)| match value {
            Data::Expression(source) if name != "script" => Some(format!("{name} (`{}`)", source.replace('\n', " "))),
            _ => None,
        })
        .collect();
    let is_on = |value: &Data| !matches!(value, Data::Truth(false) | Data::Null | Data::Expression(_));
    let others: Vec<&str> = fields
        .iter()
        .filter(|(name, value)| is_on(value) && !name.is_empty())
        .map(|(name, _)| name.as_str())
        .filter(|name| (!UNDERSTOOD.contains(name) || *name == "watch") && !name.starts_with("env_"))
        .collect();
    let mut notes = Vec::new();
    if !expressions.is_empty() {
        notes.push(format!("not plain data, left out: {}", expressions.join(", ")));
    }
    if !others.is_empty() {
        notes.push(format!("not translated: {}", others.join(", ")));
    }
    notes
}

/// Words: a list of them, or one text with blanks between.
fn list(data: &Data) -> Vec<String> {
    match data {
        Data::List(items) => items.iter().filter_map(Data::word).map(str::to_owned).collect(),
        one => one.word().unwrap_or_default().split_whitespace().map(str::to_owned).collect(),
    }
}

/// A word as a shell takes it.
pub fn quoted(word: &str) -> String {
    let is_plain = |one: char| one.is_ascii_alphanumeric() || "-_./=:,@%+".contains(one);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commands(source: &str) -> Vec<(String, String)> {
        let apps = apps(source).unwrap_or_default();
        apps.iter().map(Translation::of).map(|one| (one.command, one.notes.join("; "))).collect()
    }

    #[test]
    fn each_field_that_has_a_flag_becomes_one() {
        let source = r#"
            // pm2 start ecosystem.config.js
            module.exports = { apps: [
              { name: 'api', script: './bin/www', instances: 4, exec_mode: 'cluster', args: ['--verbose', 'a b'],
                env: { NODE_ENV: 'production', PORT: 8080, DB_PASSWORD: 'hunter2' }, env_staging: { X: '1' },
                max_memory_restart: '300M', node_args: '--max-old-space-size=512 -r dotenv/config' },
              { name: "the worker", script: "worker.js", instances: "max", cwd: "/srv/it's" },
              { script: `${__dirname}/x.js`, instances: process.env.N || 2, watch: true, autorestart: true },
            ] };"#;
        let wanted = [
            (
                "eggctl start --daemon --title=api --workers=4 --port=8080 --node-options--max-old-space-size=512 \
                 --require=dotenv/config ./bin/www -- --verbose 'a b'",
                "set in the environment before, from `env`: DB_PASSWORD; set in the environment before, from `env_staging`: X; \
                 not translated: max_memory_restart",
            ),
            (r"cd '/srv/it'\''s' && eggctl start --daemon '--title=the worker' worker.js", ""),
            (
                "eggctl start --daemon SCRIPT",
                "`script` is not plain data: put its path in the place of SCRIPT; not plain data, left out: instances \
                 (`process.env.N || 2`); not translated: watch",
            ),
        ];
        let wanted: Vec<_> =
            wanted.iter().map(|(command, notes)| ((*command).to_owned(), (*notes).to_owned())).collect();
        assert_eq!(commands(source), wanted);
        assert!(!answer("e", &apps(source).unwrap_or_default()).to_string().contains("hunter2"));
    }

    #[test]
    fn json_a_single_application_and_a_package_manager_are_read() {
        let one = ["eggctl start --daemon --title=x --workers=1 a.js".to_owned(), String::new()];
        for source in [
            r#"{"apps":[{"name":"x","script":"a.js"}]}"#,
            r#"{"apps":{"name":"x","script":"a.js"}}"#,
            r#"[{"name":"x","script":"a.js"}]"#,
            r#"{"name":"x","script":"a.js","exec_mode":"fork","interpreter":"node"}"#,
        ] {
            assert_eq!(commands(source), [(one[0].clone(), one[1].clone())], "{source}");
        }
        let managed = commands(r#"{"apps":[{"name":"x","script":"npm","args":"start"}]}"#);
        assert_eq!(managed[0].0, "eggctl start --daemon --title=x --workers=1 .");
        assert_eq!(apps("module.exports = { plugins: [] }"), None);
        assert_eq!(apps("module.exports = require('./other')"), None);
    }
}
