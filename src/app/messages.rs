//! What Egg's master tells its application and its parent about the application's own life: who is there, who is ready, who
//! died. The order and the receivers are egg-cluster's (`lib/master.js`, 2.5 and 3.0). A plain Node application is told
//! nothing but by itself.

use crate::options::{Application, Family, Options};

/// Something happened that Egg's master speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happening {
    /// The agent, first or reforked, is ready.
    AgentReady,
    /// This worker is ready.
    WorkerReady(u32),
    /// Everybody is ready for the first time. (The parent's `egg-ready` is the master's own.)
    AllReady,
    /// The agent died, after everybody had been ready.
    AgentDied,
    /// A worker was asked to leave: nobody is to count on it any more.
    WorkerLeaves,
    /// A worker died, after everybody had been ready.
    WorkerDied,
}

/// Who is ready: Egg's `egg-pids`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roster {
    /// The agent's pid.
    pub agent: Option<u32>,
    /// The workers' pids.
    pub workers: Vec<u32>,
    /// Has everybody been ready at the same time once?
    pub launched: bool,
}

/// Who is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// Every worker.
    App,
    /// The agent.
    Agent,
    /// The parent.
    Parent,
    /// The worker with this pid.
    Worker(u32),
}

/// Is a message with this action kept from workers that have not had their turn? (They would do twice what is scheduled,
/// and `egg-ready` is where consumers start.)
#[must_use]
pub fn waits_for_the_turn(action: &str) -> bool {
    matches!(action, "egg-ready" | "egg-schedule")
}

impl To {
    /// The value of `to` on the wire.
    #[must_use]
    pub fn wire(self) -> &'static str {
        match self {
            To::App | To::Worker(_) => "app",
            To::Agent => "agent",
            To::Parent => "parent",
        }
    }
}

/// What goes with a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// Nothing.
    Nothing,
    /// These pids.
    Pids(Vec<u32>),
    /// The options that the members were started with.
    Options,
}

/// A message of the master.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Who is told.
    pub to: To,
    /// Its action.
    pub action: &'static str,
    /// Its data.
    pub data: Data,
}

/// What is said when this happened, in this order.
#[must_use]
pub fn messages(options: &Options, happening: Happening, roster: &Roster) -> Vec<Message> {
    match &options.application {
        Application::Node { .. } => Vec::new(),
        Application::Egg { family, .. } => of_egg(*family, happening, roster),
    }
}

fn of_egg(family: Family, happening: Happening, roster: &Roster) -> Vec<Message> {
    let say = |to, action, data| Message { to, action, data };
    let agent: Vec<u32> = roster.agent.into_iter().collect();
    let workers = || Data::Pids(roster.workers.clone());
    let ready = |to| say(to, "egg-ready", Data::Options);
    match happening {
        Happening::AgentReady => {
            let mut said =
                vec![say(To::App, "egg-pids", Data::Pids(agent)), say(To::App, "agent-start", Data::Nothing)];
            if roster.launched {
                said.insert(0, ready(To::Agent));
                said.insert(2, say(To::Agent, "egg-pids", workers()));
            }
            said
        }
        Happening::WorkerReady(pid) => {
            let mut said = vec![say(To::Agent, "egg-pids", workers())];
            // Egg 3's first workers never learn the agent's pid: that is how stock is, and some code counts on it.
            if family == Family::Four {
                said.push(say(To::Worker(pid), "egg-pids", Data::Pids(agent)));
            }
            if roster.launched {
                said.push(ready(To::App));
            }
            said
        }
        Happening::AllReady => vec![ready(To::App), ready(To::Agent)],
        Happening::AgentDied => {
            vec![say(To::App, "egg-pids", Data::Pids(Vec::new())), say(To::Parent, "agent-worker-died", Data::Nothing)]
        }
        Happening::WorkerLeaves => vec![say(To::Agent, "egg-pids", workers())],
        Happening::WorkerDied => {
            vec![say(To::Agent, "egg-pids", workers()), say(To::Parent, "app-worker-died", Data::Nothing)]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(family: Family, happening: Happening, launched: bool) -> Vec<String> {
        let roster = Roster { agent: Some(10), workers: vec![11, 12], launched };
        of_egg(family, happening, &roster)
            .into_iter()
            .map(|message| format!("{:?} {} {:?}", message.to, message.action, message.data))
            .collect()
    }

    #[test]
    fn a_first_agent_is_announced_to_workers_that_are_yet_to_come() {
        let told = ["App egg-pids Pids([10])", "App agent-start Nothing"];
        assert_eq!(said(Family::Three, Happening::AgentReady, false), told);
    }

    #[test]
    fn a_new_agent_learns_that_all_are_ready_and_who_they_are() {
        let told = [
            "Agent egg-ready Options",
            "App egg-pids Pids([10])",
            "Agent egg-pids Pids([11, 12])",
            "App agent-start Nothing",
        ];
        assert_eq!(said(Family::Three, Happening::AgentReady, true), told);
    }

    #[test]
    fn a_worker_is_announced_to_the_agent_and_egg_4_tells_it_who_the_agent_is() {
        let worker = Happening::WorkerReady(12);
        assert_eq!(said(Family::Three, worker, false), ["Agent egg-pids Pids([11, 12])"]);
        let told = ["Agent egg-pids Pids([11, 12])", "Worker(12) egg-pids Pids([10])"];
        assert_eq!(said(Family::Four, worker, false), told);
        let told = ["Agent egg-pids Pids([11, 12])", "App egg-ready Options"];
        assert_eq!(said(Family::Three, worker, true), told, "a replacement: the handlers of all run again");
    }

    #[test]
    fn deaths_are_told_to_the_others_and_to_the_parent() {
        let agent = ["App egg-pids Pids([])", "Parent agent-worker-died Nothing"];
        assert_eq!(said(Family::Four, Happening::AgentDied, true), agent);
        let worker = ["Agent egg-pids Pids([11, 12])", "Parent app-worker-died Nothing"];
        assert_eq!(said(Family::Four, Happening::WorkerDied, true), worker);
    }
}
