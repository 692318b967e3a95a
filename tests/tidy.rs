//! The house's rules, read from the sources: who may import whom, where `unsafe` may stand, how long things may be.
//!
//! A rule that a reader would have to remember is a rule that is kept here instead.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Which rooms a room may import. A room that is not named here may import none. `cli` knows `ipc` for the ready channel
/// that it waits on; `app` knows the plain types of who is run (`lifecycle`) and of what it says (`ipc`).
const IMPORTS: &[(&str, &[&str])] = &[
    ("main", &["cli"]),
    ("lib", &["cli"]),
    ("cli", &["options", "app", "control", "ipc", "state", "error", "sys", "master", "logger"]),
    ("control", &["options", "ipc", "error", "sys"]),
    ("options", &["app", "error", "sys"]),
    ("app", &["options", "lifecycle", "ipc", "error", "sys"]),
    ("state", &["options", "error", "sys"]),
    (
        "master",
        &["lifecycle", "messenger", "shortage", "ipc", "app", "control", "options", "state", "logger", "error", "sys"],
    ),
    ("logger", &["ipc", "options", "error", "sys"]),
    ("messenger", &["ipc"]),
    ("shortage", &[]),
    ("lifecycle", &[]),
    ("ipc", &[]),
    ("error", &[]),
    ("sys", &[]),
];

/// Rooms without a system call, a clock, a descriptor or a path.
const PURE: &[&str] = &["lifecycle", "messenger", "shortage", "ipc"];
/// What those never name.
const IMPURE: &[&str] = &[
    "libc",
    "nix",
    "daemonize",
    "signal_hook",
    "jiff",
    "std::fs",
    "std::io",
    "std::net",
    "std::os",
    "std::process",
    "std::env",
    "std::thread",
    "std::path",
    "Instant",
    "SystemTime",
    "OwnedFd",
    "BorrowedFd",
    "RawFd",
    "PathBuf",
];
const LONGEST_FILE: usize = 400;
const LONGEST_FUNCTION: usize = 70;

/// One source file, as the rules look at it.
struct Source {
    path: PathBuf,
    room: String,
    /// As written.
    text: String,
    /// The same lines without comments, strings and tests.
    code: String,
}

impl Source {
    /// `path:line` of each line of the code that `matches`.
    fn lines(&self, matches: impl Fn(&str) -> bool) -> Vec<String> {
        let found = self.code.lines().enumerate().filter(|(_, line)| matches(line));
        found.map(|(number, line)| format!("{}:{}: {}", self.path.display(), number + 1, line.trim())).collect()
    }

    /// Does the line with this number (from 0), or the comment right above it, hold `word`?
    fn explained(&self, line: usize, word: &str) -> bool {
        let lines: Vec<&str> = self.text.lines().collect();
        let above = lines[..line].iter().rev().take_while(|line| line.trim_start().starts_with("//"));
        lines[line].contains(word) || above.into_iter().any(|line| line.contains(word))
    }

    /// `(line from 0, name, lines)` of each function.
    fn functions(&self) -> Vec<(usize, String, usize)> {
        let mut found = Vec::new();
        for (start, _) in self.code.match_indices("fn ") {
            if start > 0 && is_word(self.code.as_bytes()[start - 1]) {
                continue;
            }
            let rest = &self.code[start..];
            let Some(body) = rest.find('{').filter(|&body| rest.find(';').is_none_or(|end| body < end)) else {
                continue;
            };
            let lines = rest[..body + block(&rest[body..]).len()].lines().count();
            let name = rest[3..].split(['(', '<']).next().unwrap().trim().to_owned();
            found.push((self.code[..start].matches('\n').count(), name, lines));
        }
        found
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Does `code` name this path, as whole words?
fn names(code: &str, path: &str) -> bool {
    code.match_indices(path).any(|(at, _)| {
        let before = code[..at].bytes().next_back().is_some_and(is_word);
        let after = code[at + path.len()..].bytes().next().is_some_and(is_word);
        !before && !after
    })
}

/// The text from its first brace to that brace's partner.
fn block(text: &str) -> &str {
    let mut depth = 0;
    for (at, character) in text.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth == 1 => return &text[..=at],
            '}' => depth -= 1,
            _ => {}
        }
    }
    text
}

/// The same text with every comment, string and character literal blanked; line ends stay.
fn without_comments_and_strings(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        let skipped = skipped_length(rest, code.bytes().next_back());
        if skipped == 0 {
            code.push(character);
            rest = &rest[character.len_utf8()..];
        } else {
            code.extend(rest[..skipped].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
            rest = &rest[skipped..];
        }
    }
    code
}

/// How many bytes at the beginning of `rest` are a comment or a literal; 0 for code.
fn skipped_length(rest: &str, before: Option<u8>) -> usize {
    let until = |from: usize, end: &str| rest[from..].find(end).map_or(rest.len(), |at| from + at + end.len());
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return until(2, "*/");
    }
    let raw = rest.strip_prefix('b').unwrap_or(rest);
    if !before.is_some_and(is_word) && (raw.starts_with("r\"") || raw.starts_with("r#")) {
        let hashes = raw[1..].bytes().take_while(|&byte| byte == b'#').count();
        if raw[1 + hashes..].starts_with('"') {
            return until(rest.len() - raw.len() + hashes + 2, &format!("\"{}", "#".repeat(hashes)));
        }
    }
    if let Some(inside) = rest.strip_prefix('"') {
        let mut escaped = false;
        let end = inside.find(|c| {
            let ends = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        });
        return end.map_or(rest.len(), |end| end + 2);
    }
    if rest.starts_with("'\\") {
        return until(3, "'");
    }
    // A lifetime has no closing quote after its first character.
    let mut literal = rest.chars();
    match (literal.next(), literal.next(), literal.next()) {
        (Some('\''), Some(inside), Some('\'')) => 2 + inside.len_utf8(),
        _ => 0,
    }
}

/// The same code with the modules under `#[cfg(test)]` blanked.
fn without_tests(mut code: String) -> String {
    while let Some(start) = code.find("#[cfg(test)]") {
        let body = code[start..].find(['{', ';']).map_or(code.len(), |at| start + at);
        let end = if code[body..].starts_with('{') { body + block(&code[body..]).len() } else { body };
        let blank: String = code[start..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
        code.replace_range(start..end, &blank);
    }
    code
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn sources() -> Vec<Source> {
    let mut paths = Vec::new();
    files(&root().join("src"), &mut paths);
    paths.sort();
    assert!(paths.len() > 10, "the sources are not where this test looks: {paths:?}");
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        let inside = path.strip_prefix(root().join("src")).unwrap();
        let room = inside.components().next().unwrap().as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned();
        let is_test = inside.components().any(|part| part.as_os_str() == "tests") || path.ends_with("tests.rs");
        let code = if is_test { String::new() } else { without_tests(without_comments_and_strings(&text)) };
        Source { path: path.strip_prefix(root()).unwrap().to_owned(), room, text, code }
    };
    paths.into_iter().map(read).collect()
}

#[track_caller]
fn none(rule: &str, breaches: &[String]) {
    assert!(breaches.is_empty(), "{rule}\n  {}", breaches.join("\n  "));
}

/// The rooms that a file imports: each `crate::room`, also inside braces, and each `super::` that reaches the crate.
fn imported(source: &Source, rooms: &[&str]) -> Vec<String> {
    let below = source.path.components().count() - 2;
    let is_root = below == 0 || source.path.ends_with("mod.rs");
    // How many `super` lead out of this file's module to the crate.
    let depth = if is_root { below.max(1) } else { below + 1 };
    let ways = ["crate::".to_owned(), "eggctl::".to_owned(), "super::".repeat(depth)];
    let mut found = Vec::new();
    for way in &ways {
        for (at, _) in source.code.match_indices(way.as_str()) {
            let prefixed =
                source.code[..at].ends_with("::") || source.code[..at].bytes().next_back().is_some_and(is_word);
            if prefixed {
                continue;
            }
            let rest = &source.code[at + way.len()..];
            let group = if rest.starts_with('{') { block(rest) } else { rest };
            let first =
                |part: &str| part.trim_matches(|c: char| !is_word(c as u8)).split("::").next().unwrap().to_owned();
            let end = |c: char| !c.is_alphanumeric() && c != '_';
            if rest.starts_with('{') {
                found.extend(top_level_parts(&group[1..group.len() - 1]).iter().map(|part| first(part)));
            } else {
                found.push(rest.split(end).next().unwrap().to_owned());
            }
        }
    }
    found.retain(|name| rooms.contains(&name.as_str()) && *name != source.room);
    found.sort();
    found.dedup();
    found
}

/// The parts between the commas of a group, not those of a group inside it.
fn top_level_parts(group: &str) -> Vec<&str> {
    let (mut depth, mut from, mut parts) = (0, 0, Vec::new());
    for (at, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&group[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&group[from..]);
    parts
}

#[test]
fn every_room_imports_only_the_rooms_it_may() {
    let rooms: Vec<&str> = IMPORTS.iter().map(|(room, _)| *room).collect();
    let mut breaches = Vec::new();
    for source in sources() {
        let Some((_, allowed)) = IMPORTS.iter().find(|(room, _)| *room == source.room) else {
            breaches.push(format!("{}: the room {} is not in this test's table", source.path.display(), source.room));
            continue;
        };
        if source.room == "lib" {
            continue; // Names every room, to have them.
        }
        for room in imported(&source, &rooms).iter().filter(|room| !allowed.contains(&room.as_str())) {
            breaches.push(format!("{} imports {room}", source.path.display()));
        }
    }
    none("A room imports only what HOUSE allows it (the table at the top of this test).", &breaches);
}

#[test]
fn the_pure_rooms_know_no_system() {
    let mut breaches = Vec::new();
    for source in sources().iter().filter(|source| PURE.contains(&source.room.as_str())) {
        breaches.extend(source.lines(|line| IMPURE.iter().any(|name| names(line, name))));
        // `use std::{fs, …}` names it without its path.
        for (at, _) in source.code.match_indices("std::{") {
            let group = block(&source.code[at + 5..]);
            let parts = top_level_parts(&group[1..group.len() - 1]);
            let first = |part: &&str| format!("std::{}", part.trim().split("::").next().unwrap());
            breaches.extend(parts.iter().map(first).filter(|path| IMPURE.contains(&path.as_str())));
        }
    }
    none("lifecycle, messenger, shortage and ipc: no system call, clock, descriptor or path.", &breaches);
}

#[test]
fn unsafe_and_raw_libc_stand_only_in_sys_and_every_unsafe_says_why_it_is_sound() {
    let mut breaches = Vec::new();
    for source in sources() {
        if source.room != "sys" {
            breaches.extend(source.lines(|line| names(line, "unsafe") || names(line, "libc")));
            continue;
        }
        for (number, line) in source.code.lines().enumerate() {
            if names(line, "unsafe") && !source.explained(number, "SAFETY:") {
                breaches.push(format!("{}:{}: unsafe without `// SAFETY:`", source.path.display(), number + 1));
            }
        }
    }
    none("`unsafe` and libc only in src/sys, each `unsafe` with a `// SAFETY:` comment right above.", &breaches);
}

#[test]
fn every_file_begins_by_saying_what_belongs_in_it() {
    let missing = sources().into_iter().filter(|source| !source.text.starts_with("//! "));
    none("The first line is `//! …`.", &missing.map(|source| source.path.display().to_string()).collect::<Vec<_>>());
}

#[test]
fn nothing_in_the_library_panics_or_prints_past_sys() {
    const PANICS: &[&str] = &[".unwrap()", ".expect(", "panic!", "unreachable!", "todo!", "unimplemented!", "assert!"];
    const PRINTS: &[&str] = &["println!", "eprintln!", "print!", "eprint!", "dbg!"];
    let mut breaches = Vec::new();
    for source in sources() {
        breaches
            .extend(source.lines(|line| {
                PRINTS.iter().any(|word| names(line, word.trim_end_matches('!')) && line.contains(word))
            }));
        for (number, line) in source.code.lines().enumerate() {
            let panics = PANICS.iter().any(|word| line.contains(word)) && !line.contains("debug_assert");
            if panics && !source.explained(number, "proof:") {
                breaches.push(format!("{}:{}: {}", source.path.display(), number + 1, line.trim()));
            }
        }
    }
    none(
        "No panic without a comment `// proof: …` that it cannot happen; print through sys (a closed stdout is no panic).",
        &breaches,
    );
}

#[test]
fn every_state_of_the_lifecycle_answers_every_event() {
    let lifecycle = sources().into_iter().filter(|source| source.room == "lifecycle");
    let arms = lifecycle
        .flat_map(|source| source.lines(|line| line.trim_start().starts_with("_ =>") || line.contains("| _ =>")));
    none("No `_ =>` in src/lifecycle: \"cannot happen\" is written out.", &arms.collect::<Vec<_>>());
}

#[test]
fn files_and_functions_stay_short_enough_to_read() {
    let (mut breaches, mut report) = (Vec::new(), String::new());
    for source in sources() {
        let mut long = Vec::new();
        // A file's own tests do not make it harder to read.
        let lines =
            source.code.lines().zip(source.text.lines()).take_while(|(_, text)| *text != "#[cfg(test)]").count();
        if lines > LONGEST_FILE {
            long.push(format!("{}: {lines} lines, more than {LONGEST_FILE}", source.path.display()));
        }
        for (line, name, lines) in source.functions() {
            if lines > LONGEST_FUNCTION {
                let place = format!("{}:{}", source.path.display(), line + 1);
                long.push(format!("{place}: `{name}` has {lines} lines, more than {LONGEST_FUNCTION}"));
            }
        }
        if source.room == "lifecycle" {
            breaches.extend(long);
        } else {
            long.iter().for_each(|line| writeln!(report, "{line}").unwrap());
        }
    }
    eprint!("{report}");
    none("Files of at most 400 lines, functions of at most 70, in the lifecycle without exception.", &breaches);
}

#[test]
fn every_dependency_says_why_it_is_there() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let (mut inside, mut before, mut breaches) = (false, "", Vec::new());
    let mut seen = 0;
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside = line.contains("dependencies");
        } else if inside && line.contains('=') && !line.starts_with('#') {
            seen += 1;
            if !before.starts_with("# ") {
                breaches.push(line.to_owned());
            }
        }
        before = line;
    }
    assert!(seen > 5, "no dependencies were found in Cargo.toml");
    none("Every dependency has its reason in the line above it.", &breaches);
}

#[test]
fn no_file_says_where_to_download_from() {
    // Written in halves, so that this file does not say it either.
    let hosts = [
        ("registry.npm", "js"),
        ("registry.npm", "mirror"),
        ("crates", ".io/api"),
        ("static.crates", ".io"),
        ("index.crates", ".io"),
    ];
    let listed = Command::new("git").args(["ls-files", "-z"]).current_dir(root()).output();
    let listed = listed.ok().filter(|listed| listed.status.success());
    let Some(listed) = listed else { return eprintln!("note: no git checkout: the files were not read") };
    let mut breaches = Vec::new();
    for name in
        String::from_utf8(listed.stdout).unwrap().split_terminator('\0').filter(|name| !name.ends_with("Cargo.lock"))
    {
        let Ok(text) = fs::read_to_string(root().join(name)) else { continue };
        breaches.extend(
            hosts
                .iter()
                .map(|(a, b)| format!("{a}{b}"))
                .filter(|host| text.contains(host.as_str()))
                .map(|host| format!("{name}: {host}")),
        );
        if name.ends_with("package-lock.json") && text.contains("\"resolved\": \"http") {
            breaches.push(format!("{name}: download addresses"));
        }
    }
    none("No registry's host name and no download address outside Cargo.lock.", &breaches);
}

#[test]
fn every_test_that_a_document_cites_is_there() {
    // `file::name_of_the_test`, as SECURITY.md cites them; in src the tests of a file may lie in a folder of its name.
    let cited = |text: &str| -> Vec<(String, String)> {
        let quoted = text.split('`').skip(1).step_by(2).filter_map(|word| word.split_once("::"));
        let is_name = |name: &str| name.len() > 12 && name.contains('_') && name.bytes().all(is_word);
        quoted.filter(|(_, name)| is_name(name)).map(|(file, name)| (file.to_owned(), name.to_owned())).collect()
    };
    let mut paths = Vec::new();
    files(&root().join("tests"), &mut paths);
    files(&root().join("src"), &mut paths);
    let texts: Vec<(PathBuf, String)> =
        paths.into_iter().map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect();
    let exists = |(file, name): &(String, String)| {
        let here = |path: &Path| {
            path.components().any(|part| Path::new(part.as_os_str()).file_stem() == Path::new(file).file_name())
        };
        texts.iter().any(|(path, text)| here(path) && text.contains(&format!("fn {name}(")))
    };
    let security = cited(&fs::read_to_string(root().join("SECURITY.md")).unwrap());
    assert!(security.len() > 20, "the citations of SECURITY.md are not where this test looks: {security:?}");
    let missing = security.iter().filter(|test| !exists(test));
    none(
        "Every test that SECURITY.md cites exists.",
        &missing.map(|(file, name)| format!("{file}::{name}")).collect::<Vec<_>>(),
    );
    assert!(!exists(&("stop".to_owned(), "a_test_that_was_never_written".to_owned())));
}

#[test]
fn the_rules_see_a_breach_when_there_is_one() {
    let source = |path: &str, text: &str| Source {
        path: PathBuf::from(path),
        room: path.split('/').nth(1).unwrap().trim_end_matches(".rs").to_owned(),
        text: text.to_owned(),
        code: without_tests(without_comments_and_strings(text)),
    };
    let rooms = ["lifecycle", "master", "sys", "ipc"];
    let by_path = source(
        "src/lifecycle/close.rs",
        "use crate::{sys, ipc::{a, master}};\n// crate::master\nfn f() { super::super::master::g() }",
    );
    assert_eq!(imported(&by_path, &rooms), ["ipc", "master", "sys"]);
    assert_eq!(imported(&source("src/ipc/mod.rs", "use super::sys;\nuse self::lines;"), &rooms), ["sys"]);
    assert_eq!(imported(&source("src/messenger.rs", "use super::ipc;\nlet s = \"crate::sys\";"), &rooms), ["ipc"]);
    let tricky = "let a = '\"'; /* unsafe */ let b = r#\"unsafe \" \"#; let c: &'a str = \"\\\"unsafe\"; x";
    let code = without_comments_and_strings(tricky);
    assert!(!code.contains("unsafe") && code.ends_with("; x") && code.contains("&'a str"), "{code}");
    assert!(!without_tests("a\n#[cfg(test)]\nmod tests { fn x() { y.unwrap() } }\nb".into()).contains("unwrap"));
    let long = source("src/sys/x.rs", &format!("fn short() {{ }}\nfn long(a: u8) -> u8 {{\n{}}}\n", "a;\n".repeat(80)));
    let lengths = long.functions();
    assert_eq!(lengths, [(0, "short".to_owned(), 1), (1, "long".to_owned(), 82)]);
}
