//! `annals serve` as a process of its own, on a free port, maybe under strace. No process outlives its test.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::thread;

use super::{Client, PATIENCE, SMALL_JOURNAL, eventually};

/// How the server is started.
pub(crate) struct Launch {
    data_dir: PathBuf,
    journal_file_bytes: u64,
    strace: Vec<String>,
}

/// A server that ended, or never came up.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    /// What it said.
    pub(crate) stderr: String,
}

impl Ended {
    pub(crate) fn code(&self) -> Option<i32> {
        self.status.code()
    }

    pub(crate) fn was_killed(&self) -> bool {
        const SIGKILL: i32 = 9;
        self.status.signal() == Some(SIGKILL)
    }
}

impl Launch {
    /// With small journal files.
    pub(crate) fn new(data_dir: &Path) -> Self {
        Self {
            data_dir: data_dir.to_owned(),
            journal_file_bytes: SMALL_JOURNAL,
            strace: Vec::new(),
        }
    }

    pub(crate) fn journal_file_bytes(mut self, bytes: u64) -> Self {
        self.journal_file_bytes = bytes;
        self
    }

    /// Under strace with these arguments.
    pub(crate) fn under_strace(mut self, arguments: Vec<String>) -> Self {
        self.strace = arguments;
        self
    }

    /// Starts a server that must come up.
    pub(crate) fn start(self) -> Server {
        self.try_start()
            .unwrap_or_else(|ended| panic!("the server did not come up: {ended:?}"))
    }

    /// Starts a server that may end before it listens.
    pub(crate) fn try_start(self) -> Result<Server, Ended> {
        let annals = env!("CARGO_BIN_EXE_annals");
        let mut command = if self.strace.is_empty() {
            Command::new(annals)
        } else {
            // -D: the server, not strace, is our child, and gets our signals.
            let mut strace = Command::new("strace");
            strace.args(["-D", "-f", "-qq"]);
            strace.args(&self.strace).arg("--").arg(annals);
            strace
        };
        command
            .args(["serve", "--listen", "127.0.0.1:0", "--journal-file-bytes"])
            .arg(self.journal_file_bytes.to_string())
            .arg("--data-dir")
            .arg(&self.data_dir)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}; `scripts/test` installs what is needed"));
        Process::watch(child).wait_until_it_listens()
    }
}

/// A child whose stderr is read.
struct Process {
    child: Child,
    lines: Receiver<String>,
    said: Arc<Mutex<String>>,
}

impl Process {
    fn watch(mut child: Child) -> Self {
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let said = Arc::new(Mutex::new(String::new()));
        let (sender, lines) = mpsc::channel();
        let copy = Arc::clone(&said);
        thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let mut said = copy.lock().unwrap();
                said.push_str(&line);
                said.push('\n');
                drop(said);
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, lines, said }
    }

    fn wait_until_it_listens(self) -> Result<Server, Ended> {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => {
                    if let Some(address) = listening_address(&line) {
                        return Ok(Server {
                            process: self,
                            address,
                        });
                    }
                }
                Err(RecvTimeoutError::Timeout) => panic!("no sign of life: {}", self.said()),
                Err(RecvTimeoutError::Disconnected) => return Err(self.wait_for_end()),
            }
        }
    }

    /// Until the process, and a strace that watches it, has closed stderr: then a trace is complete.
    fn wait_for_end(mut self) -> Ended {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => panic!("the server does not end: {}", self.said()),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        let status = self.child.wait().unwrap();
        Ended {
            status,
            stderr: self.said(),
        }
    }

    fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Fails when the process has ended, which is what is wanted.
        if self.child.kill().is_ok() {
            self.child.wait().unwrap();
        }
    }
}

/// `annals: listening on http://127.0.0.1:40123; data in …`
fn listening_address(line: &str) -> Option<SocketAddr> {
    let rest = line.strip_prefix("annals: listening on http://")?;
    rest.split(';').next()?.parse().ok()
}

/// A running server.
pub(crate) struct Server {
    process: Process,
    pub(crate) address: SocketAddr,
}

impl Server {
    pub(crate) fn client(&self) -> Client {
        Client::connect(self.address).unwrap()
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.process.child.try_wait().unwrap().is_some()
    }

    /// SIGKILL, without waiting for the end.
    pub(crate) fn kill(&mut self) {
        self.process.child.kill().unwrap();
    }

    /// Waits for an end that something else has caused.
    pub(crate) fn wait_for_end(self) -> Ended {
        self.process.wait_for_end()
    }

    /// SIGTERM: finishes what was accepted.
    pub(crate) fn stop(self) -> Ended {
        let pid = self.process.child.id().to_string();
        // Fails when the process has ended by itself; the caller sees its code.
        drop(
            Command::new("sh")
                .args(["-c", "kill -TERM \"$0\" 2>/dev/null", &pid])
                .status(),
        );
        self.wait_for_end()
    }

    /// Waits until `/readyz` answers 200; false when the process ends instead.
    pub(crate) fn wait_until_ready(&mut self) -> bool {
        eventually("readiness", || {
            if self.has_ended() {
                return Some(false);
            }
            let ready = Client::connect(self.address).and_then(|mut client| client.get("/readyz"));
            ready.is_ok_and(|answer| answer.status == 200).then_some(true)
        })
    }
}
