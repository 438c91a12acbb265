//! The commands of README.md work as they stand there.
//!
//! Every fenced block marked `sh` is run, in order, in one shell, from a directory that looks like a fresh clone. What is
//! different from a person's shell: `cargo build` finds everything built and `cargo run … -- ARGS` is the built binary; the
//! default port is exchanged for a free one; after a line that starts `annals serve … &` the shell waits until the server
//! answers, as a person does.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::process::free_port;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

const CARGO: &str = r#"#!/bin/sh
# Stands in for cargo: everything is built already.
case "$1" in
  build) exit 0 ;;
  run) while [ "$1" != "--" ]; do shift; done; shift; exec annals "$@" ;;
  *) echo "README.md runs cargo $1, which its test does not know" >&2; exit 1 ;;
esac
"#;

/// Red when: any command in README.md is misspelt.
#[test]
fn the_commands_of_the_readme_work() {
    let readme = fs::read_to_string(Path::new(ROOT).join("README.md")).unwrap();
    let blocks = blocks(&readme);
    for wanted in [
        "annals serve",
        "curl",
        "annals append",
        "annals query",
        "annals tail",
        "annals verify",
    ] {
        assert!(
            blocks.iter().any(|block| block.contains(wanted)),
            "README.md shows no {wanted}"
        );
    }
    let clone = TempDir::new().unwrap();
    let bin = clone.path().join("bin");
    fs::create_dir(&bin).unwrap();
    symlink(env!("CARGO_BIN_EXE_annals"), bin.join("annals")).unwrap();
    symlink(
        Path::new(ROOT).join("testdata").canonicalize().unwrap(),
        clone.path().join("testdata"),
    )
    .unwrap();
    fs::write(bin.join("cargo"), CARGO).unwrap();
    fs::set_permissions(bin.join("cargo"), fs::Permissions::from_mode(0o755)).unwrap();

    let port = free_port().to_string();
    let script = script(&blocks, &port);
    let output = Command::new("timeout")
        .args(["120", "bash", "-c", &script])
        .current_dir(clone.path())
        .env(
            "PATH",
            format!("{}:{}", bin.display(), std::env::var("PATH").unwrap()),
        )
        .env("ANNALS_LISTEN", format!("127.0.0.1:{port}"))
        .env("ANNALS_URL", format!("http://127.0.0.1:{port}"))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}\n--- script\n{script}\n--- stdout\n{}\n--- stderr\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

fn blocks(text: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if !line.starts_with("```") {
            continue;
        }
        let block = lines
            .by_ref()
            .take_while(|line| line.trim_end() != "```")
            .map(|line| format!("{line}\n"))
            .collect();
        if line.trim_end() == "```sh" {
            blocks.push(block);
        }
    }
    blocks
}

/// One script of all blocks, which stops at the first command that fails.
fn script(blocks: &[String], port: &str) -> String {
    let mut script = String::from("set -eo pipefail\ntrap 'kill $(jobs -p); wait' EXIT\nset -x\n");
    for line in blocks.iter().flat_map(|block| block.lines()) {
        script.push_str(&line.replace(":8093", &format!(":{port}")));
        script.push('\n');
        let command = line.split(" #").next().unwrap_or_default().trim_end();
        if command.contains(" serve") && command.ends_with('&') {
            let wait = "curl -sf --retry 100 --retry-delay 1 --retry-connrefused -o /dev/null";
            script.push_str(&format!("{wait} http://127.0.0.1:{port}/readyz\n"));
        }
    }
    script
}

#[test]
fn only_shell_blocks_are_run() {
    let text = "```sh\na\n```\ntext\n```json\nb\n```\n```sh\nannals serve &   # here\ncurl http://127.0.0.1:8093/\n```\n";
    let blocks = blocks(text);
    assert_eq!(
        blocks,
        ["a\n", "annals serve &   # here\ncurl http://127.0.0.1:8093/\n"]
    );
    let script = script(&blocks, "7");
    assert!(
        script.contains("serve &   # here\ncurl -sf") && script.ends_with("curl http://127.0.0.1:7/\n"),
        "{script}"
    );
}
