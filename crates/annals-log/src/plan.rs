//! What becomes of a request that is recognised by something: new, seen before, or neither.
//!
//! Invariants:
//! - A decision follows from the durable cells and from what the group at hand adds before it, and from nothing else.
//! - A decision that rests on what the group adds is told only when the group is durable, and fails with it.
//! - A request that is refused adds nothing: what comes behind it in the group is decided as if it had not been there.

use std::collections::HashMap;

use annals_core::canonical::CanonicalBatch;
use annals_core::chain::{EventId, Head, LogId};
use annals_core::time::Micros;
use annals_store::{CallerId, Cell, CellTable, KnownReceipt, ReceiptKey, Sequence};

use crate::error::OnceError;
use crate::receipt::{Appended, Item, Items, Receipt};
use crate::request::Request;
use crate::retry::{ItemKey, Producer, Retry, RetryKey};

/// What goes with the group for one request.
#[derive(Debug)]
pub(crate) struct Plan {
    take: Take,
    outcome: Result<Told, OnceError>,
}

#[derive(Debug)]
enum Take {
    All,
    Some(CanonicalBatch),
    Nothing,
}

/// What the caller will be told beside the events that are new.
#[derive(Debug)]
struct Told {
    items: Items,
    duplicate_through: Option<Sequence>,
}

impl Plan {
    pub(crate) fn to_seal<'a>(&'a self, batch: &'a CanonicalBatch) -> Option<&'a CanonicalBatch> {
        match &self.take {
            Take::All => Some(batch),
            Take::Some(chosen) => Some(chosen),
            Take::Nothing => None,
        }
    }

    pub(crate) fn answer(self, fresh: Option<Receipt>) -> Result<Appended, OnceError> {
        let told = self.outcome?;
        Ok(Appended::new(fresh, told.items, told.duplicate_through))
    }
}

/// Decides about one log's requests of a group, in order.
pub(crate) struct Planner<'a> {
    table: &'a CellTable,
    log: LogId,
    /// The id that the log's next event gets.
    first: EventId,
    received_at: Micros,
    /// Events that go into the batch so far.
    events: usize,
    /// What the group adds to the table for this log.
    receipts: HashMap<ReceiptKey, KnownReceipt>,
    positions: HashMap<Box<str>, Sequence>,
    /// Producers that the group adds, over all logs.
    new_producers: usize,
    cells: Vec<Cell>,
}

struct Decision {
    plan: Plan,
    /// Whether it rests on what the group adds.
    waits: bool,
}

impl<'a> Planner<'a> {
    /// For a batch after `head` that is sealed at `now`.
    pub(crate) fn new(
        table: &'a CellTable,
        log: LogId,
        head: &Head,
        now: Micros,
        new_producers: usize,
    ) -> Self {
        Self {
            table,
            log,
            first: head.size.next(),
            received_at: now.max(head.received_at),
            events: 0,
            receipts: HashMap::new(),
            positions: HashMap::new(),
            new_producers,
            cells: Vec::new(),
        }
    }

    /// What becomes of a request: it goes with the group, its plan set; or it is answered already, `None`.
    pub(crate) fn plan(&mut self, mut request: Request) -> Option<Request> {
        if let Some(retry) = &request.retry {
            let Decision { plan, waits } = self.decide(&request.batch, retry);
            let at_once = !waits && matches!(plan.take, Take::Nothing);
            request.plan = Some(Box::new(plan));
            if at_once {
                request.waited();
                return None;
            }
        }
        self.events += request.to_seal().map_or(0, CanonicalBatch::len);
        Some(request)
    }

    /// Events that go into the batch.
    pub(crate) fn events(&self) -> usize {
        self.events
    }

    /// The batch's cells, and how many producers the group adds so far.
    pub(crate) fn finish(self) -> (Vec<Cell>, usize) {
        (self.cells, self.new_producers)
    }

    fn decide(&mut self, batch: &CanonicalBatch, retry: &Retry) -> Decision {
        let keys_max = self.table.bounds().receipts_max;
        let keys = retry.receipts();
        if keys > keys_max {
            return Decision::refused(OnceError::TooManyKeys { keys, keys_max }, false);
        }
        match retry {
            Retry::Keyed { caller, key, digest } => self.keyed(batch, *caller, key, digest),
            Retry::Items { caller, keys } => self.items(batch, *caller, keys),
            Retry::Range {
                producer,
                first,
                last,
            } => self.range(batch, producer, *first, *last),
            Retry::Sequences { producer, sequences } => self.sequences(batch, producer, sequences),
        }
    }

    fn keyed(
        &mut self,
        batch: &CanonicalBatch,
        caller: CallerId,
        key: &RetryKey,
        digest: &[u8; 32],
    ) -> Decision {
        let place = ReceiptKey::new(self.log, caller, key.as_str());
        match self.known(&place) {
            None => {
                self.add_receipt(place, self.events, batch.len(), caller, key, digest);
                Decision::new(Take::All, Items::Fresh, None)
            }
            Some((known, waits)) if known.digest == *digest => {
                let items = Items::Replayed {
                    first: known.first,
                    count: known.count,
                };
                Decision::seen(items, None, waits)
            }
            Some((_, waits)) => Decision::refused(OnceError::KeyReused { item: None }, waits),
        }
    }

    fn items(&mut self, batch: &CanonicalBatch, caller: CallerId, keys: &[ItemKey]) -> Decision {
        let mut added = Vec::new();
        let mut fresh = Vec::with_capacity(batch.len());
        let mut items = Vec::with_capacity(batch.len());
        let mut waits = false;
        let mut keys = keys.iter().peekable();
        for index in 0..batch.len() {
            if let Some(ItemKey { item, key, digest }) = keys.next_if(|key| key.item as usize == index) {
                let place = ReceiptKey::new(self.log, caller, key.as_str());
                match self.known(&place) {
                    None => {
                        self.add_receipt(place, self.events + fresh.len(), 1, caller, key, digest);
                        added.push(place);
                    }
                    Some((known, rests_on_group)) if known.digest == *digest => {
                        waits |= rests_on_group;
                        items.push(Item::Replayed(known.first));
                        continue;
                    }
                    Some((_, rests_on_group)) => {
                        // A key that is twice in the request is the caller's mistake, whatever becomes of the group.
                        let waits = rests_on_group && !added.contains(&place);
                        self.take_back(&added);
                        return Decision::refused(OnceError::KeyReused { item: Some(*item) }, waits);
                    }
                }
            }
            items.push(Item::Sealed(self.first.plus((self.events + fresh.len()) as u64)));
            fresh.push(index);
        }
        Decision::of(batch, &fresh, items, None, waits)
    }

    fn range(
        &mut self,
        batch: &CanonicalBatch,
        producer: &Producer,
        first: Sequence,
        last: Sequence,
    ) -> Decision {
        let (position, waits) = self.position(producer);
        match position {
            Some(position) if last <= position => {
                let items = Items::Duplicates { count: batch.len() };
                Decision::seen(items, Some(position), waits)
            }
            Some(position) if first <= position => {
                Decision::refused(OnceError::Straddles { position }, waits)
            }
            _ => match self.advance(producer, position, last) {
                Ok(()) => Decision::new(Take::All, Items::Fresh, None),
                Err(refusal) => Decision::refused(refusal, false),
            },
        }
    }

    fn sequences(&mut self, batch: &CanonicalBatch, producer: &Producer, sequences: &[Sequence]) -> Decision {
        let (position, waits) = self.position(producer);
        // They ascend: what was stored before is a run at the front.
        let seen = sequences.partition_point(|sequence| Some(*sequence) <= position);
        let duplicate_through = position.filter(|_| seen > 0);
        let Some(last) = sequences[seen..].last() else {
            let items = Items::Duplicates { count: batch.len() };
            return Decision::seen(items, duplicate_through, waits);
        };
        if let Err(refusal) = self.advance(producer, position, *last) {
            return Decision::refused(refusal, false);
        }
        let fresh: Vec<usize> = (seen..batch.len()).collect();
        let next = self.first.plus(self.events as u64);
        let mut items = vec![Item::Duplicate; seen];
        items.extend((0..fresh.len()).map(|at| Item::Sealed(next.plus(at as u64))));
        Decision::of(batch, &fresh, items, duplicate_through, waits)
    }

    /// What is known of a key, and whether only the group knows it.
    fn known(&self, place: &ReceiptKey) -> Option<(KnownReceipt, bool)> {
        match self.receipts.get(place) {
            Some(added) => Some((*added, true)),
            None => self.table.receipt(place).map(|durable| (*durable, false)),
        }
    }

    /// How far a producer has come, and whether only the group knows that.
    fn position(&self, producer: &Producer) -> (Option<Sequence>, bool) {
        match self.positions.get(producer.as_str()) {
            Some(added) => (Some(*added), true),
            None => (self.table.position(self.log, producer.as_str()), false),
        }
    }

    fn add_receipt(
        &mut self,
        place: ReceiptKey,
        index: usize,
        count: usize,
        caller: CallerId,
        key: &RetryKey,
        digest: &[u8; 32],
    ) {
        const FEW: &str = "a commit has fewer than 4 billion events";
        let count = u32::try_from(count).expect(FEW);
        self.cells.push(Cell::Receipt {
            index: u32::try_from(index).expect(FEW),
            count,
            digest: *digest,
            caller,
            key: key.as_str().into(),
        });
        let known = KnownReceipt {
            first: self.first.plus(index as u64),
            count,
            digest: *digest,
            received_at: self.received_at,
        };
        self.receipts.insert(place, known);
    }

    /// The last receipts that were added are of a request that is refused.
    fn take_back(&mut self, added: &[ReceiptKey]) {
        self.cells.truncate(self.cells.len() - added.len());
        for place in added {
            self.receipts.remove(place);
        }
    }

    /// A producer that is one too many is refused at once, also when it is the group's others that fill the table.
    fn advance(
        &mut self,
        producer: &Producer,
        from: Option<Sequence>,
        to: Sequence,
    ) -> Result<(), OnceError> {
        let producers_max = self.table.bounds().producers_max;
        if from.is_none() {
            if self.table.producers() + self.new_producers >= producers_max {
                return Err(OnceError::TooManyProducers { producers_max });
            }
            self.new_producers += 1;
        }
        self.cells.push(Cell::Position {
            producer: producer.as_str().into(),
            sequence: to,
        });
        self.positions.insert(producer.as_str().into(), to);
        Ok(())
    }
}

impl Decision {
    /// Some of the events are new, at `fresh`; what the others are is in `items`.
    fn of(
        batch: &CanonicalBatch,
        fresh: &[usize],
        items: Vec<Item>,
        duplicate_through: Option<Sequence>,
        waits: bool,
    ) -> Self {
        if fresh.len() == batch.len() {
            return Self::new(Take::All, Items::Fresh, None);
        }
        let items = Items::Each(items);
        if fresh.is_empty() {
            return Self::seen(items, duplicate_through, waits);
        }
        Self::new(Take::Some(batch.select(fresh)), items, duplicate_through)
    }

    /// Something is sealed, so the answer waits for the group.
    fn new(take: Take, items: Items, duplicate_through: Option<Sequence>) -> Self {
        let outcome = Ok(Told {
            items,
            duplicate_through,
        });
        Self {
            plan: Plan { take, outcome },
            waits: true,
        }
    }

    fn seen(items: Items, duplicate_through: Option<Sequence>, waits: bool) -> Self {
        Self {
            waits,
            ..Self::new(Take::Nothing, items, duplicate_through)
        }
    }

    fn refused(refusal: OnceError, waits: bool) -> Self {
        let plan = Plan {
            take: Take::Nothing,
            outcome: Err(refusal),
        };
        Self { plan, waits }
    }
}
