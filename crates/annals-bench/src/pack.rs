//! Packing in memory: bytes on disk for each event, and the time to encode and to decode it, for blocks of different sizes.
//! The baseline is hashing of the same bodies, which decoding does as well.

use std::hint::black_box;
use std::time::{Duration, Instant};

use annals_core::chain::EventId;
use annals_core::hash::EventHash;
use annals_core::time::Micros;
use annals_store_file::packed::{BLOCK_BODIES_BYTES, Behind, Block, BlockEncoder, BlockRow, LEVEL};
use anyhow::{Result, ensure};

use crate::report::{median, say};

const EVENTS: u64 = 100_000;
const ROUNDS: usize = 5;
const START: Micros = Micros(1_778_814_855_123_456);
/// A block's row in the table, which counts as well.
const ROW_BYTES: usize = 72;

/// A sealed event.
struct Event {
    received_at: Micros,
    hash: EventHash,
    body: Vec<u8>,
}

pub(crate) fn run() -> Result<()> {
    for (name, body) in [("seed-shaped", seed_shaped as fn(&Stamps) -> String), ("v2", v2)] {
        let events = chain(body);
        let bytes: usize = events.iter().map(|event| event.body.len()).sum();
        let mut hashing: Vec<f64> = (0..ROUNDS).map(|_| per_event(hash_all(&events))).collect();
        say(&format!(
            "pack, {name} events of {} bytes: hashing alone {:.0} ns an event",
            bytes / events.len(),
            median(&mut hashing)
        ))?;
        for (bodies_bytes, level) in [
            (BLOCK_BODIES_BYTES, LEVEL),
            (64 * 1024, LEVEL),
            (128 * 1024, LEVEL),
            (BLOCK_BODIES_BYTES, 3),
        ] {
            measure(&events, bodies_bytes, level)?;
        }
    }
    Ok(())
}

fn measure(events: &[Event], bodies_bytes: usize, level: i32) -> Result<()> {
    let (mut encoding, mut decoding) = (Vec::new(), Vec::new());
    let mut blocks = Vec::new();
    for _ in 0..ROUNDS {
        let start = Instant::now();
        blocks = encode(events, bodies_bytes, level)?;
        encoding.push(per_event(start.elapsed()));
        let start = Instant::now();
        decode(events, &blocks)?;
        decoding.push(per_event(start.elapsed()));
    }
    let bytes: usize = blocks.iter().map(|(_, bytes)| bytes.len() + ROW_BYTES).sum();
    let decode = median(&mut decoding);
    say(&format!(
        "  blocks of {} KiB, level {level}: {:.1} bytes an event; encode {:.0} ns, decode and hash {decode:.0} ns an event, {:.0} µs a \
         block",
        bodies_bytes / 1024,
        bytes as f64 / events.len() as f64,
        median(&mut encoding),
        decode * events.len() as f64 / blocks.len() as f64 / 1e3,
    ))
}

fn encode(events: &[Event], bodies_bytes: usize, level: i32) -> Result<Vec<(BlockRow, Vec<u8>)>> {
    let mut encoder = BlockEncoder::new(bodies_bytes, level)?;
    let mut blocks = Vec::new();
    let mut prev_hash = EventHash::GENESIS;
    for (index, event) in (0..).zip(events) {
        if encoder.is_full_for(event.body.len()) {
            blocks.extend(encoder.finish(0)?.map(|(row, bytes)| (row, bytes.to_vec())));
        }
        encoder.push(
            EventId::FIRST.plus(index),
            &prev_hash,
            event.received_at,
            &event.body,
        );
        prev_hash = event.hash;
    }
    blocks.extend(encoder.finish(0)?.map(|(row, bytes)| (row, bytes.to_vec())));
    Ok(blocks)
}

fn decode(events: &[Event], blocks: &[(BlockRow, Vec<u8>)]) -> Result<()> {
    let end = Behind {
        id: EventId::FIRST.plus(events.len() as u64),
        prev_hash: events.last().map_or(EventHash::GENESIS, |event| event.hash),
    };
    let mut found = 0;
    for (at, (row, bytes)) in blocks.iter().enumerate() {
        let behind = blocks.get(at + 1).map_or(end, |(next, _)| Behind {
            id: next.first,
            prev_hash: next.prev_hash,
        });
        found += Block::decode(bytes, row, &behind)?.len();
    }
    ensure!(found == events.len(), "{found} of {} events", events.len());
    Ok(())
}

fn hash_all(events: &[Event]) -> Duration {
    let start = Instant::now();
    for event in events {
        black_box(EventHash::of(&event.body));
    }
    start.elapsed()
}

fn per_event(time: Duration) -> f64 {
    time.as_nanos() as f64 / EVENTS as f64
}

/// What the log and the sender's randomness give an event.
struct Stamps {
    number: u64,
    prev_hash: EventHash,
    received_at: Micros,
    random: [u64; 6],
}

fn chain(body: fn(&Stamps) -> String) -> Vec<Event> {
    let mut events: Vec<Event> = Vec::new();
    let mut state = 7_u64;
    for number in 1..=EVENTS {
        let random = [(); 6].map(|()| next(&mut state));
        // Groups of five, a few milliseconds apart.
        let before = events.last().map_or(START, |event| event.received_at);
        let later = if number % 5 == 0 { random[5] % 20_000 } else { 0 };
        let stamps = Stamps {
            number,
            prev_hash: events.last().map_or(EventHash::GENESIS, |event| event.hash),
            received_at: Micros(before.0.saturating_add_unsigned(later)),
            random,
        };
        let body = body(&stamps).into_bytes();
        events.push(Event {
            received_at: stamps.received_at,
            hash: EventHash::of(&body),
            body,
        });
    }
    events
}

/// SplitMix64: different text for each event, the same in each run.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

fn seed_shaped(stamps: &Stamps) -> String {
    let Stamps {
        number,
        prev_hash,
        received_at,
        random,
    } = stamps;
    format!(
        r#"{{"event_id":{number},"kind":"shadow_divergence_recorded","payload":{{"actor":"user-{:04}","ms":{},"ok":true,"request":"{:016x}","tool":"ledger.read"}},"prev_hash":"{prev_hash}","source":"procurement-api","timestamp":"{received_at}"}}"#,
        skewed(random[0], 10_000),
        random[1] % 997,
        random[2],
    )
}

fn v2(stamps: &Stamps) -> String {
    let Stamps {
        number,
        prev_hash,
        received_at,
        random,
    } = stamps;
    let millis = received_at.0.unsigned_abs() / 1_000 - random[0] % 4;
    let kinds = [
        "invoice.updated",
        "user.login",
        "document.viewed",
        "permission.granted",
    ];
    let kind = kinds.get((random[1] % 4) as usize).unwrap_or(&kinds[0]);
    format!(
        r#"{{"actor":{{"id":"user-{:06}","type":"user"}},"event_id":{number},"id":"{:08x}-{:04x}-7{:03x}-8{:03x}-{:012x}","kind":"{kind}","nonce":"{:016x}{:016x}","outcome":"success","prev_hash":"{prev_hash}","received_at":"{received_at}","request":{{"id":"{:08x}-{:04x}-4{:03x}-9{:03x}-{:012x}"}},"resource":{{"id":"inv_{:06}","type":"invoice"}},"source":"billing-api","tenant":"tenant-{:04}","timestamp":"{received_at}","v":2}}"#,
        skewed(random[0], 50_000),
        millis >> 16,
        millis & 0xffff,
        random[0] & 0xfff,
        random[0] >> 52,
        random[1] >> 16,
        random[2],
        random[3],
        random[4] >> 32,
        random[4] & 0xffff,
        random[4] >> 16 & 0xfff,
        random[5] >> 52,
        random[5] >> 4 & 0xffff_ffff_ffff,
        skewed(random[3], 500_000),
        skewed(random[4], 1_000),
    )
}

/// A number below `bound`; half of them are among its square root's first ones.
fn skewed(random: u64, bound: u64) -> u64 {
    if random & 1 == 0 {
        (random >> 1) % bound.isqrt()
    } else {
        (random >> 1) % bound
    }
}
