//! The registry of event kinds: what `kind` may say.
//!
//! Invariant: the seed's 25 names are always registered; a name has no control character, so it is safe as an SSE event
//! name and a CSV cell.

/// The kinds of audit-stream 0.2 (22 of its README, and the three that version 0.2 adds), in the reference's order.
pub const SEED_KINDS: [&str; 25] = [
    "decision_card_drafted",
    "decision_card_signed",
    "decision_card_status_changed",
    "policy_bundle_registered",
    "policy_condition_asserted",
    "request_denied",
    "request_allowed",
    "contract_promoted",
    "contract_deprecated",
    "contract_compatibility_failed",
    "watch_created",
    "watch_drifted",
    "watch_validity_flipped",
    "incident_filed",
    "remediation_planned",
    "attestation_verified",
    "attestation_tampered",
    "flag_swapped",
    "shadow_divergence_recorded",
    "tool_invocation_allowed",
    "tool_invocation_denied",
    "tool_invocation_required_approval",
    "tool_invocation_completed",
    "tool_invocation_failed",
    "other",
];

/// True when `kind` may be used in a new event and as a filter.
#[must_use]
pub fn is_registered(kind: &str) -> bool {
    SEED_KINDS.contains(&kind)
}
