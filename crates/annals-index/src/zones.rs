//! Zones: between which claimed times the events of a group, a window or a run lie.
//!
//! Invariant: a zone is the smallest that holds the claims of its events, and says whether each of them has one.

use std::io;

use annals_core::filter::ClaimedRange;
use annals_core::time::Micros;

use crate::bits::Bytes;
use crate::fault::Broken;
use crate::geometry::Geometry;
use crate::page::{HEADER_BYTES, Header, Kind, Page, PageWriter};

/// A flag and two times.
pub(crate) const ZONE_BYTES: usize = 17;

/// The claimed times of some events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Zone {
    /// Whether every event claims a time.
    is_complete: bool,
    first: i64,
    last: i64,
}

/// What a zone says about its events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// None of them lies in the range.
    None,
    /// Each has to be looked at.
    Some,
    /// All of them lie in the range.
    All,
}

impl Zone {
    /// No events.
    pub(crate) const EMPTY: Self = Self {
        is_complete: true,
        first: i64::MAX,
        last: i64::MIN,
    };

    /// With one more event.
    pub(crate) fn add(&mut self, claimed: Option<Micros>) {
        match claimed {
            Some(Micros(time)) => {
                self.first = self.first.min(time);
                self.last = self.last.max(time);
            }
            None => self.is_complete = false,
        }
    }

    /// With another zone's events.
    pub(crate) fn join(&mut self, other: Self) {
        self.is_complete &= other.is_complete;
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
    }

    pub(crate) fn verdict(self, range: ClaimedRange) -> Verdict {
        if range == ClaimedRange::default() {
            return Verdict::All;
        }
        let is_before = range.from.is_some_and(|Micros(from)| self.last < from);
        let is_behind = range.until.is_some_and(|Micros(until)| self.first >= until);
        if is_before || is_behind || self.first > self.last {
            return Verdict::None;
        }
        let starts_inside = range.from.is_none_or(|Micros(from)| self.first >= from);
        let ends_inside = range.until.is_none_or(|Micros(until)| self.last < until);
        if starts_inside && ends_inside && self.is_complete {
            Verdict::All
        } else {
            Verdict::Some
        }
    }

    pub(crate) fn put(self, out: &mut Vec<u8>) {
        out.push(u8::from(self.is_complete));
        out.extend_from_slice(&self.first.to_le_bytes());
        out.extend_from_slice(&self.last.to_le_bytes());
    }

    pub(crate) fn read(bytes: &mut Bytes<'_>) -> Result<Self, Broken> {
        let is_complete = match bytes.u8()? {
            0 => false,
            1 => true,
            _ => return Err(Broken("a zone of claimed times has unknown flags")),
        };
        let (first, last) = (bytes.i64()?, bytes.i64()?);
        Ok(Self {
            is_complete,
            first,
            last,
        })
    }
}

/// Zones on one page.
pub(crate) fn zones_per_page(geometry: Geometry) -> u32 {
    let zones = (geometry.page_bytes() - HEADER_BYTES) / ZONE_BYTES;
    u32::try_from(zones).unwrap_or(u32::MAX)
}

/// The zone in this place of a page of zones.
pub(crate) fn zone_on(page: &Page, kind: Kind, place: u32) -> Result<Zone, Broken> {
    let header = page.header(kind)?;
    if place >= u32::from(header.entries) {
        return Err(Broken("it has fewer zones than it should"));
    }
    let start = place as usize * ZONE_BYTES;
    let zone = page.payload().get(start..start + ZONE_BYTES);
    Zone::read(&mut Bytes::new(zone.unwrap_or_default()))
}

/// Writes zones one behind the other, in pages of their own.
pub(crate) struct ZoneWriter<'w, W> {
    pages: &'w mut PageWriter<W>,
    kind: Kind,
    per_page: u16,
    zones: u16,
    buffer: Vec<u8>,
}

impl<'w, W: io::Write> ZoneWriter<'w, W> {
    pub(crate) fn new(pages: &'w mut PageWriter<W>, kind: Kind, geometry: Geometry) -> Self {
        Self {
            pages,
            kind,
            per_page: u16::try_from(zones_per_page(geometry)).unwrap_or(u16::MAX),
            zones: 0,
            buffer: Vec::new(),
        }
    }

    pub(crate) fn put(&mut self, zone: Zone) -> io::Result<()> {
        if self.zones == self.per_page {
            self.flush()?;
        }
        zone.put(&mut self.buffer);
        self.zones += 1;
        Ok(())
    }

    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.flush()
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut header = Header::new(self.kind);
        header.entries = self.zones;
        self.pages.write(header, &[&self.buffer])?;
        self.buffer.clear();
        self.zones = 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone(claims: &[Option<i64>]) -> Zone {
        let mut zone = Zone::EMPTY;
        for claim in claims {
            zone.add(claim.map(Micros));
        }
        zone
    }

    #[test]
    fn verdicts() {
        let range = |from: Option<i64>, until: Option<i64>| ClaimedRange {
            from: from.map(Micros),
            until: until.map(Micros),
        };
        let claimed = zone(&[Some(10), Some(20)]);
        let partly = zone(&[Some(10), None, Some(20)]);
        let never = zone(&[None]);
        for (range, expected) in [
            (range(None, None), [Verdict::All; 3]),
            (
                range(Some(10), Some(21)),
                [Verdict::All, Verdict::Some, Verdict::None],
            ),
            (
                range(Some(11), None),
                [Verdict::Some, Verdict::Some, Verdict::None],
            ),
            (
                range(None, Some(20)),
                [Verdict::Some, Verdict::Some, Verdict::None],
            ),
            (range(Some(21), None), [Verdict::None; 3]),
            (range(None, Some(10)), [Verdict::None; 3]),
        ] {
            assert_eq!(
                [claimed, partly, never].map(|zone| zone.verdict(range)),
                expected,
                "{range:?}"
            );
        }
    }

    #[test]
    fn a_joined_zone_is_the_zone_of_all_events() {
        let mut joined = zone(&[Some(5), None]);
        joined.join(zone(&[Some(-5)]));
        assert_eq!(joined, zone(&[Some(5), None, Some(-5)]));
        joined.join(Zone::EMPTY);
        assert_eq!(joined, zone(&[Some(5), None, Some(-5)]));
    }
}
