//! Agent and workers: what they are told, and that the dead are replaced.

use nix::sys::signal::Signal;
use serde_json::json;

use super::Theirs::Passes;
use super::scenario;
use crate::harness::{eventually, http, processes};

#[test]
fn application_and_agent_learn_that_all_are_ready_and_who_is_there() {
    scenario(Passes, |scene| {
        scene.start(&[]).run().exits(0);
        let worker = scene.workers(scene.master("svc").pid).remove(0);
        for who in ["app", "agent"] {
            eventually("egg-ready", || !scene.noted(who, "egg-ready").is_empty());
        }
        eventually("egg-pids of the workers", || {
            scene.noted("agent", "egg-pids").iter().any(|noted| noted["pids"] == json!([worker.pid]))
        });
    });
}

#[test]
fn messages_go_from_the_application_to_the_agent_and_back() {
    scenario(Passes, |scene| {
        scene.start(&[]).run().exits(0);
        let agent = scene.agent(scene.master("svc").pid).pid;
        http::get(scene.port, "/ask");
        eventually("the answer", || !scene.noted("app", "answer").is_empty());
        let answers = scene.noted("app", "answer");
        assert_eq!(answers.len(), 1);
        assert_eq!((&answers[0]["number"], &answers[0]["agent"]), (&json!(42), &json!(agent)));
    });
}

#[test]
fn a_killed_worker_is_replaced_in_its_slot_and_its_death_is_logged() {
    scenario(Passes, |scene| {
        scene.workers = 2;
        scene.start(&[]).run().exits(0);
        let master = scene.master("svc").pid;
        let before = scene.workers(master);
        let slots = |workers: &[processes::Process]| {
            let slots = workers.iter().map(|worker| worker.variable("CFORK_WORKER_INDEX").unwrap().to_owned());
            let mut slots: Vec<String> = slots.collect();
            slots.sort();
            slots
        };
        assert_eq!(slots(&before), ["0", "1"]);
        assert_eq!(before[0].variable("CFORK_WORKER_COUNT"), Some("2"));
        processes::signal(before[0].pid, Signal::SIGKILL);
        eventually("a new worker is ready", || scene.noted("app", "boot").len() == 3);
        scene
            .world
            .log_says(&format!("nodejs.AppWorkerDiedError: [master] app_worker#1:{} died (code: ", before[0].pid));
        scene.world.log_says("signal: SIGKILL, suicide: false, state: dead), current workers: [");
        let new = scene.workers(master).iter().map(|worker| worker.pid).max().unwrap();
        scene.world.log_says(&format!("new worker:{new} fork (state: none)"));
        scene.world.log_says("[master] app_worker#3:");
        let after = scene.workers(master);
        assert_eq!(slots(&after), ["0", "1"]);
        assert!(after.iter().all(|worker| worker.pid != before[0].pid));
    });
}

#[test]
fn after_a_workers_death_the_agent_learns_who_is_there() {
    scenario(Passes, |scene| {
        scene.start(&[]).run().exits(0);
        let master = scene.master("svc").pid;
        let dead = scene.workers(master).remove(0).pid;
        processes::signal(dead, Signal::SIGKILL);
        let pids = || scene.noted("agent", "egg-pids").last().map(|noted| noted["pids"].clone());
        eventually("a new worker in egg-pids", || {
            pids().is_some_and(|pids| pids != json!([]) && pids != json!([dead]))
        });
        assert_eq!(pids(), Some(json!([scene.workers(master)[0].pid])));
        eventually("the new worker learns that all are ready", || {
            scene.noted("app", "egg-ready").iter().any(|noted| noted["pid"] != dead)
        });
    });
}

#[test]
fn a_killed_agent_is_replaced_and_told_what_the_first_was_told() {
    scenario(Passes, |scene| {
        scene.start(&[]).run().exits(0);
        let master = scene.master("svc").pid;
        let (dead, worker) = (scene.agent(master).pid, scene.workers(master).remove(0).pid);
        processes::signal(dead, Signal::SIGKILL);
        let told = |what: &str| {
            let noted = scene.noted("agent", what);
            noted.into_iter().find(|noted| noted["pid"] != dead)
        };
        eventually("the new agent's egg-ready", || told("egg-ready").is_some());
        eventually("the new agent's egg-pids", || {
            told("egg-pids").is_some_and(|noted| noted["pids"] == json!([worker]))
        });
        let agent = scene.agent(master).pid;
        eventually("the worker learns the new agent's pid", || {
            scene.noted("app", "egg-pids").iter().any(|noted| noted["pids"] == json!([agent]))
        });
        scene.world.log_says(&format!("[master] agent_worker#1:{dead} died (code: "));
        scene.world.log_says("[master] agent_worker#2:");
        assert_eq!(http::get(scene.port, "/").pid(), worker);
    });
}
