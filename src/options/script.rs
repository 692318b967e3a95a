//! Which script a directory's workers run, and what can be a script: what Node would run, found where package.json says.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::package::Package;
use super::place::AGENT_SCRIPT;
use super::pm2::{self, quoted};
use crate::error::Failure;

/// What a worker of a directory runs by convention.
const APP_SCRIPT: &str = "app.js";
/// What npm and Node run where nothing is said.
const USUAL: &[&str] = &["server.js", "index.js"];
/// The endings of a script's name.
const ENDINGS: &[&str] = &["js", "cjs", "mjs", "ts", "cts", "mts"];
/// The endings that Node tries behind a name, and those that are worth a try.
const TRIED: &[&str] = &["js", "cjs", "mjs", "ts"];
/// What is looked at of a file: its first line.
const FIRST_LINE: u64 = 256;

/// A script that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// Absolute path.
    pub path: PathBuf,
    /// Its arguments, from package.json.
    pub arguments: Vec<String>,
    /// What is to be said about the choice; nothing where it is the convention's.
    pub said: Option<String>,
}

/// The script of a directory: what `scripts.start` in package.json runs by `node FILE …`, else app.js, else `main`, else
/// what is usual. Where agent.js stands beside app.js the two are one application.
///
/// # Errors
/// None is there, with what there is instead; or a file cannot be looked at.
pub fn of_directory(dir: &Path, package: Option<&Package>) -> Result<Script, Failure> {
    let shown = |path: &Path| path.strip_prefix(dir).unwrap_or(path).display().to_string();
    let start = package.and_then(Package::start_script).map(Start::read);
    let app = dir.join(APP_SCRIPT);
    let has_app = is_file(&app)?;
    if has_app && is_file(&dir.join(AGENT_SCRIPT))? {
        return Ok(Script { path: app, arguments: Vec::new(), said: None });
    }
    if let Some(Start::Node { file, arguments }) = &start
        && let Some(path) = as_node_finds(&dir.join(file), 0)
    {
        let said = (path != app).then(|| format!("running {}, from scripts.start in package.json", shown(&path)));
        return Ok(Script { path, arguments: arguments.clone(), said });
    }
    if has_app {
        let typed = start.as_ref().and_then(Start::typed);
        let said =
            typed.map(|typed| format!("running app.js; for what scripts.start in package.json runs, type `{typed}`"));
        return Ok(Script { path: app, arguments: Vec::new(), said });
    }
    let main = package.and_then(Package::main);
    if let Some(path) = main.and_then(|main| as_node_finds(&dir.join(main), 0)) {
        let said = Some(format!("running {}, from main in package.json", shown(&path)));
        return Ok(Script { path, arguments: Vec::new(), said });
    }
    for name in USUAL {
        let path = dir.join(name);
        if is_file(&path)? {
            return Ok(Script { path, arguments: Vec::new(), said: Some(format!("running {name}, as node would")) });
        }
    }
    Err(nothing_to_run(dir, start.as_ref(), main))
}

/// Nothing is found: what stands in package.json leads on.
fn nothing_to_run(dir: &Path, start: Option<&Start>, main: Option<&str>) -> Failure {
    if let Some(answer) = pm2::recognised_in(dir) {
        return answer;
    }
    let failure = Failure::no_app_script(dir);
    match (start, main) {
        (Some(Start::Typed(typed)), _) => failure
            .because("scripts.start in package.json is not of the form `node FILE`")
            .hint(format!("type what it runs: `{typed}`")),
        (Some(Start::Node { file, .. }), _) => {
            failure.because(format!("scripts.start in package.json runs `{file}`, which is not there"))
        }
        (Some(Start::Other), _) => failure.because("scripts.start in package.json is not of the form `node FILE`"),
        (None, Some(main)) => failure.because(format!("main in package.json is `{main}`, which is not there")),
        (None, None) => failure,
    }
}

/// What `scripts.start` says.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Start {
    /// `node FILE ARGUMENTS…`
    Node { file: String, arguments: Vec<String> },
    /// More than that, and what to type for it.
    Typed(String),
    /// Something else.
    Other,
}

impl Start {
    fn read(script: &str) -> Start {
        let Some(words) = words(script) else { return Start::Other };
        let is_variable = |word: &String| {
            word.split_once('=').is_some_and(|(name, _)| {
                !name.is_empty() && name.bytes().all(|one| one.is_ascii_alphanumeric() || one == b'_')
            })
        };
        let begin = usize::from(words.first().is_some_and(|first| matches!(first.as_str(), "cross-env" | "exec")));
        let mut rest = words.into_iter().skip(begin).peekable();
        let mut variables = Vec::new();
        while let Some(variable) = rest.next_if(is_variable) {
            variables.push(variable);
        }
        if rest.next().is_none_or(|program| !matches!(program.as_str(), "node" | "nodejs")) {
            return Start::Other;
        }
        let mut flags = Vec::new();
        while let Some(flag) = rest.next_if(|word| word.starts_with('-')) {
            match (flag.as_str(), flag.strip_prefix("--")) {
                ("-r" | "--require", _) => match rest.next() {
                    Some(module) => flags.push(format!("--require={module}")),
                    None => return Start::Other,
                },
                (_, Some(flag)) => flags.push(format!("--node-options--{flag}")),
                _ => return Start::Other,
            }
        }
        let Some(file) = rest.next() else { return Start::Other };
        let arguments: Vec<String> = rest.collect();
        if variables.is_empty() && flags.is_empty() {
            return Start::Node { file, arguments };
        }
        let separator = (!arguments.is_empty()).then(|| "--".to_owned());
        let words = variables.into_iter().chain(["eggctl".to_owned(), "start".to_owned()]);
        let words = words.chain(flags).chain([file]).chain(separator).chain(arguments);
        Start::Typed(words.map(|word| as_typed(&word)).collect::<Vec<_>>().join(" "))
    }

    fn typed(&self) -> Option<&str> {
        match self {
            Start::Typed(typed) => Some(typed),
            Start::Node { .. } | Start::Other => None,
        }
    }
}

/// A variable keeps its `=` outside of quotes.
fn as_typed(word: &str) -> String {
    match word.split_once('=') {
        Some((name, value)) if !name.starts_with('-') => format!("{name}={}", quoted(value)),
        _ => quoted(word),
    }
}

/// The words of a command line; `None` for one that only a shell understands.
fn words(line: &str) -> Option<Vec<String>> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for character in line.chars() {
        match (quote, character) {
            (Some(open), _) if open == character => quote = None,
            (Some('\''), other) => word.get_or_insert_default().push(other),
            (_, '&' | '|' | ';' | '<' | '>' | '$' | '`' | '(' | ')' | '*' | '?' | '\\' | '\n' | '#') => return None,
            (Some(_), other) => word.get_or_insert_default().push(other),
            (None, '"' | '\'') => {
                word.get_or_insert_default();
                quote = Some(character);
            }
            (None, blank) if blank.is_whitespace() => words.extend(word.take()),
            (None, other) => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}

/// Node's way from a path to a file: the file itself, else one with an ending, else a directory's `main` or index.js.
fn as_node_finds(path: &Path, depth: u8) -> Option<PathBuf> {
    let path: PathBuf = path.components().collect();
    if path.is_file() {
        return Some(path);
    }
    let name = path.file_name()?.to_str()?;
    let with_ending = TRIED.iter().map(|ending| path.with_file_name(format!("{name}.{ending}")));
    if let Some(found) = with_ending.into_iter().find(|found| found.is_file()) {
        return Some(found);
    }
    let package = Package::read(&path).ok().flatten();
    let main = package.as_ref().and_then(Package::main).filter(|_| depth == 0);
    main.and_then(|main| as_node_finds(&path.join(main), depth + 1))
        .or_else(|| Some(path.join("index.js")).filter(|index| index.is_file()))
}

/// Can node run this file? By its ending, or without one, or by its first line.
///
/// # Errors
/// It is something else.
pub fn check(path: &Path, typed: &Path) -> Result<(), Failure> {
    let ending = path.extension().and_then(|ending| ending.to_str());
    if ending.is_some_and(|ending| ENDINGS.contains(&ending)) {
        return Ok(());
    }
    let mut begin = Vec::new();
    let read = fs::File::open(path).and_then(|file| file.take(FIRST_LINE).read_to_end(&mut begin));
    read.map_err(|error| Failure::unreadable(typed, &error))?;
    let line = begin.split(|byte| *byte == b'\n').next().unwrap_or_default();
    match line.strip_prefix(b"#!") {
        Some(programs) => {
            let programs = String::from_utf8_lossy(programs).into_owned();
            let mut names = programs.split_whitespace().map(|word| word.rsplit('/').next().unwrap_or(word));
            let is_node = names.any(|name| matches!(name, "node" | "nodejs"));
            if is_node { Ok(()) } else { Err(Failure::script_of_another(typed, programs.trim())) }
        }
        None if ending.is_none() && !begin.contains(&0) => Ok(()),
        None => Err(Failure::not_an_application(typed)),
    }
}

/// Is there a file of this name? A missing one is an answer; one that cannot be looked at is a failure.
pub fn is_file(path: &Path) -> Result<bool, Failure> {
    match fs::metadata(path) {
        Ok(found) => Ok(found.is_file()),
        Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
            Ok(false)
        }
        Err(error) => Err(Failure::unreadable(path, &error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_script_of_the_form_node_file_is_read_and_others_are_translated_as_far_as_they_can() {
        let node = |file: &str, arguments: &[&str]| Start::Node {
            file: file.to_owned(),
            arguments: arguments.iter().map(|word| (*word).to_owned()).collect(),
        };
        let typed = |line: &str| Start::Typed(line.to_owned());
        let table = [
            ("node ./bin/www", node("./bin/www", &[])),
            ("  node   server --port 80  'a b'", node("server", &["--port", "80", "a b"])),
            ("node \"my server.js\"", node("my server.js", &[])),
            ("nodejs .", node(".", &[])),
            ("exec node x.js", node("x.js", &[])),
            ("NODE_ENV=production node app", typed("NODE_ENV=production eggctl start app")),
            ("cross-env A=1 B='x y' node app.js -v", typed("A=1 B='x y' eggctl start app.js -- -v")),
            (
                "node -r dotenv/config --max-old-space-size=99 index.js",
                typed("eggctl start --require=dotenv/config --node-options--max-old-space-size=99 index.js"),
            ),
            ("npm run build && node app.js", Start::Other),
            ("node", Start::Other),
            ("node -e 1", Start::Other),
            ("eggctl start --daemon", Start::Other),
            ("ts-node src/index.ts", Start::Other),
            ("node $FILE", Start::Other),
            ("node 'app.js", Start::Other),
            ("nodemon app.js", Start::Other),
            ("", Start::Other),
        ];
        for (script, wanted) in table {
            assert_eq!(Start::read(script), wanted, "{script}");
        }
    }
}
