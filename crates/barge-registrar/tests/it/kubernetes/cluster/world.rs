//! A namespace of a test's own with an operator, a gateway that routes to pods, and the registrar between them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use barge_crds::{ServiceSpec, ServiceStatus, WebService, WebServiceSpec, names};
use barge_gateway::{Gateway, GatewayConfig, PutState, Table, api};
use barge_load::{Counted, Load, LoadPlan};
use barge_model::manifest::Drain;
use barge_model::rollout::{RegistrarHealth, RolloutSpec};
use barge_model::{Approval, InstanceId, Millis, Release};
use barge_operator::build::Settings;
use barge_registrar::kubernetes::PodRegistrar;
use barge_registrar::{GatewayAddress, RegistrarConfig, RemoteGateway};
use barge_world::{PATIENCE, Place, key};
use k8s_openapi::api::core::v1::{Pod, PodCondition};
use kube::ResourceExt;
use kube::api::{Api, AttachParams, AttachedProcess, DeleteParams, ListParams, Patch, PatchParams};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::watchdog::Watchdog;

const OWNER: &str = "barge-test";
/// Where pods of `cargo xtask cluster` reach this machine.
const HERE: &str = "10.99.0.1";
const TOKEN: &str = "a token for tests";
/// How long there must have been no request before an instance is told to stop.
pub(crate) const QUIET: Duration = Duration::from_millis(300);

pub(crate) struct World {
    pub(crate) place: Place,
    pub(crate) table: Arc<Table>,
    pub(crate) watchdog: Watchdog,
    /// Where pods ask.
    pub(crate) desk: SocketAddr,
    gateway: SocketAddr,
    registrations: GatewayAddress,
    registrar: Option<Running>,
    tasks: Vec<JoinHandle<()>>,
    stop: CancellationToken,
    rollout: RolloutSpec,
    version: u64,
}

/// A registrar at work, and the journal that goes with it.
struct Running {
    task: JoinHandle<()>,
    shutdown: CancellationToken,
    health: watch::Receiver<RegistrarHealth>,
    journal: TempDir,
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.cancel();
        self.tasks.iter().for_each(JoinHandle::abort);
        if let Some(registrar) = &self.registrar {
            registrar.task.abort();
        }
    }
}

impl World {
    /// None, said aloud, where there is no cluster.
    pub(crate) async fn new(name: &str) -> Option<Self> {
        let place = Place::new(name).await?;
        let stop = CancellationToken::new();
        let table = Arc::new(Table::in_memory());
        let (requests, registrations) = (listen("127.0.0.1:0").await, listen("127.0.0.1:0").await);
        let (gateway, port) = (requests.local_addr().unwrap(), registrations.local_addr().unwrap().port());
        let serving = Gateway::new(Arc::clone(&table), GatewayConfig::default()).serve(requests, stop.clone());
        let routes = api::router(Arc::clone(&table), TOKEN);
        let desk = listen("0.0.0.0:0").await.local_addr().unwrap();
        let registrar = Some(format!("http://{HERE}:{}", desk.port()));
        let settings = Settings { registrar, ..Settings::new(&*place.barge_init) };
        let tasks = vec![
            tokio::spawn(async move { serving.await.unwrap() }),
            tokio::spawn(async move { axum::serve(registrations, routes).await.unwrap() }),
            tokio::spawn(barge_operator::run(place.client.clone(), settings, Some(place.namespace.clone()))),
        ];
        let watchdog = Watchdog::start(Arc::clone(&table));
        let registrations = format!("localhost:{port}").parse().unwrap();
        let mut world = Self {
            place,
            table,
            watchdog,
            desk,
            gateway,
            registrations,
            registrar: None,
            tasks,
            stop,
            rollout: RolloutSpec::default(),
            version: 0,
        };
        world.start_registrar().await;
        Some(world)
    }

    /// One with an empty journal.
    pub(crate) async fn start_registrar(&mut self) {
        self.begin_registrar(TempDir::new().unwrap()).await;
        self.healthy().await;
    }

    /// One with the journal of another.
    pub(crate) async fn begin_registrar(&mut self, journal: TempDir) {
        let config = RegistrarConfig {
            journal: journal.path().to_owned(),
            audit_interval: Duration::from_secs(1),
            call_limit: Duration::from_secs(2),
            refused_for: Duration::from_secs(5),
        };
        let target = RemoteGateway::new(self.registrations.clone(), TOKEN.to_owned()).unwrap();
        let namespace = Some(self.place.namespace.clone());
        let registrar = PodRegistrar::open(self.place.client.clone(), namespace, target, config).unwrap();
        let (health, shutdown) = (registrar.health(), CancellationToken::new());
        assert!(matches!(*health.borrow(), RegistrarHealth::Unhealthy { .. }), "it has not begun");
        let listener = listen(&self.desk.to_string()).await;
        let run = registrar.run(listener, shutdown.clone());
        let task = tokio::spawn(async move { assert_eq!(run.await, barge_runtime::Stopped::Asked) });
        self.registrar = Some(Running { task, shutdown, health, journal });
    }

    /// Ends it; its journal is what is left.
    pub(crate) async fn end_registrar(&mut self) -> TempDir {
        let registrar = self.registrar.take().unwrap();
        registrar.shutdown.cancel();
        tokio::time::timeout(PATIENCE, registrar.task).await.unwrap().unwrap();
        registrar.journal
    }

    /// Waits until it says what is wrong.
    pub(crate) async fn unhealthy(&mut self, words: &str) {
        let health = &mut self.registrar.as_mut().unwrap().health;
        let fits = |health: &RegistrarHealth| matches!(health, RegistrarHealth::Unhealthy { reason } if reason.contains(words));
        let is_so = tokio::time::timeout(PATIENCE, health.wait_for(fits)).await.is_ok();
        assert!(is_so, "waited in vain for {words:?}: {:?}", health.borrow());
    }

    pub(crate) async fn healthy(&mut self) {
        let health = &mut self.registrar.as_mut().unwrap().health;
        let waited = tokio::time::timeout(PATIENCE, health.wait_for(|health| *health == RegistrarHealth::Healthy));
        let is_healthy = waited.await.is_ok();
        assert!(is_healthy, "not healthy: {:?}", health.borrow());
    }

    /// A release of greeter that starts, with a wait for silence before each stop.
    pub(crate) async fn release(&mut self, version: &str) -> Release {
        let mut release = self.place.release(version, "hello", true).await;
        // Whoever has no share of a node reserved finds room beside all other tests.
        release.config.resources.cpu = None;
        let quiet = Millis(u64::try_from(QUIET.as_millis()).unwrap());
        release.config.drain = Drain { quiet, limit: Millis::from_secs(30), grace: Millis::from_secs(5) };
        release
    }

    pub(crate) async fn want(&mut self, replicas: u32, target: &Release, approval: Option<Approval>) {
        self.rollout.replicas = replicas;
        self.rollout.target = Some(target.clone());
        self.rollout.approvals = approval.into_iter().collect();
        self.version += 1;
        let service = ServiceSpec::new(&key(), self.version, &self.rollout);
        let resource = WebService::new("greeter", WebServiceSpec { service });
        self.services().patch("greeter", &PatchParams::apply(OWNER).force(), &Patch::Apply(&resource)).await.unwrap();
    }

    pub(crate) async fn wait(&self, what: &str, reached: impl Fn(&ServiceStatus) -> bool) -> ServiceStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let status = self.services().get("greeter").await.unwrap().status.unwrap_or_default();
            if i64::try_from(self.version).unwrap() == status.version && reached(&status) {
                return status;
            }
            assert!(Instant::now() < deadline, "waited in vain for: {what}; last: {status:#?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub(crate) async fn eventually(&self, what: &str, fits: impl AsyncFn() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !fits().await {
            assert!(Instant::now() < deadline, "waited in vain for: {what}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Clients that ask the service through the gateway all the time, so that requests are always on their way.
    pub(crate) fn load(&self, phase: &str) -> Load {
        let plan = LoadPlan::new(self.gateway, "greeter.test.localhost");
        Load::start(LoadPlan { path: "/slow?ms=30".to_owned(), ..plan }, phase).unwrap()
    }

    pub(crate) async fn pods(&self) -> Vec<Pod> {
        let pods: Api<Pod> = self.place.api();
        pods.list(&ListParams::default()).await.unwrap().items
    }

    /// Deletes one that is not about to go, by hand.
    pub(crate) async fn delete_pod(&self) -> Pod {
        let pods: Api<Pod> = self.place.api();
        let all = self.pods().await;
        let lives = all.into_iter().find(|pod| pod.metadata.deletion_timestamp.is_none()).unwrap();
        pods.delete(&lives.name_any(), &DeleteParams::default()).await.unwrap();
        lives
    }

    /// Has barge-init of a pod do what it does at a SIGTERM. Whoever drops the connection may do so before that was heard.
    pub(crate) async fn stop_as_planned(&self, pod: &Pod) -> AttachedProcess {
        let pods: Api<Pod> = self.place.api();
        let command = ["/barge/barge-init", "stop", "/barge"];
        let parameters = AttachParams::default().container(names::MAIN);
        pods.exec(&pod.name_any(), command, &parameters).await.unwrap()
    }

    pub(crate) async fn delete_service(&self) {
        self.services().delete("greeter", &DeleteParams::default()).await.unwrap();
    }

    /// What the gateway holds of a pod.
    pub(crate) fn held(&self, pod: &Pod) -> Option<PutState> {
        let listed = self.table.list(&key()).1.into_iter().find(|listed| listed.uid == instance(pod));
        listed.map(|listed| listed.put.state)
    }

    /// How many instances the gateway sends requests to.
    pub(crate) fn online(&self) -> usize {
        self.table.list(&key()).1.iter().filter(|listed| listed.put.state == PutState::Online).count()
    }

    /// What a pod is told that asks for its traffic, or anybody else for him.
    pub(crate) async fn traffic(&self, uid: &str) -> (u16, serde_json::Value) {
        let url = format!("http://127.0.0.1:{}/v1/traffic/{uid}", self.desk.port());
        let answer = reqwest::get(url).await.unwrap();
        let status = answer.status().as_u16();
        (status, answer.json().await.unwrap_or_default())
    }

    pub(crate) async fn end(self) {
        self.watchdog.check();
        self.place.end().await;
    }

    fn services(&self) -> Api<WebService> {
        self.place.api()
    }
}

/// The instance that a pod is.
pub(crate) fn instance(pod: &Pod) -> InstanceId {
    names::instance(&pod.uid().unwrap()).unwrap()
}

/// The condition that the registrar writes.
pub(crate) fn condition(pod: &Pod) -> Option<PodCondition> {
    let conditions = pod.status.as_ref()?.conditions.clone()?;
    conditions.into_iter().find(|condition| condition.type_ == names::ONLINE)
}

/// Nobody may have lost a request, and some must have been asked.
pub(crate) fn judge(phases: &[Counted]) {
    for phase in phases {
        println!(
            "{}: {} requests in {} ms, {} failed, slowest {:.0} ms, stood still {} ms",
            phase.phase, phase.requests, phase.duration_ms, phase.failed, phase.slowest_ms, phase.stood_still_ms
        );
    }
    for phase in phases {
        assert_eq!(phase.failed, 0, "{}: {:?}", phase.phase, phase.first_failure);
        assert!(phase.requests > 50, "{}: {} requests", phase.phase, phase.requests);
    }
}

async fn listen(address: &str) -> TcpListener {
    TcpListener::bind(address).await.unwrap()
}
