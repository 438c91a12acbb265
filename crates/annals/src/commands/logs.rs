//! `annals logs`: which logs a server has, and new ones.

use annals_api::names::{JSON, LOGS};
use annals_api::{LogInfo, LogList, NewLog};
use annals_store::LogName;
use anyhow::{Context, Result};
use clap::Subcommand;
use reqwest::header::CONTENT_TYPE;
use serde::de::DeserializeOwned;

use crate::cli::TEMPLATE;
use crate::client::{Client, NO_QUERY, Refusal, Server, runtime};
use crate::exit::{Failure, HELP};
use crate::output::{Output, Paint, Style};
use crate::rows::clipped;
use crate::settings::Settings;

const EXAMPLES: &str = "\
Examples:
  annals logs list                       all logs, and where they end
  annals logs create orders              a new one; `annals append --log orders` writes to it
  annals logs show orders                one of them
  annals logs list --json                one object a line, for jq";

/// Make, list and show logs. Each has a hash chain of its own.
#[derive(Debug, clap::Args)]
#[command(help_template = TEMPLATE, before_help = EXAMPLES, after_help = HELP)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Make a log. Names are never used again, and no log is ever deleted
    #[command(after_help = HELP)]
    Create(One),
    /// All logs, by name
    #[command(after_help = HELP)]
    List(All),
    /// One log: what it is called, and where it ends
    #[command(after_help = HELP)]
    Show(One),
}

#[derive(Debug, clap::Args)]
struct One {
    /// 1 to 63 of a-z, 0-9, _ and -
    #[arg(value_name = "NAME")]
    name: LogName,
    #[command(flatten)]
    all: All,
}

#[derive(Debug, clap::Args)]
struct All {
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

/// Runs the command.
pub(crate) fn run(args: &Args, settings: &Settings) -> Result<()> {
    let (What::Create(One { all, .. }) | What::Show(One { all, .. }) | What::List(all)) = &args.what;
    let client = all.server.client(settings)?;
    let mut output = Output::stdout();
    runtime()?.block_on(async {
        match &args.what {
            What::Create(One { name, .. }) => {
                let log = create(&client, name).await?;
                print_one(&log, Style::of_answer(all.json), &mut output)
            }
            What::Show(One { name, .. }) => {
                let log: LogInfo = fetch(&client, &format!("{LOGS}/{name}")).await?;
                print_one(&log, Style::of_answer(all.json), &mut output)
            }
            What::List(_) => {
                let list: LogList = fetch(&client, LOGS).await?;
                print_all(&list.logs, Style::of_stream(all.json), &mut output)
            }
        }
    })?;
    output.flush()
}

async fn create(client: &Client, name: &LogName) -> Result<LogInfo> {
    let new = NewLog {
        name: name.to_string(),
    };
    let request = client
        .post(LOGS)
        .header(CONTENT_TYPE, JSON)
        .body(serde_json::to_vec(&new)?);
    let response = request.send().await.map_err(|error| {
        if error.is_connect() {
            client.unreachable(&error)
        } else {
            Failure::Unreachable(format!(
                "{} broke off before it answered; `annals logs show {name}` says whether the log was made",
                client.name()
            ))
        }
    })?;
    if !response.status().is_success() {
        return Err(Refusal::of(response).await.into_error(client.name()));
    }
    let text = response
        .bytes()
        .await
        .map_err(|error| client.unreachable(&error))?;
    parse(client, LOGS, &text)
}

async fn fetch<T: DeserializeOwned>(client: &Client, path: &str) -> Result<T> {
    let response = client.fetch(client.get(path, NO_QUERY, JSON)).await?;
    let text = response
        .bytes()
        .await
        .map_err(|error| client.unreachable(&error))?;
    parse(client, path, &text)
}

fn parse<T: DeserializeOwned>(client: &Client, path: &str, text: &[u8]) -> Result<T> {
    serde_json::from_slice(text).with_context(|| {
        format!(
            "{}{path} is not what Annals answers; check the address",
            client.name()
        )
    })
}

fn print_one(log: &LogInfo, style: Style, output: &mut Output) -> Result<()> {
    if style == Style::Json {
        return output.line(serde_json::to_vec(log)?);
    }
    let events = log.events.to_string();
    for (name, value) in [
        ("name", &*log.name),
        ("uuid", &*log.uuid),
        ("origin", &*log.origin),
        ("created", &*log.created_at),
        ("events", &*events),
        ("last hash", log.latest_hash.as_deref().unwrap_or("none")),
    ] {
        output.line(format!("{name:<10} {}", harmless(value)))?;
    }
    Ok(())
}

fn print_all(logs: &[LogInfo], style: Style, output: &mut Output) -> Result<()> {
    let Style::Human { colour } = style else {
        return logs
            .iter()
            .try_for_each(|log| output.line(serde_json::to_vec(log)?));
    };
    let longest = logs.iter().map(|log| log.name.chars().count()).max().unwrap_or(0);
    let width = longest.clamp("NAME".len(), LogName::BYTES_MAX);
    let heading = format!(
        "{:<width$}  {:>12}  {:<32}  LAST HASH",
        "NAME", "EVENTS", "CREATED"
    );
    output.line(Paint::Bold.on(&heading, colour))?;
    for log in logs {
        let LogInfo {
            name,
            events,
            created_at,
            latest_hash,
            ..
        } = log;
        let (name, created) = (clipped(name, width), clipped(created_at, 32));
        let hash = harmless(latest_hash.as_deref().unwrap_or(""));
        let row = format!("{name:<width$}  {events:>12}  {created:<32}  {hash}");
        output.line(row.trim_end())?;
    }
    Ok(())
}

/// What a server says may not act on the terminal.
fn harmless(text: &str) -> String {
    const WIDTH_MAX: usize = 200;
    clipped(text, WIDTH_MAX)
}
