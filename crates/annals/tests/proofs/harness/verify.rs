//! `annals verify`, as an auditor runs it.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

/// What the verifier said.
#[derive(Debug)]
pub(crate) struct Verified {
    pub(crate) code: Option<i32>,
    /// The verdict as JSON, null when there is none.
    pub(crate) verdict: Value,
    #[expect(dead_code, reason = "shown when a test fails")]
    stderr: String,
}

impl Verified {
    /// Requires that everything is intact.
    #[track_caller]
    pub(crate) fn intact(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:?}");
        assert_eq!(self.verdict["verdict"], "intact", "{self:?}");
        self
    }

    /// Number of events that are intact.
    pub(crate) fn checked(&self) -> u64 {
        self.verdict["checked"].as_u64().unwrap()
    }

    /// The first event that is not what was sealed.
    pub(crate) fn first_break_at(&self) -> Option<u64> {
        self.verdict["first_break_at"].as_u64()
    }
}

/// Offline, also beside a live server.
pub(crate) fn verify_dir(data_dir: &Path) -> Verified {
    run(&["--data-dir", data_dir.to_str().unwrap()])
}

/// Offline, against what somebody holds elsewhere.
pub(crate) fn verify_dir_against(data_dir: &Path, checkpoint: &str) -> Verified {
    run(&[
        "--data-dir",
        data_dir.to_str().unwrap(),
        "--checkpoint",
        checkpoint,
    ])
}

/// By downloading everything.
pub(crate) fn verify_server(address: SocketAddr) -> Verified {
    run(&[&format!("http://{address}")])
}

fn run(arguments: &[&str]) -> Verified {
    let output = Command::new(env!("CARGO_BIN_EXE_annals"))
        .args(["verify", "--json"])
        .args(arguments)
        .env_clear()
        .stdin(Stdio::null())
        .output()
        .unwrap();
    Verified {
        code: output.status.code(),
        verdict: serde_json::from_slice(&output.stdout).unwrap_or(Value::Null),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
