//! The last lines of a log, as they stand beside a failure: bounded, and safe on a terminal.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use nix::fcntl::OFlag;

use crate::sys::output;

/// How much of a log is looked at for its last lines.
const MOST_BYTES: u64 = 64 * 1024;
/// How many lines are shown.
const MOST_LINES: usize = 40;

/// Opens a log. No link is followed, and no FIFO in its place holds us.
///
/// # Errors
/// The kernel's.
pub fn open(path: &Path) -> io::Result<File> {
    File::options().read(true).custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits()).open(path)
}

/// What stands in a log from the byte `from` on: its end, at most [`MOST_BYTES`].
///
/// # Errors
/// The log cannot be read.
pub fn since(file: &File, from: u64) -> io::Result<String> {
    let end = file.metadata()?.len();
    let start = end.saturating_sub(MOST_BYTES).max(from).min(end);
    let mut bytes = vec![0; usize::try_from(end - start).unwrap_or(0)];
    let read = file.read_at(&mut bytes, start)?;
    bytes.truncate(read);
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The last lines of `text` under the name of the log; nothing where there is nothing to see. The master's own lines are left
/// out, they are told already.
#[must_use]
pub fn shown(text: &str, log: &Path, master: Option<u32>) -> Option<String> {
    let own = master.map(|pid| format!(" {pid} [master] "));
    let escape = output::is_terminal(io::stderr());
    let lines: Vec<&str> = text.lines().filter(|line| own.as_deref().is_none_or(|own| !line.contains(own))).collect();
    let lines = lines.get(lines.len().saturating_sub(MOST_LINES)..)?;
    if lines.iter().all(|line| line.trim().is_empty()) {
        return None;
    }
    let mut shown = format!("the last lines of {}:\n", log.display());
    for line in lines {
        shown.push_str("  ");
        push_escaped(&mut shown, line, escape);
        shown.push('\n');
    }
    shown.pop();
    Some(shown)
}

/// The lines of warnings as they are shown: without their stacks, and once where several processes warn of the same.
#[must_use]
pub fn warnings(lines: &[String]) -> Option<String> {
    let escape = output::is_terminal(io::stderr());
    let without_pid = |line: &str| match line.strip_prefix("(node:").and_then(|rest| rest.split_once(')')) {
        Some((_, rest)) => rest.to_owned(),
        None => line.to_owned(),
    };
    let mut seen = BTreeSet::new();
    let of_stack = |line: &&String| !line.starts_with("    at ");
    let lines: Vec<&String> = lines.iter().filter(of_stack).filter(|line| seen.insert(without_pid(line))).collect();
    let mut shown = String::new();
    for line in lines.iter().take(MOST_LINES) {
        shown.push_str("  ");
        push_escaped(&mut shown, line, escape);
        shown.push('\n');
    }
    shown.pop().map(|_| shown)
}

/// Control characters would speak to the terminal in the application's name.
fn push_escaped(shown: &mut String, line: &str, escape: bool) {
    for character in line.chars() {
        if escape && character.is_control() && character != '\t' {
            // Writing into a String cannot fail.
            let _ = write!(shown, "{}", character.escape_default());
        } else {
            shown.push(character);
        }
    }
}
