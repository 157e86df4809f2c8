//! Errors on the wire (RFC 9457), with codes that stay.

use serde::{Deserialize, Serialize};

/// Codes of problems. A code never changes its meaning.
pub mod code {
    /// The request has no valid token.
    pub const UNAUTHENTICATED: &str = "unauthenticated";
    /// The token may not do this.
    pub const FORBIDDEN: &str = "forbidden";
    /// There is no such thing.
    pub const NOT_FOUND: &str = "not_found";
    /// The request cannot be understood.
    pub const INVALID: &str = "invalid";
    /// The service was changed meanwhile.
    pub const CHANGED_MEANWHILE: &str = "changed_meanwhile";
    /// Another release is on its way.
    pub const RELEASE_UNDER_WAY: &str = "release_under_way";
    /// The release is not on its way any more.
    pub const RELEASE_ENDED: &str = "release_ended";
    /// The release's first batch is not available yet, so there is nothing to approve.
    pub const NOT_AT_GATE: &str = "not_at_gate";
    /// Another person than who has made the release has to approve it.
    pub const SECOND_PERSON: &str = "second_person_needed";
    /// There is nothing to go back to.
    pub const NOTHING_TO_ROLL_BACK_TO: &str = "nothing_to_roll_back_to";
    /// Nothing serves that could be started anew.
    pub const NOTHING_TO_RESTART: &str = "nothing_to_restart";
    /// The idempotency key was used for another request.
    pub const KEY_REUSED: &str = "idempotency_key_reused";
    /// The request is too large.
    pub const TOO_LARGE: &str = "too_large";
    /// Something on the server failed; the log there says what.
    pub const INTERNAL: &str = "internal";
    /// The server is stopping.
    pub const UNAVAILABLE: &str = "unavailable";
}

/// A problem document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(example = json!({
    "type": "about:blank", "title": "Conflict", "status": 409,
    "detail": "release 2 of test/greeter is not at its gate: its first instance is not available yet",
    "code": "not_at_gate", "hint": "barge status --watch -e test -m greeter"
}))]
pub struct Problem {
    /// Always `about:blank`; the code tells problems apart.
    #[serde(rename = "type")]
    pub kind: String,
    /// What is wrong, in a few words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong here, in a sentence.
    pub detail: String,
    /// A stable code.
    pub code: String,
    /// A command that helps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}
