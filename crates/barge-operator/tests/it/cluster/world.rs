//! A namespace of a test's own, an operator, and a stand-in for the registrar.

use std::time::Duration;

use barge_crds::{ServiceSpec, ServiceStatus, WebService, WebServiceSpec, definitions};
use barge_model::rollout::{RolloutSpec, Withdrawal};
use barge_model::{Approval, Release};
use barge_operator::build::Settings;
use barge_operator::names;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::client::ClientBuilder;
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use kube::{Client, ResourceExt};
use serde_json::json;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::fuse::Fuse;
use super::images::Images;
use crate::support::{key, release};

const OWNER: &str = "barge-test";
/// How long one state may take to come about.
const PATIENCE: Duration = Duration::from_secs(90);

pub(crate) struct World {
    client: Client,
    config: Config,
    namespace: String,
    images: Images,
    settings: Settings,
    operator: JoinHandle<()>,
    registrar: JoinHandle<()>,
    rollout: RolloutSpec,
    version: u64,
    made: u128,
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
        let path = barge_testkit::cluster::kubeconfig()?;
        // Another test of this program may have been first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (kubeconfig, options) = (Kubeconfig::read_from(path).unwrap(), KubeConfigOptions::default());
        let config = Config::from_custom_kubeconfig(kubeconfig, &options).await.unwrap();
        let client = Client::try_from(config.clone()).unwrap();
        install(&client).await;
        let namespace = format!("{OWNER}-{name}-{}", std::process::id());
        let made = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": namespace } });
        let made: Namespace = serde_json::from_value(made).unwrap();
        Api::all(client.clone()).create(&PostParams::default(), &made).await.unwrap();
        let images = Images::new().await;
        let settings = Settings { barge_init: images.barge_init().await, pull_secrets: Vec::new() };
        let operator = operate(&client, &settings, &namespace);
        let registrar = tokio::spawn(register(Api::namespaced(client.clone(), &namespace)));
        let (rollout, version, made) = (RolloutSpec::default(), 0, 0);
        Some(Self { client, config, namespace, images, settings, operator, registrar, rollout, version, made })
    }

    /// A release of greeter that starts.
    pub(crate) async fn release(&mut self, version: &str, greeting: &str) -> Release {
        self.of(&format!("version = {version}\ngreeting = {greeting}\n")).await
    }

    /// One that does not.
    pub(crate) async fn broken(&mut self, version: &str) -> Release {
        self.of(&format!("version = {version}\ngreeting = hello\ngreting = hullo\n")).await
    }

    async fn of(&mut self, config: &str) -> Release {
        self.made += 1;
        let (image, digest) = self.images.greeter(config).await;
        let mut release = release(self.made);
        release.config.env.remove("PASSWORD");
        release.config.drain.limit = barge_model::Millis::from_secs(1);
        Release { image, digest: digest.parse().unwrap(), ..release }
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

    async fn write(&mut self) {
        self.version += 1;
        let service = ServiceSpec::new(&key(), self.version, &self.rollout);
        let resource = WebService::new("greeter", WebServiceSpec { service });
        self.services().patch("greeter", &PatchParams::apply(OWNER).force(), &Patch::Apply(&resource)).await.unwrap();
    }

    pub(crate) async fn wait(&self, what: &str, reached: impl Fn(&ServiceStatus) -> bool) -> ServiceStatus {
        let deadline = Instant::now() + PATIENCE;
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
            let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
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
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        let of_release = ListParams::default().labels(&format!("{}={}", names::RELEASE, release.id));
        let pods = pods.list(&of_release).await.unwrap().items;
        pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).count()
    }

    pub(crate) async fn sets(&self) -> usize {
        let sets: Api<ReplicaSet> = Api::namespaced(self.client.clone(), &self.namespace);
        sets.list(&ListParams::default()).await.unwrap().items.len()
    }

    pub(crate) async fn delete_map(&self, release: &Release) {
        let maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), &self.namespace);
        maps.delete(&names::of_release(&key().service, &release.id), &DeleteParams::default()).await.unwrap();
    }

    pub(crate) async fn delete_set(&self, release: &Release) {
        let sets: Api<ReplicaSet> = Api::namespaced(self.client.clone(), &self.namespace);
        sets.delete(&names::of_release(&key().service, &release.id), &DeleteParams::background()).await.unwrap();
    }

    pub(crate) async fn delete_pod(&self) {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        let all = pods.list(&ListParams::default()).await.unwrap().items;
        let lives = all.iter().find(|pod| pod.metadata.deletion_timestamp.is_none()).unwrap();
        pods.delete(&lives.name_any(), &DeleteParams::default()).await.unwrap();
    }

    pub(crate) async fn delete_service(&self) {
        self.services().delete("greeter", &DeleteParams::default()).await.unwrap();
    }

    pub(crate) fn restart_operator(&mut self) {
        self.operator.abort();
        self.operator = operate(&self.client, &self.settings, &self.namespace);
    }

    /// From now on an operator that dies with one of its writes, and another one after it.
    pub(crate) fn restart_operator_with(&mut self, fuse: Fuse) {
        self.operator.abort();
        let fused = ClientBuilder::try_from(self.config.clone()).unwrap().with_layer(&fuse).build();
        let (client, settings, namespace) = (self.client.clone(), self.settings.clone(), self.namespace.clone());
        self.operator = tokio::spawn(async move {
            tokio::select! {
                () = barge_operator::run(fused, settings.clone(), Some(namespace.clone())) => {}
                () = fuse.blown() => {}
            }
            barge_operator::run(client, settings, Some(namespace)).await;
        });
    }

    pub(crate) async fn end(self) {
        let all: Api<Namespace> = Api::all(self.client.clone());
        all.delete(&self.namespace, &DeleteParams::default()).await.unwrap();
    }

    fn services(&self) -> Api<WebService> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }
}

/// An operator for one namespace, so that those of other tests are others' business.
fn operate(client: &Client, settings: &Settings, namespace: &str) -> JoinHandle<()> {
    tokio::spawn(barge_operator::run(client.clone(), settings.clone(), Some(namespace.to_owned())))
}

async fn install(client: &Client) {
    let all: Api<CustomResourceDefinition> = Api::all(client.clone());
    for definition in definitions() {
        let name = definition.name_any();
        all.patch(&name, &PatchParams::apply(OWNER).force(), &Patch::Apply(&definition)).await.unwrap();
        let known = kube::runtime::conditions::is_crd_established();
        let known = kube::runtime::wait::await_condition(all.clone(), &name, known);
        tokio::time::timeout(PATIENCE, known).await.unwrap().unwrap();
    }
}

/// Whatever is ready is online.
async fn register(pods: Api<Pod>) {
    loop {
        for pod in pods.list(&ListParams::default()).await.map(|list| list.items).unwrap_or_default() {
            let conditions = pod.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
            let is = |name: &str| conditions.iter().any(|one| one.type_ == name && one.status == "True");
            if is("ContainersReady") && !is(names::ONLINE) {
                let online = json!({ "status": { "conditions": [{ "type": names::ONLINE, "status": "True" }] } });
                let _ = pods.patch_status(&pod.name_any(), &PatchParams::default(), &Patch::Strategic(online)).await;
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
