//! Which requests a server on loopback takes: those of programs, not those of web pages.

use std::net::SocketAddr;

use annals_server::{Options, check_listen, serve};
use tokio::net::TcpListener;

use crate::support::{Connection, Server, request};

const GOOD: &[u8] = br#"{"kind":"other","source":"s"}"#;

/// Red when: `Front::call` does not ask the guard.
#[test]
fn hosts() {
    let server = Server::start();
    for (host, fine) in [
        ("localhost", true),
        ("localhost:8093", true),
        ("LOCALHOST:1", true),
        ("127.0.0.1", true),
        ("127.0.0.1:65535", true),
        ("[::1]", true),
        ("[::1]:8093", true),
        ("evil.example", false),
        ("evil.example:8093", false),
        ("localhost.evil.example", false),
        ("127.0.0.1.evil.example", false),
        ("127.0.0.1@evil.example", false),
        ("evil.example@127.0.0.1", false),
        ("0.0.0.0", false),
        ("10.0.0.1", false),
        ("[::]", false),
        ("2130706433", false),
        ("127.0.0.1:port", false),
        ("", false),
    ] {
        for (method, path, body, status) in [("GET", "/stats", &b""[..], 200), ("POST", "/events", GOOD, 201)]
        {
            let reply = request(server.addr, method, path, &[("host", host)], body);
            if fine {
                assert_eq!(reply.status, status, "{host}: {}", reply.text());
            } else {
                assert!(reply.refusal(403).contains("localhost"), "{host}");
                // Red when: `Front::check` does not call `nothing_stored`, or does for every request.
                let outcome = (method == "POST").then_some("not_stored");
                assert_eq!(reply.json()["outcome"].as_str(), outcome, "{method} {host}");
            }
        }
    }
    assert_eq!(server.head_size(), 7);
}

#[test]
fn a_host_has_to_be_there_once() {
    let server = Server::start();
    let status = |head: &str| {
        let mut connection = Connection::open(server.addr);
        connection.send_raw(head.as_bytes()).unwrap();
        connection.reply("GET").status
    };
    assert_eq!(status("GET /stats HTTP/1.1\r\nconnection: close\r\n\r\n"), 400);
    assert_eq!(
        status("GET /stats HTTP/1.1\r\nhost: localhost\r\nhost: localhost\r\n\r\n"),
        400
    );
    assert_eq!(
        status("GET /stats HTTP/1.1\r\nhost: localhost\r\nhost: evil.example\r\n\r\n"),
        400
    );
    assert_eq!(status("GET /stats HTTP/1.1\r\nhost: localh\u{f6}st\r\n\r\n"), 400);
    assert_eq!(status("GET /stats HTTP/1.0\r\n\r\n"), 200);
    assert_eq!(status("GET /stats HTTP/1.0\r\nhost: evil.example\r\n\r\n"), 403);
    // The target counts too, not only the header (RFC 9112 section 3.2.2).
    assert_eq!(
        status("GET http://localhost/stats HTTP/1.1\r\nhost: localhost\r\n\r\n"),
        200
    );
    // Red when: `check_host` looks at the Host header alone.
    assert_eq!(
        status("GET http://evil.example/stats HTTP/1.1\r\nhost: localhost\r\n\r\n"),
        403
    );
}

/// Red when: `check_origin` is left out.
#[test]
fn origins() {
    let server = Server::start();
    let mut stored = 0;
    for (headers, fine) in [
        (vec![("origin", "http://localhost:3000")], true),
        (vec![("origin", "https://127.0.0.1")], true),
        (
            vec![("origin", "http://[::1]:8093"), ("sec-fetch-site", "same-origin")],
            true,
        ),
        (vec![("sec-fetch-site", "none")], true),
        (vec![("origin", "http://evil.example")], false),
        (vec![("origin", "https://localhost.evil.example")], false),
        (vec![("origin", "null")], false),
        (vec![("origin", "")], false),
        (vec![("origin", "file://localhost")], false),
        (vec![("origin", "chrome-extension://localhost")], false),
        (vec![("origin", "http://localhost/../evil")], false),
        (
            vec![("origin", "http://localhost"), ("origin", "http://evil.example")],
            false,
        ),
        (vec![("sec-fetch-site", "cross-site")], false),
        (
            vec![("origin", "http://localhost"), ("sec-fetch-site", "cross-site")],
            false,
        ),
    ] {
        let mut post = headers.clone();
        post.push(("content-type", "application/json"));
        let post = request(server.addr, "POST", "/events", &post, GOOD);
        let get = server.get_with("/events", &headers);
        if fine {
            stored += 1;
            assert_eq!((post.status, get.status), (201, 200), "{headers:?}");
        } else {
            post.refusal(403);
            assert_eq!(post.json()["outcome"], "not_stored", "{headers:?}");
            get.refusal(403);
        }
        // No page is ever told that it may read an answer.
        assert_eq!(get.header("access-control-allow-origin"), None);
    }
    assert_eq!(server.head_size(), stored);
}

#[test]
fn other_addresses_need_the_operators_word() {
    let everywhere: SocketAddr = "0.0.0.0:8093".parse().unwrap();
    let refused = check_listen(everywhere, false).unwrap_err().to_string();
    assert!(
        refused.contains("--allow-unauthenticated") && refused.contains("127.0.0.1"),
        "{refused}"
    );
    assert!(check_listen(everywhere, true).is_ok());

    let server = Server::start();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let ended = runtime.block_on(async {
        let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
        let parts = server.parts.clone();
        serve(listener, parts, Options::default(), std::future::ready(())).await
    });
    // Red when: `serve` does not call `check_listen`.
    assert_eq!(ended.unwrap_err().kind(), std::io::ErrorKind::PermissionDenied);
}
