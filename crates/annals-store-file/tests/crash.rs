//! Every mutating call of a workload fails in turn, every way; then the power goes, every way. Whatever happened, the log
//! must hold every acknowledged event, nothing that nobody sent, and go on.

use annals_testkit::simdisk::{Fault, Loss, SimDisk};

use crate::support::{Answers, audit, work};

const BATCHES: u64 = 14;

/// What happens to the machine after the fault.
#[derive(Debug, Clone, Copy)]
enum After {
    ProcessDies,
    PowerGoes(Loss),
}

const AFTERS: [After; 6] = [
    After::ProcessDies,
    After::PowerGoes(Loss::Everything),
    After::PowerGoes(Loss::Nothing),
    After::PowerGoes(Loss::Some(1)),
    After::PowerGoes(Loss::Some(2)),
    After::PowerGoes(Loss::Some(3)),
];

fn restart(disk: &SimDisk, after: After) {
    match after {
        After::ProcessDies => disk.restart_process(),
        After::PowerGoes(loss) => disk.power_cycle(loss),
    }
}

fn calls_of_workload() -> u64 {
    let disk = SimDisk::new();
    let answers = work(&disk, BATCHES);
    assert_eq!(
        answers.acknowledged.len() as u64,
        BATCHES * 3,
        "without a fault everything is acknowledged"
    );
    disk.calls()
}

fn after_fault(call: u64, fault: Fault) -> (SimDisk, Answers) {
    let disk = SimDisk::new();
    disk.fail_at(call, fault);
    let answers = work(&disk, BATCHES);
    disk.heal();
    (disk, answers)
}

/// Red when: `mend::rewrite_unproven` does nothing (a failed sync, then a restart, then a power cut loses what was served);
/// `mend::erase` does nothing; `Frame::decode` does not check the bodies' checksum; `Writer::rotate` goes on without a
/// durable file; `load` takes frames behind an incomplete one; an error of `write_at` in `commit` is passed over.
#[test]
fn every_call_fails_every_way() {
    let calls = calls_of_workload();
    assert!(
        calls > 80,
        "the workload rotates, packs and settles: {calls} calls"
    );
    let mut runs = 0;
    for call in 1..=calls {
        for fault in Fault::ALL {
            let (disk, answers) = after_fault(call, fault);
            for after in AFTERS {
                let disk = disk.fork();
                restart(&disk, after);
                audit(&disk, &answers)
                    .unwrap_or_else(|what| panic!("call {call} {fault:?}, then {after:?}: {what}"));
                runs += 1;
            }
        }
    }
    assert!(runs > 2_000, "{runs} runs");
}

/// A second fault hits the recovery from the first one, at every call.
///
/// Red when: `mend::quarantine` comes after `mend::erase`; `mend::write_head` comes before `rewrite_unproven`.
#[test]
fn recovery_is_cut_off_at_every_call() {
    let calls = calls_of_workload();
    // A sample of first faults that leave residue or unproven frames: commits torn half way.
    for call in (20..=calls).step_by(7) {
        let (disk, answers) = after_fault(call, Fault::CutAfter);
        disk.power_cycle(Loss::Some(call));
        for second in 1..=12 {
            for fault in [Fault::CutBefore, Fault::CutAfter, Fault::Half, Fault::Done] {
                let disk = disk.fork();
                disk.fail_at(second, fault);
                // It may or may not open; either way the next power-up has to find everything.
                drop(crate::support::open_sim(&disk));
                disk.heal();
                for loss in [Loss::Everything, Loss::Nothing, Loss::Some(second)] {
                    let disk = disk.fork();
                    disk.power_cycle(loss);
                    audit(&disk, &answers).unwrap_or_else(|what| {
                        panic!("call {call}, recovery's call {second} {fault:?}, {loss:?}: {what}")
                    });
                }
            }
        }
    }
}
