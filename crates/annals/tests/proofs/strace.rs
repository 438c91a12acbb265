//! At each system call by which the server changes the disk, it is killed, or the call fails: while a directory is made,
//! in the course of a day (commits, rotation, packing, settling, shutdown), and while it recovers from a crash.
//!
//! First the calls of an undisturbed run are listed; then the same run is repeated, once for each of them. The run waits
//! for the maintenance after each request, so that it makes the same calls every time.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::harness::{
    Batch, Ended, Launch, Ledger, Point, SMALL_JOURNAL, Server, Told, WRITING_CALLS, copy_dir, eventually,
    files_below, holds_frames, is_long, journal_names, strace, verify_dir, verify_server,
};

/// Three of these fill a small journal file.
const EVENTS: usize = 4;
const FILL_BYTES: usize = 4_500;

fn batch(name: &str) -> Batch {
    Batch::lines(name, EVENTS, FILL_BYTES)
}

/// A data directory and what was acknowledged in it, to begin runs with.
struct Template {
    scratch: TempDir,
    ledger: Ledger,
}

/// One run on a copy of a template.
struct Run {
    scratch: TempDir,
    ledger: Ledger,
}

impl Template {
    /// Nothing but a place for a directory.
    fn empty() -> Self {
        Self {
            scratch: tempfile::tempdir().unwrap(),
            ledger: Ledger::default(),
        }
    }

    /// A directory with one batch that was closed in order.
    fn closed() -> Self {
        let mut template = Self::empty();
        let server = Launch::new(&template.data_dir()).start();
        let told = template.ledger.append(&mut server.client(), batch("before"));
        assert!(matches!(told, Told::Sealed(_)), "{told:?}");
        assert_eq!(server.stop().code(), Some(0));
        template
    }

    /// A directory as a crash leaves it: a batch that is complete but was not synced, and behind it half of another one.
    fn crashed() -> Self {
        let mut template = Self::closed();
        let data_dir = template.data_dir();
        let sync = Point {
            call: "fdatasync".into(),
            path: journal_names(&data_dir)[0]
                .strip_prefix(&data_dir)
                .ok()
                .map(Path::to_owned),
            nth: 1,
            result: String::new(),
        };
        let killed = sync.inject(&data_dir, "signal=SIGKILL");
        let server = Launch::new(&data_dir).under_strace(killed).start();
        let told = template.ledger.append(&mut server.client(), batch("unsynced"));
        assert!(matches!(told, Told::Nothing), "{told:?}");
        assert!(server.wait_for_end().was_killed());
        tear(&journal_names(&data_dir)[0]);
        template
    }

    fn data_dir(&self) -> PathBuf {
        self.scratch.path().join("data")
    }

    fn run(&self) -> Run {
        let scratch = tempfile::tempdir().unwrap();
        if self.data_dir().exists() {
            copy_dir(&self.data_dir(), &scratch.path().join("data"));
        }
        Run {
            scratch,
            ledger: self.ledger.clone(),
        }
    }

    /// The writing calls of an undisturbed run.
    fn points(&self, requests: usize, by_path: bool) -> Vec<Point> {
        let mut run = self.run();
        let trace = run.scratch.path().join("trace");
        let ended = run.day(strace(&trace, WRITING_CALLS), requests);
        assert_eq!(ended.code(), Some(0), "{ended:?}");
        run.audit();
        let points = Point::all(&trace, &run.data_dir(), by_path);
        assert!(points.len() >= 8, "{points:?}");
        points
    }
}

/// Repeats the first half of the journal's last frame behind it.
fn tear(journal: &Path) {
    let mut content = fs::read(journal).unwrap();
    let frames: Vec<usize> = memchr::memmem::find_iter(&content, b"ANNF").collect();
    let last = *frames.last().unwrap();
    let end = content
        .iter()
        .rposition(|byte| *byte != 0)
        .unwrap()
        .next_multiple_of(8);
    let half = content[last..last + (end - last) / 2].to_vec();
    content[end..end + half.len()].copy_from_slice(&half);
    fs::write(journal, content).unwrap();
}

impl Run {
    fn data_dir(&self) -> PathBuf {
        self.scratch.path().join("data")
    }

    /// Starts, sends requests, stops; goes on as far as the server lives.
    fn day(&mut self, strace: Vec<String>, requests: usize) -> Ended {
        match Launch::new(&self.data_dir()).under_strace(strace).try_start() {
            Ok(server) => self.requests(server, requests),
            Err(ended) => ended,
        }
    }

    fn requests(&mut self, mut server: Server, requests: usize) -> Ended {
        for serial in 0..requests {
            if !maintained(&mut server, &self.data_dir()) {
                break;
            }
            let Ok(mut client) = crate::harness::Client::connect(server.address) else {
                break;
            };
            self.ledger.append(&mut client, batch(&format!("day-{serial}")));
            if !server.wait_until_ready() {
                break;
            }
        }
        maintained(&mut server, &self.data_dir());
        server.stop()
    }

    /// What the disturbed server left: an undisturbed one has to find all of it, and go on.
    #[track_caller]
    fn audit(&mut self) {
        if self.data_dir().join("FORMAT").exists() {
            verify_dir(&self.data_dir()).intact();
        } else {
            assert_eq!(
                self.ledger.sealed_len(),
                0,
                "nothing is acknowledged before the directory is complete"
            );
        }
        let server = Launch::new(&self.data_dir()).start();
        self.ledger.check(server.address);
        let told = self
            .ledger
            .append(&mut server.client(), Batch::one("afterwards", 10));
        assert!(matches!(told, Told::Sealed(_)), "{told:?}");
        self.ledger.check_from_the_start(server.address);
        verify_server(server.address).intact();
        let ended = server.stop();
        assert_eq!(ended.code(), Some(0), "{ended:?}");
        verify_dir(&self.data_dir()).intact();
    }
}

/// Waits until no more than one journal file holds frames, another one is prepared, and nothing is half done; false when the
/// server ends before.
fn maintained(server: &mut Server, data_dir: &Path) -> bool {
    eventually("the maintenance", || {
        if server.has_ended() {
            return Some(false);
        }
        let names = journal_names(data_dir);
        let is_whole = |name: &PathBuf| name.extension().is_some_and(|kind| kind == "journal");
        let in_use = names.iter().filter(|name| holds_frames(name)).count();
        (names.iter().all(is_whole) && in_use <= 1 && names.len() >= 2).then_some(true)
    })
}

fn requests_of_a_day() -> usize {
    if is_long() { 14 } else { 8 }
}

fn killed_at_each(template: &Template, requests: usize, points: &[Point]) -> Vec<Run> {
    let mut runs = Vec::new();
    for point in points {
        let mut run = template.run();
        let ended = run.day(point.inject(&run.data_dir(), "signal=SIGKILL"), requests);
        // The head record is written when nothing came for a while: how often depends on the machine.
        assert!(
            ended.was_killed() || point.is_on("head"),
            "{point:?} was not reached: {ended:?}"
        );
        run.audit();
        runs.push(run);
    }
    runs
}

/// Red when: `write_small` or `JournalFile::prepare` write under the final name; `make` writes `FORMAT` first.
#[test]
fn killed_at_each_call_while_a_directory_is_made() {
    let template = Template::empty();
    killed_at_each(&template, 1, &template.points(1, false));
}

/// Red when: receipts go out before the commit; `segment::write` writes under the final name; `Maintenance::pack` removes
/// the journal file first.
#[test]
fn killed_at_each_call_in_the_course_of_a_day() {
    let (template, requests) = (Template::closed(), requests_of_a_day());
    killed_at_each(&template, requests, &template.points(requests, true));
}

/// Red when: `mend::erase` or `mend::rewrite_unproven` does nothing; `mend::quarantine` comes after `mend::erase`.
#[test]
fn killed_at_each_call_while_it_recovers() {
    let template = Template::crashed();
    let points = template.points(0, true);
    // The half batch is replaced by zeros, the complete one is written again, and each is synced: a readable frame may
    // still not be on the disk.
    for call in ["pwrite64", "fdatasync"] {
        let on_journal = points
            .iter()
            .filter(|point| point.call == call && point.is_on("00001.journal"))
            .count();
        assert_eq!(on_journal, 2, "{points:?}");
    }
    for run in killed_at_each(&template, 0, &points) {
        let kept = files_below(&run.data_dir().join("quarantine"));
        assert_eq!(kept.len(), 1, "the half batch is kept: {kept:?}");
    }
}

/// The server does not die of a call that fails once: it says what became of the batch, recovers by itself and goes on.
///
/// Red when: an error of `sync_data` in `FileJournal::commit` is passed over; `AppendError::Unknown` has the outcome
/// `NotStored`; `Sequencing::refuse` does not recover; `Maintenance::pack` fails on a journal file that is already gone.
#[test]
fn each_call_fails_once_in_the_course_of_a_day() {
    let template = Template::closed();
    let requests = requests_of_a_day();
    let errors = if is_long() {
        &["EIO", "ENOSPC", "EINTR"][..]
    } else {
        &["EIO"]
    };
    let points = template.points(requests, true);
    for error in errors {
        for point in &points {
            fails_once(&template, requests, point, error);
        }
    }
}

fn fails_once(template: &Template, requests: usize, point: &Point, error: &str) {
    let mut run = template.run();
    let unanswered = run.ledger.unanswered_len();
    let ended = run.day(point.inject(&run.data_dir(), &format!("error={error}")), requests);
    let unknown = run.ledger.unanswered_len() - unanswered;
    let never_came_up = !ended.stderr.contains("listening");
    if never_came_up {
        assert_eq!(ended.code(), Some(1), "{point:?} {error}: {ended:?}");
    } else {
        assert_eq!(ended.code(), Some(0), "{point:?} {error}: {ended:?}");
        // A signal that interrupts a call is no failure; everything else on the journal is.
        let is_commit = point.is_on(".journal") && point.call != "unlink" && point.call != "unlinkat";
        let expected = usize::from(is_commit && error != "EINTR");
        assert_eq!(unknown, expected, "{point:?} {error}: {ended:?}");
        // One batch that the fault hit, and at most one that came during the recovery.
        let sealed = run.ledger.sealed_len() - template.ledger.sealed_len();
        let goes_on = sealed >= (EVENTS * (requests - 2)) as u64;
        assert!(
            goes_on,
            "{point:?} {error}: only {sealed} events were taken: {ended:?}"
        );
    }
    run.audit();
}

/// A disk that fails from some moment on: nothing is acknowledged any more, what was sealed can be read, and when the disk
/// works again everything is there.
///
/// Red when: an error of `sync_data` in `FileJournal::commit` is passed over; `AppendError::Unknown` has the outcome
/// `NotStored`.
#[test]
fn a_disk_that_fails_for_good() {
    let template = Template::closed();
    for call in ["pwrite64", "fdatasync"] {
        let mut run = template.run();
        let data_dir = run.data_dir();
        let journal = journal_names(&data_dir)[0]
            .strip_prefix(&data_dir)
            .ok()
            .map(Path::to_owned);
        let (call, path) = (call.to_owned(), journal);
        let point = Point {
            call,
            path,
            nth: 1,
            result: String::new(),
        };
        let faults = point.inject_when(&data_dir, "error=EIO", "2+");
        let mut server = Launch::new(&data_dir).under_strace(faults).start();
        let mut client = server.client();
        let told = run.ledger.append(&mut client, batch("first"));
        assert!(matches!(told, Told::Sealed(_)), "{told:?}");
        let told = run.ledger.append(&mut client, batch("second"));
        assert!(matches!(told, Told::Unknown { status: 503 }), "{told:?}");
        for serial in 0..3 {
            let told = run.ledger.append(&mut client, batch(&format!("later-{serial}")));
            assert!(
                matches!(
                    told,
                    Told::NotStored { status: 503 } | Told::Unknown { status: 503 }
                ),
                "{told:?}"
            );
        }
        let sealed = run.ledger.sealed_len();
        let read = client.get(&format!("/events/{sealed}")).unwrap();
        assert_eq!(read.status, 200, "{read:?}");
        server.kill();
        assert!(server.wait_for_end().was_killed());
        run.audit();
    }
}

/// No room for the next journal file: 507, nothing is stored, reading goes on; with room again, appends are taken.
///
/// Red when: `Writer::rotate` maps `StorageFull` to anything else, or leaves the full file before it has the next one.
#[test]
fn no_room_for_the_next_journal_file() {
    let mut run = Template::closed().run();
    let data_dir = run.data_dir();
    // The file after the first one exists already. The maintenance tries each second, each append that needs the file too.
    let preparing = Point {
        call: "pwrite64".into(),
        path: Some("journal/preparing.tmp".into()),
        nth: 1,
        result: String::new(),
    };
    let server = Launch::new(&data_dir)
        .under_strace(preparing.inject_when(&data_dir, "error=ENOSPC", "1..4"))
        .start();
    let mut client = server.client();
    let (mut full, mut sealed_after) = (0, 0);
    for serial in 0..1_000 {
        match run.ledger.append(&mut client, batch(&format!("b-{serial}"))) {
            Told::Sealed(_) if full == 0 => {}
            Told::Sealed(_) if sealed_after < 9 => sealed_after += 1,
            Told::Sealed(_) => break,
            // Packing is behind as well.
            Told::NotStored { status: 503 } => {}
            Told::NotStored { status: 507 } => {
                full += 1;
                assert_eq!(
                    client.get("/readyz").unwrap().status,
                    200,
                    "full is not the same as not ready"
                );
                let last = run.ledger.sealed_len();
                assert_eq!(client.get(&format!("/events/{last}")).unwrap().status, 200);
                verify_server(server.address).intact();
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(full > 0, "the disk was full at some time");
    assert!(sealed_after > 0, "{full} refusals, then appends are taken again");
    drop(client);
    assert_eq!(server.stop().code(), Some(0));
    run.audit();
}

/// A disk that says it wrote and did not: acknowledged events are gone, which nothing can mend, but it is found out, at the
/// right event, and never served as if nothing were missing.
///
/// Found twice over. Red when: both `Loader::proven_durable` is always false and `Loader::finish` compares nothing.
#[test]
fn a_disk_that_lies_is_found_out() {
    let template = Template::closed();
    let mut run = template.run();
    let data_dir = run.data_dir();
    let journal = journal_names(&data_dir)[0]
        .strip_prefix(&data_dir)
        .ok()
        .map(Path::to_owned);
    let points = template.points(3, true);
    let write = points
        .iter()
        .find(|point| point.call == "pwrite64" && point.path == journal)
        .unwrap();
    let server = Launch::new(&data_dir)
        .under_strace(write.inject(&data_dir, &format!("retval={}", write.result)))
        .journal_file_bytes(SMALL_JOURNAL)
        .start();
    let mut client = server.client();
    for name in ["lost", "next"] {
        let told = run.ledger.append(&mut client, batch(name));
        assert!(matches!(told, Told::Sealed(_)), "{told:?}");
    }
    let lost = run.ledger.event_id("lost-0");
    assert_eq!(client.get(&format!("/events/{lost}")).unwrap().status, 500);
    drop(client);
    server.stop();
    let found = verify_dir(&data_dir);
    assert_eq!(
        (found.code, found.first_break_at()),
        (Some(3), Some(lost)),
        "{found:?}"
    );
    let refused = Launch::new(&data_dir)
        .try_start()
        .err()
        .expect("refuses to start");
    assert_eq!(refused.code(), Some(3), "{refused:?}");
}
