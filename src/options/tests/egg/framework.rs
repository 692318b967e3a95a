//! Which cluster package a framework runs by: its own, or that of the egg which it stands on.

use std::os::unix::fs::symlink;

use super::*;

#[test]
fn a_framework_over_egg_runs_by_the_egg_that_it_stands_on() {
    // Where the framework is, where its egg is, and where another egg lies in wait.
    for (framework, below, other) in [
        ("svc/node_modules/yolk", "svc/node_modules", None),
        ("svc/node_modules/yolk", "svc/node_modules/yolk/node_modules", Some("svc/node_modules")),
        ("svc/node_modules/@team/yolk", "svc/node_modules/@team/yolk/node_modules", Some("svc/node_modules")),
        ("frameworks/yolk", "frameworks/node_modules", Some("svc/node_modules")),
        ("svc/node_modules/yolk", "node_modules", Some("svc/node_modules/node_modules")),
    ] {
        let scratch = Scratch::with_application();
        scratch.write(&format!("{framework}/package.json"), r#"{"name":"yolk","version":"7.0.0"}"#);
        scratch.three(below);
        other.into_iter().for_each(|other| scratch.four(other));
        let options = scratch.start(&["--framework", &scratch.text(framework)], &[]).unwrap();
        let found = egg(&options);
        assert_eq!((found.name.as_str(), found.version.as_str(), found.family), ("yolk", "7.0.0", Family::Three));
        assert_eq!(found.worker, scratch.path(below).join("egg-cluster/lib/app_worker.js"));
        assert_eq!(found.framework, scratch.path(framework));
    }
}

#[test]
fn a_framework_over_a_framework_over_egg_runs_by_the_egg_at_the_end_as_npm_nests_them() {
    let scratch = Scratch::with_application();
    let yolk = "svc/node_modules/top/node_modules/yolk";
    scratch.write("svc/node_modules/top/package.json", r#"{"name":"top","dependencies":{"broken":"1","yolk":"1"}}"#);
    scratch.write("svc/node_modules/top/node_modules/broken/package.json", "{,}");
    scratch.write(&format!("{yolk}/package.json"), r#"{"dependencies":{"egg":"3","top":"1"}}"#);
    scratch.three(&format!("{yolk}/node_modules"));
    scratch.four("svc/node_modules");
    let found = egg(&scratch.start(&["--framework=top"], &[]).unwrap());
    assert_eq!((found.name.as_str(), found.family), ("top", Family::Three));
    assert_eq!(found.worker, scratch.path(yolk).join("node_modules/egg-cluster/lib/app_worker.js"));
}

#[test]
fn a_framework_over_a_framework_over_egg_runs_by_the_egg_at_the_end_as_pnpm_links_them() {
    let scratch = Scratch::with_application();
    let store = "svc/node_modules/.pnpm";
    for (name, below) in [("top", "yolk"), ("yolk", "egg")] {
        let modules = format!("{store}/{name}@1/node_modules");
        scratch.write(&format!("{modules}/{name}/package.json"), &format!(r#"{{"dependencies":{{"{below}":"1"}}}}"#));
        let link = scratch.path(&modules).join(below);
        symlink(format!("../../{below}@1/node_modules/{below}"), link).unwrap();
    }
    scratch.three(&format!("{store}/egg@1/node_modules"));
    scratch.four("svc/node_modules");
    symlink(".pnpm/top@1/node_modules/top", scratch.path("svc/node_modules/top")).unwrap();
    let found = egg(&scratch.start(&["--framework=top"], &[]).unwrap());
    assert_eq!(found.family, Family::Three);
    assert_eq!(found.worker, scratch.path(store).join("egg@1/node_modules/egg-cluster/lib/app_worker.js"));
}

#[test]
fn egg_comes_before_a_frameworks_other_dependencies_and_the_peer_of_a_plugin_says_nothing() {
    let scratch = Scratch::with_application();
    let modules = "svc/node_modules/yolk/node_modules";
    scratch.write(
        "svc/node_modules/yolk/package.json",
        r#"{"dependencies":{"bench":"1"},"peerDependencies":{"egg":"3"}}"#,
    );
    scratch.write(&format!("{modules}/bench/package.json"), r#"{"dependencies":{"@eggjs/cluster":"3"}}"#);
    scratch.cluster_four(modules, &["dist"]);
    scratch.three("svc/node_modules");
    let family = || egg(&scratch.start(&["--framework=yolk"], &[]).unwrap()).family;
    assert_eq!(family(), Family::Three, "egg before the others");
    scratch.write("svc/node_modules/yolk/package.json", r#"{"dependencies":{"bench":"1"}}"#);
    assert_eq!(family(), Family::Four, "what a dependency depends on");
    scratch.write(&format!("{modules}/bench/package.json"), r#"{"peerDependencies":{"@eggjs/cluster":"3"}}"#);
    assert_eq!(family(), Family::Three, "what a dependency expects of others");
}

#[test]
fn links_lead_to_the_files_and_the_framework_keeps_its_own_name() {
    // pnpm: node_modules/egg is a link into a store where egg and egg-cluster lie side by side, the latter a link again.
    let scratch = Scratch::with_application();
    let store = "svc/node_modules/.pnpm";
    scratch.write(
        &format!("{store}/egg@3/node_modules/egg/package.json"),
        r#"{"name":"egg","dependencies":{"egg-cluster":"2"}}"#,
    );
    scratch.cluster_three(&format!("{store}/egg-cluster@2/node_modules"));
    let cluster = scratch.path(store).join("egg-cluster@2/node_modules/egg-cluster");
    symlink(&cluster, scratch.path(store).join("egg@3/node_modules/egg-cluster")).unwrap();
    symlink(".pnpm/egg@3/node_modules/egg", scratch.path("svc/node_modules/egg")).unwrap();
    let found = egg(&scratch.start(&[], &[]).unwrap());
    assert_eq!(found.framework, scratch.path("svc/node_modules/egg"));
    assert_eq!(found.agent, cluster.join("lib/agent_worker.js"));
    assert_eq!(found.version, "", "it has none");
}

#[test]
fn two_cluster_packages_or_none_are_a_failure_and_a_dependency_decides() {
    let scratch = Scratch::with_application();
    let framework = scratch.text("yolk");
    let flag = format!("--framework={framework}");
    scratch.write("yolk/package.json", r#"{"name":"yolk"}"#);
    let told = scratch.fails(&[&flag]);
    assert!(
        told.starts_with(&format!("egg-cluster or @eggjs/cluster is not found from `{framework}` upward")),
        "{told}"
    );
    scratch.cluster_three("node_modules");
    scratch.cluster_four("node_modules", &["dist"]);
    let two = format!("`{framework}` can run by egg-cluster and by @eggjs/cluster");
    assert_eq!(scratch.fails(&[&flag]), two);
    for (list, family) in [(r#""egg-cluster":"2""#, Family::Three), (r#""@eggjs/cluster":"3""#, Family::Four)] {
        scratch.write("yolk/package.json", &format!(r#"{{"peerDependencies":{{{list}}}}}"#));
        assert_eq!(egg(&scratch.start(&[&flag], &[]).unwrap()).family, family, "{list}");
    }
    scratch.write("yolk/package.json", r#"{"dependencies":{"egg-cluster":"2","@eggjs/cluster":"3"}}"#);
    assert_eq!(scratch.fails(&[&flag]), two);
    fs::remove_dir_all(scratch.path("node_modules/egg-cluster")).unwrap();
    scratch.write("yolk/package.json", r#"{"dependencies":{"egg-cluster":"2"}}"#);
    let told = scratch.fails(&[&flag]);
    assert!(told.starts_with(&format!("egg-cluster is not found from `{framework}` upward")), "{told}");
}
