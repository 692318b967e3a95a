//! Blocks and selection against their plain meaning, with small buffers, so that most lines are long ones.

use std::fs;
use std::io::{self, Read};
use std::path::PathBuf;

use proptest::prelude::*;
use regex::bytes::RegexBuilder;

use super::blocks::{AtEnd, Blocks, Part};
use super::last::{self, Skip};
use super::select::Selector;
use super::source::Source;
use crate::options::logs::Span;

const EXPRESSIONS: &[&str] = &[
    "a",
    "ab",
    "^a",
    "b$",
    "^$",
    "a.*b",
    "\\s",
    "[^a]b",
    "\\bab\\b",
    "a\\n",
    "(?-u:\\xff)",
    "\u{e4}$",
    "^",
    "\\Aab",
    "b\\z",
    "a |b$",
    "^[ab]*$",
    "a+b{2}.*a",
];

/// Gives a few bytes at a time.
struct Slow<'a>(&'a [u8], usize);

impl Read for Slow<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let size = self.0.len().min(buffer.len()).min(self.1);
        buffer[..size].copy_from_slice(&self.0[..size]);
        self.0 = &self.0[size..];
        Ok(size)
    }
}

fn contents() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        8 => Just(&b"a"[..]),
        8 => Just(&b"b"[..]),
        4 => Just(&b"\n"[..]),
        2 => Just("\u{e4}".as_bytes()),
        1 => Just("\u{1f95a}".as_bytes()),
        1 => Just(&b"\xff"[..]),
        1 => Just(&b"\xe2"[..]),
        1 => Just(&b" "[..]),
    ];
    prop::collection::vec(part, 0..120).prop_map(|parts| parts.concat())
}

/// The lines, each with its end if it has one.
fn lines(content: &[u8]) -> Vec<&[u8]> {
    content.split_inclusive(|byte| *byte == b'\n').collect()
}

/// A file that goes when it is dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new(content: &[u8]) -> Self {
        let name = format!("eggctl-logs-{}-{:?}", std::process::id(), std::thread::current().id());
        let path = std::env::temp_dir().join(name);
        fs::write(&path, content).unwrap();
        Scratch(path)
    }

    fn source(&self) -> Source {
        Source::open(&self.0, false).unwrap().unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

proptest! {
    #[test]
    fn parts_are_the_content_and_begin_and_end_lines_where_it_does(
        content in contents(), size in 4_usize..40, at_once in 1_usize..50,
    ) {
        let mut blocks = Blocks::with_buffer(Slow(&content, at_once), 0, size);
        let (mut read, mut inside, mut count) = (Vec::new(), false, 0);
        while let Some((offset, part)) = blocks.next(AtEnd::Finish).unwrap() {
            prop_assert_eq!(offset, read.len() as u64);
            count += part.lines();
            match part {
                Part::Lines(bytes) => {
                    prop_assert!(!inside && !bytes.is_empty());
                    read.extend_from_slice(bytes);
                    prop_assert!(bytes.ends_with(b"\n") || read == content);
                }
                Part::Piece { bytes, first, last } => {
                    prop_assert_eq!(first, !inside);
                    inside = !last;
                    read.extend_from_slice(bytes);
                    prop_assert!(!bytes[..bytes.len().saturating_sub(1)].contains(&b'\n'));
                    prop_assert_eq!(last, bytes.ends_with(b"\n") || read == content && last);
                    // A character of UTF-8 is whole.
                    if let Ok(text) = std::str::from_utf8(&content) {
                        prop_assert!(text.is_char_boundary(read.len()));
                    }
                }
            }
        }
        prop_assert!(!inside);
        prop_assert_eq!(count, lines(&content).len() as u64);
        prop_assert_eq!(read, content);
    }

    #[test]
    fn the_chosen_lines_are_those_that_match_one_by_one(
        content in contents(), size in 4_usize..60, expression in prop::sample::select(EXPRESSIONS),
    ) {
        let regex = RegexBuilder::new(expression).multi_line(true).build().unwrap();
        let is_chosen = |line: &&[u8]| regex.is_match(line.strip_suffix(b"\n").unwrap_or(line));
        let expected: Vec<u8> = lines(&content).into_iter().filter(is_chosen).flatten().copied().collect();
        let scratch = Scratch::new(&content);
        let source = scratch.source();
        let mut selector = Selector::new(Some(regex), Span::default());
        selector.begin(i64::MIN, i64::MAX);
        let mut blocks = Blocks::with_buffer(source.reader(0).unwrap(), 0, size);
        let mut chosen = Vec::new();
        while let Some((offset, part)) = blocks.next(AtEnd::Finish).unwrap() {
            let taken = selector.take(offset, part, &source, &mut |part| {
                let (Part::Lines(bytes) | Part::Piece { bytes, .. }) = part;
                chosen.extend_from_slice(bytes);
                Ok(())
            });
            prop_assert!(taken.is_ok());
        }
        prop_assert_eq!(chosen, expected);
    }

    #[test]
    fn the_last_lines_begin_where_so_many_are_left(content in contents(), wanted in 0_u64..20) {
        let scratch = Scratch::new(&content);
        let all = lines(&content);
        let expected = all[all.len().saturating_sub(usize::try_from(wanted).unwrap())..].concat();
        let mut selector = Selector::new(None, Span::default());
        let Ok(found) = last::find(&scratch.source(), &mut selector, wanted) else { panic!("unreadable") };
        prop_assert_eq!(&content[usize::try_from(found.offset).unwrap()..], &expected);
        prop_assert_eq!(found.lines, (all.len() as u64).min(wanted));
    }

    #[test]
    fn what_is_skipped_is_so_many_lines(content in contents(), size in 4_usize..40, left in 0_u64..20) {
        let expected = lines(&content).into_iter().skip(usize::try_from(left).unwrap()).collect::<Vec<_>>().concat();
        let mut blocks = Blocks::with_buffer(&content[..], 0, size);
        let (mut skip, mut passed) = (Skip::new(left), Vec::new());
        while let Some((_, part)) = blocks.next(AtEnd::Finish).unwrap() {
            if let Some(Part::Lines(bytes) | Part::Piece { bytes, .. }) = skip.pass(part) {
                passed.extend_from_slice(bytes);
            }
        }
        prop_assert_eq!(passed, expected);
    }
}

#[test]
fn what_was_read_before_an_error_is_handed_over_before_it() {
    struct Broken(bool);
    impl Read for Broken {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if std::mem::replace(&mut self.0, true) {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            buffer[..5].copy_from_slice(b"one\ntw"[..5].try_into().unwrap());
            Ok(5)
        }
    }
    let mut blocks = Blocks::new(Broken(false), 0);
    assert_eq!(blocks.next(AtEnd::Finish).unwrap(), Some((0, Part::Lines(b"one\n"))));
    assert_eq!(blocks.next(AtEnd::Finish).unwrap(), Some((4, Part::Lines(b"t"))));
    assert!(blocks.next(AtEnd::Finish).is_err());
}
