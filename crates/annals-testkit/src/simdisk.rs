//! A disk in memory that loses, tears, reorders and fails, as far as the assumptions of `annals_store_file::disk` allow.
//!
//! Every file has what a process reads (`live`) and what would be there after a power cut (`durable`). Writes go to `live`
//! and wait; a sync makes them durable; a power cut applies any subset of the waiting sectors, in no order, and forgets the
//! rest. Names do the same, per directory. A sync that fails forgets what waited: it can still be read, and will never be
//! durable unless it is written again.
//!
//! Each mutating call has a number, so that a test can run a workload once to count them and then fail each in turn, every
//! way: not done, done, half done, power cut before, power cut after.

mod content;
mod disk;
mod state;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use content::{Coin, File};
use state::{Node, ROOT, State, split};

const SECTOR: usize = 512;

/// What happens to one mutating call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It fails and nothing was done (a failed sync loses what waited).
    NotDone,
    /// It fails although it was done.
    Done,
    /// It fails half way: a write reached some sectors, a sync made some durable.
    Half,
    /// It fails for want of space and nothing was done.
    NoSpace,
    /// The power goes before it; every later call fails until [`SimDisk::power_cycle`].
    CutBefore,
    /// The power goes right after it was done.
    CutAfter,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::NotDone,
        Self::Done,
        Self::Half,
        Self::NoSpace,
        Self::CutBefore,
        Self::CutAfter,
    ];
}

/// What a power cut does to the sectors and names that waited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// All are lost.
    Everything,
    /// None is lost.
    Nothing,
    /// Each is kept or lost by a coin; the seed makes it repeatable.
    Some(u64),
}

/// The simulated disk; clones are handles to the same one.
#[derive(Clone, Default)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

impl SimDisk {
    /// An empty disk.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Mutating calls so far.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.state().calls
    }

    /// Lets mutating call number `call` (the next one is `calls() + 1`) fail.
    pub fn fail_at(&self, call: u64, fault: Fault) {
        self.state().fault = Some((call, fault));
    }

    /// No more faults.
    pub fn heal(&self) {
        self.state().fault = None;
    }

    /// Makes every sync of a file or directory whose path contains `part` a silent no-op: what removing the call from the
    /// code would do. `name/` with a slash at the end means the directory of exactly that name, `*end/` every
    /// directory whose path ends so.
    pub fn ignore_syncs_of(&self, part: &str) {
        self.state().deaf = Some(part.to_owned());
    }

    /// Every path that was ever synced, in order, with repetitions: `file <path>` or `dir <path>/`.
    #[must_use]
    pub fn syncs(&self) -> Vec<String> {
        self.state().trace.clone()
    }

    /// True when a fault cut the power.
    #[must_use]
    pub fn is_without_power(&self) -> bool {
        self.state().without_power
    }

    /// A power cut now, and power again: what was not durable is lost as `loss` says. Open files of before are dead.
    pub fn power_cycle(&self, loss: Loss) {
        let mut state = self.state();
        state.without_power = false;
        state.fault = None;
        let mut coin = Coin(match loss {
            Loss::Some(seed) => seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1,
            _ => 1,
        });
        for node in &mut state.nodes {
            match node {
                Node::Dir(dir) => dir.cut(loss, &mut coin),
                Node::File(file) => file.cut(loss, &mut coin),
            }
        }
    }

    /// The process dies and starts again; the machine does not: what was written can be read, durable or not.
    pub fn restart_process(&self) {
        let mut state = self.state();
        state.without_power = false;
        state.fault = None;
    }

    /// The whole content of a file as a process reads it.
    ///
    /// # Panics
    /// When there is no such file.
    #[must_use]
    pub fn content(&self, name: &str) -> Vec<u8> {
        let state = self.state();
        let node = state.find(name).expect("the file exists");
        state.file(node).live.clone()
    }

    /// Replaces a file's content, durably and without any trace: what an attacker or a failing disk does.
    ///
    /// # Panics
    /// When there is no such file.
    pub fn tamper(&self, name: &str, content: Vec<u8>) {
        let mut state = self.state();
        let node = state.find(name).expect("the file exists");
        *state.file_mut(node) = File {
            durable: content.clone(),
            live: content,
            waiting: Vec::new(),
        };
    }

    /// Removes a file's name, durably and without any trace.
    ///
    /// # Panics
    /// When there is no such directory.
    pub fn tamper_remove(&self, name: &str) {
        let mut state = self.state();
        let (dir, name) = split(name);
        let dir = state.find(dir).expect("the directory exists");
        let dir = state.dir_mut(dir);
        dir.live.remove(name);
        dir.durable.remove(name);
    }

    /// An independent copy of the disk as it is now.
    #[must_use]
    pub fn fork(&self) -> Self {
        let state = self.state();
        let nodes = state.nodes.iter().map(Node::copy).collect();
        Self {
            state: Arc::new(Mutex::new(State {
                nodes,
                ..State::default()
            })),
        }
    }

    /// Paths of all files, sorted.
    #[must_use]
    pub fn files(&self) -> Vec<String> {
        let state = self.state();
        let mut found = Vec::new();
        state.collect("", ROOT, &mut found);
        found.sort();
        found
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
