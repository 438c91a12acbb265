//! The machine: what every other figure stands on.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use sha2::{Digest, Sha256};

use crate::report::{median, rate, say};

/// Prints processor, cores, file system, the latency of a sync, the rate of SHA-256.
pub(crate) fn run() -> Result<()> {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("", |rest| rest.trim_start_matches([' ', '\t', ':']));
    let cores = std::thread::available_parallelism()?;
    let dir = tempfile::tempdir_in(std::env::current_dir()?)?;
    say(&format!(
        "machine: {model}, {cores} cores, {}",
        file_system(dir.path())
    ))?;
    let file = File::options()
        .create(true)
        .truncate(true)
        .read(true)
        .write(true)
        .open(dir.path().join("sync"))?;
    file.write_all_at(&vec![0; 4 << 20], 0)?;
    file.sync_all()?;
    let block = [1_u8; 4096];
    let mut times = Vec::new();
    for at in 0..1_000_u64 {
        let start = Instant::now();
        file.write_all_at(&block, at * 4096)?;
        file.sync_data()?;
        times.push(start.elapsed().as_secs_f64() * 1e6);
    }
    let slow = {
        times.sort_by(f64::total_cmp);
        times[989]
    };
    say(&format!(
        "machine: 4 KiB written into a preallocated file and synced: median {:.0} µs, 99th percentile {slow:.0} µs",
        median(&mut times)
    ))?;
    say(&format!(
        "machine: SHA-256 of 300 bytes: {} /s on one core",
        rate(sha_rate())
    ))
}

/// Hashes of 300 bytes a second, on one core, measured over a second.
pub(crate) fn sha_rate() -> f64 {
    let mut body = vec![b'x'; 300];
    let start = Instant::now();
    let mut hashes = 0_u64;
    while start.elapsed().as_secs_f64() < 1.0 {
        for _ in 0..1_000 {
            let digest = Sha256::digest(&body);
            body[..32].copy_from_slice(&digest);
        }
        hashes += 1_000;
    }
    hashes as f64 / start.elapsed().as_secs_f64()
}

fn file_system(path: &Path) -> String {
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let parts = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ');
        Some((words.next()?, words.next()?, words.next()?))
    });
    let best = parts
        .filter(|(_, at, _)| path.starts_with(at))
        .max_by_key(|(_, at, _)| at.len());
    best.map_or_else(String::new, |(device, _, kind)| format!("{kind} on {device}"))
}
