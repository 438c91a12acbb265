//! A disk that is really full: a small file system in memory, mounted for the test. Needs root.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::harness::{Batch, Launch, Ledger, Server, Told, eventually, verify_dir, verify_server};

/// Too small for as many full journal files as may wait to be packed: so it is the disk that refuses, not the backlog.
const DISK: &str = "size=4m";
const BALLAST_BYTES: usize = 1536 * 1024;
const JOURNAL_FILE_BYTES: u64 = 512 * 1024;

/// A mounted file system; unmounted however the test ends.
struct SmallDisk {
    mount_point: TempDir,
}

impl SmallDisk {
    fn mount() -> Self {
        let mount_point = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", DISK, "tmpfs"])
            .arg(mount_point.path())
            .output();
        let refused = match mounted {
            Ok(output) if output.status.success() => return Self { mount_point },
            Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
            Err(error) => error.to_string(),
        };
        panic!(
            "this test mounts a small file system, which was refused: {refused}\nrun it as root: \
             sudo -E cargo test -p annals --test proofs disk_full"
        );
    }

    fn data_dir(&self) -> PathBuf {
        self.mount_point.path().join("data")
    }

    fn ballast(&self) -> PathBuf {
        self.mount_point.path().join("ballast")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // -l: also while a server that a failed test has left is still dying.
        let unmounted = Command::new("umount")
            .arg("-l")
            .arg(self.mount_point.path())
            .status();
        assert!(
            unmounted.is_ok_and(|status| status.success()),
            "{} stays mounted",
            self.mount_point.path().display()
        );
    }
}

/// Red when: `Writer::rotate` maps `StorageFull` to anything else, or gives up the full file before it has the next one;
/// `next_file` counts a number as used whose file was not made.
#[test]
fn a_full_disk_refuses_and_takes_again_when_there_is_room() {
    let disk = SmallDisk::mount();
    let data_dir = disk.data_dir();
    fs::write(disk.ballast(), vec![0xA5; BALLAST_BYTES]).unwrap();
    let mut ledger = Ledger::default();

    let server = launch(&data_dir);
    fill(&server, "first", &mut ledger);
    still_serves(&server, &data_dir, &mut ledger);

    // Room again: no restart is needed.
    fs::remove_file(disk.ballast()).unwrap();
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
