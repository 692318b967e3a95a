//! The agent's part in a reload: it goes when the old workers have gone, then comes again. There must never be two.

use super::close::Manner;
use super::member::Member;
use super::operation::Operation;
use super::request::Patience;
use super::slot::{Seat, Slot};
use super::{Action, Lifecycle, MemberId, Millis, Role, close};

/// The agent's part in a reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum AgentTurn {
    /// It stays.
    Keep,
    /// It goes when the old workers have gone.
    Wanted,
    /// It was asked to leave.
    Leaving { since: Millis },
    /// It is gone, and the new one is awaited.
    Booting { since: Millis },
    /// There was none for so long.
    Back { after_ms: Millis },
}

impl Lifecycle {
    /// Takes it one step further. True when there is nothing to do for it, or all is done.
    pub(super) fn agents_turn(&mut self, operation: &mut Operation, now: Millis, actions: &mut Vec<Action>) -> bool {
        let grace_ms = self.policy.agent_close_grace_ms;
        let Some(slot) = self.slot_mut(Role::Agent) else { return true };
        match operation.agent {
            AgentTurn::Keep | AgentTurn::Back { after_ms: _ } => true,
            AgentTurn::Wanted => {
                operation.agent = match &mut slot.seat {
                    Seat::Taken(agent) => {
                        // Polite means here that it reads what it was sent, in the same part of the grace as in a close.
                        let read_by = now.saturating_add(close::polite_part_ms(grace_ms));
                        let kill_at = now.saturating_add(grace_ms);
                        agent.retired = true;
                        agent.ask_to_leave(Manner::Polite, read_by, kill_at, actions);
                        AgentTurn::Leaving { since: now }
                    }
                    Seat::Empty { due: _ } | Seat::Closed => {
                        slot.seat = Seat::Empty { due: now };
                        AgentTurn::Booting { since: now }
                    }
                };
                false
            }
            AgentTurn::Leaving { since: _ } => false,
            AgentTurn::Booting { since } => {
                let is_back = slot.is_ready();
                if is_back {
                    operation.agent = AgentTurn::Back { after_ms: now.saturating_sub(since) };
                }
                is_back
            }
        }
    }

    /// Is it the agent that a reload waits for?
    pub(super) fn is_new_agent(&self, id: MemberId) -> bool {
        self.member(id).is_some_and(|member| self.is_new_agent_of_operation(member.role))
    }

    /// Is a member of this role, if it has the seat, the agent that a reload waits for?
    pub(super) fn is_new_agent_of_operation(&self, role: Role) -> bool {
        role == Role::Agent && self.awaits_agent()
    }

    /// The agent has gone. Had a reload asked it to, another is due now, also if that reload was cancelled meanwhile; this is
    /// not a death, so there is no back-off. False when it was not asked.
    pub(super) fn agent_went(&mut self, agent: &Member, now: Millis) -> bool {
        if !agent.retired {
            return false;
        }
        if let Some(turn) = self.operation.as_mut().map(|operation| &mut operation.agent)
            && let AgentTurn::Leaving { since } = *turn
        {
            *turn = AgentTurn::Booting { since };
        }
        if let Some(slot) = self.slot_mut(Role::Agent) {
            (slot.seat, slot.deaths) = (Seat::Empty { due: now }, 0);
        }
        true
    }

    /// Is the agent's seat empty because a reload has sent the old one away? That is no refork: it waits for no room, and has
    /// the reload's patience.
    pub(super) fn agents_return(&self, now: Millis) -> Option<Patience> {
        let is_due = |slot: &Slot| matches!(slot.seat, Seat::Empty { due } if due <= now);
        let agents_seat = self.slots.iter().find(|slot| slot.role == Role::Agent);
        let operation = self.operation.as_ref().filter(|_| self.awaits_agent() && agents_seat.is_some_and(is_due));
        operation.map(Operation::patience)
    }

    fn awaits_agent(&self) -> bool {
        self.operation.as_ref().is_some_and(|operation| matches!(operation.agent, AgentTurn::Booting { since: _ }))
    }
}
