//! Libraries that are loaded before every program (LD_PRELOAD: agents of monitoring tools) and keep a low descriptor open.

use std::path::PathBuf;
use std::process::Command;

use crate::harness::{World, http, visibly, world};

/// Takes number 3 whatever is there, or only the lowest that is free.
const INSISTS: &str = "int f = open(\"/dev/null\", O_RDONLY); dup2(f, 3); if (f != 3) close(f);";
const TAKES_THE_LOWEST: &str = "open(\"/dev/null\", O_RDONLY); open(\"/dev/null\", O_RDONLY);";

/// Such a library; `None`, visibly, where there is no C compiler.
fn library(world: &World, name: &str, body: &str) -> Option<PathBuf> {
    let source = format!(
        "#include <fcntl.h>\n#include <unistd.h>\n__attribute__((constructor)) static void take(void) {{ {body} }}\n"
    );
    let directory = world.directory(name, &[("preloaded.c", &source)]);
    let library = directory.join("preloaded.so");
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(directory.join("preloaded.c"));
    let made = compiler.output().is_ok_and(|made| made.status.success());
    if !made {
        visibly("note: no C compiler here: a start with a preloaded library was not tried");
    }
    made.then_some(library)
}

#[test]
fn a_preloaded_library_that_holds_descriptor_3_fails_no_start_and_members_have_their_channel_beside_it() {
    world(|world| {
        for (name, body) in [("insists", INSISTS), ("takes", TAKES_THE_LOWEST)] {
            let Some(library) = library(world, name, body) else { return };
            let port = world.port();
            let start = world.start("svc", port).env("LD_PRELOAD", &library).env("WORKER_CHILD", "setsid");
            start.run().exits(0);
            let master = world.master("svc");
            // The messenger works, logs are written, and a reload and a stop find everybody.
            let worker = http::get(port, "/").pid();
            http::get(port, &format!(r#"/send?message={{"action":"ping","data":{{"pid":{worker}}}}}"#));
            crate::harness::eventually("the agent answers", || {
                world.events_of("message").iter().any(|event| event["message"]["action"] == "pong")
            });
            world.log_says("started on");
            // A channel that leaks into a grandchild would never end: it has no socket at all.
            let orphan = world.alive().into_iter().find(|process| process.args[0] == "sleep").unwrap();
            for descriptor in std::fs::read_dir(format!("/proc/{}/fd", orphan.pid)).unwrap().flatten() {
                let target = std::fs::read_link(descriptor.path()).unwrap();
                assert!(!target.to_string_lossy().starts_with("socket:"), "{descriptor:?} is {target:?}");
            }
            world.eggctl(&["reload", "--title=svc"]).env("LD_PRELOAD", &library).run().exits(0);
            world.eggctl(&["stop", "--title=svc"]).env("LD_PRELOAD", &library).run().exits(0);
            assert!(!crate::harness::processes::alive(master));
            std::fs::remove_file(world.work().join("events")).unwrap();
        }
        world.expect_in_log("reload");
        world.expect_in_log("has left");
    });
}
