//! `annals get`: one event by its id.

use annals_api::names::{EVENTS, JSON};
use anyhow::{Result, bail};
use reqwest::StatusCode;

use crate::cli::TEMPLATE;
use crate::client::{NO_QUERY, OfLog, Refusal, Server, runtime};
use crate::exit::HELP;
use crate::output::Output;
use crate::settings::Settings;

const EXAMPLES: &str = "\
Examples:
  annals get 42                                the event, as it was sealed
  annals get 42 --log orders                   event 42 of another log
  annals get 42 --url https://logs.example     from another server";

/// Print one event as JSON.
#[derive(Debug, clap::Args)]
#[command(help_template = TEMPLATE, before_help = EXAMPLES, after_help = HELP)]
pub(crate) struct Args {
    /// Id of the event, from 1
    #[arg(value_name = "ID", value_parser = clap::value_parser!(u64).range(1..))]
    id: u64,
    #[command(flatten)]
    of: OfLog,
    #[command(flatten)]
    server: Server,
}

/// Runs the command.
pub(crate) fn run(args: &Args, settings: &Settings) -> Result<()> {
    let client = args.server.client(settings)?.of_log(args.of.log.as_ref());
    let event = runtime()?.block_on(async {
        let request = client.get(&format!("{EVENTS}/{}", args.id), NO_QUERY, JSON);
        let response = request.send().await.map_err(|error| client.unreachable(&error))?;
        match response.status() {
            status if status.is_success() => Ok(response
                .bytes()
                .await
                .map_err(|error| client.unreachable(&error))?),
            // Of a log that was named, the server says whether that is there at all.
            StatusCode::NOT_FOUND if args.of.log.is_none() => bail!(
                "{} has no event {}; `annals query --limit 1` shows the last one",
                client.name(),
                args.id
            ),
            _ => Err(Refusal::of(response).await.into_error(client.name())),
        }
    })?;
    let mut output = Output::stdout();
    output.line(event.trim_ascii_end())?;
    output.flush()
}
