//! `annals append`: one event from flags, or many from lines.
//!
//! Invariant: whatever happens, the command says which lines are stored, which are not, and of which it can't know.

mod input;
mod mapping;
mod send;
mod tally;

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::PathBuf;
use std::time::Duration;

use annals_api::names::{ANNALS_PRODUCER, ANNALS_SEQUENCE, IDEMPOTENCY_KEY};
use anyhow::{Context, Result};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::value::RawValue;

use crate::cli::TEMPLATE;
use crate::client::{OfLog, Server, runtime};
use crate::commands::append::input::Input;
use crate::commands::append::mapping::{Mapping, Pointer, write_event};
use crate::commands::append::send::Sender;
use crate::exit::{Failure, HELP};
use crate::settings::Settings;

const EXAMPLES: &str = "\
Examples:
  annals append --kind other --source me --payload '{\"n\":1}'    one event
  annals append --file events.ndjson                            one event a line
  producer | annals append                                      as they come
  annals append --log orders --file events.ndjson               into another log
  annals append --kind other --source me --idempotency-key order-17-paid
                                                                stored once, however often it is sent
  annals append --wrap --kind other --source-from /eventSource --timestamp-from /@timestamp \\
                --file cloudtrail.ndjson                        any JSON object a line becomes a payload";

/// Record events. Answered only once they are durable.
#[derive(Debug, clap::Args)]
#[command(help_template = TEMPLATE, before_help = EXAMPLES, after_help = HELP)]
pub(crate) struct Args {
    /// Kind of the event (with --wrap: of every event)
    #[arg(long)]
    kind: Option<String>,
    /// Where the event comes from (with --wrap: of every event, or of those without --source-from's member)
    #[arg(long)]
    source: Option<String>,
    /// Payload, a JSON object; @FILE reads it from a file, @- from stdin [default: {}]
    #[arg(long, value_name = "JSON", requires = "kind")]
    payload: Option<String>,
    /// When it happened, kept as it is given [default: when the log takes it]
    #[arg(long, requires = "kind")]
    timestamp: Option<String>,
    /// Lines to append, one event each; - is stdin [default: stdin, without --kind]
    #[arg(long, value_name = "FILE", conflicts_with_all = ["payload", "timestamp"])]
    file: Option<PathBuf>,
    /// Each line is a payload, byte for byte, and not a whole event
    #[arg(long, requires = "kind", conflicts_with_all = ["payload", "timestamp"])]
    wrap: bool,
    /// With --wrap: the string in the payload that is the source, as a JSON pointer (RFC 6901)
    #[arg(long, value_name = "POINTER", requires = "wrap")]
    source_from: Option<Pointer>,
    /// With --wrap: the string in the payload that is the time stamp, as a JSON pointer (RFC 6901)
    #[arg(long, value_name = "POINTER", requires = "wrap")]
    timestamp_from: Option<Pointer>,
    /// Print one receipt a line: event_id, timestamp, hash
    #[arg(long)]
    json: bool,
    /// How long to go on trying when the server is too busy, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    retry_for: u64,
    /// Store the event once, however often this is run with the same key and event; one event only
    #[arg(long, value_name = "KEY", requires = "kind", conflicts_with_all = ["file", "wrap"])]
    idempotency_key: Option<String>,
    /// Whose order --sequence is in; with it, an event that this producer has stored before is not stored again
    #[arg(
        long, value_name = "NAME", requires = "kind", requires = "sequence",
        conflicts_with_all = ["file", "wrap", "idempotency_key"]
    )]
    producer: Option<String>,
    /// The event's place in its producer's order, N or N.M; it has to be above the one before
    #[arg(long, value_name = "N", requires = "producer")]
    sequence: Option<String>,
    #[command(flatten)]
    of: OfLog,
    #[command(flatten)]
    server: Server,
}

/// Runs the command.
pub(crate) fn run(args: &Args, settings: &Settings) -> Result<()> {
    let input = args.input()?;
    let client = args.server.client(settings)?.of_log(args.of.log.as_ref());
    let retry_for = Duration::from_secs(args.retry_for);
    let sender = Sender::new(client, retry_for, args.json, args.recognised_by()?);
    runtime()?.block_on(sender.run(input))
}

impl Args {
    /// The headers by which the log recognises the event when it is sent again.
    fn recognised_by(&self) -> Result<HeaderMap> {
        let given = [
            (IDEMPOTENCY_KEY, "--idempotency-key", &self.idempotency_key),
            (ANNALS_PRODUCER, "--producer", &self.producer),
            (ANNALS_SEQUENCE, "--sequence", &self.sequence),
        ];
        let mut headers = HeaderMap::new();
        for (name, flag, value) in given {
            let Some(value) = value else { continue };
            let is_visible = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_graphic());
            let header = HeaderValue::from_str(value).ok().filter(|_| is_visible);
            let header = header.ok_or_else(|| {
                Failure::Usage(format!(
                    "{flag} takes visible ASCII characters without spaces, not {value:?}"
                ))
            })?;
            headers.insert(HeaderName::from_static(name), header);
        }
        Ok(headers)
    }

    fn input(&self) -> Result<Input> {
        let is_single = self.file.is_none() && self.kind.is_some() && !self.wrap;
        if is_single {
            return self.single();
        }
        let mapping = self.mapping()?;
        match self.file.as_deref().filter(|path| path.as_os_str() != "-") {
            Some(path) => {
                let context = || format!("{} can not be read", path.display());
                let file = File::open(path).with_context(context)?;
                let metadata = file.metadata().with_context(context)?;
                let bytes = metadata.is_file().then_some(metadata.len());
                Ok(Input::lines(Box::new(file), bytes, mapping))
            }
            None if self.file.is_none() && io::stdin().is_terminal() => Err(Failure::Usage(String::from(
                "nothing to append: give --kind, --source and --payload for one event, or --file FILE (- for stdin) for many",
            ))
            .into()),
            None => Ok(Input::lines(Box::new(io::stdin()), None, mapping)),
        }
    }

    fn mapping(&self) -> Result<Option<Mapping>> {
        let Some(kind) = self.kind.as_ref().filter(|_| self.wrap) else {
            if self.kind.is_some() || self.source.is_some() {
                let message = "without --wrap each line of the file is a whole event with its own kind and source; \
                               add --wrap to make each line a payload";
                return Err(Failure::Usage(message.to_owned()).into());
            }
            return Ok(None);
        };
        if self.source.is_none() && self.source_from.is_none() {
            let message = "--wrap needs --source, or --source-from with a JSON pointer such as /eventSource";
            return Err(Failure::Usage(message.to_owned()).into());
        }
        Ok(Some(Mapping {
            kind: kind.clone(),
            source: self.source.clone(),
            source_from: self.source_from.clone(),
            timestamp_from: self.timestamp_from.clone(),
        }))
    }

    fn single(&self) -> Result<Input> {
        let (Some(kind), Some(source)) = (&self.kind, &self.source) else {
            return Err(Failure::Usage(String::from("one event needs --source beside --kind")).into());
        };
        let payload = match self.payload.as_deref() {
            None => String::from("{}"),
            Some("@-") => io::read_to_string(io::stdin()).context("stdin can not be read")?,
            Some(text) => match text.strip_prefix('@') {
                Some(path) => read_text(path)?,
                None => text.to_owned(),
            },
        };
        let payload = one_line_object(&payload)?;
        let mut event = Vec::new();
        write_event(
            kind,
            source,
            self.timestamp.as_deref(),
            payload.as_bytes(),
            &mut event,
        );
        Ok(Input::single(event))
    }
}

fn read_text(path: &str) -> Result<String> {
    let mut text = String::new();
    File::open(path)
        .and_then(|mut file| file.read_to_string(&mut text))
        .with_context(|| format!("the payload file {path} can not be read"))?;
    Ok(text)
}

/// The object as it was written, but on one line: JSON allows a line break only as white space.
fn one_line_object(text: &str) -> Result<String> {
    let wrong = |why: String| Failure::Usage(format!("--payload must be a JSON object: {why}"));
    let value: &RawValue = serde_json::from_str(text).map_err(|error| wrong(error.to_string()))?;
    if !value.get().starts_with('{') {
        return Err(wrong(format!("it is {}", mapping::shape(value.get()))).into());
    }
    Ok(value.get().replace(['\n', '\r'], " "))
}
