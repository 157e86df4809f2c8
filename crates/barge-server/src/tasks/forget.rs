//! Forgets records of the audit that are too old, once a day. Releases are forgotten when others are made (`decide/kept`).

use std::time::Duration;

use barge_model::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::retention::Retention;
use crate::store::{Store, StoreError};
use crate::{App, now};

const DAY: Duration = Duration::from_secs(24 * 3600);
/// Between two changes of many records.
const PAUSE: Duration = Duration::from_millis(200);
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
        let Some(passed) = self.store.audited_time().await? else { return Ok(()) };
        let before = first_kept(now(), passed, self.retention.audit_days);
        while self.store.forget_audit(before).await? {
            // Whoever waits to write has to have his turn.
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                () = shutdown.cancelled() => break,
            }
        }
        Ok(())
    }
}

/// From when on records are kept. A clock that is ahead makes nothing old: the time that counts is one that many records have passed.
fn first_kept(now: Timestamp, passed: Timestamp, days: u32) -> Timestamp {
    let kept = i64::from(days).saturating_mul(DAY_MS);
    Timestamp::from_millis(now.min(passed).as_millis().saturating_sub(kept))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_old_is_old_by_the_clock_and_by_the_records() {
        let day = |day: i64| Timestamp::from_millis(day * DAY_MS);
        assert_eq!(first_kept(day(1000), day(1000), 400), day(600));
        assert_eq!(first_kept(day(9000), day(1000), 400), day(600), "a clock that is ahead");
        assert_eq!(first_kept(day(1000), day(9000), 400), day(600), "records from when it was");
    }
}
