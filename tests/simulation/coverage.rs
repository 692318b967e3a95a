//! How often each phase met each event.

use eggctl::lifecycle::{Event, Phase};

pub const PHASES: [Phase; 7] = [
    Phase::New,
    Phase::Starting,
    Phase::Running,
    Phase::ClosingWorkers,
    Phase::ClosingAgent,
    Phase::ClosingStrays,
    Phase::Ended,
];

const COLUMNS: [&str; 18] = [
    "Begin",
    "Spawned",
    "SpawnFail",
    "Ready",
    "Drained",
    "Disconn",
    "Exited",
    "Alone",
    "Close",
    "AtGate",
    "Reload",
    "Scale",
    "Replace",
    "Cancel",
    "Listens",
    "Closes",
    "Leaves",
    "(time)",
];

/// What can happen (`x`) in which phase, in the order of [`COLUMNS`]. What cannot (`.`) is told all the same, as a lie or too
/// late, and must change nothing. `(time)` is a call of `handle_timeout` that had something to do.
const POSSIBLE: [(&str, &str); 7] = [
    ("New", "x.......x.xxxx...."),
    ("Starting", ".xxx.xx.x.xxxxxxxx"),
    ("Running", ".xxxxxxxxxxxxxxxxx"),
    ("ClosingWorkers", "...xxxx.x.xxxxxxxx"),
    ("ClosingAgent", "...xxxx.x.xxxx...x"),
    ("ClosingStrays", ".......xx.xxxx...x"),
    ("Ended", ".......xx.xxxx...."),
];

/// Counts by phase and event, of what really happened and of what was only claimed.
#[derive(Default)]
pub struct Coverage {
    real: [[u64; 18]; 7],
    claimed: [[u64; 18]; 7],
}

fn column(event: Option<Event>) -> usize {
    match event {
        Some(Event::Begin) => 0,
        Some(Event::Spawned(_)) => 1,
        Some(Event::SpawnFailed { .. }) => 2,
        Some(Event::Ready(_)) => 3,
        Some(Event::Drained(_)) => 4,
        Some(Event::Disconnected(_)) => 5,
        Some(Event::Exited { .. }) => 6,
        Some(Event::Alone) => 7,
        Some(Event::Close(_)) => 8,
        Some(Event::AtGate(_)) => 9,
        Some(Event::Reload { .. }) => 10,
        Some(Event::Scale { .. }) => 11,
        Some(Event::Replace { .. }) => 12,
        Some(Event::Cancel { .. }) => 13,
        Some(Event::Listens { .. }) => 14,
        Some(Event::Closes { .. }) => 15,
        Some(Event::Leaves(_)) => 16,
        None => 17,
    }
}

impl Coverage {
    /// No event: time.
    pub fn real(&mut self, phase: Phase, event: Option<Event>) {
        self.real[phase as usize][column(event)] += 1;
    }

    pub fn claimed(&mut self, phase: Phase, event: Event) {
        self.claimed[phase as usize][column(Some(event))] += 1;
    }

    pub fn add(&mut self, other: &Coverage) {
        for row in 0..PHASES.len() {
            for column in 0..COLUMNS.len() {
                self.real[row][column] += other.real[row][column];
                self.claimed[row][column] += other.claimed[row][column];
            }
        }
    }

    /// The table as text: real meetings, or `-` for what cannot happen and was claimed.
    pub fn table(&self) -> String {
        let mut text = format!("{:<15}{}\n", "", COLUMNS.map(|name| format!("{name:>11}")).concat());
        for (row, (name, possible)) in POSSIBLE.iter().enumerate() {
            text += &format!("{name:<15}");
            for (column, mark) in possible.chars().enumerate() {
                let (real, claimed) = (self.real[row][column], self.claimed[row][column]);
                text += &if mark == 'x' { format!("{real:>11}") } else { format!("{:>11}", format!("({claimed})")) };
            }
            text += "\n";
        }
        text + "(n): cannot happen there; claimed n times, without effect\n"
    }

    /// Everything that can happen was met, what cannot was not, and nothing at all is left out.
    pub fn gaps(&self) -> Vec<String> {
        let mut gaps = Vec::new();
        for (row, (name, possible)) in POSSIBLE.iter().enumerate() {
            for (column, mark) in possible.chars().enumerate() {
                let (real, claimed, event) = (self.real[row][column], self.claimed[row][column], COLUMNS[column]);
                match mark {
                    'x' if real == 0 => gaps.push(format!("{name} never met {event}")),
                    '.' if real > 0 => gaps.push(format!("{name} met {event}, which the table calls impossible")),
                    '.' if claimed == 0 && column < 17 => gaps.push(format!("{name} was never told {event} falsely")),
                    _ => {}
                }
            }
        }
        gaps
    }
}
