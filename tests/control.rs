//! The control socket: who may ask, what rubbish and silence cost, and the commands that only ask: `wait` and `restart`.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use nix::sys::signal::Signal;

use crate::harness::{World, eventually, http, processes, world};

/// The only control socket of this world.
fn socket(world: &World) -> PathBuf {
    let entries = fs::read_dir(world.state()).unwrap().map(|entry| entry.unwrap().path());
    let sockets: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|end| end == "sock")).collect();
    assert_eq!(sockets.len(), 1, "{sockets:?}");
    sockets.into_iter().next().unwrap()
}

fn ask(world: &World, text: &str) -> String {
    let mut stream = UnixStream::connect(socket(world)).unwrap();
    stream.write_all(text.as_bytes()).unwrap();
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).unwrap();
    answer
}

#[test]
fn the_control_socket_is_for_its_user_alone_and_goes_with_the_master() {
    world(|world| {
        world.start("svc", world.port()).run().exits(0);
        let kind = fs::symlink_metadata(socket(world)).unwrap();
        assert!(kind.file_type().is_socket());
        assert_eq!(kind.permissions().mode() & 0o777, 0o600);
        world.stop("svc");
        let left = fs::read_dir(world.state())
            .unwrap()
            .filter(|one| one.as_ref().unwrap().path().extension().is_some_and(|end| end == "sock"));
        assert_eq!(left.count(), 0);
    });
}

#[test]
fn the_socket_that_a_killed_master_left_behind_is_replaced() {
    world(|world| {
        world.expect_a_death();
        world.start("svc", world.port()).run().exits(0);
        processes::signal(world.master("svc"), Signal::SIGKILL);
        world.stop("svc");
        world.start("svc", world.port()).run().exits(0);
        world.eggctl(&["wait", "--title=svc"]).run().exits(0).says("svc ready");
        world.stop("svc");
    });
}

#[test]
fn rubbish_is_told_and_harmless() {
    world(|world| {
        let port = world.port();
        world.start("svc", port).run().exits(0);
        for rubbish in ["null\n", "{\"eggctl\":7}\n", "{\"eggctl\":1,\"dance\":{}}\n", "\u{0}\u{1}\n", "[]\n"] {
            assert!(ask(world, rubbish).contains("refused"), "{rubbish:?}");
        }
        // More than is taken in one line, and no end of it.
        let mut flood = UnixStream::connect(socket(world)).unwrap();
        let chunk = vec![b'x'; 64 * 1024];
        for _ in 0..64 {
            flood.write_all(&chunk).unwrap();
        }
        assert_eq!(http::get(port, "/").status, 200);
        drop(flood);
        world.eggctl(&["wait"]).run().exits(0);
        world.stop("svc");
    });
}

#[test]
fn a_client_that_writes_newlines_without_end_is_closed_and_delays_nothing() {
    world(|world| {
        let port = world.port();
        world.start("svc", port).run().exits(0);
        std::thread::scope(|scope| {
            let floods: Vec<_> = (0..4)
                .map(|_| {
                    let mut flood = UnixStream::connect(socket(world)).unwrap();
                    // Until the master closes it, which is the end of this.
                    scope.spawn(move || while flood.write_all(&[b'\n'; 64 * 1024]).is_ok() {})
                })
                .collect();
            for _each in 0..20 {
                let began = std::time::Instant::now();
                assert_eq!(http::get(port, "/").status, 200);
                assert!(began.elapsed() < std::time::Duration::from_secs(2), "it took {:?}", began.elapsed());
            }
            eventually("all are closed", || floods.iter().all(|flood| flood.is_finished()));
        });
        // One that has asked, and goes on writing, is not read any more.
        let mut asked = UnixStream::connect(socket(world)).unwrap();
        asked.write_all(b"{\"eggctl\":1,\"wait\":\"reloaded\"}\n").unwrap();
        asked.set_nonblocking(true).unwrap();
        let mut written = 0;
        while let Ok(more) = asked.write(&[b'\n'; 64 * 1024]) {
            written += more;
            assert!(written < 16 * 1024 * 1024, "the master reads on");
        }
        world.eggctl(&["wait", "--title=svc", "--timeout=5000"]).run().exits(0);
        world.stop("svc");
    });
}

#[test]
fn clients_that_hang_are_let_go_for_those_who_ask() {
    world(|world| {
        world.start("svc", world.port()).run().exits(0);
        let hanging: Vec<UnixStream> = (0..40).map(|_| UnixStream::connect(socket(world)).unwrap()).collect();
        world.eggctl(&["wait", "--title=svc", "--timeout=5000"]).run().exits(0);
        let mut first = &hanging[0];
        assert_eq!(first.read(&mut [0; 8]).unwrap(), 0, "the first of forty has been let go");
        world.stop("svc");
    });
}

#[test]
fn another_user_is_not_let_in() {
    world(|world| {
        if !world.has_other_users() {
            return;
        }
        world.expect_in_log("a connection to the control socket is refused");
        world.start("svc", world.port()).run().exits(0);
        // The directory keeps others out; opened by hand, the socket itself still does, and then the master.
        for path in [world.state(), socket(world)] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
        }
        let script = format!(
            "require('net').connect('{}').on('connect',function(){{this.write('{{\"eggctl\":1,\"wait\":\"ready\"}}\\n')}})\
             .on('data',d=>console.log('got '+d)).on('close',()=>console.log('closed')).on('error',e=>console.log(e.code))",
            socket(world).display()
        );
        let outcome = world.program(&["node", "-e", &script]).user(65534).run();
        outcome.exits(0).does_not_say("got");
        fs::set_permissions(world.state(), fs::Permissions::from_mode(0o700)).unwrap();
        world.stop("svc");
    });
}

#[test]
fn commands_that_need_a_running_application_say_3_where_there_is_none() {
    world(|world| {
        let commands: [&[&str]; 4] = [&["reload"], &["scale", "2"], &["wait"], &["restart"]];
        for command in commands {
            world.eggctl(command).arg("--title=svc").run().fails(3).says("svc").says("running");
        }
        world.eggctl(&["wait", "--for=stopped", "--title=svc"]).run().exits(0);
        let receipt = world.eggctl(&["wait", "--for=stopped", "--title=svc", "--json"]).run();
        assert_eq!(serde_json::from_str::<serde_json::Value>(&receipt.stdout).unwrap()["what"], "stopped");
    });
}

#[test]
fn wait_returns_when_a_start_that_is_under_way_is_ready() {
    world(|world| {
        let start = world.start("svc", world.port()).env("WORKER_DELAY", "300").spawn();
        eventually("the title is taken", || !world.masters("svc").is_empty());
        world.eggctl(&["wait", "--title=svc"]).run().exits(0).says("svc ready: agent");
        start.finish().exits(0);
        world.stop("svc");
    });
}

#[test]
fn wait_gives_up_at_its_deadline_and_waits_for_the_end() {
    world(|world| {
        world.start("svc", world.port()).run().exits(0);
        world.eggctl(&["wait", "--for=stopped", "--timeout=50"]).run().fails(1).says(&world.master("svc").to_string());
        world.eggctl(&["wait", "--for=reloaded", "--timeout=50"]).run().fails(1).says("not reloaded within 0.05 s");
        let waiting = world.eggctl(&["wait", "--for=stopped"]).spawn();
        world.stop("svc");
        waiting.finish().exits(0).says("svc stopped");
        world.nobody_is_left();
    });
}

#[test]
fn restart_starts_what_was_started_with_the_new_flags_over_the_old() {
    world(|world| {
        let port = world.port();
        world.start("svc", port).env("FIXTURE_MARK", "kept").run().exits(0);
        let before = world.master("svc");
        world.eggctl(&["restart", "--title=svc", "--workers=1"]).run().exits(0).says("stopped svc").says("workers");
        let master = world.master("svc");
        assert_ne!(master, before);
        assert_eq!(world.workers(master).len(), 1);
        assert_eq!(http::get(port, "/").status, 200, "on the port of the first start");
        let kept = processes::all().into_iter().find(|one| one.pid == master).unwrap();
        assert!(kept.environment.iter().any(|variable| variable == "FIXTURE_MARK=kept"));
        world.stop("svc");
    });
}

#[test]
fn what_is_recorded_of_a_start_does_not_grow_however_often_it_is_restarted() {
    let recorded = |world: &World| {
        let paths = fs::read_dir(world.state()).unwrap().map(|entry| entry.unwrap().path());
        let texts = paths.filter_map(|path| fs::read(path).ok());
        let records = texts.filter_map(|text| serde_json::from_slice::<serde_json::Value>(&text).ok());
        let commands: Vec<_> = records.map(|record| record["command"].clone()).filter(|one| !one.is_null()).collect();
        assert_eq!(commands.len(), 1, "{commands:?}");
        commands[0].to_string()
    };
    world(|world| {
        world.start("svc", world.port()).run().exits(0);
        let restart = || {
            world.eggctl(&["restart", "--title=svc", "-c", "1", "--require=path", "--ignore-stderr"]).run().exits(0);
            recorded(world)
        };
        let first = restart();
        assert_eq!([restart(), restart()], [first.clone(), first]);
        world.stop("svc");
    });
}

#[test]
fn a_restart_that_cannot_work_stops_nothing() {
    world(|world| {
        let port = world.port();
        world.start("svc", port).run().exits(0);
        let before = world.master("svc");
        world.eggctl(&["restart", "--title=svc", "--workers=none"]).run().fails(2).says("workers");
        world.eggctl(&["restart", "--title=svc", "--node=/no/such"]).run().fails(1).says("/no/such");
        world.eggctl(&["restart", "--title=svc", "elsewhere"]).run().fails(2).says("--title");
        assert_eq!(world.master("svc"), before);
        assert_eq!(http::get(port, "/").status, 200);
        world.stop("svc");
    });
}

#[test]
fn a_restart_from_a_directory_that_has_gone_stops_nothing_and_names_it() {
    world(|world| {
        let (port, release) = (world.port(), world.work().join("release-7"));
        fs::create_dir(&release).unwrap();
        world.start("svc", port).cwd(&release).run().exits(0);
        let before = world.master("svc");
        fs::remove_dir(&release).unwrap();
        let outcome = world.eggctl(&["restart", "--title=svc"]).run();
        outcome.fails(1).says("release-7").says("eggctl stop --title=svc").does_not_say("stopping");
        assert_eq!(world.master("svc"), before);
        assert_eq!(http::get(port, "/").status, 200);
        world.stop("svc");
    });
}

#[test]
fn a_restart_whose_logs_cannot_be_written_stops_nothing_and_makes_nothing() {
    world(|world| {
        let (port, work) = (world.port(), world.work());
        let (new, others) = (work.join("new/out.log"), work.join("others.log"));
        std::os::unix::fs::symlink(&others, work.join("link.log")).unwrap();
        world.start("svc", port).run().exits(0);
        world.start("other", world.port()).arg(format!("--stdout={}", others.display())).run().exits(0);
        let before = world.master("svc");
        let restart = |stdout: &str, stderr: &str| {
            let logs = [format!("--stdout={stdout}"), format!("--stderr={stderr}")];
            world.eggctl(&["restart", "--title=svc"]).args(logs).run()
        };
        let (new, others) = (new.to_str().unwrap(), others.to_str().unwrap());
        let (link, directory) = (work.join("link.log"), work.to_str().unwrap());
        for [stdout, stderr] in [[directory, new], [new, "/proc/x"], [new, link.to_str().unwrap()], [new, others]] {
            restart(stdout, stderr).fails(1).says("cannot write the log").does_not_say("stopping");
        }
        assert!(!work.join("new").exists(), "what was tried is taken away again");
        assert_eq!(world.master("svc"), before);
        assert_eq!(http::get(port, "/").status, 200);
        // The second time they are there, and the application that is to be stopped writes them.
        restart(new, &format!("{new}.err")).exits(0);
        restart(new, &format!("{new}.err")).exits(0);
        world.stop("svc");
        world.stop("other");
    });
}

#[test]
fn seventeen_who_wait_are_told_so_and_keep_no_operation_from_being_begun() {
    world(|world| {
        world.expect_in_log("");
        world.start("svc", world.port()).run().exits(0);
        let waits = || {
            let mut stream = UnixStream::connect(socket(world)).unwrap();
            stream.write_all(b"{\"eggctl\":1,\"wait\":\"reloaded\"}\n").unwrap();
            stream
        };
        let waiting: Vec<UnixStream> = (0..16).map(|_| waits()).collect();
        world.eggctl(&["wait", "--for=reloaded", "--timeout=5000"]).run().fails(1).says("16 others wait");
        world.eggctl(&["scale", "3"]).run().exits(0);
        world.eggctl(&["reload"]).run().exits(0);
        for stream in waiting {
            let last = BufReader::new(stream).lines().last().unwrap().unwrap();
            assert!(last.contains("\"done\""), "{last}");
        }
        world.eggctl(&["wait"]).run().exits(0);
        world.stop("svc");
    });
}

#[test]
fn wait_says_who_is_not_ready_in_time() {
    world(|world| {
        world.expect_in_log("");
        let start = world.start("svc", world.port()).env("WORKER", "hang").env("WORKER_BOOTS", "2").spawn();
        eventually("one serves, one hangs", || world.boots("worker") == 2 && world.events_of("listening").len() == 1);
        let outcome = world.eggctl(&["wait", "--title=svc", "--timeout=1500"]).run();
        outcome.fails(1).says("not ready within 1.5 s: workers ready 1/2, not yet: worker ");
        world.stop("svc");
        start.finish();
    });
}

#[test]
fn a_state_directory_that_may_not_be_read_is_not_permitted() {
    world(|world| {
        if world.has_other_users() {
            world.start("svc", world.port()).run().exits(0);
            world.eggctl(&["wait", "--title=svc"]).cwd("/").user(65534).run().fails(4).says("cannot use");
            world.stop("svc");
        }
    });
}

#[test]
fn an_application_in_the_foreground_is_not_restarted_behind_its_supervisors_back() {
    world(|world| {
        let foreground = world.foreground("svc", world.port()).spawn();
        world.eggctl(&["wait", "--title=svc"]).cwd(world.work()).run();
        eventually("ready", || world.eggctl(&["wait", "--title=svc"]).run().status.success());
        world.eggctl(&["restart", "--title=svc"]).run().fails(1).says("foreground");
        foreground.signal(Signal::SIGTERM);
        foreground.finish().exits(0);
    });
}
