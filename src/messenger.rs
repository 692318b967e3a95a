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
    /// The worker with this id (Egg 4).
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
#[must_use]
pub fn route(sender: Sender, envelope: &Envelope<'_>, master_pid: u32, agent_pid: Option<u32>) -> Route {
    todo!("{sender:?}{envelope:?}{master_pid}{agent_pid:?}")
}
