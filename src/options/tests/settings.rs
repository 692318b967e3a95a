//! package.json's `eggScriptsConfig` and `egg`: defaults of flags, flags for node, what is wrong there.

use super::*;
use crate::error::Exit;
use crate::options::{DispatchPolicy, Every, Full, LogOptions};

/// An application of plain Node with this package.json; what is set there is the same for all kinds.
fn with(package: &str) -> Scratch {
    let scratch = Scratch::with_application();
    scratch.write("svc/package.json", package);
    scratch
}

/// The flags for node after the two that are always there.
#[track_caller]
fn node_flags(package: &str, typed: &[&str]) -> Vec<String> {
    let options = with(package).start(typed, &[]).unwrap();
    assert_eq!(options.node_flags[..2], ["--no-deprecation", "--trace-warnings"]);
    options.node_flags[2..].to_vec()
}

const ALL: &str = r#"{"name":"svc","eggScriptsConfig":{
    "title":"set","workers":5,"port":"7100","env":"pre","daemon":true,"stdout":"o.log","stderr":"/e.log",
    "timeout":9000,"ignore-stderr":true,"exit-when-down":true,"node":"bin/node"}}"#;

#[test]
fn what_is_set_stands_in_for_what_is_not_typed() {
    let scratch = with(ALL);
    let options = scratch.start(&[], &[]).unwrap();
    assert_eq!((options.title.as_str(), options.workers, options.port), ("set", 5, Some(7100)));
    assert_eq!((options.env.as_deref(), options.timeout_ms), (Some("pre"), 9000));
    assert!(options.daemon && options.ignore_stderr && options.exits_when_down());
    assert_eq!((options.stdout, options.stderr), (scratch.path("o.log"), PathBuf::from("/e.log")));
    assert_eq!(options.node, scratch.path("bin/node"));
    assert!(options.environment.contains(&("EGG_SERVER_ENV".into(), "pre".into())));
}

#[test]
fn what_is_typed_or_in_the_environment_comes_first() {
    let scratch = with(ALL);
    let typed = ["--title=t", "-c2", "-p82", "--env=prod", "--no-daemon", "--no-ignore-stderr", "--timeout=8"];
    let options = scratch.start(&typed, &[]).unwrap();
    assert_eq!((options.title.as_str(), options.workers, options.port), ("t", 2, Some(82)));
    assert_eq!((options.env.as_deref(), options.timeout_ms), (Some("prod"), 8));
    assert!(!options.daemon && !options.ignore_stderr);
    assert!(!scratch.start(&["--no-exit-when-down"], &[]).unwrap().exits_when_down());
    let options = scratch.start(&[], &[("EGG_WORKERS", "4"), ("PORT", "83"), ("EGG_SERVER_ENV", "test")]).unwrap();
    assert_eq!((options.workers, options.port, options.env.as_deref()), (4, Some(83), Some("test")));
}

#[test]
fn for_egg_4_the_port_that_is_set_comes_before_the_variable_and_for_egg_3_behind_it() {
    let scratch = with(ALL);
    scratch.three("svc/node_modules");
    assert_eq!(scratch.start(&[], &[("PORT", "83")]).unwrap().port, Some(83));
    scratch.four("svc/node_modules");
    assert_eq!(scratch.start(&[], &[("PORT", "83")]).unwrap().port, Some(7100));
    assert_eq!(scratch.start(&["-p82"], &[("PORT", "83")]).unwrap().port, Some(82));
}

#[test]
fn what_is_empty_or_null_is_not_set() {
    let package =
        r#"{"name":"svc","eggScriptsConfig":{"title":"","port":null,"env":null,"daemon":null,"require":[""]}}"#;
    let options = with(package).start(&[], &[]).unwrap();
    assert_eq!(
        (options.title.as_str(), options.port, options.env, options.daemon),
        ("egg-server-svc", None, None, false)
    );
    assert_eq!(with(r#"{"eggScriptsConfig":null,"egg":null}"#).start(&[], &[]).unwrap().port, None);
}

#[test]
fn dispatch_is_the_flag_then_nodes_variable_then_the_setting() {
    let dispatch = |package: &str, flags: &[&str], environment: &[(&str, &str)]| {
        with(package).start(flags, environment).map(|options| options.dispatch).map_err(|failure| failure.to_string())
    };
    let (plain, shared) = (r#"{"name":"svc"}"#, r#"{"name":"svc","eggScriptsConfig":{"dispatch":"shared"}}"#);
    let policy = |value| [("NODE_CLUSTER_SCHED_POLICY", value)];
    assert_eq!(dispatch(plain, &[], &[]), Ok(DispatchPolicy::RoundRobin));
    assert_eq!(dispatch(plain, &[], &policy("none")), Ok(DispatchPolicy::Shared));
    assert_eq!(dispatch(plain, &[], &policy("other")), Ok(DispatchPolicy::RoundRobin));
    assert_eq!(dispatch(plain, &["--dispatch=round-robin"], &policy("none")), Ok(DispatchPolicy::RoundRobin));
    assert_eq!(dispatch(shared, &[], &[]), Ok(DispatchPolicy::Shared));
    assert_eq!(dispatch(shared, &[], &policy("rr")), Ok(DispatchPolicy::RoundRobin));
    assert_eq!(
        dispatch(plain, &["--dispatch=rr"], &[]),
        Err("dispatch: `rr` is not what it takes: `round-robin` or `shared` (from --dispatch)".into())
    );
}

#[test]
fn a_wrong_type_is_told_with_its_key() {
    for (package, told) in [
        (r#"{"eggScriptsConfig":[]}"#, "`eggScriptsConfig` is not an object"),
        (r#"{"eggScriptsConfig":{"title":5}}"#, "`eggScriptsConfig.title` is not a string"),
        (r#"{"eggScriptsConfig":{"port":true}}"#, "`eggScriptsConfig.port` is not a number"),
        (r#"{"eggScriptsConfig":{"workers":{}}}"#, "`eggScriptsConfig.workers` is not a number"),
        (r#"{"eggScriptsConfig":{"daemon":"yes"}}"#, "`eggScriptsConfig.daemon` is not true or false"),
        (r#"{"eggScriptsConfig":{"ignore-stderr":1}}"#, "`eggScriptsConfig.ignore-stderr` is not true or false"),
        (r#"{"eggScriptsConfig":{"stdout":[]}}"#, "`eggScriptsConfig.stdout` is not a string"),
        (r#"{"eggScriptsConfig":{"framework":1}}"#, "`eggScriptsConfig.framework` is not a string"),
        (r#"{"eggScriptsConfig":{"require":[1]}}"#, "`eggScriptsConfig.require` is not a string or a list of strings"),
        (
            r#"{"eggScriptsConfig":{"node-options--x":[]}}"#,
            "`eggScriptsConfig.node-options--x` is not a string, a number, true or false",
        ),
        (r#"{"egg":true}"#, "`egg` is not an object"),
        (r#"{"egg":{"framework":1}}"#, "`egg.framework` is not a string"),
    ] {
        let scratch = with(package);
        let failure = scratch.start(&[], &[]).unwrap_err();
        assert_eq!(
            failure.to_string(),
            format!("`{}` is not a package.json: {told}", scratch.text("svc/package.json"))
        );
        assert_eq!(failure.exit, Exit::Usage);
    }
    let failure = with(r#"{"eggScriptsConfig":{"port":"abc"}}"#).start(&[], &[]).unwrap_err().to_string();
    assert_eq!(failure, "port: `abc` is not a number from 1 to 65535 (from eggScriptsConfig.port in package.json)");
}

#[test]
fn what_the_master_would_have_to_do_for_egg_and_cannot_yet_is_refused_unless_it_is_off() {
    let start = |setting: &str| {
        let scratch = with(&format!(r#"{{"eggScriptsConfig":{{{setting}}}}}"#));
        scratch.three("svc/node_modules");
        scratch.start(&[], &[]).map_err(|failure| failure.to_string())
    };
    for (on, told) in [
        (r#""pidFile":"p""#, r#"`eggScriptsConfig.pidFile` = "p""#),
        (r#""ports":[7001]"#, "`eggScriptsConfig.ports` = [7001]"),
        (r#""startMode":"worker_threads""#, r#"`eggScriptsConfig.startMode` = "worker_threads""#),
    ] {
        assert_eq!(start(on).unwrap_err(), format!("{told} is not supported yet"));
    }
    for off in [r#""pidFile":"""#, r#""ports":[]"#, r#""startMode":"process""#] {
        assert!(start(off).is_ok(), "{off}");
    }
}

#[test]
fn flags_for_node_come_from_the_flag_then_from_what_is_set() {
    let package = r#"{"eggScriptsConfig":{"node-options--a":true,"node-options--b":false,"node-options--c":"1",
        "node-options--d":2,"node-options--e":"","node-options--f":null}}"#;
    assert_eq!(node_flags(package, &[]), ["--a", "--no-b", "--c=1", "--d=2", "--e"]);
    let typed = ["--node-options--c=9", "--node-options--z"];
    assert_eq!(node_flags(package, &typed), ["--c=9", "--z", "--a", "--no-b", "--d=2", "--e"]);
}

#[test]
fn a_debugger_for_all_members_is_not_yet_supported_and_a_flag_without_a_name_is_none() {
    let told = |flag: &str| with("{}").start(&[flag], &[]).unwrap_err().to_string();
    assert_eq!(told("--node-options--inspect=9229"), "--node-options--inspect=9229 is not supported yet");
    for odd in ["--node-options---x", "--node-options--=-x"] {
        assert_eq!(told(odd), "`--node-options---x` names no flag of node");
    }
    let failure = with(r#"{"eggScriptsConfig":{"node-options--inspect":true}}"#).start(&[], &[]).unwrap_err();
    assert_eq!(failure.to_string(), "--node-options--inspect is not supported yet");
}

#[test]
fn what_is_reverted_is_told_to_node_one_by_one() {
    for (revert, expected) in [
        (r#""CVE-1""#, &["--security-revert=CVE-1"][..]),
        (r#"["CVE-1","CVE-2"]"#, &["--security-revert=CVE-1", "--security-revert=CVE-2"]),
        ("[]", &[]),
    ] {
        let scratch = with(&format!(r#"{{"egg":{{"revert":{revert}}}}}"#));
        scratch.three("svc/node_modules");
        assert_eq!(scratch.start(&[], &[]).unwrap().node_flags[2..], *expected);
        scratch.write("svc/package.json", r#"{"egg":{"revert":[1]}}"#);
        let told = scratch.start(&[], &[]).unwrap_err().to_string();
        assert!(told.ends_with("`egg.revert` is not a string or a list of strings"), "{told}");
    }
}

#[test]
fn modules_that_are_typed_load_before_those_that_are_set() {
    let scratch = with(r#"{"eggScriptsConfig":{"require":["./set.js","b"]}}"#);
    let (inside, flags) = (scratch.text("svc/set.js"), scratch.start(&["-r", "c"], &[]).unwrap().node_flags);
    assert_eq!(flags[2..], ["--require", "c", "--require", &inside, "--require", "b"]);
}

#[test]
fn source_maps_are_read_by_the_module_that_the_application_or_its_egg_scripts_brings() {
    let module = "node_modules/source-map-support";
    for at in [
        "svc/node_modules/source-map-support",
        "node_modules/source-map-support",
        &format!("svc/node_modules/egg-scripts/{module}"),
        &format!("svc/node_modules/@eggjs/scripts/{module}"),
    ] {
        let scratch = with("{}");
        scratch.write("svc/node_modules/egg-scripts/package.json", "{}");
        scratch.write("svc/node_modules/@eggjs/scripts/package.json", "{}");
        scratch.write(&format!("{at}/package.json"), "{}");
        scratch.write(&format!("{at}/register.js"), "");
        let register = scratch.text(&format!("{at}/register.js"));
        for typed in ["--sourcemap", "--ts", "--typescript"] {
            assert_eq!(scratch.start(&[typed], &[]).unwrap().node_flags[2..], ["--require", &register], "{typed}");
        }
        scratch.write("svc/package.json", r#"{"type":"module","eggScriptsConfig":{"sourcemap":true}}"#);
        assert_eq!(scratch.start(&[], &[]).unwrap().node_flags[2..], ["--import", &register]);
        assert_eq!(scratch.start(&["--no-sourcemap"], &[]).unwrap().node_flags.len(), 2);
        scratch.three("svc/node_modules");
        assert_eq!(scratch.start(&[], &[]).unwrap().node_flags[2], "--require", "Egg 3 is none of ES modules");
    }
    let scratch = with(r#"{"egg":{"typescript":true}}"#);
    scratch.three("svc/node_modules");
    assert!(scratch.start(&[], &[]).unwrap_err().to_string().starts_with("source-map-support is not found"));
    assert!(scratch.start(&["--no-ts"], &[]).is_ok());
    let told = scratch.start(&["--sourcemap"], &[]).unwrap_err().to_string();
    assert!(
        told.starts_with(&format!("source-map-support is not found from `{}` upward", scratch.text("svc"))),
        "{told}"
    );
}

#[test]
fn every_way_to_keep_logs_is_a_flag_a_variable_and_a_setting_in_this_order() {
    type Told = fn(&LogOptions) -> String;
    let ways: &[(&str, [&str; 3], [&str; 3], Told)] = &[
        ("max-size", ["1K", "2K", "3K"], ["1024", "2048", "3072"], |logs| logs.max_bytes.to_string()),
        ("rotate", ["hour", "week", "never"], ["Hour", "Week", "Never"], |logs| format!("{:?}", logs.every)),
        ("keep", ["1", "2", "3"], ["1", "2", "3"], |logs| logs.keep_files.to_string()),
        ("keep-bytes", ["1M", "1G", "1T"], ["20", "30", "40"], |logs| logs.keep_bytes.ilog2().to_string()),
        ("keep-age", ["1s", "1m", "1h"], ["1000", "60000", "3600000"], |logs| logs.keep_age_ms.unwrap().to_string()),
        ("full", ["block", "drop", "block"], ["Block", "Drop", "Block"], |logs| format!("{:?}", logs.full)),
    ];
    for (name, [typed, variable, set], [of_typed, of_variable, of_set], told) in ways {
        let package = format!(r#"{{"name":"svc","eggScriptsConfig":{{"log-{name}":"{set}"}}}}"#);
        let flag = format!("--log-{name}={typed}");
        let named = format!("EGGCTL_LOG_{}", name.to_uppercase().replace('-', "_"));
        let asked = |flags: &[&str], around: &[(&str, &str)]| {
            let flags = [&["--daemon"], flags].concat();
            told(&with(&package).start(&flags, around).unwrap().logs.unwrap())
        };
        assert_eq!(asked(&[&flag], &[(&named, variable)]), *of_typed, "{name}");
        assert_eq!(asked(&[], &[(&named, variable)]), *of_variable, "{name}");
        assert_eq!(asked(&[], &[]), *of_set, "{name}");
    }
    let compress = |flags: &[&str], around: &[(&str, &str)]| {
        let package = r#"{"name":"svc","eggScriptsConfig":{"log-compress":false,"log-per-member":true}}"#;
        let logs = with(package).start(&[&["--daemon"], flags].concat(), around).unwrap().logs.unwrap();
        (logs.compress, logs.per_member)
    };
    assert_eq!(compress(&[], &[]), (false, true));
    assert_eq!(compress(&[], &[("EGGCTL_LOG_COMPRESS", "true"), ("EGGCTL_LOG_PER_MEMBER", "false")]), (true, false));
    let none = with(r#"{"name":"svc"}"#).start(&["--daemon"], &[]).unwrap().logs.unwrap();
    assert_eq!((none.max_bytes, none.every, none.keep_files, none.keep_bytes), (100 << 20, Every::Day, 14, 1 << 30));
    assert!(none.compress && none.keep_age_ms.is_none() && none.full == Full::Drop);
}
