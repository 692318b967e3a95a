//! The kernel, or a worker, is short of something: it costs the calls that it hits, and service resumes by itself.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::harness::egg::TITLE;
use crate::harness::{PATIENCE, World, await_some, eventually, http, installed, processes, visibly, world};
use crate::log_process::loggers;

/// How soon service resumes after the end of a shortage, and a second for a busy machine.
const SOON: Duration = Duration::from_secs(2);

/// A running injection of faults; ended when dropped.
struct Faults(Child);

impl Faults {
    /// `strace` makes these calls of the process fail: `sendmsg:error=ENOBUFS:when=1+`. `None`: it is not here, and a note
    /// says so.
    fn inject(pid: u32, fault: &str) -> Option<Faults> {
        let call = fault.split(':').next().unwrap();
        let strace = Command::new("strace")
            .args(["-qq", "-o", "/dev/null", "-e", &format!("trace={call}"), "-e", &format!("inject={fault}")])
            .args(["-p", &pid.to_string()])
            .stdin(Stdio::null())
            .spawn();
        let Ok(mut strace) = strace else {
            visibly("note: no strace here: a test of shortages did not run");
            return None;
        };
        eventually("strace is there", || {
            assert!(strace.try_wait().unwrap().is_none(), "strace has ended");
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            status.contains("TracerPid:") && !status.contains("TracerPid:\t0\n")
        });
        Some(Faults(strace))
    }

    /// Ends the injection; the process goes on as before.
    fn end(mut self) {
        self.stop();
    }

    fn stop(&mut self) {
        if self.0.try_wait().unwrap().is_none() {
            processes::signal(self.0.id(), Signal::SIGINT);
            self.0.wait().unwrap();
        }
    }
}

impl Drop for Faults {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A request that waits for its answer.
struct Request(TcpStream);

impl Request {
    fn send(port: u16) -> Request {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        write!(stream, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        Request(stream)
    }

    /// The answer within this time, if there is one.
    fn is_answered_within(&mut self, patience: Duration) -> bool {
        self.0.set_read_timeout(Some(patience)).unwrap();
        let mut text = String::new();
        self.0.read_to_string(&mut text).is_ok() && text.starts_with("HTTP/1.1 200")
    }
}

/// How often the log says this.
fn said(world: &World, words: &str) -> usize {
    world.log().lines().filter(|line| line.contains(words)).count()
}

/// Every connection that is made during a shortage of `sendmsg` is answered soon after its end, with nothing else happening,
/// and the log tells the beginning and the end.
fn resumes_after(world: &mut World, fault: &str, flags: &[&str]) {
    world.expect_in_log("short of");
    let port = world.port();
    world.start("svc", port).args(flags).run().exits(0);
    let Some(faults) = Faults::inject(world.master("svc"), fault) else { return drop(world.stop("svc")) };
    let mut requests: Vec<Request> = (0..6).map(|_| Request::send(port)).collect();
    world.log_says("WARN");
    // Each worker may take one more without the master.
    assert!(!requests[5].is_answered_within(Duration::from_millis(700)), "nothing is short");
    let master = world.master("svc");
    let before = switches(master);
    std::thread::sleep(Duration::from_millis(500)); // A window to count wake-ups in.
    assert!(switches(master) - before < 300, "the master spins: {} wake-ups", switches(master) - before);
    faults.end();
    let ended = Instant::now();
    for request in &mut requests {
        assert!(request.is_answered_within(PATIENCE), "a request is never answered");
    }
    assert!(ended.elapsed() < SOON, "service resumed after {:?}", ended.elapsed());
    world.log_says("no longer short of");
    assert_eq!((said(world, " short of") - said(world, "no longer"), said(world, "no longer")), (1, 1));
    world.stop("svc");
}

/// How often the process has been woken: each of its system calls counts twice under strace.
fn switches(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).unwrap();
    line.trim().parse().unwrap()
}

#[test]
fn no_socket_buffers_for_a_while_cost_no_connection() {
    world(|world| resumes_after(world, "sendmsg:error=ENOBUFS", &[]));
}

#[test]
fn no_kernel_memory_for_a_while_costs_no_connection() {
    world(|world| resumes_after(world, "sendmsg:error=ENOMEM", &[]));
}

#[test]
fn too_many_descriptors_in_flight_for_a_while_cost_no_connection() {
    world(|world| resumes_after(world, "sendmsg:error=ETOOMANYREFS", &[]));
}

#[test]
fn no_open_files_for_accepting_for_a_while_cost_no_connection() {
    world(|world| resumes_after(world, "accept4:error=EMFILE", &[]));
}

#[test]
fn no_open_files_in_the_whole_system_for_a_while_cost_no_connection() {
    world(|world| resumes_after(world, "accept4:error=ENFILE", &[]));
}

#[test]
fn no_memory_for_accepting_for_a_while_costs_no_connection() {
    world(|world| resumes_after(world, "accept4:error=ENOMEM", &[]));
}

#[test]
fn reading_that_fails_for_want_of_memory_ends_no_channel() {
    world(|world| resumes_after(world, "recvmsg:error=ENOMEM", &[]));
}

/// A connection that is kept, and asks without a hand-over.
struct Kept(TcpStream);

impl Kept {
    fn open(port: u16) -> Kept {
        let mut kept = Kept(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap());
        kept.get("/");
        kept
    }

    #[track_caller]
    fn get(&mut self, path: &str) {
        write!(self.0, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        self.0.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut text = [0; 64 * 1024];
        let length = self.0.read(&mut text).unwrap();
        assert!(text[..length].starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&text[..length]));
    }
}

#[test]
fn messages_to_the_agent_and_to_workers_arrive_after_a_shortage() {
    world(|world| {
        world.expect_in_log("short of");
        let port = world.port();
        world.start("svc", port).run().exits(0);
        let mut kept = Kept::open(port);
        let Some(faults) = Faults::inject(world.master("svc"), "sendmsg:error=ENOBUFS") else {
            return drop(world.stop("svc"));
        };
        kept.get("/send?message={%22action%22:%22late%22}");
        kept.get("/send?message={%22action%22:%22late%22,%22to%22:%22app%22}");
        world.log_says("short of socket buffers");
        faults.end();
        let ended = Instant::now();
        let late = || world.events_of("message").iter().filter(|event| event["message"]["action"] == "late").count();
        eventually("the agent and both workers have it", || late() == 3);
        assert!(ended.elapsed() < SOON, "it took {:?}", ended.elapsed());
        world.log_says("no longer short of");
        world.stop("svc");
    });
}

#[test]
fn a_client_of_the_control_socket_waits_while_no_client_can_be_accepted() {
    world(|world| {
        world.expect_in_log("short of");
        let port = world.port();
        world.start("svc", port).run().exits(0);
        let master = world.master("svc");
        let Some(faults) = Faults::inject(master, "accept4:error=EMFILE") else { return drop(world.stop("svc")) };
        let mut wait = world.eggctl(&["wait", "--title=svc", "--timeout=30000"]).spawn();
        world.log_says("short of open files");
        let before = switches(master);
        std::thread::sleep(Duration::from_millis(500)); // A window to count wake-ups in.
        assert!(switches(master) - before < 300, "the master spins: {} wake-ups", switches(master) - before);
        assert!(!wait.has_ended(), "nothing is short");
        faults.end();
        let ended = Instant::now();
        wait.finish().exits(0);
        assert!(ended.elapsed() < SOON, "it took {:?}", ended.elapsed());
        world.log_says("no longer short of");
        world.stop("svc");
    });
}

#[test]
fn a_logger_that_was_spawned_in_a_shortage_is_told_everything_after_it() {
    world(|world| {
        world.expect_in_log("short of");
        world.expect_in_log("the logger died");
        world.expect_in_log("after it");
        let port = world.port();
        world.start("svc", port).run().exits(0);
        let mut kept = Kept::open(port);
        let old = loggers(world)[0].pid;
        let Some(faults) = Faults::inject(world.master("svc"), "sendmsg:error=ENOMEM") else {
            return drop(world.stop("svc"));
        };
        processes::signal(old, Signal::SIGKILL);
        await_some("a new logger", || loggers(world).into_iter().find(|logger| logger.pid != old));
        kept.get("/print?text=after%20it");
        faults.end();
        let ended = Instant::now();
        world.log_says("after it");
        assert!(ended.elapsed() < SOON, "it took {:?}", ended.elapsed());
        world.log_says("no longer short of");
        world.stop("svc");
    });
}

#[test]
fn a_logger_that_cannot_read_its_orders_for_a_while_ends_no_member() {
    world(|world| {
        let port = world.port();
        world.expect_a_death();
        world.expect_in_log("still here");
        world.start("svc", port).run().exits(0);
        let master = world.master("svc");
        let logger = loggers(world)[0].pid;
        let Some(faults) = Faults::inject(logger, "recvmsg:error=ENOMEM") else { return drop(world.stop("svc")) };
        // A new member is an order.
        processes::signal(world.workers(master)[0], Signal::SIGKILL);
        eventually("the new worker serves", || world.events_of("listening").len() == 3);
        faults.end();
        // It still obeys, and does not take its master for dead.
        fs::rename(world.stdout_log(), world.work().join("moved.log")).unwrap();
        processes::signal(master, Signal::SIGUSR1);
        eventually("the log is opened again", || world.stdout_log().exists());
        assert_eq!(http::get(port, "/print?text=still%20here").status, 200);
        world.log_says("still here");
        assert_eq!((world.workers(master).len(), loggers(world)[0].pid), (2, logger));
        world.stop("svc");
    });
}

/// Lets the process open no more files: the lowest number that it has free is its limit. The numbers above stay open.
fn no_more_files(pid: u32) {
    let free = || (0..).find(|number| !fs::exists(format!("/proc/{pid}/fd/{number}")).unwrap()).unwrap();
    let (mut limit, mut unchanged) = (free(), 0);
    // What it closes meanwhile (its end of a connection that is over) it could open again.
    eventually("it has nothing more to close", || {
        limit_files(pid, &format!("{limit}:"));
        unchanged = if free() < limit { 0 } else { unchanged + 1 };
        limit = limit.min(free());
        unchanged > 20
    });
}

fn limit_files(pid: u32, limits: &str) {
    let done = Command::new("prlimit").args(["--pid", &pid.to_string(), &format!("--nofile={limits}")]).output();
    assert!(done.unwrap().status.success());
}

#[test]
fn connections_wait_for_workers_that_have_no_open_file_left_and_are_served_soon_after() {
    world(|world| {
        world.expect_in_log("short of open files of a worker");
        let port = world.port();
        world.start("svc", port).run().exits(0);
        let master = world.master("svc");
        let workers = world.workers(master);
        workers.iter().for_each(|pid| no_more_files(*pid));
        let mut requests: Vec<Request> = (0..6).map(|_| Request::send(port)).collect();
        world.log_says("short of open files of a worker");
        assert!(!requests[0].is_answered_within(Duration::from_millis(1_500)), "nothing is short");
        let before = switches(master);
        std::thread::sleep(Duration::from_millis(500)); // A window to count wake-ups in.
        assert!(switches(master) - before < 300, "the master spins: {} wake-ups", switches(master) - before);
        workers.iter().for_each(|pid| limit_files(*pid, "1024:"));
        let ended = Instant::now();
        assert!(requests.iter_mut().all(|request| request.is_answered_within(PATIENCE)), "one is never answered");
        assert!(ended.elapsed() < SOON, "service resumed after {:?}", ended.elapsed());
        world.log_says("no longer short of open files of a worker");
        assert_eq!(world.workers(master), workers);
        world.stop("svc");
    });
}

#[test]
fn a_connection_that_a_worker_has_no_open_file_for_goes_to_another_and_the_log_counts_it() {
    world(|world| {
        world.expect_in_log("short of open files of a worker");
        let port = world.port();
        world.start("svc", port).run().exits(0);
        let workers = world.workers(world.master("svc"));
        no_more_files(workers[0]);
        for _each in 0..6 {
            assert_eq!(http::get(port, "/").pid(), workers[1]);
        }
        limit_files(workers[0], "1024:");
        eventually("both serve", || http::get(port, "/").pid() == workers[0]);
        world.log_says("no longer short of open files of a worker");
        let log = world.log();
        let over = log.lines().find(|line| line.contains("no longer short")).unwrap();
        assert!(over.ends_with(" went to another worker") && !over.contains(" 0 went to"), "{over}");
        world.stop("svc");
    });
}

#[test]
fn a_burst_beyond_a_low_limit_of_open_files_is_served_as_clients_leave() {
    world(|world| {
        world.expect_in_log("short of open files");
        let port = world.port();
        let (port_flag, title) = (format!("--port={port}"), "--title=svc");
        let typed = world.eggctl_under(&["prlimit", "--nofile=64"], &["start", "--daemon", title, &port_flag]);
        typed.arg("--workers=2").arg(world.fixture("app")).run().exits(0);
        let mut clients: Vec<TcpStream> = (0..150)
            .map(|_| {
                let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
                write!(client, "GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
                client.set_nonblocking(true).unwrap();
                client
            })
            .collect();
        world.log_says("short of open files of a worker");
        // Each leaves with its answer, as many at a time as there are.
        eventually("all are answered", || {
            clients.retain_mut(|client| !matches!(client.read(&mut [0; 1024]), Ok(1..)));
            clients.is_empty()
        });
        world.log_says("no longer short of open files");
        eventually("it serves as before", || http::try_get(port, "/").is_ok());
        world.stop("svc");
    });
}

#[test]
fn a_worker_that_listens_without_end_leaves_the_master_files_for_its_clients() {
    world(|world| {
        world.expect_in_log("cannot listen on");
        let port = world.port();
        let app = "let [asked, refused] = [0, 0];
            const answer = (_, response) => response.end(`${asked} ${refused}`);
            require('http').createServer(answer).listen(process.env.PORT, () => {
                for (let one = 0; one < 200; one++) {
                    const server = require('net').createServer();
                    server.on('error', () => { asked++; refused++; });
                    server.listen({ host: '127.0.0.1', port: 0 }, () => asked++);
                }
            });";
        let directory = world.directory("greedy", &[("package.json", "{}"), ("app.js", app)]);
        let (port_flag, title) = (format!("--port={port}"), "--title=svc");
        let typed = world.eggctl_under(&["prlimit", "--nofile=100"], &["start", "--daemon", title, &port_flag]);
        typed.arg("--workers=1").arg(&directory).run().exits(0);
        eventually("all sockets are asked for", || http::get(port, "/").body.starts_with("200 "));
        let refused = http::get(port, "/").body;
        assert_eq!(refused, "200 151", "half of 100 are given, the service's own among them");
        // As many more as there are, at the same time.
        let mut requests: Vec<Request> = (0..10).map(|_| Request::send(port)).collect();
        assert!(requests.iter_mut().all(|request| request.is_answered_within(PATIENCE)), "one is never answered");
        world.stop("svc");
    });
}

#[test]
fn a_sticky_client_waits_for_its_worker_that_has_no_open_file_left() {
    let Some(application) = installed("egg3") else { return };
    world(|world| {
        world.expect_in_log("");
        let port = world.port();
        world.egg(port, &application).arg("--sticky").run().exits(0);
        let its = http::get(port, "/").pid();
        no_more_files(its);
        let mut requests: Vec<Request> = (0..4).map(|_| Request::send(port)).collect();
        world.log_says("short of open files of a worker");
        assert!(!requests[0].is_answered_within(Duration::from_millis(1_000)), "nothing is short");
        limit_files(its, "1024:");
        let ended = Instant::now();
        assert!(requests.iter_mut().all(|request| request.is_answered_within(PATIENCE)), "one is never answered");
        assert!(ended.elapsed() < SOON, "service resumed after {:?}", ended.elapsed());
        assert_eq!(http::get(port, "/").pid(), its);
        world.log_says("no longer short of open files of a worker");
        world.stop(TITLE);
    });
}
