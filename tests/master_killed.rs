//! After SIGKILL of the master.

use nix::sys::signal::Signal;

use crate::harness::{World, eventually, http, processes, world};

#[test]
fn the_members_of_a_killed_master_end_by_themselves_and_the_port_is_free() {
    world(|world| {
        let port = world.port();
        world.start("svc", port).run().exits(0);
        processes::signal(world.master("svc"), Signal::SIGKILL);
        eventually("everybody has gone", || world.alive().is_empty());
        assert!(http::try_get(port, "/").is_err());
        world.start("svc", port).run().exits(0);
        assert_eq!(http::get(port, "/").status, 200);
        world.stop("svc");
    });
}

#[test]
fn members_that_were_still_booting_end_too() {
    world(|world| {
        world.expect_in_log("");
        world.start("svc", world.port()).env("WORKER", "hang").env("WORKER_BOOTS", "3").run().exits(0);
        let master = world.master("svc");
        processes::signal(world.workers(master)[0], Signal::SIGKILL);
        eventually("a replacement boots", || world.boots("worker") == 3);
        processes::signal(master, Signal::SIGKILL);
        eventually("everybody has gone", || world.alive().is_empty());
    });
}

/// Kills the master of an application whose agent stays when its channel ends, and waits until no process is left.
fn the_agent_ends(world: &mut World, flags: &[&str], variables: &[(&str, &str)]) {
    let typed = world.foreground("svc", world.port()).args(flags).env("AGENT", "stay");
    let master = variables.iter().fold(typed, |typed, (name, value)| typed.env(name, value)).spawn();
    master.says("started on");
    assert_eq!(world.agents(master.pid()).len(), 1);
    master.signal(Signal::SIGKILL);
    eventually("every member has ended", || world.alive().is_empty());
    master.finish().killed_by(Signal::SIGKILL);
}

#[test]
fn in_the_foreground_a_plain_agent_with_work_of_its_own_ends_with_a_killed_master() {
    world(|world| the_agent_ends(world, &[], &[]));
}

#[test]
fn without_the_preload_it_ends_too() {
    world(|world| the_agent_ends(world, &["--no-preload"], &[]));
}

#[test]
fn its_handler_of_term_runs() {
    world(|world| {
        the_agent_ends(world, &[], &[("AGENT_TERM", "record")]);
        assert_eq!(world.events_of("term").len(), 1);
        assert!(world.events_of("exit").iter().any(|event| event["who"] == "agent"));
    });
}

#[test]
fn one_that_ignores_term_is_killed_when_its_part_of_a_close_is_over() {
    world(|world| {
        the_agent_ends(world, &[], &[("AGENT_TERM", "ignore"), ("EGG_AGENT_CLOSE_TIMEOUT", "300")]);
        assert_eq!(world.events_of("term").len(), 1);
    });
}

#[test]
fn detached_it_ends_with_a_killed_master_and_a_killed_logger() {
    world(|world| {
        world.start("svc", world.port()).arg("--no-preload").env("AGENT", "stay").run().exits(0);
        let master = world.master("svc");
        let loggers =
            world.alive().into_iter().filter(|process| process.args.get(1).is_some_and(|arg| arg == "logger"));
        let victims: Vec<u32> = [master].into_iter().chain(loggers.map(|logger| logger.pid)).collect();
        assert_eq!(victims.len(), 2);
        // Neither can do anything about the other's end.
        victims.iter().for_each(|pid| processes::signal(*pid, Signal::SIGSTOP));
        victims.iter().for_each(|pid| processes::signal(*pid, Signal::SIGKILL));
        eventually("every member has ended", || world.alive().is_empty());
    });
}

#[test]
fn an_agent_that_closes_its_channel_is_no_orphan_and_has_its_grace() {
    world(|world| {
        world.expect_in_log("");
        let typed = world.start("svc", world.port()).env("AGENT", "disconnect").env("AGENT_BOOTS", "2");
        typed.env("EGG_AGENT_CLOSE_TIMEOUT", "300").run().exits(0);
        let master = world.master("svc");
        processes::signal(world.agents(master)[0], Signal::SIGKILL);
        eventually("a third agent", || world.boots("agent") == 3);
        world.log_says("closed its channel");
        world.stop("svc");
    });
}
