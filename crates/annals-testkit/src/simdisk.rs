//! A disk in memory that loses, tears, reorders and fails, as far as the assumptions of `annals_store_file::disk` allow.
//!
//! Every file has what a process reads (`live`) and what would be there after a power cut (`durable`). Writes go to `live`
//! and wait; a sync makes them durable; a power cut applies any subset of the waiting sectors, in no order, and forgets the
//! rest. Names do the same, per directory. A sync that fails forgets what waited: it can still be read, and will never be
//! durable unless it is written again.
//!
//! Each mutating call has a number, so that a test can run a workload once to count them and then fail each in turn, every
//! way: not done, done, half done, power cut before, power cut after.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use annals_store_file::disk::{Disk, DiskFile};

const SECTOR: usize = 512;
const ROOT: usize = 0;

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
    /// The power goes before it; every later call fails until [`SimDisk::power_up`].
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

struct State {
    nodes: Vec<Node>,
    calls: u64,
    fault: Option<(u64, Fault)>,
    without_power: bool,
    /// Names (a part of them) whose syncs silently do nothing.
    deaf: Option<String>,
    trace: Vec<String>,
}

enum Node {
    Dir(Dir),
    File(File),
}

#[derive(Default)]
struct Dir {
    live: BTreeMap<String, usize>,
    durable: BTreeMap<String, usize>,
    waiting: Vec<NameChange>,
}

#[derive(Clone)]
enum NameChange {
    Set(String, usize),
    Unset(String),
    Rename(String, String, usize),
}

#[derive(Default)]
struct File {
    live: Vec<u8>,
    durable: Vec<u8>,
    waiting: Vec<(usize, Vec<u8>)>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            nodes: vec![Node::Dir(Dir::default())],
            calls: 0,
            fault: None,
            without_power: false,
            deaf: None,
            trace: Vec::new(),
        }
    }
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

impl Node {
    fn copy(&self) -> Self {
        match self {
            Self::File(file) => Self::File(File {
                live: file.live.clone(),
                durable: file.durable.clone(),
                waiting: file.waiting.clone(),
            }),
            Self::Dir(dir) => Self::Dir(Dir {
                live: dir.live.clone(),
                durable: dir.durable.clone(),
                waiting: dir.waiting.clone(),
            }),
        }
    }
}

/// A coin that falls the same way for the same seed (xorshift64*).
struct Coin(u64);

impl Coin {
    fn heads(&mut self) -> bool {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 63 == 0
    }

    fn keeps(&mut self, loss: Loss) -> bool {
        match loss {
            Loss::Everything => false,
            Loss::Nothing => true,
            Loss::Some(_) => self.heads(),
        }
    }
}

impl Dir {
    fn cut(&mut self, loss: Loss, coin: &mut Coin) {
        for change in std::mem::take(&mut self.waiting) {
            if coin.keeps(loss) {
                apply(&mut self.durable, &change);
            }
        }
        self.live = self.durable.clone();
    }
}

fn apply(names: &mut BTreeMap<String, usize>, change: &NameChange) {
    match change {
        NameChange::Set(name, node) => {
            names.insert(name.clone(), *node);
        }
        NameChange::Unset(name) => {
            names.remove(name);
        }
        NameChange::Rename(from, to, node) => {
            names.remove(from);
            names.insert(to.clone(), *node);
        }
    }
}

impl File {
    fn cut(&mut self, loss: Loss, coin: &mut Coin) {
        for (offset, bytes) in std::mem::take(&mut self.waiting) {
            for (offset, sector) in sectors(offset, &bytes) {
                if coin.keeps(loss) {
                    put(&mut self.durable, offset, sector);
                }
            }
        }
        self.live = self.durable.clone();
    }

    fn write(&mut self, offset: usize, bytes: &[u8]) {
        put(&mut self.live, offset, bytes);
        self.waiting.push((offset, bytes.to_vec()));
    }

    fn sync(&mut self) {
        for (offset, bytes) in std::mem::take(&mut self.waiting) {
            put(&mut self.durable, offset, &bytes);
        }
        self.durable.resize(self.live.len(), 0);
    }
}

/// The pieces of a write, one for each sector that it touches.
fn sectors(offset: usize, bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = bytes.get(at..).filter(|rest| !rest.is_empty())?;
        let room = SECTOR - (offset + at) % SECTOR;
        let piece = &rest[..rest.len().min(room)];
        let start = offset + at;
        at += piece.len();
        Some((start, piece))
    })
}

fn put(content: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    content[offset..end].copy_from_slice(bytes);
}

fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

fn no_power() -> io::Error {
    io::Error::other("the simulated machine has no power")
}

/// What [`State::admit`] decided about a call.
enum Verdict {
    Do,
    DoThen(io::Error),
    HalfThen(io::Error),
    FailWith(io::Error),
}

impl State {
    /// Counts a mutating call and says what becomes of it.
    fn admit(&mut self) -> Verdict {
        if self.without_power {
            return Verdict::FailWith(no_power());
        }
        self.calls += 1;
        let Some((_, fault)) = self.fault.filter(|(call, _)| *call == self.calls) else {
            return Verdict::Do;
        };
        let error = || io::Error::other(format!("simulated fault {fault:?}"));
        match fault {
            Fault::NotDone => Verdict::FailWith(error()),
            Fault::Done => Verdict::DoThen(error()),
            Fault::Half => Verdict::HalfThen(error()),
            Fault::NoSpace => Verdict::FailWith(io::ErrorKind::StorageFull.into()),
            Fault::CutBefore => {
                self.without_power = true;
                Verdict::FailWith(no_power())
            }
            Fault::CutAfter => {
                self.without_power = true;
                Verdict::DoThen(no_power())
            }
        }
    }

    /// Runs a name change under the fault plan; names have no half.
    fn change(&mut self, change: impl FnOnce(&mut Self) -> io::Result<()>) -> io::Result<()> {
        match self.admit() {
            Verdict::Do => change(self),
            Verdict::DoThen(error) | Verdict::HalfThen(error) => change(self).and(Err(error)),
            Verdict::FailWith(error) => Err(error),
        }
    }

    fn readable(&self) -> io::Result<()> {
        if self.without_power {
            Err(no_power())
        } else {
            Ok(())
        }
    }

    fn find(&self, path: &str) -> io::Result<usize> {
        let mut node = ROOT;
        for part in path.split('/').filter(|part| !part.is_empty()) {
            let Node::Dir(dir) = &self.nodes[node] else {
                return Err(io::ErrorKind::NotADirectory.into());
            };
            node = *dir.live.get(part).ok_or(io::ErrorKind::NotFound)?;
        }
        Ok(node)
    }

    fn dir_mut(&mut self, node: usize) -> &mut Dir {
        match &mut self.nodes[node] {
            Node::Dir(dir) => dir,
            Node::File(_) => panic!("a file where a directory is meant"),
        }
    }

    fn file(&self, node: usize) -> &File {
        match &self.nodes[node] {
            Node::File(file) => file,
            Node::Dir(_) => panic!("a directory where a file is meant"),
        }
    }

    fn file_mut(&mut self, node: usize) -> &mut File {
        match &mut self.nodes[node] {
            Node::File(file) => file,
            Node::Dir(_) => panic!("a directory where a file is meant"),
        }
    }

    fn name(&mut self, path: &str, change: impl FnOnce(&str) -> NameChange) -> io::Result<()> {
        let (dir, name) = split(path);
        let dir = self.find(dir)?;
        let dir = self.dir_mut(dir);
        let change = change(name);
        apply(&mut dir.live, &change);
        dir.waiting.push(change);
        Ok(())
    }

    fn is_deaf_to(&self, path: &str) -> bool {
        self.deaf
            .as_ref()
            .is_some_and(|part| match part.strip_suffix('/') {
                Some(_) => match part.strip_prefix('*') {
                Some(end) => path.ends_with(end),
                None => path == part,
            },
                None => !path.ends_with('/') && path.contains(part.as_str()),
            })
    }

    /// The present path of a file, empty when it has none.
    fn path_of(&self, node: usize) -> String {
        let mut found = Vec::new();
        self.collect("", ROOT, &mut found);
        found
            .into_iter()
            .find(|path| self.find(path).is_ok_and(|at| at == node))
            .unwrap_or_default()
    }

    fn collect(&self, path: &str, node: usize, found: &mut Vec<String>) {
        match &self.nodes[node] {
            Node::File(_) => found.push(path.to_owned()),
            Node::Dir(dir) => {
                for (name, child) in &dir.live {
                    let below = if path.is_empty() {
                        name.clone()
                    } else {
                        format!("{path}/{name}")
                    };
                    self.collect(&below, *child, found);
                }
            }
        }
    }
}

impl SimDisk {
    fn handle(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let state = self.state();
        state.readable()?;
        let node = state.find(name)?;
        Ok(Arc::new(SimFile {
            disk: self.clone(),
            node,
        }))
    }
}

impl Disk for SimDisk {
    fn open_read(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.handle(name)
    }

    fn open_write(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.handle(name)
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.state().change(|state| {
            let node = state.nodes.len();
            state.nodes.push(Node::File(File::default()));
            state.name(name, |name| NameChange::Set(name.to_owned(), node))
        })?;
        self.handle(name)
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let mut state = self.state();
        state.readable()?;
        let node = state.find(dir)?;
        Ok(state.dir_mut(node).live.keys().cloned().collect())
    }

    fn create_dir(&self, dir: &str) -> io::Result<()> {
        self.state().change(|state| {
            if state.find(dir).is_ok() {
                return Ok(());
            }
            let node = state.nodes.len();
            state.nodes.push(Node::Dir(Dir::default()));
            state.name(dir, |name| NameChange::Set(name.to_owned(), node))
        })
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.state().change(|state| {
            let node = state.find(from)?;
            assert_eq!(split(from).0, split(to).0, "renames stay inside a directory");
            state.name(from, |from| {
                NameChange::Rename(from.to_owned(), split(to).1.to_owned(), node)
            })
        })
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.state().change(|state| {
            state.find(name)?;
            state.name(name, |name| NameChange::Unset(name.to_owned()))
        })
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        let path = format!("{dir}/");
        self.state().change(|state| {
            let node = state.find(dir)?;
            state.trace.push(format!("dir {path}"));
            if !state.is_deaf_to(&path) {
                let dir = state.dir_mut(node);
                dir.waiting.clear();
                dir.durable = dir.live.clone();
            }
            Ok(())
        })
    }
}

struct SimFile {
    disk: SimDisk,
    node: usize,
}

impl DiskFile for SimFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.disk.state();
        state.readable()?;
        let live = &state.file(self.node).live;
        let from = usize::try_from(offset).map_or(live.len(), |offset| offset.min(live.len()));
        let take = buf.len().min(live.len() - from);
        buf[..take].copy_from_slice(&live[from..from + take]);
        Ok(take)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        let mut state = self.disk.state();
        let verdict = state.admit();
        let file = state.file_mut(self.node);
        match verdict {
            Verdict::Do => file.write(offset, buf),
            Verdict::DoThen(error) => {
                file.write(offset, buf);
                return Err(error);
            }
            Verdict::HalfThen(error) => {
                file.write(offset, &buf[..buf.len() / 2]);
                return Err(error);
            }
            Verdict::FailWith(error) => return Err(error),
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        let verdict = state.admit();
        let name = state.path_of(self.node);
        let deaf = state.is_deaf_to(&name);
        state.trace.push(format!("file {name}"));
        let file = state.file_mut(self.node);
        match verdict {
            Verdict::Do if deaf => {}
            Verdict::Do => file.sync(),
            Verdict::DoThen(error) => {
                file.sync();
                return Err(error);
            }
            Verdict::HalfThen(error) => {
                // Every other sector reached the disk; the rest is forgotten, though it can still be read.
                for (offset, bytes) in std::mem::take(&mut file.waiting) {
                    for (offset, sector) in sectors(offset, &bytes).step_by(2) {
                        put(&mut file.durable, offset, sector);
                    }
                }
                return Err(error);
            }
            Verdict::FailWith(error) => {
                file.waiting.clear();
                return Err(error);
            }
        }
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        let state = self.disk.state();
        state.readable()?;
        Ok(state.file(self.node).live.len() as u64)
    }
}
