//! What became of the lines: which are stored, which are not, of which nothing is known.

use std::time::Duration;

use annals_api::Receipt;
use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::output::Output;

/// What has been stored so far.
#[derive(Debug, Default)]
pub(super) struct Tally {
    events: u64,
    first_id: u64,
    last: Option<Receipt>,
    first_line: u64,
    last_line: u64,
    /// The producer's position, when it shows that the event was stored before.
    duplicate_through: Option<String>,
}

/// What is said of an event whose producer's position is in the log already.
#[derive(Deserialize)]
struct Duplicate {
    duplicate_through: String,
}

impl Tally {
    /// Number of events stored.
    pub(super) fn events(&self) -> u64 {
        self.events
    }

    /// Takes the receipts for the events of `lines`; prints each when `output` is given.
    pub(super) fn take(&mut self, lines: &[u64], receipts: &[u8], output: Option<&mut Output>) -> Result<()> {
        let texts: Vec<&[u8]> = receipts
            .split(|byte| *byte == b'\n')
            .map(<[u8]>::trim_ascii)
            .filter(|line| !line.is_empty())
            .collect();
        let ([first, ..], [.., last]) = (texts.as_slice(), texts.as_slice()) else {
            bail!("the server took the events but sent no receipts");
        };
        if texts.len() != lines.len() {
            bail!(
                "the server answered with {} receipts for {} events",
                texts.len(),
                lines.len()
            );
        }
        if let Ok(duplicate) = serde_json::from_slice::<Duplicate>(first) {
            self.duplicate_through = Some(duplicate.duplicate_through);
            return output.map_or(Ok(()), |output| output.line(first));
        }
        let first: Receipt =
            serde_json::from_slice(first).context("the server's receipt can not be understood")?;
        let last: Receipt =
            serde_json::from_slice(last).context("the server's receipt can not be understood")?;
        if self.events == 0 {
            self.first_id = first.event_id;
            self.first_line = lines.first().copied().unwrap_or_default();
        }
        self.events += texts.len() as u64;
        self.last = Some(last);
        self.last_line = lines.last().copied().unwrap_or_default();
        if let Some(output) = output {
            for text in texts {
                output.line(text)?;
            }
            output.flush()?;
        }
        Ok(())
    }

    /// One line about everything that is stored.
    pub(super) fn summary(&self, elapsed: Duration) -> String {
        if let Some(through) = &self.duplicate_through {
            return format!("stored nothing new: the log has this producer's events up to {through}");
        }
        let Some(last) = &self.last else {
            return String::from("stored nothing: the input has no events");
        };
        let seconds = elapsed.as_secs_f64();
        let rate = if seconds > 0.0 {
            self.events as f64 / seconds
        } else {
            0.0
        };
        format!(
            "stored {} ({}), last hash {}; {seconds:.1} s, {rate:.0} events/s",
            counted(self.events, "event"),
            self.ids(last.event_id),
            last.hash,
        )
    }

    /// Which lines are stored, for a report of failure.
    pub(super) fn stored_lines(&self) -> Option<String> {
        let last = self.last.as_ref()?;
        Some(format!(
            "{} ({})",
            span("line", self.first_line, self.last_line),
            self.ids(last.event_id)
        ))
    }

    fn ids(&self, last_id: u64) -> String {
        let span = span("event", self.first_id, last_id);
        // Other producers' events may lie between two batches of ours.
        if last_id - self.first_id + 1 == self.events {
            span
        } else {
            format!("among {span}")
        }
    }
}

/// `line 7` or `lines 7–9`.
pub(super) fn span(noun: &str, first: u64, last: u64) -> String {
    if first == last {
        format!("{noun} {first}")
    } else {
        format!("{noun}s {first}–{last}")
    }
}

fn counted(count: u64, noun: &str) -> String {
    if count == 1 {
        format!("1 {noun}")
    } else {
        format!("{count} {noun}s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receipts(ids: std::ops::RangeInclusive<u64>) -> Vec<u8> {
        ids.map(|id| format!("{{\"event_id\":{id},\"timestamp\":\"t\",\"hash\":\"h{id}\"}}\n"))
            .collect::<String>()
            .into()
    }

    #[test]
    fn a_tally_says_what_is_stored() {
        let mut tally = Tally::default();
        assert_eq!(tally.stored_lines(), None);
        tally.take(&[1, 3], &receipts(7..=8), None).unwrap();
        assert_eq!(tally.stored_lines().unwrap(), "lines 1–3 (events 7–8)");
        assert!(
            tally
                .summary(Duration::from_secs(2))
                .starts_with("stored 2 events (events 7–8), last hash h8; 2.0 s, 1 ")
        );
        tally.take(&[4], &receipts(12..=12), None).unwrap();
        assert_eq!(tally.stored_lines().unwrap(), "lines 1–4 (among events 7–12)");
        assert!(tally.take(&[5, 6], &receipts(13..=13), None).is_err());
        assert!(tally.take(&[5], b"", None).is_err());
        tally.take(&[1], b"{\"duplicate_through\":\"7\"}", None).unwrap();
        assert!(tally.summary(Duration::from_secs(1)).contains("up to 7"));
    }
}
