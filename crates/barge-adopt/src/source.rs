//! What the cluster has of a Deployment: itself, its pods, and those that know them.

use std::collections::BTreeMap;

use barge_cluster::AskError;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{Container, Pod, PodTemplateSpec, Service};
use kube::api::{Api, ListParams};
use kube::core::Selector;
use kube::{Client, Resource, ResourceExt};

use crate::Refusal;

/// Why it is not known what there is.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// There is none of that name.
    #[error("there is no Deployment {name} in the namespace {namespace}")]
    NoDeployment {
        /// Its name.
        name: String,
        /// Where it was looked for.
        namespace: String,
    },
    /// The API server refused, or was not there.
    #[error("look at {what}")]
    Ask {
        /// What was looked at.
        what: &'static str,
        /// What the API server said.
        source: AskError,
    },
    /// A selector that cannot be asked for.
    #[error("understand the selector of the Deployment {0}")]
    Selector(String),
}

/// A Deployment, and what belongs to it.
#[derive(Debug, Clone, Default)]
pub struct Source {
    /// The Deployment.
    pub deployment: Deployment,
    /// Its pods that live, and are not about to go.
    pub pods: Vec<Pod>,
    /// The Services of its namespace.
    pub services: Vec<Service>,
    /// The autoscalers of its namespace.
    pub autoscalers: Vec<HorizontalPodAutoscaler>,
}

impl Source {
    /// Asks the cluster.
    ///
    /// # Errors
    /// There is no such Deployment, or something is not told.
    pub async fn look(client: &Client, namespace: &str, name: &str) -> Result<Self, LookError> {
        let deployments: Api<Deployment> = Api::namespaced(client.clone(), namespace);
        let found = deployments.get_opt(name).await.map_err(|error| asked("the Deployment", error))?;
        let missing = || LookError::NoDeployment { name: name.to_owned(), namespace: namespace.to_owned() };
        let deployment = found.ok_or_else(missing)?;
        let selector = deployment.spec.as_ref().map(|spec| spec.selector.clone()).unwrap_or_default();
        let selector = Selector::try_from(selector).map_err(|_| LookError::Selector(name.to_owned()))?;
        let of_selector = ListParams::default().labels_from(&selector);
        let sets: Vec<ReplicaSet> = list(client, namespace, "its ReplicaSets", &of_selector).await?;
        let pods: Vec<Pod> = list(client, namespace, "its pods", &of_selector).await?;
        let all = ListParams::default();
        let services = list(client, namespace, "the Services beside it", &all).await?;
        let autoscalers = list(client, namespace, "the autoscalers beside it", &all).await?;
        let sets: Vec<String> =
            sets.iter().filter(|set| is_of(*set, &deployment)).filter_map(ResourceExt::uid).collect();
        let is_own = |pod: &Pod| {
            let owners = pod.owner_references().iter().filter(|owner| owner.controller == Some(true));
            // One that was evicted is only its object.
            let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
            let lives = pod.metadata.deletion_timestamp.is_none() && !matches!(phase, Some("Failed" | "Succeeded"));
            lives && owners.into_iter().any(|owner| sets.contains(&owner.uid))
        };
        Ok(Self { deployment, pods: pods.into_iter().filter(is_own).collect(), services, autoscalers })
    }

    pub(crate) fn template(&self) -> PodTemplateSpec {
        self.deployment.spec.as_ref().map(|spec| spec.template.clone()).unwrap_or_default()
    }

    /// The labels of its pods, as it gives them.
    pub(crate) fn labels(&self) -> BTreeMap<String, String> {
        self.template().metadata.and_then(|metadata| metadata.labels).unwrap_or_default()
    }

    /// The container that is the service.
    pub(crate) fn container(&self, asked: Option<&str>) -> Result<Container, Refusal> {
        let mut all = self.template().spec.map(|spec| spec.containers).unwrap_or_default();
        let there = || all.iter().map(|container| container.name.clone()).collect::<Vec<_>>();
        match asked {
            Some(asked) => {
                let none = || Refusal::NoContainer { asked: asked.to_owned(), there: there() };
                all.iter().find(|container| container.name == asked).cloned().ok_or_else(none)
            }
            None if all.len() == 1 => Ok(all.remove(0)),
            None => Err(Refusal::Containers(there())),
        }
    }
}

fn is_of(object: &impl ResourceExt, deployment: &Deployment) -> bool {
    let uid = deployment.uid().unwrap_or_default();
    object.owner_references().iter().any(|owner| owner.uid == uid && owner.controller == Some(true))
}

async fn list<K>(client: &Client, namespace: &str, what: &'static str, which: &ListParams) -> Result<Vec<K>, LookError>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    api.list(which).await.map(|list| list.items).map_err(|error| asked(what, error))
}

fn asked(what: &'static str, error: kube::Error) -> LookError {
    LookError::Ask { what, source: error.into() }
}
