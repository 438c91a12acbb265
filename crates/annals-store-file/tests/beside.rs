//! The offline reader beside a writer that does the most awkward thing between any two of its reads.

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use annals_store::{Journal, ReadLog};
use annals_store_file::disk::{Disk, DiskFile};
use annals_store_file::{Opened, inspect_on};
use annals_testkit::chain;
use annals_testkit::simdisk::SimDisk;

use crate::support::{commit_one, open_sim};
use crate::version_1::segments;

/// A disk on which a live writer commits, rotates, packs and settles each time someone looks at `head` or lists the journal.
#[derive(Clone)]
struct Disturbed {
    disk: SimDisk,
    writer: Arc<Mutex<Opened>>,
}

impl Disturbed {
    fn disturb(&self) {
        let mut opened = self.writer.lock().expect("one thread");
        // Enough for more journal files than the one in use and the prepared one.
        for _ in 0..90 {
            let head = opened.log.head();
            commit_one(&mut opened, &head).expect("commits");
            while opened.maintenance.step().expect("packs") {}
        }
        opened.journal.settle().expect("settles");
    }
}

impl Disk for Disturbed {
    fn share(&self) -> Arc<dyn Disk> {
        Arc::new(self.clone())
    }

    fn open_read(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        if name == "head" {
            self.disturb();
        }
        self.disk.open_read(name)
    }

    fn open_write(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        panic!("the offline reader writes {name}")
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        panic!("the offline reader creates {name}")
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        if dir == "journal" {
            self.disturb();
        }
        self.disk.list(dir)
    }

    fn create_dir(&self, dir: &str) -> io::Result<()> {
        panic!("the offline reader creates {dir}")
    }

    fn rename(&self, from: &str, _to: &str) -> io::Result<()> {
        panic!("the offline reader renames {from}")
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        panic!("the offline reader removes {name}")
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        panic!("the offline reader syncs {dir}")
    }
}

/// The order of reads alone does it, at the first look: nothing needs to be looked at twice.
///
/// Red when: `load` reads the head record after the journal, or the segments before it.
#[test]
fn the_order_of_reads_is_right_whatever_happens_in_between() {
    let disk = SimDisk::new();
    let writer = Arc::new(Mutex::new(open_sim(&disk).unwrap()));
    let disturbed = Disturbed { disk, writer };
    for _ in 0..3 {
        let inspection = inspect_on(&disturbed).expect("no damage");
        let seen = chain::audit(&*inspection.log).expect("an intact chain");
        assert!(seen.events >= 90);
    }
}

/// A disk on which a live writer joins segments each time one of them is opened, as often as `joins` says.
#[derive(Clone)]
struct Joining {
    disk: SimDisk,
    writer: Arc<Mutex<Opened>>,
    joins: Arc<AtomicU32>,
}

impl Joining {
    /// Commits and packs until some segments are joined.
    fn join(&self) {
        let mut opened = self.writer.lock().expect("one thread");
        let mut before = 0;
        while segments(&self.disk).len() >= before {
            before = segments(&self.disk).len();
            let head = opened.log.head();
            commit_one(&mut opened, &head).expect("commits");
            while opened.maintenance.step().expect("packs") {}
        }
    }
}

impl Disk for Joining {
    fn share(&self) -> Arc<dyn Disk> {
        Arc::new(self.clone())
    }

    fn open_read(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let left = self.joins.load(Ordering::Relaxed);
        if name.ends_with(".segment") && left > 0 {
            self.joins.store(left - 1, Ordering::Relaxed);
            self.join();
        }
        self.disk.open_read(name)
    }

    fn open_write(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        panic!("the offline reader writes {name}")
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        panic!("the offline reader creates {name}")
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        self.disk.list(dir)
    }

    fn create_dir(&self, dir: &str) -> io::Result<()> {
        panic!("the offline reader creates {dir}")
    }

    fn rename(&self, from: &str, _to: &str) -> io::Result<()> {
        panic!("the offline reader renames {from}")
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        panic!("the offline reader removes {name}")
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        panic!("the offline reader syncs {dir}")
    }
}

/// Segments that are joined between their being listed and their being opened, while a directory is loaded and while it is
/// read.
///
/// Red when: `SegmentFiles::chain` gives up at the first segment that is gone.
#[test]
fn segments_may_be_joined_between_listing_and_opening() {
    for joins in [1, 2, 5, 9] {
        let disk = SimDisk::new();
        let mut opened = open_sim(&disk).unwrap();
        while segments(&disk).len() < 3 {
            let head = opened.log.head();
            commit_one(&mut opened, &head).unwrap();
            while opened.maintenance.step().unwrap() {}
        }
        let joining = Joining {
            disk,
            writer: Arc::new(Mutex::new(opened)),
            joins: Arc::new(AtomicU32::new(joins)),
        };
        let log = inspect_on(&joining).expect("no damage").log;
        assert!(chain::audit(&*log).expect("an intact chain").events >= 20);
        joining.joins.store(joins, Ordering::Relaxed);
        let seen = chain::audit(&*inspect_on(&joining).unwrap().log).expect("an intact chain");
        assert!(seen.events >= 20);
        joining.joins.store(joins, Ordering::Relaxed);
        assert!(chain::audit(&*log).expect("an intact chain").events >= 20);
    }
}

/// A disk that looks damaged for as many looks as `spoilt_looks`, as one does where a writer is caught in the middle.
#[derive(Clone)]
struct Flickering {
    spoilt: SimDisk,
    sound: SimDisk,
    spoilt_looks: u32,
    looks: Arc<AtomicU32>,
}

impl Flickering {
    fn shown(&self) -> &SimDisk {
        if self.looks.load(Ordering::Relaxed) <= self.spoilt_looks {
            &self.spoilt
        } else {
            &self.sound
        }
    }
}

impl Disk for Flickering {
    fn share(&self) -> Arc<dyn Disk> {
        Arc::new(self.clone())
    }

    fn open_read(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        // Each look reads the head record once, before the journal.
        if name == "head" {
            self.looks.fetch_add(1, Ordering::Relaxed);
        }
        self.shown().open_read(name)
    }

    fn open_write(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        panic!("the offline reader writes {name}")
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        panic!("the offline reader creates {name}")
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        self.shown().list(dir)
    }

    fn create_dir(&self, dir: &str) -> io::Result<()> {
        panic!("the offline reader creates {dir}")
    }

    fn rename(&self, from: &str, _to: &str) -> io::Result<()> {
        panic!("the offline reader renames {from}")
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        panic!("the offline reader removes {name}")
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        panic!("the offline reader syncs {dir}")
    }
}

/// Red when: `load_settled` reports what it saw once, or looks again at what it has seen twice.
#[test]
fn damage_is_what_is_seen_twice() {
    const JOURNAL: &str = "journal/00000000000000000001.journal";
    let sound = SimDisk::new();
    let mut opened = open_sim(&sound).unwrap();
    for _ in 0..3 {
        let head = opened.log.head();
        commit_one(&mut opened, &head).unwrap();
    }
    drop(opened);
    let (spoilt, ()) = crate::tamper::with(&sound, JOURNAL, |content| content[4096 + 200] ^= 1);
    for (spoilt_looks, is_damage) in [(0, false), (1, false), (2, true)] {
        let disk = Flickering {
            spoilt: spoilt.fork(),
            sound: sound.fork(),
            spoilt_looks,
            looks: Arc::default(),
        };
        assert_eq!(inspect_on(&disk).is_err(), is_damage, "{spoilt_looks} looks");
    }
}
