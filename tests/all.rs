//! All tests in one binary: one file per behaviour, one link.
//!
//! A test of real processes begins with [`harness::world`], which gives it PID, mount and network namespaces, a home
//! and a state directory of its own, and ends by checking that nothing is left behind.
#![allow(missing_docs)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod addresses;
mod cancel;
mod close;
mod cluster;
mod codec;
mod configured;
mod continuity;
mod control;
mod deaths;
mod directories;
mod egg;
mod egg_close;
mod egg_death;
mod egg_failures;
mod egg_messages;
mod egg_reload;
mod egg_serving;
mod environment;
mod file_rotate;
mod foreground;
mod fuzz;
mod gate;
mod giving_up;
mod harness;
mod health;
mod http2;
mod identity;
mod inherited;
mod inspector;
mod json;
mod leaving;
mod log_faults;
mod log_names;
mod log_process;
mod log_trust;
mod logs;
mod logs_follow;
mod logs_read;
mod master_killed;
mod messages;
mod named;
mod node_versions;
mod parity;
mod place;
mod preloaded;
mod quiet;
mod receipts;
mod refork;
mod reload;
mod reload_faults;
mod reload_sockets;
mod restart;
mod same_title;
mod screens;
mod served;
mod shortages;
mod signals;
mod simulation;
mod sockets;
mod spare;
mod stand_in;
mod start_daemon;
mod start_failures;
mod state_lost;
mod sticky;
mod sticky_node;
mod stop;
mod tidy;
mod users;
mod wait;
mod what_runs;
