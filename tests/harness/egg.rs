//! Egg applications as a test sees them: what it types, what their members noted (`fixtures/egg-members`).

use std::path::Path;

use serde_json::Value;

use super::{Typed, World, await_some, http};

/// The title of every Egg application in these tests.
pub const TITLE: &str = "egg";

impl World {
    /// `eggctl start --daemon --title=egg --workers=2 --port=PORT APPLICATION`, to be given more.
    pub fn egg(&self, port: u16, application: &Path) -> Typed {
        let title = format!("--title={TITLE}");
        self.eggctl(&["start", "--daemon", &title, "--workers=2", &format!("--port={port}")]).arg(application)
    }

    /// Egg's own lines on stdout may be in the logs when the test ends.
    pub fn expect_egg_lines(&mut self) {
        self.expect_in_log(" INFO ");
        self.expect_in_log("[egg-watcher] defaultEventSource");
    }

    /// What this member was told by these actions, in order, as `action data`.
    pub fn told(&self, pid: u32, actions: &[&str]) -> Vec<String> {
        let mut events = self.events_of("told");
        events.retain(|event| event["pid"] == pid && actions.iter().any(|action| event["action"] == *action));
        events.iter().map(|event| with_data(event).trim_end().to_owned()).collect()
    }

    /// The workers once there are `count` of them that are none of `old` and have been told that all are ready.
    #[track_caller]
    pub fn new_egg_workers(&self, old: &[u32], count: usize) -> Vec<u32> {
        let master = self.master(TITLE);
        await_some(&format!("{count} ready workers beside {old:?}"), || {
            let workers: Vec<u32> = self.workers(master).into_iter().filter(|pid| !old.contains(pid)).collect();
            let ready = |pid: &u32| !self.told(*pid, &["egg-ready"]).is_empty();
            (workers.len() == count && workers.iter().all(ready)).then_some(workers)
        })
    }

    /// The agent that is not `old`, once it has been told that all are ready.
    #[track_caller]
    pub fn new_egg_agent(&self, old: u32) -> u32 {
        let master = self.master(TITLE);
        await_some(&format!("a ready agent after {old}"), || {
            let agent = self.agents(master).into_iter().find(|pid| *pid != old)?;
            (!self.told(agent, &["egg-ready"]).is_empty()).then_some(agent)
        })
    }
}

fn with_data(event: &Value) -> String {
    let data = event.get("data").map_or_else(String::new, Value::to_string);
    format!("{} {data}", event["action"].as_str().unwrap())
}

/// Makes a worker, or the agent (`by`), say `hello` by this verb of the messenger.
#[track_caller]
pub fn say(port: u16, by: &str, verb: &str, tag: &str, more: &str) {
    assert_eq!(http::get(port, &format!("/say?by={by}&verb={verb}&tag={tag}{more}")).status, 200);
}
