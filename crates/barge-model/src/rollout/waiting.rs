//! What a rollout waits for, as data; its Display is the sentence that people read.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::state::{CandidateProgress, InstancePhase, Phase, RegistrarHealth, Role};
use super::step::{HELD_LIMIT, STEP_INTERVAL};
use super::view::{View, count, plan_of};
use crate::ids::ReleaseId;
use crate::release::Release;
use crate::time::{Millis, Timestamp};

/// What a rollout waits for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case", tag = "on")]
pub enum WaitingOn {
    /// Nothing: what should run runs.
    Nothing,
    /// Nothing was ever released.
    FirstRelease,
    /// Instances of the candidate are starting.
    Start {
        /// The candidate.
        release: ReleaseId,
        /// Available so far.
        available: u32,
        /// Needed for this step.
        needed: u32,
        /// When the release fails without progress.
        deadline: Timestamp,
    },
    /// Instances are ready and the traffic target has not acknowledged them yet.
    Online {
        /// Ready but not acknowledged.
        instances: u32,
    },
    /// A person's approval.
    Approval {
        /// The candidate.
        release: ReleaseId,
        /// Since when the first batch is available.
        since: Timestamp,
    },
    /// The gate's observation time.
    Hold {
        /// Until when.
        until: Timestamp,
    },
    /// A batch after the gate.
    Batch {
        /// Which batch, from 1.
        batch: u32,
        /// Available instances of the candidate.
        available: u32,
        /// Needed for this batch.
        needed: u32,
        /// Instances of the former stable release that still run.
        old: u32,
    },
    /// The pause after a batch.
    Pause {
        /// Until when.
        until: Timestamp,
    },
    /// Instances that are being taken out of traffic.
    Drain {
        /// How many.
        instances: u32,
    },
    /// Instances of the stable release that are missing.
    Stable {
        /// Available.
        available: u32,
        /// Wanted.
        wanted: u32,
    },
    /// The part that registers instances; until it works, the release is frozen.
    Registrar {
        /// What is wrong with it.
        reason: String,
    },
}

fn plural(count: u32) -> &'static str {
    if count == 1 { "instance" } else { "instances" }
}

impl WaitingOn {
    /// The sentence, with points in time told relative to `now`.
    pub fn sentence(&self, now: Timestamp) -> String {
        let left = |until: &Timestamp| Millis(until.since(now).0.div_ceil(1000) * 1000);
        match self {
            WaitingOn::Hold { until } => format!("observing the first instance for {} more", left(until)),
            WaitingOn::Pause { until } => format!("pausing for {} more before the next batch", left(until)),
            WaitingOn::Start { deadline, .. } => format!("{self}; fails in {} without progress", left(deadline)),
            _ => self.to_string(),
        }
    }
}

impl fmt::Display for WaitingOn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WaitingOn::Nothing => f.write_str("everything runs as it should"),
            WaitingOn::FirstRelease => f.write_str("waiting for the first release"),
            WaitingOn::Start { available, needed, .. } => {
                write!(f, "waiting for the new release to start: {available} of {needed} {} available", plural(*needed))
            }
            WaitingOn::Online { instances } => {
                write!(f, "{instances} {} ready, waiting for the gateway to take traffic there", plural(*instances))
            }
            WaitingOn::Approval { .. } => f.write_str("waiting for approval"),
            WaitingOn::Hold { .. } => f.write_str("observing the first instance"),
            WaitingOn::Batch { batch, available, needed, old } => {
                write!(f, "batch {batch}: {available} of {needed} new {} available, {old} old left", plural(*needed))
            }
            WaitingOn::Pause { .. } => f.write_str("pausing before the next batch"),
            WaitingOn::Drain { instances } => write!(f, "waiting for {instances} {} to drain", plural(*instances)),
            WaitingOn::Stable { available, wanted } => {
                write!(f, "waiting for stable {}: {available} of {wanted} available", plural(*wanted))
            }
            WaitingOn::Registrar { reason } => {
                write!(f, "frozen: instances cannot be registered ({reason}); nothing is stopped meanwhile")
            }
        }
    }
}

impl View<'_> {
    /// What the rollout waits for.
    pub(super) fn waiting_on(&self) -> WaitingOn {
        if let RegistrarHealth::Unhealthy { reason } = &self.observed.registrar {
            return WaitingOn::Registrar { reason: reason.clone() };
        }
        if let (Some(set), Some(progress)) = (self.status.set(Role::Candidate), &self.status.candidate) {
            return self.candidate_waits_on(&set.release, progress);
        }
        let unfinished = self.spec.target.as_ref().is_some_and(|target| {
            self.status.outcome(&target.id).is_none() && !self.status.sets.iter().any(|set| set.release.id == target.id)
        });
        let leftovers = self.leftovers();
        match self.status.set(Role::Stable) {
            None if leftovers == 0 && !unfinished => WaitingOn::FirstRelease,
            Some(stable) if self.available(&stable.release.id) < self.spec.replicas => {
                WaitingOn::Stable { available: self.available(&stable.release.id), wanted: self.spec.replicas }
            }
            _ if leftovers > 0 => WaitingOn::Drain { instances: leftovers },
            _ => WaitingOn::Nothing,
        }
    }

    fn candidate_waits_on(&self, release: &Release, progress: &CandidateProgress) -> WaitingOn {
        let plan = plan_of(release);
        let available = self.available(&release.id);
        let unacknowledged =
            count(self.of(&release.id).filter(|instance| instance.phase == InstancePhase::Ready && !instance.online));
        match progress.phase {
            Phase::Starting if unacknowledged > 0 => WaitingOn::Online { instances: unacknowledged },
            Phase::Starting => WaitingOn::Start {
                release: release.id.clone(),
                available,
                needed: plan.first(self.spec.replicas),
                deadline: progress.progress_at.plus(plan.progress_deadline),
            },
            Phase::Gate => {
                let until = progress.since.plus(plan.gate.hold.unwrap_or_default());
                let approved = self.spec.approvals.iter().any(|approval| approval.covers(release));
                if plan.gate.until.is_some() && !approved {
                    WaitingOn::Approval { release: release.id.clone(), since: progress.since }
                } else {
                    WaitingOn::Hold { until }
                }
            }
            Phase::Progressing { batch } => WaitingOn::Batch {
                batch: u32::try_from(batch + 1).unwrap_or(u32::MAX),
                available,
                needed: plan.goal(batch, self.spec.replicas).0,
                old: self.old_running(),
            },
            Phase::Pausing { batch } => {
                WaitingOn::Pause { until: progress.since.plus(plan.pause(batch).unwrap_or_default()) }
            }
        }
    }

    /// When to step again although nothing has happened.
    pub(super) fn wake_at(&self) -> Option<Timestamp> {
        let held = self.status.sets.iter().filter_map(|set| set.held_since).map(|since| since.plus(HELD_LIMIT)).min();
        let candidate = match (self.status.set(Role::Candidate), &self.status.candidate) {
            // A frozen release has no deadline, and its pauses end with the freeze.
            (Some(set), Some(progress)) if !self.frozen() => {
                let plan = plan_of(&set.release);
                match progress.phase {
                    Phase::Starting | Phase::Progressing { .. } => {
                        Some(progress.progress_at.plus(plan.progress_deadline))
                    }
                    Phase::Gate => plan.gate.hold.map(|hold| progress.since.plus(hold)),
                    Phase::Pausing { batch } => Some(progress.since.plus(plan.pause(batch).unwrap_or_default())),
                }
            }
            _ => None,
        };
        // Whoever does not look does not observe.
        let look = self.status.candidate.as_ref().map(|_| self.now.plus(STEP_INTERVAL));
        [held, candidate, look].into_iter().flatten().filter(|at| *at > self.now).min()
    }
}
