//! Bounds: what is too large, too many or too slow is refused; and the end of a server.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use annals_core::limits::EventLimits;
use annals_server::Options;
use annals_testkit::events;
use annals_testkit::memory::Step;

use crate::support::{Connection, PATIENCE, Server, eventually, request};

const GOOD: &str = r#"{"kind":"other","source":"s"}"#;

fn small() -> Options {
    Options {
        body_bytes_max: 4096,
        events: EventLimits {
            event_bytes_max: 1024,
            batch_events_max: 10,
            batch_bytes_max: 2048,
        },
        ..Options::default()
    }
}

fn event_with(payload_bytes: usize) -> String {
    format!(
        r#"{{"kind":"other","source":"s","payload":{{"p":"{}"}}}}"#,
        "x".repeat(payload_bytes)
    )
}

#[test]
fn what_is_too_large_is_413_with_the_limit() {
    let server = Server::with_options(small());
    for (what, reply, limit) in [
        ("event", server.post("/events", event_with(1100)), "1024"),
        (
            "item",
            server.post("/events", format!("[{GOOD},{}]", event_with(1100))),
            "1024",
        ),
        ("batch by number", server.post_lines([GOOD; 11].join("\n")), "10"),
        (
            "batch by bytes",
            server.post_lines([event_with(900), event_with(900), event_with(900)].join("\n")),
            "2048",
        ),
        ("body", server.post("/events", event_with(5000)), "4096"),
        (
            "body of white space",
            server.post("/events", vec![b' '; 4097]),
            "4096",
        ),
    ] {
        let detail = reply.refusal(413);
        assert!(detail.contains(limit), "{what}: {detail}");
        assert_eq!(reply.json()["outcome"], "not_stored", "{what}");
    }
    assert_eq!(
        server
            .post("/events", format!("[{GOOD},{}]", event_with(1100)))
            .fields(),
        ["items[1]"]
    );
    assert_eq!(server.head_size(), 0);
    assert_eq!(server.post_lines([GOOD; 10].join("\n")).status, 201);
    assert_eq!(server.post("/events", event_with(900)).status, 201);
}

#[test]
fn a_body_of_unknown_length_is_bounded_as_well() {
    let server = Server::with_options(small());
    let send = |chunks: usize| {
        let mut connection = Connection::open(server.addr);
        connection.send("GET", "/healthz", &[], b"");
        connection.reply("GET");
        let head = "POST /events HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n";
        connection.send_raw(head.as_bytes()).unwrap();
        let mut text = event_with(500).into_bytes();
        text.resize(text.len() + chunks * 100, b' ');
        for chunk in text.chunks(100) {
            let mut framed = format!("{:x}\r\n", chunk.len()).into_bytes();
            framed.extend_from_slice(chunk);
            framed.extend_from_slice(b"\r\n");
            if connection.send_raw(&framed).is_err() {
                break;
            }
        }
        if connection.send_raw(b"0\r\n\r\n").is_err() {
            return connection.reply("POST");
        }
        connection.reply("POST")
    };
    assert_eq!(send(3).status, 201);
    // Red when: `check` is not called for later chunks.
    assert!(send(100).refusal(413).contains("4096"));
    assert_eq!(server.head_size(), 1);
}

/// Red when: `receive` does not compare the declared length.
#[test]
fn a_declared_length_is_refused_before_anything_is_sent() {
    let server = Server::with_options(small());
    let head = |length: usize| {
        format!(
            "POST /events HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\ncontent-length: {length}\r\n\r\n"
        )
    };
    let mut connection = Connection::open(server.addr);
    connection.send_raw(head(5000).as_bytes()).unwrap();
    let reply = connection.reply("POST");
    reply.refusal(413);
    assert_eq!(reply.header("connection"), Some("close"));

    let mut connection = Connection::open(server.addr);
    connection.send_raw(head(GOOD.len()).as_bytes()).unwrap();
    assert_eq!(connection.reply("POST").status, 100);
    connection.send_raw(GOOD.as_bytes()).unwrap();
    assert_eq!(connection.reply("POST").status, 201);
}

#[test]
fn bodies_in_flight_are_bounded_together() {
    let server = Server::with_options(Options {
        bodies_in_flight_bytes_max: 64 * 1024,
        ..Options::default()
    });
    // One request of 60 KiB stays in flight: its commit is held. Red when: `cover` claims nothing.
    let hold = server.engine.hold(Step::Commit);
    std::thread::scope(|scope| {
        let first = scope.spawn(|| server.post("/events", event_with(60 * 1024)));
        server.engine.wait_entered(Step::Commit, 1);
        let reply = server.post("/events", event_with(20 * 1024));
        assert!(reply.refusal(503).contains("in flight"));
        assert_eq!(
            (reply.header("retry-after"), reply.json()["outcome"].as_str()),
            (Some("1"), Some("not_stored"))
        );
        drop(hold);
        assert_eq!(first.join().unwrap().status, 201);
    });
    eventually("room", || {
        (server.post("/events", event_with(20 * 1024)).status == 201).then_some(())
    });
}

#[test]
fn connections_are_bounded_and_one_too_many_is_told_so() {
    let server = Server::with_options(Options {
        connections_max: 2,
        ..Options::default()
    });
    let mut kept: Vec<_> = (0..2).map(|_| Connection::open(server.addr)).collect();
    for connection in &mut kept {
        connection.send("GET", "/healthz", &[], b"");
        assert_eq!(connection.reply("GET").status, 200);
    }
    // Red when: `room` is not `connections_max` large.
    let reply = request(server.addr, "POST", "/events", &[], GOOD.as_bytes());
    assert!(reply.refusal(503).contains("connections"));
    assert_eq!(
        (reply.header("retry-after"), reply.header("connection")),
        (Some("1"), Some("close"))
    );
    kept.pop();
    eventually("room", || {
        let mut connection = Connection::open(server.addr);
        connection.send("GET", "/healthz", &[], b"");
        (connection.reply("GET").status == 200).then_some(())
    });
}

#[test]
fn slow_senders_are_cut_off() {
    let short = Duration::from_millis(200);
    let options = Options {
        header_read_timeout: short,
        body_read_timeout: short,
        ..Options::default()
    };
    let server = Server::with_options(options);
    let rest = |mut stream: TcpStream| {
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).map(|_| rest)
    };
    let mut silent = TcpStream::connect(server.addr).unwrap();
    silent.set_read_timeout(Some(PATIENCE)).unwrap();
    let started = Instant::now();
    silent
        .write_all(b"GET /healthz HTTP/1.1\r\nhost: localh")
        .unwrap();
    let told = String::from_utf8(rest(silent).unwrap()).unwrap();
    assert!(told.starts_with("HTTP/1.1 408 "), "{told:?}");
    // Red when: `header_read_timeout` is not set (hyper's own is 30 s).
    assert!(started.elapsed() < Duration::from_secs(25));

    // Between two requests there is nothing to be told.
    let mut idle = Connection::open(server.addr);
    idle.send("GET", "/healthz", &[], b"");
    assert_eq!(idle.reply("GET").status, 200);
    assert_eq!(rest(idle.stream.into_inner()).unwrap(), b"");

    let mut slow = Connection::open(server.addr);
    slow.send_raw(b"POST /events HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n{")
        .unwrap();
    let reply = slow.reply("POST");
    reply.refusal(408);
    assert_eq!(reply.header("connection"), Some("close"));
}

#[test]
fn filtered_queries_are_bounded() {
    let server = Server::with_options(Options {
        scans_max: 0,
        ..Options::default()
    });
    server.append("other", "s");
    let reply = server.get("/events?source=s");
    assert!(reply.refusal(503).contains("filtered queries"));
    assert_eq!(reply.header("retry-after"), Some("1"));
    assert_eq!(server.ids(""), [1]);
}

#[test]
fn a_query_that_nobody_waits_for_gives_its_place_back() {
    let server = Server::with_options(Options {
        scans_max: 1,
        write_stall_timeout: Duration::from_secs(30),
        ..Options::default()
    });
    for seed in 0..32 {
        server
            .log
            .append(events::huge_batch(seed))
            .unwrap()
            .wait()
            .unwrap();
    }
    let mut connection = Connection::open(server.addr);
    connection.send("GET", "/events?source=huge", &[], b"");
    assert_eq!(connection.reply_head().0, 200);
    assert_eq!(server.get("/events?source=huge").status, 503);
    drop(connection);
    eventually("room", || {
        (server.get("/events?source=nobody").status == 200).then_some(())
    });
}

/// Red when: `Page::step` has no bound.
///
/// Finding the events reads each of them once here, because there is no index; that is not part of what is looked at.
#[test]
fn an_answer_is_read_from_the_storage_no_faster_than_it_is_taken() {
    const EVENTS: u64 = 48;
    let options = Options {
        scans_max: 1,
        write_stall_timeout: Duration::from_millis(200),
        ..Options::default()
    };
    let server = Server::with_options(options);
    for seed in 0..EVENTS {
        let batch = events::huge_batch(seed);
        server.log.append(batch).unwrap().wait().unwrap();
    }
    let mut connection = Connection::open(server.addr);
    connection.send("GET", "/events?after=0&source=huge", &[], b"");
    let (status, headers) = connection.reply_head();
    assert_eq!(status, 200);
    // Its place is free once it was cut off: nobody has read anything until then.
    eventually("the slow query's end", || {
        (server.get("/events?after=48&source=huge").status == 200).then_some(())
    });
    let read = server.spoil.lock().unwrap().events_read - EVENTS;
    assert!(
        read < EVENTS,
        "{read} events were read for a client that takes none"
    );
    let mut rest = Vec::new();
    assert!(
        connection.into_body(&headers).read_to_end(&mut rest).is_err(),
        "a torn answer looks whole"
    );
}

#[test]
fn many_requests_go_over_one_connection() {
    let server = Server::start();
    let mut connection = Connection::open(server.addr);
    for id in 1..=50_u64 {
        connection.send(
            "POST",
            "/events",
            &[("content-type", "application/json")],
            GOOD.as_bytes(),
        );
        assert_eq!(connection.reply("POST").json()["event_id"], id);
    }
    // Two at once, answered in order.
    let one = format!(
        "POST /events HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n{GOOD}",
        GOOD.len()
    );
    connection.send_raw(format!("{one}{one}").as_bytes()).unwrap();
    assert_eq!(connection.reply("POST").json()["event_id"], 51);
    assert_eq!(connection.reply("POST").json()["event_id"], 52);
}

/// Red when: `serve` does not call `finish`.
#[test]
fn a_stopping_server_finishes_what_it_accepted_and_takes_nothing_new() {
    let mut server = Server::start();
    let addr = server.addr;
    let hold = server.engine.hold(Step::Commit);
    let mut idle = Connection::open(addr);
    idle.send("GET", "/healthz", &[], b"");
    assert_eq!(idle.reply("GET").status, 200);
    let poster = std::thread::spawn(move || request(addr, "POST", "/events", &[], GOOD.as_bytes()));
    server.engine.wait_entered(Step::Commit, 1);
    server.begin_shutdown();
    eventually("the end of accepting", || {
        TcpStream::connect(addr).is_err().then_some(())
    });
    drop(hold);
    let reply = poster.join().unwrap();
    assert_eq!(reply.status, 201, "{}", reply.text());
    server.wait_for_end();
    assert_eq!(server.head_size(), 1);
    // Idle connections are closed.
    let mut rest = Vec::new();
    assert_eq!(idle.stream.read_to_end(&mut rest).unwrap(), 0);
}

#[test]
fn the_grace_period_ends() {
    let mut server = Server::with_options(Options {
        shutdown_grace: Duration::from_millis(100),
        ..Options::default()
    });
    let addr = server.addr;
    let hold = server.engine.hold(Step::Commit);
    let poster = std::thread::spawn(move || {
        let mut connection = Connection::open(addr);
        connection.send("POST", "/events", &[], GOOD.as_bytes());
        let mut answer = Vec::new();
        connection.stream.read_to_end(&mut answer).map(|_| answer)
    });
    server.engine.wait_entered(Step::Commit, 1);
    server.begin_shutdown();
    // Red when: `finish` waits without the timeout.
    server.wait_for_end();
    assert!(
        poster.join().unwrap().is_ok_and(|answer| answer.is_empty()),
        "cut off, not answered"
    );
    drop(hold);
}
