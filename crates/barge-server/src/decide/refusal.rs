//! Why a request is refused: the sentence, the stable code, and the command that helps.

use barge_api::code;
use barge_model::manifest::MAX_REPLICAS;
use barge_model::{Digest, ReleaseId, ServiceKey};

use super::MAX_REASON;

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("{0} was never released")]
    UnknownService(ServiceKey),
    #[error("there is no release {release} of {key}")]
    UnknownRelease { key: ServiceKey, release: ReleaseId },
    #[error("{key} was changed meanwhile: it is at version {stored}, the request was for {given}")]
    ChangedMeanwhile { key: ServiceKey, stored: u64, given: u64 },
    #[error("release {number} of {key} ({release}) is on its way")]
    UnderWay { key: ServiceKey, release: ReleaseId, number: u32 },
    #[error("release {number} of {key} has ended: {how}")]
    Ended { key: ServiceKey, number: u32, how: &'static str },
    #[error("release {number} of {key} is not at its gate: {why}")]
    NotAtGate { key: ServiceKey, number: u32, why: &'static str },
    #[error("release {number} of {key} was made by {by}: here another person has to approve it")]
    SecondPerson { key: ServiceKey, number: u32, by: String },
    #[error("the digest {given} is not the one of release {number}, which has {stored}")]
    OtherDigest { given: Digest, stored: Digest, number: u32 },
    #[error("{key} has nothing to go back to: {why}")]
    NothingToRollBackTo { key: ServiceKey, why: &'static str },
    #[error("{0} runs no release that could be started anew")]
    NothingToRestart(ServiceKey),
    #[error("replicas is {0}; at most {MAX_REPLICAS} are allowed")]
    TooManyReplicas(u32),
    #[error("the configuration cannot be used: {0}")]
    Config(String),
    #[error("the reason has {0} characters; at most {MAX_REASON} are kept")]
    ReasonTooLong(usize),
    #[error("this Idempotency-Key was used for another request")]
    KeyReused,
}

impl Refusal {
    /// HTTP status and stable code.
    pub(crate) fn status_and_code(&self) -> (u16, &'static str) {
        match self {
            Refusal::UnknownService(_) | Refusal::UnknownRelease { .. } => (404, code::NOT_FOUND),
            Refusal::ChangedMeanwhile { .. } => (412, code::CHANGED_MEANWHILE),
            Refusal::UnderWay { .. } => (409, code::RELEASE_UNDER_WAY),
            Refusal::Ended { .. } => (409, code::RELEASE_ENDED),
            Refusal::NotAtGate { .. } => (409, code::NOT_AT_GATE),
            Refusal::SecondPerson { .. } => (403, code::SECOND_PERSON),
            Refusal::NothingToRollBackTo { .. } => (409, code::NOTHING_TO_ROLL_BACK_TO),
            Refusal::NothingToRestart(_) => (409, code::NOTHING_TO_RESTART),
            Refusal::OtherDigest { .. }
            | Refusal::TooManyReplicas(_)
            | Refusal::Config(_)
            | Refusal::ReasonTooLong(_) => (422, code::INVALID),
            Refusal::KeyReused => (422, code::KEY_REUSED),
        }
    }

    /// The command that helps, where one does.
    pub(crate) fn hint(&self) -> Option<String> {
        let on = |verb: &str, key: &ServiceKey| format!("barge {verb} -e {} -m {}", key.environment, key.service);
        match self {
            Refusal::UnderWay { key, .. } => Some(format!(
                "{} to see it, {} to take it back, or deploy again with --supersede",
                on("status", key),
                on("abort", key)
            )),
            Refusal::NotAtGate { key, .. } => Some(on("status --watch", key)),
            Refusal::SecondPerson { key, .. } => Some(format!("somebody else runs: {}", on("approve", key))),
            Refusal::UnknownRelease { key, .. }
            | Refusal::Ended { key, .. }
            | Refusal::NothingToRollBackTo { key, .. } => Some(on("releases", key)),
            Refusal::ChangedMeanwhile { key, .. } => Some(on("status", key)),
            Refusal::UnknownService(_) | Refusal::NothingToRestart(_) => Some("barge services".to_owned()),
            Refusal::OtherDigest { .. }
            | Refusal::TooManyReplicas(_)
            | Refusal::Config(_)
            | Refusal::ReasonTooLong(_)
            | Refusal::KeyReused => None,
        }
    }
}
