//! The status as people and the API server read it: a pure function of what was decided and seen.

use std::sync::Arc;

use barge_crds::convert::{self, Nonsense};
use barge_crds::status::{InstanceStatus, WaitingStatus};
use barge_crds::{ServiceResource, ServiceStatus, names};
use barge_model::manifest::MAX_REPLICAS;
use barge_model::rollout::{Decision, InstancePhase, ObservedInstance, Role, RolloutSpec, RolloutStatus};
use barge_model::{ReleaseId, ServiceKey, Timestamp};
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::adopt::ADOPTED;
use crate::observe::Seen;

/// Whether instances are made; told of once they were not.
pub(crate) const MADE: &str = "InstancesMade";
/// As many instances as a page of `kubectl describe` takes.
const LISTED: usize = 20;

/// What is stored before anything is done.
pub(crate) fn decided(
    resource: &impl ServiceResource,
    (key, wanted): (&ServiceKey, &RolloutSpec),
    decision: &Decision,
    seen: &[Seen],
    now: Timestamp,
) -> ServiceStatus {
    let generation = resource.meta().generation;
    let available = seen.iter().filter(|seen| seen.instance.available()).count();
    let running = seen.iter().filter(|seen| counts(&seen.instance, &decision.status)).count();
    let mut status = ServiceStatus {
        observed_generation: generation.unwrap_or(0),
        version: resource.spec().version,
        replicas: small(running.min(usize::try_from(wanted.replicas.min(MAX_REPLICAS)).unwrap_or(0))),
        selector: names::selector(key),
        available: small(available),
        waiting_on: WaitingStatus { on: word(decision), message: decision.waiting_on.to_string() },
        instances: seen.iter().take(LISTED).map(listed).collect(),
        more_instances: small(seen.len().saturating_sub(LISTED)),
        epoch: resource.status().map_or(0, |status| status.epoch),
        conditions: resource.status().map(|status| status.conditions.clone()).unwrap_or_default(),
        ..convert::to_status(&decision.status)
    };
    let enough = available >= usize::try_from(wanted.replicas).unwrap_or(usize::MAX);
    let of = format!("{available} of {} instances are available", wanted.replicas);
    let goes_on = decision.status.candidate.is_some();
    for told in [
        ("Accepted", true, "Sound", "the specification makes sense".to_owned()),
        ("Available", enough, if enough { "Enough" } else { "TooFew" }, of),
        ("Progressing", goes_on, if goes_on { "ReleaseUnderWay" } else { "Settled" }, decision.waiting_on.to_string()),
    ] {
        condition(&mut status, generation, told, now);
    }
    status
}

/// Whether Kubernetes makes the instances that are asked of it: a quota, a policy or a value that no pod can have may be against it.
pub(crate) fn made(
    status: &mut ServiceStatus,
    resource: &impl ServiceResource,
    sets: &[Arc<ReplicaSet>],
    now: Timestamp,
) {
    let failures = sets.iter().filter_map(|set| {
        let conditions = set.status.as_ref()?.conditions.as_ref()?;
        conditions.iter().find(|condition| condition.type_ == "ReplicaFailure" && condition.status == "True")
    });
    let why = failures.filter_map(|failure| failure.message.clone()).min();
    let told_before = status.conditions.iter().any(|condition| condition.type_ == MADE);
    let told = match why {
        Some(why) => (MADE, false, "Refused", why),
        None if told_before => (MADE, true, "Made", "Kubernetes makes the instances that are asked of it".to_owned()),
        None => return,
    };
    if let (MADE, false, _, why) = &told {
        status.waiting_on.message = format!("{}; Kubernetes makes no instance: {why}", status.waiting_on.message);
    }
    condition(status, resource.meta().generation, told, now);
}

/// Whether a service has the whole place of the Deployment that it has adopted.
pub(crate) fn is_adopted(status: &ServiceStatus) -> bool {
    status.conditions.iter().any(|condition| condition.type_ == ADOPTED && condition.status == "True")
}

/// How the adoption of a Deployment stands.
pub(crate) fn adopted(
    status: &mut ServiceStatus,
    resource: &impl ServiceResource,
    (over, reason, message): (bool, &'static str, String),
    now: Timestamp,
) {
    condition(status, resource.meta().generation, (ADOPTED, over, reason, message), now);
}

/// What is stored of a specification that makes no sense: what runs stays as it is.
pub(crate) fn refused(resource: &impl ServiceResource, nonsense: &Nonsense, now: Timestamp) -> ServiceStatus {
    let generation = resource.meta().generation;
    let mut status = resource.status().cloned().unwrap_or_default();
    status.observed_generation = generation.unwrap_or(0);
    status.waiting_on = WaitingStatus { on: "sense".to_owned(), message: format!("not accepted: {nonsense}") };
    condition(&mut status, generation, ("Accepted", false, "Nonsense", nonsense.to_string()), now);
    status
}

/// Whether an autoscaler counts it: whoever is at the gate, held or ending does none of the work that was asked for.
fn counts(instance: &ObservedInstance, status: &RolloutStatus) -> bool {
    let before_the_gate = |release: &ReleaseId| {
        let candidate = status.set(Role::Candidate).is_some_and(|set| set.release.id == *release);
        candidate && status.candidate.as_ref().is_some_and(|progress| progress.approval.is_none())
    };
    !matches!(instance.phase, InstancePhase::Held | InstancePhase::Draining) && !before_the_gate(&instance.release)
}

/// The tag under which what is waited for is stored.
fn word(decision: &Decision) -> String {
    let value = serde_json::to_value(&decision.waiting_on).unwrap_or_default();
    value["on"].as_str().unwrap_or_default().to_owned()
}

fn listed(seen: &Seen) -> InstanceStatus {
    let phase = match seen.instance.phase {
        InstancePhase::Starting => "starting",
        InstancePhase::Ready => "ready",
        InstancePhase::Held => "held",
        InstancePhase::BackOff => "backOff",
        InstancePhase::Draining => "draining",
    };
    InstanceStatus {
        id: seen.instance.id.to_string(),
        pod: seen.pod.clone(),
        release: seen.instance.release.to_string(),
        phase: phase.to_owned(),
        online: seen.instance.online,
        restarts: i32::try_from(seen.instance.restarts).unwrap_or(i32::MAX),
        reason: seen.reason.clone(),
    }
}

/// Sets a condition; its time is that of its last change.
fn condition(
    status: &mut ServiceStatus,
    generation: Option<i64>,
    (name, met, reason, message): (&str, bool, &str, String),
    now: Timestamp,
) {
    let word = if met { "True" } else { "False" };
    let found = status.conditions.iter_mut().find(|condition| condition.type_ == name);
    let since = match &found {
        Some(before) if before.status == word => before.last_transition_time.clone(),
        _ => Time(barge_crds::values::from_time(now).0),
    };
    let condition = Condition {
        type_: name.to_owned(),
        status: word.to_owned(),
        reason: reason.to_owned(),
        message,
        observed_generation: generation,
        last_transition_time: since,
    };
    match found {
        Some(before) => *before = condition,
        None => status.conditions.push(condition),
    }
}

fn small(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}
