//! One log of a query: the stretch of its ids in which a query's matches lie.
//!
//! Receive times never go back along a log, so a range of them is a range of ids, and only the filter is left to be asked of single
//! events. The end of the stretch is fixed when the query begins.

use annals_core::chain::{EventId, TreeSize};
use annals_store::{Order, ReadError};

use super::{SearchFailed, SearchLog, Selection};

/// A stretch of a log, and the log.
#[derive(Clone)]
pub(crate) struct Lane {
    pub(crate) log: SearchLog,
    pub(crate) span: Span,
    /// The head that was looked at.
    pub(crate) head: TreeSize,
}

/// Events from `first` to `last`; none when `last` is before `first`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) first: EventId,
    pub(crate) last: TreeSize,
}

impl Lane {
    /// Where the selected events lie in `log`, as it stands.
    ///
    /// # Errors
    /// [`ReadError`].
    pub(crate) fn of(log: &SearchLog, selection: &Selection) -> Result<Self, ReadError> {
        let head = log.events.head().size;
        let mut span = Span {
            first: EventId::FIRST.plus(selection.after.unwrap_or(0)),
            last: head,
        };
        if let Some(since) = selection.since {
            span.first = span.first.max(log.events.first_at(since)?);
        }
        if let Some(until) = selection.until {
            let end = log.events.first_at(until)?;
            span.last = head.min(TreeSize(end.get() - 1));
        }
        Ok(Self {
            log: log.clone(),
            span,
            head,
        })
    }

    /// The rest of the stretch, from where a page ended.
    ///
    /// # Errors
    /// [`SearchFailed::Beyond`]: the log has never been as long as that.
    pub(crate) fn resumed(mut self, order: Order, position: u64) -> Result<Self, SearchFailed> {
        let most = match order {
            Order::NewestFirst => self.head.0,
            Order::OldestFirst => self.head.next().get(),
        };
        if position > most {
            return Err(SearchFailed::Beyond {
                log: self.log.name.to_string(),
                size: self.head,
            });
        }
        match order {
            Order::NewestFirst => self.span.last = self.span.last.min(TreeSize(position)),
            Order::OldestFirst => {
                self.span.first = self
                    .span
                    .first
                    .max(EventId::new(position).unwrap_or(EventId::FIRST));
            }
        }
        Ok(self)
    }
}

impl Span {
    /// How many events there are in it.
    pub(crate) fn len(self) -> u64 {
        (self.last.0 + 1).saturating_sub(self.first.get())
    }

    /// The id behind the last event, or `first` when there is none.
    pub(crate) fn end(self) -> EventId {
        self.last.next().max(self.first)
    }

    /// The event at which a search in this order begins.
    pub(crate) fn start(self, order: Order) -> Option<EventId> {
        match order {
            _ if self.len() == 0 => None,
            Order::NewestFirst => self.last.last(),
            Order::OldestFirst => Some(self.first),
        }
    }
}
