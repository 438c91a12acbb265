//! The offline verifier beside a live, loaded server: it never sees damage where there is none, takes no lock, writes
//! nothing.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use crate::harness::{
    Batch, Launch, Ledger, Told, append, calls, is_long, journal_names, strace, verify_dir, verify_server,
};

const PRODUCERS: usize = 3;

/// Red when: `load_settled` looks only once.
#[test]
fn a_live_log_is_never_taken_for_a_damaged_one() {
    // Each look reads everything again and the log grows as fast as it can: many young logs, rather than one that gets slow.
    for _ in 0..if is_long() { 250 } else { 10 } {
        verified_under_load();
    }
}

fn verified_under_load() {
    let scratch = tempfile::tempdir().unwrap();
    let data_dir = scratch.path().join("data");
    let server = Launch::new(&data_dir).start();
    let (is_done, sealed) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        for producer in 0..PRODUCERS {
            let (mut client, is_done, sealed) = (server.client(), &is_done, &sealed);
            scope.spawn(move || {
                for serial in 0.. {
                    if is_done.load(Ordering::Relaxed) {
                        return;
                    }
                    let batch = Batch::lines(&format!("p{producer}-{serial}"), 1 + serial % 7, 1_000);
                    if let Told::Sealed(_) = append(&mut client, &batch) {
                        sealed.fetch_add(1 + serial as u64 % 7, Ordering::SeqCst);
                    }
                }
            });
        }
        // Ends the producers however this thread ends.
        let stop = StopOnDrop(&is_done);
        let mut looks = 0;
        while looks < 20 || first_journal(&data_dir) <= 3 {
            looks += 1;
            assert!(looks < 1_000, "the journal is not packed");
            let acknowledged = sealed.load(Ordering::SeqCst);
            let found = verify_dir(&data_dir).intact();
            assert!(
                found.checked() >= acknowledged,
                "{acknowledged} were acknowledged before: {found:?}"
            );
        }
        drop(stop);
    });
    verify_server(server.address).intact();
    assert_eq!(server.stop().code(), Some(0));
}

/// Number of the oldest journal file: those before it were packed meanwhile.
fn first_journal(data_dir: &Path) -> u64 {
    let names = journal_names(data_dir);
    let numbers = names
        .iter()
        .filter_map(|name| name.file_stem()?.to_str()?.parse().ok());
    numbers.min().unwrap_or(0)
}

struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Red when: `load_settled` loads with `Access::Write`.
#[test]
fn the_offline_verifier_only_reads() {
    let scratch = tempfile::tempdir().unwrap();
    let (data_dir, trace) = (scratch.path().join("data"), scratch.path().join("trace"));
    let server = Launch::new(&data_dir).start();
    let mut ledger = Ledger::default();
    for serial in 0..8 {
        let told = ledger.append(
            &mut server.client(),
            Batch::lines(&format!("b-{serial}"), 5, 3_000),
        );
        assert!(matches!(told, Told::Sealed(_)), "{told:?}");
    }
    let watched = format!(
        "?open,openat,openat2,?creat,flock,fcntl,{}",
        crate::harness::WRITING_CALLS
    );
    let verified = Command::new("strace")
        .args(["-f", "-qq"])
        .args(strace(&trace, &watched))
        .arg(env!("CARGO_BIN_EXE_annals"))
        .args(["verify", "--data-dir"])
        .arg(&data_dir)
        .output()
        .unwrap();
    assert!(verified.status.success(), "{verified:?}");
    let data = data_dir.to_str().unwrap();
    let on_data: Vec<_> = calls(&trace)
        .into_iter()
        .filter(|call| call.arguments.contains(data))
        .collect();
    assert!(
        on_data.iter().any(|call| call.arguments.contains(".journal")),
        "{on_data:?}"
    );
    for call in on_data {
        let is_reading = call.name.starts_with("open") || call.name == "fcntl";
        assert!(is_reading, "{call:?}");
        for forbidden in ["O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC", "LOCK\"", "SETLK"] {
            assert!(!call.arguments.contains(forbidden), "{call:?}");
        }
    }
    assert_eq!(server.stop().code(), Some(0));
}
