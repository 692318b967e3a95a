//! A program of the user's that starts Egg's master by itself, with Node's channel or without: the master stands where
//! `node` stood.

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::Theirs::Passes;
use super::{Program, Scene, scenario};
use crate::harness::processes::{self, Process};
use crate::harness::{Background, Typed, eventually};

/// `node` or what stands there, a script that need not be looked at by us, and the options that egg-scripts would give.
pub fn masters_words(scene: &Scene<'_>) -> [String; 4] {
    let program = match scene.program {
        Program::Ours => env!("CARGO_BIN_EXE_eggctl"),
        Program::Theirs => "node",
    };
    let script = scene.egg_scripts.with_file_name("../lib/start-cluster").to_str().unwrap().to_owned();
    let framework = scene.application.join("node_modules/egg");
    let (workers, port, title) = (scene.workers, scene.port, &scene.title);
    let options = json!({
        "workers": workers, "port": port, "baseDir": scene.application, "framework": framework, "title": title,
    });
    [program.to_owned(), script, options.to_string(), format!("--title={title}")]
}

/// A Node parent (`fixtures/parent`) of such a master.
fn parent(scene: &Scene<'_>) -> Typed {
    let script = scene.world.fixture("parent/parent.js");
    let typed = scene.world.program(&["node", script.to_str().unwrap()]);
    typed.env("MASTER", json!(masters_words(scene)).to_string()).env("NODE_ENV", "production")
}

/// What the parent has heard so far.
fn heard(parent: &Background) -> Vec<Value> {
    let so_far = parent.so_far();
    so_far.lines().filter_map(|line| serde_json::from_str(line.strip_prefix("heard ")?).ok()).collect()
}

#[test]
fn a_node_parent_hears_that_all_are_ready_and_who_died() {
    scenario(Passes, |scene| {
        let parent = parent(scene).spawn();
        let ready = json!({
            "action": "egg-ready", "to": "parent", "from": "master",
            "data": { "port": scene.port, "address": format!("http://127.0.0.1:{}", scene.port), "protocol": "http" },
        });
        eventually("egg-ready", || heard(&parent) == std::slice::from_ref(&ready));
        let master = scene.master("svc").pid;
        processes::signal(scene.workers(master)[0].pid, Signal::SIGKILL);
        let worker = json!({ "action": "app-worker-died", "to": "parent", "from": "master" });
        eventually("the worker's death", || heard(&parent) == [ready.clone(), worker.clone()]);
        processes::signal(scene.agent(master).pid, Signal::SIGKILL);
        let agent = json!({ "action": "agent-worker-died", "to": "parent", "from": "master" });
        eventually("the agent's death", || heard(&parent) == [ready.clone(), worker.clone(), agent.clone()]);
        parent.signal(Signal::SIGTERM);
        parent.finish().exits(0).says("the master ended: 0 null");
    });
}

#[test]
fn a_node_parents_messages_arrive_with_and_without_a_handle() {
    scenario(Passes, |scene| {
        let parent = parent(scene).env("PARENT", "sends").spawn();
        eventually("three answers", || scene.noted("app", "answer").len() >= 3);
        let numbers: Vec<Value> = scene.noted("app", "answer").iter().map(|noted| noted["number"].clone()).collect();
        assert_eq!(numbers, [1, 2, 3]);
        parent.signal(Signal::SIGTERM);
        parent.finish().exits(0).says("the master ended: 0 null");
    });
}

#[test]
fn a_node_parents_reload_worker_replaces_the_workers() {
    scenario(Passes, |scene| {
        let parent = parent(scene).env("PARENT", "reloads").spawn();
        eventually("a second worker", || scene.noted("app", "boot").len() == 2);
        let [old, new] = [0, 1].map(|boot| scene.noted("app", "boot")[boot]["pid"].clone());
        let master = scene.master("svc").pid;
        eventually("the first one is gone", || {
            let pids: Vec<u32> = scene.workers(master).iter().map(|worker| worker.pid).collect();
            new.as_u64().is_some_and(|new| pids == [u32::try_from(new).unwrap()])
        });
        assert_ne!(old, new);
        scene.answers();
        parent.signal(Signal::SIGTERM);
        parent.finish().exits(0).says("the master ended: 0 null");
    });
}

#[test]
fn a_node_parent_that_closes_the_channel_leaves_the_master_running() {
    scenario(Passes, |scene| {
        let parent = parent(scene).env("PARENT", "disconnects").spawn();
        parent.says("the channel is closed");
        scene.answers();
        parent.signal(Signal::SIGTERM);
        parent.finish().exits(0).says("the master ended: 0 null");
    });
}

#[test]
fn a_node_parent_that_ends_leaves_the_master_running() {
    scenario(Passes, |scene| {
        let log = scene.world.work().join("output");
        let fixture = scene.world.fixture("parent/parent.js");
        // Its output must not be ours: what it leaves behind holds it.
        let script = format!("exec node {} >{} 2>&1", fixture.display(), log.display());
        let typed = scene.world.program(&["sh", "-c", &script]).env("NODE_ENV", "production");
        typed.env("MASTER", json!(masters_words(scene)).to_string()).env("PARENT", "leaves").run().exits(0);
        scene.answers();
        let master = scene.master("svc").pid;
        processes::signal(scene.workers(master)[0].pid, Signal::SIGKILL);
        eventually("a new worker", || scene.noted("app", "boot").len() == 2);
        processes::signal(master, Signal::SIGTERM);
        eventually("it closes", || scene.world.alive().is_empty());
        assert!(std::fs::read_to_string(log).unwrap().contains("exit with code:0"));
    });
}

#[test]
fn a_parents_flags_of_node_directory_and_environment_are_the_members() {
    scenario(Passes, |scene| {
        let parent = parent(scene).env("MARK", "inherited").spawn();
        eventually("egg-ready", || !heard(&parent).is_empty());
        let master = scene.master("svc").pid;
        for member in [vec![scene.agent(master)], scene.workers(master)].concat() {
            assert_eq!(member.args[1], "--no-deprecation");
            assert_eq!(member.variable("MARK"), Some("inherited"));
            assert_eq!(member.variable("HOME"), scene.world.home().to_str(), "as it was");
            let parents = Process::read(parent.pid()).unwrap();
            assert_eq!(member.variable("PATH"), parents.variable("PATH"), "as it was");
            let directory = std::fs::read_link(format!("/proc/{}/cwd", member.pid)).unwrap();
            assert_eq!(directory, scene.world.work());
            let mut options: Value = serde_json::from_str(member.args.last().unwrap()).unwrap();
            assert!(options.as_object_mut().unwrap().remove("clusterPort").is_some_and(|port| port.is_u64()));
            let (base_dir, framework) = (&scene.application, scene.application.join("node_modules/egg"));
            let expected = json!({
                "framework": framework, "baseDir": base_dir, "port": scene.port, "reusePort": false, "workers": 1,
                "plugins": null, "https": false, "startMode": "process", "ports": [], "env": null, "title": "svc",
            });
            assert_eq!(options, expected);
        }
        parent.signal(Signal::SIGTERM);
        parent.finish().exits(0);
    });
}

#[test]
fn typed_in_a_shell_it_is_a_master_in_the_foreground() {
    scenario(Passes, |scene| {
        let words = masters_words(scene);
        let [program, words @ ..] = &words;
        let master = scene.world.program(&[program]).args(words).env("NODE_ENV", "production").spawn();
        master.says("egg started on");
        scene.answers();
        assert_eq!(scene.master("svc").pid, master.pid());
        master.signal(Signal::SIGTERM);
        master.finish().exits(0);
    });
}

#[test]
fn outside_of_production_no_worker_is_replaced_and_the_agent_is() {
    scenario(Passes, |scene| {
        let parent = parent(scene).env("NODE_ENV", "test").env("EGG_SERVER_ENV", "").spawn();
        eventually("egg-ready", || !heard(&parent).is_empty());
        let master = scene.master("svc").pid;
        processes::signal(scene.workers(master)[0].pid, Signal::SIGKILL);
        eventually("the worker's death", || heard(&parent).len() == 2);
        assert!(scene.workers(master).is_empty());
        let agent = scene.agent(master).pid;
        processes::signal(agent, Signal::SIGKILL);
        eventually("the agent's death", || heard(&parent).len() == 3);
        eventually("a new agent", || scene.noted("agent", "boot").len() == 2);
        assert!(scene.workers(master).is_empty());
        parent.signal(Signal::SIGTERM);
        parent.finish().exits(0);
    });
}
