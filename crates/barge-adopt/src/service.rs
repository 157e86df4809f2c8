//! The service in the place of a Deployment: made, approved, given back. Written as the server would write it, so that a server can go
//! on with it.

use barge_cluster::AskError;
use barge_crds::spec::{AdoptionSpec, ApprovalSpec, ServiceSpec};
use barge_crds::values::from_time;
use barge_crds::{GROUP, RpcService, RpcServiceSpec, ServiceResource, WebService, WebServiceSpec, names};
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
    /// Whether a server looks after it.
    pub has_server: bool,
}

/// On a resource that a server has written.
const SERVER: &str = "barge.dev/server-replicas";

impl Adopted {
    fn of<K: ServiceResource>(resource: &K) -> Self {
        Self {
            kind: K::KIND,
            name: resource.name_any(),
            spec: resource.spec().clone(),
            status: resource.status().cloned().unwrap_or_default(),
            has_server: resource.annotations().contains_key(SERVER),
        }
    }
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
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    // The server's own name: it goes on with what is written here, and takes back what it does not want any more.
    let parameters = PostParams { dry_run: !for_real, field_manager: Some(format!("server.{GROUP}")) };
    let name = resource.name_any();
    match api.create(&parameters, resource).await {
        Err(kube::Error::Api(status)) if status.is_already_exists() => {
            Err(ServiceError::Exists { kind: word(K::KIND), name })
        }
        made => made.map(drop).map_err(|source| asked("make", K::KIND, &name, source)),
    }
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

/// Lets the rest of the release follow, which names the one that is there.
///
/// # Errors
/// Its first instance is not at the gate, or the API server refused.
pub async fn approve(client: &Client, namespace: &str, adopted: &Adopted, who: &Who) -> Result<(), ServiceError> {
    let release = adopted.spec.release.as_ref().filter(|_| adopted.status.waiting_on.on == "approval");
    let release = release.ok_or_else(|| ServiceError::NotAtGate(adopted.status.waiting_on.message.clone()))?;
    let approval = ApprovalSpec {
        release: release.id.clone(),
        digest: release.digest.clone(),
        by: who.name.clone(),
        at: from_time(who.now),
    };
    // The rule of the resource holds it to the release, should there be another one since.
    write(client, namespace, adopted, "approve", json!({ "version": adopted.spec.version + 1, "approval": approval }))
        .await
}

/// Gives the place back.
///
/// # Errors
/// The API server refused, or was not there.
pub async fn undo(client: &Client, namespace: &str, adopted: &Adopted) -> Result<(), ServiceError> {
    write(client, namespace, adopted, "give back", json!({ "adopts": { "undo": true } })).await
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

async fn write(
    client: &Client,
    namespace: &str,
    adopted: &Adopted,
    doing: &'static str,
    spec: serde_json::Value,
) -> Result<(), ServiceError> {
    let (patch, parameters) = (Patch::Merge(json!({ "spec": spec })), PatchParams::apply(&format!("server.{GROUP}")));
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
    written.map_err(|source| failed(doing, adopted, source))
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
