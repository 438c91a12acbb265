//! The end of a log, in memory: the last chunks that were read of it.
//!
//! Invariants: the chunks follow each other without a gap, and the last one ends where the ring ends; the ring's end never goes
//! back; what the chunks weigh together stays within the bound of the moment, if need be by having none.

use std::collections::VecDeque;
use std::sync::Arc;

use annals_core::chain::EventId;

use super::chunk::Chunk;

#[derive(Debug)]
pub(crate) struct Ring {
    chunks: VecDeque<Arc<Chunk>>,
    end: EventId,
    weight: usize,
}

/// Where the next event of a reader is.
#[derive(Debug)]
pub(crate) enum Look {
    /// In this chunk.
    Here(Arc<Chunk>),
    /// In storage only.
    Behind,
    /// It has not come in.
    AtHead,
}

impl Ring {
    /// An empty ring that goes on at `end`.
    pub(crate) fn new(end: EventId) -> Self {
        Self {
            chunks: VecDeque::new(),
            end,
            weight: 0,
        }
    }

    /// The id that the next chunk begins with.
    pub(crate) fn end(&self) -> EventId {
        self.end
    }

    pub(crate) fn look(&self, next: EventId) -> Look {
        if next >= self.end {
            return Look::AtHead;
        }
        let at = self.chunks.partition_point(|chunk| chunk.end() <= next);
        match self.chunks.get(at) {
            Some(chunk) if chunk.first() <= next => Look::Here(Arc::clone(chunk)),
            _ => Look::Behind,
        }
    }

    /// Adds the chunk that begins at the end, and lets go of the oldest ones that have no room beside it.
    pub(crate) fn push(&mut self, chunk: Chunk, weight_max: usize) {
        if chunk.first() != self.end {
            self.restart(chunk.first());
        }
        self.end = chunk.end();
        self.weight += chunk.weight();
        self.chunks.push_back(Arc::new(chunk));
        self.shrink(weight_max);
    }

    /// Lets go of the oldest chunks until the others weigh no more than that.
    pub(crate) fn shrink(&mut self, weight_max: usize) {
        while self.weight > weight_max
            && let Some(chunk) = self.chunks.pop_front()
        {
            self.weight -= chunk.weight();
        }
    }

    /// Goes on at `end`, for what lies before it is only to be had from storage.
    pub(crate) fn restart(&mut self, end: EventId) {
        self.chunks.clear();
        self.weight = 0;
        self.end = self.end.max(end);
    }
}

#[cfg(test)]
mod tests {
    use std::iter;

    use super::*;

    fn chunk(first: u64, end: u64) -> Chunk {
        let id = |id| EventId::new(id).unwrap();
        Chunk::new(id(first), id(end), iter::empty())
    }

    fn look(ring: &Ring, next: u64) -> String {
        match ring.look(EventId::new(next).unwrap()) {
            Look::Here(chunk) => format!("{}..{}", chunk.first(), chunk.end()),
            Look::Behind => String::from("behind"),
            Look::AtHead => String::from("at head"),
        }
    }

    /// Red when: `partition_point` compares with `<`; `push` does not shrink; `restart` keeps the chunks.
    #[test]
    fn each_event_is_in_one_place() {
        let mut ring = Ring::new(EventId::new(5).unwrap());
        assert_eq!(
            (look(&ring, 4), look(&ring, 5)),
            ("behind".into(), "at head".into())
        );
        let three = 3 * chunk(5, 8).weight();
        for (first, end) in [(5, 8), (8, 9), (9, 20), (20, 21)] {
            ring.push(chunk(first, end), three);
        }
        for (next, place) in [
            (7, "behind"),
            (8, "8..9"),
            (9, "9..20"),
            (19, "9..20"),
            (20, "20..21"),
            (21, "at head"),
            (22, "at head"),
        ] {
            assert_eq!(look(&ring, next), place, "{next}");
        }
        ring.shrink(three - 1);
        assert_eq!(look(&ring, 8), "behind");
        ring.restart(EventId::new(30).unwrap());
        assert_eq!(
            (look(&ring, 20), look(&ring, 30)),
            ("behind".into(), "at head".into())
        );
        ring.restart(EventId::new(3).unwrap());
        assert_eq!(ring.end().get(), 30);
        // A chunk that is too heavy for the bound is in storage only.
        ring.push(chunk(30, 31), 1);
        assert_eq!(
            (look(&ring, 30), look(&ring, 31)),
            ("behind".into(), "at head".into())
        );
    }
}
