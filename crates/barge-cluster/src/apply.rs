//! Brings a cluster to what was rendered: everything by server-side apply, and what was there before and is not needed any more is removed.
//!
//! Whoever is killed in the middle begins again. Services and their instances are not among what is touched.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Secret, Service, ServiceAccount};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::core::dynamic::DynamicObject;
use kube::discovery::ApiResource;
use kube::{Client, ResourceExt};

use crate::ask::AskError;
use crate::object::{Object, WriteError, title};
use crate::objects::SELECTOR;
use crate::{FIELD_MANAGER, NAMESPACE, token};

/// Why a cluster is not what it should be.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The namespace that services are to be in is not there.
    #[error("there is no namespace {0}")]
    NoNamespace(String),
    /// An object was not applied.
    #[error("apply the {object}")]
    Apply {
        /// Which object.
        object: String,
        /// What the API server said.
        source: AskError,
    },
    /// The gateway's token could not be made or looked for.
    #[error("make the Secret {} in {NAMESPACE}", token::SECRET)]
    Token(#[source] AskError),
    /// It is not known what was there before.
    #[error("list each {kind} of ours")]
    List {
        /// What kind of object.
        kind: String,
        /// What the API server said.
        source: AskError,
    },
    /// What is not needed any more is still there.
    #[error("remove the {object}")]
    Remove {
        /// Which object.
        object: String,
        /// What the API server said.
        source: AskError,
    },
    /// An object cannot be written as JSON.
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// What was done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// How many objects are as they should be.
    pub applied: usize,
    /// What was removed.
    pub removed: Vec<String>,
}

/// Applies all objects, then removes what is not among them. `new_token` is asked where the gateway has none yet.
///
/// # Errors
/// The first thing that the API server did not do.
pub async fn apply(
    client: &Client,
    objects: &[Object],
    new_token: impl FnOnce() -> String,
) -> Result<Applied, ApplyError> {
    let parameters = PatchParams::apply(FIELD_MANAGER).force();
    let mut new_token = Some(new_token);
    for object in objects {
        let applied = object.api(client).patch(object.name(), &parameters, &Patch::Apply(&object.document)).await;
        applied.map_err(|error| refused(object, error))?;
        // As soon as there is a place for it, and before whoever needs it.
        if object.resource.kind == "Namespace"
            && let Some(new_token) = new_token.take()
        {
            make_token(client, new_token).await?;
        }
    }
    let removed = remove(client, |kind, namespace, name| {
        objects
            .iter()
            .any(|object| object.resource.kind == kind && object.namespace() == namespace && object.name() == name)
    });
    Ok(Applied { applied: objects.len(), removed: removed.await? })
}

/// Removes what is ours, apart from definitions, namespace and token, unless it is to stay.
pub(crate) async fn remove(
    client: &Client,
    stays: impl Fn(&str, Option<&str>, &str) -> bool,
) -> Result<Vec<String>, ApplyError> {
    let ours = ListParams::default().labels(SELECTOR);
    let mut removed = Vec::new();
    for (resource, reach) in kinds() {
        let (kind, of_kind) = (resource.kind.as_str(), Kind { client, resource: &resource });
        let list = of_kind.api(reach).list(&ours).await;
        let list = list.map_err(|source| ApplyError::List { kind: kind.to_owned(), source: source.into() })?;
        for found in list {
            let (name, namespace) = (found.name_any(), found.namespace());
            if stays(kind, namespace.as_deref(), &name) {
                continue;
            }
            let object = title(kind, namespace.as_deref(), &name);
            match of_kind.api(namespace.as_deref()).delete(&name, &DeleteParams::foreground()).await {
                Err(kube::Error::Api(status)) if status.is_not_found() => {}
                Err(source) => return Err(ApplyError::Remove { object, source: source.into() }),
                Ok(_) => removed.push(object),
            }
        }
    }
    Ok(removed)
}

struct Kind<'a> {
    client: &'a Client,
    resource: &'a ApiResource,
}

impl Kind<'_> {
    fn api(&self, namespace: Option<&str>) -> Api<DynamicObject> {
        match namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, self.resource),
            None => Api::all_with(self.client.clone(), self.resource),
        }
    }
}

/// The kinds of which something of ours may be left over, each with where to look. Who works goes before what he works with.
fn kinds() -> [(ApiResource, Option<&'static str>); 8] {
    let own = Some(NAMESPACE);
    [
        (ApiResource::erase::<Deployment>(&()), own),
        (ApiResource::erase::<PodDisruptionBudget>(&()), own),
        (ApiResource::erase::<Service>(&()), own),
        // An earlier installation may have been for services in another namespace.
        (ApiResource::erase::<RoleBinding>(&()), None),
        (ApiResource::erase::<Role>(&()), None),
        (ApiResource::erase::<ClusterRoleBinding>(&()), None),
        (ApiResource::erase::<ClusterRole>(&()), None),
        (ApiResource::erase::<ServiceAccount>(&()), own),
    ]
}

/// A role can be for a namespace that is not there.
fn refused(object: &Object, source: kube::Error) -> ApplyError {
    match (&source, object.namespace()) {
        (kube::Error::Api(status), Some(namespace)) if status.is_not_found() => {
            ApplyError::NoNamespace(namespace.to_owned())
        }
        _ => ApplyError::Apply { object: object.title(), source: source.into() },
    }
}

async fn make_token(client: &Client, new_token: impl FnOnce() -> String) -> Result<(), ApplyError> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), NAMESPACE);
    let failed = |source: kube::Error| ApplyError::Token(source.into());
    if secrets.get_metadata_opt(token::SECRET).await.map_err(failed)?.is_some() {
        return Ok(());
    }
    let parameters = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
    match secrets.create(&parameters, &token::secret(new_token())).await {
        // Somebody else installs as well, and was faster.
        Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
        made => made.map(drop).map_err(failed),
    }
}
