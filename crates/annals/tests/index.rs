//! `annals index rebuild`: the index goes, and the same one comes back.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::process::{Server, run};

/// All index runs below a directory, with their bytes.
fn runs(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.append(&mut runs(&path));
        } else if path.extension().is_some_and(|extension| extension == "run") {
            found.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    found
}

/// Red when: `IndexMaintenance::rebuild` does not throw away what is there, or builds nothing.
#[test]
fn an_index_is_thrown_away_and_built_again() {
    const EVENTS: usize = 5000;
    const BASE: usize = 4096;
    let server = Server::start();
    let event = |n: usize| {
        format!(
            "{{\"kind\":\"other\",\"source\":\"s{}\",\"payload\":{{}}}}\n",
            n % 7
        )
    };
    let path = server.write("many.ndjson", &(0..EVENTS).map(event).collect::<String>());
    server.run(&["append", "--file", path.to_str().unwrap()]).exits(0);
    let rebuild = |dir: &Path, args: &[&str]| run(dir, &[&["index", "rebuild"], args].concat());
    rebuild(server.dir.path(), &[])
        .exits(1)
        .says("another process has the data directory open");
    let (_, dir) = server.stop("TERM");
    let dir = dir.path();
    let done = format!("indexed {BASE} of {EVENTS} events");
    let ran = rebuild(dir, &[]).exits(0);
    assert!(ran.stdout.starts_with(&done), "{ran:?}");
    let data = dir.join("annals-data");
    let built = runs(&data);
    assert_eq!(built.len(), 1);
    let (path, bytes) = built.first_key_value().unwrap();
    let mut damaged = bytes.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    fs::write(path, damaged).unwrap();
    // Red when: `with_index` takes every index for sound. The events are intact all the same, and the quick check does not look.
    let verify = |args: &[&str]| run(dir, &[&["verify", "--data-dir", "annals-data"], args].concat());
    let verdict = verify(&["--json"]).exits(3);
    assert!(verdict.stdout.contains("\"place\":\"index\""), "{verdict:?}");
    assert!(
        verdict.stdout.contains(&format!("\"checked\":{EVENTS}")),
        "{verdict:?}"
    );
    verify(&["--chain-only"]).exits(0);
    let ran = rebuild(dir, &["--log", "default"]).exits(0);
    assert!(
        ran.stdout.starts_with(&format!("{done} of log default; ")),
        "{ran:?}"
    );
    assert_eq!(runs(&data), built);
    verify(&[]).exits(0);
    rebuild(dir, &["--log", "sales"])
        .exits(2)
        .says("there are: default");
}

/// Red when: opening is left to make the directory.
#[test]
fn there_is_nothing_to_rebuild_without_data() {
    let dir = TempDir::new().unwrap();
    run(dir.path(), &["index", "rebuild"]).exits(1).says("FORMAT");
    assert_eq!(
        fs::read_dir(dir.path()).unwrap().count(),
        0,
        "nothing was created"
    );
}
