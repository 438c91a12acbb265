//! What the proofs share: the server's process, a client, the ledger of what was acknowledged, the verifier.

mod files;
mod http;
mod ledger;
mod server;
mod tracer;
mod verify;

use std::env;
use std::thread;
use std::time::{Duration, Instant};

pub(crate) use files::{
    copy_dir, files_below, find_in_file, flip_bit, holds_frames, journal_names, segment_names,
};
pub(crate) use http::{Answer, Client};
pub(crate) use ledger::{Batch, Ledger, Shape, Told, append};
pub(crate) use server::{Ended, Launch, Server};
pub(crate) use tracer::{Call, Point, WRITING_CALLS, calls, strace};
pub(crate) use verify::{verify_dir, verify_dir_against, verify_server};

/// Longest wait for anything before the test is red.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The smallest journal file that `serve` accepts: a few batches fill it, so that rotation and packing happen all the time.
pub(crate) const SMALL_JOURNAL: u64 = 64 * 1024;

/// Whether the run may take minutes.
pub(crate) fn is_long() -> bool {
    env::var_os("ANNALS_TEST_LONG").is_some_and(|value| value == "1")
}

/// Waits for `look` to see something.
pub(crate) fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Instant::now() < deadline, "waited too long for {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// Reproducible choices (SplitMix64).
pub(crate) struct Choices(u64);

impl Choices {
    /// The choices that `ANNALS_TEST_SEED` names, else always the same ones; `salt` tells tests and threads apart.
    pub(crate) fn new(salt: u64) -> Self {
        let seed = env::var("ANNALS_TEST_SEED").map_or(20_260_515, |text| text.parse().unwrap());
        Self(seed ^ salt.wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    /// A number from `range`.
    pub(crate) fn pick(&mut self, range: std::ops::Range<usize>) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let span = u64::try_from(range.len()).unwrap();
        range.start + usize::try_from((mixed ^ (mixed >> 31)) % span).unwrap()
    }
}
