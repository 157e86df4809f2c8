//! The suite that every engine passes. A test of an engine builds one, says how to make releases for it, and calls [`run`].

use std::sync::Arc;
use std::time::Duration;

use barge_model::rollout::{Outcome, Role, RolloutSpec, Withdrawal};
use barge_model::{Approval, Release, ServiceKey, Timestamp};
use tokio::time::Instant;

use crate::{Desired, Engine, EngineError, ServiceReport};

/// How long one state may take to come about.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a test brings.
pub struct Subject {
    /// The engine.
    pub engine: Arc<dyn Engine>,
    /// A service that nobody else uses.
    pub key: ServiceKey,
    /// Makes a new release that starts well, or one that fails to start.
    pub release: Box<dyn Fn(bool) -> Release + Send + Sync>,
}

/// Why an engine does not conform.
#[derive(Debug, thiserror::Error)]
pub enum NonConformance {
    /// The engine refused.
    #[error("the engine refused")]
    Engine(#[from] EngineError),
    /// A state did not come about.
    #[error("waited in vain for: {what}; last seen: {last}")]
    Waited {
        /// Which state.
        what: &'static str,
        /// The last report.
        last: String,
    },
    /// Something was not as it must be.
    #[error("{0}")]
    Wrong(&'static str),
}

/// Runs a first release, a second one through gate and approval, a failing one, and a scale.
///
/// # Errors
/// The first way in which the engine does not conform.
pub async fn run(subject: &Subject) -> Result<(), NonConformance> {
    let mut desired = Desired {
        key: subject.key.clone(),
        version: 1,
        rollout: RolloutSpec { replicas: 2, ..RolloutSpec::default() },
    };

    let first = (subject.release)(true);
    target(&mut desired, &first);
    approve(&mut desired, &first);
    subject.engine.apply(desired.clone()).await?;
    wait(subject, "two instances of the first release", |report| stable_available(report, &first) == 2).await?;

    let second = (subject.release)(true);
    target(&mut desired, &second);
    subject.engine.apply(desired.clone()).await?;
    wait(subject, "the gate of the second release", |report| {
        matches!(report.waiting_on, barge_model::rollout::WaitingOn::Approval { .. })
    })
    .await?;
    let report = report(subject).await?;
    if report.instances.iter().filter(|instance| instance.release == second.id).count() != 1 {
        return Err(NonConformance::Wrong("before its approval a release must have exactly one instance (I1)"));
    }
    approve(&mut desired, &second);
    desired.version += 1;
    subject.engine.apply(desired.clone()).await?;
    wait(subject, "the second release everywhere", |report| {
        stable_available(report, &second) == 2 && report.instances.len() == 2
    })
    .await?;

    let broken = (subject.release)(false);
    target(&mut desired, &broken);
    subject.engine.apply(desired.clone()).await?;
    wait(subject, "the failure of the broken release", |report| {
        report.status.outcome(&broken.id).is_some_and(|finished| matches!(finished.outcome, Outcome::Failed { .. }))
    })
    .await?;
    let seen = self::report(subject).await?;
    if stable_available(&seen, &second) != 2 {
        return Err(NonConformance::Wrong("a failed release must leave the stable one untouched (I7)"));
    }
    desired.rollout.withdrawn = Some(Withdrawal { release: broken.id.clone(), rolled_back: false });
    desired.rollout.replicas = 3;
    desired.version += 1;
    subject.engine.apply(desired.clone()).await?;
    wait(subject, "three instances and nothing held", |report| {
        stable_available(report, &second) == 3 && report.instances.len() == 3
    })
    .await?;

    let old = Desired { version: 1, ..desired.clone() };
    if !matches!(subject.engine.apply(old).await, Err(EngineError::Stale { .. })) {
        return Err(NonConformance::Wrong("an older version of the desired state must be refused"));
    }
    desired.rollout.replicas = 0;
    desired.version += 1;
    subject.engine.apply(desired).await?;
    wait(subject, "no instance at all", |report| report.instances.is_empty()).await
}

fn target(desired: &mut Desired, release: &Release) {
    desired.version += 1;
    desired.rollout.target = Some(release.clone());
}

fn approve(desired: &mut Desired, release: &Release) {
    desired.rollout.approvals.push(Approval {
        release: release.id.clone(),
        digest: release.digest.clone(),
        by: "conformance".to_owned(),
        at: Timestamp::default(),
    });
}

fn stable_available(report: &ServiceReport, release: &Release) -> usize {
    let stable = report.status.set(Role::Stable).is_some_and(|set| set.release.id == release.id);
    let available = |instance: &&crate::InstanceReport| {
        instance.release == release.id
            && instance.online
            && instance.phase == barge_model::rollout::InstancePhase::Ready
    };
    if stable { report.instances.iter().filter(available).count() } else { 0 }
}

async fn report(subject: &Subject) -> Result<Arc<ServiceReport>, NonConformance> {
    subject
        .engine
        .report(&subject.key)
        .await?
        .ok_or(NonConformance::Wrong("a service that was applied must be reported"))
}

async fn wait(
    subject: &Subject,
    what: &'static str,
    reached: impl Fn(&ServiceReport) -> bool,
) -> Result<(), NonConformance> {
    let deadline = Instant::now() + PATIENCE;
    let mut changes = subject.engine.changes();
    loop {
        changes.borrow_and_update();
        let seen = report(subject).await?;
        if reached(&seen) {
            return Ok(());
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if tokio::time::timeout(left, changes.changed()).await.is_err() {
            return Err(NonConformance::Waited { what, last: format!("{seen:?}") });
        }
    }
}
