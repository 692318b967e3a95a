//! The files of `--env-file`: variables in Node's own syntax, as Node 22 and 24 read them by `--env-file` and by `util.parseEnv`.
//!
//! ```text
//! # a comment; a line without `=` is ignored
//! NAME=plain text   # up to the comment, without the blanks around it
//! export OTHER="from quote to quote, over lines, where \n is a new line; also 'single' and `back` quotes, as they are"
//! ```
//!
//! A variable that the user's environment has, if only as an empty text, stays as it is. Of several files the last one counts.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use memchr::{memchr, memchr2};

use super::surroundings::{Source, Surroundings};
use super::{Variables, is_own};
use crate::error::Failure;

/// No environment is longer, in bytes: a file that is has another purpose.
const LONGEST: u64 = 4 * 1024 * 1024;

/// Reads these files: what they add to the user's environment.
///
/// # Errors
/// One cannot be read, or is too long.
pub fn read(files: &[(PathBuf, Source)], around: &Surroundings) -> Result<Variables, Failure> {
    let mut added = BTreeMap::new();
    for (path, source) in files {
        let text = read_file(path).map_err(|error| Failure::env_file(path, &error, source))?;
        added.extend(parse(&text).into_iter().map(|(name, value)| (text_of(name), text_of(value))));
    }
    added.retain(|name, _| !name.is_empty() && !is_own(name) && !around.environment.contains_key(name));
    Ok(Variables(added))
}

fn read_file(path: &PathBuf) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    let read = File::open(path)?.take(LONGEST + 1).read_to_end(&mut text)?;
    if u64::try_from(read).is_ok_and(|read| read > LONGEST) {
        return Err(io::Error::other("longer than 4 MiB"));
    }
    Ok(text)
}

/// As far as a variable can hold it: to the kernel a NUL is the end.
fn text_of(mut bytes: Vec<u8>) -> OsString {
    bytes.truncate(memchr(0, &bytes).unwrap_or(bytes.len()));
    OsString::from_vec(bytes)
}

/// The variables of a text, exactly as Node reads them: also where it is odd (`export A=` without a value is called `export A`).
pub fn parse(text: &[u8]) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let text: Vec<u8> = text.iter().copied().filter(|byte| *byte != b'\r').collect();
    let mut variables = BTreeMap::new();
    let mut rest = trimmed(&text);
    while let Some(first) = rest.first() {
        if matches!(first, b'\n' | b'#') {
            rest = after_line(rest);
            continue;
        }
        let Some(end) = memchr2(b'=', b'\n', rest) else { break };
        let (name, behind) = (trimmed(before(rest, end)), after(rest, end));
        if rest.get(end) == Some(&b'\n') {
            rest = trimmed(behind);
            continue;
        }
        if matches!(behind.first(), None | Some(b'\n')) {
            variables.insert(name.to_vec(), Vec::new());
            rest = behind.get(1..).unwrap_or_default();
            continue;
        }
        // The value may begin lines below.
        rest = trimmed(behind);
        if name.is_empty() {
            continue;
        }
        let name = name.strip_prefix(b"export ").map_or(name, trimmed);
        let (value, behind) = value(rest);
        variables.insert(name.to_vec(), value);
        rest = behind;
    }
    variables
}

/// The value at the beginning of this text, and what comes after its line.
fn value(text: &[u8]) -> (Vec<u8>, &[u8]) {
    let quote = text.first().copied().filter(|first| matches!(first, b'"' | b'\'' | b'`'));
    if let Some(quote) = quote {
        let inside = text.get(1..).unwrap_or_default();
        if let Some(end) = memchr(quote, inside) {
            let value = before(inside, end);
            let value = if quote == b'"' { with_new_lines(value) } else { value.to_vec() };
            return (value, after_line(after(inside, end)));
        }
    }
    let line = before(text, memchr(b'\n', text).unwrap_or(text.len()));
    let behind = trimmed(after_line(text));
    match quote {
        // A quote that nothing closes is a part of the value, and so is everything up to the end of the line.
        Some(_) => (line.to_vec(), behind),
        None => (trimmed(before(line, memchr(b'#', line).unwrap_or(line.len()))).to_vec(), behind),
    }
}

/// `\n` in double quotes is a new line; no other escape is one.
fn with_new_lines(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.first() {
        let is_escape = rest.starts_with(b"\\n");
        out.push(if is_escape { b'\n' } else { *first });
        rest = rest.get(if is_escape { 2 } else { 1 }..).unwrap_or_default();
    }
    out
}

/// Without the blanks, tabs and line ends around it.
fn trimmed(text: &[u8]) -> &[u8] {
    let is_text = |byte: &u8| !matches!(byte, b' ' | b'\t' | b'\n');
    let begin = text.iter().position(is_text).unwrap_or(text.len());
    let end = text.iter().rposition(is_text).map_or(begin, |last| last + 1);
    text.get(begin..end).unwrap_or_default()
}

fn after_line(text: &[u8]) -> &[u8] {
    memchr(b'\n', text).map_or(&[], |end| after(text, end))
}

fn before(text: &[u8], end: usize) -> &[u8] {
    text.get(..end).unwrap_or_default()
}

fn after(text: &[u8], end: usize) -> &[u8] {
    text.get(end + 1..).unwrap_or_default()
}
