//! Which events of a window match a filter, as far as a run knows.
//!
//! Invariant: an answer's candidates hold every event that matches; its sure ids hold only such. So an index never changes an
//! answer: whoever holds the doubtful candidates against their bodies gets what reading every event gives.

use annals_core::chain::{EventId, LogId};
use annals_core::field::Field;
use annals_core::filter::{ClaimedRange, Filter};

use crate::fault::{Broken, Fault};
use crate::hits::WindowHits;
use crate::leaf::{EntryCursor, Key, ListCursor, ListEntry};
use crate::page::{Kind, Page, RunSource};
use crate::print::{Prints, TERM_BYTES_MAX};
use crate::run::{Run, Side};
use crate::stream::Zones;
use crate::zones::Verdict;

/// A filter made ready for the runs of one log.
#[derive(Debug, Clone)]
pub struct Query {
    /// Any of the terms of each. Those whose terms are usually rare come first: most often they leave nothing to do.
    fields: Vec<Vec<Term>>,
    claimed: ClaimedRange,
    /// Whether there is more to the filter than a run knows.
    needs_bodies: bool,
}

#[derive(Debug, Clone)]
struct Term {
    print: u32,
    field: u8,
    raw: Box<[u8]>,
}

/// Which way along the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// To later events.
    Up,
    /// To earlier events.
    Down,
}

/// How many events of a window match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WindowCount {
    /// So many.
    Exact(u64),
    /// As many of these as turn out to match, by their bodies where they are not sure.
    Check(WindowHits),
}

/// How often [`Run::next_window`] compares the fields before it returns a window that may turn out empty.
const LEAPS_MAX: usize = 64;

impl Query {
    /// The filter, for runs of this log.
    #[must_use]
    pub fn new(log: LogId, filter: &Filter) -> Self {
        let values = filter
            .values()
            .map(|(field, values)| (field, values.iter().map(|raw| &**raw)));
        Self::of_parts(log, values, filter.claimed(), filter.texts().next().is_some())
    }

    /// The parts of a filter: any of the terms of each field (canonical JSON strings without their quotes), all of the fields;
    /// a range of claimed times; whether bodies have to be read anyway.
    #[must_use]
    pub fn of_parts<'t, T: IntoIterator<Item = &'t [u8]>>(
        log: LogId,
        fields: impl IntoIterator<Item = (Field, T)>,
        claimed: ClaimedRange,
        needs_bodies: bool,
    ) -> Self {
        let prints = Prints::of(log);
        let term = |field: Field, raw: &[u8]| Term {
            print: prints.print(field.number(), raw),
            field: field.number(),
            raw: raw.into(),
        };
        let mut fields: Vec<(Field, Vec<Term>)> = fields
            .into_iter()
            .map(|(field, terms)| (field, terms.into_iter().map(|raw| term(field, raw)).collect()))
            .collect();
        fields.sort_by_key(|(field, _)| (is_of_few_terms(*field), *field));
        Self {
            fields: fields.into_iter().map(|(_, terms)| terms).collect(),
            claimed,
            needs_bodies,
        }
    }
}

/// Whether a field usually has few different terms, each with many events.
fn is_of_few_terms(field: Field) -> bool {
    matches!(
        field,
        Field::Kind | Field::Source | Field::Tenant | Field::ActorType | Field::ResourceType | Field::Outcome
    )
}

impl<S: RunSource> Run<S> {
    /// The nearest window, from `from` on in the direction and `from` included, in which something may match; `None` when there
    /// is none in this run. It may turn out to hold nothing. Windows are numbered as in [`Run::windows`].
    ///
    /// # Errors
    /// [`Fault`].
    pub fn next_window(&self, query: &Query, from: u64, direction: Direction) -> Result<Option<u64>, Fault> {
        let windows = self.windows();
        let from = match direction {
            Direction::Up => from.max(*windows.start()),
            Direction::Down => from.min(*windows.end()),
        };
        if !windows.contains(&from) {
            return Ok(None);
        }
        let Ok(mut window) = u32::try_from(from - windows.start()) else {
            return Ok(None);
        };
        let mut zones = Zones::new(self, Kind::WindowZones);
        for _ in 0..LEAPS_MAX {
            let start = window;
            for terms in &query.fields {
                match self.nearest_of(terms, window, direction)? {
                    Some(nearest) => window = nearest,
                    None => return Ok(None),
                }
            }
            if window == start {
                let is_out = query.claimed != ClaimedRange::default()
                    && zones.zone(window)?.verdict(query.claimed) == Verdict::None;
                if !is_out {
                    break;
                }
                let Some(next) = self.beside(window, direction) else {
                    return Ok(None);
                };
                window = next;
            }
        }
        Ok(Some(windows.start() + u64::from(window)))
    }

    /// What matches in a window. Windows are numbered as in [`Run::windows`]; in one that the run does not cover, nothing does.
    /// A run that is shorter than a window answers for its own events only.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn window(&self, query: &Query, window: u64) -> Result<WindowHits, Fault> {
        let Some((window, first)) = self.window_place(window) else {
            return Ok(WindowHits::none(self.first(), self.span()));
        };
        let mut hits = WindowHits::all(first, self.span());
        for terms in &query.fields {
            let mut any = WindowHits::none(first, self.span());
            for term in terms {
                self.add_term(term, window, &mut any)?;
            }
            hits.and(&any);
            if hits.is_empty() {
                return Ok(hits);
            }
        }
        if query.claimed != ClaimedRange::default() {
            self.apply_zones(query.claimed, window, &mut hits)?;
        }
        if query.needs_bodies {
            hits.doubt(0..self.span());
        }
        Ok(hits)
    }

    /// How many events match in a window; without reading a body where the run knows. Windows as in [`Run::window`].
    ///
    /// # Errors
    /// [`Fault`].
    pub fn count(&self, query: &Query, window: u64) -> Result<WindowCount, Fault> {
        if let Some(count) = self.count_by_headers(query, window)? {
            return Ok(WindowCount::Exact(count));
        }
        let hits = self.window(query, window)?;
        Ok(if hits.is_sure() {
            WindowCount::Exact(hits.count())
        } else {
            WindowCount::Check(hits)
        })
    }

    /// The sum of the lists' counts, where a single term is looked for and is common.
    fn count_by_headers(&self, query: &Query, window: u64) -> Result<Option<u64>, Fault> {
        let [terms] = query.fields.as_slice() else {
            return Ok(None);
        };
        let ([term], Some((window, _))) = (terms.as_slice(), self.window_place(window)) else {
            return Ok(None);
        };
        if query.needs_bodies || query.claimed != ClaimedRange::default() {
            return Ok(None);
        }
        let mut count = None;
        self.visit(term, window, |found| {
            if let Found::List(list) = found {
                count = Some(count.unwrap_or(0) + u64::from(list.list.count));
            }
            Ok(())
        })?;
        Ok(count)
    }

    /// A window's number in the run, and its first event.
    fn window_place(&self, window: u64) -> Option<(u32, EventId)> {
        let place = window.checked_sub(self.first_window())?;
        let place = u32::try_from(place)
            .ok()
            .filter(|place| *place < self.window_count())?;
        Some((
            place,
            self.first().plus(u64::from(place) * u64::from(self.span())),
        ))
    }

    fn beside(&self, window: u32, direction: Direction) -> Option<u32> {
        match direction {
            Direction::Up => Some(window + 1).filter(|next| *next < self.window_count()),
            Direction::Down => window.checked_sub(1),
        }
    }

    /// Adds the events of a window that hold a term.
    fn add_term(&self, term: &Term, window: u32, any: &mut WindowHits) -> Result<(), Fault> {
        let mut groups = Vec::new();
        let mut is_common = false;
        self.visit(term, window, |found| {
            match found {
                Found::List(list) => {
                    is_common = true;
                    any.add_list(&list.list)?;
                }
                Found::Group(group) => groups.push(group),
            }
            Ok(())
        })?;
        // A term that is common in a window is not rare there: then the entries are of other terms.
        if !is_common {
            let bits = self.geometry().group_bits;
            let in_window = (self.span() >> bits) - 1;
            for group in groups {
                let start = (group & in_window) << bits;
                any.add_candidates(start..start + (1 << bits));
            }
        }
        Ok(())
    }

    fn apply_zones(&self, claimed: ClaimedRange, window: u32, hits: &mut WindowHits) -> Result<(), Fault> {
        let bits = self.geometry().group_bits;
        let in_window = self.span() >> bits;
        let mut zones = Zones::new(self, Kind::GroupZones);
        for place in 0..in_window {
            let ids = place << bits..(place + 1) << bits;
            if !hits.has_any(ids.clone()) {
                continue;
            }
            match zones.zone(window * in_window + place)?.verdict(claimed) {
                Verdict::None => hits.remove(ids),
                Verdict::Some => hits.doubt(ids),
                Verdict::All => {}
            }
        }
        Ok(())
    }

    /// The nearest window that may hold any of the terms.
    fn nearest_of(&self, terms: &[Term], window: u32, direction: Direction) -> Result<Option<u32>, Fault> {
        let mut nearest = None;
        for term in terms {
            let found = match direction {
                Direction::Up => self.nearest_up(term, window)?,
                Direction::Down => self.nearest_down(term, window)?,
            };
            if found == Some(window) {
                return Ok(found);
            }
            nearest = match (nearest, found, direction) {
                (Some(left), Some(right), Direction::Up) => Some(right.min(left)),
                (Some(left), Some(right), Direction::Down) => Some(right.max(left)),
                (left, right, _) => left.or(right),
            };
        }
        Ok(nearest)
    }

    fn nearest_up(&self, term: &Term, window: u32) -> Result<Option<u32>, Fault> {
        let low = Key {
            print: term.print,
            window,
        };
        let (mut number, mut page) = self.leaf(low, Side::First)?;
        loop {
            let mut nearest: Option<u32> = None;
            let is_last = self
                .visit_leaf(&page, term, low.window..=u32::MAX, |found| {
                    let window = self.window_of(&found);
                    nearest = Some(nearest.map_or(window, |nearest| nearest.min(window)));
                    Ok(())
                })
                .map_err(|broken| broken.on(number))?;
            if nearest.is_some() || is_last {
                return Ok(nearest);
            }
            match self.leaf_behind(number)? {
                Some(next) => (number, page) = next,
                None => return Ok(None),
            }
        }
    }

    fn nearest_down(&self, term: &Term, window: u32) -> Result<Option<u32>, Fault> {
        let high = Key {
            print: term.print,
            window,
        };
        let (mut number, mut page) = self.leaf(high, Side::Last)?;
        loop {
            let mut nearest: Option<u32> = None;
            let broken = |broken: Broken| broken.on(number);
            self.visit_leaf(&page, term, 0..=high.window, |found| {
                nearest = nearest.max(Some(self.window_of(&found)));
                Ok(())
            })
            .map_err(broken)?;
            // Leaves before this one hold the fingerprint only if this one begins with it, or behind it.
            if nearest.is_some()
                || self
                    .first_print(&page)
                    .map_err(broken)?
                    .is_some_and(|first| first < term.print)
            {
                return Ok(nearest);
            }
            match self.leaf_before(number)? {
                Some(before) => (number, page) = before,
                None => return Ok(None),
            }
        }
    }

    fn first_print(&self, page: &Page) -> Result<Option<u32>, Broken> {
        let entry = EntryCursor::new(page)?.next_print(page)?;
        let list = ListCursor::new(page)?.next(page)?.map(|list| list.key.print);
        Ok(match (entry, list) {
            (Some(entry), Some(list)) => Some(entry.min(list)),
            (entry, list) => entry.or(list),
        })
    }

    fn window_of(&self, found: &Found<'_>) -> u32 {
        match found {
            Found::Group(group) => group >> self.geometry().window_shift(),
            Found::List(list) => list.key.window,
        }
    }

    /// Hands over all that the run has of a term in one window.
    fn visit(
        &self,
        term: &Term,
        window: u32,
        mut each: impl FnMut(Found<'_>) -> Result<(), Broken>,
    ) -> Result<(), Fault> {
        let key = Key {
            print: term.print,
            window,
        };
        let (mut number, mut page) = self.leaf(key, Side::First)?;
        loop {
            let is_last = self
                .visit_leaf(&page, term, window..=window, &mut each)
                .map_err(|broken| broken.on(number))?;
            if is_last {
                return Ok(());
            }
            match self.leaf_behind(number)? {
                Some(next) => (number, page) = next,
                None => return Ok(()),
            }
        }
    }

    /// Hands over what a leaf has of a term in some windows: entries, then lists, each ascending. Returns whether the leaf goes on
    /// behind them, so that later leaves have nothing more.
    fn visit_leaf(
        &self,
        page: &Page,
        term: &Term,
        windows: std::ops::RangeInclusive<u32>,
        mut each: impl FnMut(Found<'_>) -> Result<(), Broken>,
    ) -> Result<bool, Broken> {
        let end = Key {
            print: term.print,
            window: *windows.end(),
        };
        // A base holds every term in full that is not too long.
        let may_be_rare = self.id().level > 0 || term.raw.len() > TERM_BYTES_MAX;
        let is_past_entries = may_be_rare && self.visit_entries(page, term.print, &windows, &mut each)?;
        let mut lists = ListCursor::new(page)?;
        while let Some(list) = lists.next(page)? {
            if list.key > end {
                return Ok(true);
            }
            let is_it = list.key.print == term.print
                && windows.contains(&list.key.window)
                && list.field == term.field
                && *list.term(page) == *term.raw;
            if is_it {
                each(Found::List(list.on(page)))?;
            }
        }
        Ok(is_past_entries)
    }

    fn visit_entries(
        &self,
        page: &Page,
        print: u32,
        windows: &std::ops::RangeInclusive<u32>,
        each: &mut impl FnMut(Found<'_>) -> Result<(), Broken>,
    ) -> Result<bool, Broken> {
        let mut entries = EntryCursor::new(page)?;
        let mut block = Vec::new();
        while let Some(first) = entries.next_print(page)? {
            if first > print {
                return Ok(true);
            }
            let mut behind = entries.clone();
            behind.skip_block(page)?;
            if behind.next_print(page)?.is_some_and(|next| next < print) {
                entries = behind;
                continue;
            }
            entries.read_block(page, self.group_width(), &mut block)?;
            for entry in &block {
                let key = self.entry_key(*entry);
                if key.print > print || (key.print == print && key.window > *windows.end()) {
                    return Ok(true);
                }
                if key.print == print && windows.contains(&key.window) {
                    each(Found::Group(entry.group))?;
                }
            }
        }
        Ok(false)
    }
}

/// What a run has of a term.
enum Found<'p> {
    /// A group of the run, some event of which holds it, or another term with its fingerprint.
    Group(u32),
    /// A list of its postings.
    List(ListEntry<'p>),
}
