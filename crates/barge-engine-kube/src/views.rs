//! What the cluster is known to be: one environment's resources and pods, from watches, and the reports made of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use barge_crds::{RpcService, ServiceResource, WebService, names};
use barge_engine::{Desired, ServiceReport};
use barge_model::{EnvironmentName, InstanceId, Release, ReleaseId, ServiceKey, ServiceName, Timestamp};
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::watcher::Event;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc::UnboundedSender;

use crate::apply::version;
use crate::instance;
use crate::report::{ReportError, report, unreleased};

/// Of which service there is news; of all where a list began anew.
pub(crate) type News = (EnvironmentName, Option<String>);

/// What the four watches have in common: each has told everything once.
const ALL_KNOWN: u8 = 0b1111;

/// A service as it was last told.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    /// The version of the resource that was looked at.
    pub(crate) version: u64,
    pub(crate) report: Result<Arc<ServiceReport>, Arc<ReportError>>,
}

/// One environment's namespace.
pub(crate) struct View {
    pub(crate) environment: EnvironmentName,
    pub(crate) namespace: String,
    web: Store<WebService>,
    rpc: Store<RpcService>,
    pods: Store<Pod>,
    maps: Store<ConfigMap>,
    /// A bit for each watch that has told everything.
    known: AtomicU8,
    /// Reports were made of all that.
    looked: AtomicBool,
    /// Why a watch does not tell anything.
    trouble: Mutex<Option<String>>,
    services: Mutex<BTreeMap<ServiceName, Known>>,
    /// Services of which nothing was ever released.
    unreleased: Mutex<BTreeMap<ServiceName, Desired>>,
}

impl View {
    /// A view of a namespace, and the watches that keep it up to date until they are dropped.
    pub(crate) fn new(
        client: &Client,
        environment: EnvironmentName,
        namespace: String,
        news: &UnboundedSender<News>,
    ) -> (Arc<Self>, Vec<BoxFuture<'static, ()>>) {
        let (web, web_writer) = reflector::store();
        let (rpc, rpc_writer) = reflector::store();
        let (pods, pods_writer) = reflector::store();
        let (maps, maps_writer) = reflector::store();
        let view = Arc::new(Self {
            environment,
            web,
            rpc,
            pods,
            maps,
            known: AtomicU8::new(0),
            looked: AtomicBool::new(false),
            trouble: Mutex::default(),
            services: Mutex::default(),
            unreleased: Mutex::default(),
            namespace,
        });
        let watches = vec![
            watch(client, &view, (0, ""), web_writer, name, news),
            watch(client, &view, (1, ""), rpc_writer, name, news),
            watch(client, &view, (2, names::SERVICE), pods_writer, of_service, news),
            watch(client, &view, (3, names::SERVICE), maps_writer, of_service, news),
        ];
        (view, watches)
    }

    /// Whether everything was told once, and looked at: before that, what is not known may be there all the same.
    pub(crate) fn is_looked_at(&self) -> bool {
        self.looked.load(Ordering::SeqCst)
    }

    /// Why it is not, as far as anybody has said.
    pub(crate) fn trouble(&self) -> Option<String> {
        lock(&self.trouble).clone()
    }

    /// What was told of a service last.
    pub(crate) fn service(&self, name: &ServiceName) -> Option<Known> {
        lock(&self.services).get(name).cloned()
    }

    /// What was told of all of them.
    pub(crate) fn services(&self) -> Vec<(ServiceName, Known)> {
        lock(&self.services).iter().map(|(name, known)| (name.clone(), known.clone())).collect()
    }

    /// The pod of an instance of a service.
    pub(crate) fn pod(&self, key: &ServiceKey, id: &InstanceId) -> Option<Arc<Pod>> {
        let is_it = |pod: &&Arc<Pod>| self.is_of(pod, key.service.as_str()) && instance::id(pod).as_ref() == Some(id);
        self.pods.state().iter().find(is_it).cloned()
    }

    /// Keeps what is wanted of a service without a resource, or forgets it.
    pub(crate) fn keep_unreleased(&self, name: &ServiceName, desired: Option<Desired>) {
        match desired {
            Some(desired) => lock(&self.unreleased).insert(name.clone(), desired),
            None => lock(&self.unreleased).remove(name),
        };
    }

    /// What is wanted of a service without a resource.
    pub(crate) fn unreleased(&self, name: &ServiceName) -> Option<Desired> {
        lock(&self.unreleased).get(name).cloned()
    }

    /// Looks at services of which there is news, at all where there are no names; true where a report is another one now.
    pub(crate) fn look(&self, names: Option<&BTreeSet<String>>, now: Timestamp) -> bool {
        if self.known.load(Ordering::SeqCst) != ALL_KNOWN {
            return false;
        }
        let is_all = names.is_none();
        // All of them at once: a burst of news costs one look at all pods.
        let mut pods: HashMap<String, Vec<Arc<Pod>>> = HashMap::new();
        for pod in self.pods.state() {
            if let Some(service) = of_service(pod.as_ref()).filter(|service| self.is_of(&pod, service)) {
                pods.entry(service).or_default().push(pod);
            }
        }
        let all = || {
            let known: Vec<String> = lock(&self.services).keys().map(ToString::to_string).collect();
            let web = self.web.state().into_iter().map(|web| web.name_any());
            let rpc = self.rpc.state().into_iter().map(|rpc| rpc.name_any());
            let unreleased: Vec<String> = lock(&self.unreleased).keys().map(ToString::to_string).collect();
            web.chain(rpc).chain(known).chain(unreleased).collect::<BTreeSet<String>>()
        };
        let names = names.cloned().unwrap_or_else(all);
        let mut changed = false;
        for name in names {
            let Ok(name) = ServiceName::new(name.as_str()) else { continue };
            changed |= self.look_at(&name, pods.get(name.as_str()).map_or(&[][..], Vec::as_slice), now);
        }
        if is_all {
            self.looked.store(true, Ordering::SeqCst);
        }
        changed
    }

    fn look_at(&self, name: &ServiceName, pods: &[Arc<Pod>], now: Timestamp) -> bool {
        let (web, rpc) = (self.web.get(&self.reference(name)), self.rpc.get(&self.reference(name)));
        let known = match (web, rpc) {
            (Some(web), _) if self.has(web.as_ref()) => Some(self.known(name, web.as_ref(), pods, now)),
            (_, Some(rpc)) if self.has(rpc.as_ref()) => Some(self.known(name, rpc.as_ref(), pods, now)),
            _ => self.unreleased(name).map(|desired| Known { version: 0, report: Ok(Arc::new(unreleased(&desired))) }),
        };
        let mut services = lock(&self.services);
        let Some(mut known) = known else { return services.remove(name).is_some() };
        let before = services.get(name);
        let same = match (before.map(|before| &before.report), &known.report) {
            (Some(Ok(before)), Ok(now)) => before == now,
            (Some(Err(before)), Err(now)) => before.to_string() == now.to_string(),
            _ => false,
        };
        match before {
            // Whoever asks again pays for what has changed alone.
            Some(before) if same => known.report = before.report.clone(),
            _ => {}
        }
        if let (false, Err(error)) = (same, &known.report) {
            let error = barge_runtime::chain(error.as_ref());
            tracing::warn!(namespace = %self.namespace, service = %name, error, "a service cannot be reported");
        }
        services.insert(name.clone(), known);
        !same
    }

    fn known<K: ServiceResource>(&self, name: &ServiceName, resource: &K, pods: &[Arc<Pod>], now: Timestamp) -> Known {
        let key = ServiceKey::new(self.environment.clone(), name.clone());
        let before = self.service(name).and_then(|known| known.report.ok());
        let definition = |id: &ReleaseId| {
            let known_before = || {
                let sets = &before.as_ref()?.status.sets;
                sets.iter().map(|set| &set.release).find(|release| release.id == *id).cloned()
            };
            self.definition(name, id).or_else(known_before)
        };
        let report = report(resource, &key, pods, definition, now);
        Known { version: version(resource), report: report.map(Arc::new).map_err(Arc::new) }
    }

    /// What a release is: the operator has pinned it in its ConfigMap.
    fn definition(&self, service: &ServiceName, id: &ReleaseId) -> Option<Release> {
        let map = self.maps.get(&ObjectRef::new(&names::of_release(service, id)).within(&self.namespace))?;
        let release: Release = serde_json::from_str(map.data.as_ref()?.get("release.json")?).ok()?;
        (release.id == *id).then_some(release)
    }

    /// Another environment's resource may be in the namespace, put there by hand or by an engine with another pattern.
    fn has(&self, resource: &impl ServiceResource) -> bool {
        resource.spec().environment == self.environment.as_str()
    }

    fn is_of(&self, pod: &Pod, service: &str) -> bool {
        let label = |name: &str| pod.metadata.labels.as_ref().and_then(|labels| labels.get(name)).map(String::as_str);
        label(names::SERVICE) == Some(service) && label(names::ENVIRONMENT) == Some(self.environment.as_str())
    }

    fn reference<K: Resource<DynamicType = ()>>(&self, name: &ServiceName) -> ObjectRef<K> {
        ObjectRef::new(name.as_str()).within(&self.namespace)
    }
}

/// Keeps a store up to date until it is dropped. `bit` is its own in what is known, `labels` are those of ours.
fn watch<K>(
    client: &Client,
    view: &Arc<View>,
    (bit, labels): (u8, &str),
    writer: Writer<K>,
    service: fn(&K) -> Option<String>,
    news: &UnboundedSender<News>,
) -> BoxFuture<'static, ()>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + DeserializeOwned
        + Send
        + Sync
        + 'static,
{
    let api: Api<K> = Api::namespaced(client.clone(), &view.namespace);
    let events = watcher(api, watcher::Config::default().labels(labels))
        // Larger than all the rest, and nobody reads it.
        .modify(|object| object.managed_fields_mut().clear())
        .default_backoff()
        .reflect(writer);
    let (view, news) = (Arc::clone(view), news.clone());
    Box::pin(events.for_each(move |event| {
        let name = match event {
            Ok(Event::Apply(object) | Event::Delete(object)) => service(&object).map(Some),
            Ok(Event::InitDone) => {
                view.known.fetch_or(1 << bit, Ordering::SeqCst);
                *lock(&view.trouble) = None;
                Some(None)
            }
            Ok(Event::Init | Event::InitApply(_)) => None,
            Err(error) => {
                let error = barge_runtime::chain(&error);
                tracing::warn!(error, kind = %K::kind(&()), namespace = %view.namespace, "a watch broke, and begins anew");
                *lock(&view.trouble) = Some(format!("watch {}: {error}", K::plural(&())));
                None
            }
        };
        if let Some(name) = name {
            // Nobody listens any more where everything ends.
            let _ = news.send((view.environment.clone(), name));
        }
        std::future::ready(())
    }))
}

fn of_service<K: Resource>(object: &K) -> Option<String> {
    object.meta().labels.as_ref()?.get(names::SERVICE).cloned()
}

fn name<K: Resource>(object: &K) -> Option<String> {
    object.meta().name.clone()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
