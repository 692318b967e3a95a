//! The rules of names, retention and compression, on their own and with files.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use flate2::read::MultiGzDecoder;
use jiff::Span;
use jiff::civil::{DateTime, datetime};
use proptest::prelude::*;

use super::compress::{compress, recover};
use super::names::{Form, OldName};
use super::retention::{Limits, to_compress, to_delete};
use super::shelf::{OldLog, Shelf, old_logs, path_of, set_aside};

const NOW: DateTime = datetime(2026, 11, 21, 5, 13, 58, 0);

fn live() -> &'static OsStr {
    OsStr::new("out.log")
}

/// A directory that goes when it is dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("eggctl-logger-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }

    fn write(&self, name: impl AsRef<Path>, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, content).unwrap();
        path
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap().flatten();
        let mut names: Vec<_> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn gunzip(path: &Path) -> Vec<u8> {
    let mut content = Vec::new();
    MultiGzDecoder::new(File::open(path).unwrap()).read_to_end(&mut content).unwrap();
    content
}

fn text(name: OldName, form: Form) -> String {
    name.file(live(), form).into_string().unwrap()
}

#[test]
fn an_old_log_is_named_with_egg_scripts_stamp_and_a_sequence() {
    let first = OldName::next(None, NOW);
    assert_eq!(text(first, Form::Plain), "out.log.20261121.051358.0000");
    assert_eq!(text(first, Form::Compressed), "out.log.20261121.051358.0000.gz");
    assert_eq!(text(first, Form::Temporary), "out.log.20261121.051358.0000.gz.tmp");
}

#[test]
fn names_of_others_are_none_of_the_logs() {
    for other in [
        "out.log",
        "out.log.",
        "out.log.gz",
        "out.log.bak",
        "out.log.20261121",
        "out.log.20261121.051358.",
        "out.log.20261121.051358.00000",
        "out.log.20261121.051358.000x",
        "out.log.20261121.051358.0000.bz2",
        "out.log.20261121.051358.0000.gz.gz",
        "out.log.20261321.051358.0000",
        "out.log.20261121.251358.0000",
        "out.log.20261121.051358.0000.0000",
        "out.log20261121.051358.0000",
        "other.log.20261121.051358.0000",
        "xout.log.20261121.051358.0000",
    ] {
        assert_eq!(OldName::parse(live(), OsStr::new(other)), None, "{other}");
    }
}

#[test]
fn egg_scripts_own_old_logs_are_known_and_come_before_ours_of_the_same_second() {
    let (theirs, form) = OldName::parse(live(), OsStr::new("out.log.20261121.051358")).unwrap();
    assert_eq!(form, Form::Plain);
    assert!(!theirs.is_ours());
    let ours = OldName::next(Some(theirs), NOW);
    assert!(ours.is_ours() && ours > theirs);
    assert_eq!(text(ours, Form::Plain), "out.log.20261121.051358.0000");
}

#[test]
fn a_clock_that_steps_back_keeps_the_last_stamp_and_ten_thousand_names_later_a_second_passes() {
    let before = OldName::next(None, NOW);
    let mut last = OldName::next(Some(before), NOW - Span::new().hours(1));
    assert_eq!(text(last, Form::Plain), "out.log.20261121.051358.0001");
    for _ in 0..9_999 {
        last = OldName::next(Some(last), NOW - Span::new().hours(1));
    }
    assert_eq!(text(last, Form::Plain), "out.log.20261121.051359.0000");
    let later = OldName::next(Some(last), NOW + Span::new().hours(1));
    assert_eq!(text(later, Form::Plain), "out.log.20261121.061358.0000");
}

#[test]
fn ranks_are_in_the_order_of_names_and_tell_them() {
    let ranked = |file: &str| OldName::parse(live(), OsStr::new(file)).unwrap().0;
    let stamps = ["00010101.000000", "20261121.051358", "20261121.051359", "99991231.235959"];
    let names = stamps
        .iter()
        .flat_map(|stamp| ["", ".0000", ".9999"].map(|last| format!("{}.{stamp}{last}", live().display())));
    let names: Vec<OldName> = names.map(|name| ranked(&name)).collect();
    assert!(names.is_sorted() && names.iter().map(|name| name.rank()).is_sorted());
    assert!(names.iter().all(|name| name.rank() > 0 && OldName::of_rank(name.rank()) == Some(*name)));
    assert_eq!(OldName::of_rank(0), None);
    assert_eq!(OldName::of_rank(1), None);
}

#[test]
fn live_names_need_not_be_utf_8() {
    let live = OsStr::from_bytes(b"\xff.log");
    let name = OldName::next(None, NOW);
    assert_eq!(OldName::parse(live, &name.file(live, Form::Compressed)), Some((name, Form::Compressed)));
}

proptest! {
    #[test]
    fn names_sort_in_the_order_of_writing_whatever_the_clock_does(
        steps in prop::collection::vec((-100_000_000_i64..100_000_000, 1_usize..4), 1..40),
    ) {
        let mut now = NOW;
        let mut names = Vec::new();
        for (seconds, times) in steps {
            now = now.checked_add(Span::new().seconds(seconds)).unwrap_or(NOW);
            for _ in 0..times {
                names.push(OldName::next(names.last().copied(), now));
            }
        }
        for pair in names.windows(2) {
            prop_assert!(pair[0] < pair[1]);
            prop_assert!(text(pair[0], Form::Plain) < text(pair[1], Form::Plain), "as text");
        }
        for name in names {
            for form in [Form::Plain, Form::Compressed, Form::Temporary] {
                prop_assert_eq!(OldName::parse(live(), &name.file(live(), form)), Some((name, form)));
            }
        }
    }

    #[test]
    fn what_is_kept_is_the_newest_without_a_gap_and_within_every_limit(
        sizes in prop::collection::vec((0_u64..1000, 0_u64..1000), 0..20),
        files in prop::option::of(0_usize..20),
        bytes in prop::option::of(0_u64..5000),
        age in prop::option::of(0_u64..1000),
    ) {
        let logs = logs(&sizes);
        let limits = Limits { files, bytes, age: age.map(Duration::from_secs) };
        let gone = to_delete(&logs, &limits, epoch(1000));
        prop_assert!(logs.iter().map(|log| log.name).take(gone.len()).eq(gone.iter().copied()));
        let kept = &logs[gone.len()..];
        let within = |kept: &[OldLog]| {
            files.is_none_or(|most| kept.len() <= most)
                && bytes.is_none_or(|most| kept.len() == 1 || kept.iter().map(|log| log.bytes).sum::<u64>() <= most)
                && age.is_none_or(|most| kept.iter().all(|log| log.modified >= epoch(1000 - most)))
        };
        prop_assert!(within(kept));
        prop_assert!(gone.is_empty() || !within(&logs[gone.len() - 1..]), "one more would have been allowed");
    }
}

fn epoch(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

/// Old logs with these sizes and times of the last line, oldest first.
fn logs(sizes: &[(u64, u64)]) -> Vec<OldLog> {
    let mut name = OldName::next(None, NOW);
    let make = |(bytes, modified): &(u64, u64)| {
        name = name.successor();
        OldLog { name, form: Form::Plain, bytes: *bytes, modified: epoch(*modified) }
    };
    sizes.iter().map(make).collect()
}

#[test]
fn logs_that_egg_scripts_named_are_neither_deleted_nor_counted() {
    let (theirs, _) = OldName::parse(live(), OsStr::new("out.log.20200101.000000")).unwrap();
    let mut logs = logs(&[(1, 1), (1, 1)]);
    logs.insert(0, OldLog { name: theirs, ..logs[0] });
    let ours = logs[1].name;
    assert_eq!(to_delete(&logs, &Limits { files: Some(1), ..Limits::default() }, epoch(1)), [ours]);
    assert_eq!(to_compress(&logs), [ours]);
}

#[test]
fn a_limit_smaller_than_one_file_keeps_the_newest() {
    let logs = logs(&[(10, 1), (10, 1)]);
    let limits = Limits { bytes: Some(5), ..Limits::default() };
    assert_eq!(to_delete(&logs, &limits, epoch(1)), [logs[0].name]);
}

#[test]
fn old_logs_of_one_second_get_names_of_their_own_and_nothing_is_overwritten() {
    let scratch = Scratch::new("aside");
    let contents: Vec<String> = (0..20).map(|number| format!("run {number}")).collect();
    for content in &contents {
        set_aside(&scratch.write(live(), content)).unwrap();
    }
    let read = |log: &OldLog| fs::read_to_string(path_of(&scratch.0, live(), log)).unwrap();
    assert_eq!(old_logs(&scratch.0, live()).unwrap().iter().map(read).collect::<Vec<_>>(), contents);
}

#[test]
fn foreign_files_directories_and_links_at_the_next_name_are_passed_over() {
    let scratch = Scratch::new("foreign");
    let far = OldName::parse(live(), OsStr::new("out.log.99990101.000000.0000")).unwrap().0;
    scratch.write(far.file(live(), Form::Plain), "a log of the far future: every next name follows it");
    fs::create_dir(scratch.0.join("out.log.99990101.000000.0001")).unwrap();
    std::os::unix::fs::symlink("nowhere", scratch.0.join("out.log.99990101.000000.0002")).unwrap();
    let name = set_aside(&scratch.write(live(), "mine")).unwrap();
    assert_eq!(text(name, Form::Plain), "out.log.99990101.000000.0003");
    let listed: Vec<_> = old_logs(&scratch.0, live()).unwrap().iter().map(|log| log.name).collect();
    assert_eq!(listed, [far, name]);
}

#[test]
fn a_name_that_only_its_compressed_file_takes_is_not_given_again() {
    let scratch = Scratch::new("taken");
    scratch.write("out.log.99990101.000000.0000.gz", "");
    let name = set_aside(&scratch.write(live(), "mine")).unwrap();
    assert_eq!(text(name, Form::Plain), "out.log.99990101.000000.0001");
}

#[test]
fn a_compressed_log_has_the_content_the_mode_and_the_age_of_its_original() {
    let scratch = Scratch::new("compress");
    let content: Vec<u8> = (0..1_000_000_u32).flat_map(|number| (number / 7).to_be_bytes()).collect();
    let name = OldName::next(None, NOW);
    let plain = scratch.write(name.file(live(), Form::Plain), &content);
    fs::set_permissions(&plain, fs::Permissions::from_mode(0o640)).unwrap();
    File::options().write(true).open(&plain).unwrap().set_modified(epoch(1_000_000)).unwrap();
    compress(&scratch.0, live(), name).unwrap();
    assert_eq!(scratch.names(), [text(name, Form::Compressed)]);
    let path = scratch.0.join(name.file(live(), Form::Compressed));
    assert!(gunzip(&path) == content);
    let meta = fs::metadata(&path).unwrap();
    assert_eq!((meta.permissions().mode() & 0o777, meta.modified().unwrap()), (0o640, epoch(1_000_000)));
}

#[test]
fn whatever_a_crash_left_the_next_compression_puts_right() {
    let name = OldName::next(None, NOW);
    let plain = text(name, Form::Plain);
    let (compressed, temporary) = (text(name, Form::Compressed), text(name, Form::Temporary));
    // What lies there after a crash while writing, before the rename, and before the original was removed.
    for left in [vec![&temporary], vec![&compressed], vec![&temporary, &compressed]] {
        let scratch = Scratch::new("crash");
        scratch.write(&plain, "the whole truth");
        left.iter().for_each(|file| drop(scratch.write(file, "half of it")));
        let listed = old_logs(&scratch.0, live()).unwrap();
        assert_eq!(listed.iter().map(|log| (log.name, log.form)).collect::<Vec<_>>(), [(name, Form::Plain)]);
        recover(&Shelf::of(&scratch.0.join(live())).unwrap()).unwrap();
        assert!(!scratch.names().contains(&temporary) && scratch.names().contains(&plain));
        compress(&scratch.0, live(), name).unwrap();
        assert_eq!(scratch.names(), std::slice::from_ref(&compressed));
        assert_eq!(gunzip(&scratch.0.join(&compressed)), b"the whole truth");
    }
}

#[test]
fn a_link_a_directory_and_a_missing_file_are_not_compressed_and_leave_nothing() {
    let scratch = Scratch::new("not-compressed");
    let name = OldName::next(None, NOW);
    let path = scratch.0.join(name.file(live(), Form::Plain));
    assert!(compress(&scratch.0, live(), name).is_err());
    fs::create_dir(&path).unwrap();
    assert!(compress(&scratch.0, live(), name).is_err());
    fs::remove_dir(&path).unwrap();
    let victim = scratch.write("victim", "another's");
    std::os::unix::fs::symlink(&victim, &path).unwrap();
    assert!(compress(&scratch.0, live(), name).is_err());
    nix::unistd::unlink(&path).unwrap();
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(compress(&scratch.0, live(), name).is_err());
    assert_eq!(scratch.names(), [text(name, Form::Plain), "victim".to_owned()]);
}

#[test]
fn a_link_at_the_temporary_name_is_replaced_not_followed() {
    let scratch = Scratch::new("temporary-link");
    let name = OldName::next(None, NOW);
    scratch.write(name.file(live(), Form::Plain), "mine");
    let victim = scratch.write("victim", "another's");
    std::os::unix::fs::symlink(&victim, scratch.0.join(name.file(live(), Form::Temporary))).unwrap();
    compress(&scratch.0, live(), name).unwrap();
    assert_eq!(fs::read_to_string(victim).unwrap(), "another's");
}

#[test]
fn a_log_that_somebody_writes_into_while_it_is_compressed_stays_plain() {
    let scratch = Scratch::new("busy");
    let name = OldName::next(None, NOW);
    let plain = scratch.write(name.file(live(), Form::Plain), vec![b'x'; 64 * 1024 * 1024]);
    let mut writer = File::options().append(true).open(&plain).unwrap();
    let (tell, told) = std::sync::mpsc::channel::<()>();
    let writing = std::thread::spawn(move || {
        // Until the compression has ended: it must see one of them.
        while told.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
            writer.write_all(b"y").unwrap();
            std::thread::yield_now();
        }
    });
    let done = compress(&scratch.0, live(), name);
    drop(tell);
    writing.join().unwrap();
    assert_eq!(done.unwrap_err().kind(), std::io::ErrorKind::ResourceBusy);
    assert_eq!(scratch.names(), [text(name, Form::Plain)]);
}
