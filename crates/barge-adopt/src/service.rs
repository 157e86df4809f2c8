//! The service in the place of a Deployment: made, approved, given back. Written as the server would write it, so that a server can go
//! on with it.

use std::collections::BTreeMap;
use std::time::Duration;

use barge_cluster::AskError;
use barge_crds::spec::{AdoptionSpec, ApprovalSpec, ServiceSpec};
use barge_crds::values::from_time;
use barge_crds::{RpcService, RpcServiceSpec, ServiceResource, WebService, WebServiceSpec, names};
use barge_model::manifest::Kind;
use barge_model::rollout::RolloutSpec;
use barge_model::{Origin, Release, ReleaseId, ServiceKey, Timestamp};
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::{LookError, Reading, Running};

/// Why a service was not written.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// One of that name is there already.
    #[error("there is a {kind} {name} already")]
    Exists {
        /// What kind it is of.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// There is nothing to say this of.
    #[error("no service has taken the place of the Deployment {0}")]
    NotAdopted(String),
    /// Nobody approves what nobody can have looked at.
    #[error("its first instance is not at the gate: {0}")]
    NotAtGate(String),
    /// Somebody else was always first.
    #[error("approve the {kind} {name}: it was changed by others all the time")]
    Restless {
        /// What kind it is of.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// The API server refused, or was not there.
    #[error("{doing} the {kind} {name}")]
    Ask {
        /// What was being done.
        doing: &'static str,
        /// With what kind of object.
        kind: &'static str,
        /// Its name.
        name: String,
        /// What the API server said.
        source: AskError,
    },
}

/// Who says something, and when.
#[derive(Debug, Clone)]
pub struct Who {
    /// A person's name, as the cluster knows it.
    pub name: String,
    /// The time.
    pub now: Timestamp,
    /// For a new id.
    pub random: u128,
}

/// What the cluster calls whoever asks; nothing where it does not say.
pub async fn name_of_caller(client: &Client) -> Option<String> {
    let reviews: Api<SelfSubjectReview> = Api::all(client.clone());
    let review = reviews.create(&PostParams::default(), &SelfSubjectReview::default()).await.ok()?;
    review.status?.user_info?.username
}

/// The environment that a namespace says it is of.
///
/// # Errors
/// The API server refused, or was not there.
pub async fn environment_of(client: &Client, namespace: &str) -> Result<Option<String>, LookError> {
    let all: Api<Namespace> = Api::all(client.clone());
    let found = all.get_opt(namespace).await;
    let found = found.map_err(|error| LookError::Ask { what: "the namespace", source: error.into() })?;
    Ok(found.and_then(|namespace| namespace.labels().get(names::ENVIRONMENT).cloned()))
}

/// A service that takes a Deployment's place.
#[derive(Debug, Clone)]
pub struct Adopted {
    /// What kind it is of.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// What is wanted of it.
    pub spec: ServiceSpec,
    /// What became of it.
    pub status: barge_crds::ServiceStatus,
    /// What a server has noted on it; nothing where none looks after it.
    of_server: BTreeMap<String, String>,
    /// The version that was read.
    version: Option<String>,
}

/// Who writes what the server writes: it goes on with that, and takes away what it does not want any more.
const SERVER_S_OWN: &str = "server.barge.dev";
/// On a resource that a server has written.
const SERVER: &str = "barge.dev/server-replicas";
/// So often is an approval written that somebody else comes before.
const TRIES: u32 = 20;
/// Before another try.
const PAUSE: Duration = Duration::from_millis(50);

impl Adopted {
    /// Whether a server looks after it.
    pub fn has_server(&self) -> bool {
        !self.of_server.is_empty()
    }

    fn of<K: ServiceResource>(resource: &K) -> Self {
        Self {
            kind: K::KIND,
            name: resource.name_any(),
            spec: resource.spec().clone(),
            status: resource.status().cloned().unwrap_or_default(),
            of_server: resource.annotations().iter().filter(|(name, _)| *name == SERVER).map(pair).collect(),
            version: resource.resource_version(),
        }
    }
}

fn pair((name, value): (&String, &String)) -> (String, String) {
    (name.clone(), value.clone())
}

/// What the service is to be.
pub fn spec(key: &ServiceKey, deployment: &str, running: &Running, reading: &Reading, who: &Who) -> ServiceSpec {
    let release = Release {
        id: ReleaseId::from_parts(who.now, who.random),
        image: running.image.clone(),
        digest: running.digest.clone(),
        config: reading.config.clone(),
        origin: Origin::Deploy,
        created_at: who.now,
        created_by: who.name.clone(),
        reason: Some(format!("takes the place of the Deployment {deployment}")),
    };
    let rollout = RolloutSpec { replicas: reading.replicas, target: Some(release), ..RolloutSpec::default() };
    ServiceSpec {
        pods: Some(reading.pods.clone()),
        adopts: Some(AdoptionSpec { deployment: deployment.to_owned(), undo: false }),
        ..ServiceSpec::new(key, 1, &rollout)
    }
}

/// Makes the service; without `for_real` the API server only says whether it would.
///
/// # Errors
/// It is there already, or was refused.
pub async fn adopt(
    client: &Client,
    namespace: &str,
    (kind, name): (Kind, &str),
    service: ServiceSpec,
    for_real: bool,
) -> Result<(), ServiceError> {
    let other = match kind {
        Kind::Web => find_one::<RpcService>(client, namespace, name).await?.map(|_| "RpcService"),
        Kind::Rpc => find_one::<WebService>(client, namespace, name).await?.map(|_| "WebService"),
    };
    if let Some(kind) = other {
        return Err(ServiceError::Exists { kind, name: name.to_owned() });
    }
    match kind {
        Kind::Web => make(client, namespace, &WebService::new(name, WebServiceSpec { service }), for_real).await,
        Kind::Rpc => make(client, namespace, &RpcService::new(name, RpcServiceSpec { service }), for_real).await,
    }
}

async fn make<K>(client: &Client, namespace: &str, resource: &K, for_real: bool) -> Result<(), ServiceError>
where
    K: ServiceResource + Clone + std::fmt::Debug + Serialize + DeserializeOwned,
{
    let name = resource.name_any();
    if find_one::<K>(client, namespace, &name).await?.is_some() {
        return Err(ServiceError::Exists { kind: word(K::KIND), name });
    }
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    // Not forced: where somebody makes one at this very moment, both are told.
    let parameters = PatchParams { dry_run: !for_real, ..PatchParams::apply(SERVER_S_OWN) };
    let made = api.patch(&name, &parameters, &Patch::Apply(resource)).await;
    made.map(drop).map_err(|source| asked("make", K::KIND, &name, source))
}

/// The service that takes a Deployment's place.
///
/// # Errors
/// It is not known, or there is none.
pub async fn find(client: &Client, namespace: &str, deployment: &str) -> Result<Adopted, ServiceError> {
    let all = [of_kind::<WebService>(client, namespace).await?, of_kind::<RpcService>(client, namespace).await?];
    let takes = |one: &Adopted| one.spec.adopts.as_ref().is_some_and(|adopts| adopts.deployment == deployment);
    let found = all.into_iter().flatten().find(takes);
    found.ok_or_else(|| ServiceError::NotAdopted(deployment.to_owned()))
}

/// Lets the rest of the release follow, which names the one that was seen.
///
/// # Errors
/// Its first instance is not at the gate, or the API server refused.
pub async fn approve(client: &Client, namespace: &str, seen: &Adopted, who: &Who) -> Result<(), ServiceError> {
    let release = seen.spec.release.as_ref().filter(|_| seen.status.waiting_on.on == "approval");
    let release = release.ok_or_else(|| ServiceError::NotAtGate(seen.status.waiting_on.message.clone()))?;
    let approval = ApprovalSpec {
        release: release.id.clone(),
        digest: release.digest.clone(),
        by: who.name.clone(),
        at: from_time(who.now),
    };
    let mut found = seen.clone();
    for _ in 0..TRIES {
        let written = match found.kind {
            Kind::Web => apply_approval::<WebService>(client, namespace, &found, &approval).await,
            Kind::Rpc => apply_approval::<RpcService>(client, namespace, &found, &approval).await,
        };
        match written {
            // The operator writes the status all the time, which makes another version.
            Err(kube::Error::Api(status)) if status.is_conflict() => tokio::time::sleep(PAUSE).await,
            written => return written.map_err(|source| failed("approve", seen, source)),
        }
        let deployment = found.spec.adopts.as_ref().map(|adopts| adopts.deployment.clone()).unwrap_or_default();
        found = find(client, namespace, &deployment).await?;
        if found.spec.release.as_ref().map(|release| &release.id) != Some(&approval.release) {
            return Err(ServiceError::NotAtGate("another release has taken its place".to_owned()));
        }
    }
    Err(ServiceError::Restless { kind: word(seen.kind), name: seen.name.clone() })
}

/// The whole of it, in the version that was read: whoever applies takes away what is not said.
async fn apply_approval<K>(
    client: &Client,
    namespace: &str,
    found: &Adopted,
    approval: &ApprovalSpec,
) -> Result<(), kube::Error>
where
    K: ServiceResource + Clone + std::fmt::Debug + DeserializeOwned,
{
    let approval = Some(approval.clone());
    let spec = ServiceSpec { version: found.spec.version + 1, approval, ..found.spec.clone() };
    let patch = json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        "metadata": { "name": found.name, "annotations": found.of_server, "resourceVersion": found.version },
        "spec": spec,
    });
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    api.patch(&found.name, &PatchParams::apply(SERVER_S_OWN).force(), &Patch::Apply(patch)).await.map(drop)
}

/// Gives the place back.
///
/// # Errors
/// The API server refused, or was not there.
pub async fn undo(client: &Client, namespace: &str, adopted: &Adopted) -> Result<(), ServiceError> {
    let (patch, parameters) =
        (Patch::Merge(json!({ "spec": { "adopts": { "undo": true } } })), PatchParams::apply("adopt.barge.dev"));
    let written = match adopted.kind {
        Kind::Web => {
            let api: Api<WebService> = Api::namespaced(client.clone(), namespace);
            api.patch(&adopted.name, &parameters, &patch).await.map(drop)
        }
        Kind::Rpc => {
            let api: Api<RpcService> = Api::namespaced(client.clone(), namespace);
            api.patch(&adopted.name, &parameters, &patch).await.map(drop)
        }
    };
    written.map_err(|source| failed("give back", adopted, source))
}

/// Removes the service, of which nothing is left.
///
/// # Errors
/// The API server refused, or was not there.
pub async fn forget(client: &Client, namespace: &str, adopted: &Adopted) -> Result<(), ServiceError> {
    async fn delete<K: ServiceResource + Clone + std::fmt::Debug + DeserializeOwned>(
        client: &Client,
        namespace: &str,
        name: &str,
    ) -> Result<(), kube::Error> {
        Api::<K>::namespaced(client.clone(), namespace).delete(name, &DeleteParams::default()).await.map(drop)
    }
    let done = match adopted.kind {
        Kind::Web => delete::<WebService>(client, namespace, &adopted.name).await,
        Kind::Rpc => delete::<RpcService>(client, namespace, &adopted.name).await,
    };
    done.map_err(|source| failed("delete", adopted, source))
}

fn failed(doing: &'static str, adopted: &Adopted, source: kube::Error) -> ServiceError {
    asked(doing, adopted.kind, &adopted.name, source)
}

fn asked(doing: &'static str, kind: Kind, name: &str, source: kube::Error) -> ServiceError {
    ServiceError::Ask { doing, kind: word(kind), name: name.to_owned(), source: source.into() }
}

async fn find_one<K>(client: &Client, namespace: &str, name: &str) -> Result<Option<K>, ServiceError>
where
    K: ServiceResource + Clone + std::fmt::Debug + DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    api.get_opt(name).await.map_err(|source| asked("look for", K::KIND, name, source))
}

async fn of_kind<K>(client: &Client, namespace: &str) -> Result<Vec<Adopted>, ServiceError>
where
    K: ServiceResource + Clone + std::fmt::Debug + DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    let all = api.list(&ListParams::default()).await;
    let all = all.map_err(|source| asked("list", K::KIND, &format!("in {namespace}"), source))?;
    Ok(all.items.iter().map(Adopted::of).collect())
}

fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Web => "WebService",
        Kind::Rpc => "RpcService",
    }
}
