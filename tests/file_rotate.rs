//! Why file-rotate 0.8 does not name, rotate, compress or delete logs here (docs/decisions/0010): each test shows one of its
//! failures. When one of them fails, that fault has been repaired, and the decision is to be read again.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;

use file_rotate::compression::Compression;
use file_rotate::suffix::{AppendTimestamp, DateFrom, FileLimit, SuffixScheme};
use file_rotate::{ContentLimit, FileRotate};

/// A directory that goes when it is dropped.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn scratch(name: &str) -> Scratch {
    let path = std::env::temp_dir().join(format!("eggctl-file-rotate-{name}-{}", std::process::id()));
    fs::create_dir_all(&path).unwrap();
    Scratch(path)
}

/// A stamp that does not change while a test runs.
fn by_year(files: usize) -> AppendTimestamp {
    AppendTimestamp::with_format("%Y", FileLimit::MaxFiles(files), DateFrom::Now)
}

fn log(path: &Path, files: usize, compression: Compression) -> FileRotate<AppendTimestamp> {
    FileRotate::new(path, by_year(files), ContentLimit::None, compression, None)
}

fn year() -> i16 {
    jiff::Zoned::now().year()
}

#[test]
fn a_foreign_file_at_the_next_name_makes_it_panic() {
    let directory = scratch("foreign");
    let mut log = log(&directory.0.join("log"), 9, Compression::None);
    log.write_all(b"a line\n").unwrap();
    fs::write(directory.0.join(format!("log.{}", year())), "another's").unwrap();
    assert!(catch_unwind(AssertUnwindSafe(|| log.rotate())).is_err());
}

#[test]
fn a_missing_directory_makes_its_scan_panic() {
    let directory = scratch("missing");
    let path = directory.0.join("nowhere/log");
    assert!(catch_unwind(|| by_year(9).scan_suffixes(&path)).is_err());
}

#[test]
fn a_log_that_cannot_be_opened_swallows_every_line_and_says_ok() {
    let directory = scratch("swallows");
    // A directory in its place; without descriptors or permission it is the same.
    fs::create_dir(directory.0.join("log")).unwrap();
    let mut log = log(&directory.0.join("log"), 9, Compression::None);
    assert!(log.write_all(b"a line\n").is_ok() && log.flush().is_ok());
    assert_eq!(fs::read_dir(directory.0.join("log")).unwrap().count(), 0, "nor is the line anywhere");
}

#[test]
fn after_the_clock_stepped_back_its_retention_deletes_the_newest_lines() {
    let directory = scratch("clock");
    fs::write(directory.0.join("log.9998"), "before the step\n").unwrap();
    let mut log = log(&directory.0.join("log"), 1, Compression::None);
    log.write_all(b"after the step\n").unwrap();
    log.rotate().unwrap();
    assert!(directory.0.join("log.9998").exists());
    let read = |entry: fs::DirEntry| fs::read_to_string(entry.path()).unwrap();
    let all: String = fs::read_dir(&directory.0).unwrap().flatten().map(read).collect();
    assert!(!all.contains("after"), "{all}");
}

#[test]
fn what_a_crash_left_of_a_compression_stays_in_the_next_compressed_file() {
    let directory = scratch("crash");
    let compressed = directory.0.join(format!("log.{}.gz", year()));
    let mut log = log(&directory.0.join("log"), 9, Compression::OnRotate(0));
    log.write_all(b"a line\n").unwrap();
    fs::write(&compressed, vec![b'x'; 1000]).unwrap();
    log.rotate().unwrap();
    assert_eq!(fs::metadata(&compressed).unwrap().len(), 1000, "neither replaced nor cut");
    assert!(!Command::new("gzip").arg("-t").arg(&compressed).output().unwrap().status.success());
}

#[test]
fn a_name_that_is_not_utf_8_becomes_another_name() {
    let directory = scratch("bytes");
    let mut log = log(&directory.0.join(OsStr::from_bytes(b"\xff.log")), 9, Compression::None);
    log.write_all(b"a line\n").unwrap();
    log.rotate().unwrap();
    assert!(directory.0.join(format!("\u{fffd}.log.{}", year())).exists());
}
