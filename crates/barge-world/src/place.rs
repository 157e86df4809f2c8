//! A namespace of a test's own, and what has to be there before a service can be.

use std::time::Duration;

use barge_crds::{definitions, names};
use barge_model::Release;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use kube::{Client, ResourceExt};
use serde_json::json;

use crate::images::Images;
use crate::releases::release;

pub(crate) const OWNER: &str = "barge-test";
/// How long one state may take to come about.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// A namespace with images for it.
pub struct Place {
    /// Asks the cluster as its administrator.
    pub client: Client,
    /// The same, for other clients.
    pub config: Config,
    /// The namespace.
    pub namespace: String,
    /// The registry.
    pub images: Images,
    /// The image with barge-init, by digest.
    pub barge_init: String,
    made: u128,
}

impl Place {
    /// None, said aloud, where there is no cluster.
    pub async fn new(name: &str) -> Option<Self> {
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
        let barge_init = images.barge_init().await;
        Some(Self { client, config, namespace, images, barge_init, made: 0 })
    }

    /// A release of greeter that starts, or one that does not.
    pub async fn release(&mut self, version: &str, greeting: &str, starts: bool) -> Release {
        let mistake = if starts { "" } else { "greting = hullo\n" };
        let config = format!("version = {version}\ngreeting = {greeting}\n{mistake}");
        self.made += 1;
        let (image, digest) = self.images.greeter(&config).await;
        let mut release = release(self.made);
        release.config.env.remove("PASSWORD");
        release.config.drain.limit = barge_model::Millis::from_secs(1);
        Release { image, digest: digest.parse().unwrap(), ..release }
    }

    /// The namespace's objects of a kind.
    pub fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Begins to delete the namespace.
    pub async fn end(&self) {
        let all: Api<Namespace> = Api::all(self.client.clone());
        all.delete(&self.namespace, &DeleteParams::default()).await.unwrap();
    }
}

/// The definitions of the custom resources.
pub async fn install(client: &Client) {
    let all: Api<CustomResourceDefinition> = Api::all(client.clone());
    for definition in definitions() {
        let name = definition.name_any();
        all.patch(&name, &PatchParams::apply(OWNER).force(), &Patch::Apply(&definition)).await.unwrap();
        let known = kube::runtime::conditions::is_crd_established();
        let known = kube::runtime::wait::await_condition(all.clone(), &name, known);
        tokio::time::timeout(PATIENCE, known).await.unwrap().unwrap();
    }
}

/// A stand-in for the registrar: whatever is ready is online. Until it is dropped.
pub async fn register(pods: Api<Pod>) {
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
