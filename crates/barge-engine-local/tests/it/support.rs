//! A whole world around the engine, that can be closed and opened again like a platform that was killed.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use barge_engine::{Desired, Engine, InstanceReport, ServiceReport};
use barge_engine_local::{LocalEngine, LocalEngineConfig, TrafficEndpoint};
use barge_gateway::Table;
use barge_image::build::{BuildRequest, build_all};
use barge_image::image::Runtime;
use barge_image::{Client, Reference};
use barge_init::{HttpAnswer, Status, files};
use barge_model::manifest::{Drain, Kind, Resources, ServiceConfig};
use barge_model::release::Origin;
use barge_model::rollout::{Gate, InstancePhase, Role, RolloutPlan, RolloutSpec, WaitingOn, Withdrawal};
use barge_model::{
    Digest, EnvironmentName, InstanceId, Millis, Release, ReleaseId, ServiceKey, ServiceName, Timestamp,
};
use barge_registrar::{GatewayTarget, Registrar, RegistrarConfig, channel};
use barge_registry::Storage;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(30);
const TOKEN: &str = "token of the tests";

pub(crate) fn key() -> ServiceKey {
    ServiceKey::new(EnvironmentName::new("test").unwrap(), ServiceName::new("shop").unwrap())
}

/// A program that cargo has built beside the tests.
pub(crate) fn example(name: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let path = own.parent().unwrap().parent().unwrap().join("examples").join(name);
    assert!(path.exists(), "{} is missing: run `cargo build -p barge-engine-local --examples`", path.display());
    path
}

/// The engine and all that it works with.
pub(crate) struct World {
    pub(crate) directory: TempDir,
    pub(crate) engine: Arc<LocalEngine>,
    pub(crate) table: Arc<Table>,
    pub(crate) client: Client,
    registry: SocketAddr,
    gateway: SocketAddr,
    registrar: (tokio::task::JoinHandle<()>, CancellationToken),
    servers: tokio::task::JoinSet<()>,
    desired: Desired,
}

impl World {
    pub(crate) async fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let table = Arc::new(Table::in_memory());
        let client = Client::new(HashMap::new()).unwrap();
        let mut servers = tokio::task::JoinSet::new();
        let storage = Storage::open(directory.path().join("registry"), 1 << 30).unwrap();
        let registry =
            serve(&mut servers, barge_registry::router(storage, Arc::new(|_, _| barge_registry::Verdict::Granted)))
                .await;
        let gateway = serve(&mut servers, barge_gateway::api::router(Arc::clone(&table), TOKEN)).await;
        let (engine, registrar) =
            open(directory.path(), &table, &client, gateway, vec![example("barge-init").into()], false).await;
        let desired =
            Desired { key: key(), version: 1, rollout: RolloutSpec { replicas: 1, ..RolloutSpec::default() } };
        Self { directory, engine, table, client, registry, gateway, registrar, servers, desired }
    }

    /// Ends the engine and the registrar as the end of their process would, and starts new ones.
    pub(crate) async fn reopen(&mut self) {
        self.close().await;
        self.open_again().await;
    }

    /// Ends the engine and the registrar; the instances go on.
    pub(crate) async fn close(&mut self) {
        self.engine.detach().await;
        self.registrar.0.abort();
    }

    pub(crate) async fn open_again(&mut self) {
        self.open_with(vec![example("barge-init").into()]).await;
    }

    /// Opens the engine with another program as barge-init.
    pub(crate) async fn open_with(&mut self, init: Vec<std::ffi::OsString>) {
        (self.engine, self.registrar) =
            open(self.directory.path(), &self.table, &self.client, self.gateway, init, false).await;
    }

    /// Opens an engine that only ends what runs.
    pub(crate) async fn open_to_end(&mut self) {
        let init = vec![example("barge-init").into()];
        (self.engine, self.registrar) =
            open(self.directory.path(), &self.table, &self.client, self.gateway, init, true).await;
    }

    /// Ends the registrar for good.
    pub(crate) async fn end_registrar(&mut self) {
        self.registrar.1.cancel();
        (&mut self.registrar.0).await.unwrap();
    }

    /// Builds and pushes an image of the test service; a broken one does not start.
    pub(crate) async fn image(&self, version: &str, broken: bool) -> Image {
        let files = TempDir::new().unwrap();
        std::fs::copy(example("testservice"), files.path().join("service")).unwrap();
        std::fs::write(files.path().join("version.txt"), version).unwrap();
        if broken {
            std::fs::write(files.path().join("broken"), "").unwrap();
        }
        let layers = vec![barge_image::build::files(files.path(), &[]).unwrap()];
        // What works is for two kinds of machines, of which the engine finds its own.
        let platforms = ["linux/amd64", "linux/arm64"].map(|platform| platform.parse().unwrap());
        let platforms = if broken { &[][..] } else { &platforms };
        let request = BuildRequest { platforms, ..BuildRequest::new(layers, "scratch", Runtime::default()) };
        let product = build_all(request, None).await.unwrap();
        let name = format!("{}/shop", self.registry);
        let target: Reference = format!("{name}:{version}").parse().unwrap();
        self.client.push_all(&product, &target, &|_| {}).await.unwrap();
        Image { name, digest: Digest::new(product.digest()).unwrap() }
    }

    /// Says what should run and waits until it does.
    pub(crate) async fn run(&mut self, release: Release, replicas: u32) -> ServiceReport {
        self.apply(release.clone(), replicas).await;
        self.wait("the release everywhere", |report| {
            report.status.set(Role::Stable).is_some_and(|set| set.release.id == release.id)
                && report.instances.len() == replicas as usize
                && report.instances.iter().all(available)
        })
        .await
    }

    /// The good test service, in so many instances.
    pub(crate) async fn serving(replicas: u32) -> Self {
        let mut world = Self::new().await;
        let image = world.image("one", false).await;
        world.run(release(&image), replicas).await;
        world
    }

    pub(crate) async fn apply(&mut self, release: Release, replicas: u32) {
        self.desired.rollout.target = Some(release);
        self.scale(replicas).await;
    }

    pub(crate) async fn scale(&mut self, replicas: u32) {
        self.desired.version += 1;
        self.desired.rollout.replicas = replicas;
        self.engine.apply(self.desired.clone()).await.unwrap();
    }

    /// Takes a release back.
    pub(crate) async fn withdraw(&mut self, release: &ReleaseId) {
        self.desired.version += 1;
        self.desired.rollout.withdrawn = Some(Withdrawal { release: release.clone(), rolled_back: false });
        self.engine.apply(self.desired.clone()).await.unwrap();
    }

    pub(crate) async fn report(&self) -> ServiceReport {
        ServiceReport::clone(&self.engine.report(&key()).await.unwrap().unwrap())
    }

    /// Waits for a report that fits.
    pub(crate) async fn wait(&self, what: &str, fits: impl Fn(&ServiceReport) -> bool) -> ServiceReport {
        let deadline = Instant::now() + PATIENCE;
        let mut changes = self.engine.changes();
        loop {
            changes.borrow_and_update();
            let seen = self.engine.report(&key()).await.unwrap();
            if let Some(report) = seen.as_ref().filter(|report| fits(report)) {
                return ServiceReport::clone(report);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if !matches!(tokio::time::timeout(left, changes.changed()).await, Ok(Ok(()))) {
                panic!("waited in vain for: {what}; last: {seen:#?}");
            }
        }
    }

    /// Waits until the one instance fits.
    pub(crate) async fn wait_one(&self, what: &str, fits: impl Fn(&InstanceReport) -> bool) -> InstanceReport {
        let report = self.wait(what, |report| report.instances.len() == 1 && fits(&report.instances[0])).await;
        report.instances[0].clone()
    }

    pub(crate) fn instance_directory(&self, id: &InstanceId) -> PathBuf {
        self.directory.path().join("engine/services/test/shop/instances").join(id.as_str())
    }

    /// What an instance's barge-init has written last.
    pub(crate) fn status(&self, id: &InstanceId) -> Status {
        serde_json::from_slice(&std::fs::read(self.instance_directory(id).join(files::STATUS)).unwrap()).unwrap()
    }

    /// The process ids of an instance: its barge-init's and its process's.
    pub(crate) fn pids(&self, id: &InstanceId) -> (i32, i32) {
        let status = self.status(id);
        (status.init_pid.cast_signed(), status.pid.unwrap())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // Processes outlive an engine by design; not this test.
        let services = self.directory.path().join("engine/services/test/shop/instances");
        for entry in std::fs::read_dir(services).into_iter().flatten().flatten() {
            let Ok(bytes) = std::fs::read(entry.path().join(files::STATUS)) else { continue };
            let Ok(status) = serde_json::from_slice::<Status>(&bytes) else { continue };
            let still = barge_init::Client::connect(&entry.path()).is_ok();
            if still {
                kill(status.init_pid.cast_signed());
            }
            barge_init::processes::end_leftovers_of(&status.instance, Some(&status));
        }
        self.servers.abort_all();
    }
}

async fn serve(servers: &mut tokio::task::JoinSet<()>, router: axum::Router) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    servers.spawn(async move { axum::serve(listener, router).await.unwrap() });
    address
}

async fn open(
    directory: &Path,
    table: &Arc<Table>,
    client: &Client,
    gateway: SocketAddr,
    init_program: Vec<std::ffi::OsString>,
    only_ends: bool,
) -> (Arc<LocalEngine>, (tokio::task::JoinHandle<()>, CancellationToken)) {
    let (sender, acknowledgements) = channel();
    let engine = LocalEngine::open(LocalEngineConfig {
        open_files: None,
        directory: directory.join("engine"),
        secrets: directory.join("secrets"),
        init_program,
        images: client.clone(),
        acknowledgements,
        traffic: Some(TrafficEndpoint { address: gateway, token: TOKEN.to_owned() }),
        only_ends,
    })
    .await
    .unwrap();
    let config = RegistrarConfig {
        journal: directory.join("journal"),
        audit_interval: Duration::from_millis(100),
        call_limit: Duration::from_secs(1),
        refused_for: Duration::from_secs(30),
    };
    let registrar = Registrar::open(GatewayTarget::new(Arc::clone(table)), config).unwrap();
    let shutdown = CancellationToken::new();
    let task = tokio::spawn(registrar.run(engine.wanted(), sender, shutdown.clone()));
    (engine, (task, shutdown))
}

/// A pushed image.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    pub(crate) name: String,
    pub(crate) digest: Digest,
}

/// A release of the test service that needs no approval.
pub(crate) fn release(image: &Image) -> Release {
    let now = Timestamp::from_millis(1_700_000_000_000);
    Release {
        id: ReleaseId::from_parts(now, rand_u128()),
        image: image.name.clone(),
        digest: image.digest.clone(),
        config: ServiceConfig {
            kind: Kind::Web,
            command: vec!["./service".to_owned()],
            healthcheck: None,
            templates: Vec::new(),
            replicas: None,
            env: BTreeMap::new(),
            resources: Resources::default(),
            rollout: RolloutPlan { gate: Gate { until: None, hold: None }, ..RolloutPlan::default() },
            drain: Drain { quiet: Millis(20), limit: Millis::from_secs(10), grace: Millis::from_secs(5) },
            start_deadline: Millis::from_secs(60),
        },
        origin: Origin::Deploy,
        created_at: now,
        created_by: "tests".to_owned(),
        reason: None,
    }
}

fn rand_u128() -> u128 {
    rand::random()
}

pub(crate) fn available(instance: &InstanceReport) -> bool {
    instance.online && instance.phase == InstancePhase::Ready
}

/// Asks an instance for a path; its answer's body.
pub(crate) async fn get(instance: &InstanceReport, path: &str) -> Option<String> {
    let address: SocketAddr = instance.address.as_ref()?.parse().ok()?;
    let path = path.to_owned();
    let asked = tokio::task::spawn_blocking(move || barge_init::http_get(address, &path, None, Duration::from_secs(5)));
    match asked.await.unwrap().ok()? {
        HttpAnswer::Http { status: 200, body } => Some(body),
        _ => None,
    }
}

pub(crate) fn kill(pid: i32) {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).unwrap();
}

/// Kills processes and waits until they have let go of their ports.
pub(crate) async fn kill_all(pids: &[i32]) {
    pids.iter().copied().for_each(kill);
    eventually("their end", || !pids.iter().any(|pid| alive(*pid))).await;
}

/// Whether a process exists and is not a zombie.
pub(crate) fn alive(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

pub(crate) async fn eventually(what: &str, fits: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !fits() {
        assert!(Instant::now() < deadline, "waited in vain for: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

pub(crate) fn is_settled(report: &ServiceReport) -> bool {
    report.waiting_on == WaitingOn::Nothing
}
