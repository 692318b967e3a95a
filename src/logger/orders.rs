//! What the master tells the logger: one JSON text per line on a socket, with a descriptor beside each that needs one.

use std::ffi::OsString;

use serde::{Deserialize, Serialize};

use crate::options::LogOptions;

/// One order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    /// The first: how to keep logs, and how long a member may take to end once the master is no more. With the ledger.
    Begin {
        /// How.
        options: LogOptions,
        /// The longer of the members' close graces, in milliseconds.
        close_grace_ms: u64,
    },
    /// A stream: everything in a pipe goes to the file of this path. With the pipe's read end.
    Stream {
        /// Its place in the ledger.
        number: u32,
        /// The live file.
        path: OsString,
        /// Is what lies there already from an earlier start, and to be set aside?
        set_aside: bool,
    },
    /// The live file of the stream told last, open and locked already. With it.
    File,
    /// A member has been spawned. With its pidfd.
    Member {
        /// Its pid, for notes.
        pid: u32,
    },
    /// Open all live files anew: somebody else has renamed them.
    Reopen,
    /// Answer with a line when everything that is in the pipes now is in the files.
    Confirm,
}

impl Order {
    /// Does a descriptor come beside it?
    #[must_use]
    pub fn has_descriptor(&self) -> bool {
        match self {
            Order::Begin { .. } | Order::Stream { .. } | Order::File | Order::Member { .. } => true,
            Order::Reopen | Order::Confirm => false,
        }
    }

    /// The line.
    #[must_use]
    pub fn line(&self) -> Vec<u8> {
        // Plain data: it cannot fail; an empty line would be no order.
        let mut line = serde_json::to_vec(self).unwrap_or_default();
        line.push(b'\n');
        line
    }
}
