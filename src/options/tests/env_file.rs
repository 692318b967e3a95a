//! Files of variables: Node's syntax, and what comes before what.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStringExt;

use super::*;
use crate::error::Exit;
use crate::options::env_file::parse;

/// `[text, [[name, value], …]]` of each text, as Node 24 reads it: `make.js` beside it has made it.
const NODES: &str = include_str!("../../../tests/fixtures/env-files/node.json");

#[test]
fn texts_are_read_as_node_reads_them() {
    let table: Vec<(String, Vec<(String, String)>)> = serde_json::from_str(NODES).unwrap();
    assert!(table.len() > 300, "{}", table.len());
    for (text, expected) in table {
        let expected: BTreeMap<Vec<u8>, Vec<u8>> =
            expected.into_iter().map(|(name, value)| (name.into_bytes(), value.into_bytes())).collect();
        assert_eq!(parse(text.as_bytes()), expected, "{text:?}");
    }
}

#[test]
fn what_is_in_the_environment_stays_and_of_several_files_the_last_one_counts() {
    let scratch = Scratch::with_application();
    scratch.write("one.env", "GIVEN=1\nEMPTY=1\nBOTH=1\nONE=1\nPORT=7001\nEGG_SERVER_ENV=one\n");
    scratch.write("two.env", "BOTH=2\nTWO=2\nNODE_CHANNEL_FD=9\nEGGCTL_INSTANCE=x\nEGGCTL_LOCK_FD=9\nNUL=a\0b\n=x\n");
    let typed = ["--env-file=one.env", "--env-file", "two.env", "--workers=1"];
    let options = scratch.start(&typed, &[("GIVEN", "0"), ("EMPTY", "")]).unwrap();
    let added: Vec<_> = options.from_files.0.iter().map(|(name, value)| (name.to_str(), value.to_str())).collect();
    let expected =
        [("BOTH", "2"), ("EGG_SERVER_ENV", "one"), ("NUL", "a"), ("ONE", "1"), ("PORT", "7001"), ("TWO", "2")];
    assert_eq!(added, expected.map(|(name, value)| (Some(name), Some(value))));
    assert_eq!((options.port, options.env.as_deref()), (Some(7001), Some("one")));
    assert_eq!(options.given.get("PORT"), None, "the user has not given it");
    let inherited = options.inherited();
    assert_eq!(inherited.get("GIVEN"), Some("0".as_ref()));
    assert_eq!(inherited.get("EMPTY"), Some("".as_ref()));
    assert_eq!(inherited.get("NODE_ENV"), Some("production".as_ref()));
    let typed_over = scratch.start(&["--env-file=one.env", "--port=7009", "--env=two"], &[]).unwrap();
    assert_eq!((typed_over.port, typed_over.env.as_deref()), (Some(7009), Some("two")));
    assert_eq!(typed_over.inherited().get("PORT"), Some("7009".as_ref()));
}

#[test]
fn values_need_not_be_utf_8() {
    let scratch = Scratch::with_application();
    fs::write(scratch.path("odd.env"), b"ODD=\xff\xfe\n").unwrap();
    let options = scratch.start(&["--env-file=odd.env"], &[]).unwrap();
    assert_eq!(options.from_files.get("ODD"), Some(OsString::from_vec(vec![0xff, 0xfe]).as_os_str()));
}

#[test]
fn package_json_may_name_files_of_the_application_and_a_typed_one_takes_their_place() {
    let scratch = Scratch::with_application();
    scratch.write("svc/package.json", r#"{"name":"svc","eggScriptsConfig":{"env-file":["a.env","b.env"]}}"#);
    scratch.write("svc/a.env", "A=a\nB=a");
    scratch.write("svc/b.env", "B=b");
    scratch.write("c.env", "C=c");
    let names = |options: Options| options.from_files.0.into_keys().collect::<Vec<_>>();
    assert_eq!(names(scratch.start(&[], &[]).unwrap()), ["A", "B"]);
    assert_eq!(names(scratch.start(&["--env-file=c.env"], &[]).unwrap()), ["C"]);
    scratch.write("svc/package.json", r#"{"name":"svc","eggScriptsConfig":{"env-file":7}}"#);
    assert_eq!(scratch.start(&[], &[]).unwrap_err().exit, Exit::Usage);
}

#[test]
fn a_file_that_cannot_be_read_is_named_with_the_flag_or_the_setting() {
    let scratch = Scratch::with_application();
    for (file, why) in [("none.env", "No such file"), ("bin", "directory")] {
        let failure = scratch.start(&[&format!("--env-file={file}")], &[]).unwrap_err();
        let text = failure.to_string();
        assert_eq!(failure.exit, Exit::Usage);
        assert!(text.contains(&scratch.text(file)) && text.contains(why) && text.contains("--env-file"), "{text}");
    }
    scratch.write("svc/package.json", r#"{"name":"svc","eggScriptsConfig":{"env-file":".env"}}"#);
    let text = scratch.start(&[], &[]).unwrap_err().to_string();
    assert!(text.contains("svc/.env") && text.contains("eggScriptsConfig.env-file"), "{text}");
}
