//! A run's last page: which run it is, and where its parts lie.
//!
//! Invariant: the places of all pages follow from the geometry, the level and the root's number, and are checked against the
//! number of pages that are there.

use annals_core::chain::LogId;

use crate::bits::Bytes;
use crate::fault::{Broken, Fault};
use crate::geometry::{Geometry, RunId};
use crate::page::{Header, Kind, PageWriter, RunSource};
use crate::tree::{HEIGHT_MAX, Tree};
use crate::zones::{Zone, zones_per_page};

const MAGIC: &[u8; 7] = b"ANNINDX";
/// Of the format described in docs/format.md.
const VERSION: u8 = 1;

/// What the footer says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Footer {
    pub(crate) log: LogId,
    pub(crate) geometry: Geometry,
    pub(crate) run: RunId,
    pub(crate) tree: Tree,
    /// Of all events.
    pub(crate) zone: Zone,
}

impl Footer {
    /// The first page with zones of groups.
    pub(crate) fn group_zones_at(&self) -> u32 {
        self.tree.root + 1
    }

    /// The first page with zones of windows.
    pub(crate) fn window_zones_at(&self) -> u32 {
        self.group_zones_at() + self.pages_of(self.geometry.groups(self.run.level))
    }

    fn pages_of(&self, zones: u32) -> u32 {
        zones.div_ceil(zones_per_page(self.geometry))
    }

    pub(crate) fn write<W: std::io::Write>(&self, pages: &mut PageWriter<W>) -> std::io::Result<u32> {
        let geometry = self.geometry;
        let mut payload = MAGIC.to_vec();
        payload.push(VERSION);
        payload.extend_from_slice(&self.log.0);
        payload.extend_from_slice(&geometry_bytes(geometry));
        payload.extend_from_slice(&[self.run.level, self.tree.height]);
        payload.extend_from_slice(&geometry.first(self.run).get().to_le_bytes());
        payload.extend_from_slice(&geometry.len(self.run.level).to_le_bytes());
        payload.extend_from_slice(&self.tree.entries.to_le_bytes());
        payload.extend_from_slice(&self.tree.lists.to_le_bytes());
        payload.extend_from_slice(&self.tree.root.to_le_bytes());
        self.zone.put(&mut payload);
        pages.write(Header::new(Kind::Footer), &[&payload])
    }

    /// Reads and checks the footer of the run that this one must be.
    pub(crate) fn read(
        source: &impl RunSource,
        geometry: Geometry,
        log: LogId,
        run: RunId,
    ) -> Result<Self, Fault> {
        if !geometry.has(run) {
            return Err(Fault::Another { what: "level" });
        }
        let Some(number) = source.pages().checked_sub(1) else {
            return Err(Fault::Format { what: "it is empty" });
        };
        let page = source.page(number)?;
        let damaged = |broken: Broken| broken.on(number);
        page.header(Kind::Footer).map_err(damaged)?;
        let mut bytes = Bytes::new(page.payload());
        check_identity(&mut bytes, geometry, log).map_err(|fault| fault.unwrap_or_else(damaged))?;
        let footer =
            read_rest(&mut bytes, geometry, log, run).map_err(|fault| fault.unwrap_or_else(damaged))?;
        let zones = footer
            .window_zones_at()
            .checked_add(footer.pages_of(geometry.windows(run.level)));
        if zones != Some(number) || footer.tree.height > HEIGHT_MAX {
            return Err(damaged(Broken("its parts do not fit the number of pages")));
        }
        Ok(footer)
    }
}

/// A fault that is known in full, or one whose page has to be added.
enum Found {
    Fault(Fault),
    Broken(Broken),
}

impl Found {
    fn unwrap_or_else(self, on_page: impl FnOnce(Broken) -> Fault) -> Fault {
        match self {
            Self::Fault(fault) => fault,
            Self::Broken(broken) => on_page(broken),
        }
    }
}

impl From<Broken> for Found {
    fn from(broken: Broken) -> Self {
        Self::Broken(broken)
    }
}

fn check_identity(bytes: &mut Bytes<'_>, geometry: Geometry, log: LogId) -> Result<(), Found> {
    let format = |what| Found::Fault(Fault::Format { what });
    if bytes.take(MAGIC.len())? != MAGIC {
        return Err(format("its first bytes differ"));
    }
    if bytes.u8()? != VERSION {
        return Err(format("its version is another"));
    }
    if bytes.take(16)? != log.0 {
        return Err(Found::Fault(Fault::Another { what: "log" }));
    }
    if bytes.take(6)? != geometry_bytes(geometry) {
        return Err(format("its geometry is another"));
    }
    Ok(())
}

fn read_rest(bytes: &mut Bytes<'_>, geometry: Geometry, log: LogId, run: RunId) -> Result<Footer, Found> {
    let (level, height) = (bytes.u8()?, bytes.u8()?);
    let range = (level, bytes.u64()?, bytes.u64()?);
    if range != (run.level, geometry.first(run).get(), geometry.len(run.level)) {
        return Err(Found::Fault(Fault::Another { what: "range" }));
    }
    let (entries, lists, root) = (bytes.u64()?, bytes.u64()?, bytes.u32()?);
    // Keeps sums of page numbers below 2^32; the real ones are checked against the number of pages.
    if root > u32::MAX / 4 {
        return Err(Found::Broken(Broken("its root is not there")));
    }
    Ok(Footer {
        log,
        geometry,
        run,
        tree: Tree {
            root,
            height,
            entries,
            lists,
        },
        zone: Zone::read(bytes)?,
    })
}

fn geometry_bytes(geometry: Geometry) -> [u8; 6] {
    [
        geometry.base_bits,
        geometry.window_bits,
        geometry.group_bits,
        geometry.fanout_bits,
        geometry.page_bits,
        geometry.rare_groups,
    ]
}
