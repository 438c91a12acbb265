//! Heads that can not be read: a problem-details answer like every other, and nothing else on the connection is harmed.

use std::io::Read;
use std::net::{Shutdown, SocketAddr};

use annals_server::Options;

use crate::support::{Connection, OrClosed, Reply, Server};

const GOOD: &str = r#"{"kind":"other","source":"s"}"#;

/// The answer to `bytes` on a connection of their own.
fn answer(addr: SocketAddr, bytes: &[u8]) -> Reply {
    let mut connection = Connection::open(addr);
    // The rest of a head that is too large may find the connection closed.
    connection.send_raw(bytes).ok_or_closed();
    last_reply(connection)
}

/// The last answer on a connection, which has to be a whole one.
fn last_reply(mut connection: Connection) -> Reply {
    let reply = connection.reply("GET");
    check_form(&reply);
    let mut rest = Vec::new();
    connection.stream.read_to_end(&mut rest).unwrap();
    assert_eq!(String::from_utf8_lossy(&rest), "", "something follows the answer");
    reply
}

fn check_form(reply: &Reply) {
    reply.refusal(reply.status);
    assert!(reply.complete, "{reply:?}");
    let length = reply.body.len().to_string();
    assert_eq!(reply.header("content-length"), Some(length.as_str()));
    assert_eq!(reply.header("connection"), Some("close"));
    assert!(reply.header("date").is_some(), "{reply:?}");
    assert_eq!(reply.json()["outcome"], "not_stored");
}

/// Red when: `Wire::keeps_back` answers false (hyper's bare answers go out), or `Heads::refuse` sends nothing.
#[test]
fn heads_that_can_not_be_read_are_400() {
    let server = Server::start();
    for bytes in [
        &b"\r\n\r\nrubbish\r\n\r\n"[..],
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /a b HTTP/1.1\r\n\r\n",
        b"G\xffT / HTTP/1.1\r\n\r\n",
        b"GET /stats HTTP/1.0\r\nbad header\r\n\r\n",
        b"GET /stats HTTP/1.1\r\nhost: localhost\r\nbad header: x\r\n\r\n",
        b"GET /stats HTTP/1.1\r\nhost: localhost\r\n: x\r\n\r\n",
        b"GET /stats HTTP/1.1\r\nhost: localhost\r\nx: a\0b\r\n\r\n",
        b"POST /events HTTP/1.1\r\nhost: localhost\r\ncontent-length: -1\r\n\r\n",
        b"POST /events HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n{}",
        b"POST /events HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: gzip\r\n\r\n",
        b"POST /events HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        // A TLS handshake.
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03rubbish",
    ] {
        let reply = answer(server.addr, bytes);
        let what = String::from_utf8_lossy(bytes).into_owned();
        assert_eq!(reply.status, 400, "{what:?}");
        assert_eq!(reply.json()["type"], "urn:annals:problem:bad-request", "{what:?}");
        assert!(reply.refusal(400).contains("HTTP/1.1"), "{what:?}");
    }
    assert_eq!(server.head_size(), 0);
}

#[test]
fn large_heads_are_431_and_long_targets_414() {
    let server = Server::start();
    let headers = |count: usize, length: usize| {
        let header = format!("x: {}\r\n", "v".repeat(length));
        format!(
            "GET /healthz HTTP/1.1\r\nhost: localhost\r\n{}\r\n",
            header.repeat(count)
        )
    };
    let target = |length: usize, end: &str| format!("GET /events?source={}{end}", "v".repeat(length));
    for head in [headers(100, 1), headers(1, 200 * 1024), headers(40, 10 * 1024)] {
        let reply = answer(server.addr, head.as_bytes());
        let detail = reply.refusal(431);
        assert!(
            detail.contains("64 header lines") && detail.contains("65536"),
            "{detail}"
        );
        assert_eq!(reply.json()["type"], "urn:annals:problem:head-too-large");
    }
    let whole = " HTTP/1.1\r\nhost: localhost\r\n\r\n";
    // Red when: `verdict` does not look whether the first line has ended (the second and third are 431 then).
    for head in [
        target(65 * 1024, whole),
        target(200 * 1024, whole),
        target(200 * 1024, ""),
    ] {
        let reply = answer(server.addr, head.as_bytes());
        assert!(reply.refusal(414).contains("65536"));
        assert_eq!(reply.json()["type"], "urn:annals:problem:uri-too-long");
    }
    // What is within the bounds is not harmed.
    let sources = vec!["source=".to_owned() + &"v".repeat(1000); 32].join("&");
    let long = format!("GET /events?{sources}{whole}");
    let mut connection = Connection::open(server.addr);
    connection.send_raw(long.as_bytes()).unwrap();
    assert_eq!(connection.reply("GET").status, 200);
    connection.send_raw(headers(60, 500).as_bytes()).unwrap();
    assert_eq!(connection.reply("GET").status, 200);
}

/// Red when: `is_between` answers true (the route's own 404 is replaced), or `flushed` does nothing (the bare 400 goes out).
#[test]
fn what_was_answered_before_is_whole() {
    let server = Server::start();
    let append = format!(
        "POST /events HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n{GOOD}",
        GOOD.len()
    );
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
    let parts = [
        append.clone(),
        get("/nope"),
        append,
        get("/events"),
        String::from("rubbish\r\n\r\n"),
    ];
    // Each waited for, and all in one piece.
    for pipelined in [false, true] {
        let before = server.head_size();
        let mut connection = Connection::open(server.addr);
        if pipelined {
            connection.send_raw(parts.concat().as_bytes()).unwrap();
        }
        for (part, status) in parts.iter().zip([201, 404, 201, 200]) {
            if !pipelined {
                connection.send_raw(part.as_bytes()).unwrap();
            }
            let reply = connection.reply("GET");
            assert!(reply.complete && reply.status == status, "{reply:?}");
            assert_eq!(reply.header("connection"), None);
        }
        if !pipelined {
            connection.send_raw(parts[4].as_bytes()).unwrap();
        }
        last_reply(connection).refusal(400);
        assert_eq!(server.head_size(), before + 2);
    }
}

#[test]
fn other_ways_to_hold_a_connection() {
    let server = Server::start();
    let text = |bytes: &str| {
        let mut connection = Connection::open(server.addr);
        connection.send_raw(bytes.as_bytes()).unwrap();
        connection.stream.get_mut().shutdown(Shutdown::Write).unwrap();
        connection
    };
    // HTTP/1.0, kept alive by request.
    let mut old = text("GET /healthz HTTP/1.0\r\nconnection: keep-alive\r\n\r\nGET /healthz\r\n\r\n");
    assert_eq!(old.reply("GET").status, 200);
    last_reply(old).refusal(400);
    // Answers without a body, and a body that nobody reads, in front of rubbish.
    let mut head = text("HEAD /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n\x01\r\n\r\n");
    assert_eq!(head.reply("HEAD").status, 200);
    last_reply(head).refusal(400);
    let mut unread =
        text("POST /nope HTTP/1.1\r\nhost: localhost\r\ncontent-length: 3\r\n\r\nabc\x01\r\n\r\n");
    assert_eq!(unread.reply("POST").status, 404);
    last_reply(unread).refusal(400);
    let chunked = "POST /events HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n";
    let mut sent = text(&format!(
        "{chunked}{:x}\r\n{GOOD}\r\n0\r\n\r\n\x01\r\n\r\n",
        GOOD.len()
    ));
    assert_eq!(sent.reply("POST").status, 201);
    last_reply(sent).refusal(400);
    // Half a head. Red when: `verdict` does not know `is_incomplete_message`.
    let half = text("GET /healthz HTTP/1.1\r\nhost: loc");
    assert!(last_reply(half).refusal(400).contains("empty line"));
    // A body that breaks off is the route's to answer, or nobody's: never two answers.
    let mut broken = text("POST /events HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n{");
    let mut all = String::new();
    broken.stream.read_to_string(&mut all).unwrap();
    assert!(all.matches("HTTP/1.1 ").count() <= 1, "{all}");
    // Nothing at all, and blank lines, are no requests.
    for nothing in ["", "\r\n\r\n"] {
        let mut rest = Vec::new();
        text(nothing).stream.read_to_end(&mut rest).unwrap();
        assert_eq!(String::from_utf8_lossy(&rest), "", "{nothing:?}");
    }
    assert_eq!(server.head_size(), 1);
}

/// A client that goes on sending still gets the answer: closing at once could destroy it.
#[test]
fn a_head_without_end_is_answered() {
    let server = Server::with_options(Options {
        head_bytes_max: 8 * 1024,
        ..Options::default()
    });
    let mut connection = Connection::open(server.addr);
    connection.send_raw(b"GET /healthz HTTP/1.1\r\n").unwrap();
    let line = format!("x: {}\r\n", "v".repeat(4000));
    for _ in 0..200 {
        if connection.send_raw(line.as_bytes()).is_err() {
            break;
        }
    }
    assert!(last_reply(connection).refusal(431).contains("8192"));
}
