//! What a file and a directory hold, live and durable, and what a power cut leaves of it.

use std::collections::BTreeMap;

use super::{Loss, SECTOR};

#[derive(Default)]
pub(super) struct Dir {
    pub(super) live: BTreeMap<String, usize>,
    pub(super) durable: BTreeMap<String, usize>,
    pub(super) waiting: Vec<NameChange>,
}

#[derive(Clone)]
pub(super) enum NameChange {
    Set(String, usize),
    Unset(String),
    Rename(String, String, usize),
}

#[derive(Default)]
pub(super) struct File {
    pub(super) live: Vec<u8>,
    pub(super) durable: Vec<u8>,
    pub(super) waiting: Vec<(usize, Vec<u8>)>,
}

/// A coin that falls the same way for the same seed (xorshift64*).
pub(super) struct Coin(pub(super) u64);

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
    pub(super) fn cut(&mut self, loss: Loss, coin: &mut Coin) {
        for change in std::mem::take(&mut self.waiting) {
            if coin.keeps(loss) {
                apply(&mut self.durable, &change);
            }
        }
        self.live = self.durable.clone();
    }
}

pub(super) fn apply(names: &mut BTreeMap<String, usize>, change: &NameChange) {
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
    pub(super) fn cut(&mut self, loss: Loss, coin: &mut Coin) {
        for (offset, bytes) in std::mem::take(&mut self.waiting) {
            for (offset, sector) in sectors(offset, &bytes) {
                if coin.keeps(loss) {
                    put(&mut self.durable, offset, sector);
                }
            }
        }
        self.live = self.durable.clone();
    }

    pub(super) fn write(&mut self, offset: usize, bytes: &[u8]) {
        put(&mut self.live, offset, bytes);
        self.waiting.push((offset, bytes.to_vec()));
    }

    pub(super) fn sync(&mut self) {
        for (offset, bytes) in std::mem::take(&mut self.waiting) {
            put(&mut self.durable, offset, &bytes);
        }
        self.durable.resize(self.live.len(), 0);
    }
}

/// The pieces of a write, one for each sector that it touches.
pub(super) fn sectors(offset: usize, bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
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

pub(super) fn put(content: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    content[offset..end].copy_from_slice(bytes);
}
