//! One service, once: dereference, validate, decide, store, apply.
//!
//! The status is stored before anything is done, in the version that was read: who reads what is old, or has been replaced by another operator,
//! gets a conflict there and does nothing.

use std::sync::Arc;
use std::time::Duration;

use barge_crds::convert::{self, Nonsense, SetWithoutRelease};
use barge_crds::status::{InstanceStatus, WaitingStatus};
use barge_crds::{ServiceResource, ServiceStatus};
use barge_model::manifest::MAX_REPLICAS;
use barge_model::rollout::{
    Decision, FailureReason, Finished, InstancePhase, Observed, ObservedInstance, Outcome, Role, RolloutSpec,
    RolloutStatus, step,
};
use barge_model::{InstanceId, Release, ReleaseId, ServiceKey, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::api::{Api, PostParams};
use kube::runtime::controller::Action;
use kube::{Client, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::apply::{ApplyError, Writer};
use crate::build::{Owner, Settings};
use crate::change::changes;
use crate::names;
use crate::observe::{Said, Seen, observe};
use crate::views::{Views, roles};

/// While a service waits for news of what was written.
const NEWS_PAUSE: Duration = Duration::from_millis(20);
/// A conflict means that somebody was faster, whose news are about to come.
const CONFLICT_PAUSE: Duration = Duration::from_millis(100);
/// A service that rests is looked at all the same, should a watch have lost something.
const REST: Duration = Duration::from_secs(300);
/// As many instances as a page of `kubectl describe` takes.
const LISTED: usize = 20;

/// What all reconciles share.
pub struct Context {
    /// The API server.
    pub client: Client,
    /// What is known of pods, ReplicaSets and ConfigMaps.
    pub views: Views,
    /// What is the same for all releases.
    pub settings: Settings,
}

/// Why a reconcile did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// The resource lacks what every resource has.
    #[error("the resource has no {0}")]
    Incomplete(&'static str),
    /// The status could not be stored; nothing was done.
    #[error("store the status")]
    Store(#[source] Box<kube::Error>),
    /// A change could not be carried out.
    #[error(transparent)]
    Apply(#[from] ApplyError),
}

/// What a resource says and where it is.
struct Service {
    key: ServiceKey,
    owner: Owner,
    wanted: RolloutSpec,
}

/// Brings one service nearer to what is wanted of it.
///
/// # Errors
/// Something on the way failed; the next one begins anew.
pub async fn reconcile<K>(resource: Arc<K>, context: Arc<Context>, now: Timestamp) -> Result<Action, ReconcileError>
where
    K: ServiceResource + Clone + std::fmt::Debug + Serialize + DeserializeOwned + Send + Sync,
{
    let owner = owner(resource.as_ref())?;
    let service = match dereference(resource.as_ref(), owner.clone()) {
        Ok(service) => service,
        Err(nonsense) => return refuse(resource.as_ref(), &context, &owner, &nonsense, now).await,
    };
    let (namespace, key) = (&service.owner.namespace, &service.key);
    if !context.views.is_up_to_date(namespace, key) {
        return Ok(Action::requeue(NEWS_PAUSE));
    }
    let definition = |id: &ReleaseId| {
        let of_target = service.wanted.target.as_ref().filter(|target| target.id == *id).cloned();
        context.views.definition(namespace, key, id).or(of_target)
    };
    let before = resource.status().cloned().unwrap_or_default();
    let stored = match convert::stored(&before, definition) {
        Ok(stored) => stored,
        Err(error) => return refuse(resource.as_ref(), &context, &owner, &gone(&error), now).await,
    };
    let pods = context.views.pods_of(namespace, key);
    if !context.views.is_asked(&pods) {
        // A held one that nobody has heard of yet looks like one that starts, which may go.
        return Ok(Action::requeue(NEWS_PAUSE));
    }
    let seen = seen(&context.views, &pods, &stored);
    let instances: Vec<ObservedInstance> = seen.iter().map(|seen| seen.instance.clone()).collect();
    let observed = Observed { instances: instances.clone(), ..Observed::default() };
    let decision = step(&service.wanted, &stored, &observed, now);
    let after = status(resource.as_ref(), &service, &decision, &seen, now);
    if after != before && !store(resource.as_ref(), &context, namespace, &after).await? {
        return Ok(Action::requeue(CONFLICT_PAUSE));
    }
    let writer = Writer {
        client: &context.client,
        views: &context.views,
        settings: &context.settings,
        owner: &service.owner,
        key,
    };
    // Who is stable must be able to start anew for a week, whatever was removed meanwhile.
    for set in decision.status.sets.iter().filter(|set| set.role != Role::Defunct) {
        writer.pin(&set.release).await?;
    }
    let of_status = |id: &ReleaseId| release_of(&decision.status, id);
    let sets = roles(&context.views.sets_of(namespace, key));
    for change in changes(&decision.status, &decision.actions, &instances, &sets) {
        writer.apply(&change, of_status).await?;
    }
    let wake = decision.wake_at.map_or(REST, |at| at.since(now).as_duration());
    Ok(Action::requeue(wake.max(NEWS_PAUSE).min(REST)))
}

fn owner<K: ServiceResource>(resource: &K) -> Result<Owner, ReconcileError> {
    let namespace = resource.namespace().ok_or(ReconcileError::Incomplete("namespace"))?;
    let reference = resource.controller_owner_ref(&()).ok_or(ReconcileError::Incomplete("UID"))?;
    Ok(Owner { namespace, reference })
}

fn dereference(resource: &impl ServiceResource, owner: Owner) -> Result<Service, Nonsense> {
    Ok(Service { key: convert::key(resource)?, owner, wanted: convert::rollout(resource)? })
}

fn gone(error: &SetWithoutRelease) -> Nonsense {
    match error {
        SetWithoutRelease::Unreadable(nonsense) => nonsense.clone(),
        SetWithoutRelease::Gone(_) => Nonsense::at("status.sets", error),
    }
}

/// The instances of a service, always in the same order.
fn seen(views: &Views, pods: &[Arc<Pod>], stored: &RolloutStatus) -> Vec<Seen> {
    let said = |pod: &Pod| {
        let id = names::instance(&pod.uid()?)?;
        views.said(&id).or_else(|| failed_before(stored, &id))
    };
    let mut seen: Vec<Seen> = pods.iter().filter_map(|pod| observe(pod, said(pod).as_ref())).collect();
    seen.sort_by(|a, b| a.instance.id.cmp(&b.instance.id));
    seen
}

/// One whose failure is on record is held, whether it can be asked or not.
fn failed_before(stored: &RolloutStatus, id: &InstanceId) -> Option<Said> {
    let is_it = |end: &Finished| matches!(&end.outcome, Outcome::Failed { failure: FailureReason::StartFailed { instance } } if instance == id);
    let on_record = stored.finished.iter().any(is_it);
    on_record.then(|| Said { held: true, reason: "its start failed; it does not answer now".to_owned() })
}

fn release_of(status: &RolloutStatus, id: &ReleaseId) -> Option<Release> {
    status.sets.iter().map(|set| &set.release).find(|release| release.id == *id).cloned()
}

/// Nonsense is told of, and what runs is left alone.
async fn refuse<K>(
    resource: &K,
    context: &Context,
    owner: &Owner,
    nonsense: &Nonsense,
    now: Timestamp,
) -> Result<Action, ReconcileError>
where
    K: ServiceResource + Clone + std::fmt::Debug + Serialize + DeserializeOwned,
{
    let before = resource.status().cloned().unwrap_or_default();
    let mut after = before.clone();
    after.observed_generation = resource.meta().generation.unwrap_or(0);
    after.waiting_on = WaitingStatus { on: "sense".to_owned(), message: format!("not accepted: {nonsense}") };
    let accepted = ("Accepted", false, "Nonsense", nonsense.to_string());
    condition(&mut after, resource.meta().generation, accepted, now);
    if after != before {
        store(resource, context, &owner.namespace, &after).await?;
    }
    // Nothing helps but another specification, whose news comes by itself.
    Ok(Action::requeue(REST))
}

/// Stores the status in the version that was read; false where somebody was faster.
async fn store<K>(
    resource: &K,
    context: &Context,
    namespace: &str,
    status: &ServiceStatus,
) -> Result<bool, ReconcileError>
where
    K: ServiceResource + Clone + std::fmt::Debug + Serialize + DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(context.client.clone(), namespace);
    // As a whole, so that nothing stays of what is over.
    let with_status = resource.clone().with_status(status.clone());
    match api.replace_status(&resource.name_any(), &PostParams::default(), &with_status).await {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(refused)) if refused.is_conflict() || refused.is_not_found() => Ok(false),
        Err(error) => Err(ReconcileError::Store(Box::new(error))),
    }
}

fn status(
    resource: &impl ServiceResource,
    service: &Service,
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
        replicas: small(running.min(usize::try_from(service.wanted.replicas.min(MAX_REPLICAS)).unwrap_or(0))),
        selector: names::selector(&service.key),
        available: small(available),
        waiting_on: WaitingStatus { on: word(decision), message: decision.waiting_on.to_string() },
        instances: seen.iter().take(LISTED).map(listed).collect(),
        more_instances: small(seen.len().saturating_sub(LISTED)),
        conditions: resource.status().map(|status| status.conditions.clone()).unwrap_or_default(),
        ..convert::to_status(&decision.status)
    };
    let enough = available >= usize::try_from(service.wanted.replicas).unwrap_or(usize::MAX);
    let of = format!("{available} of {} instances are available", service.wanted.replicas);
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
