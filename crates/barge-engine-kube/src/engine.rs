//! The engine as a whole: its tasks, and what they share.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use barge_engine::{Desired, Engine, EngineError, ExecRequest, ExecSession, LogOptions, LogStream, ServiceReport};
use barge_model::{EnvironmentName, InstanceId, ServiceKey, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::apply::apply;
use crate::images::Images;
use crate::namespaces::NamespacePattern;
use crate::views::{News, View};
use crate::{exec, logs};

/// What was told within so long is looked at at once.
const BURST: Duration = Duration::from_millis(20);
/// So much news is taken at once.
const MOST_NEWS: usize = 10_000;
/// How long a question waits for a cluster that has not told everything yet.
const FIRST_LOOK: Duration = Duration::from_secs(10);
/// How long a write may take, with all its tries.
const WRITE_LIMIT: Duration = Duration::from_secs(30);
/// How long the last lines of a log may take.
const READ_LIMIT: Duration = Duration::from_secs(30);
/// How long a write waits for the news of itself.
const ECHO_LIMIT: Duration = Duration::from_secs(5);
/// How long tasks may take to end once they are told to.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// What an engine needs.
#[derive(Clone)]
pub struct Settings {
    /// Asks the API server.
    pub client: Client,
    /// Where services are.
    pub namespaces: NamespacePattern,
    /// Whose services they are. Those of others in the same cluster are not looked at.
    pub environments: Vec<EnvironmentName>,
    /// The platform's own registry, where nodes know it under another name.
    pub images: Option<Images>,
}

/// Why an engine does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Two services of the same name would be one.
    #[error(
        "the namespace {namespace} is for one environment, and there are {count}; hint: name the environment in the pattern, such as barge-{{environment}}"
    )]
    SharedNamespace {
        /// Which namespace.
        namespace: String,
        /// How many environments there are.
        count: usize,
    },
}

/// Why a cluster cannot be asked or told.
#[derive(Debug, thiserror::Error)]
enum ClusterError {
    #[error("this engine has no environment {0}")]
    UnknownEnvironment(EnvironmentName),
    #[error(
        "the cluster has not told what is in the namespace {namespace}{trouble}; hint: kubectl get webservices -n {namespace}"
    )]
    Silent { namespace: String, trouble: String },
    #[error("the cluster did not answer within {} s", .0.as_secs())]
    Slow(Duration),
}

/// The engine that has a Kubernetes cluster run instances.
pub struct KubernetesEngine {
    client: Client,
    images: Option<Images>,
    views: BTreeMap<EnvironmentName, Arc<View>>,
    changes: watch::Sender<u64>,
    /// Grows with every look, whether anything has changed or not.
    looks: watch::Sender<u64>,
    stopping: CancellationToken,
    tasks: TaskTracker,
}

impl KubernetesEngine {
    /// Begins to watch the environments' namespaces. A cluster that does not answer now may do so later.
    ///
    /// # Errors
    /// Services of several environments would be in one namespace.
    pub fn start(settings: Settings) -> Result<Arc<Self>, StartError> {
        let Settings { client, namespaces, environments, images } = settings;
        let environments: BTreeSet<EnvironmentName> = environments.into_iter().collect();
        if let Some(first) =
            environments.first().filter(|_| environments.len() > 1 && !namespaces.names_the_environment())
        {
            return Err(StartError::SharedNamespace { namespace: namespaces.of(first), count: environments.len() });
        }
        let (sender, news) = unbounded_channel();
        let stopping = CancellationToken::new();
        let tasks = TaskTracker::new();
        let mut views = BTreeMap::new();
        for environment in environments {
            let namespace = namespaces.of(&environment);
            let (view, watches) = View::new(&client, environment.clone(), namespace, &sender);
            for watch in watches {
                tasks.spawn(stopping.clone().run_until_cancelled_owned(watch));
            }
            views.insert(environment, view);
        }
        let (changes, looks) = (watch::Sender::new(0), watch::Sender::new(0));
        let engine = Arc::new(Self { client, images, views, changes, looks, stopping: stopping.clone(), tasks });
        engine.tasks.spawn(stopping.run_until_cancelled_owned(look(Arc::downgrade(&engine), news)));
        Ok(engine)
    }

    /// Ends all tasks, logs that are followed and programs that people run; what runs in the cluster runs on.
    pub async fn stop(&self) {
        self.stopping.cancel();
        self.tasks.close();
        if tokio::time::timeout(STOP_LIMIT, self.tasks.wait()).await.is_err() {
            tracing::warn!("some tasks of the Kubernetes engine did not end in time");
        }
    }

    fn view(&self, key: &ServiceKey) -> Result<&Arc<View>, EngineError> {
        self.views.get(&key.environment).ok_or_else(|| {
            EngineError::failed(format!("look for {key}"), ClusterError::UnknownEnvironment(key.environment.clone()))
        })
    }

    /// Waits until everything was told once, for a while.
    async fn first_look(&self, view: &View) -> Result<(), EngineError> {
        let mut looks = self.looks.subscribe();
        let known = looks.wait_for(|_| view.is_looked_at());
        let known = tokio::time::timeout(FIRST_LOOK, known);
        match self.stopping.run_until_cancelled(known).await {
            None => Err(EngineError::Stopping),
            Some(Ok(_)) => Ok(()),
            Some(Err(_)) => {
                let trouble = view.trouble().map_or_else(String::new, |trouble| format!(" ({trouble})"));
                let silent = ClusterError::Silent { namespace: view.namespace.clone(), trouble };
                Err(EngineError::failed(format!("look at the environment {}", view.environment), silent))
            }
        }
    }

    /// Waits until reports are made of what was written, so that whoever writes and asks gets an answer to what he has written. Where the watch is
    /// late, he gets an older one: the write itself is done.
    async fn echo(&self, view: &View, key: &ServiceKey, written: u64) {
        let mut looks = self.looks.subscribe();
        let told = looks.wait_for(|_| view.service(&key.service).is_some_and(|known| known.version >= written));
        let _ = self.stopping.run_until_cancelled(tokio::time::timeout(ECHO_LIMIT, told)).await;
    }

    async fn pod(&self, key: &ServiceKey, id: &InstanceId) -> Result<(Arc<View>, Arc<Pod>), EngineError> {
        let view = self.view(key)?;
        self.first_look(view).await?;
        let pod = view.pod(key, id).ok_or_else(|| EngineError::UnknownInstance(id.clone()))?;
        Ok((Arc::clone(view), pod))
    }

    fn take(&self, batch: Vec<News>) {
        let mut names: BTreeMap<EnvironmentName, Option<BTreeSet<String>>> = BTreeMap::new();
        for (environment, name) in batch {
            let of_view = names.entry(environment).or_insert_with(|| Some(BTreeSet::new()));
            match (name, of_view.as_mut()) {
                (Some(name), Some(names)) => drop(names.insert(name)),
                (None, _) => *of_view = None,
                (Some(_), None) => {}
            }
        }
        let mut changed = false;
        for (environment, names) in names {
            changed |= self.views.get(&environment).is_some_and(|view| view.look(names.as_ref(), now()));
        }
        if changed {
            self.changes.send_modify(|revision| *revision += 1);
        }
        self.looks.send_modify(|revision| *revision += 1);
    }
}

/// Makes reports of what the watches tell.
async fn look(engine: std::sync::Weak<KubernetesEngine>, mut news: UnboundedReceiver<News>) {
    let mut batch = Vec::new();
    while news.recv_many(&mut batch, MOST_NEWS).await > 0 {
        let Some(engine) = engine.upgrade() else { return };
        engine.take(std::mem::take(&mut batch));
        drop(engine);
        tokio::time::sleep(BURST).await;
    }
}

impl Drop for KubernetesEngine {
    fn drop(&mut self) {
        self.stopping.cancel();
    }
}

#[async_trait]
impl Engine for KubernetesEngine {
    async fn apply(&self, mut desired: Desired) -> Result<(), EngineError> {
        let view = self.view(&desired.key)?;
        if let Some(images) = &self.images {
            desired.rollout.target = desired.rollout.target.map(|target| images.as_pulled(target));
        }
        let written = apply(&self.client, self.images.as_ref(), &view.namespace, &desired);
        let written = tokio::time::timeout(WRITE_LIMIT, written);
        let written = match self.stopping.run_until_cancelled(written).await {
            None => return Err(EngineError::Stopping),
            Some(Err(_)) => {
                return Err(EngineError::failed(
                    format!("apply the desired state of {}", desired.key),
                    ClusterError::Slow(WRITE_LIMIT),
                ));
            }
            Some(Ok(written)) => written.map_err(|error| error.of(&desired))?,
        };
        match written {
            Some(written) => {
                view.keep_unreleased(&desired.key.service, None);
                self.echo(view, &desired.key, written).await;
            }
            None => self.keep_unreleased(view, desired)?,
        }
        Ok(())
    }

    async fn report(&self, key: &ServiceKey) -> Result<Option<Arc<ServiceReport>>, EngineError> {
        let view = self.view(key)?;
        self.first_look(view).await?;
        match view.service(&key.service).map(|known| known.report) {
            None => Ok(None),
            Some(Ok(report)) => Ok(Some(report)),
            Some(Err(error)) => Err(EngineError::failed(format!("report {key}"), error)),
        }
    }

    async fn reports(&self) -> Result<Vec<Arc<ServiceReport>>, EngineError> {
        let mut reports = Vec::new();
        for view in self.views.values() {
            self.first_look(view).await?;
            // Of one that cannot be reported there was a word in the log, and is one for whoever asks for it.
            reports.extend(view.services().into_iter().filter_map(|(_, known)| known.report.ok()));
        }
        Ok(reports)
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    async fn logs(&self, key: &ServiceKey, id: &InstanceId, options: LogOptions) -> Result<LogStream, EngineError> {
        let (view, pod) = self.pod(key, id).await?;
        let source = logs::Source {
            pods: Api::namespaced(self.client.clone(), &view.namespace),
            view,
            key: key.clone(),
            id: id.clone(),
            pod: pod.metadata.name.clone().unwrap_or_default(),
        };
        let looks = self.looks.subscribe();
        let stream = logs::stream(source, &pod, options, looks, &self.tasks, self.stopping.clone());
        let stream = tokio::time::timeout(READ_LIMIT, stream).await;
        let failed = |error| EngineError::failed("read the instance's log", error);
        stream
            .map_err(|_| EngineError::failed("read the instance's log", ClusterError::Slow(READ_LIMIT)))?
            .map_err(failed)
    }

    async fn exec(&self, key: &ServiceKey, id: &InstanceId, request: ExecRequest) -> Result<ExecSession, EngineError> {
        let (view, pod) = self.pod(key, id).await?;
        let pods = Api::namespaced(self.client.clone(), &view.namespace);
        let session = exec::start(&pods, &pod, &request, &self.tasks, &self.stopping).await;
        session.map_err(|error| exec::failed(&request, error))
    }
}

impl KubernetesEngine {
    /// Keeps what is wanted of a service that was never released: there is nothing that could run. It is forgotten with this engine; the server
    /// tells it anew.
    fn keep_unreleased(&self, view: &View, desired: Desired) -> Result<(), EngineError> {
        let service = desired.key.service.clone();
        if let Some(before) = view.unreleased(&service).filter(|before| before.version > desired.version) {
            return Err(EngineError::Stale { key: desired.key, given: desired.version, stored: before.version });
        }
        view.keep_unreleased(&service, Some(desired));
        self.take(vec![(view.environment.clone(), Some(service.to_string()))]);
        Ok(())
    }
}

fn now() -> Timestamp {
    let elapsed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX))
}
