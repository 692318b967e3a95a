//! The queue of one channel: what is still to be written, at most one un-acknowledged handle with everything else
//! behind it, and the bounds.
//!
//! Node keeps a single `pendingHandle`: a second handle before the first is acknowledged lands on the wrong message, and
//! a plain message right behind a handle's frame is delivered before it.

use std::collections::VecDeque;
use std::rc::Rc;

use super::outbound::Frame;

/// How many bytes of user messages may wait for one member, those included that it has half sent itself.
pub const MOST_QUEUED: usize = 64 * 1024 * 1024;

/// What a message that waits costs besides its bytes, and how many are not counted for it: a million tiny ones are more place
/// in the queue than text.
const COST_OF_PLACE: usize = 128;
const FREE_PLACES: usize = 1024;

/// How many bytes of the protocol may wait for one member before nothing more is read from it. Node's own requests never
/// come near: it asks once for each server that it opens.
const MOST_ANSWERS: usize = 1024 * 1024;

/// How often a handle is sent again when the peer says that it did not arrive.
pub const MOST_RETRANSMISSIONS: u32 = 3;

/// How many acknowledgements may wait. Node is owed one at most; a peer that sends handles on and on without reading
/// gets no more of them.
const MOST_ACKNOWLEDGEMENTS: usize = 16;

/// How many frames go into one write.
const MOST_PIECES: usize = 256;

/// Up to so many bytes small messages of users that wait behind each other are joined: the kernel takes one large piece
/// faster than many small ones.
const JOINED: usize = 16 * 1024;

/// The room kept in an empty queue, in frames.
const KEPT_CAPACITY: usize = 256;

/// The queue of one channel. `H` is the handle: a descriptor in the master, a number in tests.
#[derive(Debug)]
pub struct Outbox<H> {
    /// In the order of writing: the frame that is half written, acknowledgements, a refused handle, the rest.
    waiting: VecDeque<Waiting<H>>,
    /// Bytes of the first waiting frame that are written.
    written: usize,
    /// The handle that was sent and not yet answered: while there is one the gate is shut.
    unacknowledged: Option<Sent<H>>,
    user_bytes: usize,
    queued_bytes: usize,
}

#[derive(Debug)]
struct Waiting<H> {
    frame: Frame,
    kind: Kind<H>,
}

#[derive(Debug)]
enum Kind<H> {
    Acknowledgement,
    User,
    Master,
    Handle { handle: H, retransmissions: u32 },
}

#[derive(Debug)]
struct Sent<H> {
    frame: Frame,
    handle: H,
    retransmissions: u32,
}

/// What to write next, in one go.
#[derive(Debug)]
pub struct Write<'a, H> {
    /// What is left of the first frame, and those behind it.
    pub pieces: Vec<&'a [u8]>,
    /// The handle that goes with the first byte: its frame goes alone.
    pub handle: Option<&'a H>,
}

/// The queue is full: the message was dropped.
#[derive(Debug, PartialEq, Eq)]
pub struct Full;

impl<H> Default for Outbox<H> {
    fn default() -> Self {
        Outbox { waiting: VecDeque::new(), written: 0, unacknowledged: None, user_bytes: 0, queued_bytes: 0 }
    }
}

impl<H> Outbox<H> {
    /// Queues a frame of the cluster protocol or of the master: never refused.
    pub fn push(&mut self, frame: Frame) {
        self.insert(self.waiting.len(), Waiting { frame, kind: Kind::Master });
    }

    /// Queues a user's message. `held` is how many bytes more are kept for this member, elsewhere.
    ///
    /// # Errors
    /// [`Full`] when more than [`MOST_QUEUED`] bytes would be kept for it.
    pub fn push_user(&mut self, frame: Frame, held: usize) -> Result<(), Full> {
        let places = self.waiting.len().saturating_sub(FREE_PLACES) * COST_OF_PLACE;
        if self.user_bytes + places + held + frame.len() > MOST_QUEUED {
            return Err(Full);
        }
        self.user_bytes += frame.len();
        if self.join(&frame) {
            self.queued_bytes += frame.len();
        } else {
            self.insert(self.waiting.len(), Waiting { frame, kind: Kind::User });
        }
        Ok(())
    }

    /// Appends a user's message to the last one that waits, where that is a user's too, small, in no other queue, and not
    /// the first, of which a part may be written.
    fn join(&mut self, frame: &Frame) -> bool {
        let last = self.waiting.iter_mut().skip(1).next_back();
        if let Some(Waiting { frame: last, kind: Kind::User }) = last
            && last.len() + frame.len() <= JOINED
            && let Some(last) = Rc::get_mut(last)
        {
            last.extend_from_slice(frame);
            return true;
        }
        false
    }

    /// Queues a frame with a handle.
    pub fn push_handle(&mut self, frame: Frame, handle: H) {
        self.insert(self.waiting.len(), Waiting { frame, kind: Kind::Handle { handle, retransmissions: 0 } });
    }

    /// Queues an ACK or NACK of a handle that came to us: these pass the gate, but never cut a half-written frame.
    pub fn push_acknowledgement(&mut self, frame: Frame) {
        let head = self.head();
        if head < MOST_ACKNOWLEDGEMENTS {
            self.insert(head, Waiting { frame, kind: Kind::Acknowledgement });
        }
    }

    /// What can be written now; `None` when nothing waits or everything waits behind an un-acknowledged handle.
    pub fn next_write(&self) -> Option<Write<'_, H>> {
        let is_open = self.unacknowledged.is_none();
        let Waiting { frame, kind } = self.waiting.front()?;
        // `written` is below the length of the first frame: `wrote` takes a frame out when it reaches it.
        let first = &frame[self.written..];
        if let Kind::Handle { handle, .. } = kind {
            let handle = Some(handle).filter(|_| self.written == 0);
            return is_open.then(|| Write { pieces: vec![first], handle });
        }
        let goes = |kind: &Kind<H>| match kind {
            Kind::Acknowledgement => true,
            Kind::User | Kind::Master => is_open,
            Kind::Handle { .. } => false,
        };
        let going = self.waiting.iter().take(MOST_PIECES).take_while(|waiting| goes(&waiting.kind));
        let mut pieces: Vec<&[u8]> = going.map(|waiting| waiting.frame.as_slice()).collect();
        *pieces.first_mut()? = first;
        Some(Write { pieces, handle: None })
    }

    /// So many bytes of [`Self::next_write`] were taken by the kernel (and the handle with them).
    pub fn wrote(&mut self, mut bytes: usize) {
        self.queued_bytes -= bytes.min(self.queued_bytes);
        while let Some(left) = self.waiting.front().map(|first| first.frame.len() - self.written) {
            if bytes < left {
                self.written += bytes;
                return;
            }
            bytes -= left;
            self.first_is_written();
        }
    }

    fn first_is_written(&mut self) {
        self.written = 0;
        let Some(Waiting { frame, kind }) = self.waiting.pop_front() else { return };
        match kind {
            Kind::User => self.user_bytes -= frame.len(),
            Kind::Handle { handle, retransmissions } => {
                self.unacknowledged = Some(Sent { frame, handle, retransmissions });
            }
            Kind::Acknowledgement | Kind::Master => {}
        }
        if self.waiting.is_empty() {
            // A broadcast to a stopped worker can make the queue itself large.
            self.waiting.shrink_to(KEPT_CAPACITY);
        }
    }

    /// The peer acknowledged: the gate opens; gives the handle back.
    pub fn acknowledged(&mut self) -> Option<H> {
        self.unacknowledged.take().map(|sent| sent.handle)
    }

    /// The peer did not get the handle: it is sent again, before everything that waits; after
    /// [`MOST_RETRANSMISSIONS`] it is given up, and given back with its frame: what waits must not wait for ever.
    pub fn refused(&mut self) -> Option<(Frame, H)> {
        let Sent { frame, handle, retransmissions } = self.unacknowledged.take()?;
        if retransmissions == MOST_RETRANSMISSIONS {
            return Some((frame, handle));
        }
        let kind = Kind::Handle { handle, retransmissions: retransmissions + 1 };
        self.insert(self.head(), Waiting { frame, kind });
        None
    }

    /// How many handles wait to be sent.
    #[must_use]
    pub fn waiting_handles(&self) -> usize {
        self.waiting.iter().filter(|waiting| matches!(waiting.kind, Kind::Handle { .. })).count()
    }

    /// Takes out everything that waits; the handles among it, in order.
    pub fn abandon(&mut self) -> Vec<H> {
        let Outbox { waiting, unacknowledged, .. } = std::mem::take(self);
        let handles = waiting.into_iter().filter_map(|waiting| match waiting.kind {
            Kind::Handle { handle, .. } => Some(handle),
            _ => None,
        });
        unacknowledged.map(|sent| sent.handle).into_iter().chain(handles).collect()
    }

    /// Bytes that wait, those behind the gate included.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        self.queued_bytes
    }

    /// Does the peer owe so much reading that it must not ask for more? Frames of the protocol are never dropped, so what
    /// bounds them is that nothing more is read from who does not read the answers.
    #[must_use]
    pub fn is_clogged(&self) -> bool {
        // `user_bytes` counts whole frames, so the written part of the first one is counted in.
        (self.queued_bytes + self.written).saturating_sub(self.user_bytes) > MOST_ANSWERS
    }

    fn insert(&mut self, place: usize, waiting: Waiting<H>) {
        self.queued_bytes += waiting.frame.len();
        self.waiting.insert(place, waiting);
    }

    /// The first place that neither cuts the half-written frame nor stands before an acknowledgement.
    fn head(&self) -> usize {
        let begun = usize::from(self.written > 0);
        let acknowledgements = self.waiting.iter().skip(begun);
        begun + acknowledgements.take_while(|waiting| matches!(waiting.kind, Kind::Acknowledgement)).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(text: &str) -> Frame {
        text.as_bytes().to_vec().into()
    }

    /// Writes the next frame, and not those behind it: its text and the handle that went with it.
    fn write(outbox: &mut Outbox<u32>) -> Option<(String, Option<u32>)> {
        let Write { pieces, handle } = outbox.next_write()?;
        let (text, handle) = (String::from_utf8(pieces[0].to_vec()).unwrap(), handle.copied());
        outbox.wrote(text.len());
        Some((text, handle))
    }

    fn plain(text: &str) -> Option<(String, Option<u32>)> {
        Some((text.into(), None))
    }

    #[test]
    fn what_is_kept_for_a_member_is_bounded_in_all_its_messages_their_places_and_what_is_held_elsewhere() {
        let mut outbox = Outbox::<u32>::default();
        assert_eq!(outbox.push_user(frame("a"), MOST_QUEUED), Err(Full));
        assert_eq!(outbox.push_user(frame("a"), MOST_QUEUED - 1), Ok(()));
        // Each of them waits in another queue, too, so none is joined.
        let shared = frame("a");
        let mut count = 0;
        while outbox.push_user(Rc::clone(&shared), 0).is_ok() {
            count += 1;
        }
        assert!(count * COST_OF_PLACE <= MOST_QUEUED + FREE_PLACES * COST_OF_PLACE, "{count} wait");
    }

    #[test]
    fn a_half_written_message_of_a_user_clogs_nothing() {
        let mut outbox = Outbox::<u32>::default();
        outbox.push_user(frame("a message"), 0).unwrap();
        outbox.wrote(5);
        assert!(!outbox.is_clogged());
        outbox.push(vec![0; MOST_ANSWERS + 1].into());
        assert!(outbox.is_clogged());
    }

    #[test]
    fn small_messages_of_users_are_joined_but_not_to_the_first_nor_to_one_that_another_queue_has() {
        let mut outbox = Outbox::<u32>::default();
        for text in ["a", "b", "c"] {
            outbox.push_user(frame(text), 0).unwrap();
        }
        let (shared, large) = (frame("shared"), frame(&"x".repeat(JOINED)));
        outbox.push_user(large, 0).unwrap();
        outbox.push_user(Rc::clone(&shared), 0).unwrap();
        outbox.push_user(frame("d"), 0).unwrap();
        outbox.push(frame("e"));
        outbox.push_user(frame("f"), 0).unwrap();
        assert_eq!(outbox.queued_bytes(), 3 + JOINED + 6 + 3);
        let (mut pieces, mut all) = (Vec::new(), 0);
        while let Some((text, _)) = write(&mut outbox) {
            all += text.len();
            pieces.push(if text.len() == JOINED { "large".to_owned() } else { text });
        }
        assert_eq!(pieces, ["a", "bc", "large", "shared", "d", "e", "f"]);
        assert_eq!((all, outbox.queued_bytes(), outbox.is_clogged()), (3 + JOINED + 6 + 3, 0, false));
    }

    #[test]
    fn everything_waits_behind_an_unacknowledged_handle() {
        let mut outbox = Outbox::default();
        outbox.push(frame("one"));
        outbox.push_handle(frame("two"), 2);
        outbox.push(frame("three"));
        outbox.push_handle(frame("four"), 4);
        assert_eq!(write(&mut outbox), plain("one"));
        assert_eq!(write(&mut outbox), Some(("two".into(), Some(2))));
        assert_eq!(write(&mut outbox), None);
        assert_eq!(outbox.queued_bytes(), 9);
        assert_eq!(outbox.acknowledged(), Some(2));
        assert_eq!(write(&mut outbox), plain("three"));
        assert_eq!(write(&mut outbox), Some(("four".into(), Some(4))));
        assert_eq!(outbox.acknowledged(), Some(4));
        assert_eq!((outbox.queued_bytes(), outbox.acknowledged()), (0, None));
    }

    #[test]
    fn a_handle_goes_with_the_first_byte_only() {
        let mut outbox = Outbox::default();
        outbox.push_handle(frame("abc"), 1);
        outbox.wrote(0);
        assert_eq!(outbox.next_write().unwrap().handle, Some(&1));
        outbox.wrote(1);
        let Write { pieces, handle } = outbox.next_write().unwrap();
        assert_eq!((pieces, handle), (vec![&b"bc"[..]], None));
    }

    #[test]
    fn an_acknowledgement_passes_the_gate_and_the_queue_but_not_a_half_written_frame() {
        let mut outbox = Outbox::default();
        outbox.push_handle(frame("handle"), 1);
        outbox.push(frame("next"));
        outbox.wrote(3);
        outbox.push_acknowledgement(frame("ack1"));
        outbox.push_acknowledgement(frame("ack2"));
        assert_eq!(write(&mut outbox), plain("dle"));
        assert_eq!(write(&mut outbox), plain("ack1"));
        assert_eq!(write(&mut outbox), plain("ack2"));
        assert_eq!(write(&mut outbox), None);
    }

    #[test]
    fn a_refused_handle_is_sent_again_before_everything_and_given_up_in_the_end() {
        let mut outbox = Outbox::default();
        outbox.push_handle(frame("handle"), 1);
        outbox.push(frame("next"));
        for _ in 0..MOST_RETRANSMISSIONS {
            assert_eq!(write(&mut outbox), Some(("handle".into(), Some(1))));
            outbox.push_acknowledgement(frame("ack"));
            outbox.wrote(1);
            assert_eq!(outbox.refused(), None);
            assert_eq!(write(&mut outbox), plain("ck"));
        }
        assert_eq!(write(&mut outbox), Some(("handle".into(), Some(1))));
        assert_eq!(outbox.refused().map(|(_, handle)| handle), Some(1));
        assert_eq!(write(&mut outbox), plain("next"));
    }

    #[test]
    fn an_answer_that_nobody_asked_for_changes_nothing() {
        let mut outbox = Outbox::default();
        outbox.push_handle(frame("handle"), 1);
        outbox.wrote(3);
        assert_eq!((outbox.acknowledged(), outbox.refused()), (None, None));
        assert_eq!(write(&mut outbox), plain("dle"));
        assert_eq!(outbox.acknowledged(), Some(1));
    }

    #[test]
    fn abandoning_gives_every_handle_back() {
        let mut outbox = Outbox::default();
        outbox.push_handle(frame("one"), 1);
        outbox.push(frame("two"));
        outbox.push_handle(frame("three"), 3);
        write(&mut outbox);
        outbox.push_acknowledgement(frame("ack"));
        outbox.wrote(1);
        assert_eq!(outbox.abandon(), [1, 3]);
        assert!(outbox.next_write().is_none());
        assert_eq!((outbox.queued_bytes(), outbox.abandon()), (0, Vec::new()));
    }

    #[test]
    fn only_user_messages_are_bounded() {
        let mut outbox: Outbox<u32> = Outbox::default();
        let half: Frame = vec![b'x'; MOST_QUEUED / 2].into();
        outbox.push(half.clone());
        outbox.push(half.clone());
        outbox.push(half.clone());
        assert_eq!(outbox.push_user(half.clone(), 0), Ok(()));
        assert_eq!(outbox.push_user(half.clone(), 0), Ok(()));
        assert_eq!(outbox.push_user(frame("x"), 0), Err(Full));
        outbox.push(frame("x"));
        (0..4).for_each(|_| outbox.wrote(half.len()));
        assert_eq!(outbox.push_user(frame("x"), 0), Ok(()));
    }

    #[test]
    fn a_peer_that_asks_on_and_on_without_reading_clogs_its_channel_and_user_messages_do_not() {
        let mut outbox: Outbox<u32> = Outbox::default();
        assert_eq!(outbox.push_user(vec![b'x'; MOST_QUEUED].into(), 0), Ok(()));
        outbox.push(vec![b'x'; MOST_ANSWERS].into());
        assert!(!outbox.is_clogged());
        outbox.push(frame("x"));
        assert!(outbox.is_clogged());
        outbox.wrote(MOST_QUEUED - 1);
        assert!(outbox.is_clogged(), "the half-written message of a user counts neither way");
        while let Some((_, None)) = write(&mut outbox) {}
        assert!(!outbox.is_clogged());
        assert_eq!(outbox.push_user(frame("abc"), 0), Ok(()));
        outbox.wrote(2);
        assert!(!outbox.is_clogged());
    }

    #[test]
    fn a_peer_that_never_reads_gets_no_endless_queue_of_acknowledgements() {
        let mut outbox: Outbox<u32> = Outbox::default();
        (0..1000).for_each(|_| outbox.push_acknowledgement(frame("ack")));
        assert_eq!(outbox.queued_bytes(), 3 * MOST_ACKNOWLEDGEMENTS);
    }
}
