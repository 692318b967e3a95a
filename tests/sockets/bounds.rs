//! What one worker can cost the master: a bounded place in its memory, and a bounded place in its log.

use std::net::Ipv4Addr;

use serde_json::json;

use super::{run, start, who};
use crate::harness::world;

const HOST: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// The most memory that the process has ever had, in MiB.
fn most_memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap() / 1024
}

/// Sends these questions of Node's cluster, each built from its number, and returns once all are answered.
fn questions(count: u32, question: &str) -> String {
    format!(
        "const answers = [];
         return new Promise(async resolve => {{
           process.on('internalMessage', message => {{
             if (message.ack >= 1e6) answers.push(message.errno);
             if (answers.length === {count}) resolve(answers);
           }});
           for (let n = 0; n < {count}; n++) {{
             const message = {{ cmd: 'NODE_CLUSTER', act: 'queryServer', index: n, addressType: 4, port: 0, ...{question}, seq: 1e6 + n }};
             await new Promise(done => process.send(message, done));
           }}
         }});"
    )
}

#[test]
fn questions_with_much_data_are_answered_and_cost_the_master_no_more_than_one_frame() {
    world(|world| {
        world.expect_in_log("longer than is kept");
        let port = world.port();
        start(world, port, 1);
        let answers = run(world, 1, &questions(8, "{ data: 'x'.repeat(30 << 20) }"));
        assert!(answers.as_array().unwrap().iter().all(|errno| *errno == json!(-7)), "{answers}: not E2BIG");
        let most = most_memory(world.master("svc"));
        assert!(most < 64 + 16, "the master took {most} MiB");
        // As much as Node's own have is taken and given back.
        assert_eq!(
            run(world, 1, &questions(4, "{ data: { ticketKeys: 'ab'.repeat(48) } }")),
            json!([null, null, null, null])
        );
        assert_eq!(who((HOST, port)).unwrap(), 1);
        world.stop("svc");
    });
}

#[test]
fn a_refused_address_stands_in_the_log_cut_and_without_what_a_terminal_obeys() {
    world(|world| {
        world.expect_in_log("WARN");
        let port = world.port();
        start(world, port, 1);
        let long = run(world, 1, &questions(1, "{ address: 'y'.repeat(3 << 19) }"));
        assert_eq!(long, json!([-7]));
        let odd = r"{ address: '\u001b]0;owned\u0007' + 'z'.repeat(3000), addressType: -1, port: -1 }";
        run(world, 1, &questions(1, odd));
        world.log_says("cannot listen on");
        let log = world.log();
        assert!(log.lines().all(|line| line.len() < 1_000), "a line of {:?}", log.lines().map(str::len).max());
        assert!(!log.contains(['\u{1b}', '\u{7}']), "{log}");
        assert_eq!(who((HOST, port)).unwrap(), 1);
        world.stop("svc");
    });
}
