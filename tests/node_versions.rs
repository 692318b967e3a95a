//! The same tests on other Nodes than the one in the PATH: a few on each, and under `EGGCTL_LONG=1` every test of
//! real processes.
//!
//! This very binary runs again with [`NODE`] set, which a world puts first in its PATH. The Nodes are npm packages
//! (`fixtures/nodes`).

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::harness::{LONG, NODE, http, installed, visibly, world};

/// Starts, the messenger, a death, last lines, sockets of both dispatches, a close; and that it is that Node.
const EACH_TIME: &[&str] = &[
    "egg::egg_3_starts_answers_by_its_workers_and_stops",
    "egg::a_framework_over_egg_3_runs_by_the_egg_below_it",
    ES_MODULES,
    "egg_messages::every_verb_of_egg_4s_messenger_is_heard_once_by_whom_it_means",
    "egg_death::an_egg_3_worker_with_an_uncaught_exception_answers_what_it_has_while_its_replacement_serves",
    "log_process::every_line_before_an_exit_and_before_an_uncaught_exception_arrives_as_in_a_file",
    "sockets::tcp::servers_close_and_listen_again_in_any_order_and_from_any_worker",
    "sockets::shared::shared_sockets_of_every_kind_are_closed_by_the_last_one_out",
    "egg_close::a_close_of_egg_4_answers_requests_and_runs_before_close_with_the_messenger",
    "leaving::members_that_close_their_servers_at_term_end_when_they_have_nothing_left_to_do",
    "leaving::a_worker_that_asks_something_at_term_gets_its_answer",
    "leaving::what_a_worker_sends_last_arrives_whole",
    MEMBERS_RUN_ON_IT,
];
const MEMBERS_RUN_ON_IT: &str = "node_versions::members_run_on_the_node_that_comes_first_in_the_path";
/// Not on Node 18: Egg 4's HTTP client (urllib 4, by way of undici 7) wants 20.18, and as an ES module it does not load.
const ES_MODULES: &str = "egg::an_egg_4_application_of_es_modules_runs_the_files_that_are_such";
/// Tests that start no Node in a world, and those of this file that run the others.
const NEVER: &[&str] = &["codec::", "simulation::", "tidy::", "node_versions::what_runs_"];

#[test]
fn what_runs_on_the_node_of_the_path_runs_on_node_18() {
    runs_on(18);
}

#[test]
fn what_runs_on_the_node_of_the_path_runs_on_node_22() {
    runs_on(22);
}

#[test]
fn what_runs_on_the_node_of_the_path_runs_on_node_24() {
    runs_on(24);
}

#[test]
fn members_run_on_the_node_that_comes_first_in_the_path() {
    world(|world| {
        let port = world.port();
        world.start("svc", port).run().exits(0);
        let runs = http::get(port, "/env").json()["argv"][0].as_str().unwrap().to_owned();
        let first = world.program(&["node", "-p", "process.execPath"]).run();
        assert_eq!(runs, first.stdout.trim());
        if let Some(asked) = std::env::var_os(NODE) {
            assert_eq!(Path::new(&runs), Path::new(&asked).join("node"));
        }
        world.stop("svc");
    });
}

fn runs_on(major: u32) {
    // One Node at a time: what waits for a deadline is measured against the machine's load.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    if !cfg!(target_arch = "x86_64") {
        return visibly("note: the npm packages of other Nodes are for x86-64: nothing runs on them here");
    }
    let Some(nodes) = installed("nodes") else { return };
    let long = std::env::var_os(LONG).is_some();
    let (which, left_out) = if long { (&[][..], NEVER) } else { (EACH_TIME, &[][..]) };
    let left_out = [left_out, if major == 18 { &[ES_MODULES] } else { &[] }].concat();
    if major == 18 {
        visibly(&format!("note: on Node 18 {ES_MODULES} does not run: Egg 4's HTTP client wants Node 20.18"));
    }
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let began = Instant::now();
    let done = Command::new(std::env::current_exe().unwrap())
        .args(which)
        .args(left_out.iter().flat_map(|name| ["--skip", name]))
        .args(if long { &[][..] } else { &["--exact", "--test-threads=1"] })
        .env(NODE, nodes.join(format!("node_modules/node{major}/bin")))
        // What is long for another reason is long once.
        .env_remove(LONG)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success(), "on Node {major}:\n{told}\n{}", String::from_utf8_lossy(&done.stderr));
    let passed = passed(&told);
    // A name that selects nothing would pass without having run.
    let asked = which.iter().filter(|name| !left_out.contains(name)).count();
    assert!(passed >= asked.max(1), "{passed} ran:\n{told}");
    visibly(&format!("note: on Node {major} {passed} tests passed in {:.0} s", began.elapsed().as_secs_f64()));
}

/// The number in libtest's last line.
fn passed(told: &str) -> usize {
    let counted = told.split_once("test result: ok. ").and_then(|(_, rest)| rest.split_once(" passed"));
    counted.and_then(|(count, _)| count.parse().ok()).unwrap_or_else(|| panic!("no count in:\n{told}"))
}
