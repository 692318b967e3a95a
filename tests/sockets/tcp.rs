//! TCP: versions of IP, names, ports, closing and listening again, what never asks the master, errors.

use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};

use serde_json::json;

use super::{at, listen, port_of, run, serve_exactly, start, who};
use crate::harness::{eventually, world};

const V4: Ipv4Addr = Ipv4Addr::LOCALHOST;
const V6: Ipv6Addr = Ipv6Addr::LOCALHOST;

#[test]
fn each_version_of_ip_is_served_as_it_was_asked_for() {
    world(|world| {
        let port = world.port();
        start(world, port, 2);
        let both = port_of(&listen(world, &[1, 2], "both", &json!({ "port": 0 }))[0]);
        let v4 = port_of(&listen(world, &[1, 2], "v4", &at("127.0.0.1", 0))[0]);
        let v6 = port_of(&listen(world, &[1, 2], "v6", &at("::1", 0))[0]);
        let v6_only = json!({ "port": 0, "host": "::", "ipv6Only": true });
        let only = listen(world, &[1, 2], "only", &v6_only);
        assert_eq!(only[0]["address"]["family"], "IPv6");
        let only = port_of(&only[0]);
        serve_exactly(&[1, 2], || who((V4, both)));
        serve_exactly(&[1, 2], || who((V6, both)));
        serve_exactly(&[1, 2], || who((V4, v4)));
        serve_exactly(&[1, 2], || who((V6, v6)));
        serve_exactly(&[1, 2], || who((V6, only)));
        for (refused, port) in [("v4", only), ("v4", v6)] {
            assert!(who((V4, port)).is_err(), "{refused} is served at {port}");
        }
        assert!(who((V6, v4)).is_err());
        // A v6-only socket leaves the port of IPv4 to others.
        assert!(listen(world, &[1], "beside", &at("127.0.0.1", only))[0]["address"].is_object());
        serve_exactly(&[1], || who((V4, only)));
        world.stop("svc");
    });
}

#[test]
fn a_host_name_is_looked_up_by_the_worker_and_its_address_is_shared() {
    world(|world| {
        let port = world.port();
        start(world, port, 2);
        let shared = listen(world, &[1, 2], "named", &at("localhost", 0));
        assert_eq!(shared[0]["address"], shared[1]["address"]);
        serve_exactly(&[1, 2], || who(("localhost", port_of(&shared[0]))));
        // Where it finds no such host it never asks.
        assert_eq!(listen(world, &[1], "nowhere", &at("no.such.host.invalid", 0))[0]["syscall"], "getaddrinfo");
        world.stop("svc");
    });
}

#[test]
fn servers_close_and_listen_again_in_any_order_and_from_any_worker() {
    world(|world| {
        let port = world.port();
        start(world, port, 3);
        let free = world.port();
        let again = at("127.0.0.1", free);
        for (closes, others) in [(1, [2, 3]), (3, [1, 2]), (2, [1, 3])] {
            listen(world, &[1, 2, 3], "again", &again);
            serve_exactly(&[1, 2, 3], || who((V4, free)));
            run(world, closes, "return kit.close('again')");
            serve_exactly(&others, || who((V4, free)));
            assert!(listen(world, &[closes], "again", &again)[0]["address"].is_object());
            serve_exactly(&[1, 2, 3], || who((V4, free)));
            for worker in [closes, others[1], others[0]] {
                run(world, worker, "return kit.close('again')");
            }
            eventually("the last one out closes the socket", || who((V4, free)).is_err());
        }
        // In one go: the close and the listen behind it come in one read.
        listen(world, &[1], "again", &again);
        for _turn in 0..20 {
            let done = run(world, 1, &format!("kit.close('again'); return kit.listen('again', {again})"));
            assert!(done["address"].is_object(), "{done}");
        }
        serve_exactly(&[1], || who((V4, free)));
        world.stop("svc");
    });
}

#[test]
fn two_servers_of_a_worker_on_one_address_are_an_error_and_two_on_port_0_are_two() {
    world(|world| {
        world.expect_in_log("cannot listen");
        let port = world.port();
        start(world, port, 2);
        let free = world.port();
        listen(world, &[1, 2], "first", &at("127.0.0.1", free));
        let second = &listen(world, &[1], "second", &at("127.0.0.1", free))[0];
        assert_eq!(second["code"], "EADDRINUSE");
        assert_eq!(second["message"], format!("bind EADDRINUSE 127.0.0.1:{free}"));
        let one = listen(world, &[1, 2], "one", &json!({ "port": 0 }));
        let two = listen(world, &[1, 2], "two", &json!({ "port": 0 }));
        assert_eq!((port_of(&one[0]), port_of(&two[0])), (port_of(&one[1]), port_of(&two[1])));
        assert_ne!(port_of(&one[0]), port_of(&two[0]));
        serve_exactly(&[1, 2], || who((V4, port_of(&two[0]))));
        world.stop("svc");
    });
}

#[test]
fn exclusive_and_reuse_port_are_the_workers_own_business() {
    world(|world| {
        let port = world.port();
        start(world, port, 2);
        let exclusive = json!({ "port": 0, "exclusive": true });
        let [one, two] = &listen(world, &[1, 2], "own", &exclusive)[..] else { panic!("two workers") };
        serve_exactly(&[1], || who((V4, port_of(one))));
        serve_exactly(&[2], || who((V4, port_of(two))));
        // Node before 22.12 and 23.1 does not know it, and asks the master: shared, all the same.
        let free = world.port();
        let reuse = listen(world, &[1, 2], "reuse", &json!({ "port": free, "reusePort": true }));
        assert!(reuse.iter().all(|one| port_of(one) == free), "{reuse:?}");
        for worker in [1, 2] {
            run(world, 3 - worker, "return kit.close('reuse')");
            serve_exactly(&[worker], || who((V4, free)));
            listen(world, &[3 - worker], "reuse", &json!({ "port": free, "reusePort": true }));
        }
        world.stop("svc");
    });
}

#[test]
fn errors_are_nodes_own_in_code_and_text() {
    world(|world| {
        world.expect_in_log("cannot listen");
        let port = world.port();
        start(world, port, 1);
        let taken = TcpListener::bind((V4, 0)).unwrap();
        let taken = taken.local_addr().unwrap().port();
        for (options, errno, code, message) in [
            (at("127.0.0.1", taken), -98, "EADDRINUSE", format!("bind EADDRINUSE 127.0.0.1:{taken}")),
            (at("192.0.2.1", 81), -99, "EADDRNOTAVAIL", "bind EADDRNOTAVAIL 192.0.2.1:81".into()),
            (json!({ "fd": 99 }), -22, "EINVAL", "bind EINVAL".into()),
        ] {
            let told = &listen(world, &[1], "wrong", &options)[0];
            assert_eq!(told["message"], message, "{told}");
            assert_eq!((&told["code"], &told["errno"]), (&json!(code), &json!(errno)), "{told}");
            assert_eq!(told["syscall"], "bind", "{told}");
        }
        serve_exactly(&[1], || who((V4, port)));
        world.stop("svc");
    });
}
