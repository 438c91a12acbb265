//! Chains made by hand, a log in memory, and the naive judge: `serde_json` and `sha2`, nothing of ours but the types.

use std::sync::Mutex;

use annals_core::chain::{EventId, Head, TreeSize};
use annals_core::hash::EventHash;
use annals_core::time::Micros;
use annals_store::{Damage, EventRun, ReadError, ReadLog, RunBuilder};
use sha2::{Digest, Sha256};

/// One event as a storage engine has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) body: Vec<u8>,
    pub(crate) hash: EventHash,
    pub(crate) received_at: i64,
}

/// The seed-shaped body.
pub(crate) fn body_of(id: u64, prev: &EventHash, payload: &str, source: &str) -> Vec<u8> {
    format!(
        "{{\"event_id\":{id},\"kind\":\"other\",\"payload\":{payload},\"prev_hash\":\"{prev}\",\
         \"source\":\"{source}\",\"timestamp\":\"2026-05-15T03:14:15+00:00\"}}"
    )
    .into_bytes()
}

pub(crate) fn sha256(bytes: &[u8]) -> EventHash {
    EventHash(Sha256::digest(bytes).into())
}

/// A chain of one event a payload.
pub(crate) fn chain_of(payloads: &[&str]) -> Vec<Event> {
    let mut events = Vec::new();
    seal_on(&mut events, payloads);
    events
}

/// A chain of `len` small events.
pub(crate) fn chain(len: usize) -> Vec<Event> {
    let payloads: Vec<String> = (0..len)
        .map(|at| format!("{{\"n\":{at},\"prev_hash\":\"x\"}}"))
        .collect();
    chain_of(&payloads.iter().map(String::as_str).collect::<Vec<_>>())
}

pub(crate) fn seal_on(events: &mut Vec<Event>, payloads: &[&str]) {
    for payload in payloads {
        let id = events.len() as u64 + 1;
        let prev = events.last().map_or(EventHash::GENESIS, |event| event.hash);
        let body = body_of(id, &prev, payload, "s,\\\"prev_hash\\\":\\\"");
        push_body(events, body);
    }
}

pub(crate) fn push_body(events: &mut Vec<Event>, body: Vec<u8>) {
    let hash = sha256(&body);
    let received_at = events.len() as i64 / 2;
    events.push(Event {
        body,
        hash,
        received_at,
    });
}

pub(crate) fn run_of(events: &[Event]) -> EventRun {
    let mut run = RunBuilder::new(EventId::FIRST);
    for event in events {
        run.push(&event.body, event.hash, Micros(event.received_at));
    }
    run.finish()
}

/// What the seed's own loop would say: first break and, when the body can be parsed, the reason.
pub(crate) fn naive(events: &[Event]) -> Option<(u64, Option<String>)> {
    let mut prev = "0".repeat(64);
    for (at, event) in events.iter().enumerate() {
        let id = at as u64 + 1;
        let Ok(parsed) = serde_json::from_slice::<serde_json::Value>(&event.body) else {
            return Some((id, None));
        };
        if parsed["event_id"] != serde_json::json!(id) {
            return Some((
                id,
                Some(format!("event_id should be {id}, got {}", parsed["event_id"])),
            ));
        }
        if parsed["prev_hash"] != serde_json::json!(prev) {
            return Some((id, Some(format!("prev_hash mismatch at event #{id}"))));
        }
        if sha256(&event.body) != event.hash {
            return Some((id, Some(format!("hash mismatch at event #{id}"))));
        }
        prev = event.hash.to_string();
    }
    None
}

/// A log in memory, with places that fail.
#[derive(Default)]
pub(crate) struct MemoryLog {
    pub(crate) events: Vec<Event>,
    /// Reading this event fails with an I/O error.
    pub(crate) unreadable: Option<u64>,
    /// A read that would contain this event reports damage there.
    pub(crate) damaged: Option<u64>,
    /// The largest `bytes_max` that was asked for.
    pub(crate) asked_max: Mutex<usize>,
}

impl MemoryLog {
    pub(crate) fn new(events: Vec<Event>) -> Self {
        Self {
            events,
            ..Self::default()
        }
    }
}

impl ReadLog for MemoryLog {
    fn head(&self) -> Head {
        self.events.last().map_or(Head::EMPTY, |last| Head {
            size: TreeSize(self.events.len() as u64),
            hash: last.hash,
            received_at: Micros(last.received_at),
        })
    }

    fn read(&self, from: EventId, bytes_max: usize) -> Result<EventRun, ReadError> {
        let mut asked = self.asked_max.lock().unwrap();
        *asked = bytes_max.max(*asked);
        let mut run = RunBuilder::new(from);
        let mut bytes = 0;
        for (id, event) in (from.get()..).zip(self.events.iter().skip(from.get() as usize - 1)) {
            bytes += event.body.len();
            if bytes > bytes_max && !run.is_empty() {
                break;
            }
            if self.unreadable == Some(id) {
                return Err(ReadError::Io(std::io::Error::other("the disk is gone")));
            }
            if self.damaged == Some(id) {
                let event = EventId::new(id).unwrap();
                return Err(ReadError::Damaged(Damage {
                    event,
                    place: "memory".into(),
                    what: "bad checksum".into(),
                }));
            }
            run.push(&event.body, event.hash, Micros(event.received_at));
        }
        Ok(run.finish())
    }
}
