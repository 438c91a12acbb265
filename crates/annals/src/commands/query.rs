//! `annals query`: stored events that match, oldest first.

use annals_api::names::{EVENTS, NDJSON};
use anyhow::Result;

use crate::cli::TEMPLATE;
use crate::client::{Lines, Server, runtime};
use crate::exit::{Failure, HELP};
use crate::output::{Output, Style};
use crate::rows::Table;
use crate::settings::Settings;

const EXAMPLES: &str = "\
Examples:
  annals query                                     the last 1000 events
  annals query --kind request_denied --limit 20    the last 20 denials
  annals query --source ec2.amazonaws.com --json   one event a line, for jq
  annals query --after 500 --limit 100             events 501 to 600";

/// Print stored events: the last ones that match, oldest first.
#[derive(Debug, clap::Args)]
#[command(help_template = TEMPLATE, before_help = EXAMPLES, after_help = HELP)]
pub(crate) struct Args {
    /// Only events of this kind
    #[arg(long)]
    kind: Option<String>,
    /// Only events from this source
    #[arg(long)]
    source: Option<String>,
    /// At most this many events, 1 to 100000 [default: 1000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: Option<u32>,
    /// The first matches behind this event, instead of the last ones (0: from the start)
    #[arg(long, value_name = "ID")]
    after: Option<u64>,
    /// One JSON object a line, also on a terminal
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

/// Runs the command.
pub(crate) fn run(args: &Args, settings: &Settings) -> Result<()> {
    let client = args.server.client(settings)?;
    let mut query = filter(args.kind.as_deref(), args.source.as_deref());
    query.extend(args.limit.map(|limit| ("limit", limit.to_string())));
    query.extend(args.after.map(|after| ("after", after.to_string())));
    let mut output = Output::stdout();
    let mut table = match Style::of_stream(args.json) {
        Style::Human { colour } => Some(Table::new(colour)),
        Style::Json => None,
    };
    let mut print = |output: &mut Output, line: &[u8]| match &mut table {
        Some(table) => output.line(table.row(line)),
        None => output.line(line),
    };
    let done = runtime()?.block_on(async {
        let mut response = client.fetch(client.get(EVENTS, &query, NDJSON)).await?;
        let mut lines = Lines::default();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) => lines.feed(&chunk, |line| print(&mut output, line))?,
                Ok(None) if lines.rest().is_empty() => return Ok(()),
                Ok(None) => return print(&mut output, lines.rest()),
                Err(error) => {
                    let cause = crate::client::cause(&error);
                    let message = format!("{} broke off in the middle of its answer: {cause}", client.name());
                    return Err(Failure::Incomplete(message).into());
                }
            }
        }
    });
    output.flush()?;
    done
}

/// The parameters that filter events.
pub(crate) fn filter(kind: Option<&str>, source: Option<&str>) -> Vec<(&'static str, String)> {
    let kind = kind.map(|kind| ("kind", kind.to_owned()));
    let source = source.map(|source| ("source", source.to_owned()));
    kind.into_iter().chain(source).collect()
}
