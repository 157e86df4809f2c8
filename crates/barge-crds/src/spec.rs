//! What people want of a service: written by the server, or by hand.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::values::{Span, count_schema, rule};

/// What a service is to be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    rule("!has(self.approval) || (has(self.release) && self.approval.release == self.release.id && self.approval.digest == self.release.digest)", "the approval must name the release and the digest that it approves"),
    rule("self.version >= oldSelf.version", "version must not become smaller"),
    rule("!has(oldSelf.release) || has(self.release)", "a release can be replaced, but not taken away"),
    rule("!has(oldSelf.release) || !has(self.release) || self.release.id != oldSelf.release.id || self.release == oldSelf.release", "a release never changes; another one needs an id of its own"),
    rule("self.environment == oldSelf.environment", "a service stays in its environment"),
    rule("!has(oldSelf.pods) || !has(oldSelf.pods.port) || (has(self.pods) && has(self.pods.port) && self.pods.port == oldSelf.pods.port)", "instances go on to listen where callers know them: pods.port cannot change"),
    rule("!has(oldSelf.adopts) || !has(self.adopts) || self.adopts.deployment == oldSelf.adopts.deployment", "a service takes the place of one Deployment alone")
]))]
pub struct ServiceSpec {
    /// The environment that the service is in, such as `test`.
    #[schemars(length(max = 40), regex(pattern = r"^[a-z]([-a-z0-9]*[a-z0-9])?$"))]
    pub environment: String,
    /// The number of instances. An autoscaler may change it at any time; before an approval it concerns the stable release alone.
    #[schemars(range(min = 0, max = 10000))]
    pub replicas: i32,
    /// Grows with every change that the server makes.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub version: i64,
    /// What should run. Without one, nothing does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<ReleaseSpec>,
    /// Lets the release go beyond its first batch. A missing approval means "not approved".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<ApprovalSpec>,
    /// Takes a release back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub withdrawn: Option<WithdrawalSpec>,
    /// What callers within the cluster know instances by. Concerns releases that are begun from now on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pods: Option<PodsSpec>,
    /// The Deployment that this service takes the place of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adopts: Option<AdoptionSpec>,
}

/// What callers within the cluster know instances by, such as a Service of Kubernetes that was there before.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PodsSpec {
    /// The port that instances are told to listen on, by `PORT`; 8080 without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<i32>,
    /// Labels that pods have beside Barge's own, for selectors of others.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 100, "x-kubernetes-validations" = [
        rule("self.all(name, !name.startsWith('barge.dev/') && name != 'pod-template-hash')", "labels of controllers are none to be given")
    ]))]
    pub labels: BTreeMap<String, String>,
    /// Names that ports have for others, for Services that send to a port by its name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 100, "x-kubernetes-validations" = [
        rule("self.all(name, name != 'service' && name != 'ready' && self[name] >= 1 && self[name] <= 65535)", "a port has a number from 1 to 65535 and another name than Barge's own, service and ready")
    ]))]
    pub ports: BTreeMap<String, i32>,
}

/// A Deployment that gives its place to a service, one instance after the other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AdoptionSpec {
    /// Its name, in the service's own namespace.
    #[schemars(length(min = 1, max = 253))]
    pub deployment: String,
    /// Gives the place back: the Deployment comes to its full number first, and then the service's instances go.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub undo: bool,
}

/// One release: an image and its configuration, which never change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-map-type" = "atomic", "x-kubernetes-validations" = [
    rule("self.terminationGracePeriodSeconds >= duration(self.drain.limit).getSeconds() + duration(self.drain.grace).getSeconds()", "terminationGracePeriodSeconds must cover drain.limit and drain.grace: Kubernetes kills an instance that takes longer")
]))]
pub struct ReleaseSpec {
    /// The release's id, a ULID.
    #[schemars(regex(pattern = r"^[0-7][0-9A-HJKMNP-TV-Z]{25}$"))]
    pub id: String,
    /// The image's repository, without a tag, such as `registry.example.com/shop/greeter`.
    #[schemars(length(max = 512), regex(pattern = r"^[^@\s]+$"))]
    pub image: String,
    /// The digest of the image's manifest: what runs, whatever happens to tags.
    #[schemars(regex(pattern = r"^sha256:[0-9a-f]{64}$"))]
    pub digest: String,
    /// The program and its arguments, run in /app.
    #[schemars(length(min = 1, max = 256))]
    pub command: Vec<String>,
    /// The path of the readiness check; without one `/healthcheck`, else any answer on the port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<String>,
    /// Files ending in `.template` that are filled at the start.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub templates: Vec<String>,
    /// Environment variables.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 1000))]
    pub env: BTreeMap<String, EnvSource>,
    /// CPU and memory of one instance.
    #[serde(default, skip_serializing_if = "ResourcesSpec::is_empty")]
    pub resources: ResourcesSpec,
    /// How the release goes.
    #[serde(default)]
    pub rollout: RolloutPlanSpec,
    /// How an instance is taken out of traffic and stopped.
    #[serde(default)]
    pub drain: DrainSpec,
    /// How long an instance may take to end. It has to cover the drain.
    #[serde(default = "ten_minutes")]
    #[schemars(range(min = 1, max = 86400))]
    pub termination_grace_period_seconds: i64,
    /// How long a start may take before it counts as failed.
    #[serde(default = "five_minutes")]
    pub start_deadline: Span,
    /// How the release came about.
    #[serde(default)]
    pub origin: OriginSpec,
    /// When it was made.
    pub created_at: MicroTime,
    /// Who made it.
    #[serde(default)]
    #[schemars(length(max = 256))]
    pub created_by: String,
    /// Why, in the words of whoever made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub reason: Option<String>,
}

/// The value of an environment variable, or the secret that has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    rule("has(self.value) != has(self.secret)", "a variable has either a value or a secret")
]))]
pub struct EnvSource {
    /// The value itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 131_072))]
    pub value: Option<String>,
    /// The name of a Secret whose key `value` has it; or `NAME/KEY` for another key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub secret: Option<String>,
}

/// CPU and memory of one instance.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResourcesSpec {
    /// Cores, such as `500m` or `2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Quantity>,
    /// Memory, such as `512Mi`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Quantity>,
}

impl ResourcesSpec {
    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// How a release replaces the one before it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RolloutPlanSpec {
    /// How many instances of a release may exist before it is approved.
    #[schemars(range(min = 1, max = 10000))]
    pub first_batch: i32,
    /// The hold after the first batch.
    pub gate: GateSpec,
    /// The batches after the gate; whatever they leave follows as the last one.
    #[schemars(length(max = 100))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub batches: Vec<BatchSpec>,
    /// How many instances more than the replicas may exist while a release goes on.
    #[schemars(schema_with = "count_schema")]
    pub max_surge: IntOrString,
    /// How many of the replicas may be unavailable while a release goes on.
    #[schemars(schema_with = "count_schema")]
    pub max_unavailable: IntOrString,
    /// A release that has made no progress for so long has failed.
    pub progress_deadline: Span,
}

impl Default for RolloutPlanSpec {
    fn default() -> Self {
        Self::from(&barge_model::rollout::RolloutPlan::default())
    }
}

/// The hold after the first batch. With both parts, both must be met.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GateSpec {
    /// Wait for a person. Without it and without `for`, nothing is waited for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<UntilSpec>,
    /// Observe for at least so long.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    pub hold: Option<Span>,
}

/// What the gate waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum UntilSpec {
    /// An approval that names the release and its digest.
    #[serde(rename = "approved")]
    Approved,
}

/// One batch after the gate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    rule("type(self.size) == int ? self.size > 0 : self.size != '0%'", "a batch of size 0 would never make progress")
]))]
pub struct BatchSpec {
    /// How many instances more.
    #[schemars(schema_with = "count_schema")]
    pub size: IntOrString,
    /// How long to watch before the next batch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause: Option<Span>,
}

/// How an instance is taken out of traffic and stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = [
    rule("duration(self.quiet) <= duration(self.limit)", "drain.quiet is waited for within drain.limit")
]))]
pub struct DrainSpec {
    /// How long no request may have come before the process is told to stop.
    pub quiet: Span,
    /// The longest that the wait for quiet may take.
    pub limit: Span,
    /// From the stop signal until the process is killed.
    pub grace: Span,
}

impl Default for DrainSpec {
    fn default() -> Self {
        Self::from(&barge_model::manifest::Drain::default())
    }
}

/// How a release came about.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    rule("self.kind == 'deploy' ? !has(self.release) : has(self.release)", "a rollback and a restart name the release that they take again")
]))]
pub struct OriginSpec {
    /// `deploy`, `rollback` or `restart`.
    #[serde(default)]
    pub kind: OriginKind,
    /// The earlier release that is taken again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
}

/// The ways in which a release comes about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum OriginKind {
    /// A new image or configuration.
    #[default]
    Deploy,
    /// An earlier release's definition, taken again.
    Rollback,
    /// The stable release's own definition, to start every instance anew.
    Restart,
}

/// A stored record that one release may go beyond its first batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
pub struct ApprovalSpec {
    /// The release that is approved.
    #[schemars(length(max = 26))]
    pub release: String,
    /// Its digest.
    #[schemars(length(max = 71))]
    pub digest: String,
    /// Who approves, or which policy.
    #[schemars(length(min = 1, max = 256))]
    pub by: String,
    /// When.
    pub at: MicroTime,
}

/// A release that is taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
pub struct WithdrawalSpec {
    /// Which one.
    #[schemars(length(max = 26))]
    pub release: String,
    /// True for a rollback, false for an abort: the same effect, another name in the history.
    #[serde(default)]
    pub rolled_back: bool,
}

fn ten_minutes() -> i64 {
    600
}

fn five_minutes() -> Span {
    Span("5m".to_owned())
}
