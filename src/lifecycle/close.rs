//! The end in order: the workers, then the agent, then what they left behind, then the exit. Nothing is spawned any more.
//!
//! A close asked for by a signal is polite: ready members finish what they do, in the grace less a fifth; `beforeClose` has
//! the rest. A second signal skips that. Each member gets one TERM, and KILL when the grace is over. A start that failed, or
//! was given up, has nothing to finish: its members lose their channels, get TERM, and KILL half a second later.

use super::member::Member;
use super::{Action, Lifecycle, MemberId, Millis, Notice, Phase, Role};

/// How long strays have between TERM and KILL.
const STRAYS_GRACE_MS: Millis = 1_000;

/// How long members and strays of a failed start have between TERM and KILL.
const FAILED_START_GRACE_MS: Millis = 500;

/// How often KILL is sent again: a stray may have forked between two looks.
const STRAYS_AGAIN_MS: Millis = 100;

/// How long strays are sent KILL before the master exits without seeing their end.
const STRAYS_UNKILLABLE_MS: Millis = 10_000;

/// How soon a member that is asked to leave in a close hangs up connections that nothing uses. By then every connection in
/// use has had its last answer; at 0 ms clients that come back in that moment would be reset.
pub(super) const QUIET_MS: Millis = 300;

/// How members are asked to go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Manner {
    /// Ready members finish what they do.
    #[default]
    Polite,
    /// TERM, and the usual grace.
    Hurried,
    /// The application has never been ready: the channel ends, TERM, KILL after half a second.
    FailedStart,
}

/// What a close has to remember; of no meaning before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Close {
    /// The exit code at its end.
    code: u8,
    /// How members are asked.
    manner: Manner,
    /// When the present closing phase began.
    since: Millis,
    /// When the strays are next sent KILL.
    strays_kill_at: Millis,
}

impl Close {
    pub fn strays_kill_at(&self) -> Millis {
        self.strays_kill_at
    }
}

/// How much of a close grace is for what is in flight: all but a fifth, which is for what the member does at its TERM.
pub(super) fn polite_part_ms(grace_ms: Millis) -> Millis {
    grace_ms - grace_ms / 5
}

impl Lifecycle {
    /// The user wants the end.
    pub(super) fn close_asked(&mut self, signal: i32, now: Millis, actions: &mut Vec<Action>) {
        match self.phase {
            Phase::New | Phase::Starting => {
                actions.push(Action::AnnounceStopped(signal));
                self.begin_close(0, Manner::FailedStart, now, actions);
            }
            Phase::Running => {
                actions.push(Action::Notice(Notice::Closing(signal)));
                self.begin_close(0, Manner::Polite, now, actions);
            }
            Phase::ClosingWorkers | Phase::ClosingAgent => {
                if self.close.manner < Manner::Hurried {
                    self.close.manner = Manner::Hurried;
                    actions.push(Action::Notice(Notice::CloseHurried(signal)));
                }
            }
            // No polite part is left to be skipped.
            Phase::ClosingStrays | Phase::Ended => {}
        }
    }

    /// The process that started this master does not take it: what it saw (output on stderr) came before everything was
    /// ready, whatever has become ready meanwhile.
    pub(super) fn start_given_up(&mut self, signal: i32, now: Millis, actions: &mut Vec<Action>) {
        match self.phase {
            Phase::New | Phase::Starting => self.close_asked(signal, now, actions),
            Phase::Running => {
                actions.push(Action::Notice(Notice::Closing(signal)));
                self.begin_close(0, Manner::FailedStart, now, actions);
            }
            // The signal was faster.
            Phase::ClosingWorkers | Phase::ClosingAgent => {
                if self.close.manner != Manner::FailedStart {
                    (self.close.manner, self.close.since) = (Manner::FailedStart, now);
                }
            }
            Phase::ClosingStrays | Phase::Ended => {}
        }
    }

    /// The master cannot go on: the members leave as at any other close, and the exit code is 1. Said again, it changes nothing.
    pub(super) fn close_by_fault(&mut self, now: Millis, actions: &mut Vec<Action>) {
        match self.phase {
            Phase::New | Phase::Starting => self.begin_close(1, Manner::FailedStart, now, actions),
            Phase::Running => self.begin_close(1, Manner::Polite, now, actions),
            Phase::ClosingWorkers | Phase::ClosingAgent | Phase::ClosingStrays => self.close.code = 1,
            Phase::Ended => {}
        }
    }

    /// From here on only down.
    pub(super) fn begin_close(&mut self, code: u8, manner: Manner, now: Millis, actions: &mut Vec<Action>) {
        self.interrupt(actions);
        self.phase = Phase::ClosingWorkers;
        self.close = Close { code, manner, since: now, strays_kill_at: 0 };
        actions.push(Action::CloseListeners);
        if manner == Manner::Polite {
            let workers = self.lives().filter(|member| member.role != Role::Agent && member.is_draining());
            actions.extend(workers.map(|member| Action::Hasten(member.id)));
        }
    }

    /// Asks whoever is to go now and has not been asked; when they are gone, the next.
    pub(super) fn go_on_closing(&mut self, now: Millis, actions: &mut Vec<Action>) {
        if self.phase == Phase::ClosingWorkers {
            if self.some_are_left(|role| role != Role::Agent, actions) {
                return;
            }
            self.phase = Phase::ClosingAgent;
            self.close.since = now;
        }
        if self.some_are_left(|_| true, actions) {
            return;
        }
        self.phase = Phase::ClosingStrays;
        self.close.since = now;
        self.close.strays_kill_at = now + self.strays_grace_ms();
        actions.push(Action::EndStrays { kill: false });
    }

    /// Asks the members of these roles to leave; says whether there are any.
    fn some_are_left(&mut self, roles: fn(Role) -> bool, actions: &mut Vec<Action>) -> bool {
        let (manner, drain_until, deadline) = (self.close.manner, self.drain_deadline(), self.close_deadline());
        let mut some = false;
        for member in self.lives_mut().filter(|member| roles(member.role)) {
            member.ask_to_leave(manner, drain_until, deadline, actions);
            some = true;
        }
        some
    }

    /// When the members that the present closing phase ends get KILL.
    pub(super) fn close_deadline(&self) -> Millis {
        self.close.since.saturating_add(self.close_grace_ms())
    }

    /// When those that are still leaving politely get TERM.
    fn drain_deadline(&self) -> Millis {
        self.close.since.saturating_add(polite_part_ms(self.close_grace_ms()))
    }

    /// The grace of the present closing phase.
    fn close_grace_ms(&self) -> Millis {
        let grace_ms = match self.phase {
            Phase::ClosingWorkers => self.policy.worker_close_grace_ms,
            Phase::ClosingAgent => self.policy.agent_close_grace_ms,
            Phase::New | Phase::Starting | Phase::Running | Phase::ClosingStrays | Phase::Ended => 0,
        };
        match self.close.manner {
            Manner::Polite | Manner::Hurried => grace_ms,
            Manner::FailedStart => grace_ms.min(FAILED_START_GRACE_MS),
        }
    }

    fn strays_grace_ms(&self) -> Millis {
        match self.close.manner {
            Manner::Polite | Manner::Hurried => STRAYS_GRACE_MS,
            Manner::FailedStart => FAILED_START_GRACE_MS,
        }
    }

    /// The time for what it has in flight is over.
    pub(super) fn cut_short(&mut self, id: MemberId) {
        if let Some(member) = self.member_mut(id) {
            member.cut_short = true;
        }
    }

    /// Its last answer is sent: nothing is lost by TERM any more.
    pub(super) fn drained(&mut self, id: MemberId, now: Millis, actions: &mut Vec<Action>) {
        if self.member(id).is_some_and(Member::is_draining) {
            self.terminate(id, now, actions);
        }
    }

    /// TERM; KILL when the close's grace is over, or, while the master runs, after the same length.
    pub(super) fn terminate(&mut self, id: MemberId, now: Millis, actions: &mut Vec<Action>) {
        let is_agent = self.member(id).is_some_and(|member| member.role == Role::Agent);
        // An agent that a reload had asked to leave before the close of the workers has its own time.
        let closing = (self.phase == Phase::ClosingWorkers && !is_agent || self.phase == Phase::ClosingAgent)
            .then(|| self.close_deadline());
        let (agent, worker) = (self.policy.agent_close_grace_ms, self.policy.worker_close_grace_ms);
        let Some(member) = self.member_mut(id) else { return };
        let grace_ms = match member.role {
            Role::Agent => agent,
            Role::Worker { kind: _, slot: _ } | Role::Spare { kind: _, place: _ } => worker,
        };
        member.terminate(closing.unwrap_or(now.saturating_add(grace_ms)), actions);
    }

    /// The member did not end after KILL: the close goes on without it, and the exit code says so.
    pub(super) fn give_up(&mut self, id: MemberId, actions: &mut Vec<Action>) {
        if let Some((Member { id, .. }, _)) = self.remove(id) {
            actions.push(Action::Notice(Notice::GivenUp(id)));
            self.close.code = 1;
        }
    }

    pub(super) fn kill_strays(&mut self, now: Millis, actions: &mut Vec<Action>) {
        if now >= self.close.since + self.strays_grace_ms() + STRAYS_UNKILLABLE_MS {
            actions.push(Action::Notice(Notice::StraysGivenUp));
            self.close.code = 1;
            self.exit(actions);
        } else {
            self.close.strays_kill_at = now + STRAYS_AGAIN_MS;
            actions.push(Action::EndStrays { kill: true });
        }
    }

    /// No process of the tree is left. It can be so at other times too: between the death of the last member and the spawn
    /// of its replacement.
    pub(super) fn alone(&mut self, actions: &mut Vec<Action>) {
        match self.phase {
            Phase::ClosingStrays => self.exit(actions),
            Phase::New
            | Phase::Starting
            | Phase::Running
            | Phase::ClosingWorkers
            | Phase::ClosingAgent
            | Phase::Ended => {}
        }
    }

    fn exit(&mut self, actions: &mut Vec<Action>) {
        self.phase = Phase::Ended;
        actions.push(Action::Exit(self.close.code));
    }
}
