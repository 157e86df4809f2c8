//! `barge cluster`: what people are told without a cluster, and the whole way on a real one.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use barge_crds::{ServiceSpec, ServiceStatus, WebService, WebServiceSpec, names};
use barge_model::rollout::RolloutSpec;
use barge_world::{PATIENCE, approval, key};
use insta::assert_snapshot;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, Secret, Service};
use kube::api::{Api, ListParams, LogParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use serde_json::json;

use crate::support::{Place, Run};

const SYSTEM: &str = "barge-system";
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(100);

#[test]
fn what_is_missing_on_the_command_line_is_told() {
    let place = Place::new();
    let run = place.run("cluster install");
    assert!(run.code == 2 && run.err.contains("--registry <HOST/REPOSITORY>"), "{}", run.told());
    assert_snapshot!(place.run("cluster install --image registry.example/barge:latest").told(), @r"
    exit code 2
    --- stderr
    error: registry.example/barge:latest names no digest; what a tag means may change at any time
    hint: write it as IMAGE@sha256:..., as `barge cluster image` prints it
    ");
    for (line, path) in [("cluster check", ".kube/config"), ("cluster check --kubeconfig nowhere", "nowhere")] {
        let run = place.run(line);
        assert!(run.code == 2 && run.err.starts_with("error: no cluster is configured: "), "{}", run.told());
        assert!(run.err.contains(path) && run.err.contains("hint: kubectl config get-contexts"), "{}", run.told());
        assert_eq!(run.err.matches("No such file").count(), 1, "{}", run.told());
    }
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
            tokio::time::sleep(PAUSE).await;
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

    /// Asks the gateway until the service answers under a host name.
    async fn until_it_answers(&self, host: &str) {
        let pods: Api<Pod> = Api::namespaced(self.client(), SYSTEM);
        let gateways = ListParams::default().labels("app.kubernetes.io/name=barge-gateway");
        let end = Instant::now() + PATIENCE;
        loop {
            let found = pods.list(&gateways).await.unwrap().items;
            let addresses = found.iter().filter_map(|pod| pod.status.as_ref()?.pod_ip.clone());
            let answers: Vec<String> = addresses.map(|address| get(&address, host).unwrap_or_default()).collect();
            if answers.iter().any(|answer| answer.starts_with("HTTP/1.1 200 ") && answer.contains("hello")) {
                return;
            }
            assert!(Instant::now() < end, "{host}: {answers:?}");
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Whether a part has wanted something that it may not do.
    async fn refused(&self) -> Vec<String> {
        let pods: Api<Pod> = Api::namespaced(self.client(), SYSTEM);
        let mut refused = Vec::new();
        for pod in pods.list(&ListParams::default()).await.unwrap() {
            let logs = pods.logs(&pod.name_any(), &LogParams::default()).await.unwrap();
            refused.extend(logs.lines().filter(|line| line.to_lowercase().contains("forbidden")).map(str::to_owned));
        }
        refused
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

fn get(address: &str, host: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&format!("{address}:7402").parse().unwrap(), Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(stream, "GET / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

// The registry answers while `barge` is waited for.
#[tokio::test(flavor = "multi_thread")]
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
    cluster.until_it_answers("greeter.test.localhost").await;
    assert_eq!(cluster.refused().await, Vec::<String>::new(), "the table of permissions lacks something");
    let instances = cluster.instances().await;

    cluster.leave_something_over().await;
    let upgraded = cluster.install("--domain apps.example").json();
    assert_eq!(upgraded["removed"], json!(["Service barge-before in barge-system"]), "{upgraded}");
    assert_eq!(cluster.token().await.unwrap().data, token.data, "the gateway's token stays");
    cluster.wait("two instances", |status| status.available == 2).await;
    cluster.until_it_answers("greeter.test.apps.example").await;
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
        tokio::time::sleep(PAUSE).await;
    }
    assert_eq!(cluster.instances().await, instances, "who runs goes on");
    cluster.there.end().await;
}
