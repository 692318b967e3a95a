//! The control socket of a title: what a command asks of a running master, and what the master answers.
//!
//! * Here: the requests and answers, one JSON line each. A client sends one [`Asked`] and reads [`Answer`]s: any number of
//!   [`Answer::Progress`], then one [`Answer::Done`] or [`Answer::Refused`].
//! * [`client`]: the command's half. It waits, with a deadline.
//! * [`server`]: the master's half, one client. It never waits and holds no more than its bounds.
//!
//! Who may connect: the user who runs the master, and root. `stop` never needs this socket: it only learns how members left.

pub mod client;
pub mod server;

use serde::{Deserialize, Serialize};

use crate::options::Options;

/// The version of requests and answers that this program speaks: a master that speaks another one says so.
pub const VERSION: u32 = 1;

/// The longest request, in bytes: options with a long environment fit.
pub const LONGEST_REQUEST: usize = 1024 * 1024;

/// The line that a client sends.
#[derive(Debug, Serialize, Deserialize)]
pub struct Asked {
    /// [`VERSION`].
    pub eggctl: u32,
    /// What is wanted.
    #[serde(flatten)]
    pub request: Request,
}

/// What can be asked of a master.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Request {
    /// New members in the place of the old ones, from configuration and code as they are now.
    Reload(Reload),
    /// Another number of workers.
    Scale(Scale),
    /// The operation under way is given up.
    Cancel(Operation),
    /// Nothing but the answer at the right moment.
    Wait(Until),
}

/// What can be given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Operation {
    /// A reload: the old members stay, the new ones go.
    Reload,
    /// A scale: what it has added goes again.
    Scale,
}

/// How to reload.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reload {
    /// One worker after another (or `batch` at a time) instead of a whole generation.
    pub rolling: bool,
    /// How many workers boot at a time; `None`: as many as there are spare CPUs, at least one.
    pub batch: Option<u32>,
    /// The agent too.
    pub agent: bool,
    /// A reload that is under way is given up for this one.
    #[serde(default)]
    pub replace: bool,
    /// How long a worker may take until it waits at the gate or is ready, in milliseconds.
    pub boot_timeout_ms: u64,
    /// How long an old worker may take to finish what it has begun, in milliseconds.
    pub drain_timeout_ms: u64,
    /// What the members are started with from now on: resolved anew by the command; `None`: as before.
    pub options: Option<Box<Options>>,
}

/// Another number of workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scale {
    /// This many.
    To(u32),
    /// So many more.
    More(u32),
    /// So many fewer.
    Fewer(u32),
}

/// What is waited for. The end of a master shows without its help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Until {
    /// Every wanted worker is ready, and the agent.
    Ready,
    /// The reload that is under way has ended, or the next one.
    Reloaded,
    /// The master itself ends; it says how its members left. `stop` asks, and waits for the process all the same.
    Stopped,
}

/// A line that the master sends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// How far it is.
    Progress(Progress),
    /// It is done. The last line.
    Done(Receipt),
    /// It failed, or cannot be. The last line.
    Refused(Refusal),
}

/// How far an operation is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// What is going on, in a few words.
    pub stage: String,
    /// How many workers are through it.
    pub done: u32,
    /// Of how many.
    pub of: u32,
    /// Who is not through it, where that is known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_yet: Vec<String>,
}

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// What: `reloaded`, `scaled`, `cancelled`, `ready`.
    pub what: String,
    /// How, where there is a choice: `by generation`, `worker by worker`; of `cancelled`: which operation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub how: Option<String>,
    /// The agent's pid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<u32>,
    /// The pids of the workers that serve.
    pub workers: Vec<u32>,
    /// How many members left.
    pub left: u32,
    /// How many of those had finished what they had begun.
    #[serde(default)]
    pub left_by_themselves: u32,
    /// How many of those had not finished when their time was over.
    #[serde(default)]
    pub left_at_limit: u32,
    /// How many of those had to be killed.
    pub killed: u32,
    /// How many requests were cut with them, as far as the members said so.
    #[serde(default)]
    pub requests_cut: u32,
    /// How many connections that are no requests (WebSockets, raw TCP, HTTP/2) were.
    #[serde(default)]
    pub connections_cut: u32,
    /// Each of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub departed: Vec<Departure>,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// What else should be known, a sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// A member that has left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Departure {
    /// `worker 2`, `agent`.
    pub name: String,
    /// Its pid.
    pub pid: u32,
    /// How it left.
    pub left: Left,
    /// Requests that were in flight; `None` where there was none, or where the member did not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_cut: Option<u32>,
    /// The same of other connections.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections_cut: Option<u32>,
}

/// How a member left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Left {
    /// It had finished what it had begun, or had begun nothing.
    ByItself,
    /// Its time for what was in flight was over.
    AtLimit,
    /// It had to be killed.
    Killed,
    /// It died of something else meanwhile.
    Died,
}

impl Receipt {
    /// The same with these members, and their counts.
    #[must_use]
    pub fn with(self, departed: Vec<Departure>) -> Receipt {
        let sum = |counts: &mut dyn Iterator<Item = u32>| counts.fold(0, u32::saturating_add);
        let those = |left: Left| sum(&mut departed.iter().filter(|one| one.left == left).map(|_| 1));
        Receipt {
            left: sum(&mut departed.iter().map(|_| 1)),
            left_by_themselves: those(Left::ByItself),
            left_at_limit: those(Left::AtLimit),
            killed: those(Left::Killed),
            requests_cut: sum(&mut departed.iter().filter_map(|one| one.requests_cut)),
            connections_cut: sum(&mut departed.iter().filter_map(|one| one.connections_cut)),
            departed,
            ..self
        }
    }
}

/// `2 requests and 1 connection cut`; `None` for nothing.
#[must_use]
pub fn cut(requests: u32, connections: u32) -> Option<String> {
    let counted = |count: u32, what: &str| match count {
        0 => None,
        1 => Some(format!("1 {what}")),
        _ => Some(format!("{count} {what}s")),
    };
    let parts: Vec<String> =
        [counted(requests, "request"), counted(connections, "connection")].into_iter().flatten().collect();
    (!parts.is_empty()).then(|| format!("{} cut", parts.join(" and ")))
}

/// Why something was not done: the parts of a [`crate::error::Failure`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The command's exit code.
    pub exit: u8,
    /// What failed.
    pub what: String,
    /// Why, from the outermost cause to the innermost.
    pub why: Vec<String>,
    /// Lines that belong beside it: a member's last words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beside: Option<String>,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The pid of the agent that serves all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<u32>,
    /// The same of the workers; `None` where that is no part of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workers: Option<Vec<u32>>,
}

/// The line of a client that asks for this.
#[must_use]
pub fn request_line(request: Request) -> Vec<u8> {
    line(&Asked { eggctl: VERSION, request })
}

/// One line of JSON with its newline.
fn line(value: &impl Serialize) -> Vec<u8> {
    // proof: no map key here is anything but a string, and no path here is not UTF-8 but through `any_path`.
    let mut line = serde_json::to_vec(value).unwrap_or_default();
    line.push(b'\n');
    line
}
