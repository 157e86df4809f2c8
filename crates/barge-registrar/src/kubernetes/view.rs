//! What the cluster is known to have: the pods of services, kept up to date by a watch.
//!
//! A watch that breaks begins anew with a complete list, and until that is there the one before it holds (R4).

use std::collections::{BTreeSet, HashMap};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use barge_crds::names;
use barge_model::registration::WantedList;
use barge_model::{InstanceId, ServiceKey};
use futures_util::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::reflector::{self, ObjectRef, Store, store::Writer};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, ResourceExt};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::pods::{self, Leaving};

/// News that are there already are taken in together, at most so many.
const AT_ONCE: usize = 1000;
/// One error of a watch is no matter: API servers are restarted. Another one right after it is.
const ERRORS: u32 = 2;
/// The longest pause between two tries of a broken watch is half of this.
const CALM: Duration = Duration::from_secs(60);

/// Each instance.
pub(crate) type Instances = HashMap<InstanceId, Known>;

/// Which service an instance is of, which pod it is, and whether it has said that it is about to stop.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub(crate) key: ServiceKey,
    pub(crate) pod: ObjectRef<Pod>,
    pub(crate) leaves: bool,
}

/// What is known of the cluster; others read.
#[derive(Debug, Clone)]
pub(crate) struct View {
    /// The pods.
    pub(crate) pods: Store<Pod>,
    /// The instances that they are; no service at all until all pods were listed.
    pub(crate) wanted: watch::Receiver<WantedList>,
    /// The same by instance; nothing until all pods were listed.
    pub(crate) instances: watch::Receiver<Option<Arc<Instances>>>,
    /// Takes in which ones have said that they are about to stop.
    pub(crate) leaves: mpsc::Sender<InstanceId>,
    /// Why this is not the latest.
    pub(crate) trouble: watch::Receiver<Option<String>>,
}

/// What keeps the view up to date.
pub(crate) struct Watch {
    pods: Store<Pod>,
    writer: Writer<Pod>,
    /// Services that were ever seen.
    known: BTreeSet<ServiceKey>,
    wanted: watch::Sender<WantedList>,
    instances: watch::Sender<Option<Arc<Instances>>>,
    said: mpsc::Receiver<InstanceId>,
    leaving: Leaving,
    trouble: watch::Sender<Option<String>>,
    /// How many errors there were in a row, and when the last one was.
    errors: u32,
    last_error: Option<Instant>,
}

/// A view of nothing yet, and what fills it. The services `known` are listed even where no pod of them is found.
pub(crate) fn view(known: BTreeSet<ServiceKey>) -> (View, Watch) {
    let (pods, writer) = reflector::store();
    let (leaves, said) = mpsc::channel(AT_ONCE);
    let watch = Watch {
        pods: pods.clone(),
        writer,
        known,
        wanted: watch::Sender::new(WantedList::new()),
        instances: watch::Sender::new(None),
        said,
        leaving: Leaving::new(),
        trouble: watch::Sender::new(None),
        errors: 0,
        last_error: None,
    };
    let (wanted, instances) = (watch.wanted.subscribe(), watch.instances.subscribe());
    let view = View { pods, wanted, instances, leaves, trouble: watch.trouble.subscribe() };
    (view, watch)
}

impl Watch {
    /// Watches until it is dropped.
    pub(crate) async fn run(mut self, api: Api<Pod>) {
        let of_ours = watcher::Config::default().labels(names::SERVICE);
        let news = watcher(api, of_ours)
            // Larger than all the rest, and nobody reads it.
            .modify(|pod| pod.managed_fields_mut().clear())
            .default_backoff()
            .ready_chunks(AT_ONCE);
        let mut news = pin!(news);
        loop {
            let calm = self.last_error.map_or(CALM, |at| CALM.saturating_sub(at.elapsed()));
            tokio::select! {
                events = news.next() => match events {
                    Some(events) => self.take(events),
                    None => return,
                },
                Some(id) = self.said.recv() => self.note_leaving(id),
                () = tokio::time::sleep(calm), if self.last_error.is_some() => self.all_is_well(),
            }
        }
    }

    fn take(&mut self, events: Vec<Result<watcher::Event<Pod>, watcher::Error>>) {
        let (mut is_news, mut is_listed) = (false, self.instances.borrow().is_some());
        for event in events {
            match event {
                Ok(event) => {
                    self.writer.apply_watcher_event(&event);
                    is_listed |= matches!(event, watcher::Event::InitDone);
                    if !matches!(event, watcher::Event::Init | watcher::Event::InitApply(_)) {
                        is_news = true;
                        self.all_is_well();
                    }
                }
                Err(error) => self.note(&error),
            }
        }
        if is_news && is_listed {
            self.publish();
        }
    }

    fn publish(&mut self) {
        let pods = self.pods.state();
        let wanted = pods::wanted(pods.iter().map(AsRef::as_ref), &self.known, &self.leaving);
        self.known.extend(wanted.keys().cloned());
        let known = |pod: &Arc<Pod>| {
            let (key, wanted) = pods::instance(pod)?;
            let leaves = pods::is_leaving(pod, &wanted.id, &self.leaving);
            Some((wanted.id, Known { key, pod: ObjectRef::from_obj(pod.as_ref()), leaves }))
        };
        let instances: Instances = pods.iter().filter_map(known).collect();
        self.leaving.retain(|id, _| instances.get(id).is_some_and(|known| known.leaves));
        self.instances.send_replace(Some(Arc::new(instances)));
        self.wanted.send_if_modified(|before| {
            let changed = *before != wanted;
            *before = wanted;
            changed
        });
    }

    /// Whoever has said that it is about to stop is taken out of traffic like one that is deleted: its node may want to be rid of it, and delete nothing.
    fn note_leaving(&mut self, id: InstanceId) {
        let known = self.instances.borrow().as_ref().and_then(|all| all.get(&id).cloned());
        let pod = known.filter(|known| !known.leaves).and_then(|known| self.pods.get(&known.pod));
        if let Some(container) = pod.and_then(|pod| pods::container(&pod)) {
            self.leaving.insert(id, container);
            self.publish();
        }
    }

    fn note(&mut self, error: &watcher::Error) {
        let error = barge_runtime::chain(error);
        tracing::warn!(error, "the watch of pods broke, and begins anew");
        self.errors += 1;
        self.last_error = Some(Instant::now());
        if self.errors >= ERRORS {
            self.trouble.send_replace(Some(format!("the API server does not say which pods there are: {error}")));
        }
    }

    fn all_is_well(&mut self) {
        (self.errors, self.last_error) = (0, None);
        self.trouble.send_if_modified(|trouble| trouble.take().is_some());
    }
}
