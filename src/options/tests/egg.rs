//! Egg applications: which they are, what their members run, and what the members are told.

mod framework;

use super::*;
use crate::error::Exit;
use crate::options::{Application, Family, default_title};

/// What is looked at of a resolved Egg application.
#[derive(Debug)]
struct Egg {
    framework: PathBuf,
    name: String,
    version: String,
    family: Family,
    agent: PathBuf,
    worker: PathBuf,
    told: String,
}

#[track_caller]
fn egg(options: &Options) -> Egg {
    let Application::Egg {
        framework, framework_name, framework_version, family, agent, worker, cluster_options, ..
    } = options.application.clone()
    else {
        panic!("no Egg application: {:?}", options.application)
    };
    assert!(options.has_agent());
    let (name, version, told) = (framework_name, framework_version, cluster_options);
    Egg { framework, name, version, family, agent, worker, told }
}

impl Scratch {
    /// Egg 3 in this `node_modules`: egg beside egg-cluster, as npm lays them out.
    pub fn three(&self, modules: &str) {
        self.write(
            &format!("{modules}/egg/package.json"),
            r#"{"name":"egg","version":"3.34.0","dependencies":{"egg-cluster":"^2.0.0"}}"#,
        );
        self.cluster_three(modules);
    }

    fn cluster_three(&self, modules: &str) {
        self.files(modules, &["egg-cluster/lib/agent_worker.js", "egg-cluster/lib/app_worker.js"]);
        self.write(&format!("{modules}/egg-cluster/package.json"), r#"{"name":"egg-cluster"}"#);
    }

    pub fn four(&self, modules: &str) {
        self.write(
            &format!("{modules}/egg/package.json"),
            r#"{"name":"egg","version":"4.0.10","dependencies":{"@eggjs/cluster":"^3.0.1"}}"#,
        );
        self.cluster_four(modules, &["dist/commonjs", "dist/esm"]);
    }

    fn cluster_four(&self, modules: &str, builds: &[&str]) {
        for build in builds {
            self.files(&format!("{modules}/@eggjs/cluster/{build}"), &["agent_worker.js", "app_worker.js"]);
        }
        self.write(&format!("{modules}/@eggjs/cluster/package.json"), r#"{"name":"@eggjs/cluster"}"#);
    }

    fn files(&self, inside: &str, files: &[&str]) {
        files.iter().for_each(|file| self.write(&format!("{inside}/{file}"), ""));
    }

    /// An Egg 3 application `svc` in `svc/` without anything of plain Node.
    fn with_egg_3() -> Self {
        let scratch = Scratch::with_application();
        fs::remove_file(scratch.path("svc/app.js")).unwrap();
        scratch.three("svc/node_modules");
        scratch
    }

    fn package(&self, text: &str) {
        self.write("svc/package.json", text);
    }

    /// What starting `svc` fails with.
    #[track_caller]
    fn fails(&self, typed: &[&str]) -> String {
        let failure = self.start(typed, &[]).unwrap_err();
        assert_eq!(failure.exit, Exit::Usage, "{failure}");
        failure.to_string()
    }
}

#[test]
fn egg_3_is_found_with_its_members_files() {
    let scratch = Scratch::with_egg_3();
    let found = egg(&scratch.start(&[], &[]).unwrap());
    assert_eq!(found.framework, scratch.path("svc/node_modules/egg"));
    assert_eq!((found.name.as_str(), found.version.as_str(), found.family), ("egg", "3.34.0", Family::Three));
    assert_eq!(found.agent, scratch.path("svc/node_modules/egg-cluster/lib/agent_worker.js"));
    assert_eq!(found.worker, scratch.path("svc/node_modules/egg-cluster/lib/app_worker.js"));
}

#[test]
fn egg_4_runs_the_build_that_the_type_of_the_application_wants() {
    let scratch = Scratch::with_application();
    scratch.four("svc/node_modules");
    for (package, build) in [
        (r#"{"name":"svc"}"#, "commonjs"),
        (r#"{"name":"svc","type":"commonjs"}"#, "commonjs"),
        (r#"{"name":"svc","type":"module"}"#, "esm"),
    ] {
        scratch.package(package);
        let found = egg(&scratch.start(&[], &[]).unwrap());
        let dir = scratch.path("svc/node_modules/@eggjs/cluster/dist").join(build);
        assert_eq!(found.family, Family::Four);
        assert_eq!((found.agent, found.worker), (dir.join("agent_worker.js"), dir.join("app_worker.js")), "{package}");
    }
}

#[test]
fn a_version_of_egg_4_with_one_build_runs_that() {
    let scratch = Scratch::with_application();
    scratch.four("svc/node_modules");
    fs::remove_dir_all(scratch.path("svc/node_modules/@eggjs/cluster/dist")).unwrap();
    scratch.cluster_four("svc/node_modules", &["dist"]);
    let found = egg(&scratch.start(&[], &[]).unwrap());
    assert_eq!(found.agent, scratch.path("svc/node_modules/@eggjs/cluster/dist/agent_worker.js"));
}

#[test]
fn what_makes_an_egg_application_is_a_name_an_egg_object_a_dependency_or_egg_itself() {
    let missing = |package: &str, typed: &[&str]| {
        let scratch = Scratch::with_application();
        scratch.package(package);
        scratch.start(typed, &[]).map(|options| options.application).map_err(|failure| failure.to_string())
    };
    // All have an app.js, and nothing is installed: who is an Egg application says that its framework is missing.
    for (package, typed, name) in [
        (r#"{"egg":{}}"#, &[][..], "egg"),
        (r#"{"egg":{"framework":"yolk"}}"#, &[], "yolk"),
        (r#"{"dependencies":{"egg":"^3"}}"#, &[], "egg"),
        (r#"{"eggScriptsConfig":{"framework":"white"}}"#, &[], "white"),
        ("{}", &["--framework=shell"], "shell"),
        (r#"{"egg":{"framework":"yolk"},"eggScriptsConfig":{"framework":"white"}}"#, &["--framework=shell"], "shell"),
        (r#"{"egg":{"framework":"yolk"},"eggScriptsConfig":{"framework":"white"}}"#, &["--framework="], "white"),
    ] {
        let told = missing(package, typed).unwrap_err();
        assert!(told.starts_with(&format!("{name} is not found in /")), "{package}: {told}");
    }
    for package in ["{}", r#"{"egg":null}"#, r#"{"devDependencies":{"egg":"^3"},"eggScriptsConfig":{"port":1}}"#] {
        assert!(matches!(missing(package, &[]), Ok(Application::Node { .. })), "{package}");
    }
}

#[test]
fn the_boot_hooks_of_an_egg_application_are_no_plain_node() {
    let scratch = Scratch::with_application();
    scratch.write("svc/agent.js", "");
    scratch.three("svc/node_modules");
    assert_eq!(egg(&scratch.start(&[], &[]).unwrap()).family, Family::Three);
}

#[test]
fn a_script_is_plain_node_beside_any_egg_and_has_no_framework() {
    let scratch = Scratch::with_egg_3();
    scratch.write("svc/job.js", "");
    let start = |typed: &[&str]| resolve(&start_flags(typed), &scratch.around());
    assert!(matches!(start(&["svc/job.js"]).unwrap().application, Application::Node { .. }));
    let told = start(&["svc/job.js", "--framework=egg"]).unwrap_err().to_string();
    assert_eq!(told, "a script runs without a framework (from --framework)");
}

#[test]
fn a_framework_is_looked_for_in_the_application_then_in_the_current_directory_then_above() {
    let scratch = Scratch::with_application();
    let found = |cwd: &str| {
        let around = Surroundings { cwd: scratch.path(cwd), ..scratch.around() };
        let options = resolve(&start_flags(&[&scratch.text("svc")]), &around).unwrap();
        egg(&options).framework
    };
    scratch.package(r#"{"egg":{}}"#);
    scratch.three("node_modules");
    assert_eq!(found("bin"), scratch.path("node_modules/egg"), "above");
    scratch.three("bin/node_modules");
    assert_eq!(found("bin"), scratch.path("bin/node_modules/egg"), "the current directory's");
    scratch.three("svc/node_modules");
    assert_eq!(found("bin"), scratch.path("svc/node_modules/egg"), "the application's");
}

#[test]
fn what_is_not_found_is_told_in_egg_scripts_words() {
    let scratch = Scratch::with_application();
    let (near, here) = (scratch.text("svc/node_modules"), scratch.text("node_modules"));
    assert_eq!(scratch.fails(&["--framework=yolk"]), format!("yolk is not found in {near},{here}"));
    assert_eq!(scratch.fails(&["--framework=/no/yolk"]), "the framework `/no/yolk` should exist");
    let around = Surroundings { cwd: scratch.path("svc"), ..scratch.around() };
    let told = resolve(&start_flags(&["--framework=yolk"]), &around).unwrap_err().to_string();
    assert_eq!(told, format!("yolk is not found in {near}"));
}

#[test]
fn a_framework_that_cannot_be_run_is_told() {
    let scratch = Scratch::with_egg_3();
    let modules = scratch.text("svc/node_modules");
    fs::remove_file(scratch.path("svc/node_modules/egg-cluster/lib/app_worker.js")).unwrap();
    let told = scratch.fails(&[]);
    assert!(told.starts_with(&format!("no app_worker.js in `{modules}/egg-cluster`")), "{told}");
    scratch.write("svc/node_modules/egg/package.json", "{,}");
    let told = scratch.fails(&[]);
    assert!(told.starts_with(&format!("`{modules}/egg/package.json` is not a package.json: ")), "{told}");
    fs::remove_file(scratch.path("svc/node_modules/egg/package.json")).unwrap();
    assert_eq!(scratch.fails(&[]), format!("no package.json in the framework `{modules}/egg`"));
}

#[test]
fn egg_3_is_told_egg_clusters_options_in_their_order() {
    let scratch = Scratch::with_egg_3();
    let (egg_path, svc) = (scratch.text("svc/node_modules/egg"), scratch.text("svc"));
    let told = |typed: &[&str]| egg(&scratch.start(typed, &[]).unwrap()).told;
    assert_eq!(
        told(&[]),
        format!(
            r#"{{"framework":"{egg_path}","baseDir":"{svc}","reusePort":false,"workers":3,"plugins":null,"https":false,"#
        ) + r#""startMode":"process","ports":[],"env":null,"title":"egg-server-svc"}"#
    );
    scratch.package(r#"{"eggScriptsConfig":{"zeta":{"b":1},"https":null,"nothing":null,"reusePort":true,"debugPort":7200,"require":"./x"}}"#);
    assert_eq!(
        told(&["--title=a \"b\"", "-p81", "-c2", "--env=pre"]),
        format!(
            r#"{{"framework":"{egg_path}","baseDir":"{svc}","port":81,"reusePort":true,"workers":2,"plugins":null,"#
        ) + r#""https":false,"startMode":"process","ports":[],"env":"pre","zeta":{"b":1},"debugPort":7200,"#
            + r#""title":"a \"b\""}"#
    );
}

#[test]
fn egg_4_is_told_its_modules_and_no_key_without_a_value() {
    let scratch = Scratch::with_application();
    scratch.four("svc/node_modules");
    let (egg_path, svc) = (scratch.text("svc/node_modules/egg"), scratch.text("svc"));
    let options = scratch.start(&[], &[]).unwrap();
    assert_eq!(
        egg(&options).told,
        format!(r#"{{"baseDir":"{svc}","startMode":"process","title":"egg-server-svc","workers":3,"#)
            + &format!(r#""framework":"{egg_path}"}}"#)
    );
    scratch.package(r#"{"eggScriptsConfig":{"require":["./a.mjs"],"debugPort":7200}}"#);
    let options = scratch.start(&["-r", "b", "--port=81", "--env=pre"], &[]).unwrap();
    assert_eq!(
        egg(&options).told,
        format!(r#"{{"baseDir":"{svc}","port":81,"startMode":"process","env":"pre","title":"egg-server-svc","#)
            + &format!(r#""workers":3,"framework":"{egg_path}","require":["./a.mjs","b"],"debugPort":7200}}"#)
    );
    assert_eq!(options.node_flags, ["--no-deprecation", "--trace-warnings"]);
}

#[test]
fn the_master_shows_what_egg_scripts_would_give_it() {
    let scratch = Scratch::with_egg_3();
    scratch.package(r#"{"eggScriptsConfig":{"debugPort":7200}}"#);
    let shown = scratch.start(&["--title=svc", "-p81", "--env=pre"], &[]).unwrap().shown_json();
    let (egg_path, svc) = (scratch.text("svc/node_modules/egg"), scratch.text("svc"));
    let expected = format!(
        r#"{{"workers":3,"port":81,"debugPort":7200,"baseDir":"{svc}","framework":"{egg_path}","title":"svc"}}"#
    );
    assert_eq!(shown, expected);
}

#[test]
fn the_environment_of_egg_keeps_its_port() {
    let scratch = Scratch::with_egg_3();
    let options = scratch.start(&["--port=81"], &[("PORT", "80")]).unwrap();
    assert_eq!((options.port, variable(&options, "PORT")), (Some(81), None));
}

#[test]
fn an_egg_application_survives_json() {
    let scratch = Scratch::with_egg_3();
    let options = scratch.start(&[], &[]).unwrap();
    let text = serde_json::to_string(&options).unwrap();
    assert_eq!(serde_json::from_str::<Options>(&text).unwrap(), options);
}

#[test]
fn the_title_that_is_set_is_the_one_that_stop_looks_for() {
    let scratch = Scratch::with_egg_3();
    scratch.package(r#"{"name":"svc","eggScriptsConfig":{"title":"set"}}"#);
    let started = scratch.start(&[], &[]).unwrap().title;
    assert_eq!(started.as_str(), "set");
    assert_eq!(default_title(Some(Path::new("svc")), &scratch.path("")).unwrap(), Some(started));
}
