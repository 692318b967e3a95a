//! Which old logs go: pure, from the list and the limits.

use std::time::{Duration, SystemTime};

use super::names::{Form, OldName};
use super::shelf::OldLog;

/// What is kept of a stream besides its live file; `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// So many old logs.
    pub files: Option<usize>,
    /// So many bytes on the disk, but always the newest old log: a limit smaller than one file must not throw away what has
    /// just been written.
    pub bytes: Option<u64>,
    /// No longer than this after it was last written.
    pub age: Option<Duration>,
}

/// The old logs that go, oldest first; `logs` is sorted, oldest first. Those that egg-scripts named neither go nor count.
///
/// What is kept has no gap: as soon as one old log breaks a limit, all that are older go too.
#[must_use]
pub fn to_delete(logs: &[OldLog], limits: &Limits, now: SystemTime) -> Vec<OldName> {
    let ours: Vec<&OldLog> = logs.iter().filter(|log| log.name.is_ours()).collect();
    let mut bytes = 0_u64;
    let is_kept = |(newer, log): &(usize, &&OldLog)| {
        bytes = bytes.saturating_add(log.bytes);
        // A stamp of the future has no age.
        let age = now.duration_since(log.modified).unwrap_or_default();
        limits.files.is_none_or(|most| *newer < most)
            && limits.bytes.is_none_or(|most| *newer == 0 || bytes <= most)
            && limits.age.is_none_or(|most| age <= most)
    };
    let kept = ours.iter().rev().enumerate().take_while(is_kept).count();
    ours[..ours.len() - kept].iter().map(|log| log.name).collect()
}

/// The old logs to compress, oldest first: all that are plain but the newest, which whoever follows the file still reads.
#[must_use]
pub fn to_compress(logs: &[OldLog]) -> Vec<OldName> {
    let older = logs.split_last().map_or(&[][..], |(_, older)| older);
    older.iter().filter(|log| log.name.is_ours() && log.form == Form::Plain).map(|log| log.name).collect()
}
