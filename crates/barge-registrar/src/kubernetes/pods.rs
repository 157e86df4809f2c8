//! From pods to what the registrar has to know of them. Pure.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use barge_crds::names;
use barge_model::registration::{Wanted, WantedList};
use barge_model::{EnvironmentName, ServiceKey, ServiceName};
use k8s_openapi::api::core::v1::{Pod, PodStatus};

/// The container port at which a service answers.
const PORT: &str = "service";

/// All instances of all services, each list in order. The `pods` have to be complete; `services` are those that are listed even where no pod is left of
/// them, so that their last instance can vanish as well.
pub fn wanted<'a>(pods: impl IntoIterator<Item = &'a Pod>, services: &BTreeSet<ServiceKey>) -> WantedList {
    let mut list: WantedList = services.iter().map(|key| (key.clone(), Vec::new())).collect();
    for pod in pods {
        if let Some((key, wanted)) = instance(pod) {
            list.entry(key).or_default().push(wanted);
        }
    }
    list.values_mut().for_each(|instances| instances.sort_by(|a, b| a.id.cmp(&b.id)));
    list
}

/// The instance that a pod is, and its service; nothing where it is none of ours.
///
/// A pod that is over (it was evicted, or its node was shut down) ends as one that is deleted does: none of its containers is ever started again. A failed
/// probe is not the end of a process, and neither is a node that does not answer.
pub fn instance(pod: &Pod) -> Option<(ServiceKey, Wanted)> {
    let labels = pod.metadata.labels.as_ref()?;
    let environment: EnvironmentName = labels.get(names::ENVIRONMENT)?.parse().ok()?;
    let service: ServiceName = labels.get(names::SERVICE)?.parse().ok()?;
    let id = names::instance(pod.metadata.uid.as_deref()?)?;
    let status = pod.status.as_ref();
    let is_over = matches!(status.and_then(|status| status.phase.as_deref()), Some("Failed" | "Succeeded"));
    let wanted = Wanted {
        id,
        address: address(pod),
        ready: status.is_some_and(is_ready),
        ending: pod.metadata.deletion_timestamp.is_some() || is_over,
        dead: is_over || status.is_some_and(has_ended),
    };
    Some((ServiceKey::new(environment, service), wanted))
}

fn address(pod: &Pod) -> Option<SocketAddr> {
    let ip: IpAddr = pod.status.as_ref()?.pod_ip.as_deref()?.parse().ok()?;
    let containers = pod.spec.as_ref()?.containers.iter();
    let mut ports = containers.flat_map(|container| container.ports.as_deref().unwrap_or_default());
    let port = ports.find(|port| port.name.as_deref() == Some(PORT))?.container_port;
    Some(SocketAddr::new(ip, u16::try_from(port).ok()?))
}

fn is_ready(status: &PodStatus) -> bool {
    let conditions = status.conditions.as_deref().unwrap_or_default();
    conditions.iter().any(|condition| condition.type_ == "ContainersReady" && condition.status == "True")
}

/// Whether the business process was there and is not: no doubt is possible then.
fn has_ended(status: &PodStatus) -> bool {
    let statuses = status.container_statuses.as_deref().unwrap_or_default();
    let Some(main) = statuses.iter().find(|container| container.name == names::MAIN) else { return false };
    let Some(state) = main.state.as_ref() else { return false };
    // One that waits for its first start was never there.
    state.terminated.is_some() || (state.waiting.is_some() && main.restart_count > 0)
}
