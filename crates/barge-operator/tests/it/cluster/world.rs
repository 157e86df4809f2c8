//! A namespace of a test's own, an operator, and a stand-in for the registrar.

use std::time::Duration;

use barge_crds::{ServiceSpec, ServiceStatus, WebService, WebServiceSpec};
use barge_model::rollout::{RolloutSpec, Withdrawal};
use barge_model::{Approval, Release};
use barge_operator::build::Settings;
use barge_operator::names;
use barge_world::{PATIENCE, Place, key, register};
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use kube::client::ClientBuilder;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::fuse::Fuse;
use super::refusals::Refusals;

const OWNER: &str = "barge-test";

pub(crate) struct World {
    place: Place,
    settings: Settings,
    operator: JoinHandle<()>,
    registrar: JoinHandle<()>,
    rollout: RolloutSpec,
    version: u64,
}

impl Drop for World {
    fn drop(&mut self) {
        self.operator.abort();
        self.registrar.abort();
    }
}

impl World {
    /// None, said aloud, where there is no cluster.
    pub(crate) async fn new(name: &str) -> Option<Self> {
        let place = Place::new(name).await?;
        let settings = Settings { barge_init: place.barge_init.clone(), pull_secrets: Vec::new(), registrar: None };
        let operator = operate(&place, &settings);
        let registrar = tokio::spawn(register(place.api()));
        Some(Self { place, settings, operator, registrar, rollout: RolloutSpec::default(), version: 0 })
    }

    /// A release of greeter that starts.
    pub(crate) async fn release(&mut self, version: &str, greeting: &str) -> Release {
        self.place.release(version, greeting, true).await
    }

    /// One that does not.
    pub(crate) async fn broken(&mut self, version: &str) -> Release {
        self.place.release(version, "hello", false).await
    }

    pub(crate) async fn want(&mut self, replicas: u32, target: &Release, approval: Option<Approval>) {
        self.rollout.replicas = replicas;
        self.rollout.target = Some(target.clone());
        self.rollout.approvals = approval.into_iter().collect();
        self.write().await;
    }

    pub(crate) async fn take_back(&mut self, withdrawal: Withdrawal) {
        self.rollout.withdrawn = Some(withdrawal);
        self.write().await;
    }

    /// A release, and nothing said about how many: that is somebody else's.
    pub(crate) async fn release_only(&mut self, target: &Release, approval: Option<Approval>) {
        self.rollout.target = Some(target.clone());
        self.rollout.approvals = approval.into_iter().collect();
        self.write_all_but_replicas().await;
    }

    /// Takes a release back, and says nothing about how many.
    pub(crate) async fn withdraw(&mut self, withdrawal: Withdrawal) {
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

    pub(crate) async fn wait(&self, what: &str, reached: impl Fn(&ServiceStatus) -> bool) -> ServiceStatus {
        self.wait_for(PATIENCE, what, reached).await
    }

    /// For what needs new metrics first, and an autoscaler that looks at them.
    pub(crate) async fn wait_long(&self, what: &str, reached: impl Fn(&ServiceStatus) -> bool) -> ServiceStatus {
        self.wait_for(2 * PATIENCE, what, reached).await
    }

    async fn wait_for(
        &self,
        patience: Duration,
        what: &str,
        reached: impl Fn(&ServiceStatus) -> bool,
    ) -> ServiceStatus {
        let deadline = Instant::now() + patience;
        loop {
            let status = self.services().get("greeter").await.unwrap().status.unwrap_or_default();
            let answers = i64::try_from(self.version).unwrap() == status.version
                || status.conditions.iter().any(|condition| condition.reason == "Nonsense");
            if answers && reached(&status) {
                return status;
            }
            assert!(Instant::now() < deadline, "waited in vain for: {what}; last: {status:#?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    pub(crate) async fn wait_empty(&self) {
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
    pub(crate) async fn pods_of(&self, release: &Release) -> usize {
        let pods: Api<Pod> = self.place.api();
        let of_release = ListParams::default().labels(&format!("{}={}", names::RELEASE, release.id));
        let pods = pods.list(&of_release).await.unwrap().items;
        pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).count()
    }

    pub(crate) async fn sets(&self) -> usize {
        let sets: Api<ReplicaSet> = self.place.api();
        sets.list(&ListParams::default()).await.unwrap().items.len()
    }

    pub(crate) async fn delete_map(&self, release: &Release) {
        let maps: Api<ConfigMap> = self.place.api();
        maps.delete(&names::of_release(&key().service, &release.id), &DeleteParams::default()).await.unwrap();
    }

    pub(crate) async fn delete_set(&self, release: &Release) {
        let sets: Api<ReplicaSet> = self.place.api();
        sets.delete(&names::of_release(&key().service, &release.id), &DeleteParams::background()).await.unwrap();
    }

    pub(crate) async fn delete_pod(&self) {
        let pods: Api<Pod> = self.place.api();
        let all = pods.list(&ListParams::default()).await.unwrap().items;
        let lives = all.iter().find(|pod| pod.metadata.deletion_timestamp.is_none()).unwrap();
        pods.delete(&lives.name_any(), &DeleteParams::default()).await.unwrap();
    }

    pub(crate) async fn delete_service(&self) {
        self.services().delete("greeter", &DeleteParams::default()).await.unwrap();
    }

    pub(crate) fn restart_operator(&mut self) {
        self.operator.abort();
        self.operator = operate(&self.place, &self.settings);
    }

    /// From now on an operator that dies with one of its writes, and another one after it.
    pub(crate) fn restart_operator_with(&mut self, fuse: Fuse) {
        self.operator.abort();
        let fused = ClientBuilder::try_from(self.place.config.clone()).unwrap().with_layer(&fuse).build();
        let (client, settings, namespace) =
            (self.place.client.clone(), self.settings.clone(), self.place.namespace.clone());
        self.operator = tokio::spawn(async move {
            tokio::select! {
                () = barge_operator::run(fused, settings.clone(), Some(namespace.clone())) => {}
                () = fuse.blown() => {}
            }
            barge_operator::run(client, settings, Some(namespace)).await;
        });
    }

    /// From now on an operator whose writes are refused now and then.
    pub(crate) fn restart_operator_behind(&mut self, refusals: &Refusals) {
        self.operator.abort();
        let builder = ClientBuilder::try_from(self.place.config.clone()).unwrap();
        let client = builder.with_layer(refusals).build();
        let (settings, namespace) = (self.settings.clone(), self.place.namespace.clone());
        self.operator = tokio::spawn(barge_operator::run(client, settings, Some(namespace)));
    }

    pub(crate) async fn end(&self) {
        self.place.end().await;
    }

    /// The namespace's objects of a kind.
    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        self.place.api()
    }

    fn services(&self) -> Api<WebService> {
        self.place.api()
    }
}

/// An operator for one namespace, so that those of other tests are others' business.
fn operate(place: &Place, settings: &Settings) -> JoinHandle<()> {
    tokio::spawn(barge_operator::run(place.client.clone(), settings.clone(), Some(place.namespace.clone())))
}
