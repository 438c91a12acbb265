//! Any lines as a request and as an export: what is taken can be sealed, served and verified; nothing else verifies.
#![no_main]

use annals_core::body;
use annals_core::canonical::{CanonicalBatch, Stamp};
use annals_core::chain::Head;
use annals_core::draft::DraftParser;
use annals_core::limits::EventLimits;
use annals_core::seal::seal;
use annals_core::time::Micros;
use annals_verify::{Level, ServedAudit, Verdict};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let lines: Vec<&[u8]> = input.split(|byte| *byte == b'\n').collect();
    as_request(&lines);
    as_export(&lines);
});

const STAMP: Stamp = Stamp {
    id: [0x7f; 16],
    nonce: [0xe0; 16],
};

fn as_request(lines: &[&[u8]]) {
    let limits = EventLimits {
        event_bytes_max: 4096,
        batch_events_max: 64,
        batch_bytes_max: 16 * 1024,
    };
    let mut parser = DraftParser::new(limits);
    let mut batch = CanonicalBatch::default();
    for line in lines {
        if let Ok(draft) = parser.parse(line) {
            let before = batch.len();
            let mut stamped = false;
            let pushed = batch.push(&draft, &limits, || {
                stamped = true;
                STAMP
            });
            assert_eq!(stamped, draft.is_extended());
            assert_eq!(batch.len(), before + usize::from(pushed.is_ok()));
        }
    }
    if batch.is_empty() {
        return;
    }
    let sealed = seal(&Head::EMPTY, Micros(0), [&batch].into_iter());
    assert!(sealed.bodies().len() <= batch.sealed_bytes_max());
    let mut audit = ServedAudit::new(Level::Full, None);
    for index in 0..sealed.len() {
        let mut line = Vec::new();
        body::write_served(sealed.body(index), &sealed.hashes()[index], &mut line);
        audit.check_line(&line).expect("what was sealed verifies");
    }
    assert!(matches!(audit.finish(), Verdict::Intact { size, .. } if size.0 == sealed.len() as u64));
}

fn as_export(lines: &[&[u8]]) {
    let mut audit = ServedAudit::new(Level::Full, None);
    for line in lines {
        if audit.check_line(line).is_err() {
            return;
        }
    }
}
