//! Tests of what a member is run with and of what makes it ready.

use std::path::{Path, PathBuf};

use super::served::{listen, worth};
use super::*;
use crate::ipc::inbound::AddressType;
use crate::lifecycle::{Address, Kind, Worth};
use crate::options::{DispatchPolicy, SCRUBBED, Title};

const WORKER: Role = Role::Worker { kind: Kind(0), slot: 1 };

fn options(port: Option<u16>) -> Options {
    Options {
        title: Title::try_from("a \"b\" ü".to_owned()).unwrap(),
        name: "hello".to_owned(),
        base_dir: PathBuf::from("/srv/hello"),
        directory: PathBuf::from("/srv/hello"),
        application: Application::Node {
            script: PathBuf::from("/srv/hello/app.js"),
            agent: Some(PathBuf::from("/srv/hello/agent.js")),
            sticky: false,
        },
        arguments: Vec::new(),
        said: None,
        workers: 2,
        workers_from_cpus: false,
        scaled_from: None,
        port,
        port_from: port.map(|_| "from --port".to_owned()),
        dispatch: DispatchPolicy::RoundRobin,
        host: None,
        env: None,
        daemon: true,
        spares: 0,
        exit_when_down: false,
        stdout: PathBuf::from("/home/u/logs/master-stdout.log"),
        stderr: PathBuf::from("/home/u/logs/master-stderr.log"),
        timeout_ms: 300_000,
        logs: None,
        ignore_stderr: false,
        node: PathBuf::from("/usr/bin/node"),
        node_flags: vec!["--no-deprecation".to_owned()],
        preload: true,
        log_level: crate::options::LogLevel::default(),
        worker_close_grace_ms: 5000,
        agent_close_grace_ms: 5000,
        given: crate::options::Variables::default(),
        from_files: crate::options::Variables::default(),
        environment: vec![("NODE_ENV".into(), "production".into())],
        cookie: "c00c1e".to_owned(),
    }
}

fn egg(family: Family, port: Option<u16>) -> Options {
    let application = Application::Egg {
        framework: PathBuf::from("/srv/hello/node_modules/egg"),
        framework_name: "egg".to_owned(),
        framework_version: "3.34.0".to_owned(),
        family,
        agent: PathBuf::from("/m/agent_worker.js"),
        worker: PathBuf::from("/m/app_worker.js"),
        sticky: false,
        debug_port: None,
        cluster_options: r#"{"env":null,"title":"a}"}"#.to_owned(),
        scripts_options: r#"{"title":"a}"}"#.to_owned(),
    };
    Options { application, ..options(port) }
}

fn listening(address_type: AddressType, address: Option<&str>, port: i64) -> Listening {
    Listening { seq: 1, address: address.map(str::to_owned), port, address_type }
}

fn set<'a>(program: &'a Program, name: &str) -> Option<&'a str> {
    program.set.iter().find(|(other, _)| other == name).and_then(|(_, value)| value.to_str())
}

#[test]
fn a_worker_gets_flags_preload_and_script_in_this_order() {
    let program = launch(&options(None), WORKER, 7, Some(Path::new("/run/preload.cjs")), &Runtime::default());
    assert_eq!(program.path, Path::new("/usr/bin/node"));
    assert_eq!(program.directory, Path::new("/srv/hello"));
    assert_eq!(program.arguments, ["--no-deprecation", "--require", "/run/preload.cjs", "/srv/hello/app.js"]);
    assert_eq!(set(&program, "NODE_ENV"), Some("production"));
    assert_eq!(set(&program, "NODE_UNIQUE_ID"), Some("7"));
    assert_eq!(set(&program, "NODE_CHANNEL_SERIALIZATION_MODE"), Some("json"));
}

#[test]
fn an_agent_is_no_cluster_worker_even_when_the_master_inherited_an_id() {
    let program = launch(&options(None), Role::Agent, 0, None, &Runtime::default());
    assert_eq!(program.arguments, ["--no-deprecation", "/srv/hello/agent.js"]);
    assert_eq!(set(&program, "NODE_UNIQUE_ID"), None);
    assert!(program.unset.contains(&"NODE_UNIQUE_ID"));
}

#[test]
fn what_is_taken_away_and_what_is_set_never_overlap_and_cover_all_that_is_scrubbed() {
    for role in [Role::Agent, WORKER] {
        let program = launch(&options(None), role, 1, None, &Runtime::default());
        for name in SCRUBBED {
            assert_ne!(program.unset.contains(name), set(&program, name).is_some(), "{name} of {role:?}");
        }
    }
}

#[test]
fn eggs_members_run_its_own_files_with_all_they_are_told_in_one_argument() {
    let runtime = Runtime { cluster_port: Some(7399), ..Runtime::default() };
    let told = r#"{"env":null,"title":"a}","clusterPort":7399}"#;
    let (options, preload) = (egg(Family::Three, None), Some(Path::new("/run/preload.cjs")));
    let agent = launch(&options, Role::Agent, 0, preload, &runtime);
    let worker = launch(&options, WORKER, 7, preload, &runtime);
    let before = ["--no-deprecation", "--require", "/run/preload.cjs"];
    assert_eq!(agent.arguments, [&before[..], &["/m/agent_worker.js", told]].concat());
    assert_eq!(worker.arguments, [&before[..], &["/m/app_worker.js", told]].concat());
    assert_eq!(members_options_json(&options, &runtime).as_deref(), Some(told));
    assert_eq!(members_options_json(&options, &Runtime::default()).as_deref(), Some(r#"{"env":null,"title":"a}"}"#));
    let sticky = Runtime { sticky_worker_port: Some(7400), ..runtime };
    let told_sticky = r#"{"env":null,"title":"a}","clusterPort":7399,"stickyWorkerPort":7400}"#;
    assert_eq!(members_options_json(&options, &sticky).as_deref(), Some(told_sticky));
    for (name, of_agent, of_worker) in [
        ("NODE_UNIQUE_ID", None, Some("7")),
        ("EGGCTL_WORKER", None, Some("2")),
        ("CFORK_WORKER_INDEX", None, Some("1")),
        ("CFORK_WORKER_COUNT", None, Some("2")),
        ("NODE_APP_INSTANCE", None, Some("1")),
        ("NO_DEPRECATION", Some("*"), Some("*")),
    ] {
        assert_eq!((set(&agent, name), set(&worker, name)), (of_agent, of_worker), "{name}");
    }
    assert_eq!(
        (agent.directory.as_path(), worker.directory.as_path()),
        (Path::new("/srv/hello"), Path::new("/srv/hello"))
    );
}

#[test]
fn a_worker_keeps_its_slot_through_all_its_lives() {
    for options in [egg(Family::Three, None), egg(Family::Four, None), options(None)] {
        for life in [1, 2, 60] {
            let program = launch(&options, WORKER, life, None, &Runtime::default());
            assert_eq!(name_of(WORKER), "worker 2");
            let told = ["EGGCTL_WORKER", "CFORK_WORKER_INDEX", "CFORK_WORKER_COUNT", "NODE_APP_INSTANCE"];
            assert_eq!(told.map(|name| set(&program, name).unwrap()), ["2", "1", "2", "1"]);
        }
    }
}

#[test]
fn a_spare_and_an_agent_are_told_no_place_not_even_one_that_the_master_has_inherited() {
    for options in [egg(Family::Three, None), egg(Family::Four, None), options(None)] {
        for role in [Role::Spare { kind: Kind(0), place: 0 }, Role::Agent] {
            let program = launch(&options, role, 3, None, &Runtime::default());
            for (name, _) in place::variables(0, 1) {
                assert_eq!(set(&program, name), None, "{name} of {role:?}");
                assert!(program.unset.contains(&name), "{name} of {role:?}");
            }
        }
    }
}

#[test]
fn outside_production_what_is_deprecated_is_told_and_plain_node_knows_nothing_of_egg() {
    let options = Options { environment: Vec::new(), ..egg(Family::Three, None) };
    assert_eq!(set(&launch(&options, WORKER, 1, None, &Runtime::default()), "NO_DEPRECATION"), None);
    let plain = launch(&self::options(None), WORKER, 1, None, &Runtime { cluster_port: Some(1), ..Runtime::default() });
    assert_eq!(set(&plain, "NO_DEPRECATION"), None);
    assert_eq!(
        members_options_json(&self::options(None), &Runtime { cluster_port: Some(1), ..Runtime::default() }),
        None
    );
}

#[test]
fn eggs_workers_are_ready_by_the_word_of_their_family() {
    for (family, action, expected) in [
        (Family::Three, "reuse-port-listening", true),
        (Family::Three, "app-start", false),
        (Family::Three, "agent-start", false),
        (Family::Four, "app-start", true),
        (Family::Four, "reuse-port-listening", false),
    ] {
        assert_eq!(ready_by_message(&egg(family, None), WORKER, Some(action)), expected, "{family:?} {action}");
        assert!(ready_by_message(&egg(family, None), Role::Agent, Some("agent-start")));
    }
}

#[test]
fn egg_serves_at_its_real_port_or_at_a_unix_socket() {
    for (port, real_port, listening, expected) in [
        (None, None, listening(AddressType::Tcp4, None, 7001), false),
        (None, Some(7001), listening(AddressType::Tcp4, None, 7001), true),
        (None, Some(7001), listening(AddressType::Tcp6, None, 9100), false),
        (Some(80), None, listening(AddressType::Tcp4, None, 80), true),
        (Some(80), Some(81), listening(AddressType::Tcp4, None, 80), false),
        (Some(80), Some(81), listening(AddressType::Tcp4, None, 81), true),
        (None, Some(7001), listening(AddressType::Udp4, None, 7001), false),
        (None, None, listening(AddressType::Pipe, Some("/run/s"), -1), true),
    ] {
        let (three, four) = (egg(Family::Three, port), egg(Family::Four, port));
        let worth = if expected { Worth::Service } else { Worth::Beside };
        let listens = |options| listen(options, real_port, Address(0), &listening, &listening);
        assert_eq!(listens(&three).worth, worth, "{port:?} {real_port:?} {listening:?}");
        assert_eq!(listens(&four).worth, worth, "{port:?} {real_port:?} {listening:?}");
        assert!(listens(&three).decides && !listens(&four).decides, "Egg 4 says so");
    }
    let plain = listening(AddressType::Tcp4, None, 9100);
    assert_eq!(worth(&options(None), Some(7001), &plain), Worth::Open, "a real port is Egg's");
}

#[test]
fn the_master_of_egg_shows_what_egg_scripts_gives() {
    assert_eq!(master_arguments(&egg(Family::Three, None))[1], r#"{"title":"a}"}"#);
}

#[test]
fn a_member_is_ready_by_its_own_message_only() {
    for (role, action, expected) in [
        (Role::Agent, Some("agent-start"), true),
        (Role::Agent, Some("app-start"), false),
        (Role::Agent, None, false),
        (WORKER, Some("app-start"), true),
        (WORKER, Some("agent-start"), false),
        (WORKER, Some("egg-ready"), false),
        (WORKER, None, false),
    ] {
        assert_eq!(ready_by_message(&options(None), role, action), expected, "{role:?} {action:?}");
    }
}

#[test]
fn with_a_port_only_tcp_at_that_port_is_where_a_node_application_serves() {
    for (port, listening, expected) in [
        (Some(7001), listening(AddressType::Tcp4, None, 7001), true),
        (Some(7001), listening(AddressType::Tcp6, Some("::1"), 7001), true),
        (Some(7001), listening(AddressType::Tcp4, None, 9100), false),
        (Some(7001), listening(AddressType::Udp4, None, 7001), false),
        (Some(7001), listening(AddressType::Pipe, Some("/tmp/s"), -1), false),
        (None, listening(AddressType::Tcp4, None, 9100), false),
        (None, listening(AddressType::Pipe, Some("/tmp/s"), -1), false),
    ] {
        let is_service = worth(&options(port), None, &listening) == Worth::Service;
        assert_eq!(is_service, expected, "{port:?} {listening:?}");
    }
}

#[test]
fn an_address_is_shown_so_that_it_can_be_opened() {
    for (listening, host, expected) in [
        (listening(AddressType::Tcp4, None, 7001), None, "http://127.0.0.1:7001"),
        (listening(AddressType::Tcp4, Some("0.0.0.0"), 7001), None, "http://127.0.0.1:7001"),
        (listening(AddressType::Tcp6, Some("::"), 7001), Some("0.0.0.0"), "http://127.0.0.1:7001"),
        (listening(AddressType::Tcp4, None, 7001), Some("svc.example"), "http://svc.example:7001"),
        (listening(AddressType::Tcp4, None, 7001), Some(""), "http://127.0.0.1:7001"),
        (listening(AddressType::Tcp4, Some("10.0.0.1"), 80), Some("svc.example"), "http://10.0.0.1:80"),
        (listening(AddressType::Tcp6, Some("::1"), 80), None, "http://[::1]:80"),
        (listening(AddressType::Tcp4, None, 80), Some("fe80::1"), "http://[fe80::1]:80"),
        (listening(AddressType::Udp4, None, 53), None, "udp://127.0.0.1:53"),
        (listening(AddressType::Pipe, Some("/run/svc.sock"), -1), Some("x"), "/run/svc.sock"),
    ] {
        let options = Options { host: host.map(str::to_owned), ..options(None) };
        assert_eq!(address(&options, None, &listening), expected);
    }
}

#[test]
fn the_master_shows_the_title_as_json_stringify_writes_it() {
    let with_port = master_arguments(&options(Some(7001)));
    assert_eq!(
        with_port,
        [
            "start-cluster",
            r#"{"workers":2,"port":7001,"baseDir":"/srv/hello","title":"a \"b\" ü"}"#,
            "--title=a \"b\" ü",
            "--node=/usr/bin/node",
        ]
    );
    let without = master_arguments(&options(None));
    assert_eq!(without[1], r#"{"workers":2,"baseDir":"/srv/hello","title":"a \"b\" ü"}"#);
}

#[test]
fn people_count_workers_from_one() {
    assert_eq!(name_of(Role::Agent), "agent");
    assert_eq!(name_of(WORKER), "worker 2");
    assert_eq!(name_of(Role::Worker { kind: Kind(0), slot: u32::MAX }), "worker 4294967296");
}

#[test]
fn the_hint_for_a_slow_agent_holds_a_word_that_makes_it_ready() {
    let options = options(None);
    let action = agent_ready_hint(&options).split('\'').nth(1);
    assert!(ready_by_message(&options, Role::Agent, action), "{action:?}");
    // Egg's own agent file says the word: nobody has to add it.
    assert!(!agent_ready_hint(&egg(Family::Three, None)).contains("process.send"));
}
