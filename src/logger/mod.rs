//! The logger: a process of its own that moves everything the members print into files, and keeps the old ones.
//!
//! * [`orders`] is what the master tells it; `work` its loop; `after` what it does when the master is no more.
//! * `stream` moves one pipe into one file, [`live`] is that file, `loss` what no file took, `boundary` when a day is over;
//!   `tools` is what streams share. [`ledger`] counts.
//! * [`names`], [`shelf`], [`retention`], [`compress`]: old logs, looked after by `upkeep`.

mod after;
mod boundary;
pub mod compress;
pub mod ledger;
pub mod live;
mod loss;
pub mod names;
pub mod orders;
pub mod retention;
pub mod shelf;
mod stream;
mod tools;
mod upkeep;
mod work;

#[cfg(test)]
mod tests;

pub use work::run;
