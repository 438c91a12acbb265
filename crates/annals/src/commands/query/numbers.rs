//! How many events match: as a number, or over time.

use annals_api::names::{EVENTS_COUNT, EVENTS_HISTOGRAM, JSON};
use annals_api::{Count, Histogram};
use anyhow::{Context, Result};
use serde::de::DeserializeOwned;

use crate::client::Client;
use crate::output::{Output, Paint, Style};
use crate::rows::width;

/// Columns of a histogram besides its bars.
const NUMBERS_WIDTH: usize = 46;
const BAR_WIDTH_MIN: usize = 10;

/// Prints how many match; for people the number alone, or one line a log and the sum.
pub(super) async fn count(
    client: &Client,
    query: &[(&'static str, String)],
    style: Style,
    output: &mut Output,
) -> Result<()> {
    let text = fetch(client, EVENTS_COUNT, query).await?;
    let Style::Human { .. } = style else {
        return output.line(text.trim_ascii_end());
    };
    let count: Count = parse(client, &text)?;
    if count.logs.is_empty() {
        return output.line(count.count.to_string());
    }
    for log in &count.logs {
        output.line(format!("{:>12}  {}", log.count, log.log))?;
    }
    output.line(format!("{:>12}  in all", count.count))
}

/// Prints how many match in each bucket; for people with bars.
pub(super) async fn histogram(
    client: &Client,
    mut query: Vec<(&'static str, String)>,
    interval: Option<&str>,
    style: Style,
    output: &mut Output,
) -> Result<()> {
    query.extend(interval.map(|interval| ("interval", interval.to_owned())));
    let text = fetch(client, EVENTS_HISTOGRAM, &query).await?;
    let Style::Human { colour } = style else {
        return output.line(text.trim_ascii_end());
    };
    let histogram: Histogram = parse(client, &text)?;
    let heading = format!("{:<32}  {:>10}", "FROM", "EVENTS");
    output.line(Paint::Bold.on(&heading, colour))?;
    let most = histogram.buckets.iter().map(|bucket| bucket.count).max();
    let room = width().saturating_sub(NUMBERS_WIDTH).max(BAR_WIDTH_MIN);
    for bucket in &histogram.buckets {
        let bar = bar(bucket.count, most.unwrap_or(0), room);
        let row = format!("{:<32}  {:>10}  {bar}", bucket.from, bucket.count);
        output.line(row.trim_end())?;
    }
    Ok(())
}

/// As long as `count` is to `most`; never empty for what is there.
fn bar(count: u64, most: u64, room: usize) -> String {
    if count == 0 || most == 0 {
        return String::new();
    }
    let len = u128::from(count) * room as u128 / u128::from(most);
    "#".repeat(usize::try_from(len).unwrap_or(room).clamp(1, room))
}

async fn fetch(client: &Client, path: &str, query: &[(&'static str, String)]) -> Result<Vec<u8>> {
    let response = client.fetch(client.get(path, query, JSON)).await?;
    let text = response
        .bytes()
        .await
        .map_err(|error| client.unreachable(&error))?;
    Ok(text.to_vec())
}

fn parse<T: DeserializeOwned>(client: &Client, text: &[u8]) -> Result<T> {
    serde_json::from_slice(text).with_context(|| {
        format!(
            "{} does not answer as an audit log does; check the address",
            client.name()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Red when: the `clamp` is left out, or the product is made in 64 bits.
    #[test]
    fn bars_are_as_long_as_their_share() {
        for (count, most, len) in [
            (0, 0, 0),
            (0, 5, 0),
            (1, 1_000_000, 1),
            (50, 100, 20),
            (100, 100, 40),
            (u64::MAX, u64::MAX, 40),
        ] {
            assert_eq!(bar(count, most, 40).len(), len, "{count} of {most}");
        }
    }
}
