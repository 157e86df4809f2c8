//! From pods to what the rollout machine sees of them.

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

/// What [`observe`] reads of a condition.
const CONDITIONS: [&str; 4] = ["ContainersReady", "PodScheduled", "Ready", names::ONLINE];

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
    pod.status = Some(PodStatus {
        phase: status.phase,
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
    let status = pod.status.as_ref();
    let ending = pod.metadata.deletion_timestamp.is_some();
    if is_over(status) && !ending {
        return None;
    }
    let main = status.and_then(main);
    let (phase, reason) = match status {
        _ if ending => (InstancePhase::Draining, None),
        Some(status) => phase(status, main, said),
        None => (InstancePhase::Starting, None),
    };
    let online = status.is_some_and(|status| condition(status, names::ONLINE) == Some(true));
    let restarts = main.map_or(0, |main| u32::try_from(main.restart_count).unwrap_or(0));
    let instance = ObservedInstance { id, release, phase, restarts, online };
    Some(Seen { instance, pod: pod.metadata.name.clone().unwrap_or_default(), reason })
}

/// Whether barge-init is to be asked what it waits for: its container runs, and Kubernetes knows only that it is not ready.
pub fn is_to_be_asked(pod: &Pod) -> Option<(InstanceId, String)> {
    let status = pod.status.as_ref().filter(|_| pod.metadata.deletion_timestamp.is_none())?;
    let runs = main(status)?.state.as_ref()?.running.is_some();
    let ready = condition(status, "ContainersReady") == Some(true);
    let address = status.pod_ip.clone().filter(|_| runs && !ready)?;
    Some((names::instance(pod.metadata.uid.as_deref()?)?, address))
}

fn is_over(status: Option<&PodStatus>) -> bool {
    let phase = status.and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Failed" | "Succeeded"))
}

fn phase(status: &PodStatus, main: Option<&ContainerStatus>, said: Option<&Said>) -> (InstancePhase, Option<String>) {
    let ready = condition(status, "ContainersReady") == Some(true);
    let online = condition(status, names::ONLINE) == Some(true);
    if ready && online && is_refused(status) {
        // The gate is open, so that it is somebody else who says no: the node's controller.
        return (
            InstancePhase::Starting,
            Some(message(status, "Ready").unwrap_or_else(|| "its node does not answer".to_owned())),
        );
    }
    if ready {
        return (InstancePhase::Ready, None);
    }
    let state = main.and_then(|main| main.state.as_ref());
    if let Some(waiting) = state.and_then(|state| state.waiting.as_ref()) {
        let (word, text) = (waiting.reason.as_deref().unwrap_or_default(), waiting.message.clone());
        let again = main.is_some_and(|main| main.restart_count > 0) || word == "CrashLoopBackOff";
        let phase = if again { InstancePhase::BackOff } else { InstancePhase::Starting };
        return (phase, Some(join(word, text)).filter(|text| !text.is_empty()));
    }
    if let Some(ended) = state.and_then(|state| state.terminated.as_ref()) {
        let word = format!("it ended with exit code {}", ended.exit_code);
        return (InstancePhase::BackOff, Some(join(&word, ended.message.clone())));
    }
    match said {
        Some(Said { held: true, reason }) => (InstancePhase::Held, Some(reason.clone())),
        Some(Said { held: false, reason }) => (InstancePhase::Starting, Some(reason.clone())),
        None => (InstancePhase::Starting, message(status, "PodScheduled")),
    }
}

fn main(status: &PodStatus) -> Option<&ContainerStatus> {
    status.container_statuses.as_deref()?.iter().find(|container| container.name == names::MAIN)
}

fn condition(status: &PodStatus, name: &str) -> Option<bool> {
    let found = status.conditions.as_deref()?.iter().find(|condition| condition.type_ == name)?;
    Some(found.status == "True")
}

/// Whether the pod as a whole is not ready for another reason than its gates: the kubelet tells of those a moment after they have opened.
fn is_refused(status: &PodStatus) -> bool {
    let ready = status.conditions.iter().flatten().find(|condition| condition.type_ == "Ready");
    ready.is_some_and(|ready| ready.status == "False" && ready.reason.as_deref() != Some("ReadinessGatesNotReady"))
}

/// What stands with a condition that is not met.
fn message(status: &PodStatus, name: &str) -> Option<String> {
    let found = status.conditions.as_deref()?.iter().find(|condition| condition.type_ == name)?;
    let text = join(found.reason.as_deref().unwrap_or_default(), found.message.clone());
    (found.status != "True" && !text.is_empty()).then_some(text)
}

fn join(word: &str, text: Option<String>) -> String {
    match text.filter(|text| !text.is_empty()) {
        Some(text) if word.is_empty() => text,
        Some(text) => format!("{word}: {text}"),
        None => word.to_owned(),
    }
}
