//! /proc, read by hand: who runs, with which arguments, since when, as whose child.
//!
//! A look at all processes is one pass of open, read and close each (6 µs); nothing else is asked before that matched.
//! With `hidepid` other users' processes are not there; one's own always are.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// What is read of a process's arguments or environment at most, in bytes. Whatever lies behind is not seen.
const MOST_READ: usize = 4 * 1024 * 1024;

/// Is /proc there, and does it speak of this pid namespace?
///
/// # Errors
/// The reason why not, as text for people.
pub fn check() -> Result<(), String> {
    let own = std::process::id().to_string();
    match fs::read_link("/proc/self") {
        Ok(pid) if pid == Path::new(&own) => Ok(()),
        Ok(_) => Err("/proc belongs to another pid namespace".into()),
        Err(error) => Err(format!("/proc is not mounted: {error}")),
    }
}

/// The pids of all processes in sight, threads not among them.
///
/// # Errors
/// When /proc cannot be read.
pub fn pids() -> io::Result<impl Iterator<Item = u32>> {
    Ok(fs::read_dir("/proc")?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()))
}

/// Reads arguments and environments of many processes with one buffer.
#[derive(Debug, Default)]
pub struct Reader {
    bytes: Vec<u8>,
}

impl Reader {
    /// The argument strings of a process; none for a kernel thread, a zombie, and for a moment within its exec.
    ///
    /// # Errors
    /// `NotFound` or `ESRCH` when it has gone.
    pub fn arguments(&mut self, pid: u32) -> io::Result<impl Iterator<Item = &[u8]> + Clone> {
        self.strings(pid, "cmdline")
    }

    /// The value of a variable in the environment that a process was started with (later changes are its own memory);
    /// `None` also when it has gone or is another user's.
    pub fn environment_variable(&mut self, pid: u32, name: &str) -> Option<&[u8]> {
        let mut variables = self.strings(pid, "environ").ok()?;
        variables.find_map(|variable| variable.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
    }

    /// The environment that a process was started with.
    ///
    /// # Errors
    /// `NotFound` or `ESRCH` when it has gone, `PermissionDenied` when it is another user's.
    pub fn environment(&mut self, pid: u32) -> io::Result<Vec<(OsString, OsString)>> {
        let text = |bytes: &[u8]| OsStr::from_bytes(bytes).to_owned();
        let pair = |variable: &[u8]| {
            let equals = variable.iter().position(|byte| *byte == b'=')?;
            Some((text(&variable[..equals]), text(&variable[equals + 1..])))
        };
        Ok(self.strings(pid, "environ")?.filter_map(pair).collect())
    }

    /// The strings of a file in which each ends with a NUL.
    fn strings(&mut self, pid: u32, file: &str) -> io::Result<impl Iterator<Item = &[u8]> + Clone> {
        let mut file = File::open(format!("/proc/{pid}/{file}"))?;
        let mut filled = 0;
        loop {
            if filled == self.bytes.len() {
                self.bytes.resize((filled * 2).max(16 * 1024), 0);
            }
            let room = self.bytes.len() - filled;
            // proof: `filled` never passes the length.
            let read = file.read(&mut self.bytes[filled..])?;
            filled += read;
            // These two files fill what they are given: less means the end, without a second call to be told so.
            if read < room {
                break;
            }
            if filled >= MOST_READ {
                // What was cut off in the middle must not pass for a whole string.
                filled = self.bytes[..filled].iter().rposition(|byte| *byte == 0).map_or(0, |last| last + 1);
                break;
            }
        }
        let bytes = &self.bytes[..filled];
        let bytes = bytes.strip_suffix(b"\0").unwrap_or(bytes);
        Ok(bytes.split(|byte| *byte == 0).take(if filled == 0 { 0 } else { usize::MAX }))
    }
}

/// What `/proc/PID/stat` says of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// `R`, `S`, `D` (waits for a device, deaf to KILL), `T` (stopped), `Z` (zombie), ….
    pub state: char,
    /// The parent's pid; 0 for none in this namespace.
    pub parent: u32,
    /// Its process group.
    pub process_group: u32,
    /// When it started, in clock ticks since boot: with the pid, its identity until the next boot. An exec does not change it.
    pub start_ticks: u64,
}

impl Stat {
    /// Is it more than an exit status that nobody has collected?
    #[must_use]
    pub fn is_alive(&self) -> bool {
        !matches!(self.state, 'Z' | 'X' | 'x')
    }

    /// Reads the line. The name stands in parentheses and may hold anything, `) ` included: the last `)` ends it.
    fn parse(line: &[u8]) -> Option<Self> {
        let end_of_name = line.iter().rposition(|byte| *byte == b')')?;
        let mut fields = std::str::from_utf8(line.get(end_of_name + 1..)?).ok()?.split_ascii_whitespace();
        // Field 3 comes first; start_ticks is field 22 (proc_pid_stat(5)).
        let state = fields.next()?.chars().next()?;
        let parent = fields.next()?.parse().ok()?;
        let process_group = fields.next()?.parse().ok()?;
        let start_ticks = fields.nth(22 - 6)?.parse().ok()?;
        Some(Stat { state, parent, process_group, start_ticks })
    }
}

/// State, parent, process group and start of a process.
///
/// # Errors
/// `NotFound` when there is none, `InvalidData` when the kernel's line cannot be read.
pub fn stat(pid: u32) -> io::Result<Stat> {
    let line = fs::read(format!("/proc/{pid}/stat"))?;
    Stat::parse(&line).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "unreadable /proc/PID/stat"))
}

/// When a process started, in clock ticks since boot; `NotFound` for a zombie as well.
///
/// # Errors
/// As [`stat`].
pub fn start_ticks(pid: u32) -> io::Result<u64> {
    let stat = stat(pid)?;
    if stat.is_alive() { Ok(stat.start_ticks) } else { Err(io::ErrorKind::NotFound.into()) }
}

/// The first words of a process's arguments, at most `most` bytes, with spaces between them; the kernel's name for it when it
/// has none left (a zombie) or never had any (a kernel thread).
///
/// # Errors
/// `NotFound` when it has gone.
pub fn first_words(pid: u32, most: usize) -> io::Result<Vec<u8>> {
    let mut words = Vec::with_capacity(most);
    let most = u64::try_from(most).unwrap_or(u64::MAX);
    File::open(format!("/proc/{pid}/cmdline"))?.take(most).read_to_end(&mut words)?;
    if words.is_empty() {
        words = fs::read(format!("/proc/{pid}/comm"))?;
    }
    let end = words.iter().rposition(|byte| !matches!(byte, 0 | b'\n')).map_or(0, |last| last + 1);
    words.truncate(end);
    words.iter_mut().filter(|byte| **byte == 0).for_each(|byte| *byte = b' ');
    Ok(words)
}

/// Does this process have a controlling terminal? (`tty_nr`, field 7 of proc_pid_stat(5).)
///
/// # Errors
/// When /proc is not there.
pub fn has_controlling_terminal() -> io::Result<bool> {
    let line = fs::read("/proc/self/stat")?;
    let end_of_name = line.iter().rposition(|byte| *byte == b')').unwrap_or(0);
    let fields = String::from_utf8_lossy(line.get(end_of_name + 1..).unwrap_or_default()).into_owned();
    Ok(fields.split_ascii_whitespace().nth(7 - 3).is_some_and(|terminal| terminal != "0"))
}

/// The children of a process, zombies among them.
///
/// # Errors
/// `NotFound` when there is no such process.
pub fn children(pid: u32) -> io::Result<Vec<u32>> {
    let mut children = Vec::new();
    // A child stands at the thread that forked it.
    for thread in fs::read_dir(format!("/proc/{pid}/task"))?.flatten() {
        match fs::read_to_string(thread.path().join("children")) {
            Ok(pids) => children.extend(pids.split_ascii_whitespace().filter_map(|pid| pid.parse::<u32>().ok())),
            // Either the thread has just ended or the kernel was built without this file.
            Err(_) if thread.path().exists() => return children_by_parent(pid),
            Err(_) => {}
        }
    }
    Ok(children)
}

fn children_by_parent(pid: u32) -> io::Result<Vec<u32>> {
    Ok(pids()?.filter(|child| stat(*child).is_ok_and(|child| child.parent == pid)).collect())
}

/// The children of a process, their children and so on, parents before their children. Those that go during the walk
/// are left out, and with them what they leave behind.
#[must_use]
pub fn descendants(pid: u32) -> Vec<u32> {
    let mut found = children(pid).unwrap_or_default();
    let mut looked_at = 0;
    while let Some(next) = found.get(looked_at) {
        looked_at += 1;
        for child in children(*next).unwrap_or_default() {
            if !found.contains(&child) {
                found.push(child);
            }
        }
    }
    found
}

/// This process, its parent, and so on up to the first of this pid namespace.
#[must_use]
pub fn self_and_ancestors() -> Vec<u32> {
    let mut line = vec![std::process::id()];
    while let Some(parent) = line.last().and_then(|pid| stat(*pid).ok()).map(|stat| stat.parent) {
        if parent == 0 || line.contains(&parent) {
            break;
        }
        line.push(parent);
    }
    line
}

/// The id of this boot: a pid and its start ticks mean nothing in another one.
///
/// # Errors
/// When /proc is not there.
pub fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim_end().to_owned())
}

/// The number of this process's pid namespace: a pid means nothing in another one.
///
/// # Errors
/// When /proc is not there.
pub fn pid_namespace() -> io::Result<u64> {
    namespace_of(std::process::id())
}

/// The number of a process's pid namespace.
///
/// # Errors
/// `PermissionDenied` for another user's process.
pub fn namespace_of(pid: u32) -> io::Result<u64> {
    Ok(fs::metadata(format!("/proc/{pid}/ns/pid"))?.ino())
}

/// The other processes of one's own that hold a lock on the file of this open descriptor: it is the open file that is
/// compared, since the pid that /proc/locks shows is that of whoever took the lock, and it may have ended.
///
/// # Errors
/// When /proc cannot be read.
pub fn holders_of_lock(file: &impl std::os::fd::AsRawFd) -> io::Result<Vec<u32>> {
    let path = fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
    let holds = |pid: u32| {
        fs::read_dir(format!("/proc/{pid}/fd")).is_ok_and(|descriptors| {
            descriptors.flatten().any(|descriptor| {
                let number = descriptor.file_name();
                fs::read_link(descriptor.path()).is_ok_and(|target| target == path)
                    && fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("fdinfo").join(number))
                        .is_ok_and(|lines| lines.contains("lock:"))
            })
        })
    };
    let own = std::process::id();
    Ok(pids()?.filter(|pid| *pid != own && holds(*pid)).collect())
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_name_with_parentheses_and_spaces_cannot_shift_the_fields() {
        let rest = "S 41 7 7 0 -1 4194304 90 0 0 0 1 2 0 0 20 0 1 0 8812 3 4";
        for name in ["sh", "a) R 1 2", ") (", "x) Z 9 9 9 9", "\n"] {
            let stat = Stat::parse(format!("77 ({name}) {rest}\n").as_bytes()).unwrap();
            assert_eq!(stat, Stat { state: 'S', parent: 41, process_group: 7, start_ticks: 8812 });
        }
        let not_utf8 = [b"77 (\xff\xfe) ", rest.as_bytes()].concat();
        assert_eq!(Stat::parse(&not_utf8).unwrap().start_ticks, 8812);
    }

    #[test]
    fn a_line_that_is_cut_off_or_rubbish_is_no_stat() {
        for line in
            ["", "77", "77 (sh", "77 (sh)", "77 (sh) S 1 1 1", "77 (sh) S x 1 1 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 5"]
        {
            assert_eq!(Stat::parse(line.as_bytes()), None, "{line:?}");
        }
    }

    /// A shell that has spoken: until its exec is over, a new process shows no arguments at all.
    fn speaking(arguments: &[&str], environment: &[(&str, &str)]) -> std::process::Child {
        let mut child = Command::new("/bin/sh")
            .args(arguments)
            .env_clear()
            .envs(environment.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        child
    }

    #[test]
    fn arguments_come_back_as_they_were_given_however_long() {
        let long = "x".repeat(100_000);
        let given = ["-c", "echo; read _", "", " a  b ", "line\nfeed", &long, ""];
        let mut child = speaking(&given, &[]);
        let mut reader = Reader::default();
        let arguments: Vec<Vec<u8>> = reader.arguments(child.id()).unwrap().map(<[u8]>::to_vec).collect();
        assert_eq!(arguments[1..].iter().map(Vec::as_slice).collect::<Vec<_>>(), given.map(str::as_bytes));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(reader.arguments(child.id()).is_err());
    }

    #[test]
    fn a_variable_is_found_by_its_whole_name() {
        let environment = [("COOKIE_2", "no"), ("MY_COOKIE", "no"), ("COOKIE", "a=b"), ("EMPTY", "")];
        let mut child = speaking(&["-c", "echo; read _"], &environment);
        let mut reader = Reader::default();
        assert_eq!(reader.environment_variable(child.id(), "COOKIE"), Some(&b"a=b"[..]));
        assert_eq!(reader.environment_variable(child.id(), "EMPTY"), Some(&b""[..]));
        assert_eq!(reader.environment_variable(child.id(), "OOKIE"), None);
        drop(child.stdin.take());
        child.wait().unwrap();
    }

    #[test]
    fn the_tree_is_seen_from_above_and_from_below() {
        let own = std::process::id();
        let mut child = Command::new("sh")
            .args(["-c", "sh -c 'echo $$; read _; :' <&0; :"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        io::BufRead::read_line(&mut io::BufReader::new(child.stdout.take().unwrap()), &mut said).unwrap();
        let grandchild: u32 = said.trim().parse().unwrap();
        assert!(children(own).unwrap().contains(&child.id()));
        assert!(children_by_parent(own).unwrap().contains(&child.id()));
        assert!(descendants(own).contains(&grandchild));
        assert_eq!(stat(grandchild).unwrap().parent, child.id());
        let line = self_and_ancestors();
        assert_eq!(line[0], own);
        assert_eq!(line[1], std::os::unix::process::parent_id());
        assert!(pids().unwrap().any(|pid| pid == grandchild));
        drop(child.stdin.take());
        child.wait().unwrap();
    }

    #[test]
    fn a_zombie_has_no_start_and_no_arguments() {
        let mut child = Command::new("true").spawn().unwrap();
        let process = crate::sys::pidfd::Pidfd::open(child.id()).unwrap();
        assert!(crate::sys::pidfd::wait_all([&process], crate::sys::clock::monotonic_ms() + 60_000).unwrap());
        assert_eq!(stat(child.id()).unwrap().state, 'Z');
        assert!(start_ticks(child.id()).is_err());
        assert_eq!(Reader::default().arguments(child.id()).unwrap().count(), 0);
        child.wait().unwrap();
    }

    #[test]
    fn this_namespace_and_this_boot_have_names() {
        check().unwrap();
        assert_eq!(boot_id().unwrap().len(), 36);
        assert!(pid_namespace().unwrap() > 0);
        assert!(start_ticks(std::process::id()).unwrap() > 0);
    }
}
