//! Progress of long work: count, rate and, when the end is known, ETA. On stderr, and only when that is a terminal.

use std::fmt::Write;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

/// A line that is redrawn while work goes on; nothing at all when stderr is no terminal.
pub(crate) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// Counts events, of `total` when that is known.
    pub(crate) fn of_events(total: Option<u64>) -> Self {
        let template = match total {
            Some(_) => "{human_pos} of {human_len} events  {rate}  ETA {eta}",
            None => "{human_pos} events  {rate}",
        };
        Self::start(total, template)
    }

    /// Counts bytes of `total`; the events are in the message.
    pub(crate) fn of_bytes(total: u64) -> Self {
        Self::start(
            Some(total),
            "{msg}  {bytes} of {total_bytes}  {binary_bytes_per_sec}  ETA {eta}",
        )
    }

    fn start(total: Option<u64>, template: &str) -> Self {
        // Hides itself when stderr is no terminal.
        let target = ProgressDrawTarget::stderr_with_hz(10);
        let bar = ProgressBar::with_draw_target(total, target);
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(
                style.with_key("rate", |state: &ProgressState, out: &mut dyn Write| {
                    // What can not be shown is not missed.
                    write!(out, "{:.0}/s", state.per_sec()).unwrap_or_default();
                }),
            );
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        Self { bar }
    }

    /// So far, in the unit of the total.
    pub(crate) fn at(&self, position: u64) {
        self.bar.set_position(position);
    }

    /// What is said beside the numbers.
    pub(crate) fn note(&self, note: String) {
        self.bar.set_message(note);
    }

    /// Says something without disturbing the line.
    pub(crate) fn say(&self, line: &str) {
        self.bar.suspend(|| crate::output::say(line));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
