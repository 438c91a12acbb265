//! `cargo xtask tidy`: the rules that are written in CONTRIBUTING.md and that neither rustc nor clippy can check.
//!
//! Each check is a pure function from text to findings, so that its tests need no repository; only this file and
//! [`sources`] read the disk. A finding always says where, what, and how to mend it.

mod arrows;
mod links;
mod opening;
mod purity;
mod ratchet;
mod sizes;
mod sources;
mod swallowed;
mod words;

use std::fmt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use sources::{Source, TextFile};

/// What one run found.
pub(crate) struct Report {
    /// How many text files were looked at.
    pub(crate) files: usize,
    /// In the order of their paths and lines.
    pub(crate) findings: Vec<Finding>,
}

/// One broken rule at one place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    path: String,
    line: Option<usize>,
    what: String,
    mend: String,
}

impl Finding {
    fn at(path: &str, line: usize, what: impl Into<String>, mend: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            line: Some(line),
            what: what.into(),
            mend: mend.into(),
        }
    }

    fn on(path: &str, what: impl Into<String>, mend: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            line: None,
            what: what.into(),
            mend: mend.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}\n    mend: {}", self.what, self.mend)
    }
}

/// Runs every check on the workspace at `root`; with `bless`, first lowers the ratchet to what is measured.
///
/// # Errors
/// Only when the checks could not run (git, cargo or a file did not answer); what they find is in the report.
pub(crate) fn check(root: &Path, bless: bool) -> Result<Report> {
    let files = sources::read(root, &tracked_files(root)?)?;
    let (sources, mut findings) = sources::parse(&files);

    findings.extend(arrows::check(root, &cargo_metadata(root)?)?);
    findings.extend(files.iter().flat_map(opening::check));
    findings.extend(sources.iter().flat_map(purity::check));
    findings.extend(sources.iter().flat_map(swallowed::check));
    findings.extend(files.iter().flat_map(words::check));
    findings.extend(links::check(root, &files));
    findings.extend(check_sizes(root, &sources, bless)?);

    findings.sort();
    Ok(Report {
        files: files.len(),
        findings,
    })
}

fn check_sizes(root: &Path, sources: &[Source], bless: bool) -> Result<Vec<Finding>> {
    let path = root.join(ratchet::PATH);
    let measured = sizes::measure(sources);
    let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let mut recorded = ratchet::parse(&text)?;
    if bless {
        recorded = ratchet::lower(&recorded, &measured);
        let text = ratchet::render(&recorded)?;
        std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(ratchet::check(&recorded, &measured))
}

/// The files that git tracks or would track: a new file is checked before it is added.
fn tracked_files(root: &Path) -> Result<Vec<String>> {
    let mut git = Command::new("git");
    git.current_dir(root)
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    let listing = String::from_utf8(output(git)?).context("a tracked file's name is not UTF-8")?;
    Ok(listing
        .split('\0')
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect())
}

fn cargo_metadata(root: &Path) -> Result<arrows::Metadata> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .current_dir(root)
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"]);
    serde_json::from_slice(&output(cargo)?).context("`cargo metadata` has answered in an unknown shape")
}

fn output(mut command: Command) -> Result<Vec<u8>> {
    let output = command
        .output()
        .with_context(|| format!("{command:?} did not start: is it installed?"))?;
    if !output.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(output.stdout)
}

/// What the checks' own tests call: the messages of a check on one file.
#[cfg(test)]
fn messages<T>(found: impl IntoIterator<Item = Finding>, pick: impl Fn(Finding) -> T) -> Vec<T> {
    found.into_iter().map(pick).collect()
}
