//! The engine as a whole: its services' tasks, and what they share.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use barge_engine::{Desired, Engine, EngineError, ExecRequest, ExecSession, LogOptions, LogStream, ServiceReport};
use barge_image::Client;
use barge_init::plan::{Checks, Forward, Limit, Output, Process, Stop};
use barge_init::{Plan, Probe, processes};
use barge_model::manifest::Kind;
use barge_model::registration::{Acknowledgements, Wanted, WantedList};
use barge_model::{InstanceId, Release, ServiceKey, Timestamp};
use barge_runtime::chain;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio_util::task::TaskTracker;

use crate::addresses::{self, AddressError};
use crate::images::Images;
use crate::observe::Trouble;
use crate::service::{Leave, Message, Ports, Service};
use crate::store::{self, Record, ServiceStore, StoreError};
use crate::{durable, environment, exec, logs};

/// Where the zero-traffic check is asked.
#[derive(Debug, Clone)]
pub struct TrafficEndpoint {
    /// The gateway's registration API.
    pub address: SocketAddr,
    /// Its token.
    pub token: String,
}

/// What an engine needs.
#[derive(Debug, Clone)]
pub struct LocalEngineConfig {
    /// Where everything is stored.
    pub directory: PathBuf,
    /// Where secrets lie: `ENVIRONMENT/NAME`, one file each.
    pub secrets: PathBuf,
    /// The program that runs as barge-init, and arguments to put before its own.
    pub init_program: Vec<OsString>,
    /// The client with which images are fetched.
    pub images: Client,
    /// What the registrar tells.
    pub acknowledgements: watch::Receiver<Acknowledgements>,
    /// How many files an instance may have open before it asks for more; none leaves it this program's own limit.
    pub open_files: Option<u64>,
    /// Where the zero-traffic check is asked; without it draining waits a fixed time.
    pub traffic: Option<TrafficEndpoint>,
    /// Decide and start nothing: whoever opens this engine wants to end what runs.
    pub only_ends: bool,
}

/// Why an engine does not start.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Its files cannot be used.
    #[error("open the local engine's files")]
    Store(#[source] StoreError),
}

/// The size at which an instance's log is rotated, in bytes.
const LOG_FILE_BYTES: u64 = 10 * 1024 * 1024;
/// How long sessions may take to end once nobody is connected to them.
const EXEC_LIMIT: Duration = Duration::from_secs(2);

/// What the services' tasks share.
pub(crate) struct Shared {
    pub(crate) config: LocalEngineConfig,
    images: Images,
    ports: Mutex<Ports>,
    reports: RwLock<BTreeMap<ServiceKey, Arc<ServiceReport>>>,
    changes: watch::Sender<u64>,
    wanted: watch::Sender<WantedList>,
}

impl Shared {
    /// Removes the images that no release of any service needs any more.
    pub(crate) async fn collect_images(self: Arc<Self>) {
        let Ok(stored) = store::services(&self.config.directory) else { return };
        let needed = || {
            let reports = self.reports.read().unwrap_or_else(PoisonError::into_inner);
            // Of a service that has not said anything yet, or cannot be read, nobody knows what it needs.
            if !stored.iter().all(|key| reports.contains_key(key)) {
                return None;
            }
            let sets = reports.values().flat_map(|report| &report.status.sets);
            Some(sets.map(|set| set.release.digest.hex().to_owned()).collect())
        };
        self.images.keep_only(needed).await;
    }

    fn ports(&self) -> MutexGuard<'_, Ports> {
        self.ports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn take_port(&self, port: u16) {
        self.ports().insert(port);
    }

    pub(crate) fn free_port(&self, port: u16) {
        self.ports().remove(&port);
    }

    pub(crate) fn allocate(&self) -> Result<(Ipv4Addr, u16), AddressError> {
        let mut ports = self.ports();
        let (host, port) = addresses::allocate(&ports)?;
        ports.insert(port);
        Ok((host, port))
    }

    pub(crate) fn publish_wanted(&self, key: &ServiceKey, list: Vec<Wanted>) {
        self.wanted.send_if_modified(|wanted| {
            let changed = wanted.get(key) != Some(&list);
            if changed {
                wanted.insert(key.clone(), list);
            }
            changed
        });
    }

    pub(crate) fn publish_report(&self, report: ServiceReport) {
        let mut reports = self.reports.write().unwrap_or_else(PoisonError::into_inner);
        if reports.get(&report.key).is_some_and(|known| **known == report) {
            return;
        }
        reports.insert(report.key.clone(), Arc::new(report));
        drop(reports);
        self.changes.send_modify(|revision| *revision += 1);
    }

    /// Brings an instance's files and makes its plan.
    pub(crate) async fn prepare_instance(
        &self,
        key: &ServiceKey,
        release: &Release,
        record: &Record,
        directory: &Path,
        groups: Vec<PathBuf>,
    ) -> Result<Plan, Trouble> {
        let app = directory.join("app");
        // Of files that a power cut may have cost something, new ones are made.
        if !app.is_dir() || !durable::made_in_this_boot(directory) {
            let partial = directory.join("app.part");
            let old = [app.clone(), partial.clone()];
            let removed = tokio::task::spawn_blocking(move || old.iter().for_each(|path| store::remove_tree(path)));
            removed.await.map_err(|_| Trouble::passing("the engine is stopping"))?;
            self.images
                .place(release, &partial)
                .await
                .map_err(|error| Trouble { reason: chain(&error), passing: error.passing() })?;
            durable::note_made(directory)
                .map_err(|error| Trouble::passing(format!("note when {} was made: {error}", app.display())))?;
            tokio::fs::rename(&partial, &app)
                .await
                .map_err(|error| Trouble::passing(format!("name {}: {error}", app.display())))?;
        }
        let env = environment::make(key, release, record, &app, &self.config.secrets)
            .map_err(|error| Trouble::lasting(chain(&error)))?;
        let limits = self.config.open_files.map(|count| (Limit::OpenFiles, count)).into_iter().collect();
        let main = Process {
            command: release.config.command.clone(),
            working_directory: app,
            env,
            limits,
            ..Process::default()
        };
        Ok(Plan {
            instance: record.id.to_string(),
            main,
            helpers: BTreeMap::new(),
            templates: release.config.templates.clone(),
            host: record.host.clone(),
            port: record.port,
            probe: match release.config.kind {
                Kind::Web => Probe::Http { path: release.config.healthcheck.clone() },
                Kind::Rpc => Probe::Accept,
            },
            checks: Checks::default(),
            readiness: None,
            start_deadline_ms: release.config.start_deadline.0,
            hold_limit_ms: barge_model::rollout::HELD_LIMIT.0,
            output: Output { pass_on: false, file_bytes: Some(LOG_FILE_BYTES) },
            signals: Forward::Group,
            stop: Stop::default(),
            agent: None,
            termination_message: None,
            groups,
        })
    }
}

/// The engine that runs instances as processes on this machine.
pub struct LocalEngine {
    shared: Arc<Shared>,
    services: Mutex<BTreeMap<ServiceKey, mpsc::Sender<Message>>>,
    tasks: tokio::sync::Mutex<JoinSet<()>>,
    /// Programs that people run beside instances; each ends with its session.
    execs: TaskTracker,
}

impl LocalEngine {
    /// Opens the engine's directory and takes up what is stored and runs there.
    ///
    /// # Errors
    /// A file cannot be read.
    pub async fn open(config: LocalEngineConfig) -> Result<Arc<Self>, OpenError> {
        let images_directory = config.directory.join("images");
        store::make_directory(&images_directory).map_err(OpenError::Store)?;
        let shared = Arc::new(Shared {
            images: Images::new(images_directory, config.images.clone()),
            ports: Mutex::default(),
            reports: RwLock::default(),
            changes: watch::Sender::new(0),
            wanted: watch::Sender::new(WantedList::new()),
            config,
        });
        let engine = Arc::new(Self {
            shared,
            services: Mutex::default(),
            tasks: tokio::sync::Mutex::new(JoinSet::new()),
            execs: TaskTracker::new(),
        });
        let directory = &engine.shared.config.directory;
        let keys = store::services(directory).map_err(OpenError::Store)?;
        let ours = store::instances(directory, &keys).map_err(OpenError::Store)?;
        // Their sessions ended with the engine that had them. An engine that breaks off here starts over.
        let _ = tokio::task::spawn_blocking(move || processes::end_execs_of(|id| ours.contains(id))).await;
        for key in keys {
            // One service's damaged file is that service's trouble: it is left as it is, and the others go on.
            if let Err(error) = engine.service(&key).await {
                tracing::error!(%key, error = chain(&error), "a service cannot be taken up; mend or remove the file, and start again");
            }
        }
        Ok(engine)
    }

    /// What the registrar is to be told.
    pub fn wanted(&self) -> watch::Receiver<WantedList> {
        self.shared.wanted.subscribe()
    }

    /// Stops every instance at once, because the platform stops together with its gateway; the next engine starts them again. Waits
    /// `patience` longer than they may take to end. Whether all have ended is in the answer.
    pub async fn suspend(&self, patience: Duration) -> bool {
        self.leave(false, patience).await
    }

    /// Stops every instance in order, because nothing is to run any more: taken offline, acknowledged, drained and then told to stop. The
    /// next engine starts them again. What the target has not acknowledged within `patience` goes on; the others have as long as their
    /// settings give them. Whether all have ended is in the answer.
    pub async fn wind_down(&self, patience: Duration) -> bool {
        self.leave(true, patience).await
    }

    async fn leave(&self, orderly: bool, patience: Duration) -> bool {
        let senders: Vec<_> = std::mem::take(&mut *self.services()).into_values().collect();
        let mut waits = Vec::new();
        for sender in senders {
            let (done, wait) = oneshot::channel();
            if sender.send(Message::Leave(Leave { orderly, patience, done })).await.is_ok() {
                waits.push(wait);
            }
        }
        let mut all = true;
        for wait in waits {
            // The task has a limit of its own. It ends after its answer, or without one when it broke; either way the wait is over.
            all &= wait.await.unwrap_or(false);
        }
        if !all {
            tracing::warn!("some instances did not stop in time");
        }
        self.tasks.lock().await.shutdown().await;
        self.end_execs().await;
        all
    }

    /// Lets go of every instance without stopping it; the next engine adopts them.
    pub async fn detach(&self) {
        self.services().clear();
        self.tasks.lock().await.shutdown().await;
        self.end_execs().await;
    }

    /// Sessions end with the connections that people have to them, which are closed by now.
    async fn end_execs(&self) {
        self.execs.close();
        if tokio::time::timeout(EXEC_LIMIT, self.execs.wait()).await.is_err() {
            tracing::warn!("some programs beside instances did not end in time");
        }
    }

    fn services(&self) -> MutexGuard<'_, BTreeMap<ServiceKey, mpsc::Sender<Message>>> {
        self.services.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn service(&self, key: &ServiceKey) -> Result<mpsc::Sender<Message>, StoreError> {
        let mut tasks = self.tasks.lock().await;
        // A task that broke is made anew from what is stored.
        if let Some(sender) = self.services().get(key).filter(|sender| !sender.is_closed()) {
            return Ok(sender.clone());
        }
        let service = Service::load(key.clone(), Arc::clone(&self.shared))?;
        let (sender, receiver) = mpsc::channel(16);
        tasks.spawn(service.run(receiver));
        self.services().insert(key.clone(), sender.clone());
        Ok(sender)
    }

    fn instance_directory(&self, key: &ServiceKey, id: &InstanceId) -> Result<PathBuf, EngineError> {
        let directory = ServiceStore::new(&self.shared.config.directory, key).instance_directory(id);
        if directory.is_dir() { Ok(directory) } else { Err(EngineError::UnknownInstance(id.clone())) }
    }
}

#[async_trait]
impl Engine for LocalEngine {
    async fn apply(&self, desired: Desired) -> Result<(), EngineError> {
        let open = |error| EngineError::failed("open the service's files", error);
        let sender = self.service(&desired.key).await.map_err(open)?;
        let (reply, answer) = oneshot::channel();
        sender.send(Message::Apply(Box::new(desired), reply)).await.map_err(|_| EngineError::Stopping)?;
        answer.await.map_err(|_| EngineError::Stopping)?
    }

    async fn report(&self, key: &ServiceKey) -> Result<Option<Arc<ServiceReport>>, EngineError> {
        Ok(self.shared.reports.read().unwrap_or_else(PoisonError::into_inner).get(key).cloned())
    }

    async fn reports(&self) -> Result<Vec<Arc<ServiceReport>>, EngineError> {
        Ok(self.shared.reports.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect())
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.shared.changes.subscribe()
    }

    async fn logs(&self, key: &ServiceKey, id: &InstanceId, options: LogOptions) -> Result<LogStream, EngineError> {
        let directory = self.instance_directory(key, id)?;
        logs::stream(directory.join(barge_init::files::LOG), options).await
    }

    async fn exec(&self, key: &ServiceKey, id: &InstanceId, request: ExecRequest) -> Result<ExecSession, EngineError> {
        let directory = self.instance_directory(key, id)?;
        exec::start(&directory, request, &self.execs)
    }
}

pub(crate) fn now() -> Timestamp {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(now.as_millis()).unwrap_or(i64::MAX))
}
