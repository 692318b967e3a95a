//! What the master tells its parent on the ready channel, besides relaying members' messages to it.
//!
//! `egg-ready` is Egg's own message, which a Node parent waits for. Everything else is a `NODE_EGGCTL` message: Node hides
//! messages whose `cmd` begins with `NODE_` from user listeners, so a Node parent never sees them.

use serde::{Deserialize, Serialize};

use super::outbound::Frame;

/// A word of the master to an eggctl parent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "act", rename_all = "kebab-case")]
pub enum Report {
    /// The detached process stands, with this pid, and is about to become the master.
    Detached {
        /// Its pid.
        pid: u32,
    },
    /// The detached process could not become the master.
    NotDetached {
        /// Why.
        why: String,
    },
    /// Who is ready by now.
    Progress(Progress),
    /// The start failed.
    Failed(Failed),
    /// The start was ended by this signal before everything was ready.
    Stopped {
        /// The signal's name.
        signal: String,
    },
    /// The answer to [`Word::Write`].
    Written,
}

/// A word of an eggctl parent to the master.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "act", rename_all = "kebab-case")]
pub enum Word {
    /// Answer with [`Report::Written`] when everything that has been printed is in the log files.
    Write,
    /// The start has failed, whatever has become ready: end everything. A TERM comes beside it.
    GiveUp,
}

/// How far a start has come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The agent's pid, when there is one.
    pub agent: Option<u32>,
    /// The pids of the workers that are ready.
    pub ready: Vec<u32>,
    /// How many workers there are to be.
    pub workers: u32,
    /// Who is not ready, in words: `agent (pid 12)`, `worker 2 (pid 14)`.
    pub waiting: Vec<String>,
}

/// Why a start failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// One sentence without a full stop.
    pub why: String,
    /// The port that was taken, when that was the last thing that went wrong before.
    pub taken_port: Option<u16>,
    /// What to do.
    pub hint: Option<String>,
}

/// What an eggctl parent reads from the ready channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromMaster {
    /// A word to us.
    Report(Report),
    /// Everything is ready, at this address. Only from the master itself, never a member's claim.
    Ready {
        /// The address as it is shown.
        address: String,
    },
    /// Something else: a member's message to its parent.
    Other,
}

#[derive(Serialize, Deserialize)]
struct Hidden<T> {
    cmd: String,
    #[serde(flatten)]
    word: T,
}

/// The `cmd` of every word between the two.
const HIDDEN: &str = "NODE_EGGCTL";

/// The frame of a word to the parent.
#[must_use]
pub fn report(report: &Report) -> Frame {
    frame(&Hidden { cmd: HIDDEN.to_owned(), word: report })
}

/// The frame of a word to the master.
#[must_use]
pub fn word(word: Word) -> Frame {
    frame(&Hidden { cmd: HIDDEN.to_owned(), word })
}

/// Reads a line of the parent's; `None` when it is no word of an eggctl parent.
#[must_use]
pub fn read_word(line: &[u8]) -> Option<Word> {
    let hidden: Hidden<Word> = serde_json::from_slice(line).ok()?;
    (hidden.cmd == HIDDEN).then_some(hidden.word)
}

#[derive(Serialize, Deserialize)]
struct EggReady {
    action: String,
    to: String,
    data: Served,
    from: String,
}

/// Where the application is served, in the keys of Egg's `egg-ready` to the parent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Served {
    /// The port, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The port at which workers serve plain http beside https.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub debug_port: Option<u16>,
    /// The address as people read it: a URL, or a unix socket's path.
    pub address: String,
    /// `http` or `https`.
    pub protocol: String,
}

/// Egg's `egg-ready`, from the master to the parent.
#[must_use]
pub fn egg_ready(served: Served) -> Frame {
    frame(&EggReady {
        action: "egg-ready".to_owned(),
        to: "parent".to_owned(),
        data: served,
        from: "master".to_owned(),
    })
}

fn frame(message: &impl Serialize) -> Frame {
    // A struct of strings and numbers has a JSON form; an empty line would be read as rubbish and ignored.
    let mut text = serde_json::to_vec(message).unwrap_or_default();
    text.push(b'\n');
    text.into()
}

/// Reads a line of the ready channel.
#[must_use]
pub fn read(line: &[u8]) -> FromMaster {
    if let Ok(hidden) = serde_json::from_slice::<Hidden<Report>>(line)
        && hidden.cmd == HIDDEN
    {
        return FromMaster::Report(hidden.word);
    }
    match serde_json::from_slice::<EggReady>(line) {
        Ok(ready) if ready.action == "egg-ready" && ready.from == "master" => {
            FromMaster::Ready { address: ready.data.address }
        }
        Ok(_) | Err(_) => FromMaster::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_survives_the_channel_and_node_would_hide_it() {
        let sent = Report::Failed(Failed { why: "worker 1 died".into(), taken_port: Some(7001), hint: None });
        let frame = report(&sent);
        assert!(frame.starts_with(br#"{"cmd":"NODE_EGGCTL","act":"failed","#), "{}", String::from_utf8_lossy(&frame));
        assert_eq!(read(&frame), FromMaster::Report(sent));
    }

    #[test]
    fn a_word_to_the_master_survives_the_channel_and_others_are_none() {
        for said in [Word::Write, Word::GiveUp] {
            assert_eq!(read_word(&word(said)), Some(said));
        }
        assert_eq!(word(Word::GiveUp).to_vec(), b"{\"cmd\":\"NODE_EGGCTL\",\"act\":\"give-up\"}\n");
        for line in
            [r#"{"cmd":"NODE_EGGCTL","act":"leave"}"#, r#"{"cmd":"x","act":"write"}"#, r#"{"act":"write"}"#, "1"]
        {
            assert_eq!(read_word(line.as_bytes()), None, "{line}");
        }
    }

    #[test]
    fn a_parent_is_told_where_the_application_is_served_in_eggs_keys() {
        let address = "https://127.0.0.1:7001".to_owned();
        let served = Served { port: Some(7001), debug_port: Some(7002), address, protocol: "https".into() };
        let told: serde_json::Value = serde_json::from_slice(&egg_ready(served)).unwrap();
        let data = r#"{"port":7001,"debugPort":7002,"address":"https://127.0.0.1:7001","protocol":"https"}"#;
        assert_eq!(told["data"], serde_json::from_str::<serde_json::Value>(data).unwrap());
    }

    #[test]
    fn only_the_master_itself_says_ready() {
        let served = Served { address: "http://x".into(), protocol: "http".into(), ..Served::default() };
        assert_eq!(read(&egg_ready(served)), FromMaster::Ready { address: "http://x".into() });
        let forged =
            br#"{"action":"egg-ready","data":{"address":"http://x","protocol":"http"},"from":"app","to":"parent"}"#;
        assert_eq!(read(forged), FromMaster::Other);
        let appended = br#"{"action":"egg-ready","from":"master","data":{"address":"a","protocol":"http"},"from":"app","to":"parent"}"#;
        assert_eq!(read(appended), FromMaster::Other);
    }
}
