//! Made-up events: their terms and claimed times, from a seed; and the queries that are asked of them.
//!
//! Shared by the integration tests and by the unit test that builds runs a second way.

use annals_core::field::Field;
use annals_core::filter::ClaimedRange;
use annals_core::time::Micros;

/// What the index is told of an event.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) claimed: Option<Micros>,
    pub(crate) terms: Vec<(Field, Vec<u8>)>,
}

impl Event {
    pub(crate) fn terms(&self) -> impl Iterator<Item = (Field, &[u8])> {
        self.terms.iter().map(|(field, raw)| (*field, raw.as_slice()))
    }
}

/// SplitMix64.
#[derive(Debug, Clone)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// A number below `end`, small ones much more often: about as the ranks of names in a log.
    pub(crate) fn rank(&mut self, end: u64) -> u64 {
        let bits = u64::from(end.ilog2()) + 1;
        let scale = self.below(bits) + 1;
        self.below(1 << scale) % end
    }
}

/// Events that have something of everything: few terms and many, bursts, a term in all but a few events, terms that are too
/// long to hold, missing ones, claims that are missing or lie far back.
pub(crate) fn mixed(seed: u64, len: usize) -> Vec<Event> {
    let mut random = Random(seed);
    let burst = random.below(len as u64) as usize;
    (0..len).map(|at| mixed_event(&mut random, at, burst)).collect()
}

fn mixed_event(random: &mut Random, at: usize, burst: usize) -> Event {
    let mut terms = vec![
        (Field::Kind, format!("kind-{}", random.rank(9)).into_bytes()),
        (Field::Actor, format!("actor-{}", random.rank(300)).into_bytes()),
        (Field::Request, format!("{:016x}", random.next()).into_bytes()),
    ];
    if at.abs_diff(burst) < 70 {
        terms.push((Field::Session, b"burst".to_vec()));
    }
    if random.below(40) != 0 {
        terms.push((Field::Outcome, b"success".to_vec()));
    }
    if random.below(3) == 0 {
        terms.push((Field::Source, vec![b's'; 250 + random.below(9) as usize]));
    }
    if random.below(2) == 0 {
        terms.push((Field::Tenant, Vec::new()));
    }
    let claimed = match random.below(30) {
        0 => None,
        1 => Some(-(random.below(1_000) as i64)),
        _ => Some(at as i64 * 1_000 + random.below(5_000) as i64),
    };
    Event {
        claimed: claimed.map(Micros),
        terms,
    }
}

/// An event as a service writes them: ten terms, three of which are nearly unique.
pub(crate) fn typical(random: &mut Random, at: u64) -> Event {
    let text = |field: Field, text: String| (field, text.into_bytes());
    let actor = random.rank(20_000);
    let request = (random.next(), random.next());
    let terms = vec![
        text(Field::Kind, format!("event_kind_{}", random.rank(24))),
        text(Field::Source, format!("service-{}", random.rank(8))),
        text(Field::Tenant, format!("tenant-{:05}", actor * 7 % 997 % 200)),
        text(Field::Actor, format!("user-{actor:08}")),
        text(
            Field::ActorType,
            ["user", "user", "user", "service", "token"][random.below(5) as usize].into(),
        ),
        text(
            Field::Resource,
            format!("document/{:010}", random.below(50_000_000)),
        ),
        text(Field::ResourceType, format!("type-{}", random.rank(10))),
        text(
            Field::Outcome,
            if random.below(25) == 0 {
                "denied"
            } else {
                "success"
            }
            .into(),
        ),
        text(Field::Request, format!("{:016x}{:016x}", request.0, request.1)),
        text(
            Field::Trace,
            format!("{:032x}", request.0 ^ request.1.rotate_left(7)),
        ),
    ];
    Event {
        claimed: Some(Micros(1_700_000_000_000_000 + at as i64 * 700)),
        terms,
    }
}

/// What a test asks.
#[derive(Debug, Clone, Default)]
pub(crate) struct Question {
    pub(crate) fields: Vec<(Field, Vec<Vec<u8>>)>,
    pub(crate) claimed: ClaimedRange,
}

impl Question {
    pub(crate) fn of(fields: &[(Field, &[&str])]) -> Self {
        let raw = |terms: &[&str]| terms.iter().map(|term| term.as_bytes().to_vec()).collect();
        Self {
            fields: fields.iter().map(|(field, terms)| (*field, raw(terms))).collect(),
            claimed: ClaimedRange::default(),
        }
    }

    pub(crate) fn claimed(mut self, from: Option<i64>, until: Option<i64>) -> Self {
        self.claimed = ClaimedRange {
            from: from.map(Micros),
            until: until.map(Micros),
        };
        self
    }

    /// The meaning of the question, by reading the event.
    pub(crate) fn matches(&self, event: &Event) -> bool {
        let has = |field: Field, raw: &[u8]| event.terms().any(|term| term == (field, raw));
        let in_fields = self
            .fields
            .iter()
            .all(|(field, terms)| terms.iter().any(|raw| has(*field, raw)));
        let ClaimedRange { from, until } = self.claimed;
        let in_range = match event.claimed {
            None => from.is_none() && until.is_none(),
            Some(time) => from.is_none_or(|from| time >= from) && until.is_none_or(|until| time < until),
        };
        in_fields && in_range
    }
}
