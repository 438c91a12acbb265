//! The table beside a naive one, and its snapshots.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// The table as a list that is searched from its end: no index, nothing hashed.
struct Naive {
    bounds: CellBounds,
    receipts: Vec<(LogId, CallerId, String, KnownReceipt)>,
    positions: Vec<(LogId, String, Sequence)>,
}

impl Naive {
    fn apply(&mut self, log: LogId, first_id: EventId, received_at: Micros, cell: &Cell) {
        match cell {
            Cell::Receipt {
                index,
                count,
                digest,
                caller,
                key,
            } => {
                let known = KnownReceipt {
                    first: EventId::new(first_id.get() + u64::from(*index)).unwrap(),
                    count: *count,
                    digest: *digest,
                    received_at,
                };
                self.receipts.push((log, *caller, key.to_string(), known));
            }
            Cell::Position { producer, sequence } => {
                let of = |row: &&mut (LogId, String, Sequence)| row.0 == log && *row.1 == **producer;
                match self.positions.iter_mut().find(of) {
                    Some(row) if row.2 < *sequence => row.2 = *sequence,
                    Some(_) => {}
                    None => self.positions.push((log, producer.to_string(), *sequence)),
                }
            }
        }
        while let Some((.., oldest)) = self.receipts.first() {
            let too_many = self.receipts.len() > self.bounds.receipts_max;
            let age = i128::from(received_at.0) - i128::from(oldest.received_at.0);
            if !too_many && age <= i128::from(self.bounds.receipt_age_max) {
                break;
            }
            self.receipts.remove(0);
        }
    }

    fn receipt(&self, log: LogId, caller: CallerId, key: &str) -> Option<&KnownReceipt> {
        let mut newest_first = self.receipts.iter().rev();
        newest_first
            .find(|row| row.0 == log && row.1 == caller && row.2 == key)
            .map(|(.., known)| known)
    }

    fn position(&self, log: LogId, producer: &str) -> Option<Sequence> {
        let row = self
            .positions
            .iter()
            .find(|row| row.0 == log && row.1 == producer)?;
        Some(row.2)
    }
}

const LOGS: [LogId; 3] = [LogId([1; 16]), LogId([2; 16]), LogId([3; 16])];
const CALLERS: [CallerId; 2] = [CallerId([0; 16]), CallerId([9; 16])];
const NAMES: [&str; 4] = ["a", "b", "ab", "key-0123456789"];

fn bounds() -> impl Strategy<Value = CellBounds> {
    (0_usize..8, 0_i64..30).prop_map(|(receipts_max, receipt_age_max)| CellBounds {
        receipts_max,
        receipt_age_max,
        producers_max: 4,
    })
}

type Step = (LogId, EventId, Micros, Cell);

fn step() -> impl Strategy<Value = Step> {
    let cell = prop_oneof![
        3 => (0_u32..4, 1_u32..4, any::<u8>(), 0_usize..2, 0_usize..4).prop_map(|(index, count, digest, caller, key)| {
            Cell::Receipt { index, count, digest: [digest; 32], caller: CALLERS[caller], key: NAMES[key].into() }
        }),
        1 => (0_usize..4, 0_u64..5, 0_u64..3).prop_map(|(name, major, minor)| {
            Cell::Position { producer: NAMES[name].into(), sequence: Sequence(major, minor) }
        }),
    ];
    // Receive times go back between logs, and now and then to the ends of what there is.
    let time = prop_oneof![20 => 0_i64..60, 1 => Just(i64::MIN), 1 => Just(i64::MAX)];
    (0_usize..3, 1_u64..1000, time, cell)
        .prop_map(|(log, first, time, cell)| (LOGS[log], EventId::new(first).unwrap(), Micros(time), cell))
}

fn assert_alike(table: &CellTable, naive: &Naive) {
    for log in LOGS {
        for name in NAMES {
            for caller in CALLERS {
                assert_eq!(
                    table.receipt(&ReceiptKey::new(log, caller, name)),
                    naive.receipt(log, caller, name)
                );
            }
            assert_eq!(table.position(log, name), naive.position(log, name));
        }
    }
    assert_eq!(table.producers(), naive.positions.len());
    assert_eq!(table.positions().count(), naive.positions.len());
    assert!(
        table
            .receipts()
            .map(|(_, known)| known)
            .eq(naive.receipts.iter().map(|(.., known)| known))
    );
}

proptest! {
    // Red when: `forget_before` removes a key although a later use of it is left, forgets what is exactly as old as allowed, or
    // `advance` lets a position go back.
    #[test]
    fn the_table_answers_as_a_naive_one(bounds in bounds(), steps in vec(step(), 0..60)) {
        let mut table = CellTable::new(bounds);
        let mut naive = Naive { bounds, receipts: Vec::new(), positions: Vec::new() };
        for (log, first, time, cell) in &steps {
            table.apply(*log, *first, *time, cell);
            naive.apply(*log, *first, *time, cell);
            assert_alike(&table, &naive);
        }
    }

    // Red when: `encode` writes the receipts in another order, or `remember` numbers from 0 instead of `gone`.
    #[test]
    fn a_snapshot_on_the_way_changes_nothing(bounds in bounds(), steps in vec(step(), 1..60), at in any::<prop::sample::Index>()) {
        let (before, after) = steps.split_at(at.index(steps.len()));
        let mut straight = CellTable::new(bounds);
        for (log, first, time, cell) in before {
            straight.apply(*log, *first, *time, cell);
        }
        let bytes = straight.encode();
        let mut restored = CellTable::decode(&bytes, bounds).unwrap();
        assert_eq!(restored, straight);
        assert_eq!(restored.encode(), bytes);
        for (log, first, time, cell) in after {
            straight.apply(*log, *first, *time, cell);
            restored.apply(*log, *first, *time, cell);
        }
        assert_eq!(restored, straight);
        assert_eq!(restored.encode(), straight.encode());
    }

    // Red when: `decode` does not compare the checksum.
    #[test]
    fn changed_bytes_are_refused(steps in vec(step(), 0..30), at in any::<prop::sample::Index>(), flip in 1_u8..=255) {
        let mut table = CellTable::new(CellBounds::default());
        for (log, first, time, cell) in &steps {
            table.apply(*log, *first, *time, cell);
        }
        let mut bytes = table.encode();
        let place = at.index(bytes.len());
        bytes[place] ^= flip;
        prop_assert!(CellTable::decode(&bytes, CellBounds::default()).is_err());
        bytes[place] ^= flip;
        prop_assert!(CellTable::decode(&bytes[..place], CellBounds::default()).is_err());
    }

    // Red when: `table` reserves for the counts before it has compared them with what is there, or a row is taken with
    // `unwrap`.
    #[test]
    fn whatever_the_bytes_are_decoding_ends_well(rows in vec(any::<u8>(), 0..400), receipts in 0_u32..4, positions in 0_u32..4) {
        let mut bytes = b"ANNCELL\x01".to_vec();
        bytes.extend_from_slice(&receipts.to_le_bytes());
        bytes.extend_from_slice(&positions.to_le_bytes());
        bytes.extend_from_slice(&rows);
        let checksum = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        if let Ok(table) = CellTable::decode(&bytes, CellBounds::default()) {
            prop_assert_eq!(table.positions().count(), table.producers());
        }
    }
}

// Red when: `table` in snapshot.rs does not refuse bytes behind the last row, or does not compare the counts with what is there.
#[test]
fn foreign_bytes_are_refused_by_what_they_are() {
    let bytes = CellTable::default().encode();
    let mut newer = bytes.clone();
    newer[7] = 2;
    let decode = |bytes: &[u8]| CellTable::decode(bytes, CellBounds::default());
    assert_eq!(decode(&newer), Err(SnapshotError::Newer { found: 2 }));
    assert!(matches!(
        decode(b"ANNHEAD\x01 and more"),
        Err(SnapshotError::Damaged(_))
    ));
    assert!(matches!(decode(b""), Err(SnapshotError::Damaged(_))));
    let mut counts = bytes;
    counts[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
    let end = counts.len() - 4;
    let checksum = crc32c::crc32c(&counts[..end]).to_le_bytes();
    counts[end..].copy_from_slice(&checksum);
    assert_eq!(decode(&counts), Err(SnapshotError::Damaged("rows are missing")));
    let mut longer = CellTable::default().encode();
    longer.truncate(longer.len() - 4);
    longer.push(0);
    let checksum = crc32c::crc32c(&longer).to_le_bytes();
    longer.extend_from_slice(&checksum);
    let behind = SnapshotError::Damaged("there are bytes behind its last row");
    assert_eq!(decode(&longer), Err(behind));
}

// These bytes are on disks: docs/format.md describes them. Red when: anything about the layout changes.
#[test]
fn the_snapshot_of_a_known_table() {
    let mut table = CellTable::new(CellBounds::default());
    let first = EventId::new(7).unwrap();
    let receipt = Cell::Receipt {
        index: 2,
        count: 3,
        digest: [0xdd; 32],
        caller: CallerId::default(),
        key: "order-1".into(),
    };
    let position = Cell::Position {
        producer: "till".into(),
        sequence: Sequence(5, 6),
    };
    table.apply(LOGS[0], first, Micros(1_000), &receipt);
    table.apply(LOGS[0], first, Micros(1_000), &position);
    let key = ReceiptKey::new(LOGS[0], CallerId::default(), "order-1");
    let mut expected = b"ANNCELL\x01".to_vec();
    expected.extend_from_slice(&[1, 0, 0, 0, 1, 0, 0, 0]);
    expected.extend_from_slice(&key.0);
    expected.extend_from_slice(&[9, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0]);
    expected.extend_from_slice(&[0xdd; 32]);
    expected.extend_from_slice(&[0xe8, 3, 0, 0, 0, 0, 0, 0]);
    expected.extend_from_slice(&[1; 16]);
    expected.extend_from_slice(b"\x04till\x05\0\0\0\0\0\0\0\x06\0\0\0\0\0\0\0");
    let bytes = table.encode();
    assert_eq!(&bytes[..bytes.len() - 4], expected);
}
