//! The cases of engines with many logs and with cells, beside a model of their own.
//!
//! Invariant: a batch, and what its cells say, is in the model exactly when a commit said that it is durable; a log is, when
//! `create_log` said so.

use std::collections::{BTreeMap, HashSet};

use annals_core::chain::{EventId, Head, LogId, TreeSize};
use annals_core::seal::{SealedBatch, seal};
use annals_core::time::Micros;
use annals_store::{
    CallerId, Cell, CellTable, CommitError, CreateLogError, LogBatch, LogDirectory, LogManifest, LogName,
    Sequence,
};

use super::{ManyLogs, Opened};
use crate::chain::audit;
use crate::clock::SimClock;
use crate::events::{Random, batch, small_batch};

/// One case about many logs.
#[derive(Debug)]
pub struct LogsCase {
    /// What it shows, as a short sentence.
    pub name: &'static str,
    pub(super) run: fn(&mut Shelf),
}

/// All of them.
pub const LOGS_CASES: &[LogsCase] = &[
    LogsCase {
        name: "a log that was made is there, empty, and stays",
        run: logs_stay,
    },
    LogsCase {
        name: "a name is used once",
        run: names_are_used_once,
    },
    LogsCase {
        name: "a group carries batches of many logs",
        run: a_group_of_many_logs,
    },
    LogsCase {
        name: "one stale batch keeps those of other logs out, with their cells",
        run: one_stale_batch,
    },
    LogsCase {
        name: "cells are there with their batch, after a crash and after a recovery",
        run: cells_stay,
    },
    LogsCase {
        name: "cells are told in the order of the commits, however old they are",
        run: cells_in_order,
    },
    LogsCase {
        name: "cells of every size",
        run: cells_of_every_size,
    },
    LogsCase {
        name: "a random walk over many logs",
        run: random_walk,
    },
];

/// What a case works on: the engine, and what it must have.
pub(super) struct Shelf {
    engine: Box<dyn ManyLogs>,
    /// `None` only inside a reopen.
    opened: Option<Opened>,
    clock: SimClock,
    logs: BTreeMap<LogName, Kept>,
    /// In the order of the commits.
    cells: Vec<(LogId, EventId, Micros, Cell)>,
}

struct Kept {
    manifest: LogManifest,
    head: Head,
    bodies: Vec<Vec<u8>>,
}

/// A batch that is to be committed.
struct Sealed {
    name: LogName,
    batch: SealedBatch,
    cells: Vec<Cell>,
}

impl Shelf {
    pub(super) fn open(mut engine: Box<dyn ManyLogs>) -> Self {
        let opened = engine.open();
        let manifest = opened
            .journal
            .logs()
            .into_iter()
            .find(|manifest| manifest.id == opened.log);
        let manifest = manifest.expect("the first log is among the journal's");
        let kept = Kept {
            manifest: manifest.clone(),
            head: Head::EMPTY,
            bodies: Vec::new(),
        };
        let mut shelf = Self {
            engine,
            opened: Some(opened),
            clock: SimClock::default(),
            logs: BTreeMap::from([(manifest.name, kept)]),
            cells: Vec::new(),
        };
        shelf.check();
        shelf.check_cells();
        shelf
    }

    fn create(&mut self, text: &str) -> LogName {
        let name = name(text);
        self.clock.advance(1_000);
        let now = self.clock.now();
        let manifest = self
            .journal()
            .create_log(&name, now)
            .expect("a new name makes a log");
        assert_eq!((&manifest.name, &manifest.created_at), (&name, &now.to_string()));
        let kept = Kept {
            manifest,
            head: Head::EMPTY,
            bodies: Vec::new(),
        };
        assert!(self.logs.insert(name.clone(), kept).is_none());
        name
    }

    fn seal(&self, name: &LogName, events: usize, seed: u64, cells: Vec<Cell>) -> Sealed {
        self.clock.advance(1_000);
        let head = self.logs[name].head;
        Sealed {
            name: name.clone(),
            batch: seal(&head, self.clock.now(), std::iter::once(&batch(events, seed))),
            cells,
        }
    }

    fn commit(&mut self, group: Vec<Sealed>) -> Result<(), CommitError> {
        let parts: Vec<_> = group
            .iter()
            .map(|sealed| LogBatch {
                log: self.logs[&sealed.name].manifest.id,
                batch: &sealed.batch,
                cells: &sealed.cells,
            })
            .collect();
        let opened = self.opened.as_mut().expect("open");
        opened.journal.commit(&parts)?;
        for Sealed { name, batch, cells } in group {
            let kept = self.logs.get_mut(&name).expect("known");
            kept.head = batch.after();
            kept.bodies
                .extend((0..batch.len()).map(|at| batch.body(at).to_vec()));
            let (log, first, received_at) = (kept.manifest.id, batch.first_id(), batch.received_at());
            self.cells
                .extend(cells.into_iter().map(|cell| (log, first, received_at, cell)));
        }
        Ok(())
    }

    fn append(&mut self, name: &LogName, events: usize, seed: u64, cells: Vec<Cell>) {
        let sealed = self.seal(name, events, seed, cells);
        self.commit(vec![sealed])
            .expect("a batch on the head is committed");
    }

    pub(super) fn crash_and_reopen(&mut self) {
        let opened = self.opened.take().expect("open");
        self.opened = Some(self.engine.crash_and_reopen(opened));
        self.check();
        self.check_cells();
    }

    pub(super) fn clean_reopen(&mut self) {
        let opened = self.opened.take().expect("open");
        self.opened = Some(self.engine.clean_reopen(opened));
        self.check();
        self.check_cells();
    }

    fn recover(&mut self) {
        self.journal().recover().expect("a healthy engine recovers");
        self.check();
        self.check_cells();
    }

    /// The engine has the model's logs and their events, and nothing else.
    pub(super) fn check(&self) {
        let opened = self.opened.as_ref().expect("open");
        let directory = self.engine.directory(opened);
        let expected: Vec<_> = self.logs.values().map(|kept| kept.manifest.clone()).collect();
        assert_eq!(directory.list(), expected, "the directory lists the logs by name");
        let mut listed = opened.journal.logs();
        listed.sort_by(|one, other| one.name.cmp(&other.name));
        assert_eq!(listed, expected, "the journal knows the logs");
        let ids: HashSet<_> = expected.iter().map(|manifest| manifest.id).collect();
        let origins: HashSet<_> = expected.iter().map(|manifest| &manifest.origin).collect();
        assert_eq!(
            (ids.len(), origins.len()),
            (expected.len(), expected.len()),
            "each is its own"
        );
        assert!(directory.open("no-such-log").is_none());
        assert_eq!(opened.journal.head(LogId([0xee; 16])), None);
        for kept in self.logs.values() {
            check_log(opened, &*directory, kept);
        }
    }

    /// The journal gives the cells of the model. To be called once after an opening or a recovery.
    fn check_cells(&mut self) {
        let found = self.journal().take_cells();
        let mut expected = CellTable::new(*found.bounds());
        for (log, first, received_at, cell) in &self.cells {
            expected.apply(*log, *first, *received_at, cell);
        }
        assert!(
            found.receipts().eq(expected.receipts()),
            "the receipts, oldest first"
        );
        assert!(found.positions().eq(expected.positions()), "the positions");
        assert!(found == expected, "what comes next is remembered alike");
    }

    fn journal(&mut self) -> &mut dyn annals_store::Journal {
        &mut *self.opened.as_mut().expect("open").journal
    }
}

fn check_log(opened: &Opened, directory: &dyn LogDirectory, kept: &Kept) {
    let name = kept.manifest.name.as_str();
    let (manifest, reader) = directory.open(name).expect("a listed log can be opened");
    assert_eq!(manifest, kept.manifest);
    assert_eq!(
        opened.journal.head(manifest.id),
        Some(kept.head),
        "{name}: the journal's head"
    );
    assert_eq!(reader.head(), kept.head, "{name}: the reader's head");
    audit(&*reader).unwrap_or_else(|what| panic!("{name}: {what}"));
    let mut from = EventId::FIRST;
    let mut bodies = kept.bodies.iter();
    while kept.head.size.contains(from) {
        let run = reader.read(from, 1 << 20).expect("a healthy engine reads");
        for event in run.iter() {
            assert!(
                bodies.next().is_some_and(|body| body == event.body),
                "{name}: event {} is not what was sealed",
                event.id
            );
        }
        from = run.next_id();
    }
    assert!(bodies.next().is_none());
}

fn name(text: &str) -> LogName {
    LogName::new(text).expect("a name")
}

fn receipt(index: u32, count: u32, key: &str) -> Cell {
    Cell::Receipt {
        index,
        count,
        digest: [0x5a; 32],
        caller: CallerId([3; 16]),
        key: key.into(),
    }
}

fn position(producer: &str, major: u64, minor: u64) -> Cell {
    Cell::Position {
        producer: producer.into(),
        sequence: Sequence(major, minor),
    }
}

fn logs_stay(shelf: &mut Shelf) {
    let first = shelf.create("first");
    shelf.check();
    shelf.crash_and_reopen();
    let longest = shelf.create(&"x".repeat(63));
    shelf.create("0-_");
    shelf.append(&longest, 3, 1, Vec::new());
    shelf.check();
    shelf.clean_reopen();
    shelf.append(&first, 3, 1, Vec::new());
    shelf.append(&longest, 3, 2, Vec::new());
    shelf.recover();
    shelf.create("last");
    shelf.crash_and_reopen();
    assert_eq!(shelf.logs.len(), 5);
}

fn names_are_used_once(shelf: &mut Shelf) {
    shelf.create("once");
    for _ in 0..2 {
        for taken in [name("once"), LogName::default_log()] {
            let now = shelf.clock.now();
            match shelf.journal().create_log(&taken, now) {
                Err(CreateLogError::Exists(name)) => assert_eq!(name, taken),
                other => panic!("the name is taken, not {other:?}"),
            }
        }
        shelf.check();
        shelf.crash_and_reopen();
    }
}

fn a_group_of_many_logs(shelf: &mut Shelf) {
    let names: Vec<_> = (0..30).map(|at| shelf.create(&format!("log-{at}"))).collect();
    for round in 0..5 {
        let group = names.iter().enumerate().map(|(at, name)| {
            let cells = vec![receipt(0, 1, &format!("{round}"))];
            shelf.seal(name, 1 + at % 4, round, cells)
        });
        let group = group.collect();
        shelf.commit(group).expect("each is on its log's head");
        shelf.check();
    }
    shelf.crash_and_reopen();
}

fn one_stale_batch(shelf: &mut Shelf) {
    let names = ["a", "b", "c"].map(|text| shelf.create(text));
    let stale = shelf.seal(&names[1], 2, 1, vec![position("stale", 1, 0)]);
    for name in &names {
        shelf.append(name, 2, 2, vec![receipt(0, 2, "k")]);
    }
    let group = vec![
        shelf.seal(&names[0], 1, 3, vec![receipt(0, 1, "first")]),
        stale,
        shelf.seal(&names[2], 1, 3, vec![position("third", 1, 0)]),
    ];
    let outcome = shelf.commit(group);
    let id = shelf.logs[&names[1]].manifest.id;
    assert!(
        matches!(outcome, Err(CommitError::Conflict { log, .. }) if log == id),
        "{outcome:?}"
    );
    shelf.check();
    shelf.crash_and_reopen();
    shelf.append(&names[0], 1, 4, Vec::new());
}

fn cells_stay(shelf: &mut Shelf) {
    let name = shelf.create("cells");
    for round in 0..6_u64 {
        let cells = vec![
            receipt(0, 2, &format!("whole-{round}")),
            receipt(1, 1, &format!("item-{round}")),
            position("p", round, 7),
            position(&format!("only-{round}"), round, 0),
        ];
        shelf.append(&name, 2, round, cells);
        shelf.append(&LogName::default_log(), 2, round, vec![position("p", 1, round)]);
        shelf.append(&name, 1, round, Vec::new());
        match round % 3 {
            0 => shelf.crash_and_reopen(),
            1 => shelf.clean_reopen(),
            _ => shelf.recover(),
        }
    }
    // Two batches of one log in one group, the second with the first's key again.
    let first = shelf.seal(&name, 2, 1, vec![receipt(0, 2, "again"), position("q", 1, 0)]);
    let second = Sealed {
        name: name.clone(),
        batch: seal(
            &first.batch.after(),
            shelf.clock.now(),
            std::iter::once(&batch(3, 2)),
        ),
        cells: vec![receipt(2, 1, "again"), position("q", 2, 0)],
    };
    shelf.commit(vec![first, second]).expect("in order");
    shelf.crash_and_reopen();
}

fn cells_in_order(shelf: &mut Shelf) {
    let names = ["a", "b", "c"].map(|text| shelf.create(text));
    for round in 0..240_u64 {
        let name = &names[usize::try_from(round % 3).expect("small")];
        let cells = match round % 4 {
            0 => vec![receipt(0, 1, &format!("{}", round / 2))],
            1 => vec![receipt(3, 2, &format!("{}", round / 2)), position("p", round, 0)],
            2 => vec![position("p", round / 2, 1)],
            _ => Vec::new(),
        };
        shelf.append(name, 20, round, cells);
        if round % 60 == 59 {
            shelf.clean_reopen();
        }
    }
    shelf.crash_and_reopen();
}

fn cells_of_every_size(shelf: &mut Shelf) {
    let name = shelf.create("sizes");
    let longest = "~".repeat(255);
    let cells = vec![
        receipt(0, 1, "k"),
        receipt(0, 1, &longest),
        position(&longest, u64::MAX, u64::MAX),
    ];
    shelf.append(&name, 1, 1, cells);
    // A key for each of many items, and the last of a large batch.
    let head = shelf.logs[&name].head;
    let events = small_batch(20_000);
    let mut cells: Vec<_> = (0..20_000)
        .map(|item| receipt(item, 1, &format!("item-{item}")))
        .collect();
    cells.push(receipt(0, 20_000, "all"));
    let sealed = Sealed {
        name: name.clone(),
        batch: seal(&head, shelf.clock.now(), std::iter::once(&events)),
        cells,
    };
    shelf.commit(vec![sealed]).expect("on the head");
    assert_eq!(shelf.logs[&name].head.size, TreeSize(20_001));
    shelf.crash_and_reopen();
    shelf.clean_reopen();
}

fn random_walk(shelf: &mut Shelf) {
    let mut random = Random::new(2026, 11);
    let mut names = vec![LogName::default_log()];
    for step in 0..160_u64 {
        let name = names[usize::try_from(random.below(names.len() as u64)).expect("small")].clone();
        let events = usize::try_from(random.below(20) + 1).expect("small");
        match random.below(14) {
            0 => names.push(shelf.create(&format!("log-{step}"))),
            1 => shelf.crash_and_reopen(),
            2 => shelf.clean_reopen(),
            3 => shelf.recover(),
            4 => shelf.journal().settle().expect("a healthy engine settles"),
            5 | 6 => {
                let group = names.iter().map(|name| {
                    shelf.seal(name, events, step, vec![receipt(0, 1, &format!("{}", step % 9))])
                });
                let group = group.collect();
                shelf.commit(group).expect("each is on its log's head");
            }
            at => {
                let cells = (at % 2 == 0)
                    .then(|| position("p", step, at))
                    .into_iter()
                    .collect();
                shelf.append(&name, events, step, cells);
            }
        }
    }
    shelf.check();
}
