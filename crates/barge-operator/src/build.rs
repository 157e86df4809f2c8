//! The objects of a release, made once from its definition: a ConfigMap with what barge-init has to do, and a ReplicaSet.

use std::collections::BTreeMap;

use barge_crds::spec::PodsSpec;
use barge_init::plan::{Output, Readiness, Stop};
use barge_init::{Plan, Probe, Process};
use barge_model::manifest::{EnvValue, Kind, Resources};
use barge_model::rollout::Role;
use barge_model::{Millis, Release, ServiceKey};
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetSpec};
use k8s_openapi::api::core::v1::{
    ConfigMap, ConfigMapVolumeSource, Container, ContainerPort, EmptyDirVolumeSource, EnvVar, EnvVarSource,
    HTTPGetAction, LocalObjectReference, ObjectFieldSelector, PodReadinessGate, PodSpec, PodTemplateSpec,
    Probe as KubernetesProbe, ResourceRequirements, SecretKeySelector, Toleration, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::names;

/// Where the business process listens, unless its service says another port; it is told by `HOST` and `PORT`.
pub const PORT: u16 = 8080;
/// Where barge-init answers whether the instance is ready, the same for every project.
pub const READY_PORT: u16 = 7070;
/// The path of that.
pub const READY_PATH: &str = "/ready";
/// The image's own working directory, in which barge-init is started as well: /app in those of `barge build`.
const HERE: &str = ".";
/// Where barge-init is put, and keeps its status and its socket.
const HOME: &str = "/barge";
/// Where its plan is.
const PLAN: &str = "/barge-plan";

/// A registrar that is killed has a successor within this time: its lease has to expire first.
const REGISTRAR_AWAY: Millis = Millis::from_secs(30);

/// What is the same for all releases of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The image that has barge-init in /app, by digest: an image of a project need not have it.
    pub barge_init: String,
    /// Secrets of the namespace with which images are pulled.
    pub pull_secrets: Vec<String>,
    /// Where pods ask the registrar whether they are out of traffic, such as `http://barge-registrar.barge-system:7375`. Without it they wait for
    /// a fixed time before they stop.
    pub registrar: Option<String>,
    /// Which nodes instances may go to.
    pub nodes: Nodes,
}

impl Settings {
    /// Images that anybody may pull, no registrar, any node.
    pub fn new(barge_init: impl Into<String>) -> Self {
        Self { barge_init: barge_init.into(), pull_secrets: Vec::new(), registrar: None, nodes: Nodes::default() }
    }
}

/// Which nodes instances may go to, where services have nodes of their own. Concerns releases that are begun from now on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Nodes {
    /// The labels that a node has to have.
    pub selector: BTreeMap<String, String>,
    /// The keys of taints that keep others away, and do not keep away instances.
    pub tolerated: Vec<String>,
}

/// Whose the objects are.
#[derive(Debug, Clone, PartialEq)]
pub struct Owner {
    /// The namespace of all of them.
    pub namespace: String,
    /// The custom resource.
    pub reference: OwnerReference,
    /// What it says of pods, for callers that know them already.
    pub pods: PodsSpec,
}

/// A part of a release that no pod can be made of.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// JSON.
    #[error("write down release {release}")]
    Write {
        /// Which release.
        release: String,
        /// What went wrong.
        source: serde_json::Error,
    },
}

/// The release's definition and barge-init's plan. It never changes; where somebody removes it, the same one is made again.
///
/// # Errors
/// The release cannot be written as JSON.
pub fn config_map(
    owner: &Owner,
    key: &ServiceKey,
    release: &Release,
    settings: &Settings,
) -> Result<ConfigMap, BuildError> {
    let data = BTreeMap::from([
        ("plan.json".to_owned(), json(release, &plan(owner, key, release, settings))?),
        ("release.json".to_owned(), json(release, release)?),
    ]);
    let metadata = metadata(owner, key, release);
    Ok(ConfigMap { metadata, data: Some(data), immutable: Some(true), ..ConfigMap::default() })
}

/// A ReplicaSet of the release for the first time.
///
/// # Errors
/// The release cannot be written as JSON.
pub fn replica_set(
    owner: &Owner,
    key: &ServiceKey,
    release: &Release,
    (role, pods): (Role, u32),
    settings: &Settings,
) -> Result<ReplicaSet, BuildError> {
    let mut metadata = metadata(owner, key, release);
    let labels = metadata.labels.get_or_insert_default();
    let of_pods = labels.clone();
    labels.insert(names::ROLE.to_owned(), names::role(role).to_owned());
    metadata.annotations = Some(BTreeMap::from([(names::DEFINITION.to_owned(), json(release, release)?)]));
    // Ours win, and are all that we find pods by: others may mean what they like.
    let mut all = owner.pods.labels.clone();
    all.extend(of_pods.clone());
    let template = PodTemplateSpec {
        metadata: Some(ObjectMeta { labels: Some(all), ..ObjectMeta::default() }),
        spec: Some(pod(&owner.pods, key, release, settings)),
    };
    let spec = ReplicaSetSpec {
        replicas: Some(i32::try_from(pods).unwrap_or(i32::MAX)),
        selector: LabelSelector { match_labels: Some(of_pods), ..LabelSelector::default() },
        template: Some(template),
        ..ReplicaSetSpec::default()
    };
    Ok(ReplicaSet { metadata, spec: Some(spec), ..ReplicaSet::default() })
}

fn json(release: &Release, what: &impl serde::Serialize) -> Result<String, BuildError> {
    serde_json::to_string(what).map_err(|source| BuildError::Write { release: release.id.to_string(), source })
}

fn metadata(owner: &Owner, key: &ServiceKey, release: &Release) -> ObjectMeta {
    let labels = [
        (names::SERVICE, key.service.to_string()),
        (names::ENVIRONMENT, key.environment.to_string()),
        (names::RELEASE, release.id.to_string()),
    ];
    ObjectMeta {
        name: Some(names::of_release(&key.service, &release.id)),
        namespace: Some(owner.namespace.clone()),
        labels: Some(labels.map(|(name, value)| (name.to_owned(), value)).into()),
        owner_references: Some(vec![owner.reference.clone()]),
        ..ObjectMeta::default()
    }
}

/// What barge-init does in each pod of the release.
fn plan(owner: &Owner, key: &ServiceKey, release: &Release, settings: &Settings) -> Plan {
    let config = &release.config;
    let main = Process {
        command: config.command.clone(),
        working_directory: HERE.into(),
        // Secrets are in the container's environment alone.
        inherit_env: true,
        ..Process::default()
    };
    Plan {
        instance: names::of_release(&key.service, &release.id),
        main,
        helpers: BTreeMap::new(),
        templates: config.templates.clone(),
        host: "127.0.0.1".to_owned(),
        port: port(&owner.pods),
        probe: match config.kind {
            Kind::Web => Probe::Http { path: config.healthcheck.clone() },
            Kind::Rpc => Probe::Accept,
        },
        checks: barge_init::plan::Checks::default(),
        readiness: Some(Readiness { listen: ([0, 0, 0, 0], READY_PORT).into(), path: READY_PATH.to_owned() }),
        start_deadline_ms: config.start_deadline.0,
        hold_limit_ms: barge_model::rollout::HELD_LIMIT.0,
        output: Output { pass_on: true, file_bytes: None },
        signals: barge_init::plan::Forward::Group,
        stop: Stop {
            quiet_ms: config.drain.quiet.0,
            limit_ms: config.drain.limit.0,
            grace_ms: config.drain.grace.0,
            // barge-init fills in which pod it is.
            check: settings.registrar.as_ref().map(|registrar| format!("{registrar}/v1/traffic/$BARGE_POD_UID")),
            away_ms: REGISTRAR_AWAY.0,
        },
        agent: None,
        termination_message: Some("/dev/termination-log".into()),
        groups: Vec::new(),
    }
}

fn pod(pods: &PodsSpec, key: &ServiceKey, release: &Release, settings: &Settings) -> PodSpec {
    let volume = |name: &str| Volume { name: name.to_owned(), ..Volume::default() };
    let plan = ConfigMapVolumeSource { name: names::of_release(&key.service, &release.id), ..Default::default() };
    PodSpec {
        init_containers: Some(vec![bring_barge_init(release, settings)]),
        containers: vec![main(pods, key, release)],
        volumes: Some(vec![
            Volume { empty_dir: Some(EmptyDirVolumeSource::default()), ..volume("barge") },
            Volume { config_map: Some(plan), ..volume("barge-plan") },
        ]),
        readiness_gates: Some(vec![PodReadinessGate { condition_type: names::ONLINE.to_owned() }]),
        termination_grace_period_seconds: Some(barge_crds::ReleaseSpec::from(release).termination_grace_period_seconds),
        image_pull_secrets: Some(
            settings.pull_secrets.iter().map(|name| LocalObjectReference { name: name.clone() }).collect(),
        )
        .filter(|secrets: &Vec<_>| !secrets.is_empty()),
        node_selector: Some(settings.nodes.selector.clone()).filter(|labels| !labels.is_empty()),
        tolerations: Some(settings.nodes.tolerated.iter().map(|key| tolerated(key)).collect())
            .filter(|taints: &Vec<_>| !taints.is_empty()),
        // A business process has nothing to say to the cluster, and no use for the addresses of all others.
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        ..PodSpec::default()
    }
}

/// Whatever the taint's value, and whatever it does to others.
fn tolerated(key: &str) -> Toleration {
    Toleration { key: Some(key.to_owned()), operator: Some("Exists".to_owned()), ..Toleration::default() }
}

/// Puts barge-init beside the project's own files: an image need not have it, and none has to be built anew for a newer one.
fn bring_barge_init(release: &Release, settings: &Settings) -> Container {
    Container {
        name: "barge-init".to_owned(),
        image: Some(settings.barge_init.clone()),
        command: Some(["/app/barge-init", "install", HOME].map(str::to_owned).into()),
        volume_mounts: Some(vec![mount("barge", HOME)]),
        // It runs before the project's own, and costs nothing beside: a quota may ask for it of each.
        resources: resources(&release.config.resources),
        ..Container::default()
    }
}

fn mount(name: &str, path: &str) -> VolumeMount {
    VolumeMount { name: name.to_owned(), mount_path: path.to_owned(), ..VolumeMount::default() }
}

fn main(pods: &PodsSpec, key: &ServiceKey, release: &Release) -> Container {
    let named = |name: &str, port: i32| ContainerPort {
        name: Some(name.to_owned()),
        container_port: port,
        ..ContainerPort::default()
    };
    let own = [named("service", port(pods).into()), named("ready", READY_PORT.into())];
    let ready = HTTPGetAction {
        path: Some(READY_PATH.to_owned()),
        port: IntOrString::Int(i32::from(READY_PORT)),
        ..HTTPGetAction::default()
    };
    Container {
        name: names::MAIN.to_owned(),
        image: Some(format!("{}@{}", release.image, release.digest)),
        command: Some([format!("{HOME}/barge-init"), "run".to_owned(), PLAN.to_owned(), HOME.to_owned()].into()),
        env: Some(environment(pods, key, release)),
        ports: Some(own.into_iter().chain(pods.ports.iter().map(|(name, port)| named(name, *port))).collect()),
        readiness_probe: Some(KubernetesProbe {
            http_get: Some(ready),
            period_seconds: Some(1),
            timeout_seconds: Some(2),
            // barge-init itself is patient with the business process; who asks it need not be.
            failure_threshold: Some(1),
            ..KubernetesProbe::default()
        }),
        resources: resources(&release.config.resources),
        volume_mounts: Some(vec![mount("barge", HOME), mount("barge-plan", PLAN)]),
        ..Container::default()
    }
}

/// What the project says, and what the platform adds; the same name is the platform's.
fn environment(pods: &PodsSpec, key: &ServiceKey, release: &Release) -> Vec<EnvVar> {
    let plain = |name: &str, value: String| EnvVar { name: name.to_owned(), value: Some(value), value_from: None };
    let field = |name: &str, path: &str| {
        let field_ref = Some(ObjectFieldSelector { field_path: path.to_owned(), api_version: None });
        let source = EnvVarSource { field_ref, ..EnvVarSource::default() };
        EnvVar { name: name.to_owned(), value: None, value_from: Some(source) }
    };
    let own = [
        plain("HOST", "0.0.0.0".to_owned()),
        plain("PORT", port(pods).to_string()),
        plain("SERVER_PORT", port(pods).to_string()),
        plain("BARGE_SERVICE", key.service.to_string()),
        plain("BARGE_ENVIRONMENT", key.environment.to_string()),
        plain("BARGE_RELEASE", release.id.to_string()),
        field("BARGE_POD", "metadata.name"),
        field("BARGE_POD_UID", "metadata.uid"),
    ];
    let is_own = |name: &str| own.iter().any(|own| own.name == name);
    let of_project = release.config.env.iter().filter(|(name, _)| !is_own(name)).map(|(name, value)| match value {
        // Kubernetes would replace $(NAME), which the project has not asked for.
        EnvValue::Text(text) => plain(name, text.replace("$(", "$$(")),
        EnvValue::Secret { secret } => {
            let (secret, key) = secret.split_once('/').unwrap_or((secret.as_str(), "value"));
            let key = SecretKeySelector { name: secret.to_owned(), key: key.to_owned(), optional: None };
            let source = EnvVarSource { secret_key_ref: Some(key), ..EnvVarSource::default() };
            EnvVar { name: name.clone(), value: None, value_from: Some(source) }
        }
    });
    of_project.chain(own.iter().cloned()).collect()
}

fn port(pods: &PodsSpec) -> u16 {
    pods.port.and_then(|port| u16::try_from(port).ok()).unwrap_or(PORT)
}

/// Limits are requests as well: an instance has what it was promised, and no more.
fn resources(asked: &Resources) -> Option<ResourceRequirements> {
    let cpu = asked.cpu.map(|cpu| ("cpu".to_owned(), barge_crds::values::from_cpu(cpu)));
    let memory = asked.memory.map(|memory| ("memory".to_owned(), barge_crds::values::from_memory(memory)));
    let all: BTreeMap<String, Quantity> = cpu.into_iter().chain(memory).collect();
    let some = Some(all).filter(|all| !all.is_empty())?;
    Some(ResourceRequirements { limits: Some(some.clone()), requests: Some(some), ..ResourceRequirements::default() })
}
