//! Stores how releases ended, and what was seen of a failed one before its instance is gone.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
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
            let watch = Watch { store: self.store.clone(), environment, seen: HashMap::new() };
            watches.spawn(watch.run(shutdown.clone()));
        }
        while watches.join_next().await.is_some() {}
    }
}

struct Watch {
    store: Store,
    environment: Environment,
    /// What the engine tells of each service, and what of that the store has.
    seen: HashMap<ServiceKey, Seen>,
}

/// A service as it was seen last.
#[derive(Default)]
struct Seen {
    /// The report, once everything in it is stored: as long as it is the same one, there is nothing to look at.
    report: Option<Arc<ServiceReport>>,
    /// Releases whose end the engine still tells and the store has.
    settled: HashSet<ReleaseId>,
}

impl Watch {
    async fn run(mut self, shutdown: CancellationToken) {
        let mut changes = self.environment.engine.changes();
        loop {
            changes.borrow_and_update();
            let pause = if self.look().await { Duration::from_secs(3600) } else { RETRY };
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(pause) => {}
                () = shutdown.cancelled() => return,
            }
        }
    }

    /// Stores what is new; false when something could not be read or stored. An engine says that something has changed, and not what;
    /// so this looks at all services, and into those alone whose report is another one.
    async fn look(&mut self) -> bool {
        let mut reports = match self.environment.engine.reports().await {
            Ok(reports) => reports,
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "the engine does not report");
                return false;
            }
        };
        // Several environments may share an engine.
        reports.retain(|report| report.key.environment == self.environment.name);
        if !self.meet(&reports).await {
            return false;
        }
        let mut complete = true;
        for report in &reports {
            complete &= self.look_into(report).await;
        }
        if self.seen.len() > reports.len() {
            // What the engine does not tell any more need not be remembered.
            let told: HashSet<&ServiceKey> = reports.iter().map(|report| &report.key).collect();
            self.seen.retain(|key, _| told.contains(key));
        }
        complete
    }

    /// Finds out of services that are new to this watch whose end is stored already. After a start, an engine tells the ends of many
    /// releases that nobody has to look at again.
    async fn meet(&mut self, reports: &[Arc<ServiceReport>]) -> bool {
        let strangers: Vec<_> = reports.iter().filter(|report| !self.seen.contains_key(&report.key)).collect();
        if strangers.is_empty() {
            return true;
        }
        let open = match self.store.open_releases().await {
            Ok(open) => open,
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "the ends of releases are not stored");
                return false;
            }
        };
        for report in strangers {
            let told = report.status.finished.iter().map(|finished| &finished.release);
            let settled = told.filter(|release| !open.contains(release.as_str())).cloned().collect();
            self.seen.insert(report.key.clone(), Seen { report: None, settled });
        }
        true
    }

    async fn look_into(&mut self, report: &Arc<ServiceReport>) -> bool {
        let known = self.seen.get(&report.key).and_then(|seen| seen.report.as_ref());
        if known.is_some_and(|known| Arc::ptr_eq(known, report)) {
            return true;
        }
        let before = self.seen.remove(&report.key).unwrap_or_default().settled;
        let mut complete = true;
        let mut settled = HashSet::new();
        for finished in &report.status.finished {
            if before.contains(&finished.release) || self.store_end(report, finished).await {
                settled.insert(finished.release.clone());
            } else {
                complete = false;
            }
        }
        let seen = Seen { report: complete.then(|| Arc::clone(report)), settled };
        self.seen.insert(report.key.clone(), seen);
        complete
    }

    async fn store_end(&self, report: &ServiceReport, finished: &Finished) -> bool {
        let failure = explain(self.environment.engine.as_ref(), report, finished).await;
        let stored = self.store.finish(finished, failure.as_ref()).await;
        if let Err(error) = &stored {
            tracing::error!(key = %report.key, error = error as &dyn std::error::Error, "the end of a release is not stored");
        }
        stored.is_ok()
    }
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
