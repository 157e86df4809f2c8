//! From pods to what the registrar has to know of them. Pure.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};

use barge_crds::names;
use barge_model::registration::{Wanted, WantedList};
use barge_model::{EnvironmentName, InstanceId, ServiceKey, ServiceName};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodStatus};

/// The container port at which a service answers.
const PORT: &str = "service";

/// The instances that have said themselves that they are about to stop, each with the container that was meant: another one in its place is not.
pub type Leaving = HashMap<InstanceId, String>;

/// All instances of all services, each list in order. The `pods` have to be complete; `services` are those that are listed even where no pod is left of
/// them, so that their last instance can vanish as well. One that is `leaving` is taken offline as if it had ended.
pub fn wanted<'a>(
    pods: impl IntoIterator<Item = &'a Pod>,
    services: &BTreeSet<ServiceKey>,
    leaving: &Leaving,
) -> WantedList {
    let mut list: WantedList = services.iter().map(|key| (key.clone(), Vec::new())).collect();
    for pod in pods {
        if let Some((key, mut wanted)) = instance(pod) {
            wanted.dead |= is_leaving(pod, &wanted.id, leaving);
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

/// Whether the instance has said that it is about to stop, and still is the one that has said so.
pub(super) fn is_leaving(pod: &Pod, id: &InstanceId, leaving: &Leaving) -> bool {
    leaving.get(id).is_some_and(|said| container(pod).as_ref() == Some(said))
}

/// Which container the business process is in: another one after each start.
pub(super) fn container(pod: &Pod) -> Option<String> {
    main(pod.status.as_ref()?)?.container_id.clone()
}

/// Whether an address is the pod's own.
pub(super) fn is_at(pod: &Pod, ip: IpAddr) -> bool {
    let Some(status) = pod.status.as_ref() else { return false };
    let more = status.pod_ips.as_deref().unwrap_or_default().iter().map(|one| one.ip.as_str());
    status.pod_ip.as_deref().into_iter().chain(more).any(|own| own.parse() == Ok(ip))
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
    let Some(main) = main(status) else { return false };
    let Some(state) = main.state.as_ref() else { return false };
    // One that waits for its first start was never there.
    state.terminated.is_some() || (state.waiting.is_some() && main.restart_count > 0)
}

fn main(status: &PodStatus) -> Option<&ContainerStatus> {
    status.container_statuses.as_deref()?.iter().find(|container| container.name == names::MAIN)
}
