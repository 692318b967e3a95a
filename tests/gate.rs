//! The queue of a channel, driven by any schedule against a peer with Node's one slot for a handle.

use std::collections::VecDeque;

use eggctl::ipc::outbound::Frame;
use eggctl::ipc::outbox::{MOST_RETRANSMISSIONS, Outbox, Write};
use proptest::prelude::*;

/// One step of the schedule.
#[derive(Clone, Copy, Debug)]
enum Step {
    PushUser,
    PushMaster,
    PushHandle,
    PushAcknowledgement,
    /// The kernel takes at most so many bytes of one write.
    Write(usize),
    /// The peer reads at most so many bytes; the handle among them arrives, or is lost on the way.
    Read {
        bytes: usize,
        lost: bool,
    },
    /// One answer of the peer reaches us.
    Answer,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        2 => Just(Step::PushUser),
        1 => Just(Step::PushMaster),
        3 => Just(Step::PushHandle),
        1 => Just(Step::PushAcknowledgement),
        9 => (1usize..12).prop_map(Step::Write),
        9 => (1usize..30, prop::bool::weighted(0.3)).prop_map(|(bytes, lost)| Step::Read { bytes, lost }),
        4 => Just(Step::Answer),
    ];
    proptest::collection::vec(step, 0..300)
}

/// A peer as Node is (`lib/internal/child_process.js`): the handle of the latest read waits in a single slot, and the
/// first handle frame that ends after it takes it.
#[derive(Default)]
struct Peer {
    slot: Option<usize>,
    line: String,
    received: Vec<String>,
    acknowledgements: usize,
    answers: VecDeque<Answer>,
}

#[derive(Clone, Copy)]
enum Answer {
    Ack,
    Nack,
}

impl Peer {
    fn read(&mut self, wire: &mut VecDeque<(u8, Option<usize>)>, bytes: usize, lost: bool) {
        for place in 0..bytes {
            // The kernel never joins bytes with a handle to bytes before them.
            if place > 0 && wire.front().is_some_and(|(_, handle)| handle.is_some()) {
                return;
            }
            let Some((byte, handle)) = wire.pop_front() else { return };
            if handle.is_some() && !lost {
                assert_eq!(self.slot, None, "a second handle came before the first had its message");
                self.slot = handle;
            }
            match byte {
                b'\n' => self.take_line(),
                _ => self.line.push(char::from(byte)),
            }
        }
    }

    fn take_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        if line == "acknowledgement" {
            self.acknowledgements += 1;
        } else if let Some(number) = line.strip_prefix("handle ") {
            let Some(handle) = self.slot.take() else { return self.answers.push_back(Answer::Nack) };
            assert_eq!(number, handle.to_string(), "a handle landed on the wrong message");
            self.received.push(line);
            self.answers.push_back(Answer::Ack);
        } else {
            self.received.push(line);
        }
    }
}

/// Both sides, the wire between them, and what should come of it.
#[derive(Default)]
struct World {
    outbox: Outbox<usize>,
    wire: VecDeque<(u8, Option<usize>)>,
    peer: Peer,
    pushed: Vec<String>,
    acknowledgements: usize,
    handles: usize,
    acknowledged: Vec<usize>,
    given_up: Vec<usize>,
    /// How often the handle that is now on its way has been refused.
    refusals: u32,
}

impl World {
    fn step(&mut self, step: Step) {
        match step {
            Step::PushUser => {
                let frame = self.next_frame("user");
                assert_eq!(self.outbox.push_user(frame, 0), Ok(()));
            }
            Step::PushMaster => {
                let frame = self.next_frame("master");
                self.outbox.push(frame);
            }
            Step::PushHandle => {
                let frame = self.next_frame("handle");
                self.outbox.push_handle(frame, self.pushed.len());
                self.handles += 1;
            }
            // A peer with one slot is owed one acknowledgement at a time.
            Step::PushAcknowledgement if self.acknowledgements > self.peer.acknowledgements => {}
            Step::PushAcknowledgement => {
                self.acknowledgements += 1;
                self.outbox.push_acknowledgement(Frame::from(b"acknowledgement\n".to_vec()));
            }
            Step::Write(most) => self.write(most),
            Step::Read { bytes, lost } => self.peer.read(&mut self.wire, bytes, lost),
            Step::Answer => self.answer(),
        }
    }

    fn next_frame(&mut self, kind: &str) -> Frame {
        let text = format!("{kind} {}", self.pushed.len() + 1);
        let frame = Frame::from(format!("{text}\n").into_bytes());
        self.pushed.push(text);
        frame
    }

    fn write(&mut self, most: usize) {
        let Some(Write { pieces, handle }) = self.outbox.next_write() else { return };
        let bytes = pieces.concat();
        let taken = &bytes[..bytes.len().min(most)];
        let mut handle = handle.copied();
        self.wire.extend(taken.iter().map(|byte| (*byte, handle.take())));
        let taken = taken.len();
        self.outbox.wrote(taken);
    }

    fn answer(&mut self) {
        match self.peer.answers.pop_front() {
            Some(Answer::Ack) => {
                self.refusals = 0;
                let handle = self.outbox.acknowledged();
                assert!(handle.is_some(), "the peer acknowledged what was not sent");
                self.acknowledged.extend(handle);
            }
            Some(Answer::Nack) => {
                self.refusals += 1;
                let given_up = self.outbox.refused();
                assert_eq!(given_up.is_some(), self.refusals > MOST_RETRANSMISSIONS);
                if let Some(handle) = given_up {
                    self.refusals = 0;
                    self.given_up.push(handle.1);
                }
            }
            None => {}
        }
    }

    /// Lets everything arrive.
    fn settle(&mut self) {
        while self.outbox.queued_bytes() > 0 || !self.wire.is_empty() || !self.peer.answers.is_empty() {
            self.write(usize::MAX);
            self.peer.read(&mut self.wire, usize::MAX, false);
            self.answer();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn every_message_arrives_once_in_order_with_its_own_handle(steps in steps()) {
        let mut world = World::default();
        steps.into_iter().for_each(|step| world.step(step));
        world.settle();

        let given_up: Vec<String> = world.given_up.iter().map(|number| format!("handle {number}")).collect();
        let expected: Vec<&String> = world.pushed.iter().filter(|text| !given_up.contains(text)).collect();
        prop_assert_eq!(world.peer.received.iter().collect::<Vec<_>>(), expected);
        prop_assert_eq!(world.peer.acknowledgements, world.acknowledgements);
        prop_assert_eq!(world.acknowledged.len() + world.given_up.len(), world.handles);
        prop_assert!(world.outbox.abandon().is_empty());
    }

    #[test]
    fn a_channel_that_ends_at_any_moment_gives_every_handle_back_once(steps in steps()) {
        let mut world = World::default();
        steps.into_iter().for_each(|step| world.step(step));
        let mut handles = [world.acknowledged, world.given_up, world.outbox.abandon()].concat();
        prop_assert_eq!(handles.len(), world.handles);
        handles.sort_unstable();
        handles.dedup();
        prop_assert_eq!(handles.len(), world.handles);
        prop_assert_eq!(world.outbox.queued_bytes(), 0);
    }
}
