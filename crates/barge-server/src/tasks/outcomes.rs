//! Stores how releases ended, and what was seen of a failed one before its instance is gone.

use std::collections::BTreeSet;
use std::time::Duration;

use barge_api::FailureView;
use barge_engine::{Engine, LogOptions, ServiceReport};
use barge_model::rollout::Finished;
use barge_model::{InstanceId, ReleaseId, ServiceKey};
use futures_util::StreamExt;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::App;
use crate::environment::Environment;
use crate::store::Store;
use crate::view;

/// How many of the last lines of output a failure keeps.
const LOG_LINES: usize = 50;
/// How long reading them may take.
const LOG_LIMIT: Duration = Duration::from_secs(5);
/// Between two looks when a write failed.
const RETRY: Duration = Duration::from_secs(2);

/// One watch for each environment.
pub(crate) struct Outcomes {
    store: Store,
    environments: Vec<Environment>,
}

impl Outcomes {
    pub(crate) fn new(app: &App) -> Self {
        Self { store: app.store.clone(), environments: app.environments.iter().cloned().collect() }
    }

    /// Works until `shutdown`.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        let mut watches = JoinSet::new();
        for environment in self.environments {
            watches.spawn(watch(self.store.clone(), environment, shutdown.clone()));
        }
        while watches.join_next().await.is_some() {}
    }
}

async fn watch(store: Store, environment: Environment, shutdown: CancellationToken) {
    let mut changes = environment.engine.changes();
    let mut stored: BTreeSet<ReleaseId> = BTreeSet::new();
    loop {
        changes.borrow_and_update();
        let pause = match environment.engine.reports().await {
            Ok(reports) if store_all(&store, &environment, &reports, &mut stored).await => Duration::from_secs(3600),
            Ok(_) => RETRY,
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "the engine does not report");
                RETRY
            }
        };
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(pause) => {}
            () = shutdown.cancelled() => return,
        }
    }
}

/// Stores what is new; false when something could not be stored.
async fn store_all(
    store: &Store,
    environment: &Environment,
    reports: &[ServiceReport],
    stored: &mut BTreeSet<ReleaseId>,
) -> bool {
    let mut complete = true;
    // Several environments may share an engine.
    for report in reports.iter().filter(|report| report.key.environment == environment.name) {
        for finished in &report.status.finished {
            if stored.contains(&finished.release) {
                continue;
            }
            let failure = explain(environment.engine.as_ref(), report, finished).await;
            match store.finish(finished, failure.as_ref()).await {
                Ok(()) => {
                    stored.insert(finished.release.clone());
                }
                Err(error) => {
                    tracing::error!(key = %report.key, error = &error as &dyn std::error::Error, "the end of a release is not stored");
                    complete = false;
                }
            }
        }
    }
    complete
}

/// What is known of a failed release: the instance that shows it, and its last lines of output.
pub(crate) async fn explain(engine: &dyn Engine, report: &ServiceReport, finished: &Finished) -> Option<FailureView> {
    let log = match view::failed_instance(report, finished) {
        Some(id) => last_lines(engine, &report.key, &id).await,
        None => Vec::new(),
    };
    view::failure(report, finished, log)
}

async fn last_lines(engine: &dyn Engine, key: &ServiceKey, id: &InstanceId) -> Vec<String> {
    let read = async {
        let stream = engine.logs(key, id, LogOptions { tail: LOG_LINES, follow: false }).await.ok()?;
        Some(stream.filter_map(|line| async { line.ok() }).collect::<Vec<String>>().await)
    };
    // What cannot be read in time is left out; the rest of the failure is told all the same.
    tokio::time::timeout(LOG_LIMIT, read).await.ok().flatten().unwrap_or_default()
}
