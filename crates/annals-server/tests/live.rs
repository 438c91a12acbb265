//! The live stream: what a reader gets, whatever the load and whoever dies.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use annals_log::{Clock, SystemClock};
use annals_server::Options;
use annals_testkit::events;
use serde_json::Value;

use crate::support::{BodyReader, Connection, PATIENCE, Reply, Server, eventually};

/// One message of the stream; its id is a number when the stream is of one log.
#[derive(Debug, PartialEq)]
struct Message<I = u64> {
    id: I,
    kind: String,
    data: String,
}

/// A reader of the stream.
struct Live {
    lines: BufReader<BodyReader<BufReader<TcpStream>>>,
}

impl Live {
    /// Subscribes; returns once the server has said so.
    fn subscribe(server: &Server, path: &str, headers: &[(&str, &str)]) -> Self {
        Self::try_subscribe(server, path, headers).unwrap_or_else(|reply| panic!("{}", reply.text()))
    }

    fn try_subscribe(server: &Server, path: &str, headers: &[(&str, &str)]) -> Result<Self, Reply> {
        let mut connection = Connection::open(server.addr);
        connection.send("GET", path, headers, b"");
        let (status, headers) = connection.reply_head();
        if status != 200 {
            let mut body = Vec::new();
            connection.into_body(&headers).read_to_end(&mut body).unwrap();
            return Err(Reply {
                status,
                headers,
                body,
                complete: true,
            });
        }
        let header = |name: &str| {
            headers
                .iter()
                .find(|(header, _)| header == name)
                .map(|(_, value)| value.clone())
        };
        assert_eq!(
            header("content-type").as_deref(),
            Some("text/event-stream; charset=utf-8")
        );
        assert_eq!(header("cache-control").as_deref(), Some("no-store"));
        let mut live = Self {
            lines: BufReader::new(connection.into_body(&headers)),
        };
        assert!(live.line().unwrap().starts_with(": "));
        assert_eq!(live.line().unwrap(), "");
        Ok(live)
    }

    /// The next line without its end; `None` at the end of the stream, an error when it is torn.
    fn line(&mut self) -> std::io::Result<String> {
        let mut line = String::new();
        self.lines.read_line(&mut line)?;
        match line.strip_suffix('\n') {
            Some(line) => Ok(line.to_owned()),
            None => Err(std::io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// The next message, past comments.
    fn next(&mut self) -> std::io::Result<Message> {
        let Message { id, kind, data } = self.next_of_any()?;
        let id = id.parse().unwrap();
        Ok(Message { id, kind, data })
    }

    fn next_of_any(&mut self) -> std::io::Result<Message<String>> {
        let mut message = Message {
            id: String::new(),
            kind: String::new(),
            data: String::new(),
        };
        let until = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < until, "there is no message, only comments");
            let line = self.line()?;
            match line.split_once(": ") {
                Some(("event", kind)) => message.kind = kind.to_owned(),
                Some(("id", id)) => message.id = id.to_owned(),
                Some(("data", data)) => message.data = data.to_owned(),
                Some(("", _)) => {
                    assert_eq!(self.line()?, "");
                }
                _ if line.is_empty() => return Ok(message),
                _ => panic!("an odd line in the stream: {line:?}"),
            }
        }
    }
}

#[test]
fn events_after_the_subscription_and_no_others() {
    let server = Server::start();
    server.append("other", "before");
    let mut live = Live::subscribe(&server, "/stream", &[]);
    let id = server.append("watch_drifted", "after");
    let data = server.get(&format!("/events/{id}")).text();
    assert_eq!(
        live.next().unwrap(),
        Message {
            id: 2,
            kind: String::from("watch_drifted"),
            data
        }
    );
}

#[test]
fn filters_apply_to_live_events_too() {
    let server = Server::start();
    let event = |kind: &str, source: &str, note: &str| {
        let event = format!(r#"{{"kind":"{kind}","source":"{source}","payload":{{"note":"{note}"}}}}"#);
        let reply = server.post("/events", event);
        reply.json()["event_id"].as_u64().unwrap()
    };
    let path = "/stream?kind=other&kind=watch_created&source=b&text=Needle";
    let mut live = Live::subscribe(&server, path, &[]);
    event("other", "a", "a needle");
    event("flag_swapped", "b", "a needle");
    event("other", "b", "needl");
    let one = event("other", "b", "a needle");
    event("other", "c", "a needle");
    let other = event("watch_created", "b", "NEEDLES");
    // From storage as in passing.
    let mut late = Live::subscribe(&server, &format!("{path}&after=0"), &[]);
    for id in [one, other] {
        assert_eq!((live.next().unwrap().id, late.next().unwrap().id), (id, id));
    }
}

#[test]
fn a_reader_resumes_where_it_was() {
    let server = Server::start();
    for _ in 0..5 {
        server.append("other", "s");
    }
    for (path, headers, first) in [
        ("/stream", vec![("last-event-id", "2")], 3),
        ("/stream", vec![("last-event-id", "0")], 1),
        ("/stream?after=4", vec![], 5),
        // A reconnecting browser repeats the address that it began with.
        ("/stream?after=0", vec![("last-event-id", "3")], 4),
    ] {
        let mut live = Live::subscribe(&server, path, &headers);
        for id in first..=5 {
            assert_eq!(live.next().unwrap().id, id, "{path} {headers:?}");
        }
    }
}

/// Red when: `follow` gives cursors the wrong one of the places that were seen; `labelled` leaves a log out.
#[test]
fn several_logs_are_followed_and_resumed_together() {
    let server = Server::start();
    for name in ["a", "b"] {
        assert_eq!(
            server.post("/logs", format!(r#"{{"name":"{name}"}}"#)).status,
            201
        );
    }
    let append = |log: &str, source: &str| {
        let event = format!(r#"{{"kind":"other","source":"{source}"}}"#);
        assert_eq!(server.post(&format!("/logs/{log}/events"), event).status, 201);
    };
    for source in ["b1", "b2"] {
        append("b", source);
    }
    append("a", "a1");
    // What a message is about, and its id.
    let told = |message: Message<String>| {
        let data: Value = serde_json::from_str(&message.data).unwrap();
        let log = data["log"].as_str().unwrap();
        let event_id = data["event"]["event_id"].as_u64().unwrap();
        assert_eq!(data["event"]["source"], format!("{log}{event_id}"));
        assert_eq!(
            data["event"],
            server.get(&format!("/logs/{log}/events/{event_id}")).json()
        );
        ((log.to_owned(), event_id), message.id)
    };
    // The order of the names does not matter, nor does a log that nothing happens in.
    let path = "/stream?log=b&log=default&log=a";
    let mut live = Live::subscribe(&server, &format!("{path}&after=0"), &[]);
    let mut seen = Vec::new();
    let mut place = String::new();
    for _ in 0..3 {
        let (event, id) = told(live.next_of_any().unwrap());
        seen.push(event);
        place = id;
    }
    seen.sort();
    let event = |log: &str, id: u64| (log.to_owned(), id);
    assert_eq!(seen, [event("a", 1), event("b", 1), event("b", 2)]);
    drop(live);
    append("a", "a2");
    append("b", "b3");
    let resumed = &[("last-event-id", place.as_str())];
    let mut live = Live::subscribe(&server, &format!("{path}&after=0"), resumed);
    let mut seen: Vec<_> = (0..2).map(|_| told(live.next_of_any().unwrap()).0).collect();
    seen.sort();
    assert_eq!(seen, [event("a", 2), event("b", 3)]);
    // A place is one in the logs that it was given out for; one log's is none in several, nor the other way round.
    for (path, field, headers) in [
        (
            "/stream?log=b&log=a",
            "last-event-id",
            &[("last-event-id", place.as_str())],
        ),
        (path, "last-event-id", &[("last-event-id", "2")]),
        ("/stream", "last-event-id", &[("last-event-id", place.as_str())]),
        ("/stream?log=a&log=b&after=1", "after", &[("accept", "*/*")]),
    ] {
        let reply = server.get_with(path, headers);
        reply.refusal(400);
        assert_eq!(reply.fields(), [field], "{path} {headers:?}");
    }
}

#[test]
fn a_stream_begins_at_a_time() {
    let server = Server::with_options(Options {
        heartbeat: Duration::from_millis(100),
        ..Options::default()
    });
    for _ in 0..3 {
        server.append("other", "s");
        // Receive times are of microseconds: the next one is another.
        let before = SystemClock.now();
        while SystemClock.now() == before {}
    }
    let received_at = |id: u64| server.get(&format!("/events/{id}")).json()["timestamp"].clone();
    let since = received_at(2).as_str().unwrap().replace('+', "%2B");
    for (path, headers, first) in [
        // Red when: `start` does not ask for `since`.
        (format!("/stream?since={since}"), vec![], 2),
        (String::from("/stream?since=2026-01-01"), vec![], 1),
        // The later of the two.
        (format!("/stream?since={since}&after=0"), vec![], 2),
        (format!("/stream?since={since}&after=2"), vec![], 3),
        (format!("/stream?since={since}"), vec![("last-event-id", "2")], 3),
        (
            format!("/stream?since={since}&source=s"),
            vec![("last-event-id", "0")],
            2,
        ),
    ] {
        let mut live = Live::subscribe(&server, &path, &headers);
        for id in first..=3 {
            assert_eq!(live.next().unwrap().id, id, "{path} {headers:?}");
        }
    }
    // Not before a time that is still to come, though it is the next event.
    let mut waiting = Live::subscribe(&server, "/stream?since=9999-01-01", &[]);
    let mut other = Live::subscribe(&server, "/stream", &[]);
    server.append("other", "s");
    assert_eq!(other.next().unwrap().id, 4);
    for _ in 0..2 {
        assert_eq!(
            (waiting.line().unwrap().as_str(), waiting.line().unwrap().as_str()),
            (": heartbeat", "")
        );
    }
    for (bad, field) in [
        ("since=yesterday", "since"),
        ("until=2026-01-01", "until"),
        ("after=x", "after"),
    ] {
        let reply = server.get(&format!("/stream?{bad}"));
        reply.refusal(400);
        assert_eq!(reply.fields(), [field]);
    }
}

#[test]
fn places_that_can_not_be_resumed_from() {
    let server = Server::start();
    server.append("other", "s");
    for bad in ["x", "-1", "1.0", "", "99999999999999999999", "2"] {
        let reply = server.get_with("/stream", &[("last-event-id", bad)]);
        reply.refusal(400);
        assert_eq!(reply.fields(), ["last-event-id"], "{bad}");
    }
    server.get("/stream?after=2").refusal(400);
    server.get("/stream?kind=nope").refusal(422);
    assert!(
        server
            .get("/stream?last=2")
            .refusal(400)
            .contains("this route takes: ")
    );
}

/// Red when: `Cursor::passed` moves the place behind the head instead of behind what was looked at.
#[test]
fn no_gap_and_no_duplicate_under_load_however_often_a_reader_reconnects() {
    const PRODUCERS: u64 = 4;
    const BATCHES: u64 = 60;
    const BATCH: u64 = 7;
    let total = PRODUCERS * BATCHES * BATCH;
    let server = Server::start();
    let expected = std::thread::scope(|scope| {
        for _ in 0..PRODUCERS {
            let server = &server;
            scope.spawn(move || {
                let lines = [r#"{"kind":"other","source":"s","payload":{"p":"xxxxxxxxxxxxxxxxxxxxxxxx"}}"#;
                    7]
                    .join("\n");
                for _ in 0..BATCHES {
                    assert_eq!(server.post_lines(&lines).status, 201);
                }
            });
        }
        let readers: Vec<_> = (1..=3_u64)
            .map(|reader| {
                let server = &server;
                // Reader 1 stays; the others go away after every few messages and come back.
                let messages_a_visit = if reader == 1 { u64::MAX } else { 13 * reader };
                scope.spawn(move || read_all(server, total, messages_a_visit))
            })
            .collect();
        readers
            .into_iter()
            .map(|reader| reader.join().unwrap())
            .collect::<Vec<_>>()
    });
    for messages in expected {
        assert_eq!(
            messages.keys().copied().collect::<Vec<_>>(),
            (1..=total).collect::<Vec<_>>()
        );
        for id in [1, total / 2, total] {
            assert_eq!(messages[&id], server.get(&format!("/events/{id}")).text());
        }
    }
}

/// Reads from the first event to the last; every id has to be the one after the last seen.
fn read_all(server: &Server, total: u64, messages_a_visit: u64) -> BTreeMap<u64, String> {
    let mut seen = BTreeMap::new();
    let mut last = 0;
    while last < total {
        let mut live = Live::subscribe(server, "/stream", &[("last-event-id", &last.to_string())]);
        for _ in 0..messages_a_visit {
            let message = live.next().unwrap();
            assert_eq!(message.id, last + 1);
            last = message.id;
            seen.insert(message.id, message.data);
            if last == total {
                break;
            }
        }
    }
    seen
}

#[test]
fn silence_is_broken_by_a_comment() {
    let server = Server::with_options(Options {
        heartbeat: Duration::from_millis(30),
        ..Options::default()
    });
    let mut live = Live::subscribe(&server, "/stream", &[]);
    for _ in 0..3 {
        assert_eq!(live.line().unwrap(), ": heartbeat");
        assert_eq!(live.line().unwrap(), "");
    }
}

#[test]
fn a_filter_that_nothing_passes_is_silence_however_much_is_appended() {
    let server = Server::with_options(Options {
        heartbeat: Duration::from_millis(300),
        ..Options::default()
    });
    let mut filtered = Live::subscribe(&server, "/stream?source=nobody", &[]);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    server.append("other", "s");
                }
            });
        }
        // Red when: `next_piece` takes passing events over for an end of the silence.
        let line = filtered.line();
        stop.store(true, Ordering::Relaxed);
        assert_eq!(line.unwrap(), ": heartbeat");
    });
}

fn one_reader(stall: Duration) -> Options {
    Options {
        sse_readers_max: 1,
        write_stall_timeout: stall,
        ..Options::default()
    }
}

#[test]
fn readers_are_bounded_and_a_dead_one_makes_room() {
    let server = Server::with_options(one_reader(Duration::from_secs(30)));
    let first = Live::subscribe(&server, "/stream", &[]);
    // Red when: the permit is not kept in `Tail`.
    let Err(busy) = Live::try_subscribe(&server, "/stream", &[]) else {
        panic!("one reader too many")
    };
    busy.refusal(503);
    assert_eq!(busy.header("retry-after"), Some("1"));
    drop(first);
    // A closed connection is noticed although nothing is sent on it.
    let mut second = eventually("room for another reader", || {
        Live::try_subscribe(&server, "/stream", &[]).ok()
    });
    let id = server.append("other", "s");
    assert_eq!(second.next().unwrap().id, id);
}

/// Red when: `Patient::watch` does not look at its timer, so that the slow reader keeps its place for ever.
#[test]
fn a_slow_reader_is_cut_off_and_holds_up_nobody() {
    const EVENTS: u64 = 48;
    let server = Server::with_options(one_reader(Duration::from_millis(200)));
    for seed in 0..EVENTS {
        server
            .log
            .append(events::huge_batch(seed))
            .unwrap()
            .wait()
            .unwrap();
    }
    // 48 MiB, more than the system buffers for a connection; nobody reads.
    let mut slow = Live::subscribe(&server, "/stream?after=0", &[]);
    assert_eq!(server.append("other", "meanwhile"), EVENTS + 1);
    let mut next = eventually("the slow reader's end", || {
        Live::try_subscribe(&server, "/stream?after=48", &[]).ok()
    });
    assert_eq!(next.next().unwrap().id, EVENTS + 1);
    // What is left in the system's buffers, then the torn end.
    let mut last = 0;
    let error = loop {
        match slow.next() {
            Ok(message) => last = message.id,
            Err(error) => break error,
        }
    };
    assert!(last < EVENTS, "{error}");
    // It can come back and goes on where it was.
    drop(next);
    let last_seen = last.to_string();
    let mut slow = eventually("room again", || {
        Live::try_subscribe(&server, "/stream", &[("last-event-id", &last_seen)]).ok()
    });
    for id in last + 1..=EVENTS + 1 {
        assert_eq!(slow.next().unwrap().id, id);
    }
}

#[test]
fn a_stopping_server_ends_streams_properly() {
    let mut server = Server::start();
    let mut live = Live::subscribe(&server, "/stream", &[]);
    server.append("other", "s");
    assert_eq!(live.next().unwrap().id, 1);
    server.begin_shutdown();
    server.wait_for_end();
    // The end of the stream, not a torn connection: `read_to_end` of a torn body is an error.
    let mut rest = Vec::new();
    // Red when: `begin_shutdown` is not called by `serve` (the stream is then cut after the grace period).
    live.lines.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"");
}

#[test]
fn damage_tears_the_stream_instead_of_skipping() {
    let server = Server::start();
    for _ in 0..3 {
        server.append("other", "s");
    }
    let mut live = Live::subscribe(&server, "/stream?after=0", &[]);
    for id in 1..=3 {
        assert_eq!(live.next().unwrap().id, id);
    }
    server.spoil.lock().unwrap().damaged = Some(4);
    server.append("other", "s");
    assert!(live.next().is_err());
    // Whoever does not want that event is not held up by it. Red when: `take_in` does not go on behind what it can't read.
    let mut live = Live::subscribe(&server, "/stream?after=4", &[]);
    assert_eq!(server.append("other", "s"), 5);
    assert_eq!(live.next().unwrap().id, 5);
}
