//! What the lifecycle says about itself: read only, and the same to whoever asks.

use super::agents_turn::AgentTurn;
use super::close::QUIET_MS;
use super::member::{Member, State};
use super::{Asked, Death, Leave, Lifecycle, MemberId, Millis, Phase, Progress, Role, Stage, Standing};

impl Lifecycle {
    /// Where the master is in its own life.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// How soon a member that is asked to leave hangs up connections that nothing uses. `None` while the application goes
    /// on: then their clients have somewhere to go, and each connection has its server's own patience.
    #[must_use]
    pub fn quiet_ms(&self) -> Option<Millis> {
        match self.phase {
            Phase::New | Phase::Starting | Phase::Running => None,
            Phase::ClosingWorkers | Phase::ClosingAgent | Phase::ClosingStrays | Phase::Ended => Some(QUIET_MS),
        }
    }

    /// Is this member ready, and neither leaving nor cut off?
    #[must_use]
    pub fn is_ready(&self, member: MemberId) -> bool {
        self.member(member).is_some_and(Member::is_ready)
    }

    /// What this member is for; none when it does not live.
    #[must_use]
    pub fn role(&self, member: MemberId) -> Option<Role> {
        self.member(member).map(|member| member.role)
    }

    /// Every member that lives, those that leave included.
    pub fn members(&self) -> impl Iterator<Item = (MemberId, Role)> {
        self.lives().map(|member| (member.id, member.role))
    }

    /// Every slot that has no ready member, with the member that it waits for if there is one already.
    pub fn waiting_for(&self) -> impl Iterator<Item = (Role, Option<MemberId>)> {
        // What a scale adds is not expected before it is there.
        let slots = self.slots.iter().take(usize::from(self.policy.agent) + self.policy.workers as usize);
        slots.filter(|slot| !slot.is_ready()).map(|slot| (slot.role, slot.member().map(|member| member.id)))
    }

    /// Is this member's question for the address it is to serve not to be answered yet? Until it has been told
    /// [`Action::OpenGate`]; never for a member that does not wait.
    #[must_use]
    pub fn is_held(&self, member: MemberId) -> bool {
        self.member(member).is_some_and(|member| member.held && (member.is_booting() || member.is_waiting()))
    }

    /// How a member leaves that ends in this way; none where neither an operation nor the close has asked it to.
    #[must_use]
    pub fn leave(&self, id: MemberId, death: Death) -> Option<Leave> {
        let member = self.member(id)?;
        match self.phase {
            Phase::Running if member.retired => Some(member.leave(death)),
            Phase::ClosingWorkers | Phase::ClosingAgent => Some(member.leave(death)),
            Phase::New | Phase::Starting | Phase::Running | Phase::ClosingStrays | Phase::Ended => None,
        }
    }

    /// How far the operation under way is; none when there is none.
    #[must_use]
    pub fn progress(&self) -> Option<Progress> {
        let operation = self.operation.as_ref()?;
        let nexts = || self.slots.iter().filter_map(|slot| slot.next.as_ref());
        let count =
            |is: fn(&Member) -> bool| u32::try_from(nexts().filter(|next| is(next)).count()).unwrap_or(u32::MAX);
        let entering = |member: &Member| matches!(member.state, State::Entering { until: _ } | State::Ready);
        let stage = match operation.agent {
            AgentTurn::Leaving { since: _ } | AgentTurn::Booting { since: _ } => Stage::Agent,
            AgentTurn::Keep | AgentTurn::Wanted | AgentTurn::Back { after_ms: _ } => {
                if self.slots.iter().all(|slot| !slot.stale) {
                    Stage::Leaving
                } else if !operation.rolling && nexts().any(entering) {
                    Stage::Entering
                } else {
                    Stage::Booting
                }
            }
        };
        let leaving = self.leaving.iter().filter(|member| member.is_going()).count();
        Some(Progress {
            stage,
            wanted: operation.wanted,
            booting: count(Member::is_booting),
            waiting: count(Member::is_waiting),
            ready: operation.replaced.saturating_add(count(Member::is_ready)),
            leaving: u32::try_from(leaving).unwrap_or(u32::MAX),
        })
    }

    /// The operation under way.
    #[must_use]
    pub fn operation(&self) -> Option<Asked> {
        self.operation.as_ref().map(|operation| operation.asked)
    }

    /// How many workers there are to be; while there are to be more, as many as before.
    #[must_use]
    pub fn workers(&self) -> u32 {
        self.policy.workers
    }

    /// Where this member is; none when it does not live.
    #[must_use]
    pub fn standing(&self, member: MemberId) -> Option<Standing> {
        let member = self.member(member)?;
        Some(match member.state {
            State::Spawning | State::Booting { slow_told: _ } | State::Entering { until: _ } => Standing::Booting,
            State::Waiting => Standing::Waiting,
            State::Ready => Standing::Ready,
            State::Away { until: _ }
            | State::Lingering { until: _ }
            | State::Disconnected { until: _ }
            | State::Draining { until: _ }
            | State::Terminated { until: _ }
            | State::Killed { until: _ } => Standing::Leaving,
        })
    }
}
