//! `barge.yaml`: what a project says of itself, and what that means in one environment.
//!
//! Data flow: bytes -> [`parse`] -> [`Manifest`] -> [`Manifest::resolve`] -> [`ServiceConfig`], which is stored in a release.
//! What it leaves out: looking at the project's files (that is `barge init` and the image builder).

mod parse;
mod platform;
mod quantity;
mod resolve;
mod spelling;
mod values;
mod words;

pub use parse::{MAX_MANIFEST_BYTES, ManifestError, parse};
pub use platform::{InvalidPlatform, Platform};
pub use quantity::{Count, InvalidQuantity, Memory, MilliCpu};
pub use resolve::ResolveError;
pub use values::{Command, EnvValue};

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ids::{EnvironmentName, ServiceName};
use crate::rollout::RolloutPlan;
use crate::time::Millis;

/// The most instances one service may have in one environment.
pub const MAX_REPLICAS: u32 = 10_000;

/// What a service is to its callers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// HTTP behind the gateway.
    Web,
    /// A protocol of its own, found through the registry.
    Rpc,
}

/// How the image is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BuildType {
    /// A directory or one file, placed below /app.
    #[default]
    Files,
}

/// Whether it is said of a pushed image what it is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Sbom {
    /// Beside it in the registry, as CycloneDX and SPDX.
    #[default]
    Attached,
    /// Not at all.
    None,
}

/// Where it is said of an image from which commit it was built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Provenance {
    /// Beside it in the registry, so that its digest is the same for each commit that gives the same files.
    #[default]
    Attached,
    /// There, and in its labels: each commit makes another image.
    Labels,
    /// Nowhere.
    None,
}

/// The `build` part of `barge.yaml`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Build {
    /// How the image is built.
    #[serde(default, rename = "type")]
    pub build_type: BuildType,
    /// The built files, relative to barge.yaml: a directory or one file, also a jar or a war. Without it, found by looking.
    #[serde(default)]
    pub path: Option<String>,
    /// `scratch`, an OCI layout (`oci:DIRECTORY`), a tar with one (`tar:FILE`, also of `docker save`) or a registry reference.
    #[serde(default)]
    pub base: Option<String>,
    /// The kinds of machines that the image is for; without it, that of the machine that builds.
    #[serde(default)]
    pub platforms: Vec<Platform>,
    /// Where Tomcat serves a war, such as `/shop`; without it, `/`.
    #[serde(default)]
    pub context_path: Option<String>,
    /// Options of the JVM of a Java program, such as `-Xss1m`. They win over Barge's own.
    #[serde(default)]
    pub jvm: Vec<String>,
    /// `attached`: what the image is made of is pushed beside it, as CycloneDX and SPDX; or `none`.
    #[serde(default)]
    pub sbom: Sbom,
    /// `attached`: the git commit is said in a document beside the image; `labels`: also in the image, which then changes with each
    /// commit; or `none`.
    #[serde(default)]
    pub provenance: Provenance,
}

/// CPU and memory that one instance may use.
#[derive(
    Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize, schemars::JsonSchema, utoipa::ToSchema,
)]
#[serde(deny_unknown_fields)]
pub struct Resources {
    /// Cores, such as `0.5`, `2` or `250m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<MilliCpu>,
    /// Memory, such as `512MiB` or `2GiB`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Memory>,
}

/// How an instance is taken out of traffic and stopped.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Drain {
    /// How long no request may have come before the process is told to stop.
    pub quiet: Millis,
    /// The longest that the wait for quiet may take.
    pub limit: Millis,
    /// From the stop signal until the process is killed.
    pub grace: Millis,
}

impl Default for Drain {
    fn default() -> Self {
        Self { quiet: Millis(500), limit: Millis::from_secs(60), grace: Millis::from_secs(10) }
    }
}

/// What one environment changes of the common configuration.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Overlay {
    /// Instead of the common number of instances.
    #[serde(default)]
    pub replicas: Option<u32>,
    /// Added to the common environment variables; the same name wins here.
    #[serde(default)]
    pub env: BTreeMap<String, EnvValue>,
    /// Instead of the common resources, field by field.
    #[serde(default)]
    pub resources: Resources,
    /// Instead of the common rollout plan, as a whole.
    #[serde(default)]
    pub rollout: Option<RolloutPlan>,
}

/// A project's `barge.yaml`. `name` and `kind` are enough; the rest has defaults or is detected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "barge.yaml")]
pub struct Manifest {
    /// The service's name: lower-case letters, digits and '-', at most 40 characters.
    pub name: ServiceName,
    /// `web` (HTTP behind the gateway) or `rpc`.
    pub kind: Kind,
    /// How the image is built.
    #[serde(default)]
    pub build: Build,
    /// What starts the service, run in /app. `$PORT` and `$HOST` say where to listen.
    #[serde(default)]
    pub command: Option<Command>,
    /// Path of the readiness check for kind `web`; default `/healthcheck`, else any answer on the port.
    #[serde(default)]
    pub healthcheck: Option<String>,
    /// Files ending in `.template` in which `${NAME}` is replaced at start; the result loses the ending.
    #[serde(default)]
    pub templates: Vec<String>,
    /// The number of instances; default 1.
    #[serde(default)]
    pub replicas: Option<u32>,
    /// Environment variables; a value may be `{secret: NAME}`.
    #[serde(default)]
    pub env: BTreeMap<String, EnvValue>,
    /// CPU and memory of one instance.
    #[serde(default)]
    pub resources: Resources,
    /// How a release goes.
    #[serde(default)]
    pub rollout: RolloutPlan,
    /// How an instance is taken out of traffic.
    #[serde(default)]
    pub drain: Drain,
    /// How long a start may take before it counts as failed; default 5m.
    #[serde(default)]
    pub start_deadline: Option<Millis>,
    /// What differs by environment.
    #[serde(default)]
    pub environments: BTreeMap<EnvironmentName, Overlay>,
}

/// The configuration of a service in one environment: part of a release, never changed afterwards.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ServiceConfig {
    /// What the service is to its callers.
    pub kind: Kind,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// The path of the readiness check, where the project named one.
    #[serde(default)]
    pub healthcheck: Option<String>,
    /// Templates that are filled at start.
    #[serde(default)]
    pub templates: Vec<String>,
    /// The number of instances that the project asks for, where it does.
    #[serde(default)]
    pub replicas: Option<u32>,
    /// Environment variables.
    #[serde(default)]
    pub env: BTreeMap<String, EnvValue>,
    /// CPU and memory of one instance.
    #[serde(default)]
    pub resources: Resources,
    /// How the release goes.
    #[serde(default)]
    pub rollout: RolloutPlan,
    /// How an instance is taken out of traffic.
    #[serde(default)]
    pub drain: Drain,
    /// How long a start may take before it counts as failed.
    pub start_deadline: Millis,
}

/// The JSON Schema of `barge.yaml`, for editors.
pub fn json_schema() -> serde_json::Value {
    schemars::schema_for!(Manifest).to_value()
}
