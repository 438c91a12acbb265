//! A stretch of a log as messages of the live stream, written once for all of its readers.
//!
//! Invariants: a chunk never changes, so an unfiltered reader is given a reference to its text, not a copy; what several readers
//! with equal filters want of it is put together once; what is kept of that is never more than the text itself.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use annals_core::body::{self, SERVED_EXTRA_BYTES};
use annals_core::canon;
use annals_core::chain::EventId;
use annals_core::filter::Filter;
use annals_core::time::Micros;
use annals_store::StoredEvent;
use bytes::Bytes;

/// Filters whose results one chunk keeps.
const RESULTS_MAX: usize = 64;

/// Some events of a stretch of ids as messages (WHATWG HTML, section 9.2.5).
#[derive(Debug)]
pub(crate) struct Chunk {
    first: EventId,
    end: EventId,
    text: Bytes,
    messages: Box<[Message]>,
    results: Mutex<Results>,
}

/// Where a message lies in the text, up to where the next one begins.
#[derive(Debug)]
struct Message {
    id: EventId,
    received_at: Micros,
    start: usize,
    /// Where the line `id` begins.
    id_line: usize,
    /// Where the event begins.
    data: usize,
}

/// What one reader wants of a chunk.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    /// Only this event and later ones.
    pub(crate) from: EventId,
    /// Only events that the log received then or later.
    pub(crate) not_before: Option<Micros>,
    /// Equal filters of a log's readers are the same one: [`super::hub::Hub`] sees to it.
    pub(crate) filter: Arc<Filter>,
}

/// How a message looks.
#[derive(Debug, Clone)]
pub(crate) enum Style {
    /// The reader follows this log alone: the message's id is the event's.
    Plain,
    /// The reader follows several logs: the id tells its place in all of them, the data says which log the event is from.
    Labelled {
        /// The log.
        log: Arc<str>,
        /// The id's text before the place in this log.
        before: String,
        /// The id's text behind it.
        after: String,
    },
}

impl Chunk {
    /// The messages of `events`, which are those that are to be had of `first` up to, not including, `end`.
    pub(crate) fn new<'a>(
        first: EventId,
        end: EventId,
        events: impl Iterator<Item = StoredEvent<'a>>,
    ) -> Self {
        let (mut text, mut messages) = (Vec::new(), Vec::new());
        for event in events {
            messages.push(write_message(&event, &mut text));
        }
        Self {
            first,
            end,
            text: Bytes::from(text),
            messages: messages.into(),
            results: Mutex::default(),
        }
    }

    /// The first id of the stretch.
    pub(crate) fn first(&self) -> EventId {
        self.first
    }

    /// The id behind the stretch.
    pub(crate) fn end(&self) -> EventId {
        self.end
    }

    /// Bytes of all messages together.
    pub(crate) fn text_bytes(&self) -> usize {
        self.text.len()
    }

    /// Bytes of memory that the chunk takes at most, with what it keeps for filters.
    pub(crate) fn weight(&self) -> usize {
        size_of::<Self>()
            + 2 * self.text.len()
            + size_of_val(&*self.messages)
            + RESULTS_MAX * size_of::<(Weak<Filter>, Bytes)>()
    }

    /// True when the log received one of the chunk's events at `time` or later: its last one, as times never go back.
    pub(crate) fn reaches(&self, time: Micros) -> bool {
        self.messages.last().is_some_and(|last| last.received_at >= time)
    }

    /// The messages that are wanted, in order. May be none.
    pub(crate) fn select(&self, wanted: &Wanted, style: &Style) -> Bytes {
        let begin = self.messages.partition_point(|message| message.id < wanted.from);
        let is_plain = matches!(style, Style::Plain) && wanted.not_before.is_none();
        if is_plain && wanted.filter.is_open() {
            let start = self
                .messages
                .get(begin)
                .map_or(self.text.len(), |message| message.start);
            return self.text.slice(start..);
        }
        if !is_plain || begin > 0 {
            return self.write(begin, wanted, style);
        }
        if let Some(known) = self.results().of(&wanted.filter) {
            return known;
        }
        let result = self.write(begin, wanted, style);
        self.results().keep(&wanted.filter, &result, self.text.len());
        result
    }

    fn write(&self, begin: usize, wanted: &Wanted, style: &Style) -> Bytes {
        let mut out = Vec::new();
        for (at, message) in self.messages.iter().enumerate().skip(begin) {
            let end = self
                .messages
                .get(at + 1)
                .map_or(self.text.len(), |next| next.start);
            let is_early = wanted.not_before.is_some_and(|time| message.received_at < time);
            if is_early || !self.matches(message, end, &wanted.filter) {
                continue;
            }
            match style {
                Style::Plain => out.extend_from_slice(&self.text[message.start..end]),
                Style::Labelled { log, before, after } => {
                    out.extend_from_slice(&self.text[message.start..message.id_line]);
                    out.extend_from_slice(
                        format!("id: {before}{}{after}\ndata: {{\"log\":", message.id).as_bytes(),
                    );
                    canon::write_string(log, &mut out);
                    out.extend_from_slice(b",\"event\":");
                    out.extend_from_slice(&self.text[message.data..end - MESSAGE_END.len()]);
                    out.push(b'}');
                    out.extend_from_slice(MESSAGE_END);
                }
            }
        }
        Bytes::from(out)
    }

    /// The served event is the sealed body with the hash in it, which no filter looks at.
    fn matches(&self, message: &Message, end: usize, filter: &Filter) -> bool {
        filter.is_open() || filter.matches(&self.text[message.data..end - MESSAGE_END.len()])
    }

    fn results(&self) -> std::sync::MutexGuard<'_, Results> {
        self.results.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What filters made of the whole chunk.
#[derive(Debug, Default)]
struct Results {
    known: Vec<(Weak<Filter>, Bytes)>,
    bytes: usize,
}

impl Results {
    fn of(&self, filter: &Arc<Filter>) -> Option<Bytes> {
        let known = self.known.iter();
        // An address is not used again as long as there is a weak reference to it.
        known
            .filter(|(of, _)| of.as_ptr() == Arc::as_ptr(filter))
            .map(|(_, result)| result.clone())
            .next()
    }

    /// Keeps the result when another reader has the same filter and there is room.
    fn keep(&mut self, filter: &Arc<Filter>, result: &Bytes, bytes_max: usize) {
        let fits = self.known.len() < RESULTS_MAX && self.bytes + result.len() <= bytes_max;
        if fits && Arc::strong_count(filter) > 1 && self.of(filter).is_none() {
            self.bytes += result.len();
            self.known.push((Arc::downgrade(filter), result.clone()));
        }
    }
}

const MESSAGE_END: &[u8] = b"\n\n";

/// Canonical text has no line break and a registered kind no control character, so nothing in an event can end its line.
fn write_message(event: &StoredEvent<'_>, out: &mut Vec<u8>) -> Message {
    let kind = body::member(event.body, "kind").unwrap_or(b"\"\"");
    out.reserve(event.body.len() + SERVED_EXTRA_BYTES + kind.len() + 48);
    let start = out.len();
    out.extend_from_slice(b"event: ");
    out.extend_from_slice(
        kind.strip_prefix(b"\"")
            .and_then(|kind| kind.strip_suffix(b"\""))
            .unwrap_or(kind),
    );
    out.push(b'\n');
    let id_line = out.len();
    out.extend_from_slice(format!("id: {}\ndata: ", event.id).as_bytes());
    let data = out.len();
    body::write_served(event.body, &event.hash, out);
    out.extend_from_slice(MESSAGE_END);
    Message {
        id: event.id,
        received_at: event.received_at,
        start,
        id_line,
        data,
    }
}
