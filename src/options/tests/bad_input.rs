//! Every bad input: what is told, by which exit code, and with which hint.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use super::*;
use crate::error::Exit;
use crate::options::default_title;

/// Typed flags and variables that `start` refuses, and what it tells.
type Refused<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)], &'a str);

fn assert_refused(scratch: &Scratch, cases: &[Refused<'_>]) {
    for (typed, variables, told) in cases {
        let failure = scratch.start(typed, variables).unwrap_err();
        assert_eq!(failure.to_string(), *told);
        assert_eq!(failure.exit, Exit::Usage, "{told}");
    }
}

/// The failure of starting `place`.
fn refused(scratch: &Scratch, place: &str) -> Failure {
    let failure = resolve(&start_flags(&[place]), &scratch.around()).unwrap_err();
    assert_eq!(failure.exit, Exit::Usage, "{failure}");
    failure
}

#[test]
fn a_number_that_is_none_is_told_with_its_range_and_where_it_came_from() {
    let scratch = Scratch::with_application();
    assert_refused(
        &scratch,
        &[
            (&["--port=abc"], &[], "port: `abc` is not a number from 1 to 65535 (from --port)"),
            (&["--port="], &[], "port: `` is not a number from 1 to 65535 (from --port)"),
            (&["--port=0"], &[], "port: `0` is not a number from 1 to 65535 (from --port)"),
            (&["--port=65536"], &[], "port: `65536` is not a number from 1 to 65535 (from --port)"),
            (&["--port=-1"], &[], "port: `-1` is not a number from 1 to 65535 (from --port)"),
            (&["--port=+80"], &[], "port: `+80` is not a number from 1 to 65535 (from --port)"),
            (&["--port=80.5"], &[], "port: `80.5` is not a number from 1 to 65535 (from --port)"),
            (&[], &[("PORT", "7001x")], "port: `7001x` is not a number from 1 to 65535 (from $PORT)"),
            (&["--workers=0"], &[], "workers: `0` is not a number from 1 to 1024 (from --workers)"),
            (&["--workers=-2"], &[], "workers: `-2` is not a number from 1 to 1024 (from --workers)"),
            (&["--workers=1025"], &[], "workers: `1025` is not a number from 1 to 1024 (from --workers)"),
            (
                &["--workers=99999999999999999999"],
                &[],
                "workers: `99999999999999999999` is not a number from 1 to 1024 (from --workers)",
            ),
            (&[], &[("EGG_WORKERS", "many")], "workers: `many` is not a number from 1 to 1024 (from $EGG_WORKERS)"),
            (&["--timeout=0"], &[], "timeout: `0` is not a number from 1 to 2147483647 (from --timeout)"),
            (&["--timeout=10s"], &[], "timeout: `10s` is not a number from 1 to 2147483647 (from --timeout)"),
            (
                &[],
                &[("EGG_APP_CLOSE_TIMEOUT", "5s")],
                "close timeout: `5s` is not a number from 0 to 2147483647 (from $EGG_APP_CLOSE_TIMEOUT)",
            ),
            (
                &[],
                &[("EGG_AGENT_CLOSE_TIMEOUT", "-1")],
                "close timeout: `-1` is not a number from 0 to 2147483647 (from $EGG_AGENT_CLOSE_TIMEOUT)",
            ),
            (
                &[],
                &[("EGG_MASTER_CLOSE_TIMEOUT", "x")],
                "close timeout: `x` is not a number from 0 to 2147483647 (from $EGG_MASTER_CLOSE_TIMEOUT)",
            ),
        ],
    );
}

#[test]
fn port_0_is_refused_with_the_way_to_get_what_it_may_have_meant() {
    let scratch = Scratch::with_application();
    let failure = scratch.start(&["--port=0"], &[]).unwrap_err();
    assert!(failure.hint.unwrap().contains("without `--port` and"));
    assert_eq!(scratch.start(&["--port=abc"], &[]).unwrap_err().hint, None);
}

#[test]
fn a_title_that_is_none_is_told() {
    let scratch = Scratch::with_application();
    let too_long = "t".repeat(201);
    assert_refused(
        &scratch,
        &[
            (&["--title="], &[], "the title is empty (from --title)"),
            (&["--title", "a\nb"], &[], "the title holds the control character U+000A (from --title)"),
            (&["--title", "a\u{1b}[0m"], &[], "the title holds the control character U+001B (from --title)"),
            (&["--title", "a\u{9b}"], &[], "the title holds the control character U+009B (from --title)"),
            (&["--title", &too_long], &[], "the title is 201 bytes long, and 200 is the most (from --title)"),
        ],
    );
}

#[test]
fn a_name_that_makes_no_title_is_told_with_the_flag_that_gives_one() {
    let scratch = Scratch::with_application();
    scratch.write("svc/package.json", r#"{"name":"a\u0007"}"#);
    let failure = scratch.start(&[], &[]).unwrap_err();
    assert_eq!(failure.to_string(), "the title holds the control character U+0007 (from package.json)");
    assert_eq!(failure.hint.as_deref(), Some("give one with `--title`"));
    assert!(scratch.start(&["--title=x"], &[]).is_ok());
}

#[test]
fn a_place_that_is_no_application_is_told() {
    let scratch = Scratch::with_application();
    scratch.write("empty/x", "");
    scratch.write("noapp/package.json", "{}");
    scratch.write("svc/notes.txt", "");
    let told = |place: &str| refused(&scratch, place).to_string();
    assert_eq!(told("nowhere"), "no directory or script `nowhere`: No such file or directory");
    assert_eq!(told("svc/nowhere.js"), "no directory or script `svc/nowhere.js`: No such file or directory");
    assert_eq!(told("svc/app.js/x"), "no directory or script `svc/app.js/x`: Not a directory");
    assert_eq!(told("svc/notes.txt"), "`svc/notes.txt` is neither a directory nor a script");
    assert_eq!(told("/dev/null"), "`/dev/null` is neither a directory nor a script");
    assert_eq!(told("empty"), format!("no package.json in `{}`", scratch.text("empty")));
    assert_eq!(told("noapp"), format!("no app.js in `{}`", scratch.text("noapp")));
}

#[test]
fn a_bad_package_json_is_told_with_the_place_of_the_error() {
    let scratch = Scratch::with_application();
    scratch.write("svc/server.js", "");
    let file = scratch.text("svc/package.json");
    for (text, why) in [
        ("{\n  \"name\": svc\n}", "expected value at line 2 column 11"),
        ("", "EOF while parsing a value at line 1 column 0"),
        ("[]", "invalid type: sequence, expected a map at line 1 column 0"),
        ("null", "invalid type: null, expected a map at line 1 column 4"),
        (r#"{"name":7}"#, "`name` is not a string"),
    ] {
        scratch.write("svc/package.json", text);
        for place in ["svc", "svc/server.js"] {
            assert_eq!(refused(&scratch, place).to_string(), format!("`{file}` is not a package.json: {why}"));
        }
    }
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    assert_eq!(
        refused(&scratch, "svc").to_string(),
        format!("`{file}` is not a package.json: not a file of at most 16 MiB")
    );
}

#[test]
fn a_link_that_leads_in_a_circle_is_told_and_not_taken_for_a_missing_file() {
    let scratch = Scratch::with_application();
    fs::remove_file(scratch.path("svc/app.js")).unwrap();
    std::os::unix::fs::symlink("app.js", scratch.path("svc/app.js")).unwrap();
    let told = refused(&scratch, "svc").to_string();
    assert!(told.starts_with(&format!("cannot read `{}`: ", scratch.text("svc/app.js"))), "{told}");
}

#[test]
fn an_application_at_a_path_that_is_no_text_is_refused_because_node_cannot_go_there() {
    let scratch = Scratch::with_application();
    let odd = scratch.path("").join(OsStr::from_bytes(b"odd\xff"));
    fs::create_dir(&odd).unwrap();
    let mut flags = start_flags(&[]);
    flags.place = Some(odd);
    let failure = resolve(&flags, &scratch.around()).unwrap_err();
    assert!(failure.to_string().ends_with("is not UTF-8: Node cannot run an application there"), "{failure}");
    assert_eq!(failure.exit, Exit::Usage);
}

#[test]
fn a_variable_that_is_no_text_is_told() {
    let scratch = Scratch::with_application();
    let mut around = scratch.around();
    around.environment.insert("PORT".into(), OsStr::from_bytes(b"\xff").to_owned());
    let failure = resolve(&start_flags(&["svc"]), &around).unwrap_err();
    assert_eq!(failure.to_string(), "the value of $PORT is not UTF-8");
}

#[test]
fn a_node_that_cannot_be_run_is_a_failed_start() {
    let scratch = Scratch::with_application();
    scratch.write("bin/plain", "not executable");
    scratch.set_mode("bin/plain", 0o644);
    scratch.write("bin/text", "not a program\n");
    scratch.set_mode("bin/text", 0o755);
    for (node, told) in [
        ("nowhere", "cannot run `nowhere`: No such file or directory"),
        ("bin/text", "cannot run `bin/text`: Exec format error"),
        ("/nowhere/node", "cannot run `/nowhere/node`: No such file or directory"),
        ("plain", "cannot run `plain`: Permission denied"),
        ("bin/plain", "cannot run `bin/plain`: Permission denied"),
        ("./bin", "cannot run `./bin`: Is a directory"),
        ("/dev/null", "cannot run `/dev/null`: Permission denied"),
    ] {
        let failure = scratch.start(&["--node", node], &[]).unwrap_err();
        assert_eq!(failure.to_string(), told);
        assert_eq!(failure.exit, Exit::Failed, "{node}");
    }
}

#[test]
fn a_user_without_any_home_is_told() {
    let scratch = Scratch::with_application();
    let around = Surroundings { passwd_home: None, ..scratch.around() };
    let failure = resolve(&start_flags(&["svc"]), &around).unwrap_err();
    assert_eq!((failure.exit, failure.hint.as_deref()), (Exit::Usage, Some("set HOME")));
}

#[test]
fn stop_refuses_an_empty_title_and_a_bad_time() {
    let title = stop_flags(&["--title="]).checked_title().unwrap_err();
    assert_eq!(title.to_string(), "the title is empty (from --title)");
    let time = stop_flags(&["--timeout=10s"]).checked_timeout_ms().unwrap_err();
    assert_eq!(time.to_string(), "timeout: `10s` is not a number from 1 to 2147483647 (from --timeout)");
    assert_eq!((title.exit, time.exit), (Exit::Usage, Exit::Usage));
}

#[test]
fn a_place_without_an_application_has_no_default_title() {
    let scratch = Scratch::with_application();
    let told = |typed: &str| default_title(Some(Path::new(typed)), &scratch.path("")).unwrap_err().to_string();
    assert_eq!(told("nowhere"), "no directory or script `nowhere`: No such file or directory");
    assert_eq!(told("bin"), format!("no package.json in `{}`", scratch.text("bin")));
}
