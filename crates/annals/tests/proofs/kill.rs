//! SIGKILL under load, again and again, on one data directory.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::mpsc::{self, Sender};
use std::thread;

use crate::harness::{
    Batch, Choices, Client, Launch, Ledger, Server, Shape, Told, append, is_long, segment_names, verify_dir,
    verify_server,
};

const PRODUCERS: usize = 4;
/// Room for a few batches, so that rotation and packing happen in every round.
const JOURNAL_FILE_BYTES: u64 = 256 * 1024;

/// Red when: `Sequencing::commit` answers before `journal.commit`; `Maintenance::pack` removes the journal file before the
/// segment has its name.
#[test]
fn nothing_acknowledged_is_lost_or_doubled_however_often_the_process_is_killed() {
    let scratch = tempfile::tempdir().unwrap();
    let data_dir = scratch.path().join("data");
    let mut choices = Choices::new(0);
    let mut ledger = Ledger::default();
    let rounds = if is_long() { 300 } else { 25 };
    for round in 0..rounds {
        let server = Launch::new(&data_dir)
            .journal_file_bytes(JOURNAL_FILE_BYTES)
            .start();
        ledger.check(server.address);
        verify_server(server.address).intact();
        let answers_until_kill = choices.pick(1..90);
        let ended = kill_under_load(server, round, answers_until_kill, &mut ledger);
        assert!(ended, "round {round} ended before the kill");
        let found = verify_dir(&data_dir).intact();
        assert!(found.checked() >= ledger.sealed_len(), "{found:?}");
    }
    the_log_is_whole(&data_dir, &mut ledger);
    assert!(
        !segment_names(&data_dir).is_empty(),
        "journal files were packed meanwhile"
    );
    assert!(
        ledger.unanswered_len() > 0,
        "the kills hit requests that were under way"
    );
}

/// Lets producers loose and kills the server after so many acknowledged requests. True when it was the kill that ended it.
fn kill_under_load(mut server: Server, round: usize, answers_until_kill: usize, ledger: &mut Ledger) -> bool {
    let address = server.address;
    let (sender, answers) = mpsc::channel();
    thread::scope(|scope| {
        for producer in 0..PRODUCERS {
            let sender = sender.clone();
            scope.spawn(move || produce(address, round, producer, &sender));
        }
        drop(sender);
        let mut acknowledged = 0;
        for (batch, told) in answers {
            ledger.record(batch, &told);
            if let Told::Sealed(_) = told {
                acknowledged += 1;
                if acknowledged == answers_until_kill {
                    server.kill();
                }
            }
        }
    });
    server.wait_for_end().was_killed()
}

/// Sends batches, odd producers single events, over one connection until it breaks.
fn produce(address: SocketAddr, round: usize, producer: usize, told: &Sender<(Batch, Told)>) {
    let mut choices = Choices::new((round * PRODUCERS + producer + 1) as u64);
    let Ok(mut client) = Client::connect(address) else {
        return;
    };
    for serial in 0.. {
        let name = format!("r{round}-p{producer}-{serial}");
        let shape = if producer % 2 == 1 {
            Shape::One
        } else {
            Shape::Lines
        };
        let fill_bytes = choices.pick(0..2_000);
        let batch = match shape {
            Shape::One => Batch::one(&name, fill_bytes),
            Shape::Lines => Batch::lines(&name, choices.pick(1..150), fill_bytes),
        };
        let answer = append(&mut client, &batch);
        let is_broken = matches!(answer, Told::Nothing);
        told.send((batch, answer)).unwrap();
        if is_broken {
            return;
        }
    }
}

fn the_log_is_whole(data_dir: &Path, ledger: &mut Ledger) {
    let server = Launch::new(data_dir)
        .journal_file_bytes(JOURNAL_FILE_BYTES)
        .start();
    ledger.check_from_the_start(server.address);
    verify_server(server.address).intact();
    let ended = server.stop();
    assert_eq!(ended.code(), Some(0), "{ended:?}");
    verify_dir(data_dir).intact();
}
