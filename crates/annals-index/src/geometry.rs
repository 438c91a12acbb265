//! Which ranges runs cover, and in which units they count.
//!
//! Invariants: a run's range is aligned to its own length, so every run lies in exactly one run of the next level. A group
//! divides a base, a base a window, a window every longer run.

use annals_core::chain::EventId;

/// Sizes of runs and of what they are made of; all but the last two are powers of two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    pub(crate) base_bits: u8,
    pub(crate) window_bits: u8,
    pub(crate) group_bits: u8,
    pub(crate) fanout_bits: u8,
    pub(crate) page_bits: u8,
    pub(crate) rare_groups: u8,
}

/// A run's place in its log: the `number`th of its level, both from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RunId {
    /// 0 for runs that are made from events; each other level is merged from the one below.
    pub level: u8,
    /// Which of the level's runs, in the order of their events.
    pub number: u64,
}

/// Bits of the longest run's length: group numbers and windows inside a run fit 32 bits by far.
const RUN_BITS_MAX: u32 = 38;
/// Ids have 63 bits, so that sums of them do not overflow.
const ID_BITS: u32 = 63;

impl Geometry {
    /// The geometry of every log: 4,096 events a base, 65,536 a window, 128 a group, 8 runs to one above, pages of 16 KiB.
    pub const PRODUCTION: Self = Self {
        base_bits: 12,
        window_bits: 16,
        group_bits: 7,
        fanout_bits: 3,
        page_bits: 14,
        rare_groups: 8,
    };

    /// Another geometry, for tests, in which few events make many levels. The first five are binary logarithms; a term that
    /// hits fewer than `rare_groups` groups of a window is rare there. `None` when the numbers do not fit together.
    #[must_use]
    pub fn of_bits(base: u8, window: u8, group: u8, fanout: u8, page: u8, rare_groups: u8) -> Option<Self> {
        let fits = (6..=16).contains(&base)
            && (8..=16).contains(&window)
            // A list of a base's postings is never divided.
            && base + 2 <= window
            && (1..base).contains(&group)
            && (1..=6).contains(&fanout)
            && (9..=14).contains(&page)
            // The longest entry of a leaf, with a part of a window's postings, fits an empty page.
            && (1_usize << window) / 32 + 320 <= 1 << page;
        fits.then_some(Self {
            base_bits: base,
            window_bits: window,
            group_bits: group,
            fanout_bits: fanout,
            page_bits: page,
            rare_groups,
        })
    }

    /// Bytes of a page.
    #[must_use]
    pub fn page_bytes(self) -> usize {
        1 << self.page_bits
    }

    /// Events of a group: what a rare term's entry leads to.
    #[must_use]
    pub fn group_len(self) -> u64 {
        1 << self.group_bits
    }

    /// Events of a window: what one answer covers.
    #[must_use]
    pub fn window_len(self) -> u64 {
        1 << self.window_bits
    }

    /// The highest level that runs may have.
    #[must_use]
    pub fn level_max(self) -> u8 {
        let above = (RUN_BITS_MAX - u32::from(self.window_bits)) / u32::from(self.fanout_bits);
        u8::try_from(above).unwrap_or(u8::MAX).saturating_add(1)
    }

    /// Events that a run of this level covers. Levels above [`Geometry::level_max`] count as that one.
    #[must_use]
    pub fn len(self, level: u8) -> u64 {
        1 << self.len_bits(level)
    }

    /// The first event that a run covers.
    #[must_use]
    pub fn first(self, run: RunId) -> EventId {
        EventId::FIRST.plus(self.start(run))
    }

    /// How many runs of the level below a run is merged from; 0 for the lowest level.
    #[must_use]
    pub fn fanout(self, level: u8) -> u64 {
        match level {
            0 => 0,
            _ => self.len(level) / self.len(level - 1),
        }
    }

    /// The run of the next level in which this one lies; `None` from the highest level.
    #[must_use]
    pub fn parent(self, run: RunId) -> Option<RunId> {
        let level = run
            .level
            .checked_add(1)
            .filter(|level| *level <= self.level_max())?;
        let number = run.number / self.fanout(level);
        Some(RunId { level, number })
    }

    /// The runs that a run is merged from, in order; none for the lowest level.
    pub fn children(self, run: RunId) -> impl Iterator<Item = RunId> {
        let fanout = self.fanout(run.level);
        let level = run.level.saturating_sub(1);
        (0..fanout).map(move |at| RunId {
            level,
            number: run.number * fanout + at,
        })
    }

    /// The fewest runs that cover the first `size` events but for a rest shorter than a base, in order: what an index
    /// consists of when nothing waits to be built or merged.
    #[must_use]
    pub fn cover(self, size: u64) -> Vec<RunId> {
        let mut runs = Vec::new();
        let mut start = 0;
        for level in (0..=self.level_max()).rev() {
            let len = self.len(level);
            while size - start >= len {
                runs.push(RunId {
                    level,
                    number: start / len,
                });
                start += len;
            }
        }
        runs
    }

    /// Whether a run's level and range exist.
    pub(crate) fn has(self, run: RunId) -> bool {
        let numbers = 1_u64 << (ID_BITS - self.len_bits(run.level));
        run.level <= self.level_max() && run.number < numbers
    }

    /// Events before a run's first.
    pub(crate) fn start(self, run: RunId) -> u64 {
        run.number << self.len_bits(run.level)
    }

    /// Ids that one list of postings spans: a window, or a shorter run.
    pub(crate) fn span(self, level: u8) -> u32 {
        1 << self.len_bits(level).min(u32::from(self.window_bits))
    }

    /// Windows of a run, 1 also for a shorter one.
    pub(crate) fn windows(self, level: u8) -> u32 {
        1 << self.len_bits(level).saturating_sub(u32::from(self.window_bits))
    }

    /// Groups of a run.
    pub(crate) fn groups(self, level: u8) -> u32 {
        1 << self.group_width(level)
    }

    /// Bits of a group's number in a run.
    pub(crate) fn group_width(self, level: u8) -> u32 {
        self.len_bits(level) - u32::from(self.group_bits)
    }

    /// Bits by which a group's number is shifted to give its window.
    pub(crate) fn window_shift(self) -> u32 {
        u32::from(self.window_bits - self.group_bits)
    }

    /// Longest encoded list of postings that is not divided into parts.
    pub(crate) fn postings_bytes_max(self) -> usize {
        1 << (self.window_bits - 5)
    }

    fn len_bits(self, level: u8) -> u32 {
        let above = u32::from(level.min(self.level_max()));
        match above {
            0 => u32::from(self.base_bits),
            _ => u32::from(self.window_bits) + (above - 1) * u32::from(self.fanout_bits),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_of_the_production_geometry() {
        let lens = [
            4_096,
            65_536,
            524_288,
            4_194_304,
            33_554_432,
            268_435_456,
            2_147_483_648,
        ];
        for (level, len) in (0_u8..).zip(lens) {
            assert_eq!(Geometry::PRODUCTION.len(level), len);
        }
        assert_eq!(Geometry::PRODUCTION.level_max(), 8);
        assert_eq!(Geometry::PRODUCTION.fanout(1), 16);
        assert_eq!(Geometry::PRODUCTION.fanout(2), 8);
    }

    #[test]
    fn a_cover_has_no_gap_and_leaves_less_than_a_base() {
        let geometry = Geometry::PRODUCTION;
        for size in [0, 4_095, 4_096, 65_535, 65_536, 1_000_000_000, 3_000_000_017] {
            let mut end = 0;
            for run in geometry.cover(size) {
                assert_eq!(geometry.start(run), end);
                end += geometry.len(run.level);
            }
            assert!(end <= size && size - end < geometry.len(0), "{size}: {end}");
        }
        assert!(geometry.cover(1_000_000_000).len() < 40);
    }

    #[test]
    fn children_and_parent_belong_together() {
        let geometry = Geometry::PRODUCTION;
        for run in [RunId { level: 1, number: 5 }, RunId { level: 4, number: 2 }] {
            let children: Vec<RunId> = geometry.children(run).collect();
            assert_eq!(children.len() as u64, geometry.fanout(run.level));
            assert_eq!(geometry.start(children[0]), geometry.start(run));
            for child in children {
                assert_eq!(geometry.parent(child), Some(run));
            }
        }
        assert_eq!(geometry.parent(RunId { level: 8, number: 0 }), None);
    }
}
