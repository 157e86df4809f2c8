//! What a rollout waits for, as data; its Display is the sentence that people read.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::ReleaseId;
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
