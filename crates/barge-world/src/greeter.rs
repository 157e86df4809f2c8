//! A service of its own resource, and what people and pipelines do with it.

use std::time::Duration;

use barge_crds::{ServiceSpec, ServiceStatus, WebService, WebServiceSpec, names};
use barge_model::rollout::{RolloutSpec, Withdrawal};
use barge_model::{Approval, Release};
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use tokio::time::Instant;

use crate::place::{OWNER, PATIENCE, Place};
use crate::releases::key;

/// The service, in a place of its own. Who brings it about is the test's business.
pub struct Greeter {
    /// Where it is.
    pub place: Place,
    rollout: RolloutSpec,
    version: u64,
}

impl Greeter {
    /// One of which nothing is known yet.
    pub fn new(place: Place) -> Self {
        Self { place, rollout: RolloutSpec::default(), version: 0 }
    }

    /// A release that starts.
    pub async fn release(&mut self, version: &str, greeting: &str) -> Release {
        self.place.release(version, greeting, true).await
    }

    /// One that does not.
    pub async fn broken(&mut self, version: &str) -> Release {
        self.place.release(version, "hello", false).await
    }

    /// So many instances of a release, with an approval or without.
    pub async fn want(&mut self, replicas: u32, target: &Release, approval: Option<Approval>) {
        self.rollout.replicas = replicas;
        self.rollout.target = Some(target.clone());
        self.rollout.approvals = approval.into_iter().collect();
        self.write().await;
    }

    /// Takes a release back.
    pub async fn take_back(&mut self, withdrawal: Withdrawal) {
        self.rollout.withdrawn = Some(withdrawal);
        self.write().await;
    }

    /// A release, and nothing said about how many: that is somebody else's.
    pub async fn release_only(&mut self, target: &Release, approval: Option<Approval>) {
        self.rollout.target = Some(target.clone());
        self.rollout.approvals = approval.into_iter().collect();
        self.write_all_but_replicas().await;
    }

    /// Takes a release back, and says nothing about how many.
    pub async fn withdraw(&mut self, withdrawal: Withdrawal) {
        self.rollout.withdrawn = Some(withdrawal);
        self.write_all_but_replicas().await;
    }

    async fn write_all_but_replicas(&mut self) {
        self.version += 1;
        let mut spec = serde_json::to_value(ServiceSpec::new(&key(), self.version, &self.rollout)).unwrap();
        let fields = spec.as_object_mut().unwrap();
        fields.remove("replicas");
        // What is not said any more is to go.
        for field in ["approval", "withdrawn"] {
            fields.entry(field).or_insert(serde_json::Value::Null);
        }
        let patch = serde_json::json!({ "spec": spec });
        self.services().patch("greeter", &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    }

    async fn write(&mut self) {
        self.version += 1;
        let service = ServiceSpec::new(&key(), self.version, &self.rollout);
        let resource = WebService::new("greeter", WebServiceSpec { service });
        self.services().patch("greeter", &PatchParams::apply(OWNER).force(), &Patch::Apply(&resource)).await.unwrap();
    }

    /// Waits for a status that answers what was written last.
    pub async fn wait(&self, what: &str, reached: impl Fn(&ServiceStatus) -> bool) -> ServiceStatus {
        self.wait_for(PATIENCE, what, reached).await
    }

    /// For what needs new metrics first, and an autoscaler that looks at them.
    pub async fn wait_long(&self, what: &str, reached: impl Fn(&ServiceStatus) -> bool) -> ServiceStatus {
        self.wait_for(2 * PATIENCE, what, reached).await
    }

    /// The same for as long as somebody says.
    pub async fn wait_for(
        &self,
        patience: Duration,
        what: &str,
        reached: impl Fn(&ServiceStatus) -> bool,
    ) -> ServiceStatus {
        let deadline = Instant::now() + patience;
        loop {
            // The API server may be away for a moment, where a test has killed it.
            let status =
                self.services().get("greeter").await.ok().and_then(|service| service.status).unwrap_or_default();
            let answers = i64::try_from(self.version).unwrap() == status.version
                || status.conditions.iter().any(|condition| condition.reason == "Nonsense");
            if answers && reached(&status) {
                return status;
            }
            assert!(Instant::now() < deadline, "waited in vain for: {what}; last: {status:#?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Waits until nothing is left.
    pub async fn wait_empty(&self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let pods: Api<Pod> = self.place.api();
            let left = pods.list(&ListParams::default()).await.unwrap().items.len();
            if left + self.sets().await == 0 {
                return;
            }
            assert!(Instant::now() < deadline, "{left} pods are left");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Pods of a release that are not about to go.
    pub async fn pods_of(&self, release: &Release) -> usize {
        let pods: Api<Pod> = self.place.api();
        let of_release = ListParams::default().labels(&format!("{}={}", names::RELEASE, release.id));
        let pods = pods.list(&of_release).await.unwrap().items;
        pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).count()
    }

    /// ReplicaSets that there are.
    pub async fn sets(&self) -> usize {
        let sets: Api<ReplicaSet> = self.place.api();
        sets.list(&ListParams::default()).await.unwrap().items.len()
    }

    /// Takes a ConfigMap away.
    pub async fn delete_map(&self, release: &Release) {
        let maps: Api<ConfigMap> = self.place.api();
        maps.delete(&names::of_release(&key().service, &release.id), &DeleteParams::default()).await.unwrap();
    }

    /// Takes a ReplicaSet away, with its pods.
    pub async fn delete_set(&self, release: &Release) {
        let sets: Api<ReplicaSet> = self.place.api();
        sets.delete(&names::of_release(&key().service, &release.id), &DeleteParams::background()).await.unwrap();
    }

    /// Takes some pod away.
    pub async fn delete_pod(&self) {
        let pods: Api<Pod> = self.place.api();
        let all = pods.list(&ListParams::default()).await.unwrap().items;
        let lives = all.iter().find(|pod| pod.metadata.deletion_timestamp.is_none()).unwrap();
        pods.delete(&lives.name_any(), &DeleteParams::default()).await.unwrap();
    }

    /// Takes the service away.
    pub async fn delete_service(&self) {
        self.services().delete("greeter", &DeleteParams::default()).await.unwrap();
    }

    /// The namespace's objects of a kind.
    pub fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        self.place.api()
    }

    /// Begins to delete the namespace.
    pub async fn end(&self) {
        self.place.end().await;
    }

    fn services(&self) -> Api<WebService> {
        self.place.api()
    }
}
