//! Following without sockets: what readers get is compared with what is stored, whatever the pauses and however small the rings.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::atomic::AtomicBool;

use annals_core::body;
use annals_core::canonical::CanonicalBatch;
use annals_core::chain::{EventId, LogId};
use annals_core::field::Field;
use annals_core::filter::Filter;
use annals_core::time::Micros;
use annals_log::{Log, LogOptions, Logs, Sequencer, SystemClock};
use annals_store::{Counted, EventRun, Found, LogName, ReadError, ReadLog, Search, Unindexed};
use annals_testkit::events::{self, Random};
use annals_testkit::filters::{requests, wanted};
use annals_testkit::memory::{LOG, MemoryEngine};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;

use super::chunk::{Chunk, Style, Wanted};
use super::cursor::{Cursor, Step};
use super::ring::Look;
use super::*;
use crate::stream::Tail;

/// Longest wait for anything before the test is red.
const PATIENCE: Duration = Duration::from_secs(60);

struct Rig {
    engine: MemoryEngine,
    logs: Logs,
    _sequencer: Sequencer,
}

impl Rig {
    fn new() -> Self {
        let engine = MemoryEngine::default();
        let (logs, sequencer) =
            Logs::start(engine.journal(), Box::new(SystemClock), LogOptions::default()).unwrap();
        Self {
            engine,
            logs,
            _sequencer: sequencer,
        }
    }

    fn log(&self) -> Log {
        self.logs.log(LOG).unwrap()
    }

    async fn create(&self, name: &str) -> Log {
        self.logs
            .create(LogName::new(name).unwrap())
            .unwrap()
            .await
            .unwrap()
            .0
    }

    fn events(&self, log: LogId) -> Arc<dyn FindEvents> {
        Arc::new(Unindexed::new(self.engine.reader_of(log)))
    }

    fn source(&self, name: &str, log: &Log) -> Source {
        Source {
            name: Arc::from(name),
            events: self.events(log.id()),
            heads: log.subscribe(),
        }
    }

    /// What a reader of everything gets, event by event.
    fn stored(&self, log: LogId) -> Vec<(u64, String)> {
        let reader = self.engine.reader_of(log);
        let mut stored = Vec::new();
        let mut next = EventId::FIRST;
        while reader.head().size.contains(next) {
            let run = reader.read(next, usize::MAX).unwrap();
            for event in run.iter() {
                let mut served = Vec::new();
                body::write_served(event.body, &event.hash, &mut served);
                stored.push((event.id.get(), String::from_utf8(served).unwrap()));
            }
            next = run.next_id();
        }
        stored
    }
}

fn reader_of_all(from: u64) -> Wanted {
    Wanted {
        from: EventId::new(from).unwrap(),
        not_before: None,
        filter: Arc::default(),
    }
}

async fn appended(log: &Log, batch: CanonicalBatch) {
    log.append(batch).unwrap().await.unwrap();
}

/// The messages in the text: kind, id, data.
fn messages(text: &[u8]) -> Vec<(String, String, String)> {
    let text = std::str::from_utf8(text).unwrap();
    let blocks = text
        .split_terminator("\n\n")
        .filter(|block| !block.starts_with(':'));
    let message = |block: &str| {
        let mut lines = block.split('\n');
        let mut line = |name: &str| lines.next().unwrap().strip_prefix(name).unwrap().to_owned();
        let message = (line("event: "), line("id: "), line("data: "));
        assert_eq!(lines.next(), None);
        message
    };
    blocks.map(message).collect()
}

/// Work of no particular length.
async fn dawdle(random: &mut Random) {
    match random.below(10) {
        0 => tokio::time::sleep(Duration::from_micros(random.below(3000))).await,
        1..=4 => {
            for _ in 0..random.below(50) {
                tokio::task::yield_now().await;
            }
        }
        _ => {}
    }
}

/// How often a reader found its next event here or there.
#[derive(Debug, Default)]
struct Places {
    in_ring: AtomicUsize,
    in_storage: AtomicUsize,
    at_head: AtomicUsize,
}

/// One reader that goes on, at its own pace, until it is past `last`.
async fn read_until(
    mut cursor: Cursor,
    other_seat: Seat,
    last: u64,
    mut random: Random,
    places: Arc<Places>,
) -> Vec<(u64, String)> {
    let mut seen = Vec::new();
    while cursor.next().get() <= last {
        let place = match other_seat.hub().look(cursor.next()).unwrap() {
            Look::Here(_) => &places.in_ring,
            Look::Behind => &places.in_storage,
            Look::AtHead => &places.at_head,
        };
        place.fetch_add(1, Ordering::Relaxed);
        match cursor.step(Style::Plain).await.unwrap() {
            Step::Messages(text) => {
                for (_, id, data) in messages(&text) {
                    seen.push((id.parse().unwrap(), data));
                }
            }
            Step::Passed => {}
            Step::AtHead => cursor.changed().await,
        }
        dawdle(&mut random).await;
    }
    seen
}

/// Readers of all sorts while events come in: each gets what is stored and matches, once, in order, byte by byte, on whatever side
/// of the hand-over from storage to the ring an event lies.
///
/// Red when: `Ring::look` compares with `>` in `next >= self.end`, or does not look at `first`; `Cursor::passed` goes on at the
/// ring's end; `find` leaves out `end = *id`.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn the_hand_over_leaves_nothing_out_and_repeats_nothing() {
    const READERS: u64 = 12;
    let rounds = if std::env::var_os("ANNALS_TEST_LONG").is_some() {
        400
    } else {
        40
    };
    let places = Arc::new(Places::default());
    for seed in 0..rounds {
        let mut random = Random::new(seed, 0);
        let rig = Rig::new();
        let log = rig.log();
        let pace = Pace {
            a_reader: Duration::from_micros(random.below(400)),
            max: Duration::from_millis(4),
        };
        let tails = Tails::with_pace(usize::try_from(2_000 + random.below(60_000)).unwrap(), pace);
        appended(&log, events::batch(50, seed)).await;
        let batches: Vec<_> = (0..30)
            .map(|at| match random.below(8) {
                0 => events::skewed_batch(20, seed + at),
                size => events::batch(usize::try_from(1 + size * size).unwrap(), seed + at),
            })
            .collect();
        let last = 50 + batches.iter().map(|batch| batch.len() as u64).sum::<u64>();
        let filters = [
            Filter::default(),
            Filter::default().with_value(Field::Kind, "other").unwrap(),
            Filter::default().with_text("AL").unwrap(),
        ];
        let mut readers = Vec::new();
        for reader in 0..READERS {
            let source = rig.source("default", &log);
            let filter = filters[usize::try_from(random.below(3)).unwrap()].clone();
            let from = [1, 25, 51][usize::try_from(random.below(3)).unwrap()];
            let wanted = Wanted {
                filter: Arc::new(filter.clone()),
                ..reader_of_all(from)
            };
            let cursor = Cursor::new(tails.join(source.clone()), wanted);
            let (random, places) = (Random::new(seed, reader + 1), Arc::clone(&places));
            let reading = tokio::spawn(read_until(cursor, tails.join(source), last, random, places));
            readers.push((from, filter, reading));
        }
        for batch in batches {
            appended(&log, batch).await;
            dawdle(&mut random).await;
        }
        let stored = rig.stored(LOG);
        let reader = rig.engine.reader_of(LOG);
        let matching = |filter: &Filter, id: u64| {
            let run = reader.read(EventId::new(id).unwrap(), 1).unwrap();
            filter.matches(run.get(0).unwrap().body)
        };
        for (from, filter, reading) in readers {
            let seen = tokio::time::timeout(PATIENCE, reading)
                .await
                .expect("readers get on")
                .unwrap();
            let expected: Vec<_> = stored
                .iter()
                .filter(|(id, _)| *id >= from && matching(&filter, *id))
                .cloned()
                .collect();
            let ids = |messages: &[(u64, String)]| messages.iter().map(|(id, _)| *id).collect::<Vec<_>>();
            assert_eq!(ids(&seen), ids(&expected), "seed {seed}");
            assert!(seen == expected, "seed {seed}");
        }
    }
    // The test is about nothing when one of the ways was hardly gone.
    for place in [&places.in_ring, &places.in_storage, &places.at_head] {
        assert!(place.load(Ordering::Relaxed) > 100, "{places:?}");
    }
}

/// Red when: `labelled` counts the log's own place among the others'; `Tail` does not turn to the next log.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn several_logs_over_one_stream_resumed_wherever_it_breaks() {
    const NAMES: [&str; 3] = ["a", "b", "c"];
    let rig = Rig::new();
    let tails = Tails::new(30_000);
    let mut logs = Vec::new();
    for name in NAMES {
        logs.push(rig.create(name).await);
    }
    let appending = async {
        let mut random = Random::new(1, 1);
        for at in 0..120 {
            let log = &logs[usize::try_from(random.below(3)).unwrap()];
            appended(
                log,
                events::batch(usize::try_from(1 + random.below(9)).unwrap(), at),
            )
            .await;
            dawdle(&mut random).await;
        }
        // Each one's last event, so that the reader knows when it is over.
        for log in &logs {
            appended(
                log,
                events::batch_of([r#"{"kind":"other","source":"end"}"#.to_owned()].into_iter()),
            )
            .await;
        }
    };
    let reading = async {
        let mut random = Random::new(2, 2);
        let (_stop, shutdown) = watch::channel(false);
        let mut seen: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let (mut place, mut ended) = (vec![0; 3], 0);
        while ended < NAMES.len() {
            let cursors = NAMES.iter().zip(&logs).zip(&place);
            let cursors = cursors
                .map(|((name, log), seen)| {
                    Cursor::new(tails.join(rig.source(name, log)), reader_of_all(seen + 1))
                })
                .collect();
            let admitted = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
            let tail = Tail::new(cursors, PATIENCE, shutdown.clone(), admitted);
            let mut stream = pin!(tail.into_stream());
            for _ in 0..1 + random.below(20) {
                let piece = tokio::time::timeout(PATIENCE, stream.next())
                    .await
                    .expect("events come");
                let mut lot = messages(&piece.unwrap().unwrap());
                // The connection breaks within a piece: what follows in it is lost.
                let is_cut = random.below(8) == 0;
                if is_cut {
                    lot.truncate(usize::try_from(random.below(12)).unwrap());
                }
                for (_, id, data) in &lot {
                    let data = data.strip_prefix(r#"{"log":""#).unwrap();
                    let (log, event) = data.split_once(r#"","event":"#).unwrap();
                    let event = event.strip_suffix('}').unwrap();
                    ended += usize::from(event.contains(r#""source":"end""#));
                    seen.entry(log.to_owned()).or_default().push(event.to_owned());
                    place = places::parse(id, NAMES.into_iter()).unwrap();
                }
                if is_cut || ended == NAMES.len() {
                    break;
                }
            }
        }
        seen
    };
    let (seen, ()) = tokio::join!(reading, appending);
    for (name, log) in NAMES.iter().zip(&logs) {
        let stored: Vec<String> = rig.stored(log.id()).into_iter().map(|(_, event)| event).collect();
        assert!(seen[*name] == stored, "log {name}");
    }
}

/// Red when: `Tail::wait` waits for the first log only.
#[tokio::test]
async fn any_of_several_logs_ends_the_silence() {
    let rig = Rig::new();
    let tails = Tails::new(30_000);
    let logs = [rig.create("a").await, rig.create("b").await];
    let cursors = ["a", "b"].iter().zip(&logs);
    let cursors = cursors.map(|(name, log)| Cursor::new(tails.join(rig.source(name, log)), reader_of_all(1)));
    let admitted = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
    let (_stop, shutdown) = watch::channel(false);
    let tail = Tail::new(cursors.collect(), PATIENCE * 2, shutdown, admitted);
    let mut stream = pin!(tail.into_stream());
    let greeting = stream.next().await.unwrap().unwrap();
    assert_eq!(greeting, ": events from a:1, b:1 on\n\n");
    for (log, place) in [(1, "0.1-"), (0, "1.1-"), (1, "1.2-")] {
        assert!(stream.next().now_or_never().is_none());
        appended(&logs[log], events::batch(1, 1)).await;
        let piece = tokio::time::timeout(PATIENCE, stream.next()).await;
        let text = piece.expect("the log is heard").unwrap().unwrap();
        assert!(messages(&text)[0].1.starts_with(place), "{text:?}");
    }
}

/// What a chunk selects, out of served events, is what the filter says of the stored bodies.
///
/// Red when: `Results::of` takes another filter's result.
#[test]
fn a_chunk_selects_what_the_filter_says_of_the_body() {
    let mut runner = TestRunner::deterministic();
    let drawn = requests(300).new_tree(&mut runner).unwrap().current();
    let rig = Rig::new();
    let batch = events::batch_of(drawn.iter().map(ToString::to_string));
    rig.log().append(batch).unwrap().wait().unwrap();
    let run = rig.engine.reader().read(EventId::FIRST, usize::MAX).unwrap();
    let chunk = Chunk::new(EventId::FIRST, run.next_id(), run.iter());
    let mut some = 0;
    for _ in 0..400 {
        let wants = wanted().new_tree(&mut runner).unwrap().current();
        let filter = Arc::new(wants.filter());
        // As if another reader had it, so that the second answer is the one that was kept.
        let _other = Arc::clone(&filter);
        let expected: Vec<String> = run
            .iter()
            .filter(|event| wants.matches(event.body))
            .map(|event| event.id.to_string())
            .collect();
        some += usize::from(!expected.is_empty() && expected.len() < run.len());
        for _ in 0..2 {
            let wanted = Wanted {
                filter: Arc::clone(&filter),
                ..reader_of_all(1)
            };
            let text = chunk.select(&wanted, &Style::Plain);
            let ids: Vec<String> = messages(&text).into_iter().map(|(_, id, _)| id).collect();
            assert_eq!(ids, expected, "{wants:?}");
        }
    }
    assert!(some > 50, "only {some} filters told events apart");
    let hash = run.get(0).unwrap().hash.to_string();
    let wanted = Wanted {
        filter: Arc::new(Filter::default().with_text(&hash[..16]).unwrap()),
        ..reader_of_all(1)
    };
    assert!(chunk.select(&wanted, &Style::Plain).is_empty());
}

/// Red when: `select` copies for an open filter, or takes a known result although the reader begins later; `keep` keeps nothing,
/// or for a single reader.
#[test]
fn readers_share_what_is_written_once() {
    let rig = Rig::new();
    rig.log().append(events::batch(100, 1)).unwrap().wait().unwrap();
    let run = rig.engine.reader().read(EventId::FIRST, usize::MAX).unwrap();
    let chunk = Chunk::new(EventId::FIRST, run.next_id(), run.iter());
    let select = |wanted: &Wanted| chunk.select(wanted, &Style::Plain);
    // Both are held, so equal addresses are the same bytes.
    let are_shared = |one: &Wanted, other: &Wanted| select(one).as_ptr() == select(other).as_ptr();
    assert!(are_shared(&reader_of_all(1), &reader_of_all(1)));
    assert_eq!(messages(&select(&reader_of_all(98))).len(), 3);
    let filter = || Arc::new(Filter::default().with_value(Field::Kind, "other").unwrap());
    let hub = Hub::new(
        rig.source("default", &rig.log()),
        Arc::clone(&Tails::new(1).shared),
    );
    let (one, equal) = (hub.shared_filter(filter()), hub.shared_filter(filter()));
    let of = |filter: Arc<Filter>| Wanted {
        filter,
        ..reader_of_all(1)
    };
    let (one, equal) = (of(one), of(equal));
    assert!(are_shared(&one, &equal));
    // Who begins later does not get what was kept for those who began earlier.
    let later = Wanted {
        from: EventId::new(50).unwrap(),
        ..one
    };
    let first = messages(&select(&later)).remove(0);
    assert!(first.1.parse::<u64>().unwrap() >= 50, "{first:?}");
    let alone = of(filter());
    assert!(!are_shared(&alone, &alone));
}

/// Red when: `Running` does not end its task, or does not count; `join` does not shrink the others.
#[tokio::test]
async fn a_log_that_nobody_follows_costs_nothing_and_the_others_share() {
    let rig = Rig::new();
    let one = rig.log();
    let other = rig.create("other").await;
    let tails = Tails::new(200_000);
    let first = tails.join(rig.source("default", &one));
    let second = tails.join(rig.source("default", &one));
    assert!(Arc::ptr_eq(&first.running, &second.running));
    appended(&one, events::batch(150, 1)).await;
    let mut cursor = Cursor::new(second, reader_of_all(1));
    while cursor.next().get() <= 150 {
        if matches!(cursor.step(Style::Plain).await.unwrap(), Step::AtHead) {
            cursor.changed().await;
        }
    }
    let is_in_ring = |id| {
        matches!(
            first.hub().look(EventId::new(id).unwrap()).unwrap(),
            Look::Here(_)
        )
    };
    let kept = (1..=150).filter(|id| is_in_ring(*id)).count();
    assert!(kept > 100, "{kept}");
    let third = tails.join(rig.source("other", &other));
    assert_eq!((tails.shared.ring_share(), tails.shared.readers()), (100_000, 3));
    assert!((1..=150).filter(|id| is_in_ring(*id)).count() < kept);
    drop(third);
    assert_eq!((tails.shared.ring_share(), tails.shared.readers()), (200_000, 2));
    let (hub, task) = (Arc::downgrade(&first.running.hub), first.running.task.clone());
    drop((first, cursor));
    tokio::time::timeout(PATIENCE, async {
        while hub.strong_count() > 0 || !task.is_finished() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the hub ends with its last reader");
}

/// Red when: `not_before` is not looked at; or it is kept for ever, so that such a reader never shares what others get.
#[tokio::test]
async fn a_time_that_is_still_to_come_is_waited_for() {
    let rig = Rig::new();
    let log = rig.log();
    appended(&log, events::batch(3, 1)).await;
    let run = rig.engine.reader().read(EventId::FIRST, usize::MAX).unwrap();
    let chunk = Chunk::new(EventId::FIRST, run.next_id(), run.iter());
    let received_at = run.get(0).unwrap().received_at;
    let count = |micros: i64| {
        let wanted = Wanted {
            not_before: Some(Micros(received_at.0 + micros)),
            ..reader_of_all(1)
        };
        messages(&chunk.select(&wanted, &Style::Plain)).len()
    };
    // One batch has one receive time.
    assert_eq!((count(-1), count(0), count(1)), (3, 3, 0));
    let tails = Tails::new(10_000);
    let wanted = Wanted {
        not_before: Some(received_at),
        ..reader_of_all(1)
    };
    let join = |wanted| Cursor::new(tails.join(rig.source("default", &log)), wanted);
    let (mut since, mut live) = (join(wanted), join(reader_of_all(4)));
    assert_eq!(messages(&next_text(&mut since).await).len(), 3);
    appended(&log, events::batch(2, 1)).await;
    let (since, live) = (next_text(&mut since).await, next_text(&mut live).await);
    assert_eq!(since.as_ptr(), live.as_ptr());
}

async fn next_text(cursor: &mut Cursor) -> Bytes {
    loop {
        match cursor.step(Style::Plain).await.unwrap() {
            Step::Messages(text) => return text,
            Step::Passed => {}
            Step::AtHead => tokio::time::timeout(PATIENCE, cursor.changed())
                .await
                .expect("events come"),
        }
    }
}

/// A log that answers in its own way when it is asked for its head.
struct Odd<F> {
    events: Arc<dyn FindEvents>,
    head: F,
}

impl<F: Fn(&dyn FindEvents) -> Head + Send + Sync> ReadLog for Odd<F> {
    fn head(&self) -> Head {
        (self.head)(&*self.events)
    }

    fn read(&self, from: EventId, bytes_max: usize) -> Result<EventRun, ReadError> {
        self.events.read(from, bytes_max)
    }
}

impl<F: Fn(&dyn FindEvents) -> Head + Send + Sync> FindEvents for Odd<F> {
    fn find(&self, search: &Search, matches_max: usize, scan_bytes_max: u64) -> Result<Found, ReadError> {
        self.events.find(search, matches_max, scan_bytes_max)
    }

    fn count(&self, search: &Search, cuts: &[EventId], scan_bytes_max: u64) -> Result<Counted, ReadError> {
        self.events.count(search, cuts, scan_bytes_max)
    }

    fn first_at(&self, time: Micros) -> Result<EventId, ReadError> {
        self.events.first_at(time)
    }
}

/// Red when: `follow` looks at the head before `mark_unchanged`.
#[tokio::test]
async fn a_head_that_moves_under_the_look_is_noticed() {
    let rig = Rig::new();
    let log = rig.log();
    let (heads, receiver) = watch::channel(log.head());
    let source = Source {
        // The head moves while it is asked for: the answer is the one from before.
        events: Arc::new(Odd {
            events: rig.events(LOG),
            head: move |events: &dyn FindEvents| heads.send_replace(events.head()),
        }),
        heads: receiver,
        ..rig.source("default", &log)
    };
    let tails = Tails::new(10_000);
    let mut cursor = Cursor::new(tails.join(source), reader_of_all(1));
    // Comes in before the hub has looked for the first time.
    log.append(events::batch(1, 1)).unwrap().await.unwrap();
    tokio::time::timeout(PATIENCE, cursor.changed())
        .await
        .expect("the hub looks again");
    assert!(matches!(cursor.step(Style::Plain).await, Ok(Step::Messages(_))));
}

/// Red when: `Over` does not wake, `look` does not ask whether the hub is over, or `join` takes a hub that is.
#[tokio::test]
async fn readers_are_told_when_nobody_follows_the_log_any_more() {
    let rig = Rig::new();
    let log = rig.log();
    let tails = Tails::new(10_000);
    let is_broken = Arc::new(AtomicBool::new(false));
    let source = Source {
        events: Arc::new(Odd {
            events: rig.events(LOG),
            head: {
                let is_broken = Arc::clone(&is_broken);
                move |events: &dyn FindEvents| {
                    assert!(!is_broken.load(Ordering::Relaxed), "made to panic by the test");
                    events.head()
                }
            },
        }),
        ..rig.source("default", &log)
    };
    let mut cursor = Cursor::new(tails.join(source), reader_of_all(1));
    assert!(matches!(cursor.step(Style::Plain).await, Ok(Step::AtHead)));
    is_broken.store(true, Ordering::Relaxed);
    appended(&log, events::batch(1, 1)).await;
    tokio::time::timeout(PATIENCE, cursor.changed())
        .await
        .expect("the reader is woken");
    assert!(matches!(
        cursor.step(Style::Plain).await,
        Err(ReadFailed::Interrupted(_))
    ));
    // Whoever comes now has another hub.
    let mut next = Cursor::new(tails.join(rig.source("default", &log)), reader_of_all(1));
    assert!(matches!(next.step(Style::Plain).await, Ok(Step::Messages(_))));
    assert!(next.changed().now_or_never().is_none());
}

/// Red when: `spread` gives everybody the same.
#[test]
fn heartbeats_are_spread_and_never_late() {
    let patience = Duration::from_secs(15);
    let mut all: Vec<Duration> = (0..1000).map(|_| spread(patience)).collect();
    all.sort();
    assert!(all[0] >= patience * 3 / 4 && all[999] <= patience);
    // No tenth of the quarter has many more than its share.
    let tenth = patience / 40;
    for part in 0..10 {
        let from = patience * 3 / 4 + tenth * part;
        let count = all
            .iter()
            .filter(|one| (from..from + tenth).contains(one))
            .count();
        assert!((80..=120).contains(&count), "{count} in part {part}");
    }
}
