//! What members find in their environment, and where the logs go.

use std::fs;

use super::Theirs::Passes;
use super::{Scene, scenario};
use crate::harness::processes::Process;
use crate::harness::{eventually, http};

/// Master, agent and worker of `svc`.
fn everybody(scene: &Scene<'_>) -> Vec<Process> {
    let master = scene.master("svc");
    let (agent, workers) = (scene.agent(master.pid), scene.workers(master.pid));
    [vec![master, agent], workers].concat()
}

#[test]
fn the_number_of_workers_is_that_of_the_environment() {
    scenario(Passes, |scene| {
        let port = format!("--port={}", scene.port);
        let start = scene.command(&["start", "--daemon", "--title=svc", &port]).arg(&scene.application);
        start.env("EGG_WORKERS", "2").run().exits(0);
        assert_eq!(scene.workers(scene.master("svc").pid).len(), 2);
    });
}

#[test]
fn the_environment_of_the_flag_is_the_applications() {
    scenario(Passes, |scene| {
        scene.start(&["--env=pre"]).env("EGG_SERVER_ENV", "other").run().exits(0);
        assert_eq!(http::get(scene.port, "/").json()["env"], "pre");
        for process in everybody(scene) {
            assert_eq!(process.variable("EGG_SERVER_ENV"), Some("pre"));
        }
    });
}

#[test]
fn node_runs_in_production_whatever_was_set() {
    scenario(Passes, |scene| {
        scene.start(&[]).env("NODE_ENV", "test").run().exits(0);
        for process in everybody(scene) {
            assert_eq!(process.variable("NODE_ENV"), Some("production"));
        }
        assert_eq!(http::get(scene.port, "/").json()["env"], "prod");
    });
}

#[test]
fn the_home_is_the_mocked_one_and_the_logs_are_there() {
    scenario(Passes, |scene| {
        let home = scene.world.work().join("mock");
        fs::create_dir(&home).unwrap();
        scene.start(&[]).env("MOCK_HOME_DIR", &home).run().exits(0);
        for process in everybody(scene) {
            assert_eq!(process.variable("HOME"), home.to_str());
        }
        for log in ["master-stdout.log", "master-stderr.log"] {
            assert!(home.join("logs").join(log).is_file(), "{log}");
        }
    });
}

#[test]
fn the_applications_own_programs_come_first_in_the_path() {
    scenario(Passes, |scene| {
        scene.start(&[]).run().exits(0);
        let own = scene.application.display();
        let first = format!("{own}/node_modules/.bin:{own}/.node/bin:");
        for process in everybody(scene) {
            let path = process.variable("PATH").unwrap();
            assert!(path.starts_with(&first), "{path}");
        }
    });
}

#[test]
fn nodes_log_directory_is_made_below_the_home() {
    scenario(Passes, |scene| {
        scene.start(&[]).run().exits(0);
        let directory = scene.world.home().join("logs/alinode");
        assert!(directory.is_dir());
        for process in everybody(scene) {
            assert_eq!(process.variable("NODE_LOG_DIR"), directory.to_str());
            assert_eq!(process.variable("ENABLE_NODE_LOG"), Some("YES"));
        }
    });
}

#[test]
fn nodes_log_directory_is_kept_where_it_was_set() {
    scenario(Passes, |scene| {
        let directory = scene.world.work().join("node/logs");
        scene.start(&[]).env("NODE_LOG_DIR", &directory).run().exits(0);
        assert!(directory.is_dir());
        for process in everybody(scene) {
            assert_eq!(process.variable("NODE_LOG_DIR"), directory.to_str());
        }
    });
}

#[test]
fn old_logs_are_renamed_with_the_time() {
    scenario(Passes, |scene| {
        let logs = scene.world.home().join("logs");
        fs::create_dir_all(&logs).unwrap();
        for log in ["master-stdout.log", "master-stderr.log"] {
            fs::write(logs.join(log), format!("old {log}\n")).unwrap();
        }
        scene.start(&[]).run().exits(0);
        for log in ["master-stdout.log", "master-stderr.log"] {
            let names = fs::read_dir(&logs).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
            let old: Vec<String> = names.filter(|name| name.starts_with(&format!("{log}."))).collect();
            let [old] = &old[..] else { panic!("{old:?}") };
            let shape: String = old.chars().map(|one| if one.is_ascii_digit() { '0' } else { one }).collect();
            // Ours goes on with a sequence: names never collide, and sort in the order of writing whatever the clock does.
            assert_eq!(shape.strip_suffix(".0000").unwrap_or(&shape), format!("{log}.00000000.000000"));
            assert_eq!(fs::read_to_string(logs.join(old)).unwrap(), format!("old {log}\n"));
        }
    });
}

#[test]
fn logs_go_where_the_flags_say_seen_from_the_current_directory() {
    scenario(Passes, |scene| {
        scene.start(&["--stdout=logs/out.log", "--stderr=logs/err.log"]).run().exits(0);
        let logs = scene.world.work().join("logs");
        eventually("the master's line", || {
            fs::read_to_string(logs.join("out.log")).unwrap().contains("[master] egg started on ")
        });
        assert!(logs.join("err.log").is_file());
    });
}

#[test]
fn members_work_in_the_directory_where_the_start_was_typed() {
    scenario(Passes, |scene| {
        scene.start(&[]).run().exits(0);
        for process in everybody(scene) {
            let directory = fs::read_link(format!("/proc/{}/cwd", process.pid)).unwrap();
            assert_eq!(directory, scene.world.work(), "{:?}", process.args);
        }
    });
}
