//! What the rollout machine is told, what it stores and what it answers.

use serde::{Deserialize, Serialize};

use super::waiting::WaitingOn;
use crate::ids::{InstanceId, ReleaseId};
use crate::release::{Approval, Release};
use crate::time::Timestamp;

/// What people want of a service in an environment. Written by the server alone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct RolloutSpec {
    /// The number of instances.
    pub replicas: u32,
    /// The release that should run.
    pub target: Option<Release>,
    /// Approvals on record for the target.
    #[serde(default)]
    pub approvals: Vec<Approval>,
    /// A release that should no longer go on.
    #[serde(default)]
    pub withdrawn: Option<Withdrawal>,
}

/// Somebody took a release back.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Withdrawal {
    /// Which release.
    pub release: ReleaseId,
    /// True for a rollback, false for an abort: the same effect, another name in the history.
    pub rolled_back: bool,
}

/// What a set of instances is for. Stored, never inferred (I9).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Serves; the release that people approved last.
    Stable,
    /// On its way to become stable.
    Candidate,
    /// On its way out.
    Defunct,
}

/// All instances of one release, and how many there should be.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct InstanceSet {
    /// The release's whole definition, pinned: it can be started again without asking anybody.
    pub release: Release,
    /// What the set is for.
    pub role: Role,
    /// How many instances there should be, held and draining ones apart.
    pub target: u32,
    /// When the release failed, while its held instance is kept for inspection.
    #[serde(default)]
    pub held_since: Option<Timestamp>,
}

/// Where the candidate stands.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case", tag = "phase")]
pub enum Phase {
    /// The first batch is starting.
    Starting,
    /// The first batch is available; the gate is closed.
    Gate,
    /// A batch after the gate is on its way.
    Progressing {
        /// Which batch, from 0.
        batch: usize,
    },
    /// A batch is complete; its pause runs.
    Pausing {
        /// Which batch, from 0.
        batch: usize,
    },
}

/// The candidate's progress, stored.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CandidateProgress {
    /// Where it stands.
    pub phase: Phase,
    /// Since when; time in which nobody could observe it is left out.
    pub since: Timestamp,
    /// When it last came nearer to its goal; time in which nobody could observe it is left out.
    pub progress_at: Timestamp,
    /// The farthest it has come, in instances.
    pub progress: u32,
    /// The instances that are observed at the gate, each with its restarts: when they change, the clock starts anew.
    #[serde(default)]
    pub observed: Vec<(InstanceId, u32)>,
    /// The approval that opened the gate.
    #[serde(default)]
    pub approval: Option<Approval>,
    /// Registrations did not go through at the last step; the deadline counts anew once they do.
    #[serde(default)]
    pub frozen: bool,
    /// When a step last looked at it, exact to [`STEP_INTERVAL`]; nothing where an earlier version has stored it.
    ///
    /// [`STEP_INTERVAL`]: super::STEP_INTERVAL
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stepped_at: Option<Timestamp>,
}

/// Why a release failed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case", tag = "reason")]
pub enum FailureReason {
    /// An instance could not start and is held.
    StartFailed {
        /// Which instance.
        instance: InstanceId,
    },
    /// No progress before the deadline.
    DeadlineExceeded {
        /// Available instances at the end.
        available: u32,
        /// Instances that the step needed.
        needed: u32,
    },
}

/// How a release ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case", tag = "outcome")]
pub enum Outcome {
    /// It became stable.
    Promoted,
    /// Somebody aborted it.
    Aborted,
    /// A newer release took its place.
    Superseded,
    /// Somebody rolled back while it was on its way.
    RolledBack,
    /// It failed; the rollout aborted it by itself.
    Failed {
        /// Why.
        failure: FailureReason,
    },
}

/// A release that has ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Finished {
    /// Which release.
    pub release: ReleaseId,
    /// How.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// When.
    pub at: Timestamp,
}

/// What the machine has decided so far; stored by the engine after each step, before its actions.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct RolloutStatus {
    /// The sets of instances; at most one stable and one candidate.
    pub sets: Vec<InstanceSet>,
    /// Where the candidate stands.
    pub candidate: Option<CandidateProgress>,
    /// The latest ended releases, newest last.
    pub finished: Vec<Finished>,
}

impl RolloutStatus {
    /// The set with `role`; for [`Role::Defunct`] the first.
    pub fn set(&self, role: Role) -> Option<&InstanceSet> {
        self.sets.iter().find(|set| set.role == role)
    }

    /// How `release` ended, if it has.
    pub fn outcome(&self, release: &ReleaseId) -> Option<&Finished> {
        self.finished.iter().rev().find(|finished| finished.release == *release)
    }
}

/// What an instance is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum InstancePhase {
    /// Not ready yet.
    Starting,
    /// Answers its readiness check.
    Ready,
    /// Its start failed; it is kept for inspection.
    Held,
    /// It crashed and is about to be started again.
    BackOff,
    /// It is being taken out of traffic, or stopped.
    Draining,
}

/// One instance as the engine sees it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ObservedInstance {
    /// Its id.
    pub id: InstanceId,
    /// The release that it runs.
    pub release: ReleaseId,
    /// What it is doing.
    pub phase: InstancePhase,
    /// How often it was started again.
    pub restarts: u32,
    /// Whether the traffic target has acknowledged it online.
    pub online: bool,
}

impl ObservedInstance {
    /// Ready, acknowledged online by the traffic target, and not draining.
    pub fn available(&self) -> bool {
        self.phase == InstancePhase::Ready && self.online
    }
}

/// Whether the part that registers instances works.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "health")]
pub enum RegistrarHealth {
    /// Registrations go through.
    #[default]
    Healthy,
    /// They do not: releases freeze and nothing that serves is stopped (R5).
    Unhealthy {
        /// Why, for people.
        reason: String,
    },
}

/// What the engine sees of a service. It may be late, but never so late that the engine does not see what it has done itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Observed {
    /// Every instance that exists, those that are ending included.
    pub instances: Vec<ObservedInstance>,
    /// Whether registrations go through.
    pub registrar: RegistrarHealth,
}

/// What the engine should do. Each action may be repeated, and may be lost: the next step gives it again.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "action")]
pub enum Action {
    /// Bring the number of instances of a release to `target`, held and draining ones apart. Downwards, those that are not
    /// available go first. A held one that is kept stands for one that was asked for. A defunct set only ever shrinks.
    Scale {
        /// Which release.
        release: ReleaseId,
        /// How many.
        target: u32,
        /// How many held instances to keep for inspection.
        keep_held: u32,
    },
    /// Drain and stop one instance that belongs to no set.
    Stop {
        /// Which instance.
        instance: InstanceId,
    },
}

/// The answer of one step.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Decision {
    /// To be stored before the actions.
    pub status: RolloutStatus,
    /// To be carried out in this order.
    pub actions: Vec<Action>,
    /// What the rollout waits for.
    pub waiting_on: WaitingOn,
    /// When to step again although nothing has happened; while there is a candidate, within [`STEP_INTERVAL`].
    ///
    /// [`STEP_INTERVAL`]: super::STEP_INTERVAL
    pub wake_at: Option<Timestamp>,
}
