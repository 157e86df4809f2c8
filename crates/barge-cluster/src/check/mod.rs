//! What is there of an installation, what is missing and what is too old; each with what to do about it.
//!
//! [`observe`] asks the cluster, [`judge`] says purely what that means. It tells what it cannot find out, and guesses nothing.

mod judge;
mod observe;

use serde::Serialize;

pub use judge::judge;
pub use observe::{Asked, Metrics, Observed, observe};

/// How it stands with one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// There, and as it should be.
    Good,
    /// Not there, or not well.
    Missing,
    /// Of another version than this program.
    Old,
    /// Not there, and only needed for what `detail` says.
    Without,
    /// It cannot be found out.
    Unknown,
}

impl State {
    /// Whether services cannot be released as they should.
    pub fn is_bad(self) -> bool {
        matches!(self, Self::Missing | Self::Old)
    }

    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Missing => "missing",
            Self::Old => "old",
            Self::Without => "without",
            Self::Unknown => "unknown",
        }
    }
}

/// What was found of one thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Of what.
    pub what: String,
    /// How it stands.
    pub state: State,
    /// In words.
    pub detail: String,
    /// What to do about it.
    pub hint: Option<String>,
}
