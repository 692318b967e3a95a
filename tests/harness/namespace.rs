//! Namespaces: a test runs this very binary again, inside `unshare`, with only itself selected.
//!
//! Inside, PID 1 is a shell that waits for the test and reaps the orphans meanwhile, as an init does.

use std::any::type_name;
use std::fs;
use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::process::{self, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, mpsc};
use std::thread;
use std::time::Duration;

use super::{LONG, World, visibly};

/// Set to the test's directory inside the namespaces.
const INSIDE: &str = "EGGCTL_TEST_INSIDE";
/// After this the namespaces are ended from outside, whatever hangs there.
const LONGEST: Duration = Duration::from_secs(240);
/// Without namespaces, one test at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Runs `body` in namespaces of its own, then checks that no process and no unexpected log line is left.
///
/// Where namespaces are not permitted, tests run here, one at a time, and say so.
pub fn world<F: FnOnce(&mut World)>(body: F) {
    world_of(&test_name::<F>(), body);
}

/// Is this the test inside its namespaces, and not the one that waits outside?
pub fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// The same for the test of this name ([`test_name`]).
pub fn world_of(name: &str, body: impl FnOnce(&mut World)) {
    if let Some(root) = std::env::var_os(INSIDE) {
        return live(Path::new(&root), true, body);
    }
    let root = make_root();
    match unshare() {
        Some(unshare) => run_inside(unshare, name, &root),
        None => {
            let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            visibly("note: unshare is not permitted here: a test runs alone, in the machine's own namespaces");
            live(&root, false, body);
        }
    }
    let _ = fs::remove_dir_all(&root);
}

/// The test's name as the test runner knows it, from the type of the closure in it.
pub fn test_name<F>() -> String {
    let path = type_name::<F>().trim_end_matches("::{{closure}}");
    path.split_once("::").map_or(path, |(_binary, name)| name).to_owned()
}

fn make_root() -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!("eggctl-test-{}-{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let root = std::env::temp_dir().join(name);
    for directory in ["home", "tmp", "work"] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    root
}

/// The `unshare` that works here, found once: as root, or as a user who may make a user namespace.
fn unshare() -> Option<&'static [&'static str]> {
    const PLAIN: &[&str] = &["--pid", "--fork", "--kill-child", "--mount-proc", "--net"];
    const MAPPED: &[&str] = &["--map-root-user", "--pid", "--fork", "--kill-child", "--mount-proc", "--net"];
    static FOUND: OnceLock<Option<&'static [&'static str]>> = OnceLock::new();
    let works = |flags: &[&str]| {
        let probe = Command::new("unshare").args(flags).args(["ip", "link", "set", "lo", "up"]).output();
        probe.is_ok_and(|probe| probe.status.success())
    };
    *FOUND.get_or_init(|| [PLAIN, MAPPED].into_iter().find(|flags| works(flags)))
}

fn run_inside(unshare: &[&str], name: &str, root: &Path) {
    // A shell does not wait for an orphan it has adopted unless it waits for somebody: so it waits for the test.
    let init = r#"ip link set lo up && { "$@" & wait $!; }"#;
    let mut inside = Command::new("unshare")
        .args(unshare)
        .args(["sh", "-c", init, "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(INSIDE, root)
        .env("TMPDIR", root.join("tmp"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (done, finished) = mpsc::channel();
    for mut stream in [
        Box::new(inside.stdout.take().unwrap()) as Box<dyn Read + Send>,
        Box::new(inside.stderr.take().unwrap()) as Box<dyn Read + Send>,
    ] {
        let done = done.clone();
        thread::spawn(move || {
            let mut text = Vec::new();
            let _ = stream.read_to_end(&mut text);
            let _ = done.send(String::from_utf8_lossy(&text).into_owned());
        });
    }
    let mut output = String::new();
    for _stream in 0..2 {
        // The long form of a test may be ten times as much work.
        let longest = if std::env::var_os(LONG).is_some() { LONGEST * 10 } else { LONGEST };
        match finished.recv_timeout(longest) {
            Ok(text) => output += &text,
            Err(_) => {
                let _ = inside.kill();
                output += "\nended from outside: it took too long\n";
            }
        }
    }
    let status = inside.wait().unwrap();
    // A name that selects nothing would pass without having run.
    let ran = output.contains("1 passed");
    if !(status.success() && ran) {
        let logs = logs_of(root);
        let _ = fs::remove_dir_all(root);
        panic!("{name} inside its namespaces: {status}\n{output}\n{logs}");
    }
    // What a passed test had to say (a part that could not run here, for example).
    output.lines().filter(|line| line.starts_with("note: ")).for_each(|line| visibly(&format!("{name}: {line}")));
}

fn live(root: &Path, alone: bool, body: impl FnOnce(&mut World)) {
    let mut world = World::new(root, alone);
    let result = catch_unwind(AssertUnwindSafe(|| {
        body(&mut world);
        world.nothing_is_left();
    }));
    if let Err(panic) = result {
        world.end_everything();
        if !alone {
            eprintln!("{}", logs_of(root));
        }
        resume_unwind(panic);
    }
}

/// Every log and note in the test's directory, for a failed test.
fn logs_of(root: &Path) -> String {
    let mut text = String::new();
    for directory in [root.join("home/logs"), root.join("work")] {
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            if let Ok(content) = fs::read(entry.path()) {
                let shown: String = String::from_utf8_lossy(&content).chars().take(8000).collect();
                text += &format!("--- {}\n{shown}\n", entry.path().display());
            }
        }
    }
    text
}
