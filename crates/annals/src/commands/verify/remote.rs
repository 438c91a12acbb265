//! A server: everything it has is downloaded and hashed here. What it says about itself is only used to show progress and
//! to know when to stop.

use annals_api::Stats;
use annals_api::names::{EVENTS, JSON, LIMIT_MAX, NDJSON, STATS};
use annals_verify::ServedAudit;
use anyhow::Result;
use reqwest::Response;
use reqwest::header::CONTENT_TYPE;

use super::Task;
use super::verdict::{Finding, Found, Report};
use crate::client::{Client, Lines, NO_QUERY, Refusal, cause, runtime};
use crate::exit::{Exit, Failure};
use crate::progress::Progress;

/// How often in a row an answer may break off without a single new event.
const ATTEMPTS: u32 = 3;

pub(super) fn verify(client: &Client, task: &Task) -> Result<Report> {
    let finding = runtime()?.block_on(async {
        let size = size(client).await?;
        let progress = Progress::of_events(Some(size));
        let mut download = Download {
            client,
            audit: ServedAudit::new(task.level, task.held),
            progress,
        };
        // A held checkpoint beyond the server's own count is looked for as well.
        let target = size.max(task.held.map_or(0, |held| held.event_id.get()));
        let end = download.run(target).await;
        let audit = download.audit;
        let checked = audit.state().checked();
        Ok::<_, anyhow::Error>(Finding::Verdict(match end {
            End::Reached => audit.finish(),
            End::NoMore if checked < size => audit.finish_incomplete(format!(
                "the server speaks of {size} events and gave only {checked}"
            )),
            End::NoMore => audit.finish(),
            // The server has found damage itself, or nothing was learnt that would be worth a verdict.
            End::Failed(error) if Exit::of(&error) == Exit::Integrity => {
                return Ok(Finding::DamagedStore(format!("{error:#}")));
            }
            End::Failed(error) if checked == 0 && Exit::of(&error) != Exit::Error => return Err(error),
            End::Failed(error) => audit.finish_incomplete(format!("{error:#}")),
        }))
    })?;
    Ok(Report {
        source: client.name().to_owned(),
        level: task.level,
        found: Found::One(finding),
        notes: Vec::new(),
    })
}

async fn size(client: &Client) -> Result<u64> {
    let response = client.fetch(client.get(STATS, NO_QUERY, JSON)).await?;
    let text = response
        .bytes()
        .await
        .map_err(|error| client.unreachable(&error))?;
    let stats: Stats = serde_json::from_slice(&text).map_err(|_| not_a_log(client))?;
    Ok(stats.count)
}

fn not_a_log(client: &Client) -> Failure {
    Failure::Incomplete(format!(
        "{} does not answer as an audit log does; check the address",
        client.name()
    ))
}

struct Download<'a> {
    client: &'a Client,
    audit: ServedAudit,
    progress: Progress,
}

/// How a download ended.
enum End {
    /// The target was reached, or the chain is broken.
    Reached,
    /// The server has no more events.
    NoMore,
    /// It could not be finished.
    Failed(anyhow::Error),
}

impl Download<'_> {
    async fn run(&mut self, target: u64) -> End {
        let mut attempts = 0;
        loop {
            let before = self.audit.state().checked();
            if before >= target {
                return End::Reached;
            }
            let page = self.page(before).await;
            let is_new = self.audit.state().checked() > before;
            match page {
                Ok(Page::Broken) => return End::Reached,
                Ok(Page::Whole) if is_new => attempts = 0,
                Ok(Page::Whole) => return End::NoMore,
                Err(_) if is_new => attempts = 0,
                Err(error) => {
                    attempts += 1;
                    if attempts >= ATTEMPTS || Exit::of(&error) != Exit::Unreachable {
                        return End::Failed(error);
                    }
                }
            }
        }
    }

    async fn page(&mut self, after: u64) -> Result<Page> {
        let query = [("after", after.to_string()), ("limit", LIMIT_MAX.to_string())];
        let request = self.client.get(EVENTS, &query, NDJSON);
        let response = request
            .send()
            .await
            .map_err(|error| self.client.unreachable(&error))?;
        if !response.status().is_success() {
            return Err(Refusal::of(response).await.into_error(self.client.name()));
        }
        if !is_lines(&response) {
            let message = format!(
                "{} does not give events as lines, so they can not be fetched in pages; save GET /events?limit=100000 and use \
                 --file",
                self.client.name()
            );
            return Err(Failure::Incomplete(message).into());
        }
        self.check(response).await
    }

    async fn check(&mut self, mut response: Response) -> Result<Page> {
        let mut lines = Lines::default();
        let mut is_broken = false;
        loop {
            let piece = match response.chunk().await {
                Ok(Some(piece)) => piece,
                Ok(None) => break,
                Err(error) => {
                    let why = cause(&error);
                    return Err(
                        Failure::Unreachable(format!("{} broke off: {why}", self.client.name())).into(),
                    );
                }
            };
            lines.feed(&piece, |line| {
                is_broken = is_broken || self.audit.check_line(line).is_err();
                Ok(())
            })?;
            if is_broken {
                return Ok(Page::Broken);
            }
            self.progress.at(self.audit.state().checked());
        }
        if !lines.rest().is_empty() && self.audit.check_line(lines.rest()).is_err() {
            return Ok(Page::Broken);
        }
        Ok(Page::Whole)
    }
}

enum Page {
    /// All of it was checked.
    Whole,
    /// It has an event that is not what was sealed.
    Broken,
}

fn is_lines(response: &Response) -> bool {
    let declared = response
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    declared.is_some_and(|declared| declared.starts_with(NDJSON))
}
