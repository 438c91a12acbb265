//! Where events come from: lines that a thread reads ahead, a bounded way.
//!
//! Invariants: what has arrived is handed on at once, so a slow producer's events do not wait for more; at most
//! [`CHUNKS_AHEAD`] chunks are read ahead; each event keeps the number of the line that it came from.

use std::io::Read;
use std::thread;

use tokio::sync::mpsc;

use crate::client::Lines;
use crate::commands::append::mapping::Mapping;

const CHUNKS_AHEAD: usize = 64;
const READ_BYTES: usize = 256 * 1024;
const CHUNK_EVENTS_MAX: usize = 1000;

/// Events to be sent.
pub(super) struct Input {
    /// What has been read.
    pub(super) chunks: mpsc::Receiver<Result<Chunk, InputError>>,
    /// Bytes that there are to read, when that is known.
    pub(super) bytes: Option<u64>,
    /// Whether the events are lines (and not one event made of flags).
    pub(super) is_lines: bool,
}

/// Consecutive events.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    /// The events, one a line.
    pub(super) text: Vec<u8>,
    /// For each event the number of its line in the input, from 1.
    pub(super) lines: Vec<u64>,
    /// Bytes of the input that were read up to here.
    pub(super) bytes_read: u64,
}

/// Why the input ends early.
#[derive(Debug)]
pub(super) struct InputError {
    /// The line that it is about.
    pub(super) line: u64,
    /// What is wrong, as a sentence about the line.
    pub(super) what: String,
}

impl Input {
    /// One event, as one line of JSON.
    pub(super) fn single(event: Vec<u8>) -> Self {
        let (sender, chunks) = mpsc::channel(1);
        let mut chunk = Chunk {
            text: event,
            lines: vec![1],
            bytes_read: 0,
        };
        chunk.text.push(b'\n');
        // There is room for it.
        drop(sender.try_send(Ok(chunk)));
        Self {
            chunks,
            bytes: None,
            is_lines: false,
        }
    }

    /// The lines of `source`, which has `bytes` bytes if that is known.
    pub(super) fn lines(source: Box<dyn Read + Send>, bytes: Option<u64>, mapping: Option<Mapping>) -> Self {
        let (sender, chunks) = mpsc::channel(CHUNKS_AHEAD);
        thread::spawn(move || {
            let mut reader = Reader {
                sender,
                mapping,
                chunk: Chunk::default(),
                line: 0,
            };
            if let Err(Ended::Bad(error)) = reader.read(source) {
                // What came before the bad line goes first. When nobody receives, nobody wants to know.
                drop(reader.hand_on().and_then(|()| reader.send(Err(error))));
            }
        });
        Self {
            chunks,
            bytes,
            is_lines: true,
        }
    }
}

/// Why reading stops.
enum Ended {
    /// Something is wrong with the input.
    Bad(InputError),
    /// Nobody wants more.
    Unwanted,
}

struct Reader {
    sender: mpsc::Sender<Result<Chunk, InputError>>,
    mapping: Option<Mapping>,
    chunk: Chunk,
    line: u64,
}

impl Reader {
    fn read(&mut self, mut source: Box<dyn Read + Send>) -> Result<(), Ended> {
        let mut lines = Lines::default();
        let mut buffer = vec![0; READ_BYTES];
        loop {
            let len = match source.read(&mut buffer) {
                Ok(0) => break,
                Ok(len) => len,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(self.bad(format!("can not be read: {error}"))),
            };
            self.chunk.bytes_read += len as u64;
            let mut ended = None;
            let fed = lines.feed(&buffer[..len], |line| {
                self.take(line).map_err(|error| {
                    ended = Some(error);
                    anyhow::anyhow!("stopped")
                })
            });
            match (fed, ended) {
                (_, Some(ended)) => return Err(ended),
                (Err(error), None) => return Err(self.bad(format!("can not be taken: {error}"))),
                (Ok(()), None) => self.hand_on()?,
            }
        }
        self.take(lines.rest())?;
        self.hand_on()
    }

    fn bad(&self, what: String) -> Ended {
        Ended::Bad(InputError {
            line: self.line + 1,
            what,
        })
    }

    fn take(&mut self, line: &[u8]) -> Result<(), Ended> {
        self.line += 1;
        if line.trim_ascii().is_empty() {
            return Ok(());
        }
        match &self.mapping {
            Some(mapping) => mapping.write(line, &mut self.chunk.text).map_err(|what| {
                Ended::Bad(InputError {
                    line: self.line,
                    what,
                })
            })?,
            None => self.chunk.text.extend_from_slice(line),
        }
        self.chunk.text.push(b'\n');
        self.chunk.lines.push(self.line);
        if self.chunk.lines.len() >= CHUNK_EVENTS_MAX {
            self.hand_on()?;
        }
        Ok(())
    }

    fn hand_on(&mut self) -> Result<(), Ended> {
        if self.chunk.lines.is_empty() {
            return Ok(());
        }
        let bytes_read = self.chunk.bytes_read;
        let chunk = std::mem::replace(
            &mut self.chunk,
            Chunk {
                bytes_read,
                ..Chunk::default()
            },
        );
        self.send(Ok(chunk))
    }

    fn send(&self, chunk: Result<Chunk, InputError>) -> Result<(), Ended> {
        self.sender.blocking_send(chunk).map_err(|_| Ended::Unwanted)
    }
}
