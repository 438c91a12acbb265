//! The load generator: events with the skew that real ones have, as a producer posts them.
//!
//! Figures about size, speed and finding are measured on its events, so what it makes is fixed: the same shape, seed and
//! plants give the same bytes. (Weights of the actors come from the platform's `powf`: between platforms that round it
//! differently, a few actors in a million events may differ.)
//!
//! | what | how it is distributed |
//! |---|---|
//! | actors | 100,000, drawn a session by Zipf with exponent 1.1: the first has about 13 % of all sessions. Every 20th is a service (the first is one), every 20th an agent, the others are users |
//! | sessions | 1,000 are open at any moment, each event belongs to one of them, evenly; 1 to 39 events long, evenly. One has one actor, one source, one grant, one address |
//! | tenants | 50; an actor belongs to one, the actors are spread by Zipf with exponent 1 |
//! | kinds | 20, Zipf with exponent 1 |
//! | sources | 12, Zipf with exponent 1, drawn a session |
//! | resources | 8 types, evenly; a fifth of the events names one of 1,000 busy ones, the others one of 2,000,000, evenly |
//! | requests | a random UUID for each |
//! | outcomes | 90 % success, 7 % failure, 3 % denied |
//! | claimed times | from 2026-01-01 on, 0 to 1,600 ms after the last event, evenly: ten million events are three months |
//!
//! Shapes differ in the members that they have: see [`Shape`]. Draws are independent unless the table says otherwise.
//!
//! Planted actors have exactly as many events as is asked for, evenly spread over the events of the run.

mod alias;

use annals_core::time::Micros;

use crate::events::Random;
use alias::Alias;

/// Which members the events have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// `kind`, `source` and a payload with actor, resource and request id; the log stamps the time. About 300 bytes sealed.
    Seed,
    /// `kind`, `source`, `actor`, `tenant`, `outcome`; and in part of the events, each by itself, `session` (1/2), `resource` (3/10),
    /// `request.id` (1/4), a number in the payload (1/2), a claimed time (1/2). About 450 bytes sealed.
    Extended,
    /// Every indexed field in every event, and a claimed time: the worst an index meets. About 700 bytes sealed.
    Full,
}

/// An actor with a known number of events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plant {
    /// The actor's id: printable ASCII without `"` and `\`, and none that the generator makes (`u-…`, `svc-…`, `agent-…`).
    pub actor: String,
    /// How many events it has in the run.
    pub hits: u64,
}

/// Makes events, one at a time.
#[derive(Debug, Clone)]
pub struct Generator {
    shape: Shape,
    random: Random,
    tables: Tables,
    sessions: Vec<Session>,
    sessions_begun: u64,
    planted: Vec<Planted>,
    /// Events of the run that are still to come.
    left: u64,
    clock: Clock,
    out: Vec<u8>,
}

const ACTORS: usize = 100_000;
const TENANTS: usize = 50;
const SESSIONS: usize = 1_000;
const SESSION_EVENTS_MAX: u64 = 39;
const RESOURCES: u64 = 2_000_000;
const RESOURCES_BUSY: u64 = 1_000;
const GRANTS: u64 = 5_000;
const MILLIS_BETWEEN_MAX: u64 = 1_600;

const KINDS: [&str; 20] = [
    "request_allowed",
    "tool_invocation_completed",
    "tool_invocation_allowed",
    "request_denied",
    "watch_drifted",
    "tool_invocation_failed",
    "attestation_verified",
    "decision_card_drafted",
    "tool_invocation_denied",
    "decision_card_signed",
    "policy_condition_asserted",
    "shadow_divergence_recorded",
    "flag_swapped",
    "tool_invocation_required_approval",
    "decision_card_status_changed",
    "watch_validity_flipped",
    "contract_promoted",
    "incident_filed",
    "remediation_planned",
    "other",
];
const SOURCES: [&str; 12] = [
    "gateway", "api", "web", "auth", "billing", "mobile", "agents", "etl", "admin", "ci", "mailer", "batch",
];
const RESOURCE_TYPES: [&str; 8] = [
    "order", "invoice", "document", "account", "project", "member", "secret", "report",
];

impl Generator {
    /// A generator without planted actors.
    #[must_use]
    pub fn new(shape: Shape, seed: u64) -> Self {
        let mut generator = Self {
            shape,
            random: Random::new(seed, 0x6e6e),
            tables: Tables::new(seed),
            sessions: Vec::with_capacity(SESSIONS),
            sessions_begun: 0,
            planted: Vec::new(),
            left: 0,
            clock: Clock::default(),
            out: Vec::with_capacity(1024),
        };
        for _ in 0..SESSIONS {
            let session = generator.begin_session();
            generator.sessions.push(session);
        }
        generator
    }

    /// Plants actors into the next `events` events. They never occur behind those.
    ///
    /// # Panics
    /// When the plants have more hits than there are events, or the generator has begun.
    #[must_use]
    pub fn planting(mut self, events: u64, plants: &[Plant]) -> Self {
        assert!(
            self.clock.millis == 0,
            "actors are planted before the first event"
        );
        let hits: u64 = plants.iter().map(|plant| plant.hits).sum();
        assert!(hits <= events, "{hits} hits do not fit {events} events");
        self.left = events;
        for plant in plants {
            let mut session = self.begin_session();
            session.actor.clone_from(&plant.actor);
            session.actor_type = "user";
            self.planted.push(Planted {
                hits_left: plant.hits,
                session,
            });
        }
        self
    }

    /// The next event as JSON, good until the next call.
    pub fn next_event(&mut self) -> &[u8] {
        self.clock.advance(self.random.below(MILLIS_BETWEEN_MAX + 1));
        self.out.clear();
        let planted = self.next_planted();
        let session = match planted {
            Some(at) => self.take_planted(at),
            None => self.take_session(),
        };
        self.write(&session);
        match planted {
            Some(at) => self.planted[at].session = session,
            None => self.sessions.push(session),
        }
        &self.out
    }

    /// One of the open sessions, or a new one in its place; it is put back behind the others.
    fn take_session(&mut self) -> Session {
        let at = usize::try_from(self.random.below(SESSIONS as u64)).expect("below a usize");
        let mut session = self.sessions.swap_remove(at);
        if session.events_left == 0 {
            session = self.begin_session();
        }
        session.events_left -= 1;
        session
    }

    fn take_planted(&mut self, at: usize) -> Session {
        let planted = &mut self.planted[at];
        planted.hits_left -= 1;
        let mut session = std::mem::take(&mut planted.session);
        if session.events_left == 0 {
            session.id = self.sessions_begun;
            session.events_left = SESSION_EVENTS_MAX / 2;
            self.sessions_begun += 1;
        }
        session.events_left -= 1;
        session
    }

    /// Selection sampling (Knuth, The Art of Computer Programming, 3.4.2, algorithm S): a planted actor has the event with a
    /// chance of its hits left in the events left, so it gets all of its hits, anywhere in the run.
    fn next_planted(&mut self) -> Option<usize> {
        if self.left == 0 {
            return None;
        }
        let mut drawn = self.random.below(self.left);
        self.left -= 1;
        for (at, planted) in self.planted.iter().enumerate() {
            if drawn < planted.hits_left {
                return Some(at);
            }
            drawn -= planted.hits_left;
        }
        None
    }

    fn begin_session(&mut self) -> Session {
        let random = &mut self.random;
        let actor = self.tables.actors.draw(random);
        let (actor_type, name) = match actor % 20 {
            0 => ("service", "svc"),
            10 => ("agent", "agent"),
            _ => ("user", "u"),
        };
        let id = self.sessions_begun;
        self.sessions_begun += 1;
        Session {
            id,
            events_left: 1 + random.below(SESSION_EVENTS_MAX),
            actor: format!("{name}-{actor}"),
            actor_type,
            tenant: self.tables.tenant_of_actor[actor],
            source: SOURCES[self.tables.sources.draw(random)],
            grant: random.below(GRANTS),
            address: format!("198.51.{}.{}", random.below(100), random.below(250)),
        }
    }

    fn write(&mut self, session: &Session) {
        match self.shape {
            Shape::Seed => self.write_seed(session),
            Shape::Extended => self.write_extended(session),
            Shape::Full => self.write_full(session),
        }
    }

    fn write_seed(&mut self, session: &Session) {
        self.write_kind_and_source(session);
        self.text(",\"payload\":{\"actor\":\"");
        self.text(&session.actor);
        self.text("\",\"request_id\":\"");
        self.write_uuid();
        self.text("\",\"resource\":\"");
        self.write_resource_id();
        self.text("\"}}");
    }

    fn write_extended(&mut self, session: &Session) {
        let parts = self.random.next_u64();
        let has = |shift: u32, share_of_256: u64| (parts >> shift) & 0xff < share_of_256;
        self.write_kind_and_source(session);
        self.write_who(session);
        if has(0, 128) {
            self.write_numbered(",\"session\":\"s-", session.id);
        }
        if has(8, 77) {
            self.write_resource();
        }
        if has(16, 64) {
            self.text(",\"request\":{\"id\":\"");
            self.write_uuid();
            self.text("\"}");
        }
        if has(24, 128) {
            self.write_payload();
        }
        if has(32, 128) {
            self.write_claim();
        }
        self.text("}");
    }

    fn write_full(&mut self, session: &Session) {
        self.write_kind_and_source(session);
        self.write_who(session);
        self.write_numbered(",\"session\":\"s-", session.id);
        self.write_numbered(",\"run\":\"run-", session.id / 4);
        self.write_numbered(",\"grant\":\"grant-", session.grant);
        self.write_resource();
        self.text(",\"request\":{\"id\":\"");
        self.write_uuid();
        self.text("\",\"ip\":\"");
        self.text(&session.address);
        self.text("\"},\"attempt_id\":\"");
        self.write_uuid();
        self.text("\",\"trace_id\":\"");
        self.write_hex(8);
        self.write_hex(8);
        self.text("\"");
        self.write_payload();
        self.write_claim();
        self.text("}");
    }

    fn write_kind_and_source(&mut self, session: &Session) {
        let kind = KINDS[self.tables.kinds.draw(&mut self.random)];
        self.text("{\"kind\":\"");
        self.text(kind);
        self.text("\",\"source\":\"");
        self.text(session.source);
        self.text("\"");
    }

    fn write_who(&mut self, session: &Session) {
        self.text(",\"actor\":{\"id\":\"");
        self.text(&session.actor);
        self.text("\",\"type\":\"");
        self.text(session.actor_type);
        self.text("\"}");
        self.write_numbered(",\"tenant\":\"t-", session.tenant);
        let outcome = match self.random.below(100) {
            0..90 => "success",
            90..97 => "failure",
            _ => "denied",
        };
        self.text(",\"outcome\":\"");
        self.text(outcome);
        self.text("\"");
    }

    fn write_resource(&mut self) {
        self.text(",\"resource\":{\"id\":\"");
        let kind = self.write_resource_id();
        self.text("\",\"type\":\"");
        self.text(kind);
        self.text("\"}");
    }

    /// A resource is always of the same type.
    fn write_resource_id(&mut self) -> &'static str {
        let resource = match self.random.below(5) {
            0 => self.random.below(RESOURCES_BUSY),
            _ => self.random.below(RESOURCES),
        };
        let types = RESOURCE_TYPES.len() as u64;
        let kind = RESOURCE_TYPES[usize::try_from(resource % types).expect("a few types")];
        self.text(kind);
        self.text("-");
        self.write_number(resource);
        kind
    }

    fn write_payload(&mut self) {
        let millis = self.random.below(1_000);
        self.text(",\"payload\":{\"ms\":");
        self.write_number(millis);
        self.text("}");
    }

    fn write_claim(&mut self) {
        self.text(",\"timestamp\":\"");
        self.clock.write(&mut self.out);
        self.text("\"");
    }

    fn write_numbered(&mut self, text: &str, number: u64) {
        self.text(text);
        self.write_number(number);
        self.text("\"");
    }

    /// A UUID as version 4 has it (RFC 9562).
    fn write_uuid(&mut self) {
        let start = self.out.len();
        self.write_hex(8);
        self.write_hex(8);
        for at in [8, 13, 18, 23] {
            self.out.insert(start + at, b'-');
        }
        self.out[start + 14] = b'4';
        let variant = &mut self.out[start + 19];
        *variant = b"89ab"[usize::from(*variant % 4)];
    }

    fn write_hex(&mut self, bytes: usize) {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        for byte in self.random.next_u64().to_le_bytes().into_iter().take(bytes) {
            self.out.push(DIGITS[usize::from(byte >> 4)]);
            self.out.push(DIGITS[usize::from(byte & 15)]);
        }
    }

    fn write_number(&mut self, number: u64) {
        write_number(&mut self.out, number, 1);
    }

    fn text(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }
}

#[derive(Debug, Clone)]
struct Planted {
    hits_left: u64,
    session: Session,
}

#[derive(Debug, Clone, Default)]
struct Session {
    id: u64,
    events_left: u64,
    actor: String,
    actor_type: &'static str,
    tenant: u64,
    source: &'static str,
    grant: u64,
    address: String,
}

#[derive(Debug, Clone)]
struct Tables {
    actors: Alias,
    tenant_of_actor: Vec<u64>,
    kinds: Alias,
    sources: Alias,
}

impl Tables {
    fn new(seed: u64) -> Self {
        let tenants = Alias::zipf(TENANTS, 1.0);
        let mut random = Random::new(seed, 0x7e4a);
        Self {
            actors: Alias::zipf(ACTORS, 1.1),
            tenant_of_actor: (0..ACTORS).map(|_| tenants.draw(&mut random) as u64).collect(),
            kinds: Alias::zipf(KINDS.len(), 1.0),
            sources: Alias::zipf(SOURCES.len(), 1.0),
        }
    }
}

/// When things are said to have happened.
#[derive(Debug, Clone, Default)]
struct Clock {
    /// Since the beginning.
    millis: u64,
    /// The date as text, and the day that it is.
    date: String,
    day: u64,
}

impl Clock {
    const MILLIS_PER_DAY: u64 = 86_400_000;
    /// 2026-01-01T00:00:00Z.
    const BEGIN_DAY: u64 = 20_454;

    fn advance(&mut self, millis: u64) {
        self.millis += millis;
        let day = Self::BEGIN_DAY + self.millis / Self::MILLIS_PER_DAY;
        if day != self.day {
            let micros = i64::try_from(day * Self::MILLIS_PER_DAY * 1_000).expect("a time before year 10000");
            self.date = Micros(micros).to_string()[..10].to_owned();
            self.day = day;
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        let millis = self.millis % Self::MILLIS_PER_DAY;
        out.extend_from_slice(self.date.as_bytes());
        for (before, number, digits) in [
            (b'T', millis / 3_600_000, 2),
            (b':', millis / 60_000 % 60, 2),
            (b':', millis / 1_000 % 60, 2),
            (b'.', millis % 1_000, 3),
        ] {
            out.push(before);
            write_number(out, number, digits);
        }
        out.push(b'Z');
    }
}

/// Appends the number in decimal, with at least so many digits.
fn write_number(out: &mut Vec<u8>, mut number: u64, digits_min: usize) {
    let mut digits = [b'0'; 20];
    let mut at = digits.len();
    while number > 0 || digits.len() - at < digits_min {
        at -= 1;
        digits[at] = b'0' + u8::try_from(number % 10).expect("a digit");
        number /= 10;
    }
    out.extend_from_slice(&digits[at..]);
}
