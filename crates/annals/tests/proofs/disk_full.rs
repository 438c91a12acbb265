//! A disk that is really full: a small file system in memory, mounted for the test. Needs root.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::{
    Batch, Launch, Ledger, Server, Told, eventually, holds_frames, journal_names, segment_names, verify_dir,
    verify_server,
};

/// Too small for as many full journal files as may wait to be packed: so it is the disk that refuses, not the backlog.
const DISK: &str = "4m";
const BALLAST_BYTES: usize = 1536 * 1024;
const JOURNAL_FILE_BYTES: u64 = 512 * 1024;
/// Full journal files that may wait to be packed.
const BACKLOG_FILES_MAX: usize = 8;

/// A mounted file system; unmounted however the test ends.
struct SmallDisk {
    mount_point: PathBuf,
}

impl SmallDisk {
    fn mount(mount_point: &Path, size: &str) -> Self {
        mount(mount_point, &format!("size={size}"));
        Self {
            mount_point: mount_point.to_owned(),
        }
    }

    fn grow(&self, size: &str) {
        mount(&self.mount_point, &format!("remount,size={size}"));
    }
}

fn mount(mount_point: &Path, options: &str) {
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", options, "tmpfs"])
        .arg(mount_point)
        .output();
    let refused = match mounted {
        Ok(output) if output.status.success() => return,
        Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
        Err(error) => error.to_string(),
    };
    panic!(
        "this test mounts a small file system, which was refused: {refused}\nrun it as root: sudo -E cargo test -p annals \
         --test proofs disk_full"
    );
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // -l: also while a server that a failed test has left is still dying.
        let unmounted = Command::new("umount").arg("-l").arg(&self.mount_point).status();
        assert!(
            unmounted.is_ok_and(|status| status.success()),
            "{} stays mounted",
            self.mount_point.display()
        );
    }
}

/// Red when: `Writer::rotate` maps `StorageFull` to anything else, or gives up the full file before it has the next one;
/// `next_file` counts a number as used whose file was not made.
#[test]
fn a_full_disk_refuses_and_takes_again_when_there_is_room() {
    let scratch = tempfile::tempdir().unwrap();
    let _disk = SmallDisk::mount(scratch.path(), DISK);
    let (data_dir, ballast) = (scratch.path().join("data"), scratch.path().join("ballast"));
    fs::write(&ballast, vec![0xA5; BALLAST_BYTES]).unwrap();
    let mut ledger = Ledger::default();

    let server = launch(&data_dir);
    fill(&server, "first", &mut ledger);
    still_serves(&server, &data_dir, &mut ledger);

    // Room again: no restart is needed.
    fs::remove_file(ballast).unwrap();
    takes_again(&server, "second", &mut ledger);
    fill(&server, "third", &mut ledger);
    still_serves(&server, &data_dir, &mut ledger);
    let ended = server.stop();
    assert_eq!(ended.code(), Some(0), "{ended:?}");

    // Stopped, and killed, on the full disk: what was sealed is served.
    let mut server = launch(&data_dir);
    still_serves(&server, &data_dir, &mut ledger);
    server.kill();
    assert!(server.wait_for_end().was_killed());
    let server = launch(&data_dir);
    still_serves(&server, &data_dir, &mut ledger);
    ledger.check_from_the_start(server.address);
}

/// The journal has room and the segments have none: packing fails, full files wait, and at the backlog's limit what callers
/// are told is the cause, not the effect.
///
/// Red when: `rotate` does not look at `packing_lacks_space`; `step` gives a full file up whose packing failed; `maintain` ends
/// after a step that failed.
#[test]
fn a_full_disk_that_stops_packing_refuses_at_the_backlogs_limit() {
    let scratch = tempfile::tempdir().unwrap();
    let data_dir = scratch.path().join("data");
    let mut ledger = Ledger::default();
    let server = Launch::new(&data_dir).start();
    assert_eq!(server.stop().code(), Some(0));
    // Not even an empty file: what is packed compresses well.
    let disk = SmallDisk::mount(&segments_dir(&data_dir), "16k,nr_inodes=1");

    let mut server = Launch::new(&data_dir).start();
    fill_backlog(&server, "first", &mut ledger);
    assert_eq!(
        waiting(&data_dir),
        BACKLOG_FILES_MAX,
        "the journal's own disk has room"
    );
    assert_eq!(
        segment_names(&data_dir),
        Vec::<PathBuf>::new(),
        "nothing could be packed"
    );
    still_serves(&server, &data_dir, &mut ledger);
    server.kill();
    assert!(server.wait_for_end().was_killed());
    let server = Launch::new(&data_dir).start();
    fill_backlog(&server, "second", &mut ledger);
    still_serves(&server, &data_dir, &mut ledger);

    disk.grow("64m,nr_inodes=1000");
    takes_again(&server, "third", &mut ledger);
    eventually("the packing of what had waited", || {
        (waiting(&data_dir) == 0).then_some(())
    });
    still_serves(&server, &data_dir, &mut ledger);
    assert_eq!(server.stop().code(), Some(0));
    let server = Launch::new(&data_dir).start();
    still_serves(&server, &data_dir, &mut ledger);
    ledger.check_from_the_start(server.address);
}

/// The directory of the only log's segments.
fn segments_dir(data_dir: &Path) -> PathBuf {
    let mut logs = fs::read_dir(data_dir.join("logs")).unwrap();
    let log = logs.next().unwrap().unwrap().path();
    assert!(logs.next().is_none(), "one log");
    log.join("segments")
}

/// Full journal files: all with frames but the one that is written.
fn waiting(data_dir: &Path) -> usize {
    let in_use = journal_names(data_dir)
        .iter()
        .filter(|name| holds_frames(name))
        .count();
    in_use - 1
}

/// Appends until the answer has been 507 several times in a row. Before packing has been tried, it is only behind: 503.
fn fill_backlog(server: &Server, name: &str, ledger: &mut Ledger) {
    let mut client = server.client();
    let (mut serial, mut full) = (0, 0);
    eventually("a backlog that refuses", || {
        serial += 1;
        match ledger.append(&mut client, Batch::lines(&format!("{name}-{serial}"), 3, 5_000)) {
            Told::NotStored { status: 507 } => full += 1,
            Told::Sealed(_) | Told::NotStored { status: 503 } if full == 0 => {}
            other => panic!("{other:?} after {full} times 507"),
        }
        (full == 20).then_some(())
    });
}

fn launch(data_dir: &Path) -> Server {
    Launch::new(data_dir)
        .journal_file_bytes(JOURNAL_FILE_BYTES)
        .start()
}

/// Appends until the answer has been 507 several times in a row.
fn fill(server: &Server, name: &str, ledger: &mut Ledger) {
    let mut client = server.client();
    let mut full = 0;
    for serial in 0..10_000 {
        match ledger.append(&mut client, Batch::lines(&format!("{name}-{serial}"), 3, 15_000)) {
            Told::Sealed(_) => full = 0,
            Told::NotStored { status: 507 } => full += 1,
            other => panic!("{other:?}"),
        }
        if full == 20 {
            return;
        }
    }
    panic!("the disk does not get full");
}

/// Reads, both verifiers and readiness are as ever.
#[track_caller]
fn still_serves(server: &Server, data_dir: &Path, ledger: &mut Ledger) {
    ledger.check(server.address);
    verify_server(server.address).intact();
    verify_dir(data_dir).intact();
    let mut client = server.client();
    let full = client.get("/verify?full=true").unwrap();
    assert_eq!(full.json()["valid"], true, "{full:?}");
    assert_eq!(
        client.get("/readyz").unwrap().status,
        200,
        "full is not the same as not ready"
    );
}

fn takes_again(server: &Server, name: &str, ledger: &mut Ledger) {
    let mut client = server.client();
    let mut serial = 0;
    eventually("an append that is taken", || {
        serial += 1;
        match ledger.append(&mut client, Batch::lines(&format!("{name}-{serial}"), 3, 15_000)) {
            Told::Sealed(_) => Some(()),
            Told::NotStored { .. } => None,
            other => panic!("{other:?}"),
        }
    });
}
