//! `--json`: one object on stdout and nothing else there, as docs/schemas say it, of success and of failure alike.

use std::fs::{self, File};
use std::process::Stdio;

use serde_json::Value;

use crate::harness::schema::keeps_to;
use crate::harness::{Outcome, Typed, World, eventually, processes, world};
use crate::reload_faults::SLOW_BOOT;

/// A command for the title of these tests, as JSON.
fn typed(world: &World, words: &[&str]) -> Typed {
    world.eggctl(words).args(["--title=svc", "--json"])
}

/// The object that it printed: one line, and nothing else on stdout.
#[track_caller]
fn object(outcome: &Outcome, schema: &str) -> Value {
    let line = outcome.stdout.strip_suffix('\n').unwrap_or_else(|| panic!("no line: {outcome:?}"));
    assert!(!line.contains('\n'), "more than a line: {outcome:?}");
    let object: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {outcome:?}"));
    keeps_to(schema, &object);
    assert_eq!(object["code"], outcome.status.code().unwrap(), "{outcome:?}");
    object
}

/// That of a success.
#[track_caller]
fn done(outcome: &Outcome, schema: &str) -> Value {
    outcome.exits(0);
    object(outcome, schema)
}

/// That of a failure, which is reported to people on stderr, too.
#[track_caller]
fn failed(outcome: &Outcome, schema: &str, code: i32) -> Value {
    outcome.fails(code);
    let object = object(outcome, schema);
    let what = object["what"].as_str().unwrap();
    assert!(outcome.stderr.contains(&format!("error: {what}")), "{outcome:?}");
    object
}

/// `svc` with an agent and two workers, started with `--json`: the object.
fn started(world: &World, port: u16) -> Value {
    done(&world.start("svc", port).arg("--json").run(), "start")
}

fn pids(object: &Value) -> Vec<u32> {
    object["workers"].as_array().unwrap().iter().map(|pid| pid.as_u64().unwrap() as u32).collect()
}

/// Who serves is who is there.
#[track_caller]
fn is_whole(world: &World, port: u16, object: &Value) {
    let master = world.master("svc");
    assert_eq!((&object["title"], &object["master"]), (&"svc".into(), &master.into()), "{object:#}");
    assert_eq!(object["address"], format!("http://127.0.0.1:{port}"), "{object:#}");
    assert_eq!(object["agent"], world.agents(master)[0], "{object:#}");
    assert_eq!(pids(object), world.workers(master), "{object:#}");
}

#[test]
fn each_command_that_succeeds_prints_one_object_as_its_schema_says() {
    world(|world| {
        world.expect_in_log("");
        let port = world.port();
        let start = started(world, port);
        is_whole(world, port, &start);
        assert_eq!(start["what"], "started");
        assert_eq!(start["stdout"], world.stdout_log().to_str().unwrap());
        assert!(start["took_ms"].as_u64().unwrap() > 0, "{start:#}");
        let wait = done(&typed(world, &["wait"]).run(), "wait");
        assert_eq!(wait["what"], "ready");
        is_whole(world, port, &wait);
        let old = world.workers(world.master("svc"));
        let next = typed(world, &["wait", "--for=reloaded"]).spawn();
        let reload = done(&typed(world, &["reload"]).run(), "reload");
        is_whole(world, port, &reload);
        assert_eq!((&reload["what"], &reload["left"]), (&"reloaded".into(), &2.into()), "{reload:#}");
        assert!(pids(&reload).iter().all(|pid| !old.contains(pid)), "{reload:#}");
        // Whether this reload was the next one is chance: another one is.
        let reload = done(&typed(world, &["reload", "--rolling"]).run(), "reload");
        assert_eq!(reload["how"], "worker by worker");
        assert_eq!(done(&next.finish(), "wait")["what"], "reloaded");
        let scale = done(&typed(world, &["scale", "+1"]).run(), "scale");
        is_whole(world, port, &scale);
        assert_eq!((&scale["what"], &scale["how"]), (&"scaled".into(), &"from 2 to 3".into()));
        let before = world.master("svc");
        let restart = done(&typed(world, &["restart"]).run(), "restart");
        is_whole(world, port, &restart);
        assert_eq!(restart["what"], "restarted");
        let stopped = &restart["stopped"]["applications"][0];
        assert_eq!(stopped["masters"], serde_json::json!([before]), "{restart:#}");
        assert!(restart["took_ms"].as_u64().unwrap() >= stopped["took_ms"].as_u64().unwrap(), "{restart:#}");
        let (master, wait) = (world.master("svc"), typed(world, &["wait", "--for=stopped"]).spawn());
        let count = world.workers(master).len() + 1;
        let stop = done(&typed(world, &["stop"]).run(), "stop");
        assert_eq!((&stop["title"], &stop["what"]), (&"svc".into(), &"stopped".into()));
        let application = &stop["applications"][0];
        assert_eq!((&application["masters"], &application["left"]), (&serde_json::json!([master]), &count.into()));
        assert_eq!(stop["processes"], application["processes"]);
        assert_eq!(done(&wait.finish(), "wait")["what"], "stopped");
    });
}

#[test]
fn a_start_that_printed_json_does_not_make_its_restart_do_so() {
    world(|world| {
        let port = world.port();
        started(world, port);
        let outcome = world.eggctl(&["restart", "--title=svc"]).run();
        outcome.exits(0).says("stopped svc").says("started on http://127.0.0.1:");
        let master = processes::all().into_iter().find(|one| one.pid == world.master("svc")).unwrap();
        assert_eq!(master.variable("EGGCTL_RESTART_OBJECT"), None);
        done(&typed(world, &["restart"]).run(), "restart");
        let master = processes::all().into_iter().find(|one| one.pid == world.master("svc")).unwrap();
        assert_eq!(master.variable("EGGCTL_RESTART_OBJECT"), None);
        world.eggctl(&["restart", "--title=svc"]).run().exits(0).says("stopped svc");
        world.stop("svc");
    });
}

#[test]
fn what_is_typed_wrong_is_an_object_too_on_whichever_side_of_the_flag_it_stands() {
    world(|world| {
        let commands = ["start", "stop", "reload", "scale", "restart", "wait"];
        for command in commands {
            for words in [[command, "--json", "--no-such"], [command, "--no-such", "--json"]] {
                let object = failed(&world.eggctl(&words).run(), command, 2);
                // The number that scale takes may begin with a `-`.
                assert!(command == "scale" || object["what"] == "unknown flag `--no-such`", "{object:#}");
            }
        }
        let wrong: [&[&str]; 8] = [
            &["start", "--json", "--daemon", "--workers=x", "."],
            &["start", "--json", "--daemon", "no-such-directory"],
            &["stop", "--json", "--timeout=x"],
            &["stop", "--json", "--all", "--title=svc"],
            &["reload", "--json", "--batch=0"],
            &["scale", "--json"],
            &["restart", "--json", "--title=svc", "somewhere"],
            &["wait", "--json", "--for=ever"],
        ];
        for words in wrong {
            failed(&world.eggctl(words).run(), words[0], 2);
        }
        failed(&world.eggctl(&["sotp", "--json"]).run(), "no-command", 2);
        failed(&world.eggctl(&["stop", "--user=no-such-user", "--json"]).run(), "stop", 2);
        // No flag after `--` is one of ours, nor is a flag's value.
        let outcome = world.eggctl(&["stop", "--no-such", "--", "--json"]).run();
        assert_eq!(outcome.fails(2).stdout, "");
        let outcome = world.eggctl(&["wait", "--appear=0", "--title", "--json"]).run();
        assert_eq!(outcome.fails(3).stdout, "");
        let help = world.eggctl(&["stop", "--json", "--help"]).run();
        assert!(help.exits(0).stdout.contains("Usage: "), "{help:?}");
    });
}

#[test]
fn a_start_in_the_foreground_has_no_object_since_stdout_is_the_applications() {
    world(|world| {
        let port = world.port();
        let object = failed(&world.foreground("svc", port).arg("--json").run(), "start", 2);
        assert_eq!((&object["title"], &object["hint"]), (&"svc".into(), &"add `--daemon`, or omit `--json`".into()));
        started(world, port);
        let object = failed(&typed(world, &["restart", "--no-daemon"]).run(), "restart", 2);
        assert!(object.get("stopped").is_none(), "{object:#}");
        world.eggctl(&["wait", "--timeout=0", "--title=svc"]).run().exits(0);
        world.stop("svc");
    });
}

#[test]
fn where_nothing_runs_each_command_says_so_in_its_object() {
    world(|world| {
        for words in [&["reload"][..], &["scale", "2"], &["restart"], &["wait", "--appear=0"], &["wait", "--timeout=0"]]
        {
            let object = failed(&typed(world, words).run(), words[0], 3);
            assert!(object["what"].as_str().unwrap().contains("no application `svc` is running"), "{object:#}");
        }
        let stop = done(&typed(world, &["stop"]).run(), "stop");
        assert_eq!((&stop["processes"], &stop["applications"]), (&0.into(), &serde_json::json!([])));
        assert_eq!(stop["notes"], serde_json::json!(["no running application with title svc"]));
        assert_eq!(done(&typed(world, &["wait", "--for=stopped"]).run(), "wait")["what"], "stopped");
        assert_eq!(done(&world.eggctl(&["stop", "--all", "--json"]).run(), "stop")["processes"], 0);
    });
}

#[test]
fn a_start_that_fails_says_why_in_its_object() {
    world(|world| {
        world.expect_in_log("");
        let port = world.port();
        let thrown = world.start("svc", port).arg("--json").env("WORKER", "throw:no such table").run();
        let object = failed(&thrown, "start", 1);
        assert_eq!(object["title"], "svc");
        assert!(object["why"][0].as_str().unwrap().contains("died before"), "{object:#}");
        assert!(object["beside"].as_str().unwrap().contains("no such table"), "{object:#}");
        assert!(object["hint"].as_str().unwrap().contains("master-stderr.log"), "{object:#}");
        let late = world.start("svc", port).args(["--json", "--timeout=700"]).env("WORKER", "hang").run();
        assert!(failed(&late, "start", 1)["took_ms"].as_u64().unwrap() >= 700);
        let first = started(world, port);
        let object = failed(&world.start("svc", port).arg("--json").run(), "start", 1);
        assert_eq!(object["master"], first["master"]);
        let object = failed(&world.start("other", port).arg("--json").run(), "start", 1);
        assert_eq!(object["title"], "other");
        world.stop("svc");
    });
}

#[test]
fn an_operation_that_fails_says_who_serves_all_the_same() {
    world(|world| {
        world.expect_in_log("");
        let port = world.port();
        let start = world.start("svc", port).env("WORKER", "throw:the new code is broken").env("WORKER_BOOTS", "3,4,5");
        let start = done(&start.arg("--json").run(), "start");
        let object = failed(&typed(world, &["reload", "--batch=2"]).run(), "reload", 1);
        is_whole(world, port, &object);
        assert_eq!(object["workers"], start["workers"]);
        assert!(object["beside"].as_str().unwrap().contains("the new code is broken"), "{object:#}");
        let object = failed(&typed(world, &["scale", "100000"]).run(), "scale", 2);
        assert_eq!(object["title"], "svc");
        for words in [["reload", "--cancel"], ["scale", "--cancel"]] {
            let object = failed(&typed(world, &words).run(), words[0], 1);
            is_whole(world, port, &object);
        }
        failed(&typed(world, &["wait", "--for=reloaded", "--timeout=1"]).run(), "wait", 1);
        let object = failed(&typed(world, &["wait", "--for=stopped", "--timeout=1"]).run(), "wait", 1);
        assert_eq!(object["alive"], serde_json::json!([world.master("svc")]));
        world.stop("svc");
    });
}

#[test]
fn a_restart_whose_new_start_fails_says_what_it_has_stopped() {
    world(|world| {
        world.expect_in_log("");
        let port = world.port();
        let start = world.start("svc", port).env("WORKER", "throw:broken now").env("WORKER_BOOTS", "2");
        let before = done(&start.args(["--workers=1", "--json"]).run(), "start");
        let object = failed(&typed(world, &["restart"]).run(), "restart", 1);
        assert_eq!(object["what"], "svc is down");
        assert_eq!(object["stopped"]["applications"][0]["masters"], serde_json::json!([before["master"]]));
        assert!(object["hint"].as_str().unwrap().contains("eggctl restart --title=svc"), "{object:#}");
        let again = done(&typed(world, &["restart"]).run(), "restart");
        assert!(again.get("stopped").is_none(), "nothing ran: {again:#}");
        world.stop("svc");
    });
}

#[test]
fn a_command_that_is_interrupted_still_prints_its_object() {
    world(|world| {
        world.expect_in_log("");
        let port = world.port();
        let application = world.directory("app", &[("app.js", SLOW_BOOT), ("package.json", "{\"name\":\"app\"}")]);
        let typed_start = || {
            let words = ["start", "--daemon", "--workers=2", &format!("--port={port}"), application.to_str().unwrap()];
            typed(world, &words)
        };
        let start = typed_start().spawn();
        eventually("both boot", || world.masters("svc").first().is_some_and(|it| world.workers(*it).len() == 2));
        start.signal(nix::sys::signal::Signal::SIGINT);
        failed(&start.finish(), "start", 1);
        fs::write(world.work().join("go"), "").unwrap();
        done(&typed_start().run(), "start");
        fs::remove_file(world.work().join("go")).unwrap();
        let (master, reload) = (world.master("svc"), typed(world, &["reload"]).spawn());
        eventually("a new one boots", || world.workers(master).len() > 2);
        reload.signal(nix::sys::signal::Signal::SIGTERM);
        let object = failed(&reload.finish(), "reload", 1);
        assert_eq!(object["master"], master);
        assert_eq!(done(&typed(world, &["reload", "--cancel"]).run(), "reload")["what"], "cancelled");
        world.stop("svc");
    });
}

#[test]
fn a_result_that_cannot_be_written_is_an_error() {
    world(|world| {
        world.expect_in_log("");
        let full = || Stdio::from(File::options().write(true).open("/dev/full").unwrap());
        let closed = || {
            let (reader, writer) = std::io::pipe().unwrap();
            drop(reader);
            Stdio::from(writer)
        };
        let port = world.port();
        let outcome = world.start("svc", port).arg("--json").run_into(full());
        outcome.fails(1).says("cannot be written to stdout: no space left on device");
        // What was asked for is done all the same.
        let master = world.master("svc");
        for words in [&["wait"][..], &["scale", "1"], &["reload"]] {
            typed(world, words).run_into(full()).fails(1).says("no space left on device");
            typed(world, words).run_into(closed()).fails(1).says("broken pipe");
        }
        assert_eq!(world.workers(master).len(), 1);
        let outcome = typed(world, &["reload", "--no-such"]).run_into(full());
        outcome.exits(2).says("unknown flag").says("no space left on device");
        typed(world, &["restart"]).run_into(full()).fails(1).says("no space left on device");
        assert_ne!(world.master("svc"), master);
        for words in
            [&["logs", "--title=svc", "--ledger"][..], &["logs", "--title=svc", "--ledger", "--json"], &["--help"]]
        {
            world.eggctl(words).run_into(full()).fails(1).says("cannot be written to stdout: no space left on device");
            world.eggctl(words).run_into(closed()).fails(1).says("cannot be written to stdout: broken pipe");
        }
        world.eggctl(&["logs", "--title=svc", "--json"]).run_into(full()).fails(1).says("no space left on device");
        typed(world, &["stop"]).run_into(full()).fails(1).says("no space left on device");
    });
}

#[test]
fn a_stop_of_all_has_each_application_in_its_object() {
    world(|world| {
        for title in ["one", "two"] {
            world
                .start(title, world.port())
                .args([&format!("--stdout={title}.out"), &format!("--stderr={title}.err")])
                .run()
                .exits(0);
        }
        let object = done(&world.eggctl(&["stop", "--all", "--json"]).run(), "stop");
        let titles: Vec<_> = object["applications"].as_array().unwrap().iter().map(|one| &one["title"]).collect();
        assert_eq!(titles, ["one", "two"]);
        assert!(object.get("title").is_none(), "{object:#}");
    });
}

#[test]
fn what_logs_prints_as_json_is_as_its_schemas_say() {
    world(|world| {
        world.expect_in_log("");
        let printed =
            "process.stdout.write(Buffer.from([0xff, 10])); console.log('plain'); console.error('x'.repeat(3e5));";
        let files = [("app.js", format!("{printed} require('http').createServer().listen(0)"))];
        let files = files.each_ref().map(|(name, text)| (*name, text.as_str()));
        let application = world.directory("app", &[files[0], ("package.json", "{\"name\":\"app\"}")]);
        let words = ["start", "--daemon", "--workers=1", "--title=svc", "--ignore-stderr"];
        world.eggctl(&words).arg(application).run().exits(0);
        let objects = |words: &[&str], schema: &str| -> Vec<Value> {
            let outcome = typed(world, words).run();
            let objects = outcome.exits(0).stdout.lines().map(|line| serde_json::from_str(line).unwrap());
            objects.inspect(|object| keeps_to(schema, object)).collect()
        };
        let lines = objects(&["logs"], "log-line");
        assert!(lines.iter().any(|one| one["hex"] == "ff"), "{lines:?}");
        assert!(lines.iter().any(|one| one["line"] == "plain" && one["time"].is_null()), "{lines:?}");
        assert!(lines.iter().any(|one| one["time"].is_string()), "{lines:?}");
        assert!(lines.iter().any(|one| one["stream"] == "stderr" && one["more"] == true));
        let ledger = objects(&["logs", "--ledger"], "ledger");
        assert_eq!(ledger.len(), 2, "{ledger:?}");
        world.stop("svc");
    });
}

#[test]
fn every_schema_is_of_a_command_or_a_part_and_says_what_each_name_means() {
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/schemas");
    let mut names: Vec<_> =
        fs::read_dir(&directory).unwrap().map(|one| one.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    let commands =
        ["common", "ledger", "log-line", "no-command", "reload", "restart", "scale", "start", "stop", "wait"];
    assert_eq!(names, commands.map(|name| format!("{name}.json")));
    let page = fs::read_to_string(directory.parent().unwrap().join("JSON.md")).unwrap();
    for name in names.iter().filter(|name| *name != "common.json") {
        let schema: Value = serde_json::from_str(&fs::read_to_string(directory.join(name)).unwrap()).unwrap();
        assert!(page.contains(&format!("schemas/{name}")), "docs/JSON.md does not name {name}");
        for property in schema["properties"].as_object().unwrap().keys() {
            assert!(page.contains(&format!("`{property}`")), "docs/JSON.md does not say what {property} of {name} is");
        }
    }
}
