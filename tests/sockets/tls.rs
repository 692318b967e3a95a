//! TLS: all workers have the ticket keys of the first one, so that a session that one has begun another one resumes.

use serde_json::Value;

use super::{run, typed};
use crate::harness::{World, world};

fn sessions_resume(world: &World, dispatch: &str) {
    let port = world.port();
    typed(world, port, 2).arg(format!("--dispatch={dispatch}")).run().exits(0);
    let free = world.port();
    let (key, certificate) = (world.fixture("sockets/tls.key"), world.fixture("sockets/tls.crt"));
    for worker in [1, 2] {
        let body = format!(
            "const https = require('tls'), fs = require('fs');
             const pair = {{ key: fs.readFileSync({key:?}), cert: fs.readFileSync({certificate:?}) }};
             const server = https.createServer(pair, socket => socket.end(String(kit.id)));
             return new Promise(resolve => server.listen({free}, () => resolve({{ address: server.address() }})));"
        );
        assert!(run(world, worker, &body)["address"].is_object());
    }
    for version in ["TLSv1.2", "TLSv1.3"] {
        let client = world.fixture("sockets/tls-client.js");
        let seen = world.program(&["node", client.to_str().unwrap(), &free.to_string(), "20", version]).run();
        seen.exits(0);
        let seen: Vec<Value> = serde_json::from_str(&seen.stdout).unwrap();
        assert_eq!(seen[0]["resumed"], false);
        assert!(seen[1..].iter().all(|one| one["resumed"] == true), "{version}, {dispatch}: {seen:?}");
        // Shared, one worker may well have all that come in turn.
        if dispatch == "round-robin" {
            assert!(seen.iter().any(|one| one["worker"] == 1) && seen.iter().any(|one| one["worker"] == 2), "{seen:?}");
        }
    }
    world.stop("svc");
}

#[test]
fn tls_sessions_are_resumed_by_the_other_worker_too() {
    world(|world| sessions_resume(world, "round-robin"));
}

#[test]
fn tls_sessions_are_resumed_where_workers_accept_by_themselves() {
    world(|world| sessions_resume(world, "shared"));
}
