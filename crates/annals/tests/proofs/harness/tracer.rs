//! strace: which system calls a server made, and one of them failed or answered by a kill.
//!
//! strace counts calls for each thread; with `-P` only those on the named file. So a point of a workload is a call, the
//! file it is on, and how many of these the same thread made before.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Every call by which a program changes the file system, but for opening files. Some machines lack those with `?`.
pub(crate) const WRITING_CALLS: &str = "pwrite64,pwritev,fdatasync,fsync,?rename,renameat,renameat2,?unlink,unlinkat,\
                                        ?mkdir,mkdirat,truncate,ftruncate,fallocate,sync_file_range,msync";

/// One call of a trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) thread: String,
    pub(crate) name: String,
    /// The arguments as strace prints them.
    pub(crate) arguments: String,
    /// What came back, empty when the thread was gone before.
    pub(crate) result: String,
    /// Numbers of the trace's lines at which the call began and was over.
    pub(crate) began: usize,
    pub(crate) ended: usize,
}

impl Call {
    /// The file it is on: of a descriptor (`-y`), or the first that is named.
    pub(crate) fn path(&self) -> Option<&str> {
        let (_, rest) = self.arguments.split_once(['<', '"'])?;
        rest.split(['>', '"']).next()
    }
}

/// Reads a trace that was made with `-f -y`. Calls that other threads interrupted are put together.
pub(crate) fn calls(trace: &Path) -> Vec<Call> {
    let mut calls: Vec<Call> = Vec::new();
    let mut open: HashMap<String, usize> = HashMap::new();
    let text = String::from_utf8_lossy(&fs::read(trace).unwrap()).into_owned();
    for (at, line) in text.lines().enumerate() {
        let Some((thread, rest)) = line.split_once(' ') else {
            continue;
        };
        let rest = rest.trim_start();
        if rest.starts_with("---") || rest.starts_with("+++") {
            continue;
        }
        if let Some(resumed) = rest.strip_prefix("<... ") {
            if let Some(index) = open.remove(thread) {
                calls[index].ended = at;
                calls[index].result = result_of(resumed);
            }
            continue;
        }
        let Some((name, arguments)) = rest.split_once('(') else {
            continue;
        };
        let is_open = rest.ends_with("<unfinished ...>");
        if is_open {
            open.insert(thread.to_owned(), calls.len());
        }
        calls.push(Call {
            thread: thread.to_owned(),
            name: name.to_owned(),
            arguments: arguments.to_owned(),
            result: if is_open { String::new() } else { result_of(rest) },
            began: at,
            ended: if is_open { usize::MAX } else { at },
        });
    }
    calls
}

fn result_of(line: &str) -> String {
    line.rsplit_once(" = ")
        .map_or_else(String::new, |(_, result)| result.trim().to_owned())
}

/// A call of a workload at which something can be made to happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Point {
    pub(crate) call: String,
    /// The file, relative to the data directory; without one, calls on any file count.
    pub(crate) path: Option<PathBuf>,
    /// 1 for the thread's first such call.
    pub(crate) nth: usize,
    /// What the call gave when nothing happened to it.
    pub(crate) result: String,
}

impl Point {
    /// All points of a trace on files of the data directory, in order. Without `by_path`, those of the first thread by number alone.
    pub(crate) fn all(trace: &Path, data_dir: &Path, by_path: bool) -> Vec<Self> {
        let mut counts: HashMap<(String, String, Option<PathBuf>), usize> = HashMap::new();
        let mut points = Vec::new();
        let calls = calls(trace);
        let first_thread = calls.first().map(|call| call.thread.clone());
        for call in calls {
            let path = call.path().map(PathBuf::from).unwrap_or_default();
            let relative = path.strip_prefix(data_dir).ok().map(Path::to_owned);
            if by_path && relative.is_none() || !by_path && Some(&call.thread) != first_thread.as_ref() {
                continue;
            }
            let path = relative.filter(|_| by_path);
            let key = (call.thread, call.name.clone(), path.clone());
            let nth = counts.entry(key).and_modify(|count| *count += 1).or_insert(1);
            let point = Self {
                call: call.name,
                path,
                nth: *nth,
                result: call.result,
            };
            // strace counts for each thread: of equal points, the one that comes first is hit.
            let is_equal =
                |other: &Self| (&other.call, &other.path, other.nth) == (&point.call, &point.path, point.nth);
            if !points.iter().any(is_equal) {
                points.push(point);
            }
        }
        points
    }

    /// Whether it is on a file whose name ends so.
    pub(crate) fn is_on(&self, suffix: &str) -> bool {
        self.path
            .as_ref()
            .is_some_and(|path| path.to_str().unwrap().ends_with(suffix))
    }

    /// strace's arguments that make `what` happen at this point, and only there.
    pub(crate) fn inject(&self, data_dir: &Path, what: &str) -> Vec<String> {
        self.inject_when(data_dir, what, &self.nth.to_string())
    }

    /// The same at other times: `first..last`, `first+`.
    pub(crate) fn inject_when(&self, data_dir: &Path, what: &str, when: &str) -> Vec<String> {
        let call = &self.call;
        let mut arguments = strace(Path::new("/dev/null"), call);
        if let Some(path) = &self.path {
            // Joining an empty path would add a slash.
            let path = if path.as_os_str().is_empty() {
                data_dir.to_owned()
            } else {
                data_dir.join(path)
            };
            arguments.extend(["-P".to_owned(), path.to_str().unwrap().to_owned()]);
        }
        arguments.extend(["-e".to_owned(), format!("inject={call}:{what}:when={when}")]);
        arguments
    }
}

/// strace's arguments that write a trace of some calls.
pub(crate) fn strace(trace: &Path, calls: &str) -> Vec<String> {
    let trace = trace.to_str().unwrap();
    let known = format!("trace={calls}");
    ["-y", "-s", "4096", "-o", trace, "-e", &known]
        .map(ToOwned::to_owned)
        .to_vec()
}
