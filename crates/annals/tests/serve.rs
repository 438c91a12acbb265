//! `annals serve`: where it refuses to start, and how it ends.

use std::fs;
use std::net::TcpListener;

use tempfile::TempDir;

use crate::process::{Server, command, finish, run};

/// Red when: `bind` does not call `check_listen`.
#[test]
fn other_machines_are_kept_out_unless_allowed() {
    let dir = TempDir::new().unwrap();
    run(dir.path(), &["serve", "--listen", "0.0.0.0:0"])
        .exits(5)
        .says("--allow-unauthenticated")
        .says("--listen");
    let mut by_host = command(dir.path(), ["serve"]);
    by_host.env("HOST", "0.0.0.0").env("PORT", "0");
    finish(by_host).exits(5).says("HOST and PORT");
    assert_eq!(
        fs::read_dir(dir.path()).unwrap().count(),
        0,
        "nothing was created"
    );
}

#[test]
fn an_address_in_use_is_explained() {
    let dir = TempDir::new().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    run(dir.path(), &["serve", "--listen", &address])
        .exits(1)
        .says(&address)
        .says("pick another port");
    assert_eq!(
        fs::read_dir(dir.path()).unwrap().count(),
        0,
        "nothing was created"
    );
}

#[test]
fn a_directory_has_one_server_and_a_foreign_one_none() {
    let server = Server::start();
    let args = ["serve", "--listen", "127.0.0.1:0"];
    run(server.dir.path(), &args)
        .exits(1)
        .says("annals-data")
        .says("another process");
    let foreign = TempDir::new().unwrap();
    fs::write(foreign.path().join("thesis.txt"), "mine").unwrap();
    let path = foreign.path().to_str().unwrap();
    run(
        server.dir.path(),
        &["serve", "--listen", "127.0.0.1:0", "--data-dir", path],
    )
    .exits(1)
    .says(path);
    assert_eq!(fs::read_dir(foreign.path()).unwrap().count(), 1);
}

/// Red when: one of the two signals is not listened for.
#[test]
fn both_signals_end_it_gracefully_and_a_kill_loses_nothing() {
    let mut dir = TempDir::new().unwrap();
    for (before, signal) in [(0, "TERM"), (1, "INT"), (2, "KILL")] {
        let server = Server::start_in(dir, "127.0.0.1:0");
        assert!(
            server.said().contains(&format!("annals-data; {before} events")),
            "{}",
            server.said()
        );
        server.append("s");
        let code;
        (code, dir) = server.stop(signal);
        let said = fs::read_to_string(dir.path().join("serve.log")).unwrap();
        assert_eq!(code, if signal == "KILL" { None } else { Some(0) }, "{said}");
        assert_eq!(
            said.contains("everything that was acknowledged is stored"),
            signal != "KILL",
            "{said}"
        );
    }
    let server = Server::start_in(dir, "127.0.0.1:0");
    assert_eq!(server.run(&["query"]).json().len(), 3);
}
