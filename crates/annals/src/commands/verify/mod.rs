//! `annals verify`: the audit, of a data directory, of a server, or of an export.
//!
//! Invariants: nothing is trusted but the events' own bytes and the checkpoint that the caller holds; the verdict never says
//! more than was proven; broken (3), unverifiable (4) and failed (1, 6) are told apart by the exit code.

mod directory;
mod export;
mod remote;
mod verdict;

use std::fs;
use std::path::{Path, PathBuf};

use annals_store::LogName;
use annals_verify::{Checkpoint, Level};
use anyhow::{Context, Result};

use crate::cli::TEMPLATE;
use crate::client::Client;
use crate::exit::{Failure, HELP};
use crate::output::{Output, Style};
use crate::settings::Settings;

const EXAMPLES: &str = "\
Examples:
  annals verify                                            the data directory of `annals serve`, also while it runs
  annals verify --data-dir /var/lib/annals                 another one, all its logs
  annals verify --log orders                               one log of it
  annals verify http://127.0.0.1:8093                      download everything of the log default and hash it here
  annals verify http://127.0.0.1:8093 --log orders         of another log
  annals verify --file export.ndjson                       an export, one event a line (- for stdin)
  annals verify --checkpoint '{\"event_id\":103,\"hash\":\"b7d1…\"}'
                                                           and that nothing up to there was cut off or rewritten";

/// Prove that a log is what was sealed, or name the first event that is not.
#[derive(Debug, clap::Args)]
#[command(help_template = TEMPLATE, before_help = EXAMPLES, after_help = HELP)]
pub(crate) struct Args {
    /// Server whose events are downloaded and hashed here; what it says about itself is not believed
    #[arg(value_name = "URL", conflicts_with_all = ["data_dir", "file"])]
    url: Option<String>,
    /// Data directory; it is read without lock and never changed [default: ./annals-data] [env: ANNALS_DATA_DIR]
    #[arg(long, value_name = "DIR", conflicts_with = "file")]
    data_dir: Option<PathBuf>,
    /// Export: one event a line, or a JSON array of them; - is stdin
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Only this log [default: all logs of a directory, the log default of a server]
    #[arg(long, value_name = "NAME", conflicts_with = "file")]
    log: Option<LogName>,
    /// Checkpoint held elsewhere, {"event_id":N,"hash":"…"}; @FILE reads it from a file. It is of the log default, or of the
    /// one that --log names
    #[arg(long, value_name = "JSON")]
    checkpoint: Option<String>,
    /// Check only ids, links and hashes, not the form of each event: faster
    #[arg(long)]
    chain_only: bool,
    /// Print the verdict as a JSON object
    #[arg(long)]
    json: bool,
}

/// What is checked, and against what.
struct Task {
    level: Level,
    held: Option<Checkpoint>,
}

/// Runs the command.
pub(crate) fn run(args: &Args, settings: &Settings) -> Result<()> {
    let task = Task {
        level: if args.chain_only {
            Level::Chain
        } else {
            Level::Full
        },
        held: args.checkpoint.as_deref().map(held).transpose()?,
    };
    let report = match (&args.url, &args.file) {
        (Some(dir), _) if !dir.contains("://") && Path::new(dir).is_dir() => {
            let message = format!("{dir} is a directory; verify it with --data-dir {dir}");
            return Err(Failure::Usage(message).into());
        }
        (Some(url), _) => remote::verify(&Client::new(url)?.of_log(args.log.as_ref()), &task)?,
        (None, Some(path)) => export::verify(path, &task)?,
        (None, None) => {
            let data_dir = settings.data_dir(args.data_dir.as_deref());
            directory::verify(&data_dir, args.log.as_ref(), &task)?
        }
    };
    let mut output = Output::stdout();
    report.print(Style::of_answer(args.json), &mut output)?;
    output.flush()?;
    report.into_result()
}

fn held(text: &str) -> Result<Checkpoint> {
    let text = match text.strip_prefix('@') {
        Some(path) => {
            fs::read(path).with_context(|| format!("the checkpoint file {path} can not be read"))?
        }
        None if !text.trim_start().starts_with('{') => {
            let message = format!("--checkpoint takes JSON, or a file as @FILE; did you mean @{text}?");
            return Err(Failure::Usage(message).into());
        }
        None => text.as_bytes().to_vec(),
    };
    Checkpoint::parse(&text).map_err(|error| Failure::Usage(format!("--checkpoint: {error}")).into())
}
