//! UDP: the workers always have the socket themselves.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

use serde_json::json;

use super::{port_of, run, start};
use crate::harness::{PATIENCE, eventually, world};

/// Which worker receives a datagram that is sent there.
fn receiver(ip: IpAddr, port: u16) -> io::Result<u32> {
    let any: IpAddr = if ip.is_ipv6() { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.connect((ip, port))?;
    socket.send(b"who?")?;
    let mut answer = [0; 64];
    let length = socket.recv(&mut answer)?;
    super::served_by(&answer[..length])
}

#[test]
fn udp_is_shared_by_the_workers_over_both_versions_of_ip() {
    world(|world| {
        let port = world.port();
        start(world, port, 2);
        for (name, kind, ip) in
            [("four", "udp4", IpAddr::from(Ipv4Addr::LOCALHOST)), ("six", "udp6", Ipv6Addr::LOCALHOST.into())]
        {
            let bind = format!("return kit.bind('{name}', '{kind}', {{ port: 0 }})");
            let bound = [1, 2].map(|worker| port_of(&run(world, worker, &bind)));
            assert_eq!(bound[0], bound[1]);
            let to = |worker| (0..).map(|_| receiver(ip, bound[0]).unwrap()).any(|one| one == worker);
            assert!(to(1) || to(2));
            // Whoever is left has it alone.
            run(world, 1, &format!("return kit.close('{name}')"));
            for _each in 0..10 {
                assert_eq!(receiver(ip, bound[0]).unwrap(), 2);
            }
            run(world, 2, &format!("return kit.close('{name}')"));
            eventually("the last one out closes it", || UdpSocket::bind((ip, bound[0])).is_ok());
        }
        world.stop("svc");
    });
}

#[test]
fn udp_errors_and_flags_are_nodes_own() {
    world(|world| {
        world.expect_in_log("cannot listen");
        let port = world.port();
        start(world, port, 2);
        let taken = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let taken = taken.local_addr().unwrap().port();
        let told = run(world, 1, &format!("return kit.bind('x', 'udp4', {{ port: {taken}, address: '127.0.0.1' }})"));
        assert_eq!(told["message"], format!("bind EADDRINUSE 127.0.0.1:{taken}"));
        let told = run(world, 1, "return kit.bind('x', 'udp4', { port: 0, address: '192.0.2.1' })");
        assert_eq!((&told["code"], &told["syscall"]), (&json!("EADDRNOTAVAIL"), &json!("bind")));
        // The same address twice: only who says so may.
        let reuse = "{ type: 'udp4', reuseAddr: true }";
        let free = port_of(&run(world, 1, &format!("return kit.bind('a', {reuse}, {{ port: 0 }})")));
        let again = run(world, 1, &format!("return kit.bind('b', {reuse}, {{ port: {free} }})"));
        assert_eq!(port_of(&again), free);
        let refused = run(world, 1, &format!("return kit.bind('c', 'udp4', {{ port: {free} }})"));
        assert_eq!(refused["code"], "EADDRINUSE");
        // v6 only leaves the port of IPv4 to others.
        let only = "{ type: 'udp6', ipv6Only: true }";
        let v6 = port_of(&run(world, 2, &format!("return kit.bind('d', {only}, {{ port: 0 }})")));
        assert_eq!(port_of(&run(world, 1, &format!("return kit.bind('e', 'udp4', {{ port: {v6} }})"))), v6);
        assert_eq!(receiver(Ipv6Addr::LOCALHOST.into(), v6).unwrap(), 2);
        assert_eq!(receiver(Ipv4Addr::LOCALHOST.into(), v6).unwrap(), 1);
        world.stop("svc");
    });
}
