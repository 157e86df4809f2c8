//! The operator at work: watches, and a reconcile for each service of which there is news.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use barge_crds::{RpcService, ServiceResource, WebService};
use barge_lease::{Health, Tenure};
use barge_model::Timestamp;
use futures_util::{Stream, StreamExt};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::ReplicaSet;
use kube::runtime::controller::{Action, Config, Controller};
use kube::runtime::reflector::ObjectRef;
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
use crate::kept::{Kept, Place};
use crate::names;
use crate::observe;
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
    fn tell(&self, places: Vec<Place>) {
        for place in places {
            for to in &self.to {
                // Nobody listens any more where everything ends.
                let _ = to.send((place.namespace.clone(), place.service.clone()));
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
        let scope = Scope { client: client.clone(), namespace };
        let (web, of_web) = unbounded_channel();
        let (rpc, of_rpc) = unbounded_channel();
        let teller = Teller { to: [web, rpc] };
        let (events, to_tell) = Events::new();
        let telling = events::tell(client.clone(), identity, to_tell);
        let views = Views::default();
        let context = Arc::new(Context { client, views, settings, tenure, registrar: registrar.clone(), events });
        let views = &context.views;
        let watches = async {
            tokio::join!(
                keep(&scope, &views.pods, &teller, observe::essential),
                keep(&scope, &views.sets, &teller, without_template),
                keep(&scope, &views.maps, &teller, |_| {}),
            )
        };
        let all = || teller.tell(views.pods.places());
        let asks = ask::ask(Arc::clone(&context), reqwest::Client::new(), all);
        let services = async {
            // What is not known yet must not be taken for what is not there.
            tokio::join!(views.pods.known(), views.sets.known(), views.maps.known());
            ready.send_replace(true);
            tokio::join!(
                control::<WebService>(&context, &scope, of_web),
                control::<RpcService>(&context, &scope, of_rpc)
            );
        };
        tokio::join!(watches, asks, telling, services, on_change(registrar, all));
    }
}

/// A ReplicaSet's template is as large as all the rest, and nobody reads it.
fn without_template(set: &mut ReplicaSet) {
    if let Some(spec) = &mut set.spec {
        spec.template = None;
    }
}

/// All services hear of it when the registrar is not well any more, or is well again.
async fn on_change(mut registrar: watch::Receiver<Health>, all: impl Fn()) {
    while registrar.changed().await.is_ok() {
        all();
    }
}

/// Where the operator looks.
struct Scope {
    client: Client,
    namespace: Option<String>,
}

impl Scope {
    fn api<K: Resource<DynamicType = (), Scope = NamespaceResourceScope>>(&self) -> Api<K> {
        match &self.namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        }
    }
}

/// Keeps what the watch of all objects of a kind that are ours tells, without what nobody reads of them.
async fn keep<K>(scope: &Scope, kept: &Kept<K>, teller: &Teller, strip: impl Fn(&mut K))
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + DeserializeOwned
        + Send
        + Sync
        + 'static,
{
    let of_ours = watcher::Config::default().labels(names::SERVICE);
    let news = watcher(scope.api::<K>(), of_ours).default_backoff().modify(|object| {
        object.managed_fields_mut().clear();
        strip(object);
    });
    let told = news.for_each(|event| {
        match event {
            Ok(event) => teller.tell(kept.take(event)),
            Err(error) => tracing::warn!(%error, kind = %K::kind(&()), "a watch broke, and begins anew"),
        }
        std::future::ready(())
    });
    told.await;
}

async fn control<K>(context: &Arc<Context>, scope: &Scope, news: UnboundedReceiver<News>)
where
    K: ServiceResource + Clone + std::fmt::Debug + Serialize + DeserializeOwned + Send + Sync + 'static,
{
    let ended = Controller::new(scope.api::<K>(), watcher::Config::default())
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
