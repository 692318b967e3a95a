//! Does what is on stderr before everything is ready fail the start? It is decided by content, so that the time at which
//! somebody looks makes no difference: lines that Node marks as its own warn, any other line fails.
//!
//! Node writes a warning with one call, so the lines of one stay together when several members print into one file:
//!
//! ```text
//! (node:12) [DEP0040] DeprecationWarning: The `punycode` module is deprecated.
//! (Use `node --trace-deprecation ...` to show where the warning was created)
//! ```
//!
//! Only the first and the last line have a mark. A message of several lines therefore counts as Node's where one of Node's
//! own lines ends it: the hint, or with `--trace-warnings` the stack. A stack after anything else is part of an error, and
//! the error's first line has failed the start already.

/// What stands before the verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing but Node's own lines, each given back; none when there is no output.
    Fine(Vec<String>),
    /// Something else.
    Fails,
}

/// When it is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// While the start goes on: the last line may be half written.
    Waiting,
    /// Everything is ready: what is there is all that counts.
    Ready,
}

/// The lines of a message that no mark of Node's has ended yet: a message has no more.
const LONGEST_MESSAGE: usize = 50;

/// Lines that Node has written without a mark in any of 18 to 24 when it has given its hint before: the rest of
/// MODULE_TYPELESS_PACKAGE_JSON and of the warning about `--experimental-loader`.
const KNOWN_REST: &[&str] = &[
    "Reparsing as ES module because module syntax was detected.",
    "To eliminate this warning, add \"type\": \"module\" to ",
    "--import 'data:text/javascript,",
];

/// The inspector's.
const INSPECTOR: &[&str] = &[
    "Debugger listening on ",
    "For help, see: https://nodejs.org/",
    "Debugger attached.",
    "Debugger ending on ",
    "Waiting for the debugger to disconnect...",
];

const HEAD: &str = "(node:";
const STACK: &str = "    at ";

/// What a line is by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    /// `(node:12) …Warning: …`
    Head,
    /// ``(Use `node --trace-warnings ...` to show where the warning was created)``
    Hint,
    /// `    at …`
    Stack,
    /// One of [`INSPECTOR`].
    Inspector,
    /// One of [`KNOWN_REST`].
    Rest,
    Other,
}

/// Judges what one stream holds.
#[must_use]
pub fn judge(text: &str, when: When) -> Verdict {
    let (whole, half) = text.rsplit_once('\n').map_or((None, text), |(whole, half)| (Some(whole), half));
    let mut own: Vec<String> = Vec::new();
    let (mut has_warned, mut in_message, mut unmarked) = (false, false, Vec::new());
    let lines = whole
        .into_iter()
        .flat_map(|whole| whole.split('\n'))
        .chain((when == When::Ready && !half.is_empty()).then_some(half));
    for line in lines {
        let kind = kind(line);
        match kind {
            Line::Hint | Line::Stack | Line::Rest if has_warned => {
                own.append(&mut unmarked);
                in_message = kind == Line::Rest;
            }
            Line::Head | Line::Inspector if unmarked.is_empty() => {
                (has_warned, in_message) = (has_warned || kind == Line::Head, kind == Line::Head);
            }
            Line::Other if in_message && unmarked.len() < LONGEST_MESSAGE => {
                unmarked.push(line.to_owned());
                continue;
            }
            Line::Head | Line::Inspector | Line::Hint | Line::Stack | Line::Rest | Line::Other => {
                return Verdict::Fails;
            }
        }
        own.push(line.to_owned());
    }
    let is_half = when == When::Waiting && !half.is_empty();
    // The end of a long warning is still to come.
    let goes_on = is_half && (in_message || could_become_own(half));
    if (is_half || !unmarked.is_empty()) && !goes_on { Verdict::Fails } else { Verdict::Fine(own) }
}

fn kind(line: &str) -> Line {
    let begins_with = |known: &&str| line.starts_with(*known);
    if is_head(line) {
        Line::Head
    } else if line.starts_with("(Use `") && line.contains(" --trace-") && line.ends_with("the warning was created)") {
        Line::Hint
    } else if line.starts_with(STACK) {
        Line::Stack
    } else if INSPECTOR.iter().any(begins_with) {
        Line::Inspector
    } else if KNOWN_REST.iter().any(begins_with) {
        Line::Rest
    } else {
        Line::Other
    }
}

/// `(node:12) [CODE] SomeWarning: …`, the code only where there is one.
fn is_head(line: &str) -> bool {
    let Some((pid, rest)) = line.strip_prefix(HEAD).and_then(|rest| rest.split_once(") ")) else { return false };
    let name = match rest.strip_prefix('[').map(|rest| rest.split_once("] ")) {
        Some(Some((_, name))) => name,
        Some(None) => return false,
        None => rest,
    };
    let is_number = !pid.is_empty() && pid.bytes().all(|byte| byte.is_ascii_digit());
    is_number && name.split_once(':').is_some_and(|(name, _)| name.ends_with("Warning"))
}

/// Is it the beginning of a line that Node writes?
fn could_become_own(half: &str) -> bool {
    let begins = [HEAD, STACK, "(Use `"].into_iter().chain(INSPECTOR.iter().copied());
    begins.into_iter().any(|begin| begin.starts_with(half) || half.starts_with(begin))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HINT: &str = "(Use `node --trace-warnings ...` to show where the warning was created)\n";
    const DEPRECATED: &str = "(node:7) [DEP0040] DeprecationWarning: The `punycode` module is deprecated.\n";
    const AT: &str = "    at Object.<anonymous> (/srv/app.js:1:9)\n    at node:internal/main/run_main_module:28:49\n";

    /// Node 18, 20, 22 and 24 print these, as they stand here.
    #[test]
    fn what_node_prints_of_its_own_accord_is_no_failure() {
        let typeless = "(node:7) [MODULE_TYPELESS_PACKAGE_JSON] Warning: Module type of file:///a.js is not specified and it \
                        doesn't parse as CommonJS.\nReparsing as ES module because module syntax was detected. This incurs a \
                        performance overhead.\nTo eliminate this warning, add \"type\": \"module\" to /package.json.\n";
        let table = [
            String::new(),
            "(node:7) Warning: simple\n".to_owned() + HINT,
            "(node:7) ExperimentalWarning: SQLite is an experimental feature\n".to_owned(),
            DEPRECATED.to_owned() + "(Use `node --trace-deprecation ...` to show where the warning was created)\n",
            DEPRECATED.to_owned() + "(Use `node22 --trace-deprecation ...` to show where the warning was created)\n",
            DEPRECATED.to_owned() + AT,
            "(node:7) MaxListenersExceededWarning: Possible leak. 11 x listeners added to [EventEmitter].\n".to_owned()
                + AT,
            "(node:7) Warning: first\nmulti\n".to_owned() + HINT,
            "(node:7) Warning: first\n\nmulti\n".to_owned() + AT,
            "(node:7) [C001] CustomWarning: with detail\nsome detail\nmore\n".to_owned() + HINT,
            "(node:7) Warning: x\n".to_owned() + HINT + typeless,
            typeless.to_owned() + HINT,
            "(node:7) Warning: one\n(node:8) Warning: two\n".to_owned() + AT + HINT + AT,
            "Debugger listening on ws://127.0.0.1:9229/0a-1b\nFor help, see: https://nodejs.org/en/docs/inspector\n"
                .to_owned(),
            "For help, see: https://nodejs.org/learn/getting-started/debugging\nDebugger attached.\n".to_owned(),
            "Waiting for the debugger to disconnect...\n".to_owned(),
        ];
        for text in table {
            for when in [When::Waiting, When::Ready] {
                let lines = text.lines().map(str::to_owned).collect();
                assert_eq!(judge(&text, when), Verdict::Fine(lines), "{when:?} {text}");
            }
        }
    }

    #[test]
    fn anything_else_is() {
        let table = [
            "x\n".to_owned(),
            "\n".to_owned(),
            "x".to_owned(),
            "Error: boom\n".to_owned() + AT,
            AT.to_owned(),
            HINT.to_owned(),
            DEPRECATED.to_owned() + HINT + "listening with trouble\n",
            DEPRECATED.to_owned() + "listening with trouble\n",
            DEPRECATED.to_owned() + AT + "Error: boom\n" + AT,
            "trouble\n".to_owned() + DEPRECATED,
            "(node:7) Warning: a\nError: boom\n(node:8) Warning: b\n".to_owned() + HINT,
            DEPRECATED.to_owned() + "Error: boom\nDebugger attached.\n",
            "(node:7) Error: an error as a warning\n".to_owned(),
            "(node:x) Warning: no pid\n".to_owned(),
            "(node:) Warning: no pid\n".to_owned(),
            "node:7 Warning: no pid\n".to_owned(),
            "app: (node:7) Warning: quoted\n".to_owned(),
            "WARNING: (node:7)\n".to_owned(),
            "Starting inspector on 127.0.0.1:9229 failed: address already in use\n".to_owned(),
            DEPRECATED.to_owned() + &"line\n".repeat(LONGEST_MESSAGE + 1) + HINT,
            "Reparsing as ES module because module syntax was detected.\n".to_owned(),
            "2026-11-21 03:04:05,678 ERROR 7 [master] a worker died\n".to_owned(),
        ];
        for text in table {
            for when in [When::Waiting, When::Ready] {
                assert_eq!(judge(&text, when), Verdict::Fails, "{when:?} {text}");
            }
        }
    }

    #[test]
    fn a_line_that_is_half_written_is_waited_for_where_it_can_become_nodes() {
        for half in
            ["(", "(node:1", "(node:12) [DEP00", "(node:12) Depr", "  ", "    at Obj", "Debugger li", "(Use `no"]
        {
            assert_eq!(judge(half, When::Waiting), Verdict::Fine(Vec::new()), "{half}");
            assert_eq!(judge(half, When::Ready), Verdict::Fails, "{half}");
        }
        for half in ["x", "(nope", "Error", "   x", "Debugger x"] {
            assert_eq!(judge(half, When::Waiting), Verdict::Fails, "{half}");
        }
        let long = "(node:7) Warning: a\nsecond\nthi";
        assert_eq!(judge(long, When::Waiting), Verdict::Fine(vec!["(node:7) Warning: a".to_owned()]));
        assert_eq!(judge(long, When::Ready), Verdict::Fails);
        let ended = "(node:7) Warning: a line without its end";
        assert_eq!(judge(ended, When::Ready), Verdict::Fine(vec![ended.to_owned()]));
    }
}
