//! Deterministic events: the same seed gives the same bytes, on every machine.
//!
//! Invariants: every event is acceptable to `DraftParser`; the bulk of [`batch`] is seed-shaped and about 300 bytes once
//! sealed, like a real one, with every fifth unlike the others (claimed times, text beyond ASCII, numbers, nesting).

use annals_core::canonical::{CanonicalBatch, Stamp};
use annals_core::draft::DraftParser;
use annals_core::limits::EventLimits;

/// `n` events of about 300 bytes each.
#[must_use]
pub fn batch(n: usize, seed: u64) -> CanonicalBatch {
    batch_of((0..n).map(|at| event(at as u64, seed)))
}

/// `n` events of very different sizes: most are small, a few have many kilobytes, up to about 200 KiB.
#[must_use]
pub fn skewed_batch(n: usize, seed: u64) -> CanonicalBatch {
    batch_of((0..n).map(|at| skewed_event(at as u64, seed)))
}

/// One event whose canonical form is as large as the default limits let it be (1 MiB).
#[must_use]
pub fn huge_batch(seed: u64) -> CanonicalBatch {
    let limit = EventLimits::default().event_bytes_max;
    // Room for what the limit counts beside the text: kind, source, and the payload's own `{"blob":""}`.
    let text = filler(limit - 64, seed);
    batch_of(std::iter::once(format!(
        r#"{{"kind":"other","source":"huge","payload":{{"blob":"{text}"}}}}"#
    )))
}

/// `n` events that are as small as events can be.
#[must_use]
pub fn small_batch(n: usize) -> CanonicalBatch {
    batch_of((0..n).map(|_| String::from(r#"{"kind":"other","source":"s"}"#)))
}

/// A batch of one event with this payload (JSON text of an object).
///
/// # Panics
/// When the payload is not acceptable.
#[must_use]
pub fn one(payload: &str) -> CanonicalBatch {
    batch_of(std::iter::once(format!(
        r#"{{"kind":"other","source":"one","payload":{payload}}}"#
    )))
}

/// A batch of these events, as a producer would send them.
///
/// # Panics
/// When one of them is not acceptable.
#[must_use]
pub fn batch_of(events: impl Iterator<Item = String>) -> CanonicalBatch {
    let limits = EventLimits::default();
    let mut parser = DraftParser::new(limits);
    let mut batch = CanonicalBatch::default();
    let mut random = Random::new(0, 0);
    for text in events {
        let draft = parser
            .parse(text.as_bytes())
            .unwrap_or_else(|error| panic!("{error}: {text}"));
        batch
            .push(&draft, &limits, || stamp(&mut random))
            .expect("a test's batch is inside the limits");
    }
    batch
}

/// A stamp as a server would make it, but for the time, which is the start of 2026.
#[must_use]
pub fn stamp(random: &mut Random) -> Stamp {
    const UNIX_MILLIS: u64 = 1_767_225_600_000;
    let mut bytes = [0; 32];
    for word in bytes.chunks_exact_mut(8) {
        word.copy_from_slice(&random.next_u64().to_be_bytes());
    }
    let (id, nonce) = bytes.split_at_mut(16);
    id[..6].copy_from_slice(&UNIX_MILLIS.to_be_bytes()[2..]);
    id[6] = 0x70 | id[6] & 0x0f;
    id[8] = 0x80 | id[8] & 0x3f;
    Stamp {
        id: (&*id).try_into().expect("16 bytes"),
        nonce: (&*nonce).try_into().expect("16 bytes"),
    }
}

/// The event at `index` of [`batch`], as the JSON that a producer sends.
#[must_use]
pub fn event(index: u64, seed: u64) -> String {
    let mut random = Random::new(seed, index);
    let actor = random.below(10_000);
    let request = random.next_u64();
    match index % 5 {
        4 => odd_event(index, seed),
        at => {
            let kind = [
                "request_allowed",
                "request_denied",
                "flag_swapped",
                "tool_invocation_allowed",
            ][usize::try_from(at).expect("below 4")];
            format!(
                r#"{{"kind":"{kind}","source":"gateway-{}","payload":{{"actor":"user-{actor}","resource":"orders/{}","request_id":"{request:016x}","n":{index}}}}}"#,
                seed % 7,
                random.below(1_000_000),
            )
        }
    }
}

/// Events that are unlike each other: claimed times, escapes, text beyond ASCII, big and broken numbers, nesting.
fn odd_event(index: u64, seed: u64) -> String {
    match (index / 5 + seed) % 4 {
        0 => format!(
            r#"{{"kind":"watch_drifted","source":"prüfung-{index}","timestamp":"2020-01-01T00:00:00+00:00","payload":{{"note":"älter, \"zitiert\" \\ 😀","n":{index}}}}}"#
        ),
        1 => format!(
            r#"{{"kind":"other","source":"numbers","payload":{{"z":-0,"big":123456789012345678901234567890,"f":1e-5,"g":1e16,"n":{index}}}}}"#
        ),
        2 => format!(
            r#"{{"payload":{{"b":[[1,[2,[3]]],{{}}],"a":{{"c":{{"d":null}}}},"n":{index}}},"source":"nested","kind":"incident_filed"}}"#
        ),
        _ => format!(r#"{{"kind":"other","source":"n{index}"}}"#),
    }
}

fn skewed_event(index: u64, seed: u64) -> String {
    let mut random = Random::new(seed ^ 0x5eed, index);
    let size = match random.below(100) {
        0 => 50_000 + random.below(150_000),
        1..=5 => 2_000 + random.below(20_000),
        _ => random.below(200),
    };
    let text = filler(usize::try_from(size).expect("small"), seed ^ index);
    format!(
        r#"{{"kind":"attestation_verified","source":"skewed","payload":{{"text":"{text}","n":{index}}}}}"#
    )
}

/// So many lower-case letters; they do not compress to nothing.
fn filler(bytes: usize, seed: u64) -> String {
    let mut random = Random::new(seed, 0);
    let letters = (0..bytes.div_ceil(8)).flat_map(|_| random.next_u64().to_le_bytes());
    letters
        .take(bytes)
        .map(|byte| char::from(b'a' + byte % 26))
        .collect()
}

/// SplitMix64 (Steele, Lea, Flood 2014): small, fast, the same everywhere. Not for secrets.
#[derive(Debug, Clone)]
pub struct Random {
    state: u64,
}

impl Random {
    /// A generator that depends on both numbers.
    #[must_use]
    pub fn new(seed: u64, stream: u64) -> Self {
        let mut random = Self { state: seed };
        random.state = random.next_u64() ^ stream;
        random
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.state;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// A number below `bound`, nearly even.
    ///
    /// # Panics
    /// When `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next_u64() % bound
    }
}
