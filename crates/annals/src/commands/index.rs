//! `annals index`: the index of a data directory that no server has open.
//!
//! Invariant: no event is touched; an index is only ever a faster way to what the events say.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use annals_store::{LogName, ReadError, ReadLog};
use annals_store_file::{FileLog, FileLogs, IndexError, OpenError, Opened, Options};
use anyhow::{Context, Result};
use clap::Subcommand;

use crate::cli::TEMPLATE;
use crate::commands::serve::not_opened;
use crate::exit::{Failure, HELP};
use crate::output::Output;
use crate::progress::Progress;
use crate::settings::Settings;

/// What every data directory has.
const FORMAT_FILE: &str = "FORMAT";

const EXAMPLES: &str = "\
Examples:
  annals index rebuild                                     of every log in ./annals-data
  annals index rebuild --data-dir /var/lib/annals --log orders
                                                           of one log of another directory

The server builds and mends its index by itself, while it runs. This is for who does not want to rely on that, and needs the
server stopped.";

/// Throw the index away and build it again from the events.
#[derive(Debug, clap::Args)]
#[command(help_template = TEMPLATE, before_help = EXAMPLES, after_help = HELP)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Throw the index away and build it again from the events; the server has to be stopped
    #[command(after_help = HELP)]
    Rebuild(Rebuild),
}

#[derive(Debug, clap::Args)]
struct Rebuild {
    /// Where the data lies [default: ./annals-data] [env: ANNALS_DATA_DIR]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Only of this log [default: all logs]
    #[arg(long, value_name = "NAME")]
    log: Option<LogName>,
}

/// Runs the command.
pub(crate) fn run(args: &Args, settings: &Settings) -> Result<()> {
    let What::Rebuild(args) = &args.what;
    let data_dir = settings.data_dir(args.data_dir.as_deref());
    // Opening makes a directory where there is none.
    if !data_dir.join(FORMAT_FILE).exists() {
        return Err(not_opened(OpenError::NoData, &data_dir));
    }
    let options = Options {
        journal_file_bytes: settings.journal_file_bytes(None)?,
        ..Options::default()
    };
    let opened = annals_store_file::open(&data_dir, options).map_err(|error| not_opened(error, &data_dir))?;
    let Opened { index, logs, .. } = &opened;
    let chosen = chosen(logs, args.log.as_ref()).with_context(|| data_dir.display().to_string())?;
    let total = chosen.iter().map(|log| log.head().size.0).sum();
    let progress = Progress::of_events(Some(total));
    let started = Instant::now();
    let (mut done, mut covered) = (0, 0);
    for log in &chosen {
        let built = index.rebuild(log, &|events| progress.at(done + events));
        covered += built
            .map_err(failed)
            .with_context(|| format!("the index of log {} is not whole", log.manifest().name))?;
        done += log.head().size.0;
    }
    drop(progress);
    let seconds = started.elapsed().as_secs_f64();
    let rate = if seconds > 0.0 {
        covered as f64 / seconds
    } else {
        0.0
    };
    let mut output = Output::stdout();
    let logs = match chosen.as_slice() {
        [log] => format!("log {}", log.manifest().name),
        logs => format!("{} logs", logs.len()),
    };
    output.line(format!(
        "indexed {covered} of {total} events of {logs}; {seconds:.1} s, {rate:.0} events/s; the rest is too few for a run, and is \
         read by queries"
    ))?;
    output.flush()
}

fn chosen(logs: &FileLogs, name: Option<&LogName>) -> Result<Vec<Arc<FileLog>>> {
    let Some(name) = name else {
        return Ok(logs.all());
    };
    let log = logs.by_name(name.as_str()).ok_or_else(|| {
        let known: Vec<String> = logs
            .all()
            .iter()
            .take(20)
            .map(|log| log.manifest().name.clone())
            .collect();
        Failure::Usage(format!("there is no log {name}; there are: {}", known.join(", ")))
    })?;
    Ok(vec![log])
}

/// What could not be read is damaged, or the disk failed.
fn failed(error: IndexError) -> anyhow::Error {
    match error {
        IndexError::Read(ReadError::Damaged(damage)) => {
            Failure::Integrity(format!("{damage}; `annals verify` says more")).into()
        }
        error => error.into(),
    }
}
