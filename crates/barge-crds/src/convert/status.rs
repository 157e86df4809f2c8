//! The machine's stored status: in the resource without the releases' definitions, which are pinned on what each set owns.

use barge_model::rollout::{
    CandidateProgress, FailureReason, Finished, InstanceSet, Outcome, Phase, Role, RolloutStatus,
};
use barge_model::{InstanceId, Release, ReleaseId};

use super::{Nonsense, approval, name};
use crate::status::{
    FinishedStatus, ObservedStatus, OutcomeStatus, PhaseStatus, ProgressStatus, RoleStatus, ServiceStatus, SetStatus,
};
use crate::values::{from_time, to_time};

/// A set whose release nobody can define any more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SetWithoutRelease {
    /// A part of the status that no version of Barge has written.
    #[error("the stored status cannot be read")]
    Unreadable(#[from] Nonsense),
    /// The definition is gone.
    #[error("the definition of release {0} is gone: neither its ConfigMap nor its ReplicaSet has it")]
    Gone(ReleaseId),
}

/// The machine's status, as the resource has stored it; `definition` finds what a release is.
///
/// # Errors
/// The status cannot be read, or a definition is gone.
pub fn stored(
    status: &ServiceStatus,
    definition: impl Fn(&ReleaseId) -> Option<Release>,
) -> Result<RolloutStatus, SetWithoutRelease> {
    let set = |set: &SetStatus| {
        let id: ReleaseId = name("status.sets.release", set.release.parse())?;
        Ok(InstanceSet {
            release: definition(&id).ok_or(SetWithoutRelease::Gone(id))?,
            role: match set.role {
                RoleStatus::Stable => Role::Stable,
                RoleStatus::Candidate => Role::Candidate,
                RoleStatus::Defunct => Role::Defunct,
            },
            target: number("status.sets.target", set.target)?,
            held_since: set.held_since.as_ref().map(to_time),
        })
    };
    Ok(RolloutStatus {
        sets: status.sets.iter().map(set).collect::<Result<_, SetWithoutRelease>>()?,
        candidate: status.progress.as_ref().map(progress).transpose()?,
        finished: status.history.iter().map(finished).collect::<Result<_, _>>()?,
    })
}

/// The parts of the resource's status that the machine has decided.
pub fn to_status(status: &RolloutStatus) -> ServiceStatus {
    let of = |role| status.set(role).map(|set| set.release.id.to_string());
    ServiceStatus {
        stable: of(Role::Stable),
        candidate: of(Role::Candidate),
        sets: status.sets.iter().map(Into::into).collect(),
        progress: status.candidate.as_ref().map(Into::into),
        history: status.finished.iter().map(Into::into).collect(),
        ..ServiceStatus::default()
    }
}

fn number(path: &str, number: i32) -> Result<u32, Nonsense> {
    u32::try_from(number).map_err(|error| Nonsense::at(path, error))
}

fn progress(status: &ProgressStatus) -> Result<CandidateProgress, Nonsense> {
    let batch = || {
        let batch = status.batch.ok_or_else(|| Nonsense::at("status.progress.batch", "it is missing"))?;
        usize::try_from(batch).map_err(|error| Nonsense::at("status.progress.batch", error))
    };
    let observed = |observed: &ObservedStatus| {
        let id: InstanceId = name("status.progress.observed", observed.instance.parse())?;
        Ok((id, number("status.progress.observed", observed.restarts)?))
    };
    Ok(CandidateProgress {
        phase: match status.phase {
            PhaseStatus::Starting => Phase::Starting,
            PhaseStatus::Gate => Phase::Gate,
            PhaseStatus::Progressing => Phase::Progressing { batch: batch()? },
            PhaseStatus::Pausing => Phase::Pausing { batch: batch()? },
        },
        since: to_time(&status.since),
        progress_at: to_time(&status.progress_at),
        progress: number("status.progress.progress", status.progress)?,
        observed: status.observed.iter().map(observed).collect::<Result<_, _>>()?,
        approval: status.approval.as_ref().map(approval).transpose()?,
        frozen: status.frozen,
        stepped_at: status.stepped_at.as_ref().map(to_time),
    })
}

fn finished(status: &FinishedStatus) -> Result<Finished, Nonsense> {
    let missing = |field: &str| Nonsense::at(format!("status.history.{field}"), "it is missing");
    let count = |field: &str, value: Option<i32>| {
        number(&format!("status.history.{field}"), value.ok_or_else(|| missing(field))?)
    };
    let outcome = match status.outcome {
        OutcomeStatus::Promoted => Outcome::Promoted,
        OutcomeStatus::Aborted => Outcome::Aborted,
        OutcomeStatus::Superseded => Outcome::Superseded,
        OutcomeStatus::RolledBack => Outcome::RolledBack,
        OutcomeStatus::StartFailed => {
            let instance = status.instance.as_deref().ok_or_else(|| missing("instance"))?;
            let instance = name("status.history.instance", instance.parse())?;
            Outcome::Failed { failure: FailureReason::StartFailed { instance } }
        }
        OutcomeStatus::DeadlineExceeded => {
            let (available, needed) = (count("available", status.available)?, count("needed", status.needed)?);
            Outcome::Failed { failure: FailureReason::DeadlineExceeded { available, needed } }
        }
    };
    Ok(Finished { release: name("status.history.release", status.release.parse())?, outcome, at: to_time(&status.at) })
}

fn small(number: impl TryInto<i32>) -> i32 {
    number.try_into().unwrap_or(i32::MAX)
}

impl From<&InstanceSet> for SetStatus {
    fn from(set: &InstanceSet) -> Self {
        Self {
            release: set.release.id.to_string(),
            role: match set.role {
                Role::Stable => RoleStatus::Stable,
                Role::Candidate => RoleStatus::Candidate,
                Role::Defunct => RoleStatus::Defunct,
            },
            target: small(set.target),
            held_since: set.held_since.map(from_time),
        }
    }
}

impl From<&CandidateProgress> for ProgressStatus {
    fn from(progress: &CandidateProgress) -> Self {
        let (phase, batch) = match progress.phase {
            Phase::Starting => (PhaseStatus::Starting, None),
            Phase::Gate => (PhaseStatus::Gate, None),
            Phase::Progressing { batch } => (PhaseStatus::Progressing, Some(batch)),
            Phase::Pausing { batch } => (PhaseStatus::Pausing, Some(batch)),
        };
        let observed = |(id, restarts): &(InstanceId, u32)| ObservedStatus {
            instance: id.to_string(),
            restarts: small(*restarts),
        };
        Self {
            phase,
            batch: batch.map(small),
            since: from_time(progress.since),
            progress_at: from_time(progress.progress_at),
            progress: small(progress.progress),
            observed: progress.observed.iter().map(observed).collect(),
            approval: progress.approval.as_ref().map(Into::into),
            frozen: progress.frozen,
            stepped_at: progress.stepped_at.map(from_time),
        }
    }
}

impl From<&Finished> for FinishedStatus {
    fn from(finished: &Finished) -> Self {
        let (mut instance, mut available, mut needed) = (None, None, None);
        let outcome = match &finished.outcome {
            Outcome::Promoted => OutcomeStatus::Promoted,
            Outcome::Aborted => OutcomeStatus::Aborted,
            Outcome::Superseded => OutcomeStatus::Superseded,
            Outcome::RolledBack => OutcomeStatus::RolledBack,
            Outcome::Failed { failure: FailureReason::StartFailed { instance: failed } } => {
                instance = Some(failed.to_string());
                OutcomeStatus::StartFailed
            }
            Outcome::Failed { failure: FailureReason::DeadlineExceeded { available: had, needed: wanted } } => {
                (available, needed) = (Some(small(*had)), Some(small(*wanted)));
                OutcomeStatus::DeadlineExceeded
            }
        };
        let (release, at) = (finished.release.to_string(), from_time(finished.at));
        Self { release, outcome, at, instance, available, needed }
    }
}
