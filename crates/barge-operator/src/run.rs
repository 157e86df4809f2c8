//! The operator at work: watches, and a reconcile for each service of which there is news.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use barge_crds::{RpcService, ServiceResource, WebService};
use barge_lease::{Health, Tenure};
use barge_model::Timestamp;
use futures_util::{Stream, StreamExt};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::runtime::controller::{Action, Config, Controller};
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio_stream::wrappers::UnboundedReceiverStream;

use crate::ask;
use crate::build::Settings;
use crate::events::{self, Events};
use crate::names;
use crate::reconcile::{Context, ReconcileError, reconcile};
use crate::views::Views;

/// So many services are brought on at once.
const AT_ONCE: u16 = 16;
/// After a reconcile that failed.
const PAUSE: Duration = Duration::from_secs(1);

/// Of which service there is news.
type News = (String, String);

/// Tells both kinds of news: what belongs to a service says its name and not its kind.
#[derive(Debug, Clone)]
struct Teller {
    to: [UnboundedSender<News>; 2],
}

impl Teller {
    fn tell(&self, object: &impl ResourceExt) {
        let service = object.labels().get(names::SERVICE).cloned();
        if let (Some(namespace), Some(service)) = (object.namespace(), service) {
            for to in &self.to {
                // Nobody listens any more where everything ends.
                let _ = to.send((namespace.clone(), service.clone()));
            }
        }
    }
}

/// An operator in one tenure of its lead.
pub struct Operator {
    /// The API server; behind the fence of the tenure.
    pub client: Client,
    /// What is the same for all releases.
    pub settings: Settings,
    /// The only namespace that it looks after; none for all of them.
    pub namespace: Option<String>,
    /// The lead in which it works.
    pub tenure: Tenure,
    /// How the registrar is: while it is not well, releases freeze.
    pub registrar: watch::Receiver<Health>,
    /// What this replica is called, for events.
    pub identity: Option<String>,
    /// Set once everything there is was seen.
    pub ready: watch::Sender<bool>,
}

/// Runs until it is dropped, alone, beside a registrar that is always well.
pub async fn run(client: Client, settings: Settings, namespace: Option<String>) {
    // Whoever sends no more has said the last word on it.
    let (registrar, tenure) = (watch::channel(Health::Well).1, Tenure::of_one_alone());
    let ready = watch::channel(false).0;
    Operator { client, settings, namespace, tenure, registrar, identity: None, ready }.run().await;
}

impl Operator {
    /// Runs until it is dropped.
    pub async fn run(self) {
        let Self { client, settings, namespace, tenure, registrar, identity, ready } = self;
        let place = Place { client: client.clone(), namespace };
        let (web, of_web) = unbounded_channel();
        let (rpc, of_rpc) = unbounded_channel();
        let teller = Teller { to: [web, rpc] };
        let (pods, pod_watch) = watched::<Pod>(&place, teller.clone());
        let (sets, set_watch) = watched::<ReplicaSet>(&place, teller.clone());
        let (maps, map_watch) = watched::<ConfigMap>(&place, teller.clone());
        let (events, to_tell) = Events::new();
        let telling = events::tell(client.clone(), identity, to_tell);
        let views = Views::new(pods, sets, maps);
        let context = Arc::new(Context { client, views, settings, tenure, registrar: registrar.clone(), events });
        let all = || context.views.pods.state().iter().for_each(|pod| teller.tell(pod.as_ref()));
        let asks = ask::ask(Arc::clone(&context), reqwest::Client::new(), all);
        let services = async {
            // What is not known yet must not be taken for what is not there.
            let views = &context.views;
            let known = (views.pods.wait_until_ready(), views.sets.wait_until_ready(), views.maps.wait_until_ready());
            let (pods, sets, maps) = tokio::join!(known.0, known.1, known.2);
            if pods.and(sets).and(maps).is_ok() {
                ready.send_replace(true);
                tokio::join!(
                    control::<WebService>(&context, &place, of_web),
                    control::<RpcService>(&context, &place, of_rpc)
                );
            }
        };
        tokio::join!(pod_watch, set_watch, map_watch, asks, telling, services, on_change(registrar, all));
    }
}

/// All services hear of it when the registrar is not well any more, or is well again.
async fn on_change(mut registrar: watch::Receiver<Health>, all: impl Fn()) {
    while registrar.changed().await.is_ok() {
        all();
    }
}

/// Where the operator looks.
struct Place {
    client: Client,
    namespace: Option<String>,
}

impl Place {
    fn api<K: Resource<DynamicType = (), Scope = NamespaceResourceScope>>(&self) -> Api<K> {
        match &self.namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        }
    }
}

/// A store of all objects of a type that are ours, and what keeps it up to date.
fn watched<K>(place: &Place, teller: Teller) -> (Store<K>, impl Future<Output = ()> + use<K>)
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + DeserializeOwned
        + Send
        + Sync
        + 'static,
{
    let (store, writer) = reflector::store();
    let of_ours = watcher::Config::default().labels(names::SERVICE);
    let news = watcher(place.api::<K>(), of_ours)
        // Larger than all the rest, and nobody reads it.
        .modify(|object| object.managed_fields_mut().clear())
        .default_backoff()
        .reflect(writer)
        .touched_objects();
    let told = news.for_each(move |object| {
        match object {
            Ok(object) => teller.tell(&object),
            Err(error) => tracing::warn!(%error, kind = %K::kind(&()), "a watch broke, and begins anew"),
        }
        std::future::ready(())
    });
    (store, told)
}

async fn control<K>(context: &Arc<Context>, place: &Place, news: UnboundedReceiver<News>)
where
    K: ServiceResource + Clone + std::fmt::Debug + Serialize + DeserializeOwned + Send + Sync + 'static,
{
    let ended = Controller::new(place.api::<K>(), watcher::Config::default())
        .with_config(Config::default().concurrency(AT_ONCE))
        .reconcile_on(services_of(news))
        .run(|service, context| reconcile(service, context, now()), on_error, Arc::clone(context));
    ended
        .for_each(|done| {
            if let Err(kube::runtime::controller::Error::QueueError(error)) = done {
                tracing::warn!(%error, "a watch broke, and begins anew");
            }
            std::future::ready(())
        })
        .await;
}

fn services_of<K: ServiceResource>(news: UnboundedReceiver<News>) -> impl Stream<Item = ObjectRef<K>> {
    UnboundedReceiverStream::new(news).map(|(namespace, name)| ObjectRef::new(&name).within(&namespace))
}

fn on_error<K: ServiceResource>(service: Arc<K>, error: &ReconcileError, _: Arc<Context>) -> Action {
    let (namespace, name) = (service.namespace().unwrap_or_default(), service.name_any());
    tracing::warn!(error = %barge_runtime::chain(error), %namespace, %name, "a service could not be brought on");
    Action::requeue(PAUSE)
}

fn now() -> Timestamp {
    let elapsed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX))
}
