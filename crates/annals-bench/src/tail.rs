//! Live streams: what thousands of readers cost the writer of a running server, in turns with none.
//!
//! One thread appends single events at a fixed rate and takes the time that each takes to be answered; an answer that is late
//! counts from the moment at which its request was due. Readers are as cheap as they can be, for they share the machine: one thread
//! for all of them, which looks for the beginnings of messages in what comes in and nothing else.

use std::cell::RefCell;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::task::JoinSet;

use crate::report::{median, say};

const READERS: usize = 2_000;
/// Connections that are opened at once.
const OPENING: usize = 100;
const EVENTS_A_SECOND: u64 = 100;
const SECONDS: u64 = 15;
const ROUNDS: usize = 3;
/// One reader in so many looks how old the events are.
const SAMPLE: usize = 40;
/// How long readers may take to get the last event.
const PATIENCE: Duration = Duration::from_secs(60);

/// `tail ADDR [PID]`: the server, and its process, whose memory is told when it is given.
pub(crate) fn run(args: &[String]) -> Result<()> {
    let addr: SocketAddr = args
        .first()
        .context("tail needs the address of a running server")?
        .parse()?;
    let pid = args.get(1).map(|pid| pid.parse::<u32>()).transpose()?;
    let mut alone = Round::default();
    let mut beside = Round::default();
    let (mut delays, mut memory) = (Vec::new(), None);
    // What only happens once is not measured.
    append(addr, 1)?;
    for _ in 0..ROUNDS {
        alone.add(append(addr, SECONDS)?);
        let before = pid.map(resident_kib).transpose()?;
        let crowd = Crowd::gather(addr)?;
        if let (Some(pid), Some(before)) = (pid, before) {
            memory.get_or_insert(resident_kib(pid)?.saturating_sub(before));
        }
        beside.add(append(addr, SECONDS)?);
        delays.extend(crowd.finish(SECONDS * EVENTS_A_SECOND)?);
    }
    say(&format!(
        "tail, nobody reads: an append takes {}",
        alone.describe()
    ))?;
    say(&format!(
        "tail, {READERS} readers get {EVENTS_A_SECOND} events/s each: an append takes {}; ratio of the 99th percentiles {:.2} (goal 2.00)",
        beside.describe(),
        median(&mut beside.slow) / median(&mut alone.slow),
    ))?;
    say(&format!(
        "tail, from the request to the reader: median {:.0} ms, 99th percentile {:.0} ms",
        percentile(&mut delays, 50) / 1e3,
        percentile(&mut delays, 99) / 1e3,
    ))?;
    if let Some(kib) = memory {
        say(&format!(
            "tail, memory of the server: {:.1} KiB a reader",
            kib as f64 / READERS as f64
        ))?;
    }
    Ok(())
}

/// Percentiles of each round.
#[derive(Default)]
struct Round {
    middle: Vec<f64>,
    slow: Vec<f64>,
}

impl Round {
    fn add(&mut self, mut micros: Vec<f64>) {
        self.middle.push(percentile(&mut micros, 50));
        self.slow.push(percentile(&mut micros, 99));
    }

    fn describe(&mut self) -> String {
        format!(
            "{:.0} µs, 99th percentile {:.0} µs (rounds: {})",
            median(&mut self.middle),
            median(&mut self.slow),
            self.slow
                .iter()
                .map(|slow| format!("{slow:.0}"))
                .collect::<Vec<_>>()
                .join(", "),
        )
    }
}

/// Appends at the rate for so long; the microseconds that each answer took.
fn append(addr: SocketAddr, seconds: u64) -> Result<Vec<f64>> {
    let mut stream = BufReader::new(TcpStream::connect(addr)?);
    stream.get_mut().set_nodelay(true)?;
    stream.get_mut().set_read_timeout(Some(PATIENCE))?;
    let begun = Instant::now();
    let mut micros = Vec::new();
    for number in 0..seconds * EVENTS_A_SECOND {
        let due = begun + Duration::from_secs(1) * u32::try_from(number)? / u32::try_from(EVENTS_A_SECOND)?;
        let wait = due.saturating_duration_since(Instant::now());
        let start = if wait.is_zero() {
            due
        } else {
            thread::sleep(wait);
            Instant::now()
        };
        let event = format!(
            r#"{{"kind":"tool_invocation_completed","source":"procurement-api","payload":{{"actor":"user-{number:06}","tool":"ledger.read","ok":true,"sent":{}}}}}"#,
            unix_micros(),
        );
        let head = format!(
            "POST /events HTTP/1.1\r\nhost: {addr}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            event.len(),
        );
        stream.get_mut().write_all(format!("{head}{event}").as_bytes())?;
        read_answer(&mut stream)?;
        micros.push(start.elapsed().as_secs_f64() * 1e6);
    }
    Ok(micros)
}

fn read_answer(stream: &mut BufReader<TcpStream>) -> Result<()> {
    let mut line = String::new();
    stream.read_line(&mut line)?;
    ensure!(
        line.starts_with("HTTP/1.1 201 "),
        "an event was not taken: {line}"
    );
    let mut length = 0;
    loop {
        line.clear();
        stream.read_line(&mut line)?;
        if line.trim_end().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse()?;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok(())
}

/// Readers of the live stream, all on one thread of their own.
struct Crowd {
    runtime: tokio::runtime::Runtime,
    readers: JoinSet<Result<()>>,
    counts: Arc<[AtomicU64]>,
    delays: Arc<Mutex<Vec<f64>>>,
}

impl Crowd {
    /// Returns once all of them are subscribed.
    fn gather(addr: SocketAddr) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let counts: Arc<[AtomicU64]> = (0..READERS).map(|_| AtomicU64::new(0)).collect();
        let delays = Arc::new(Mutex::new(Vec::new()));
        let mut readers = JoinSet::new();
        for first in (0..READERS).step_by(OPENING) {
            let mut opening = JoinSet::new();
            for _ in first..READERS.min(first + OPENING) {
                opening.spawn_on(subscribe(addr), runtime.handle());
            }
            for (at, stream) in runtime.block_on(opening.join_all()).into_iter().enumerate() {
                let (counts, delays) = (Arc::clone(&counts), Arc::clone(&delays));
                readers.spawn_on(read(stream?, first + at, counts, delays), runtime.handle());
            }
        }
        Ok(Self {
            runtime,
            readers,
            counts,
            delays,
        })
    }

    /// The delays that were seen, once everybody has had so many events.
    fn finish(mut self, expected: u64) -> Result<Vec<f64>> {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(ended) = self.readers.try_join_next() {
                ended?.context("a reader was cut off")?;
            }
            let counts = || self.counts.iter().map(|count| count.load(Ordering::Relaxed));
            if counts().all(|count| count == expected) {
                break;
            }
            if Instant::now() > until || counts().any(|count| count > expected) {
                let (least, most) = (counts().min(), counts().max());
                bail!("readers got {least:?} to {most:?} events instead of {expected}");
            }
            thread::sleep(Duration::from_millis(10));
        }
        self.runtime.shutdown_background();
        Ok(std::mem::take(
            &mut *self.delays.lock().unwrap_or_else(PoisonError::into_inner),
        ))
    }
}

async fn subscribe(addr: SocketAddr) -> Result<tokio::net::TcpStream> {
    let mut stream = tokio::net::TcpStream::connect(addr).await?;
    let head = format!("GET /stream HTTP/1.1\r\nhost: {addr}\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    let mut answer = Vec::new();
    // The greeting ends with an empty line, and its chunk.
    while !answer.ends_with(b"\n\n\r\n") {
        ensure!(
            stream.read_buf(&mut answer).await? > 0,
            "a subscription ended at once"
        );
    }
    ensure!(
        answer.starts_with(b"HTTP/1.1 200 "),
        "a subscription was refused: {}",
        String::from_utf8_lossy(&answer)
    );
    Ok(stream)
}

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; 64 * 1024]);
}

/// Counts the messages of one reader.
async fn read(
    stream: tokio::net::TcpStream,
    reader: usize,
    counts: Arc<[AtomicU64]>,
    delays: Arc<Mutex<Vec<f64>>>,
) -> Result<()> {
    let mut last = 0;
    loop {
        stream.ready(Interest::READABLE).await?;
        let read = BUFFER.with_borrow_mut(|buffer| match stream.try_read(buffer) {
            Ok(read) => {
                counts[reader].fetch_add(beginnings(&buffer[..read], &mut last), Ordering::Relaxed);
                if reader.is_multiple_of(SAMPLE) {
                    let mut delays = delays.lock().unwrap_or_else(PoisonError::into_inner);
                    delays.extend(ages(&buffer[..read]));
                }
                Ok(Some(read))
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        })?;
        ensure!(read != Some(0), "the stream ended");
    }
}

/// How many lines begin with `i` (as those with an id do, and neither the others nor the frames of chunks). `last` is the byte
/// before.
fn beginnings(bytes: &[u8], last: &mut u8) -> u64 {
    let mut count = 0;
    for byte in bytes {
        count += u64::from(*last == b'\n' && *byte == b'i');
        *last = *byte;
    }
    count
}

/// The microseconds since the events in the text were sent, as far as they are in it in full.
fn ages(bytes: &[u8]) -> Vec<f64> {
    let now = unix_micros();
    let text = String::from_utf8_lossy(bytes);
    let sent = text.split("\"sent\":").skip(1).filter_map(|rest| {
        let (digits, _) = rest.split_once([',', '}'])?;
        digits.parse::<u64>().ok()
    });
    sent.map(|sent| now.saturating_sub(sent) as f64).collect()
}

fn unix_micros() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

fn resident_kib(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    Ok(number.context("the process has no VmRSS")?.parse()?)
}

fn percentile(values: &mut [f64], percent: usize) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = values.len() * percent / 100;
    values
        .get(at.min(values.len().saturating_sub(1)))
        .copied()
        .unwrap_or(f64::NAN)
}
