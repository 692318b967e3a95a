//! What a worker is told of its place among the workers, in its environment: the same for every member that has the place,
//! over deaths and reloads.
//!
//! A spare has no place yet, and is told none: two members with one number would both do what only one is to do. What it
//! gets when it takes a worker's place, the preload puts into its `process.env`.

/// The number that logs and commands show, from 1.
const NUMBER: &str = "EGGCTL_WORKER";

/// The variables of the worker in this slot, of so many: cfork's, which Egg's workers have, and pm2's count from 0.
#[must_use]
pub fn variables(slot: u32, workers: u32) -> [(&'static str, String); 4] {
    [
        (NUMBER, (u64::from(slot) + 1).to_string()),
        ("CFORK_WORKER_INDEX", slot.to_string()),
        ("CFORK_WORKER_COUNT", workers.to_string()),
        ("NODE_APP_INSTANCE", slot.to_string()),
    ]
}
