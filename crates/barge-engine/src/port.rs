//! The trait itself, and what an engine reports.

use std::sync::Arc;

use async_trait::async_trait;
use barge_model::hold::Ending;
use barge_model::rollout::{InstancePhase, RolloutSpec, RolloutStatus, WaitingOn};
use barge_model::{InstanceId, ReleaseId, ServiceKey, Timestamp};
use serde::{Deserialize, Serialize};

use crate::exec::{ExecRequest, ExecSession};
use crate::logs::{LogOptions, LogStream};

/// The desired state of a service in an environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Desired {
    /// Which service, where.
    pub key: ServiceKey,
    /// Grows with every change; an engine ignores an older one.
    pub version: u64,
    /// What should run.
    pub rollout: RolloutSpec,
}

/// A readiness check as reported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeReport {
    /// When.
    pub at: Timestamp,
    /// Whether it passed.
    pub ok: bool,
    /// What was asked and what came back.
    pub detail: String,
    /// How many checks in a row said the same.
    pub times: u32,
}

/// A step in an instance's life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimelineStep {
    /// When.
    pub at: Timestamp,
    /// What happened.
    pub what: String,
}

/// Whether an instance's limits of CPU and memory are in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "limits")]
pub enum LimitsReport {
    /// None were asked for.
    NotAsked,
    /// They are in force.
    Enforced,
    /// They are not, and why.
    NotEnforced {
        /// Why not.
        reason: String,
    },
}

/// One instance as the engine reports it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceReport {
    /// Its id.
    pub id: InstanceId,
    /// The release that it runs.
    pub release: ReleaseId,
    /// What it is doing.
    pub phase: InstancePhase,
    /// Whether the traffic target has acknowledged it online.
    pub online: bool,
    /// Where it answers.
    pub address: Option<String>,
    /// How often it was started again.
    pub restarts: u32,
    /// When it was made.
    pub created_at: Timestamp,
    /// Why it is not ready, or held.
    pub reason: Option<String>,
    /// How its process ended last.
    pub ending: Option<Ending>,
    /// The latest readiness checks.
    pub probes: Vec<ProbeReport>,
    /// Its life so far.
    pub timeline: Vec<TimelineStep>,
    /// Whether its limits are in force.
    pub limits: LimitsReport,
}

/// A service as the engine reports it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceReport {
    /// Which service, where.
    pub key: ServiceKey,
    /// The version of the desired state that this answers.
    pub version: u64,
    /// The desired number of instances.
    pub replicas: u32,
    /// What the rollout has decided.
    pub status: RolloutStatus,
    /// What it waits for.
    pub waiting_on: WaitingOn,
    /// Every instance.
    pub instances: Vec<InstanceReport>,
}

/// Why an engine did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The engine does not know the service.
    #[error("the engine does not know {0}")]
    UnknownService(ServiceKey),
    /// The engine does not know the instance.
    #[error("there is no instance {0}")]
    UnknownInstance(InstanceId),
    /// The desired state is older than the one it has.
    #[error("version {given} of {key} is older than {stored}")]
    Stale {
        /// Which service.
        key: ServiceKey,
        /// The version that was given.
        given: u64,
        /// The version that it has.
        stored: u64,
    },
    /// Something on the way failed.
    #[error("{doing}")]
    Failed {
        /// What was being done.
        doing: String,
        /// What went wrong.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The engine is stopping.
    #[error("the engine is stopping")]
    Stopping,
}

impl EngineError {
    /// Wraps what went wrong while `doing`.
    pub fn failed(doing: impl Into<String>, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Failed { doing: doing.into(), source: Box::new(source) }
    }
}

/// What runs instances.
#[async_trait]
pub trait Engine: Send + Sync + 'static {
    /// Takes the desired state of a service; the engine works towards it from now on, across its own restarts.
    async fn apply(&self, desired: Desired) -> Result<(), EngineError>;

    /// What is known of a service; `None` when nothing was ever applied. A report that has not changed since the last question is best
    /// given as the same one, so that whoever asks after every change pays for what has changed alone.
    async fn report(&self, key: &ServiceKey) -> Result<Option<Arc<ServiceReport>>, EngineError>;

    /// Everything that is known; shared and not copied, because it may be much.
    async fn reports(&self) -> Result<Vec<Arc<ServiceReport>>, EngineError>;

    /// A number that grows with every change of any report.
    fn changes(&self) -> tokio::sync::watch::Receiver<u64>;

    /// An instance's output.
    async fn logs(
        &self,
        key: &ServiceKey,
        instance: &InstanceId,
        options: LogOptions,
    ) -> Result<LogStream, EngineError>;

    /// Runs a program beside an instance's process, in its environment.
    async fn exec(
        &self,
        key: &ServiceKey,
        instance: &InstanceId,
        request: ExecRequest,
    ) -> Result<ExecSession, EngineError>;
}
