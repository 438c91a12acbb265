//! The command line itself: what is refused, with which code, and what the message says to do.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

use tempfile::TempDir;

use crate::process::{Server, command, finish, free_port, run, run_with};

/// Red when: `Failure::Usage` maps to another code, or a check in `append::Args` is left out.
#[test]
fn wrong_usage_is_told_apart() {
    let dir = TempDir::new().unwrap();
    for (args, says) in [
        (&[][..], "Usage:"),
        (&["bogus"], "bogus"),
        (&["get"], "<ID>"),
        (&["get", "0"], "0"),
        (&["get", "x"], "x"),
        (&["query", "--limit", "0"], "--limit"),
        (&["query", "--limit", "100001"], "--order newest"),
        (&["query", "--order", "last"], "newest"),
        (&["query", "--count", "--limit", "1"], "--limit"),
        (&["query", "--count", "--format", "csv"], "--format json"),
        (&["query", "--json", "--format", "csv"], "--format"),
        (&["query", "--log", "A"], "a-z"),
        (&["tail", "--from", "2", "--log", "a", "--log", "b"], "--since"),
        (&["logs"], "Usage:"),
        (&["logs", "create", "Orders"], "a-z"),
        (&["index", "rebuild", "--log", ".."], "a-z"),
        (&["append", "--idempotency-key", "k", "--file", "x"], "--kind"),
        (
            &[
                "append",
                "--kind",
                "other",
                "--source",
                "s",
                "--idempotency-key",
                "a b",
            ],
            "without spaces",
        ),
        (
            &["append", "--kind", "other", "--source", "s", "--producer", "p"],
            "--sequence",
        ),
        (&["verify", "--file", "x", "--log", "a"], "--log"),
        (&["query", "--url", "localhost:8093"], "use http://HOST:PORT"),
        (&["tail", "--count", "0"], "--count"),
        (&["append", "--kind", "other"], "--source"),
        (
            &["append", "--kind", "other", "--source", "s", "--payload", "[]"],
            "it is an array",
        ),
        (
            &[
                "append",
                "--kind",
                "other",
                "--source",
                "s",
                "--payload",
                "{},\"kind\":\"flag_swapped\"",
            ],
            "JSON object",
        ),
        (&["append", "--kind", "other", "--file", "x"], "add --wrap"),
        (
            &["append", "--wrap", "--kind", "other", "--file", "x"],
            "--source-from",
        ),
        (&["append", "--wrap", "--file", "x"], "--kind"),
        (&["append", "--source-from", "/a", "--file", "x"], "--wrap"),
        (
            &[
                "append",
                "--wrap",
                "--kind",
                "other",
                "--source-from",
                "a",
                "--file",
                "x",
            ],
            "use /a",
        ),
        (&["serve", "--listen", "8093"], "127.0.0.1:8093"),
        (&["serve", "--log-level", "loud"], "loud"),
        (&["verify", "http://127.0.0.1:1", "--file", "x"], "--file"),
        (
            &["verify", "--checkpoint", "{\"event_id\":1}"],
            "64 lower-case hex",
        ),
        (&["--config", "missing.toml", "query"], "missing.toml"),
    ] {
        run(dir.path(), args).exits(2).says(says);
    }
    assert_eq!(
        fs::read_dir(dir.path()).unwrap().count(),
        0,
        "nothing was created"
    );
}

#[test]
fn help_and_version_are_data() {
    let dir = TempDir::new().unwrap();
    let help = run(dir.path(), &["--help"]).exits(0);
    assert!(help.stdout.contains("annals append --file events.ndjson") && help.stderr.is_empty());
    let version = run(dir.path(), &["--version"]).exits(0);
    assert_eq!(
        version.stdout,
        concat!("annals ", env!("CARGO_PKG_VERSION"), "\n")
    );
}

/// Red when: `Client::unreachable` is another failure.
#[test]
fn a_server_that_is_not_there_is_unreachable() {
    let dir = TempDir::new().unwrap();
    let url = format!("http://127.0.0.1:{}", free_port());
    for args in [
        &["query", "--url", &url][..],
        &["get", "1", "--url", &url],
        &["tail", "--url", &url],
        &["tail", "--from", "1", "--url", &url],
        &["append", "--kind", "other", "--source", "s", "--url", &url],
        &["verify", &url],
    ] {
        run(dir.path(), args).exits(6).says(&url).says("annals serve");
    }
    run_with(dir.path(), &["append", "--url", &url], b"{}\n{}\n")
        .exits(6)
        .says("not stored: lines 1–2");
}

/// Red when: `told_apart` lets a broken pipe be an error like any other.
#[test]
fn a_reader_that_goes_away_ends_the_command_quietly() {
    let server = Server::start();
    // More than a pipe holds, so that the command is still writing.
    for _ in 0..3 {
        server.load_cloudtrail().exits(0);
    }
    let mut child = server
        .command(&["query"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = BufReader::with_capacity(512, child.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    drop(stdout);
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        (output.status.code(), String::from_utf8(output.stderr).unwrap()),
        (Some(0), String::new())
    );
    assert!(line.starts_with("{\"event_id\":1,"), "{line}");
}

/// Red when: `into_error` drops the problem's detail, or a proxy is used for loopback.
#[test]
fn what_the_server_refuses_is_passed_on() {
    let server = Server::start();
    server
        .run(&["query", "--kind", "nope"])
        .exits(1)
        .says("not a registered kind");
    server.run(&["get", "7"]).exits(1).says("has no event 7");
    server
        .run(&["tail", "--from", "9"])
        .exits(1)
        .says("ends at event 0");
    let mut proxied = command(
        server.dir.path(),
        ["query", "--url", &server.url.replace("127.0.0.1", "localhost")],
    );
    proxied
        .env("HTTP_PROXY", "http://127.0.0.1:1")
        .env("http_proxy", "http://127.0.0.1:1");
    finish(proxied).exits(0);
}
