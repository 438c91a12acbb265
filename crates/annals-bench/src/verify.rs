//! Verification of stored events: the chain, and the full check, beside the bare hashing of bodies of the same size, on one
//! core and on all.

use std::num::NonZeroUsize;
use std::thread;
use std::time::Instant;

use annals_core::seal::seal;
use annals_core::time::Micros;
use annals_store::{Journal, LogBatch, ReadLog};
use annals_store_file::{Options, inspect, open};
use annals_verify::{Level, Verdict};
use anyhow::{Result, bail};

use crate::input::{GROUP_EVENTS, group};
use crate::machine::sha_rate;
use crate::report::{median, rate, say};

const GROUPS: u64 = 2_000;
const ROUNDS: usize = 5;

/// Two million events in segments and journal, verified as `annals verify --data-dir` does.
pub(crate) fn run() -> Result<()> {
    let dir = tempfile::tempdir_in(std::env::current_dir()?)?;
    fill(dir.path())?;
    let log = inspect(dir.path())?.log;
    let cores = thread::available_parallelism()?;
    for (threads, name) in [(NonZeroUsize::MIN, "one core"), (cores, "all cores")] {
        for (level, what) in [(Level::Chain, "chain"), (Level::Full, "full check")] {
            let (mut ours, mut ratios) = (Vec::new(), Vec::new());
            for _ in 0..ROUNDS {
                let raw = raw_rate(threads);
                ours.push(verified_per_second(&*log, threads, level)?);
                ratios.push(ours[ours.len() - 1] / raw);
            }
            let goal = if level == Level::Chain { " (goal 0.70)" } else { "" };
            say(&format!(
                "verify, {what}, {name}: {} events/s; ratio to bare SHA-256 {:.2}{goal}",
                rate(median(&mut ours)),
                median(&mut ratios),
            ))?;
        }
    }
    Ok(())
}

fn fill(root: &std::path::Path) -> Result<()> {
    let mut opened = open(
        root,
        Options {
            backlog_files_max: 1_000,
            cache: annals_store_file::CacheBounds::DEFAULT,
            ..Options::default()
        },
    )?;
    let log = opened.log_id();
    for at in 0..GROUPS {
        let batch = group(at * GROUP_EVENTS as u64)?;
        let sealed = seal(
            &opened.log.head(),
            Micros(1_778_814_855_123_456),
            [&batch].into_iter(),
        );
        opened.journal.commit(&[LogBatch::new(log, &sealed)])?;
    }
    // Half of it packed, half of it not: both are read.
    for _ in 0..6 {
        opened.maintenance.step()?;
    }
    opened.journal.settle()?;
    Ok(())
}

fn verified_per_second(log: &dyn ReadLog, threads: NonZeroUsize, level: Level) -> Result<f64> {
    let options = annals_verify::Options {
        threads,
        ..annals_verify::Options::new(level)
    };
    let start = Instant::now();
    match annals_verify::audit(log, None, &options, &|_| {}) {
        Verdict::Intact { size, .. } => Ok(size.0 as f64 / start.elapsed().as_secs_f64()),
        verdict => bail!("the log that was just written is not intact: {verdict:?}"),
    }
}

/// Bare hashing on that many cores at once.
fn raw_rate(threads: NonZeroUsize) -> f64 {
    thread::scope(|scope| {
        let running: Vec<_> = (0..threads.get()).map(|_| scope.spawn(sha_rate)).collect();
        running.into_iter().filter_map(|thread| thread.join().ok()).sum()
    })
}
