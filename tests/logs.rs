//! The log files of a daemon: old ones are kept, links are not followed.

use std::fs;
use std::os::unix::fs::symlink;

use nix::sys::signal::Signal;

use crate::harness::{World, http, processes, read_log, world};

/// Contents of the files whose names begin with this name, oldest name first.
fn logs(world: &World, name: &str) -> Vec<(String, String)> {
    let mut found: Vec<_> = fs::read_dir(world.home().join("logs"))
        .unwrap()
        .flatten()
        .map(|entry| (entry.file_name().into_string().unwrap(), entry.path()))
        .filter(|(file, _)| file.starts_with(name))
        .map(|(file, path)| (file, String::from_utf8_lossy(&read_log(&path)).into_owned()))
        .collect();
    found.sort();
    found
}

#[test]
fn what_members_print_is_in_the_logs() {
    world(|world| {
        world.expect_in_log("to stderr");
        world.expect_in_log("to stdout");
        let port = world.port();
        world.start("svc", port).run().exits(0);
        http::get(port, "/print?text=to+stdout");
        http::get(port, "/print?to=error&text=to+stderr");
        world.log_says("to stdout");
        world.log_says("to stderr");
        assert!(fs::read_to_string(world.stderr_log()).unwrap().contains("to stderr"));
        assert!(fs::read_to_string(world.stdout_log()).unwrap().contains("to stdout"));
        world.stop("svc");
    });
}

#[test]
fn old_logs_are_renamed_with_a_time_stamp_and_never_overwritten() {
    world(|world| {
        world.expect_in_log(" run");
        world.expect_in_log("noise");
        let run = |world: &World, text: &str| {
            let flags = ["--workers=1", "--ignore-stderr", "--no-log-compress"];
            let typed = world.start("svc", world.port()).args(flags);
            typed.env("WORKER", format!("stdout:{text}")).env("AGENT", "stderr:noise").run().exits(0);
            world.stop("svc");
        };
        // Fast enough that some of them fall into one second.
        for text in ["first run", "second run", "third run", "fourth run"] {
            run(world, text);
        }
        let kept = logs(world, "master-stdout.log");
        assert_eq!(kept.len(), 4, "{kept:?}");
        for text in ["first run", "second run", "third run"] {
            let holding: Vec<_> = kept.iter().filter(|(_, content)| content.contains(text)).collect();
            assert_eq!(holding.len(), 1, "{text}: {kept:?}");
            let stamp = holding[0].0.strip_prefix("master-stdout.log.").expect("an old log has a stamp");
            let shape: String = stamp.chars().take(15).map(|c| if c.is_ascii_digit() { '9' } else { c }).collect();
            assert_eq!(shape, "99999999.999999", "{kept:?}");
        }
        assert!(kept.iter().any(|(name, content)| name == "master-stdout.log" && content.contains("fourth run")));
        assert_eq!(logs(world, "master-stderr.log").len(), 4);
    });
}

#[test]
fn log_files_may_be_named_and_their_directories_are_made() {
    world(|world| {
        let directory = world.work().join("made/on/demand");
        let flags = [format!("--stdout={}/out.log", directory.display()), "--stderr=relative/err.log".to_owned()];
        world.start("svc", world.port()).args(flags).run().exits(0);
        world.stop("svc");
        assert!(fs::read_to_string(directory.join("out.log")).unwrap().contains("[master]"));
        assert_eq!(fs::read_to_string(world.work().join("relative/err.log")).unwrap(), "");
    });
}

#[test]
fn a_link_is_refused_and_an_unwritable_directory_is_named() {
    world(|world| {
        let logs = world.home().join("logs");
        fs::create_dir_all(&logs).unwrap();
        symlink(world.work().join("victim"), logs.join("master-stdout.log")).unwrap();
        let outcome = world.start("svc", world.port()).run();
        outcome.fails(1).says("link").says(logs.join("master-stdout.log").to_str().unwrap());
        assert!(!world.work().join("victim").exists());
        fs::remove_file(logs.join("master-stdout.log")).unwrap();
        // A directory that nobody, not even root, can write to.
        let typed = world.start("svc", world.port()).arg("--stderr=/proc/nowhere/err.log");
        let outcome = typed.run();
        world.nobody_is_left();
        outcome.fails(1).says("/proc/nowhere");
    });
}

#[test]
fn the_masters_lines_begin_at_the_level_of_the_environment() {
    world(|world| {
        world.expect_a_death();
        world.start("svc", world.port()).env("EGG_MASTER_LOGGER_LEVEL", "error").run().exits(0);
        let master = world.master("svc");
        processes::signal(world.workers(master)[0], Signal::SIGKILL);
        world.log_says(" died (code: ");
        world.stop("svc");
        let stdout = std::fs::read_to_string(world.stdout_log()).unwrap();
        assert!(!stdout.contains("[master]"), "{stdout}");
    });
}
