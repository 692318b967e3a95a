//! What the user can set about the lifecycle, as plain numbers.

/// Monotonic milliseconds: a point in time since an arbitrary zero, or a length of time.
pub type Millis = u64;

/// The lifecycle's constants. Every length is in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Policy {
    /// Is there an agent?
    pub agent: bool,
    /// How many workers; at least 1.
    pub workers: u32,
    /// Is a dead worker replaced? Not with `--env local` or `--env unittest`, as in Egg. A dead agent always is.
    pub refork: bool,
    /// How many spares wait at the gate; 0 without refork.
    pub spares: u32,
    /// How many cores there are; at least 1.
    pub cores: u32,
    /// Does the master exit, with 1, when there has been no agent, or no worker, for 30 s?
    pub exit_when_down: bool,
    /// How long a member may take from its spawn until it is ready.
    pub boot_grace_ms: Millis,
    /// The workers' share of a close, from the close to KILL (`EGG_APP_CLOSE_TIMEOUT`): requests in flight have all but a
    /// fifth of it, `beforeClose` the rest.
    pub worker_close_grace_ms: Millis,
    /// The agent's share of a close (`EGG_AGENT_CLOSE_TIMEOUT`).
    pub agent_close_grace_ms: Millis,
}
