//! Options from what Egg's own master is told.

use std::ffi::OsString;
use std::path::Path;

use super::{Scratch, set, variable};
use crate::error::Failure;
use crate::options::{Application, Options, StartCluster, resolve_start_cluster};

fn egg() -> Scratch {
    let scratch = Scratch::with_application();
    scratch.three("svc/node_modules");
    scratch
}

/// What `eggctl <flags> start-cluster <options> <more>` means in these surroundings.
fn told(scratch: &Scratch, flags: &[&str], arguments: &[&str], variables: &[(&str, &str)]) -> Result<Options, Failure> {
    let mut around = scratch.around();
    set(&mut around, variables);
    let words = |words: &[&str]| words.iter().map(OsString::from).collect();
    let typed = StartCluster { node_flags: words(flags), arguments: words(arguments) };
    resolve_start_cluster(&typed, None, &around)
}

#[test]
fn a_default_title_gets_the_pid_where_another_master_has_the_plain_one() {
    let scratch = egg();
    let title = |more: &str, name: &str| {
        scratch.write("svc/package.json", &format!(r#"{{"name":"{name}"}}"#));
        let json = format!(r#"{{"baseDir":"{}"{more}}}"#, scratch.text("svc"));
        let typed = StartCluster { node_flags: Vec::new(), arguments: vec![json.into()] };
        let options = resolve_start_cluster(&typed, Some(77), &scratch.around()).unwrap();
        let Application::Egg { cluster_options, .. } = &options.application else { panic!("no Egg") };
        assert!(cluster_options.contains(&format!(r#""title":"{}""#, options.title.as_str())), "{cluster_options}");
        (String::from(options.title), typed.names_title())
    };
    assert_eq!(title("", "svc"), ("egg-server-svc-77".to_owned(), false));
    assert_eq!(title(r#","title":"""#, "svc"), ("egg-server-svc-77".to_owned(), false));
    assert_eq!(title(r#","title":null"#, "svc"), ("egg-server-svc-77".to_owned(), false));
    assert_eq!(title(r#","title":"T""#, "svc"), ("T".to_owned(), true));
    // A title has 200 bytes at most, and no half of a letter.
    let (long, _) = title("", &"é".repeat(94));
    assert!(long.len() <= 200 && long.starts_with("egg-server-éé") && long.ends_with("é-77"), "{long}");
}

#[test]
fn what_is_told_is_what_runs_and_the_environment_stays_as_it_is() {
    let scratch = egg();
    let json = format!(r#"{{"workers":5,"port":"7100","baseDir":"{}","title":"T","x":[1]}}"#, scratch.text("svc"));
    let variables = [("PORT", "1"), ("EGG_WORKERS", "9"), ("HOME", "/h"), ("NODE_ENV", "production"), ("HOST", "me")];
    let options = told(&scratch, &["--a", "--require", "b"], &[&json, "--title=other"], &variables).unwrap();
    assert_eq!((options.title.as_str(), options.workers, options.port), ("T", 5, Some(7100)));
    assert_eq!((options.base_dir, options.directory), (scratch.path("svc"), scratch.path("")));
    assert_eq!(options.node_flags, ["--a", "--require", "b"]);
    assert_eq!(options.environment, [("NODE_ENV".into(), "production".into())]);
    assert_eq!((options.host.as_deref(), options.node), (Some("me"), scratch.path("bin/node")));
    let Application::Egg { cluster_options, .. } = options.application else { panic!("no Egg") };
    assert!(cluster_options.contains(r#""env":null,"x":[1],"title":"T""#), "{cluster_options}");
}

#[test]
fn what_is_not_told_has_egg_clusters_defaults() {
    let scratch = egg();
    let json = format!(r#"{{"baseDir":"{}","workers":0,"port":null,"framework":""}}"#, scratch.text("svc"));
    let options = told(&scratch, &[], &[&json], &[]).unwrap();
    assert_eq!((options.title.as_str(), options.workers, options.port), ("egg-server-svc", 3, None));
    assert!(!options.daemon && options.exits_when_down() && !options.replaces_the_dead());
    let options = told(&scratch, &[], &[&json, "--title=T"], &[("NODE_ENV", "production")]).unwrap();
    assert!(options.title.as_str() == "T" && options.replaces_the_dead());
    assert_eq!(variable(&options, "NODE_ENV"), Some(Path::new("production")));
}

#[test]
fn the_environment_that_is_told_comes_before_that_of_the_variable() {
    let scratch = egg();
    let json = |more: &str| format!(r#"{{"baseDir":"{}"{more}}}"#, scratch.text("svc"));
    let env = |json: String| told(&scratch, &[], &[&json], &[("EGG_SERVER_ENV", "pre")]).unwrap().env;
    assert_eq!(env(json("")).as_deref(), Some("pre"));
    assert_eq!(env(json(r#","env":"local""#)).as_deref(), Some("local"));
}

#[test]
fn modules_to_load_first_are_the_members_matter() {
    let scratch = egg();
    let json = format!(r#"{{"baseDir":"{}","require":"./x"}}"#, scratch.text("svc"));
    let Application::Egg { cluster_options, .. } = told(&scratch, &[], &[&json], &[]).unwrap().application else {
        panic!("no Egg")
    };
    assert!(cluster_options.contains(r#""require":["./x"]"#), "{cluster_options}");
}

#[test]
fn a_node_that_is_named_is_taken() {
    let scratch = egg();
    scratch.write("other/node20", "#!/bin/sh\n");
    scratch.set_mode("other/node20", 0o755);
    let json = format!(r#"{{"baseDir":"{}"}}"#, scratch.text("svc"));
    let options = told(&scratch, &[], &[&json], &[("EGGCTL_NODE", &scratch.text("other/node20"))]).unwrap();
    assert_eq!(options.node, scratch.path("other/node20"));
}
