//! Which events a query or a tail is about: one flag for each parameter of the interface that selects.
//!
//! Invariant: every field that events can be found by has its flag; a field more does not compile without one.

use annals_api::names::DEFAULT_LOG;
use annals_core::field::Field;
use annals_store::LogName;

/// The flags. Several values of one field are alternatives; different flags have to hold together.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Which events (each may be repeated; values of one flag are alternatives)")]
pub(crate) struct Filters {
    /// Of this kind
    #[arg(long)]
    kind: Vec<String>,
    /// From this source
    #[arg(long)]
    source: Vec<String>,
    /// Of this tenant
    #[arg(long)]
    tenant: Vec<String>,
    /// By the actor with this id
    #[arg(long, value_name = "ID")]
    actor: Vec<String>,
    /// By an actor of this type
    #[arg(long, value_name = "TYPE")]
    actor_type: Vec<String>,
    /// About the resource with this id
    #[arg(long, value_name = "ID")]
    resource: Vec<String>,
    /// About a resource of this type
    #[arg(long, value_name = "TYPE")]
    resource_type: Vec<String>,
    /// Of this session
    #[arg(long, value_name = "ID")]
    session: Vec<String>,
    /// Under this grant
    #[arg(long, value_name = "ID")]
    grant: Vec<String>,
    /// Of this run
    #[arg(long, value_name = "ID")]
    run: Vec<String>,
    /// With this outcome
    #[arg(long)]
    outcome: Vec<String>,
    /// Of this attempt
    #[arg(long, value_name = "ID")]
    attempt_id: Vec<String>,
    /// Of the request with this id
    #[arg(long, value_name = "ID")]
    request_id: Vec<String>,
    /// Of this trace
    #[arg(long, value_name = "ID")]
    trace_id: Vec<String>,
    /// Requested from this address, as the event has it
    #[arg(long, value_name = "ADDRESS")]
    ip: Vec<String>,
    /// With this text inside a string, whatever its case; when repeated, with all of them
    #[arg(long)]
    text: Vec<String>,
    /// Received at this time or later: 2026-05-15, 2026-05-15T03:14:15Z, 2026-05-15T05:14:15+02:00
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// Whose own time stamp is this or later
    #[arg(long, value_name = "TIME")]
    claimed_since: Option<String>,
    /// Whose own time stamp is before this
    #[arg(long, value_name = "TIME")]
    claimed_until: Option<String>,
    /// Of this log [default: default]
    #[arg(long, value_name = "NAME")]
    log: Vec<LogName>,
}

impl Filters {
    /// As the interface's parameters.
    pub(crate) fn parameters(&self) -> Vec<(&'static str, String)> {
        let of_field = |field: Field| self.values(field).iter().map(move |value| (field.name(), value));
        let times = [
            ("since", &self.since),
            ("claimed_since", &self.claimed_since),
            ("claimed_until", &self.claimed_until),
        ];
        let times = times
            .into_iter()
            .filter_map(|(name, time)| Some((name, time.as_ref()?)));
        let texts = self.text.iter().map(|text| ("text", text));
        let selecting = Field::ALL
            .into_iter()
            .flat_map(of_field)
            .chain(texts)
            .chain(times);
        let logs = self.log.iter().map(|log| ("log", log.to_string()));
        selecting
            .map(|(name, value)| (name, value.clone()))
            .chain(logs)
            .collect()
    }

    /// The logs that are asked, by name, each once.
    pub(crate) fn logs(&self) -> Vec<LogName> {
        let mut logs = self.log.clone();
        if logs.is_empty() {
            logs.push(LogName::default_log());
        }
        logs.sort_unstable();
        logs.dedup();
        logs
    }

    /// Whether each event comes with the name of its log.
    pub(crate) fn are_labelled(&self) -> bool {
        self.log.len() > 1
    }

    fn values(&self, field: Field) -> &[String] {
        match field {
            Field::Kind => &self.kind,
            Field::Source => &self.source,
            Field::Tenant => &self.tenant,
            Field::Actor => &self.actor,
            Field::ActorType => &self.actor_type,
            Field::Resource => &self.resource,
            Field::ResourceType => &self.resource_type,
            Field::Session => &self.session,
            Field::Grant => &self.grant,
            Field::Run => &self.run,
            Field::Outcome => &self.outcome,
            Field::Attempt => &self.attempt_id,
            Field::Request => &self.request_id,
            Field::Trace => &self.trace_id,
            Field::Address => &self.ip,
        }
    }
}

/// What a log is called in messages.
pub(crate) fn name_of(log: Option<&LogName>) -> &str {
    log.map_or(DEFAULT_LOG, LogName::as_str)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        filters: Filters,
    }

    /// Red when: two arms of `values` change places, or a flag has another name than its parameter.
    #[test]
    fn every_field_has_the_flag_of_its_name() {
        for field in Field::ALL {
            let flag = format!("--{}", field.name().replace('_', "-"));
            let line = Line::try_parse_from(["x", &flag, "one", &flag, "two"]).unwrap();
            let two = ["one", "two"].map(|value| (field.name(), value.to_owned()));
            assert_eq!(line.filters.parameters(), two);
        }
        let all = [
            "x",
            "--text=a b",
            "--text=c",
            "--since=s",
            "--claimed-since=f",
            "--claimed-until=t",
            "--log=b",
            "--log=a",
        ];
        let filters = Line::try_parse_from(all).unwrap().filters;
        let parameters = filters.parameters();
        let shown: Vec<String> = parameters
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        assert_eq!(
            shown,
            [
                "text=a b",
                "text=c",
                "since=s",
                "claimed_since=f",
                "claimed_until=t",
                "log=b",
                "log=a"
            ]
        );
        let logs: Vec<String> = filters.logs().iter().map(ToString::to_string).collect();
        assert_eq!(logs, ["a", "b"]);
        assert!(filters.are_labelled());
        assert!(Line::try_parse_from(["x", "--log=../a"]).is_err());
    }
}
