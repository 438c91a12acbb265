//! `annals stats`: how much a log holds, where it ends, and over which time.

use annals_api::Stats;
use annals_api::names::{EVENTS, JSON, STATS};
use anyhow::{Context, Result, bail};
use serde::Serialize;

use crate::cli::TEMPLATE;
use crate::client::{Client, NO_QUERY, OfLog, Server, runtime};
use crate::commands::filters::name_of;
use crate::exit::HELP;
use crate::output::{Output, Style};
use crate::rows::clipped;
use crate::settings::Settings;

const EXAMPLES: &str = "\
Examples:
  annals stats                          the log `default`
  annals stats --log orders             another one
  annals stats --json | jq .count       for scripts";

/// Columns of a table of events up to the receive time: it stands in the second, and nothing before it is ever quoted.
const RECEIVED_COLUMN: usize = 1;
const TIME_WIDTH: usize = 40;
const HASH_WIDTH: usize = 64;

/// Print how many events a log has, the last one's id and hash, and when the first and the last came in.
#[derive(Debug, clap::Args)]
#[command(help_template = TEMPLATE, before_help = EXAMPLES, after_help = HELP)]
pub(crate) struct Args {
    /// Print a JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    of: OfLog,
    #[command(flatten)]
    server: Server,
}

/// What is printed. Members are only ever added.
#[derive(Serialize)]
struct Answer<'a> {
    log: &'a str,
    count: u64,
    last_event_id: u64,
    /// Null when there is no event.
    latest_hash: Option<String>,
    /// When the log received its first event; null when there is none.
    first_received_at: Option<String>,
    /// When it received the last one.
    last_received_at: Option<String>,
}

/// Runs the command.
pub(crate) fn run(args: &Args, settings: &Settings) -> Result<()> {
    let log = args.of.log.as_ref();
    let client = args.server.client(settings)?.of_log(log);
    let answer = runtime()?.block_on(async {
        let stats = stats(&client).await?;
        let is_empty = stats.last_event_id == 0;
        let (first, last) = if is_empty {
            (None, None)
        } else {
            let first = received_at(&client, 1).await?;
            (
                Some(first),
                Some(received_at(&client, stats.last_event_id).await?),
            )
        };
        anyhow::Ok(Answer {
            log: name_of(log),
            count: stats.count,
            last_event_id: stats.last_event_id,
            latest_hash: stats.latest_hash,
            first_received_at: first,
            last_received_at: last,
        })
    })?;
    let mut output = Output::stdout();
    match Style::of_answer(args.json) {
        Style::Json => output.line(serde_json::to_vec(&answer)?)?,
        Style::Human { .. } => print(&answer, &mut output)?,
    }
    output.flush()
}

fn print(answer: &Answer<'_>, output: &mut Output) -> Result<()> {
    let shown = |text: &Option<String>, width| {
        text.as_deref()
            .map_or_else(|| String::from("none"), |text| clipped(text, width))
    };
    output.line(format!("log              {}", answer.log))?;
    output.line(format!("events           {}", answer.count))?;
    output.line(format!("last event       {}", answer.last_event_id))?;
    output.line(format!(
        "last hash        {}",
        shown(&answer.latest_hash, HASH_WIDTH)
    ))?;
    output.line(format!(
        "first received   {}",
        shown(&answer.first_received_at, TIME_WIDTH)
    ))?;
    output.line(format!(
        "last received    {}",
        shown(&answer.last_received_at, TIME_WIDTH)
    ))
}

async fn stats(client: &Client) -> Result<Stats> {
    let response = client.fetch(client.get(STATS, NO_QUERY, JSON)).await?;
    let text = response
        .bytes()
        .await
        .map_err(|error| client.unreachable(&error))?;
    serde_json::from_slice(&text).with_context(|| {
        format!(
            "{} does not answer as an audit log does; check the address",
            client.name()
        )
    })
}

/// When the log took this event. Events need not say so themselves; a table says it of every one.
async fn received_at(client: &Client, event: u64) -> Result<String> {
    let query = [("after", (event - 1).to_string()), ("limit", String::from("1"))];
    let response = client.fetch(client.get(EVENTS, &query, "text/csv")).await?;
    let text = response
        .bytes()
        .await
        .map_err(|error| client.unreachable(&error))?;
    let text = String::from_utf8_lossy(&text);
    let column = |line: Option<&str>| Some(line?.split(',').nth(RECEIVED_COLUMN)?.to_owned());
    let mut lines = text.lines();
    match (column(lines.next()).as_deref(), column(lines.next())) {
        (Some("received_at"), Some(time)) => Ok(time),
        _ => bail!(
            "{} gives no table that says when event {event} came in",
            client.name()
        ),
    }
}
