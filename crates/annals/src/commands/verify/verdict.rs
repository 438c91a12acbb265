//! The verdict as it is told: one line for people, one JSON object with stable members for programs, one exit code.

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
    pub(super) finding: Finding,
    /// What is worth knowing besides, one sentence each.
    pub(super) notes: Vec<String>,
}

/// What was found.
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
    /// `intact`, `broken` or `incomplete`.
    verdict: &'static str,
    /// Events, from the first on, that were found intact.
    checked: u64,
    /// The last event, when all are intact.
    head: Option<Held>,
    /// The held checkpoint up to which nothing is missing or changed.
    proven_up_to: Option<Held>,
    /// The first event that is not what was sealed.
    first_break_at: Option<u64>,
    reason: Option<Cow<'a, str>>,
    /// The damaged file of a data directory, when it was found before any event was read.
    damage: Option<JsonDamage>,
    /// `full` or `chain`.
    level: &'static str,
    source: &'a str,
    notes: &'a [String],
}

/// Where a data directory is damaged.
#[derive(Serialize)]
struct JsonDamage {
    /// `head_record`, `journal` or `segment`.
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
        match style {
            Style::Json => output.line(serde_json::to_vec(&self.json())?),
            Style::Human { colour } => {
                for note in &self.notes {
                    say(format!("annals: note: {note}"));
                }
                output.line(self.line(colour))?;
                output.flush()?;
                self.advise();
                Ok(())
            }
        }
    }

    /// The error that ends the command, unless everything is intact.
    pub(super) fn into_result(self) -> Result<()> {
        let source = &self.source;
        match self.finding {
            Finding::Verdict(Verdict::Intact { .. }) => Ok(()),
            Finding::Verdict(Verdict::Broken {
                at: Break { event, reason },
                ..
            }) => Err(
                Failure::Integrity(format!("integrity failure in {source}: event #{event}: {reason}")).into(),
            ),
            Finding::DamagedFiles(DamagedFiles { damage, .. }) => {
                let mend = damage.mend();
                Err(Failure::Integrity(format!("integrity failure in {source}: {damage}; {mend}")).into())
            }
            Finding::DamagedStore(what) => {
                Err(Failure::Integrity(format!("integrity failure in {source}: {what}")).into())
            }
            Finding::Verdict(Verdict::Incomplete { reason, .. }) => {
                Err(Failure::Incomplete(format!("{source} can not be verified: {reason}")).into())
            }
        }
    }

    fn line(&self, colour: bool) -> String {
        match &self.finding {
            Finding::Verdict(Verdict::Intact {
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
            Finding::Verdict(Verdict::Broken {
                checked,
                at: Break { event, reason },
            }) => {
                format!(
                    "{}: event #{event}: {reason}; before it, {} intact",
                    Paint::Red.on("broken", colour),
                    events_are(*checked)
                )
            }
            Finding::DamagedFiles(found) => {
                format!("{}: {}", Paint::Red.on("broken", colour), found.line())
            }
            Finding::DamagedStore(what) => format!("{}: {what}", Paint::Red.on("broken", colour)),
            Finding::Verdict(Verdict::Incomplete { checked, reason }) => {
                format!(
                    "{}: {} intact, then: {reason}",
                    Paint::Red.on("incomplete", colour),
                    events(*checked)
                )
            }
        }
    }

    /// What to keep for the next time.
    fn advise(&self) {
        if let Finding::Verdict(Verdict::Intact { size, head, .. }) = &self.finding
            && let Some(event_id) = size.last()
        {
            let checkpoint = Checkpoint {
                event_id,
                hash: *head,
            };
            say(format!(
                "annals: keep this elsewhere and give it as --checkpoint next time: {checkpoint}"
            ));
        }
    }

    fn json(&self) -> Json<'_> {
        let mut json = Json {
            verdict: "intact",
            checked: 0,
            head: None,
            proven_up_to: None,
            first_break_at: None,
            reason: None,
            damage: None,
            level: match self.level {
                Level::Chain => "chain",
                Level::Full => "full",
            },
            source: &self.source,
            notes: &self.notes,
        };
        match &self.finding {
            Finding::Verdict(Verdict::Intact {
                size,
                head,
                freshness,
            }) => {
                json.checked = size.0;
                json.head = head_of(*size, *head);
                json.proven_up_to = Held::of_proof(freshness);
            }
            Finding::Verdict(Verdict::Broken { checked, at }) => {
                json.verdict = "broken";
                json.checked = *checked;
                json.first_break_at = Some(at.event.get());
                json.reason = Some(Cow::from(&at.reason));
            }
            Finding::DamagedFiles(found) => {
                let DamagedFiles {
                    checked,
                    freshness,
                    damage,
                } = found;
                json.verdict = "broken";
                json.checked = *checked;
                json.proven_up_to = Held::of_proof(freshness);
                json.first_break_at = damage.event.map(EventId::get);
                json.reason = Some(Cow::from(format!("{} ({})", damage.what, damage.place)));
                json.damage = Some(JsonDamage::of(damage));
            }
            Finding::DamagedStore(what) => {
                json.verdict = "broken";
                json.reason = Some(Cow::from(what));
            }
            Finding::Verdict(Verdict::Incomplete { checked, reason }) => {
                json.verdict = "incomplete";
                json.checked = *checked;
                json.reason = Some(Cow::from(reason));
            }
        }
        json
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
