//! Asks the cluster. What it does not tell is kept as such, in its words.

use futures_util::future::join_all;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::version::Info;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, ListParams, PostParams};
use kube::{Client, ResourceExt};

use crate::NAMESPACE;
use crate::ask::AskError;
use crate::settings::Component;

/// An answer, or why there is none.
pub type Asked<T> = Result<T, String>;

/// What the cluster says.
#[derive(Debug, Clone)]
pub struct Observed {
    /// When it was asked.
    pub now: Timestamp,
    /// Which Kubernetes it is.
    pub version: Asked<Info>,
    /// The definitions of our resources, as far as they are there.
    pub definitions: Asked<Vec<CustomResourceDefinition>>,
    /// What the person may do, piece by piece.
    pub allowed: Vec<(Needed, Asked<bool>)>,
    /// In the namespace of the parts.
    pub deployments: Asked<Vec<Deployment>>,
    /// In the namespace of the parts.
    pub pods: Asked<Vec<Pod>>,
    /// In the namespace of the parts, as far as they are there.
    pub leases: Asked<Vec<Lease>>,
    /// All of them.
    pub nodes: Asked<Vec<Node>>,
    /// For autoscaling.
    pub metrics: Metrics,
}

/// Whether the cluster measures pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Metrics {
    /// It does.
    There,
    /// It never does.
    Missing,
    /// Nobody can say; why.
    Silent(String),
}

/// Something that a person has to be allowed to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needed {
    /// What for.
    pub purpose: Purpose,
    /// The verb.
    pub verb: &'static str,
    /// The group.
    pub group: &'static str,
    /// The kind, in the plural.
    pub resource: &'static str,
    /// Where; nothing for the whole cluster.
    pub namespace: Option<&'static str>,
}

/// What for something has to be allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// `barge cluster install`.
    Install,
    /// Services by hand or by a server.
    Release,
}

const fn needed(
    purpose: Purpose,
    verb: &'static str,
    group: &'static str,
    resource: &'static str,
    namespace: Option<&'static str>,
) -> Needed {
    Needed { purpose, verb, group, resource, namespace }
}

/// What is asked about.
const NEEDED: [Needed; 9] = [
    needed(Purpose::Install, "patch", "apiextensions.k8s.io", "customresourcedefinitions", None),
    needed(Purpose::Install, "patch", "", "namespaces", None),
    needed(Purpose::Install, "patch", "rbac.authorization.k8s.io", "clusterroles", None),
    needed(Purpose::Install, "patch", "rbac.authorization.k8s.io", "clusterrolebindings", None),
    needed(Purpose::Install, "patch", "rbac.authorization.k8s.io", "roles", Some(NAMESPACE)),
    needed(Purpose::Install, "patch", "apps", "deployments", Some(NAMESPACE)),
    needed(Purpose::Install, "create", "", "secrets", Some(NAMESPACE)),
    needed(Purpose::Release, "patch", "barge.dev", "webservices", None),
    needed(Purpose::Release, "patch", "barge.dev", "rpcservices", None),
];

/// Asks everything.
pub async fn observe(client: &Client, now: Timestamp) -> Observed {
    let own = ListParams::default();
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), NAMESPACE);
    let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    let nodes: Api<Node> = Api::all(client.clone());
    Observed {
        now,
        version: client.apiserver_version().await.map_err(words),
        definitions: definitions(client).await,
        allowed: join_all(NEEDED.map(async |needed| (needed, allowed(client, needed).await))).await,
        deployments: deployments.list(&own).await.map(|list| list.items).map_err(words),
        pods: pods.list(&own).await.map(|list| list.items).map_err(words),
        leases: leases(client).await,
        nodes: nodes.list(&own).await.map(|list| list.items).map_err(words),
        metrics: metrics(client).await,
    }
}

fn words(error: kube::Error) -> String {
    AskError::from(error).to_string()
}

async fn definitions(client: &Client) -> Asked<Vec<CustomResourceDefinition>> {
    let all: Api<CustomResourceDefinition> = Api::all(client.clone());
    let found = join_all(barge_crds::definitions().map(|definition| {
        let all = all.clone();
        async move { all.get_opt(&definition.name_any()).await }
    }));
    let found: Result<Vec<_>, kube::Error> = found.await.into_iter().collect();
    found.map(|found| found.into_iter().flatten().collect()).map_err(words)
}

async fn leases(client: &Client) -> Asked<Vec<Lease>> {
    let leases: Api<Lease> = Api::namespaced(client.clone(), NAMESPACE);
    let names = Component::ALL.into_iter().filter_map(Component::lease);
    let found = join_all(names.map(|name| {
        let leases = leases.clone();
        async move { leases.get_opt(name).await }
    }));
    let found: Result<Vec<_>, kube::Error> = found.await.into_iter().collect();
    found.map(|found| found.into_iter().flatten().collect()).map_err(words)
}

async fn allowed(client: &Client, needed: Needed) -> Asked<bool> {
    let attributes = ResourceAttributes {
        verb: Some(needed.verb.to_owned()),
        group: Some(needed.group.to_owned()),
        resource: Some(needed.resource.to_owned()),
        namespace: needed.namespace.map(str::to_owned),
        ..ResourceAttributes::default()
    };
    let spec = SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), ..Default::default() };
    let reviews: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    let review = SelfSubjectAccessReview { spec, ..Default::default() };
    match reviews.create(&PostParams::default(), &review).await {
        Ok(review) => Ok(review.status.is_some_and(|status| status.allowed)),
        Err(error) => Err(words(error)),
    }
}

async fn metrics(client: &Client) -> Metrics {
    match client.list_api_group_resources("metrics.k8s.io/v1beta1").await {
        Ok(_) => Metrics::There,
        Err(kube::Error::Api(status)) if status.is_not_found() => Metrics::Missing,
        Err(error) => Metrics::Silent(words(error)),
    }
}
