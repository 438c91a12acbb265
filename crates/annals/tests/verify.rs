//! `annals verify`: every kind of tampering has exit code 3, everything that can't be told has 4.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::process::{Ran, Server, run, run_with};
use crate::scripted::{Scripted, answer};

/// A chain of five events, as lines.
fn export() -> Vec<String> {
    let server = Server::start();
    for n in 0..5 {
        server
            .run(&[
                "append",
                "--kind",
                "other",
                "--source",
                "s",
                "--payload",
                &format!("{{\"n\":{n}}}"),
            ])
            .exits(0);
    }
    server
        .run(&["query"])
        .exits(0)
        .stdout
        .lines()
        .map(str::to_owned)
        .collect()
}

fn text(lines: &[String]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

fn verify(lines: &[String], args: &[&str]) -> Ran {
    let dir = TempDir::new().unwrap();
    run_with(
        dir.path(),
        &[&["verify", "--file", "-"], args].concat(),
        text(lines).as_bytes(),
    )
}

/// Red when: `Report::into_result` gives a broken log another failure than `Integrity`.
#[test]
fn tampered_exports_are_integrity_failures() {
    let lines = export();
    let edited = |at: usize, from: &str, to: &str| {
        let mut lines = lines.clone();
        lines[at] = lines[at].replacen(from, to, 1);
        lines
    };
    let without = |at: usize| [&lines[..at], &lines[at + 1..]].concat();
    let mut swapped = lines.clone();
    swapped.swap(1, 3);
    for (lines, says) in [
        (
            edited(2, "\"n\":2", "\"n\":3"),
            "event #3: hash mismatch at event #3",
        ),
        (
            edited(2, "\"prev_hash\":\"", "\"prev_hash\":\"f"),
            "event #3: prev_hash mismatch at event #3",
        ),
        (
            edited(2, "\"hash\":\"", "\"hash\":\"f"),
            "event #3: hash missing or malformed at event #3",
        ),
        (edited(0, "{", "x"), "event #1: not a JSON object"),
        (without(1), "event #2: event_id should be 2, got 3"),
        (without(0), "event #1: event_id should be 1, got 2"),
        (swapped, "event #2: event_id should be 2, got 4"),
    ] {
        let ran = verify(&lines, &[]).exits(3).says(says);
        assert!(ran.stdout.starts_with("broken: event #"), "{ran:?}");
    }
    let json = verify(&without(1), &["--json"]).exits(3).json();
    assert_eq!(json[0]["verdict"], "broken");
    assert_eq!(
        (&json[0]["first_break_at"], &json[0]["checked"]),
        (&json!(2), &json!(1))
    );
}

/// Red when: the held checkpoint is not handed to the audit.
#[test]
fn only_a_checkpoint_shows_a_cut_off_tail() {
    let lines = export();
    let last: Value = serde_json::from_str(&lines[4]).unwrap();
    let held = format!("{{\"event_id\":5,\"hash\":{}}}", last["hash"]);
    assert!(
        verify(&lines[..3], &[])
            .exits(0)
            .stdout
            .contains("not proven fresh")
    );
    verify(&lines[..3], &["--checkpoint", &held])
        .exits(3)
        .says("event #4: the log ends after 3 events");
    let proven = verify(&lines, &["--checkpoint", &held]).exits(0);
    assert!(
        proven
            .stdout
            .contains("nothing up to event 5 is missing or changed"),
        "{proven:?}"
    );
    let json = verify(&lines, &["--checkpoint", &held, "--json", "--chain-only"])
        .exits(0)
        .json();
    assert_eq!(json[0]["proven_up_to"]["event_id"], 5);
    assert_eq!(
        (&json[0]["verdict"], &json[0]["level"]),
        (&json!("intact"), &json!("chain"))
    );

    let dir = TempDir::new().unwrap();
    let path = dir.path().join("held.json");
    fs::write(&path, &held).unwrap();
    verify(&lines, &["--checkpoint", &format!("@{}", path.display())]).exits(0);
    let rewritten = format!("{{\"event_id\":2,\"hash\":\"{}\"}}", "0".repeat(64));
    verify(&lines, &["--checkpoint", &rewritten])
        .exits(3)
        .says("the log was rewritten at or before it");
}

/// Red when: `is_cut_off` is always false.
#[test]
fn what_is_not_whole_is_incomplete() {
    let lines = export();
    let dir = TempDir::new().unwrap();
    let whole = lines.join("\n");
    let args = ["verify", "--file", "-"];
    run_with(dir.path(), &args, whole.as_bytes()).exits(0);
    let ran = run_with(dir.path(), &args, &whole.as_bytes()[..whole.len() - 30])
        .exits(4)
        .says("cut off");
    assert!(ran.stdout.starts_with("incomplete: 4 events intact"), "{ran:?}");

    let array = format!("\n [{}]\n", lines.join(" ,\n"));
    run_with(dir.path(), &args, array.as_bytes()).exits(0);
    run_with(dir.path(), &args, &array.as_bytes()[..array.len() - 40])
        .exits(4)
        .says("cut off");
    run_with(dir.path(), &args, array.replace("\"n\":2", "\"n\":9").as_bytes())
        .exits(3)
        .says("event #3");
    run_with(dir.path(), &args, array.replace(" ,\n", " \n").as_bytes())
        .exits(3)
        .says("not JSON");
    run(dir.path(), &["verify", "--file", "missing"]).exits(1);
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

pub(crate) fn first_journal_file(data: &Path) -> PathBuf {
    fs::read_dir(data.join("journal"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .min()
        .unwrap()
}

/// Red when: `before_damage` makes damage incomplete, or audits nothing; `verify` takes the directory's lock.
#[test]
fn a_data_directory_is_verified_beside_its_server_and_after_tampering() {
    let server = Server::start();
    server.load_cloudtrail().exits(0);
    let live = run(server.dir.path(), &["verify", "--json"]).exits(0).json();
    assert_eq!(
        (&live[0]["verdict"], &live[0]["checked"]),
        (&json!("intact"), &json!(103))
    );

    let (_, dir) = server.stop("TERM");
    run(dir.path(), &["verify"]).exits(0);
    let journal = first_journal_file(&dir.path().join("annals-data"));
    let bytes = fs::read(&journal).unwrap();
    let wanted = b"\"event_id\":60,";
    let at = bytes
        .windows(wanted.len())
        .position(|window| window == wanted)
        .unwrap();
    flip(&journal, at + 40);
    let ran = run(dir.path(), &["verify"])
        .exits(3)
        .says("integrity failure")
        .says("event 60: ")
        .says("--checkpoint");
    let told = ran.stdout.trim_end();
    assert!(
        told.starts_with("broken: event 60: ") && told.ends_with("before it, 59 events are intact"),
        "{ran:?}"
    );
    let json = run(dir.path(), &["verify", "--json"]).exits(3).json();
    assert_eq!(
        (&json[0]["first_break_at"], &json[0]["checked"]),
        (&json!(60), &json!(59))
    );
    let damage = &json[0]["damage"];
    let file = format!("journal/{}", journal.file_name().unwrap().to_str().unwrap());
    assert_eq!(
        (&damage["place"], &damage["file"]),
        (&json!("journal"), &json!(file))
    );
    assert!(
        damage["offset"].as_u64().is_some_and(|offset| offset < at as u64),
        "{damage}"
    );
    run(dir.path(), &["serve", "--listen", "127.0.0.1:0"])
        .exits(3)
        .says("annals verify --data-dir");
    flip(&journal, at + 40);
    run(dir.path(), &["verify"]).exits(0);
}

/// An event that is changed with all checksums made right is met by the audit, not by the engine: it counts before damage
/// that lies behind it.
///
/// Red when: `before_damage` names the damage whatever the audit says.
#[test]
fn a_break_before_damage_is_the_one_that_is_named() {
    let server = Server::start();
    for n in 0..3 {
        let payload = format!("{{\"n\":{n}}}");
        server
            .run(&[
                "append",
                "--kind",
                "other",
                "--source",
                "s",
                "--payload",
                &payload,
            ])
            .exits(0);
    }
    let (_, dir) = server.stop("TERM");
    let journal = first_journal_file(&dir.path().join("annals-data"));
    let mut bytes = fs::read(&journal).unwrap();
    let frames: Vec<usize> = memchr::memmem::find_iter(&bytes, b"ANNF").collect();
    let [first, second, third] = frames[..] else {
        panic!("{frames:?}")
    };
    let wanted = b"\"n\":1";
    let digit = memchr::memmem::find(&bytes[second..third], wanted).unwrap() + second + wanted.len() - 1;
    bytes[digit] = b'7';
    mend_checksums(&mut bytes, second);
    bytes[third + 200] ^= 1;
    fs::write(&journal, &bytes).unwrap();
    let json = run(dir.path(), &["verify", "--json"]).exits(3).json();
    assert_eq!(
        (&json[0]["first_break_at"], &json[0]["checked"]),
        (&json!(2), &json!(1))
    );
    assert!(
        json[0]["notes"].to_string().contains("besides, event 3: "),
        "{json:?}"
    );

    // With the first frame gone too, there is nothing before the damage.
    bytes[first + 8] ^= 1;
    fs::write(&journal, &bytes).unwrap();
    let ran = run(dir.path(), &["verify"]).exits(3).says("event 1: ");
    assert!(
        ran.stdout.trim_end().ends_with("before it, 0 events are intact"),
        "{ran:?}"
    );
}

/// Makes the checksums of the frame at `at` right again, as someone who knows docs/format.md would.
pub(crate) fn mend_checksums(content: &mut [u8], at: usize) {
    let word = |content: &[u8], offset: usize| {
        let bytes = content[at + offset..at + offset + 4].try_into().unwrap();
        usize::try_from(u32::from_le_bytes(bytes)).unwrap()
    };
    let table = 192..192 + word(content, 60) + 36 * word(content, 56);
    let bodies = table.end..table.end + word(content, 64);
    for (range, place) in [(table, 152), (bodies, 156), (0..188, 188)] {
        let crc = crc32c(&content[at + range.start..at + range.end]);
        content[at + place..at + place + 4].copy_from_slice(&crc.to_le_bytes());
    }
}

/// CRC-32C, bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0x82F6_3B78 & (crc & 1).wrapping_neg())
        })
    })
}

/// Red when: `DamagedFiles::line`, or `StoreDamage`'s text, names an event that is not known to be hit.
#[test]
fn a_lost_head_record_is_told_to_people() {
    let server = Server::start();
    server.load_cloudtrail().exits(0);
    let (_, dir) = server.stop("TERM");
    fs::remove_file(dir.path().join("annals-data/head")).unwrap();
    let ran = run(dir.path(), &["verify"])
        .exits(3)
        .says("the head record is missing")
        .says("put back the file `head`");
    assert!(
        ran.stdout.starts_with("broken: the head record is missing: ")
            && ran
                .stdout
                .trim_end()
                .ends_with("(head); 103 events are there and intact"),
        "{ran:?}"
    );
    assert!(!ran.stderr.contains("event 104"), "{ran:?}");
}

#[test]
fn what_is_no_data_directory_is_unverifiable() {
    let dir = TempDir::new().unwrap();
    run(dir.path(), &["verify"]).exits(4).says("annals-data");
    run(dir.path(), &["verify", "--data-dir", "."])
        .exits(4)
        .says("FORMAT");
    assert_eq!(
        fs::read_dir(dir.path()).unwrap().count(),
        0,
        "nothing was created"
    );
}

/// Red when: `NewerFormat` is an error like any other.
#[test]
fn a_newer_format_is_unverifiable() {
    let (_, dir) = Server::start().stop("TERM");
    let path = dir.path().join("annals-data/FORMAT");
    let format = fs::read_to_string(&path).unwrap();
    let newer = format.replacen("annals-data 2\n", "annals-data 99\n", 1);
    assert_ne!(newer, format);
    fs::write(&path, newer).unwrap();
    run(dir.path(), &["verify"]).exits(4).says("99");
    run(dir.path(), &["serve", "--listen", "127.0.0.1:0"])
        .exits(4)
        .says("99");
}

/// Red when: what the server says about itself counts instead of its events.
#[test]
fn a_lying_server_is_found_out() {
    let lines = export();
    let json = |body: &str| answer("200 OK", "content-type: application/json\r\n", body);
    let stats = |count: u64| {
        json(&format!(
            "{{\"count\":{count},\"last_event_id\":{count},\"latest_hash\":null}}"
        ))
    };
    let page = |lines: &[String]| answer("200 OK", "content-type: application/x-ndjson\r\n", &text(lines));
    let tampered: Vec<String> = lines
        .iter()
        .map(|line| line.replace("\"n\":4", "\"n\":5"))
        .collect();
    let dir = TempDir::new().unwrap();
    for (answers, code, says) in [
        (vec![stats(5), page(&lines[..2]), page(&lines[2..])], 0, ""),
        (vec![stats(5), page(&tampered)], 3, "event #5: hash mismatch"),
        (
            vec![stats(5), page(&lines[..3]), page(&[])],
            4,
            "speaks of 5 events and gave only 3",
        ),
        (vec![stats(5), json("[]")], 4, "--file"),
        (
            vec![answer("200 OK", "", "<html>")],
            4,
            "does not answer as an audit log",
        ),
        (
            vec![answer("403 Forbidden", "", "{\"detail\":\"not from here\"}")],
            5,
            "not from here",
        ),
        (
            vec![
                stats(5),
                answer(
                    "500 Oops",
                    "",
                    "{\"type\":\"urn:annals:problem:integrity\",\"detail\":\"damaged\"}",
                ),
            ],
            3,
            "damaged",
        ),
    ] {
        let server = Scripted::start(answers);
        run(dir.path(), &["verify", &server.url]).exits(code).says(says);
        server.bodies();
    }
}
