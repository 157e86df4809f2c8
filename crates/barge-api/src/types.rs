//! What goes over the wire.

use barge_model::manifest::{Kind, ServiceConfig};
use barge_model::rollout::{Finished, InstancePhase, Phase, Role, WaitingOn};
use barge_model::{Approval, Digest, EnvironmentName, InstanceId, Origin, ReleaseId, ServiceName, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A new release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "image": "127.0.0.1:7401/greeter",
    "digest": "sha256:4c5f1f5e3c7a8f3b0f6f0e2b8a1d9c6e7b5a4d3c2b1a0f9e8d7c6b5a4f3e2d1c",
    "config": {
        "kind": "web", "command": ["./greeter"], "replicas": 4, "start_deadline": "1m",
        "env": { "GREETING": "Hello", "DATABASE_PASSWORD": { "secret": "database-password" } },
        "rollout": { "first_batch": 1, "gate": { "until": "approved", "for": "10m" }, "batches": [{ "size": "25%" }, { "size": "50%", "pause": "5m" }] }
    },
    "reason": "a warmer greeting"
}))]
pub struct NewRelease {
    /// The image's registry and repository, without a version.
    pub image: String,
    /// The digest of its manifest.
    pub digest: Digest,
    /// The configuration for this environment.
    pub config: ServiceConfig,
    /// Why.
    #[serde(default)]
    pub reason: Option<String>,
    /// Take the place of a release that is on its way, instead of being refused.
    #[serde(default)]
    pub supersede: bool,
}

/// Approves a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "digest": "sha256:4c5f1f5e3c7a8f3b0f6f0e2b8a1d9c6e7b5a4d3c2b1a0f9e8d7c6b5a4f3e2d1c" }))]
pub struct ApprovalRequest {
    /// The digest that the approver looked at; must be the release's.
    pub digest: Digest,
}

/// Takes a release back, or lets go of a failed one's held instance.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "reason": "too many errors" }))]
pub struct AbortRequest {
    /// Why.
    #[serde(default)]
    pub reason: Option<String>,
}

/// One event of a stream. What a stream is made of is described by its events, as OpenAPI has it since 3.2.
#[derive(Debug, Clone, PartialEq, Eq, ToSchema)]
pub struct StreamEvent {
    /// What has happened, as the operation says.
    pub data: String,
}

/// Goes back to an earlier release.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "to": "01JDF3Y6Z8Q2W4R5T6Y7V8N9M0", "reason": "too slow" }))]
pub struct RollbackRequest {
    /// To which one; without it, to the stable one while a release is on its way, else to the one that was stable before. A rollback that
    /// is on its way goes on, unless `to` names another one.
    #[serde(default)]
    pub to: Option<ReleaseId>,
    /// Why.
    #[serde(default)]
    pub reason: Option<String>,
}

/// Starts every instance anew.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "reason": "a new certificate" }))]
pub struct RestartRequest {
    /// Why.
    #[serde(default)]
    pub reason: Option<String>,
}

/// Changes the number of instances.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "replicas": 6 }))]
pub struct ScaleRequest {
    /// How many.
    #[schema(maximum = 10000)]
    pub replicas: u32,
}

/// What a change led to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RolloutAnswer {
    /// The release that is concerned, if one is.
    pub release: Option<ReleaseId>,
    /// What happens now, in a sentence.
    pub message: String,
    /// The version of the service's desired state.
    pub version: u64,
}

/// Where a release stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReleaseState {
    /// Waits for its turn.
    Pending,
    /// On its way.
    Candidate,
    /// Serves.
    Stable,
    /// Served once.
    Former,
    /// Somebody aborted it.
    Aborted,
    /// A newer one took its place.
    Superseded,
    /// Somebody rolled back.
    RolledBack,
    /// It failed.
    Failed,
}

/// A release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReleaseView {
    /// Its id.
    pub id: ReleaseId,
    /// Its number within the service and environment, from 1.
    pub number: u32,
    /// Which service.
    pub service: ServiceName,
    /// Where.
    pub environment: EnvironmentName,
    /// Where it stands.
    pub state: ReleaseState,
    /// The image.
    pub image: String,
    /// Its digest.
    pub digest: Digest,
    /// Its configuration.
    pub config: ServiceConfig,
    /// How it came about.
    pub origin: Origin,
    /// When.
    pub created_at: Timestamp,
    /// By whom.
    pub created_by: String,
    /// Why.
    pub reason: Option<String>,
    /// The approval on record.
    pub approval: Option<Approval>,
    /// How it ended.
    pub finished: Option<Finished>,
    /// If it failed: what was seen.
    pub failure: Option<FailureView>,
}

/// What was seen of a failed release, kept after its instances are gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FailureView {
    /// What failed, in a sentence.
    pub summary: String,
    /// The instance that shows it.
    pub instance: Option<InstanceView>,
    /// Its last lines of output.
    pub log: Vec<String>,
}

/// A readiness check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProbeView {
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TimelineView {
    /// When.
    pub at: Timestamp,
    /// What happened.
    pub what: String,
}

/// An instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InstanceView {
    /// Its id.
    pub id: InstanceId,
    /// The release that it runs.
    pub release: ReleaseId,
    /// What its set is for.
    pub role: Role,
    /// What it is doing.
    pub phase: InstancePhase,
    /// Whether it gets traffic.
    pub online: bool,
    /// Where it answers.
    pub address: Option<String>,
    /// How often it was started again.
    pub restarts: u32,
    /// When it was made.
    pub created_at: Timestamp,
    /// Why it is not ready, or held.
    pub reason: Option<String>,
    /// How its process ended last, in words.
    pub ended: Option<String>,
    /// Its latest readiness checks.
    pub probes: Vec<ProbeView>,
    /// Its life so far.
    pub timeline: Vec<TimelineView>,
    /// A limit that was asked for and is not in force, and why.
    pub limits_not_enforced: Option<String>,
}

/// The release that is on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CandidateView {
    /// Which release.
    pub release: ReleaseId,
    /// Its digest.
    pub digest: Digest,
    /// Where it stands.
    #[serde(flatten)]
    pub phase: Phase,
    /// Since when.
    pub since: Timestamp,
}

/// A service in an environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ServiceStatus {
    /// Which service.
    pub service: ServiceName,
    /// Where.
    pub environment: EnvironmentName,
    /// What it is to its callers.
    pub kind: Option<Kind>,
    /// Where it can be called.
    pub url: Option<String>,
    /// How many instances it should have.
    pub replicas: u32,
    /// How many are available.
    pub available: u32,
    /// The release that serves.
    pub stable: Option<ReleaseId>,
    /// The release that is on its way.
    pub candidate: Option<CandidateView>,
    /// What it waits for.
    pub waiting_on: WaitingOn,
    /// The same as a sentence.
    pub sentence: String,
    /// The latest ended releases, newest last.
    pub finished: Vec<Finished>,
    /// Every instance.
    pub instances: Vec<InstanceView>,
    /// The version of its desired state; for `If-Match`.
    pub version: u64,
    /// Whether the engine has taken that version already.
    pub settled: bool,
}

/// A service in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ServiceSummary {
    /// Which service.
    pub service: ServiceName,
    /// Where.
    pub environment: EnvironmentName,
    /// Where it can be called.
    pub url: Option<String>,
    /// How many instances it should have.
    pub replicas: u32,
    /// How many are available.
    pub available: u32,
    /// The release that serves.
    pub stable: Option<ReleaseId>,
    /// The release that is on its way.
    pub candidate: Option<ReleaseId>,
    /// What it waits for, as a sentence.
    pub sentence: String,
}

/// Services.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ServiceList {
    /// Sorted by environment and name.
    pub services: Vec<ServiceSummary>,
}

/// Releases.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReleaseList {
    /// Newest first.
    pub releases: Vec<ReleaseView>,
}

/// Instances.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InstanceList {
    /// Oldest first.
    pub instances: Vec<InstanceView>,
}

/// Lines of output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogLines {
    /// Oldest first.
    pub lines: Vec<String>,
}

/// An environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EnvironmentView {
    /// Its name.
    pub name: EnvironmentName,
    /// What runs its instances.
    pub engine: String,
    /// Where images are pushed: host and port.
    pub registry: String,
    /// Host and port of its gateway.
    pub gateway: Option<String>,
    /// Who has to approve a release there. Earlier servers do not say.
    #[serde(default)]
    pub gate: GatePolicy,
    /// What images are built on where their projects name no base. Earlier servers do not say.
    #[serde(default)]
    pub bases: Bases,
}

/// What images are built on, by what is in them, where their projects name no base. Each is a reference such as
/// `registry.example/java:21`; without one it is an empty base.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Bases {
    /// Of built files that are no Java program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<String>,
    /// Of Java programs that need a Java runtime alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub java: Option<String>,
    /// Of web applications that need Tomcat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tomcat: Option<String>,
}

/// Who has to approve a release in an environment, whatever its plan says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum GatePolicy {
    /// Whoever the plan asks for: a person, unless it leaves that out.
    #[default]
    Plan,
    /// A person, always.
    Approval,
    /// A person, and another one than who has made the release.
    SecondPerson,
}

/// Environments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EnvironmentList {
    /// In the order of the server's configuration; the first is the default.
    pub environments: Vec<EnvironmentView>,
}

/// What a token may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TokenRole {
    /// Look.
    Viewer,
    /// Also release, read logs, open terminals.
    Developer,
    /// Also approve, abort, roll back, scale, restart.
    Releaser,
    /// Everything, tokens too.
    Admin,
}

/// Who the caller is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Whoami {
    /// The token's name.
    pub name: String,
    /// What it may do.
    pub role: TokenRole,
    /// The only service that it is for.
    pub service: Option<ServiceName>,
    /// The only environment that it is for.
    pub environment: Option<EnvironmentName>,
    /// The server's version.
    pub server: String,
}

/// A new token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "name": "release portal", "role": "releaser", "environment": "test" }))]
pub struct NewToken {
    /// Whose it is.
    #[schema(min_length = 1, max_length = 100)]
    pub name: String,
    /// What it may do.
    pub role: TokenRole,
    /// For one service alone.
    #[serde(default)]
    pub service: Option<ServiceName>,
    /// For one environment alone.
    #[serde(default)]
    pub environment: Option<EnvironmentName>,
}

/// A token that was made; its secret is shown this once.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokenCreated {
    /// What is stored of it.
    #[serde(flatten)]
    pub token: TokenView,
    /// The secret.
    pub secret: String,
}

impl std::fmt::Debug for TokenCreated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenCreated").field("token", &self.token).finish_non_exhaustive()
    }
}

/// A token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokenView {
    /// Its id.
    pub id: String,
    /// Whose it is.
    pub name: String,
    /// What it may do.
    pub role: TokenRole,
    /// For one service alone.
    pub service: Option<ServiceName>,
    /// For one environment alone.
    pub environment: Option<EnvironmentName>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

/// Tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokenList {
    /// Oldest first.
    pub tokens: Vec<TokenView>,
}

/// A change or an opened terminal, as it was recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditEntry {
    /// Its id; ids sort by time.
    pub id: String,
    /// When.
    pub at: Timestamp,
    /// The name of the token that did it.
    pub actor: String,
    /// What was done, such as `release.approve`.
    pub action: String,
    /// Where, if in an environment.
    pub environment: Option<EnvironmentName>,
    /// To which service, if to one.
    pub service: Option<ServiceName>,
    /// To which release, if to one.
    pub release: Option<ReleaseId>,
    /// More about it, for people.
    pub detail: String,
}

/// Audit records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditList {
    /// Newest first.
    pub entries: Vec<AuditEntry>,
}
