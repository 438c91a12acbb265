//! Sealing in process: canonical events in, durable events out, in groups of 1,000; beside a loop that only hashes, writes
//! and syncs the same bytes into a preallocated file.

use std::collections::VecDeque;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::thread;
use std::time::{Duration, Instant};

use annals_core::canonical::CanonicalBatch;
use annals_core::chain::Head;
use annals_core::hash::EventHash;
use annals_core::seal::{SealedBatch, seal};
use annals_core::time::Micros;
use annals_log::{LogOptions, SystemClock};
use annals_store_file::{Options, open};
use anyhow::Result;
use sha2::{Digest, Sha256};

use crate::input::{GROUP_EVENTS, group};
use crate::report::{median, rate, say};

const GROUPS: usize = 100;
const ROUNDS: usize = 9;
/// Requests under way at once: one is being sealed while the next waits.
const IN_FLIGHT: usize = 2;

/// Short runs of 100 groups, in turns with the loop.
pub(crate) fn burst() -> Result<()> {
    let batches = (0..GROUPS)
        .map(|at| group((at * GROUP_EVENTS) as u64))
        .collect::<Result<Vec<_>>>()?;
    let sealed = sealed(&batches);
    let mut plain = PlainLoop::new()?;
    let mut subject = Subject::start()?;
    let (mut ours, mut theirs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let events = (GROUPS * GROUP_EVENTS) as f64;
        theirs.push(events / plain.run(&sealed)?.as_secs_f64());
        ours.push(events / subject.run(&batches)?.as_secs_f64());
        ratios.push(ours[ours.len() - 1] / theirs[theirs.len() - 1]);
    }
    subject.stop()?;
    say(&format!(
        "seal, burst: {} events/s, the loop {} events/s; ratio {:.2} (goal 0.50), worst of {ROUNDS} rounds {:.2}",
        rate(median(&mut ours)),
        rate(median(&mut theirs)),
        median(&mut ratios),
        ratios[0],
    ))
}

/// A minute of sealing with packing going on, beside a minute of the loop.
pub(crate) fn sustained() -> Result<()> {
    let batches = (0..GROUPS)
        .map(|at| group((at * GROUP_EVENTS) as u64))
        .collect::<Result<Vec<_>>>()?;
    let sealed = sealed(&batches);
    let mut plain = PlainLoop::new()?;
    let mut subject = Subject::start()?;
    let slice = Duration::from_secs(10);
    let (mut ours, mut theirs) = ((0_u64, Duration::ZERO), (0_u64, Duration::ZERO));
    for _ in 0..6 {
        let until = Instant::now() + slice;
        while Instant::now() < until {
            theirs.1 += plain.run(&sealed)?;
            theirs.0 += (GROUPS * GROUP_EVENTS) as u64;
        }
        let until = Instant::now() + slice;
        while Instant::now() < until {
            ours.1 += subject.run(&batches)?;
            ours.0 += (GROUPS * GROUP_EVENTS) as u64;
        }
    }
    subject.stop()?;
    let per_second = |(events, time): (u64, Duration)| events as f64 / time.as_secs_f64();
    say(&format!(
        "seal, sustained (6 × 10 s each, packing running): {} events/s, the loop {} events/s; ratio {:.2} (goal 0.50)",
        rate(per_second(ours)),
        rate(per_second(theirs)),
        per_second(ours) / per_second(theirs),
    ))
}

fn sealed(batches: &[CanonicalBatch]) -> Vec<SealedBatch> {
    let mut head = Head::EMPTY;
    let chain = batches.iter().map(|batch| {
        let sealed = seal(&head, Micros(1_778_814_855_123_456), [batch].into_iter());
        head = sealed.after();
        sealed
    });
    chain.collect()
}

/// The loop: hash each body, write the group, sync; into 64 MiB that were written and synced before.
struct PlainLoop {
    _dir: tempfile::TempDir,
    file: File,
    at: u64,
}

const PLAIN_BYTES: usize = 64 << 20;

impl PlainLoop {
    fn new() -> Result<Self> {
        let dir = tempfile::tempdir_in(std::env::current_dir()?)?;
        let file = File::options()
            .create(true)
            .truncate(true)
            .read(true)
            .write(true)
            .open(dir.path().join("plain"))?;
        file.write_all_at(&vec![0; PLAIN_BYTES], 0)?;
        file.sync_all()?;
        Ok(Self {
            _dir: dir,
            file,
            at: 0,
        })
    }

    fn run(&mut self, groups: &[SealedBatch]) -> Result<Duration> {
        let start = Instant::now();
        let mut seen = 0_u8;
        for group in groups {
            for index in 0..group.len() {
                let digest: [u8; 32] = Sha256::digest(group.body(index)).into();
                seen ^= digest[0];
            }
            let bytes = group.bodies();
            if self.at + bytes.len() as u64 > PLAIN_BYTES as u64 {
                self.at = 0;
            }
            self.file.write_all_at(bytes, self.at)?;
            self.file.sync_data()?;
            self.at += bytes.len() as u64;
        }
        std::hint::black_box(seen);
        Ok(start.elapsed())
    }
}

/// The log with its engine, sequencer and maintenance, as `annals serve` runs them.
struct Subject {
    _dir: tempfile::TempDir,
    log: annals_log::Log,
    sequencer: annals_log::Sequencer,
    maintenance: thread::JoinHandle<Result<(), annals_store::RecoverError>>,
    head: EventHash,
}

impl Subject {
    fn start() -> Result<Self> {
        let dir = tempfile::tempdir_in(std::env::current_dir()?)?;
        let opened = open(dir.path(), Options::default())?;
        let log_id = opened.log_id();
        let maintenance = opened.maintenance;
        let maintenance = thread::spawn(move || {
            while maintenance.wait_for_work() {
                maintenance.step()?;
            }
            Ok(())
        });
        // One request is one group, as the goal counts them.
        let options = LogOptions {
            group_bytes_max: 1,
            ..LogOptions::default()
        };
        let (log, sequencer) =
            annals_log::start(Box::new(opened.journal), log_id, Box::new(SystemClock), options)?;
        Ok(Self {
            _dir: dir,
            log,
            sequencer,
            maintenance,
            head: EventHash::GENESIS,
        })
    }

    /// Canonical events in, durable events out. What is refused because packing has to catch up is sent again.
    fn run(&mut self, batches: &[CanonicalBatch]) -> Result<Duration> {
        let copies = batches.to_vec();
        let start = Instant::now();
        let mut waiting = VecDeque::with_capacity(IN_FLIGHT);
        for batch in copies {
            if waiting.len() == IN_FLIGHT {
                self.take(&mut waiting)?;
            }
            // The copy that is sent again costs what a producer's own would.
            waiting.push_back((self.log.append(batch.clone())?, batch));
        }
        while !waiting.is_empty() {
            self.take(&mut waiting)?;
        }
        Ok(start.elapsed())
    }

    fn take(&mut self, waiting: &mut VecDeque<(annals_log::Pending, CanonicalBatch)>) -> Result<()> {
        let Some((pending, batch)) = waiting.pop_front() else {
            return Ok(());
        };
        match pending.wait() {
            Ok(receipt) => {
                if let Some((_, hash, _)) = receipt.iter().last() {
                    self.head = hash;
                }
            }
            Err(annals_log::AppendError::Busy { .. }) => {
                thread::sleep(Duration::from_millis(5));
                waiting.push_back((self.log.append(batch.clone())?, batch));
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn stop(self) -> Result<()> {
        self.log.stop();
        self.sequencer
            .join()
            .map_err(|fatal| anyhow::anyhow!("{fatal}"))?;
        self.maintenance
            .join()
            .map_err(|_| anyhow::anyhow!("the maintenance panicked"))??;
        Ok(())
    }
}
