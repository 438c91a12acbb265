//! The bytes of some runs, so that no change of the format goes unseen: a new form needs a new version in the footer.

use annals_index::{Geometry, RunId};

use crate::events::mixed;
use crate::support::{all_runs, small};

/// Red when: any byte of a run changes, say a list's count is written in full instead of less one.
#[test]
fn the_bytes_of_runs_stay_as_they_are() {
    let runs = all_runs(small(), &mixed(1, 2_048));
    let pinned = |level: u8| {
        let bytes = &runs[&RunId { level, number: 0 }];
        (bytes.len(), crc32c::crc32c(bytes))
    };
    assert_eq!(
        [0, 1, 2].map(pinned),
        [
            (7_168, 1_253_576_275),
            (10_240, 2_826_685_481),
            (26_624, 3_185_931_806)
        ]
    );
}

/// The same in the geometry of every log.
#[test]
fn the_bytes_of_a_window_stay_as_they_are() {
    let runs = all_runs(Geometry::PRODUCTION, &mixed(1, 65_536));
    let pinned = |level: u8| {
        let bytes = &runs[&RunId { level, number: 0 }];
        (bytes.len(), crc32c::crc32c(bytes))
    };
    assert_eq!(
        [0, 1].map(pinned),
        [(212_992, 1_995_631_666), (425_984, 3_101_248_141)]
    );
}
