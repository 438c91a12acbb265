//! Every Rust file opens with `//!`: what it is for comes before how it does it.

use super::{Finding, TextFile};

const PLACES: &[&str] = &["crates/", "xtask/", "fuzz/fuzz_targets/"];

pub(super) fn check(file: &TextFile) -> Option<Finding> {
    let is_ours = file.path.ends_with(".rs") && PLACES.iter().any(|place| file.path.starts_with(place));
    if !is_ours || opens_with_purpose(&file.text) {
        return None;
    }
    let what = "does not open with `//!`";
    Some(Finding::at(
        &file.path,
        1,
        what,
        "say on its first line what the file is for, and its invariants",
    ))
}

fn opens_with_purpose(text: &str) -> bool {
    let first = text.lines().next().unwrap_or_default();
    first
        .strip_prefix("//!")
        .is_some_and(|purpose| purpose.chars().any(char::is_alphanumeric))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_found(path: &str, text: &str) -> bool {
        check(&TextFile {
            path: path.into(),
            text: text.into(),
        })
        .is_some()
    }

    #[test]
    fn the_first_line_says_the_purpose() {
        assert!(!is_found("crates/x/src/lib.rs", "//! Frames.\nfn a() {}\n"));
        assert!(is_found("crates/x/src/lib.rs", "fn a() {}\n//! Frames.\n"));
        assert!(is_found("crates/x/src/lib.rs", "// Frames.\n"));
        assert!(is_found("crates/x/src/lib.rs", "//!\nfn a() {}\n"));
        assert!(is_found("crates/x/tests/main.rs", ""));
        assert!(is_found("fuzz/fuzz_targets/frame.rs", "#![no_main]\n"));
        assert!(!is_found("docs/example.rs", "fn a() {}\n"));
        assert!(!is_found("crates/x/README.md", "Frames\n"));
    }
}
