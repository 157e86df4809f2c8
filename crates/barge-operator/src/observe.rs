//! From pods to what the rollout machine sees of them.

use barge_crds::pod::{CONDITIONS, is_met, is_over, main, phase, waits_for};
use barge_model::rollout::{InstancePhase, ObservedInstance};
use barge_model::{InstanceId, ReleaseId};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodCondition, PodStatus};

use crate::names;

/// What barge-init says of an instance that is not ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Its start has failed, and it is kept for inspection.
    pub held: bool,
    /// Why it is not ready.
    pub reason: String,
}

/// One instance, as its pod shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// What the machine sees.
    pub instance: ObservedInstance,
    /// The pod's name.
    pub pod: String,
    /// Why it is not ready, in words.
    pub reason: Option<String>,
}

/// Takes away what nobody reads: of ten thousand pods it would be most of what the operator holds.
pub fn essential(pod: &mut Pod) {
    let ours = |name: &String| [names::SERVICE, names::ENVIRONMENT, names::RELEASE].contains(&name.as_str());
    pod.spec = None;
    pod.metadata.annotations = None;
    pod.metadata.generate_name = None;
    if let Some(labels) = &mut pod.metadata.labels {
        labels.retain(|name, _| ours(name));
    }
    let Some(status) = pod.status.take() else { return };
    let conditions = status.conditions.into_iter().flatten().filter(|one| CONDITIONS.contains(&one.type_.as_str()));
    let conditions = conditions.map(|one| PodCondition {
        type_: one.type_,
        status: one.status,
        reason: one.reason,
        message: one.message,
        ..PodCondition::default()
    });
    let containers = status.container_statuses.into_iter().flatten().filter(|one| one.name == names::MAIN);
    let containers = containers.map(|one| ContainerStatus {
        name: one.name,
        restart_count: one.restart_count,
        state: one.state,
        ..ContainerStatus::default()
    });
    // Of those before it only what keeps it from being started.
    let before = status.init_container_statuses.into_iter().flatten().filter(|one| {
        let ended = one.state.as_ref().and_then(|state| state.terminated.as_ref());
        ended.is_none_or(|ended| ended.exit_code != 0)
    });
    let before = before.map(|one| ContainerStatus { name: one.name, state: one.state, ..ContainerStatus::default() });
    let before: Vec<_> = before.collect();
    pod.status = Some(PodStatus {
        phase: status.phase,
        init_container_statuses: (!before.is_empty()).then_some(before),
        pod_ip: status.pod_ip,
        conditions: Some(conditions.collect()),
        container_statuses: Some(containers.collect()),
        ..PodStatus::default()
    });
}

/// The instance that a pod is; nothing where it is none of ours, or is over. `said` is what barge-init answered, where it was asked.
///
/// A pod that was evicted is over: its node has ended its processes, and only its object is left.
pub fn observe(pod: &Pod, said: Option<&Said>) -> Option<Seen> {
    let release: ReleaseId = pod.metadata.labels.as_ref()?.get(names::RELEASE)?.parse().ok()?;
    let id = names::instance(pod.metadata.uid.as_deref()?)?;
    if is_over(pod) {
        return None;
    }
    let phase = phase(pod, said.is_some_and(|said| said.held));
    let reason = match phase {
        InstancePhase::Ready | InstancePhase::Draining => None,
        _ => waits_for(pod).or_else(|| Some(said?.reason.clone())),
    };
    let online = pod.status.as_ref().is_some_and(|status| is_met(status, names::ONLINE));
    let restarts = main(pod).map_or(0, |main| u32::try_from(main.restart_count).unwrap_or(0));
    let instance = ObservedInstance { id, release, phase, restarts, online };
    Some(Seen { instance, pod: pod.metadata.name.clone().unwrap_or_default(), reason })
}

/// Whether barge-init is to be asked what it waits for: its container runs, and Kubernetes knows only that it is not ready.
pub fn is_to_be_asked(pod: &Pod) -> Option<(InstanceId, String)> {
    let status = pod.status.as_ref().filter(|_| pod.metadata.deletion_timestamp.is_none())?;
    let runs = main(pod)?.state.as_ref()?.running.is_some();
    let ready = is_met(status, "ContainersReady");
    let address = status.pod_ip.clone().filter(|_| runs && !ready)?;
    Some((names::instance(pod.metadata.uid.as_deref()?)?, address))
}
