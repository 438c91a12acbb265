//! An attacker with write access to a directory whose server was stopped in order: `annals verify` finds every change, at
//! the right event, with exit code 3, and `annals serve` serves nothing that was changed.
//!
//! The engine's own tests flip every byte; these show that what they find reaches the operator.

use std::fs;
use std::path::Path;

use serde_json::json;
use tempfile::TempDir;

use crate::harness::{
    Batch, Launch, Ledger, Told, copy_dir, eventually, files_below, find_in_file, flip_bit, holds_frames,
    journal_names, segment_names, verify_dir, verify_dir_against, verify_server,
};

const BATCHES: usize = 11;
const EVENTS: usize = 3;

/// Two segments and a journal file with several batches, closed in order.
struct Original {
    scratch: TempDir,
    ledger: Ledger,
    /// What somebody noted down at the end.
    checkpoint: String,
}

impl Original {
    fn new() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let data_dir = scratch.path().join("data");
        let server = Launch::new(&data_dir).start();
        let mut ledger = Ledger::default();
        let mut client = server.client();
        for serial in 0..BATCHES {
            let told = ledger.append(&mut client, Batch::lines(&format!("b{serial}"), EVENTS, 4_500));
            assert!(matches!(told, Told::Sealed(_)), "{told:?}");
            // One file at a time: files that wait together are packed together.
            all_packed(&data_dir);
        }
        let checkpoint = client.get("/checkpoint").unwrap();
        // The server waits a little for connections that are still open.
        drop(client);
        assert_eq!(server.stop().code(), Some(0));
        assert_eq!(segment_names(&data_dir).len(), 2);
        let checkpoint = String::from_utf8(checkpoint.body).unwrap();
        Self {
            scratch,
            ledger,
            checkpoint,
        }
    }

    fn data_dir(&self) -> std::path::PathBuf {
        self.scratch.path().join("data")
    }

    /// A copy with something changed.
    fn with(&self, change: impl FnOnce(&Path)) -> TempDir {
        let copy = tempfile::tempdir().unwrap();
        copy_dir(&self.data_dir(), copy.path());
        change(copy.path());
        copy
    }

    /// Payload ids of all events in order.
    fn names() -> impl Iterator<Item = String> {
        (0..BATCHES).flat_map(|serial| (0..EVENTS).map(move |index| format!("b{serial}-{index}")))
    }
}

fn all_packed(data_dir: &Path) {
    eventually("the packing of all full files", || {
        let names = journal_names(data_dir);
        let in_use = names.iter().filter(|name| holds_frames(name)).count();
        (in_use == 1).then_some(())
    });
}

/// The verifier names the event, and the server refuses to start.
#[track_caller]
fn refused(data_dir: &Path, event: u64) {
    found_at(data_dir, event);
    let refused = Launch::new(data_dir).try_start().err().expect("refuses to start");
    assert_eq!(refused.code(), Some(3), "{refused:?}");
    assert!(refused.stderr.contains(&format!("event {event}")), "{refused:?}");
}

#[track_caller]
fn found_at(data_dir: &Path, event: u64) {
    let found = verify_dir(data_dir);
    assert_eq!(
        (found.code, found.first_break_at()),
        (Some(3), Some(event)),
        "{found:?}"
    );
    assert_eq!(found.verdict["verdict"], "broken", "{found:?}");
    assert_eq!(found.checked(), event - 1, "all before it is intact: {found:?}");
}

/// The head record is named, and no event: all of them are there and intact.
#[track_caller]
fn head_record_missed(data_dir: &Path, says: &str) {
    let found = verify_dir(data_dir);
    assert_eq!((found.code, found.first_break_at()), (Some(3), None), "{found:?}");
    assert_eq!(found.verdict["verdict"], "broken", "{found:?}");
    assert_eq!(found.checked(), (BATCHES * EVENTS) as u64, "{found:?}");
    let place = json!({"place": "head_record", "file": "head", "offset": null});
    assert_eq!(found.verdict["damage"], place, "{found:?}");
    assert!(found.verdict["reason"].to_string().contains(says), "{found:?}");
    let refused = Launch::new(data_dir).try_start().err().expect("refuses to start");
    assert_eq!(refused.code(), Some(3), "{refused:?}");
    assert!(
        refused.stderr.contains(says)
            && refused.stderr.contains("put back the file `head`")
            && !refused.stderr.contains("event "),
        "{refused:?}"
    );
}

/// Where the body of an event stands, if it stands there as it is: in the journal, not compressed in a segment.
fn place_of(data_dir: &Path, name: &str) -> Option<(std::path::PathBuf, u64)> {
    let text = format!("\"id\":\"{name}\"");
    let mut files = files_below(data_dir).into_iter();
    files.find_map(|path| Some((path.clone(), find_in_file(&path, &text)?)))
}

#[test]
fn an_untouched_directory_is_intact() {
    let original = Original::new();
    let found = verify_dir(&original.data_dir()).intact();
    assert_eq!(found.checked(), (BATCHES * EVENTS) as u64);
    let held = verify_dir_against(&original.data_dir(), &original.checkpoint).intact();
    assert!(held.verdict["proven_up_to"].is_object(), "{held:?}");
}

/// Red when: `first_damaged` gives the frame's first event; `proven_durable` is always false; `take_before` takes nothing;
/// `before_damage` audits nothing.
#[test]
fn a_changed_event_is_named_wherever_it_lies() {
    let original = Original::new();
    let mut in_journal = 0;
    for name in Original::names() {
        let event = original.ledger.event_id(&name);
        let Some((path, at)) = place_of(&original.data_dir(), &name) else {
            continue;
        };
        let path = path.strip_prefix(original.data_dir()).unwrap();
        let changed = original.with(|data_dir| flip_bit(&data_dir.join(path), at + 8));
        refused(changed.path(), event);
        in_journal += 1;
    }
    assert!(in_journal >= EVENTS, "{in_journal} events in the journal");
}

/// Events of a segment lie compressed in blocks: a changed bit hides a block, and its first event is the one that is named.
///
/// Red when: a block is not held against its checksum, nor the hash behind its last event against the next row's.
#[test]
fn a_changed_block_is_named_by_its_first_event() {
    let original = Original::new();
    for segment in segment_names(&original.data_dir()) {
        let path = segment.strip_prefix(original.data_dir()).unwrap();
        let content = fs::read(&segment).unwrap();
        let footer = &content[content.len() - 256..];
        let number = |at: usize| u64::from_le_bytes(footer[at..at + 8].try_into().unwrap());
        let (first, last, table) = (number(24), number(32), number(120));
        for at in [64, 64 + 40, (64 + table) / 2, table - 1] {
            let changed = original.with(|data_dir| flip_bit(&data_dir.join(path), at));
            let found = verify_dir(changed.path());
            assert_eq!(
                (found.code, &found.verdict["verdict"]),
                (Some(3), &json!("broken")),
                "{found:?}"
            );
            let event = found.first_break_at().expect("an event is named");
            assert!((first..=last).contains(&event), "{event} of {first} to {last}");
            assert_eq!(found.checked(), event - 1, "{found:?}");
            served_around(changed.path(), event);
        }
    }
}

/// Segments are read when they are asked for: the changed event is never served, by whatever way, and all others are.
fn served_around(data_dir: &Path, event: u64) {
    let server = Launch::new(data_dir).start();
    let mut client = server.client();
    let mut is_hidden = false;
    for id in 1..=(BATCHES * EVENTS) as u64 {
        let answer = client.get(&format!("/events/{id}")).unwrap();
        // A block is served as a whole or not at all, and this one begins with the event.
        is_hidden = id == event || is_hidden && answer.status == 500;
        let expected = if is_hidden { 500 } else { 200 };
        assert_eq!(answer.status, expected, "event {id}: {answer:?}");
    }
    let found = verify_server(server.address);
    assert_eq!(found.code, Some(3), "{found:?}");
    let verdict = client.get("/verify?full=true").unwrap().json();
    assert_eq!(
        (verdict["valid"].as_bool(), verdict["first_break_at"].as_u64()),
        (Some(false), Some(event)),
        "{verdict}"
    );
    drop(client);
    assert_eq!(server.stop().code(), Some(0));
}

/// Red when: `Loader::finish` does not compare the last frame with what was durable.
#[test]
fn a_journal_that_was_cut_short_or_rearranged_is_refused() {
    let original = Original::new();
    let data_dir = original.data_dir();
    let journal = journal_names(&data_dir)
        .into_iter()
        .find(|name| holds_frames(name))
        .unwrap();
    let name = journal.strip_prefix(&data_dir).unwrap().to_owned();
    let content = fs::read(&journal).unwrap();
    let frames: Vec<usize> = memchr::memmem::find_iter(&content, b"ANNF").collect();
    let events = (BATCHES * EVENTS) as u64;
    let first_of = |frame: usize| events - ((frames.len() - frame) * EVENTS) as u64 + 1;
    assert!(frames.len() >= 3, "{frames:?}");

    for (index, at) in frames.iter().copied().enumerate() {
        let cut = original.with(|dir| fs::write(dir.join(&name), &content[..at]).unwrap());
        refused(cut.path(), first_of(index));
        let blanked = original.with(|dir| {
            let mut content = content.clone();
            content[at..].fill(0);
            fs::write(dir.join(&name), content).unwrap();
        });
        refused(blanked.path(), first_of(index));
    }
    let (one, two, three) = (frames[0], frames[1], frames[2]);
    let swapped = original.with(|dir| {
        let moved = [
            &content[..one],
            &content[two..three],
            &content[one..two],
            &content[three..],
        ]
        .concat();
        fs::write(dir.join(&name), moved).unwrap();
    });
    refused(swapped.path(), first_of(0));
    let deleted = original.with(|dir| {
        let gap = vec![0; two - one];
        fs::write(dir.join(&name), [&content[..one], &content[two..], &gap].concat()).unwrap();
    });
    refused(deleted.path(), first_of(0));
    let repeated = original.with(|dir| {
        let last = *frames.last().unwrap();
        let len = u32::from_le_bytes(content[last + 8..last + 12].try_into().unwrap());
        let end = last + usize::try_from(len).unwrap();
        let mut content = content.clone();
        content.copy_within(two..three, end);
        fs::write(dir.join(&name), content).unwrap();
    });
    refused(repeated.path(), events + 1);
}

/// Red when: `load_segments` does not look for gaps; `Loader::finish` does not compare the last frame with what was durable.
#[test]
fn files_that_are_gone_or_exchanged_are_refused() {
    let original = Original::new();
    let data_dir = original.data_dir();
    let segments = segment_names(&data_dir);
    let relative = |path: &Path| path.strip_prefix(&data_dir).unwrap().to_owned();
    let (one, two) = (relative(&segments[0]), relative(&segments[1]));
    let second = two.file_stem().unwrap().to_str().unwrap().parse().unwrap();
    let packed = original.ledger.event_id(&first_in_journal(&data_dir)) - 1;

    let gone = original.with(|dir| fs::remove_file(dir.join(&one)).unwrap());
    refused(gone.path(), 1);
    let gone = original.with(|dir| fs::remove_file(dir.join(&two)).unwrap());
    refused(gone.path(), second);
    let cut = original.with(|dir| {
        let file = fs::File::options().write(true).open(dir.join(&two)).unwrap();
        file.set_len(file.metadata().unwrap().len() - 1).unwrap();
    });
    refused(cut.path(), second);
    let exchanged = original.with(|dir| {
        fs::rename(dir.join(&one), dir.join("aside")).unwrap();
        fs::rename(dir.join(&two), dir.join(&one)).unwrap();
        fs::rename(dir.join("aside"), dir.join(&two)).unwrap();
    });
    refused(exchanged.path(), 1);
    for journal in journal_names(&data_dir).iter().filter(|name| holds_frames(name)) {
        let gone = original.with(|dir| fs::remove_file(dir.join(relative(journal))).unwrap());
        refused(gone.path(), packed + 1);
    }
    let gone = original.with(|dir| fs::remove_file(dir.join("head")).unwrap());
    head_record_missed(gone.path(), "the head record is missing");
    // What the operator is told to do helps.
    fs::copy(data_dir.join("head"), gone.path().join("head")).unwrap();
    verify_dir(gone.path()).intact();
    let again = Launch::new(gone.path()).start();
    assert_eq!(again.stop().code(), Some(0));
    for len in [0, 100] {
        let cut = original.with(|dir| {
            let file = fs::File::options().write(true).open(dir.join("head")).unwrap();
            file.set_len(len).unwrap();
        });
        head_record_missed(
            cut.path(),
            &format!("the head record is cut to {len} of its 8192 bytes"),
        );
    }
}

/// A checkpoint that is held elsewhere says what the head record no longer can: that no end was cut off, or that one was.
///
/// Red when: `before_damage` holds no checkpoint against what is there, or only one that is in reach, or any one.
#[test]
fn a_checkpoint_stands_in_for_a_lost_head_record() {
    let original = Original::new();
    let events = (BATCHES * EVENTS) as u64;
    let gone = original.with(|dir| fs::remove_file(dir.join("head")).unwrap());
    let held = verify_dir_against(gone.path(), &original.checkpoint);
    assert_eq!(held.code, Some(3), "{held:?}");
    assert_eq!(held.verdict["proven_up_to"]["event_id"], events, "{held:?}");

    // Behind a damaged event it is out of reach, and not missing.
    let changed = original.with(|data_dir| {
        let (path, at) = place_of(data_dir, &first_in_journal(data_dir)).expect("it is in the journal");
        flip_bit(&path, at + 8);
    });
    let found = verify_dir_against(changed.path(), &original.checkpoint);
    assert_eq!(found.verdict["damage"]["place"], "journal", "{found:?}");
    assert!(found.verdict["proven_up_to"].is_null(), "{found:?}");

    let journal = journal_names(gone.path())
        .into_iter()
        .find(|name| holds_frames(name))
        .unwrap();
    let content = fs::read(&journal).unwrap();
    let last = memchr::memmem::find_iter(&content, b"ANNF").last().unwrap();
    fs::write(&journal, &content[..last]).unwrap();
    head_record_gone_with_the_tail(gone.path(), &original.checkpoint, events - EVENTS as u64);
}

#[track_caller]
fn head_record_gone_with_the_tail(data_dir: &Path, checkpoint: &str, left: u64) {
    assert_eq!(verify_dir(data_dir).first_break_at(), None);
    let held = verify_dir_against(data_dir, checkpoint);
    assert_eq!(
        (held.code, held.first_break_at()),
        (Some(3), Some(left + 1)),
        "{held:?}"
    );
    assert_eq!(held.checked(), left, "{held:?}");
    assert!(
        held.verdict["notes"].to_string().contains("head record"),
        "{held:?}"
    );
}

/// Red when: `HeadRecord::decode` passes over the checksum.
#[test]
fn a_changed_head_record_is_found() {
    let original = Original::new();
    let both = original.with(|dir| {
        flip_bit(&dir.join("head"), 20);
        flip_bit(&dir.join("head"), 4096 + 20);
    });
    head_record_missed(both.path(), "the head record is unreadable");
    // One slot is what a crash leaves while it is written: reported, and no failure.
    for slot in [0, 4096] {
        let one = original.with(|dir| flip_bit(&dir.join("head"), slot + 20));
        let found = verify_dir(one.path()).intact();
        assert!(
            found.verdict["notes"].to_string().contains("head record"),
            "{found:?}"
        );
    }
}

/// A whole directory that was replaced by an older copy is intact in itself: only what is held elsewhere tells.
///
/// Red when: `--checkpoint` is not compared with the log.
#[test]
fn an_older_copy_is_found_by_a_checkpoint_that_is_held_elsewhere() {
    let original = Original::new();
    let older = original.with(|_| {});
    let server = Launch::new(&original.data_dir()).start();
    let mut client = server.client();
    let told = Ledger::default().append(&mut client, Batch::one("newest", 10));
    assert!(matches!(told, Told::Sealed(_)), "{told:?}");
    let checkpoint = String::from_utf8(client.get("/checkpoint").unwrap().body).unwrap();
    drop(client);
    assert_eq!(server.stop().code(), Some(0));

    verify_dir_against(&original.data_dir(), &checkpoint).intact();
    verify_dir(older.path()).intact();
    let found = verify_dir_against(older.path(), &checkpoint);
    let missing = (BATCHES * EVENTS) as u64 + 1;
    assert_eq!(
        (found.code, found.first_break_at()),
        (Some(3), Some(missing)),
        "{found:?}"
    );
}

/// The first event that is not in a segment.
fn first_in_journal(data_dir: &Path) -> String {
    Original::names()
        .find(|name| place_of(data_dir, name).is_some())
        .unwrap()
}
