//! What Egg's members are told: the messenger's verbs, the master's own messages, schedules, leaders and followers.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use nix::sys::signal::Signal;

use crate::harness::egg::{TITLE, say};
use crate::harness::{World, eventually, installed, processes, world};

/// Which release of Egg: where they differ, a test says how.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Egg {
    Three,
    Four,
}

/// Who heard what: the receivers' pids by tag, sorted, as often as they heard it.
fn heard(world: &World) -> BTreeMap<String, Vec<u32>> {
    let mut heard: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    for event in world.events_of("told").iter().filter(|event| event["action"] == "hello") {
        let pid = u32::try_from(event["pid"].as_u64().unwrap()).unwrap();
        heard.entry(event["tag"].as_str().unwrap().to_owned()).or_default().push(pid);
    }
    heard.values_mut().for_each(|pids| pids.sort_unstable());
    heard
}

fn every_verb_is_heard_once_by_whom_it_means(world: &mut World, application: &Path, egg: Egg) {
    world.expect_egg_lines();
    let port = world.port();
    world.egg(port, application).run().exits(0);
    let master = world.master(TITLE);
    let (agent, workers) = (world.agents(master)[0], world.workers(master));
    let mut all = [agent, workers[0], workers[1]];
    all.sort_unstable();
    let mut expected = BTreeMap::new();
    for by in ["app", "agent"] {
        for (verb, receivers) in [("broadcast", &all[..]), ("sendToApp", &workers), ("sendToAgent", &[agent])] {
            for (tag, size) in [(format!("{by}-{verb}"), 0), (format!("{by}-{verb}-big"), 3_000_000)] {
                say(port, by, verb, &tag, &format!("&size={size}"));
                expected.insert(tag, receivers.to_vec());
            }
        }
        for pid in all {
            let tag = format!("{by}-sendTo-{pid}");
            say(port, by, "sendTo", &tag, &format!("&to={pid}"));
            expected.insert(tag, vec![pid]);
        }
        say(port, by, "sendRandom", &format!("{by}-sendRandom"), "");
    }
    // What was sent before it has been heard when this is.
    for by in ["app", "agent"] {
        say(port, by, "broadcast", &format!("{by}-last"), "");
        expected.insert(format!("{by}-last"), all.to_vec());
    }
    let random_by_the_app = "app-sendRandom";
    if egg == Egg::Four {
        expected.insert(random_by_the_app.to_owned(), vec![agent]);
    }
    let random = "agent-sendRandom";
    eventually("everything is heard", || {
        let heard = heard(world);
        heard.contains_key(random)
            && expected.keys().all(|tag| heard.get(tag).is_some_and(|by| by.len() >= expected[tag].len()))
    });
    let mut heard = heard(world);
    let chosen = heard.remove(random).unwrap();
    assert!(chosen.len() == 1 && workers.contains(&chosen[0]), "one worker of {workers:?}: {chosen:?}");
    assert_eq!(heard, expected, "agent {agent}, workers {workers:?}");
    let whole = |event: &serde_json::Value| event["size"] == 3_000_000 && event["whole"] == true;
    assert_eq!(world.events_of("told").iter().filter(|event| whole(event)).count(), 12);
    world.stop(TITLE);
}

#[test]
fn every_verb_of_egg_3s_messenger_is_heard_once_by_whom_it_means() {
    let Some(application) = installed("egg3") else { return };
    world(|world| every_verb_is_heard_once_by_whom_it_means(world, &application, Egg::Three));
}

#[test]
fn every_verb_of_egg_4s_messenger_is_heard_once_by_whom_it_means() {
    let Some(application) = installed("egg4") else { return };
    world(|world| every_verb_is_heard_once_by_whom_it_means(world, &application, Egg::Four));
}

/// Waits until this member has been told this by the master, and nothing else.
#[track_caller]
fn is_told(world: &World, pid: u32, expected: &[String]) {
    const BY_THE_MASTER: [&str; 3] = ["egg-ready", "egg-pids", "agent-start"];
    eventually(&format!("{pid} is told {expected:?}, in {:#?}", world.told(pid, &BY_THE_MASTER)), || {
        world.told(pid, &BY_THE_MASTER).len() >= expected.len()
    });
    assert_eq!(world.told(pid, &BY_THE_MASTER), expected, "what {pid} is told");
}

fn members_are_told_who_is_there_and_that_all_are_ready(world: &mut World, application: &Path, egg: Egg) {
    world.expect_egg_lines();
    world.expect_in_log("died (code: ");
    world.expect_in_log(": new member ");
    let port = world.port();
    world.egg(port, application).run().exits(0);
    let master = world.master(TITLE);
    let (agent, workers) = (world.agents(master)[0], world.workers(master));
    let (ready, pids) =
        (|| "egg-ready".to_owned(), |pids: &[u32]| format!("egg-pids {}", format!("{pids:?}").replace(' ', "")));
    // Egg 4 tells a worker who the agent is when it starts; to Egg 3's first workers nobody ever says it.
    let welcome = |agent: u32| if egg == Egg::Four { vec![pids(&[agent]), ready()] } else { vec![ready()] };
    eventually("the agent is told", || world.told(agent, &["egg-ready"]).len() == 1);
    let first = if world.told(agent, &["egg-pids"])[0] == pids(&workers[..1]) { 0 } else { 1 };
    let (first, second) = (workers[first], workers[1 - first]);
    let mut to_agent = vec![pids(&[first]), pids(&[first, second]), ready()];
    is_told(world, agent, &to_agent);
    is_told(world, first, &welcome(agent));
    is_told(world, second, &welcome(agent));

    processes::signal(workers[0], Signal::SIGKILL);
    let fresh = world.new_egg_workers(&workers, 1)[0];
    let left = workers[1];
    to_agent.extend([pids(&[left]), pids(&[left, fresh])]);
    is_told(world, agent, &to_agent);
    is_told(world, fresh, &welcome(agent));
    // The handlers of all run again: stock's way.
    let mut to_left = welcome(agent);
    to_left.push(ready());
    is_told(world, left, &to_left);

    processes::signal(agent, Signal::SIGKILL);
    let new_agent = world.new_egg_agent(agent);
    is_told(world, new_agent, &[ready(), pids(&[left, fresh])]);
    to_left.extend([pids(&[]), pids(&[new_agent]), "agent-start".to_owned()]);
    is_told(world, left, &to_left);
    // Now Egg 3's workers know it as well.
    say(port, "app", "sendRandom", "known", "");
    eventually("the new agent hears a worker", || heard(world).get("known") == Some(&vec![new_agent]));
    world.stop(TITLE);
}

#[test]
fn egg_3s_members_are_told_who_is_there_and_that_all_are_ready_also_after_deaths() {
    let Some(application) = installed("egg3") else { return };
    world(|world| members_are_told_who_is_there_and_that_all_are_ready(world, &application, Egg::Three));
}

#[test]
fn egg_4s_members_are_told_who_is_there_and_that_all_are_ready_also_after_deaths() {
    let Some(application) = installed("egg4") else { return };
    world(|world| members_are_told_who_is_there_and_that_all_are_ready(world, &application, Egg::Four));
}

#[test]
fn an_egg_3_worker_that_says_twice_that_it_is_ready_counts_once() {
    let Some(application) = installed("egg3") else { return };
    world(|world| {
        world.expect_egg_lines();
        world
            .egg(world.port(), &application)
            .env("REUSE_PORT", "1")
            .run()
            .exits(0)
            .says("started on http://127.0.0.1:");
        let agent = world.agents(world.master(TITLE))[0];
        eventually("the agent is told", || world.told(agent, &["egg-ready"]).len() == 1);
        world.stop(TITLE);
        // Said to the agent before its end: nothing follows any more.
        assert_eq!(world.told(agent, &["egg-pids", "egg-ready"]).len(), 3, "{:#?}", world.told(agent, &["egg-pids"]));
    });
}

fn a_listen_elsewhere_makes_no_worker_ready(world: &mut World, application: &Path) {
    world.expect_egg_lines();
    let (port, elsewhere) = (world.port(), world.port());
    let start = world.egg(port, application).env("LISTEN", elsewhere.to_string()).spawn();
    // What a worker sent before this, its listening, has been taken by the master.
    eventually("both workers listen elsewhere", || {
        world.events_of("told").iter().filter(|event| event["action"] == "elsewhere").count() == 2
    });
    assert!(!world.log().contains("app_worker#"), "{}", world.log());
    std::fs::write(world.work().join("release"), "").unwrap();
    start.finish().exits(0).says(&format!("started on http://127.0.0.1:{port}"));
    world.stop(TITLE);
}

#[test]
fn a_listen_elsewhere_makes_no_egg_3_worker_ready() {
    let Some(application) = installed("egg3") else { return };
    world(|world| a_listen_elsewhere_makes_no_worker_ready(world, &application));
}

#[test]
fn a_listen_elsewhere_makes_no_egg_4_worker_ready() {
    let Some(application) = installed("egg4") else { return };
    world(|world| a_listen_elsewhere_makes_no_worker_ready(world, &application));
}

/// The schedule's jobs that members of this role were told of, as often as they were.
fn jobs(world: &World, who: &str) -> Vec<String> {
    let mut events = world.events_of("told");
    events.retain(|event| event["who"] == who && event["action"] == "egg-schedule");
    events.iter().map(|event| event["id"].as_str().unwrap().to_owned()).collect()
}

fn each_tick_of_a_schedule_is_one_workers(world: &mut World, application: &Path) {
    world.expect_egg_lines();
    world.egg(world.port(), application).env("TICK", "50ms").run().exits(0);
    eventually("six ticks are done", || jobs(world, "agent").len() >= 6);
    world.stop(TITLE);
    let given = jobs(world, "worker");
    let done = jobs(world, "agent");
    let different: BTreeSet<&String> = given.iter().collect();
    assert_eq!(different.len(), given.len(), "a job was given twice: {given:?}");
    assert!(done.iter().all(|job| different.contains(job)), "{done:?} of {given:?}");
    let ticks = world.events_of("tick").len();
    assert!((done.len()..=given.len()).contains(&ticks), "{ticks} ticks of {} jobs", given.len());
}

#[test]
fn each_tick_of_an_egg_3_schedule_is_one_workers() {
    let Some(application) = installed("egg3") else { return };
    world(|world| each_tick_of_a_schedule_is_one_workers(world, &application));
}

#[test]
fn each_tick_of_an_egg_4_schedule_is_one_workers() {
    let Some(application) = installed("egg4") else { return };
    world(|world| each_tick_of_a_schedule_is_one_workers(world, &application));
}

fn followers_get_the_leaders_data_also_from_a_new_agent(world: &mut World, application: &Path) {
    // cluster-client itself complains when its leader goes, on either side.
    world.expect_in_log("");
    world.egg(world.port(), application).env("REGISTRY", "1").run().exits(0);
    let master = world.master(TITLE);
    let (agent, workers) = (world.agents(master)[0], world.workers(master));
    let led = |agent: u32| {
        let by = |worker: &u32| {
            world.events_of("led").iter().any(|event| event["pid"] == *worker && event["leader"] == agent)
        };
        eventually(&format!("{workers:?} are led by {agent}"), || workers.iter().all(by));
    };
    led(agent);
    processes::signal(agent, Signal::SIGKILL);
    led(world.new_egg_agent(agent));
    assert_eq!(world.workers(master), workers);
    world.stop(TITLE);
}

#[test]
fn followers_of_egg_3_get_the_leaders_data_also_from_a_new_agent() {
    let Some(application) = installed("egg3") else { return };
    world(|world| followers_get_the_leaders_data_also_from_a_new_agent(world, &application));
}

#[test]
fn followers_of_egg_4_get_the_leaders_data_also_from_a_new_agent() {
    let Some(application) = installed("egg4") else { return };
    world(|world| followers_get_the_leaders_data_also_from_a_new_agent(world, &application));
}

#[test]
fn a_worker_that_says_egg_ready_makes_nothing_ready() {
    let Some(application) = installed("egg3") else { return };
    world(|world| {
        world.expect_in_log("");
        let typed = world.egg(world.port(), &application).arg("--timeout=9000");
        let outcome = typed.env("WORKER", "forge").env("WORKER_BOOTS", "2").run();
        outcome.fails(1).says("not ready").says("worker").does_not_say("started on");
        assert!(world.log().contains("sent what only the master says to the parent"), "{}", world.log());
    });
}
