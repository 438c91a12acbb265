//! Names on the way to the data: each directory that `serve` makes is durable before the first event can be.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

/// Red when: `create_root` does not sync the parents of the directories that it makes.
#[test]
fn every_directory_that_is_made_is_synced_in_its_parent() {
    let root = tempfile::TempDir::new().expect("a temporary directory");
    let root = root.path().canonicalize().expect("it exists");
    let mut traced = Command::new("strace")
        .args(["-D", "-f", "-qq", "-y", "-e", "trace=fsync", "-o", "/dev/stderr"])
        .arg(env!("CARGO_BIN_EXE_annals"))
        .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(root.join("a/b/data"))
        .current_dir(&root)
        .stderr(Stdio::piped())
        .spawn()
        .expect("strace is installed: apt-get install strace");
    let mut synced = Vec::new();
    let stderr = BufReader::new(traced.stderr.take().expect("it is piped"));
    // The end of the text is the end of both processes.
    for line in stderr.lines() {
        let line = line.expect("text");
        if line.contains("listening on") {
            traced.kill().expect("it runs");
        }
        synced.push(line);
    }
    traced.wait().expect("it has ended");
    for parent in ["", "/a", "/a/b"] {
        let call = format!("<{}{parent}>)", root.display());
        let is_synced = synced
            .iter()
            .any(|line| line.contains("fsync(") && line.contains(&call));
        assert!(is_synced, "no fsync of {call} in {synced:#?}");
    }
}
