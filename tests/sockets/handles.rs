//! Handles that members send: the master takes them, closes them, and nobody waits for anything.

use std::net::Ipv4Addr;

use super::{cpu_free, listen, run, serve_exactly, start, who};
use crate::harness::{eventually, world};

#[test]
fn handles_of_every_kind_are_taken_and_closed_and_their_messages_arrive() {
    world(|world| {
        world.expect_in_log("sent a handle");
        let port = world.port();
        start(world, port, 2);
        let master = world.master("svc");
        let descriptors = || std::fs::read_dir(format!("/proc/{master}/fd")).unwrap().count();
        let before = descriptors();
        run(world, 2, "kit.heard = []; process.on('message', message => kit.heard.push(message.action))");
        let sends = "
            const net = require('net'), dgram = require('dgram');
            const say = (action, handle) => new Promise(resolve => process.send({ action, to: 'app' }, handle, resolve));
            const server = net.createServer(socket => say('connection', socket)).listen({ port: 0, exclusive: true });
            await new Promise(resolve => server.once('listening', resolve));
            await say('server', server);
            const datagrams = dgram.createSocket('udp4');
            await new Promise(resolve => datagrams.bind({ port: 0, exclusive: true }, resolve));
            await say('datagrams', datagrams);
            datagrams.close();
            const client = net.connect(server.address().port);
            await new Promise(resolve => client.resume().once('close', resolve));
            const open = await new Promise((resolve, reject) => server.getConnections((error, count) => error ? reject(error) : resolve(count)));
            await new Promise(resolve => server.close(resolve));
            await say('closed');
            return { open };";
        assert_eq!(run(world, 1, sends)["open"], 0);
        eventually("the messages are relayed in their order", || {
            run(world, 2, "return kit.heard") == serde_json::json!(["server", "datagrams", "connection", "closed"])
        });
        // Not more: one that is left of the start may have gone meanwhile.
        eventually("the master has nothing of the three", || descriptors() <= before);
        // The channel of worker 1 goes on.
        assert!(listen(world, &[1], "more", &serde_json::json!({ "port": 0 }))[0]["address"].is_object());
        serve_exactly(&[1, 2], || who((Ipv4Addr::LOCALHOST, port)));
        cpu_free(master);
        world.stop("svc");
    });
}
