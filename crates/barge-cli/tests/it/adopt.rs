//! `barge adopt`: a Deployment with a Service, under load, on a real Kubernetes.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use barge_crds::WebService;
use barge_engine::{Desired, Engine};
use barge_model::ServiceKey;
use barge_model::manifest::MilliCpu;
use barge_model::rollout::RolloutSpec;
use barge_operator::build::Settings;
use barge_world::{PATIENCE, approval, register};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, Secret, Service};
use kube::ResourceExt;
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::support::{Place, Run};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(50);
/// Requests at the same time, each on a connection of its own.
const CLIENTS: usize = 4;
/// How long one request may take.
const LIMIT: Duration = Duration::from_secs(5);

#[test]
fn what_is_missing_on_the_command_line_is_told() {
    let place = Place::new();
    for (line, expected) in [
        ("adopt", "<DEPLOYMENT>"),
        ("adopt shop --approve --undo", "cannot be used with"),
        ("adopt shop --port 0", "--port"),
        ("adopt shop --kubeconfig nowhere", "hint: kubectl config get-contexts"),
    ] {
        let run = place.run(line);
        assert!(run.code == 2 && run.err.contains(expected), "{line}: {}", run.told());
    }
}

/// A namespace with a Deployment of greeter and a Service that sends to it, and an operator.
struct World {
    here: Place,
    there: barge_world::Place,
    kubeconfig: PathBuf,
    operator: JoinHandle<()>,
    registrar: JoinHandle<()>,
}

impl Drop for World {
    fn drop(&mut self) {
        self.operator.abort();
        self.registrar.abort();
    }
}

impl World {
    async fn new(name: &str, change: impl FnOnce(&mut Value)) -> Option<Self> {
        let there = barge_world::Place::new(name).await?;
        let kubeconfig = barge_testkit::cluster::kubeconfig()?;
        let (operator, registrar) = (operate(&there), tokio::spawn(register(there.api())));
        let world = Self { here: Place::new(), there, kubeconfig, operator, registrar };
        world.deploy(change).await;
        Some(world)
    }

    async fn deploy(&self, change: impl FnOnce(&mut Value)) {
        let (image, _) = self.there.images.greeter("version = 1\ngreeting = hello\n").await;
        let secret = json!({ "metadata": { "name": "store" }, "stringData": { "api-key": "hush" } });
        self.create::<Secret>(secret).await;
        let container = json!({
            "name": "main", "image": format!("{image}:latest"),
            // Greeter knows no other way to be told; to Barge it is a service with a port of its own.
            "env": [
                { "name": "HOST", "value": "0.0.0.0" },
                { "name": "PORT", "value": "3000" },
                { "name": "KEY", "valueFrom": { "secretKeyRef": { "name": "store", "key": "api-key" } } },
            ],
            "ports": [{ "name": "http", "containerPort": 3000 }],
            "readinessProbe": { "httpGet": { "path": "/healthcheck", "port": "http" }, "periodSeconds": 1 },
            // Others have their tests on these nodes as well.
            "resources": { "limits": { "cpu": "20m", "memory": "32Mi" } },
        });
        let mut deployment = json!({
            "metadata": { "name": "shop" },
            "spec": {
                "replicas": 3,
                "selector": { "matchLabels": { "app": "shop" } },
                "template": {
                    "metadata": { "labels": { "app": "shop", "team": "sales" } },
                    "spec": { "containers": [container], "terminationGracePeriodSeconds": 5 },
                },
            },
        });
        change(&mut deployment);
        self.create::<Deployment>(deployment).await;
        let ports = json!([{ "port": 80, "targetPort": "http" }]);
        self.create::<Service>(
            json!({ "metadata": { "name": "shop" }, "spec": { "selector": { "app": "shop" }, "ports": ports } }),
        )
        .await;
        self.until("three of the Deployment", async || {
            self.deployment().await.status.unwrap_or_default().available_replicas == Some(3)
        })
        .await;
    }

    async fn create<K>(&self, object: Value)
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + serde::Serialize
            + serde::de::DeserializeOwned,
    {
        let object: K = serde_json::from_value(object).unwrap();
        self.there.api::<K>().create(&PostParams::default(), &object).await.unwrap();
    }

    fn run(&self, more: &str) -> Run {
        let (here, _) = self.there.images.names();
        let (kubeconfig, namespace) = (self.kubeconfig.display(), &self.there.namespace);
        self.here.run(&format!(
            "adopt shop -n {namespace} -e test --kubeconfig {kubeconfig} --pull-from {here}/greeter {more}"
        ))
    }

    async fn deployment(&self) -> Deployment {
        self.there.api().get("shop").await.unwrap()
    }

    async fn left(&self) -> i32 {
        self.deployment().await.spec.unwrap().replicas.unwrap()
    }

    async fn service(&self) -> Option<WebService> {
        self.there.api().get_opt("shop").await.unwrap()
    }

    async fn ours(&self) -> usize {
        let pods: Api<Pod> = self.there.api();
        let ours = pods.list(&ListParams::default().labels("barge.dev/service=shop")).await.unwrap().items;
        ours.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).count()
    }

    async fn address(&self) -> SocketAddr {
        let service: Service = self.there.api().get("shop").await.unwrap();
        format!("{}:80", service.spec.unwrap().cluster_ip.unwrap()).parse().unwrap()
    }

    /// Somebody kills the operator, and another one takes its place.
    fn kill_the_operator(&mut self) {
        self.operator.abort();
        self.operator = operate(&self.there);
    }

    /// A server goes on with the service: a later release, and its approval.
    async fn deploy_through_a_server(&mut self) {
        let environment = "test".parse().unwrap();
        let namespaces = self.there.namespace.parse().unwrap();
        let settings = barge_engine_kube::Settings {
            client: self.there.client.clone(),
            namespaces,
            environments: vec![environment],
            images: None,
        };
        let engine = barge_engine_kube::KubernetesEngine::start(settings).unwrap();
        let key = ServiceKey::new("test".parse().unwrap(), "shop".parse().unwrap());
        let report = engine.report(&key).await.unwrap().unwrap();
        assert_eq!((report.version, report.replicas), (2, 3), "what the server begins with");
        let mut release = self.there.release("2", "good day", true).await;
        release.config.resources.cpu = Some(MilliCpu(20));
        let rollout =
            RolloutSpec { replicas: report.replicas, target: Some(release.clone()), ..RolloutSpec::default() };
        engine.apply(Desired { key: key.clone(), version: 3, rollout: rollout.clone() }).await.unwrap();
        let status = async |service: &Self| service.service().await.unwrap().status.unwrap();
        self.until("the gate of the next release", async || status(self).await.waiting_on.on == "approval").await;
        assert_eq!((self.ours().await, self.left().await), (4, 0), "I1");
        let rollout = RolloutSpec { approvals: vec![approval(&release)], ..rollout };
        engine.apply(Desired { key, version: 4, rollout }).await.unwrap();
        let everywhere = async || {
            let status = status(self).await;
            status.stable.as_deref() == Some(release.id.as_str())
                && status.instances.len() == 3
                && status.available == 3
        };
        self.until("the next release everywhere", everywhere).await;
    }

    async fn until(&self, what: &str, reached: impl AsyncFn() -> bool) {
        let end = Instant::now() + PATIENCE;
        while !reached().await {
            assert!(
                Instant::now() < end,
                "waited in vain for {what}: {:#?}",
                self.service().await.map(|service| service.status)
            );
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// An operator for one namespace, so that those of other tests are others' business.
fn operate(there: &barge_world::Place) -> JoinHandle<()> {
    let settings = Settings::new(&*there.barge_init);
    tokio::spawn(barge_operator::run(there.client.clone(), settings, Some(there.namespace.clone())))
}

/// Clients that ask a Service again and again, each time on a new connection: a Service balances connections.
struct Load {
    clients: Vec<JoinHandle<()>>,
    good: Arc<AtomicU64>,
    failures: Arc<std::sync::Mutex<Vec<String>>>,
}

impl Load {
    fn start(address: SocketAddr) -> Self {
        let mut load = Self { clients: Vec::new(), good: Arc::default(), failures: Arc::default() };
        for _ in 0..CLIENTS {
            let (good, failures) = (Arc::clone(&load.good), Arc::clone(&load.failures));
            load.clients.push(tokio::spawn(async move {
                loop {
                    match tokio::time::timeout(LIMIT, ask(address)).await {
                        Ok(Ok(())) => drop(good.fetch_add(1, Ordering::Relaxed)),
                        Ok(Err(error)) => failures.lock().unwrap().push(error),
                        Err(_) => failures.lock().unwrap().push("no answer in time".to_owned()),
                    }
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }));
        }
        load
    }

    /// Further requests have been answered, and none has failed.
    async fn goes_on(&self, when: &str) {
        let (before, end) = (self.good.load(Ordering::Relaxed), Instant::now() + PATIENCE);
        while self.good.load(Ordering::Relaxed) < before + 100 {
            assert!(Instant::now() < end, "{when}: {before} requests, and no more");
            tokio::time::sleep(PAUSE).await;
        }
        let failures = self.failures.lock().unwrap().clone();
        println!("{when}: {} requests, {} failed", self.good.load(Ordering::Relaxed), failures.len());
        assert_eq!(failures, Vec::<String>::new(), "{when}");
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.clients.iter().for_each(JoinHandle::abort);
    }
}

/// Waits until the Service is known to whoever sends its connections on: a moment after its endpoints are, and until then nobody answers.
async fn until_answered(address: SocketAddr) {
    let (mut answered, end) = (0, Instant::now() + PATIENCE);
    while answered < 20 {
        assert!(Instant::now() < end, "the Service at {address} is not answered for");
        answered = match tokio::time::timeout(LIMIT, ask(address)).await {
            Ok(Ok(())) => answered + 1,
            _ => 0,
        };
    }
}

async fn ask(address: SocketAddr) -> Result<(), String> {
    let step = |what: &'static str| move |error: std::io::Error| format!("{what}: {error}");
    let mut stream = TcpStream::connect(address).await.map_err(step("connect"))?;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: shop\r\n\r\n").await.map_err(step("write"))?;
    let mut answer = Vec::new();
    // The answer is one line, after an empty one.
    while !answer.ends_with(b"\n") || answer.ends_with(b"\r\n") {
        if stream.read_buf(&mut answer).await.map_err(step("read"))? == 0 {
            return Err(format!("cut off after {:?}", String::from_utf8_lossy(&answer)));
        }
    }
    answer.starts_with(b"HTTP/1.1 200 ").then_some(()).ok_or_else(|| String::from_utf8_lossy(&answer).into_owned())
}

// Registry, operator and load go on while `barge` is waited for.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_deployment_gives_its_place_and_gets_it_back_without_losing_a_request() {
    let Some(mut world) = World::new("adopt", |_| {}).await else { return };
    let address = world.address().await;
    until_answered(address).await;
    let load = Load::start(address);
    load.goes_on("before").await;

    let dry = world.run("--dry-run --json").json();
    assert_eq!(
        dry["spec"]["pods"],
        json!({ "port": 3000, "labels": { "app": "shop", "team": "sales" }, "ports": { "http": 3000 } })
    );
    assert_eq!(dry["spec"]["release"]["command"], json!(["./greeter"]), "the image says it");
    assert_eq!(dry["spec"]["release"]["env"], json!({ "KEY": { "secret": "store/api-key" } }));
    assert!(world.service().await.is_none(), "nothing was changed");

    let begun = world.run("--json").json();
    assert_eq!((&begun["state"], &begun["services_of_kubernetes"]), (&json!("gate"), &json!(["shop"])), "{begun}");
    assert_eq!((world.ours().await, world.left().await), (1, 3), "I1");
    load.goes_on("at the gate").await;
    let again = world.run("");
    assert!(again.code == 4 && again.err.contains("there is a WebService shop already"), "{}", again.told());

    assert_eq!(world.run("--approve --no-wait --json").json()["state"], "approved");
    world.kill_the_operator();
    let over = async || {
        let conditions = world.service().await.unwrap().status.unwrap().conditions;
        conditions.iter().any(|condition| condition.type_ == "Adopted" && condition.status == "True")
    };
    world.until("the whole place", over).await;
    assert_eq!((world.ours().await, world.left().await), (3, 0));
    let deployment = world.deployment().await;
    assert_eq!(deployment.annotations()["barge.dev/adopted-by"], "WebService/shop");
    let gone = async || world.deployment().await.status.unwrap_or_default().replicas.unwrap_or(0) == 0;
    world.until("the Deployment's pods are gone", gone).await;
    load.goes_on("in its place").await;

    world.deploy_through_a_server().await;
    load.goes_on("with a later release").await;

    // Whoever scales the Deployment later has a reason; nobody interferes.
    let scale = Patch::Merge(json!({ "spec": { "replicas": 1 } }));
    world.there.api::<Deployment>().patch("shop", &PatchParams::default(), &scale).await.unwrap();
    load.goes_on("with somebody else's").await;
    assert_eq!(world.left().await, 1);

    let undone = world.run("--undo --json").json();
    assert_eq!(undone["state"], "given_back", "{undone}");
    assert_eq!((world.ours().await, world.left().await), (0, 3));
    assert!(world.service().await.is_some(), "the server's resource stays with it");
    assert!(!world.deployment().await.annotations().contains_key("barge.dev/adopted-by"));
    world
        .until("no pod of ours", async || {
            let pods: Api<Pod> = world.there.api();
            pods.list(&ListParams::default().labels("barge.dev/service")).await.unwrap().items.is_empty()
        })
        .await;
    load.goes_on("given back").await;
    world.there.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_be_lost_is_told_all_at_once() {
    let change = |deployment: &mut Value| {
        let pod = &mut deployment["spec"]["template"]["spec"];
        pod["volumes"] = json!([{ "name": "data", "emptyDir": {} }]);
        pod["containers"][0]["volumeMounts"] = json!([{ "name": "data", "mountPath": "/data" }]);
        pod["containers"][0]["env"]
            .as_array_mut()
            .unwrap()
            .push(json!({ "name": "NODE", "valueFrom": { "fieldRef": { "fieldPath": "spec.nodeName" } } }));
    };
    let Some(world) = World::new("lost", change).await else { return };
    let refused = world.run("");
    assert_eq!(refused.code, 4, "{}", refused.told());
    for expected in [
        "error: the Deployment shop has 2 parts that would be lost",
        "  env.NODE             NODE comes from the pod's spec.nodeName",
        "  volumes              volumes: data at /data",
        "--accept env.NODE --accept volumes` goes on without",
    ] {
        assert!(refused.err.contains(expected), "{expected}: {}", refused.told());
    }
    assert!(world.service().await.is_none());
    let early = world.run("--approve");
    assert!(
        early.code == 4 && early.err.contains("no service has taken the place of the Deployment shop"),
        "{}",
        early.told()
    );
    let begun = world.run("--accept env --accept volumes --json").json();
    assert_eq!((&begun["state"], &begun["lost"][0]["name"]), (&json!("gate"), &json!("env.NODE")), "{begun}");
    let approved = world.run("--approve");
    assert_eq!(
        approved.ok(),
        "the service shop has the place of the Deployment shop, which has no instances any more\n"
    );
    assert_eq!((world.ours().await, world.left().await), (3, 0));
    let undone = world.run("--undo --json").json();
    assert_eq!(undone["state"], "given_back", "{undone}");
    assert_eq!((world.ours().await, world.left().await), (0, 3));
    assert!(world.service().await.is_none());
    world.there.end().await;
}
