//! Who may do what. The registry knows no tokens: whoever embeds it is asked, before anything is done.

use std::sync::Arc;

use axum::http::HeaderMap;

/// What kind of thing a request does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It looks: pulls, questions, lists.
    Read,
    /// It adds or changes: uploads (also when one is given up), manifests, tags.
    Write,
    /// It removes a manifest or a tag.
    Delete,
}

/// What a request wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operation<'a> {
    /// Of what kind it is.
    pub kind: Kind,
    /// The repository as the request names it, before it is known to be a valid name; none where a request concerns no repository, as
    /// `/v2/`.
    pub repository: Option<&'a str>,
}

/// Whether a request may do what it wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It may.
    Granted,
    /// Whoever asks is known, and may not (403).
    Denied,
    /// Nobody knows who asks: no credentials, or none that are valid (401).
    Unknown,
}

/// Decides about each request, by its headers, and once more about the repository that a blob is to be mounted from.
pub type Access = Arc<dyn Fn(&HeaderMap, &Operation<'_>) -> Verdict + Send + Sync>;
