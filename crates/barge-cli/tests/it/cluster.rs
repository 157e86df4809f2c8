//! `barge cluster`: what people are told without a cluster, and the whole way on a real one.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use barge_crds::{ServiceSpec, ServiceStatus, WebService, WebServiceSpec, names};
use barge_model::rollout::RolloutSpec;
use barge_world::{PATIENCE, approval, key};
use insta::assert_snapshot;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, Secret, Service};
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use serde_json::json;

use crate::support::{Place, Run};

const SYSTEM: &str = "barge-system";

#[test]
fn what_is_missing_on_the_command_line_is_told() {
    let place = Place::new();
    let run = place.run("cluster install");
    assert!(run.code == 2 && run.err.contains("--registry <HOST/REPOSITORY>"), "{}", run.told());
    assert_snapshot!(place.run("cluster install --image registry.example/barge:latest").told(), @"");
    assert_snapshot!(place.run("cluster check").told(), @"");
    assert_snapshot!(place.run("cluster check --kubeconfig nowhere").told(), @"");
}

#[test]
fn each_action_teaches_by_example() {
    let place = Place::new();
    for action in ["install", "check", "uninstall", "image"] {
        let run = place.run(&format!("cluster {action} --help"));
        let help = run.ok();
        assert!(help.contains(&format!("Examples:\n  barge cluster {action}")), "{help}");
        let wide: Vec<&str> = help.lines().filter(|line| line.chars().count() > 120).collect();
        assert!(wide.is_empty(), "{action}: {wide:?}");
    }
}

#[test]
fn a_cluster_that_does_not_answer_is_no_cluster_that_lacks_something() {
    let place = Place::new();
    // Nobody listens on this port of this address.
    let kubeconfig = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "a",
        "clusters": [{ "name": "a", "cluster": { "server": "https://127.9.9.9:1" } }],
        "users": [{ "name": "a", "user": {} }],
        "contexts": [{ "name": "a", "context": { "cluster": "a", "user": "a" } }],
    });
    let path = place.write("kubeconfig", &kubeconfig.to_string());
    let run = place.run(&format!("cluster uninstall --kubeconfig {}", path.display()));
    assert_eq!(run.code, 5, "{}", run.told());
    assert!(
        run.err.starts_with("error: list each Deployment of ours: the API server cannot be reached: "),
        "{}",
        run.err
    );
    assert!(run.err.contains("hint: `kubectl cluster-info`"), "{}", run.err);
    let run = place.run(&format!("cluster check --kubeconfig {}", path.display()));
    assert!(run.code == 1 && run.out.contains("Kubernetes") && run.out.contains("missing"), "{}", run.told());
}

#[test]
fn nobody_deletes_all_services_by_a_script_that_does_not_say_so() {
    let place = Place::new();
    let path = place.write("kubeconfig", "apiVersion: v1\nkind: Config\ncurrent-context: a\nclusters: [{name: a, cluster: {server: 'https://127.9.9.9:1'}}]\nusers: [{name: a, user: {}}]\ncontexts: [{name: a, context: {cluster: a, user: a}}]\n");
    let run = place.run(&format!("cluster uninstall --with-services --kubeconfig {}", path.display()));
    assert!(run.code == 2 && run.err.contains("hint: say --yes as well"), "{}", run.told());
}

/// A cluster, and `barge` for it.
struct Installed {
    here: Place,
    there: barge_world::Place,
    kubeconfig: PathBuf,
}

impl Installed {
    async fn new() -> Option<Self> {
        let there = barge_world::Place::new("install").await?;
        let kubeconfig = barge_testkit::cluster::kubeconfig()?;
        let deployments: Api<Deployment> = Api::namespaced(there.client.clone(), SYSTEM);
        let found = deployments.list(&ListParams::default()).await.unwrap().items.len();
        assert_eq!(found, 0, "somebody has Barge on this cluster already; hint: barge cluster uninstall");
        Some(Self { here: Place::new(), there, kubeconfig })
    }

    fn run(&self, line: &str) -> Run {
        self.here.run(&format!("cluster {line} --kubeconfig {}", self.kubeconfig.display()))
    }

    /// Only for services of the test: others on this cluster have operators of their own.
    fn install(&self, more: &str) -> Run {
        let (here, there) = self.there.images.names();
        let namespace = &self.there.namespace;
        self.run(&format!(
            "install --json --registry {there}/barge --push-to {here}/barge --namespace-of-services {namespace} {more}"
        ))
    }

    fn client(&self) -> Client {
        self.there.client.clone()
    }

    async fn wait(&self, what: &str, reached: impl Fn(&ServiceStatus) -> bool) {
        let services: Api<WebService> = self.there.api();
        let end = Instant::now() + 2 * PATIENCE;
        loop {
            let status = services.get("greeter").await.unwrap().status.unwrap_or_default();
            if reached(&status) {
                return;
            }
            assert!(Instant::now() < end, "waited in vain for {what}: {status:#?}");
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    }

    /// The instances, with how often each was started again.
    async fn instances(&self) -> BTreeMap<String, i32> {
        let pods: Api<Pod> = self.there.api();
        let pods = pods.list(&ListParams::default().labels(names::SERVICE)).await.unwrap().items;
        let containers =
            |pod: &Pod| pod.status.clone().and_then(|status| status.container_statuses).unwrap_or_default();
        let restarts = |pod: &Pod| containers(pod).iter().map(|one| one.restart_count).sum();
        pods.iter().map(|pod| (pod.uid().unwrap(), restarts(pod))).collect()
    }

    async fn token(&self) -> Option<Secret> {
        let secrets: Api<Secret> = Api::namespaced(self.client(), SYSTEM);
        secrets.get_opt("barge-gateway").await.unwrap()
    }

    async fn release(&mut self) {
        let release = self.there.release("1", "hello", true).await;
        let rollout =
            RolloutSpec { replicas: 2, approvals: vec![approval(&release)], target: Some(release), withdrawn: None };
        let resource = WebService::new("greeter", WebServiceSpec { service: ServiceSpec::new(&key(), 1, &rollout) });
        let services: Api<WebService> = self.there.api();
        services.patch("greeter", &PatchParams::apply("barge-test"), &Patch::Apply(&resource)).await.unwrap();
    }

    /// Something of an earlier version, which is not needed any more.
    async fn leave_something_over(&self) {
        let labels = json!({ "app.kubernetes.io/managed-by": "barge", "app.kubernetes.io/part-of": "barge" });
        let spec = json!({ "ports": [{ "port": 1 }] });
        let service: Service =
            serde_json::from_value(json!({ "metadata": { "name": "barge-before", "labels": labels }, "spec": spec }))
                .unwrap();
        let services: Api<Service> = Api::namespaced(self.client(), SYSTEM);
        services.create(&PostParams::default(), &service).await.unwrap();
    }
}

#[tokio::test]
async fn what_is_installed_runs_is_upgraded_and_goes_again() {
    let Some(mut cluster) = Installed::new().await else { return };
    let dry = cluster.install("--dry-run").json();
    let kinds: Vec<&str> = dry.as_array().unwrap().iter().map(|object| object["kind"].as_str().unwrap()).collect();
    assert!(kinds.contains(&"Deployment") && !kinds.contains(&"Secret"), "{kinds:?}");
    assert!(cluster.token().await.is_none(), "nothing was changed");

    let installed = cluster.install("").json();
    assert_eq!(installed["available"], true, "{installed}");
    let token = cluster.token().await.unwrap();
    cluster.release().await;
    cluster.wait("two instances", |status| status.available == 2 && status.stable.is_some()).await;
    let check = cluster.run("check");
    assert_eq!(check.code, 0, "{}", check.told());
    let instances = cluster.instances().await;

    cluster.leave_something_over().await;
    let upgraded = cluster.install("--domain apps.example").json();
    assert_eq!(upgraded["removed"], json!(["Service barge-before in barge-system"]), "{upgraded}");
    assert_eq!(cluster.token().await.unwrap().data, token.data, "the gateway's token stays");
    cluster.wait("two instances", |status| status.available == 2).await;
    assert_eq!(cluster.instances().await, instances, "I9");

    let gone = cluster.run("uninstall --json").json();
    let kept = gone["kept"].as_array().unwrap();
    assert!(kept.iter().any(|line| line.as_str().unwrap().starts_with("services: ")), "{gone}");
    assert!(cluster.token().await.is_none());
    let ours = ListParams::default().labels("app.kubernetes.io/managed-by=barge");
    let deployments: Api<Deployment> = Api::namespaced(cluster.client(), SYSTEM);
    let end = Instant::now() + PATIENCE;
    while !deployments.list(&ours).await.unwrap().items.is_empty() {
        assert!(Instant::now() < end, "Deployments are left");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert_eq!(cluster.instances().await, instances, "who runs goes on");
    cluster.there.end().await;
}
