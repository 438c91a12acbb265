//! The verdict as it is told: one line for people, one JSON object with stable members for programs, one exit code. Of several
//! logs: one line and one object each, and the exit code of the worst.

use std::borrow::Cow;

use annals_core::chain::{EventId, TreeSize};
use annals_core::hash::EventHash;
use annals_store_file::{Place, StoreDamage};
use annals_verify::{Break, Checkpoint, Freshness, Level, Verdict};
use anyhow::Result;
use serde::Serialize;

use crate::exit::Failure;
use crate::output::{Output, Paint, Style, say};

/// A verdict and where it comes from.
pub(super) struct Report {
    /// What was verified.
    pub(super) source: String,
    pub(super) level: Level,
    pub(super) found: Found,
    /// What is worth knowing besides, one sentence each.
    pub(super) notes: Vec<String>,
}

/// What was found, of one log or of several.
pub(super) enum Found {
    One(Finding),
    Several {
        /// Damage of the directory that is not known to have hit a certain log.
        damage: Option<StoreDamage>,
        /// Each log's name and what was found of it.
        logs: Vec<(String, Finding)>,
    },
}

/// What was found of one log.
pub(super) enum Finding {
    /// The audit's verdict.
    Verdict(Verdict),
    /// The files of a data directory are damaged.
    DamagedFiles(DamagedFiles),
    /// The store is damaged at a place that is no event, and nothing is known about the events.
    DamagedStore(String),
}

/// Damage in a data directory, and what was audited before it.
pub(super) struct DamagedFiles {
    /// Events, from the first on, that were found intact.
    pub(super) checked: u64,
    /// Whether a held checkpoint is among them.
    pub(super) freshness: Freshness,
    pub(super) damage: StoreDamage,
}

impl DamagedFiles {
    /// Without a held checkpoint.
    pub(super) fn unproven(checked: u64, damage: StoreDamage) -> Self {
        Self {
            checked,
            freshness: Freshness::NotProven,
            damage,
        }
    }

    fn line(&self) -> String {
        let Self {
            checked,
            freshness,
            damage,
        } = self;
        let before = match damage.event {
            Some(_) => format!("{damage}; before it, {} intact", events_are(*checked)),
            None => format!("{damage}; {} there and intact", events_are(*checked)),
        };
        match freshness {
            Freshness::NotProven => before,
            Freshness::ProvenUpTo(held) => format!(
                "{before}, the held checkpoint among them: nothing up to event {} is missing or changed",
                held.event_id
            ),
        }
    }
}

/// The verdict for programs. Members are only ever added.
#[derive(Serialize)]
struct Json<'a> {
    #[serde(flatten)]
    finding: JsonFinding<'a>,
    /// `full` or `chain`.
    level: &'static str,
    source: &'a str,
    notes: &'a [String],
    /// One entry a log, when there are several; what stands above is then the worst of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    logs: Vec<JsonLog<'a>>,
}

#[derive(Serialize)]
struct JsonLog<'a> {
    log: &'a str,
    #[serde(flatten)]
    finding: JsonFinding<'a>,
}

#[derive(Serialize)]
struct JsonFinding<'a> {
    /// `intact`, `broken` or `incomplete`.
    verdict: &'static str,
    /// Events, from the first on, that were found intact; of several logs, of all together.
    checked: u64,
    /// The last event, when all are intact; of several logs, see each.
    head: Option<Held>,
    /// The held checkpoint up to which nothing is missing or changed.
    proven_up_to: Option<Held>,
    /// The first event that is not what was sealed.
    first_break_at: Option<u64>,
    reason: Option<Cow<'a, str>>,
    /// The damaged file of a data directory, when it was found before any event was read.
    damage: Option<JsonDamage>,
}

/// Where a data directory is damaged.
#[derive(Serialize)]
struct JsonDamage {
    /// `head_record`, `released`, `journal`, `segment` or `index`.
    place: &'static str,
    /// The file, or directory, relative to the data directory.
    file: String,
    /// Bytes from the file's start, where it is a position.
    offset: Option<u64>,
}

impl JsonDamage {
    fn of(damage: &StoreDamage) -> Self {
        let place = match damage.place {
            Place::HeadRecord => "head_record",
            Place::Released => "released",
            Place::Index { .. } => "index",
            Place::JournalDirectory | Place::JournalFile { .. } | Place::Journal { .. } => "journal",
            Place::Segment { .. } => "segment",
        };
        Self {
            place,
            file: damage.place.file(),
            offset: damage.place.offset(),
        }
    }
}

/// A checkpoint in JSON.
#[derive(Serialize)]
struct Held {
    event_id: u64,
    hash: String,
}

impl Held {
    fn of(checkpoint: &Checkpoint) -> Self {
        Self {
            event_id: checkpoint.event_id.get(),
            hash: checkpoint.hash.to_string(),
        }
    }

    fn of_proof(freshness: &Freshness) -> Option<Self> {
        match freshness {
            Freshness::NotProven => None,
            Freshness::ProvenUpTo(checkpoint) => Some(Self::of(checkpoint)),
        }
    }
}

impl Report {
    /// Prints the verdict.
    pub(super) fn print(&self, style: Style, output: &mut Output) -> Result<()> {
        let colour = match style {
            Style::Json => return output.line(serde_json::to_vec(&self.json())?),
            Style::Human { colour } => colour,
        };
        for note in &self.notes {
            say(format!("annals: note: {note}"));
        }
        match &self.found {
            Found::One(finding) => {
                output.line(finding.line(colour))?;
                output.flush()?;
                finding.advise("");
            }
            Found::Several { damage, logs } => {
                for (log, finding) in logs {
                    output.line(format!("log {log}: {}", finding.line(colour)))?;
                }
                if let Some(damage) = damage {
                    output.line(format!("{}: {damage}", Paint::Red.on("broken", colour)))?;
                }
                output.line(summary(logs))?;
                output.flush()?;
                for (log, finding) in logs {
                    finding.advise(&format!(" for log {log}"));
                }
            }
        }
        Ok(())
    }

    /// The error that ends the command, unless everything is intact.
    pub(super) fn into_result(self) -> Result<()> {
        let source = self.source;
        match self.found {
            Found::One(finding) => finding.into_result(&source),
            Found::Several {
                damage: Some(damage), ..
            } => Finding::DamagedFiles(DamagedFiles::unproven(0, damage)).into_result(&source),
            Found::Several { damage: None, logs } => {
                // The first of those that are equally bad.
                match logs.into_iter().min_by_key(|(_, finding)| finding.rank()) {
                    Some((log, finding)) => finding.into_result(&format!("{source}, log {log}")),
                    None => Ok(()),
                }
            }
        }
    }

    fn json(&self) -> Json<'_> {
        let (finding, logs) = match &self.found {
            Found::One(finding) => (finding.json(), Vec::new()),
            Found::Several { damage, logs } => {
                let mut of_logs = Vec::with_capacity(logs.len());
                for (log, finding) in logs {
                    let finding = finding.json();
                    of_logs.push(JsonLog { log, finding });
                }
                let checked = of_logs.iter().map(|of_log| of_log.finding.checked).sum();
                (of_all(damage.as_ref(), logs, checked), of_logs)
            }
        };
        Json {
            finding,
            level: match self.level {
                Level::Chain => "chain",
                Level::Full => "full",
            },
            source: &self.source,
            notes: &self.notes,
            logs,
        }
    }
}

/// What is said of all logs together: the damage of the directory, or the worst of them.
fn of_all<'a>(damage: Option<&StoreDamage>, logs: &'a [(String, Finding)], checked: u64) -> JsonFinding<'a> {
    let mut all = JsonFinding::of(checked);
    if let Some(damage) = damage {
        all.take_damage(damage);
        return all;
    }
    let by_badness = logs.iter().min_by_key(|(_, finding)| finding.rank());
    if let Some((log, finding)) = by_badness {
        let worst = finding.json();
        all.verdict = worst.verdict;
        all.reason = worst
            .reason
            .map(|reason| Cow::from(format!("log {log}: {reason}")));
    }
    all
}

/// How many logs are what.
fn summary(logs: &[(String, Finding)]) -> String {
    let of_rank = |wanted: u8| {
        logs.iter()
            .filter(|(_, finding)| finding.rank() == wanted)
            .count()
    };
    let (broken, incomplete) = (of_rank(BROKEN), of_rank(INCOMPLETE));
    match (broken, incomplete) {
        (0, 0) => format!("{} logs, all intact", logs.len()),
        _ => format!("{} logs: {broken} broken, {incomplete} incomplete", logs.len()),
    }
}

/// What [`Finding::rank`] gives; what is worse is less.
const BROKEN: u8 = 0;
const INCOMPLETE: u8 = 1;
const INTACT: u8 = 2;

impl Finding {
    fn rank(&self) -> u8 {
        match self {
            Self::Verdict(Verdict::Broken { .. }) | Self::DamagedFiles(_) | Self::DamagedStore(_) => BROKEN,
            Self::Verdict(Verdict::Incomplete { .. }) => INCOMPLETE,
            Self::Verdict(Verdict::Intact { .. }) => INTACT,
        }
    }

    fn into_result(self, source: &str) -> Result<()> {
        match self {
            Self::Verdict(Verdict::Intact { .. }) => Ok(()),
            Self::Verdict(Verdict::Broken {
                at: Break { event, reason },
                ..
            }) => Err(
                Failure::Integrity(format!("integrity failure in {source}: event #{event}: {reason}")).into(),
            ),
            Self::DamagedFiles(DamagedFiles { damage, .. }) => {
                let mend = damage.mend();
                Err(Failure::Integrity(format!("integrity failure in {source}: {damage}; {mend}")).into())
            }
            Self::DamagedStore(what) => {
                Err(Failure::Integrity(format!("integrity failure in {source}: {what}")).into())
            }
            Self::Verdict(Verdict::Incomplete { reason, .. }) => {
                Err(Failure::Incomplete(format!("{source} can not be verified: {reason}")).into())
            }
        }
    }

    fn line(&self, colour: bool) -> String {
        match self {
            Self::Verdict(Verdict::Intact {
                size,
                head,
                freshness,
            }) => {
                let end = match head_of(*size, *head) {
                    Some(head) => format!("{}, head {} {}", events(size.0), head.event_id, head.hash),
                    None => events(0),
                };
                let fresh = match freshness {
                    Freshness::NotProven => String::from(
                        "not proven fresh: no checkpoint was held against it, so a cut-off tail would look the same (give \
                         --checkpoint)",
                    ),
                    Freshness::ProvenUpTo(checkpoint) => format!(
                        "contains the held checkpoint: nothing up to event {} is missing or changed",
                        checkpoint.event_id
                    ),
                };
                format!("{}: {end}; {fresh}", Paint::Green.on("intact", colour))
            }
            Self::Verdict(Verdict::Broken {
                checked,
                at: Break { event, reason },
            }) => {
                format!(
                    "{}: event #{event}: {reason}; before it, {} intact",
                    Paint::Red.on("broken", colour),
                    events_are(*checked)
                )
            }
            Self::DamagedFiles(found) => {
                format!("{}: {}", Paint::Red.on("broken", colour), found.line())
            }
            Self::DamagedStore(what) => format!("{}: {what}", Paint::Red.on("broken", colour)),
            Self::Verdict(Verdict::Incomplete { checked, reason }) => {
                format!(
                    "{}: {} intact, then: {reason}",
                    Paint::Red.on("incomplete", colour),
                    events(*checked)
                )
            }
        }
    }

    /// What to keep for the next time.
    fn advise(&self, of: &str) {
        if let Self::Verdict(Verdict::Intact { size, head, .. }) = self
            && let Some(event_id) = size.last()
        {
            let checkpoint = Checkpoint {
                event_id,
                hash: *head,
            };
            say(format!(
                "annals: keep this elsewhere and give it as --checkpoint next time{of}: {checkpoint}"
            ));
        }
    }

    fn json(&self) -> JsonFinding<'_> {
        let mut json = JsonFinding::of(0);
        match self {
            Self::Verdict(Verdict::Intact {
                size,
                head,
                freshness,
            }) => {
                json.checked = size.0;
                json.head = head_of(*size, *head);
                json.proven_up_to = Held::of_proof(freshness);
            }
            Self::Verdict(Verdict::Broken { checked, at }) => {
                json.verdict = "broken";
                json.checked = *checked;
                json.first_break_at = Some(at.event.get());
                json.reason = Some(Cow::from(&at.reason));
            }
            Self::DamagedFiles(found) => {
                let DamagedFiles {
                    checked,
                    freshness,
                    damage,
                } = found;
                json.take_damage(damage);
                json.checked = *checked;
                json.proven_up_to = Held::of_proof(freshness);
                json.first_break_at = damage.event.map(EventId::get);
            }
            Self::DamagedStore(what) => {
                json.verdict = "broken";
                json.reason = Some(Cow::from(what));
            }
            Self::Verdict(Verdict::Incomplete { checked, reason }) => {
                json.verdict = "incomplete";
                json.checked = *checked;
                json.reason = Some(Cow::from(reason));
            }
        }
        json
    }
}

impl JsonFinding<'_> {
    /// Intact so far.
    fn of(checked: u64) -> Self {
        Self {
            verdict: "intact",
            checked,
            head: None,
            proven_up_to: None,
            first_break_at: None,
            reason: None,
            damage: None,
        }
    }

    fn take_damage(&mut self, damage: &StoreDamage) {
        self.verdict = "broken";
        self.reason = Some(Cow::from(format!("{} ({})", damage.what, damage.place)));
        self.damage = Some(JsonDamage::of(damage));
    }
}

fn head_of(size: TreeSize, hash: EventHash) -> Option<Held> {
    size.last()
        .map(|event_id| Held::of(&Checkpoint { event_id, hash }))
}

/// `N events are`
fn events_are(count: u64) -> String {
    let verb = if count == 1 { "is" } else { "are" };
    format!("{} {verb}", events(count))
}

fn events(count: u64) -> String {
    if count == 1 {
        String::from("1 event")
    } else {
        format!("{count} events")
    }
}
