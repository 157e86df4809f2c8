//! What a pod says of its instance, judged once for everybody who asks: the operator decides by it, and the server shows it.
//!
//! That an instance is held, only barge-init can tell; who has asked it says so. Leaves out what else is shown of a pod, which is the server's
//! (`barge_engine_kube`).

use barge_model::hold::Ending;
use barge_model::rollout::InstancePhase;
use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, Pod, PodCondition, PodStatus};

use crate::names;

/// The conditions that are read here.
pub const CONDITIONS: [&str; 4] = ["ContainersReady", "PodScheduled", "Ready", names::ONLINE];

/// What an instance is at. `held` is whether barge-init keeps it after a start that failed.
pub fn phase(pod: &Pod, held: bool) -> InstancePhase {
    if pod.metadata.deletion_timestamp.is_some() {
        return InstancePhase::Draining;
    }
    let Some(status) = &pod.status else { return InstancePhase::Starting };
    if is_met(status, "ContainersReady") {
        return if is_left(status) { InstancePhase::Starting } else { InstancePhase::Ready };
    }
    let main = main(pod);
    let state = main.and_then(|main| main.state.as_ref());
    if let Some(waiting) = state.and_then(|state| state.waiting.as_ref()) {
        let again = main.is_some_and(|main| main.restart_count > 0);
        let backs_off = again || waiting.reason.as_deref() == Some("CrashLoopBackOff");
        return if backs_off { InstancePhase::BackOff } else { InstancePhase::Starting };
    }
    match state.and_then(|state| state.terminated.as_ref()) {
        Some(_) => InstancePhase::BackOff,
        None if held => InstancePhase::Held,
        None => InstancePhase::Starting,
    }
}

/// Whether only the pod's object is left: it was evicted, or its node has ended it.
pub fn is_over(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Failed" | "Succeeded")) && pod.metadata.deletion_timestamp.is_none()
}

/// What Kubernetes says of a pod that is not ready, in words: its containers first, then its node.
pub fn waits_for(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let of_init = status.init_container_statuses.iter().flatten().find_map(|one| {
        let state = one.state.as_ref()?;
        let said = match (&state.waiting, &state.terminated) {
            (Some(waiting), _) if waiting.reason.as_deref() != Some("PodInitializing") => {
                join(waiting.reason.as_deref()?, waiting.message.as_deref())
            }
            (_, Some(ended)) if ended.exit_code != 0 => ended_in_words(ended),
            _ => return None,
        };
        Some(format!("{}: {said}", one.name))
    });
    let state = main(pod).and_then(|main| main.state.as_ref());
    let of_main = || {
        let (waiting, ended) = (state?.waiting.as_ref(), state?.terminated.as_ref());
        let waiting =
            waiting.map(|waiting| join(waiting.reason.as_deref().unwrap_or_default(), waiting.message.as_deref()));
        waiting.or_else(|| ended.map(ended_in_words)).filter(|said| !said.is_empty())
    };
    let left = || {
        let silent = || "its node does not answer".to_owned();
        is_left(status).then(|| message(status, "Ready").unwrap_or_else(silent))
    };
    of_init.or_else(of_main).or_else(left).or_else(|| message(status, "PodScheduled"))
}

/// What Kubernetes knows of the container with the business process.
pub fn main(pod: &Pod) -> Option<&ContainerStatus> {
    pod.status.as_ref()?.container_statuses.as_deref()?.iter().find(|container| container.name == names::MAIN)
}

/// How a container ended. barge-init ends with its process's code, and with 128 and the number for a signal, as shells do.
pub fn ending(ended: &ContainerStateTerminated) -> Ending {
    // barge-init begins its last words with how its process ended.
    let said_code = ended.message.as_deref().is_some_and(|message| message.starts_with("exit code"));
    match (ended.signal, ended.exit_code) {
        (Some(signal), _) if signal > 0 => Ending::Signalled { signal },
        (_, code @ 129..=192) if !said_code => Ending::Signalled { signal: code - 128 },
        (_, code) => Ending::Exited { code },
    }
}

/// The same in words, with its last ones.
pub fn ended_in_words(ended: &ContainerStateTerminated) -> String {
    join(&ending(ended).in_words(), ended.message.as_deref())
}

/// A condition, whatever it says.
pub fn condition<'a>(status: &'a PodStatus, name: &str) -> Option<&'a PodCondition> {
    status.conditions.as_deref()?.iter().find(|condition| condition.type_ == name)
}

/// Whether a condition says yes.
pub fn is_met(status: &PodStatus, name: &str) -> bool {
    condition(status, name).is_some_and(|condition| condition.status == "True")
}

/// A reason of Kubernetes' and what it says to that.
pub fn join(reason: &str, text: Option<&str>) -> String {
    match text.filter(|text| !text.is_empty()) {
        Some(text) if reason.is_empty() => text.to_owned(),
        Some(text) => format!("{reason}: {text}"),
        None => reason.to_owned(),
    }
}

/// The gate is open, so that it is somebody else who says no: the node's controller. Just after the gate was opened, the kubelet has not seen it
/// yet.
fn is_left(status: &PodStatus) -> bool {
    let says_no = |condition: &PodCondition| {
        condition.status != "True" && condition.reason.as_deref() != Some("ReadinessGatesNotReady")
    };
    let (ready, online) = (is_met(status, "ContainersReady"), is_met(status, names::ONLINE));
    ready && online && condition(status, "Ready").is_some_and(says_no)
}

/// What stands with a condition that is not met.
fn message(status: &PodStatus, name: &str) -> Option<String> {
    let condition = condition(status, name).filter(|condition| condition.status != "True")?;
    let text = join(condition.reason.as_deref().unwrap_or_default(), condition.message.as_deref());
    Some(text).filter(|text| !text.is_empty())
}
