//! Messages to the agent while a reload replaces it: kept, within bounds, until the new one is ready.

use std::collections::VecDeque;

use crate::ipc::outbound::Frame;

/// How many bytes are kept. What comes when it is full is dropped, and told.
const MOST_BYTES: usize = 8 * 1024 * 1024;

/// What is kept, in the order in which it came.
#[derive(Debug, Default)]
pub struct Kept {
    frames: VecDeque<Frame>,
    bytes: usize,
}

impl Kept {
    /// Keeps one; false when there is no room for it.
    #[must_use]
    pub fn keep(&mut self, frame: Frame) -> bool {
        let bytes = self.bytes.saturating_add(frame.len());
        if bytes > MOST_BYTES {
            return false;
        }
        self.bytes = bytes;
        self.frames.push_back(frame);
        true
    }

    /// Everything, for the new agent.
    pub fn take(&mut self) -> VecDeque<Frame> {
        std::mem::take(self).frames
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_bounded_and_comes_in_order() {
        let (mut kept, half): (Kept, Frame) = (Kept::default(), vec![b'x'; MOST_BYTES / 2].into());
        assert!(kept.keep(b"1".to_vec().into()) && kept.keep(half.clone()));
        assert!(!kept.keep(half.clone()), "there is no room for this");
        assert!(kept.keep(b"2".to_vec().into()), "but for a shorter one");
        let lengths: Vec<usize> = kept.take().iter().map(|frame| frame.len()).collect();
        assert_eq!(lengths, [1, MOST_BYTES / 2, 1]);
        assert!(kept.keep(half), "and again for all");
    }
}
