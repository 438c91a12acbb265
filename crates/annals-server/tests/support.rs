//! A server on a free port, and a client that shows exactly what went over the wire.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use annals_core::chain::{EventId, Head};
use annals_log::{Log, LogOptions, Logs, Sequencer, SystemClock};
use annals_server::{Options, Parts, serve};
use annals_store::{
    Damage, EventRun, FindEvents, LogDirectory, LogManifest, ReadError, ReadLog, RunBuilder, Unindexed,
};
use annals_testkit::memory::{LOG, MemoryEngine};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Longest wait for anything before the test is red.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A running server.
pub(crate) struct Server {
    pub(crate) addr: SocketAddr,
    pub(crate) engine: MemoryEngine,
    /// The log `default`.
    pub(crate) log: Log,
    pub(crate) spoil: Arc<Mutex<Spoil>>,
    /// How many reads have begun; whoever holds `spoil` keeps them from going on.
    pub(crate) reads_begun: Arc<AtomicU64>,
    /// What the server was put together from.
    pub(crate) parts: Parts,
    sequencer: Option<Sequencer>,
    shutdown: Option<oneshot::Sender<()>>,
    serving: Option<JoinHandle<io::Result<()>>>,
    runtime: Runtime,
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::with(Options::default(), LogOptions::default())
    }

    pub(crate) fn with_options(options: Options) -> Self {
        Self::with(options, LogOptions::default())
    }

    pub(crate) fn with(options: Options, log_options: LogOptions) -> Self {
        Self::on(MemoryEngine::default(), options, log_options)
    }

    /// On an engine that may have been used before.
    pub(crate) fn on(engine: MemoryEngine, options: Options, log_options: LogOptions) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let (logs, sequencer) = Logs::start(engine.journal(), Box::new(SystemClock), log_options).unwrap();
        let log = logs.log(LOG).unwrap();
        let spoil = Arc::new(Mutex::new(Spoil::default()));
        let reads_begun = Arc::new(AtomicU64::new(0));
        let reader = Arc::new(SpoiledReader {
            reader: engine.reader(),
            spoil: Arc::clone(&spoil),
            begun: Arc::clone(&reads_begun),
        });
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let addr = listener.local_addr().unwrap();
        let (shutdown, stopping) = oneshot::channel();
        let directory = Arc::new(SpoiledDirectory {
            engine: engine.clone(),
            default: reader,
        });
        let parts = Parts { logs, directory };
        let serving = runtime.spawn(serve(listener, parts.clone(), options, stopping));
        Self {
            addr,
            engine,
            log,
            parts,
            spoil,
            reads_begun,
            sequencer: Some(sequencer),
            shutdown: Some(shutdown),
            serving: Some(serving),
            runtime,
        }
    }

    pub(crate) fn get(&self, path: &str) -> Reply {
        request(self.addr, "GET", path, &[], b"")
    }

    pub(crate) fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Reply {
        request(self.addr, "GET", path, headers, b"")
    }

    pub(crate) fn post(&self, path: &str, body: impl AsRef<[u8]>) -> Reply {
        request(
            self.addr,
            "POST",
            path,
            &[("content-type", "application/json")],
            body.as_ref(),
        )
    }

    pub(crate) fn post_lines(&self, body: impl AsRef<[u8]>) -> Reply {
        request(
            self.addr,
            "POST",
            "/events",
            &[("content-type", "application/x-ndjson")],
            body.as_ref(),
        )
    }

    /// Appends one event; its id.
    pub(crate) fn append(&self, kind: &str, source: &str) -> u64 {
        let reply = self.post("/events", format!(r#"{{"kind":"{kind}","source":"{source}"}}"#));
        assert_eq!(reply.status, 201, "{}", reply.text());
        reply.json()["event_id"].as_u64().unwrap()
    }

    /// The ids that a query answers with.
    pub(crate) fn ids(&self, query: &str) -> Vec<u64> {
        let reply = self.get(&format!("/events{query}"));
        assert_eq!(reply.status, 200, "{}", reply.text());
        ids_of(&reply.json())
    }

    pub(crate) fn head_size(&self) -> u64 {
        self.log.head().size.0
    }

    /// Gives the signal; the server goes on until what is under way has finished.
    pub(crate) fn begin_shutdown(&mut self) {
        self.shutdown.take().unwrap().send(()).unwrap();
    }

    /// Waits for the server's end.
    pub(crate) fn wait_for_end(&mut self) {
        let serving = self.serving.take().unwrap();
        let ended = self
            .runtime
            .block_on(async { tokio::time::timeout(PATIENCE, serving).await });
        ended.expect("the server ends in time").unwrap().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(shutdown) = self.shutdown.take() {
            drop(shutdown);
        }
        self.log.stop();
        if let Some(serving) = self.serving.take() {
            serving.abort();
        }
        drop(self.sequencer.take());
    }
}

/// What the reader gets to see other than what is stored.
#[derive(Default)]
pub(crate) struct Spoil {
    /// Reads that touch this event report damage.
    pub(crate) damaged: Option<u64>,
    /// This event's body is another one.
    pub(crate) altered: Option<(u64, Vec<u8>)>,
    /// How many reads there were.
    pub(crate) reads: u64,
    /// Ids that were read, from the lowest to the highest.
    pub(crate) events_read: u64,
}

/// The engine's logs, of which `default` has another reader.
struct SpoiledDirectory {
    engine: MemoryEngine,
    default: Arc<SpoiledReader>,
}

impl LogDirectory for SpoiledDirectory {
    fn list(&self) -> Vec<LogManifest> {
        self.engine.list()
    }

    fn open(&self, name: &str) -> Option<(LogManifest, Arc<dyn FindEvents>)> {
        let (manifest, events) = self.engine.open(name)?;
        if manifest.id != LOG {
            return Some((manifest, events));
        }
        let reader = Arc::clone(&self.default) as Arc<dyn ReadLog>;
        Some((manifest, Arc::new(Unindexed::new(reader))))
    }
}

/// A reader in front of the engine's, for damage on demand.
struct SpoiledReader {
    reader: Arc<dyn ReadLog>,
    spoil: Arc<Mutex<Spoil>>,
    begun: Arc<AtomicU64>,
}

impl ReadLog for SpoiledReader {
    fn head(&self) -> Head {
        self.reader.head()
    }

    fn read(&self, from: EventId, bytes_max: usize) -> Result<EventRun, ReadError> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        let run = self.reader.read(from, bytes_max)?;
        let mut spoil = self.spoil.lock().unwrap();
        spoil.reads += 1;
        spoil.events_read += run.len() as u64;
        let mut builder = RunBuilder::new(from);
        for event in run.iter() {
            if spoil.damaged == Some(event.id.get()) {
                let what = String::from("flipped by the test");
                return Err(ReadError::Damaged(Damage {
                    event: event.id,
                    place: String::from("memory"),
                    what,
                }));
            }
            let body = match &spoil.altered {
                Some((id, body)) if *id == event.id.get() => body.as_slice(),
                _ => event.body,
            };
            builder.push(body, event.hash, event.received_at);
        }
        Ok(builder.finish())
    }
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// Whether the body ended as it should, and not with the connection.
    pub(crate) complete: bool,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(header, _)| header == name)
            .map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The detail of a refusal with this status, which has to be well-formed.
    pub(crate) fn refusal(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        let problem = self.json();
        assert_eq!(problem["status"], status);
        assert!(
            problem["type"].is_string() && problem["title"].is_string(),
            "{problem}"
        );
        problem["detail"].as_str().expect("detail is a string").to_owned()
    }

    /// The `field`s that a refusal names.
    pub(crate) fn fields(&self) -> Vec<String> {
        let problem = self.json();
        let errors = problem["errors"].as_array().cloned().unwrap_or_default();
        errors
            .iter()
            .map(|error| error["field"].as_str().unwrap().to_owned())
            .collect()
    }
}

pub(crate) fn ids_of(events: &Value) -> Vec<u64> {
    events
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["event_id"].as_u64().unwrap())
        .collect()
}

/// One request on a connection of its own.
pub(crate) fn request(
    addr: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Reply {
    let mut connection = Connection::open(addr);
    connection.send(method, path, headers, body);
    connection.reply(method)
}

/// A connection that is kept.
pub(crate) struct Connection {
    pub(crate) stream: BufReader<TcpStream>,
    addr: SocketAddr,
}

impl Connection {
    pub(crate) fn open(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream: BufReader::new(stream),
            addr,
        }
    }

    /// Sends as it is. A server that has refused already may have closed: what counts is its answer.
    pub(crate) fn send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    pub(crate) fn send(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) {
        let mut head = format!("{method} {path} HTTP/1.1\r\n");
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            head.push_str(&format!("host: {}\r\n", self.addr));
        }
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() || method == "POST" {
            head.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(body);
        self.send_raw(&bytes).ok_or_closed();
    }

    pub(crate) fn reply(&mut self, method: &str) -> Reply {
        let (status, headers) = self.reply_head();
        let mut reply = Reply {
            status,
            headers,
            body: Vec::new(),
            complete: true,
        };
        if method != "HEAD" && !matches!(status, 100 | 204 | 304) {
            let mut body = BodyReader::new(&mut self.stream, &reply.headers);
            reply.complete = body.read_to_end(&mut reply.body).is_ok();
        }
        reply
    }

    pub(crate) fn reply_head(&mut self) -> (u16, Vec<(String, String)>) {
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        let status = line
            .split(' ')
            .nth(1)
            .unwrap_or_else(|| panic!("no status in {line:?}"))
            .parse()
            .unwrap();
        let mut headers = Vec::new();
        loop {
            line.clear();
            self.stream.read_line(&mut line).unwrap();
            match line.trim_end().split_once(':') {
                Some((name, value)) => headers.push((name.to_ascii_lowercase(), value.trim().to_owned())),
                None => return (status, headers),
            }
        }
    }

    /// The body of the answer whose head was read.
    pub(crate) fn into_body(self, headers: &[(String, String)]) -> BodyReader<BufReader<TcpStream>> {
        BodyReader::new(self.stream, headers)
    }
}

pub(crate) trait OrClosed {
    fn ok_or_closed(self);
}

impl OrClosed for io::Result<()> {
    fn ok_or_closed(self) {
        if let Err(error) = self {
            let closed = matches!(
                error.kind(),
                io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
            );
            assert!(closed, "{error}");
        }
    }
}

/// Reads a body as it is framed; a body that ends before its time is an error.
pub(crate) struct BodyReader<R> {
    stream: R,
    left: u64,
    chunked: bool,
    over: bool,
}

impl<R: BufRead> BodyReader<R> {
    fn new(stream: R, headers: &[(String, String)]) -> Self {
        let header = |name: &str| {
            headers
                .iter()
                .find(|(header, _)| header == name)
                .map(|(_, value)| value.as_str())
        };
        let chunked = header("transfer-encoding") == Some("chunked");
        let left = header("content-length").map_or(0, |length| length.parse().unwrap());
        Self {
            stream,
            left,
            chunked,
            over: !chunked && left == 0,
        }
    }

    fn next_chunk(&mut self) -> io::Result<()> {
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        self.left = u64::from_str_radix(line.trim_end(), 16)
            .map_err(|_| io::Error::from(io::ErrorKind::UnexpectedEof))?;
        if self.left == 0 {
            self.over = true;
            self.stream.read_line(&mut line)?;
        }
        Ok(())
    }
}

impl<R: BufRead> Read for BodyReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 && self.chunked && !self.over {
            self.next_chunk()?;
        }
        if self.over || self.left == 0 {
            return Ok(0);
        }
        let most = usize::try_from(self.left).unwrap().min(buffer.len());
        let read = self.stream.read(&mut buffer[..most])?;
        if read == 0 && !buffer.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= read as u64;
        if self.left == 0 {
            if self.chunked {
                self.stream.read_line(&mut String::new())?;
            } else {
                self.over = true;
            }
        }
        Ok(read)
    }
}

/// Asks again and again until the answer is there, or the patience is over.
pub(crate) fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < until, "{what} did not happen");
        std::thread::yield_now();
    }
}
