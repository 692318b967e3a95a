//! The epoll instance: level-triggered, one token per source.

use std::io;
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use crate::lifecycle::MemberId;

/// What became ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A signal arrived.
    Signals,
    /// The ready channel.
    Parent,
    /// A member's channel.
    Member(MemberId),
    /// A listening socket, by its number in the table.
    Listener(u32),
    /// The control socket.
    Control,
    /// The logger's channel.
    Logger,
    /// A client of it, by its number.
    Client(u32),
    /// The watch on the state directory.
    Directory,
}

/// What a source is watched for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// Something to read, or the end.
    Read,
    /// That, or room to write.
    ReadWrite,
    /// Room to write.
    Write,
    /// Nothing but the end for now.
    Nothing,
}

/// The descriptors that the loop waits on.
pub struct Poll {
    epoll: Epoll,
    events: Vec<EpollEvent>,
}

const MOST_EVENTS: usize = 64;

impl Poll {
    /// # Errors
    /// The kernel's.
    pub fn new() -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        Ok(Poll { epoll, events: vec![EpollEvent::empty(); MOST_EVENTS] })
    }

    /// Watches a descriptor.
    ///
    /// # Errors
    /// The kernel's.
    pub fn add(&self, descriptor: impl AsFd, source: Source, interest: Interest) -> io::Result<()> {
        Ok(self.epoll.add(descriptor, EpollEvent::new(flags(interest), token(source)))?)
    }

    /// Watches it for something else from now on.
    ///
    /// # Errors
    /// The kernel's.
    pub fn change(&self, descriptor: impl AsFd, source: Source, interest: Interest) -> io::Result<()> {
        Ok(self.epoll.modify(descriptor, &mut EpollEvent::new(flags(interest), token(source)))?)
    }

    /// Watches it no more. Must come before the close when another process holds the same open file.
    pub fn remove(&self, descriptor: impl AsFd) {
        // ENOENT: it was not watched; nothing else can go wrong with a live descriptor.
        let _ = self.epoll.delete(descriptor);
    }

    /// Waits for at most `timeout_ms` (for ever without it) and puts into `ready` what became ready.
    ///
    /// # Errors
    /// The kernel's; an interrupted wait is no error.
    pub fn wait(&mut self, timeout_ms: Option<u64>, ready: &mut Vec<Source>) -> io::Result<()> {
        let timeout = match timeout_ms {
            None => EpollTimeout::NONE,
            Some(ms) => EpollTimeout::try_from(ms.min(60_000)).unwrap_or(EpollTimeout::ZERO),
        };
        let count = match self.epoll.wait(&mut self.events, timeout) {
            Ok(count) => count,
            Err(Errno::EINTR) => 0,
            Err(error) => return Err(error.into()),
        };
        ready.extend(self.events.iter().take(count).filter_map(|event| source(event.data())));
        Ok(())
    }
}

fn flags(interest: Interest) -> EpollFlags {
    match interest {
        Interest::Read => EpollFlags::EPOLLIN,
        Interest::ReadWrite => EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT,
        Interest::Write => EpollFlags::EPOLLOUT,
        Interest::Nothing => EpollFlags::empty(),
    }
}

const KIND_SHIFT: u32 = 32;

fn token(source: Source) -> u64 {
    let (kind, number) = match source {
        Source::Signals => (0, 0),
        Source::Parent => (1, 0),
        Source::Member(member) => (2, member.0),
        Source::Listener(number) => (3, number),
        Source::Control => (4, 0),
        Source::Client(number) => (5, number),
        Source::Directory => (7, 0),
        Source::Logger => (6, 0),
    };
    kind << KIND_SHIFT | u64::from(number)
}

fn source(token: u64) -> Option<Source> {
    let number = u32::try_from(token & u64::from(u32::MAX)).ok()?;
    match token >> KIND_SHIFT {
        0 => Some(Source::Signals),
        1 => Some(Source::Parent),
        2 => Some(Source::Member(MemberId(number))),
        3 => Some(Source::Listener(number)),
        4 => Some(Source::Control),
        5 => Some(Source::Client(number)),
        6 => Some(Source::Logger),
        7 => Some(Source::Directory),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_source_comes_back_from_its_token() {
        for one in [
            Source::Signals,
            Source::Parent,
            Source::Member(MemberId(u32::MAX)),
            Source::Listener(7),
            Source::Control,
            Source::Client(9),
            Source::Directory,
            Source::Logger,
        ] {
            assert_eq!(source(token(one)), Some(one));
        }
    }
}
