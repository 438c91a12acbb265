//! Many readers of the live stream at once, over real sockets: each gets what it asked for, exactly once and in order, whatever the
//! others do.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use annals_server::Options;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::support::{PATIENCE, Server};

/// Sources of the events, in turns: event 1 is from the second.
const SOURCES: u64 = 4;
const BATCH: u64 = 5;

fn readers() -> usize {
    if std::env::var_os("ANNALS_TEST_LONG").is_some() {
        2_000
    } else {
        300
    }
}

/// What one of the readers does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// Takes everything at once.
    Keen,
    /// Wants one source only.
    Choosy,
    /// Takes a little at a time.
    Slow,
    /// Goes away after some events, and comes back to where it was.
    Fickle,
    /// Goes away for good.
    Mortal,
    /// Takes nothing at all.
    Absent,
}

impl Manner {
    fn of(reader: usize) -> Self {
        match reader % 20 {
            0..=9 => Self::Keen,
            10..=13 => Self::Choosy,
            14 | 15 => Self::Slow,
            16 | 17 => Self::Fickle,
            18 => Self::Mortal,
            _ => Self::Absent,
        }
    }
}

/// A connection to the stream.
struct Subscription {
    stream: TcpStream,
    /// What came in, without the chunks' frames, and is not a whole line.
    text: Vec<u8>,
    /// What came in and is still framed.
    raw: Vec<u8>,
    buffer_bytes: usize,
}

impl Subscription {
    async fn open(addr: SocketAddr, path: &str, last_seen: u64, buffer_bytes: usize) -> io::Result<Self> {
        let mut stream = TcpStream::connect(addr).await?;
        let head = format!("GET {path} HTTP/1.1\r\nhost: {addr}\r\nlast-event-id: {last_seen}\r\n\r\n");
        stream.write_all(head.as_bytes()).await?;
        let mut raw = Vec::new();
        let end = loop {
            if let Some(end) = raw.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            if stream.read_buf(&mut raw).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        };
        let head: Vec<u8> = raw.drain(..end).collect();
        assert!(
            head.starts_with(b"HTTP/1.1 200 "),
            "{}",
            String::from_utf8_lossy(&head)
        );
        Ok(Self {
            stream,
            text: Vec::new(),
            raw,
            buffer_bytes,
        })
    }

    /// The ids and sources of the messages that are there, at least one.
    async fn messages(&mut self) -> io::Result<Vec<(u64, u64)>> {
        loop {
            self.unframe();
            let messages = self.take_messages();
            if !messages.is_empty() {
                return Ok(messages);
            }
            let mut part = vec![0; self.buffer_bytes];
            let read = self.stream.read(&mut part).await?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.raw.extend_from_slice(&part[..read]);
        }
    }

    /// Takes whole chunks out of their frames (RFC 9112 section 7.1).
    fn unframe(&mut self) {
        let mut at = 0;
        while let Some(line) = self.raw[at..].windows(2).position(|two| two == b"\r\n") {
            let size = std::str::from_utf8(&self.raw[at..at + line]).unwrap();
            let size = usize::from_str_radix(size, 16).unwrap();
            let begin = at + line + 2;
            if self.raw.len() < begin + size + 2 {
                break;
            }
            self.text.extend_from_slice(&self.raw[begin..begin + size]);
            at = begin + size + 2;
        }
        self.raw.drain(..at);
    }

    fn take_messages(&mut self) -> Vec<(u64, u64)> {
        let Some(end) = self.text.windows(2).rposition(|two| two == b"\n\n") else {
            return Vec::new();
        };
        let text: Vec<u8> = self.text.drain(..end + 2).collect();
        let text = std::str::from_utf8(&text).unwrap();
        let blocks = text
            .split_terminator("\n\n")
            .filter(|block| !block.starts_with(':'));
        blocks
            .map(|block| {
                let (head, data) = block.split_once("\ndata: ").unwrap();
                let id = head.strip_prefix("event: other\nid: ").unwrap().parse().unwrap();
                let event_id = format!("{{\"event_id\":{id},");
                assert!(data.starts_with(&event_id) && data.ends_with("\"}"), "{data}");
                let (_, rest) = data.split_once("\"source\":\"").unwrap();
                let (source, _) = rest.split_once('"').unwrap();
                (id, source.parse().unwrap())
            })
            .collect()
    }
}

/// Reads until event `last`, and checks each message on the way.
async fn read(addr: SocketAddr, reader: usize, last: u64, ready: Arc<Semaphore>) -> io::Result<()> {
    let manner = Manner::of(reader);
    let buffer_bytes = if manner == Manner::Slow { 700 } else { 16 * 1024 };
    let (path, step) = match manner {
        Manner::Choosy => (format!("/stream?source={}", reader as u64 % SOURCES), SOURCES),
        _ => (String::from("/stream"), 1),
    };
    // The first event that it is to get.
    let mut expected = match manner {
        Manner::Choosy if (reader as u64).is_multiple_of(SOURCES) => SOURCES,
        Manner::Choosy => reader as u64 % SOURCES,
        _ => 1,
    };
    let mut subscription = Subscription::open(addr, &path, 0, buffer_bytes).await?;
    ready.add_permits(1);
    let mut visits = 0;
    while expected <= last {
        if manner == Manner::Absent {
            // Until the end of the test.
            std::future::pending::<()>().await;
        }
        for (id, source) in subscription.messages().await? {
            assert_eq!(
                (id, source),
                (expected, id % SOURCES),
                "reader {reader} {manner:?}"
            );
            expected += step;
        }
        if manner == Manner::Slow {
            tokio::task::yield_now().await;
        }
        if manner == Manner::Mortal && expected > last / 3 {
            return Ok(());
        }
        if manner == Manner::Fickle && expected > (visits + 1) * last / 5 {
            visits += 1;
            subscription = Subscription::open(addr, &path, expected - 1, buffer_bytes).await?;
        }
    }
    Ok(())
}

fn crowd(tail_ring_bytes_max: usize) {
    let readers = readers();
    let last: u64 = 600;
    let server = Server::with_options(Options {
        // A heartbeat would let a reader look that nobody has woken.
        heartbeat: 100 * PATIENCE,
        tail_ring_bytes_max,
        ..Options::default()
    });
    let (addr, ready) = (server.addr, Arc::new(Semaphore::new(0)));
    let clients = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let mut reading = JoinSet::new();
    for reader in 0..readers {
        reading.spawn_on(read(addr, reader, last, Arc::clone(&ready)), clients.handle());
    }
    let everybody = u32::try_from(readers).unwrap();
    let all_there = async { tokio::time::timeout(2 * PATIENCE, ready.acquire_many(everybody)).await };
    drop(
        clients
            .block_on(all_there)
            .expect("everybody comes in time")
            .unwrap(),
    );
    for batch in 0..last / BATCH {
        let line = |at: u64| {
            format!(
                r#"{{"kind":"other","source":"{}"}}"#,
                (batch * BATCH + at) % SOURCES
            )
        };
        let lines: Vec<String> = (1..=BATCH).map(line).collect();
        assert_eq!(server.post_lines(lines.join("\n")).status, 201);
    }
    let absent = (0..readers)
        .filter(|reader| Manner::of(*reader) == Manner::Absent)
        .count();
    let all = async {
        for _ in 0..readers - absent {
            reading.join_next().await.unwrap().unwrap().unwrap();
        }
        reading.shutdown().await;
    };
    clients
        .block_on(async { tokio::time::timeout(2 * PATIENCE, all).await })
        .expect("everybody gets everything in time");
}

/// Red when: `Seats::wake` leaves a row out, or `Cursor::passed` goes on behind the head.
#[test]
fn each_of_a_crowd_gets_every_event_once() {
    crowd(Options::default().tail_ring_bytes_max);
}

/// Rings of a few events: whoever is not quick reads from storage, over and over.
///
/// Red when: a step leaves an event out that is in storage only.
#[test]
fn so_it_does_when_hardly_anything_is_kept_in_memory() {
    crowd(24 * 1024);
}
