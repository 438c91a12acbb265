//! Running the binary: short commands to their end, servers until they are dropped.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Real audit records (AWS CloudTrail), one a line.
pub(crate) const CLOUDTRAIL: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../testdata/real/cloudtrail.ndjson"
);
/// Events in [`CLOUDTRAIL`].
pub(crate) const CLOUDTRAIL_EVENTS: usize = 103;

/// What a finished command left.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    /// The lines of stdout as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Vec<serde_json::Value> {
        self.stdout
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{self:?}")))
            .collect()
    }

    /// Asserts the exit code.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:?}");
        self
    }

    /// Asserts that stderr says this.
    #[track_caller]
    pub(crate) fn says(self, text: &str) -> Self {
        assert!(self.stderr.contains(text), "{text}: {self:?}");
        self
    }
}

/// The binary in directory `dir`, without the settings of whoever runs the tests.
pub(crate) fn command(dir: &Path, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_annals"));
    command.args(args).current_dir(dir).stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("ANNALS_") || matches!(&*text, "HOST" | "PORT" | "NO_COLOR") {
            command.env_remove(&name);
        }
    }
    command
}

/// Runs to the end.
pub(crate) fn finish(mut command: Command) -> Ran {
    let output = command.output().unwrap();
    Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Runs `annals ARGS` in `dir` to the end.
pub(crate) fn run(dir: &Path, args: &[&str]) -> Ran {
    finish(command(dir, args))
}

/// Runs `annals ARGS` in `dir` with `input` on stdin.
pub(crate) fn run_with(dir: &Path, args: &[&str], input: &[u8]) -> Ran {
    let mut command = command(dir, args);
    command.stdin(Stdio::from(holding(input)));
    finish(command)
}

/// A file with this content, to be read from its start.
pub(crate) fn holding(content: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(content).unwrap();
    std::io::Seek::rewind(&mut file).unwrap();
    file
}

/// A server in a directory of its own.
pub(crate) struct Server {
    pub(crate) dir: TempDir,
    pub(crate) url: String,
    child: Child,
}

impl Server {
    /// On an empty data directory and a free port.
    pub(crate) fn start() -> Self {
        Self::start_in(TempDir::new().unwrap(), "127.0.0.1:0")
    }

    /// On what `dir` holds.
    pub(crate) fn start_in(dir: TempDir, listen: &str) -> Self {
        let said = File::create(dir.path().join("serve.log")).unwrap();
        let child = command(dir.path(), ["serve", "--listen", listen])
            .stderr(said)
            .spawn()
            .unwrap();
        let mut server = Self {
            url: String::new(),
            dir,
            child,
        };
        server.url = server.wait_for_url();
        server
    }

    fn wait_for_url(&mut self) -> String {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let said = self.said();
            let address = said
                .split("listening on ")
                .nth(1)
                .and_then(|rest| rest.split_once(';'));
            if let Some((url, _)) = address {
                return url.to_owned();
            }
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("the server ended ({status}): {said}");
            }
            assert!(Instant::now() < deadline, "the server does not start: {said}");
            thread::yield_now();
        }
    }

    /// What it wrote to stderr so far.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(self.dir.path().join("serve.log")).unwrap()
    }

    /// Where it listens, HOST:PORT.
    pub(crate) fn address(&self) -> String {
        self.url.strip_prefix("http://").unwrap().to_owned()
    }

    /// Writes a file beside the data.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// A client command against it, to be run.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = command(self.dir.path(), args);
        command.env("ANNALS_URL", &self.url);
        command
    }

    /// Runs a client command against it.
    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        finish(self.command(args))
    }

    /// Appends one small event.
    pub(crate) fn append(&self, source: &str) {
        self.run(&["append", "--kind", "other", "--source", source])
            .exits(0);
    }

    /// Appends the CloudTrail records.
    pub(crate) fn load_cloudtrail(&self) -> Ran {
        let mapping = [
            "--wrap",
            "--kind=other",
            "--source-from=/eventSource",
            "--timestamp-from=/@timestamp",
        ];
        self.run(&[&["append", "--file", CLOUDTRAIL], &mapping[..]].concat())
    }

    /// Sends a signal and waits for the end. The exit code, and the directory for what comes next.
    pub(crate) fn stop(mut self, signal: &str) -> (Option<i32>, TempDir) {
        send(signal, &self.child);
        let code = ended(&mut self.child);
        (code, std::mem::replace(&mut self.dir, TempDir::new().unwrap()))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn send(signal: &str, child: &Child) {
    let sent = Command::new("kill")
        .args([format!("-{signal}"), child.id().to_string()])
        .status()
        .unwrap();
    assert!(sent.success());
}

/// Waits for the end, but not for ever. The exit code.
fn ended(child: &mut Child) -> Option<i32> {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        assert!(Instant::now() < deadline, "the process does not end");
        thread::yield_now();
    }
}

/// A port that nobody listens on.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// A command that goes on until it is stopped, read line by line.
pub(crate) struct Follower {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Follower {
    /// Starts it; stderr goes to a file.
    pub(crate) fn start(mut command: Command, stderr: &Path) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(File::create(stderr).unwrap())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            stdout
                .lines()
                .map_while(Result::ok)
                .try_for_each(|line| sender.send(line))
        });
        Self { child, lines }
    }

    /// The next line of stdout; waits for it, but not for ever. `None` at the end.
    pub(crate) fn line(&mut self) -> Option<String> {
        match self.lines.recv_timeout(Duration::from_secs(60)) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("no line came"),
        }
    }

    /// Its stdin, when it was piped.
    pub(crate) fn stdin(&mut self) -> ChildStdin {
        self.child.stdin.take().unwrap()
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: &str) {
        send(signal, &self.child);
    }

    /// Waits for the end. The exit code.
    pub(crate) fn wait(mut self) -> Option<i32> {
        ended(&mut self.child)
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
