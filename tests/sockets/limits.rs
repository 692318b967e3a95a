//! `maxConnections`: a worker that has enough refuses, and another one takes the connection.

use std::io::{ErrorKind, Read};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use super::{at, cpu_free, run, start};
use crate::harness::{PATIENCE, eventually, world};

/// Connects and reads who serves, and keeps the connection; `None` while nobody does.
struct Client {
    stream: TcpStream,
    served_by: Option<u32>,
}

impl Client {
    fn connect(port: u16) -> Client {
        Client { stream: TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap(), served_by: None }
    }

    fn is_served(&mut self, patience: Duration) -> bool {
        self.stream.set_read_timeout(Some(patience)).unwrap();
        let mut text = [0; 8];
        match self.stream.read(&mut text) {
            Ok(0) => panic!("a connection was closed"),
            Ok(length) => {
                let text = String::from_utf8_lossy(&text[..length]);
                self.served_by = text.split(' ').next().and_then(|id| id.parse().ok());
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}"),
        }
        self.served_by.is_some()
    }
}

/// Has this worker serve so many connections at once, each for as long as its client likes.
fn limit(world: &crate::harness::World, worker: u32, port: u16, most: &str) {
    let body = format!(
        "const listening = await kit.listen('few', {}, socket => socket.write(`${{kit.id}} `));
         kit.open.get('few').maxConnections = {most}; return listening;",
        at("127.0.0.1", port)
    );
    assert!(run(world, worker, &body)["address"].is_object());
}

#[test]
fn a_connection_that_a_full_worker_refuses_goes_to_another() {
    world(|world| {
        let port = world.port();
        start(world, port, 2);
        let free = world.port();
        limit(world, 1, free, "1");
        limit(world, 2, free, "Infinity");
        let mut clients: Vec<Client> = (0..20).map(|_| Client::connect(free)).collect();
        assert!(clients.iter_mut().all(|client| client.is_served(PATIENCE)), "somebody waits");
        assert_eq!(clients.iter().filter(|client| client.served_by == Some(1)).count(), 1);
        world.stop("svc");
    });
}

#[test]
fn when_all_are_full_connections_wait_and_the_master_does_not_spin() {
    world(|world| {
        let port = world.port();
        start(world, port, 2);
        let free = world.port();
        limit(world, 1, free, "1");
        limit(world, 2, free, "1");
        let mut served: Vec<Client> = (0..2).map(|_| Client::connect(free)).collect();
        assert!(served.iter_mut().all(|client| client.is_served(PATIENCE)));
        let mut waiting: Vec<Client> = (0..3).map(|_| Client::connect(free)).collect();
        cpu_free(world.master("svc"));
        assert!(!waiting.iter_mut().any(|client| client.is_served(Duration::from_millis(1))));
        while !waiting.is_empty() {
            let freed = served.swap_remove(0).served_by;
            eventually("one more is served", || {
                waiting.iter_mut().any(|client| client.is_served(Duration::from_millis(1)))
            });
            let place = waiting.iter().position(|client| client.served_by.is_some()).unwrap();
            assert_eq!(waiting[place].served_by, freed, "by who has room");
            served.push(waiting.swap_remove(place));
        }
        world.stop("svc");
    });
}
