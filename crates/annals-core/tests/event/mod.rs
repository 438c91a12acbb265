//! Events of both versions: what producers may send, the bytes that are sealed, and what others make of them.

mod digests;
mod limits;
mod properties;
mod vectors;

use annals_core::canonical::{CanonicalBatch, Stamp};
use annals_core::chain::Head;
use annals_core::draft::DraftParser;
use annals_core::limits::EventLimits;
use annals_core::seal::{SealedBatch, seal};
use annals_core::time::Micros;

const STAMP: Stamp = Stamp {
    id: [0xab; 16],
    nonce: [0x05; 16],
};

/// What `STAMP` is in text.
const STAMP_ID: &str = "abababab-abab-abab-abab-abababababab";
const STAMP_NONCE: &str = "05050505050505050505050505050505";

/// A batch of these events, all with `STAMP`.
fn batch_of<'a>(events: impl IntoIterator<Item = &'a str>) -> CanonicalBatch {
    let limits = EventLimits::default();
    let mut parser = DraftParser::new(limits);
    let mut batch = CanonicalBatch::default();
    for event in events {
        let draft = parser
            .parse(event.as_bytes())
            .unwrap_or_else(|error| panic!("{error}: {event}"));
        batch.push(&draft, &limits, || STAMP).unwrap();
    }
    batch
}

fn sealed(head: &Head, now: Micros, batch: &CanonicalBatch) -> SealedBatch {
    let sealed = seal(head, now, std::iter::once(batch));
    assert!(sealed.bodies().len() <= batch.sealed_bytes_max());
    sealed
}

/// The body of the one event, sealed at the Unix epoch as the first of its log.
fn body_of(event: &str) -> String {
    let sealed = sealed(&Head::EMPTY, Micros(0), &batch_of([event]));
    String::from_utf8(sealed.body(0).to_vec()).unwrap()
}
