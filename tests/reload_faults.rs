//! Operations that are disturbed: other commands come in between, and members, the logger or the master are killed at random
//! moments. What was good before goes on, the wanted count comes back, nobody is left over.

use std::thread;
use std::time::{Duration, SystemTime};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::load::{Kind, Load};
use crate::harness::{Typed, World, eventually, http, is_long, processes, visibly, world};
use crate::log_process::loggers;

/// A command for the title of these tests.
pub fn typed(world: &World, words: &[&str]) -> Typed {
    world.eggctl(words).arg("--title=svc")
}

/// A worker that listens when the file `go` is there.
pub const SLOW_BOOT: &str = "const look = setInterval(() => {\
    if (!require('fs').existsSync(process.env.FIXTURE_DIR + '/go')) return;\
    clearInterval(look);\
    require('http').createServer((q, a) => a.end('{}')).listen(process.env.PORT);\
  }, 5)";

#[test]
fn what_is_asked_while_the_application_boots_is_refused_and_the_start_goes_on() {
    world(|world| {
        let port = world.port();
        let application = world.directory("app", &[("app.js", SLOW_BOOT), ("package.json", "{\"name\":\"app\"}")]);
        let start = typed(world, &["start", "--daemon", "--workers=2", &format!("--port={port}")]);
        let start = start.arg(&application).spawn();
        eventually("both boot", || world.masters("svc").first().is_some_and(|it| world.workers(*it).len() == 2));
        let master = world.master("svc");
        let booting = world.workers(master);
        for words in [&["reload"][..], &["reload", "--rolling"], &["reload", "--agent"], &["scale", "3"]] {
            typed(world, words).run().fails(1).says("not ready yet").says("eggctl wait");
        }
        std::fs::write(world.work().join("go"), "").unwrap();
        start.finish().exits(0);
        assert_eq!(world.workers(master), booting);
        assert_eq!(http::get(port, "/").status, 200);
        world.stop("svc");
    });
}

/// The fixture, whose third boot of a worker hangs; the port and the master.
pub fn with_a_third_boot_that_hangs(world: &mut World) -> (u16, u32) {
    world.expect_in_log("");
    let port = world.port();
    world.start("svc", port).env("WORKER", "hang").env("WORKER_BOOTS", "3").run().exits(0);
    (port, world.master("svc"))
}

/// The worker of the third boot, once it hangs.
pub fn hanging(world: &World) -> u32 {
    eventually("a new worker boots", || world.boots("worker") == 3);
    let boots = world.events_of("boot");
    let third = boots.iter().find(|event| event["who"] == "worker" && event["boot"] == 3).unwrap();
    third["pid"].as_u64().unwrap().try_into().unwrap()
}

#[test]
fn other_commands_during_a_reload_are_told_what_is_under_way_and_change_nothing() {
    world(|world| {
        let (port, master) = with_a_third_boot_that_hangs(world);
        let old = world.workers(master);
        let reload = typed(world, &["reload"]).spawn();
        let hanging = hanging(world);
        typed(world, &["reload", "--rolling"])
            .run()
            .fails(1)
            .says("a reload is under way")
            .says("`eggctl wait --for=reloaded`");
        typed(world, &["scale", "4"]).run().fails(1).says("a reload is under way");
        assert!(old.contains(&http::get(port, "/").pid()));
        processes::signal(hanging, Signal::SIGKILL);
        reload.finish().fails(1).says("died");
        eventually("only the old ones are there", || world.workers(master) == old);
        world.stop("svc");
    });
}

#[test]
fn other_commands_during_a_scale_are_told_what_is_under_way_and_the_same_one_joins() {
    world(|world| {
        let (_, master) = with_a_third_boot_that_hangs(world);
        let old = world.workers(master);
        let first = typed(world, &["scale", "3"]).spawn();
        let hanging = hanging(world);
        typed(world, &["reload"])
            .run()
            .fails(1)
            .says("the number of workers is being changed")
            .does_not_say("eggctl wait");
        typed(world, &["scale", "4"]).run().fails(1).says("the number of workers is being changed");
        let before = processes::sockets(master);
        let mut second = typed(world, &["scale", "3"]).spawn();
        // Its request is read before that of the next command is.
        eventually("the second is connected", || processes::sockets(master) > before);
        let waiting = typed(world, &["wait", "--for=ready", "--timeout=500"]).run();
        assert!(matches!(waiting.status.code(), Some(0 | 1)), "{}", waiting.text());
        assert!(!second.has_ended());
        processes::signal(hanging, Signal::SIGKILL);
        first.finish().fails(1).says("died");
        second.finish().fails(1).says("died");
        eventually("as many as before", || world.workers(master) == old);
        world.stop("svc");
    });
}

#[test]
fn a_scale_that_fails_halfway_says_that_nothing_has_changed() {
    world(|world| {
        world.expect_in_log("");
        let start = world.start("svc", world.port()).env("WORKER", "stderr-exit:1").env("WORKER_BOOTS", "4");
        start.run().exits(0);
        let (master, before) = (world.master("svc"), world.workers(world.master("svc")));
        typed(world, &["scale", "4"]).run().fails(1).says("nothing has changed").does_not_say("replaced");
        eventually("the third has gone again", || world.workers(master) == before);
        world.stop("svc");
    });
}

#[test]
fn a_stop_during_a_scale_to_more_leaves_nobody() {
    world(|world| {
        with_a_third_boot_that_hangs(world);
        let scale = typed(world, &["scale", "3"]).spawn();
        hanging(world);
        world.stop("svc");
        world.nobody_is_left();
        scale.finish().fails(1).says("stopped");
    });
}

#[test]
fn a_stop_during_a_rolling_reload_leaves_nobody() {
    world(|world| {
        with_a_third_boot_that_hangs(world);
        let reload = typed(world, &["reload", "--rolling"]).spawn();
        hanging(world);
        world.stop("svc");
        world.nobody_is_left();
        reload.finish().fails(1).says("stopped");
    });
}

#[test]
fn a_stop_while_the_agent_is_being_replaced_leaves_nobody() {
    world(|world| {
        world.expect_in_log("");
        world.start("svc", world.port()).env("AGENT_TERM", "ignore").run().exits(0);
        let reload = typed(world, &["reload", "--agent"]).spawn();
        eventually("the agent is asked to go", || world.events_of("term").iter().any(|term| term["who"] == "agent"));
        world.stop("svc");
        world.nobody_is_left();
        reload.finish().fails(1).says("stopped");
    });
}

#[test]
fn a_reload_during_a_stop_is_refused_and_the_stop_goes_on() {
    world(|world| {
        world.expect_in_log("");
        let port = world.port();
        world.start("svc", port).run().exits(0);
        let slow = thread::spawn(move || http::try_get(port, "/slow?ms=1500").is_ok());
        eventually("a request is under way", || !world.events_of("slow").is_empty());
        let stop = typed(world, &["stop"]).spawn();
        eventually("nobody listens any more", || std::net::TcpStream::connect(("127.0.0.1", port)).is_err());
        for words in [&["reload"][..], &["scale", "4"]] {
            typed(world, words).run().fails(1).says("stopped");
        }
        stop.finish().exits(0);
        assert!(slow.join().unwrap(), "the request was answered");
        world.nobody_is_left();
    });
}

// -- kills at random moments

/// How many kills make one run.
fn kills() -> usize {
    if is_long() { 50 } else { 8 }
}

/// Numbers that are others in each run; the moment and the victim of every kill are told when the test fails.
struct Dice(usize);

impl Dice {
    fn new() -> Dice {
        Dice(SystemTime::UNIX_EPOCH.elapsed().unwrap().subsec_nanos() as usize)
    }

    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(1_103_515_245).wrapping_add(12_345) & 0x7fff_ffff;
        (self.0 >> 8) % bound
    }

    /// Lets a random time pass: that the moment is any is what these tests are about.
    fn wait(&mut self, most_ms: usize) {
        let ms = self.below(most_ms);
        eprintln!("after {ms} ms");
        thread::sleep(Duration::from_millis(ms as u64));
    }

    /// Kills one of them; who it was. It may have ended by itself meanwhile.
    fn kill_one_of(&mut self, victims: &[u32]) -> Option<u32> {
        let victim = *victims.get(self.below(victims.len().max(1)))?;
        let words = processes::Process::read(victim).map(|process| process.args).unwrap_or_default();
        eprintln!("kill {victim} {words:?}");
        let _ = kill(Pid::from_raw(i32::try_from(victim).unwrap()), Signal::SIGKILL);
        Some(victim)
    }
}

const KINDS: [Kind; 4] = [Kind::Close, Kind::Close, Kind::KeepAlive(0), Kind::KeepAlive(20)];

/// A worker, the spare, the agent or the logger is killed at a random moment of these commands, again and again.
fn killed_at_random(world: &mut World, commands: &[&[&str]]) {
    world.expect_in_log("");
    let port = world.port();
    world.start("svc", port).arg("--spare=1").run().exits(0);
    let master = world.master("svc");
    let load = Load::begin(port, &KINDS);
    let (mut dice, mut workers_killed) = (Dice::new(), 0);
    for kill in 0..kills() {
        let command = typed(world, commands[kill % commands.len()]).spawn();
        dice.wait(1_000);
        let (workers, mut victims) = (world.workers(master), world.agents(master));
        victims.extend(loggers(world).iter().map(|logger| logger.pid));
        victims.extend(&workers);
        let victim = dice.kill_one_of(&victims);
        workers_killed += u64::from(victim.is_some_and(|victim| workers.contains(&victim)));
        let code = command.finish().status.code();
        assert!(matches!(code, Some(0 | 1)), "{code:?}");
        load.goes_on(10);
    }
    typed(world, &["scale", "2"]).run();
    eventually("everybody is there again", || {
        world.workers(master).len() == 3 && world.agents(master).len() == 1 && loggers(world).len() == 1
    });
    let tally = load.end();
    visibly(&format!("note: {} answered, {} lost in {} kills", tally.answered, tally.lost, kills()));
    assert_eq!(tally.refused, 0, "{:#?}", tally.failures);
    // Each client has one request under way, and only a worker can take it along.
    assert!(tally.lost <= workers_killed * KINDS.len() as u64, "{workers_killed} workers: {:#?}", tally.failures);
    typed(world, &["reload"]).run().exits(0);
    assert_eq!(world.master("svc"), master);
    world.stop("svc");
}

#[test]
fn kills_at_random_moments_of_a_reload_by_generation_leave_what_was_good() {
    world(|world| killed_at_random(world, &[&["reload", "--batch=2"]]));
}

#[test]
fn kills_at_random_moments_of_a_rolling_reload_with_the_agent_leave_what_was_good() {
    world(|world| killed_at_random(world, &[&["reload", "--rolling", "--agent"]]));
}

#[test]
fn kills_at_random_moments_of_a_scale_leave_what_was_good() {
    world(|world| killed_at_random(world, &[&["scale", "4"], &["scale", "2"]]));
}

/// The master is killed at random moments of this command: everybody goes with it, and a start works at once.
fn master_killed_at_random(world: &mut World, command: &[&str]) {
    world.expect_in_log("");
    let port = world.port();
    let mut dice = Dice::new();
    for _ in 0..kills() {
        world.start("svc", port).arg("--spare=1").run().exits(0);
        let master = world.master("svc");
        let command = typed(world, command).spawn();
        dice.wait(700);
        dice.kill_one_of(&[master]);
        let outcome = command.finish();
        // It was over before, was cut off, or came too late.
        assert!(matches!(outcome.status.code(), Some(0 | 1 | 3)), "{}: {}", outcome.status, outcome.text());
        outcome.does_not_say("panicked");
        eventually("everybody has gone", || world.alive().is_empty());
    }
    world.start("svc", port).run().exits(0);
    assert_eq!(http::get(port, "/").status, 200);
    world.stop("svc");
}

#[test]
fn a_master_killed_at_any_moment_of_a_reload_by_generation_takes_everybody_with_it() {
    world(|world| master_killed_at_random(world, &["reload", "--batch=2"]));
}

#[test]
fn a_master_killed_at_any_moment_of_a_rolling_reload_with_the_agent_takes_everybody_with_it() {
    world(|world| master_killed_at_random(world, &["reload", "--rolling", "--agent"]));
}

#[test]
fn a_master_killed_at_any_moment_of_a_scale_takes_everybody_with_it() {
    world(|world| master_killed_at_random(world, &["scale", "4"]));
}

#[test]
fn a_master_killed_at_any_moment_of_a_stop_takes_everybody_with_it() {
    world(|world| master_killed_at_random(world, &["stop"]));
}

/// A restart is a stop and a start: whoever is killed at whatever moment, afterwards it runs, or nobody is left.
#[test]
fn kills_at_random_moments_of_a_restart_leave_all_or_nobody() {
    world(|world| {
        world.expect_in_log("");
        let port = world.port();
        let mut dice = Dice::new();
        for _ in 0..kills() {
            if world.alive().is_empty() {
                world.start("svc", port).run().exits(0);
            }
            let command = typed(world, &["restart"]).spawn();
            dice.wait(1_000);
            let victims: Vec<u32> = world.alive().iter().map(|process| process.pid).collect();
            let victims: Vec<u32> = victims.into_iter().filter(|pid| *pid != command.pid()).collect();
            dice.kill_one_of(&victims);
            let outcome = command.finish();
            assert!(matches!(outcome.status.code(), Some(0 | 1 | 3)), "{}: {}", outcome.status, outcome.text());
            outcome.does_not_say("panicked");
            eventually("it serves, or nobody is left", || {
                world.alive().is_empty()
                    || typed(world, &["wait", "--timeout=2000"]).run().status.success()
                        && http::try_get(port, "/").is_ok_and(|reply| reply.status == 200)
            });
        }
        if !world.alive().is_empty() {
            world.stop("svc");
        }
    });
}
