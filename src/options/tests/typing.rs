//! What is typed and how it is refused.

use super::*;
use crate::error::Exit;

/// What is told about these arguments, with the hint.
fn refusal(arguments: &[&str]) -> (String, Option<String>) {
    match typed(arguments) {
        Err(NoCommand::Wrong(failure)) => {
            assert_eq!(failure.exit, Exit::Usage, "{arguments:?}");
            (failure.to_string(), failure.hint)
        }
        other => panic!("{arguments:?} gave {other:?}"),
    }
}

#[test]
fn every_flag_of_start_is_read_under_all_its_names() {
    let long = start_flags(&[
        "dir",
        "--title=t",
        "--workers=2",
        "--port=80",
        "--env=prod",
        "--daemon",
        "--stdout=o",
        "--stderr=e",
        "--timeout=9",
        "--ignore-stderr",
        "--node=n",
        "--require=a",
        "--require=b",
        "--no-preload",
    ]);
    let short = start_flags(&[
        "--title",
        "t",
        "-c",
        "2",
        "-p",
        "80",
        "--env",
        "prod",
        "--daemon",
        "--stdout",
        "o",
        "--stderr",
        "e",
        "--timeout",
        "9",
        "--ignore-stderr",
        "--node",
        "n",
        "-r",
        "a",
        "-r",
        "b",
        "--no-preload",
        "dir",
    ]);
    assert_eq!(format!("{long:?}"), format!("{short:?}"));
    assert_eq!(long.place.as_deref(), Some(Path::new("dir")));
    assert_eq!(long.require, ["a", "b"]);
    assert_eq!((long.daemon(), long.ignore_stderr(), long.no_preload), (Some(true), Some(true), true));
    assert_eq!(start_flags(&["--cluster=4"]).workers.as_deref(), Some("4"));
}

#[test]
fn a_title_may_begin_with_a_dash_and_hold_anything() {
    for title in ["-x", "--port=1", "a b", "a\"b'c", "ü.*$", ""] {
        assert_eq!(start_flags(&["--title", title]).title.as_deref(), Some(title));
        assert_eq!(stop_flags(&[&format!("--title={title}")]).title.as_deref(), Some(title));
    }
}

#[test]
fn negative_numbers_arrive_where_they_are_judged() {
    assert_eq!(start_flags(&["--workers", "-1"]).workers.as_deref(), Some("-1"));
    assert_eq!(start_flags(&["-p", "-1"]).port.as_deref(), Some("-1"));
    assert_eq!(stop_flags(&["--timeout", "-1"]).timeout.as_deref(), Some("-1"));
}

#[test]
fn an_unknown_flag_is_told_with_the_nearest_known_one() {
    let (told, hint) = refusal(&["start", "--wrkers=1"]);
    assert_eq!(told, "unknown flag `--wrkers`");
    assert_eq!(hint.as_deref(), Some("did you mean `--workers`?"));
    let (told, hint) = refusal(&["stop", "--qqq"]);
    assert_eq!(told, "unknown flag `--qqq`");
    assert!(hint.unwrap().contains("--help"));
}

#[test]
fn flags_known_elsewhere_are_told_as_not_yet_supported() {
    for flag in [
        "--pidFile=p",
        "--pid-file=p",
        "--startMode=worker_threads",
        "--ports",
        "--reusePort",
        "--debug-brk=1",
        "--inspect",
        "--inspect-brk=9229",
        "--harmony",
        "--customEgg=x",
    ] {
        let name = flag.split('=').next().unwrap();
        assert_eq!(refusal(&["start", flag]).0, format!("{name} is not supported yet"));
    }
}

#[test]
fn a_flag_for_node_is_one_word_with_its_value_and_may_come_often() {
    let flags = start_flags(&["--node-options--trace-gc", "--node-options--stack-size=900", "dir"]);
    assert_eq!(flags.node_options, ["trace-gc", "stack-size=900"]);
    assert_eq!(flags.place.as_deref(), Some(Path::new("dir")));
    assert_eq!(refusal(&["stop", "--node-options--trace-gc"]).0, "unknown flag `--node-options--`");
}

#[test]
fn the_last_of_a_flag_and_its_opposite_counts() {
    for (typed, daemon, sourcemap) in [
        (&[][..], None, None),
        (&["--daemon", "--no-daemon", "--ts"], Some(false), Some(true)),
        (&["--no-daemon", "--daemon", "--typescript", "--no-sourcemap"], Some(true), Some(false)),
    ] {
        let flags = start_flags(typed);
        assert_eq!((flags.daemon(), flags.sourcemap(), flags.ignore_stderr()), (daemon, sourcemap, None), "{typed:?}");
    }
    assert_eq!(start_flags(&["--ignore-stderr", "--no-ignore-stderr"]).ignore_stderr(), Some(false));
}

#[test]
fn a_flag_without_its_value_is_told_by_its_name() {
    assert!(refusal(&["start", "--port"]).0.contains("`--port <PORT>`"));
    assert!(refusal(&["start", "--stdout="]).0.contains("`--stdout <FILE>`"));
    assert!(refusal(&["start", ""]).0.contains("DIR|SCRIPT"));
}

#[test]
fn the_last_of_a_flag_given_twice_counts_so_that_npm_start_can_be_told_more() {
    assert_eq!(start_flags(&["--port=1", "--port=2"]).port.as_deref(), Some("2"));
}

#[test]
fn a_command_or_argument_too_many_is_told() {
    assert_eq!(refusal(&[]).0, "no command");
    assert_eq!(refusal(&["strat"]).0, "unknown command `strat`");
    assert_eq!(refusal(&["start", "a", "b"]).0, "unexpected argument `b`");
    for both in [["--all", "--title=x"], ["--all", "dir"]] {
        assert!(refusal(&["stop", both[0], both[1]]).0.contains("cannot be used with"), "{both:?}");
    }
}

#[test]
fn help_and_version_are_no_failures() {
    for (arguments, holds) in [
        (&["--help"][..], "start"),
        (&["start", "--help"], "--ignore-stderr"),
        (&["stop", "-h"], "--all"),
        (&["--version"], env!("CARGO_PKG_VERSION")),
    ] {
        match typed(arguments) {
            Err(NoCommand::Asked(text)) => assert!(text.contains(holds), "{text}"),
            other => panic!("{arguments:?} gave {other:?}"),
        }
    }
}
