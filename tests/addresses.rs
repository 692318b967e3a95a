//! Applications that listen at several addresses: which of them makes a worker ready at a start, and what a reload must not lose.

use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;

use crate::harness::{Outcome, World, eventually, http, visibly, world};
use crate::reload_sockets::Asking;

/// Listens at each of `[delay, options]` of the file `listens.json` beside it, so that a release can differ from the one before.
const WORKER: &str = "
    const answer = (q, a) => { a.setHeader('Connection', 'close'); a.end(JSON.stringify({ pid: process.pid })); };
    for (const [ delay, options ] of JSON.parse(require('fs').readFileSync(__dirname + '/listens.json'))) {
      const listen = () => require('http').createServer(answer).listen(options);
      delay ? setTimeout(listen, delay) : listen();
    }
";

/// An application that listens there.
fn application(world: &World, listens: &str) -> PathBuf {
    world.directory("app", &[("app.js", WORKER), ("package.json", "{\"name\":\"app\"}"), ("listens.json", listens)])
}

fn start(world: &World, application: &PathBuf, flags: &[&str]) -> Outcome {
    world.eggctl(&["start", "--daemon", "--title=svc", "--workers=2"]).args(flags).arg(application).run()
}

fn reload(world: &World, flags: &[&str]) -> Outcome {
    world.eggctl(&["reload", "--title=svc"]).args(flags).run()
}

fn is_open(port: u16) -> bool {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
}

fn ask_at_port(port: u16) -> Asking {
    Asking::begin(move || http::try_get(port, "/").map(drop))
}

#[test]
fn without_a_port_the_first_address_that_other_machines_reach_is_where_the_application_serves() {
    world(|world| {
        let (metrics, port) = (world.port(), world.port());
        let listens = format!(r#"[[0,{{"port":{metrics},"host":"127.0.0.1"}}],[400,{{"port":{port}}}]]"#);
        start(world, &application(world, &listens), &[]).exits(0);
        world.log_says(&format!("app started on http://127.0.0.1:{port} "));
        assert_eq!(http::get(port, "/").status, 200);
        world.stop("svc");
    });
}

#[test]
fn without_a_port_a_loopback_address_counts_when_nothing_better_has_come_for_a_second() {
    world(|world| {
        let (first, second) = (world.port(), world.port());
        let at = |port| format!(r#"{{"port":{port},"host":"127.0.0.1"}}"#);
        let started = start(world, &application(world, &format!("[[0,{}],[100,{}]]", at(first), at(second))), &[]);
        started.exits(0);
        assert!(started.took.as_millis() >= 1_000, "ready after {:?}", started.took);
        world.log_says(&format!("app started on http://127.0.0.1:{first} "));
        world.stop("svc");
    });
}

#[test]
fn without_a_port_a_unix_socket_for_temporary_files_counts_only_if_it_is_the_only_address() {
    world(|world| {
        let port = world.port();
        let path = world.work().join("its.sock");
        let socket = serde_json::json!({ "path": path });
        let both = format!(r#"[[0,{socket}],[300,{{"port":{port},"host":"127.0.0.1"}}]]"#);
        start(world, &application(world, &both), &[]).exits(0);
        world.log_says(&format!("app started on http://127.0.0.1:{port} "));
        world.stop("svc");
        start(world, &application(world, &format!("[[0,{socket}]]")), &[]).exits(0);
        world.log_says(&format!("app started on {} ", path.display()));
        world.stop("svc");
    });
}

#[test]
fn the_variable_port_names_the_service_as_the_flag_does() {
    world(|world| {
        let (metrics, port) = (world.port(), world.port());
        let application = application(world, &format!(r#"[[0,{{"port":{metrics}}}],[400,{{"port":{port}}}]]"#));
        let typed = world.eggctl(&["start", "--daemon", "--title=svc"]).env("PORT", port.to_string());
        typed.arg(&application).run().exits(0);
        world.log_says(&format!("app started on http://127.0.0.1:{port} "));
        world.stop("svc");
    });
}

#[test]
fn a_worker_that_listens_elsewhere_is_named_with_both_places_in_the_log() {
    world(|world| {
        world.expect_in_log("");
        let (port, other) = (world.port(), world.port());
        let application = application(world, &format!(r#"[[0,{{"port":{other}}}]]"#));
        start(world, &application, &[&format!("--port={port}"), "--timeout=7000", "--ignore-stderr"]).fails(1);
        world.log_says(&format!(" listens on http://127.0.0.1:{other}, not on port {port} (from --port)"));
        let typed = world.eggctl(&["start", "--daemon", "--title=svc", "--timeout=7000", "--ignore-stderr"]);
        typed.env("PORT", port.to_string()).arg(&application).run().fails(1);
        world.log_says(&format!(" listens on http://127.0.0.1:{other}, not on port {port} (from $PORT)"));
    });
}

/// The metrics port comes first and decides that a start is ready: the service port must not be without a worker at a reload.
fn a_later_address_is_served_all_the_time(world: &mut World, flags: &[&str]) {
    world.expect_in_log(" INFO ");
    let (metrics, port) = (world.port(), world.port());
    let listens = format!(r#"[[0,{{"port":{metrics}}}],[1000,{{"port":{port}}}]]"#);
    start(world, &application(world, &listens), &[]).exits(0);
    eventually("the service is there", || is_open(port));
    // What is opened within 5 s after ready belongs to the application: both workers have it by then.
    let master = world.master("svc");
    let old = world.workers(master);
    for worker in &old {
        eventually("each serves", || http::get(port, "/").pid() == *worker);
    }
    let askings = [ask_at_port(port), ask_at_port(metrics)];
    for _ in 0..2 {
        reload(world, flags).exits(0);
        askings.iter().for_each(|asking| asking.goes_on(20));
    }
    for asking in askings {
        let (answered, failures) = asking.end();
        visibly(&format!("note: {flags:?}: {answered} answered, {} lost", failures.len()));
        assert!(failures.is_empty(), "{failures:?}");
    }
    assert!(world.workers(master).iter().all(|worker| !old.contains(worker)));
    world.stop("svc");
}

#[test]
fn a_reload_by_generation_leaves_no_address_without_a_worker() {
    world(|world| a_later_address_is_served_all_the_time(world, &[]));
}

#[test]
fn a_rolling_reload_leaves_no_address_without_a_worker() {
    world(|world| a_later_address_is_served_all_the_time(world, &["--rolling"]));
}

#[test]
fn an_address_that_new_code_does_not_open_any_more_is_a_warning_and_closes_with_the_old_workers() {
    world(|world| {
        world.expect_in_log(" INFO ");
        world.expect_in_log("its socket closes with them");
        for flags in [&[][..], &["--rolling"]] {
            let (metrics, port) = (world.port(), world.port());
            let application = application(world, &format!(r#"[[0,{{"port":{port}}}],[0,{{"port":{metrics}}}]]"#));
            start(world, &application, &[&format!("--port={port}")]).exits(0);
            eventually("both are open", || is_open(metrics) && is_open(port));
            fs::write(application.join("listens.json"), format!(r#"[[0,{{"port":{port}}}]]"#)).unwrap();
            reload(world, flags).exits(0);
            world.log_says(&format!(" does not listen on http://127.0.0.1:{metrics} as the old workers do"));
            eventually("its socket is closed", || !is_open(metrics));
            assert_eq!(http::get(port, "/").status, 200);
            world.stop("svc");
        }
    });
}

#[test]
fn a_reload_whose_new_workers_do_not_serve_where_the_old_ones_do_fails_and_the_old_ones_go_on() {
    world(|world| {
        world.expect_in_log("");
        let (port, other) = (world.port(), world.port());
        let application = application(world, &format!(r#"[[0,{{"port":{port}}}]]"#));
        start(world, &application, &[]).exits(0);
        let old = world.workers(world.master("svc"));
        fs::write(application.join("listens.json"), format!(r#"[[0,{{"port":{other}}}]]"#)).unwrap();
        for flags in [&["--boot-timeout=6000"][..], &["--boot-timeout=6000", "--rolling"]] {
            let failed = reload(world, flags);
            failed
                .fails(1)
                .says("did not get ready within the boot timeout")
                .says(&format!("http://127.0.0.1:{other}"));
            assert!(old.contains(&http::get(port, "/").pid()));
        }
        eventually("what only the new ones opened is closed", || !is_open(other));
        world.stop("svc");
    });
}

#[test]
fn ports_that_the_kernel_chose_are_not_missed_at_a_reload() {
    world(|world| {
        world.expect_in_log(" INFO ");
        let port = world.port();
        let application = application(world, &format!(r#"[[0,{{"port":{port}}}],[0,{{"port":0}}]]"#));
        start(world, &application, &[&format!("--port={port}")]).exits(0);
        fs::write(application.join("listens.json"), format!(r#"[[0,{{"port":{port}}}]]"#)).unwrap();
        reload(world, &[]).exits(0);
        world.stop("svc");
    });
}

#[test]
fn what_a_dead_worker_had_open_besides_stays_open_for_its_successor() {
    world(|world| {
        world.expect_a_death();
        let (metrics, port) = (world.port(), world.port());
        let listens = format!(r#"[[0,{{"port":{port}}}],[700,{{"port":{metrics}}}]]"#);
        let typed = world.eggctl(&["start", "--daemon", "--title=svc", "--workers=1", &format!("--port={port}")]);
        typed.arg(application(world, &listens)).run().exits(0);
        eventually("both are open", || is_open(metrics));
        let askings = [ask_at_port(port), ask_at_port(metrics)];
        let old = world.workers(world.master("svc"));
        crate::harness::processes::signal(old[0], nix::sys::signal::Signal::SIGKILL);
        eventually("the new one serves", || http::try_get(metrics, "/").is_ok_and(|reply| !old.contains(&reply.pid())));
        for asking in askings {
            let (_, failures) = asking.end();
            // One request of each may have been the dead worker's own.
            let refused = |error: &std::io::Error| error.kind() == std::io::ErrorKind::ConnectionRefused;
            assert!(!failures.iter().any(refused), "{failures:?}");
        }
        world.stop("svc");
    });
}
