//! The codec against arbitrary bodies, arbitrary bytes, and every kind of damage to a segment's file.
#![allow(clippy::unwrap_used)]

use std::io;
use std::sync::Mutex;

use annals_core::chain::{EventId, Head, LogId, TreeSize};
use annals_core::hash::EventHash;
use annals_core::time::Micros;
use proptest::prelude::*;

use super::block::{
    BLOCK_BODIES_BYTES, BLOCK_EVENTS_MAX, Behind, Block, BlockEncoder, BlockFault, BlockRow, LEVEL,
};
use super::layout::{FOOTER_LEN, ROW_LEN, START_LEN};
use super::marks::StreamFault;
use super::reader::{PackedSegment, SegmentFault};
use super::writer::SegmentWriter;
use crate::cache::{BlockCache, CacheBounds};
use crate::disk::{Disk, DiskFile, RealDisk};

const LOG: LogId = LogId([7; 16]);
const TIME: i64 = 1_778_814_855_123_456;

/// A body with its place in a chain.
#[derive(Debug, Clone)]
struct Event {
    id: EventId,
    prev_hash: EventHash,
    hash: EventHash,
    received_at: Micros,
    body: Vec<u8>,
}

/// Chains bodies that are made of what is known of each event.
fn chained(
    first: u64,
    makers: impl IntoIterator<Item = (i64, impl FnOnce(&str, &str, &str) -> Vec<u8>)>,
) -> Vec<Event> {
    let mut prev_hash = EventHash([0xab; 32]);
    let mut events = Vec::new();
    for (id, (received_at, make)) in (first..).zip(makers) {
        let received_at = Micros(received_at);
        let body = make(&id.to_string(), &prev_hash.to_string(), &received_at.to_string());
        let hash = EventHash::of(&body);
        events.push(Event {
            id: EventId::new(id).unwrap(),
            prev_hash,
            hash,
            received_at,
            body,
        });
        prev_hash = hash;
    }
    events
}

/// Events like real ones, about 450 bytes each, no two alike.
fn usual(first: u64, count: u64) -> Vec<Event> {
    let makers = (first..first + count).map(|number| {
        let mixed = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let make = move |id: &str, prev: &str, stamp: &str| {
            format!(
                r#"{{"actor":{{"id":"user-{:04}","type":"user"}},"event_id":{id},"id":"019e2b3c-{:04x}-7{:03x}-8abc-{:012x}","kind":"invoice.updated","nonce":"{mixed:016x}{:016x}","outcome":"success","payload":{{"amount":{}}},"prev_hash":"{prev}","received_at":"{stamp}","request":{{"id":"{:08x}-1234-4567-89ab-{:012x}"}},"source":"billing-api","tenant":"tenant-{:03}","timestamp":"{stamp}","v":2}}"#,
                mixed >> 50,
                number % 7,
                mixed & 0xfff,
                mixed >> 16,
                !mixed,
                mixed % 997,
                mixed >> 32,
                mixed >> 16,
                mixed >> 57,
            )
            .into_bytes()
        };
        (TIME + i64::try_from(number / 3 * 1_500).unwrap(), make)
    });
    chained(first, makers)
}

fn encode(events: &[Event]) -> (BlockRow, Vec<u8>) {
    let mut encoder = BlockEncoder::new(BLOCK_BODIES_BYTES, LEVEL).unwrap();
    encode_with(&mut encoder, events)
}

fn encode_with(encoder: &mut BlockEncoder, events: &[Event]) -> (BlockRow, Vec<u8>) {
    for event in events {
        encoder.push(event.id, &event.prev_hash, event.received_at, &event.body);
    }
    let (row, bytes) = encoder.finish(64).unwrap().unwrap();
    (row, bytes.to_vec())
}

fn behind(events: &[Event]) -> Behind {
    let last = events.last().unwrap();
    Behind {
        id: last.id.plus(1),
        prev_hash: last.hash,
    }
}

/// Encodes, decodes and compares.
fn check_round(events: &[Event]) -> (BlockRow, Vec<u8>) {
    let (row, bytes) = encode(events);
    let block = Block::decode(&bytes, &row, &behind(events)).unwrap();
    assert_eq!(block.len(), events.len());
    for (found, event) in block.events_from(0).zip(events) {
        assert_eq!(found, (&event.body[..], event.hash, event.received_at));
    }
    for skip in [1, events.len() - 1, events.len(), events.len() + 1] {
        let rest = block.events_from(skip).map(|(body, ..)| body);
        assert!(rest.eq(events.iter().skip(skip).map(|event| &event.body[..])));
    }
    (row, bytes)
}

/// One piece of a body: what the marks stand for, what looks nearly like it, and anything else.
#[derive(Debug, Clone)]
enum Part {
    Bytes(Vec<u8>),
    Text(String),
    IdMember,
    PrevHash,
    Stamp,
    OtherStamp(i64),
    Uuid([u8; 16], bool),
    Hex(Vec<u8>, bool),
}

fn part() -> impl Strategy<Value = Part> {
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..20).prop_map(Part::Bytes),
        proptest::collection::vec(0_u8..0x20, 0..4).prop_map(Part::Bytes),
        "[ -~]{0,40}".prop_map(Part::Text),
        "[0-9a-f-]{0,80}".prop_map(Part::Text),
        Just(Part::IdMember),
        Just(Part::PrevHash),
        Just(Part::Stamp),
        any::<i64>().prop_map(Part::OtherStamp),
        (any::<[u8; 16]>(), any::<bool>()).prop_map(|(bytes, seven)| Part::Uuid(bytes, seven)),
        (proptest::collection::vec(any::<u8>(), 0..600), any::<bool>())
            .prop_map(|(bytes, odd)| Part::Hex(bytes, odd)),
    ]
}

impl Part {
    fn push(&self, out: &mut Vec<u8>, id: &str, prev: &str, stamp: &str) {
        match self {
            Self::Bytes(bytes) => out.extend_from_slice(bytes),
            Self::Text(text) => out.extend_from_slice(text.as_bytes()),
            Self::IdMember => out.extend_from_slice(format!("\"event_id\":{id},").as_bytes()),
            Self::PrevHash => out.extend_from_slice(prev.as_bytes()),
            Self::Stamp => out.extend_from_slice(stamp.as_bytes()),
            Self::OtherStamp(micros) => out.extend_from_slice(Micros(*micros).to_string().as_bytes()),
            Self::Uuid(bytes, seven) => {
                let mut bytes = *bytes;
                if *seven {
                    bytes[6] = 0x70 | bytes[6] & 0x0f;
                }
                out.extend_from_slice(LogId(bytes).to_string().as_bytes());
            }
            Self::Hex(bytes, odd) => {
                out.extend(bytes.iter().flat_map(|byte| format!("{byte:02x}").into_bytes()));
                if *odd {
                    out.push(b'e');
                }
            }
        }
    }
}

fn any_events() -> impl Strategy<Value = Vec<Event>> {
    let body = proptest::collection::vec(part(), 0..8);
    let time = prop_oneof![Just(TIME), Just(TIME + 1), any::<i64>()];
    let first = prop_oneof![1_u64..200, Just(u64::MAX / 2), Just(1_234_567_890_123_456_789)];
    (first, proptest::collection::vec((time, body), 1..20)).prop_map(|(first, bodies)| {
        let makers = bodies.into_iter().map(|(time, parts)| {
            let make = move |id: &str, prev: &str, stamp: &str| {
                let mut body = Vec::new();
                parts
                    .iter()
                    .for_each(|part| part.push(&mut body, id, prev, stamp));
                body
            };
            (time, make)
        });
        chained(first, makers)
    })
}

proptest! {
    /// Any bodies whatever come back byte for byte, and the same ones make the same bytes.
    ///
    /// Red when: `Class::Control` in `CLASSES` is only 0x00..0x0a; `stand_in` takes two hex digits too few; `finish` does not clear
    /// the streams.
    #[test]
    fn any_bodies_go_round(events in any_events()) {
        let (row, bytes) = check_round(&events);
        let mut used = BlockEncoder::new(BLOCK_BODIES_BYTES, LEVEL).unwrap();
        encode_with(&mut used, &usual(1, 3));
        prop_assert_eq!(encode_with(&mut used, &events), (row, bytes));
    }

    /// A block that was changed, and whose checksum was made right again, gives an error or the very same events.
    ///
    /// Red when: `expand` does not compare the last hash with `behind`.
    #[test]
    fn a_forged_block_never_gives_other_events(
        at in any::<prop::sample::Index>(), xor in 1_u8..=255, cut in any::<bool>(),
    ) {
        let events = usual(1, 40);
        let (mut row, mut bytes) = encode(&events);
        let at = at.index(bytes.len());
        if cut { bytes.truncate(at) } else { bytes[at] ^= xor }
        row.crc = crc32c::crc32c(&bytes);
        row.len = u32::try_from(bytes.len()).unwrap();
        if let Ok(block) = Block::decode(&bytes, &row, &behind(&events)) {
            prop_assert!(block.events_from(0).map(|(body, ..)| body).eq(events.iter().map(|event| &event.body[..])));
        }
    }

    /// Bytes that nobody wrote are no block, whatever the row says.
    #[test]
    fn arbitrary_bytes_are_no_block(
        lens in proptest::array::uniform7(prop_oneof![0_u32..80, any::<u32>()]),
        payload in proptest::collection::vec(any::<u8>(), 0..300),
        bodies_len in prop_oneof![0_u32..500, any::<u32>()],
        count in 1_u64..10,
    ) {
        let mut bytes: Vec<u8> = lens.iter().flat_map(|len| len.to_le_bytes()).collect();
        bytes.extend_from_slice(&payload);
        let row = BlockRow {
            first: EventId::FIRST,
            received_at: Micros(i64::MAX),
            prev_hash: EventHash::GENESIS,
            offset: 64,
            len: u32::try_from(bytes.len()).unwrap(),
            bodies_len,
            crc: crc32c::crc32c(&bytes),
        };
        let behind = Behind { id: EventId::FIRST.plus(count), prev_hash: EventHash::GENESIS };
        prop_assert!(Block::decode(&bytes, &row, &behind).is_err());
    }
}

/// What makes an event long is not stored.
#[test]
fn a_usual_event_takes_little_room() {
    let events = usual(1, 60);
    let (row, bytes) = check_round(&events);
    assert!(row.bodies_len as usize / events.len() > 420);
    // 42 bytes of each are random: nonce, request id, and the tail of the event's id.
    let each = bytes.len() / events.len();
    assert!((42..80).contains(&each), "{each} bytes an event");
}

/// The bytes that docs/format.md describes, put together by hand: they decode, and the encoder makes the same streams.
///
/// Red when: `Piece::at` knows no `Id`, `PrevHash` or `ReceivedAt`; `uuid` is always `None`; `HEX_DIGITS_MIN` is 17.
#[test]
fn a_known_block_stays_readable() {
    let events = chained(
        1_000,
        [0, 1_500].map(|later| {
            (TIME + later, move |id: &str, prev: &str, stamp: &str| {
                format!(
                    r#"{{"event_id":{id},"id":"019e2b3c-0000-7abc-8abc-0123456789ab","nonce":"0011223344556677","prev_hash":"{prev}","run":"f81d4fae-7dec-41d0-a765-00a0c91e6bf6","timestamp":"{stamp}"}}"#
                )
                .into_bytes()
            })
        }),
    );
    let text = b"{\"event_id\":\x01,\"id\":\"\x04\",\"nonce\":\"\x06\x08\",\"prev_hash\":\"\x02\",\"run\":\"\x05\",\"timestamp\":\"\x03\"}\n"
        .repeat(2);
    // One event at the first receive time, one 1,500 µs later; then how far the ids' times are from the receive times.
    let mut numbers = vec![1, 0, 1, 0xb8, 0x17];
    let distance = 0x019e_2b3c_0000_i64 - TIME / 1_000;
    super::marks::push_signed(&mut numbers, distance);
    super::marks::push_signed(&mut numbers, distance - 1);
    let raw = b"\x7a\xbc\x8a\xbc\x01\x23\x45\x67\x89\xab\x00\x11\x22\x33\x44\x55\x66\x77\xf8\x1d\x4f\xae\x7d\xec\x41\xd0\xa7\x65\x00\xa0\xc9\x1e\x6b\xf6".repeat(2);
    let mut bytes = 2_u32.to_le_bytes().to_vec();
    for len in [text.len(), numbers.len(), raw.len()] {
        bytes.extend([u32::try_from(len).unwrap().to_le_bytes(); 2].concat());
    }
    bytes.extend([text.clone(), numbers.clone(), raw.clone()].concat());
    let (encoded_row, encoded) = encode(&events);
    let row = BlockRow {
        crc: crc32c::crc32c(&bytes),
        len: u32::try_from(bytes.len()).unwrap(),
        ..encoded_row
    };
    let block = Block::decode(&bytes, &row, &behind(&events)).unwrap();
    let bodies = block.events_from(0).map(|(body, ..)| body);
    assert!(bodies.eq(events.iter().map(|event| &event.body[..])));
    for (at, len) in [(4, text.len()), (12, numbers.len()), (20, raw.len())] {
        assert_eq!(encoded[at..at + 4], u32::try_from(len).unwrap().to_le_bytes());
    }
}

#[test]
fn odd_sizes_go_round() {
    let text =
        |len: usize| move |_: &str, prev: &str, _: &str| [prev.as_bytes(), &b"x7 ".repeat(len)].concat();
    let empty = |_: &str, _: &str, _: &str| Vec::new();
    check_round(&chained(1, [(TIME, text(2_000_000))]));
    check_round(&chained(1, [(TIME, empty)]));
    check_round(&chained(5, (0..BLOCK_EVENTS_MAX).map(|_| (TIME, empty))));
    check_round(&chained(u64::MAX - 4, [(i64::MIN, text(1)), (i64::MAX, text(2))]));
}

/// A few bytes can not make a decoder take memory without bound, or give more than the row says.
///
/// Red when: `next_into` does not look at `end_max`.
#[test]
fn a_block_that_says_too_little_is_refused() {
    let events = usual(1, 10);
    let (row, bytes) = encode(&events);
    for bodies_len in [0, 10, row.bodies_len - 1, row.bodies_len + 1, u32::MAX] {
        let row = BlockRow { bodies_len, ..row };
        assert!(
            Block::decode(&bytes, &row, &behind(&events)).is_err(),
            "{bodies_len}"
        );
    }
    let less = BlockRow {
        bodies_len: row.bodies_len - 1,
        ..row
    };
    assert!(matches!(
        Block::decode(&bytes, &less, &behind(&events)),
        Err(BlockFault::Streams(StreamFault::Bound))
    ));
    let mut other = behind(&events);
    other.id = other.id.plus(1);
    assert!(matches!(
        Block::decode(&bytes, &row, &other),
        Err(BlockFault::Lengths)
    ));
}

/// A file in memory.
struct Memory(Mutex<Vec<u8>>);

impl Memory {
    fn new(bytes: Vec<u8>) -> Self {
        Self(Mutex::new(bytes))
    }

    fn flip(&self, at: usize) {
        self.0.lock().unwrap()[at] ^= 0x10;
    }
}

impl DiskFile for Memory {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let bytes = self.0.lock().unwrap();
        let rest = bytes.get(usize::try_from(offset).unwrap()..).unwrap_or_default();
        let len = rest.len().min(buf.len());
        buf[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }

    fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().len() as u64)
    }
}

fn head_before(events: &[Event]) -> Head {
    Head {
        size: TreeSize(events[0].id.get() - 1),
        hash: events[0].prev_hash,
        received_at: Micros(0),
    }
}

/// Writes a segment and reads it back.
fn segment(events: &[Event]) -> Memory {
    let dir = tempfile::tempdir().unwrap();
    let disk = RealDisk::new(dir.path());
    let mut writer = SegmentWriter::create(&disk, "x", LOG, &head_before(events)).unwrap();
    for event in events {
        writer.event(&event.body, event.hash, event.received_at).unwrap();
    }
    let written = writer.finish(77).unwrap();
    written.read_back(&*disk.open_read("x").unwrap()).unwrap();
    let footer = written.footer();
    assert_eq!(
        footer.bodies_bytes,
        events.iter().map(|event| event.body.len() as u64).sum::<u64>()
    );
    assert_eq!(footer.last_frame, 77);
    Memory::new(std::fs::read(dir.path().join("x")).unwrap())
}

fn cache() -> BlockCache {
    BlockCache::new(&CacheBounds::default())
}

/// Everything that is read of a segment, or the first fault.
fn read_all(file: &Memory, events: &[Event]) -> Result<(), SegmentFault> {
    let segment = PackedSegment::open(file, LOG, events[0].id)?;
    let cache = cache();
    let mut at = 0;
    while at < events.len() {
        let run = segment.read(file, &cache, events[at].id, 10_000)?;
        for (found, event) in run.iter().zip(&events[at..]) {
            assert_eq!((found.id, found.body), (event.id, &event.body[..]));
            assert_eq!((found.hash, found.received_at), (event.hash, event.received_at));
        }
        at += run.len();
    }
    Ok(())
}

/// Red when: `locate` halves with `<` instead of `<=`; `read` passes `bytes_max` by.
#[test]
fn a_segment_gives_its_events_from_anywhere() {
    let events = usual(1_000, 700);
    let file = segment(&events);
    read_all(&file, &events).unwrap();
    let segment = PackedSegment::open(&file, LOG, events[0].id).unwrap();
    assert!(segment.footer().blocks > 8, "{} blocks", segment.footer().blocks);
    let cache = cache();
    for (at, event) in events.iter().enumerate() {
        for bytes_max in [0, 1_000, 100_000, 2_000_000] {
            let run = segment.read(&file, &cache, event.id, bytes_max).unwrap();
            let bytes: usize = run.iter().map(|event| event.body.len()).sum();
            assert!(run.len() == 1 || bytes <= bytes_max);
            let whole = at + run.len() == events.len();
            assert!(
                whole || run.len() == 1 || bytes + 600 > bytes_max,
                "{bytes} of {bytes_max}"
            );
            assert!(
                run.iter()
                    .map(|event| event.id)
                    .eq(events[at..].iter().take(run.len()).map(|event| event.id))
            );
        }
    }
}

/// Whatever byte of a segment is changed, something does not read; the fault names an event at or before the first that is lost.
///
/// Red when: `decode_row` does not look at its checksum; `PackedFooter::decode` does not; `open` does not compare
/// the start; `Block::decode` does not look at its own.
#[test]
fn every_damaged_byte_is_found() {
    let events = usual(1, 200);
    let file = segment(&events);
    let len = file.size().unwrap();
    let segment = PackedSegment::open(&file, LOG, EventId::FIRST).unwrap();
    let blocks = START_LEN..usize::try_from(segment.footer().table_offset).unwrap();
    let len = usize::try_from(len).unwrap();
    for at in (0..blocks.start)
        .chain(blocks.clone().step_by(11))
        .chain(blocks.end..len)
    {
        file.flip(at);
        assert!(read_all(&file, &events).is_err(), "byte {at} of {len}");
        file.flip(at);
    }
    for cut in [0, 10, START_LEN + FOOTER_LEN - 1, len / 2, len - 1] {
        let cut = Memory::new(file.0.lock().unwrap()[..cut].to_vec());
        assert!(read_all(&cut, &events).is_err());
    }
    read_all(&file, &events).unwrap();
}

/// Damage to a row hides the two blocks that it is about; damage to a block hides that one.
///
/// Red when: `locate` does not fall back to `partition_around_damage`.
#[test]
fn damage_hides_no_more_than_it_must() {
    let events = usual(1, 700);
    let file = segment(&events);
    let segment = PackedSegment::open(&file, LOG, EventId::FIRST).unwrap();
    let rows = segment.footer().blocks;
    let firsts: Vec<u64> = (0..rows)
        .map(|at| {
            let offset = usize::try_from(segment.footer().row_offset(at)).unwrap();
            u64::from_le_bytes(file.0.lock().unwrap()[offset..offset + 8].try_into().unwrap())
        })
        .collect();
    for damaged in 0..rows {
        let at = usize::try_from(segment.footer().row_offset(damaged)).unwrap() + ROW_LEN - 1;
        file.flip(at);
        let damaged = damaged as usize;
        let from = firsts[damaged.saturating_sub(1)];
        let until = firsts.get(damaged + 1).copied().unwrap_or(701);
        for event in &events {
            let read = segment.read(&file, &cache(), event.id, 0);
            match (from..until).contains(&event.id.get()) {
                true => assert!(
                    matches!(read, Err(SegmentFault::Damaged { event, .. }) if event.get() == from),
                    "event {} with row {damaged} damaged",
                    event.id
                ),
                false => assert_eq!(read.unwrap().len(), 1),
            }
        }
        file.flip(at);
    }
}

/// What is read before damage is given, and the damage when it is reached.
#[test]
fn events_before_a_damaged_block_are_given() {
    let events = usual(1, 700);
    let file = segment(&events);
    let segment = PackedSegment::open(&file, LOG, EventId::FIRST).unwrap();
    let mut blocks = segment.blocks(&file);
    blocks.next().unwrap();
    let second = *blocks.next().unwrap().unwrap().row();
    file.flip(usize::try_from(second.offset).unwrap() + 40);
    let run = segment.read(&file, &cache(), EventId::FIRST, usize::MAX).unwrap();
    assert_eq!(run.next_id(), second.first);
    let fault = segment
        .read(&file, &cache(), second.first.plus(3), usize::MAX)
        .unwrap_err();
    assert!(
        matches!(fault, SegmentFault::Damaged { event, offset, .. } if event == second.first && offset == second.offset)
    );
}

/// Segments that are joined hold the same events, and their small blocks have become larger ones.
///
/// Red when: `block` always copies; `block` does not go on to the head behind a copied one.
#[test]
fn joined_blocks_are_filled() {
    let events = usual(1, 900);
    let sizes = [1, 2, 200, 3, 5, 90, 400, 1, 198];
    let dir = tempfile::tempdir().unwrap();
    let disk = RealDisk::new(dir.path());
    let mut writer = SegmentWriter::create(&disk, "joined", LOG, &head_before(&events)).unwrap();
    let mut from = 0;
    let mut parts = Vec::new();
    for size in sizes {
        parts.push(segment(&events[from..from + size]));
        let part = PackedSegment::open(&parts[parts.len() - 1], LOG, events[from].id).unwrap();
        let mut blocks = part.blocks(&parts[parts.len() - 1]);
        while let Some(read) = blocks.next().unwrap() {
            writer.block(&read).unwrap();
        }
        from += size;
    }
    assert_eq!(from, events.len());
    let written = writer.finish(9).unwrap();
    let file = disk.open_read("joined").unwrap();
    written.read_back(&*file).unwrap();
    let joined = PackedSegment::open(&*file, LOG, EventId::FIRST).unwrap();
    let mut blocks = joined.blocks(&*file);
    let (mut bodies, mut lens) = (Vec::new(), Vec::new());
    while let Some(read) = blocks.next().unwrap() {
        bodies.extend(
            read.decode()
                .unwrap()
                .events_from(0)
                .map(|(body, ..)| body.to_vec()),
        );
        lens.push(read.row().bodies_len as usize);
    }
    assert!(bodies.iter().eq(events.iter().map(|event| &event.body)));
    assert!(
        lens.windows(2)
            .all(|pair| pair[0] + pair[1] > BLOCK_BODIES_BYTES - 600),
        "{lens:?}"
    );
}

/// A body that does not have the hash that was told, and a byte that the disk changed: neither is taken for packed.
///
/// Red when: `read_back` decodes only blocks that were copied; `Blocks` does not look at a block's checksum.
#[test]
fn what_reads_otherwise_than_it_was_written_is_found() {
    let events = usual(1, 200);
    let dir = tempfile::tempdir().unwrap();
    let disk = RealDisk::new(dir.path());
    let mut writer = SegmentWriter::create(&disk, "x", LOG, &head_before(&events)).unwrap();
    for event in &events {
        let mut body = event.body.clone();
        if event.id.get() == 150 {
            body[30] ^= 1;
        }
        writer.event(&body, event.hash, event.received_at).unwrap();
    }
    let written = writer.finish(1).unwrap();
    let fault = written.read_back(&*disk.open_read("x").unwrap()).unwrap_err();
    assert!(matches!(fault, SegmentFault::Damaged { event, .. } if event.get() > 60 && event.get() <= 150));

    let file = segment(&events);
    let source = PackedSegment::open(&file, LOG, EventId::FIRST).unwrap();
    let mut writer = SegmentWriter::create(&disk, "y", LOG, &head_before(&events)).unwrap();
    let mut blocks = source.blocks(&file);
    while let Some(stored) = blocks.next().unwrap() {
        writer.block(&stored).unwrap();
    }
    let written = writer.finish(1).unwrap();
    let good = std::fs::read(dir.path().join("y")).unwrap();
    written.read_back(&Memory::new(good.clone())).unwrap();
    for at in (0..good.len()).step_by(97) {
        let changed = Memory::new(good.clone());
        changed.flip(at);
        assert!(written.read_back(&changed).is_err(), "byte {at}");
    }
}
