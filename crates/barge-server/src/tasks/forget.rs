//! Forgets records of the audit that are too old, once a day. Releases are forgotten when others are made (`decide/kept`).

use std::time::Duration;

use barge_model::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::retention::Retention;
use crate::store::{Store, StoreError};
use crate::{App, now};

const DAY: Duration = Duration::from_secs(24 * 3600);
const DAY_MS: i64 = 24 * 3600 * 1000;

/// The task.
pub(crate) struct Forgetting {
    store: Store,
    retention: Retention,
}

impl Forgetting {
    pub(crate) fn new(app: &App) -> Self {
        Self { store: app.store.clone(), retention: app.retention }
    }

    /// Works until `shutdown`.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        let mut daily = tokio::time::interval(DAY);
        loop {
            tokio::select! {
                _ = daily.tick() => {}
                () = shutdown.cancelled() => return,
            }
            // What stays today goes tomorrow.
            if let Err(error) = self.forget(&shutdown).await {
                tracing::warn!(error = &error as &dyn std::error::Error, "old records of the audit are not forgotten");
            }
        }
    }

    async fn forget(&self, shutdown: &CancellationToken) -> Result<(), StoreError> {
        let kept = i64::from(self.retention.audit_days).saturating_mul(DAY_MS);
        let before = Timestamp::from_millis(now().as_millis().saturating_sub(kept));
        while !shutdown.is_cancelled() && self.store.forget_audit(before).await? {}
        Ok(())
    }
}
