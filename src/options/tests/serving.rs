//! How an Egg application is to serve: https and its files, sticky, the debug port.

use serde_json::{Value, json};

use super::Scratch;
use crate::error::Exit;
use crate::options::{Application, Options};

/// An Egg 3 application with the files of https in it.
fn with(settings: &str) -> Scratch {
    let scratch = Scratch::with_application();
    scratch.three("svc/node_modules");
    for file in ["key.pem", "svc/key.pem", "svc/cert.pem", "svc/ca.pem"] {
        scratch.write(file, "x");
    }
    scratch.write("svc/package.json", &format!(r#"{{"eggScriptsConfig":{{{settings}}}}}"#));
    scratch
}

/// What the members are told under this key.
#[track_caller]
fn told(options: &Options, key: &str) -> Value {
    let Application::Egg { cluster_options, .. } = &options.application else { panic!("no Egg application") };
    let told: Value = serde_json::from_str(cluster_options).unwrap();
    told[key].clone()
}

#[track_caller]
fn refused(scratch: &Scratch, typed: &[&str]) -> String {
    let failure = scratch.start(typed, &[]).unwrap_err();
    assert_eq!(failure.exit, Exit::Usage);
    failure.to_string()
}

#[test]
fn files_of_https_are_told_by_absolute_paths_from_where_they_are_named() {
    let scratch = with(r#""https":{"key":"key.pem","cert":"cert.pem","ca":"ca.pem"}"#);
    let file = |inside: &str| scratch.text(inside);
    let options = scratch.start(&[], &[]).unwrap();
    let set = json!({ "key": file("svc/key.pem"), "cert": file("svc/cert.pem"), "ca": file("svc/ca.pem") });
    assert_eq!(told(&options, "https"), set);
    // The flag decides file by file, from the current directory.
    let options = scratch.start(&["--https.key=key.pem"], &[]).unwrap();
    assert_eq!(told(&options, "https")["key"], file("key.pem"));
    assert_eq!(told(&options, "https")["cert"], file("svc/cert.pem"));
    let old = with(r#""https":true,"key":"key.pem","cert":"cert.pem""#);
    let set = json!({ "key": old.text("svc/key.pem"), "cert": old.text("svc/cert.pem") });
    assert_eq!(told(&old.start(&[], &[]).unwrap(), "https"), set);
}

#[test]
fn https_has_a_port_of_its_own_unless_one_is_named() {
    let scratch = with(r#""https":{"key":"key.pem","cert":"cert.pem"}"#);
    for (typed, port) in [(&[][..], 8443), (&["--port=81"], 81)] {
        let options = scratch.start(typed, &[]).unwrap();
        assert_eq!((options.port, told(&options, "port")), (Some(port), json!(port)));
    }
    assert_eq!(with("").start(&[], &[]).unwrap().port, None);
}

#[test]
fn https_without_a_file_or_with_one_that_cannot_be_read_is_refused() {
    let scratch = with("");
    let (key, cert) = ("--https.key=svc/key.pem", "--https.cert=svc/cert.pem");
    for (typed, words) in [
        (&[key][..], "https.cert should exist: https needs a key and a certificate"),
        (&[cert], "https.key should exist: https needs a key and a certificate"),
        (&["--https.ca=svc/ca.pem"], "https.key should exist: https needs a key and a certificate"),
    ] {
        assert_eq!(refused(&scratch, typed), words);
    }
    let missing = scratch.text("none.pem");
    assert_eq!(
        refused(&scratch, &[key, "--https.cert=none.pem"]),
        format!("cannot read https.cert `{missing}`: No such file or directory (from --https.cert)")
    );
    assert_eq!(
        refused(&scratch, &[key, cert, "--https.ca=svc"]),
        format!("cannot read https.ca `{}`: not a file (from --https.ca)", scratch.text("svc"))
    );
    if !nix::unistd::geteuid().is_root() {
        scratch.set_mode("svc/key.pem", 0o000);
        assert!(refused(&scratch, &[key, cert]).contains("Permission denied"));
    }
    for (setting, words) in [
        (r#""https":{}"#, "https.key should exist"),
        (r#""https":true"#, "https.key should exist"),
        (r#""https":"yes""#, "`eggScriptsConfig.https` is not an object"),
        (r#""https":{"key":5,"cert":"cert.pem"}"#, "`eggScriptsConfig.https.key` is not a file's path"),
        (r#""https":{"key":"gone","cert":"cert.pem"}"#, "(from eggScriptsConfig.https.key in package.json)"),
    ] {
        let told = refused(&with(setting), &[]);
        assert!(told.contains(words), "{told}");
    }
}

#[test]
fn sticky_and_the_debug_port_come_from_the_flag_then_from_what_is_set_and_off_is_off() {
    for (settings, typed, sticky, debug_port) in [
        ("", &[][..], false, None),
        ("", &["--sticky", "--debugPort=7200"], true, Some(7200)),
        (r#""sticky":true,"debugPort":7200"#, &[], true, Some(7200)),
        (r#""sticky":true,"debugPort":"7200""#, &["--no-sticky", "--debug-port=7201"], false, Some(7201)),
        (r#""sticky":false,"https":false,"debugPort":0"#, &[], false, None),
    ] {
        let options = with(settings).start(typed, &[]).unwrap();
        assert_eq!((options.is_sticky(), options.debug_port()), (sticky, debug_port), "{settings} {typed:?}");
        let expected = if sticky { json!(true) } else { Value::Null };
        assert_eq!((told(&options, "sticky"), told(&options, "debugPort")), (expected, json!(debug_port)));
        assert!(told(&options, "https") == false, "{settings}");
    }
    let told = refused(&with(r#""debugPort":"abc""#), &[]);
    assert!(told.starts_with("debugPort: `abc` is not a number from 1 to 65535 (from eggScriptsConfig"), "{told}");
    assert!(refused(&with(r#""sticky":"yes""#), &[]).contains("`eggScriptsConfig.sticky` is not true or false"));
}

#[test]
fn plain_node_is_told_that_it_would_not_be_told() {
    let scratch = Scratch::with_application();
    for flag in ["--https.key=k", "--https.cert=c", "--https.ca=a", "--debugPort=1"] {
        let name = flag.split('=').next().unwrap();
        assert!(refused(&scratch, &[flag]).starts_with(&format!("`{name}` is for Egg applications")), "{flag}");
    }
}

#[test]
fn clients_of_plain_node_may_keep_their_workers_by_flag_or_setting() {
    for (settings, typed, sticky) in [
        (r#"{"name":"svc"}"#, &[][..], false),
        (r#"{"name":"svc"}"#, &["--sticky"], true),
        (r#"{"name":"svc","eggScriptsConfig":{"sticky":true}}"#, &[], true),
        (r#"{"name":"svc","eggScriptsConfig":{"sticky":true}}"#, &["--no-sticky"], false),
    ] {
        let scratch = Scratch::with_application();
        scratch.write("svc/package.json", settings);
        let options = scratch.start(typed, &[]).unwrap();
        assert_eq!((options.keeps_clients(), options.is_sticky()), (sticky, false), "{settings} {typed:?}");
    }
}
