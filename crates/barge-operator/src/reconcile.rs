//! One service, once: dereference, validate, decide, store, apply.
//!
//! The status is stored before anything is done, in the version that was read: who reads what is old, or has been replaced by another operator,
//! gets a conflict there and does nothing.

use std::sync::Arc;
use std::time::Duration;

use barge_crds::convert::{self, Nonsense, SetWithoutRelease};
use barge_crds::{ServiceResource, ServiceStatus};
use barge_lease::{Health, Tenure};
use barge_model::rollout::{
    Decision, FailureReason, Finished, Observed, ObservedInstance, Outcome, RegistrarHealth, Role, RolloutSpec,
    RolloutStatus, step,
};
use barge_model::{InstanceId, Release, ReleaseId, ServiceKey, Timestamp};
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, PostParams};
use kube::runtime::controller::Action;
use kube::{Client, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use crate::adopt::{self, AdoptError, Adoption};
use crate::apply::{ApplyError, Writer};
use crate::build::{Owner, Settings};
use crate::change::{Change, changes};
use crate::events::{Events, told};
use crate::names;
use crate::observe::{Said, Seen, observe};
use crate::status;
use crate::views::{Views, roles};

/// While a service waits for news of what was written.
const NEWS_PAUSE: Duration = Duration::from_millis(20);
/// A conflict means that somebody was faster, whose news are about to come.
const CONFLICT_PAUSE: Duration = Duration::from_millis(100);
/// A service that rests is looked at all the same, should a watch have lost something.
const REST: Duration = Duration::from_secs(300);
/// Between two looks at a Deployment that gives its place to a service.
const ADOPTION_PAUSE: Duration = Duration::from_millis(500);

/// What all reconciles share.
pub struct Context {
    /// The API server.
    pub client: Client,
    /// What is known of pods, ReplicaSets and ConfigMaps.
    pub views: Views,
    /// What is the same for all releases.
    pub settings: Settings,
    /// The lead in which all of this is done.
    pub(crate) tenure: Tenure,
    /// How the registrar is.
    pub(crate) registrar: watch::Receiver<Health>,
    /// What people are told.
    pub(crate) events: Events,
}

impl Context {
    fn epoch(&self) -> i64 {
        i64::try_from(self.tenure.epoch()).unwrap_or(i64::MAX)
    }

    fn registrar(&self) -> RegistrarHealth {
        match &*self.registrar.borrow() {
            Health::Well => RegistrarHealth::Healthy,
            Health::Ill(reason) => RegistrarHealth::Unhealthy { reason: reason.clone() },
        }
    }
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
    /// The Deployment whose place the service takes could not be looked at or told.
    #[error(transparent)]
    Adopt(#[from] AdoptError),
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
    if before.epoch > context.epoch() {
        // Somebody else leads already; the lease will say so as well.
        return Ok(Action::requeue(CONFLICT_PAUSE));
    }
    let stored = match convert::stored(&before, definition) {
        Ok(stored) => stored,
        Err(error) => return refuse(resource.as_ref(), &context, &owner, &gone(&error), now).await,
    };
    let pods = context.views.pods_of(namespace, key);
    if !context.views.is_asked(&pods) {
        // A held one that nobody has heard of yet looks like one that starts, which may go.
        return Ok(Action::requeue(NEWS_PAUSE));
    }
    let known = Known {
        seen: seen(&context.views, &pods, &stored),
        sets: context.views.sets_of(namespace, key),
        registrar: context.registrar(),
        stored,
        now,
    };
    let adoption = adoption(resource.as_ref(), &context, &known, namespace).await?;
    let Decided { decision, changes, mut after } = decide(resource.as_ref(), &service, &known, adoption.as_ref());
    // Whoever led before must find that his version is no more, before anything is done.
    if !changes.is_empty() || after != before {
        after.epoch = context.epoch();
    }
    if after != before && !store(resource.as_ref(), &context, namespace, &after).await? {
        return Ok(Action::requeue(CONFLICT_PAUSE));
    }
    context.events.of(resource.as_ref(), told(&before, &after));
    carry_out(&context, &service, &decision.status, &changes).await?;
    let mut wake = decision.wake_at.map_or(REST, |at| at.since(now).as_duration());
    if let Some(adoption) = &adoption {
        let (replicas, instances) = (service.wanted.replicas, known.instances());
        if let Some(told) = adoption.told(replicas, &decision.status, &instances) {
            adopt::write(&context.client, namespace, adoption, &told).await?;
        }
        wake = if adoption.is_under_way(&decision.status, &instances) { wake.min(ADOPTION_PAUSE) } else { wake };
    }
    Ok(Action::requeue(wake.max(NEWS_PAUSE).min(REST)))
}

/// What a decision is made of.
struct Known {
    stored: RolloutStatus,
    seen: Vec<Seen>,
    sets: Vec<Arc<ReplicaSet>>,
    registrar: RegistrarHealth,
    now: Timestamp,
}

impl Known {
    fn instances(&self) -> Vec<ObservedInstance> {
        self.seen.iter().map(|seen| seen.instance.clone()).collect()
    }
}

/// What follows from it: what is stored first, and what is written then.
struct Decided {
    decision: Decision,
    changes: Vec<Change>,
    after: ServiceStatus,
}

/// Decides, and does nothing.
fn decide(
    resource: &impl ServiceResource,
    service: &Service,
    known: &Known,
    adoption: Option<&Adoption<'_>>,
) -> Decided {
    let instances = known.instances();
    let observed = Observed { instances: instances.clone(), registrar: known.registrar.clone() };
    let wanted = adoption.into_iter().fold(service.wanted.clone(), |wanted, adoption| adoption.wanted(wanted));
    let decision = step(&wanted, &known.stored, &observed, known.now);
    let sets = roles(&known.sets);
    let mut changes = changes(&decision.status, &decision.actions, &instances, &sets);
    let mut after = status::decided(resource, (&service.key, &service.wanted), &decision, &known.seen, known.now);
    status::made(&mut after, resource, &known.sets, known.now);
    if let Some(adoption) = adoption {
        changes = adoption.hold(changes, &decision.status, |id| sets.get(id).map(|(_, pods)| *pods));
        status::adopted(&mut after, resource, adoption.condition(&decision.status, &instances), known.now);
    }
    Decided { decision, changes, after }
}

async fn carry_out(
    context: &Context,
    service: &Service,
    status: &RolloutStatus,
    changes: &[Change],
) -> Result<(), ApplyError> {
    let writer = Writer {
        client: &context.client,
        views: &context.views,
        settings: &context.settings,
        owner: &service.owner,
        key: &service.key,
    };
    // Who is stable must be able to start anew for a week, whatever was removed meanwhile.
    for set in status.sets.iter().filter(|set| set.role != Role::Defunct) {
        writer.pin(&set.release).await?;
    }
    for change in changes {
        writer.apply(change, |id| release_of(status, id)).await?;
    }
    writer.unpin(status).await
}

fn owner<K: ServiceResource>(resource: &K) -> Result<Owner, ReconcileError> {
    let namespace = resource.namespace().ok_or(ReconcileError::Incomplete("namespace"))?;
    let reference = resource.controller_owner_ref(&()).ok_or(ReconcileError::Incomplete("UID"))?;
    Ok(Owner { namespace, reference, pods: resource.spec().pods.clone().unwrap_or_default() })
}

/// The adoption that is to be seen to. One that is over is not looked at again.
async fn adoption<'a, K: ServiceResource>(
    resource: &'a K,
    context: &Context,
    known: &Known,
    namespace: &str,
) -> Result<Option<Adoption<'a>>, AdoptError> {
    let Some(spec) = &resource.spec().adopts else { return Ok(None) };
    if !spec.undo && resource.status().is_some_and(status::is_adopted) {
        return Ok(None);
    }
    let deployment = adopt::look(&context.client, namespace, &spec.deployment).await?;
    let service = format!("{}/{}", K::kind(&()), resource.name_any());
    let frozen = known.registrar != RegistrarHealth::Healthy;
    Ok(Some(Adoption { spec, service, deployment, frozen }))
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
    let after = status::refused(resource, nonsense, now);
    if after != before && before.epoch <= context.epoch() {
        store(resource, context, &owner.namespace, &after).await?;
        context.events.of(resource, told(&before, &after));
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
