//! The project's own chores, run as `cargo xtask …`. Nothing here is part of a released program, and nothing in the
//! workspace depends on it.

mod tidy;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

fn main() -> Result<ExitCode> {
    let root = workspace_root()?;
    match Arguments::parse().chore {
        Chore::Tidy { bless } => tidy(&root, bless),
    }
}

/// The project's own chores.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Debug, Subcommand)]
enum Chore {
    /// Check the rules that no compiler checks: arrows, sizes, words, links, swallowed results.
    Tidy {
        /// Lower the ratchet to what is measured, and drop entries that are no longer needed. Never raises one.
        #[arg(long)]
        bless: bool,
    },
}

fn tidy(root: &Path, bless: bool) -> Result<ExitCode> {
    let report = tidy::check(root, bless)?;
    let mut out = io::stdout().lock();
    for finding in &report.findings {
        writeln!(out, "{finding}")?;
    }
    out.flush()?;
    let mut talk = io::stderr().lock();
    if report.findings.is_empty() {
        writeln!(talk, "tidy: {} files, no finding", report.files)?;
        return Ok(ExitCode::SUCCESS);
    }
    writeln!(
        talk,
        "tidy: {} files, {} finding(s)",
        report.files,
        report.findings.len()
    )?;
    Ok(ExitCode::FAILURE)
}

/// Where the workspace lies: the directory above this crate's own.
fn workspace_root() -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    root.canonicalize()
        .with_context(|| format!("{} is gone: build xtask again", root.display()))
}
