//! Who receives this message: Egg's routing rules (NODE-PROTOCOL, "Messenger"), as a pure decision.

use crate::ipc::inbound::Envelope;

/// Whose channel a message came by: the master stamps it, nobody can claim it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// The agent.
    Agent,
    /// A worker.
    Worker,
    /// The parent.
    Parent,
}

/// Where a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receiver {
    /// The master itself.
    Master,
    /// The parent.
    Parent,
    /// The agent.
    Agent,
    /// Every worker whose channel is open, the sender included.
    Workers,
    /// The worker with this pid.
    WorkerPid(u32),
    /// The worker with this id (Egg 4, where a worker's id is its pid unless workers are threads).
    WorkerId(u32),
    /// Nobody: the message names a receiver that is none.
    Nobody,
}

/// The stamp and the way of one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Who gets it.
    pub receiver: Receiver,
    /// The value of `from`.
    pub from: &'static str,
    /// The value of `to`.
    pub to: &'static str,
}

/// Decides. `master_pid` and `agent_pid` are what `receiverPid` is compared with.
///
/// A named receiver stands above `to`, as in Egg.
#[must_use]
pub fn route(sender: Sender, envelope: &Envelope<'_>, master_pid: u32, agent_pid: Option<u32>) -> Route {
    let (from, default) = match sender {
        Sender::Agent => ("agent", "app"),
        Sender::Worker => ("app", "agent"),
        Sender::Parent => ("parent", "master"),
    };
    let named = match (envelope.receiver_worker_id, envelope.receiver_pid) {
        (Some(id), _) => Some((id, Receiver::WorkerId(id))),
        (None, Some(pid)) => Some((pid, Receiver::WorkerPid(pid))),
        (None, None) => None,
    };
    if let Some((number, worker)) = named {
        let (receiver, to) = if number == master_pid {
            (Receiver::Master, "master")
        } else if Some(number) == agent_pid {
            (Receiver::Agent, "agent")
        } else {
            (worker, "app")
        };
        return Route { receiver, from, to };
    }
    let (receiver, to) = match addressed(envelope).unwrap_or(default) {
        "master" => (Receiver::Master, "master"),
        "parent" => (Receiver::Parent, "parent"),
        "agent" => (Receiver::Agent, "agent"),
        "app" => (Receiver::Workers, "app"),
        _ => (Receiver::Nobody, ""),
    };
    Route { receiver, from, to }
}

/// May a message be a member's word about itself to the master (that it is ready, where it listens)? It is bound for the
/// master, as Egg's members say it, or names nobody at all, as a plain Node application may. One to others is theirs alone.
#[must_use]
pub fn may_be_for_the_master(route: Route, envelope: &Envelope<'_>) -> bool {
    let names_nobody = addressed(envelope).is_none() && envelope.receiver_pid.or(envelope.receiver_worker_id).is_none();
    route.receiver == Receiver::Master || names_nobody
}

/// `to`; an empty one counts as absent.
fn addressed<'a>(envelope: &'a Envelope<'_>) -> Option<&'a str> {
    envelope.to.as_deref().filter(|to| !to.is_empty())
}

#[cfg(test)]
mod tests {
    use super::Receiver::{Agent, Master, Nobody, Parent, WorkerId, WorkerPid, Workers};
    use super::*;
    use crate::ipc::inbound::{Inbound, read};

    const MASTER: u32 = 100;
    const AGENT: u32 = 101;

    fn routed(sender: Sender, line: &str, agent: Option<u32>) -> (Receiver, &'static str, &'static str) {
        let Inbound::User(envelope) = read(line.as_bytes()) else { panic!("{line} is no user message") };
        let Route { receiver, from, to } = route(sender, &envelope, MASTER, agent);
        (receiver, from, to)
    }

    #[test]
    fn to_decides_and_its_absence_means_the_other_side() {
        #[rustfmt::skip]
        let table = [
            //  what is sent            by the agent         by a worker          by the parent
            (r#"{"action":"x"}"#,       (Workers, "app"),    (Agent, "agent"),    (Master, "master")),
            (r#""x""#,                  (Workers, "app"),    (Agent, "agent"),    (Master, "master")),
            (r#"{"to":""}"#,            (Workers, "app"),    (Agent, "agent"),    (Master, "master")),
            (r#"{"to":5}"#,             (Workers, "app"),    (Agent, "agent"),    (Master, "master")),
            (r#"{"to":"app"}"#,         (Workers, "app"),    (Workers, "app"),    (Workers, "app")),
            (r#"{"to":"agent"}"#,       (Agent, "agent"),    (Agent, "agent"),    (Agent, "agent")),
            (r#"{"to":"master"}"#,      (Master, "master"),  (Master, "master"),  (Master, "master")),
            (r#"{"to":"parent"}"#,      (Parent, "parent"),  (Parent, "parent"),  (Parent, "parent")),
            (r#"{"to":"everybody"}"#,   (Nobody, ""),        (Nobody, ""),        (Nobody, "")),
            (r#"{"to":"App"}"#,         (Nobody, ""),        (Nobody, ""),        (Nobody, "")),
        ];
        for (line, agent, worker, parent) in table {
            for (sender, from, (receiver, to)) in
                [(Sender::Agent, "agent", agent), (Sender::Worker, "app", worker), (Sender::Parent, "parent", parent)]
            {
                assert_eq!(routed(sender, line, Some(AGENT)), (receiver, from, to), "{line} by {sender:?}");
            }
        }
    }

    #[test]
    fn a_named_receiver_stands_above_to_whoever_sends() {
        #[rustfmt::skip]
        let table = [
            (r#"{"receiverPid":"100"}"#,                              Master,         "master"),
            (r#"{"receiverPid":100,"to":"app"}"#,                     Master,         "master"),
            (r#"{"receiverPid":"101","to":"app"}"#,                   Agent,          "agent"),
            (r#"{"receiverPid":"102"}"#,                              WorkerPid(102), "app"),
            (r#"{"receiverPid":"102","to":"agent"}"#,                 WorkerPid(102), "app"),
            (r#"{"receiverPid":"102","to":"parent"}"#,                WorkerPid(102), "app"),
            (r#"{"receiverPid":"nobody","to":"agent"}"#,              WorkerPid(0),   "app"),
            (r#"{"receiverWorkerId":"100"}"#,                         Master,         "master"),
            (r#"{"receiverWorkerId":"101"}"#,                         Agent,          "agent"),
            (r#"{"receiverWorkerId":"3","receiverPid":"100"}"#,       WorkerId(3),    "app"),
            (r#"{"receiverWorkerId":null,"receiverPid":"102"}"#,      WorkerPid(102), "app"),
        ];
        for (line, receiver, to) in table {
            for (sender, from) in [(Sender::Agent, "agent"), (Sender::Worker, "app"), (Sender::Parent, "parent")] {
                assert_eq!(routed(sender, line, Some(AGENT)), (receiver, from, to), "{line} by {sender:?}");
            }
        }
    }

    #[test]
    fn without_an_agent_its_old_pid_is_a_worker_nobody_has() {
        assert_eq!(routed(Sender::Worker, r#"{"receiverPid":"101"}"#, None), (WorkerPid(101), "app", "app"));
        assert_eq!(routed(Sender::Worker, r#"{"to":"agent"}"#, None), (Agent, "app", "agent"));
    }

    #[test]
    fn a_members_word_about_itself_is_for_the_master_unless_it_is_addressed_to_others() {
        for (line, expected) in [
            (r#"{"action":"app-start"}"#, true),
            (r#""agent-start""#, true),
            (r#"{"action":"app-start","to":""}"#, true),
            (r#"{"action":"app-start","to":"master"}"#, true),
            (r#"{"action":"app-start","to":"app","receiverPid":"100"}"#, true),
            (r#"{"action":"app-start","to":"app"}"#, false),
            (r#"{"action":"app-start","to":"agent"}"#, false),
            (r#"{"action":"app-start","to":"parent"}"#, false),
            (r#"{"action":"app-start","to":"everybody"}"#, false),
            (r#"{"action":"app-start","receiverPid":"102"}"#, false),
            (r#"{"action":"app-start","to":"master","receiverPid":"102"}"#, false),
            (r#"{"action":"app-start","receiverWorkerId":"101"}"#, false),
        ] {
            let Inbound::User(envelope) = read(line.as_bytes()) else { panic!("{line} is no user message") };
            for sender in [Sender::Agent, Sender::Worker] {
                let route = route(sender, &envelope, MASTER, Some(AGENT));
                assert_eq!(may_be_for_the_master(route, &envelope), expected, "{line} by {sender:?}");
            }
        }
    }

    #[test]
    fn who_sent_it_is_stamped_and_never_believed() {
        let (_, from, _) = routed(Sender::Worker, r#"{"from":"master","to":"parent"}"#, Some(AGENT));
        assert_eq!(from, "app");
    }
}
