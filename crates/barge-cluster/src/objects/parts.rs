//! How a part runs: its pods, how many may be missing at once, and where it is reached.

use std::collections::BTreeMap;

use barge_crds::names;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy};
use k8s_openapi::api::core::v1::{
    Capabilities, Container, ContainerPort, EmptyDirVolumeSource, EnvVar, EnvVarSource, HTTPGetAction,
    LocalObjectReference, ObjectFieldSelector, PodSecurityContext, PodSpec, PodTemplateSpec, Probe,
    ResourceRequirements, SeccompProfile, SecretVolumeSource, SecurityContext, Service, ServicePort, ServiceSpec,
    TopologySpreadConstraint, Volume, VolumeMount,
};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{labels, metadata, selector};
use crate::NAMESPACE;
use crate::object::{Object, WriteError};
use crate::settings::{Component, REGISTRATIONS, Settings};
use crate::token;

/// Somebody without rights on any node.
const USER: i64 = 65532;
/// Where the gateway's token is in a pod.
const TOKEN: &str = "/token";
/// Where a part may write.
const DATA: &str = "/data";

/// Where the registrar's probes ask: pods find it by another port, and only where it leads.
const PROBES: u16 = 7374;

/// In what parts differ.
struct Part {
    component: Component,
    arguments: Vec<String>,
    /// By name.
    ports: Vec<(&'static str, u16)>,
    /// Where it says whether it is ready: the port's name, and the path.
    ready: (&'static str, &'static str),
    /// Whether it has a place to write, and reads the gateway's token.
    stores: bool,
    /// What it asks of a node's processors, and of its memory at least and at most.
    needs: (&'static str, &'static str, &'static str),
    /// How long it may take to end.
    grace: i64,
}

/// The objects of a part that runs.
pub(super) fn of(component: Component, settings: &Settings) -> Result<Vec<Object>, WriteError> {
    let part = part(component, settings);
    let mut objects = Vec::new();
    // Nobody calls the operator.
    if component != Component::Operator {
        objects.push(Object::new(&service(&part))?);
    }
    objects.push(Object::new(&budget(component))?);
    objects.push(Object::new(&deployment(&part, settings))?);
    Ok(objects)
}

fn part(component: Component, settings: &Settings) -> Part {
    let listen = |port: u16| ["--listen".to_owned(), format!("0.0.0.0:{port}")];
    let option = |name: &str, value: &str| [name.to_owned(), value.to_owned()];
    let services = settings.services.iter().flat_map(|namespace| option("--namespace", namespace));
    let token = format!("{TOKEN}/{}", token::KEY);
    let port = component.port();
    match component {
        Component::Operator => {
            let registrar =
                format!("http://{}.{NAMESPACE}:{}", Component::Registrar.name(), Component::Registrar.port());
            let secrets = settings.pull_secrets.iter().flat_map(|name| option("--pull-secret", name));
            let arguments = ["operator".to_owned()]
                .into_iter()
                .chain(option("--barge-init", &settings.image))
                .chain(option("--registrar", &registrar));
            Part {
                component,
                arguments: arguments.chain(services).chain(secrets).chain(listen(port)).collect(),
                ports: vec![("http", port)],
                ready: ("http", "/readyz"),
                stores: false,
                needs: ("100m", "128Mi", "1Gi"),
                grace: 30,
            }
        }
        Component::Registrar => {
            let gateway = format!("{}.{NAMESPACE}:{REGISTRATIONS}", Component::Gateway.name());
            let arguments = ["registrar".to_owned()]
                .into_iter()
                .chain(option("--gateway", &gateway))
                .chain(option("--token-file", &token))
                .chain(option("--journal", DATA))
                .chain(option("--pods", &format!("0.0.0.0:{port}")));
            Part {
                component,
                arguments: arguments.chain(services).chain(listen(PROBES)).collect(),
                ports: vec![("http", port), ("probes", PROBES)],
                ready: ("probes", "/readyz"),
                stores: true,
                needs: ("100m", "128Mi", "1Gi"),
                grace: 30,
            }
        }
        Component::Gateway => {
            let arguments = ["gateway".to_owned()]
                .into_iter()
                .chain(option("--listen", "0.0.0.0"))
                .chain(option("--token-file", &token))
                .chain(option("--data", DATA))
                .chain(option("--domain", &settings.domain));
            Part {
                component,
                arguments: arguments.collect(),
                ports: vec![("requests", port), ("registrations", REGISTRATIONS)],
                ready: ("registrations", "/healthz"),
                stores: true,
                needs: ("250m", "128Mi", "1Gi"),
                // Requests that are on their way have theirs to the end.
                grace: 60,
            }
        }
    }
}

fn deployment(part: &Part, settings: &Settings) -> Deployment {
    let strategy = match part.component {
        // Two gateways would each know a part of the instances, and say so to the registrar in turns.
        Component::Gateway => Some(DeploymentStrategy { type_: Some("Recreate".to_owned()), rolling_update: None }),
        Component::Operator | Component::Registrar => None,
    };
    let mut pod_labels = labels(&[]);
    // Where a version changes nothing else, it restarts nothing.
    pod_labels.remove(super::VERSION_LABEL);
    pod_labels.extend(selector(part.component));
    let template = PodTemplateSpec {
        metadata: Some(ObjectMeta { labels: Some(pod_labels), ..ObjectMeta::default() }),
        spec: Some(pod(part, settings)),
    };
    let spec = DeploymentSpec {
        replicas: Some(part.component.replicas()),
        selector: of_part(part.component),
        strategy,
        template,
        ..DeploymentSpec::default()
    };
    Deployment { metadata: metadata(part.component), spec: Some(spec), status: None }
}

fn pod(part: &Part, settings: &Settings) -> PodSpec {
    let secrets = settings.pull_secrets.iter().map(|name| LocalObjectReference { name: name.clone() }).collect();
    let machine = settings.architecture.iter().map(|machine| ("kubernetes.io/arch".to_owned(), machine.clone()));
    let machine: BTreeMap<String, String> =
        machine.chain([("kubernetes.io/os".to_owned(), "linux".to_owned())]).collect();
    PodSpec {
        service_account_name: Some(part.component.name().to_owned()),
        // Only who has a role needs to be known to the cluster.
        automount_service_account_token: Some(part.component != Component::Gateway),
        enable_service_links: Some(false),
        image_pull_secrets: Some(secrets).filter(|secrets: &Vec<_>| !secrets.is_empty()),
        node_selector: Some(machine),
        security_context: Some(PodSecurityContext {
            run_as_non_root: Some(true),
            run_as_user: Some(USER),
            run_as_group: Some(USER),
            fs_group: Some(USER),
            seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".to_owned(), localhost_profile: None }),
            ..PodSecurityContext::default()
        }),
        // Not all of them on a node that fails, where there are others.
        topology_spread_constraints: Some(vec![TopologySpreadConstraint {
            max_skew: 1,
            topology_key: "kubernetes.io/hostname".to_owned(),
            when_unsatisfiable: "ScheduleAnyway".to_owned(),
            label_selector: Some(of_part(part.component)),
            ..TopologySpreadConstraint::default()
        }]),
        termination_grace_period_seconds: Some(part.grace),
        containers: vec![container(part, settings)],
        volumes: Some(volumes()).filter(|_| part.stores),
        ..PodSpec::default()
    }
}

fn volumes() -> Vec<Volume> {
    let volume = |name: &str| Volume { name: name.to_owned(), ..Volume::default() };
    let secret = SecretVolumeSource {
        secret_name: Some(token::SECRET.to_owned()),
        default_mode: Some(0o440),
        ..SecretVolumeSource::default()
    };
    vec![
        Volume { empty_dir: Some(EmptyDirVolumeSource::default()), ..volume("data") },
        Volume { secret: Some(secret), ..volume("token") },
    ]
}

fn container(part: &Part, settings: &Settings) -> Container {
    let mount = |name: &str, path: &str, read_only: bool| VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only: Some(read_only).filter(|only| *only),
        ..VolumeMount::default()
    };
    let port = |(name, port): &(&str, u16)| ContainerPort {
        name: Some((*name).to_owned()),
        container_port: i32::from(*port),
        ..ContainerPort::default()
    };
    let (port_name, path) = part.ready;
    let ready = HTTPGetAction {
        path: Some(path.to_owned()),
        port: IntOrString::String(port_name.to_owned()),
        ..HTTPGetAction::default()
    };
    Container {
        name: part.component.name().to_owned(),
        image: Some(settings.image.clone()),
        command: Some(vec!["/app/barge".to_owned()]),
        args: Some(part.arguments.clone()),
        env: Some(environment()),
        ports: Some(part.ports.iter().map(port).collect()),
        // No liveness probe: whoever hangs loses its lease, and a network that fails restarts nothing.
        readiness_probe: Some(Probe { http_get: Some(ready), period_seconds: Some(2), ..Probe::default() }),
        resources: Some(resources(part.needs)),
        // The last words of one that ends are told where people look first.
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), add: None }),
            ..SecurityContext::default()
        }),
        volume_mounts: Some(vec![mount("data", DATA, false), mount("token", TOKEN, true)]).filter(|_| part.stores),
        ..Container::default()
    }
}

/// Who it is among its like, and how much it tells.
fn environment() -> Vec<EnvVar> {
    let field = |name: &str, path: &str| {
        let field_ref = Some(ObjectFieldSelector { field_path: path.to_owned(), api_version: None });
        let source = EnvVarSource { field_ref, ..EnvVarSource::default() };
        EnvVar { name: name.to_owned(), value: None, value_from: Some(source) }
    };
    let log = EnvVar { name: "BARGE_LOG".to_owned(), value: Some("info".to_owned()), value_from: None };
    vec![field("POD_NAME", "metadata.name"), field("POD_NAMESPACE", "metadata.namespace"), log]
}

/// No limit of processor time: who is held back there is late with his lease.
fn resources((cpu, memory, at_most): (&str, &str, &str)) -> ResourceRequirements {
    let quantity = |name: &str, value: &str| (name.to_owned(), Quantity(value.to_owned()));
    ResourceRequirements {
        requests: Some([quantity("cpu", cpu), quantity("memory", memory)].into()),
        limits: Some([quantity("memory", at_most)].into()),
        ..ResourceRequirements::default()
    }
}

/// One at a time, also of a single one: a node can always be emptied.
fn budget(component: Component) -> PodDisruptionBudget {
    let spec = PodDisruptionBudgetSpec {
        max_unavailable: Some(IntOrString::Int(1)),
        selector: Some(of_part(component)),
        ..PodDisruptionBudgetSpec::default()
    };
    PodDisruptionBudget { metadata: metadata(component), spec: Some(spec), status: None }
}

fn service(part: &Part) -> Service {
    let port = |(name, port): &(&str, u16)| ServicePort {
        name: Some((*name).to_owned()),
        port: i32::from(*port),
        target_port: Some(IntOrString::String((*name).to_owned())),
        ..ServicePort::default()
    };
    let mut selector = selector(part.component);
    if part.component == Component::Registrar {
        // One that waits for the lead has no answers.
        selector.insert(names::LEADS.to_owned(), "true".to_owned());
    }
    let spec = ServiceSpec {
        selector: Some(selector),
        ports: Some(part.ports.iter().filter(|(_, port)| *port != PROBES).map(port).collect()),
        ..ServiceSpec::default()
    };
    Service { metadata: metadata(part.component), spec: Some(spec), status: None }
}

fn of_part(component: Component) -> LabelSelector {
    LabelSelector { match_labels: Some(selector(component)), ..LabelSelector::default() }
}
