//! What a start says, where it serves, under which name, and what stands in the arguments.

use serde_json::json;

use super::Theirs::{Fails, Passes};
use super::scenario;
use crate::harness::http;

#[test]
fn a_daemon_says_on_which_address_it_started() {
    scenario(Passes, |scene| {
        let started = scene.start(&[]).run();
        started.exits(0).says(&format!(" started on http://127.0.0.1:{}", scene.port));
        assert_eq!(http::get(scene.port, "/").status, 200);
        scene.world.log_says(&format!("[master] egg started on http://127.0.0.1:{} (", scene.port));
        scene.world.log_says("[master] agent_worker#1:");
        scene.world.log_says(&format!(" started at {}, remain 0 (", scene.port));
    });
}

#[test]
fn the_story_of_a_start_is_told_in_egg_scripts_words() {
    scenario(Passes, |scene| {
        let started = scene.start(&[]).run();
        let directory = scene.application.display().to_string();
        started.exits(0).says(&format!("Starting egg application at {directory}")).says("Save log file to ");
        started.says(&format!("egg started on http://127.0.0.1:{}", scene.port));
    });
}

#[test]
fn without_a_title_it_is_named_after_its_package() {
    scenario(Passes, |scene| {
        let port = format!("--port={}", scene.port);
        scene.command(&["start", "--daemon", "--workers=1", &port]).arg(&scene.application).run().exits(0);
        scene.master("egg-server-parity");
    });
}

#[test]
fn without_a_flag_the_port_is_that_of_the_environment() {
    scenario(Passes, |scene| {
        let start = scene.command(&["start", "--daemon", "--title=svc", "--workers=1"]).arg(&scene.application);
        start.env("PORT", scene.port.to_string()).run().exits(0);
        assert_eq!(http::get(scene.port, "/").status, 200);
    });
}

#[test]
fn the_port_of_the_flag_comes_before_that_of_the_environment() {
    scenario(Passes, |scene| {
        let another = scene.world.port();
        scene.start(&[]).env("PORT", another.to_string()).run().exits(0);
        assert_eq!(http::get(scene.port, "/").status, 200);
        assert!(http::try_get(another, "/").is_err());
    });
}

#[test]
fn a_port_that_is_no_number_is_refused() {
    scenario(Fails("yargs makes NaN of it, JSON null: it starts on the default port"), |scene| {
        let start = scene.command(&["start", "--daemon", "--title=svc", "--workers=1", "--port=abc"]);
        assert!(!start.arg(&scene.application).run().status.success());
    });
}

#[test]
fn an_unknown_flag_is_refused() {
    scenario(Fails("any flag is taken, and lands in the options"), |scene| {
        assert!(!scene.start(&["--wrkers=1"]).run().status.success());
    });
}

#[test]
fn of_a_flag_that_is_typed_twice_the_last_counts() {
    scenario(Fails("it makes a list of it: `--title=svc,late`, which no stop finds"), |scene| {
        scene.start(&["--title=late"]).run().exits(0);
        scene.master("late");
    });
}

#[test]
fn settings_in_package_json_are_the_flags_defaults() {
    scenario(Passes, |scene| {
        let config = json!({ "title": "set", "workers": 1, "port": scene.port, "env": "pre", "daemon": true });
        scene.package(&json!({ "name": "parity", "eggScriptsConfig": config }));
        scene.command(&["start"]).cwd(&scene.application).run().exits(0);
        assert_eq!(http::get(scene.port, "/").json()["env"], "pre");
        let master = scene.master("set");
        assert_eq!(scene.workers(master.pid).len(), 1);
    });
}

#[test]
fn flags_come_before_settings_in_package_json() {
    scenario(Passes, |scene| {
        let config = json!({ "title": "set", "workers": 3, "port": 1 });
        scene.package(&json!({ "name": "parity", "eggScriptsConfig": config }));
        scene.start(&[]).run().exits(0);
        let master = scene.master("svc");
        assert_eq!(scene.workers(master.pid).len(), 1);
    });
}

#[test]
fn flags_for_node_and_modules_reach_every_member() {
    scenario(Passes, |scene| {
        let touch = "require('fs').appendFileSync(process.env.FIXTURE_DIR + '/loaded', process.argv[1] + '\\n');\n";
        std::fs::write(scene.application.join("first.js"), touch).unwrap();
        scene.start(&["--node-options--max-old-space-size=200", "--require=./first.js"]).run().exits(0);
        let master = scene.master("svc");
        for member in [vec![scene.agent(master.pid)], scene.workers(master.pid)].concat() {
            assert!(member.args.iter().any(|arg| arg == "--max-old-space-size=200"), "{:?}", member.args);
            assert!(member.args.iter().any(|arg| arg == "--no-deprecation"), "{:?}", member.args);
        }
        let loaded = std::fs::read_to_string(scene.world.work().join("loaded")).unwrap();
        assert!(loaded.contains("agent_worker.js") && loaded.contains("app_worker.js"), "{loaded}");
    });
}

#[test]
fn the_masters_arguments_are_those_that_scripts_look_for() {
    scenario(Passes, |scene| {
        scene.start(&[]).run().exits(0);
        let master = scene.master("svc");
        let line = master.args.join(" ");
        // egg-scripts stop, and whoever greps in `ps`.
        assert!(line.contains("node") && line.contains("start-cluster"), "{line}");
        assert!(line.contains(r#""title":"svc""#) && line.contains(" --title=svc"), "{line}");
        let directory = json!(scene.application).to_string();
        assert!(line.contains(&format!(r#""baseDir":{directory}"#)), "{line}");
    });
}

#[test]
fn the_members_arguments_are_the_frameworks_files_and_one_json() {
    scenario(Passes, |scene| {
        scene.start(&[]).run().exits(0);
        let master = scene.master("svc");
        let worker = scene.workers(master.pid).remove(0);
        for (member, file) in [(scene.agent(master.pid), "agent_worker.js"), (worker, "app_worker.js")] {
            let [.., script, options] = &member.args[..] else { panic!("{:?}", member.args) };
            assert!(script.ends_with(&format!("egg-cluster/lib/{file}")), "{script}");
            let options: serde_json::Value = serde_json::from_str(options).unwrap();
            assert_eq!(options["title"], "svc");
            assert_eq!(options["workers"], 1);
            assert_eq!(options["port"], scene.port);
            assert_eq!(options["baseDir"], json!(scene.application));
            assert_eq!(options["startMode"], "process");
            assert!(options["clusterPort"].is_u64() && options["framework"].is_string(), "{options}");
        }
    });
}

#[test]
fn help_and_version_are_no_failures() {
    scenario(Passes, |scene| {
        for args in [&["--help"][..], &["--version"], &["-v"], &["start", "--help"], &["stop", "--help"]] {
            scene.command(args).run().exits(0);
        }
    });
}
