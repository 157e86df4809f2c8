//! What of a Deployment has no place in a service of Barge's: told all at once, so that a person decides about each.

use barge_model::manifest::Kind;
use k8s_openapi::api::core::v1::{Container, PodSpec, PodTemplateSpec, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde::Serialize;

use crate::Asked;

/// Something that is not carried over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Loss {
    /// What to accept it by.
    pub name: String,
    /// What it is.
    pub what: String,
}

impl Loss {
    pub(crate) fn new(name: impl Into<String>, what: impl Into<String>) -> Self {
        Self { name: name.into(), what: what.into() }
    }

    /// Whether somebody has accepted it: by its name, or by the part before the dot, for all that begin so.
    pub fn is_accepted(&self, accepted: &[String]) -> bool {
        let part = self.name.split_once('.').map_or(self.name.as_str(), |(part, _)| part);
        accepted.iter().any(|accepted| *accepted == self.name || accepted == part)
    }
}

/// What is lost of a pod, apart from its variables and resources.
pub(crate) fn losses(template: &PodTemplateSpec, container: &Container, port: u16, asked: &Asked) -> Vec<Loss> {
    let pod = template.spec.clone().unwrap_or_default();
    let annotations = template.metadata.as_ref().and_then(|metadata| metadata.annotations.clone()).unwrap_or_default();
    let annotations = annotations.into_keys().filter(|name| name != "kubectl.kubernetes.io/restartedAt");
    let mut losses = Vec::new();
    let mut lost = |name: &str, what: &str, which: Vec<String>| {
        if !which.is_empty() {
            losses.push(Loss::new(name, format!("{what}: {}", which.join(", "))));
        }
    };
    lost("annotations", "annotations of the pods", annotations.collect());
    lost(
        "sidecars",
        "other containers",
        of(&pod.containers, |other| (other.name != container.name).then(|| other.name.clone())),
    );
    lost(
        "initContainers",
        "containers that run before",
        of(pod.init_containers.iter().flatten(), |one| Some(one.name.clone())),
    );
    let mounts = container.volume_mounts.iter().flatten();
    lost("volumes", "volumes", of(mounts, |mount| Some(format!("{} at {}", mount.name, mount.mount_path))));
    lost(
        "imagePullSecrets",
        "secrets with which its image is pulled; those of `barge cluster install --pull-secret` are used",
        of(pod.image_pull_secrets.iter().flatten(), |secret| Some(secret.name.clone())),
    );
    lost("workingDir", "a working directory other than the image's", container.working_dir.iter().cloned().collect());
    lost(
        "hostPort",
        "ports of the node",
        of(container.ports.iter().flatten(), |port| Some(port.host_port?.to_string())),
    );
    let udp = |port: &k8s_openapi::api::core::v1::ContainerPort| {
        let other = port.protocol.as_deref().filter(|protocol| *protocol != "TCP")?;
        Some(format!("{}/{other}", port.container_port))
    };
    lost("protocols", "ports that do not speak TCP", of(container.ports.iter().flatten(), udp));
    let handlers = container
        .lifecycle
        .iter()
        .flat_map(|hooks| [("postStart", hooks.post_start.is_some()), ("preStop", hooks.pre_stop.is_some())]);
    lost("lifecycle", "hooks", of(handlers, |(name, there)| there.then(|| name.to_owned())));
    for (name, what, fields) in of_pod(&pod, container) {
        lost(name, what, fields.into_iter().filter(|(_, there)| *there).map(|(field, _)| field.to_owned()).collect());
    }
    losses.extend(readiness(container, port, asked));
    losses
}

fn of<T>(all: impl IntoIterator<Item = T>, what: impl Fn(T) -> Option<String>) -> Vec<String> {
    all.into_iter().filter_map(what).collect()
}

/// A name, what it is about, and which fields of it are said.
type Fields = (&'static str, &'static str, Vec<(&'static str, bool)>);

fn of_pod(pod: &PodSpec, container: &Container) -> [Fields; 5] {
    // Kubernetes fills in an empty one.
    let secured = pod.security_context.as_ref().is_some_and(|context| *context != Default::default());
    let account = pod.service_account_name.as_deref().filter(|name| *name != "default");
    [
        (
            "securityContext",
            "who its processes are and what they may do",
            vec![("of the pod", secured), ("of the container", container.security_context.is_some())],
        ),
        ("serviceAccount", "an account with the API server", vec![("serviceAccountName", account.is_some())]),
        (
            "host",
            "namespaces that it shares with its node",
            vec![
                ("hostNetwork", pod.host_network == Some(true)),
                ("hostPID", pod.host_pid == Some(true)),
                ("hostIPC", pod.host_ipc == Some(true)),
                ("shareProcessNamespace", pod.share_process_namespace == Some(true)),
            ],
        ),
        (
            "scheduling",
            "which nodes it goes to",
            vec![
                ("nodeSelector", pod.node_selector.as_ref().is_some_and(|labels| !labels.is_empty())),
                ("affinity", pod.affinity.is_some()),
                ("tolerations", pod.tolerations.as_ref().is_some_and(|all| !all.is_empty())),
                (
                    "topologySpreadConstraints",
                    pod.topology_spread_constraints.as_ref().is_some_and(|all| !all.is_empty()),
                ),
                ("priorityClassName", pod.priority_class_name.is_some()),
                ("runtimeClassName", pod.runtime_class_name.is_some()),
                ("schedulerName", pod.scheduler_name.as_deref().is_some_and(|name| name != "default-scheduler")),
            ],
        ),
        (
            "dns",
            "names that it knows",
            vec![
                ("hostAliases", pod.host_aliases.as_ref().is_some_and(|all| !all.is_empty())),
                ("dnsConfig", pod.dns_config.is_some()),
                ("dnsPolicy", pod.dns_policy.as_deref().is_some_and(|policy| policy != "ClusterFirst")),
                ("hostname", pod.hostname.is_some() || pod.subdomain.is_some()),
            ],
        ),
    ]
}

/// Barge asks over HTTP on the service's port, or looks whether an rpc service accepts connections there. Whoever says a path has
/// decided.
fn readiness(container: &Container, port: u16, asked: &Asked) -> Option<Loss> {
    let probe = container.readiness_probe.as_ref().filter(|_| asked.healthcheck.is_none())?;
    let lost = |what: &str| {
        Some(Loss::new("readinessProbe", format!("it is ready when {what}; --healthcheck PATH says another way")))
    };
    match probe {
        Probe { http_get: Some(http), .. } => {
            let name = |name: &String| container.ports.iter().flatten().find(|port| port.name.as_ref() == Some(name));
            let number = match &http.port {
                IntOrString::Int(number) => Some(*number),
                IntOrString::String(text) => name(text).map(|port| port.container_port),
            };
            match () {
                () if http.scheme.as_deref().is_some_and(|scheme| scheme != "HTTP") => lost("it answers over HTTPS"),
                () if number != Some(port.into()) => lost("another port than the service's answers"),
                () if http.http_headers.as_ref().is_some_and(|all| !all.is_empty()) => {
                    lost("it answers to certain headers")
                }
                () => None,
            }
        }
        Probe { tcp_socket: Some(_), .. } if asked.kind == Some(Kind::Rpc) => None,
        Probe { tcp_socket: Some(_), .. } => {
            lost("a port accepts connections, as with --kind rpc; one of kind web is asked over HTTP")
        }
        Probe { exec: Some(_), .. } => lost("a program in it says so"),
        Probe { grpc: Some(_), .. } => lost("it says so over gRPC"),
        _ => None,
    }
}
