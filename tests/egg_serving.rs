//! Where and how an Egg application serves, by its own configuration and by its options: https, unix sockets, host
//! names, ports, the debug port.

use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde_json::json;

use crate::harness::egg::TITLE;
use crate::harness::{Outcome, Typed, World, http, installed, world};

/// `eggctl start --daemon --title=egg --workers=2 APPLICATION` without a port.
fn start(world: &World, application: &Path) -> Typed {
    world.eggctl(&["start", "--daemon", &format!("--title={TITLE}"), "--workers=2"]).arg(application)
}

/// The files of https, as `--https.…` takes them.
fn tls(world: &World) -> [String; 2] {
    let file = |name: &str| world.fixture("tls").join(name).to_str().unwrap().to_owned();
    [file("key.pem"), file("cert.pem")]
}

/// Asks over https, and trusts only the fixture's certificate: the body.
#[track_caller]
fn https_get(world: &World, port: u16) -> Outcome {
    let script = "const [cert, port] = process.argv.slice(1);
        const options = { port, host: '127.0.0.1', servername: 'localhost', ca: require('fs').readFileSync(cert) };
        require('https').get({ ...options, agent: false }, answer => answer.pipe(process.stdout))
          .on('error', error => { console.error(error.message); process.exitCode = 1; });";
    let [_, cert] = tls(world);
    world.program(&["node", "-e", script, &cert, &port.to_string()]).run()
}

fn https_is_served(world: &mut World, application: &Path) {
    world.expect_in_log("");
    let [key, cert] = tls(world);
    let (port, debug_port) = (world.port(), world.port());
    let (key, cert) = (format!("--https.key={key}"), format!("--https.cert={cert}"));
    let options = [&key, &cert, &format!("--port={port}"), &format!("--debugPort={debug_port}")];
    start(world, application).args(options).run().exits(0).says(&format!("on https://127.0.0.1:{port}"));
    https_get(world, port).exits(0).says("\"pid\"");
    assert_eq!(http::get(debug_port, "/").status, 200, "plain http at the debug port");
    world.log_says(&format!("started on http://127.0.0.1:{debug_port}"));
    world.stop(TITLE);
    // The same by the application's own configuration, and sticky.
    let [key, cert] = tls(world);
    let typed = start(world, application).env("CLUSTER_HTTPS", json!({ "key": key, "cert": cert }).to_string());
    typed.args(["--sticky", &format!("--port={port}")]).run().exits(0).says(&format!("on https://127.0.0.1:{port}"));
    https_get(world, port).exits(0).says("\"pid\"");
    world.stop(TITLE);
}

#[test]
fn https_of_an_egg_3_application_is_served() {
    let Some(application) = installed("egg3") else { return };
    world(|world| https_is_served(world, &application));
}

#[test]
fn https_of_an_egg_4_application_is_served() {
    let Some(application) = installed("egg4") else { return };
    world(|world| https_is_served(world, &application));
}

#[test]
fn a_missing_file_of_https_is_told_before_anything_starts_and_when_the_application_names_it() {
    let Some(application) = installed("egg3") else { return };
    world(|world| {
        let [key, _] = tls(world);
        let options = [format!("--https.key={key}"), "--https.cert=/nowhere/cert.pem".to_owned()];
        let outcome = start(world, &application).args(&options).run();
        outcome.fails(2).says("cannot read https.cert `/nowhere/cert.pem`: No such file");
        assert!(world.events().is_empty() && world.log().is_empty());

        world.expect_in_log("");
        let typed =
            start(world, &application).env("CLUSTER_HTTPS", json!({ "key": key, "cert": "/nowhere/c" }).to_string());
        typed.arg(format!("--port={}", world.port())).run().fails(1).says("ENOENT").says("/nowhere/c");
        world.nobody_is_left();
    });
}

fn its_own_configuration_says_where_it_listens(world: &mut World, application: &Path) {
    world.expect_in_log("");
    let path = world.work().join("egg.sock");
    let listen = json!({ "path": path.to_str().unwrap() });
    let outcome = start(world, application).env("CLUSTER_LISTEN", listen.to_string()).run();
    outcome.exits(0).says(path.to_str().unwrap());
    let answered = http::ask_over(UnixStream::connect(&path).unwrap(), "/").unwrap();
    assert!(world.workers(world.master(TITLE)).contains(&answered.pid()));
    world.stop(TITLE);
    assert!(!path.exists());

    let port = world.port();
    let listen = json!({ "port": port, "hostname": "127.0.0.2" });
    let outcome = start(world, application).env("CLUSTER_LISTEN", listen.to_string()).run();
    outcome.exits(0).says(&format!("http://127.0.0.2:{port}"));
    let there = IpAddr::from(Ipv4Addr::new(127, 0, 0, 2));
    let stream = std::net::TcpStream::connect((there, port)).unwrap();
    assert_eq!(http::ask_over(stream, "/").unwrap().status, 200);
    assert!(http::try_get(port, "/").is_err(), "it listens elsewhere, too");
    world.stop(TITLE);
}

#[test]
fn the_configuration_of_an_egg_3_application_says_where_it_listens() {
    let Some(application) = installed("egg3") else { return };
    world(|world| its_own_configuration_says_where_it_listens(world, &application));
}

#[test]
fn the_configuration_of_an_egg_4_application_says_where_it_listens() {
    let Some(application) = installed("egg4") else { return };
    world(|world| its_own_configuration_says_where_it_listens(world, &application));
}
