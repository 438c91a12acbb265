//! Queries: what is asked for, which events that is, and how they are written.
//!
//! A query's way: `params` reads the address → a [`LogSet`] says which logs → `lane` makes of each a stretch of ids →
//! `walk` finds the page's ids, merging the logs, and `cursor` remembers where it stopped → `page` reads the events again and
//! writes them (`csv`, or as they were sealed). `tally` counts instead, `histogram` says between which times.
//!
//! Invariants: every step reads a bounded number of bytes, so that a caller who goes away ends the work; the ids of a page are the
//! only thing that grows with an answer; what an index can not decide is read within the request's budget, and who used it up is
//! told; a page's end is a position in each log, never an offset, so that appends move nothing.

mod csv;
mod cursor;
mod fetch;
mod histogram;
mod lane;
mod page;
mod params;
mod tally;
mod walk;

use std::sync::Arc;

use annals_api::names::{BUCKETS_MAX, LOGS_MAX};
use annals_core::chain::TreeSize;
use annals_store::{FindEvents, ReadError};

use crate::app::{Interrupted, ReadFailed};
use crate::problem::Refusal;

pub(crate) use cursor::Cursor;
pub(crate) use histogram::Spacing;
pub(crate) use lane::Lane;
pub(crate) use page::{Layout, Page, Piece};
pub(crate) use params::{Given, Paging, Place, Selection, bad, of_filter};
pub(crate) use tally::{Tallied, Tally};
pub(crate) use walk::{Picked, Walk};

/// Bytes that are looked through in one step, about.
const STEP_BYTES: u64 = 8 * 1024 * 1024;
/// What asking an engine once is taken for at least: an index that reads no event works, too.
const CALL_BYTES: u64 = 256 * 1024;

/// One log of a query.
#[derive(Clone)]
pub(crate) struct SearchLog {
    pub(crate) name: Arc<str>,
    pub(crate) events: Arc<dyn FindEvents>,
}

/// The logs of a query, by name: at least one, at most [`LOGS_MAX`], each once.
#[derive(Clone)]
pub(crate) struct LogSet(Arc<[SearchLog]>);

impl LogSet {
    /// `None` when there are none, too many, or two of one name.
    pub(crate) fn new(mut logs: Vec<SearchLog>) -> Option<Self> {
        logs.sort_by(|one, other| one.name.cmp(&other.name));
        let are_distinct = logs.windows(2).all(|pair| pair[0].name != pair[1].name);
        let fits = (1..=LOGS_MAX).contains(&logs.len());
        (fits && are_distinct).then(|| Self(logs.into()))
    }

    pub(crate) fn one(log: SearchLog) -> Self {
        Self(Arc::new([log]))
    }

    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = &SearchLog> {
        self.0.iter()
    }

    pub(crate) fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.0.iter().map(|log| &*log.name)
    }

    /// True when an answer has to say which log an event is from.
    pub(crate) fn are_several(&self) -> bool {
        self.0.len() > 1
    }
}

/// Why a search has no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SearchFailed {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
    #[error("the cursor is beyond the end of log `{log}`, which is event {size}")]
    Beyond { log: String, size: TreeSize },
    #[error("more than {bytes_max} bytes of events would have to be read")]
    OverBudget { bytes_max: u64 },
    #[error("{count} buckets are more than {BUCKETS_MAX}")]
    TooManyBuckets { count: u64 },
}

impl SearchFailed {
    /// What the caller is told; `selection` says which parameters made it so.
    pub(crate) fn refusal(self, selection: &Selection) -> Refusal {
        match self {
            Self::Read(error) => ReadFailed::Read(error).into(),
            Self::Interrupted(error) => ReadFailed::Interrupted(error).into(),
            Self::Beyond { log, size } => bad(
                "cursor",
                format!(
                    "is beyond the end of log `{log}`, which is event {size}: the log is not the one that it was given out for, or has lost its end"
                ),
            ),
            Self::OverBudget { bytes_max } => bad(
                selection.scanning_parameter(),
                format!(
                    "makes this count read more than {bytes_max} bytes of events; narrow it with `since`, `until` or other \
                     parameters, or page through GET /events"
                ),
            ),
            Self::TooManyBuckets { count } => bad(
                "interval",
                format!(
                    "makes {count} buckets, the limit is {BUCKETS_MAX}; choose a wider one, or a shorter time"
                ),
            ),
        }
    }
}
