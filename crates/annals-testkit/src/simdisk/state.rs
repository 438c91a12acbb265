//! The simulated disk as a whole: the tree of nodes, the fault plan, the trace of syncs.

use std::io;

use super::Fault;
use super::content::{Dir, File, NameChange, apply};

pub(super) const ROOT: usize = 0;

pub(super) struct State {
    pub(super) nodes: Vec<Node>,
    pub(super) calls: u64,
    pub(super) fault: Option<(u64, Fault)>,
    pub(super) without_power: bool,
    /// Names (a part of them) whose syncs silently do nothing.
    pub(super) deaf: Option<String>,
    pub(super) trace: Vec<String>,
}

pub(super) enum Node {
    Dir(Dir),
    File(File),
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

impl Node {
    pub(super) fn copy(&self) -> Self {
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

pub(super) fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

pub(super) fn no_power() -> io::Error {
    io::Error::other("the simulated machine has no power")
}

/// What [`State::admit`] decided about a call.
pub(super) enum Verdict {
    Do,
    DoThen(io::Error),
    HalfThen(io::Error),
    FailWith(io::Error),
}

impl State {
    /// Counts a mutating call and says what becomes of it.
    pub(super) fn admit(&mut self) -> Verdict {
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
    pub(super) fn change(&mut self, change: impl FnOnce(&mut Self) -> io::Result<()>) -> io::Result<()> {
        match self.admit() {
            Verdict::Do => change(self),
            Verdict::DoThen(error) | Verdict::HalfThen(error) => change(self).and(Err(error)),
            Verdict::FailWith(error) => Err(error),
        }
    }

    pub(super) fn readable(&self) -> io::Result<()> {
        if self.without_power {
            Err(no_power())
        } else {
            Ok(())
        }
    }

    pub(super) fn find(&self, path: &str) -> io::Result<usize> {
        let mut node = ROOT;
        for part in path.split('/').filter(|part| !part.is_empty()) {
            let Node::Dir(dir) = &self.nodes[node] else {
                return Err(io::ErrorKind::NotADirectory.into());
            };
            node = *dir.live.get(part).ok_or(io::ErrorKind::NotFound)?;
        }
        Ok(node)
    }

    pub(super) fn dir_mut(&mut self, node: usize) -> &mut Dir {
        match &mut self.nodes[node] {
            Node::Dir(dir) => dir,
            Node::File(_) => panic!("a file where a directory is meant"),
        }
    }

    pub(super) fn file(&self, node: usize) -> &File {
        match &self.nodes[node] {
            Node::File(file) => file,
            Node::Dir(_) => panic!("a directory where a file is meant"),
        }
    }

    pub(super) fn file_mut(&mut self, node: usize) -> &mut File {
        match &mut self.nodes[node] {
            Node::File(file) => file,
            Node::Dir(_) => panic!("a directory where a file is meant"),
        }
    }

    pub(super) fn name(&mut self, path: &str, change: impl FnOnce(&str) -> NameChange) -> io::Result<()> {
        let (dir, name) = split(path);
        let dir = self.find(dir)?;
        let dir = self.dir_mut(dir);
        let change = change(name);
        apply(&mut dir.live, &change);
        dir.waiting.push(change);
        Ok(())
    }

    pub(super) fn is_deaf_to(&self, path: &str) -> bool {
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
    pub(super) fn path_of(&self, node: usize) -> String {
        let mut found = Vec::new();
        self.collect("", ROOT, &mut found);
        found
            .into_iter()
            .find(|path| self.find(path).is_ok_and(|at| at == node))
            .unwrap_or_default()
    }

    pub(super) fn collect(&self, path: &str, node: usize, found: &mut Vec<String>) {
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
