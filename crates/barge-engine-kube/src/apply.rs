//! Writes desired states: server-side apply, with a field manager of the server's own.

use std::time::Duration;

use barge_crds::{GROUP, RpcService, ServiceResource, WebService, names};
use barge_engine::{Desired, EngineError};
use barge_model::manifest::Kind;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::{Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::desired::{Write, write};
use crate::images::{Images, SECRET};

/// The operator writes the status all the time, which makes another version of the resource.
const TRIES: u32 = 20;
/// Before another try.
const PAUSE: Duration = Duration::from_millis(50);

/// Why a desired state was not written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApplyError {
    #[error("look for the {kind} {name}")]
    Look { kind: String, name: String, source: Box<kube::Error> },
    #[error("apply the {kind} {name}{hint}")]
    Write { kind: String, name: String, hint: &'static str, source: Box<kube::Error> },
    #[error("apply the {kind} {name}: it was changed by others all the time")]
    Restless { kind: String, name: String },
    #[error("write the secret {name}, with which images are pulled; hint: barge cluster check")]
    Secret { name: String, source: Box<kube::Error> },
    #[error("make the namespace {name}; hint: kubectl create namespace {name}")]
    Namespace { name: String, source: Box<kube::Error> },
    #[error(
        "{name} is a {found} in this cluster and cannot become another kind; hint: give the service another name, or delete it there first: kubectl delete {found} {name}"
    )]
    OtherKind { name: String, found: String },
    #[error("the resource is of version {0}")]
    Stale(u64),
}

impl ApplyError {
    /// The same for the server.
    pub(crate) fn of(self, desired: &Desired) -> EngineError {
        match self {
            Self::Stale(stored) => EngineError::Stale { key: desired.key.clone(), given: desired.version, stored },
            other => EngineError::failed(format!("apply the desired state of {}", desired.key), other),
        }
    }
}

/// What has been written: the version of the resource.
pub(crate) type Written = u64;

/// Writes a desired state to a namespace. Nothing where there is nothing to write to: nothing was ever released, so that nobody knows of which
/// kind the service will be.
pub(crate) async fn apply(
    client: &Client,
    images: Option<&Images>,
    namespace: &str,
    desired: &Desired,
) -> Result<Option<Written>, ApplyError> {
    if let Some(images) = images.filter(|_| desired.rollout.target.is_some()) {
        let_pull(client, images, namespace, desired).await?;
    }
    let name = desired.key.service.as_str();
    let (web, rpc) = (Place::<WebService>::new(client, namespace), Place::<RpcService>::new(client, namespace));
    match desired.rollout.target.as_ref().map(|target| target.config.kind) {
        Some(Kind::Web) => {
            rpc.refuse_existing(name).await?;
            web.write(desired).await.map(Some)
        }
        Some(Kind::Rpc) => {
            web.refuse_existing(name).await?;
            rpc.write(desired).await.map(Some)
        }
        None if web.find(name).await?.is_some() => web.write(desired).await.map(Some),
        None if rpc.find(name).await?.is_some() => rpc.write(desired).await.map(Some),
        None => Ok(None),
    }
}

/// Resources of a kind in a namespace.
struct Place<'a, K> {
    client: &'a Client,
    namespace: &'a str,
    api: Api<K>,
}

impl<'a, K> Place<'a, K>
where
    K: ServiceResource + Clone + std::fmt::Debug + DeserializeOwned,
{
    fn new(client: &'a Client, namespace: &'a str) -> Self {
        Self { client, namespace, api: Api::namespaced(client.clone(), namespace) }
    }

    async fn find(&self, name: &str) -> Result<Option<K>, ApplyError> {
        self.api.get_opt(name).await.map_err(|source| ApplyError::Look {
            kind: kind::<K>(),
            name: self.full(name),
            source: Box::new(source),
        })
    }

    async fn refuse_existing(&self, name: &str) -> Result<(), ApplyError> {
        match self.find(name).await? {
            Some(_) => Err(ApplyError::OtherKind { name: name.to_owned(), found: kind::<K>() }),
            None => Ok(()),
        }
    }

    async fn write(&self, desired: &Desired) -> Result<Written, ApplyError> {
        let name = desired.key.service.as_str();
        let parameters = PatchParams::apply(&format!("server.{GROUP}")).force();
        let mut refused = None;
        for _ in 0..TRIES {
            let found = self.find(name).await?;
            let patch = match write(desired, found.as_ref()) {
                Write::Stale(stored) => return Err(ApplyError::Stale(stored)),
                Write::Nothing => return Ok(found.as_ref().map_or(0, version)),
                Write::Apply(patch) => patch,
            };
            // Whoever was refused as nonsense, and reads the same again, was not only too late.
            let read = found.as_ref().map(version);
            match self.api.patch(name, &parameters, &Patch::Apply(&patch)).await {
                Ok(written) => return Ok(version(&written)),
                Err(kube::Error::Api(status)) if status.is_conflict() => {}
                Err(kube::Error::Api(status)) if status.is_invalid() && refused != Some(read) => refused = Some(read),
                Err(kube::Error::Api(status)) if status.is_not_found() && is_of_namespace(&status) => {
                    make_namespace(self.client, self.namespace, desired).await?;
                }
                Err(source) => return Err(self.not_written(name, source)),
            }
            tokio::time::sleep(PAUSE).await;
        }
        Err(ApplyError::Restless { kind: kind::<K>(), name: self.full(name) })
    }

    fn not_written(&self, name: &str, source: kube::Error) -> ApplyError {
        let hint = match &source {
            kube::Error::Api(status) if status.is_not_found() => "; hint: barge cluster install",
            kube::Error::Api(status) if status.is_forbidden() => "; hint: barge cluster check",
            _ => "",
        };
        ApplyError::Write { kind: kind::<K>(), name: self.full(name), hint, source: Box::new(source) }
    }

    fn full(&self, name: &str) -> String {
        format!("{}/{name}", self.namespace)
    }
}

async fn make_namespace(client: &Client, namespace: &str, desired: &Desired) -> Result<(), ApplyError> {
    let made = json!({
        "metadata": {
            "name": namespace,
            "labels": { names::ENVIRONMENT: desired.key.environment, "app.kubernetes.io/managed-by": "barge" },
        },
    });
    let fail = |source| ApplyError::Namespace { name: namespace.to_owned(), source: Box::new(source) };
    let made: Namespace = serde_json::from_value(made).map_err(|error| fail(kube::Error::SerdeError(error)))?;
    match Api::all(client.clone()).create(&PostParams::default(), &made).await {
        Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
        made => made.map(drop).map_err(fail),
    }
}

/// Sees to it that pods of a namespace can pull from the platform's own registry.
async fn let_pull(client: &Client, images: &Images, namespace: &str, desired: &Desired) -> Result<(), ApplyError> {
    let fail =
        |source: kube::Error| ApplyError::Secret { name: format!("{namespace}/{SECRET}"), source: Box::new(source) };
    match images.write(client, namespace).await {
        Err(kube::Error::Api(status)) if status.is_not_found() => {
            make_namespace(client, namespace, desired).await?;
            images.write(client, namespace).await.map_err(fail)
        }
        written => written.map_err(fail),
    }
}

fn kind<K: Resource<DynamicType = ()>>() -> String {
    K::kind(&()).into_owned()
}

/// Versions of one object grow (KEP-5504).
pub(crate) fn version(object: &impl ResourceExt) -> u64 {
    object.resource_version().and_then(|version| version.parse().ok()).unwrap_or(0)
}

/// What is missing is the namespace, and not the kind.
fn is_of_namespace(status: &kube::core::Status) -> bool {
    status.details.as_ref().is_some_and(|details| details.kind == "namespaces")
}
