//! What was sent, what was acknowledged, and whether the log agrees: the producers' side of the promise.
//!
//! Every event carries an id of its own in its payload. Acknowledged: it is there exactly once, with the id and hash of its
//! receipt. Said to be not stored: it is nowhere. No answer, or an unknown outcome: its batch is there as a whole, in order
//! and without anything in between, or not at all; and what was once there stays.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;

use serde_json::{Value, json};

use super::Client;

/// How a batch is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// One event as a JSON object.
    One,
    /// One event a line.
    Lines,
}

/// Events that are sent in one request.
#[derive(Debug, Clone)]
pub(crate) struct Batch {
    shape: Shape,
    ids: Vec<String>,
    fill_bytes: usize,
}

/// What the caller was told.
#[derive(Debug)]
pub(crate) enum Told {
    /// 201: event id and hash of each event.
    Sealed(Vec<Receipt>),
    /// An error that says that nothing is stored.
    NotStored { status: u16 },
    /// An error that says that the outcome is unknown.
    Unknown { status: u16 },
    /// The connection broke.
    Nothing,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Receipt {
    event_id: u64,
    hash: String,
}

impl Batch {
    /// One event with about `fill_bytes` of payload.
    pub(crate) fn one(name: &str, fill_bytes: usize) -> Self {
        Self {
            shape: Shape::One,
            ids: vec![name.to_owned()],
            fill_bytes,
        }
    }

    /// Events `<name>-0`, `<name>-1` and so on, each with about `fill_bytes` of payload.
    pub(crate) fn lines(name: &str, len: usize, fill_bytes: usize) -> Self {
        Self {
            shape: Shape::Lines,
            ids: (0..len).map(|index| format!("{name}-{index}")).collect(),
            fill_bytes,
        }
    }

    fn body(&self) -> Vec<u8> {
        let mut body = Vec::new();
        for id in &self.ids {
            let payload = json!({"id": id, "fill": "x".repeat(self.fill_bytes)});
            let event = json!({"kind": "other", "source": "proofs", "payload": payload});
            serde_json::to_writer(&mut body, &event).unwrap();
            body.push(b'\n');
        }
        body
    }
}

/// Sends a batch. Answers that no promise allows end the test.
pub(crate) fn append(client: &mut Client, batch: &Batch) -> Told {
    let content_type = match batch.shape {
        Shape::One => "application/json",
        Shape::Lines => "application/x-ndjson",
    };
    let Ok(answer) = client.post("/events", content_type, &batch.body()) else {
        return Told::Nothing;
    };
    if answer.status == 201 {
        return Told::Sealed(receipts(&answer.body, batch));
    }
    let (status, problem) = (answer.status, answer.json());
    assert!(matches!(status, 503 | 507), "{status} {problem}");
    assert_eq!(problem["status"], status, "{problem}");
    match problem["outcome"].as_str() {
        Some("not_stored") => Told::NotStored { status },
        Some("unknown") => Told::Unknown { status },
        other => panic!("{other:?} is no outcome: {status} {problem}"),
    }
}

fn receipts(body: &[u8], batch: &Batch) -> Vec<Receipt> {
    let lines = body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let receipts: Vec<Receipt> = lines
        .map(|line| receipt(&serde_json::from_slice(line).unwrap()))
        .collect();
    assert_eq!(receipts.len(), batch.ids.len(), "a receipt an event");
    let first = receipts[0].event_id;
    let ids: Vec<u64> = receipts.iter().map(|receipt| receipt.event_id).collect();
    assert!(ids.iter().copied().eq(first..first + ids.len() as u64), "{ids:?}");
    receipts
}

fn receipt(value: &Value) -> Receipt {
    Receipt {
        event_id: value["event_id"].as_u64().unwrap(),
        hash: value["hash"].as_str().unwrap().to_owned(),
    }
}

/// The producers' memory.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ledger {
    sealed: HashMap<String, Receipt>,
    not_stored: HashSet<String>,
    unanswered: Vec<Vec<String>>,
    /// What was found in the log, by payload id.
    found: HashMap<String, Receipt>,
    /// Hash of the last event found.
    head_hash: String,
}

impl Ledger {
    /// Takes down what became of a batch.
    pub(crate) fn record(&mut self, batch: Batch, told: &Told) {
        match told {
            Told::Sealed(receipts) => {
                self.sealed
                    .extend(batch.ids.into_iter().zip(receipts.iter().cloned()));
            }
            Told::NotStored { .. } => self.not_stored.extend(batch.ids),
            Told::Unknown { .. } | Told::Nothing => self.unanswered.push(batch.ids),
        }
    }

    /// Sends a batch and takes down what became of it.
    pub(crate) fn append(&mut self, client: &mut Client, batch: Batch) -> Told {
        let told = append(client, &batch);
        self.record(batch, &told);
        told
    }

    /// Number of acknowledged events.
    pub(crate) fn sealed_len(&self) -> u64 {
        self.sealed.len() as u64
    }

    /// Number of batches whose outcome was never told.
    pub(crate) fn unanswered_len(&self) -> usize {
        self.unanswered.len()
    }

    /// Event id of an acknowledged event.
    pub(crate) fn event_id(&self, name: &str) -> u64 {
        self.sealed[name].event_id
    }

    /// Reads what is new in the log since the last time and compares.
    #[track_caller]
    pub(crate) fn check(&mut self, address: SocketAddr) {
        let mut client = Client::connect(address).unwrap();
        loop {
            let after = self.found.len();
            let page = client.get(&format!("/events?after={after}&limit=20000")).unwrap();
            assert_eq!(page.status, 200, "{page:?}");
            for line in page
                .body
                .split(|byte| *byte == b'\n')
                .filter(|line| !line.is_empty())
            {
                self.take(&serde_json::from_slice(line).unwrap());
            }
            if self.found.len() == after {
                break;
            }
        }
        self.compare();
    }

    /// Forgets what was found and reads everything again: it has to be the same.
    #[track_caller]
    pub(crate) fn check_from_the_start(&mut self, address: SocketAddr) {
        let before = std::mem::take(&mut self.found);
        self.head_hash.clear();
        self.check(address);
        for (id, receipt) in &before {
            assert_eq!(
                self.found.get(id),
                Some(receipt),
                "event {id} was there and is not"
            );
        }
    }

    fn take(&mut self, event: &Value) {
        if self.head_hash.is_empty() {
            self.head_hash = "0".repeat(64);
        }
        let found = receipt(event);
        assert_eq!(found.event_id, self.found.len() as u64 + 1, "no gap: {event}");
        assert_eq!(event["prev_hash"], self.head_hash.as_str(), "linked: {event}");
        self.head_hash.clone_from(&found.hash);
        let id = event["payload"]["id"].as_str().unwrap().to_owned();
        let twice = self.found.insert(id, found);
        assert_eq!(twice, None, "stored twice: {event}");
    }

    #[track_caller]
    fn compare(&self) {
        for (id, receipt) in &self.sealed {
            assert_eq!(
                self.found.get(id),
                Some(receipt),
                "acknowledged event {id} is not there as it was"
            );
        }
        for id in &self.not_stored {
            assert!(
                !self.found.contains_key(id),
                "event {id} is stored although the caller heard otherwise"
            );
        }
        let mut known = self.sealed.len();
        for batch in &self.unanswered {
            let ids: Vec<u64> = batch
                .iter()
                .filter_map(|id| Some(self.found.get(id)?.event_id))
                .collect();
            let is_whole = ids.len() == batch.len() && ids.windows(2).all(|pair| pair[0] + 1 == pair[1]);
            assert!(
                ids.is_empty() || is_whole,
                "a batch is there in part: {ids:?} of {batch:?}"
            );
            known += ids.len();
        }
        assert_eq!(known, self.found.len(), "events that nobody sent");
    }
}
