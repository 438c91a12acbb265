//! The indexed fields: those by which events are found. One closed list, so that filters, the index, the interface and the
//! command line speak of the same ones.
//!
//! Invariant: numbers are part of the index's format (docs/format.md) and never change their meaning.

/// A string of an event by which it can be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Field {
    /// `kind`
    Kind = 1,
    /// `source`
    Source = 2,
    /// `tenant`
    Tenant = 3,
    /// `actor.id`
    Actor = 4,
    /// `actor.type`
    ActorType = 5,
    /// `resource.id`
    Resource = 6,
    /// `resource.type`
    ResourceType = 7,
    /// `session`
    Session = 8,
    /// `grant`
    Grant = 9,
    /// `run`
    Run = 10,
    /// `outcome`
    Outcome = 11,
    /// `attempt_id`
    Attempt = 12,
    /// `request.id`
    Request = 13,
    /// `trace_id`
    Trace = 14,
    /// `request.ip`
    Address = 15,
}

impl Field {
    /// All fields, by number.
    pub const ALL: [Self; 15] = [
        Self::Kind,
        Self::Source,
        Self::Tenant,
        Self::Actor,
        Self::ActorType,
        Self::Resource,
        Self::ResourceType,
        Self::Session,
        Self::Grant,
        Self::Run,
        Self::Outcome,
        Self::Attempt,
        Self::Request,
        Self::Trace,
        Self::Address,
    ];

    /// The number in the index's format.
    #[must_use]
    pub fn number(self) -> u8 {
        self as u8
    }

    /// The name in queries and on the command line (there with `-` for `_`).
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Kind => "kind",
            Self::Source => "source",
            Self::Tenant => "tenant",
            Self::Actor => "actor",
            Self::ActorType => "actor_type",
            Self::Resource => "resource",
            Self::ResourceType => "resource_type",
            Self::Session => "session",
            Self::Grant => "grant",
            Self::Run => "run",
            Self::Outcome => "outcome",
            Self::Attempt => "attempt_id",
            Self::Request => "request_id",
            Self::Trace => "trace_id",
            Self::Address => "ip",
        }
    }

    /// The field that queries call `name`.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|field| field.name() == name)
    }

    /// Where the string stands in an event: the top-level member, and the member inside it where that is an object.
    #[must_use]
    pub fn path(self) -> (&'static str, Option<&'static str>) {
        match self {
            Self::Kind => ("kind", None),
            Self::Source => ("source", None),
            Self::Tenant => ("tenant", None),
            Self::Actor => ("actor", Some("id")),
            Self::ActorType => ("actor", Some("type")),
            Self::Resource => ("resource", Some("id")),
            Self::ResourceType => ("resource", Some("type")),
            Self::Session => ("session", None),
            Self::Grant => ("grant", None),
            Self::Run => ("run", None),
            Self::Outcome => ("outcome", None),
            Self::Attempt => ("attempt_id", None),
            Self::Request => ("request", Some("id")),
            Self::Trace => ("trace_id", None),
            Self::Address => ("request", Some("ip")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers are on disk. Red when: two of them are swapped.
    #[test]
    fn fields_keep_their_numbers_and_names() {
        let fields: Vec<_> = Field::ALL
            .iter()
            .map(|field| (field.number(), field.name()))
            .collect();
        let expected = [
            (1, "kind"),
            (2, "source"),
            (3, "tenant"),
            (4, "actor"),
            (5, "actor_type"),
            (6, "resource"),
            (7, "resource_type"),
            (8, "session"),
            (9, "grant"),
            (10, "run"),
            (11, "outcome"),
            (12, "attempt_id"),
            (13, "request_id"),
            (14, "trace_id"),
            (15, "ip"),
        ];
        assert_eq!(fields, expected);
        for field in Field::ALL {
            assert_eq!(Field::of_name(field.name()), Some(field));
        }
        assert_eq!(Field::of_name("Kind"), None);
    }
}
