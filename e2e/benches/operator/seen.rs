//! What the bench's own watches tell.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use barge_crds::{ServiceStatus, WebService, names};
use futures_util::{Stream, StreamExt};
use k8s_openapi::api::apps::v1::ReplicaSet;
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::{Config, Event};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use tokio::sync::Notify;
use tokio::time::timeout;

/// All of one namespace.
#[derive(Default)]
pub(crate) struct Seen {
    /// When each ReplicaSet was told of first.
    sets: Mutex<HashMap<String, Instant>>,
    statuses: Mutex<HashMap<String, ServiceStatus>>,
    news: Notify,
}

impl Seen {
    /// Watches until it is dropped.
    pub(crate) async fn watch(&self, client: Client, namespace: &str) {
        let sets: Api<PartialObjectMeta<ReplicaSet>> = Api::namespaced(client.clone(), namespace);
        let services: Api<WebService> = Api::namespaced(client, namespace);
        let sets = follow(watcher(sets, Config::default().labels(names::SERVICE)), |set| {
            lock(&self.sets).entry(set.name_any()).or_insert_with(Instant::now);
            self.news.notify_one();
        });
        let services = follow(watcher(services, Config::default()), |service: WebService| {
            lock(&self.statuses).insert(service.name_any(), service.status.unwrap_or_default());
            self.news.notify_one();
        });
        tokio::join!(sets, services);
    }

    /// When the ReplicaSet of this name was seen first.
    pub(crate) fn set(&self, name: &str) -> Option<Instant> {
        lock(&self.sets).get(name).copied()
    }

    /// The latest status of a service.
    pub(crate) fn status(&self, name: &str) -> ServiceStatus {
        lock(&self.statuses).get(name).cloned().unwrap_or_default()
    }

    /// Waits until something is so; `lacks` are those of which it is not, in words.
    pub(crate) async fn until(&self, what: &str, patience: Duration, lacks: impl Fn(&Self) -> Option<String>) {
        let deadline = Instant::now() + patience;
        while let Some(lacking) = lacks(self) {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{what}: not within {patience:?}; {lacking}");
            // No more than some looks at all of them in a second.
            let _ = timeout(left, self.news.notified()).await;
        }
    }

    /// The first service that is not as it should be, and how many those are.
    pub(crate) fn lacking(&self, services: &[String], fits: impl Fn(&str, &ServiceStatus) -> bool) -> Option<String> {
        let statuses = lock(&self.statuses);
        let unfit = |name: &&String| !statuses.get(*name).is_some_and(|status| fits(name, status));
        let mut unfit = services.iter().filter(unfit);
        let first = unfit.next()?;
        Some(format!("{} are not, such as {first}: {:?}", 1 + unfit.count(), statuses.get(first)))
    }
}

async fn follow<K>(news: impl Stream<Item = watcher::Result<Event<K>>>, mut take: impl FnMut(K))
where
    K: kube::Resource + Clone,
{
    let told = news.default_backoff().for_each(|event| {
        match event {
            Ok(Event::Apply(object) | Event::InitApply(object)) => take(object),
            Ok(_) => {}
            Err(error) => eprintln!("a watch of the bench broke, and begins anew: {error}"),
        }
        std::future::ready(())
    });
    told.await;
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
