//! What `start` finds to run: scripts by any name, what package.json names, pm2's configurations; and its arguments.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::harness::{Outcome, World, http, world};

/// As express-generator writes them: app.js has the application and does not listen, bin/www does.
const EXPRESS: &[(&str, &str)] = &[
    ("package.json", r#"{"name":"express","private":true,"scripts":{"start":"node ./bin/www"}}"#),
    (
        "app.js",
        "module.exports = (request, response) => response.end(JSON.stringify({ argv: process.argv.slice(2) }));",
    ),
    (
        "bin/www",
        "#!/usr/bin/env node\nconst port = process.env.PORT || '3000';\n\
         require('http').createServer(require('../app')).listen(port);\n",
    ),
];

/// A server that answers with its file and arguments.
const SERVER: &str = "require('http').createServer((q, s) => s.end(JSON.stringify({ file: __filename, argv: process.argv.slice(2) })))\
    .listen(process.env.PORT);";

/// Starts what was typed, asks it, and stops it: what was said, and what it answers.
fn answers(world: &World, name: &str, files: &[(&str, &str)], typed: &[&str]) -> (Outcome, serde_json::Value) {
    let directory = world.work().join(name);
    for (file, content) in files {
        let path = directory.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let port = world.port();
    let flags = ["start", "--daemon", "--workers=1", "--title=svc", "--timeout=20000", &format!("--port={port}")];
    let outcome = world.eggctl(&flags).args(typed).cwd(&directory).run();
    outcome.exits(0);
    let answer = serde_json::from_str(&http::get(port, "/").body).unwrap();
    world.stop("svc");
    (outcome, answer)
}

#[test]
fn an_express_generators_directory_runs_by_its_start_script() {
    world(|world| {
        let (outcome, _) = answers(world, "express", EXPRESS, &[]);
        outcome.says("running bin/www, from scripts.start in package.json");
        // By its name, without an ending, from where it lies.
        let (outcome, _) = answers(world, "express", &[], &["bin/www"]);
        outcome.does_not_say("running ");
    });
}

#[test]
fn words_after_two_dashes_are_the_applications_arguments() {
    world(|world| {
        for (typed, wanted) in [
            (&[".", "--", "--flag", "a b", "--title=x"][..], &["--flag", "a b", "--title=x"][..]),
            (&["bin/www", "--", "--", "-c"], &["--", "-c"]),
        ] {
            let (_, answer) = answers(world, "express", EXPRESS, typed);
            assert_eq!(answer["argv"], serde_json::json!(wanted));
        }
        let start_script = EXPRESS[0].1.replace("./bin/www", "bin/www --color 1");
        let (_, answer) = answers(world, "express", &[("package.json", &start_script)], &[".", "--", "more"]);
        assert_eq!(answer["argv"], serde_json::json!(["--color", "1", "more"]));
        let refused = world.eggctl(&["start", "--daemon", "--", "--flag"]).cwd(world.work().join("express")).run();
        refused.fails(2).says("eggctl start . -- --flag");
    });
}

#[test]
fn arguments_stay_over_a_reload_and_a_restart() {
    world(|world| {
        let directory = world.directory("args", &[("package.json", r#"{"name":"args"}"#), ("app.js", SERVER)]);
        let port = world.port();
        let argv = || serde_json::from_str::<serde_json::Value>(&http::get(port, "/").body).unwrap()["argv"].clone();
        let flags = ["start", "--daemon", "--workers=1", "--title=svc", &format!("--port={port}")];
        world.eggctl(&flags).arg(&directory).args(["--", "--one", "--title=two"]).run().exits(0);
        world.eggctl(&["reload", "--title=svc"]).run().exits(0);
        assert_eq!(argv(), serde_json::json!(["--one", "--title=two"]));
        world.expect_in_log("[master]");
        world.eggctl(&["restart", "--title=svc"]).run().exits(0);
        assert_eq!(argv(), serde_json::json!(["--one", "--title=two"]));
        world.eggctl(&["restart", "--title=svc", "--workers=2", "--", "--three"]).run().exits(0);
        assert_eq!(argv(), serde_json::json!(["--three"]));
        world.stop("svc");
    });
}

#[test]
fn what_package_json_or_custom_names_is_found_and_said() {
    world(|world| {
        let package = |more: &str| format!("{{\"name\":\"x\"{more}}}");
        let table: &[(&str, &str, &str, &str)] = &[
            (r#","main":"lib/server.js""#, "lib/server.js", "lib/server.js", "running lib/server.js, from main"),
            (r#","main":"lib/server""#, "lib/server.js", "lib/server.js", "running lib/server.js, from main"),
            (r#","main":"./lib""#, "lib/index.js", "lib/index.js", "running lib/index.js, from main"),
            (r#","main":"x.cjs","type":"module""#, "x.cjs", "x.cjs", "running x.cjs, from main"),
            (r#","main":"missing.js""#, "index.js", "index.js", "running index.js, as node would"),
            ("", "server.js", "server.js", "running server.js, as node would"),
            ("", "index.js", "index.js", "running index.js, as node would"),
            (r#","scripts":{"start":"node ."},"main":"m.js""#, "m.js", "m.js", "running m.js, from scripts.start"),
            (
                r#","scripts":{"start":"node src"}"#,
                "src/index.js",
                "src/index.js",
                "running src/index.js, from scripts.start",
            ),
            (r#","scripts":{"start":"node x"}"#, "x.js", "x.js", "running x.js, from scripts.start"),
            (r#","scripts":{"start":"eggctl start"}"#, "app.js", "app.js", "Starting"),
            (r#","main":"other.js""#, "app.js", "app.js", "Starting"),
        ];
        for (number, (more, file, wanted, said)) in table.iter().enumerate() {
            let name = format!("d{number}");
            let files = [("package.json", package(more)), (*file, SERVER.to_owned())];
            let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
            let (outcome, answer) = answers(world, &name, &files, &[]);
            outcome.says(said);
            assert_eq!(answer["file"].as_str().unwrap(), world.work().join(&name).join(wanted).to_str().unwrap());
        }
    });
}

#[test]
fn what_cannot_be_run_is_refused_with_what_to_type() {
    world(|world| {
        let place = world.directory(
            "odd",
            &[
                ("run.sh", "#!/bin/sh\necho no\n"),
                ("run", "#!/usr/bin/python3\n"),
                ("binary", "\u{7f}ELF\0\0"),
                ("text.md", "# text"),
                ("vite.config.js", "module.exports = { plugins: [] }"),
            ],
        );
        for (name, says) in [
            ("run.sh", "/bin/sh"),
            ("run", "python3"),
            ("binary", "neither"),
            ("text.md", "neither a directory nor a script"),
        ] {
            world.eggctl(&["start", "--daemon"]).arg(place.join(name)).run().fails(2).says(says);
        }
        let start = |name: &str, script: &str, says: &str| {
            let package = serde_json::json!({ "name": "x", "scripts": { "start": script } }).to_string();
            let directory = world.directory(name, &[("package.json", &package)]);
            world.eggctl(&["start", "--daemon"]).arg(directory).run().fails(2).says(says);
        };
        start("variables", "A=1 node x.js --v", "`A=1 eggctl start x.js -- --v`");
        start("build", "npm run build && node x.js", "is not of the form `node FILE`");
        start("missing", "node x.js", "runs `x.js`, which is not there");
    });
}

#[test]
fn a_configuration_of_pm2_is_answered_with_what_to_type() {
    world(|world| {
        let config = "module.exports = { apps: [{ name: 'api', script: './server.js', instances: 2, exec_mode: 'cluster',\n\
            args: '--verbose', env: { PORT: 3001, SECRET: 's3cr3t' } }] };\nrequire('fs').writeFileSync('ran', '');";
        let files = [
            ("ecosystem.config.js", config),
            ("server.js", SERVER),
            ("package.json", r#"{"name":"x","main":"no.js"}"#),
        ];
        let directory = world.directory("pm2", &files);
        let outcome = world.eggctl(&["start", "ecosystem.config.js"]).cwd(&directory).run();
        let typed = "eggctl start --daemon --title=api --workers=2 --port=3001 ./server.js -- --verbose";
        outcome.fails(2).says("pm2").says(typed).says("SECRET").does_not_say("s3cr3t");
        assert!(!directory.join("ran").exists(), "it was run");
        // It can be pasted.
        let words: Vec<&str> = typed.split(' ').skip(1).collect();
        world.eggctl(&words).cwd(&directory).run().exits(0);
        world.eggctl(&["stop", "--title=api"]).run().exits(0);
        // The directory has nothing else.
        fs::remove_file(directory.join("server.js")).unwrap();
        world.eggctl(&["start"]).cwd(&directory).run().fails(2).says("eggctl start --daemon --title=api");
        let made = world.directory("made", &[("ecosystem.config.js", "module.exports = make({ apps: 1 })")]);
        world
            .eggctl(&["start"])
            .arg(made.join("ecosystem.config.js"))
            .run()
            .fails(2)
            .says("plain data")
            .says("--workers=");
    });
}
