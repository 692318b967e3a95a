//! `NODE_OPTIONS=--inspect…` is for every member, and each has a port of its own.

use nix::sys::signal::Signal;
use serde_json::json;

use crate::harness::egg::TITLE;
use crate::harness::processes::{self, Process};
use crate::harness::{World, eventually, http, installed, world};

/// The TCP ports that this process listens on.
fn listens_on(pid: u32) -> Vec<u16> {
    let inodes: Vec<String> = std::fs::read_dir(format!("/proc/{pid}/fd")).map_or_else(
        |_| Vec::new(),
        |descriptors| {
            let link = |entry: std::io::Result<std::fs::DirEntry>| std::fs::read_link(entry.ok()?.path()).ok();
            let inode =
                |link: std::path::PathBuf| Some(link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned());
            descriptors.filter_map(link).filter_map(inode).collect()
        },
    );
    let tables = ["tcp", "tcp6"].map(|table| std::fs::read_to_string(format!("/proc/self/net/{table}")).unwrap());
    let mut ports: Vec<u16> = tables
        .iter()
        .flat_map(|table| table.lines().skip(1))
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let is_its = fields[3] == "0A" && inodes.iter().any(|inode| inode == fields[9]);
            is_its.then(|| u16::from_str_radix(fields[1].rsplit(':').next().unwrap(), 16).unwrap())
        })
        .collect();
    ports.sort_unstable();
    ports
}

/// The inspector ports of the agent and the workers, in order: all that they listen on between these bounds.
fn inspectors(world: &World, master: u32, from: u16) -> Vec<u16> {
    let members = [world.agents(master), world.workers(master)].concat();
    let all = members.into_iter().flat_map(listens_on).filter(|port| (from..from + 20).contains(port));
    let mut all: Vec<u16> = all.collect();
    all.sort_unstable();
    all
}

#[test]
fn members_of_node_options_inspect_have_ports_of_their_own_through_deaths_reloads_and_scales() {
    world(|world| {
        world.expect_in_log("");
        let port = world.port();
        let typed = world.start("svc", port).env("NODE_OPTIONS", "--trace-uncaught --inspect=127.0.0.1:9400");
        typed.args(["--ignore-stderr", "--spare=1"]).run().exits(0);
        let master = world.master("svc");
        eventually("four ports", || inspectors(world, master, 9400) == [9400, 9401, 9402, 9403]);
        assert_eq!(listens_on(world.agents(master)[0]), [9400]);
        // All at the same time: the old ones have theirs as long as they live.
        for how in [&["--batch=8"][..], &["--rolling"]] {
            world.eggctl(&["reload", "--title=svc"]).args(how).run().exits(0);
            world.log_says("reloaded: 2 new workers");
        }
        processes::signal(world.workers(master)[0], Signal::SIGKILL);
        processes::signal(world.agents(master)[0], Signal::SIGKILL);
        // Its own again, unless its channel ended before the kernel had given the port back.
        let is_one = |ports: &[u16]| matches!(ports, [9400 | 9403..=9419]);
        eventually(
            "the agent has a port again",
            || matches!(world.agents(master)[..], [agent] if is_one(&listens_on(agent))),
        );
        world.eggctl(&["scale", "3", "--title=svc"]).run().exits(0);
        let is_whole = || {
            let mut ports = inspectors(world, master, 9400);
            ports.dedup();
            ports.len() == 5
        };
        eventually("five members, five ports", is_whole);
        assert!(!world.log().contains("address already in use"), "{}", world.log());
        assert_eq!(http::get(port, "/").status, 200);
        world.stop("svc");
    });
}

#[test]
fn a_port_alone_and_a_default_port_are_counted_up_too() {
    for (options, base) in [
        ("--inspect", 9229),
        ("--inspect --inspect-port=9500", 9500),
        ("--inspect-port=9600 --inspect=localhost", 9600),
    ] {
        world(|world| {
            let typed = world.foreground("svc", world.port()).env("NODE_OPTIONS", options);
            let master = typed.spawn();
            master.says("started on");
            assert_eq!(inspectors(world, master.pid(), base), [base, base + 1, base + 2], "{options}");
            master.signal(Signal::SIGTERM);
            master.finish().exits(0).does_not_say("address already in use");
        });
    }
}

#[test]
fn in_the_place_of_node_a_parents_flag_is_counted_up_for_eggs_members() {
    let Some(application) = installed("egg3") else { return };
    world(|world| {
        world.expect_egg_lines();
        let options = json!({ "workers": 2, "port": world.port(), "baseDir": application, "title": TITLE });
        let typed = world.eggctl(&["--inspect=9700", "/any/where/start-cluster", &options.to_string()]);
        let master = typed.env("NODE_ENV", "production").spawn();
        master.says("egg started on");
        assert_eq!(inspectors(world, master.pid(), 9700), [9700, 9701, 9702]);
        let agent = Process::read(world.agents(master.pid())[0]).unwrap();
        assert!(agent.args.contains(&"--inspect=9700".to_owned()), "{:?}", agent.args);
        master.signal(Signal::SIGTERM);
        master.finish().exits(0);
    });
}
