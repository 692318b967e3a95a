//! eggctl starts, keeps and stops a cluster of an application: one agent, N workers, one listening address.
//!
//! The rooms of the house, and who may import whom (`tests/tidy.rs` reads the sources and fails on a breach):
//!
//! * [`cli`] — what was typed and what is printed: one file per command, straight-line blocking code.
//!   Imports `options`, `app`, `control`, `ipc`, `state`, `logger`, `error`, `sys` and `master::run`.
//! * [`options`] — what is meant: flags, environment and package.json become [`options::Options`], which cannot be invalid.
//! * [`app`] — the kinds of application: argv, environment and readiness of an agent and of a worker.
//! * [`master`] — the only event loop: poll, one event, the lifecycle's answer, perform it.
//!   Imports `lifecycle`, `messenger`, `shortage`, `ipc`, `app`, `control`, `options`, `state`, `logger`, `sys`.
//! * [`logger`] — the log process: from pipes into files; rotation, retention, compression, ledger.
//!   Imports `ipc`, `options`, `error`, `sys`.
//! * [`lifecycle`] — pure: every decision of the master about time, count, order and phase.
//! * [`messenger`] — pure: who receives this message.
//! * [`shortage`] — pure: what there is too little of for now, and when it is tried again.
//! * [`ipc`] — pure: bytes and messages of Node's channel and of Node's cluster.
//! * [`control`] — the control socket: requests and answers, the command's half and the master's.
//! * [`state`] — the per-user directory: the title's lock and its record.
//! * [`error`] — every failure that a user can meet: what, why, hint, exit code.
//! * [`sys`] — the only `unsafe` and the only raw libc; imports nothing of ours.

pub mod app;
pub mod cli;
pub mod control;
pub mod error;
pub mod ipc;
pub mod lifecycle;
pub mod logger;
pub mod master;
pub mod messenger;
pub mod options;
pub mod shortage;
pub mod state;
pub mod sys;

pub use cli::run;
