//! The limits of sizes, and the recorded exceptions to them, which can only shrink.
//!
//! An exception is written by hand, where a reviewer sees it; from then on the code may not outgrow it, and when the
//! code has become smaller the record must follow (`--bless`), so that the gain is kept.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::Finding;
use super::sizes::Sizes;

/// Where the exceptions are recorded.
pub(super) const PATH: &str = "xtask/ratchet.toml";

/// No file may be longer, in lines that are not test code.
const FILE_LINES_MAX: usize = 800;
/// No function may be longer.
const FUNCTION_LINES_MAX: usize = 80;

const HEADER: &str = "\
# What is longer than `cargo xtask tidy` allows, with the lines it has. Entries only shrink: `cargo xtask tidy --bless`
# lowers and removes them; a new one is added by hand, and defended in review.
";

/// The recorded exceptions, by the names that [`Sizes`] uses.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ratchet {
    #[serde(default)]
    files: BTreeMap<String, usize>,
    #[serde(default)]
    functions: BTreeMap<String, usize>,
}

pub(super) fn parse(text: &str) -> Result<Ratchet> {
    toml::from_str(text).with_context(|| format!("{PATH} is not what `--bless` writes"))
}

pub(super) fn render(ratchet: &Ratchet) -> Result<String> {
    Ok(format!("{HEADER}\n{}", toml::to_string(ratchet)?))
}

/// The ratchet moved down to what is measured; it never rises and gains no entry.
pub(super) fn lower(ratchet: &Ratchet, measured: &Sizes) -> Ratchet {
    Ratchet {
        files: lowered(&ratchet.files, &measured.files, FILE_LINES_MAX),
        functions: lowered(&ratchet.functions, &measured.functions, FUNCTION_LINES_MAX),
    }
}

fn lowered(recorded: &Lines, measured: &Lines, max: usize) -> Lines {
    let lower = |(name, allowed): (&String, &usize)| {
        let lines = *measured.get(name)?;
        (lines > max).then(|| (name.clone(), lines.min(*allowed)))
    };
    recorded.iter().filter_map(lower).collect()
}

type Lines = BTreeMap<String, usize>;

/// Holds what is measured against the limits and the recorded exceptions.
pub(super) fn check(ratchet: &Ratchet, measured: &Sizes) -> Vec<Finding> {
    let mut findings = check_kind("file", &ratchet.files, &measured.files, FILE_LINES_MAX);
    findings.extend(check_kind(
        "function",
        &ratchet.functions,
        &measured.functions,
        FUNCTION_LINES_MAX,
    ));
    findings
}

fn check_kind(kind: &str, recorded: &Lines, measured: &Lines, max: usize) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, &lines) in measured {
        let allowed = recorded.get(name).copied().unwrap_or(max).max(max);
        if lines > allowed {
            let what = format!("{kind} of {lines} lines, allowed are {allowed}");
            findings.push(Finding::on(
                name,
                what,
                "split it where its second purpose begins",
            ));
        }
    }
    for (name, &allowed) in recorded {
        let lines = measured.get(name).copied().unwrap_or(0);
        if lines < allowed || lines <= max {
            let what = format!("{kind} of {lines} lines is recorded with {allowed}");
            findings.push(Finding::on(
                name,
                what,
                "lower the ratchet: cargo xtask tidy --bless",
            ));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::messages;
    use super::*;

    const FILE: &str = "crates/x/src/lib.rs";
    const FUNCTION: &str = "crates/x/src/lib.rs#run";

    fn sizes(file: usize, function: usize) -> Sizes {
        Sizes {
            files: [(FILE.into(), file)].into(),
            functions: [(FUNCTION.into(), function)].into(),
        }
    }

    fn ratchet(file: usize, function: usize) -> Ratchet {
        Ratchet {
            files: [(FILE.into(), file)].into(),
            functions: [(FUNCTION.into(), function)].into(),
        }
    }

    fn found(ratchet: &Ratchet, measured: &Sizes) -> Vec<String> {
        messages(check(ratchet, measured), |finding| finding.what)
    }

    #[test]
    fn without_a_record_the_limits_hold() {
        assert_eq!(found(&Ratchet::default(), &sizes(800, 80)), [""; 0]);
        let expected = [
            "file of 801 lines, allowed are 800",
            "function of 81 lines, allowed are 80",
        ];
        assert_eq!(found(&Ratchet::default(), &sizes(801, 81)), expected);
    }

    #[test]
    fn a_record_holds_exactly() {
        assert_eq!(found(&ratchet(900, 90), &sizes(900, 90)), [""; 0]);
        let expected = [
            "file of 901 lines, allowed are 900",
            "function of 91 lines, allowed are 90",
        ];
        assert_eq!(found(&ratchet(900, 90), &sizes(901, 91)), expected);
        let expected = [
            "file of 899 lines is recorded with 900",
            "function of 89 lines is recorded with 90",
        ];
        assert_eq!(found(&ratchet(900, 90), &sizes(899, 89)), expected);
    }

    #[test]
    fn a_record_that_is_no_longer_needed_is_found() {
        assert_eq!(found(&ratchet(700, 70), &sizes(700, 70)).len(), 2);
        assert_eq!(found(&ratchet(900, 90), &Sizes::default()).len(), 2);
    }

    #[test]
    fn blessing_only_lowers() {
        assert_eq!(lower(&ratchet(900, 90), &sizes(850, 85)), ratchet(850, 85));
        assert_eq!(lower(&ratchet(900, 90), &sizes(950, 95)), ratchet(900, 90));
        assert_eq!(lower(&ratchet(900, 90), &sizes(800, 80)), Ratchet::default());
        assert_eq!(lower(&ratchet(900, 90), &Sizes::default()), Ratchet::default());
        assert_eq!(lower(&Ratchet::default(), &sizes(900, 90)), Ratchet::default());
    }

    #[test]
    fn what_is_written_is_read_again() {
        let ratchet = ratchet(900, 90);
        assert_eq!(parse(&render(&ratchet).unwrap()).unwrap(), ratchet);
        assert!(parse("[folders]\n").is_err());
    }
}
