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
use kube::runtime::reflector::{self, Store, store::Writer};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, ResourceExt};
use tokio::sync::watch;
use tokio::time::Instant;

use super::pods;

/// News that are there already are taken in together, at most so many.
const AT_ONCE: usize = 1000;
/// One error of a watch is no matter: API servers are restarted. Another one right after it is.
const ERRORS: u32 = 2;
/// The longest pause between two tries of a broken watch is half of this.
const CALM: Duration = Duration::from_secs(60);

/// Which service each instance is of.
pub(crate) type Services = HashMap<InstanceId, ServiceKey>;

/// What is known of the cluster; others read.
#[derive(Debug, Clone)]
pub(crate) struct View {
    /// The pods.
    pub(crate) pods: Store<Pod>,
    /// The instances that they are; no service at all until all pods were listed.
    pub(crate) wanted: watch::Receiver<WantedList>,
    /// The same by instance; nothing until all pods were listed.
    pub(crate) services: watch::Receiver<Option<Arc<Services>>>,
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
    services: watch::Sender<Option<Arc<Services>>>,
    trouble: watch::Sender<Option<String>>,
    /// How many errors there were in a row, and when the last one was.
    errors: u32,
    last_error: Option<Instant>,
}

/// A view of nothing yet, and what fills it. The services `known` are listed even where no pod of them is found.
pub(crate) fn view(known: BTreeSet<ServiceKey>) -> (View, Watch) {
    let (pods, writer) = reflector::store();
    let watch = Watch {
        pods: pods.clone(),
        writer,
        known,
        wanted: watch::Sender::new(WantedList::new()),
        services: watch::Sender::new(None),
        trouble: watch::Sender::new(None),
        errors: 0,
        last_error: None,
    };
    let (wanted, services) = (watch.wanted.subscribe(), watch.services.subscribe());
    let view = View { pods, wanted, services, trouble: watch.trouble.subscribe() };
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
                () = tokio::time::sleep(calm), if self.last_error.is_some() => self.all_is_well(),
            }
        }
    }

    fn take(&mut self, events: Vec<Result<watcher::Event<Pod>, watcher::Error>>) {
        let mut is_news = false;
        for event in events {
            match event {
                Ok(event) => {
                    self.writer.apply_watcher_event(&event);
                    if matches!(event, watcher::Event::InitDone) {
                        self.services.send_if_modified(|services| {
                            services.is_none().then(|| *services = Some(Arc::default())).is_some()
                        });
                    }
                    if !matches!(event, watcher::Event::Init | watcher::Event::InitApply(_)) {
                        is_news = true;
                        self.all_is_well();
                    }
                }
                Err(error) => self.note(&error),
            }
        }
        let is_listed = self.services.borrow().is_some();
        if is_news && is_listed {
            self.publish();
        }
    }

    fn publish(&mut self) {
        let pods = self.pods.state();
        let wanted = pods::wanted(pods.iter().map(AsRef::as_ref), &self.known);
        self.known.extend(wanted.keys().cloned());
        let of = |(key, instances): (&ServiceKey, &Vec<barge_model::registration::Wanted>)| {
            instances.iter().map(|wanted| (wanted.id.clone(), key.clone())).collect::<Vec<_>>()
        };
        self.services.send_replace(Some(Arc::new(wanted.iter().flat_map(of).collect())));
        self.wanted.send_if_modified(|before| {
            let changed = *before != wanted;
            *before = wanted;
            changed
        });
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
