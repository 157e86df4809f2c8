//! Tells engines the desired state: at once after a change, again and again where that failed, and everything after a start.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use barge_engine::{Desired, EngineError};
use barge_model::ServiceKey;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::environment::Environments;
use crate::store::{Store, StoreError};

/// After the first failure; it doubles with each further one.
const FIRST_RETRY: Duration = Duration::from_millis(100);
/// The longest wait between two tries of what failed.
const LAST_RETRY: Duration = Duration::from_secs(5);

/// What still has to be told.
#[derive(Debug, Clone)]
pub(crate) struct Applier {
    store: Store,
    environments: Environments,
    missed: Arc<(Mutex<BTreeSet<ServiceKey>>, Notify)>,
}

impl Applier {
    pub(crate) fn new(store: Store, environments: Environments) -> Self {
        Self { store, environments, missed: Arc::default() }
    }

    /// Tells the engine of a change. Where that fails, it is tried again later; the change is stored, so nothing is lost.
    pub(crate) async fn apply(&self, key: &ServiceKey) {
        if !self.try_apply(key).await {
            self.missed().insert(key.clone());
            self.missed.1.notify_one();
        }
    }

    /// Works until `shutdown`.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        // Whatever happened while nobody was here: engines are told everything.
        let mut everything = true;
        let mut failures = 0;
        loop {
            everything = everything && !self.tell_everything().await;
            let keys = std::mem::take(&mut *self.missed());
            let mut failed = BTreeSet::new();
            for key in keys {
                if !self.try_apply(&key).await {
                    failed.insert(key);
                }
            }
            failures = if failed.is_empty() && !everything { 0 } else { failures + 1 };
            self.missed().append(&mut failed);
            tokio::select! {
                () = self.missed.1.notified() => {}
                () = tokio::time::sleep(pause(failures)) => {}
                () = shutdown.cancelled() => return,
            }
        }
    }

    /// Tells the engines of every service, and notes where that fails; false when the services cannot be read.
    async fn tell_everything(&self) -> bool {
        let services = match self.store.desired_of_all().await {
            Ok(services) => services,
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "engines are not told of what they missed");
                return false;
            }
        };
        for (key, desired) in services {
            if !self.tell(&key, desired).await {
                self.missed().insert(key);
            }
        }
        true
    }

    fn missed(&self) -> std::sync::MutexGuard<'_, BTreeSet<ServiceKey>> {
        self.missed.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn try_apply(&self, key: &ServiceKey) -> bool {
        match self.store.desired(key).await.transpose() {
            Some(desired) => self.tell(key, desired).await,
            None => true,
        }
    }

    /// Tells a service's engine the state that was read for it; false when that has to be tried again.
    async fn tell(&self, key: &ServiceKey, desired: Result<Desired, StoreError>) -> bool {
        let Some(environment) = self.environments.get(&key.environment) else {
            // An environment that is not set up any more: its services stay as they are.
            return true;
        };
        let desired = match desired {
            Ok(desired) => desired,
            Err(error) => {
                tracing::error!(%key, error = &error as &dyn std::error::Error, "the desired state cannot be read");
                return false;
            }
        };
        match environment.engine.apply(desired).await {
            Ok(()) | Err(EngineError::Stopping) => true,
            // Somebody told a later state in between; or the database is an older copy, and the next change goes beyond what the engine
            // has. Until then it stays with that, and the status says that it is not settled.
            Err(error @ EngineError::Stale { .. }) => {
                tracing::warn!(%key, error = &error as &dyn std::error::Error, "the engine has a later state");
                true
            }
            Err(error) => {
                tracing::error!(%key, error = &error as &dyn std::error::Error, "the engine did not take the state");
                false
            }
        }
    }
}

fn pause(failures: u32) -> Duration {
    match failures {
        0 => Duration::from_secs(3600),
        _ => FIRST_RETRY.saturating_mul(1 << (failures - 1).min(16)).min(LAST_RETRY),
    }
}
