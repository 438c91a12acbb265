//! What "recorded" means, seen from outside: before an answer 201 goes out, the bytes of its event were written to the
//! journal and a sync of that file, begun after the write, has returned.

use std::path::Path;
use std::thread;

use crate::harness::{Batch, Call, Launch, Ledger, Told, append, calls, strace};

/// What the journal is written with, and whatever an answer can be sent with.
const CALLS: &str =
    "pwrite64,pwritev,pwritev2,fdatasync,fsync,sync_file_range,write,writev,sendto,sendmsg,sendmmsg";
const WRITES: [&str; 3] = ["pwrite64", "pwritev", "pwritev2"];
const SYNCS: [&str; 2] = ["fdatasync", "fsync"];
const PRODUCERS: usize = 4;
const EVENTS: usize = 25;

/// Red when: `sync_data` is left out of `FileJournal::commit`; `Sequencing::commit` answers before `journal.commit`.
#[test]
fn a_sync_returns_between_the_write_of_an_event_and_its_201() {
    let scratch = tempfile::tempdir().unwrap();
    let (data_dir, trace) = (scratch.path().join("data"), scratch.path().join("trace"));
    let server = Launch::new(&data_dir).under_strace(strace(&trace, CALLS)).start();
    // One after the other, so that each has a sync of its own.
    let mut client = server.client();
    let mut ledger = Ledger::default();
    for serial in 0..EVENTS {
        let told = ledger.append(&mut client, Batch::one(&format!("alone-{serial:03}"), 10));
        assert!(matches!(told, Told::Sealed(_)), "{told:?}");
    }
    drop(client);
    // At the same time, so that some share one.
    thread::scope(|scope| {
        for producer in 0..PRODUCERS {
            let mut client = server.client();
            scope.spawn(move || {
                for serial in 0..EVENTS {
                    let told = append(
                        &mut client,
                        &Batch::one(&format!("crowd-{producer}-{serial:03}"), 10),
                    );
                    assert!(matches!(told, Told::Sealed(_)), "{told:?}");
                }
            });
        }
    });
    assert_eq!(server.stop().code(), Some(0));

    let calls = calls(&trace);
    let alone = (0..EVENTS).map(|serial| format!("alone-{serial:03}"));
    let crowd = (0..PRODUCERS)
        .flat_map(|producer| (0..EVENTS).map(move |serial| format!("crowd-{producer}-{serial:03}")));
    for name in alone.chain(crowd) {
        synced_before_answer(&calls, &data_dir, &name);
    }
    let syncs = calls
        .iter()
        .filter(|call| is_journal_sync(call, &data_dir))
        .count();
    assert!(syncs >= EVENTS, "{syncs} syncs");
}

fn synced_before_answer(calls: &[Call], data_dir: &Path, name: &str) {
    let journal = data_dir.join("journal");
    let of_event = |call: &&Call| call.arguments.contains(name);
    let is_journal = |call: &&Call| {
        call.path()
            .is_some_and(|path| Path::new(path).starts_with(&journal))
    };
    let mut of_journal = calls.iter().filter(of_event).filter(is_journal);
    let written = of_journal
        .find(|call| WRITES.contains(&call.name.as_str()))
        .unwrap_or_else(|| panic!("{name} is not in the journal"));
    let answer = calls
        .iter()
        .filter(of_event)
        .find(|call| call.arguments.contains("HTTP/1.1 201"));
    let answer = answer.unwrap_or_else(|| panic!("{name} has no answer"));
    let synced = calls.iter().any(|call| {
        SYNCS.contains(&call.name.as_str())
            && call.path() == written.path()
            && call.result == "0"
            && call.began > written.ended
            && call.ended < answer.began
    });
    assert!(
        synced,
        "{name} was answered before it was synced:\n{written:?}\n{answer:?}"
    );
}

fn is_journal_sync(call: &Call, data_dir: &Path) -> bool {
    let path = call.path().map(Path::new);
    SYNCS.contains(&call.name.as_str()) && path.is_some_and(|path| path.starts_with(data_dir.join("journal")))
}
