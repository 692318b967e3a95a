//! The state directory, the lock and the record, tried on real files and processes.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::{Child, Command, Stdio};
use std::sync::Barrier;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::state::{RecordPhase, new_cookie};
use crate::sys::clock::monotonic_ms;

/// A directory of its own for one test, gone with it.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("eggctl-state-test-{}-{number}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Place(path).with_mode(0o700)
    }

    fn with_mode(self, mode: u32) -> Self {
        std::fs::set_permissions(&self.0, PermissionsExt::from_mode(mode)).unwrap();
        self
    }

    fn open(&self) -> Directory {
        Directory::at(&self.0, own_uid()).unwrap().unwrap()
    }

    fn refusal(&self, uid: u32) -> String {
        Directory::at(&self.0, uid).unwrap_err().to_string()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

fn own_uid() -> u32 {
    nix::unistd::geteuid().as_raw()
}

fn title(text: &str) -> Title {
    Title::try_from(text.to_owned()).unwrap()
}

/// A record of this process.
fn record(text: &str) -> Record {
    let title = title(text);
    let cookie = new_cookie(&title).unwrap();
    Record {
        format: 1,
        version: "0.1.0".into(),
        title,
        pid: std::process::id(),
        start_ticks: proc::start_ticks(std::process::id()).unwrap(),
        boot_id: proc::boot_id().unwrap(),
        pid_namespace: proc::pid_namespace().unwrap(),
        phase: RecordPhase::Running,
        cookie,
        earlier_cookies: Vec::new(),
        base_dir: "/srv/app".into(),
        address: Some("http://127.0.0.1:7001".into()),
        started_at_ms: 1,
        close_grace_ms: 10_000,
        daemon: true,
        command: None,
    }
}

/// Takes a lock that is free, or is about to be: a process that another test is just spawning has a copy of every
/// descriptor until its exec.
fn lock_now(directory: &Directory, text: &str) -> TitleLock {
    let deadline_ms = monotonic_ms() + 60_000;
    loop {
        match directory.lock(&title(text)).unwrap() {
            LockOutcome::Locked(lock) => return lock,
            LockOutcome::Held(holder) => assert!(monotonic_ms() < deadline_ms, "held by {holder:?}"),
        }
    }
}

/// The title becomes free; likewise.
fn assert_free(directory: &Directory, text: &str) {
    let deadline_ms = monotonic_ms() + 60_000;
    while let Some(holder) = directory.holder(&title(text)).unwrap() {
        assert!(monotonic_ms() < deadline_ms, "held by {holder:?}");
    }
}

/// A process that holds the lock because it inherited the descriptor, and that this process no longer holds.
fn child_with(lock: TitleLock) -> Child {
    Command::new("sleep").arg("1000").stdin(Stdio::from(OwnedFd::from(lock))).spawn().unwrap()
}

#[test]
fn a_directory_that_is_open_to_others_is_refused() {
    for mode in [0o755, 0o710, 0o777, 0o701, 0o600] {
        let place = Place::new().with_mode(mode);
        assert!(place.refusal(own_uid()).contains(&format!("mode is {mode:04o}")), "{mode:o}");
        std::fs::set_permissions(&place.0, PermissionsExt::from_mode(0o700)).unwrap();
    }
}

/// Two places: one in this directory, and one in /tmp that is somebody's.
fn places(home: &Path, in_tmp: &Path) -> [place::Place; 2] {
    let of = |path: &Path| place::Place::of_value(Some(path.into()), own_uid()).unwrap().remove(0);
    [of(&home.join("eggctl")), of(in_tmp)]
}

#[test]
fn a_strangers_directory_in_tmp_matters_only_to_a_user_who_has_no_other_place() {
    let (home, strangers) = (Place::new(), Place::new().with_mode(0o755));
    assert!(Directory::first_of(&places(&home.0, &strangers.0), own_uid()).unwrap().is_none());
    let nowhere = home.0.join("missing");
    let refused = Directory::first_of(&places(&nowhere, &strangers.0), own_uid()).unwrap_err();
    assert!(refused.to_string().contains("not safe to use"), "{refused}");
    // Its own one there is found whether it has another place or not.
    let own = strangers.with_mode(0o700);
    assert!(Directory::first_of(&places(&home.0, &own.0), own_uid()).unwrap().is_some());
}

#[test]
fn anothers_directory_is_refused() {
    let place = Place::new();
    assert!(place.refusal(own_uid() + 1).contains("belongs to uid"));
}

#[test]
fn a_symlink_or_a_file_in_the_place_of_the_directory_is_refused() {
    let place = Place::new();
    let link = Place(place.0.with_extension("link"));
    symlink(&place.0, &link.0).unwrap();
    assert!(link.refusal(own_uid()).contains("symbolic link"));
    std::fs::remove_file(&link.0).unwrap();
    symlink("/nonexistent/dangling", &link.0).unwrap();
    assert!(link.refusal(own_uid()).contains("symbolic link"));
    std::fs::remove_file(&link.0).unwrap();
    std::fs::write(&link.0, "").unwrap();
    assert!(link.refusal(own_uid()).contains("no directory"));
    std::fs::remove_file(&link.0).unwrap();
    assert!(Directory::at(&link.0, own_uid()).unwrap().is_none(), "none there is no failure");
}

#[test]
fn a_symlink_or_a_fifo_in_the_place_of_a_file_is_not_followed() {
    let place = Place::new();
    let directory = place.open();
    let victim = place.0.join("victim");
    std::fs::write(&victim, "precious").unwrap();
    for name in [lock_name(&title("svc")), record_name(&title("svc"))] {
        symlink(&victim, place.0.join(name)).unwrap();
    }
    assert!(directory.lock(&title("svc")).is_err());
    assert!(directory.holder(&title("svc")).is_err());
    assert_eq!(directory.read_record(&title("svc")), None);
    directory.write_record(&record("svc")).unwrap();
    assert_eq!(std::fs::read_to_string(&victim).unwrap(), "precious");
    assert!(directory.read_record(&title("svc")).is_some(), "the link was replaced, not written through");
    nix::unistd::mkfifo(&place.0.join(record_name(&title("fifo"))), Mode::S_IRWXU).unwrap();
    assert_eq!(directory.read_record(&title("fifo")), None);
}

#[test]
fn fifty_threads_take_a_title_and_one_has_it() {
    let place = Place::new();
    let start = Barrier::new(50);
    let locks: Vec<TitleLock> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..50)
            .map(|_| {
                scope.spawn(|| {
                    let directory = place.open();
                    start.wait();
                    match directory.lock(&title("svc")).unwrap() {
                        LockOutcome::Locked(lock) => Some(lock),
                        LockOutcome::Held(_) => None,
                    }
                })
            })
            .collect();
        threads.into_iter().filter_map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(locks.len(), 1);
    lock_now(&place.open(), "svc2");
    drop(locks);
    lock_now(&place.open(), "svc");
}

#[test]
fn the_lock_lives_with_the_process_that_inherited_it() {
    let place = Place::new();
    let directory = place.open();
    let mut child = child_with(lock_now(&directory, "svc"));
    for _ in 0..2 {
        match directory.lock(&title("svc")).unwrap() {
            LockOutcome::Held(Holder::Unrecorded(pids)) => assert!(pids.contains(&child.id())),
            other => panic!("{other:?}"),
        }
        assert!(directory.holder(&title("svc")).unwrap().is_some_and(|holder| holder.pid().is_some()));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert_free(&directory, "svc");
    lock_now(&directory, "svc");
}

#[test]
fn asking_who_holds_a_title_does_not_take_it() {
    let place = Place::new();
    let directory = place.open();
    assert!(directory.holder(&title("svc")).unwrap().is_none());
    assert_eq!(std::fs::read_dir(&place.0).unwrap().count(), 0, "nor does it make a file");
    let held = lock_now(&directory, "svc");
    assert!(directory.holder(&title("svc")).unwrap().is_some());
    drop(held);
    assert_free(&directory, "svc");
    lock_now(&directory, "svc");
}

#[test]
fn a_record_is_believed_while_its_writer_lives_and_the_lock_is_held() {
    let place = Place::new();
    let directory = place.open();
    let lock = lock_now(&directory, "svc");
    let written = record("svc");
    directory.write_record(&written).unwrap();
    match directory.holder(&title("svc")).unwrap() {
        Some(Holder::Recorded(record)) => assert_eq!(*record, written),
        other => panic!("{other:?}"),
    }
    drop(lock);
    assert_free(&directory, "svc");
    assert_eq!(
        directory.read_record(&title("svc")),
        Some(written),
        "a free lock makes the record stale, but it can be read"
    );
    directory.remove_record(&title("svc"));
    directory.remove_record(&title("svc"));
    assert_eq!(directory.records().unwrap(), []);
}

#[test]
fn a_record_of_another_process_with_the_same_pid_is_not_believed() {
    let place = Place::new();
    let directory = place.open();
    let lock = lock_now(&directory, "svc");
    let later = Record { start_ticks: record("svc").start_ticks + 1, ..record("svc") };
    directory.write_record(&later).unwrap();
    let mut child = child_with(lock);
    assert!(matches!(directory.holder(&title("svc")).unwrap(), Some(Holder::Unrecorded(_))));
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_holder_that_cannot_be_seen_is_elsewhere() {
    let place = Place::new();
    let directory = place.open();
    // This process itself never counts as a holder in sight: its lock stands for one of another namespace.
    let _lock = lock_now(&directory, "svc");
    let away = Record { pid_namespace: 1, ..record("svc") };
    directory.write_record(&away).unwrap();
    // A child that another test spawns has a copy of the lock until its exec.
    let holder = || {
        let mut looks = (0..1_000).map(|_| directory.holder(&title("svc")).unwrap());
        looks.find(|holder| !matches!(holder, Some(Holder::Unrecorded(_)))).flatten()
    };
    match holder() {
        Some(Holder::Elsewhere(Some(record))) => assert_eq!(*record, away),
        other => panic!("{other:?}"),
    }
    directory.write_record(&Record { start_ticks: 1, ..record("svc") }).unwrap();
    let other = holder();
    assert!(matches!(other, Some(Holder::Elsewhere(None))), "a stale one says nothing: {other:?}");
}

#[test]
fn records_of_other_titles_formats_and_rubbish_are_passed_over() {
    let place = Place::new();
    let directory = place.open();
    for text in ["a", "b \"quoted\" 例"] {
        directory.write_record(&record(text)).unwrap();
    }
    let file = |name: &str| place.0.join(name);
    std::fs::copy(file(&record_name(&title("a"))), file(&record_name(&title("c")))).unwrap();
    std::fs::write(file(&record_name(&title("d"))), "{half").unwrap();
    let newer = serde_json::to_string(&record("e")).unwrap().replace("\"format\":1", "\"format\":2");
    std::fs::write(file(&record_name(&title("e"))), newer).unwrap();
    for text in ["c", "d", "e"] {
        assert_eq!(directory.read_record(&title(text)), None, "{text}");
    }
    let mut titles: Vec<String> = directory.records().unwrap().into_iter().map(|record| record.title.into()).collect();
    titles.sort();
    assert_eq!(titles, ["a", "b \"quoted\" 例"]);
}

#[test]
fn a_preload_is_kept_once_and_repaired_when_it_is_not_the_one() {
    let place = Place::new();
    let directory = place.open();
    let path = directory.keep_preload("// one").unwrap();
    assert!(path.is_absolute());
    let made = std::fs::metadata(&path).unwrap();
    assert_eq!(made.permissions().mode() & 0o777, 0o600);
    assert_eq!(directory.keep_preload("// one").unwrap(), path);
    assert_eq!(
        std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(&path).unwrap()),
        std::os::unix::fs::MetadataExt::ino(&made),
        "not written again"
    );
    std::fs::write(&path, "// tampered").unwrap();
    assert_eq!(directory.keep_preload("// one").unwrap(), path);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "// one");
    assert_ne!(directory.keep_preload("// two").unwrap(), path);
    assert_eq!(std::fs::read_dir(&place.0).unwrap().count(), 2, "no temporary file is left");
}
