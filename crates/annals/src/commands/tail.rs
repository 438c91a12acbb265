//! `annals tail`: events as they are sealed.
//!
//! Invariants: every event behind the starting point is printed once and in order, also across lost connections, because a
//! new connection resumes behind the last event that was printed, from the server's storage.

use std::time::Duration;

use annals_api::Stats;
use annals_api::names::{EVENT_STREAM, EVENTS, JSON, LAST_EVENT_ID, LOGS, STATS, STREAM};
use annals_store::LogName;
use anyhow::{Context, Result};
use reqwest::{Response, StatusCode};
use tokio::time::{sleep, timeout};

use crate::cli::TEMPLATE;
use crate::client::{Client, Lines, NO_QUERY, Refusal, Server, cause, runtime};
use crate::commands::filters::Filters;
use crate::exit::{Exit, Failure, HELP};
use crate::output::{Output, Style, say};
use crate::place::Place;
use crate::rows::Table;
use crate::settings::Settings;
use crate::sse::Parser;

const PAUSE_MIN: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(30);

const EXAMPLES: &str = "\
Examples:
  annals tail                                    new events, until Ctrl-C
  annals tail --from 1                           all events, then new ones
  annals tail --since 2026-05-15                 those that came in since then, then new ones
  annals tail --kind request_denied --json       one event a line, for another program
  annals tail --log orders --log payments        two logs at once
  annals tail --from 1 --count 100               the first hundred, waiting for them if need be";

/// Follow one log or several: print events as they are sealed.
#[derive(Debug, clap::Args)]
#[command(help_template = TEMPLATE, before_help = EXAMPLES, after_help = HELP)]
pub(crate) struct Args {
    /// Begin with this event instead of the next new one; of several logs, only with 1
    #[arg(long, value_name = "ID", value_parser = clap::value_parser!(u64).range(1..))]
    from: Option<u64>,
    /// Stop after this many events
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// One JSON object a line, also on a terminal
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
    #[command(flatten)]
    filters: Filters,
}

/// Runs the command.
pub(crate) fn run(args: &Args, settings: &Settings) -> Result<()> {
    let client = args.server.client(settings)?;
    let logs = args.filters.logs();
    if let (Some(id @ 2..), true) = (args.from, logs.len() > 1) {
        let message = format!(
            "--from {id} is an event of one log, and several are followed; use --from 1 or --since, or follow one log"
        );
        return Err(Failure::Usage(message).into());
    }
    let table = match Style::of_stream(args.json) {
        Style::Human { colour } => Some(Table::new(colour, args.filters.are_labelled())),
        Style::Json => None,
    };
    runtime()?.block_on(async {
        let passed = match (args.from, &args.filters.since) {
            (Some(id), _) => vec![id - 1; logs.len()],
            // The server begins there.
            (None, Some(_)) => vec![0; logs.len()],
            (None, None) => last_events(&client, &logs).await?,
        };
        let printer = Printer {
            output: Output::stdout(),
            table,
            left: args.count,
            seen: Place::new(&logs, passed),
        };
        let mut tail = Tail {
            client,
            query: args.filters.parameters(),
            logs,
            printer,
        };
        tokio::select! {
            done = tail.follow() => done,
            // The way to end it.
            pressed = tokio::signal::ctrl_c() => pressed.context("Ctrl-C can not be noticed"),
        }?;
        tail.printer.output.flush()
    })
}

/// Where "now" is in each log. Asked before the stream is, so that a connection that is lost at once loses no event.
async fn last_events(client: &Client, logs: &[LogName]) -> Result<Vec<u64>> {
    let mut last_events = Vec::with_capacity(logs.len());
    for log in logs {
        let path = if *log == LogName::default_log() {
            STATS.to_owned()
        } else {
            format!("{LOGS}/{log}{STATS}")
        };
        let response = client.fetch(client.get(&path, NO_QUERY, JSON)).await?;
        let stats = response
            .bytes()
            .await
            .map_err(|error| client.unreachable(&error))?;
        let stats: Stats = serde_json::from_slice(&stats)
            .with_context(|| format!("{}{path} is not what an audit log answers", client.name()))?;
        last_events.push(stats.last_event_id);
    }
    Ok(last_events)
}

struct Tail {
    client: Client,
    query: Vec<(&'static str, String)>,
    /// By name.
    logs: Vec<LogName>,
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
                        "annals: the connection was lost ({why}); resuming behind {}",
                        self.seen()
                    ));
                    if lost_behind.replace(self.printer.seen.clone()).as_ref() == Some(&self.printer.seen) {
                        self.stop_at_damage().await?;
                    }
                    response = self.reconnect().await?;
                }
            }
        }
    }

    /// Where it is, for people.
    fn seen(&self) -> String {
        let passed = self.printer.seen.passed();
        match (passed, &self.logs[..]) {
            ([passed], _) => format!("event {passed}"),
            (_, logs) => {
                let events = logs
                    .iter()
                    .zip(passed)
                    .map(|(log, passed)| format!("event {passed} of {log}"));
                events.collect::<Vec<_>>().join(", ")
            }
        }
    }

    /// A stream that ended because the next event is damaged would end there again and again: asked for by itself, that
    /// event says so.
    async fn stop_at_damage(&self) -> Result<()> {
        for (log, passed) in self.logs.iter().zip(self.printer.seen.passed()) {
            let mut next = vec![("after", passed.to_string()), ("limit", String::from("1"))];
            if *log != LogName::default_log() {
                next.push(("log", log.to_string()));
            }
            let answer = self.client.fetch(self.client.get(EVENTS, &next, JSON));
            match timeout(PAUSE_MAX, answer).await {
                Ok(Err(error)) if Exit::of(&error) == Exit::Integrity => return Err(error),
                // Whatever else is wrong is what reconnecting is for.
                Ok(_) | Err(_) => {}
            }
        }
        Ok(())
    }

    async fn connect(&self) -> Result<Result<Response, Refusal>, Failure> {
        let request = self
            .client
            .get(STREAM, &self.query, EVENT_STREAM)
            .header(LAST_EVENT_ID, self.printer.seen.to_string());
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
    /// Where the last event that was printed is, or behind which to begin.
    seen: Place,
}

impl Printer {
    fn print(&mut self, place: Place, event: &[u8]) -> Result<()> {
        if !place.is_behind(&self.seen) || self.left == Some(0) {
            return Ok(());
        }
        match &mut self.table {
            Some(table) => self.output.line(table.row(event))?,
            None => self.output.line(event)?,
        }
        self.seen = place;
        self.left = self.left.map(|left| left - 1);
        Ok(())
    }
}
