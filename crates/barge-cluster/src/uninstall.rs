//! Takes an installation back. Services are people's: they stay, and what runs goes on, unless they are to go as well.

use std::time::Duration;

use barge_crds::names;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Pod, Secret};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DeleteParams, ListParams};
use kube::core::dynamic::DynamicObject;
use kube::discovery::ApiResource;
use kube::{Client, ResourceExt};

use crate::apply::{ApplyError, remove};
use crate::ask::AskError;
use crate::object::title;
use crate::settings::Component;
use crate::{NAMESPACE, token};

/// Between two looks at what is ending.
const PAUSE: Duration = Duration::from_millis(500);

/// Why an installation is not gone.
#[derive(Debug, thiserror::Error)]
pub enum UninstallError {
    /// Something is still there.
    #[error(transparent)]
    Remove(#[from] ApplyError),
    /// Something cannot be looked for.
    #[error("count each {what}")]
    Count {
        /// What.
        what: &'static str,
        /// What the API server said.
        source: AskError,
    },
    /// An object is still there.
    #[error("delete the {object}")]
    Delete {
        /// Which object.
        object: String,
        /// What the API server said.
        source: AskError,
    },
    /// Instances take too long to end.
    #[error("{left} instances have not ended after {} s; nothing else was removed", limit.as_secs())]
    Instances {
        /// How many are left.
        left: usize,
        /// The limit.
        limit: Duration,
    },
}

/// What an uninstallation has removed and kept, line by line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Uninstalled {
    /// What is gone.
    pub removed: Vec<String>,
    /// What is still there.
    pub kept: Vec<String>,
}

/// Removes the parts, and what they may do. Services, their definitions and their instances stay.
///
/// # Errors
/// The first thing that the API server did not do.
pub async fn uninstall(client: &Client) -> Result<Uninstalled, UninstallError> {
    let removed = remove_parts(client).await?;
    let services = services(client).await?.len();
    let instances = instances(client).await?;
    let mut kept = vec![format!("the namespace {NAMESPACE}, with what others have put there")];
    kept.extend(
        barge_crds::definitions()
            .iter()
            .map(|definition| title("CustomResourceDefinition", None, &definition.name_any())),
    );
    kept.push(format!(
        "services: {services}, and their instances, which get no more requests through the gateway: {instances}"
    ));
    Ok(Uninstalled { removed, kept })
}

/// Removes services first, while there is somebody to take their instances out of traffic; then the parts, and the definitions.
///
/// # Errors
/// The first thing that the API server did not do, or instances that do not end within the limit.
pub async fn uninstall_with_services(client: &Client, limit: Duration) -> Result<Uninstalled, UninstallError> {
    let mut removed = Vec::new();
    for (resource, namespace, name) in services(client).await? {
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &namespace, &resource);
        let object = title(&resource.kind, Some(&namespace), &name);
        delete(&api, &name, &object, &mut removed).await?;
    }
    until_no_instances(client, limit).await?;
    removed.extend(remove_parts(client).await?);
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    for definition in barge_crds::definitions() {
        let name = definition.name_any();
        delete(&definitions, &name, &title("CustomResourceDefinition", None, &name), &mut removed).await?;
    }
    let kept = vec![format!("the namespace {NAMESPACE}, with what others have put there")];
    Ok(Uninstalled { removed, kept })
}

async fn remove_parts(client: &Client) -> Result<Vec<String>, UninstallError> {
    let mut removed = remove(client, |_, _, _| false).await?;
    let secrets: Api<Secret> = Api::namespaced(client.clone(), NAMESPACE);
    delete(&secrets, token::SECRET, &title("Secret", Some(NAMESPACE), token::SECRET), &mut removed).await?;
    let leases: Api<Lease> = Api::namespaced(client.clone(), NAMESPACE);
    for lease in Component::ALL.into_iter().filter_map(Component::lease) {
        delete(&leases, lease, &title("Lease", Some(NAMESPACE), lease), &mut removed).await?;
    }
    Ok(removed)
}

async fn delete<K>(api: &Api<K>, name: &str, object: &str, removed: &mut Vec<String>) -> Result<(), UninstallError>
where
    K: Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    match api.delete(name, &DeleteParams::default()).await {
        Err(kube::Error::Api(status)) if status.is_not_found() => {}
        Err(source) => return Err(UninstallError::Delete { object: object.to_owned(), source: source.into() }),
        Ok(_) => removed.push(object.to_owned()),
    }
    Ok(())
}

/// All services: kind, namespace and name. None where there is no definition of them.
async fn services(client: &Client) -> Result<Vec<(ApiResource, String, String)>, UninstallError> {
    let kinds = [ApiResource::erase::<barge_crds::WebService>(&()), ApiResource::erase::<barge_crds::RpcService>(&())];
    let mut services = Vec::new();
    for resource in kinds {
        let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
        match api.list_metadata(&ListParams::default()).await {
            Err(kube::Error::Api(status)) if status.is_not_found() => {}
            Err(source) => return Err(UninstallError::Count { what: "service", source: source.into() }),
            Ok(list) => services.extend(
                list.into_iter()
                    .map(|found| (resource.clone(), found.namespace().unwrap_or_default(), found.name_any())),
            ),
        }
    }
    Ok(services)
}

async fn instances(client: &Client) -> Result<usize, UninstallError> {
    let pods: Api<Pod> = Api::all(client.clone());
    let list = pods.list_metadata(&ListParams::default().labels(names::SERVICE)).await;
    Ok(list.map_err(|source| UninstallError::Count { what: "instance", source: source.into() })?.items.len())
}

async fn until_no_instances(client: &Client, limit: Duration) -> Result<(), UninstallError> {
    let end = tokio::time::Instant::now() + limit;
    loop {
        let left = instances(client).await?;
        if left == 0 {
            return Ok(());
        }
        if tokio::time::Instant::now() >= end {
            return Err(UninstallError::Instances { left, limit });
        }
        tokio::time::sleep(PAUSE).await;
    }
}
