//! The table of living members: pid, channel, and when and as what each was spawned.

use std::collections::{BTreeMap, BTreeSet};

use nix::errno::Errno;

use crate::control::Left;
use crate::ipc::outbound::Frame;
use crate::lifecycle::{MemberId, Role};
use crate::sys::pidfd::Pidfd;

use super::channel::{Channel, Flushed};
use super::poll::{Interest, Poll, Source};

/// A living member.
#[derive(Debug)]
pub struct Member {
    /// What it is for.
    pub role: Role,
    /// Its number in log lines and, for a worker, its id in Node's cluster: counts up for ever, apart for each role.
    pub number: u32,
    /// Its pid.
    pub pid: u32,
    /// The way to signal it: never by number, which may be another's by then.
    pub pidfd: Pidfd,
    /// Does it have the preload, which knows how to leave politely?
    pub preload: bool,
    /// Did it say that it leaves the cluster by itself (Node's `exitedAfterDisconnect`)?
    pub suicide: bool,
    /// Requests and other connections that it said would be cut if it ended now.
    pub in_flight: Option<(u32, u32)>,
    /// How it left, once it has.
    pub left: Option<Left>,
    /// Its channel; `None` once it has closed.
    pub channel: Option<Channel>,
    /// When it was spawned, in monotonic milliseconds.
    pub spawned_ms: u64,
    /// Where its inspector listens, if it has one or may be told to.
    pub inspect_port: Option<u16>,
}

impl Member {
    /// Is it a worker, or one that is to become one?
    #[must_use]
    pub fn is_worker(&self) -> bool {
        matches!(self.role, Role::Worker { .. } | Role::Spare { .. })
    }
}

/// All living members.
#[derive(Debug, Default)]
pub struct Members {
    table: BTreeMap<MemberId, Member>,
    by_pid: BTreeMap<u32, MemberId>,
    /// Those whose queue got something since the last flush.
    touched: BTreeSet<MemberId>,
    /// Those whose last read, write or handle failed for want of something, to be tried again.
    short: BTreeSet<MemberId>,
}

/// A member's channel that could not be written to for want of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Short {
    /// The member.
    pub member: MemberId,
    /// Of what.
    pub errno: Errno,
    /// How many connections and sockets wait for it that did not before.
    pub handles: usize,
}

impl Members {
    /// Adds one and watches its channel.
    ///
    /// # Errors
    /// The kernel's.
    pub fn add(&mut self, id: MemberId, member: Member, poll: &Poll) -> std::io::Result<()> {
        if let Some(channel) = &member.channel {
            poll.add(channel, Source::Member(id), Interest::Read)?;
        }
        self.by_pid.insert(member.pid, id);
        self.table.insert(id, member);
        Ok(())
    }

    /// Removes one that was reaped.
    pub fn remove(&mut self, id: MemberId) -> Option<Member> {
        let member = self.table.remove(&id)?;
        self.by_pid.remove(&member.pid);
        self.touched.remove(&id);
        self.short.remove(&id);
        Some(member)
    }

    /// The member of a pid.
    #[must_use]
    pub fn by_pid(&self, pid: u32) -> Option<MemberId> {
        self.by_pid.get(&pid).copied()
    }

    /// One of them.
    #[must_use]
    pub fn get(&self, id: MemberId) -> Option<&Member> {
        self.table.get(&id)
    }

    /// The place of a worker.
    #[must_use]
    pub fn slot(&self, id: MemberId) -> Option<u32> {
        match self.get(id)?.role {
            Role::Worker { slot, .. } => Some(slot),
            Role::Agent | Role::Spare { .. } => None,
        }
    }

    /// It is for something else from now on.
    pub fn set_role(&mut self, id: MemberId, role: Role) {
        if let Some(member) = self.table.get_mut(&id) {
            member.role = role;
        }
    }

    /// One of them, to note something of it.
    pub fn get_mut(&mut self, id: MemberId) -> Option<&mut Member> {
        self.table.get_mut(&id)
    }

    /// What would be cut if it ended now.
    pub fn set_in_flight(&mut self, id: MemberId, requests: u32, connections: u32) {
        if let Some(member) = self.table.get_mut(&id) {
            member.in_flight = Some((requests, connections));
        }
    }

    /// All, in the order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = (MemberId, &Member)> {
        self.table.iter().map(|(id, member)| (*id, member))
    }

    /// The open channel of a member, marked to be flushed at the end of the turn.
    pub fn channel(&mut self, id: MemberId) -> Option<&mut Channel> {
        let channel = self.table.get_mut(&id)?.channel.as_mut()?;
        self.touched.insert(id);
        Some(channel)
    }

    /// The member has said that it leaves the cluster by itself.
    pub fn leaves_by_itself(&mut self, id: MemberId) {
        if let Some(member) = self.table.get_mut(&id) {
            member.suicide = true;
        }
    }

    /// Queues a frame of the protocol for a member.
    pub fn push(&mut self, id: MemberId, frame: Frame) {
        if let Some(channel) = self.channel(id) {
            channel.push(frame);
        }
    }

    /// Closes a member's channel: nothing more comes from it or goes to it.
    pub fn close_channel(&mut self, id: MemberId, poll: &Poll) {
        if let Some(channel) = self.table.get_mut(&id).and_then(|member| member.channel.take()) {
            poll.remove(&channel);
        }
    }

    /// Something of this member's channel is to be tried again.
    pub fn is_short(&mut self, id: MemberId) {
        self.short.insert(id);
    }

    /// Tries again what could not be had; the next flush writes.
    pub fn try_again(&mut self) {
        for id in std::mem::take(&mut self.short) {
            if let Some(channel) = self.channel(id) {
                channel.try_again();
                // Until the flush has shown otherwise.
                self.short.insert(id);
            }
        }
    }

    /// Writes what the channels take, and watches for room where something is left; those that could not be written to.
    pub fn flush(&mut self, poll: &Poll) -> Vec<Short> {
        let mut short = Vec::new();
        while let Some(id) = self.touched.pop_first() {
            let Some(channel) = self.table.get_mut(&id).and_then(|member| member.channel.as_mut()) else { continue };
            match watch_for_room(channel, Source::Member(id), poll) {
                Some(errno) => {
                    let handles = if self.short.insert(id) { channel.waiting_handles() } else { 0 };
                    short.push(Short { member: id, errno, handles });
                }
                None if channel.is_short() => {}
                None => drop(self.short.remove(&id)),
            }
        }
        short
    }
}

/// Flushes a channel and watches it for room exactly as long as something waits for it; what it was short of.
pub fn watch_for_room(channel: &mut Channel, source: Source, poll: &Poll) -> Option<Errno> {
    let Flushed { interest, mut short } = channel.flush();
    if interest != channel.watched {
        // The descriptor is ours and watched: the change cannot fail except for lack of kernel memory.
        match poll.change(&*channel, source, interest) {
            Ok(()) => channel.watched = interest,
            Err(_) => short = Some(Errno::ENOMEM),
        }
    }
    short
}
