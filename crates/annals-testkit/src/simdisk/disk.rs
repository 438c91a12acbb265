//! The simulated disk as the engine sees it.

use std::io;
use std::sync::Arc;

use annals_store_file::disk::{Disk, DiskFile};

use super::SimDisk;
use super::content::{Dir, File, NameChange, put, sectors};
use super::state::{Node, Verdict, split};

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
    fn share(&self) -> Arc<dyn Disk> {
        Arc::new(self.clone())
    }

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
