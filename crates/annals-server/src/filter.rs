//! Filters over stored bodies: a comparison of canonical bytes, without parsing an event.

use annals_core::body;
use annals_core::canon;
use annals_core::kind;
use memchr::memmem;

use crate::problem::{Kind, Refusal, excerpt};

/// Which events a reader wants; the parts are ANDed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Filter {
    /// Canonical JSON string.
    kind: Option<Vec<u8>>,
    /// Canonical JSON string.
    source: Option<Vec<u8>>,
}

impl Filter {
    /// Events of this kind and from this source; `None` is any.
    ///
    /// # Errors
    /// 422 for a kind that is not registered: no event can have it, so it is a mistake.
    pub(crate) fn new(kind: Option<&str>, source: Option<&str>) -> Result<Self, Refusal> {
        if let Some(unknown) = kind.filter(|kind| !kind::is_registered(kind)) {
            return Err(Refusal::of_field(
                Kind::Invalid,
                "kind",
                format!(
                    "is \"{}\", which is not a registered kind; use one of: {}",
                    excerpt(unknown),
                    kind::SEED_KINDS.join(", ")
                ),
            ));
        }
        Ok(Self {
            kind: kind.map(canonical),
            source: source.map(canonical),
        })
    }

    /// True when every event matches.
    pub(crate) fn is_open(&self) -> bool {
        self.kind.is_none() && self.source.is_none()
    }

    pub(crate) fn matches(&self, stored: &[u8]) -> bool {
        let is = |name: &str, wanted: &Option<Vec<u8>>| {
            wanted
                .as_ref()
                .is_none_or(|wanted| body::member(stored, name) == Some(wanted.as_slice()))
        };
        // A search is much cheaper than the walk to a member behind the payload, and rules most events out.
        let may_match = |wanted: &Option<Vec<u8>>| {
            wanted
                .as_ref()
                .is_none_or(|wanted| memmem::find(stored, wanted).is_some())
        };
        is("kind", &self.kind) && may_match(&self.source) && is("source", &self.source)
    }
}

fn canonical(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 2);
    canon::write_string(text, &mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_compares_members_not_texts() {
        let stored =
            br#"{"event_id":1,"kind":"other","payload":{"source":"b","s":"\u00e9"},"prev_hash":"0","source":"\u00e9","timestamp":"t"}"#;
        let matches = |kind, source| Filter::new(kind, source).unwrap().matches(stored);
        assert!(matches(None, None));
        assert!(matches(Some("other"), Some("é")));
        // Red when: `is("source", …)` is left out of `matches`.
        assert!(!matches(None, Some("b")));
        assert!(!matches(Some("flag_swapped"), Some("é")));
        assert!(!matches(None, Some("")));
        assert!(Filter::new(Some("nope"), None).is_err());
    }
}
