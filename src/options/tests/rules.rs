//! Every rule by which a value is found.

use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::symlink;

use super::*;
use crate::options::{Application, MOST_WORKERS, Title, default_title};

#[test]
fn nothing_typed_gives_egg_scripts_defaults() {
    let scratch = Scratch::with_application();
    let options = scratch.start(&[], &[]).unwrap();
    assert_eq!(options.title.as_str(), "egg-server-svc");
    assert_eq!(options.name, "svc");
    assert_eq!(options.base_dir, scratch.path("svc"));
    assert_eq!(
        options.application,
        Application::Node { script: scratch.path("svc/app.js"), agent: None, sticky: false }
    );
    assert_eq!((options.workers, options.port, options.timeout_ms), (3, None, 300_000));
    assert_eq!((options.worker_close_grace_ms, options.agent_close_grace_ms), (5000, 5000));
    assert_eq!(options.stdout, scratch.path("home/logs/master-stdout.log"));
    assert_eq!(options.stderr, scratch.path("home/logs/master-stderr.log"));
    assert_eq!(options.node, scratch.path("bin/node"));
    assert_eq!(options.node_flags, ["--no-deprecation", "--trace-warnings"]);
    assert!(options.preload && !options.daemon && !options.ignore_stderr);
    assert!(options.exits_when_down(), "the foreground");
    assert_eq!(options.env, None);
}

#[test]
fn a_flag_comes_before_the_variable_and_an_empty_variable_is_none() {
    let scratch = Scratch::with_application();
    let variables = [("EGG_WORKERS", "5"), ("PORT", "81"), ("EGG_SERVER_ENV", "pre")];
    let options = scratch.start(&[], &variables).unwrap();
    assert_eq!((options.workers, options.port, options.env.as_deref()), (5, Some(81), Some("pre")));
    let options = scratch.start(&["-c2", "-p", "82", "--env=prod"], &variables).unwrap();
    assert_eq!((options.workers, options.port, options.env.as_deref()), (2, Some(82), Some("prod")));
    let options = scratch.start(&["--env="], &variables).unwrap();
    assert_eq!(options.env.as_deref(), Some("pre"));
    let options = scratch.start(&[], &[("EGG_WORKERS", ""), ("PORT", ""), ("EGG_SERVER_ENV", "")]).unwrap();
    assert_eq!((options.workers, options.port, options.env), (3, None, None));
}

#[test]
fn the_limits_themselves_are_allowed() {
    let scratch = Scratch::with_application();
    let options = scratch.start(&["--workers=1024", "--port=65535", "--timeout=2147483647"], &[]).unwrap();
    assert_eq!((options.workers, options.port, options.timeout_ms), (1024, Some(65535), 2_147_483_647));
    let longest = "t".repeat(200);
    assert_eq!(scratch.start(&["--title", &longest], &[]).unwrap().title.as_str(), longest);
}

#[test]
fn more_cpus_than_the_most_workers_give_the_most_workers() {
    let scratch = Scratch::with_application();
    for (usable_cpus, expected) in [(0, 1), (1, 1), (4096, MOST_WORKERS)] {
        let around = Surroundings { usable_cpus, ..scratch.around() };
        assert_eq!(resolve(&start_flags(&["svc"]), &around).unwrap().workers, expected);
    }
}

#[test]
fn the_environment_is_egg_scripts() {
    let scratch = Scratch::with_application();
    let options = scratch.start(&["--env=prod", "--port=80"], &[("NODE_ENV", "development")]).unwrap();
    let svc = scratch.text("svc");
    let path = format!("{svc}/node_modules/.bin:{svc}/.node/bin:{}", scratch.text("bin"));
    for (name, expected) in [
        ("HOME", scratch.text("home")),
        ("NODE_ENV", "production".to_owned()),
        ("PATH", path),
        ("ENABLE_NODE_LOG", "YES".to_owned()),
        ("NODE_LOG_DIR", scratch.text("home/logs/alinode")),
        ("EGG_SERVER_ENV", "prod".to_owned()),
        ("PORT", "80".to_owned()),
    ] {
        assert_eq!(variable(&options, name), Some(Path::new(&expected)), "{name}");
    }
    let options = scratch.start(&[], &[("NODE_LOG_DIR", "/var/alinode")]).unwrap();
    assert_eq!(options.node_log_dir(), Some("/var/alinode".as_ref()), "kept");
    assert_eq!(variable(&options, "PORT"), None);
    assert_eq!(variable(&options, "EGG_SERVER_ENV"), None);
}

#[test]
fn a_cookie_is_in_the_environment_once_and_the_last_one_counts() {
    let scratch = Scratch::with_application();
    let mut options = scratch.start(&[], &[("EGGCTL_INSTANCE", "another tree's")]).unwrap();
    assert_eq!(variable(&options, "EGGCTL_INSTANCE"), None);
    options.take_cookie("one".to_owned());
    options.take_cookie("two".to_owned());
    assert_eq!(options.cookie, "two");
    let all = options.environment.iter().filter(|(name, _)| name == "EGGCTL_INSTANCE");
    assert_eq!(all.map(|(_, value)| value).collect::<Vec<_>>(), ["two"]);
}

#[test]
fn the_dead_are_replaced_everywhere_but_in_development() {
    let scratch = Scratch::with_application();
    for (env, expected) in [("", true), ("prod", true), ("localhost", true), ("local", false), ("unittest", false)] {
        let options = scratch.start(&[], &[("EGG_SERVER_ENV", env)]).unwrap();
        assert_eq!(options.replaces_the_dead(), expected, "{env}");
    }
}

#[test]
fn host_is_kept_for_the_address_that_is_shown() {
    let scratch = Scratch::with_application();
    assert_eq!(scratch.start(&[], &[("HOST", "svc.example")]).unwrap().host.as_deref(), Some("svc.example"));
    assert_eq!(scratch.start(&[], &[("HOST", "")]).unwrap().host, None);
}

#[test]
fn without_a_path_the_new_one_does_not_end_in_the_current_directory() {
    let scratch = Scratch::with_application();
    let node = scratch.text("bin/node");
    let options = scratch.start(&["--node", &node], &[("PATH", "")]).unwrap();
    let svc = scratch.text("svc");
    let expected = format!("{svc}/node_modules/.bin:{svc}/.node/bin");
    assert_eq!(variable(&options, "PATH"), Some(Path::new(&expected)));
}

#[test]
fn home_is_the_mock_then_the_passwd_home_then_the_variable() {
    let scratch = Scratch::with_application();
    let home = |variables: &[(&str, &str)], passwd_home: Option<&str>| {
        let mut around = Surroundings { passwd_home: passwd_home.map(PathBuf::from), ..scratch.around() };
        set(&mut around, variables);
        let options = resolve(&start_flags(&["svc"]), &around).unwrap();
        variable(&options, "HOME").unwrap().to_owned()
    };
    assert_eq!(home(&[("MOCK_HOME_DIR", "/mock"), ("HOME", "/h")], Some("/pw")), Path::new("/mock"));
    assert_eq!(home(&[("HOME", "/h")], Some("/pw")), Path::new("/pw"));
    assert_eq!(home(&[("HOME", "/h")], Some("")), Path::new("/h"));
    assert_eq!(home(&[("HOME", "/h"), ("MOCK_HOME_DIR", "")], None), Path::new("/h"));
    assert_eq!(home(&[("MOCK_HOME_DIR", "mock")], None), scratch.path("mock"));
}

#[test]
fn log_paths_are_seen_from_the_current_directory() {
    let scratch = Scratch::with_application();
    let options = scratch.start(&["--stdout=out.log", "--stderr", "/var/log/err.log"], &[]).unwrap();
    assert_eq!(options.stdout, scratch.path("out.log"));
    assert_eq!(options.stderr, Path::new("/var/log/err.log"));
}

#[test]
fn an_agent_beside_app_js_is_found() {
    let scratch = Scratch::with_application();
    scratch.write("svc/agent.js", "");
    let options = scratch.start(&[], &[]).unwrap();
    assert!(options.has_agent());
    let Application::Node { agent, .. } = options.application else { panic!("not Egg") };
    assert_eq!(agent, Some(scratch.path("svc/agent.js")));
}

#[test]
fn a_script_has_no_agent_and_takes_its_title_from_package_json_or_its_own_name() {
    let scratch = Scratch::with_application();
    scratch.write("svc/agent.js", "");
    scratch.write("svc/server.js", "");
    scratch.write("lone/my.server.js", "");
    let around = scratch.around();
    let options = resolve(&start_flags(&["svc/server.js"]), &around).unwrap();
    assert_eq!(options.base_dir, scratch.path("svc"));
    assert_eq!(
        options.application,
        Application::Node { script: scratch.path("svc/server.js"), agent: None, sticky: false }
    );
    assert_eq!(options.title.as_str(), "egg-server-svc");
    let options = resolve(&start_flags(&["lone/my.server.js"]), &around).unwrap();
    assert_eq!((options.title.as_str(), options.name.as_str()), ("egg-server-my.server", "my.server"));
}

#[test]
fn a_place_keeps_its_links_and_loses_its_dots() {
    let scratch = Scratch::with_application();
    symlink(scratch.path("svc"), scratch.path("current")).unwrap();
    let around = Surroundings { cwd: scratch.path("svc"), ..scratch.around() };
    for (typed, expected) in [
        (&[][..], "svc"),
        (&["."][..], "svc"),
        (&["./"][..], "svc"),
        (&["../svc"][..], "svc"),
        (&["../bin/../svc/"][..], "svc"),
        (&[scratch.text("current").as_str()][..], "current"),
    ] {
        let options = resolve(&start_flags(typed), &around).unwrap();
        assert_eq!(options.base_dir, scratch.path(expected), "{typed:?}");
    }
}

#[test]
fn a_package_without_a_name_is_called_after_its_directory() {
    let scratch = Scratch::with_application();
    for text in ["{}", r#"{"name":""}"#, "\u{feff}{}"] {
        scratch.write("svc/package.json", text);
        assert_eq!(scratch.start(&[], &[]).unwrap().title.as_str(), "egg-server-svc", "{text}");
    }
}

#[test]
fn the_name_of_the_package_stands_in_the_title_as_it_is() {
    let scratch = Scratch::with_application();
    scratch.write("svc/package.json", r#"{"name":"@scope/svc"}"#);
    assert_eq!(scratch.start(&[], &[]).unwrap().title.as_str(), "egg-server-@scope/svc");
}

#[test]
fn titles_with_quotes_spaces_unicode_and_regex_characters_are_titles() {
    for text in ["a\"b", "a b", "ü漢", "a.*[b]$", "-x", "\\", "'"] {
        assert_eq!(Title::try_from(text.to_owned()).unwrap().as_str(), text);
    }
}

#[test]
fn required_modules_follow_the_fixed_flags_in_their_order() {
    let scratch = Scratch::with_application();
    let options = scratch.start(&["-r", "./lib/a.js", "-r", "b", "-r", "/c.js"], &[]).unwrap();
    let inside = scratch.text("svc/lib/a.js");
    let expected =
        ["--no-deprecation", "--trace-warnings", "--require", &inside, "--require", "b", "--require", "/c.js"];
    assert_eq!(options.node_flags, expected);
}

#[test]
fn node_is_looked_up_in_the_new_path_and_a_path_from_the_current_directory() {
    let scratch = Scratch::with_application();
    scratch.write("svc/.node/bin/node", "not executable: passed over");
    assert_eq!(scratch.start(&[], &[]).unwrap().node, scratch.path("bin/node"));
    scratch.write("svc/node_modules/.bin/node", "#!/bin/sh\n");
    scratch.set_mode("svc/node_modules/.bin/node", 0o755);
    assert_eq!(scratch.start(&[], &[]).unwrap().node, scratch.path("svc/node_modules/.bin/node"));
    assert_eq!(scratch.start(&["--node=bin/node"], &[]).unwrap().node, scratch.path("bin/node"));
}

#[test]
fn close_graces_come_from_their_own_variable_then_from_the_common_one() {
    let scratch = Scratch::with_application();
    let graces = |variables: &[(&str, &str)]| {
        let options = scratch.start(&[], variables).unwrap();
        (options.worker_close_grace_ms, options.agent_close_grace_ms)
    };
    assert_eq!(graces(&[("EGG_MASTER_CLOSE_TIMEOUT", "800")]), (800, 800));
    assert_eq!(graces(&[("EGG_MASTER_CLOSE_TIMEOUT", "800"), ("EGG_APP_CLOSE_TIMEOUT", "0")]), (0, 800));
    assert_eq!(graces(&[("EGG_AGENT_CLOSE_TIMEOUT", "700")]), (5000, 700));
}

#[test]
fn options_survive_json_even_with_bytes_that_are_no_text() {
    let scratch = Scratch::with_application();
    scratch.write("svc/agent.js", "");
    let odd = OsString::from_vec(b"/odd\xff".to_vec());
    let mut around = Surroundings { passwd_home: Some(PathBuf::from(&odd)), ..scratch.around() };
    set(&mut around, &[("EGG_SERVER_ENV", "ü"), ("PORT", "80")]);
    let options = resolve(&start_flags(&["svc", "--title", "a\"ü", "-r", "x", "--no-preload"]), &around).unwrap();
    assert_eq!(options.stdout, Path::new(&odd).join("logs/master-stdout.log"));
    let text = serde_json::to_string(&options).unwrap();
    assert_eq!(serde_json::from_str::<Options>(&text).unwrap(), options);
}

#[test]
fn options_with_a_title_that_is_none_are_not_read() {
    let scratch = Scratch::with_application();
    let text = serde_json::to_string(&scratch.start(&["--title=x"], &[]).unwrap()).unwrap();
    let forged = text.replacen(r#""title":"x""#, r#""title":"""#, 1);
    assert_ne!(forged, text);
    assert!(serde_json::from_str::<Options>(&forged).is_err());
}

#[test]
fn an_inherited_channel_or_worker_id_changes_nothing() {
    let scratch = Scratch::with_application();
    let plain = scratch.start(&[], &[]).unwrap();
    assert_eq!(scratch.start(&[], &[("NODE_CHANNEL_FD", "3"), ("NODE_UNIQUE_ID", "1")]).unwrap(), plain);
}

#[test]
fn stop_hands_over_its_title_and_its_time() {
    let stop = stop_flags(&["--title=x y", "--timeout=9000"]);
    assert_eq!(stop.checked_title().unwrap(), Some(Title::try_from("x y".to_owned()).unwrap()));
    assert_eq!(stop.checked_timeout_ms().unwrap(), Some(9000));
    let stop = stop_flags(&["--all"]);
    assert_eq!((stop.checked_title().unwrap(), stop.checked_timeout_ms().unwrap()), (None, None));
}

#[test]
fn the_default_title_is_the_one_that_start_gives() {
    let scratch = Scratch::with_application();
    let started = Some(scratch.start(&[], &[]).unwrap().title);
    let title = |typed: Option<&str>, cwd: &str| default_title(typed.map(Path::new), &scratch.path(cwd)).unwrap();
    assert_eq!(title(None, "svc"), started);
    assert_eq!(title(Some("svc"), ""), started);
    assert_eq!(title(Some("svc/app.js"), ""), started);
    assert_eq!(title(None, ""), None, "the current directory is no application");
}

#[test]
fn the_level_of_the_log_is_the_environments() {
    use crate::options::LogLevel;
    let scratch = Scratch::with_application();
    let level = |text| scratch.start(&[], &[("EGG_MASTER_LOGGER_LEVEL", text)]).map(|options| options.log_level);
    for (text, expected) in
        [("", LogLevel::Info), ("DEBUG", LogLevel::Info), ("warn", LogLevel::Warn), ("NONE", LogLevel::None)]
    {
        assert_eq!(level(text).unwrap(), expected, "{text}");
    }
    let refused = level("loud").unwrap_err().to_string();
    assert_eq!(refused, "$EGG_MASTER_LOGGER_LEVEL: `loud` is none of DEBUG, INFO, WARN, ERROR and NONE");
}
