//! Nobody is there for 30 s: the master gives up where somebody looks after it, and goes on where nobody does.

use nix::sys::signal::Signal;

use crate::harness::{Typed, World, eventually, processes, world};

/// Starts under this title an application of one worker, which no other can follow until `<title>/first` is gone.
fn typed(world: &World, title: &str, more: &[&str]) -> Typed {
    let words = [format!("--title={title}"), "--workers=1".to_owned(), format!("--port={}", world.port())];
    let place = world.directory(title, &[("package.json", r#"{"name":"alone"}"#), ("app.js", APP)]);
    world.eggctl(&["start"]).args(words).args(more).arg(place)
}

const APP: &str = "
const fs = require('fs');
if (fs.existsSync('first')) process.exit(7);
fs.writeFileSync('first', '');
require('http').createServer((_, answer) => answer.end()).listen(process.env.PORT);
";

fn lose_the_worker(world: &World, title: &str) {
    processes::signal(world.workers(world.master(title))[0], Signal::SIGKILL);
}

#[test]
fn a_foreground_master_without_a_worker_for_30_s_exits_with_1() {
    world(|world| {
        let start = typed(world, "svc", &[]).spawn();
        start.says("started on");
        lose_the_worker(world, "svc");
        let outcome = start.finish();
        world.nobody_is_left();
        outcome.exits(1).says("0 agent and 0 worker(s) alive, exit to avoid unknown state");
        assert!(outcome.took.as_secs() >= 30, "{:?}", outcome.took);
    });
}

#[test]
fn a_daemon_says_so_and_goes_on_unless_it_is_told_to_exit_when_down() {
    world(|world| {
        world.expect_in_log("");
        let logs = ["--stdout=other.log", "--stderr=other.err"];
        typed(world, "exits", &["--daemon", "--exit-when-down"]).run().exits(0);
        typed(world, "stays", &["--daemon"]).args(logs).run().exits(0);
        lose_the_worker(world, "exits");
        lose_the_worker(world, "stays");
        world.log_says("exit with code:1");
        eventually("nobody of it is left", || world.masters("exits").is_empty());

        let master = world.master("stays");
        let log = || std::fs::read_to_string(world.work().join("other.err")).unwrap();
        eventually("the other one says so", || log().contains("0 worker(s) alive for 30 s"));
        std::fs::remove_file(world.work().join("stays/first")).unwrap();
        eventually("its next worker stays", || world.work().join("stays/first").exists());
        assert_eq!(world.workers(master).len(), 1);
        world.stop("stays");
        world.nobody_is_left();
    });
}
