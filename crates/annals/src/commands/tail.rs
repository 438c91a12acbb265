//! `annals tail`: events as they are sealed.
//!
//! Invariants: every event behind the starting point is printed once and in order, also across lost connections, because a
//! new connection resumes behind the last event that was printed, from the server's storage.

use std::time::Duration;

use annals_api::Stats;
use annals_api::names::{EVENT_STREAM, EVENTS, JSON, LAST_EVENT_ID, STATS, STREAM};
use anyhow::{Context, Result};
use reqwest::{Response, StatusCode};
use tokio::time::{sleep, timeout};

use crate::cli::TEMPLATE;
use crate::client::{Client, Lines, Refusal, Server, cause, runtime};
use crate::commands::query::filter;
use crate::exit::{Exit, Failure, HELP};
use crate::output::{Output, Style, say};
use crate::rows::Table;
use crate::settings::Settings;
use crate::sse::Parser;

const PAUSE_MIN: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(30);

const EXAMPLES: &str = "\
Examples:
  annals tail                                    new events, until Ctrl-C
  annals tail --from 1                           all events, then new ones
  annals tail --kind request_denied --json       one event a line, for another program
  annals tail --from 1 --count 100               the first hundred, waiting for them if need be";

/// Follow the log: print events as they are sealed.
#[derive(Debug, clap::Args)]
#[command(help_template = TEMPLATE, before_help = EXAMPLES, after_help = HELP)]
pub(crate) struct Args {
    /// Begin with this event instead of the next new one
    #[arg(long, value_name = "ID", value_parser = clap::value_parser!(u64).range(1..))]
    from: Option<u64>,
    /// Stop after this many events
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Only events of this kind
    #[arg(long)]
    kind: Option<String>,
    /// Only events from this source
    #[arg(long)]
    source: Option<String>,
    /// One JSON object a line, also on a terminal
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

/// Runs the command.
pub(crate) fn run(args: &Args, settings: &Settings) -> Result<()> {
    let client = args.server.client(settings)?;
    let printer = Printer {
        output: Output::stdout(),
        table: match Style::of_stream(args.json) {
            Style::Human { colour } => Some(Table::new(colour)),
            Style::Json => None,
        },
        left: args.count,
        seen: 0,
    };
    let mut tail = Tail {
        client,
        query: filter(args.kind.as_deref(), args.source.as_deref()),
        printer,
    };
    runtime()?.block_on(async {
        tail.printer.seen = match args.from {
            Some(id) => id - 1,
            None => tail.last_event().await?,
        };
        tokio::select! {
            done = tail.follow() => done,
            // The way to end it.
            pressed = tokio::signal::ctrl_c() => pressed.context("Ctrl-C can not be noticed"),
        }
    })?;
    tail.printer.output.flush()
}

struct Tail {
    client: Client,
    query: Vec<(&'static str, String)>,
    printer: Printer,
}

/// How a connection ended.
enum Ended {
    /// As many events as were asked for have been printed.
    Enough,
    /// The connection was lost.
    Lost(String),
}

impl Tail {
    /// Where "now" is. Asked before the stream is, so that a connection that is lost at once loses no event.
    async fn last_event(&self) -> Result<u64> {
        let response = self.client.fetch(self.client.get(STATS, &[], JSON)).await?;
        let stats = response
            .bytes()
            .await
            .map_err(|error| self.client.unreachable(&error))?;
        let stats: Stats = serde_json::from_slice(&stats)
            .with_context(|| format!("{}{STATS} is not what an audit log answers", self.client.name()))?;
        Ok(stats.last_event_id)
    }

    async fn follow(&mut self) -> Result<()> {
        let mut response = self
            .connect()
            .await?
            .map_err(|refusal| refusal.into_error(self.client.name()))?;
        let mut lost_behind = None;
        loop {
            match self.print_from(response).await? {
                Ended::Enough => return Ok(()),
                Ended::Lost(why) => {
                    say(format!(
                        "annals: the connection was lost ({why}); resuming behind event {}",
                        self.printer.seen
                    ));
                    if lost_behind.replace(self.printer.seen) == Some(self.printer.seen) {
                        self.stop_at_damage().await?;
                    }
                    response = self.reconnect().await?;
                }
            }
        }
    }

    /// A stream that ended because the next event is damaged would end there again and again: asked for by itself, that
    /// event says so.
    async fn stop_at_damage(&self) -> Result<()> {
        let next = [
            ("after", self.printer.seen.to_string()),
            ("limit", String::from("1")),
        ];
        let answer = self.client.fetch(self.client.get(EVENTS, &next, JSON));
        match timeout(PAUSE_MAX, answer).await {
            Ok(Err(error)) if Exit::of(&error) == Exit::Integrity => Err(error),
            // Whatever else is wrong is what reconnecting is for.
            Ok(_) | Err(_) => Ok(()),
        }
    }

    async fn connect(&self) -> Result<Result<Response, Refusal>, Failure> {
        let request = self
            .client
            .get(STREAM, &self.query, EVENT_STREAM)
            .header(LAST_EVENT_ID, self.printer.seen);
        let response = request
            .send()
            .await
            .map_err(|error| self.client.unreachable(&error))?;
        Ok(if response.status().is_success() {
            Ok(response)
        } else {
            Err(Refusal::of(response).await)
        })
    }

    /// Tries until it works, with growing pauses; only what waiting can not mend is an error.
    async fn reconnect(&self) -> Result<Response> {
        let mut pause = PAUSE_MIN;
        loop {
            sleep(pause).await;
            match self.connect().await {
                Ok(Ok(response)) => return Ok(response),
                Ok(Err(refusal)) if !may_pass(refusal.status) => {
                    return Err(refusal.into_error(self.client.name()));
                }
                Ok(Err(_)) | Err(_) => pause = (pause * 2).min(PAUSE_MAX),
            }
        }
    }

    async fn print_from(&mut self, mut response: Response) -> Result<Ended> {
        let (mut lines, mut parser) = (Lines::default(), Parser::default());
        let printer = &mut self.printer;
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) => {
                    lines.feed(&chunk, |line| match parser.line(line) {
                        Some(message) => printer.print(message.id, &message.data),
                        None => Ok(()),
                    })?;
                    printer.output.flush()?;
                    if printer.left == Some(0) {
                        return Ok(Ended::Enough);
                    }
                }
                Ok(None) => return Ok(Ended::Lost(String::from("the server ended it"))),
                Err(error) => return Ok(Ended::Lost(cause(&error))),
            }
        }
    }
}

fn may_pass(status: StatusCode) -> bool {
    status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error()
}

struct Printer {
    output: Output,
    table: Option<Table>,
    /// Events still wanted.
    left: Option<u64>,
    /// The last event that was printed, or behind which to begin.
    seen: u64,
}

impl Printer {
    fn print(&mut self, id: u64, event: &[u8]) -> Result<()> {
        if id <= self.seen || self.left == Some(0) {
            return Ok(());
        }
        match &mut self.table {
            Some(table) => self.output.line(table.row(event))?,
            None => self.output.line(event)?,
        }
        self.seen = id;
        self.left = self.left.map(|left| left - 1);
        Ok(())
    }
}
