//! Unix sockets: paths and abstract names, the file and its mode, stale files.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::Path;

use serde_json::json;

use super::{listen, run, serve_exactly, served_by, start};
use crate::harness::{eventually, processes, world};

fn at_path(path: &Path) -> io::Result<u32> {
    // A path beyond the kernel's limit goes by its directory, as in the master.
    let directory = std::fs::File::open(path.parent().unwrap())?;
    let short = format!("/proc/self/fd/{}/{}", std::os::fd::AsRawFd::as_raw_fd(&directory), file_name(path));
    served_by(UnixStream::connect(short)?)
}

fn file_name(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

fn mode(path: &Path) -> u32 {
    std::fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_path_is_shared_and_its_file_goes_with_the_last_one_out() {
    world(|world| {
        let port = world.port();
        start(world, port, 2);
        let path = world.work().join("a socket");
        let listened = listen(world, &[1, 2], "unix", &json!({ "path": path }));
        assert_eq!(listened[1]["address"], json!(path));
        serve_exactly(&[1, 2], || at_path(&path));
        run(world, 1, "return kit.close('unix')");
        serve_exactly(&[2], || at_path(&path));
        run(world, 2, "return kit.close('unix')");
        eventually("the file is gone", || !path.exists());
        listen(world, &[2, 1], "unix", &json!({ "path": path }));
        serve_exactly(&[1, 2], || at_path(&path));
        world.stop("svc");
        assert!(!path.exists(), "the file outlives the application");
    });
}

#[test]
fn a_relative_path_is_the_workers_and_a_long_one_works_too() {
    world(|world| {
        let port = world.port();
        start(world, port, 2);
        let deep = world.work().join("d".repeat(120));
        std::fs::create_dir(&deep).unwrap();
        let long = deep.join("socket");
        assert!(long.as_os_str().len() > 108);
        listen(world, &[1, 2], "long", &json!({ "path": long }));
        serve_exactly(&[1, 2], || at_path(&long));
        let chdir = format!("process.chdir({}); return kit.listen('relative', {{ path: 'here' }})", json!(deep));
        for worker in [1, 2] {
            assert!(run(world, worker, &chdir)["address"].is_string());
        }
        serve_exactly(&[1, 2], || at_path(&deep.join("here")));
        world.stop("svc");
        assert_eq!(std::fs::read_dir(&deep).unwrap().count(), 0);
    });
}

#[test]
fn an_abstract_name_has_no_file() {
    world(|world| {
        let port = world.port();
        start(world, port, 2);
        for worker in [1, 2] {
            assert!(
                run(world, worker, r"return kit.listen('abstract', { path: '\0of this test' })")["address"].is_string()
            );
        }
        let name = SocketAddr::from_abstract_name("of this test").unwrap();
        serve_exactly(&[1, 2], || served_by(UnixStream::connect_addr(&name)?));
        run(world, 1, "return kit.close('abstract')");
        run(world, 2, "return kit.close('abstract')");
        eventually("the name is free", || UnixStream::connect_addr(&name).is_err());
        world.stop("svc");
    });
}

#[test]
fn a_file_gets_the_permissions_that_were_asked_for() {
    world(|world| {
        let port = world.port();
        start(world, port, 1);
        let plain = world.work().join("plain");
        listen(world, &[1], "plain", &json!({ "path": plain }));
        for (options, more) in
            [(["readableAll"].as_slice(), 0o444), (&["writableAll"], 0o222), (&["readableAll", "writableAll"], 0o666)]
        {
            let path = world.work().join(format!("{more:o}"));
            let mut asked = json!({ "path": path });
            options.iter().for_each(|option| asked[option] = json!(true));
            listen(world, &[1], &format!("{more:o}"), &asked);
            assert_eq!(mode(&path), mode(&plain) | more, "{options:?}");
        }
        world.stop("svc");
    });
}

#[test]
fn a_stale_file_is_replaced_and_what_lives_or_is_no_socket_is_not() {
    world(|world| {
        world.expect_in_log("cannot listen");
        let port = world.port();
        start(world, port, 2);
        let path = world.work().join("socket");
        drop(UnixListener::bind(&path).unwrap());
        listen(world, &[1, 2], "stale", &json!({ "path": path }));
        serve_exactly(&[1, 2], || at_path(&path));

        let living = world.work().join("living");
        let listener = UnixListener::bind(&living).unwrap();
        let file = world.work().join("file");
        std::fs::write(&file, "precious").unwrap();
        let link = world.work().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        for taken in [&living, &file, &link] {
            let told = &listen(world, &[1], "taken", &json!({ "path": taken }))[0];
            assert_eq!(told["message"], format!("bind EADDRINUSE {}", taken.display()));
        }
        assert!(std::fs::symlink_metadata(&living).unwrap().file_type().is_socket());
        assert!(std::fs::symlink_metadata(&link).unwrap().file_type().is_symlink());
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");
        drop(listener);

        let nowhere = world.work().join("none/socket");
        let told = &listen(world, &[1], "nowhere", &json!({ "path": nowhere }))[0];
        assert_eq!((&told["code"], &told["errno"]), (&json!("EACCES"), &json!(-13)), "libuv makes this of ENOENT");
        world.stop("svc");
    });
}

#[test]
fn a_killed_masters_socket_file_does_not_stop_the_next_start() {
    world(|world| {
        let port = world.port();
        start(world, port, 1);
        let path = world.work().join("socket");
        listen(world, &[1], "unix", &json!({ "path": path }));
        processes::signal(world.master("svc"), nix::sys::signal::Signal::SIGKILL);
        eventually("everybody has gone with it", || world.alive().is_empty());
        assert!(path.exists());
        // The fixture's own server is past the master: its file is its own to remove.
        std::fs::remove_file(world.work().join("worker-1")).unwrap();
        start(world, port, 1);
        assert!(listen(world, &[1], "unix", &json!({ "path": path }))[0]["address"].is_string());
        serve_exactly(&[1], || at_path(&path));
        world.stop("svc");
    });
}
