//! Any single mutation of a chain is found, at the event that a naive judge names, and on any number of threads alike.

use std::num::NonZeroUsize;

use annals_core::chain::EventId;
use annals_verify::{AuditState, ChainState, Checkpoint, Level, Options, Verdict, audit, chain, strict};
use proptest::prelude::*;
use proptest::sample::Index;

use crate::events::{self, Event, MemoryLog};

#[derive(Debug, Clone)]
enum Mutation {
    FlipBody {
        event: Index,
        byte: Index,
        bit: u8,
    },
    DeleteByte {
        event: Index,
        byte: Index,
    },
    FlipHash {
        event: Index,
        byte: Index,
        bit: u8,
    },
    /// The body is changed and its stored hash made to fit.
    Forge {
        event: Index,
    },
    Delete {
        event: Index,
    },
    Double {
        event: Index,
    },
    Insert {
        at: Index,
    },
    Swap {
        one: Index,
        other: Index,
    },
    Move {
        from: Index,
        to: Index,
    },
    /// The tail is cut off.
    Truncate {
        keep: Index,
    },
    /// Everything from here on is sealed anew, with other content.
    Rewrite {
        from: Index,
    },
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let index = any::<Index>;
    prop_oneof![
        6 => (index(), index(), 0..8_u8).prop_map(|(event, byte, bit)| Mutation::FlipBody { event, byte, bit }),
        2 => (index(), index()).prop_map(|(event, byte)| Mutation::DeleteByte { event, byte }),
        2 => (index(), index(), 0..8_u8).prop_map(|(event, byte, bit)| Mutation::FlipHash { event, byte, bit }),
        1 => index().prop_map(|event| Mutation::Forge { event }),
        1 => index().prop_map(|event| Mutation::Delete { event }),
        1 => index().prop_map(|event| Mutation::Double { event }),
        1 => index().prop_map(|at| Mutation::Insert { at }),
        1 => (index(), index()).prop_map(|(one, other)| Mutation::Swap { one, other }),
        1 => (index(), index()).prop_map(|(from, to)| Mutation::Move { from, to }),
        1 => index().prop_map(|keep| Mutation::Truncate { keep }),
        1 => index().prop_map(|from| Mutation::Rewrite { from }),
    ]
}

fn mutate(events: &mut Vec<Event>, mutation: &Mutation) {
    let len = events.len();
    match mutation {
        Mutation::FlipBody { event, byte, bit } => {
            let body = &mut events[event.index(len)].body;
            let at = byte.index(body.len());
            body[at] ^= 1 << bit;
        }
        Mutation::DeleteByte { event, byte } => {
            let body = &mut events[event.index(len)].body;
            body.remove(byte.index(body.len()));
        }
        Mutation::FlipHash { event, byte, bit } => {
            events[event.index(len)].hash.0[byte.index(32)] ^= 1 << bit;
        }
        Mutation::Forge { event } => {
            let event = &mut events[event.index(len)];
            event.body = String::from_utf8(event.body.clone())
                .unwrap()
                .replace("other", "offer")
                .into_bytes();
            event.hash = events::sha256(&event.body);
        }
        Mutation::Delete { event } => drop(events.remove(event.index(len))),
        Mutation::Double { event } => {
            let at = event.index(len);
            events.insert(at, events[at].clone());
        }
        Mutation::Insert { at } => {
            let at = at.index(len);
            let prev = events[..at]
                .last()
                .map_or(annals_core::hash::EventHash::GENESIS, |event| event.hash);
            let body = events::body_of(at as u64 + 1, &prev, "{}", "intruder");
            let (hash, received_at) = (events::sha256(&body), events[at].received_at);
            events.insert(
                at,
                Event {
                    body,
                    hash,
                    received_at,
                },
            );
        }
        Mutation::Swap { one, other } => events.swap(one.index(len), other.index(len)),
        Mutation::Move { from, to } => {
            let event = events.remove(from.index(len));
            events.insert(to.index(len), event);
        }
        Mutation::Truncate { keep } => events.truncate(keep.index(len)),
        Mutation::Rewrite { from } => {
            let from = from.index(len);
            events.truncate(from);
            for _ in from..len {
                events::seal_on(events, &["{\"rewritten\":true}"]);
            }
        }
    }
}

fn verdict(events: &[Event], held: Checkpoint, options: Options) -> Verdict {
    audit(&MemoryLog::new(events.to_vec()), Some(&held), &options, &|_| {})
}

fn small_ranges(threads: usize, range_events_max: u64, read_bytes_max: usize) -> Options {
    let threads = NonZeroUsize::new(threads).unwrap();
    Options {
        threads,
        range_events_max,
        read_bytes_max,
        ..Options::new(Level::Full)
    }
}

proptest! {
    /// Red when: `check_event` returns before it compares the hash; when `states_link` is always true; when
    /// `Checkpoint::compare` lets a missing event pass; when `stitch` does not sort.
    #[test]
    fn any_single_mutation_is_found(
        len in 1..40_usize,
        what in mutation(),
        threads in 1..4_usize,
        range_events_max in 1..9_u64,
        read_bytes_max in 1..3000_usize,
    ) {
        let original = events::chain(len);
        let last = original.last().unwrap();
        let held = Checkpoint { event_id: EventId::new(len as u64).unwrap(), hash: last.hash };
        let mut mutated = original.clone();
        mutate(&mut mutated, &what);

        let alone = verdict(&mutated, held, small_ranges(1, u64::MAX, usize::MAX));
        let parallel = verdict(&mutated, held, small_ranges(threads, range_events_max, read_bytes_max));
        prop_assert_eq!(&alone, &parallel);
        prop_assert_eq!(matches!(alone, Verdict::Intact { .. }), mutated == original, "{:?}", alone);

        let mut state = ChainState::start();
        let fast = chain::check_run(&mut state, &events::run_of(&mutated)).err();
        let judged = events::naive(&mutated);
        prop_assert_eq!(fast.as_ref().map(|broken| broken.event.get()), judged.as_ref().map(|(event, _)| *event));
        if let (Some(broken), Some((_, Some(reason)))) = (&fast, &judged) {
            prop_assert_eq!(&broken.reason, reason);
            prop_assert_eq!(state.next, broken.event);
        }
        // What the chain finds, the full check and every other path names alike.
        let mut full = AuditState::start();
        let strict = strict::check_run(&mut full, &events::run_of(&mutated)).err();
        if let Some(broken) = fast {
            prop_assert_eq!(strict, Some(broken.clone()));
            prop_assert_eq!(alone, Verdict::Broken { checked: state.checked(), at: broken });
        }
    }
}
