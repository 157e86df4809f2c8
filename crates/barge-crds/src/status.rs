//! What the operator has decided and seen: written by the operator alone, before it acts.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, MicroTime};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::spec::ApprovalSpec;

/// What became of a service.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceStatus {
    /// The generation of the specification that this answers.
    pub observed_generation: i64,
    /// The version of the specification that this answers.
    pub version: i64,
    /// The lead of the operator that has written this; one of an earlier lead writes nothing more.
    pub epoch: i64,
    /// Instances that count for an autoscaler: of the stable release, or of all where a release goes on after its approval, but never more
    /// than are wanted.
    pub replicas: i32,
    /// Finds the instances, for an autoscaler.
    pub selector: String,
    /// Instances that are ready, online and not draining.
    pub available: i32,
    /// The release that serves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stable: Option<String>,
    /// The release on its way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub candidate: Option<String>,
    /// What the release waits for.
    pub waiting_on: WaitingStatus,
    /// The sets of instances, one for each release that has any.
    pub sets: Vec<SetStatus>,
    /// Where the candidate stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<ProgressStatus>,
    /// The latest ended releases, newest last.
    pub history: Vec<FinishedStatus>,
    /// The instances, as many as a page takes.
    pub instances: Vec<InstanceStatus>,
    /// Instances that the list leaves out.
    pub more_instances: i32,
    /// `Accepted`: the specification makes sense. `Available`: enough instances serve. `Progressing`: a release is on its way.
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// What the release waits for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct WaitingStatus {
    /// In one word: `nothing`, `approval`, `start`, `online`, `hold`, `batch`, `pause`, `drain`, `stable`, `registrar`.
    pub on: String,
    /// The same as a sentence.
    pub message: String,
}

/// All instances of one release, and how many there should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SetStatus {
    /// The release, whose definition is in the ConfigMap and on the ReplicaSet of the set.
    pub release: String,
    /// What the set is for. Stored, never inferred.
    pub role: RoleStatus,
    /// How many instances there should be, held and draining ones apart.
    pub target: i32,
    /// When the release failed, while its held instance is kept for inspection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_since: Option<MicroTime>,
}

/// What a set of instances is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum RoleStatus {
    /// Serves.
    Stable,
    /// On its way to become stable.
    Candidate,
    /// On its way out.
    Defunct,
}

/// Where the candidate stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProgressStatus {
    /// The step.
    pub phase: PhaseStatus,
    /// Which batch after the gate, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<i32>,
    /// Since when; time in which nobody could observe it is left out.
    pub since: MicroTime,
    /// When it last came nearer to its goal; time in which nobody could observe it is left out.
    pub progress_at: MicroTime,
    /// The farthest it has come, in instances.
    pub progress: i32,
    /// The instances that are observed at the gate: when they change, the clock starts anew.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub observed: Vec<ObservedStatus>,
    /// The approval that opened the gate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<ApprovalSpec>,
    /// Registrations did not go through at the last step.
    #[serde(default)]
    pub frozen: bool,
    /// When a step last looked at it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stepped_at: Option<MicroTime>,
}

/// The steps of a candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum PhaseStatus {
    /// The first batch is starting.
    Starting,
    /// The first batch is available; the gate is closed.
    Gate,
    /// A batch after the gate is on its way.
    Progressing,
    /// A batch is complete; its pause runs.
    Pausing,
}

/// An instance that is observed at the gate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ObservedStatus {
    /// Its id.
    pub instance: String,
    /// How often it was started again.
    pub restarts: i32,
}

/// A release that has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FinishedStatus {
    /// Which release.
    pub release: String,
    /// How.
    pub outcome: OutcomeStatus,
    /// When.
    pub at: MicroTime,
    /// The instance that could not start, where that was the reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// Available instances at the deadline, where that was the reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub available: Option<i32>,
    /// Instances that were needed at the deadline, where that was the reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub needed: Option<i32>,
}

/// How a release ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OutcomeStatus {
    /// It became stable.
    Promoted,
    /// Somebody aborted it.
    Aborted,
    /// A newer release took its place.
    Superseded,
    /// Somebody rolled back while it was on its way.
    RolledBack,
    /// An instance could not start.
    StartFailed,
    /// It made no progress before its deadline.
    DeadlineExceeded,
}

/// One instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InstanceStatus {
    /// Its id, made of the pod's UID.
    pub id: String,
    /// The pod.
    pub pod: String,
    /// The release that it runs.
    pub release: String,
    /// `starting`, `ready`, `held`, `backOff` or `draining`.
    pub phase: String,
    /// Whether the traffic target has acknowledged it online.
    pub online: bool,
    /// How often it was started again.
    pub restarts: i32,
    /// Why it is not ready, or held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}
