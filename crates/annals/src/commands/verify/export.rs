//! An export: served events, one a line, or one JSON array of them (as `GET /events` answers).

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use annals_core::canon;
use annals_verify::{Break, ServedAudit, Verdict};
use anyhow::{Context, Result, bail};
use serde::de::IgnoredAny;

use super::Task;
use super::verdict::{Finding, Found, Report};
use crate::client::Lines;
use crate::progress::Progress;

const READ_BYTES: usize = 1024 * 1024;
/// An array has to be in memory as a whole; larger ones should be made into lines.
const ARRAY_BYTES_MAX: u64 = 1024 * 1024 * 1024;

pub(super) fn verify(path: &Path, task: &Task) -> Result<Report> {
    let context = || format!("{} can not be read", path.display());
    let (source, bytes): (Box<dyn Read>, _) = if path.as_os_str() == "-" {
        (Box::new(io::stdin()), None)
    } else {
        let file = File::open(path).with_context(context)?;
        let metadata = file.metadata().with_context(context)?;
        (Box::new(file), metadata.is_file().then_some(metadata.len()))
    };
    let mut source = BufReader::with_capacity(READ_BYTES, source);
    let audit = ServedAudit::new(task.level, task.held);
    let verdict = if is_array(&mut source).with_context(context)? {
        array(source, audit).with_context(context)?
    } else {
        lines(
            source,
            audit,
            &bytes.map_or_else(|| Progress::of_events(None), Progress::of_bytes),
            bytes.is_some(),
        )?
    };
    // Zero events are what a failed download leaves in a pipe: nothing was proven by that.
    let verdict = match verdict {
        Verdict::Intact { size, .. } if size.0 == 0 => Verdict::Incomplete {
            checked: 0,
            reason: String::from("the export has no event, so there is nothing to verify"),
        },
        verdict => verdict,
    };
    let source = if path.as_os_str() == "-" {
        String::from("stdin")
    } else {
        path.display().to_string()
    };
    Ok(Report {
        source,
        level: task.level,
        found: Found::One(Finding::Verdict(verdict)),
        notes: Vec::new(),
    })
}

/// Whether the first byte that is not white space opens an array. Looks only at what one read brings.
fn is_array(source: &mut BufReader<Box<dyn Read>>) -> io::Result<bool> {
    Ok(source.fill_buf()?.trim_ascii_start().first() == Some(&b'['))
}

fn array(source: impl Read, mut audit: ServedAudit) -> Result<Verdict> {
    let mut text = Vec::new();
    source.take(ARRAY_BYTES_MAX + 1).read_to_end(&mut text)?;
    if text.len() as u64 > ARRAY_BYTES_MAX {
        bail!(
            "the array has more than {ARRAY_BYTES_MAX} bytes; make it one event a line, for example with jq -c '.[]'"
        );
    }
    for item in canon::items(&text) {
        match item {
            Ok(item) if audit.check_line(item).is_ok() => {}
            Ok(_) => break,
            Err(error) if error.offset >= text.len() => {
                return Ok(
                    audit.finish_incomplete(String::from("the array has no end; the export is cut off"))
                );
            }
            Err(error) => return Ok(not_json(&audit, &error.to_string())),
        }
    }
    Ok(audit.finish())
}

/// What is no JSON in the middle of an export is no event that was sealed.
fn not_json(audit: &ServedAudit, error: &str) -> Verdict {
    let event = audit.state().next;
    let checked = audit.state().checked();
    Verdict::Broken {
        checked,
        at: Break {
            event,
            reason: format!("not JSON at event #{event} ({error})"),
        },
    }
}

fn lines(
    mut source: impl BufRead,
    mut audit: ServedAudit,
    progress: &Progress,
    has_total: bool,
) -> Result<Verdict> {
    let mut lines = Lines::default();
    let mut bytes = 0_u64;
    let mut is_broken = false;
    loop {
        let piece = match source.fill_buf() {
            Ok(piece) => piece,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Ok(audit.finish_incomplete(format!("reading failed: {error}"))),
        };
        if piece.is_empty() {
            break;
        }
        lines.feed(piece, |line| {
            is_broken = is_broken || !(line.trim_ascii().is_empty() || audit.check_line(line).is_ok());
            Ok(())
        })?;
        if is_broken {
            return Ok(audit.finish());
        }
        let len = piece.len();
        source.consume(len);
        bytes += len as u64;
        progress.at(if has_total { bytes } else { audit.state().checked() });
        progress.note(format!("{} events", audit.state().checked()));
    }
    let rest = lines.rest().trim_ascii();
    if is_cut_off(rest) {
        return Ok(audit.finish_incomplete(String::from("the last line is cut off in the middle")));
    }
    if !rest.is_empty() && audit.check_line(rest).is_err() {
        return Ok(audit.finish());
    }
    Ok(audit.finish())
}

/// Whether the text is the beginning of a JSON value.
fn is_cut_off(text: &[u8]) -> bool {
    !text.is_empty() && serde_json::from_slice::<IgnoredAny>(text).is_err_and(|error| error.is_eof())
}
