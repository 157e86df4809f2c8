//! From a pod to what is reported of its instance.
//!
//! That an instance is held, only barge-init can tell, and it tells the operator. So that is taken from the resource's status.

use barge_crds::names;
use barge_crds::pod::{
    condition, ended_in_words, ending, is_met, is_over, join, main as main_status, phase, waits_for,
};
use barge_crds::status::InstanceStatus;
use barge_engine::{InstanceReport, LimitsReport, ProbeReport, TimelineStep};
use barge_model::rollout::{InstancePhase, ObservedInstance};
use barge_model::{InstanceId, ReleaseId, Timestamp};
use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateTerminated, ContainerStatus, Pod, PodCondition, PodStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// The port of the business process, by its name.
const PORT: &str = "service";

/// What the operator knows of an instance beyond its pod.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Told {
    /// Its start has failed, and it is kept.
    pub(crate) held: bool,
    /// Why it is not ready.
    pub(crate) reason: Option<String>,
}

impl From<&InstanceStatus> for Told {
    fn from(status: &InstanceStatus) -> Self {
        Self { held: status.phase == "held", reason: status.reason.clone() }
    }
}

/// The report of the instance that a pod is; nothing where it is none of ours, or is over.
pub(crate) fn report(pod: &Pod, told: &Told) -> Option<InstanceReport> {
    let release: ReleaseId = pod.metadata.labels.as_ref()?.get(names::RELEASE)?.parse().ok()?;
    let id = id(pod)?;
    let status = pod.status.as_ref();
    if is_over(pod) {
        return None;
    }
    let main = main_status(pod);
    let phase = phase(pod, told.held);
    let reason = match phase {
        InstancePhase::Ready | InstancePhase::Draining => None,
        _ => waits_for(pod).or_else(|| told.reason.clone()),
    };
    Some(InstanceReport {
        id,
        release,
        phase,
        online: status.is_some_and(|status| is_met(status, names::ONLINE)),
        address: address(pod),
        restarts: main.map_or(0, |main| u32::try_from(main.restart_count).unwrap_or(0)),
        created_at: pod.metadata.creation_timestamp.as_ref().map_or(Timestamp::default(), at),
        reason,
        ending: main.and_then(last_end).map(ending),
        probes: status.map(|status| probes(status, told)).unwrap_or_default(),
        timeline: timeline(pod),
        limits: limits(pod),
    })
}

/// The same as the rollout machine sees it.
pub(crate) fn observed(report: &InstanceReport) -> ObservedInstance {
    ObservedInstance {
        id: report.id.clone(),
        release: report.release.clone(),
        phase: report.phase,
        restarts: report.restarts,
        online: report.online,
    }
}

/// The instance that a pod is.
pub(crate) fn id(pod: &Pod) -> Option<InstanceId> {
    names::instance(pod.metadata.uid.as_deref()?)
}

/// Why the business process has not been started, as people read it; nothing where it runs or ran.
pub(crate) fn not_started(pod: &Pod) -> Option<String> {
    let main = main_status(pod);
    let begun = |state: Option<&ContainerState>| {
        state.is_some_and(|state| state.running.is_some() || state.terminated.is_some())
    };
    let ran = main.is_some_and(|main| begun(main.state.as_ref()) || begun(main.last_state.as_ref()));
    (!ran).then(|| waits_for(pod).unwrap_or_else(|| "it waits for its node".to_owned()))
}

/// The id of the container that runs or ran last.
pub(crate) fn container(pod: &Pod) -> Option<String> {
    main_status(pod)?.container_id.clone().filter(|id| !id.is_empty())
}

/// Whether the container runs, which is what a program beside it needs.
pub(crate) fn runs(pod: &Pod) -> bool {
    main_status(pod).and_then(|main| main.state.as_ref()).is_some_and(|state| state.running.is_some())
}

/// Whether there was a container before the one that a log is of. One that waits has a log of the former one itself.
pub(crate) fn has_former(pod: &Pod) -> bool {
    let main = main_status(pod).filter(|main| main.restart_count > 0);
    main.and_then(|main| main.state.as_ref()).is_some_and(|state| state.waiting.is_none())
}

fn main(pod: &Pod) -> Option<&Container> {
    pod.spec.as_ref()?.containers.iter().find(|container| container.name == names::MAIN)
}

fn address(pod: &Pod) -> Option<String> {
    let ip: std::net::IpAddr = pod.status.as_ref()?.pod_ip.as_ref()?.parse().ok()?;
    let port = main(pod)?.ports.iter().flatten().find(|port| port.name.as_deref() == Some(PORT))?;
    Some(std::net::SocketAddr::new(ip, u16::try_from(port.container_port).ok()?).to_string())
}

fn last_end(main: &ContainerStatus) -> Option<&ContainerStateTerminated> {
    let of = |state: &'_ Option<ContainerState>| state.as_ref().is_some_and(|state| state.terminated.is_some());
    let state = if of(&main.state) { &main.state } else { &main.last_state };
    state.as_ref()?.terminated.as_ref()
}

/// What is known of readiness: the latest change. Kubernetes keeps no others.
fn probes(status: &PodStatus, told: &Told) -> Vec<ProbeReport> {
    let Some(condition) = condition(status, "ContainersReady") else { return Vec::new() };
    let Some(since) = condition.last_transition_time.as_ref() else { return Vec::new() };
    let ok = condition.status == "True";
    let detail = match (ok, &told.reason) {
        (true, _) => "ready".to_owned(),
        (false, Some(reason)) => reason.clone(),
        (false, None) => join(condition.reason.as_deref().unwrap_or("not ready"), condition.message.as_deref()),
    };
    vec![ProbeReport { at: at(since), ok, detail, times: 1 }]
}

/// An instance's life, as far as its pod tells it.
fn timeline(pod: &Pod) -> Vec<TimelineStep> {
    let mut steps = Vec::new();
    let mut step =
        |when: Option<&Time>, what: String| steps.extend(when.map(|when| TimelineStep { at: at(when), what }));
    step(pod.metadata.creation_timestamp.as_ref(), "created".to_owned());
    if let Some(status) = &pod.status {
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or("a node");
        let since = |name: &str| met(status, name).and_then(|condition| condition.last_transition_time.as_ref());
        step(since("PodScheduled"), format!("given to {node}"));
        step(since("Initialized"), "barge-init is in place".to_owned());
        let main = main_status(pod);
        for state in main.into_iter().flat_map(|main| [&main.last_state, &main.state]).flatten() {
            if let Some(ended) = &state.terminated {
                step(ended.started_at.as_ref(), "started".to_owned());
                step(ended.finished_at.as_ref(), ended_in_words(ended).lines().next().unwrap_or_default().to_owned());
            }
            step(state.running.as_ref().and_then(|running| running.started_at.as_ref()), "started".to_owned());
        }
        step(since("ContainersReady"), "ready".to_owned());
        step(since(names::ONLINE), "online".to_owned());
    }
    if let Some(until) = &pod.metadata.deletion_timestamp {
        let grace = pod.metadata.deletion_grace_period_seconds.unwrap_or(0);
        let told = Timestamp::from_millis(at(until).as_millis() - grace.saturating_mul(1000));
        steps.push(TimelineStep { at: told, what: format!("told to end, within {grace} s") });
    }
    // What happened in the same second stays in the order in which it always happens.
    steps.sort_by_key(|step| step.at);
    steps
}

fn limits(pod: &Pod) -> LimitsReport {
    let asked = main(pod).and_then(|main| main.resources.as_ref()?.limits.as_ref()).is_some_and(|all| !all.is_empty());
    if asked { LimitsReport::Enforced } else { LimitsReport::NotAsked }
}

fn met<'a>(status: &'a PodStatus, name: &str) -> Option<&'a PodCondition> {
    condition(status, name).filter(|condition| condition.status == "True")
}

fn at(time: &Time) -> Timestamp {
    Timestamp::from_millis(time.0.as_millisecond())
}

#[cfg(test)]
mod tests;
