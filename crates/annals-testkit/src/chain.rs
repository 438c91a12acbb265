//! A naive oracle: reads a whole log and checks the chain by the seed's rules, with nothing but serde_json and sha2.
//!
//! Invariant: it shares no code with what it judges. It hashes the stored bytes, finds members with serde_json, writes
//! its own hex; of `annals-core` it uses only the plain types that a reader hands out.

use std::collections::BTreeMap;
use std::fmt::Write;

use annals_core::chain::{EventId, Head};
use annals_core::time::Micros;
use annals_store::{ReadLog, StoredEvent};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

/// What an audit found to be whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audited {
    /// Number of events.
    pub events: u64,
    /// Bytes of all bodies.
    pub bytes: u64,
    /// The head that the reader shows; the events lead up to it.
    pub head: Head,
}

/// Walks every event up to the head that the reader shows at the start, and checks ids, `prev_hash`, `hash`, receive
/// times and that the last event is the head.
///
/// # Errors
/// One sentence that names the first event that is wrong.
pub fn audit(log: &dyn ReadLog) -> Result<Audited, String> {
    audit_with(log, |_| Ok(()))
}

/// As [`audit`], and shows each event to `visit` after it was found right.
///
/// # Errors
/// As [`audit`]; or what `visit` says.
pub fn audit_with(
    log: &dyn ReadLog,
    mut visit: impl FnMut(&StoredEvent<'_>) -> Result<(), String>,
) -> Result<Audited, String> {
    let head = log.head();
    let mut walk = Walk {
        size: 0,
        bytes: 0,
        hash: "0".repeat(64),
        received_at: Micros(i64::MIN),
    };
    while walk.size < head.size.0 {
        let from = EventId::new(walk.size + 1).expect("ids start at 1");
        let run = log
            .read(from, 1024 * 1024)
            .map_err(|error| format!("event {from}: {error}"))?;
        if run.is_empty() {
            return Err(format!(
                "event {from} can't be read, though the head is event {}",
                head.size
            ));
        }
        for event in run.iter() {
            if walk.size == head.size.0 {
                break;
            }
            walk.step(&event)
                .map_err(|what| format!("event {}: {what}", walk.size + 1))?;
            visit(&event)?;
        }
    }
    if hex(&head.hash.0) != walk.hash || head.received_at != walk.received_at {
        return Err(format!(
            "the head {head:?} is not the last event, which has the hash {}",
            walk.hash
        ));
    }
    Ok(Audited {
        events: walk.size,
        bytes: walk.bytes,
        head,
    })
}

struct Walk {
    size: u64,
    bytes: u64,
    hash: String,
    received_at: Micros,
}

impl Walk {
    fn step(&mut self, event: &StoredEvent<'_>) -> Result<(), String> {
        let members: BTreeMap<&str, &RawValue> = serde_json::from_slice(event.body)
            .map_err(|error| format!("the body is not an object: {error}"))?;
        let member = |name: &str| members.get(name).map(|value| value.get());
        let id = self.size + 1;
        if event.id.get() != id || member("event_id") != Some(id.to_string().as_str()) {
            return Err(format!(
                "event_id should be {id}, got {:?} as number {}",
                member("event_id"),
                event.id
            ));
        }
        if member("prev_hash") != Some(format!("\"{}\"", self.hash).as_str()) {
            return Err(format!(
                "prev_hash should be {}, got {:?}",
                self.hash,
                member("prev_hash")
            ));
        }
        if member("hash").is_some() {
            return Err("the body contains its own hash".into());
        }
        let hash = hex(&Sha256::digest(event.body));
        if hash != hex(&event.hash.0) {
            return Err(format!(
                "the stored hash is {}, the body's is {hash}",
                hex(&event.hash.0)
            ));
        }
        if event.received_at < self.received_at {
            return Err(format!(
                "the receive time {} is before {}",
                event.received_at.0, self.received_at.0
            ));
        }
        self.size = id;
        self.bytes += event.body.len() as u64;
        self.hash = hash;
        self.received_at = event.received_at;
        Ok(())
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes everything");
        text
    })
}
