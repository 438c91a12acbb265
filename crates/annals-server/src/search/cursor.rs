//! Cursors: where a page ended, as text that a caller passes back unread.
//!
//! Layout, before base64url without padding (RFC 4648 section 5): version (1), order (1: 0 newest first, 1 oldest first), number of
//! logs (1), for each log by name its position (u64, little-endian), binding (16), checksum (4). Binding and checksum are the
//! first bytes of a SHA-256: the one over what was asked for, the other over all before it.
//!
//! A position is the id at which the log's search goes on. Newest first it goes down from there, and 0 is the end; oldest first
//! it goes up, and one behind the last event that was there is where later ones will be.
//!
//! Invariants: a cursor that was changed, cut, or made for another query is refused, never interpreted; the same query has the
//! same binding however it was written. A cursor is no secret and no permission: whoever forges one gets what the query
//! gives from another position on.

use annals_core::hash::EventHash;
use annals_store::Order;

use super::LogSet;
use super::params::{Selection, bad};
use crate::problem::Refusal;

const VERSION: u8 = 1;
const BINDING_LEN: usize = 16;
const CHECKSUM_LEN: usize = 4;

/// Where to go on in each log, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cursor {
    pub(crate) order: Order,
    pub(crate) positions: Vec<u64>,
}

impl Cursor {
    /// The text of the cursor, for this query only.
    pub(crate) fn encode(&self, selection: &Selection, logs: &LogSet) -> String {
        let count = u8::try_from(self.positions.len()).unwrap_or(u8::MAX);
        let mut bytes = vec![VERSION, number_of(self.order), count];
        for position in &self.positions {
            bytes.extend_from_slice(&position.to_le_bytes());
        }
        bytes.extend_from_slice(&binding(selection, self.order, logs));
        bytes.extend_from_slice(&checksum(&bytes));
        base64url(&bytes)
    }

    /// Reads a cursor of this query; `order` is the one that was given beside it.
    ///
    /// # Errors
    /// 400, naming `cursor`.
    pub(crate) fn decode(
        text: &str,
        selection: &Selection,
        order: Option<Order>,
        logs: &LogSet,
    ) -> Result<Self, Refusal> {
        let refused = |message: &str| bad("cursor", String::from(message));
        let broken = || {
            refused("is not what this server gave out; take it unchanged from `Link`, or begin without it")
        };
        let bytes = from_base64url(text).ok_or_else(broken)?;
        let (body, sum) = bytes.split_last_chunk::<CHECKSUM_LEN>().ok_or_else(broken)?;
        if *sum != checksum(body) {
            return Err(broken());
        }
        let (content, bound) = body.split_last_chunk::<BINDING_LEN>().ok_or_else(broken)?;
        let [version, number, count, positions @ ..] = content else {
            return Err(broken());
        };
        if *version != VERSION {
            return Err(refused("is of another version of this server; begin without it"));
        }
        let found = order_of(*number).ok_or_else(broken)?;
        let belongs = order.is_none_or(|order| order == found)
            && *bound == binding(selection, found, logs)
            && usize::from(*count) == logs.names().len();
        if !belongs {
            return Err(refused(
                "belongs to another query; repeat the filters, `order` and `log` that it was given out for, or begin without it",
            ));
        }
        let (positions, rest) = positions.as_chunks::<8>();
        if !rest.is_empty() || positions.len() != usize::from(*count) {
            return Err(broken());
        }
        Ok(Self {
            order: found,
            positions: positions
                .iter()
                .map(|position| u64::from_le_bytes(*position))
                .collect(),
        })
    }
}

fn number_of(order: Order) -> u8 {
    match order {
        Order::NewestFirst => 0,
        Order::OldestFirst => 1,
    }
}

fn order_of(number: u8) -> Option<Order> {
    [Order::NewestFirst, Order::OldestFirst]
        .into_iter()
        .find(|order| number_of(*order) == number)
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM_LEN] {
    first_bytes(&EventHash::of(bytes))
}

/// What a cursor stands for, whatever words it was asked for with.
fn binding(selection: &Selection, order: Order, logs: &LogSet) -> [u8; BINDING_LEN] {
    let mut text = Description(b"annals cursor".to_vec());
    text.number(Some(u64::from(number_of(order))));
    text.number(selection.after);
    let claimed = selection.filter.claimed();
    for time in [selection.since, selection.until, claimed.from, claimed.until] {
        text.number(time.map(|time| time.0.cast_unsigned()));
    }
    let mut texts: Vec<&str> = selection.filter.texts().collect();
    texts.sort_unstable();
    text.list(texts.into_iter().map(str::as_bytes));
    text.list(logs.names().map(str::as_bytes));
    for (field, values) in selection.filter.values() {
        text.number(Some(u64::from(field.number())));
        text.list(values.iter().map(|value| &**value));
    }
    first_bytes(&EventHash::of(&text.0))
}

/// Bytes that say unambiguously what they are made of.
struct Description(Vec<u8>);

impl Description {
    fn number(&mut self, number: Option<u64>) {
        self.0.push(u8::from(number.is_some()));
        self.0
            .extend_from_slice(&number.unwrap_or_default().to_le_bytes());
    }

    fn list<'a>(&mut self, items: impl ExactSizeIterator<Item = &'a [u8]>) {
        self.number(Some(items.len() as u64));
        for item in items {
            self.number(Some(item.len() as u64));
            self.0.extend_from_slice(item);
        }
    }
}

fn first_bytes<const N: usize>(hash: &EventHash) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(&hash.0[..N]);
    bytes
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

fn base64url(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let mut padded = [0; 3];
        padded[..group.len()].copy_from_slice(group);
        let bits = u32::from_be_bytes([0, padded[0], padded[1], padded[2]]);
        for place in 0..=group.len() {
            let digit = bits >> (18 - 6 * place) & 0x3f;
            text.push(char::from(ALPHABET[digit as usize]));
        }
    }
    text
}

/// Only the text that [`base64url`] makes of the bytes.
fn from_base64url(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 2);
    for group in text.as_bytes().chunks(4) {
        let mut bits = 0_u32;
        for place in 0..4 {
            let digit = match group.get(place) {
                Some(letter) => ALPHABET.iter().position(|digit| digit == letter)?,
                None => 0,
            };
            bits = bits << 6 | u32::try_from(digit).ok()?;
        }
        bytes.extend_from_slice(&bits.to_be_bytes()[1..group.len().max(1)]);
    }
    (base64url(&bytes) == text).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use annals_core::field::Field;
    use annals_core::filter::Filter;
    use annals_core::time::Micros;
    use annals_store::Unindexed;
    use annals_testkit::memory::MemoryEngine;

    use super::super::SearchLog;
    use super::*;

    fn logs(names: &[&str]) -> LogSet {
        let log = |name: &&str| SearchLog {
            name: Arc::from(*name),
            events: Arc::new(Unindexed::new(MemoryEngine::default().reader())),
        };
        LogSet::new(names.iter().map(log).collect()).unwrap()
    }

    fn selection(values: &[(Field, &str)], texts: &[&str]) -> Selection {
        let filter = values.iter().fold(Filter::default(), |filter, (field, value)| {
            filter.with_value(*field, value).unwrap()
        });
        let filter = texts
            .iter()
            .fold(filter, |filter, text| filter.with_text(text).unwrap());
        Selection {
            filter: Arc::new(filter),
            since: None,
            until: None,
            after: None,
        }
    }

    /// RFC 4648 section 10, without padding.
    #[test]
    fn base64_of_the_specification() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg"),
            ("fo", "Zm8"),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg"),
            ("fooba", "Zm9vYmE"),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64url(bytes.as_bytes()), text);
            assert_eq!(from_base64url(text).as_deref(), Some(bytes.as_bytes()), "{text}");
        }
        assert_eq!(base64url(&[0xfb, 0xff]), "-_8");
        // Other spellings of the same bytes, and no base64url.
        for bad in ["Zh", "Zg==", "Z", "Zm9vY", "Zm9+", "Zm9/", "Zm 9", "é"] {
            assert_eq!(from_base64url(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_cursor_goes_round() {
        let (asked, set) = (selection(&[(Field::Actor, "a")], &[]), logs(&["a", "b"]));
        for order in [Order::NewestFirst, Order::OldestFirst] {
            let cursor = Cursor {
                order,
                positions: vec![0, u64::MAX],
            };
            let text = cursor.encode(&asked, &set);
            for given in [None, Some(order)] {
                assert_eq!(Cursor::decode(&text, &asked, given, &set).unwrap(), cursor);
            }
        }
    }

    /// Red when: the checksum is not compared, or `from_base64url` takes what `base64url` does not make.
    #[test]
    fn a_cursor_that_was_touched_is_refused() {
        let (asked, set) = (selection(&[], &["x"]), logs(&["a"]));
        let cursor = Cursor {
            order: Order::NewestFirst,
            positions: vec![77],
        };
        let text = cursor.encode(&asked, &set);
        let is_refused = |text: &str| Cursor::decode(text, &asked, None, &set).is_err();
        assert!(!is_refused(&text));
        for cut in 0..text.len() {
            assert!(is_refused(&text[..cut]), "{cut}");
            for letter in ALPHABET.iter().map(|digit| char::from(*digit)).chain(['=', ' ']) {
                let mut changed: Vec<char> = text.chars().collect();
                if changed[cut] != letter {
                    changed[cut] = letter;
                    assert!(is_refused(&changed.iter().collect::<String>()), "{cut} {letter}");
                }
            }
        }
        assert!(is_refused(&format!("{text}A")));
        assert!(is_refused(&format!("{text}AAAA")));
    }

    /// Red when: any line is left out of `binding`, or `list` does not write lengths.
    #[test]
    fn a_cursor_belongs_to_one_query() {
        use Field::{Actor, Kind, Session, Source};
        let of = selection;
        let timed = |since, until, after| Selection {
            since,
            until,
            after,
            ..of(&[], &[])
        };
        let claimed = |from, until| {
            let range = annals_core::filter::ClaimedRange { from, until };
            Selection {
                filter: Arc::new(Filter::default().with_claimed(range)),
                ..of(&[], &[])
            }
        };
        let asked = [
            of(&[], &[]),
            of(&[(Actor, "a")], &[]),
            of(&[(Actor, "b")], &[]),
            of(&[(Session, "a")], &[]),
            of(&[(Actor, "a"), (Actor, "b")], &[]),
            of(&[(Actor, "ab")], &[]),
            of(&[(Kind, "a"), (Source, "b")], &[]),
            of(&[], &["a"]),
            of(&[], &["a", "b"]),
            of(&[], &["ab"]),
            of(&[], &["ab", "c"]),
            of(&[], &["a", "bc"]),
            timed(Some(Micros(1)), None, None),
            timed(None, Some(Micros(1)), None),
            timed(None, None, Some(1)),
            timed(None, None, Some(0)),
            claimed(Some(Micros(1)), None),
            claimed(None, Some(Micros(1))),
        ];
        let sets = [logs(&["a"]), logs(&["b"]), logs(&["a", "b"]), logs(&["ab"])];
        let mut seen = Vec::new();
        for selection in &asked {
            for set in &sets {
                for order in [Order::NewestFirst, Order::OldestFirst] {
                    let bound = binding(selection, order, set);
                    assert!(!seen.contains(&bound), "{selection:?} {order:?}");
                    seen.push(bound);
                }
            }
        }
        let cursor = Cursor {
            order: Order::NewestFirst,
            positions: vec![7],
        };
        let text = cursor.encode(&asked[0], &sets[0]);
        assert!(Cursor::decode(&text, &asked[1], None, &sets[0]).is_err());
        assert!(Cursor::decode(&text, &asked[0], None, &sets[1]).is_err());
        assert!(Cursor::decode(&text, &asked[0], Some(Order::OldestFirst), &sets[0]).is_err());
        // The same, said otherwise.
        let one = binding(
            &of(&[(Actor, "a"), (Actor, "b")], &["X", "y"]),
            Order::NewestFirst,
            &sets[0],
        );
        let other = binding(
            &of(&[(Actor, "b"), (Actor, "a")], &["y", "x"]),
            Order::NewestFirst,
            &sets[0],
        );
        assert_eq!(one, other);
    }
}
