//! The cells that are remembered: what the sequencer decides retries by, and what an engine keeps a snapshot of.
//!
//! Invariants:
//! - The table follows from the cells and the order in which they were applied, and from nothing else: no clock, no chance.
//!   Whoever applies the same cells in the same order, from a snapshot of the table or from nothing, has the same table.
//! - Receipts go in the order in which they came, whatever their log. A key that is used again takes a place of its own; it
//!   answers with its last use.
//! - One log whose receive times are far ahead (its clock was) makes the receipts of the others old once, not for good: ages
//!   are counted from the cell at hand, and a receipt stays while one that came before it does.
//! - Positions never go back and are never forgotten. Who takes a new producer asks [`CellTable::producers`] before.

use std::collections::{BTreeMap, HashMap, VecDeque};

use annals_core::chain::{EventId, LogId};
use annals_core::time::Micros;

use super::{Cell, CellBounds, KnownReceipt, ReceiptKey, Sequence};

/// What is remembered of all logs of an engine. A receipt takes about 110 bytes, whatever its key.
#[derive(Debug, Clone)]
pub struct CellTable {
    bounds: CellBounds,
    /// Oldest first.
    pub(super) receipts: VecDeque<(ReceiptKey, KnownReceipt)>,
    /// Receipts that went: the number of the oldest that is left.
    gone: u64,
    /// Number of a key's last use.
    last_use: HashMap<ReceiptKey, u64>,
    pub(super) positions: BTreeMap<LogId, BTreeMap<Box<str>, Sequence>>,
    pub(super) producers: usize,
}

impl CellTable {
    /// A table that knows nothing.
    #[must_use]
    pub fn new(bounds: CellBounds) -> Self {
        Self {
            bounds,
            receipts: VecDeque::new(),
            gone: 0,
            last_use: HashMap::new(),
            positions: BTreeMap::new(),
            producers: 0,
        }
    }

    /// How much is remembered.
    #[must_use]
    pub fn bounds(&self) -> &CellBounds {
        &self.bounds
    }

    /// Takes in a cell that is durable: of a batch of `log` whose first event is `first_id`.
    pub fn apply(&mut self, log: LogId, first_id: EventId, received_at: Micros, cell: &Cell) {
        match cell {
            Cell::Receipt {
                index,
                count,
                digest,
                caller,
                key,
            } => {
                let known = KnownReceipt {
                    first: first_id.plus(u64::from(*index)),
                    count: *count,
                    digest: *digest,
                    received_at,
                };
                self.remember(ReceiptKey::new(log, *caller, key), known);
            }
            Cell::Position { producer, sequence } => self.advance(log, producer, *sequence),
        }
        self.forget_before(Micros(received_at.0.saturating_sub(self.bounds.receipt_age_max)));
    }

    /// What is known of a key.
    #[must_use]
    pub fn receipt(&self, key: &ReceiptKey) -> Option<&KnownReceipt> {
        let number = self.last_use.get(key)?.checked_sub(self.gone)?;
        let place = usize::try_from(number).ok()?;
        self.receipts.get(place).map(|(_, known)| known)
    }

    /// How far a producer has come in a log; `None` for one that is not known.
    #[must_use]
    pub fn position(&self, log: LogId, producer: &str) -> Option<Sequence> {
        self.positions.get(&log)?.get(producer).copied()
    }

    /// How many producers are known, over all logs.
    #[must_use]
    pub fn producers(&self) -> usize {
        self.producers
    }

    /// All receipts, oldest first.
    pub fn receipts(&self) -> impl ExactSizeIterator<Item = (ReceiptKey, &KnownReceipt)> {
        self.receipts.iter().map(|(key, known)| (*key, known))
    }

    /// All positions, by log and name.
    pub fn positions(&self) -> impl Iterator<Item = (LogId, &str, Sequence)> {
        self.positions.iter().flat_map(|(log, producers)| {
            let of_log = producers.iter();
            of_log.map(|(producer, sequence)| (*log, &**producer, *sequence))
        })
    }

    pub(super) fn remember(&mut self, key: ReceiptKey, known: KnownReceipt) {
        let number = self.gone + self.receipts.len() as u64;
        self.receipts.push_back((key, known));
        self.last_use.insert(key, number);
    }

    pub(super) fn advance(&mut self, log: LogId, producer: &str, sequence: Sequence) {
        let of_log = self.positions.entry(log).or_default();
        if let Some(position) = of_log.get_mut(producer) {
            *position = sequence.max(*position);
        } else {
            of_log.insert(producer.into(), sequence);
            self.producers += 1;
        }
    }

    /// Lets go of the receipts that came first, until there are no more than the bounds allow and the first of them is not
    /// older than `oldest_kept`.
    pub(super) fn forget_before(&mut self, oldest_kept: Micros) {
        while let Some((key, known)) = self.receipts.front() {
            if self.receipts.len() <= self.bounds.receipts_max && known.received_at >= oldest_kept {
                return;
            }
            // A later use of the same key stays.
            if self.last_use.get(key) == Some(&self.gone) {
                self.last_use.remove(key);
            }
            self.receipts.pop_front();
            self.gone += 1;
        }
    }
}

impl Default for CellTable {
    fn default() -> Self {
        Self::new(CellBounds::default())
    }
}

/// Equal when they answer alike, now and after whatever comes.
impl PartialEq for CellTable {
    fn eq(&self, other: &Self) -> bool {
        self.bounds == other.bounds && self.receipts == other.receipts && self.positions == other.positions
    }
}

impl Eq for CellTable {}
