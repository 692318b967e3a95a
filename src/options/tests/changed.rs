//! What a reload brings, and what it says that it does not bring.

use super::*;
use crate::options::{Application, Changed, Restarted, resolve_for};

/// What runs, started with these settings, and what a reload finds with those.
fn reloaded(scratch: &Scratch, before: &str, after: &str) -> (Options, Options, Vec<Changed>) {
    let package = |settings: &str| format!(r#"{{"name":"svc","eggScriptsConfig":{settings}}}"#);
    scratch.write("svc/package.json", &package(before));
    let flags = start_flags(&["svc"]);
    let mut running = resolve(&flags, &scratch.around()).unwrap();
    running.take_cookie("c00c1e".to_owned());
    scratch.write("svc/package.json", &package(after));
    let (found, changes) = resolve_for(&running, &flags, &scratch.around()).unwrap();
    let renewed = running.renewed(&found);
    (running, renewed, changes)
}

#[test]
fn each_setting_that_a_reload_cannot_apply_is_named_with_what_runs_and_what_is_configured() {
    let table = [
        (r#""port":7001"#, r#""port":7002"#, "`port` changed from 7001 to 7002"),
        (r#""port":7001"#, "", "`port` changed from 7001 to none"),
        ("", r#""port":7002"#, "`port` changed from none to 7002"),
        (r#""workers":2"#, r#""workers":3"#, "`workers` changed from 2 to 3"),
        ("", r#""workers":7"#, "`workers` changed from max to 7"),
        (r#""spare":1"#, r#""spare":2"#, "`spare` changed from 1 to 2"),
        (r#""dispatch":"shared""#, r#""dispatch":"round-robin""#, "`dispatch` changed from shared to round-robin"),
        (r#""sticky":true"#, "", "`sticky` changed from true to false"),
        ("", r#""exit-when-down":true"#, "`exit-when-down` changed from false to true"),
        (r#""timeout":5000"#, r#""timeout":6000"#, "`timeout` changed from 5000 to 6000"),
        (r#""title":"a""#, r#""title":"b""#, "`title` changed from a to b"),
        (r#""stdout":"/a.log""#, r#""stdout":"/b.log""#, "`stdout` changed from /a.log to /b.log"),
        ("", r#""stderr":"/b.log""#, "`stderr` changed from the default to /b.log"),
        (r#""log-max-size":"64K""#, r#""log-max-size":"2G""#, "`log-max-size` changed from 64K to 2G"),
        ("", r#""log-rotate":"hour""#, "`log-rotate` changed from day to hour"),
        ("", r#""log-keep":3"#, "`log-keep` changed from 14 to 3"),
        ("", r#""log-keep-bytes":"1500""#, "`log-keep-bytes` changed from 1G to 1500"),
        ("", r#""log-keep-age":"36h""#, "`log-keep-age` changed from for ever to 36h"),
        ("", r#""log-compress":false"#, "`log-compress` changed from true to false"),
        ("", r#""log-full":"block""#, "`log-full` changed from drop to block"),
        ("", r#""log-per-member":true"#, "`log-per-member` changed from false to true"),
        (r#""env":"prod""#, r#""env":"local""#, "`env` changed from prod to local"),
    ];
    let scratch = Scratch::with_application();
    for (before, after, said) in table {
        let daemon = |settings: &str| match settings {
            "" => r#"{"daemon":true}"#.to_owned(),
            _ => format!(r#"{{"daemon":true,{settings}}}"#),
        };
        let (running, renewed, changes) = reloaded(&scratch, &daemon(before), &daemon(after));
        let texts: Vec<String> = changes.iter().map(ToString::to_string).collect();
        assert_eq!(texts, [format!("{said}: `eggctl restart`")]);
        assert_eq!(renewed, running, "nothing of it is brought: {said}");
    }
}

#[test]
fn what_a_reload_applies_is_not_named() {
    let scratch = Scratch::with_application();
    let before = r#"{"port":7001,"env":"one","ignore-stderr":true}"#;
    let after = r#"{"port":7001,"env":"two","require":["path"],"node-options--stack-size":"900"}"#;
    let (running, renewed, changes) = reloaded(&scratch, before, after);
    assert_eq!(changes, []);
    assert_eq!(renewed.env.as_deref(), Some("two"));
    assert!(renewed.environment.contains(&("EGG_SERVER_ENV".into(), "two".into())));
    assert!(renewed.node_flags.contains(&"--stack-size=900".to_owned()));
    assert_ne!(renewed, running);
}

#[test]
fn the_number_of_cpus_of_the_command_that_reloads_is_no_change() {
    let scratch = Scratch::with_application();
    let flags = start_flags(&["svc"]);
    let running = resolve(&flags, &scratch.around()).unwrap();
    let elsewhere = Surroundings { usable_cpus: 1, ..scratch.around() };
    let (found, changes) = resolve_for(&running, &flags, &elsewhere).unwrap();
    assert_eq!((changes, found.workers), (Vec::new(), 3));
}

#[test]
fn variables_are_settings_too() {
    let scratch = Scratch::with_application();
    let flags = start_flags(&["svc"]);
    let running = scratch.start(&[], &[("PORT", "7001"), ("EGG_WORKERS", "2")]).unwrap();
    let mut around = scratch.around();
    let now = [
        ("PORT", "7002"),
        ("EGG_WORKERS", "4"),
        ("EGG_APP_CLOSE_TIMEOUT", "100"),
        ("EGG_AGENT_CLOSE_TIMEOUT", "200"),
        ("EGG_MASTER_LOGGER_LEVEL", "error"),
    ];
    set(&mut around, &now);
    let (_, changes) = resolve_for(&running, &flags, &around).unwrap();
    let names: Vec<&str> = changes.iter().map(|one| one.setting.as_str()).collect();
    assert_eq!(
        names,
        ["port", "workers", "EGG_APP_CLOSE_TIMEOUT", "EGG_AGENT_CLOSE_TIMEOUT", "EGG_MASTER_LOGGER_LEVEL"]
    );
    assert_eq!(changes[0].command, None, "in the foreground there is no restart");
}

#[test]
fn an_egg_application_keeps_its_port_workers_and_stickiness_where_its_members_are_told() {
    for four in [false, true] {
        let scratch = Scratch::with_application();
        match four {
            false => scratch.three("svc/node_modules"),
            true => scratch.four("svc/node_modules"),
        }
        let before = r#"{"port":7001,"workers":2,"daemon":true}"#;
        let after = r#"{"port":7002,"workers":3,"sticky":true,"daemon":true,"env":"two"}"#;
        let (running, renewed, changes) = reloaded(&scratch, before, after);
        let names: Vec<&str> = changes.iter().map(|one| one.setting.as_str()).collect();
        assert_eq!(names, ["port", "workers", "sticky"]);
        let told = |options: &Options| match &options.application {
            Application::Egg { cluster_options, .. } => {
                serde_json::from_str::<serde_json::Value>(cluster_options).unwrap()
            }
            Application::Node { .. } => panic!("it is Egg"),
        };
        let (old, new) = (told(&running), told(&renewed));
        for key in ["port", "workers", "sticky", "title"] {
            assert_eq!(old[key], new[key], "{key}");
        }
        assert_eq!(new["env"], "two");
    }
}

#[test]
fn a_master_of_plain_node_does_not_become_one_of_egg_by_a_reload_nor_does_it_get_an_agent() {
    let scratch = Scratch::with_application();
    let flags = start_flags(&["svc", "--daemon"]);
    let running = resolve(&flags, &scratch.around()).unwrap();
    scratch.write("svc/agent.js", "");
    let (found, changes) = resolve_for(&running, &flags, &scratch.around()).unwrap();
    assert_eq!(
        changes.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["`agent` changed from none to one: `eggctl restart`"]
    );
    assert_eq!(running.renewed(&found).application, running.application);
    scratch.three("svc/node_modules");
    let (found, changes) = resolve_for(&running, &flags, &scratch.around()).unwrap();
    assert!(changes.iter().any(|one| one.setting == "application" && one.to == "Egg 3"), "{changes:?}");
    assert_eq!(running.renewed(&found).application, running.application);
}

#[test]
fn what_a_restart_says_to_the_start_that_it_becomes_comes_back_whatever_the_title() {
    for (user, scaled, title) in [("", None, "svc"), ("bob", Some(5), "a:b:1"), ("", Some(1), ":")] {
        let restarted = Restarted { user: user.to_owned(), scaled, title: title.to_owned() };
        assert_eq!(Restarted::read(&restarted.to_string()), Some(restarted));
    }
    assert_eq!(Restarted::read(""), None);
}

#[test]
fn a_scale_comes_before_what_is_configured_until_it_is_the_same() {
    let scratch = Scratch::with_application();
    let flags = start_flags(&["svc", "--workers=2"]);
    let around = Surroundings { scaled: Some(5), ..scratch.around() };
    let mut options = resolve(&flags, &around).unwrap();
    assert_eq!((options.workers, options.scaled_from, options.configured_workers()), (5, Some(2), 2));
    options.scale(4);
    assert_eq!((options.workers, options.configured_workers()), (4, 2));
    let (found, changes) = resolve_for(&options, &flags, &scratch.around()).unwrap();
    assert_eq!((found.workers, changes), (4, Vec::new()));
    options.scale(2);
    assert_eq!((options.workers, options.scaled_from), (2, None));
}
