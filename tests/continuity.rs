//! Nothing is lost: requests of every kind are counted while the application is reloaded, scaled and robbed of workers.

use nix::sys::signal::Signal;

use crate::harness::load::{EVERY_KIND, Kind, Load};
use crate::harness::{World, eventually, processes, visibly, world};

/// How often each thing is done.
fn times() -> usize {
    if std::env::var("EGGCTL_LONG").is_ok_and(|long| long == "1") { 20 } else { 5 }
}

/// The workers, once these are all new and of this number.
#[track_caller]
fn all_new(world: &World, master: u32, old: &[u32], count: usize) {
    let workers = world.workers(master);
    assert_eq!(workers.len(), count, "{workers:?} after {old:?}");
    assert!(workers.iter().all(|worker| !old.contains(worker)), "{workers:?} after {old:?}");
}

fn under_load(world: &mut World, act: impl Fn(&World, u32, usize)) {
    world.expect_in_log(" INFO ");
    let port = world.port();
    world.start("svc", port).run().exits(0);
    let master = world.master("svc");
    let load = Load::begin(port, &EVERY_KIND);
    for time in 0..times() {
        act(world, master, time);
        load.goes_on(100);
    }
    load.end().nothing_is_lost();
    world.stop("svc");
}

#[test]
fn reloads_by_generation_lose_nothing() {
    world(|world| {
        under_load(world, |world, master, _| {
            let old = world.workers(master);
            world.eggctl(&["reload", "--title=svc"]).run().exits(0).says("by generation");
            all_new(world, master, &old, 2);
        });
    });
}

#[test]
fn rolling_reloads_lose_nothing() {
    world(|world| {
        under_load(world, |world, master, _| {
            let old = world.workers(master);
            world.eggctl(&["reload", "--title=svc", "--rolling"]).run().exits(0).says("worker by worker");
            all_new(world, master, &old, 2);
        });
    });
}

#[test]
fn scales_lose_nothing() {
    world(|world| {
        under_load(world, |world, master, time| {
            let count = [3, 1, 4, 2, 1][time % 5];
            world.eggctl(&["scale", "--title=svc", &count.to_string()]).run().exits(0);
            assert_eq!(world.workers(master).len(), count);
        });
    });
}

#[test]
fn a_killed_worker_takes_with_it_only_what_it_was_doing() {
    world(|world| {
        world.expect_a_death();
        world.expect_in_log("new member after");
        let port = world.port();
        world.start("svc", port).run().exits(0);
        let master = world.master("svc");
        let kinds = [Kind::Close, Kind::Close, Kind::KeepAlive(0), Kind::KeepAlive(20), Kind::Upload];
        let load = Load::begin(port, &kinds);
        for _ in 0..times() {
            let old = world.workers(master);
            processes::signal(old[0], Signal::SIGKILL);
            eventually("a new worker", || {
                let workers = world.workers(master);
                workers.len() == 2 && !workers.contains(&old[0])
            });
            load.goes_on(100);
        }
        let tally = load.end();
        visibly(&format!("{} answered, {} lost in {} kills", tally.answered, tally.lost, times()));
        assert_eq!(tally.refused, 0, "{:#?}", tally.failures);
        // Each client has one request under way: no kill can take more than that of each.
        assert!(tally.lost <= (times() * kinds.len()) as u64, "{:#?}", tally.failures);
        world.stop("svc");
    });
}
