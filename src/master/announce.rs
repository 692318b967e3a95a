//! What the master itself says to members and parent, in Egg's words: who is there, who is ready, who died.

use crate::app;
use crate::app::messages::{Data, Happening, Message, Roster, To};
use crate::ipc::outbound::{self, Frame};
use crate::lifecycle::{MemberId, Phase};

use super::{Carried, Master};

impl Master {
    /// A member has just become ready, and the lifecycle is about to be told: Egg's roster comes first, then what
    /// follows from it.
    pub(super) fn announce_ready_member(&mut self, member: MemberId) {
        let Some(one) = self.carried.members.get(member) else { return };
        let (pid, is_worker) = (one.pid, one.is_worker());
        let mut roster = self.roster();
        if is_worker {
            roster.workers.push(pid);
            self.announce_to(Happening::WorkerReady(pid), &roster, Some(member));
        } else {
            roster.agent = Some(pid);
            self.announce_to(Happening::AgentReady, &roster, None);
            for frame in self.carried.kept.take() {
                self.send_to(member, &frame);
            }
        }
    }

    /// Something happened that the application's framework speaks of.
    pub(super) fn announce(&mut self, happening: Happening) {
        let roster = self.roster();
        self.announce_to(happening, &roster, None);
    }

    /// `newly` has its turn, which the lifecycle is yet to hear of.
    fn announce_to(&mut self, happening: Happening, roster: &Roster, newly: Option<MemberId>) {
        for message in app::messages::messages(&self.carried.options, happening, roster) {
            self.say(&message, newly);
        }
    }

    /// Who is ready.
    fn roster(&self) -> Roster {
        let Carried { lifecycle, members, .. } = &self.carried;
        let ready = |worker: bool| {
            let ready = members.iter().filter(move |(id, one)| one.is_worker() == worker && lifecycle.is_ready(*id));
            ready.map(|(_, one)| one.pid)
        };
        Roster {
            agent: ready(false).next(),
            workers: ready(true).collect(),
            launched: lifecycle.phase() == Phase::Running,
        }
    }

    fn say(&mut self, message: &Message, newly: Option<MemberId>) {
        let data = match &message.data {
            Data::Nothing => None,
            Data::Pids(pids) => Some(format!("{pids:?}")),
            Data::Options => app::members_options_json(&self.carried.options, &self.carried.runtime),
        };
        let frame = outbound::from_master(message.action, data.as_deref(), message.to.wire());
        let receivers: Vec<MemberId> = match message.to {
            To::Parent => return self.send_to_parent(frame),
            To::Agent => self.members_that(|one| !one.is_worker()),
            To::App => self.members_that(super::members::Member::is_worker),
            To::Worker(pid) => self.members_that(|one| one.pid == pid),
        };
        let waits = app::messages::waits_for_the_turn(message.action);
        for receiver in receivers {
            if !waits || newly == Some(receiver) || !self.carried.lifecycle.is_held(receiver) {
                self.send_to(receiver, &frame);
            }
        }
    }

    fn members_that(&self, is_meant: impl Fn(&super::members::Member) -> bool) -> Vec<MemberId> {
        self.carried.members.iter().filter(|(_, one)| is_meant(one)).map(|(id, _)| id).collect()
    }

    /// A parent that does not read loses messages, not the master its memory.
    pub(super) fn send_to_parent(&mut self, frame: Frame) {
        if let Some(channel) = &mut self.carried.parent {
            drop(channel.push_user(frame));
        }
    }
}
